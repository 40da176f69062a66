//! Signals: dispositions, and signalfd(2).

use std::os::fd::RawFd;

use super::{SysResult, check, own::pid};

/// kill(2) of this process. Other processes are signalled through pidfds.
pub fn raise(signal: i32) -> SysResult<()> {
    // SAFETY: no memory is involved.
    check(unsafe { libc::kill(pid(), signal) }.into()).map(drop)
}

/// Ignores `signal` in this process. The program gets its default action back ([`clean_signals`]).
pub fn ignore(signal: i32) -> SysResult<()> {
    // SAFETY: an all-zero sigaction is valid, and SIG_IGN is a constant.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = libc::SIG_IGN;
    // SAFETY: the action outlives the call; the old action is not requested.
    check(unsafe { libc::sigaction(signal, &action, std::ptr::null_mut()) }.into()).map(drop)
}

/// Resets `signal` to its default action in this process and unblocks it.
pub fn obey(signal: i32) -> SysResult<()> {
    if !matches!(signal, libc::SIGKILL | libc::SIGSTOP) {
        // SAFETY: an all-zero sigaction is valid: SIG_DFL without flags.
        let action: libc::sigaction = unsafe { std::mem::zeroed() };
        // SAFETY: the action outlives the call; the old action is not requested.
        check(unsafe { libc::sigaction(signal, &action, std::ptr::null_mut()) }.into())?;
    }
    // SAFETY: sigset functions only write the set; the set outlives the calls.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigaddset(&mut set, signal);
        check(libc::sigprocmask(libc::SIG_UNBLOCK, &set, std::ptr::null_mut()).into()).map(drop)
    }
}

/// Resets the signals in `changed` (bit N is signal N + 1) to their default action and unblocks all signals.
/// Signals 32 and 33, which the C library uses, are skipped. Ignored signals are inherited: Rust's start-up
/// ignores SIGPIPE, and background callers ignore others. Signals that ask a process to end get a handler
/// until execve(2): the kernel drops signals with the default action for pid 1 of a pid namespace, so a
/// container that waits for its start could not be stopped.
pub fn clean_signals(changed: u64) -> SysResult<()> {
    extern "C" fn end(signal: libc::c_int) {
        // SAFETY: _exit(2) is async-signal-safe and does not return.
        unsafe { libc::_exit(128 + signal) }
    }
    const ENDING: [i32; 4] = [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM];
    // SAFETY: an all-zero sigset is a valid empty set, and an all-zero sigaction is SIG_DFL without flags.
    let (mut action, mask): (libc::sigaction, libc::sigset_t) =
        unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
    let own = |signal: &i32| {
        let changed = changed & 1 << (signal - 1) != 0 || ENDING.contains(signal);
        changed && !matches!(*signal, libc::SIGKILL | libc::SIGSTOP | 32 | 33)
    };
    for signal in (1..=64).filter(own) {
        action.sa_sigaction =
            if ENDING.contains(&signal) { end as *const () as usize } else { libc::SIG_DFL };
        // SAFETY: the struct outlives the call; the old action is not requested.
        check(unsafe { libc::sigaction(signal, &action, std::ptr::null_mut()) }.into())?;
    }
    // SAFETY: the set outlives the call; the old mask is not requested.
    check(unsafe { libc::sigprocmask(libc::SIG_SETMASK, &mask, std::ptr::null_mut()) }.into())?;
    Ok(())
}

/// Blocks `signals` in this process.
pub fn block(signals: &[i32]) -> SysResult<()> {
    // SAFETY: sigset functions only write the set; the set outlives the calls.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        for signal in signals {
            libc::sigaddset(&mut set, *signal);
        }
        check(libc::sigprocmask(libc::SIG_BLOCK, &set, std::ptr::null_mut()).into()).map(drop)
    }
}

/// Blocks `signals` in this process and returns a close-on-exec, non-blocking signalfd(2) for them.
pub fn signalfd(signals: &[i32]) -> SysResult<RawFd> {
    // SAFETY: sigset functions only write the set; the set outlives the calls.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        for signal in signals {
            libc::sigaddset(&mut set, *signal);
        }
        check(libc::sigprocmask(libc::SIG_BLOCK, &set, std::ptr::null_mut()).into())?;
        check(libc::signalfd(-1, &set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK).into()).map(|fd| fd as RawFd)
    }
}

/// Reads one signal from a signalfd(2) and returns its number; `None` if none is pending.
pub fn next_signal(fd: RawFd) -> Option<i32> {
    let mut info = [0u8; std::mem::size_of::<libc::signalfd_siginfo>()];
    match super::fs::read(fd, &mut info) {
        // The first field, ssi_signo, is a u32.
        Ok(n) if n == info.len() => Some(i32::from_ne_bytes([info[0], info[1], info[2], info[3]])),
        _ => None,
    }
}

/// Signals whose default action ends a process. Pid 1 of a pid namespace is exempt from it
/// (pid_namespaces(7)).
pub const DEADLY: [i32; 10] = [
    libc::SIGINT,
    libc::SIGTERM,
    libc::SIGHUP,
    libc::SIGQUIT,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGALRM,
    libc::SIGVTALRM,
    libc::SIGPROF,
    libc::SIGPWR,
];
