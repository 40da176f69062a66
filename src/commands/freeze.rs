//! `safebox pause` and `safebox resume`: the freezer of the container's cgroup.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use super::Outcome;
use crate::cli::Global;
use crate::error::{Error, StateError};
use crate::state::{Container, State, Status};
use crate::sys::process;

fn freezer(state: &State) -> Result<&std::path::Path, Error> {
    state
        .cgroups
        .iter()
        .find(|(controllers, _)| state.cgroup_v2 || controllers.iter().any(|c| c == "freezer"))
        .map(|(_, path)| path.as_path())
        .ok_or_else(|| Error::msg("the container has no freezer: its cgroup tree is not there"))
}

fn wrong(text: &str) -> anyhow::Error {
    Error::from(StateError::Wrong(text.into())).into()
}

/// Freezes a container, and returns when all its processes stand still.
pub fn pause(global: &Global, id: &str) -> Outcome {
    let container = Container::load(&super::root(global)?, id)?;
    if !matches!(container.status(), Status::Running | Status::Created) {
        return Err(wrong("container not running"));
    }
    let group = freezer(container.state()?)?;
    crate::cgroup::ops::freeze(group, true).map_err(|e| Error::os("freeze", group.display(), e))?;
    let end = Instant::now() + Duration::from_secs(10);
    while !crate::cgroup::ops::still(group) {
        if Instant::now() > end {
            crate::cgroup::ops::freeze(group, false).unwrap_or_default();
            return Err(Error::msg("the container does not freeze: a process is stuck in the kernel").into());
        }
        process::sleep_micros(500);
    }
    Ok(ExitCode::SUCCESS)
}

/// Thaws a paused container.
pub fn resume(global: &Global, id: &str) -> Outcome {
    let container = Container::load(&super::root(global)?, id)?;
    if container.status() != Status::Paused {
        return Err(wrong("container not paused"));
    }
    let group = freezer(container.state()?)?;
    crate::cgroup::ops::freeze(group, false).map_err(|e| Error::os("thaw", group.display(), e))?;
    Ok(ExitCode::SUCCESS)
}

/// Thaws without asking, for processes that were sent SIGKILL.
pub fn thaw(container: &Container) {
    if let Some(group) = container.state.as_ref().and_then(|s| freezer(s).ok()) {
        // What cannot be thawed is reported by the removal that follows.
        crate::cgroup::ops::freeze(group, false).unwrap_or_default();
        crate::cgroup::tree::thaw(group).unwrap_or_default();
    }
}
