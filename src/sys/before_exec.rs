//! Programs that the runtime starts: what their process does between fork(2) and execve(2).

use std::os::fd::RawFd;

use super::process::{chroot_here, close_range, setns};
use super::{Errno, SysResult};

/// The credentials of a process in a user namespace that it has joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// User id in the namespace.
    pub uid: u32,
    /// Group id in the namespace.
    pub gid: u32,
    /// The namespace allows setgroups(2), so all supplementary groups are dropped.
    pub set_groups: bool,
}

/// Unblocks all signals and resets ignored ones for the program of `command`. std's `Command` keeps this
/// process's signal mask, which blocks the signals read from a signalfd(2).
pub fn clean_before_exec(command: &mut std::process::Command) {
    use std::os::unix::process::CommandExt;
    let clean = || super::signal::clean_signals(u64::MAX).map_err(std::io::Error::from);
    // SAFETY: between fork and exec the closure only calls sigaction(2) and sigprocmask(2), and allocates
    // nothing.
    unsafe {
        command.pre_exec(clean);
    }
}

/// The kernel kills `command`'s child when this process ends: what it does must not come after what takes it back.
pub fn die_with_parent(command: &mut std::process::Command) {
    use std::os::unix::process::CommandExt;
    let die = || {
        super::own::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as u64)
            .map(drop)
            .map_err(std::io::Error::from)
    };
    // SAFETY: between fork and exec the closure only calls prctl(2), and allocates nothing.
    unsafe {
        command.pre_exec(die);
    }
}

/// Before exec, `command`'s child joins namespaces (each of `joins` is an argument of setns(2)), takes the
/// ids of `member` in the joined user namespace, and takes `root` as its root directory if given. It starts
/// in `dir` below that root, or in `/` if `dir` does not exist.
pub fn enter_before_exec(
    command: &mut std::process::Command,
    joins: Vec<(RawFd, u64)>,
    member: Option<Member>,
    root: Option<RawFd>,
    dir: std::ffi::CString,
) {
    use std::os::unix::process::CommandExt;
    let enter = move || {
        joins.iter().try_for_each(|(fd, flags)| setns(*fd, *flags))?;
        if let Some(root) = root {
            super::fs::fchdir(root)?;
            chroot_here()?;
        }
        // `dir` may be missing in a joined mount namespace. chdir comes before the change of ids: only root
        // may have access.
        super::fs::chdir(&dir).or_else(|_| super::fs::chdir(c"/"))?;
        if let Some(Member { uid, gid, set_groups }) = member {
            if set_groups {
                super::cred::setgroups(&[])?;
            }
            super::cred::setresgid(gid)?;
            super::cred::setresuid(uid)?;
        }
        Ok(())
    };
    // SAFETY: the closure only makes system calls, which is safe between fork and exec.
    unsafe {
        command.pre_exec(move || enter().map_err(|e: Errno| e.into()));
    }
}

/// `command`'s program starts with `signals` blocked: they wait until it is ready to read them.
pub fn block_before_exec(command: &mut std::process::Command, signals: &'static [i32]) {
    use std::os::unix::process::CommandExt;
    let block = move || super::signal::block(signals).map_err(std::io::Error::from);
    // SAFETY: between fork and exec it only calls sigprocmask(2), and allocates nothing.
    unsafe {
        command.pre_exec(block);
    }
}

/// Passes descriptors to `command`'s child under other numbers: each entry of `passed` is (descriptor,
/// number).
pub fn pass_before_exec(command: &mut std::process::Command, mut passed: Vec<(RawFd, RawFd)>) {
    use std::os::unix::process::CommandExt;
    let mut pass = move || {
        // First copy all to high numbers, because a target number may be a source that is still needed.
        const ABOVE: RawFd = 256;
        passed.iter_mut().try_for_each(|(fd, _)| super::fs::dup_above(*fd, ABOVE).map(|copy| *fd = copy))?;
        passed.iter().try_for_each(|(fd, number)| super::fs::dup2(*fd, *number))
    };
    // SAFETY: the closure makes system calls and nothing else, which is safe between fork and exec.
    unsafe {
        command.pre_exec(move || pass().map_err(std::io::Error::from));
    }
}

/// Closes all descriptors except those in `keep` (sorted here), and opens /dev/null on 0 to 2.
pub fn keep_only(keep: &[RawFd]) -> SysResult<()> {
    let null = super::fs::openat(libc::AT_FDCWD, c"/dev/null", libc::O_RDWR, 0)?;
    for fd in 0..3 {
        super::fs::dup2(null, fd)?;
    }
    let mut keep: Vec<u32> = keep.iter().filter(|fd| **fd > 2).map(|fd| *fd as u32).collect();
    keep.sort_unstable();
    let mut first = 3;
    for fd in keep.into_iter().chain([u32::MAX]) {
        if fd > first {
            close_range(first, fd - 1)?;
        }
        first = fd.wrapping_add(1);
    }
    Ok(())
}
