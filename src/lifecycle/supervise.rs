//! Watching a foreground container: signals go in, orphans are reaped, the terminal is relayed, and
//! the exit code comes out.

use std::cell::RefCell;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::cgroup::monitor::CgroupMonitor;
use crate::error::{Error, Result};
use crate::lifecycle::deadline::{Deadline, EndAction, EndCause, TIMED_OUT};
use crate::lifecycle::detach::Ready;
use crate::lifecycle::health::Checks;
use crate::lifecycle::log_file::{LogCopy, LogFile};
use crate::lifecycle::notify::Proxy;
use crate::lifecycle::processes::Killer;
use crate::lifecycle::relay::{self, Copy, Count};
use crate::lifecycle::sidecar::{IdleTrim, Sidecar};
use crate::sys::io::{self, Interest};
use crate::sys::process::{self, ProcessExit};
use crate::sys::reaper::ReaperReport;
use crate::sys::signal::DEADLY;
use crate::sys::usage::{self, ResourceUsage};
use crate::sys::{fs, signal, tty};

/// Signals that ask a run to end.
const STOPS: [i32; 4] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT];
/// A reader of the output that takes nothing for this long is not waited for, once such a signal has come.
const PATIENCE: Duration = Duration::from_secs(2);

/// Signals that the runtime passes on or acts on. The stop signals keep their meaning for the
/// runtime itself, and faults are its own.
fn signals() -> Vec<i32> {
    let others = [
        libc::SIGCHLD,
        libc::SIGWINCH,
        libc::SIGURG,
        libc::SIGIO,
        libc::SIGCONT,
        libc::SIGTTIN,
        libc::SIGTTOU,
    ];
    DEADLY.into_iter().chain(others).collect()
}

impl Sidecar for CgroupMonitor {
    fn descriptors(&self) -> Vec<Interest> {
        vec![(self.fd(), libc::POLLIN)]
    }

    fn ready(&mut self, events: &[i16]) {
        if events.iter().any(|e| *e != 0) {
            self.look();
        }
    }

    fn end(&mut self) {
        self.ended();
    }
}

/// The container's process, as the supervisor sees it.
struct Watched {
    pid: i32,
    pidfd: RawFd,
    pty: Option<RawFd>,
    /// The signal that killed it, in place of which SIGKILL was sent.
    asked: Option<i32>,
    /// A signal asked the run to end.
    stopped: bool,
    exit: Option<(ProcessExit, ResourceUsage)>,
    /// Other children of this process that have ended.
    others: Vec<(i32, ProcessExit)>,
}

/// How a container has ended.
#[derive(Debug, Clone, Copy)]
pub struct ContainerEnd {
    /// The program's own end.
    pub exit: ProcessExit,
    /// What its first process used, and those that were waited for.
    pub usage: Option<ResourceUsage>,
    /// What init's children used, where init tells it: all but what was done before the program started.
    pub children: Option<ResourceUsage>,
    /// Why the launcher ended it, where it did.
    pub cause: Option<EndCause>,
    /// What came of stdout and of stderr, where this process copied it.
    pub streams: [Option<Count>; 2],
    /// From the program's start to its end.
    pub wall: Duration,
}

impl ContainerEnd {
    /// The exit code of a foreground run.
    pub fn code(&self) -> i32 {
        match self.cause {
            Some(EndCause::Timeout | EndCause::CpuTime) => TIMED_OUT,
            Some(EndCause::OverlaySize) | None => self.exit.code(),
        }
    }
}

/// What the supervisor watches.
pub struct Supervisor {
    signals: RawFd,
    terminal: Option<RawMode>,
    copies: Vec<Copy>,
    /// What came through copies that are gone.
    streams: [Option<Count>; 2],
    /// Where the output of a detached container goes.
    pub log: Option<Rc<RefCell<LogFile>>>,
    /// What goes there.
    pub logs: Vec<LogCopy>,
    /// Health checks.
    pub checks: Option<Checks>,
    /// `--output-limit`.
    pub output_limit: Option<u64>,
    /// When the run must end.
    pub deadline: Option<Deadline>,
    /// How all of the container is killed.
    pub killer: Option<Killer>,
    /// Where an init tells how its child, the program, has ended.
    pub status: Option<OwnedFd>,
    /// CLOCK_MONOTONIC when Init was left to itself.
    pub handed: Option<Duration>,
    /// Passes the container's readiness on, until it is ready.
    pub notify: Option<Proxy>,
    /// The first process of `run --detach`: it returns once the container is ready, or has ended.
    pub ready: Option<Ready>,
    /// Looks at groups that may be gone when the container has ended.
    pub monitor: Option<CgroupMonitor>,
    /// Hears what the network helper refuses.
    pub network: Option<crate::lifecycle::network::NetworkSidecar>,
    /// Tells of refused system calls.
    pub refusals: Option<crate::lifecycle::refusals::Refusals>,
    idle: IdleTrim,
}

