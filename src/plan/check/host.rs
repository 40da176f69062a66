//! No way to the host is left for the container: paths, descriptors, ptrace access.

use super::{PlanKind, rows};
use crate::plan::ops::{Action, CredOp, ExecOp, FdOp, NsOp, OnHost, RootOp, UserOp};
use crate::plan::{Actor, Plan};
use crate::tables::namespaces::NsKind;

/// After the pivot no row of Init names a path of the host.
pub(super) fn no_host_path_after_pivot(plan: &Plan, _: PlanKind) -> std::result::Result<(), String> {
    let pivot = plan.rows.iter().position(|s| {
        matches!(s.action, Action::Root(RootOp::Pivot { .. }) | Action::Root(RootOp::Chroot { .. }))
    });
    let Some(pivot) = pivot else { return Err("the root is never changed".into()) };
    match rows(plan, Actor::Init).find(|(i, a)| *i > pivot && a.does(OnHost::Opens)) {
        Some((i, _)) => Err(format!("row {} names a host path after the pivot", i + 1)),
        None => Ok(()),
    }
}

/// Processes of a joined namespace can attach to the process that joins it, whose root is still the host's, unless that
/// is undumpable before. (A user namespace without maps has no processes yet, and an unprivileged user could not write
/// the maps of an undumpable one.)
pub(super) fn undumpable_before_it_joins(plan: &Plan, _: PlanKind) -> std::result::Result<(), String> {
    let maps = |a: &Action| {
        matches!(a, Action::User(UserOp::WriteMap { .. }) | Action::User(UserOp::RunMapTool { .. }))
    };
    let joins = |(_, a): &(usize, &Action)| matches!(a, Action::Ns(NsOp::Join { .. }));
    let Some((row, _)) = rows(plan, Actor::Joiner).find(joins) else { return Ok(()) };
    let hidden = plan.rows[..row].iter().any(|s| matches!(s.action, Action::Cred(CredOp::Undumpable)));
    if hidden || plan.rows.iter().any(|s| maps(&s.action)) {
        return Ok(());
    }
    Err(format!("row {} joins a namespace, and processes in it may attach to the one that joins", row + 1))
}

/// Which rows look a path up that the container may have made.
pub(super) fn looks_up(action: &Action) -> bool {
    matches!(
        action,
        Action::Exec(ExecOp::ChangeDir { .. })
            | Action::Exec(ExecOp::FindProgram { .. })
            | Action::Exec(ExecOp::MakeCwd { .. })
            | Action::Exec(ExecOp::Exec { .. })
    )
}

/// Descriptors of the host are closed before the program's own paths are looked up: /proc/self/fd/N must not lead to a
/// directory of the host (CVE-2024-21626).
pub(super) fn closed_before_lookups(plan: &Plan, _: PlanKind) -> std::result::Result<(), String> {
    let program = |a: &Action| looks_up(a) && !matches!(a, Action::Exec(ExecOp::MakeCwd { .. }));
    let Some((first, _)) = rows(plan, Actor::Init).find(|(_, a)| program(a)) else { return Ok(()) };
    if rows(plan, Actor::Init).any(|(i, a)| i < first && matches!(a, Action::Fd(FdOp::CloseFds { .. }))) {
        return Ok(());
    }
    Err(format!("row {} looks up a path while descriptors of the host are open", first + 1))
}

/// Processes of a container may open the descriptors of a process that joins it: it has closed the host's before.
pub(super) fn closed_before_it_joins(plan: &Plan, _: PlanKind) -> std::result::Result<(), String> {
    let joins = |(_, a): &(usize, &Action)| matches!(a, Action::Ns(NsOp::Join { .. }));
    let Some((row, _)) = rows(plan, Actor::Joiner).find(joins) else { return Ok(()) };
    if rows(plan, Actor::Joiner).any(|(i, a)| i < row && matches!(a, Action::Fd(FdOp::CloseFds { .. }))) {
        return Ok(());
    }
    Err(format!("row {} joins a namespace while descriptors of the host are open", row + 1))
}

/// Once the container's mount namespace was joined, paths are the container's: no row expects a file of the host there.
pub(super) fn no_host_path_after_join(plan: &Plan, _: PlanKind) -> std::result::Result<(), String> {
    let joins = |a: &Action| match a {
        Action::Ns(NsOp::Join { flags, kind, .. }) => {
            *kind == Some(NsKind::Mount) || flags & NsKind::Mount.row().flag != 0
        }
        _ => false,
    };
    let Some(joined) = plan.rows.iter().position(|s| s.actor == Actor::Joiner && joins(&s.action)) else {
        return Ok(());
    };
    let inside = plan.rows.iter().enumerate().skip(joined).filter(|(_, s)| s.actor != Actor::Runtime);
    match inside.into_iter().find(|(_, s)| s.action.does(OnHost::Opens)) {
        Some((i, _)) => Err(format!("row {} names a host path in the container's mount namespace", i + 1)),
        None => Ok(()),
    }
}
