# What CRI-O asks of a runtime. CRI-O itself is not in Debian, but its conmon is: these steps call conmon and the
# runtime as CRI-O's runtime_oci.go does, with the same options, environment and pipes.

#: setup
command -v conmon >/dev/null || skip 'conmon is not installed'
mkdir -p "$WORK"/{exits,attach,states,bundles}

#: prelude
states=$WORK/states/stacks
bundle=$WORK/bundles/$ID
# CRI-O's own calls have little in their environment, and no --systemd-cgroup after create.
runtime() { env -i PATH="$PATH" XDG_RUNTIME_DIR=/run/user/0 CRI_O_EXTERNAL=1 "$RUNTIME" --root "$states" "$@"; }
# `config JQ-FILTER`: a bundle whose config was filtered. `$ns TYPE PATH` in the filter joins a namespace.
config() {
    mkdir -p "$bundle"
    (cd "$bundle" && rm -f config.json && runc spec)
    local path=/stacks-parent/crio-$ID
    if [[ $DRIVER == systemd ]]; then path=stacks.slice:crio:$ID; fi
    jq --arg rootfs "$BASE/rootfs" --arg path "$path" '.process.terminal = false | .root.path = $rootfs
        | .linux.cgroupsPath = $path | .process.args = ["sleep", "1000"]
        | .annotations = { "io.kubernetes.cri-o.ContainerType": "container", "io.container.manager": "cri-o" }
        | if $path[:1] == "/" then . else .annotations["org.systemd.property.TimeoutStopUSec"] = "uint64 30000000"
            | .annotations["org.systemd.property.DefaultDependencies"] = "true" end
        | '"${1:-.}" "$bundle/config.json" >"$bundle/new"
    mv "$bundle/new" "$bundle/config.json"
}
# What conmon writes to its sync pipe goes to $bundle/sync; it starts when it has been told to.
monitored() {
    rm -f "$bundle/sync"
    env -i PATH="$PATH" XDG_RUNTIME_DIR=/run/user/0 _OCI_SYNCPIPE=3 _OCI_STARTPIPE=4 \
        conmon -c "$ID" -n "k8s_$ID" -u "$ID" -r "$RUNTIME" --runtime-arg "--root=$states" --log-level info \
        --socket-dir-path "$WORK/attach" "$@" 3>"$bundle/sync" 4< <(printf x) </dev/null >>"$bundle/said" 2>&1
}
create() { # [CONMON-OPTION]...
    local s=(); if [[ $DRIVER == systemd ]]; then s=(-s); fi
    monitored -b "$bundle" -l "$bundle/log" --exit-dir "$WORK/exits" --persist-dir "$bundle" \
        -P "$bundle/conmon.pid" -p "$bundle/pidfile" --full-attach "${s[@]}" "$@"
    eventually test -s "$bundle/sync"
}
synced() { jq -r "$1" "$bundle/sync"; }
sleeper() { config "${1:-.}"; create; runtime start "$ID"; }
# `exec_sync SECONDS COMMAND-JSON [CONMON-OPTION]...`: as ExecSync of the CRI.
exec_sync() {
    jq --argjson args "$2" --arg options "${*:3}" '.process | .args = $args | .terminal = ($options == "-t")' "$bundle/config.json" >"$bundle/process"
    local limit=(); if [[ $1 != 0 ]]; then limit=(-T "$1"); fi
    rm -f "$bundle/exec.log"
    # Its status is the program's; CRI-O reads the pipe.
    monitored --sync -e -l "$bundle/exec.log" -p "$bundle/exec.pid" "${limit[@]}" --exec-process-spec "$bundle/process" "${@:3}" || true
}
is() { [[ $(runtime state "$ID" | jq -r .status) == "$1" ]]; }
pid() { cat "$bundle/pidfile"; }

#: finally
runtime delete --force "$ID" || true
for dir in $(find /sys/fs/cgroup -depth -type d -path '*/stacks-parent/*' 2>/dev/null); do rmdir "$dir" 2>/dev/null || true; done

#: step what CRI-O asks before it uses a runtime
# Standard output and error together must be JSON.
runtime features 2>&1 | jq -e '.ociVersionMin and .ociVersionMax and (.linux.namespaces | index("user"))' >/dev/null ||
    { [[ $NAME == runc ]] && skip 'this runc has no features'; }
runtime --version | head -n 1 | grep -q "$NAME"
runtime checkpoint --help >/dev/null
out=$(fails runtime restore --lsm-mount-context 2>&1)
grep -q -e 'flag needs an argument' -e 'requires an argument' -e 'not defined' <<<"$out" || { echo "$out"; exit 1; }

