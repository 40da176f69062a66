//! Removing a container: its undos, replayed in reverse.

use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::time::Duration;

use crate::cgroup::ops;
use crate::lifecycle::container::Container;
use crate::perform::undo::{Undone, own, undo_within};
use crate::plan::Undo;
use crate::state::State;
use crate::sys::process;

/// Kills what is left of a container and removes every trace of it, then runs its poststop hooks.
pub fn destroy(container: &Container) -> Undone {
    destroy_within(container, ops::PATIENCE)
}

/// The same, with so much time for what does not go at once.
pub fn destroy_within(container: &Container, patience: Duration) -> Undone {
    let child = crate::lifecycle::processes::open(container);
    // Where the runtime died before the state was written, the directory is all there is.
    let undos = match &container.state {
        Some(state) => own_undos(container, state),
        None => vec![Undo::StateDir(container.dir.to_string_lossy().into_owned())],
    };
    if container.frozen() {
        // A frozen process does not die.
        crate::lifecycle::processes::thaw(container);
    }
    if let Some((pid, pidfd)) = child {
        // Gone already is what is wanted.
        let pidfd = pidfd.as_raw_fd();
        process::pidfd_kill(pidfd, libc::SIGKILL).unwrap_or_default();
        let mut ended = process::wait_for_exit(pidfd, 100);
        if !ended {
            // It may have been frozen in a cgroup below (v1).
            crate::lifecycle::processes::thaw(container);
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
        crate::lifecycle::hook_points::poststop(state, -1);
    }
    undone
}

/// Whether a killed process has released its memory; the kernel releases everything else before that. Init of a pid
/// namespace then waits for processes that a process outside has placed in the namespace and not reaped
/// (pid_namespaces(7)), for example an engine that gave up on an exec.
fn is_a_shell(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/status")).is_ok_and(|status| !status.contains("\nVmSize:"))
}

/// The undos that are this container's. What its create made last and could not write down is empty, and goes if
/// it is.
fn own_undos(container: &Container, state: &State) -> Vec<Undo> {
    let mine = |cgroup: &&PathBuf| state.undo.contains(&Undo::Cgroup(cgroup.to_string_lossy().into_owned()));
    for cgroup in container.lost_cgroups.iter().filter(mine) {
        // It is gone, or another container's: both are as it should be.
        std::fs::remove_dir(cgroup).unwrap_or_default();
    }
    own(&state.undo, &container.dir)
}
