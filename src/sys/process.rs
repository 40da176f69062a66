//! Processes and namespaces: clone3(2), setns(2), pidfds, prctl(2), rlimits, exec.

use std::ffi::CStr;
use std::os::fd::RawFd;

pub use super::own::{pid, prctl, prctl3};
use super::{Errno, SysResult, check};

/// `struct clone_args` of clone3(2), version 2.
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// clone3(2): start the child in the given cgroup (cgroup v2).
pub const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// clone3(2): signals with a handler get their default action in the child; ignored signals stay ignored.
const CLONE_CLEAR_SIGHAND: u64 = 0x1_0000_0000;

/// The return value of clone3, in each of the two processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cloned {
    /// In the child.
    Child,
    /// In the parent: the child's pid and pidfd.
    Parent {
        /// As this process's pid namespace sees it.
        pid: i32,
        /// Close-on-exec.
        pidfd: RawFd,
    },
}

/// clone3(2) like fork, with namespaces, a pidfd, no signal handlers, and the child created in `cgroup`.
///
/// `parent` makes the child a sibling (`CLONE_PARENT`); its exit signal is then that of the caller.
pub fn clone3(namespaces: u64, cgroup: Option<RawFd>, parent: bool) -> SysResult<Cloned> {
    let mut pidfd: RawFd = -1;
    let mut args = CloneArgs {
        flags: namespaces | libc::CLONE_PIDFD as u64 | CLONE_CLEAR_SIGHAND,
        pidfd: std::ptr::from_mut(&mut pidfd) as u64,
        exit_signal: libc::SIGCHLD as u64,
        ..CloneArgs::default()
    };
    if parent {
        args.flags |= libc::CLONE_PARENT as u64;
        args.exit_signal = 0;
    }
    if let Some(fd) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = fd as u64;
    }
    // SAFETY: without CLONE_VM the child gets a copy of this single-threaded process (the caller has asserted
    // that), so returning twice is as safe as fork(2). `args` has the size passed and `pidfd` is writable.
    let pid = check(unsafe {
        libc::syscall(libc::SYS_clone3, std::ptr::from_mut(&mut args), std::mem::size_of::<CloneArgs>())
    })?;
    Ok(if pid == 0 { Cloned::Child } else { Cloned::Parent { pid: pid as i32, pidfd } })
}

/// Whether clone3(2) is there: a seccomp filter that cannot look at its arguments answers ENOSYS, so that programs use
/// clone(2). Arguments of size 0 are EINVAL and start nothing.
pub fn has_clone3() -> bool {
    // SAFETY: the kernel reads no byte of arguments of size 0.
    let answer = check(unsafe { libc::syscall(libc::SYS_clone3, std::ptr::null::<CloneArgs>(), 0_usize) });
    !matches!(answer, Err(Errno::ENOSYS))
}

/// clone(2) like fork, with namespaces and a pidfd. Handlers of signals stay: this program has none of its own. `parent`
/// makes the child a sibling, as for [`clone3`].
pub fn clone(namespaces: u64, parent: bool) -> SysResult<Cloned> {
    let mut pidfd: RawFd = -1;
    let sibling = if parent { libc::CLONE_PARENT as u64 } else { 0 };
    let flags = namespaces | libc::CLONE_PIDFD as u64 | sibling | libc::SIGCHLD as u64;
    let pidfd_to = std::ptr::from_mut(&mut pidfd);
    // SAFETY: as for clone3: without CLONE_VM the child gets a copy of this single-threaded process. With CLONE_PIDFD
    // the third argument is where the descriptor goes, on every architecture.
    let pid = check(unsafe { libc::syscall(libc::SYS_clone, flags, 0_usize, pidfd_to, 0_usize, 0_usize) })?;
    Ok(if pid == 0 { Cloned::Child } else { Cloned::Parent { pid: pid as i32, pidfd } })
}

/// setns(2): `fd` is a namespace file or, with several flags, a pidfd.
pub fn setns(fd: RawFd, flags: u64) -> SysResult<()> {
    // SAFETY: no memory is involved.
    check(unsafe { libc::setns(fd, flags as i32) }.into()).map(drop)
}

/// unshare(2).
pub fn unshare(flags: u64) -> SysResult<()> {
    // SAFETY: no memory is involved; CLONE_FILES and CLONE_VM are never passed.
    check(unsafe { libc::unshare(flags as i32) }.into()).map(drop)
}

/// pidfd_open(2).
pub fn pidfd_open(pid: i32) -> SysResult<RawFd> {
    // SAFETY: no memory is involved.
    check(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) }).map(|fd| fd as RawFd)
}

