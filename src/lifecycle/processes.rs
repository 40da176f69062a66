//! A container's processes: finding, opening and thawing them.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::lifecycle::container::Container;
use crate::state::State;
use crate::sys::process;

/// The container's process while it lives. Between two looks its number could become another process's; the descriptor
/// stays with its own.
pub fn open(container: &Container) -> Option<(i32, OwnedFd)> {
    let pid = container.process()?;
    let pidfd = crate::sys::fs::own(process::pidfd_open(pid).ok()?);
    (container.process() == Some(pid)).then_some((pid, pidfd))
}

/// The cgroup that holds all processes: the v2 one, else one that every v1 layout has.
pub fn cgroup(state: &State) -> Option<&(Vec<String>, PathBuf)> {
    let has = |name: &str| state.cgroups.iter().find(|(c, _)| crate::cgroup::has(c, name));
    if state.cgroup_v2 {
        state.cgroups.first()
    } else {
        has("freezer").or_else(|| has("pids")).or_else(|| state.cgroups.first())
    }
}

/// The container's processes: those of its cgroup or, where it has none, of its pid namespace. In a shared pid
/// namespace only the first process is known to be the container's.
pub fn processes(container: &Container, state: &State) -> Result<Vec<i32>, Error> {
    match cgroup(state) {
        Some((_, path)) => {
            crate::cgroup::tree::pids(path).map_err(|e| Error::os("read the processes of", path.display(), e))
        }
        None => Ok(of_namespace(container, state)),
    }
}

/// How all of a container is killed, whatever its processes do meanwhile.
#[derive(Debug, Clone)]
pub struct Killer {
    /// Its processes end with the first (pid_namespaces(7)).
    own_pids: bool,
    /// The cgroup that holds them all.
    cgroup: Option<PathBuf>,
}

impl Killer {
    /// Of a container that is there.
    pub fn of(state: &State) -> Self {
        let cgroup = cgroup(state).map(|(_, path)| path.clone());
        Killer { own_pids: state.own_pid_namespace, cgroup }
    }

    /// Kills all processes but the first, which was killed before. Without a cgroup and a pid namespace the others come
    /// to this process as orphans ([`end_orphans`]).
    pub fn kill(&self) {
        match &self.cgroup {
            Some(cgroup) if !self.own_pids => crate::cgroup::ops::kill_all(cgroup),
            // A frozen process does not die (cgroup v1).
            Some(cgroup) if crate::cgroup::ops::frozen(cgroup) => {
                crate::cgroup::ops::freeze(cgroup, false).unwrap_or_default();
                crate::cgroup::tree::thaw(cgroup).unwrap_or_default();
            }
            _ => {}
        }
    }
}

/// The process that stays with a detached container, while it lives.
pub fn monitor(container: &Container) -> Option<OwnedFd> {
    let (pid, start) = container.state.as_ref()?.monitor?;
    let pidfd = crate::sys::fs::own(process::pidfd_open(pid).ok()?);
    process::alive(pid, start).then_some(pidfd)
}

/// Waits until that process has written what there is to say of the container's end, and is gone.
pub fn wait_for_monitor(container: &Container, limit: std::time::Duration) {
    if let Some(pidfd) = monitor(container) {
        let millis = i32::try_from(limit.as_millis()).unwrap_or(-1);
        process::wait_for_exit(pidfd.as_raw_fd(), millis);
    }
}

