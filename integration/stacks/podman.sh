#: setup
command -v podman >/dev/null || skip 'podman is not installed'
[[ $DRIVER == cgroupfs || $EUID == 0 || -n ${DBUS_SESSION_BUS_ADDRESS:-} ]] || skip "no systemd of $USER's own here"
cat >"$WORK/containers.conf" <<END
[containers]
log_driver = "k8s-file"
netns = "none"
# Podman's own are above what many machines allow (fs.nr_open).
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
[network]
network_config_dir = "$WORK/networks"
[engine]
cgroup_manager = "$DRIVER"
events_logger = "file"
lock_type = "file"
tmp_dir = "$WORK/tmp"
static_dir = "$WORK/static"
volume_path = "$WORK/volumes"
runtime_supports_json = ["runc", "safebox"]
runtime_supports_nocgroup = ["runc", "safebox"]
[engine.runtimes]
$NAME = ["$RUNTIME"]
END
podman info >/dev/null
podman load --quiet --input "$BASE/image.tar" >/dev/null

#: prelude
IMAGE=localhost/busybox:latest
export CONTAINERS_CONF=$WORK/containers.conf
options=(--root "$WORK/storage" --runroot "$WORK/run" --storage-driver overlay --runtime "$NAME")
# With a terminal: the program itself, not a function of this shell.
line=$(printf '%q ' podman "${options[@]}")
podman() { command podman "${options[@]}" "$@"; }
engine() { podman "$@"; }
run() { podman run "$@"; }
sleeper() { run --detach --name "$ID" "$@" "$IMAGE" sleep 1000 >/dev/null; }
parent=/stacks-parent
if [[ $DRIVER == systemd ]]; then parent=stacks.slice; fi
# Writes what comes to a socket as a service manager's into $WORK/notified, until both are there, in either order.
listen() {
    rm -f "$WORK"/notify.sock
    perl -MIO::Socket::UNIX -e '
        my $s = IO::Socket::UNIX->new(Type => SOCK_DGRAM, Local => $ARGV[0]) or die;
        $SIG{ALRM} = sub { exit 1 }; alarm 30 * $ENV{SLOW}; $| = 1;
        while ($all !~ /READY=1/ || $all !~ /MAINPID=/) { $s->recv(my $m, 4096); print "$m\n"; $all .= $m }' "$WORK/notify.sock" >"$WORK/notified" &
    eventually test -S "$WORK/notify.sock"
}

#: finally
podman pod rm --all --force --time 0 >/dev/null
podman rm --all --force --time 0 --volumes >/dev/null

#: driver step the runtime is used
same "$RUNTIME" "$(podman info --format '{{.Host.OCIRuntime.Path}}')"
contains "$NAME" "$(podman info --format '{{.Host.OCIRuntime.Version}}')"
same "$DRIVER" "$(podman info --format '{{.Host.CgroupManager}}')"

#: step run: nothing of the runtime's in the output
own_cgroup
same '' "$(run --rm "$IMAGE" true 2>&1)"
podman create --name "$ID" "$IMAGE" sleep 1000 >/dev/null
same "$ID" "$(podman start "$ID" 2>&1)"
same "$ID" "$(podman pause "$ID" 2>&1)" || true
podman unpause "$ID" >/dev/null
same "$ID" "$(podman kill "$ID" 2>&1)"

#: step run --preserve-fds
same given "$(run --rm --preserve-fds 1 "$IMAGE" sh -c 'cat <&3' 3<<<given)"

#: step run --sdnotify=container
listen
# busybox has no systemd-notify, but a logger that can be pointed at the socket.
NOTIFY_SOCKET=$WORK/notify.sock podman run --detach --sdnotify=container --name "$ID" "$IMAGE" sh -c \
    'ln -s $NOTIFY_SOCKET /dev/log && logger "$(printf "x\nREADY=1")" && sleep 1000' >/dev/null
eventually grep READY=1 "$WORK/notified"
eventually grep MAINPID= "$WORK/notified"

#: step run --sdnotify=conmon
listen
NOTIFY_SOCKET=$WORK/notify.sock podman run --detach --sdnotify=conmon --name "$ID" "$IMAGE" sh -c \
    'echo "<$NOTIFY_SOCKET>"; sleep 1000' >/dev/null
eventually grep READY=1 "$WORK/notified"
eventually grep MAINPID= "$WORK/notified"
said() { [[ $(podman logs "$ID") == '<>' ]]; }
eventually said

#: driver step run --cgroups=disabled
out=$(run --rm --cgroups=disabled "$IMAGE" cat /proc/self/cgroup)
lacks libpod "$out"

#: driver step run --cgroups=no-conmon, --cgroup-parent
[[ $EUID == 0 || $DRIVER == systemd ]] || skip 'that cgroup belongs to root'
sleeper --cgroups=no-conmon --cgroup-parent "$parent"
contains "${parent#/}/" "$(cat "/proc/$(inspect .State.Pid)/cgroup")"

