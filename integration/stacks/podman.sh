#: setup
command -v podman >/dev/null || skip 'podman is not installed'
cat >"$WORK/containers.conf" <<END
[containers]
log_driver = "k8s-file"
netns = "none"
# Podman's own are above what many machines allow (fs.nr_open).
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
[network]
network_config_dir = "$WORK/networks"
[engine]
cgroup_manager = "cgroupfs"
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
podman() { command podman "${options[@]}" "$@"; }
run() { podman run "$@"; }
sleeper() { run --detach --name "$ID" "$@" "$IMAGE" sleep 1000 >/dev/null; }
inspect() { podman inspect --format "{{$1}}" "$ID"; }
is() { [[ $(inspect .State.Status) == "$1" ]]; }
systemd() { [[ -d /run/systemd/system ]] || skip 'systemd is not running here'; }

#: finally
podman pod rm --all --force --time 0 >/dev/null
podman rm --all --force --time 0 --volumes >/dev/null

#: step the runtime is used
same "$RUNTIME" "$(podman info --format '{{.Host.OCIRuntime.Path}}')"
contains "$NAME" "$(podman info --format '{{.Host.OCIRuntime.Version}}')"

#: step run: output, exit status, standard input
same hello "$(run --rm "$IMAGE" echo hello)"
expect 7 run --rm "$IMAGE" sh -c 'exit 7'
same in "$(echo in | run --rm --interactive "$IMAGE" cat)"
expect 137 run --rm "$IMAGE" sh -c 'sh -c "kill -9 \$\$"; exit $?'

#: step run: standard error apart
out=$(run --rm "$IMAGE" sh -c 'echo out; echo err >&2' 2>"$WORK/err")
same out "$out"; same err "$(cat "$WORK/err")"

#: step run: 127 and 126
expect 127 run --rm "$IMAGE" /no/such
expect 127 run --rm "$IMAGE" nosuch
expect 126 run --rm "$IMAGE" /etc/passwd
expect 126 run --rm "$IMAGE" /etc

#: step run -t
contains /dev/ "$(with_tty "$(printf '%q ' command podman "${options[@]}") run --rm -it $IMAGE tty")"

#: step run: nothing of the runtime's in the output
same '' "$(run --rm "$IMAGE" true 2>&1)"
podman create --name "$ID" "$IMAGE" sleep 1000 >/dev/null
same "$ID" "$(podman start "$ID" 2>&1)"
same "$ID" "$(podman pause "$ID" 2>&1)" || true
podman unpause "$ID" >/dev/null
same "$ID" "$(podman kill "$ID" 2>&1)"

#: step run --init
same catatonit "$(run --rm --init "$IMAGE" cat /proc/1/comm)" || same podman-init "$(run --rm --init "$IMAGE" cat /proc/1/comm)"

#: step run: limits
sleeper --memory 64m --memory-swap 64m --cpus 0.5 --pids-limit 33
p=$(inspect .State.Pid)
same 67108864 "$(limit "$p" memory memory.limit_in_bytes memory.max)"
same 33 "$(limit "$p" pids pids.max pids.max)"
if v2; then same '50000 100000' "$(limit "$p" cpu - cpu.max)"; else same 50000 "$(limit "$p" cpu cpu.cfs_quota_us -)"; fi

#: step run: out of memory is told
expect 137 run --name "$ID" --memory 24m --memory-swap 24m "$IMAGE" tail /dev/zero
same true "$(inspect .State.OOMKilled)"

#: step run: user, groups, directory, environment, host name
out=$(run --rm --user 12:13 --group-add 77 --workdir /tmp --env A=b --hostname box "$IMAGE" sh -c 'echo $(id -u) $(id -g) $(id -G) $(pwd) $A $(hostname)')
same '12 13 13 77 /tmp b box' "$out"

