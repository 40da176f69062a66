#: setup
/usr/bin/python3 -c 'import grpc, google.protobuf' 2>/dev/null || skip 'python3-grpcio is not installed (Debian has no crictl)'
mkdir -p "$WORK/containerd" "$WORK/cni"
network=2
if [[ -x /usr/lib/cni/bridge ]] && iptables --table nat --list >/dev/null 2>&1; then
    network=0
    cat >"$WORK/cni/10-bridge.conflist" <<END
{ "cniVersion": "0.4.0", "name": "stacks", "plugins": [{ "type": "bridge", "bridge": "stacks0", "isGateway": true,
  "ipam": { "type": "host-local", "dataDir": "$WORK/cni-data", "ranges": [[{ "subnet": "172.30.77.0/24" }]] } }] }
END
fi
echo "$network" >"$WORK/network"
cat >"$WORK/containerd/config.toml" <<END
version = 2
root = "$WORK/containerd/root"
state = "$WORK/containerd/state"
[grpc]
  address = "$WORK/c.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:latest"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$WORK/cni"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
    SystemdCgroup = $([[ $DRIVER == systemd ]] && echo true || echo false)
END
# The handler `safebox` is the one that `safebox install` writes, with the cgroup driver that it finds.
if [[ $NAME == safebox ]]; then
    "$RUNTIME" install --containerd --etc "$WORK"
    "$RUNTIME" install --containerd --policy restricted --etc "$WORK"
fi
containerd --config "$WORK/containerd/config.toml" >"$WORK/containerd/log" 2>&1 </dev/null &
eventually cri Version '{}'
command ctr --address "$WORK/c.sock" --namespace k8s.io image import "$BASE/image.tar" >/dev/null

#: prelude
cri() { /usr/bin/python3 "$BASE/cri.py" "$WORK/c.sock" "$@"; }
privileged=false
# What Pod Security Standards call restricted, with the paths that the kubelet sends for procMount: Default.
restricted='{ "security_context": { "run_as_user": { "value": 65532 }, "no_new_privs": true,
    "capabilities": { "drop_capabilities": ["ALL"] }, "seccomp": { "profile_type": 0 },
    "masked_paths": ["/proc/asound", "/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
        "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware"],
    "readonly_paths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"] } }'