impl Supervisor {
    /// Blocks the signals that will be passed on; before the clone, so that none is lost. Init unblocks them.
    pub fn new() -> Result<Self> {
        let signals = signal::signalfd(&signals()).map_err(|e| Error::os("signalfd", "", e))?;
        Ok(Supervisor {
            signals,
            terminal: None,
            copies: Vec::new(),
            streams: [None; 2],
            log: None,
            logs: Vec::new(),
            checks: None,
            output_limit: None,
            deadline: None,
            killer: None,
            status: None,
            handed: None,
            notify: None,
            ready: None,
            monitor: None,
            network: None,
            refusals: None,
            idle: IdleTrim::default(),
        })
    }

    /// The signalfd(2), for waits before the program runs.
    pub fn signals(&self) -> RawFd {
        self.signals
    }

    /// Copies until the container's end.
    pub fn add(&mut self, copy: Copy) {
        self.copies.push(copy);
    }

    /// Waits for the container process to end; `pty` is its terminal's master end.
    pub fn watch(&mut self, pid: i32, pidfd: RawFd, pty: Option<RawFd>) -> Result<ContainerEnd> {
        let begin = self.handed.unwrap_or_else(usage::monotonic);
        self.idle = IdleTrim::from_now();
        if let Some(master) = pty {
            self.attach(master).map_err(|e| Error::os("relay", "the terminal", e))?;
        }
        // Its SIGCHLD may have been read while the launch was waited for.
        let mut watched =
            Watched { pid, pidfd, pty, asked: None, stopped: false, exit: None, others: Vec::new() };
        watched.reap();
        while watched.exit.is_none() {
            self.notify_ready(false)?;
            let due = self.deadline.as_ref().and_then(Deadline::due).into_iter().chain(self.overdue()).min();
            self.turn(due, |signal| watched.signal(signal))?;
            for (pid, exit) in watched.others.drain(..) {
                self.sidecars().iter_mut().for_each(|s| s.reaped(pid, exit));
            }
            self.terminal.iter_mut().for_each(RawMode::enter);
            if self.copies.iter().any(Copy::has_lost_its_reader) {
                // The program hears of it as of any terminal that is gone: SIGHUP, and EIO.
                self.hang_up(watched.pty.take());
            }
            match self.deadline.as_mut().and_then(|deadline| deadline.act(Instant::now())) {
                Some(EndAction::Ask(signal)) => watched.signal(signal),
                Some(EndAction::Kill) => self.kill(pidfd),
                None => {}
            }
        }
        let seen = usage::monotonic();
        self.notify_ready(true)?;
        self.sidecars().iter_mut().for_each(|s| s.end());
        self.write_out(watched.stopped)?;
        self.restore();
        let (exit, usage) = watched.exit.unzip();
        let exit = match (exit, watched.asked) {
            // Killed in place of a signal that pid 1 would have ignored: the signal asked for is the cause.
            (Some(ProcessExit::Signal(libc::SIGKILL)), Some(signal)) => ProcessExit::Signal(signal),
            (exit, _) => exit.unwrap_or(ProcessExit::Code(255)),
        };
        let cause = self.deadline.as_ref().and_then(Deadline::cause);
        let streams = self.count();
        let (started, ended) = self.records(exit);
        // In another time namespace the clock is another one.
        let within = |time: &Duration| (begin..=seen).contains(time);
        let start = started.map(|record| record.start).filter(within).unwrap_or(begin);
        let wall = ended.map(|record| record.end).filter(within).unwrap_or(seen).saturating_sub(start);
        let exit = ended.and_then(|record| record.status).map_or(exit, ProcessExit::of_status);
        Ok(ContainerEnd { exit, usage, children: ended.map(|record| record.used), cause, streams, wall })
    }

