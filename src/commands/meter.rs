//! Measures the resource usage of a run while its cgroups exist, and builds its account.

use std::path::PathBuf;
use std::time::Duration;

use crate::cgroup::figures::{Counters, CpuTime};
use crate::cgroup::ops::CgroupEvents;
use crate::cgroup::{Cgroup, has};
use crate::launch::prepare::Prepared;
use crate::launch::value::Launch;
use crate::lifecycle::account::{Account, CpuSeconds, Status};
use crate::lifecycle::deadline::EndCause;
use crate::lifecycle::supervise::ContainerEnd;
use crate::sys::process::ProcessExit;
use crate::sys::usage::ResourceUsage;

/// Reads the figures of a container's cgroups.
pub(super) struct Meter {
    counters: Counters,
    /// The figures are asked for: each costs a file.
    wanted: bool,
    /// The files in which the kernel counts OOM kills at the memory limit, and refused forks.
    counts: (Option<PathBuf>, Option<PathBuf>),
    cpu: Option<CpuTime>,
    memory_peak: Option<u64>,
    pids_peak: Option<u64>,
    throttled: Option<Duration>,
}

impl Meter {
    /// The meter of a created container.
    pub(super) fn new(prepared: &Prepared, wanted: bool) -> Self {
        let counters = Counters::of(&prepared.layout);
        // No controllers: cgroup v2, which names its file otherwise.
        let there = |controller: &str, v2: &str, v1: &str| {
            let cgroups = prepared.layout.cgroups.iter();
            let counting = cgroups.filter(|g| g.controllers.is_empty() || has(&g.controllers, controller));
            let file = |g: &Cgroup| g.path.join(if g.controllers.is_empty() { v2 } else { v1 });
            let mut files = counting.map(file);
            files.find(|file| wanted && file.exists())
        };
        Meter {
            counts: (
                there("memory", "memory.events", "memory.oom_control"),
                there("pids", "pids.events", "pids.events"),
            ),
            counters,
            wanted,
            cpu: None,
            memory_peak: None,
            pids_peak: None,
            throttled: None,
        }
    }

    /// Reads all available figures, before the cgroups are removed.
    pub(super) fn read(&mut self) {
        if !self.wanted {
            return;
        }
        self.cpu = self.counters.cpu();
        self.memory_peak = self.counters.memory_peak();
        self.pids_peak = self.counters.pids_peak();
        self.throttled = self.counters.throttled();
    }

    /// The account of a finished run.
    pub(super) fn account(
        &self,
        (launch, prepared): (&Launch, &Prepared),
        end: &ContainerEnd,
        events: CgroupEvents,
    ) -> Account {
        let seconds =
            |cpu: CpuTime| CpuSeconds { user: cpu.user.as_secs_f64(), system: cpu.system.as_secs_f64() };
        let of = |used: ResourceUsage| CpuTime { user: used.user, system: used.system };
        // Init's usage before the program's start does not belong to the program.
        let own = end.usage.zip(end.children).map(|(all, children)| of(all).since(of(children)));
        let of_group = self.cpu.map(|cpu| cpu.since(own.unwrap_or_default()));
        let cpu = of_group.or(end.children.or(end.usage).map(of));
        // A scope may have gone before its counters were read: a figure that was not read is absent.
        let counted = |file: &Option<PathBuf>, n: u64| {
            (n > 0 || file.as_ref().is_some_and(|f| f.exists())).then_some(n)
        };
        let [stdout, stderr] = end.streams;
        let copied = stdout.iter().chain(&stderr);
        let changes = &prepared.outcome.changes;
        let missing = changes.iter().filter(|c| c.by == crate::launch::ladder::HEADING);
        let missing = missing.filter_map(|c| c.text.strip_prefix("no ")?.split(':').next());
        Account {
            id: launch.id.clone(),
            status: status(end, events),
            exit_code: Some(end.code()),
            signal: match end.exit {
                ProcessExit::Signal(signal) => Some(signal),
                ProcessExit::Code(_) => None,
            },
            error: None,
            wall_seconds: Some(end.wall.as_secs_f64()),
            cpu_seconds: cpu.map(seconds),
            memory_peak_bytes: self.memory_peak,
            max_rss_bytes: end.children.or(end.usage).map(|used| used.max_rss),
            pids_peak: self.pids_peak,
            oom_kills: counted(&self.counts.0, events.oom_kills),
            pids_refused: counted(&self.counts.1, events.pids_refused),
            throttled_seconds: self.throttled.map(|time| time.as_secs_f64()),
            stdout_bytes: stdout.map(|count| count.bytes),
            stderr_bytes: stderr.map(|count| count.bytes),
            truncated: copied.clone().next().map(|_| copied.clone().any(|c| c.cut + c.lost > 0)),
            policy: Some(launch.policy().to_string()),
            changes: changes.iter().map(|change| crate::error::escaped(&change.to_string())).collect(),
            missing: missing.map(str::to_string).collect(),
            denials: Vec::new(),
        }
    }
}

fn status(end: &ContainerEnd, events: CgroupEvents) -> Status {
    let cut = end.streams.iter().flatten().any(|count| count.cut > 0);
    match (end.cause, end.exit) {
        (Some(EndCause::Timeout), _) => Status::Timeout,
        (Some(EndCause::CpuTime), _) => Status::CpuTime,
        (Some(EndCause::OverlaySize), _) => Status::OverlaySize,
        // Exit code 137 alone is no evidence of an OOM kill.
        (None, ProcessExit::Signal(libc::SIGKILL)) if events.oom_kills > 0 => Status::Oom,
        _ if cut => Status::OutputLimit,
        (None, ProcessExit::Signal(_)) => Status::Signaled,
        (None, ProcessExit::Code(_)) => Status::Exited,
    }
}
