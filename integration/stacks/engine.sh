# What Podman and Docker do alike. `engine` is one of them, `run` starts a container without a network, and
# `$line` is the command line up to the verb.

#: prelude
inspect() { engine inspect --format "{{$1}}" "$ID"; }
is() { [[ $(inspect .State.Status) == "$1" ]]; }

#: step run: output, exit status, standard input
same hello "$(run --rm "$IMAGE" echo hello)"
expect 7 run --rm "$IMAGE" sh -c 'exit 7'
same in "$(echo in | run --rm --interactive "$IMAGE" cat)"
expect 137 run --rm "$IMAGE" sh -c 'sh -c "kill -9 \$\$"; exit $?'

#: step run: standard error apart
out=$(run --rm "$IMAGE" sh -c 'echo out; echo err >&2' 2>"$WORK/err")
same out "$out"; same err "$(cat "$WORK/err")"

#: step run: 127 for a program that is not there, 126 for what cannot be executed
expect 127 run --rm "$IMAGE" /no/such
expect 127 run --rm "$IMAGE" nosuch
expect 126 run --rm "$IMAGE" /etc/passwd
expect 126 run --rm "$IMAGE" /etc

#: step run -t
# Podman's attach loses what a program wrote that ends at once, in one run of three with every runtime, though
# conmon has it in its log.
contains /dev/ "$(with_tty "$line run --network none --rm -it $IMAGE sh -c 'tty; sleep 0.5'")"

#: step run --init
out=$(run --rm --init "$IMAGE" cat /proc/1/comm)
[[ $out == *init* || $out == catatonit ]] || { echo "process 1 is $out"; exit 1; }

#: driver step run: limits
own_cgroup
sleeper --memory 64m --memory-swap 64m --cpus 0.5 --pids-limit 33
p=$(inspect .State.Pid)
if [[ $DRIVER == systemd ]]; then contains .scope "$(cat "/proc/$p/cgroup")"; fi
same 67108864 "$(limit "$p" memory memory.limit_in_bytes memory.max)"
same 33 "$(limit "$p" pids pids.max pids.max)"
if v2; then same '50000 100000' "$(limit "$p" cpu - cpu.max)"; else same 50000 "$(limit "$p" cpu cpu.cfs_quota_us -)"; fi

#: driver step run: out of memory is told
own_cgroup
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
engine volume rm named >/dev/null

#: step run: a bind of a file over a directory is refused
fails run --rm --volume /etc/hostname:/etc "$IMAGE" true 2>"$WORK/err"
contains 'not a directory' "$(tr '[:upper:]' '[:lower:]' <"$WORK/err")"

#: step run: capabilities
same $'CapEff:\t0000000000000000' "$(run --rm --cap-drop ALL "$IMAGE" grep CapEff /proc/self/status)"
same $'CapEff:\t0000000002000000' "$(run --rm --cap-drop ALL --cap-add SYS_TIME "$IMAGE" grep CapEff /proc/self/status)"

#: step run: seccomp and no-new-privileges
contains $'Seccomp:\t2' "$(run --rm "$IMAGE" cat /proc/self/status)"
contains $'Seccomp:\t0' "$(run --rm --security-opt seccomp=unconfined "$IMAGE" cat /proc/self/status)"
contains $'NoNewPrivs:\t1' "$(run --rm --security-opt no-new-privileges "$IMAGE" cat /proc/self/status)"

#: step run --privileged
same mounted "$(run --rm --privileged "$IMAGE" sh -c 'mount -t tmpfs t /mnt && [ -e /dev/full ] && echo mounted')"

#: step run: devices
same there "$(run --rm --device /dev/loop-control:/dev/lc "$IMAGE" sh -c '[ -c /dev/lc ] && echo there')"

#: step run: ulimits and sysctls
same 77 "$(run --rm --ulimit nofile=77:88 --ulimit nproc=4096 "$IMAGE" sh -c 'ulimit -n')"
same 4242 "$(run --rm --sysctl net.ipv4.ip_local_reserved_ports=4242 "$IMAGE" cat /proc/sys/net/ipv4/ip_local_reserved_ports)"

