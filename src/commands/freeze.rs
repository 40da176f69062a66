//! `safebox pause` and `safebox resume`: the freezer of the container's cgroup.

use crate::sys::start::ExitCode;
use std::time::{Duration, Instant};

use crate::cli::GlobalArgs;
use crate::commands::common::VerbResult;
use crate::error::{Error, StateError};
use crate::lifecycle::container::{Container, ContainerStatus};
use crate::lifecycle::processes::freezer;
use crate::sys::process;

fn wrong(text: &str) -> anyhow::Error {
    Error::from(StateError::Wrong(text.into())).into()
}

/// Freezes a container and waits until all its processes are frozen.
pub fn pause(global: &GlobalArgs, id: &str) -> VerbResult {
    let container = Container::load(&crate::commands::common::root(global)?, id)?;
    if !matches!(container.status(), ContainerStatus::Running | ContainerStatus::Created) {
        return Err(wrong("container not running"));
    }
    let cgroup = freezer(container.state()?)?;
    crate::cgroup::ops::freeze(cgroup, true).map_err(|e| Error::os("freeze", cgroup.display(), e))?;
    let end = Instant::now() + Duration::from_secs(10);
    while !crate::cgroup::ops::still(cgroup) {
        if Instant::now() > end {
            crate::cgroup::ops::freeze(cgroup, false).unwrap_or_default();
            return Err(Error::msg("the container does not freeze: a process is stuck in the kernel").into());
        }
        process::sleep_micros(500);
    }
    Ok(ExitCode::SUCCESS)
}

/// Thaws a paused container.
pub fn resume(global: &GlobalArgs, id: &str) -> VerbResult {
    let container = Container::load(&crate::commands::common::root(global)?, id)?;
    if container.status() != ContainerStatus::Paused {
        return Err(wrong("container not paused"));
    }
    let cgroup = freezer(container.state()?)?;
    crate::cgroup::ops::freeze(cgroup, false).map_err(|e| Error::os("thaw", cgroup.display(), e))?;
    Ok(ExitCode::SUCCESS)
}