#: step exec --preserve-fds
sleeper
same given "$(podman exec --preserve-fds 1 "$ID" sh -c 'cat <&3' 3<<<given)"

#: step exec: 127 and 126
sleeper
expect 127 podman exec "$ID" /no/such
expect 127 podman exec "$ID" nosuch
expect 126 podman exec "$ID" /etc/passwd
expect 126 podman exec "$ID" /etc

#: driver step update
own_cgroup
podman update --help >/dev/null 2>&1 || skip 'this podman has no update'
sleeper --memory 64m
podman update --memory 96m "$ID" >/dev/null
same 100663296 "$(limit "$(inspect .State.Pid)" memory memory.limit_in_bytes memory.max)"

#: driver step stats
own_cgroup
sleeper --memory 64m
contains 67.11MB "$(podman stats --no-stream --format '{{.MemUsage}} {{.PIDS}}' "$ID")"

#: step top: columns of ps
sleeper
contains sleep "$(podman top "$ID" pid comm)"

#: step health check
run --detach --name "$ID" --health-cmd 'test -e /healthy' --health-interval disable "$IMAGE" sh -c 'touch /healthy; sleep 1000' >/dev/null
eventually podman healthcheck run "$ID"
podman exec "$ID" rm /healthy; expect 1 podman healthcheck run "$ID"

#: step attach
run --detach --interactive --name "$ID" "$IMAGE" cat >/dev/null
same typed "$({ echo typed; sleep 1; } | podman attach "$ID" | head -n 1)"

#: driver step pod: shared namespaces, an infra container
own_cgroup
podman pod create --name "$ID" >/dev/null
podman run --detach --pod "$ID" --name "$ID-a" "$IMAGE" sleep 1000 >/dev/null
podman run --detach --pod "$ID" --name "$ID-b" "$IMAGE" sleep 1001 >/dev/null
same "$(podman exec "$ID-a" readlink /proc/self/ns/net)" "$(podman exec "$ID-b" readlink /proc/self/ns/net)"
podman pod pause "$ID" >/dev/null; podman pod unpause "$ID" >/dev/null
podman pod stop --time 0 "$ID" >/dev/null
podman pod start "$ID" >/dev/null
podman pod rm --force --time 0 "$ID" >/dev/null

#: driver step pod: a shared pid namespace
podman pod create --name "$ID" --share pid,ipc,uts >/dev/null
podman run --detach --pod "$ID" --name "$ID-a" "$IMAGE" sleep 1000 >/dev/null
podman run --detach --pod "$ID" --name "$ID-b" "$IMAGE" sleep 1001 >/dev/null
contains 'sleep 1001' "$(podman exec "$ID-a" ps)"
podman rm --force --time 0 "$ID-b" >/dev/null
podman exec "$ID-a" true

#: step build
mkdir -p "$WORK/build"
printf 'FROM %s\nRUN echo built >/built\nRUN test $(id -u) = 0\nUSER 12\nRUN test $(id -u) = 12\nCMD cat /built\n' "$IMAGE" >"$WORK/build/Dockerfile"
podman build --quiet --isolation oci --network none --pull=never --tag "localhost/$ID" "$WORK/build" >/dev/null
same built "$(run --rm "localhost/$ID")"
podman rmi "localhost/$ID" >/dev/null

#: step safebox install --podman
[[ $NAME == safebox ]] || skip 'it is safebox that installs'
"$RUNTIME" install --podman --etc "$WORK/etc" >/dev/null
contains 'nothing to do' "$("$RUNTIME" install --podman --etc "$WORK/etc")"
export CONTAINERS_CONF=$WORK/etc/containers/containers.conf.d/50-safebox.conf
written=(podman --root "$WORK/storage-2" --runroot "$WORK/run-2" --storage-driver overlay --cgroup-manager "$DRIVER" --runtime safebox)
same "$RUNTIME" "$(command "${written[@]}" info --format '{{.Host.OCIRuntime.Path}}')"
command "${written[@]}" load --quiet --input "$BASE/image.tar" >/dev/null
# That needs the key for runtimes without cgroups; the error's class needs the one for JSON.
lacks libpod "$(command "${written[@]}" run --rm --net none --ulimit nofile=99 --ulimit nproc=4096 --cgroups=disabled "$IMAGE" cat /proc/self/cgroup)"
expect 127 command "${written[@]}" run --rm --net none --ulimit nofile=99 --ulimit nproc=4096 "$IMAGE" nosuch
command "${written[@]}" rm --all --force >/dev/null; umount "$WORK/storage-2/overlay" 2>/dev/null || true
"$RUNTIME" install --undo --podman --etc "$WORK/etc" >/dev/null
[[ ! -e $CONTAINERS_CONF ]]
