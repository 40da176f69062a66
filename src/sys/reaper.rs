//! The minimal init: process 1, the parent of the program. It only makes system calls.
//!
//! It uses only system calls that every seccomp profile must allow to execute a program, because the
//! program's filter applies to this process too.

use std::os::fd::RawFd;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use super::process::exit_now;
use super::usage::{self, ResourceUsage};
use super::{SysResult, check};

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
        // SAFETY: kill(2) is async-signal-safe; the pid is that of an unreaped child of this process. A failure
        // means that the program has ended.
        1.. => unsafe { libc::kill(program, signal) },
        _ => 0,
    };
}

/// From now on forwards every signal except `OWN`. execve(2) resets handlers, so the program has none.
pub fn forward_signals() -> SysResult<()> {
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
pub fn deaf(call: impl FnOnce() -> SysResult<()>) -> SysResult<()> {
    PROGRAM.store(-1, Ordering::Relaxed);
    let done = call();
    PROGRAM.store(0, Ordering::Relaxed);
    done
}

/// A report of init to the launcher, sent before the program starts and after its end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReaperReport {
    /// The program's wait status; `None` before its end.
    pub status: Option<i32>,
    /// Resource usage of the program and all other children of init.
    pub used: ResourceUsage,
    /// CLOCK_MONOTONIC before the start of the program.
    pub start: Duration,
    /// CLOCK_MONOTONIC after its end.
    pub end: Duration,
}

impl ReaperReport {
    /// Length in bytes on the socket.
    pub const LEN: usize = 56;

    fn to_bytes(self) -> [u8; Self::LEN] {
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let status = self.status.map_or(u64::MAX, |status| u64::from(status.cast_unsigned()));
        let ResourceUsage { user, system, max_rss } = self.used;
        let numbers = [status, nanos(user), nanos(system), max_rss, nanos(self.start), nanos(self.end), 0];
        let mut bytes = [0; Self::LEN];
        for (to, from) in bytes.chunks_exact_mut(8).zip(numbers) {
            to.copy_from_slice(&from.to_ne_bytes());
        }
        bytes
    }

    /// Decodes a received record.
    pub fn from_bytes(bytes: &[u8; Self::LEN]) -> Self {
        let number = |at: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&bytes[at * 8..at * 8 + 8]);
            u64::from_ne_bytes(word)
        };
        let time = |at| Duration::from_nanos(number(at));
        let status = u32::try_from(number(0)).ok().map(u32::cast_signed);
        let used = ResourceUsage { user: time(1), system: time(2), max_rss: number(3) };
        ReaperReport { status, used, start: time(4), end: time(5) }
    }

    /// Sends the record. A failure means that the launcher has ended.
    fn send(self, socket: RawFd) {
        let bytes = self.to_bytes();
        // SAFETY: the buffer is readable for the length passed.
        unsafe { libc::write(socket, bytes.as_ptr().cast(), bytes.len()) };
    }
}

/// Sends the first record to `status`, then clone(2) like fork(2), without the C library's atfork handlers. Returns the
/// start time in the parent, `None` in the child.
pub fn split(status: RawFd) -> SysResult<Option<Duration>> {
    let start = usage::monotonic();
    ReaperReport { start, ..ReaperReport::default() }.send(status);
    // SAFETY: without CLONE_VM the child has a copy of the memory; both processes only make system calls.
    match check(unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD as libc::c_ulong, 0, 0, 0, 0) })? {
        0 => Ok(None),
        pid => {
            PROGRAM.store(pid as i32, Ordering::Relaxed);
            Ok(Some(start))
        }
    }
}

/// Reaps children until the program has ended. Then sends the last record to `status` and exits with the
/// program's exit code, or 128 + the signal that killed it. Closes all other descriptors.
pub fn stay(status: RawFd, start: Duration) -> ! {
    let keep = u32::try_from(status).unwrap_or(0);
    // A profile older than close_range(2) refuses it; the descriptors then stay open until the end.
    if keep > 0 {
        super::process::close_range(0, keep - 1).unwrap_or_default();
    }
    super::process::close_range(keep + 1, u32::MAX).unwrap_or_default();
    let program = PROGRAM.load(Ordering::Relaxed);
    let mut used = ResourceUsage::default();
    loop {
        match usage::wait_status(-1, 0) {
            Ok(Some((pid, ended, by))) => {
                used.add(&by);
                if pid == program {
                    PROGRAM.store(-1, Ordering::Relaxed);
                    ReaperReport { status: Some(ended), used, start, end: usage::monotonic() }.send(status);
                    exit_now(super::process::ProcessExit::of_status(ended).code());
                }
            }
            // No child is left.
            _ => exit_now(255),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_comes_back_as_it_was() {
        let used =
            ResourceUsage { user: Duration::from_micros(7), system: Duration::from_secs(3), max_rss: 4096 };
        let (start, end) = (Duration::from_nanos(1), Duration::from_nanos(2));
        for status in [None, Some(0), Some(6), Some(256)] {
            let record = ReaperReport { status, used, start, end };
            assert_eq!(ReaperReport::from_bytes(&record.to_bytes()), record);
        }
    }
}
