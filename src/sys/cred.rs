//! Credentials: ids, groups, the five capability sets.

use std::ffi::CStr;
use std::os::fd::RawFd;

use super::{Errno, SysResult, check, own::prctl, own::prctl3};

/// The ids of this process: (real, effective, saved).
pub type Ids = (u32, u32, u32);

/// Capabilities: (effective, permitted, inheritable).
pub type Caps = (u64, u64, u64);

/// The credentials that a process must have, as an upper bound.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Creds {
    /// Real, effective and saved.
    pub uid: u32,
    /// Real, effective and saved.
    pub gid: u32,
    /// Supplementary groups in ascending order; `None` if setgroups(2) is not allowed.
    pub groups: Option<Vec<u32>>,
    /// Upper bound of the bounding set: bit N is capability N.
    pub bounding: u64,
    /// Exact effective set.
    pub effective: u64,
    /// Exact permitted set.
    pub permitted: u64,
    /// Exact inheritable set.
    pub inheritable: u64,
    /// Upper bound of the ambient set.
    pub ambient: u64,
    /// Whether no_new_privs must be set.
    pub no_new_privs: bool,
}

/// Whether getgroups(2) returns exactly `groups`, which are in ascending order. Allocates nothing.
pub fn groups_are(groups: &[u32]) -> SysResult<bool> {
    // A buffer for the maximum would cost 256 KiB of stack at every start.
    if groups.len() < 32 { compare_groups::<32>(groups) } else { compare_groups::<NGROUPS_MAX>(groups) }
}

/// The maximum number of supplementary groups of a process (credentials(7)).
const NGROUPS_MAX: usize = 65_536;

/// Not inlined: each caller would have the frame of the largest buffer, whose pages are touched one by one.
#[inline(never)]
fn compare_groups<const N: usize>(groups: &[u32]) -> SysResult<bool> {
    let mut is = [0u32; N];
    // SAFETY: the array is writable for the length passed.
    let n = match check(unsafe { libc::syscall(libc::SYS_getgroups, N, is.as_mut_ptr()) }) {
        Ok(n) => n as usize,
        // The process has more groups than fit into the buffer, so more than `groups`.
        Err(Errno::EINVAL) => return Ok(false),
        Err(e) => return Err(e),
    };
    // The kernel sorts by its own ids. The id map of a user namespace may change the order.
    let is = &mut is[..n];
    is.sort_unstable();
    Ok(is == groups)
}

/// Whether the bounding set is a subset of `most` (`PR_CAPBSET_READ`).
pub fn bounding_is_within(most: u64) -> SysResult<bool> {
    for cap in (0..64u64).filter(|cap| most & 1 << cap == 0) {
        match prctl(libc::PR_CAPBSET_READ, cap) {
            Ok(0) => {}
            // Past CAP_LAST_CAP.
            Err(Errno::EINVAL) => break,
            Ok(_) => return Ok(false),
            Err(e) => return Err(e),
        }
    }
    Ok(true)
}

/// Whether no capability of `caps` is in the ambient set (`PR_CAP_AMBIENT_IS_SET`).
pub fn not_ambient(caps: u64) -> SysResult<bool> {
    for cap in (0..64u64).filter(|cap| caps & 1 << cap != 0) {
        if prctl3(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_IS_SET as u64, cap)? != 0 {
            return Ok(false);
        }
    }
    Ok(true)
}

/// setgroups(2): sets the supplementary groups.
pub fn setgroups(gids: &[u32]) -> SysResult<()> {
    // SAFETY: the slice is readable for the length passed. The raw call, since libc's wrapper
    // signals other threads and takes locks.
    check(unsafe { libc::syscall(libc::SYS_setgroups, gids.len(), gids.as_ptr()) }).map(drop)
}

/// setresgid(2): sets all three group ids.
pub fn setresgid(gid: u32) -> SysResult<()> {
    // SAFETY: no memory is involved.
    check(unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) }).map(drop)
}

/// geteuid(2), which cannot fail.
pub fn effective_uid() -> u32 {
    // SAFETY: no memory is involved.
    unsafe { libc::geteuid() }
}

/// setresuid(2): sets all three user ids.
pub fn setresuid(uid: u32) -> SysResult<()> {
    // SAFETY: no memory is involved.
    check(unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) }).map(drop)
}

/// setresuid(2): sets only the effective user id.
pub fn effective_user(uid: u32) -> SysResult<()> {
    // SAFETY: no memory is involved.
    check(unsafe { libc::syscall(libc::SYS_setresuid, u32::MAX, uid, u32::MAX) }).map(drop)
}

/// setgid(2): with `CAP_SETGID` it sets all three group ids.
pub fn setgid(gid: u32) -> SysResult<()> {
    // SAFETY: no memory is involved.
    check(unsafe { libc::syscall(libc::SYS_setgid, gid) }).map(drop)
}