/// pidfd_getfd(2): a close-on-exec copy of descriptor `fd` of the process behind `pidfd`.
pub fn pidfd_getfd(pidfd: RawFd, fd: i32) -> SysResult<RawFd> {
    // SAFETY: no memory is involved.
    check(unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd, fd, 0) }).map(|fd| fd as RawFd)
}

/// pidfd_send_signal(2).
pub fn pidfd_kill(pidfd: RawFd, signal: i32) -> SysResult<()> {
    let null = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: a null siginfo is valid for plain signals (pidfd_send_signal(2)).
    check(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd, signal, null, 0) }).map(drop)
}

/// Checks that the process behind `pidfd` is a child of this one that was not waited for (waitid(2), else
/// `ECHILD`).
pub fn expect_child(pidfd: RawFd) -> SysResult<()> {
    // SAFETY: an all-zero siginfo is a valid value of that plain C struct.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: `info` is writable; WNOWAIT leaves the child waitable.
    check(unsafe { libc::waitid(libc::P_PIDFD, pidfd as libc::id_t, &mut info, flags) }.into()).map(drop)
}

/// prctl `PR_SET_NAME`: what ps(1) calls this process; 15 bytes at most count.
pub fn set_name(name: &CStr) -> SysResult<()> {
    prctl(libc::PR_SET_NAME, name.as_ptr() as u64).map(drop)
}

/// setsid(2).
pub fn setsid() -> SysResult<()> {
    // SAFETY: no memory is involved.
    check(unsafe { libc::setsid() }.into()).map(drop)
}

/// prctl `PR_GET_PDEATHSIG`: the signal that this process receives when its parent ends; 0 for none.
pub fn death_signal() -> SysResult<i32> {
    let mut signal: libc::c_int = 0;
    prctl(libc::PR_GET_PDEATHSIG, std::ptr::from_mut(&mut signal) as u64)?;
    Ok(signal)
}

/// close_range(2) with `CLOSE_RANGE_CLOEXEC` from `first` on.
pub fn cloexec_from(first: u32) -> SysResult<()> {
    // SAFETY: no memory is involved; descriptors are only marked.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) })
        .map(drop)
}

/// close_range(2): closes the descriptors from `first` to `last`.
pub fn close_range(first: u32, last: u32) -> SysResult<()> {
    // SAFETY: no memory is involved; the caller uses none of the descriptors any more.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) }).map(drop)
}

/// execve(2); returns only on error. `argv` and `envp` end with a null pointer.
pub fn execve(path: &CStr, argv: &[*const libc::c_char], envp: &[*const libc::c_char]) -> Errno {
    debug_assert!(argv.last().is_some_and(|p| p.is_null()) && envp.last().is_some_and(|p| p.is_null()));
    // SAFETY: the arrays end with null and point to NUL-terminated strings owned by the plan, which
    // outlives the call.
    unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), envp.as_ptr()) };
    Errno::last()
}

/// execveat(2) of the descriptor itself; returns only on error.
pub fn execve_fd(fd: RawFd, argv: &[*const libc::c_char], envp: &[*const libc::c_char]) -> Errno {
    // SAFETY: as for `execve`.
    unsafe {
        libc::syscall(libc::SYS_execveat, fd, c"".as_ptr(), argv.as_ptr(), envp.as_ptr(), libc::AT_EMPTY_PATH)
    };
    Errno::last()
}

/// Ends this process at once, without destructors and flushes. A clone of the runtime must end this way.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit does not return and touches no memory.
    unsafe { libc::_exit(code) }
}

/// sethostname(2).
pub fn sethostname(name: &[u8]) -> SysResult<()> {
    // SAFETY: the buffer is readable for the length passed.
    check(unsafe { libc::sethostname(name.as_ptr().cast(), name.len()) }.into()).map(drop)
}

/// setdomainname(2).
pub fn setdomainname(name: &[u8]) -> SysResult<()> {
    // SAFETY: the buffer is readable for the length passed.
    check(unsafe { libc::setdomainname(name.as_ptr().cast(), name.len()) }.into()).map(drop)
}

/// Whether keyctl(2) can be called at all: a seccomp filter may refuse it. Asks for the number of the session keyring.
pub fn has_keyctl() -> bool {
    // SAFETY: no memory is involved.
    let answer = check(unsafe {
        libc::syscall(libc::SYS_keyctl, libc::KEYCTL_GET_KEYRING_ID, libc::KEY_SPEC_SESSION_KEYRING, 0)
    });
    !matches!(answer, Err(Errno::ENOSYS | Errno::EPERM))
}

