//! `safebox events`: resource usage and out-of-memory events of a container in runc's JSON, one object per
//! line.

use crate::sys::start::ExitCode;
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::cgroup::monitor::MemoryWatch;
use crate::cgroup::{ops, stats};
use crate::cli::{EventsArgs, GlobalArgs};
use crate::commands::common::VerbResult;
use crate::error::{Error, Result, StateError};
use crate::lifecycle::container::{Container, ContainerStatus};
use crate::state::State;
use crate::sys::{fs, process, watch};

/// Prints the statistics once, or at every interval until the container ends; also reports each kill by the
/// OOM killer.
pub fn events(global: &GlobalArgs, args: &EventsArgs) -> VerbResult {
    let container = Container::load(&crate::commands::common::root(global)?, &args.id)?;
    if args.interval.is_zero() {
        return Err(Error::msg("duration interval must be greater than 0").into());
    }
    let state = container.state()?;
    let stopped = || Error::from(StateError::Wrong(format!("container with id {} is not running", args.id)));
    if container.status() == ContainerStatus::Stopped {
        return Err(stopped().into());
    }
    if args.stats {
        print(&statistics(state))?;
        return Ok(ExitCode::SUCCESS);
    }
    let pid = container.process().ok_or_else(stopped)?;
    let pidfd = process::pidfd_open(pid).map(fs::own).map_err(|_| stopped())?;
    follow(state, &pidfd, args.interval)?;
    Ok(ExitCode::SUCCESS)
}

fn statistics(state: &State) -> Value {
    let data = stats::stats(&state.cgroups, state.cgroup_v2);
    json!({ "type": "stats", "id": state.id, "data": data })
}

fn print(event: &Value) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{event}")?;
    out.flush()
}

/// The loop: waits for the next interval, a change of the cgroup's memory events, or the end of the
/// container.
fn follow(state: &State, pidfd: &OwnedFd, interval: Duration) -> Result<()> {
    let cgroup = crate::cgroup::of_controller(&state.cgroups, state.cgroup_v2, "memory");
    let watch = cgroup.map(|g| MemoryWatch::of(g, state.cgroup_v2)).transpose()?;
    let notice_fd = watch.as_ref().map_or(-1, MemoryWatch::fd);
    let mut kills = cgroup.map_or(0, |g| ops::events(g).oom_kills);
    let mut next = Instant::now() + interval;
    loop {
        let left = next.saturating_duration_since(Instant::now());
        let [notified, ended] = process::poll_in_for([notice_fd, pidfd.as_raw_fd()], left)
            .map_err(|e| Error::os("poll", "the container", e))?;
        let written = if notified {
            let oom = json!({ "type": "oom", "id": state.id });
            let new = cgroup.map_or(0, |g| new_kills(g, state.cgroup_v2, notice_fd, &mut kills));
            (0..new).try_for_each(|_| print(&oom))
        } else if ended {
            return Ok(());
        } else if Instant::now() >= next {
            next += interval;
            print(&statistics(state))
        } else {
            Ok(())
        };
        // The reader has closed the pipe: end.
        if written.is_err() {
            return Ok(());
        }
    }
}

/// Number of new OOM kills in the cgroup since the last call.
///
/// v1 notifies before it kills, so the counter may be unchanged: each notification counts as a kill, as in
/// runc. The removal of the cgroup causes a notification too.
fn new_kills(cgroup: &Path, on_v2: bool, watch: RawFd, kills: &mut u64) -> u64 {
    let notifications = watch::drain(watch);
    if !on_v2 {
        return if cgroup.join("cgroup.event_control").exists() { notifications } else { 0 };
    }
    let now = ops::events(cgroup).oom_kills;
    now.saturating_sub(std::mem::replace(kills, now))
}
