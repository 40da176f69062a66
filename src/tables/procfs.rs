//! Files of procfs that something else may stand in for.

use std::ffi::CStr;

/// What lxcfs emulates, below the root, as runc's list says.
pub const EMULATED: [&CStr; 10] = [
    c"proc/cpuinfo",
    c"proc/diskstats",
    c"proc/meminfo",
    c"proc/stat",
    c"proc/swaps",
    c"proc/uptime",
    c"proc/loadavg",
    c"proc/slabinfo",
    c"proc/sys/kernel/ns_last_pid",
    c"proc/sys/crypto/fips_enabled",
];

/// `PROC_SUPER_MAGIC` of linux/magic.h.
pub const PROC_MAGIC: i64 = 0x9fa0;
