# What only root asks of Podman.

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

#: step run --userns=auto
out=$(run --rm --userns=auto:size=1024 "$IMAGE" cat /proc/self/uid_map)
[[ $(awk 'NR == 1 { print $1, ($2 >= 3000000), $3 }' <<<"$out") == '0 1 1024' ]] || { echo "$out"; exit 1; }
sleeper --userns=auto
same 0 "$(podman exec "$ID" id -u)"
[[ $(stat -c %u "/proc/$(inspect .State.Pid)") -ge 3000000 ]]

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

#: step run, exec: a policy refuses what is privileged, and says why
[[ $NAME == safebox ]] || skip 'runc has no policy'
printf 'mode = "enforce"\nlevel = "restricted"\n' >"$WORK/policy.toml"
with=(--runtime-flag "policy-file=$WORK/policy.toml")
good=(--user 1000 --cap-drop ALL --security-opt no-new-privileges)
out=$(fails podman "${with[@]}" run --rm --privileged "$IMAGE" true 2>&1)
contains 'policy restricted refuses this container: ' "$out"; contains 'remedy: ' "$out"
out=$(fails podman "${with[@]}" run --rm "$IMAGE" true 2>&1)
contains 'non-root: ' "$out"
same 1000 "$(podman "${with[@]}" run --rm "${good[@]}" "$IMAGE" id -u)"
podman "${with[@]}" run --detach --name "$ID" "${good[@]}" "$IMAGE" sleep 1000 >/dev/null
same 1000 "$(podman "${with[@]}" exec "$ID" id -u)"
out=$(fails podman "${with[@]}" exec --user 0 "$ID" id -u 2>&1)
contains 'policy restricted refuses this exec: non-root: ' "$out"
out=$(fails podman "${with[@]}" exec --privileged "$ID" true 2>&1)
contains 'policy restricted refuses this exec: ' "$out"
# The level that a name fixes.
ln -sf "$RUNTIME" "$WORK/safebox-restricted"
out=$(fails podman --runtime "$WORK/safebox-restricted" run --rm --privileged "$IMAGE" true 2>&1)
contains 'policy restricted refuses this container: ' "$out"