#: driver step create, start, exit status
config '.process.args = ["sh", "-c", "echo out; echo err >&2; exit 42"]'
create
same "$(synced .pid)" "$(cat "$bundle/pidfile")"
same "$(wc -c <"$bundle/pidfile")" "$(printf %s "$(cat "$bundle/pidfile")" | wc -c)"
is created
runtime start "$ID"
eventually test -s "$WORK/exits/$ID"
same 42 "$(cat "$WORK/exits/$ID")"
contains 'stdout F out' "$(cat "$bundle/log")"
contains 'stderr F err' "$(cat "$bundle/log")"
is stopped
runtime delete "$ID"

#: driver step the cgroup is the one that was asked for, and systemd is not mentioned again
sleeper '.linux.resources.memory = { limit: 33554432 } | .linux.resources.pids = { limit: 44 }'
dir=/stacks-parent/crio-$ID
if [[ $DRIVER == systemd ]]; then dir=/stacks.slice/crio-$ID.scope; fi
contains "$dir" "$(cat "/proc/$(pid)/cgroup")"
same 33554432 "$(limit "$(pid)" memory memory.limit_in_bytes memory.max)"
same 44 "$(limit "$(pid)" pids pids.max pids.max)"
echo '{ "memory": { "limit": 67108864 }, "cpu": { "shares": 512, "quota": 25000, "period": 100000 } }' | runtime update --resources - "$ID"
same 67108864 "$(limit "$(pid)" memory memory.limit_in_bytes memory.max)"
exec_sync 0 '["cat", "/proc/self/cgroup"]'
runtime pause "$ID"; is paused
runtime resume "$ID"; is running
runtime kill "$ID" KILL
eventually test -s "$WORK/exits/$ID"
same 137 "$(cat "$WORK/exits/$ID")"

#: step state: what CRI-O decodes
sleeper
state=$(runtime state "$ID")
same true "$(jq 'has("ociVersion") and has("created") and .status == "running" and .annotations["io.container.manager"] == "cri-o"' <<<"$state")"
same false "$(jq 'has("started") or has("finished") or has("exitCode") or has("initPid")' <<<"$state")"
same "$(pid)" "$(jq .pid <<<"$state")"

#: step create: what went wrong comes through conmon
config '.process.args = ["nosuch"]'
create
same -1 "$(synced .pid)"
contains 'executable file not found in $PATH' "$(synced .message)"
[[ ! -e $bundle/pidfile ]]
config '.mounts += [{ destination: "/etc", source: "/etc/hostname", type: "bind", options: ["bind"] }]'
create
same -1 "$(synced .pid)"
contains 'not a directory' "$(synced .message)"

#: driver step exec: output, exit status
sleeper
exec_sync 0 '["sh", "-c", "echo out; echo err >&2; exit 9"]'
same 9 "$(synced .exit_code | tail -n 1)"
contains 'stdout F out' "$(cat "$bundle/exec.log")"
contains 'stderr F err' "$(cat "$bundle/exec.log")"

#: step exec: no such program
sleeper
exec_sync 0 '["/no/such"]'
contains 'no such file or directory' "$(cat "$bundle/sync" "$bundle/said")"
[[ ! -e $bundle/exec.pid ]]

#: driver step exec: a timeout ends it
sleeper
exec_sync $((1 * SLOW)) '["sh", "-c", "sleep 1234 & sleep 1234"]'
same -1 "$(synced .exit_code | tail -n 1)"
contains 'timed out' "$(synced .message | tail -n 1)"
# conmon kills the process group: the program is in one of its own, and so is its child.
same 0 "$(runtime ps "$ID" | grep -c 'sleep 1234' || true)"
is running

#: step exec: with a terminal
sleeper
exec_sync 0 '["sh", "-c", "tty; exit 3"]' -t
same 3 "$(synced .exit_code | tail -n 1)"
contains /dev/pts/ "$(cat "$bundle/exec.log")"

#: step exec: streaming, the runtime in the foreground
sleeper
jq '.process | .args = ["sh", "-c", "cat; exit 5"]' "$bundle/config.json" >"$bundle/process"
expect 5 runtime exec --process "$bundle/process" "$ID" <<<typed >"$bundle/out"
same typed "$(cat "$bundle/out")"
jq '.process | .terminal = true | .args = ["sh", "-c", "tty; stty size; exit 6"]' "$bundle/config.json" >"$bundle/process"
out=$(with_tty "stty rows 33 cols 77; $RUNTIME --root $states exec --process $bundle/process $ID") && false || [[ $? == 6 ]]
contains /dev/pts/ "$out"

#: step a container with a terminal
config '.process.terminal = true | .process.args = ["sh", "-c", "tty; exit 4"]'
create -t
runtime start "$ID"
eventually test -s "$WORK/exits/$ID"
same 4 "$(cat "$WORK/exits/$ID")"
contains /dev/pts/ "$(cat "$bundle/log")"

