//! What a container's own cgroups have counted: cpu time, peaks, time at the cpu limit. A figure that the kernel does
//! not keep, or keeps for other processes as well, is absent.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Cgroup, Layout};
use crate::sys::read;

/// Cpu time in user mode and in the kernel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CpuTime {
    /// In user mode.
    pub user: Duration,
    /// In the kernel.
    pub system: Duration,
}

impl CpuTime {
    /// Both together.
    pub fn total(self) -> Duration {
        self.user + self.system
    }

    /// What was used since `before`.
    pub fn since(self, before: CpuTime) -> CpuTime {
        let (user, system) =
            (self.user.saturating_sub(before.user), self.system.saturating_sub(before.system));
        CpuTime { user, system }
    }
}

/// The cgroups that count for this container alone.
#[derive(Debug, Clone, Default)]
pub struct Counters {
    /// (controllers, path); none: cgroup v2.
    cgroups: Vec<(Vec<String>, PathBuf)>,
}

impl Counters {
    /// Of the cgroups that the container makes: one that was there before has counted for others.
    pub fn of(layout: &Layout) -> Self {
        let own = layout.cgroups.iter().filter(|g| !g.exists);
        Counters { cgroups: own.map(|g: &Cgroup| (g.controllers.clone(), g.path.clone())).collect() }
    }

    /// Of the cgroups of a container that is there: (controllers, path), and those that were there before it.
    pub fn of_cgroups(cgroups: &[(Vec<String>, PathBuf)], preexisting: &[PathBuf]) -> Self {
        let own = cgroups.iter().filter(|(_, path)| !preexisting.contains(path));
        Counters { cgroups: own.cloned().collect() }
    }

    fn cgroup(&self, controller: &str) -> Option<(&Path, bool)> {
        let has = |(c, _): &&(Vec<String>, PathBuf)| c.is_empty() || super::has(c, controller);
        self.cgroups.iter().find(has).map(|(controllers, path)| (path.as_path(), controllers.is_empty()))
    }

    /// A file with one number, of a v2 cgroup or of a v1 one.
    fn number(&self, controller: &str, v2: &str, v1: &str) -> Option<u64> {
        let (cgroup, is_v2) = self.cgroup(controller)?;
        read::value(cgroup.join(if is_v2 { v2 } else { v1 })).ok()?.trim_end().parse().ok()
    }

    /// Cpu time of all processes there ever were.
    pub fn cpu(&self) -> Option<CpuTime> {
        let (cgroup, is_v2) = self.cgroup("cpuacct")?;
        if is_v2 {
            let text = read::value(cgroup.join("cpu.stat")).ok()?;
            let time = |key| Some(Duration::from_micros(entry(&text, key)?));
            return Some(CpuTime { user: time("user_usec")?, system: time("system_usec")? });
        }
        // USER_HZ is 100 on every architecture that safebox knows; the sum is exact in cpuacct.usage.
        let text = read::value(cgroup.join("cpuacct.stat")).ok()?;
        let ticks = |key| Some(Duration::from_millis(entry(&text, key)?.saturating_mul(10)));
        let (user, system) = (ticks("user")?, ticks("system")?);
        let total: u64 = read::value(cgroup.join("cpuacct.usage")).ok()?.trim_end().parse().ok()?;
        Some(split(Duration::from_nanos(total), user, system))
    }

    /// Bytes of memory at the peak.
    pub fn memory_peak(&self) -> Option<u64> {
        self.number("memory", "memory.peak", "memory.max_usage_in_bytes")
    }

    /// Processes and threads at the peak (`pids.peak`, Linux 6.11).
    pub fn pids_peak(&self) -> Option<u64> {
        self.number("pids", "pids.peak", "pids.peak")
    }

    /// How long processes waited because the cpu limit was reached.
    pub fn throttled(&self) -> Option<Duration> {
        let (cgroup, is_v2) = self.cgroup("cpu")?;
        let text = read::value(cgroup.join("cpu.stat")).ok()?;
        if is_v2 {
            return entry(&text, "throttled_usec").map(Duration::from_micros);
        }
        entry(&text, "throttled_time").map(Duration::from_nanos)
    }
}

/// The exact sum, divided as the coarse parts are.
fn split(total: Duration, user: Duration, system: Duration) -> CpuTime {
    let coarse = (user + system).as_secs_f64();
    let share = if coarse > 0.0 { user.as_secs_f64() / coarse } else { 1.0 };
    let user = total.mul_f64(share.clamp(0.0, 1.0)).min(total);
    CpuTime { user, system: total - user }
}

