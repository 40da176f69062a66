//! landlock(7): a process drops access rights to files, for itself and its future children, permanently.
//!
//! The crate landlock builds a ruleset with allocations, errors as strings and paths that it opens itself. Init does this
//! after the clone, where it only makes system calls, on descriptors below the container's root.

use std::os::fd::RawFd;

use super::{SysResult, check};

/// `struct landlock_ruleset_attr`, as of ABI 6.
#[repr(C)]
struct RulesetAttr {
    fs: u64,
    net: u64,
    scoped: u64,
}

/// `struct landlock_path_beneath_attr`.
#[repr(C, packed)]
struct PathBeneath {
    allowed: u64,
    parent: i32,
}

/// `LANDLOCK_CREATE_RULESET_VERSION`.
const VERSION: libc::c_uint = 1;
/// `LANDLOCK_RULE_PATH_BENEATH`.
const PATH_BENEATH: libc::c_int = 1;

/// The kernel's Landlock ABI version; 0 if the kernel has no Landlock or it is disabled.
pub fn abi() -> i32 {
    let none = std::ptr::null::<RulesetAttr>();
    // SAFETY: with this flag the kernel reads no attribute; the null pointer has size 0.
    let version = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, none, 0usize, VERSION) };
    i32::try_from(version).unwrap_or(0).max(0)
}

/// Creates a ruleset that handles these file access rights and scopes.
pub fn create(fs: u64, scoped: u64, abi: i32) -> SysResult<RawFd> {
    let attr = RulesetAttr { fs, net: 0, scoped };
    // An older kernel accepts a shorter structure.
    let size: usize = match abi {
        ..=3 => 8,
        4 | 5 => 16,
        _ => 24,
    };
    // SAFETY: the kernel reads `size` bytes of `attr`, which has 24 and outlives the call.
    let fd =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, &raw const attr, size, 0 as libc::c_uint) };
    check(fd).map(|fd| fd as RawFd)
}

/// Allows `allowed` on the file or directory behind `fd` and everything below it.
pub fn add_path(ruleset: RawFd, fd: RawFd, allowed: u64) -> SysResult<()> {
    let attr = PathBeneath { allowed, parent: fd };
    // SAFETY: the kernel reads one `PathBeneath`, which outlives the call.
    let done = unsafe {
        libc::syscall(libc::SYS_landlock_add_rule, ruleset, PATH_BENEATH, &raw const attr, 0 as libc::c_uint)
    };
    check(done).map(drop)
}

/// Enforces the ruleset on this process. Needs no_new_privs or `CAP_SYS_ADMIN`.
pub fn restrict(ruleset: RawFd) -> SysResult<()> {
    // SAFETY: no memory is involved.
    check(unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset, 0 as libc::c_uint) }).map(drop)
}

/// The access mode of an open descriptor: `O_RDONLY`, `O_WRONLY` or `O_RDWR`.
pub fn access_mode(fd: RawFd) -> SysResult<i32> {
    // SAFETY: no memory is involved.
    check(unsafe { libc::fcntl(fd, libc::F_GETFL) }.into()).map(|flags| flags as i32 & libc::O_ACCMODE)
}
