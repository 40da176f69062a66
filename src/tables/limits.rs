//! Limits of a cgroup: for each the field of the config, the file of cgroup v1 and v2, and the property of systemd.
//!
//! Layouts, `update`, the properties of a scope, `explain` and errors read these rows; `cgroup::limits` computes values.

/// A limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // LIMITS says what each is
pub enum Limit {
    Memory,
    Swap,
    Reservation,
    SocketMemory,
    Swappiness,
    NoOomKiller,
    Shares,
    Period,
    Quota,
    Burst,
    RealtimePeriod,
    RealtimeRuntime,
    Idle,
    Cpus,
    Mems,
    Pids,
    HugeReservations,
    HugePages,
    NetClass,
    NetPriorities,
    Rdma,
    BlockWeight,
    BlockWeightDevice,
    ReadBps,
    WriteBps,
    ReadIops,
    WriteIops,
    MemoryMin,
    MemoryHigh,
    OomGroup,
}

/// A limit's names. A `{}` in a file is the size of the pages. The controller is the file's first word.
#[derive(Debug)]
pub struct LimitRow {
    /// Which limit.
    pub limit: Limit,
    /// RFC 6901 pointer of its field.
    pub pointer: &'static str,
    /// Its file on cgroup v1.
    pub v1: Option<&'static str>,
    /// Its file on cgroup v2, or what to use instead.
    pub v2: Result<&'static str, &'static str>,
    /// systemd's property on v1.
    pub systemd_v1: Option<&'static str>,
    /// systemd's property on v2.
    pub systemd_v2: Option<&'static str>,
}

impl LimitRow {
    /// Its file on this version, if it has one.
    pub fn file(&self, v2: bool) -> Option<&'static str> {
        if v2 { self.v2.ok() } else { self.v1 }
    }

    /// systemd's property on this version, if it has one.
    pub fn property(&self, v2: bool) -> Option<&'static str> {
        if v2 { self.systemd_v2 } else { self.systemd_v1 }
    }
}

/// The controller of a file: `cpu` for `cpu.max`.
pub fn controller(file: &str) -> &str {
    file.split('.').next().unwrap_or_default()
}

/// A limit's row.
pub fn row(limit: Limit) -> &'static LimitRow {
    // The table has them in the order of the enum: a test holds that.
    &LIMITS[limit as usize]
}

/// The row of a file, on either version.
pub fn of_file(file: &str) -> Option<&'static LimitRow> {
    let is = |pattern: &str| match pattern.split_once("{}") {
        Some((before, after)) => file
            .strip_prefix(before)
            .and_then(|rest| rest.strip_suffix(after))
            .is_some_and(|size| !size.is_empty() && !size.contains('.')),
        None => file == pattern,
    };
    LIMITS.iter().find(|row| [row.v1, row.v2.ok()].into_iter().flatten().any(is))
}

