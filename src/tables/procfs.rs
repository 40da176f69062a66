//! Files of procfs that an emulation such as lxcfs may cover.

use std::ffi::CStr;

/// Files that lxcfs emulates, relative to the procfs root; the same list as in runc.
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