# A step about safebox's policy; a pod with the host's network is refused.
policy() {
    [[ $NAME == safebox ]] || skip 'runc has no policy'
    [[ $(cat "$WORK/network") == 0 ]] || skip 'no CNI plugins here, so each pod has the network of the host'
}
# `pod [PID-MODE]`: 0 shares the pod's pid namespace, 1 does not. Sets $pod.
pod_config() {
    local parent=/stacks-parent/$ID
    if [[ $DRIVER == systemd ]]; then parent=/stacks.slice/stacks-${ID//-/_}.slice; fi
    # The host's network goes with the host's name.
    local name=$ID; if [[ $(cat "$WORK/network") == 2 ]]; then name=; fi
    echo "{ \"metadata\": { \"name\": \"$ID\", \"uid\": \"$ID\", \"namespace\": \"stacks\" }, \"log_directory\": \"$WORK/logs\",
        \"hostname\": \"$name\", \"linux\": { \"cgroup_parent\": \"$parent\", \"security_context\": { \"privileged\": $privileged,
        \"namespace_options\": { \"network\": $(cat "$WORK/network"), \"pid\": ${1:-1} } } } }"
}
pod() {
    mkdir -p "$WORK/logs"
    pids=${1:-1}
    pod=$(cri RunPodSandbox "{ \"runtime_handler\": \"${handler:-$NAME}\", \"config\": $(pod_config "$pids") }" | jq -r .pod_sandbox_id)
    [[ -n $pod ]]
}
# `member NAME COMMAND-JSON [LINUX-JSON] [MORE]`: creates and starts; sets $container.
member() {
    local linux=${3:-'{}'}
    linux=$(jq --argjson pid "$pids" --argjson net "$(cat "$WORK/network")" \
        '.security_context.namespace_options = { pid: $pid, network: $net }' <<<"$linux")
    container=$(cri CreateContainer "{ \"pod_sandbox_id\": \"$pod\", \"sandbox_config\": $(pod_config "$pids"), \"config\": {
        \"metadata\": { \"name\": \"$1\" }, \"image\": { \"image\": \"localhost/busybox:latest\" }, \"command\": $2,
        \"log_path\": \"$ID-$1.log\", \"linux\": $linux ${4:-} } }" | jq -r .container_id)
    [[ -n $container ]]
    cri StartContainer "{ \"container_id\": \"$container\" }" >/dev/null
}
sleeper() { pod "${1:-1}"; member main '["sleep", "1000"]' "${2:-}"; }
exec_in() {
    local cmd; cmd=$(printf '%s\001' "${@:2}" | jq --raw-input --slurp 'split("\u0001")[:-1]')
    cri ExecSync "{ \"container_id\": \"$1\", \"timeout\": 30, \"cmd\": $cmd }"
}
status() { cri ContainerStatus "{ \"container_id\": \"$container\" }" | jq -r ".status.$1"; }
exited() { [[ $(status state) == 2 ]]; }
pid() { command ctr --address "$WORK/c.sock" --namespace k8s.io task list | awk -v id="$1" '$1 == id { print $2 }'; }

#: finally
for id in $(cri ListPodSandbox '{}' | jq -r '.items[]?.id'); do
    cri StopPodSandbox "{ \"pod_sandbox_id\": \"$id\" }" >/dev/null
    cri RemovePodSandbox "{ \"pod_sandbox_id\": \"$id\" }" >/dev/null
done
# The kubelet makes and removes the cgroup of a pod.
for dir in $(find /sys/fs/cgroup -depth -type d -path '*/stacks-parent/*' 2>/dev/null); do rmdir "$dir" 2>/dev/null || true; done
if [[ $DRIVER == systemd ]]; then systemctl stop "stacks-${ID//-/_}.slice" 2>/dev/null || true; fi

#: driver step a pod, a member, exec
sleeper
same hello "$(exec_in "$container" echo hello)"
expect 9 exec_in "$container" sh -c 'exit 9'

#: step members join the pause container's namespaces
sleeper
for ns in net ipc uts; do same "$(readlink "/proc/$(pid "$pod")/ns/$ns")" "$(exec_in "$container" readlink "/proc/self/ns/$ns")"; done
[[ $(readlink "/proc/$(pid "$pod")/ns/pid") != "$(readlink "/proc/$(pid "$container")/ns/pid")" ]]
first=$container
member second '["sleep", "1001"]'
same "$(exec_in "$first" readlink /proc/self/ns/net)" "$(exec_in "$container" readlink /proc/self/ns/net)"
[[ $(cat "$WORK/network") == 2 ]] || same "$ID" "$(exec_in "$container" hostname)"

#: driver step a pod with a shared pid namespace
sleeper 0
first=$container
member second '["sleep", "1001"]'
contains 'sleep 1001' "$(exec_in "$first" ps)"
cri StopContainer "{ \"container_id\": \"$container\" }" >/dev/null
cri RemoveContainer "{ \"container_id\": \"$container\" }" >/dev/null
lacks 'sleep 1001' "$(exec_in "$first" ps)"

#: step the log has both streams
pod
member main '["sh", "-c", "echo out; echo err >&2"]'
eventually exited
contains 'stdout F out' "$(cat "$WORK/logs/$ID-main.log")"
contains 'stderr F err' "$(cat "$WORK/logs/$ID-main.log")"

#: step exit status and reason
pod
member main '["sh", "-c", "exit 42"]'
eventually exited
same 42 "$(status exit_code)"
same Error "$(status reason)"

#: driver step out of memory is a reason
pod
member main '["tail", "/dev/zero"]' '{ "resources": { "memory_limit_in_bytes": 20971520 } }'
eventually exited
same OOMKilled "$(status reason)"

#: driver step limits, update, stats
sleeper 1 '{ "resources": { "memory_limit_in_bytes": 33554432, "cpu_period": 100000, "cpu_quota": 50000 } }'
p=$(pid "$container")
if [[ $DRIVER == systemd ]]; then contains "cri-containerd-$container.scope" "$(cat "/proc/$p/cgroup")"; fi
same 33554432 "$(limit "$p" memory memory.limit_in_bytes memory.max)"
cri UpdateContainerResources "{ \"container_id\": \"$container\", \"linux\": { \"memory_limit_in_bytes\": 67108864, \"cpu_period\": 100000, \"cpu_quota\": 25000 } }" >/dev/null
same 67108864 "$(limit "$p" memory memory.limit_in_bytes memory.max)"
if v2; then same '25000 100000' "$(limit "$p" cpu - cpu.max)"; else same 25000 "$(limit "$p" cpu cpu.cfs_quota_us -)"; fi
eventually cri ContainerStats "{ \"container_id\": \"$container\" }"
contains working_set_bytes "$(cri ContainerStats "{ \"container_id\": \"$container\" }")"

#: step the security context of a restricted pod
sleeper 1 '{ "security_context": { "run_as_user": { "value": 65532 }, "run_as_group": { "value": 65533 }, "no_new_privs": true,
    "readonly_rootfs": true, "supplemental_groups": [77], "capabilities": { "drop_capabilities": ["ALL"] }, "seccomp": { "profile_type": 0 } } }'
