//! seccomp(2) and seccomp_unotify(2).

use libc::{c_long, c_uint, seccomp_notif, seccomp_notif_resp, sock_filter, sock_fprog};
use nix::errno::Errno;
use std::os::fd::RawFd;

/// Loads `program` for this process permanently. With `NEW_LISTENER` in `flags` it returns the listener's
/// descriptor (close-on-exec), else `None`.
///
/// It is only a system call, so Init may use it. Needs no_new_privs or `CAP_SYS_ADMIN` (`EACCES`). `EINVAL`:
/// the kernel's checker refuses the program. `TSYNC` is not used: Init has one thread.
pub fn set_filter(program: &[sock_filter], flags: u32) -> nix::Result<Option<RawFd>> {
    let len = u16::try_from(program.len()).map_err(|_| Errno::EINVAL)?;
    let prog = sock_fprog { len, filter: program.as_ptr().cast_mut() };
    // SAFETY: `prog` and its instructions outlive the call. The kernel copies them; it does not write through
    // the pointer, although its type is mutable.
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

/// Whether the kernel knows all `flags`. It checks the flags before the program, so with a null program known
/// flags give `EFAULT` and unknown ones `EINVAL`. Nothing is loaded.
pub fn flag_supported(flags: u32) -> bool {
    // SAFETY: the null program makes the call fail before any change.
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

/// The next system call that waits on `listener`. `ENOENT`: its process has ended. After poll(2) reported
/// `POLLIN` this does not block.
pub fn notification(listener: RawFd) -> nix::Result<seccomp_notif> {
    // SAFETY: `seccomp_notif` consists of integers, so all-zero bytes are valid. The kernel requires zeros.
    let mut call: seccomp_notif = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes one `seccomp_notif` through the pointer, which is valid for the call.
    Errno::result(unsafe { libc::ioctl(listener, libc::SECCOMP_IOCTL_NOTIF_RECV, &raw mut call) })?;
    Ok(call)
}

/// Lets the system call `id` continue. The kernel reads its arguments again, which the process may have changed, so this
/// must not be used to enforce a policy (seccomp_unotify(2)). `ENOENT`: its process has ended.
pub fn go_on(listener: RawFd, id: u64) -> nix::Result<()> {
    let flags = libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32;
    let mut answer = seccomp_notif_resp { id, val: 0, error: 0, flags };
    // SAFETY: the kernel reads one `seccomp_notif_resp` through the pointer, which is valid for the call.
    Errno::result(unsafe { libc::ioctl(listener, libc::SECCOMP_IOCTL_NOTIF_SEND, &raw mut answer) }).map(drop)
}

/// Whether the system call `id` still waits. If so, memory read before by pid belongs to its process, and not to
/// another process with the same pid.
pub fn waits(listener: RawFd, id: u64) -> bool {
    // SAFETY: the kernel reads one u64 through the pointer, which is valid for the call.
    unsafe { libc::ioctl(listener, libc::SECCOMP_IOCTL_NOTIF_ID_VALID, &raw const id) == 0 }
}

/// Ends the system call `id` with `errno`.
/// `ENOENT`: the call no longer waits.
pub fn refuse(listener: RawFd, id: u64, errno: Errno) -> nix::Result<()> {
    let mut answer = seccomp_notif_resp { id, val: 0, error: -(errno as i32), flags: 0 };
    // SAFETY: the kernel reads one `seccomp_notif_resp` through the pointer, which is valid for the call.
    Errno::result(unsafe { libc::ioctl(listener, libc::SECCOMP_IOCTL_NOTIF_SEND, &raw mut answer) }).map(drop)
}
