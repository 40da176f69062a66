//! `safebox delete`: performs the undos of a container in reverse order.

use crate::sys::start::ExitCode;
use std::os::fd::AsRawFd;
use std::time::Duration;

use crate::cli::{DeleteArgs, GlobalArgs};
use crate::commands::common::VerbResult;
use crate::error::{Error, StateError};
use crate::lifecycle::container::{Container, ContainerStatus};
use crate::lifecycle::destroy::destroy;
use crate::lifecycle::processes::{self, Killer};
use crate::sys::process;

/// How long the process that stays with a detached container may take to end with it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Removes a container. `--force` kills it first and accepts an unknown id.
pub fn delete(global: &GlobalArgs, args: &DeleteArgs) -> VerbResult {
    let root = crate::commands::common::root(global)?;
    if args.force {
        crate::lifecycle::container::remove_incomplete(&root, &args.id);
    }
    let container = match Container::load(&root, &args.id) {
        Err(Error::State(StateError::NotFound)) if args.force => return Ok(ExitCode::SUCCESS),
        other => other?,
    };
    if args.force && container.locked() && container.status() != ContainerStatus::Creating {
        // The lock may be held by a `start` that waits for a startContainer hook; the hook ends with the
        // container. For a create, wait.
        kill_process(&container);
    }
    if args.force
        && container.status() != ContainerStatus::Creating
        && processes::monitor(&container).is_some()
    {
        // Its monitor writes what there is to say of the end, and may remove it.
        kill_process(&container);
        container.state.iter().for_each(|state| Killer::of(state).kill());
    }
    if container.status() == ContainerStatus::Stopped || args.force {
        processes::wait_for_monitor(&container, PATIENCE);
    }
    let lock = match container.lock() {
        Err(Error::State(StateError::NotFound)) if args.force => return Ok(ExitCode::SUCCESS),
        other => other?,
    };
    // Load again under the lock: a create may have changed the state since the first load.
    let container = match Container::load(&root, &args.id) {
        Err(Error::State(StateError::NotFound)) if args.force => return Ok(ExitCode::SUCCESS),
        other => other?,
    };
    let status = container.status();
    if !args.force && !matches!(status, ContainerStatus::Stopped | ContainerStatus::Created) {
        let text = format!("cannot delete container {} that is not stopped: {status}", args.id);
        return Err(Error::from(StateError::Wrong(text)).into());
    }
    let undone = destroy(&container);
    drop(lock);
    match undone.problems.first() {
        Some(problem) => Err(Error::msg(problem.clone()).into()),
        None => Ok(ExitCode::SUCCESS),
    }
}

/// Sends SIGKILL to the container's init without waiting for its end.
fn kill_process(container: &Container) {
    if let Some((_, pidfd)) = crate::lifecycle::processes::open(container) {
        // It is no error if the process has ended.
        process::pidfd_kill(pidfd.as_raw_fd(), libc::SIGKILL).unwrap_or_default();
    }
}
