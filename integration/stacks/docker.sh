#: setup
command -v dockerd >/dev/null || skip 'docker.io is not installed'
mkdir -p "$WORK/docker"
bridge=(--bridge none --iptables=false --ip6tables=false)
if iptables --table nat --list >/dev/null 2>&1; then bridge=(--bip 172.31.255.1/24 --userland-proxy=false); fi
dockerd --host "unix://$WORK/d.sock" --data-root "$WORK/docker/data" --exec-root "$WORK/docker/exec" \
    --pidfile "$WORK/docker/pid" --add-runtime "stacks-$NAME=$RUNTIME" --default-runtime "stacks-$NAME" \
    --storage-driver overlay2 "${bridge[@]}" >"$WORK/docker/log" 2>&1 </dev/null &
eventually docker version || { tail -n 20 "$WORK/docker/log"; exit 1; }
docker load --quiet --input "$BASE/image.tar"
# The daemon keeps the mount that it makes for the first of these.
docker run --rm --network host "$IMAGE" true

#: prelude
IMAGE=localhost/busybox:latest
docker() { command /usr/bin/docker --host "unix://$WORK/d.sock" "$@"; }
run() { docker run --network none "$@"; }
sleeper() { run --detach --init=false --name "$ID" "$@" "$IMAGE" sleep 1000 >/dev/null; }
inspect() { docker inspect --format "{{$1}}" "$ID"; }
is() { [[ $(inspect .State.Status) == "$1" ]]; }

#: finally
ids=$(docker ps --all --quiet)
if [[ -n $ids ]]; then docker rm --force --volumes $ids >/dev/null; fi

#: step the runtime is used
same "stacks-$NAME" "$(docker info --format '{{.DefaultRuntime}}')"
sleeper; same "stacks-$NAME" "$(inspect .HostConfig.Runtime)"

#: step run: output, exit status, standard input
same hello "$(run --rm "$IMAGE" echo hello)"
expect 7 run --rm "$IMAGE" sh -c 'exit 7'
same in "$(echo in | run --rm --interactive "$IMAGE" cat)"
expect 137 run --rm "$IMAGE" sh -c 'sh -c "kill -9 \$\$"; exit $?'

#: step run: standard error apart
out=$(run --rm "$IMAGE" sh -c 'echo out; echo err >&2' 2>"$WORK/err")
same out "$out"; same err "$(cat "$WORK/err")"

#: step run: 127 for a program that is not there
expect 127 run --rm "$IMAGE" /no/such
expect 127 run --rm "$IMAGE" nosuch

#: step run: 126 for what cannot be executed
expect 126 run --rm "$IMAGE" /etc/passwd
expect 126 run --rm "$IMAGE" /etc

#: step run -t
out=$(with_tty "/usr/bin/docker --host unix://$WORK/d.sock run --network none --rm -it $IMAGE tty")
contains /dev/ "$out"

#: step run --init
out=$(run --rm --init "$IMAGE" sh -c 'cat /proc/1/comm')
contains init "$out"

#: step run: limits
sleeper --memory 64m --memory-swap 64m --cpus 0.5 --pids-limit 33 --cpu-shares 512
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
docker volume rm named >/dev/null

#: step run: a bind of a file over a directory is refused
fails run --rm --volume /etc/hostname:/etc "$IMAGE" true 2>"$WORK/err"
contains 'not a directory' "$(cat "$WORK/err")"

#: step run: capabilities
same $'CapEff:\t0000000000000000' "$(run --rm --cap-drop ALL "$IMAGE" grep CapEff /proc/self/status)"
same $'CapEff:\t0000000002000000' "$(run --rm --cap-drop ALL --cap-add SYS_TIME "$IMAGE" grep CapEff /proc/self/status)"