/// All limits, in the order in which they are written.
pub const LIMITS: &[LimitRow] = &[
    both(Limit::Memory, "/linux/resources/memory/limit", "memory.limit_in_bytes", Ok("memory.max"))
        .systemd(Some("MemoryLimit"), Some("MemoryMax")),
    both(Limit::Swap, "/linux/resources/memory/swap", "memory.memsw.limit_in_bytes", Ok("memory.swap.max"))
        .systemd(None, Some("MemorySwapMax")),
    both(
        Limit::Reservation,
        "/linux/resources/memory/reservation",
        "memory.soft_limit_in_bytes",
        Ok("memory.low"),
    )
    .systemd(None, Some("MemoryLow")),
    both(
        Limit::SocketMemory,
        "/linux/resources/memory/kernelTCP",
        "memory.kmem.tcp.limit_in_bytes",
        Err("TCP's buffers are counted in limit"),
    ),
    both(
        Limit::Swappiness,
        "/linux/resources/memory/swappiness",
        "memory.swappiness",
        Err("use memory.swap.max in unified"),
    ),
    both(
        Limit::NoOomKiller,
        "/linux/resources/memory/disableOOMKiller",
        "memory.oom_control",
        Err("use memory.high in unified"),
    ),
    both(Limit::Shares, "/linux/resources/cpu/shares", "cpu.shares", Ok("cpu.weight"))
        .systemd(Some("CPUShares"), Some("CPUWeight")),
    both(Limit::Period, "/linux/resources/cpu/period", "cpu.cfs_period_us", Ok("cpu.max"))
        .systemd(Some("CPUQuotaPeriodUSec"), Some("CPUQuotaPeriodUSec")),
    both(Limit::Quota, "/linux/resources/cpu/quota", "cpu.cfs_quota_us", Ok("cpu.max"))
        .systemd(Some("CPUQuotaPerSecUSec"), Some("CPUQuotaPerSecUSec")),
    both(Limit::Burst, "/linux/resources/cpu/burst", "cpu.cfs_burst_us", Ok("cpu.max.burst")),
    both(Limit::RealtimePeriod, "/linux/resources/cpu/realtimePeriod", "cpu.rt_period_us", Err(NO_REALTIME)),
    both(
        Limit::RealtimeRuntime,
        "/linux/resources/cpu/realtimeRuntime",
        "cpu.rt_runtime_us",
        Err(NO_REALTIME),
    ),
    // systemd takes a weight of 0 for it.
    both(Limit::Idle, "/linux/resources/cpu/idle", "cpu.idle", Ok("cpu.idle"))
        .systemd(None, Some("CPUWeight")),
    both(Limit::Cpus, "/linux/resources/cpu/cpus", "cpuset.cpus", Ok("cpuset.cpus"))
        .systemd(Some("AllowedCPUs"), Some("AllowedCPUs")),
    both(Limit::Mems, "/linux/resources/cpu/mems", "cpuset.mems", Ok("cpuset.mems"))
        .systemd(Some("AllowedMemoryNodes"), Some("AllowedMemoryNodes")),
    both(Limit::Pids, "/linux/resources/pids/limit", "pids.max", Ok("pids.max"))
        .systemd(Some("TasksMax"), Some("TasksMax")),
    // Reservations first: what was reserved in time is never refused at a page fault (config-linux.md).
    both(Limit::HugeReservations, HUGE, "hugetlb.{}.rsvd.limit_in_bytes", Ok("hugetlb.{}.rsvd.max")),
    both(Limit::HugePages, HUGE, "hugetlb.{}.limit_in_bytes", Ok("hugetlb.{}.max")),
    both(Limit::NetClass, "/linux/resources/network/classID", "net_cls.classid", Err(NO_NETWORK)),
    both(Limit::NetPriorities, "/linux/resources/network/priorities", "net_prio.ifpriomap", Err(NO_NETWORK)),
    both(Limit::Rdma, "/linux/resources/rdma", "rdma.max", Ok("rdma.max")),
    // The scheduler that had blkio.weight, and leaf weights, is gone since Linux 5.0; BFQ has weights of its own.
    both(Limit::BlockWeight, "/linux/resources/blockIO/weight", "blkio.bfq.weight", Ok(BFQ_WEIGHT))
        .systemd(Some("BlockIOWeight"), Some("IOWeight")),
    both(
        Limit::BlockWeightDevice,
        "/linux/resources/blockIO/weightDevice",
        "blkio.bfq.weight_device",
        Ok(BFQ_WEIGHT),
    ),
    both(
        Limit::ReadBps,
        "/linux/resources/blockIO/throttleReadBpsDevice",
        "blkio.throttle.read_bps_device",
        Ok("io.max"),
    ),
    both(
        Limit::WriteBps,
        "/linux/resources/blockIO/throttleWriteBpsDevice",
        "blkio.throttle.write_bps_device",
        Ok("io.max"),
    ),
    both(
        Limit::ReadIops,
        "/linux/resources/blockIO/throttleReadIOPSDevice",
        "blkio.throttle.read_iops_device",
        Ok("io.max"),
    ),
    both(
        Limit::WriteIops,
        "/linux/resources/blockIO/throttleWriteIOPSDevice",
        "blkio.throttle.write_iops_device",
        Ok("io.max"),
    ),
    // These have no field but `unified`.
    unified(Limit::MemoryMin, "memory.min", "MemoryMin"),
    unified(Limit::MemoryHigh, "memory.high", "MemoryHigh"),
    unified(Limit::OomGroup, "memory.oom.group", "OOMPolicy"),
];

/// The weight of BFQ, on v2.
pub const BFQ_WEIGHT: &str = "io.bfq.weight";
/// Files that are given by name.
pub const UNIFIED: &str = "/linux/resources/unified";

const HUGE: &str = "/linux/resources/hugepageLimits";
const NO_REALTIME: &str = "give the container no CAP_SYS_NICE";
const NO_NETWORK: &str = "use eBPF or nftables (meta cgroup)";

const fn both(
    limit: Limit,
    pointer: &'static str,
    v1: &'static str,
    v2: Result<&'static str, &'static str>,
) -> LimitRow {
    LimitRow { limit, pointer, v1: Some(v1), v2, systemd_v1: None, systemd_v2: None }
}

const fn unified(limit: Limit, file: &'static str, property: &'static str) -> LimitRow {
    LimitRow { limit, pointer: UNIFIED, v1: None, v2: Ok(file), systemd_v1: None, systemd_v2: Some(property) }
}

impl LimitRow {
    const fn systemd(self, v1: Option<&'static str>, v2: Option<&'static str>) -> LimitRow {
        LimitRow { systemd_v1: v1, systemd_v2: v2, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_stand_in_the_order_of_the_enum() {
        for (i, row) in LIMITS.iter().enumerate() {
            assert_eq!(row.limit as usize, i, "{}", row.pointer);
        }
        assert_eq!(LIMITS.len(), Limit::OomGroup as usize + 1);
    }

    #[test]
    fn a_file_has_its_field() {
        let pointer = |file| of_file(file).map(|row| row.pointer);
        assert_eq!(pointer("memory.limit_in_bytes"), Some("/linux/resources/memory/limit"));
        assert_eq!(pointer("memory.max"), Some("/linux/resources/memory/limit"));
        assert_eq!(pointer("hugetlb.2MB.max"), Some("/linux/resources/hugepageLimits"));
        assert_eq!(of_file("hugetlb.2MB.rsvd.max").map(|row| row.limit), Some(Limit::HugeReservations));
        assert_eq!(pointer("memory.high"), Some(UNIFIED));
        assert_eq!(pointer("cgroup.procs"), None);
        assert_eq!(controller("cpuset.cpus"), "cpuset");
    }
}
