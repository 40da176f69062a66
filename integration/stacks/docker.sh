#: setup
command -v dockerd >/dev/null || skip 'docker.io is not installed'
mkdir -p "$WORK/docker"
echo '{ "max-concurrent-uploads": 2 }' >"$WORK/docker/daemon.json"
# runc is there anyway; safebox is there because of what `safebox install` writes.
if [[ $NAME == safebox ]]; then
    "$RUNTIME" install --docker --etc "$WORK"
    contains 'nothing to do' "$("$RUNTIME" install --docker --etc "$WORK")"
fi
bridge=(--bridge none --iptables=false --ip6tables=false)
if iptables --table nat --list >/dev/null 2>&1; then bridge=(--bip 172.31.255.1/24 --userland-proxy=false); fi
# A containerd of its own: the one that dockerd starts has fifteen seconds, which emulated machines need longer than.
cat >"$WORK/docker/containerd.toml" <<END
version = 2
root = "$WORK/docker/containerd"
state = "$WORK/docker/containerd-state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "$WORK/docker/c.sock"
END
containerd --config "$WORK/docker/containerd.toml" >"$WORK/docker/containerd.log" 2>&1 </dev/null &
eventually ctr --address "$WORK/docker/c.sock" version
dockerd --containerd "$WORK/docker/c.sock" --host "unix://$WORK/d.sock" --data-root "$WORK/docker/data" --exec-root "$WORK/docker/exec" \
    --pidfile "$WORK/docker/pid" --config-file "$WORK/docker/daemon.json" --default-runtime "$NAME" \
    --exec-opt "native.cgroupdriver=$DRIVER" --storage-driver overlay2 "${bridge[@]}" \
    >"$WORK/docker/log" 2>&1 </dev/null &
eventually docker version || { tail -n 2 "$WORK/docker/log"; exit 1; }
docker load --quiet --input "$BASE/image.tar"
# The daemon keeps the mount that it makes for the first of these.
docker run --rm --network host "$IMAGE" true

#: prelude
IMAGE=localhost/busybox:latest
# With a terminal: the program itself, not a function of this shell.
line="docker --host unix://$WORK/d.sock"
docker() { command docker --host "unix://$WORK/d.sock" "$@"; }
engine() { docker "$@"; }
run() { docker run --network none "$@"; }
sleeper() { run --detach --init=false --name "$ID" "$@" "$IMAGE" sleep 1000 >/dev/null; }

#: finally
ids=$(docker ps --all --quiet)
if [[ -n $ids ]]; then docker rm --force --volumes $ids >/dev/null; fi

#: driver step the runtime is used
same "$NAME $DRIVER" "$(docker info --format '{{.DefaultRuntime}} {{.CgroupDriver}}')"
sleeper; same "$NAME" "$(inspect .HostConfig.Runtime)"

#: step run: the bridge network (a prestart hook)
docker network inspect bridge >/dev/null 2>&1 || skip 'no iptables here, so no bridge'
docker run --detach --name "$ID" --publish 127.0.0.1:18080:80 "$IMAGE" sh -c 'mkdir /www; echo web >/www/i; httpd -f -h /www' >/dev/null
contains 172.31.255. "$(docker exec "$ID" ip addr show eth0)"
eventually wget -q -O - http://172.31.255.2/i || eventually busybox wget -q -O - http://172.31.255.2/i

#: step exec: exit statuses of what cannot be executed
sleeper
as_runc docker-exec "$(for p in /no/such nosuch /etc/passwd /etc; do code docker exec "$ID" "$p"; done; code docker exec --workdir /no/such "$ID" true)"

#: step restart policy
run --detach --name "$ID" --restart on-failure:2 "$IMAGE" sh -c 'exit 3' >/dev/null
eventually is exited
eventually test "$(inspect .RestartCount)" = 2

#: driver step update
sleeper --memory 64m --memory-swap 64m
docker update --memory 96m --memory-swap 96m --cpus 0.25 --pids-limit 44 "$ID" >/dev/null
p=$(inspect .State.Pid)
same 100663296 "$(limit "$p" memory memory.limit_in_bytes memory.max)"
same 44 "$(limit "$p" pids pids.max pids.max)"
if v2; then same '25000 100000' "$(limit "$p" cpu - cpu.max)"; else same 25000 "$(limit "$p" cpu cpu.cfs_quota_us -)"; fi

#: driver step stats
sleeper --memory 64m
contains 64MiB "$(docker stats --no-stream --format '{{.MemUsage}} {{.PIDs}}' "$ID")"

#: step top: columns of ps
sleeper
contains sleep "$(docker top "$ID" -o pid,comm)"

#: step health check
run --detach --name "$ID" --health-cmd 'test -e /healthy' --health-interval 1s "$IMAGE" sh -c 'touch /healthy; sleep 1000' >/dev/null
eventually test "$(inspect .State.Health.Status)" = healthy || { sleep 2; same healthy "$(inspect .State.Health.Status)"; }

#: step cp
sleeper
echo data >"$WORK/data"; docker cp "$WORK/data" "$ID:/data"
same data "$(docker exec "$ID" cat /data)"

#: step build (classic builder)
mkdir -p "$WORK/build"
printf 'FROM %s\nRUN echo built >/built\nRUN test $(id -u) = 0\nUSER 12\nRUN test $(id -u) = 12\nCMD cat /built\n' "$IMAGE" >"$WORK/build/Dockerfile"
DOCKER_BUILDKIT=0 docker build --quiet --network none --tag "localhost/$ID" "$WORK/build" >/dev/null
same built "$(run --rm "localhost/$ID")"
docker rmi "localhost/$ID" >/dev/null

#: step attach
run --detach --interactive --name "$ID" "$IMAGE" cat >/dev/null
same typed "$({ echo typed; sleep 1; } | timeout 3 docker --host "unix://$WORK/d.sock" attach --sig-proxy=false "$ID" || true)"

#: step safebox install --docker: undone, the file is as it was
[[ $NAME == safebox ]] || skip 'it is safebox that installs'
cp "$WORK/docker/daemon.json" "$WORK/before"
"$RUNTIME" install --undo --docker --etc "$WORK" >/dev/null
same "$(jq -S . "$WORK/docker/daemon.json.before-safebox")" "$(jq -S . "$WORK/docker/daemon.json")"
cp "$WORK/before" "$WORK/docker/daemon.json"
