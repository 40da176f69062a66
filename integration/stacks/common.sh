# What every step can use. The runner sets:
#   RUNTIME  path of the runtime           NAME   runc or safebox
#   WORK     a directory of this round     BASE   what all rounds share: the image, the empty bundle
#   ID       a name that no other step has used
#   DRIVER   systemd or cgroupfs: who makes the cgroups
#   SLOW     how many times slower than others this machine is

# Expects an exit status: `expect 7 COMMAND...`
expect() {
    local wanted=$1 got=0; shift
    "$@" || got=$?
    [[ $got == "$wanted" ]] || { echo "exit status $got, not $wanted: $*"; return 1; }
}

# Expects a failure.
fails() { if "$@"; then echo "succeeded: $*"; return 1; fi; }

# What a program says is to be the same with both runtimes: `as_runc WHAT VALUE`
as_runc() {
    if [[ $NAME == runc ]]; then printf %s "$2" >"$BASE/control-$1"; return; fi
    [[ ! -e $BASE/control-$1 ]] || same "$(cat "$BASE/control-$1")" "$2"
}

# The exit status of a command.
code() { local got=0; "$@" >/dev/null 2>&1 || got=$?; echo "$got"; }

# Waits until a command succeeds, half a minute at most, or a multiple of it.
eventually() {
    local end=$((SECONDS + 30 * SLOW))
    while ((SECONDS < end)); do if "$@" >/dev/null 2>&1; then return; fi; sleep 0.1; done
    echo "not in time: $*"; "$@"
}

# Compares: `same WANTED GOT`. Carriage returns of a terminal do not count.
same() { [[ "${2//$'\r'/}" == "$1" ]] || { echo "not $(printf %q "$1"): $(printf %q "$2")"; return 1; }; }

# `contains PART TEXT`
contains() { [[ $2 == *"$1"* ]] || { echo "no $(printf %q "$1") in: $2"; return 1; }; }

# `lacks PART TEXT`
lacks() { [[ $2 != *"$1"* ]] || { echo "$(printf %q "$1") in: $2"; return 1; }; }

# Ends the step: it cannot run here, and why.
skip() { echo "$*"; exit 77; }

# Runs a command line with a terminal, its exit status is the line's.
with_tty() { script --quiet --return --command "$1" /dev/null </dev/null; }

systemd() { [[ -d /run/systemd/system ]] || skip 'systemd does not run here'; }

# Whether a container can have a cgroup: that of an ordinary user can on v2 only.
own_cgroup() { [[ $EUID == 0 ]] || v2 || skip 'on cgroup v1 an ordinary user has none'; }

v2() { [[ -e /sys/fs/cgroup/cgroup.controllers ]]; }

# The value of a cgroup file of the process PID: `limit PID memory v1-file v2-file`
limit() {
    local dir
    if v2; then cat "/sys/fs/cgroup$(sed -n 's/^0:://p' "/proc/$1/cgroup")/$4"; return; fi
    dir=$(sed -n "s/^[0-9]*:\([^:]*,\)\?$2\(,[^:]*\)\?://p" "/proc/$1/cgroup")
    cat "/sys/fs/cgroup/$2$dir/$3"
}
