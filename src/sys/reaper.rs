//! The minimal init: it stays as process 1 while its child is the program. System calls and nothing else.
//!
//! Only calls that every seccomp profile allows which lets a program run at all: the program's filter is in force for
//! this process, too.

use std::os::fd::RawFd;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use super::process::exit_now;
use super::usage::{self, Usage};
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

/// What init tells the launcher: once before the program starts, and once when it has ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Record {
    /// The program's wait status; `None` before its end.
    pub status: Option<i32>,
    /// What it and all other children of init used.
    pub used: Usage,
    /// CLOCK_MONOTONIC before it started, and after its end.
    pub start: Duration,
    /// After its end.
    pub end: Duration,
}

impl Record {
    /// The length on the socket.
    pub const LEN: usize = 56;

    fn to_bytes(self) -> [u8; Self::LEN] {
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let status = self.status.map_or(u64::MAX, |status| u64::from(status.cast_unsigned()));
        let Usage { user, system, max_rss } = self.used;
        let numbers = [status, nanos(user), nanos(system), max_rss, nanos(self.start), nanos(self.end), 0];
        let mut bytes = [0; Self::LEN];
        for (to, from) in bytes.chunks_exact_mut(8).zip(numbers) {
            to.copy_from_slice(&from.to_ne_bytes());
        }
        bytes
    }

    /// What the launcher has received.
    pub fn from_bytes(bytes: &[u8; Self::LEN]) -> Self {
        let number = |at: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&bytes[at * 8..at * 8 + 8]);
            u64::from_ne_bytes(word)
        };
        let time = |at| Duration::from_nanos(number(at));
        let status = u32::try_from(number(0)).ok().map(u32::cast_signed);
        let used = Usage { user: time(1), system: time(2), max_rss: number(3) };
        Record { status, used, start: time(4), end: time(5) }
    }

    /// Writes it. Without a launcher the write fails, and no process needs the record.
    fn tell(self, socket: RawFd) {
        let bytes = self.to_bytes();
        // SAFETY: the buffer is readable for the length passed.
        unsafe { libc::write(socket, bytes.as_ptr().cast(), bytes.len()) };
    }
}

/// Tells `status` that the program is about to start, then clone(2) as fork(2), without the C library's handlers: the
/// time of the start in the parent, `None` in the child.
pub fn split(status: RawFd) -> Result<Option<Duration>> {
    let start = usage::monotonic();
    Record { start, ..Record::default() }.tell(status);
    // SAFETY: without CLONE_VM the child has a copy of everything, and both make system calls only.
    match check(unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD as libc::c_ulong, 0, 0, 0, 0) })? {
        0 => Ok(None),
        pid => {
            PROGRAM.store(pid as i32, Ordering::Relaxed);
            Ok(Some(start))
        }
    }
}

/// Reaps until the program has ended; then tells `status` and ends with the program's exit code, 128 and the number of
/// the signal that killed it. Holds no other descriptor.
pub fn stay(status: RawFd, start: Duration) -> ! {
    let keep = u32::try_from(status).unwrap_or(0);
    // A profile that is older than close_range(2) refuses it: the descriptors stay open until the end.
    if keep > 0 {
        super::process::close_range(0, keep - 1).unwrap_or_default();
    }
    super::process::close_range(keep + 1, u32::MAX).unwrap_or_default();
    let program = PROGRAM.load(Ordering::Relaxed);
    let mut used = Usage::default();
    loop {
        match usage::wait_status(-1, 0) {
            Ok(Some((pid, ended, by))) => {
                used.add(&by);
                if pid == program {
                    PROGRAM.store(-1, Ordering::Relaxed);
                    Record { status: Some(ended), used, start, end: usage::monotonic() }.tell(status);
                    exit_now(super::process::Exit::of_status(ended).code());
                }
            }
            // Without a child there is nothing to wait for.
            _ => exit_now(255),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_comes_back_as_it_was() {
        let used = Usage { user: Duration::from_micros(7), system: Duration::from_secs(3), max_rss: 4096 };
        let (start, end) = (Duration::from_nanos(1), Duration::from_nanos(2));
        for status in [None, Some(0), Some(6), Some(256)] {
            let record = Record { status, used, start, end };
            assert_eq!(Record::from_bytes(&record.to_bytes()), record);
        }
    }
}
