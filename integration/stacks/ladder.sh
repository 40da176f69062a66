# safebox itself as a program in a container of the engine, where less can be had: the strongest plan possible, and
# what is missing said. Docker's default filter refuses new namespaces; Podman's does not, but parts of /proc are covered.

#: prelude
# `inside [ENGINE OPTION]... -- WORD...`: safebox WORD... in a container; $SECRET is a file there that is not shown.
SAFEBOX=$BASE/../safebox
SECRET=/secret/file
inside() {
    local given=()
    while [[ $1 != -- ]]; do given+=("$1"); shift; done; shift
    mkdir -p "$WORK/secret"; echo 'the secret' >"$WORK/secret/file"; chmod 755 "$WORK/secret"; chmod 644 "$WORK/secret/file"
    run --rm --volume "$SAFEBOX:/safebox:ro" --volume "$WORK/secret:/secret:ro" "${given[@]}" "$IMAGE" /safebox "$@" 2>&1
}
if [[ $line == docker* ]]; then rung='landlock, no_new_privs and seccomp only'; else rung='all namespaces, without a /proc of their own'; fi
# What the program is to find, whatever the rung; $1 is its user.
LOOK='echo "user $(id -u)"; cat /etc/hostname >/dev/null && echo reads; cat '$SECRET'; touch /etc/x; echo x >/safebox
    read -r me _ </proc/self/stat; if [ "$me" != $$ ]; then echo apart; elif kill -0 1; then echo kills; fi
    cat /proc/1/environ; chmod 777 /safebox; grep -E "CapEff|NoNewPrivs|Seccomp:" /proc/self/status; echo end'
confined() {
    local user=$1 out=$2
    contains "user $user" "$out"; contains reads "$out"; contains end "$out"
    lacks 'the secret' "$out"; lacks kills "$out"
    contains $'CapEff:\t0000000000000000' "$out"; contains $'NoNewPrivs:\t1' "$out"; contains $'Seccomp:\t2' "$out"
    lacks HOSTNAME= "$out"
    # /proc is the container's, and has other process numbers than the pid namespace of the run.
    if [[ $line != docker* ]]; then contains apart "$out"; fi
    contains 'weaker: ladder: ' "$out"; contains 'no pid-namespace' "$out"; contains ', no cgroup' "$out"
    if [[ $line == docker* ]]; then contains 'no mount-namespace' "$out"; contains 'files by Landlock alone' "$out"; fi
}

#: step ladder: as the container's root
contains "rung: $rung" "$(inside -- doctor || true)"
confined 65532 "$(inside -- run -- sh -c "$LOOK")"
expect 7 inside -- run -q -- sh -c 'exit 7'

#: step ladder: as a user
contains "rung: $rung" "$(inside --user 1000 -- doctor || true)"
confined 1000 "$(inside --user 1000 -- run -- sh -c "$LOOK")"

#: step ladder: in a restricted container (no capability, no new privileges, a read-only root)
confined 1000 "$(inside --user 1000 --cap-drop ALL --security-opt no-new-privileges --read-only -- run -- sh -c "$LOOK")"

#: step ladder: as root without a capability
out=$(inside --cap-drop ALL -- run -- sh -c "$LOOK")
contains 'user 0' "$out"; contains reads "$out"; lacks 'the secret' "$out"; lacks kills "$out"
contains 'no user-namespace' "$out"
# Docker's filter refuses the namespace before the missing capability counts.
if [[ $line != docker* ]]; then contains 'no CAP_SETFCAP' "$(inside --cap-drop ALL -- doctor || true)"; fi
contains 'runs as root of this container, without capabilities' "$out"

#: step ladder: one path is writable, and only that
out=$(inside --user 1000 --tmpfs /data:mode=1777 --tmpfs /other:mode=1777 -- run --rw /data -- sh -c 'echo x >/data/x && cat /data/x; echo y >/other/y && echo wrote; true')
contains x "$out"; lacks wrote "$out"

#: step ladder: no network
out=$(inside --user 1000 -- run -- nc -w 1 127.0.0.1 1 || true)
[[ $out == *'ddress family not supported'* || $out == *'Connection refused'* ]] || { echo "$out"; exit 1; }

#: step ladder: detached, with a deadline, and the account
out=$(run --rm --volume "$SAFEBOX:/safebox:ro" "$IMAGE" sh -c '/safebox run -q -d --name x -- sh -c "echo hello; exit 4" &&
    /safebox wait x; /safebox logs x; /safebox rm x; /safebox run -q --timeout 1s -- sleep 100; echo $?' 2>&1)
contains $'\n4\nhello\n' "$out"; contains 'stopped after 1s' "$out"; contains 124 "$out"

#: step ladder: exec has the same guards
out=$(run --rm --env "LOOK=$LOOK" --volume "$SAFEBOX:/safebox:ro" --volume "$WORK/secret:/secret:ro" "$IMAGE" sh -c '
    /safebox run -d --name x -- sleep 100; /safebox exec x sh -c "$LOOK"; /safebox delete --force x' 2>&1)
confined 65532 "$out"

#: step ladder: a required layer is an error that names the remedy
out=$(expect 125 inside --user 1000 -- run --require pid-namespace -- true)
contains '--require pid-namespace: ' "$out"; contains 'systempaths=unconfined' "$out"

#: step ladder: what doctor names lifts it
lift=(--security-opt seccomp=unconfined --security-opt systempaths=unconfined)
[[ $line == docker* ]] || lift=(--security-opt unmask=ALL)
out=$(inside --user 1000 "${lift[@]}" -- doctor || true)
contains 'rung: all namespaces' "$out"
out=$(inside --user 1000 "${lift[@]}" -- run --require user-namespace,mount-namespace,pid-namespace,network-namespace -- sh -c "$LOOK")
contains 'user 1000' "$out"; lacks 'the secret' "$out"; lacks 'no pid-namespace' "$out"

#: step ladder: without a guard for files nothing runs
cat >"$WORK/none.json" <<'END'
{ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
  { "names": ["unshare", "setns"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1 },
  { "names": ["landlock_create_ruleset", "clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38 } ] }
END
out=$(expect 125 inside --user 1000 --security-opt "seccomp=$WORK/none.json" -- run -- echo ran)
contains 'safebox refuses to run' "$out"; [[ $out != *$'\nran'* ]]
contains 'rung: none' "$(inside --user 1000 --security-opt "seccomp=$WORK/none.json" -- doctor || true)"
