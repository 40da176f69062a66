# What a runtime costs under containerd: `scripts/stacks --cost`. Not a row of the table: prints figures.

#: setup
# crun 1.8 refuses hosts with hybrid cgroups: all three run where only v1 is to be seen.
if ! v2 && [[ -e /sys/fs/cgroup/unified/cgroup.procs ]]; then
    umount /sys/fs/cgroup/unified
    # crun makes directories there all the same.
    mount -t tmpfs tmpfs /sys/fs/cgroup/unified
fi

#: step cost
declare -A path=([runc]=$(command -v runc) [crun]=$(command -v crun) [safebox]=$RUNTIME)
order=(runc crun safebox)
times=60 warm=3 many=15
of() { echo --runtime io.containerd.runc.v2 --runc-binary "${path[$1]}" --runc-root "$WORK/states-$1"; }

# Milliseconds from the start of `ctr` to the first byte that the container's process writes. The words of a
# container that ends at once are sometimes lost by `ctr` (see containerd.sh): it waits to be killed.
first_write() { # RUNTIME ID
    perl -MTime::HiRes=clock_gettime,CLOCK_MONOTONIC -e '
        my $from = clock_gettime(CLOCK_MONOTONIC);
        my $pid = open(my $out, "-|", @ARGV) or die; sysread($out, my $byte, 1) or exit 1;
        printf "%.2f\n", 1000 * (clock_gettime(CLOCK_MONOTONIC) - $from); kill KILL => $pid' \
        ctr --address "$WORK/c.sock" --namespace stacks run $(of "$1") "$IMAGE" "$2" sh -c 'echo x; exec sleep 1000'
    command ctr --address "$WORK/c.sock" --namespace stacks task delete --force "$2" >/dev/null 2>&1
    command ctr --address "$WORK/c.sock" --namespace stacks container delete "$2"
}
for ((i = 0; i < times + warm; i++)); do
    for ((j = 0; j < 3; j++)); do
        runtime=${order[(i + j) % 3]}
        took=$(first_write "$runtime" "cost-$i-$runtime")
        ((i < warm)) || echo "$took" >>"$WORK/time-$runtime"
    done
done

# The proportional set size (shared pages divided) of a running container's processes, in KiB.
pss() { awk '$1 == "Pss:" { print $2 }' "/proc/$1/smaps_rollup"; }
for ((i = 0; i < many; i++)); do
    for runtime in "${order[@]}"; do
        ctr run --detach $(of "$runtime") "$IMAGE" "held-$i-$runtime" sleep 1000
    done
done
for ((i = 0; i < many; i++)); do
    for runtime in "${order[@]}"; do
        id=held-$i-$runtime
        pss "$(pgrep -f "containerd-shim-runc-v2.*-id $id ")" >>"$WORK/shim-$runtime"
        pss "$(ctr task list | awk -v id="$id" '$1 == id { print $2 }')" >>"$WORK/process-$runtime"
        du --summarize --block-size 1024 "$WORK/states-$runtime/stacks/$id" | cut -f 1 >>"$WORK/state-$runtime"
    done
done
median() { sort -n "$1" | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }
ratio() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.2f", a / b }'; }
row() { # TITLE FILE
    local runtime text=
    for runtime in "${order[@]}"; do text+=$(printf ' %10s' "$(median "$WORK/$2-$runtime")"); done
    printf '%-58s%s %9s %9s\n' "$1" "$text" "$(ratio "$(median "$WORK/$2-safebox")" "$(median "$WORK/$2-crun")")" \
        "$(ratio "$(median "$WORK/$2-safebox")" "$(median "$WORK/$2-runc")")"
}
{
    printf '\n%s; %s; %s; %s; medians of %s runs and of %s containers, in turn\n\n' "$(containerd --version | cut -d ' ' -f 3)" \
        "$(runc --version | head -n 1)" "$(crun --version | head -n 1)" "$("$RUNTIME" --version | head -n 1)" "$times" "$many"
    printf '%-58s %10s %10s %10s %9s %9s\n' '' "${order[@]}" 'to crun' 'to runc'
    row 'ctr run to the first write of the process, ms' time
    row 'left while it runs: the shim, KiB (PSS)' shim
    row "left while it runs: the container's process, KiB (PSS)" process
    row 'left while it runs: the state on disk, KiB' state
    echo 'The runtime itself has ended by then: it holds no memory.'
} >"$WORK/result"
for id in $(ctr task list -q); do ctr task delete --force "$id" >/dev/null 2>&1 || true; done
# What crun believes to be cgroups.
if [[ $(stat --file-system --format %T /sys/fs/cgroup/unified 2>/dev/null) == tmpfs ]]; then rm -rf /sys/fs/cgroup/unified/stacks; fi
