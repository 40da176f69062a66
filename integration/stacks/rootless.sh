# What an ordinary user asks of Podman.

#: step rootless: root inside is the user outside, others are of its subordinate ids
sleeper
p=$(inspect .State.Pid)
same "$(id -u)" "$(stat -c %u "/proc/$p")"
same 0 "$(podman exec "$ID" id -u)"
[[ $(podman exec "$ID" awk 'NR == 2 { print ($2 >= 65536) }' /proc/self/uid_map) == 1 ]]
same 12 "$(podman exec --user 12 "$ID" id -u)"
contains $'NoNewPrivs:\t0' "$(cat "/proc/$p/status")"

#: step rootless: the runtime's states are the user's
sleeper
contains "\"id\": \"$(inspect .Id)\"" "$("$RUNTIME" --root "$XDG_RUNTIME_DIR/$NAME" state "$(inspect .Id)")"

#: step run --userns=keep-id
mkdir -p "$WORK/shared"
same "$(id -u) $(id -g)" "$(run --rm --userns=keep-id "$IMAGE" sh -c 'echo $(id -u) $(id -g)')"
sleeper --userns=keep-id --volume "$WORK/shared:/mnt"
podman exec "$ID" touch /mnt/kept
same "$(id -u)" "$(stat -c %u "$WORK/shared/kept")"
same "$(id -u)" "$(podman exec "$ID" id -u)"
same 0 "$(podman exec --user 0 "$ID" id -u)"
podman stop --time 0 "$ID" >/dev/null; rm "$WORK/shared/kept"

#: step run --userns=nomap, --userns=host
contains ' ' "$(run --rm --userns=nomap "$IMAGE" cat /proc/self/uid_map)" || skip 'this podman has no nomap'
same 0 "$(run --rm --userns=host "$IMAGE" id -u)"

#: step run --uidmap: within the user's own range
out=$(run --rm --uidmap 0:1:1000 --gidmap 0:1:1000 "$IMAGE" cat /proc/self/uid_map)
[[ $(awk '{ print $1, $2, $3 }' <<<"$out") == '0 1 1000' ]] || { echo "$out"; exit 1; }

#: driver step rootless: a scope of the user's own systemd
[[ $DRIVER == systemd ]] || skip "the driver is $DRIVER"
sleeper --memory 64m
contains "user@$(id -u).service" "$(cat "/proc/$(inspect .State.Pid)/cgroup")"
contains libpod- "$(systemctl --user list-units --type scope --no-legend)"

#: driver step rootless: a limit that cannot be had is told
v2 && skip 'limits can be had here'
as_limits() { run --rm --memory 64m "$IMAGE" echo ran; }
as_limits 2>"$WORK/err" || contains cgroup "$(cat "$WORK/err")"

#: step run --network slirp4netns
(: <>/dev/net/tun) 2>/dev/null || skip 'an ordinary user cannot open /dev/net/tun here'
contains tap0 "$(run --rm --network slirp4netns "$IMAGE" ip link)"