/// setuid(2): with `CAP_SETUID` it sets all three user ids.
pub fn setuid(uid: u32) -> SysResult<()> {
    // SAFETY: no memory is involved.
    check(unsafe { libc::syscall(libc::SYS_setuid, uid) }).map(drop)
}

/// getresuid(2): real, effective and saved user id.
pub fn getresuid() -> SysResult<Ids> {
    let (mut r, mut e, mut s) = (0, 0, 0);
    // SAFETY: three writable ids.
    check(unsafe { libc::getresuid(&mut r, &mut e, &mut s) }.into())?;
    Ok((r, e, s))
}

/// getresgid(2): real, effective and saved group id.
pub fn getresgid() -> SysResult<Ids> {
    let (mut r, mut e, mut s) = (0, 0, 0);
    // SAFETY: three writable ids.
    check(unsafe { libc::getresgid(&mut r, &mut e, &mut s) }.into())?;
    Ok((r, e, s))
}

#[repr(C)]
struct CapHeader {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Default, Clone, Copy)]
struct CapData {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// `_LINUX_CAPABILITY_VERSION_3`: 64 capabilities in two 32-bit halves.
const CAP_VERSION_3: u32 = 0x2008_0522;

/// capset(2) of this process: bit N is capability N.
pub fn capset(effective: u64, permitted: u64, inheritable: u64) -> SysResult<()> {
    let half = |shift: u32| CapData {
        effective: (effective >> shift) as u32,
        permitted: (permitted >> shift) as u32,
        inheritable: (inheritable >> shift) as u32,
    };
    let mut header = CapHeader { version: CAP_VERSION_3, pid: 0 };
    let data = [half(0), half(32)];
    // SAFETY: version 3 reads two data structs; both pointers outlive the call.
    check(unsafe { libc::syscall(libc::SYS_capset, std::ptr::from_mut(&mut header), data.as_ptr()) })
        .map(drop)
}

/// capget(2) of this process: (effective, permitted, inheritable).
pub fn capget() -> SysResult<(u64, u64, u64)> {
    let mut header = CapHeader { version: CAP_VERSION_3, pid: 0 };
    let mut data = [CapData::default(); 2];
    // SAFETY: version 3 writes two data structs; both pointers are writable.
    check(unsafe { libc::syscall(libc::SYS_capget, std::ptr::from_mut(&mut header), data.as_mut_ptr()) })?;
    let join = |f: fn(&CapData) -> u32| u64::from(f(&data[0])) | u64::from(f(&data[1])) << 32;
    Ok((join(|d| d.effective), join(|d| d.permitted), join(|d| d.inheritable)))
}

/// mkdirat(2) with another user's ids (setfsuid(2), setfsgid(2)) and this process's capabilities: that user
/// owns the directory from its creation.
pub fn mkdirat_as(dir: RawFd, path: &CStr, mode: u32, uid: u32, gid: u32) -> SysResult<()> {
    let (effective, permitted, inheritable) = capget()?;
    let before = set_fs_ids(uid, gid);
    // A change of the fsuid from 0 clears the file capabilities in the effective set; a change back to 0
    // restores them.
    let made = capset(effective, permitted, inheritable).and_then(|()| super::fs::mkdirat(dir, path, mode));
    set_fs_ids(before.0, before.1);
    capset(effective, permitted, inheritable)?;
    made
}

/// Sets the fsuid and the fsgid, and returns the previous ones. An id without a mapping changes nothing.
fn set_fs_ids(uid: u32, gid: u32) -> (u32, u32) {
    // SAFETY: no memory is involved.
    let gid = unsafe { libc::syscall(libc::SYS_setfsgid, gid) };
    // SAFETY: no memory is involved.
    let uid = unsafe { libc::syscall(libc::SYS_setfsuid, uid) };
    (uid as u32, gid as u32)
}

/// Drops every capability not in `keep` from the bounding set; stops at the last one the kernel knows.
pub fn limit_bounding(keep: u64) -> SysResult<()> {
    for cap in 0..64u64 {
        if keep & 1 << cap != 0 {
            continue;
        }
        match prctl(libc::PR_CAPBSET_DROP, cap) {
            Ok(_) => {}
            // EINVAL: the number is above CAP_LAST_CAP, so every known capability is handled.
            Err(Errno::EINVAL) => return Ok(()),
            // Without `CAP_SETPCAP` this is the answer for every number.
            Err(Errno::EPERM) => match prctl(libc::PR_CAPBSET_READ, cap) {
                Ok(0) => {}
                Err(Errno::EINVAL) => return Ok(()),
                _ => return Err(Errno::EPERM),
            },
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// The bounding set of this process.
pub fn bounding() -> u64 {
    (0..64)
        .take_while(|cap| prctl(libc::PR_CAPBSET_READ, *cap).is_ok())
        .fold(0, |set, cap| if prctl(libc::PR_CAPBSET_READ, cap) == Ok(1) { set | 1 << cap } else { set })
}