same '65532 65533 65533 77' "$(exec_in "$container" sh -c 'echo $(id -u) $(id -g) $(id -G)')"
out=$(exec_in "$container" cat /proc/self/status)
contains $'CapEff:\t0000000000000000' "$out"; contains $'NoNewPrivs:\t1' "$out"; contains $'Seccomp:\t2' "$out"
fails exec_in "$container" touch /x

#: step a privileged member
privileged=true
pod
member main '["sleep", "1000"]' '{ "security_context": { "privileged": true } }'
exec_in "$container" mount -t tmpfs t /mnt

#: step a handler with a policy refuses a privileged pod
policy
handler=safebox-restricted privileged=true
pod
out=$(fails member main '["sleep", "1000"]' '{ "security_context": { "privileged": true } }' 2>&1)
contains 'policy restricted refuses this container: ' "$out"; contains 'remedy: ' "$out"
privileged=false
# Docker's defaults: root, 14 capabilities. The event of a pod has this text.
out=$(fails member default '["sleep", "1000"]' 2>&1)
contains 'policy restricted refuses this container: non-root: ' "$out"; contains 'remedy: ' "$out"
out=$(fails member host '["sleep", "1000"]' "$restricted" ", \"mounts\": [{ \"host_path\": \"/\", \"container_path\": \"/host\" }]" 2>&1)
contains 'policy restricted refuses this container: host-directories: ' "$out"

#: step a handler with a policy runs a restricted pod
policy
handler=safebox-restricted
sleeper 1 "$restricted"
same 65532 "$(exec_in "$container" id -u)"
"$RUNTIME" --root /run/containerd/runc/k8s.io verify "$container"

#: step the policy file decides for the usual handler
policy
mkdir -p /etc/safebox
mount -t tmpfs -o mode=755 policy /etc/safebox
trap 'umount /etc/safebox; rmdir /etc/safebox' EXIT
printf 'mode = "enforce"\nlevel = "restricted"\n[[exceptions]]\nreason = "the stacks"\nannotations = { "io.kubernetes.cri.container-name" = "excepted" }\n' >/etc/safebox/policy.toml
pod
out=$(fails member main '["sleep", "1000"]' 2>&1)
contains 'policy restricted refuses this container: non-root: ' "$out"
member excepted '["sleep", "1000"]'
same 0 "$(exec_in "$container" id -u)"
member good '["sleep", "1000"]' "$restricted"
same 65532 "$(exec_in "$container" id -u)"
printf 'mode = ' >/etc/safebox/policy.toml
out=$(fails member broken '["sleep", "1000"]' "$restricted" 2>&1)
contains '/etc/safebox/policy.toml:1:' "$out"
# What is there can be ended.
cri StopContainer "{ \"container_id\": \"$container\" }" >/dev/null

