//! seccomp(2).

use libc::{c_long, c_uint, sock_filter, sock_fprog};
use nix::errno::Errno;
use std::os::fd::RawFd;

/// Loads `program` for this process, for good; with `NEW_LISTENER` among `flags` returns the
/// listener's descriptor (close-on-exec), else nothing.
///
/// Only a system call, so Init may use it. Needs no_new_privs or `CAP_SYS_ADMIN` (`EACCES`); `EINVAL`
/// for a program that the kernel's checker refuses. `TSYNC` is not used: Init has one thread.
pub fn set_filter(program: &[sock_filter], flags: u32) -> nix::Result<Option<RawFd>> {
    let len = u16::try_from(program.len()).map_err(|_| Errno::EINVAL)?;
    let prog = sock_fprog { len, filter: program.as_ptr().cast_mut() };
    // SAFETY: `prog` and the instructions that it points at outlive the call; the kernel copies them
    // and, in spite of the pointer's type, does not write.
    let ret: c_long = unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags as c_uint, &raw const prog)
    };
    let ret = Errno::result(ret)?;
    let listens = flags & libc::SECCOMP_FILTER_FLAG_NEW_LISTENER as u32 != 0;
    Ok(if listens { RawFd::try_from(ret).ok() } else { None })
}

/// Whether the kernel knows the action `SECCOMP_RET_*`.
pub fn action_available(action: u32) -> bool {
    // SAFETY: the kernel reads one u32 through the pointer, which is valid for the call.
    let ret: c_long = unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_GET_ACTION_AVAIL, 0 as c_uint, &raw const action)
    };
    ret == 0
}

/// Whether the kernel knows the flags: it looks at them before it looks at the program, so with no
/// program at all known flags give `EFAULT` and unknown ones `EINVAL`. Nothing is loaded.
pub fn flag_supported(flags: u32) -> bool {
    // SAFETY: the null program makes the call fail in every case, before anything is changed.
    let ret: c_long = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags as c_uint,
            std::ptr::null::<sock_fprog>(),
        )
    };
    ret == -1 && Errno::last() == Errno::EFAULT
}
