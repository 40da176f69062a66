//! `safebox delete`: the undos of a container, replayed in reverse.

use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use super::Outcome;
use crate::cgroup::ops;
use crate::cli::{Delete, Global};
use crate::error::{Error, StateError};
use crate::launch::undo::{Undone, own, undo_within};
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
    if args.force && container.locked() && container.status() != Status::Creating {
        // `start` waits for a startContainer hook, say, which ends with the container. A create is waited for.
        kill_process(&container);
    }
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
    destroy_within(container, ops::PATIENCE)
}

/// The same, with so much time for what does not go at once.
pub fn destroy_within(container: &Container, patience: Duration) -> Undone {
    let child = super::kill::open_process(container);
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
        let pidfd = pidfd.as_raw_fd();
        process::pidfd_kill(pidfd, libc::SIGKILL).unwrap_or_default();
        let mut ended = process::wait_for_exit(pidfd, 100);
        if !ended {
            // It may have been frozen in a group below (v1).
            super::freeze::thaw(container);
            let within = |time: Duration| {
                process::wait_for_exit(pidfd, i32::try_from(time.as_millis()).unwrap_or(i32::MAX))
            };
            let short = patience.min(Duration::from_secs(2));
            ended = within(short) || is_a_shell(pid) || within(patience - short) || is_a_shell(pid);
        }
        // It may be this process's own child, left as a zombie.
        process::wait(pid, libc::WNOHANG).map(drop).unwrap_or_default();
        if !ended {
            let problem = format!("process {pid} of the container does not end: it is stuck in the kernel");
            return Undone { problems: vec![problem], ..Undone::default() };
        }
    }
    let undone = undo_within(&undos, None, false, patience);
    if let Some(state) = container.state.as_ref().filter(|_| undone.problems.is_empty()) {
        super::start::poststop(state, -1);
    }
    undone
}

/// Whether a process that was killed has let go of its memory, and of all else before that. The first of a pid
/// namespace then waits until those are buried that somebody outside has put in it and does not wait for
/// (pid_namespaces(7)): an engine that gave up on an exec.
fn is_a_shell(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/status")).is_ok_and(|status| !status.contains("\nVmSize:"))
}

/// Sends the container's process SIGKILL, without waiting for its end.
fn kill_process(container: &Container) {
    if let Some((_, pidfd)) = super::kill::open_process(container) {
        // Gone already is what is wanted.
        process::pidfd_kill(pidfd.as_raw_fd(), libc::SIGKILL).unwrap_or_default();
    }
}

/// The undos that are this container's. What its create made last and could not write down is empty, and goes if
/// it is.
fn own_undos(container: &Container, state: &State) -> Vec<Undo> {
    let mine = |group: &&PathBuf| state.undo.contains(&Undo::Cgroup(group.to_string_lossy().into_owned()));
    for group in container.lost_cgroups.iter().filter(mine) {
        // Not there, or somebody's: both are as it should be.
        std::fs::remove_dir(group).unwrap_or_default();
    }
    own(&state.undo, &container.dir)
}