/// The number after `key` in lines of `key number`.
fn entry(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

/// What cpu time a container has used.
#[derive(Debug)]
pub struct CpuClock {
    counters: Counters,
    /// Without a cgroup that counts: the first process, whose descendants are added up.
    first: Option<i32>,
}

impl CpuClock {
    /// `pid`: the container's first process, as this one sees it.
    pub fn new(counters: Counters, pid: i32) -> Self {
        let first = counters.cpu().is_none().then_some(pid);
        CpuClock { counters, first }
    }

    /// In both modes.
    pub fn used(&self) -> Option<Duration> {
        self.first.map_or_else(|| self.counters.cpu(), |pid| Some(of_tree(pid))).map(CpuTime::total)
    }
}

/// The times of a process, of its descendants, and of the children that each has waited for (proc_pid_stat(5)).
fn of_tree(first: i32) -> CpuTime {
    /// More processes than that are not looked at in one go.
    const MOST: usize = 4096;
    let (mut ticks, mut todo, mut seen) = ((0, 0), vec![first], 0);
    while let Some(pid) = todo.pop().filter(|_| seen < MOST) {
        seen += 1;
        let stat = read::text(format!("/proc/{pid}/stat")).unwrap_or_default();
        let fields: Vec<u64> = stat
            .rsplit(')')
            .next()
            .map(|rest| rest.split_whitespace().map(|f| f.parse().unwrap_or(0)).collect())
            .unwrap_or_default();
        // The first is the manual's third: 14 utime, 15 stime, 16 cutime, 17 cstime.
        let field = |number: usize| fields.get(number - 3).copied().unwrap_or(0);
        ticks = (ticks.0 + field(14) + field(16), ticks.1 + field(15) + field(17));
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        for task in tasks {
            let children = read::text(task.path().join("children")).unwrap_or_default();
            todo.extend(children.split_whitespace().filter_map(|pid| pid.parse::<i32>().ok()));
        }
    }
    let time = |ticks: u64| Duration::from_millis(ticks.saturating_mul(10));
    CpuTime { user: time(ticks.0), system: time(ticks.1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters(files: &[(&str, &str)], controllers: &[&str]) -> (tempfile::TempDir, Counters) {
        let dir = tempfile::tempdir().unwrap();
        for (file, text) in files {
            std::fs::write(dir.path().join(file), text).unwrap();
        }
        let controllers = controllers.iter().map(ToString::to_string).collect();
        let cgroups = vec![(controllers, dir.path().to_path_buf())];
        (dir, Counters { cgroups })
    }

    #[test]
    fn v2_files_are_read() {
        let stat = "usage_usec 30\nuser_usec 10\nsystem_usec 20\nthrottled_usec 7\n";
        let (_dir, c) = counters(&[("cpu.stat", stat), ("memory.peak", "4096\n"), ("pids.peak", "3\n")], &[]);
        let micros = Duration::from_micros;
        assert_eq!(c.cpu(), Some(CpuTime { user: micros(10), system: micros(20) }));
        assert_eq!((c.memory_peak(), c.pids_peak(), c.throttled()), (Some(4096), Some(3), Some(micros(7))));
    }

    #[test]
    fn v1_parts_add_up_to_the_exact_sum() {
        let files = [("cpuacct.stat", "user 3\nsystem 1\n"), ("cpuacct.usage", "44000000\n")];
        let (_dir, c) = counters(&files, &["cpu", "cpuacct"]);
        let millis = Duration::from_millis;
        assert_eq!(c.cpu(), Some(CpuTime { user: millis(33), system: millis(11) }));
    }

    #[test]
    fn what_is_not_counted_is_absent() {
        let (_dir, c) = counters(&[], &["freezer"]);
        assert_eq!((c.cpu(), c.memory_peak(), c.pids_peak(), c.throttled()), (None, None, None, None));
        let layout = Layout::default();
        assert!(Counters::of(&layout).cgroups.is_empty());
    }

    #[test]
    fn a_tree_of_processes_is_added_up() {
        use nix::sys::resource::{UsageWho, getrusage};
        // On a loaded machine a process has little of the time that passes.
        let used = || getrusage(UsageWho::RUSAGE_SELF).expect("usage").user_time().tv_usec() as u64;
        let start = used();
        while used().abs_diff(start) < 60_000 {
            std::hint::black_box(0);
        }
        assert!(of_tree(std::process::id() as i32).total() >= Duration::from_millis(40));
    }
}