/// keyctl(2) `KEYCTL_JOIN_SESSION_KEYRING` without a name: a new, anonymous session keyring.
///
/// runc names the keyring `_ses.ID`, so that its `exec` can join it. An attacker can create the name first:
/// another container of the same user makes a keyring with that name, grants access to all, and reads the
/// keys of both containers.
pub fn new_session_keyring() -> SysResult<()> {
    let none = std::ptr::null::<libc::c_char>();
    // SAFETY: a null name requests an anonymous keyring.
    check(unsafe { libc::syscall(libc::SYS_keyctl, libc::KEYCTL_JOIN_SESSION_KEYRING, none) }).map(drop)
}

/// chroot(".").
pub fn chroot_here() -> SysResult<()> {
    // SAFETY: a static NUL-terminated string.
    check(unsafe { libc::chroot(c".".as_ptr()) }.into()).map(drop)
}

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProcessExit {
    /// exit(2) with this code.
    Code(i32),
    /// Killed by this signal.
    Signal(i32),
}

impl ProcessExit {
    /// Decodes a wait status of waitpid(2).
    pub fn of_status(status: i32) -> ProcessExit {
        if libc::WIFSIGNALED(status) {
            ProcessExit::Signal(libc::WTERMSIG(status))
        } else {
            ProcessExit::Code(libc::WEXITSTATUS(status))
        }
    }

    /// The exit code as shells report it: the code, or 128 + the signal.
    pub fn code(self) -> i32 {
        match self {
            ProcessExit::Code(c) => c,
            ProcessExit::Signal(s) => 128 + s,
        }
    }
}

/// waitpid(2), retried on `EINTR`; `None` with `WNOHANG` if no child changed state.
pub fn wait(pid: i32, options: i32) -> SysResult<Option<(i32, ProcessExit)>> {
    let mut status = 0;
    loop {
        // SAFETY: `status` is writable.
        match check(unsafe { libc::waitpid(pid, &mut status, options) }.into()) {
            Err(Errno::EINTR) => {}
            Err(e) => return Err(e),
            Ok(0) => return Ok(None),
            Ok(pid) => return Ok(Some((pid as i32, ProcessExit::of_status(status)))),
        }
    }
}

/// fork(2): `None` in the child, which goes on as this process does.
pub fn fork() -> SysResult<Option<i32>> {
    // SAFETY: the runtime is single-threaded, so the child may do whatever the parent may.
    let pid = check(unsafe { libc::fork() }.into())? as i32;
    Ok((pid != 0).then_some(pid))
}

/// fork(2) for a helper of the runtime (the guardian, a hook's process). The child runs `f` and exits with
/// its value.
pub fn fork_run(f: impl FnOnce() -> i32) -> SysResult<i32> {
    // SAFETY: the runtime is single-threaded, so the child may call any function.
    match check(unsafe { libc::fork() }.into())? {
        0 => exit_now(f()),
        pid => Ok(pid as i32),
    }
}

/// Ends this process with `signal` and no core dump. A proxy process uses it to end as its child ended.
pub fn die_of(signal: i32) -> ! {
    let alone = prctl(libc::PR_SET_DUMPABLE, 0).and_then(|_| super::signal::obey(signal));
    match alone.and_then(|()| super::signal::raise(signal)) {
        // If the signal does not end the process, the exit code reports it as a shell does.
        Ok(()) | Err(_) => exit_now(128 + signal),
    }
}

/// setpriority(2)-free yield: sleeps `micros` microseconds.
pub fn sleep_micros(micros: u32) {
    std::thread::sleep(std::time::Duration::from_micros(micros.into()));
}

/// prctl `PR_SET_CHILD_SUBREAPER`: orphans of the container become children of this process.
pub fn become_subreaper() -> SysResult<()> {
    prctl(libc::PR_SET_CHILD_SUBREAPER, 1).map(drop)
}

/// Waits until one of `fds` is readable or its peer is closed. Returns one flag per descriptor; -1 is never
/// ready.
pub fn poll_in<const N: usize>(fds: [RawFd; N]) -> SysResult<[bool; N]> {
    poll(fds, -1)
}

/// As [`poll_in`], for at most `limit`; after that time all flags are false.
pub fn poll_in_for<const N: usize>(fds: [RawFd; N], limit: std::time::Duration) -> SysResult<[bool; N]> {
    // Rounded up, so that a caller never wakes before its deadline.
    poll(fds, i32::try_from(limit.as_micros().div_ceil(1000)).unwrap_or(i32::MAX))
}

fn poll<const N: usize>(fds: [RawFd; N], millis: i32) -> SysResult<[bool; N]> {
    let mut polls = fds.map(|fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 });
    loop {
        // SAFETY: `polls` is a writable array of the length passed.
        match check(unsafe { libc::poll(polls.as_mut_ptr(), N as libc::nfds_t, millis) }.into()) {
            Err(Errno::EINTR) => {}
            Err(e) => return Err(e),
            Ok(_) => return Ok(polls.map(|p| p.revents != 0)),
        }
    }
}

