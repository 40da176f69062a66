//! The minimal init: process 1, the parent of the program. It only makes system calls.
//!
//! It uses only system calls that every seccomp profile must allow to execute a program, because the
//! program's filter applies to this process too.

use std::os::fd::RawFd;
use std::sync::atomic::{AtomicI32, Ordering};

use super::process::exit_now;
use super::{Result, check};

/// Pid of the program; 0 before the clone, and in the program itself; -1 after its end.
static PROGRAM: AtomicI32 = AtomicI32::new(0);

/// Signals for this process itself: SIGCHLD and its own faults.
const OWN: [i32; 10] = [
    libc::SIGCHLD,
    libc::SIGKILL,
    libc::SIGSTOP,
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGFPE,
    libc::SIGILL,
    libc::SIGTRAP,
    libc::SIGABRT,
    libc::SIGSYS,
];

/// Forwards the signal. Before the program exists, a signal ends the launch.
extern "C" fn forward(signal: libc::c_int) {
    let program = PROGRAM.load(Ordering::Relaxed);
    match program {
        0 => exit_now(128 + signal),
        // SAFETY: kill(2) is async-signal-safe; the pid is that of this process's child, which is not reaped
        // yet.
        // A failure means that the program has ended.
        1.. => unsafe { libc::kill(program, signal) },
        _ => 0,
    };
}

/// From now on forwards every signal except [`OWN`]. execve(2) resets handlers, so the program has none.
pub fn forward_signals() -> Result<()> {
    // SAFETY: an all-zero sigaction is a valid one.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = forward as *const () as usize;
    action.sa_flags = libc::SA_RESTART;
    // The C library uses 32 and 33.
    for signal in (1..=64).filter(|s| !OWN.contains(s) && !matches!(s, 32 | 33)) {
        // SAFETY: the struct outlives the call; the old action is not requested.
        check(unsafe { libc::sigaction(signal, &action, std::ptr::null_mut()) }.into())?;
    }
    Ok(())
}

/// Makes a call during which signals to this process are ignored: a session leader that gives up its terminal
/// receives SIGHUP before the call returns (tty_ioctl(4), `TIOCNOTTY`).
pub fn deaf(call: impl FnOnce() -> Result<()>) -> Result<()> {
    PROGRAM.store(-1, Ordering::Relaxed);
    let done = call();
    PROGRAM.store(0, Ordering::Relaxed);
    done
}

/// clone(2) like fork(2), without the C library's atfork handlers. Returns true in the child.
pub fn split() -> Result<bool> {
    // SAFETY: without CLONE_VM the child has a copy of the memory; both processes only make system calls.
    match check(unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD as libc::c_ulong, 0, 0, 0, 0) })? {
        0 => Ok(true),
        pid => {
            PROGRAM.store(pid as i32, Ordering::Relaxed);
            Ok(false)
        }
    }
}

/// Reaps children until the program has ended. Then writes the program's wait status to `status` and exits
/// with the program's exit code, or 128 + the signal that killed it. Closes all other descriptors.
pub fn stay(status: RawFd) -> ! {
    let keep = u32::try_from(status).unwrap_or(0);
    // A profile older than close_range(2) refuses it; the descriptors then stay open until the end.
    if keep > 0 {
        super::process::close_range(0, keep - 1).unwrap_or_default();
    }
    super::process::close_range(keep + 1, u32::MAX).unwrap_or_default();
    let program = PROGRAM.load(Ordering::Relaxed);
    loop {
        let mut ended = 0;
        // SAFETY: `ended` is writable.
        let pid = unsafe { libc::waitpid(-1, &mut ended, 0) };
        if pid == program {
            PROGRAM.store(-1, Ordering::Relaxed);
            let record = ended.to_ne_bytes();
            // SAFETY: the buffer is readable for the length passed. A launcher that is gone is told nothing.
            unsafe { libc::write(status, record.as_ptr().cast(), record.len()) };
            exit_now(super::process::Exit::of_status(ended).code());
        }
        // ECHILD: no child is left. Any other error is an interruption by a signal.
        if pid < 0 && super::Errno::last() == super::Errno::ECHILD {
            exit_now(255);
        }
    }
}