#: step run: host namespaces
same "$(readlink /proc/self/ns/pid)" "$(run --rm --pid host "$IMAGE" readlink /proc/self/ns/pid)"
same "$(readlink /proc/self/ns/net)" "$(engine run --rm --network host "$IMAGE" readlink /proc/self/ns/net)"
same "$(readlink /proc/self/ns/uts)" "$(run --rm --uts host "$IMAGE" readlink /proc/self/ns/uts)"
[[ ! -d /dev/mqueue ]] || same "$(readlink /proc/self/ns/ipc)" "$(run --rm --ipc host "$IMAGE" readlink /proc/self/ns/ipc)"
same "$(readlink /proc/self/ns/cgroup)" "$(run --rm --cgroupns host "$IMAGE" readlink /proc/self/ns/cgroup)"

#: step run: another container's namespaces
sleeper
same "$(engine exec "$ID" readlink /proc/self/ns/net)" "$(engine run --rm --network "container:$ID" "$IMAGE" readlink /proc/self/ns/net)"
same "$(engine exec "$ID" readlink /proc/self/ns/pid)" "$(run --rm --pid "container:$ID" "$IMAGE" readlink /proc/self/ns/pid)"

#: driver step exec: output, exit status, standard input, terminal
sleeper
same hello "$(engine exec "$ID" echo hello)"
expect 9 engine exec "$ID" sh -c 'exit 9'
same in "$(echo in | engine exec --interactive "$ID" cat)"
contains /dev/ "$(with_tty "$line exec -it $ID tty")"

#: step exec: user, directory, environment, privileges
sleeper
same '12 /tmp b' "$(engine exec --user 12 --workdir /tmp --env A=b "$ID" sh -c 'echo $(id -u) $(pwd) $A')"
caps=$(engine exec --privileged "$ID" sed -n 's/^CapEff:\t//p' /proc/self/status)
# All that the engine knows and the machine has: CAP_SYS_ADMIN is one of them, and not of the default ones.
((16#${caps//$'\r'/} & 1 << 21)) || { echo "capabilities: $caps"; exit 1; }

#: step exec -d
sleeper
engine exec --detach "$ID" touch /made >/dev/null
eventually engine exec "$ID" test -e /made

#: step stop: the program handles SIGTERM
run --detach --name "$ID" "$IMAGE" sh -c 'trap "exit 42" TERM; echo ready; while :; do sleep 0.1; done' >/dev/null
logged() { [[ $(engine logs "$ID") == ready ]]; }
eventually logged
engine stop --time $((10 * SLOW)) "$ID" >/dev/null
same 42 "$(inspect .State.ExitCode)"

#: step stop: SIGKILL after a while
sleeper; engine stop --time 1 "$ID" >/dev/null 2>&1; same 137 "$(inspect .State.ExitCode)"

#: driver step kill
sleeper; engine kill "$ID" >/dev/null; eventually is exited; same 137 "$(inspect .State.ExitCode)"

#: driver step start, restart
sleeper
first=$(inspect .State.Pid)
engine restart --time 0 "$ID" >/dev/null
[[ $(inspect .State.Pid) != "$first" ]]
engine stop --time 0 "$ID" >/dev/null; engine start "$ID" >/dev/null; is running

#: driver step pause, unpause
own_cgroup
sleeper
engine pause "$ID" >/dev/null; is paused
fails engine exec "$ID" true 2>"$WORK/err"
engine unpause "$ID" >/dev/null; is running
engine exec "$ID" true

#: driver step top
sleeper
contains 'sleep 1000' "$(engine top "$ID")"

#: step logs, commit, wait
run --detach --name "$ID" "$IMAGE" sh -c 'echo logged >&1; echo data >/data; exit 4' >/dev/null
same 4 "$(engine wait "$ID")"
same logged "$(engine logs "$ID")"
contains 'A /data' "$(engine diff "$ID")"
engine commit "$ID" "localhost/$ID" >/dev/null 2>&1
same data "$(run --rm "localhost/$ID" cat /data)"
engine rmi "localhost/$ID" >/dev/null

#: step a program that ends at once is not lost
for ((i = 0; i < 12 / SLOW; i++)); do expect 3 run --rm "$IMAGE" sh -c 'exit 3'; done
