//! A plan that failed: the undo of the failed row, and the report.

use crate::error::{Error, RowError};
use crate::perform::{Call, Cx};
use crate::plan::ops::{Action, CgroupOp, CloneOp, StateOp};
use crate::plan::{Plan, Undo};
use crate::sys::{Errno, process};

/// The cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// A row failed.
    Row(usize, Errno, Call),
    /// The reader stopped it before this row.
    Stopped(usize),
    /// A signal for the launcher ended it before the program started.
    Interrupted(usize, i32),
    /// The child died while it held the baton, before its last row.
    ChildDied(usize),
}

/// The undo of the failed row itself. A directory that could not be created belongs to another container: its undo
/// would remove or kill that container. A failed clone may have created the child.
pub(super) fn half_done(plan: &Plan, failure: Failure) -> Option<Undo> {
    let (Failure::Row(row, ..)
    | Failure::Stopped(row)
    | Failure::Interrupted(row, _)
    | Failure::ChildDied(row)) = failure;
    let step = plan.rows.get(row)?;
    let others = |a: &Action| {
        matches!(
            a,
            Action::State(StateOp::Dir { .. })
                | Action::Cgroup(CgroupOp::Dir { .. })
                | Action::Cgroup(CgroupOp::Joinable { .. })
                | Action::Cgroup(CgroupOp::Scope { .. })
        )
    };
    let made = !others(&step.action);
    made.then(|| step.undo.clone()).flatten()
}

/// The error for a child that died while it held the baton.
fn died(plan: &Plan, row: usize, undo: &crate::perform::undo::Undone) -> Error {
    let how = match undo.exit {
        Some(process::ProcessExit::Signal(s)) => {
            format!("killed by {}", crate::tables::signals::name(s).unwrap_or_else(|| s.to_string()))
        }
        Some(process::ProcessExit::Code(c)) => format!("exited with code {c}"),
        None => "gone".into(),
    };
    let born_in =
        |s: &crate::plan::Row| matches!(s.action, Action::Clone(CloneOp::Init { cgroup: Some(_), .. }));
    let likely = if undo.oom_kills > 0 {
        "; the memory limit is too small even to build the container"
    } else if undo.exit == Some(process::ProcessExit::Signal(libc::SIGKILL)) && plan.rows.iter().any(born_in)
    {
        // Seen with Linux 6.1: clone3(2) takes the parent group's count of kills for the new group's.
        "; if cgroup.kill was ever written to in the cgroup that safebox runs in, kernels kill what is cloned from there into another: run it in a new one"
    } else {
        ""
    };
    let step = plan.rows.get(row).map(|s| s.action.to_string()).unwrap_or_default();
    Error::msg(format!(
        "the container process was {how} before it could start, at or after row {}: {step}{likely}",
        row + 1
    ))
}

/// What runc says, and its callers look for, where a process cannot be moved into a cgroup.
fn adding_pid(cx: &Cx, action: &Action, errno: Errno) -> Option<String> {
    let Action::Cgroup(CgroupOp::Join { path } | CgroupOp::Enter { path, .. }) = action else { return None };
    let text = crate::tables::errno::text(errno as i32);
    let path = crate::sys::cstr::show(path);
    Some(format!("error adding pid {} to cgroups: write {path}: {text}", cx.pid))
}

/// The error for a failure: everything is derived from the row and the errno.
pub(super) fn explain(plan: &Plan, cx: &Cx, failure: Failure, undo: crate::perform::undo::Undone) -> Error {
    for problem in &undo.problems {
        crate::log::say(problem);
    }
    match failure {
        Failure::Stopped(row) => Error::Stopped(row + 1),
        Failure::Interrupted(_, signal) => Error::Interrupted(signal),
        Failure::ChildDied(row) => died(plan, row, &undo),
        Failure::Row(row, errno, call) => {
            let Some(step) = plan.rows.get(row) else {
                return Error::msg("a row that is not in the plan failed");
            };
            if let Some(e) = crate::perform::hints::exec_error(plan, row, cx, errno, call) {
                return Error::Exec(e);
            }
            let below = crate::perform::idmap_failure::culprit(plan, cx, &step.action);
            let place = crate::perform::hints::destination(plan, &step.action)
                .map_or_else(String::new, |place| format!(" (for the mount at {place})"));
            Error::Row(Box::new(RowError {
                row: row + 1,
                actor: step.actor.name(),
                action: format!("{}{place}", step.action),
                pointer: step.action.pointer(),
                call: call.name(),
                errno,
                hint: crate::perform::hints::refused(plan, row, errno, call)
                    .or_else(|| step.action.remedy(errno, call))
                    .filter(|_| below.is_none()),
                detail: cx
                    .detail
                    .clone()
                    .or(below)
                    .or_else(|| adding_pid(cx, &step.action, errno))
                    .or_else(|| crate::perform::hints::refused_link(&step.action, call, cx.link)),
            }))
        }
    }
}