/// fcntl(2) `F_SETPIPE_SZ`: enlarges a pipe to hold `bytes`. Does nothing if the default capacity suffices.
pub fn make_room(pipe: RawFd, bytes: usize) -> SysResult<()> {
    if bytes <= 65_536 {
        return Ok(());
    }
    let bytes = i32::try_from(bytes).map_err(|_| Errno::E2BIG)?;
    // SAFETY: no memory is involved.
    check(unsafe { libc::fcntl(pipe, libc::F_SETPIPE_SZ, bytes) }.into()).map(drop)
}

/// Whether a process or zombie with this pid exists: kill(2) with signal 0.
pub fn exists(pid: i32) -> bool {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), None) != Err(Errno::ESRCH)
}

/// How a process that has ended and was waited for has ended: `PIDFD_GET_INFO` with `PIDFD_INFO_EXIT` (Linux 6.15).
/// `None`: it was not waited for yet, or the kernel is older.
pub fn exit_of(pidfd: RawFd) -> Option<ProcessExit> {
    /// `struct pidfd_info` as of Linux 6.15: mask, cgroupid, eleven ids, and the wait status.
    #[repr(C)]
    struct Info {
        mask: u64,
        cgroup: u64,
        ids: [u32; 11],
        status: i32,
    }
    const EXIT: u64 = 1 << 3;
    /// `_IOWR(0xFF, 11, struct pidfd_info)`.
    const GET_INFO: u64 = 3 << 30 | (size_of::<Info>() as u64) << 16 | 0xFF << 8 | 11;
    let mut info = Info { mask: EXIT, cgroup: 0, ids: [0; 11], status: 0 };
    // SAFETY: `info` is writable and as large as the request says.
    check(unsafe { libc::ioctl(pidfd, GET_INFO as _, &raw mut info) }.into()).ok()?;
    (info.mask & EXIT != 0).then(|| ProcessExit::of_status(info.status))
}

/// Waits until the process behind `pidfd` has ended, at most `millis` milliseconds. Returns whether it has
/// ended.
pub fn wait_for_exit(pidfd: RawFd, millis: i32) -> bool {
    let mut poll = libc::pollfd { fd: pidfd, events: libc::POLLIN, revents: 0 };
    // SAFETY: one writable pollfd. An interrupted wait only ends early.
    unsafe { libc::poll(&mut poll, 1, millis) == 1 }
}

/// Opens /dev/null on each of descriptors 0 to 2 that the caller closed. Otherwise a file that the runtime
/// opens would become the container's stdin, stdout or stderr (same class as CVE-2024-21626).
pub fn open_missing_stdio() {
    for fd in 0..3 {
        // SAFETY: no memory is involved.
        if unsafe { libc::fcntl(fd, libc::F_GETFD) } < 0 {
            // SAFETY: a static NUL-terminated string; the lowest free descriptor is `fd`.
            unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR) };
        }
    }
}

/// Start time of a process in clock ticks since boot (proc_pid_stat(5), field 22).
pub fn start_time(pid: i32) -> SysResult<u64> {
    stat_fields(pid).map(|(_, start)| start)
}

/// Whether `pid` is still the process that started at `start`, and not a zombie.
pub fn alive(pid: i32, start: u64) -> bool {
    stat_fields(pid).is_ok_and(|(state, s)| s == start && !matches!(state, b'Z' | b'X'))
}

/// (state, start time) from `/proc/PID/stat`; the name in parentheses may contain any bytes.
fn stat_fields(pid: i32) -> SysResult<(u8, u64)> {
    let path = std::ffi::CString::new(format!("/proc/{pid}/stat")).map_err(|_| Errno::EINVAL)?;
    let fd = super::fs::openat(libc::AT_FDCWD, &path, libc::O_RDONLY, 0)?;
    let mut buf = [0u8; 1024];
    let n = super::fs::read(fd, &mut buf);
    super::fs::close(fd);
    let text = &buf[..n?];
    let after = text.iter().rposition(|b| *b == b')').ok_or(Errno::EPROTO)?;
    let mut fields = text[after + 1..].split(|b| *b == b' ').filter(|f| !f.is_empty());
    let state = fields.next().and_then(|f| f.first().copied()).ok_or(Errno::EPROTO)?;
    let start =
        fields.nth(18).and_then(|f| std::str::from_utf8(f).ok()?.parse().ok()).ok_or(Errno::EPROTO)?;
    Ok((state, start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pid_counts_only_with_its_start_time() {
        let me = std::process::id() as i32;
        let start = start_time(me).unwrap();
        assert!(alive(me, start));
        assert!(!alive(me, start + 1));
    }
}
