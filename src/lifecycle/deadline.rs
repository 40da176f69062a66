//! When a run must end: `--timeout`, `--cpu-time` and `--overlay-size`.
//!
//! A state machine without system calls but the reading of a clock and the counting of layers: the loop asks when it is due
//! and does what it says.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::cgroup::figures::CpuClock;
use crate::copies::size;
use crate::state::Stop;

/// The exit code of timeout(1).
pub const TIMED_OUT: i32 = 124;

/// Why the launcher ended the container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndCause {
    /// `--timeout`.
    Timeout,
    /// `--cpu-time`.
    CpuTime,
    /// `--overlay-size`.
    OverlaySize,
}

/// What is to be done to the container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndAction {
    /// The signal that asks it to end.
    Ask(i32),
    /// SIGKILL, for all its processes.
    Kill,
}

/// How long the container may run.
#[derive(Debug, Clone, Copy, Default)]
pub struct RunLimits {
    /// `--timeout`.
    pub timeout: Option<Duration>,
    /// `--cpu-time`.
    pub cpu_time: Option<Duration>,
    /// How it is asked to end.
    pub stop: Stop,
}

/// `--overlay-size`: the directories of the layers, and what they may hold.
#[derive(Debug, Clone)]
pub struct OverlayLimit {
    /// The upper directories.
    pub dirs: Vec<PathBuf>,
    /// In bytes, together.
    pub limit: u64,
    /// When they are counted again.
    next: Instant,
}

/// Between two countings of the layers; and a counting takes no more than this part of the time.
const COUNTS: (Duration, u32) = (Duration::from_secs(1), 20);

impl OverlayLimit {
    /// Counted for the first time in a second.
    pub fn new(dirs: Vec<PathBuf>, limit: u64) -> Self {
        OverlayLimit { dirs, limit, next: Instant::now() + COUNTS.0 }
    }

    /// Whether they hold more than they may, or cannot be counted.
    fn exceed(&mut self, now: Instant) -> bool {
        if now < self.next {
            return false;
        }
        let exceed = size::of(&self.dirs, self.limit).map_or(true, |bytes| bytes > self.limit);
        let took = now.elapsed();
        self.next = now + took + COUNTS.0.max(took * COUNTS.1);
        exceed
    }
}

/// Between two looks at the cpu time: a container cannot use more than all cpus meanwhile.
const LOOKS: (Duration, Duration) = (Duration::from_millis(2), Duration::from_secs(1));
/// What was killed and is still there is killed again.
const AGAIN: Duration = Duration::from_millis(500);

/// The deadline of a container.
pub struct Deadline {
    limits: RunLimits,
    start: Instant,
    cpu: Option<CpuClock>,
    cpus: u32,
    layers: Option<OverlayLimit>,
    /// When there is something to do.
    due: Option<Instant>,
    /// What ended the container.
    cause: Option<EndCause>,
    asked: bool,
}

impl Deadline {
    /// From now on. `cpu`: what the container has used, where `--cpu-time` asks; `layers`: what its layers may hold.
    pub fn new(limits: RunLimits, cpu: Option<CpuClock>, layers: Option<OverlayLimit>) -> Self {
        let start = Instant::now();
        let cpu = cpu.filter(|_| limits.cpu_time.is_some());
        // It reads cgroup files, so only where cpu time is limited.
        let cpus = cpu.as_ref().and_then(|_| std::thread::available_parallelism().ok());
        let cpus = cpus.map_or(1, |n| u32::try_from(n.get()).unwrap_or(1));
        let mut deadline =
            Deadline { limits, start, cpu, cpus, layers, due: None, cause: None, asked: false };
        deadline.due = deadline.next(start, Duration::ZERO);
        deadline
    }

    /// What ended the container.
    pub fn cause(&self) -> Option<EndCause> {
        self.cause
    }

    /// When [`Self::act`] has something to say; `None`: never.
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    /// How long readers of the output may take once the container has ended, where there is a limit.
    pub fn readers(&self, ended: Instant) -> Option<Instant> {
        let timeout = self.limits.timeout.and_then(|time| self.start.checked_add(time))?;
        Some(timeout.max(ended + self.grace()))
    }

    fn grace(&self) -> Duration {
        Duration::from_millis(self.limits.stop.millis)
    }

    /// The end of the time, or the next look at the cpu time.
    fn next(&self, now: Instant, used: Duration) -> Option<Instant> {
        let end = self.limits.timeout.and_then(|time| self.start.checked_add(time));
        let look = self.limits.cpu_time.filter(|_| self.cpu.is_some()).map(|limit| {
            let left = limit.saturating_sub(used) / self.cpus.max(1);
            now + left.clamp(LOOKS.0, LOOKS.1)
        });
        let count = self.layers.as_ref().map(|layers| layers.next);
        end.into_iter().chain(look).chain(count).min()
    }

    /// What is to be done now.
    pub fn act(&mut self, now: Instant) -> Option<EndAction> {
        if self.due.is_none_or(|due| now < due) {
            return None;
        }
        if self.cause.is_some() {
            // Asked and not gone, or killed and not gone.
            self.due = Some(now + AGAIN);
            return Some(EndAction::Kill);
        }
        let used = self.cpu.as_ref().and_then(CpuClock::used).unwrap_or_default();
        if self.cpu.is_some() && self.limits.cpu_time.is_some_and(|limit| used >= limit) {
            (self.cause, self.due) = (Some(EndCause::CpuTime), Some(now + AGAIN));
            return Some(EndAction::Kill);
        }
        if self.layers.as_mut().is_some_and(|layers| layers.exceed(now)) {
            (self.cause, self.due) = (Some(EndCause::OverlaySize), Some(now + AGAIN));
            return Some(EndAction::Kill);
        }
        if self.limits.timeout.is_some_and(|time| now.duration_since(self.start) >= time) {
            self.cause = Some(EndCause::Timeout);
            self.due = Some(now + self.grace());
            self.asked = !self.grace().is_zero();
            return Some(if self.asked { EndAction::Ask(self.limits.stop.signal) } else { EndAction::Kill });
        }
        self.due = self.next(now, used);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_asks_and_then_kills_until_the_end() {
        let limits = RunLimits { timeout: Some(Duration::from_secs(5)), ..RunLimits::default() };
        let mut deadline = Deadline::new(limits, None, None);
        let at = |seconds: f64| deadline.start + Duration::from_secs_f64(seconds);
        let (early, end, later, killed, again) = (at(4.9), at(5.0), at(6.9), at(7.0), at(7.6));
        assert_eq!(deadline.act(early), None);
        assert_eq!(
            (deadline.act(end), deadline.cause()),
            (Some(EndAction::Ask(libc::SIGTERM)), Some(EndCause::Timeout))
        );
        assert_eq!(deadline.act(later), None);
        assert_eq!(deadline.act(killed), Some(EndAction::Kill));
        assert_eq!(deadline.act(again), Some(EndAction::Kill));
        // Readers have what is left of the time, and a moment more.
        assert_eq!(deadline.readers(early), Some(early + Duration::from_secs(2)));
    }

    #[test]
    fn without_grace_it_kills_at_once() {
        let stop = Stop { millis: 0, ..Stop::default() };
        let limits = RunLimits { timeout: Some(Duration::from_secs(1)), stop, ..RunLimits::default() };
        let mut deadline = Deadline::new(limits, None, None);
        assert_eq!(deadline.act(deadline.start + Duration::from_secs(1)), Some(EndAction::Kill));
    }

    #[test]
    fn without_a_limit_it_is_never_due() {
        assert_eq!(Deadline::new(RunLimits::default(), None, None).due(), None);
    }
}
