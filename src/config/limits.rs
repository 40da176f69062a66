//! Types of linux.resources.

/// `linux.resources`. `None` keeps the kernel's value.
#[derive(Debug, Clone, Default, serde::Serialize, serde::Deserialize)]
pub struct Resources {
    /// Device rules in order; the last match wins. Empty: only the runtime's default rules apply.
    pub devices: Vec<DeviceRule>,
    /// Whether /dev/net/tun is left out of the default rules.
    #[serde(default)]
    pub no_tun: bool,
    /// `memory`.
    pub memory: Memory,
    /// `cpu`.
    pub cpu: Cpu,
    /// `pids.limit`: the largest number of tasks; -1 for no limit.
    pub pids_limit: Option<i64>,
    /// `blockIO` as written.
    pub block_io: Option<oci_spec::runtime::LinuxBlockIo>,
    /// `hugepageLimits`: (page size such as `2MB`, limit in bytes).
    pub hugepages: Vec<(String, i64)>,
    /// `network` as written (net_cls and net_prio exist on cgroup v1 only).
    pub network: Option<oci_spec::runtime::LinuxNetwork>,
    /// `rdma`: (device, handles, objects).
    pub rdma: Vec<(String, Option<u32>, Option<u32>)>,
    /// `unified`: cgroup v2 file names and values, sorted.
    pub unified: Vec<(String, String)>,
}

/// One device rule (config-linux.md "Allowed Device list").
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct DeviceRule {
    /// Allow or deny.
    pub allow: bool,
    /// `a`, `b` or `c`.
    pub kind: char,
    /// `None`: any.
    pub major: Option<u32>,
    /// `None`: any.
    pub minor: Option<u32>,
    /// May read.
    pub read: bool,
    /// May write.
    pub write: bool,
    /// May mknod.
    pub mknod: bool,
}

/// `linux.resources.memory`; bytes, -1 for unlimited.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Memory {
    /// Hard limit.
    pub limit: Option<i64>,
    /// Soft limit.
    pub reservation: Option<i64>,
    /// Memory **plus** swap, as config-linux.md defines it for v1 and runc converts for v2.
    pub swap: Option<i64>,
    /// 0..=100.
    pub swappiness: Option<u64>,
    /// The OOM killer is disabled (v1 only).
    pub disable_oom_killer: bool,
    /// Refuse a limit below the current usage.
    pub check_before_update: bool,
    /// Limit of TCP buffers in bytes, -1 for no limit; cgroup v1 only.
    pub kernel_tcp: Option<i64>,
    /// On cgroup v1, limit socket buffers to `limit` too: v1 counts them separately from all other memory,
    /// and only while they have a limit. Set by the policy; config.json has no property for it.
    #[serde(default)]
    pub sockets_as_limit: bool,
}

/// `linux.resources.cpu`.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Cpu {
    /// Relative share, 2..=262144.
    pub shares: Option<u64>,
    /// Microseconds of cpu time per period; -1 for unlimited.
    pub quota: Option<i64>,
    /// Length of a period in microseconds; default 100000.
    pub period: Option<u64>,
    /// Microseconds that can be saved up.
    pub burst: Option<u64>,
    /// 1: SCHED_IDLE for the whole cgroup.
    pub idle: Option<i64>,
    /// Realtime microseconds per period (v1 only).
    pub realtime_runtime: Option<i64>,
    /// Realtime period in microseconds (v1 only).
    pub realtime_period: Option<u64>,
    /// List of cpus, e.g. `0-3,7`.
    pub cpus: Option<String>,
    /// List of memory nodes.
    pub mems: Option<String>,
}
