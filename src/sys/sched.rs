//! Scheduling: cpus, priorities, memory nodes.

use super::{SysResult, check};

/// sched_setaffinity(2) of this process: one bit per cpu.
pub fn sched_setaffinity(cpus: &[u64]) -> SysResult<()> {
    let bytes = std::mem::size_of_val(cpus);
    // SAFETY: `cpus` is readable for the length passed.
    check(unsafe { libc::syscall(libc::SYS_sched_setaffinity, 0, bytes, cpus.as_ptr()) }).map(drop)
}

/// sched_getaffinity(2) of this process, in the same form.
pub fn affinity() -> SysResult<Vec<u64>> {
    // Linux has 8,192 cpus at most (CONFIG_NR_CPUS).
    let mut cpus = vec![0u64; 128];
    let size = std::mem::size_of_val(&cpus[..]);
    // SAFETY: `cpus` is writable for the length passed.
    let bytes = check(unsafe { libc::syscall(libc::SYS_sched_getaffinity, 0, size, cpus.as_mut_ptr()) })?;
    cpus.truncate(bytes as usize / size_of::<u64>());
    Ok(cpus)
}

/// set_mempolicy(2): one bit per node.
pub fn set_mempolicy(mode: i32, nodes: &[u64]) -> SysResult<()> {
    let (mask, bits) = match nodes {
        // A null address is the empty set; a non-null address with length 0 is an error.
        [] => (std::ptr::null(), 0),
        // The kernel reads one bit less than the given length.
        nodes => (nodes.as_ptr(), nodes.len() * 64 + 1),
    };
    // SAFETY: the mask is null or readable for the bits passed, rounded up to whole words.
    check(unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, mask, bits) }).map(drop)
}

/// personality(2).
pub fn personality(persona: u64) -> SysResult<()> {
    // SAFETY: no memory is involved.
    check(unsafe { libc::personality(persona as libc::c_ulong) }.into()).map(drop)
}

/// ioprio_set(2) for this process.
pub fn ioprio_set(prio: i32) -> SysResult<()> {
    // SAFETY: no memory is involved. IOPRIO_WHO_PROCESS is 1.
    check(unsafe { libc::syscall(libc::SYS_ioprio_set, 1, 0, prio) }).map(drop)
}

/// `struct sched_attr` of sched_setattr(2), version 0.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct SchedAttr {
    pub size: u32,
    pub policy: u32,
    pub flags: u64,
    pub nice: i32,
    pub priority: u32,
    pub runtime: u64,
    pub deadline: u64,
    pub period: u64,
}

/// sched_setattr(2) of this process.
pub fn sched_setattr(attr: &SchedAttr) -> SysResult<()> {
    // SAFETY: `attr` states its own size and is only read.
    check(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, std::ptr::from_ref(attr), 0) }).map(drop)
}
