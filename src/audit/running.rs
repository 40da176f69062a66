//! A running container: a safebox container by its id, or any process by its number.

use std::path::Path;

use super::{AuditedKind, Report};
use crate::error::{Result, StateError};
use crate::lifecycle::container::{Container, ContainerStatus};
use crate::lifecycle::processes::entrance;
use crate::policy::{MachineFacts, Posture};

/// The program of the container `id`, which must run. A minimal init before it is the runtime's own.
pub fn process_of(root: &Path, id: &str) -> Result<i32> {
    let container = Container::load(root, id)?;
    match (container.status(), entrance(&container)) {
        (ContainerStatus::Running | ContainerStatus::Paused, Some((pid, _))) => Ok(pid),
        (status, _) => Err(StateError::Wrong(format!(
            "container {id} is {status}: its program must run to be looked at (safebox start {id})"
        ))
        .into()),
    }
}

/// Judges the process `pid`.
pub fn audit(target: String, pid: i32, machine: MachineFacts) -> Result<Report> {
    let posture = Posture::of_process(pid, machine, &[])?;
    Ok(Report::of_posture(target, AuditedKind::Process, &posture))
}
