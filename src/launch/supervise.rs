//! Watching a foreground container: signals go in, orphans are reaped, the terminal is relayed, and
//! the exit code comes out.

use std::os::fd::RawFd;

use crate::cgroup::witness::Witness;
use crate::error::{Error, Result};
use crate::sys::process::{self, Exit};
use crate::sys::{Errno, fs, signal, tty};

/// Signals that the runtime passes on or acts on. The stop signals keep their meaning for the
/// runtime itself, and faults are its own.
fn signals() -> Vec<i32> {
    let others = [libc::SIGCHLD, libc::SIGWINCH, libc::SIGURG, libc::SIGIO];
    DEADLY.into_iter().chain(others).collect()
}

/// Signals whose default action ends a process: pid 1 of a pid namespace is spared it (pid_namespaces(7)).
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

/// What the supervisor watches.
pub struct Supervisor {
    signals: RawFd,
    saved: Option<tty::Saved>,
    /// Passes the container's readiness on, until it is ready.
    pub notify: Option<crate::notify::Proxy>,
    /// Looks at groups that may be gone when the container has ended.
    pub witness: Option<Witness>,
}

impl Supervisor {
    /// Blocks the signals that will be passed on; before the clone, so that none is lost. Init unblocks them.
    pub fn new() -> Result<Self> {
        let signals = signal::signalfd(&signals()).map_err(|e| Error::os("signalfd", "", e))?;
        Ok(Supervisor { signals, saved: None, notify: None, witness: None })
    }

    /// The signalfd(2), for waits before the program runs.
    pub fn signals(&self) -> RawFd {
        self.signals
    }

    /// Waits for the container process to end; `pty` is its terminal's master end.
    pub fn watch(&mut self, pid: i32, pidfd: RawFd, pty: Option<RawFd>) -> Result<Exit> {
        let mut stdin = -1;
        if let Some(master) = pty {
            copy_size(master);
            self.saved = tty::make_raw(0).ok();
            stdin = 0;
        }
        let mut master = pty.unwrap_or(-1);
        let mut asked = None;
        // Its SIGCHLD may have been read while the launch was waited for.
        let mut ended = reap(pid);
        let exit = loop {
            if let Some(exit) = ended.take() {
                break exit;
            }
            let notify = self.notify.as_ref().map_or(-1, crate::notify::Proxy::fd);
            let witness = self.witness.as_ref().map_or(-1, Witness::fd);
            let [signal, input, output, said, changed] =
                process::poll_in([self.signals, stdin, master, notify, witness])
                    .map_err(|e| Error::os("poll", "", e))?;
            if changed {
                self.witness.iter_mut().for_each(Witness::look);
            }
            if said {
                self.notify.take_if(|proxy| proxy.relay(pid));
            }
            if output && !relay(master, 1) {
                master = -1;
            }
            if input && !relay(0, pty.unwrap_or(-1)) {
                stdin = -1;
            }
            if signal {
                ended = self.signal(pid, pidfd, pty, &mut asked);
            }
        };
        self.witness.iter_mut().for_each(Witness::look);
        if master >= 0 {
            drain(master);
        }
        self.restore();
        Ok(match (exit, asked) {
            // Killed in place of a signal that pid 1 would have ignored: the signal asked for is the cause.
            (Exit::Signal(libc::SIGKILL), Some(signal)) => Exit::Signal(signal),
            (exit, _) => exit,
        })
    }

    /// Acts on the pending signals; the exit of the container process, if it ended.
    fn signal(&self, pid: i32, pidfd: RawFd, pty: Option<RawFd>, asked: &mut Option<i32>) -> Option<Exit> {
        while let Some(signal) = signal::next_signal(self.signals) {
            match signal {
                libc::SIGCHLD => {
                    if let Some(exit) = reap(pid) {
                        return Some(exit);
                    }
                }
                libc::SIGWINCH => {
                    if let Some(master) = pty {
                        copy_size(master);
                    }
                }
                signal => {
                    // It may just have ended.
                    process::pidfd_kill(pidfd, signal).unwrap_or_default();
                    if DEADLY.contains(&signal) && spared(pid, signal) {
                        *asked = Some(signal);
                        process::pidfd_kill(pidfd, libc::SIGKILL).unwrap_or_default();
                    }
                }
            }
        }
        None
    }

    /// Puts the caller's terminal back.
    fn restore(&mut self) {
        if let Some(saved) = self.saved.take() {
            tty::restore(0, &saved).unwrap_or_default();
        }
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.restore();
        fs::close(self.signals);
    }
}

/// Reaps every child that has ended; the exit of `pid`, if it is among them.
fn reap(pid: i32) -> Option<Exit> {
    let mut found = None;
    while let Ok(Some((ended, exit))) = process::wait(-1, libc::WNOHANG) {
        if ended == pid {
            found = Some(exit);
        }
    }
    found
}

/// Whether `pid` neither handles nor ignores `signal`: as pid 1 it would live on, and Ctrl-C would do nothing.
fn spared(pid: i32, signal: i32) -> bool {
    let Ok(status) = std::fs::read_to_string(format!("/proc/{pid}/status")) else { return false };
    let mask = |key: &str| {
        status.lines().find_map(|l| u64::from_str_radix(l.strip_prefix(key)?.trim(), 16).ok()).unwrap_or(0)
    };
    let bit = 1u64 << (signal - 1);
    mask("SigCgt:") & bit == 0 && mask("SigIgn:") & bit == 0 && mask("SigBlk:") & bit == 0
}

fn copy_size(master: RawFd) {
    // A terminal without a size leaves the pty's as it is.
    if let Ok(size) = tty::size(0) {
        tty::set_size(master, size).unwrap_or_default();
    }
}

/// Copies what is there; `false` at the end (`EIO` from a pty whose other end is closed).
fn relay(from: RawFd, to: RawFd) -> bool {
    let mut buf = [0u8; 16384];
    match fs::read(from, &mut buf) {
        Ok(0) => false,
        Ok(n) => write_out(to, &buf[..n]),
        Err(Errno::EINTR | Errno::EAGAIN) => true,
        Err(_) => false,
    }
}

fn write_out(to: RawFd, mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        match fs::write(to, bytes) {
            Ok(n) => bytes = &bytes[n..],
            Err(Errno::EINTR) => {}
            // A full pipe of the caller: wait for it.
            Err(Errno::EAGAIN) => process::sleep_micros(1000),
            Err(_) => return false,
        }
    }
    true
}

/// The last output of a terminal whose program has ended.
fn drain(master: RawFd) {
    tty::set_nonblocking(master).unwrap_or_default();
    let mut buf = [0u8; 16384];
    while let Ok(n) = fs::read(master, &mut buf) {
        if n == 0 || !write_out(1, &buf[..n]) {
            return;
        }
    }
}