#: step run: read-only, tmpfs, volumes, binds
fails run --rm --read-only "$IMAGE" touch /x 2>"$WORK/err"
run --rm --read-only --tmpfs /tmp:size=1m "$IMAGE" touch /tmp/x
mkdir -p "$WORK/shared"; echo there >"$WORK/shared/file"
same there "$(run --rm --volume "$WORK/shared:/mnt:ro" "$IMAGE" cat /mnt/file)"
fails run --rm --volume "$WORK/shared:/mnt:ro" "$IMAGE" touch /mnt/x 2>"$WORK/err"
run --rm --volume named:/data "$IMAGE" sh -c 'echo kept >/data/f'
same kept "$(run --rm --volume named:/data "$IMAGE" cat /data/f)"
podman volume rm named >/dev/null

#: step run: capabilities
same $'CapEff:\t0000000000000000' "$(run --rm --cap-drop ALL "$IMAGE" grep CapEff /proc/self/status)"
same $'CapEff:\t0000000002000000' "$(run --rm --cap-drop ALL --cap-add SYS_TIME "$IMAGE" grep CapEff /proc/self/status)"

#: step run: seccomp and no-new-privileges
contains $'Seccomp:\t2' "$(run --rm "$IMAGE" cat /proc/self/status)"
contains $'Seccomp:\t0' "$(run --rm --security-opt seccomp=unconfined "$IMAGE" cat /proc/self/status)"
contains $'NoNewPrivs:\t1' "$(run --rm --security-opt no-new-privileges "$IMAGE" cat /proc/self/status)"

#: step run --privileged
same mounted "$(run --rm --privileged "$IMAGE" sh -c 'mount -t tmpfs t /mnt && [ -e /dev/loop-control ] && echo mounted')"

#: step run: devices, ulimits, sysctls
same there "$(run --rm --device /dev/loop-control:/dev/lc "$IMAGE" sh -c '[ -c /dev/lc ] && echo there')"
same 77 "$(run --rm --ulimit nofile=77:88 --ulimit nproc=4096 "$IMAGE" sh -c 'ulimit -n')"
same 4242 "$(run --rm --sysctl net.ipv4.ip_local_reserved_ports=4242 "$IMAGE" cat /proc/sys/net/ipv4/ip_local_reserved_ports)"

#: step run: host namespaces
same "$(readlink /proc/self/ns/pid)" "$(run --rm --pid host "$IMAGE" readlink /proc/self/ns/pid)"
same "$(readlink /proc/self/ns/net)" "$(run --rm --network host "$IMAGE" readlink /proc/self/ns/net)"
same "$(readlink /proc/self/ns/uts)" "$(run --rm --uts host "$IMAGE" readlink /proc/self/ns/uts)"
same "$(readlink /proc/self/ns/ipc)" "$(run --rm --ipc host "$IMAGE" readlink /proc/self/ns/ipc)"
same "$(readlink /proc/self/ns/cgroup)" "$(run --rm --cgroupns host "$IMAGE" readlink /proc/self/ns/cgroup)"

#: step run: another container's namespaces
sleeper
same "$(podman exec "$ID" readlink /proc/self/ns/net)" "$(run --rm --network "container:$ID" "$IMAGE" readlink /proc/self/ns/net)"
same "$(podman exec "$ID" readlink /proc/self/ns/pid)" "$(run --rm --pid "container:$ID" "$IMAGE" readlink /proc/self/ns/pid)"

#: step run: the bridge network
iptables --table nat --list >/dev/null 2>&1 || skip 'no iptables here, so no bridge'
podman run --detach --network bridge --name "$ID" "$IMAGE" sh -c 'mkdir /www; echo web >/www/i; httpd -f -h /www' >/dev/null || skip "no bridge network here"
ip=$(podman exec "$ID" ip addr show eth0 | sed -n 's|.*inet \([0-9.]*\)/.*|\1|p')
eventually busybox wget -q -O - "http://$ip/i"

#: step run --userns: own mappings
out=$(run --rm --uidmap 0:100000:65536 --gidmap 0:100000:65536 "$IMAGE" sh -c 'cat /proc/self/uid_map; stat -c %u /bin/busybox')
contains 100000 "$out"
sleeper --uidmap 0:100000:65536 --gidmap 0:100000:65536
same 0 "$(podman exec "$ID" id -u)"
same 100000 "$(stat -c %u "/proc/$(inspect .State.Pid)")"

