//! `safebox kill`: sends a signal to the container's init, or to all its processes.

use crate::sys::start::ExitCode;
use std::os::fd::AsRawFd;

use crate::cli::{GlobalArgs, KillArgs};
use crate::commands::common::VerbResult;
use crate::error::{Error, StateError};
use crate::lifecycle::container::{Container, ContainerStatus};
use crate::sys::{Errno, process};

/// Sends the signal. `--all` on a stopped container succeeds, as containerd expects.
pub fn kill(global: &GlobalArgs, args: &KillArgs) -> VerbResult {
    let container = Container::load(&crate::commands::common::root(global)?, &args.id)?;
    // Go callers pass an empty text for an option that is not set.
    let signal = if args.signal.is_empty() { "SIGTERM" } else { &args.signal };
    let signal = crate::tables::signals::parse(signal).map_err(Error::msg)?;
    if args.all {
        kill_all(&container, signal)?;
        return Ok(ExitCode::SUCCESS);
    }
    let not_running = || Error::from(StateError::Wrong("container not running".into()));
    let shares_pids = container
        .state
        .as_ref()
        .filter(|s| !s.own_pid_namespace && crate::lifecycle::processes::cgroup(s).is_some());
    if let Some(state) = shares_pids.filter(|_| signal == libc::SIGKILL) {
        // The other processes would continue, and without init they could no longer be identified as the
        // container's.
        if crate::lifecycle::processes::processes(&container, state)?.is_empty() {
            return Err(not_running().into());
        }
        kill_all(&container, signal)?;
        return Ok(ExitCode::SUCCESS);
    }
    if container.status() == ContainerStatus::Stopped {
        return Err(not_running().into());
    }
    let (pid, pidfd) = crate::lifecycle::processes::open(&container).ok_or_else(not_running)?;
    process::pidfd_kill(pidfd.as_raw_fd(), signal)
        .map_err(|e| if e == Errno::ESRCH { not_running() } else { Error::os("kill", pid, e) })?;
    // A frozen process does not die until it is thawed.
    if signal == libc::SIGKILL && container.frozen() {
        crate::lifecycle::processes::thaw(&container);
    }
    Ok(ExitCode::SUCCESS)
}

fn kill_all(container: &Container, signal: i32) -> Result<(), Error> {
    let Some(state) = &container.state else { return Ok(()) };
    if let Some((_, cgroup)) = crate::lifecycle::processes::cgroup(state) {
        return crate::cgroup::ops::signal_all(cgroup, signal)
            .map_err(|e| Error::os("kill", cgroup.display(), e));
    }
    for pid in crate::lifecycle::processes::processes(container, state)? {
        let Ok(pidfd) = process::pidfd_open(pid) else { continue };
        // The pid could have been reused between the listing and pidfd_open; the pidfd is stable, so check
        // membership again.
        let member = crate::lifecycle::processes::processes(container, state)?.contains(&pid);
        let sent = if member { process::pidfd_kill(pidfd, signal) } else { Ok(()) };
        crate::sys::fs::close(pidfd);
        match sent {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(e) => return Err(Error::os("kill", pid, e)),
        }
    }
    Ok(())
}
