//! The minimal init: it stays as process 1 while its child is the program. System calls and nothing else.
//!
//! Only calls that every seccomp profile allows which lets a program run at all: the program's filter is in force for
//! this process, too.

use std::os::fd::RawFd;
use std::sync::atomic::{AtomicI32, Ordering};

use super::process::exit_now;
use super::{Result, check};

/// The program; 0 until it is cloned, and in the program itself; -1 once it has ended.
static PROGRAM: AtomicI32 = AtomicI32::new(0);

/// Signals that mean this process itself: its children's end, and its own faults.
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

/// Passes the signal on. Before there is a program, a signal ends the launch.
extern "C" fn forward(signal: libc::c_int) {
    let program = PROGRAM.load(Ordering::Relaxed);
    match program {
        0 => exit_now(128 + signal),
        // SAFETY: kill(2) is async-signal-safe; the number is that of this process's child, which was not waited for.
        // One that has ended needs no signal.
        1.. => unsafe { libc::kill(program, signal) },
        _ => 0,
    };
}

/// Every other signal than [`OWN`] is passed on from here. execve(2) gives handlers back, so the program has none.
pub fn forward_signals() -> Result<()> {
    // SAFETY: an all-zero sigaction is a valid one.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = forward as *const () as usize;
    action.sa_flags = libc::SA_RESTART;
    // 32 and 33 are the C library's own.
    for signal in (1..=64).filter(|s| !OWN.contains(s) && !matches!(s, 32 | 33)) {
        // SAFETY: the struct outlives the call; no old value is asked for.
        check(unsafe { libc::sigaction(signal, &action, std::ptr::null_mut()) }.into())?;
    }
    Ok(())
}

/// Makes a call that brings this process a signal which means nothing: a session leader that gives its terminal up gets
/// SIGHUP (tty_ioctl(4), `TIOCNOTTY`), before the call returns.
pub fn deaf(call: impl FnOnce() -> Result<()>) -> Result<()> {
    PROGRAM.store(-1, Ordering::Relaxed);
    let done = call();
    PROGRAM.store(0, Ordering::Relaxed);
    done
}

/// clone(2) as fork(2), without the C library's handlers: true in the child.
pub fn split() -> Result<bool> {
    // SAFETY: without CLONE_VM the child has a copy of everything, and both make system calls only.
    match check(unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD as libc::c_ulong, 0, 0, 0, 0) })? {
        0 => Ok(true),
        pid => {
            PROGRAM.store(pid as i32, Ordering::Relaxed);
            Ok(false)
        }
    }
}

/// Reaps until the program has ended; then writes its wait status to `status` and ends with its exit code, 128 and the
/// number of the signal that killed it. Holds no other descriptor.
pub fn stay(status: RawFd) -> ! {
    let keep = u32::try_from(status).unwrap_or(0);
    // A profile that is older than close_range(2) refuses it: the descriptors stay open until the end.
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
        // Without a child there is nothing to wait for; a signal only interrupts.
        if pid < 0 && super::Errno::last() == super::Errno::ECHILD {
            exit_now(255);
        }
    }
}