#: step run: seccomp and no-new-privileges
contains $'Seccomp:\t2' "$(run --rm "$IMAGE" cat /proc/self/status)"
contains $'Seccomp:\t0' "$(run --rm --security-opt seccomp=unconfined "$IMAGE" cat /proc/self/status)"
contains $'NoNewPrivs:\t1' "$(run --rm --security-opt no-new-privileges "$IMAGE" cat /proc/self/status)"
fails run --rm "$IMAGE" unshare -U true 2>"$WORK/err"

#: step run --privileged
same mounted "$(run --rm --privileged "$IMAGE" sh -c 'mount -t tmpfs t /mnt && [ -e /dev/loop-control ] && echo mounted')"

#: step run: devices
same there "$(run --rm --device /dev/loop-control:/dev/lc "$IMAGE" sh -c '[ -c /dev/lc ] && echo there')"

#: step run: ulimits and sysctls
same 77 "$(run --rm --ulimit nofile=77:88 "$IMAGE" sh -c 'ulimit -n')"
same 4242 "$(run --rm --sysctl net.ipv4.ip_local_reserved_ports=4242 "$IMAGE" cat /proc/sys/net/ipv4/ip_local_reserved_ports)"

#: step run: host namespaces
same "$(readlink /proc/self/ns/pid)" "$(run --rm --pid host "$IMAGE" readlink /proc/self/ns/pid)"
same "$(readlink /proc/self/ns/net)" "$(docker run --rm --network host "$IMAGE" readlink /proc/self/ns/net)"
same "$(readlink /proc/self/ns/uts)" "$(run --rm --uts host "$IMAGE" readlink /proc/self/ns/uts)"
same "$(readlink /proc/self/ns/ipc)" "$(run --rm --ipc host "$IMAGE" readlink /proc/self/ns/ipc)"

#: step run: another container's namespaces
sleeper
same "$(docker exec "$ID" readlink /proc/self/ns/net)" "$(docker run --rm --network "container:$ID" "$IMAGE" readlink /proc/self/ns/net)"
same "$(docker exec "$ID" readlink /proc/self/ns/pid)" "$(run --rm --pid "container:$ID" "$IMAGE" readlink /proc/self/ns/pid)"

#: step run: the bridge network (a prestart hook)
docker network inspect bridge >/dev/null 2>&1 || skip 'no iptables here, so no bridge'
docker run --detach --name "$ID" --publish 127.0.0.1:18080:80 "$IMAGE" sh -c 'mkdir /www; echo web >/www/i; httpd -f -h /www' >/dev/null
contains 172.31.255. "$(docker exec "$ID" ip addr show eth0)"
eventually wget -q -O - http://172.31.255.2/i || eventually busybox wget -q -O - http://172.31.255.2/i

#: step exec: output, exit status, standard input, terminal
sleeper
same hello "$(docker exec "$ID" echo hello)"
expect 9 docker exec "$ID" sh -c 'exit 9'
same in "$(echo in | docker exec --interactive "$ID" cat)"
contains /dev/ "$(with_tty "/usr/bin/docker --host unix://$WORK/d.sock exec -it $ID tty")"

#: step exec: user, directory, environment
sleeper
same '12 /tmp b' "$(docker exec --user 12 --workdir /tmp --env A=b "$ID" sh -c 'echo $(id -u) $(pwd) $A')"

#: step exec --privileged
sleeper
out=$(docker exec --privileged "$ID" grep CapEff /proc/self/status)
contains 1ff "$out"

#: step exec -d
sleeper
docker exec --detach "$ID" touch /made
eventually docker exec "$ID" test -e /made

#: step exec: exit statuses of what cannot be executed
sleeper
as_runc docker-exec "$(for p in /no/such nosuch /etc/passwd /etc; do code docker exec "$ID" "$p"; done; code docker exec --workdir /no/such "$ID" true)"

