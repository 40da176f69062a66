//! What is done with a container's cgroups after it was made: events, killing, freezing, removing.

use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::{Duration, Instant};

use super::tree;
use crate::sys::{Errno, fs, process, read};

/// How long what was killed may take to go.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// How often the kernel refused the container memory or processes, from the cgroup's event files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CgroupEvents {
    /// Processes killed for lack of memory (`memory.events` `oom_kill`; v1 `memory.oom_control`).
    pub oom_kills: u64,
    /// Forks refused by the pids limit (`pids.events` `max`).
    pub pids_refused: u64,
}

/// Reads the events of a cgroup; files that the tree does not have count as nothing.
pub fn events(cgroup: &Path) -> CgroupEvents {
    CgroupEvents {
        oom_kills: count(cgroup, "memory.events", "oom_kill ")
            .or_else(|| count(cgroup, "memory.oom_control", "oom_kill "))
            .unwrap_or(0),
        pids_refused: count(cgroup, "pids.events", "max ").unwrap_or(0),
    }
}

/// The same where the cgroup's controllers are known (none: cgroup v2): the files of the others are not looked for.
pub fn events_of(cgroup: &Path, controllers: &[String]) -> CgroupEvents {
    let v2 = controllers.is_empty();
    let has = |name| v2 || super::has(controllers, name);
    let memory = if v2 { "memory.events" } else { "memory.oom_control" };
    let of = |controller, file, key| has(controller).then(|| count(cgroup, file, key)).flatten().unwrap_or(0);
    CgroupEvents {
        oom_kills: of("memory", memory, "oom_kill "),
        pids_refused: of("pids", "pids.events", "max "),
    }
}

fn count(cgroup: &Path, file: &str, key: &str) -> Option<u64> {
    let text = read::value(cgroup.join(file)).ok()?;
    text.lines().find_map(|l| l.strip_prefix(key)?.trim().parse().ok())
}

/// Kills every process of a cgroup and of those below it; what cannot be killed is seen by who removes the cgroup.
pub fn kill_all(cgroup: &Path) {
    signal_all(cgroup, libc::SIGKILL).unwrap_or_default();
}

/// Sends a signal to every process of a cgroup and of those below it: SIGKILL at once with `cgroup.kill`
/// (cgroup v2, Linux 5.14). Otherwise the cgroup is frozen first where the tree has a freezer, since what forks
/// faster than it is counted cannot be caught; the signals act when it is thawed.
pub fn signal_all(cgroup: &Path, signal: i32) -> Result<(), Errno> {
    let kill = signal == libc::SIGKILL;
    if kill && std::fs::write(cgroup.join("cgroup.kill"), "1").is_ok() {
        return Ok(());
    }
    let paused = frozen(cgroup);
    let froze = !paused && freeze(cgroup, true).is_ok();
    if froze {
        let end = Instant::now() + Duration::from_secs(1);
        while !still(cgroup) && Instant::now() < end {
            process::sleep_micros(200);
        }
    }
    let sent = signal_members(cgroup, signal);
    // A paused container stays paused, but a frozen process does not die (v1), wherever it was frozen.
    if kill {
        tree::thaw(cgroup).or_else(|e| if froze || paused { Err(e) } else { Ok(()) })?;
    } else if froze {
        freeze(cgroup, false)?;
    }
    sent
}

/// Signals the members through descriptors: a number may be another process's by the time it is used, a
/// descriptor whose number is still a member's after it was opened may not.
fn signal_members(cgroup: &Path, signal: i32) -> Result<(), Errno> {
    // Fewer at a time than a process may have open.
    for some in tree::pids(cgroup)?.chunks(256) {
        let opened: Vec<_> =
            some.iter().filter_map(|pid| Some((pid, fs::own(process::pidfd_open(*pid).ok()?)))).collect();
        let members = tree::pids(cgroup)?;
        for (_, pidfd) in opened.iter().filter(|(pid, _)| members.contains(pid)) {
            match process::pidfd_kill(pidfd.as_raw_fd(), signal) {
                // One that is gone meanwhile needs no signal.
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(e) => return Err(e),
            }
        }
    }
    Ok(())
}

/// Whether a cgroup is frozen (`cgroup.freeze`; v1 `freezer.state`).
pub fn frozen(cgroup: &Path) -> bool {
    frozen_in(cgroup, true) || frozen_in(cgroup, false)
}

/// The same where the tree is known: `v2` has the one file, v1's freezer the other.
pub fn frozen_in(cgroup: &Path, v2: bool) -> bool {
    let (file, frozen) =
        if v2 { ("cgroup.freeze", &["1"][..]) } else { ("freezer.state", &["FROZEN", "FREEZING"][..]) };
    read::value(cgroup.join(file)).is_ok_and(|text| frozen.contains(&text.trim_end()))
}

/// Whether a frozen cgroup has come to a standstill.
pub fn still(cgroup: &Path) -> bool {
    let read = |file: &str| read::value(cgroup.join(file)).unwrap_or_default();
    read("cgroup.events").lines().any(|l| l == "frozen 1") || read("freezer.state").trim_end() == "FROZEN"
}

/// Freezes or thaws a cgroup; `ENOENT` where the tree has no freezer.
pub fn freeze(cgroup: &Path, freeze: bool) -> Result<(), Errno> {
    let (v2, v1) = (cgroup.join("cgroup.freeze"), cgroup.join("freezer.state"));
    if v2.exists() {
        return std::fs::write(v2, if freeze { "1" } else { "0" }).map_err(crate::sys::errno);
    }
    std::fs::write(v1, if freeze { "FROZEN" } else { "THAWED" }).map_err(crate::sys::errno)
}

/// Removes a cgroup and those below it; processes that are left are killed. The kernel empties a cgroup
/// a moment after its last process was reaped, so `EBUSY` is tried again until `end`.
pub fn remove(cgroup: &Path, end: Instant) -> Result<(), Errno> {
    let mut pause = 100;
    loop {
        match tree::remove(cgroup) {
            Err(Errno::EBUSY) if Instant::now() < end => {}
            Err(Errno::ENOENT) => return Ok(()),
            other => return other,
        }
        kill_all(cgroup);
        process::sleep_micros(pause);
        pause = (pause * 2).min(20_000);
    }
}