#: step standard input through conmon's attach socket
config '.process.args = ["head", "-n", "1"]'
create -i
runtime start "$ID"
perl -MSocket -e 'socket(my $s, AF_UNIX, SOCK_SEQPACKET, 0) or die; connect($s, sockaddr_un($ARGV[0])) or die "$!"; send($s, "typed\n", 0); sleep 1' \
    "$(find "$bundle" "$WORK/attach" -name attach -type s | head -n 1)"
eventually test -s "$WORK/exits/$ID"
contains 'stdout F typed' "$(cat "$bundle/log")"

#: step namespaces that were pinned before (pinns)
mkdir -p "$WORK/pins"
for ns in net ipc uts; do touch "$WORK/pins/$ns"; done
pins() { for ns in net ipc uts; do umount "$WORK/pins/$ns" 2>/dev/null || true; done; }
trap pins EXIT
mount --bind "$WORK/pins" "$WORK/pins"; mount --make-private "$WORK/pins"
trap 'pins; umount "$WORK/pins"' EXIT
unshare --net="$WORK/pins/net" --ipc="$WORK/pins/ipc" --uts="$WORK/pins/uts" true
sleeper '.linux.namespaces |= map(if .type == "network" then .path = "'"$WORK"'/pins/net" elif .type == "ipc" then .path = "'"$WORK"'/pins/ipc"
    elif .type == "uts" then .path = "'"$WORK"'/pins/uts" else . end) | del(.hostname)'
for ns in net ipc uts; do same "$(stat -L -c %i "$WORK/pins/$ns")" "$(stat -L -c %i "/proc/$(pid)/ns/$ns")"; done
runtime delete --force "$ID"

#: driver step out of memory: conmon is told
config '.process.args = ["tail", "/dev/zero"] | .linux.resources.memory = { limit: 20971520, swap: 20971520 }'
create
runtime start "$ID"
eventually test -s "$WORK/exits/$ID"
same 137 "$(cat "$WORK/exits/$ID")"
[[ -e $bundle/oom ]] || { echo 'conmon wrote no file oom'; ls "$bundle"; exit 1; }

#: step after a reboot: the states are gone, or are of processes that are
sleeper
kill -KILL "$(cat "$bundle/conmon.pid")" "$(pid)"
eventually is stopped
same 0 "$(runtime state "$ID" | jq .pid)"
out=$(fails runtime kill "$ID" KILL 2>&1); contains 'container not running' "$out"
mv "$states/$ID" "$WORK/aside"
out=$(fails runtime state "$ID" 2>&1); contains 'does not exist' "$out"
out=$(fails runtime start "$ID" 2>&1); contains 'does not exist' "$out"
runtime delete --force "$ID"
mv "$WORK/aside" "$states/$ID"
runtime delete "$ID"
rm -f "$bundle/conmon.pid"

#: step delete: twice, and of what never was
sleeper
out=$(fails runtime delete "$ID" 2>&1); contains 'not stopped' "$out"
runtime kill "$ID" KILL
eventually is stopped
runtime delete "$ID"
out=$(fails runtime delete "$ID" 2>&1); contains 'does not exist' "$out"
runtime delete --force "$ID"

#: step create: cgroups disabled (crun's --cgroup-manager, which Podman asks for)
config 'del(.linux.cgroupsPath, .linux.resources)'
[[ $NAME != runc ]] || skip 'runc has no --cgroup-manager'
monitored -b "$bundle" -l "$bundle/log" --exit-dir "$WORK/exits" --persist-dir "$bundle" -P "$bundle/conmon.pid" \
    -p "$bundle/pidfile" --full-attach --runtime-arg --cgroup-manager --runtime-arg disabled
eventually test -s "$bundle/sync"
runtime start "$ID"
same "$(cat /proc/self/cgroup)" "$(cat "/proc/$(pid)/cgroup")"

#: step safebox install --crio
[[ $NAME == safebox ]] || skip 'it is safebox that installs'
"$RUNTIME" install --crio --etc "$WORK/etc" >/dev/null
contains 'nothing to do' "$("$RUNTIME" install --crio --etc "$WORK/etc")"
file=$WORK/etc/crio/crio.conf.d/50-safebox.conf
same "$RUNTIME oci /run/safebox" "$(/usr/bin/python3 -c 'import sys, tomllib
r = tomllib.load(open(sys.argv[1], "rb"))["crio"]["runtime"]["runtimes"]["safebox"]
print(r["runtime_path"], r["runtime_type"], r["runtime_root"])' "$file")"
"$RUNTIME" install --undo --crio --etc "$WORK/etc" >/dev/null
[[ ! -e $file ]]