#: step run --preserve-fds
same given "$(run --rm --preserve-fds 1 "$IMAGE" sh -c 'cat <&3' 3<<<given)"

#: step run --sdnotify=container
socket=$WORK/notify.sock
perl -MIO::Socket::UNIX -e '
    my $s = IO::Socket::UNIX->new(Type => SOCK_DGRAM, Local => $ARGV[0]) or die;
    $SIG{ALRM} = sub { exit 1 }; alarm 20; $| = 1;
    while (1) { $s->recv(my $m, 4096); print "$m\n"; last if $m =~ /READY=1/ }' "$socket" >"$WORK/notified" &
eventually test -S "$socket"
# busybox has no systemd-notify, but a logger that can be pointed at the socket.
NOTIFY_SOCKET=$socket podman run --detach --sdnotify=container --name "$ID" "$IMAGE" sh -c \
    'ln -s $NOTIFY_SOCKET /dev/log && logger "$(printf "x\nREADY=1")" && sleep 1000' >/dev/null
eventually grep READY=1 "$WORK/notified"
contains MAINPID= "$(cat "$WORK/notified")"

#: step run --cgroups=disabled
out=$(run --rm --cgroups=disabled "$IMAGE" cat /proc/self/cgroup)
lacks libpod "$out"

#: step run --cgroups=no-conmon, --cgroup-parent
sleeper --cgroups=no-conmon --cgroup-parent /stacks-parent
contains /stacks-parent/ "$(cat "/proc/$(inspect .State.Pid)/cgroup")"

#: step run: systemd as the cgroup manager
systemd
as_systemd=(--cgroup-manager systemd)
podman "${as_systemd[@]}" run --detach --name "$ID" --memory 64m --pids-limit 33 "$IMAGE" sleep 1000 >/dev/null
p=$(inspect .State.Pid)
contains .scope "$(cat "/proc/$p/cgroup")"
same 67108864 "$(limit "$p" memory memory.limit_in_bytes memory.max)"
same 33 "$(limit "$p" pids pids.max pids.max)"
same hello "$(podman "${as_systemd[@]}" exec "$ID" echo hello)"
podman "${as_systemd[@]}" pause "$ID" >/dev/null; is paused
podman "${as_systemd[@]}" unpause "$ID" >/dev/null; is running
podman "${as_systemd[@]}" rm --force --time 0 "$ID" >/dev/null
eventually test ! -e "/proc/$p"

#: step exec: output, exit status, standard input, terminal
sleeper
same hello "$(podman exec "$ID" echo hello)"
expect 9 podman exec "$ID" sh -c 'exit 9'
same in "$(echo in | podman exec --interactive "$ID" cat)"
contains /dev/ "$(with_tty "$(printf '%q ' command podman "${options[@]}") exec -it $ID tty")"

#: step exec: user, directory, environment, privileged, preserve-fds
sleeper
same '12 /tmp b' "$(podman exec --user 12 --workdir /tmp --env A=b "$ID" sh -c 'echo $(id -u) $(pwd) $A')"
contains 1ff "$(podman exec --privileged "$ID" grep CapEff /proc/self/status)"
same given "$(podman exec --preserve-fds 1 "$ID" sh -c 'cat <&3' 3<<<given)"

#: step exec -d
sleeper
podman exec --detach "$ID" touch /made >/dev/null
eventually podman exec "$ID" test -e /made

#: step exec: 127 and 126
sleeper
expect 127 podman exec "$ID" /no/such
expect 127 podman exec "$ID" nosuch
expect 126 podman exec "$ID" /etc/passwd
expect 126 podman exec "$ID" /etc

#: step stop: the program handles SIGTERM
run --detach --name "$ID" "$IMAGE" sh -c 'trap "exit 42" TERM; echo ready; while :; do sleep 0.1; done' >/dev/null
for _ in {1..50}; do [[ $(podman logs "$ID") == ready ]] && break; sleep 0.1; done
podman stop "$ID" >/dev/null
same 42 "$(inspect .State.ExitCode)"