#: step the audit trail has what containerd did
[[ $NAME == safebox ]] || skip 'runc has no audit trail'
"$RUNTIME" --root /run/containerd/runc/k8s.io watch --output "$WORK/trail" &
watch=$!
trap 'kill -INT $watch 2>/dev/null || true' EXIT
eventually grep -q '"event":"begin"' "$WORK/trail"
sleeper
first=$container
exec_in "$container" true
cri StopContainer "{ \"container_id\": \"$container\" }" >/dev/null
cri RemoveContainer "{ \"container_id\": \"$container\" }" >/dev/null
if [[ $(cat "$WORK/network") == 0 ]]; then
    handler=safebox-restricted ID=$ID-refused
    pod
    fails member refused '["true"]' 2>/dev/null
fi
kill -INT $watch; wait $watch
for event in create start exec kill end delete; do
    contains "\"event\":\"$event\",\"id\":\"$first\"" "$(cat "$WORK/trail")"
done
contains '"parent":{"pid":' "$(cat "$WORK/trail")"
[[ $(cat "$WORK/network") == 2 ]] || contains '"rule":"non-root"' "$(grep '"event":"denied"' "$WORK/trail")"
"$RUNTIME" watch --verify "$WORK/trail"

#: step a volume
mkdir -p "$WORK/volume"; echo there >"$WORK/volume/file"
pod
member main '["sleep", "1000"]' '{}' ", \"mounts\": [{ \"host_path\": \"$WORK/volume\", \"container_path\": \"/data\", \"readonly\": true }]"
same there "$(exec_in "$container" cat /data/file)"
fails exec_in "$container" touch /data/x

#: step no such program
pod
out=$(fails member main '["/no/such"]' 2>&1)
contains 'no such file or directory' "$out"

#: step stop: SIGTERM, then SIGKILL
sleeper
cri StopContainer "{ \"container_id\": \"$container\", \"timeout\": 1 }" >/dev/null
same 137 "$(status exit_code)"

#: step a handler that is not there is refused
out=$(fails cri RunPodSandbox "{ \"runtime_handler\": \"nosuch\", \"config\": $(pod_config) }" 2>&1)
contains 'no runtime for "nosuch"' "$out"

#: step a member takes the place of one that died
sleeper
cri StopContainer "{ \"container_id\": \"$container\" }" >/dev/null
cri RemoveContainer "{ \"container_id\": \"$container\" }" >/dev/null
member again '["sleep", "1000"]'
same hello "$(exec_in "$container" echo hello)"

#: step ladder: safebox in a restricted pod
mkdir -p "$WORK/secret"; echo 'the secret' >"$WORK/secret/file"
mounts=", \"mounts\": [{ \"host_path\": \"$BASE/../safebox\", \"container_path\": \"/safebox\", \"readonly\": true },
    { \"host_path\": \"$WORK/secret\", \"container_path\": \"/secret\", \"readonly\": true }]"
pod
member main '["sleep", "1000"]' '{ "security_context": { "run_as_user": { "value": 1000 }, "run_as_group": { "value": 1000 }, "no_new_privs": true,
    "readonly_rootfs": true, "capabilities": { "drop_capabilities": ["ALL"] }, "seccomp": { "profile_type": 0 } } }' "$mounts"
out=$(exec_in "$container" sh -c '/safebox doctor; true')
contains 'rung: landlock, no_new_privs and seccomp only' "$out"; contains 'remedy: ' "$out"
out=$(exec_in "$container" sh -c '/safebox run -- sh -c "id -u; cat /etc/passwd >/dev/null && echo reads; cat /secret/file; kill -0 1 && echo kills; touch /dev/shm/x; echo end" 2>&1')
contains $'\n1000\nreads\n' "$out"; lacks 'the secret' "$out"; lacks kills "$out"; contains end "$out"
contains 'weaker: ladder: landlock, no_new_privs and seccomp only: ' "$out"; contains 'no mount-namespace' "$out"; contains 'no cgroup' "$out"
expect 7 exec_in "$container" /safebox run -q -- sh -c 'exit 7'
out=$(expect 125 exec_in "$container" sh -c '/safebox run --require mount-namespace -- true 2>&1')
contains '--require mount-namespace: ' "$out"
