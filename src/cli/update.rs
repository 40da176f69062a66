//! Flags of `update`.

use clap::Args;

use crate::launch::options::words::parse_size;

/// `update`.
#[derive(Debug, Args)]
pub struct UpdateArgs {
    /// Container id
    pub id: String,
    /// File with a linux.resources object, or - for stdin; other options are then ignored
    #[arg(long, short, value_name = "FILE")]
    pub resources: Option<String>,
    /// Relative weight of block devices, 10 to 1000
    #[arg(long, value_name = "N")]
    pub blkio_weight: Option<u16>,
    /// Length of a cpu period in microseconds
    #[arg(long, value_name = "MICROSECONDS")]
    pub cpu_period: Option<u64>,
    /// Cpu time per period in microseconds; -1 for no limit
    #[arg(long, value_name = "MICROSECONDS", allow_hyphen_values = true)]
    pub cpu_quota: Option<i64>,
    /// Cpu time in microseconds that can be saved up
    #[arg(long, value_name = "MICROSECONDS")]
    pub cpu_burst: Option<u64>,
    /// Relative share of cpu time
    #[arg(long, value_name = "N")]
    pub cpu_share: Option<u64>,
    /// Length of a realtime period in microseconds (cgroup v1)
    #[arg(long, value_name = "MICROSECONDS")]
    pub cpu_rt_period: Option<u64>,
    /// Realtime cpu time per period in microseconds (cgroup v1)
    #[arg(long, value_name = "MICROSECONDS", allow_hyphen_values = true)]
    pub cpu_rt_runtime: Option<i64>,
    /// Cpus that may be used, e.g. 0-1
    #[arg(long, value_name = "LIST")]
    pub cpuset_cpus: Option<String>,
    /// Memory nodes that may be used
    #[arg(long, value_name = "LIST")]
    pub cpuset_mems: Option<String>,
    /// 1: run only when no other process needs the cpu
    #[arg(long, value_name = "0|1")]
    pub cpu_idle: Option<i64>,
    /// Accepted and ignored, as by runc
    #[arg(long, hide = true, value_name = "SIZE")]
    pub kernel_memory: Option<String>,
    /// Accepted and ignored, as by runc
    #[arg(long, hide = true, value_name = "SIZE")]
    pub kernel_memory_tcp: Option<String>,
    /// Memory, e.g. 64m; -1 for no limit
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true, value_parser = parse_size)]
    pub memory: Option<i64>,
    /// Memory that the kernel reclaims only after that of other cgroups
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true, value_parser = parse_size)]
    pub memory_reservation: Option<i64>,
    /// Memory and swap together; -1 for no limit
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true, value_parser = parse_size)]
    pub memory_swap: Option<i64>,
    /// Processes and threads; -1 for no limit
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub pids_limit: Option<i64>,
    /// Schema of the L3 cache (Intel RDT)
    #[arg(long, value_name = "SCHEMA")]
    pub l3_cache_schema: Option<String>,
    /// Schema of the memory bandwidth (Intel RDT)
    #[arg(long, value_name = "SCHEMA")]
    pub mem_bw_schema: Option<String>,
}