/// The process of the container that another one can enter by, with its start time. A minimal init is undumpable: its
/// first child, the program, is entered by in its place.
pub fn entrance(container: &Container) -> Option<(i32, u64)> {
    let (pid, start) = container.process_id()?;
    if !container.state.as_ref().is_some_and(|state| state.init) {
        return Some((pid, start));
    }
    let children = crate::sys::read::text(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    let child = children.split_whitespace().next()?.parse().ok()?;
    let started = process::start_time(child).ok()?;
    // What was read is its child only if it is the same process still.
    (container.process_id() == Some((pid, start))).then_some((child, started))
}

/// Kills what a program without a pid namespace leaves to its subreaper, this process; `keep` is this process's own.
pub fn end_orphans(keep: Option<i32>) {
    // Each round ends what it found. What was forked meanwhile is found by the next one.
    const ROUNDS: usize = 10_000;
    let me = process::pid();
    for _ in 0..ROUNDS {
        let found: Vec<(i32, i32)> =
            descendants(me).into_iter().filter(|(pid, _)| Some(*pid) != keep).collect();
        if found.is_empty() {
            return;
        }
        // First all stand still: a process that forks faster than it is killed would never be caught.
        for signal in [libc::SIGSTOP, libc::SIGKILL] {
            for (pid, parent) in &found {
                signal_child(*pid, *parent, signal);
            }
        }
        while let Ok(Some(_)) = process::wait(-1, libc::WNOHANG) {}
        for (pid, _) in found.iter().filter(|(_, parent)| *parent == me) {
            process::wait(*pid, 0).map(drop).unwrap_or_default();
        }
    }
}

/// All descendants of a process: (pid, parent), parents before their children.
fn descendants(pid: i32) -> Vec<(i32, i32)> {
    let mut found = Vec::new();
    let mut todo = vec![pid];
    while let Some(parent) = todo.pop() {
        for task in std::fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten() {
            let text = crate::sys::read::text(task.path().join("children")).unwrap_or_default();
            let children = text.split_whitespace().filter_map(|n| n.parse::<i32>().ok());
            for child in children {
                found.push((child, parent));
                todo.push(child);
            }
        }
    }
    found
}

/// Signals a process if it still is `parent`'s child, or by now this process's: its number could be another's.
fn signal_child(pid: i32, parent: i32, signal: i32) {
    let Ok(pidfd) = process::pidfd_open(pid).map(crate::sys::fs::own) else { return };
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let ppid = status.lines().find_map(|l| l.strip_prefix("PPid:")?.trim().parse::<i32>().ok());
    if ppid.is_some_and(|is| is == parent || is == process::pid()) {
        // One that has ended meanwhile needs no signal.
        process::pidfd_kill(pidfd.as_raw_fd(), signal).unwrap_or_default();
    }
}

/// The processes of the container's pid namespace: the descendants of its first process, and those that `exec` started,
/// which are not. The namespace is read from the first of them that shows its own: a minimal init is undumpable, and
/// shows its namespaces to root alone.
fn of_namespace(container: &Container, state: &State) -> Vec<i32> {
    let Some(init) = container.process() else { return Vec::new() };
    if !state.own_pid_namespace {
        return vec![init];
    }
    let mut pids = vec![init];
    pids.extend(descendants(init).into_iter().map(|(pid, _)| pid));
    let namespace = |pid: i32| std::fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let theirs = pids.iter().find_map(|pid| namespace(*pid));
    if theirs.is_some() && theirs != namespace(process::pid()) {
        let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let all = entries.filter_map(|e| e.file_name().to_str()?.parse::<i32>().ok());
        pids.extend(all.filter(|pid| namespace(*pid) == theirs));
    }
    pids.sort_unstable();
    pids.dedup();
    pids
}

/// The cgroup that freezes the container's processes.
pub fn freezer(state: &State) -> Result<&Path, Error> {
    crate::cgroup::of_controller(&state.cgroups, state.cgroup_v2, "freezer")
        .ok_or_else(|| Error::msg("the container has no freezer: its cgroup tree is not there"))
}

/// Thaws without asking, for processes that were sent SIGKILL.
pub fn thaw(container: &Container) {
    if let Some(cgroup) = container.state.as_ref().and_then(|s| freezer(s).ok()) {
        // What cannot be thawed is reported by the removal that follows.
        crate::cgroup::ops::freeze(cgroup, false).unwrap_or_default();
        crate::cgroup::tree::thaw(cgroup).unwrap_or_default();
    }
}