#: step stop: the program handles SIGTERM
run --detach --name "$ID" "$IMAGE" sh -c 'trap "exit 42" TERM; echo ready; while :; do sleep 0.1; done' >/dev/null
eventually sh -c "/usr/bin/docker --host unix://$WORK/d.sock logs $ID | grep ready"
docker stop "$ID" >/dev/null
same 42 "$(inspect .State.ExitCode)"

#: step stop: SIGKILL after a while
sleeper; docker stop --time 1 "$ID" >/dev/null; same 137 "$(inspect .State.ExitCode)"

#: step kill
sleeper; docker kill "$ID" >/dev/null; eventually is exited; same 137 "$(inspect .State.ExitCode)"

#: step start, restart
sleeper
first=$(inspect .State.Pid)
docker restart --time 0 "$ID" >/dev/null
[[ $(inspect .State.Pid) != "$first" ]]
docker stop --time 0 "$ID" >/dev/null; docker start "$ID" >/dev/null; is running

#: step restart policy
run --detach --name "$ID" --restart on-failure:2 "$IMAGE" sh -c 'exit 3' >/dev/null
eventually is exited
eventually test "$(inspect .RestartCount)" = 2

#: step pause, unpause
sleeper
docker pause "$ID" >/dev/null; is paused
fails docker exec "$ID" true 2>"$WORK/err"
docker unpause "$ID" >/dev/null; is running
docker exec "$ID" true

#: step update
sleeper --memory 64m --memory-swap 64m
docker update --memory 96m --memory-swap 96m --cpus 0.25 --pids-limit 44 "$ID" >/dev/null
p=$(inspect .State.Pid)
same 100663296 "$(limit "$p" memory memory.limit_in_bytes memory.max)"
same 44 "$(limit "$p" pids pids.max pids.max)"
if v2; then same '25000 100000' "$(limit "$p" cpu - cpu.max)"; else same 25000 "$(limit "$p" cpu cpu.cfs_quota_us -)"; fi

#: step stats
sleeper --memory 64m
contains 64MiB "$(docker stats --no-stream --format '{{.MemUsage}} {{.PIDs}}' "$ID")"

#: step top
sleeper
contains 'sleep 1000' "$(docker top "$ID")"
contains sleep "$(docker top "$ID" -o pid,comm)"

#: step health check
run --detach --name "$ID" --health-cmd 'test -e /healthy' --health-interval 1s "$IMAGE" sh -c 'touch /healthy; sleep 1000' >/dev/null
eventually test "$(inspect .State.Health.Status)" = healthy || { sleep 2; same healthy "$(inspect .State.Health.Status)"; }

#: step cp, commit, diff, logs
sleeper
echo data >"$WORK/data"; docker cp "$WORK/data" "$ID:/data"
same data "$(docker exec "$ID" cat /data)"
contains 'A /data' "$(docker diff "$ID")"
docker commit "$ID" "localhost/$ID" >/dev/null; docker rmi "localhost/$ID" >/dev/null

#: step wait, and a program that ends at once
for i in {1..10}; do expect 3 run --rm "$IMAGE" sh -c 'exit 3'; done
run --detach --name "$ID" "$IMAGE" sh -c 'exit 4' >/dev/null; same 4 "$(docker wait "$ID")"

#: step build (classic builder)
mkdir -p "$WORK/build"
printf 'FROM %s\nRUN echo built >/built\nRUN test $(id -u) = 0\nUSER 12\nRUN test $(id -u) = 12\nCMD cat /built\n' "$IMAGE" >"$WORK/build/Dockerfile"
DOCKER_BUILDKIT=0 docker build --quiet --network none --tag "localhost/$ID" "$WORK/build" >/dev/null
same built "$(run --rm "localhost/$ID")"
docker rmi "localhost/$ID" >/dev/null

#: step attach
run --detach --interactive --name "$ID" "$IMAGE" cat >/dev/null
same typed "$({ echo typed; sleep 1; } | timeout 3 /usr/bin/docker --host "unix://$WORK/d.sock" attach --sig-proxy=false "$ID" || true)"

