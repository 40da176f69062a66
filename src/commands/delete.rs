//! `safebox delete`: the undos of a container, replayed in reverse.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::Outcome;
use crate::cli::{Delete, Global};
use crate::error::{Error, StateError};
use crate::launch::undo::{Undone, undo};
use crate::plan::Undo;
use crate::state::{Container, State, Status};
use crate::sys::process;

/// Removes a container. With `--force` it is killed first, and an unknown id is no error.
pub fn delete(global: &Global, args: &Delete) -> Outcome {
    let root = super::root(global)?;
    if args.force {
        crate::state::sweep_unborn(&root, &args.id);
    }
    let container = match Container::load(&root, &args.id) {
        Err(Error::State(StateError::NotFound)) if args.force => return Ok(ExitCode::SUCCESS),
        other => other?,
    };
    let lock = match container.lock() {
        Err(Error::State(StateError::NotFound)) if args.force => return Ok(ExitCode::SUCCESS),
        other => other?,
    };
    // What was read before the lock was had may be older than what a create has written since.
    let container = match Container::load(&root, &args.id) {
        Err(Error::State(StateError::NotFound)) if args.force => return Ok(ExitCode::SUCCESS),
        other => other?,
    };
    let status = container.status();
    if !args.force && !matches!(status, Status::Stopped | Status::Created) {
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

/// Kills what is left of a container and removes every trace of it, then runs its poststop hooks.
pub fn destroy(container: &Container) -> Undone {
    let child = container.process().and_then(|pid| Some((pid, process::pidfd_open(pid).ok()?)));
    // Between the two the pid could have become another process's; the descriptor stays with its own.
    let child = child.filter(|(pid, _)| container.process() == Some(*pid));
    // Where the runtime died before the state was written, the directory is all there is.
    let undos = match &container.state {
        Some(state) => own_undos(container, state),
        None => vec![Undo::StateDir(container.dir.to_string_lossy().into_owned())],
    };
    if container.frozen() {
        // A frozen process does not die.
        super::freeze::thaw(container);
    }
    if let Some((pid, pidfd)) = child {
        // Gone already is what is wanted.
        process::pidfd_kill(pidfd, libc::SIGKILL).unwrap_or_default();
        process::wait_for_exit(pidfd, 10_000);
        // It may be this process's own child, left as a zombie.
        process::wait(pid, libc::WNOHANG).map(drop).unwrap_or_default();
    }
    let undone = undo(&undos, None, false);
    if let Some(state) = &container.state {
        super::start::poststop(state, -1);
    }
    undone
}

/// The undos that are this container's. A runtime that died may have announced a cgroup that it never made:
/// the path may be another container's, whose processes must live. What it made last and could not write down
/// is empty, and goes if it is.
fn own_undos(container: &Container, state: &State) -> Vec<Undo> {
    let own = |undo: &Undo| match undo {
        Undo::Cgroup(path) => container.made(Path::new(path)),
        Undo::Members(path) => state.cgroups.iter().any(|(_, own)| own == Path::new(path)),
        Undo::Scope(scope) => container.made(&scope.group) || !scope.group.exists(),
        _ => true,
    };
    let mine = |group: &&PathBuf| state.undo.contains(&Undo::Cgroup(group.to_string_lossy().into_owned()));
    for group in container.lost_cgroups.iter().filter(mine) {
        // Not there, or somebody's: both are as it should be.
        std::fs::remove_dir(group).unwrap_or_default();
    }
    state.undo.iter().filter(|undo| own(undo)).cloned().collect()
}