    /// When a host that does not read the container's readiness is no longer waited for.
    fn overdue(&self) -> Option<Instant> {
        self.notify.as_ref().filter(|_| self.ready.is_some()).and_then(Proxy::overdue)
    }

    /// Lets the first process of `run --detach` return: the output is copied and signals are heard while it waits.
    fn notify_ready(&mut self, ended: bool) -> Result<()> {
        let ready = ended || self.notify.is_none() || self.overdue().is_some_and(|due| due <= Instant::now());
        self.ready.take_if(|_| ready).map_or(Ok(()), Ready::tell)
    }

    /// What init says of the program's start and of its end. Nothing that contradicts its own exit code is believed.
    fn records(&self, exit: ProcessExit) -> (Option<ReaperReport>, Option<ReaperReport>) {
        let next = || {
            let mut bytes = [0; ReaperReport::LEN];
            match io::receive_nowait(self.status.as_ref()?.as_raw_fd(), &mut bytes) {
                Ok(ReaperReport::LEN) => Some(ReaperReport::from_bytes(&bytes)),
                _ => None,
            }
        };
        let (started, ended) = (next(), next());
        let code = |record: &ReaperReport| record.status.map(|status| ProcessExit::of_status(status).code());
        let agrees =
            |record: &ReaperReport| matches!(exit, ProcessExit::Code(is) if code(record) == Some(is));
        (started, ended.filter(agrees))
    }

    /// What came of stdout and stderr.
    fn count(&self) -> [Option<Count>; 2] {
        let mut streams = self.streams;
        let logs = self.logs.iter().map(LogCopy::count);
        for (stream, count) in self.copies.iter().filter_map(Copy::count).chain(logs) {
            if let Some(of) = usize::from(stream).checked_sub(1).and_then(|i| streams.get_mut(i)) {
                *of = Some(count);
            }
        }
        streams
    }

    fn kill(&self, pidfd: RawFd) {
        // It may just have ended.
        process::pidfd_kill(pidfd, libc::SIGKILL).unwrap_or_default();
        self.killer.iter().for_each(Killer::kill);
    }

    /// The last of the output, for as long as there is a reader, however slow; where the run has a deadline, for as
    /// long as that leaves. A signal ends that, too; where one has ended the run (`asked`), a reader that takes
    /// nothing is not waited for.
    fn write_out(&mut self, asked: bool) -> Result<()> {
        let end = self.deadline.as_ref().and_then(|deadline| deadline.readers(Instant::now()));
        let (mut stopped, mut left, mut read) = (false, self.count(), Instant::now());
        while !stopped && !self.sidecars().iter_mut().all(|s| s.is_done()) {
            let patience = asked.then_some(read + PATIENCE);
            let limit = end.into_iter().chain(patience).min();
            self.turn(limit, |signal| stopped |= DEADLY.contains(&signal))?;
            let now = Instant::now();
            if self.count() != left {
                (left, read) = (self.count(), now);
            }
            stopped |= end.is_some_and(|end| now >= end) || asked && now >= read + PATIENCE;
        }
        Ok(())
    }

    /// Waits for something to happen, until `limit` at most. Signals come first, then each sidecar has a bounded turn.
    fn turn(&mut self, limit: Option<Instant>, mut on_signal: impl FnMut(i32)) -> Result<()> {
        let signals = self.signals;
        let mut sidecars = self.sidecars();
        let lists: Vec<_> = sidecars.iter().map(|s| s.descriptors()).collect();
        let all: Vec<_> =
            std::iter::once((signals, libc::POLLIN)).chain(lists.iter().flatten().copied()).collect();
        let dues: Vec<_> = sidecars.iter().map(|s| s.due()).collect();
        let first = dues.iter().flatten().copied().chain(limit).min();
        let events = io::poll(&all, millis_until(first)).map_err(|e| Error::os("poll", "", e))?;
        if events.first().is_some_and(|e| *e != 0) {
            while let Some(signal) = signal::next_signal(signals) {
                on_signal(signal);
            }
        }
        let now = Instant::now();
        let mut rest = &events[1..];
        for ((sidecar, list), due) in sidecars.iter_mut().zip(&lists).zip(dues) {
            let (own, others) = rest.split_at(list.len());
            rest = others;
            if own.iter().any(|e| *e != 0) || due.is_some_and(|due| due <= now) {
                sidecar.ready(own);
            }
        }
        self.notify.take_if(|proxy| proxy.is_ready());
        Ok(())
    }

