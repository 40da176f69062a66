//! The guardian of a foreground `run`: a process that only waits for the launcher to die.
//!
//! The kernel kills the container with its launcher (`PR_SET_PDEATHSIG`), but its
//! cgroups and its state would stay. The guardian holds one end of a pipe; end of file without a word means that
//! the launcher is gone (SIGKILL, a crash), and it undoes the launch: this one's, not that of a later container
//! with the same name. It shares the launcher's lock, so no other process comes in between. It is forked while Init
//! works, so it costs no time before the program starts.

use std::os::fd::RawFd;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::lifecycle::directory::StateLock;
use crate::lifecycle::sidecar::IDLE;
use crate::perform::Cx;
use crate::perform::runtime::StandBy;
use crate::plan::{Plan, Undo};
use crate::state::State;
use crate::sys::before_exec;
use crate::sys::{exe, fs, io, process, socket, tty};

/// A guardian, on duty or not yet.
pub struct Guardian {
    undos: Vec<Undo>,
    state: State,
    /// The modes of the caller's terminal, which the launcher makes raw.
    terminal: Option<tty::Saved>,
    pid: Option<i32>,
    line: RawFd,
}

impl Guardian {
    /// One for `plan`, which makes the container of this state; it is forked at the first handover.
    pub fn new(plan: &Plan, state: &State) -> Self {
        Guardian {
            undos: plan.undos(),
            state: state.clone(),
            terminal: tty::modes(0).ok(),
            pid: None,
            line: -1,
        }
    }
}

impl StandBy for Guardian {
    /// Forks the guardian, once. A launch without one is no less safe, only less tidy after SIGKILL.
    fn stand(&mut self, plan: &Plan, cx: &Cx) {
        if self.pid.is_some() {
            return;
        }
        let Some(hold) = StateLock::of(plan, cx) else { return };
        let Ok((ours, theirs)) = socket::seqpacket_pair() else { return };
        let (undos, child) = (self.undos.clone(), (cx.pid, cx.pidfd));
        match process::fork_run(|| {
            watch(theirs, (&undos, &self.state), child, (&hold, self.terminal.as_ref()))
        }) {
            Ok(pid) => {
                fs::close(theirs);
                (self.pid, self.line) = (Some(pid), ours);
            }
            Err(_) => {
                fs::close(ours);
                fs::close(theirs);
            }
        }
    }

    fn pid(&self) -> Option<i32> {
        self.pid
    }

    /// The launch has ended in order: the guardian ends.
    fn dismiss(self: Box<Self>) {
        if let Some(pid) = self.pid {
            // To kill it is cheaper than to wake it. One that is gone already has hung up, and its number may be another
            // process's. If it lives on, it finds nothing left to undo at the end of file.
            if io::poll(&[(self.line, 0)], 0).is_ok_and(|events| events == [0]) {
                kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap_or_default();
            }
            fs::close(self.line);
            process::wait(pid, 0).map(drop).unwrap_or_default();
        }
    }
}

/// Restores the caller's terminal if the launcher dies: for those that have no guardian, because the container outlives
/// them (`exec`, `restore`, `run --keep`).
pub struct Keeper {
    pid: i32,
    line: RawFd,
}

impl Keeper {
    /// Forks it, where stdin is a terminal; before that is made raw.
    pub fn of_terminal() -> Option<Self> {
        let modes = tty::modes(0).ok()?;
        let (ours, theirs) = socket::seqpacket_pair().ok()?;
        let forked = process::fork_run(|| keep(theirs, &modes));
        fs::close(theirs);
        let pid = forked.inspect_err(|_| fs::close(ours)).ok()?;
        Some(Keeper { pid, line: ours })
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        socket::send(self.line, b"q").unwrap_or_default();
        fs::close(self.line);
        process::wait(self.pid, 0).map(drop).unwrap_or_default();
    }
}

/// The keeper's life.
fn keep(line: RawFd, modes: &tty::Saved) -> i32 {
    let Ok(fd) = fs::dup_above(0, 3) else { return 1 };
    if process::setsid().is_err() || before_exec::keep_only(&[line, fd]).is_err() {
        return 1;
    }
    if !dismissed(line) {
        tty::end_raw(fd, modes).unwrap_or_default();
    }
    0
}

/// Waits for the launcher's end: whether it sent a message before.
fn dismissed(line: RawFd) -> bool {
    let idle = i32::try_from(IDLE.as_millis()).unwrap_or(-1);
    if io::poll(&[(line, libc::POLLIN)], idle).is_ok_and(|events| events == [0]) {
        exe::release_memory();
    }
    matches!(socket::recv(line, &mut [0u8; 1]), Ok(n) if n > 0)
}

/// The guardian's life.
fn watch(
    line: RawFd,
    (undos, state): (&[Undo], &State),
    child: (i32, RawFd),
    (hold, terminal): (&StateLock, Option<&tty::Saved>),
) -> i32 {
    let terminal = terminal.and_then(|modes| Some((fs::dup_above(0, 3).ok()?, modes)));
    // Ctrl-C and hang-ups are for the launcher, and its pipes must not be held open.
    if process::setsid().is_err()
        || before_exec::keep_only(&[line, child.1, hold.fd(), terminal.map_or(-1, |(fd, _)| fd)]).is_err()
    {
        return 1;
    }
    if dismissed(line) {
        return 0;
    }
    if let Some((fd, modes)) = terminal {
        // It may be gone, too.
        tty::end_raw(fd, modes).unwrap_or_default();
    }
    // Its poststop hooks undo what earlier hooks have made (runtime.md, Lifecycle); their output is not read.
    if hold.end(undos, Some(child), false).is_some_and(|undone| undone.problems.is_empty()) {
        crate::lifecycle::hook_points::poststop(state, -1);
    }
    0
}