#: step stop: SIGKILL after a while
sleeper; podman stop --time 1 "$ID" >/dev/null 2>&1; same 137 "$(inspect .State.ExitCode)"

#: step kill
sleeper; podman kill "$ID" >/dev/null; same 137 "$(podman wait "$ID")"

#: step start, restart
sleeper
first=$(inspect .State.Pid)
podman restart --time 0 "$ID" >/dev/null
[[ $(inspect .State.Pid) != "$first" ]]
podman stop --time 0 "$ID" >/dev/null; podman start "$ID" >/dev/null; is running

#: step pause, unpause
sleeper
podman pause "$ID" >/dev/null; is paused
fails podman exec "$ID" true 2>"$WORK/err"
podman unpause "$ID" >/dev/null; is running
podman exec "$ID" true

#: step update
podman update --help >/dev/null 2>&1 || skip 'this podman has no update'
sleeper --memory 64m
podman update --memory 96m "$ID" >/dev/null
same 100663296 "$(limit "$(inspect .State.Pid)" memory memory.limit_in_bytes memory.max)"

#: step stats
sleeper --memory 64m
contains 67.11MB "$(podman stats --no-stream --format '{{.MemUsage}} {{.PIDS}}' "$ID")"

#: step top
sleeper
contains 'sleep 1000' "$(podman top "$ID")"
contains sleep "$(podman top "$ID" pid comm)"

#: step health check
run --detach --name "$ID" --health-cmd 'test -e /healthy' --health-interval disable "$IMAGE" sh -c 'touch /healthy; sleep 1000' >/dev/null
eventually podman healthcheck run "$ID"
podman exec "$ID" rm /healthy; expect 1 podman healthcheck run "$ID"

#: step logs, cp, commit, wait
run --detach --name "$ID" "$IMAGE" sh -c 'echo logged; exit 4' >/dev/null
same 4 "$(podman wait "$ID")"
same logged "$(podman logs "$ID")"

#: step attach
run --detach --interactive --name "$ID" "$IMAGE" cat >/dev/null
same typed "$({ echo typed; sleep 1; } | podman attach "$ID" | head -n 1)"

#: step a program that ends at once is not lost
for i in {1..10}; do expect 3 run --rm "$IMAGE" sh -c 'exit 3'; done

#: step pod: shared namespaces, an infra container
podman pod create --name "$ID" >/dev/null
podman run --detach --pod "$ID" --name "$ID-a" "$IMAGE" sleep 1000 >/dev/null
podman run --detach --pod "$ID" --name "$ID-b" "$IMAGE" sleep 1001 >/dev/null
same "$(podman exec "$ID-a" readlink /proc/self/ns/net)" "$(podman exec "$ID-b" readlink /proc/self/ns/net)"
podman pod pause "$ID" >/dev/null; podman pod unpause "$ID" >/dev/null
podman pod stop --time 0 "$ID" >/dev/null
podman pod start "$ID" >/dev/null
podman pod rm --force --time 0 "$ID" >/dev/null

#: step pod: a shared pid namespace
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

#: step kube play
cat >"$WORK/pod.yaml" <<END
apiVersion: v1
kind: Pod
metadata: { name: $ID }
spec:
  containers:
  - { name: a, image: "$IMAGE", imagePullPolicy: Never, command: [sleep, "1000"], resources: { limits: { memory: 64Mi } } }
END
podman kube play --network none "$WORK/pod.yaml" >/dev/null 2>"$WORK/err" || { cat "$WORK/err"; exit 1; }
same 67108864 "$(limit "$(podman inspect --format '{{.State.Pid}}' "$ID-a")" memory memory.limit_in_bytes memory.max)"

#: step checkpoint, restore
command -v criu >/dev/null || skip 'criu is not installed'
sleeper
podman container checkpoint "$ID" >/dev/null
podman container restore "$ID" >/dev/null
is running