    fn sidecars(&mut self) -> Vec<&mut dyn Sidecar> {
        let monitor = self.monitor.iter_mut().map(|s| s as &mut dyn Sidecar);
        let notify = self.notify.iter_mut().map(|s| s as &mut dyn Sidecar);
        let network = self.network.iter_mut().map(|s| s as &mut dyn Sidecar);
        let refusals = self.refusals.iter_mut().map(|s| s as &mut dyn Sidecar);
        monitor
            .chain(notify)
            .chain(network)
            .chain(refusals)
            .chain(self.checks.iter_mut().map(|s| s as &mut dyn Sidecar))
            .chain(self.logs.iter_mut().map(|s| s as &mut dyn Sidecar))
            .chain(self.copies.iter_mut().map(|s| s as &mut dyn Sidecar))
            .chain([&mut self.idle as &mut dyn Sidecar])
            .collect()
    }

    /// Copies between the caller's stdin and stdout and the container's terminal.
    fn attach(&mut self, master: RawFd) -> crate::sys::SysResult<()> {
        copy_size(master);
        let own = || fs::dup_above(master, 3).map(fs::own).and_then(relay::RelayEnd::own);
        if fs::is_open(0) {
            self.copies.push(Copy::input(relay::RelayEnd::of_caller(0, libc::O_RDONLY)?, own()?));
        }
        let output = Copy::output(own()?, relay::RelayEnd::of_caller(1, libc::O_WRONLY)?);
        self.copies.push(output.of_stream(1, self.output_limit));
        self.terminal = tty::is_tty(0).then(RawMode::new);
        self.terminal.iter_mut().for_each(RawMode::enter);
        Ok(())
    }

    fn hang_up(&mut self, master: Option<RawFd>) {
        if let Some(master) = master {
            self.streams = self.count();
            self.copies.clear();
            fs::close(master);
        }
    }

    /// Puts the caller's terminal back.
    fn restore(&mut self) {
        if let Some(terminal) = self.terminal.take() {
            terminal.leave();
        }
    }
}

impl Watched {
    /// Reaps every child that has ended.
    fn reap(&mut self) {
        while let Ok(Some((pid, exit, used))) = usage::wait(-1, libc::WNOHANG) {
            if pid == self.pid {
                self.exit = Some((exit, used));
            } else {
                self.others.push((pid, exit));
            }
        }
    }

    /// Acts on a signal.
    fn signal(&mut self, signal: i32) {
        match signal {
            libc::SIGCHLD => self.reap(),
            libc::SIGWINCH => self.pty.iter().for_each(|master| copy_size(*master)),
            // About this process's own place in its session.
            libc::SIGCONT | libc::SIGTTIN | libc::SIGTTOU => {}
            signal => {
                self.stopped |= STOPS.contains(&signal);
                // It may just have ended.
                process::pidfd_kill(self.pidfd, signal).unwrap_or_default();
                if DEADLY.contains(&signal) && spared(self.pid, signal) {
                    self.asked = Some(signal);
                    process::pidfd_kill(self.pidfd, libc::SIGKILL).unwrap_or_default();
                }
            }
        }
    }
}

/// The caller's terminal on stdin in raw mode: keys go to the container as they are.
struct RawMode {
    /// The modes before; `None` while this process is in the background, where the terminal is another's.
    saved: Option<tty::Saved>,
}

impl RawMode {
    fn new() -> Self {
        RawMode { saved: None }
    }

    /// Once this process is in the foreground.
    fn enter(&mut self) {
        if self.saved.is_none() && tty::in_foreground(0) {
            self.saved = tty::make_raw(0).ok();
        }
    }

    fn leave(self) {
        if let Some(saved) = self.saved.filter(|_| tty::in_foreground(0)) {
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

/// poll(2)'s limit for a wait until then, rounded up: the wait does not end before the moment.
fn millis_until(moment: Option<Instant>) -> i32 {
    let left = |moment: Instant| moment.saturating_duration_since(Instant::now()).as_micros().div_ceil(1000);
    moment.map_or(-1, |moment| i32::try_from(left(moment)).unwrap_or(i32::MAX))
}

/// Whether `pid` neither handles nor ignores `signal`: as pid 1 it would live on, and Ctrl-C would do nothing.
fn spared(pid: i32, signal: i32) -> bool {
    let Ok(status) = crate::sys::read::value(format!("/proc/{pid}/status")) else { return false };
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
