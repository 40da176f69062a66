//! Properties that every plan must have, one small function each. A plan that breaks one is a bug in
//! the builder or a config that asks for the impossible; either way nothing runs.

mod host;

use super::ops::{
    Action, BUILT_IN, CgroupOp, CloneOp, ConfineOp, CredOp, ExecOp, LimitOp, MountOp, NsOp, OnHost, StateOp,
    UserOp,
};
use super::{Actor, Plan};
use crate::error::{Error, Result};
use crate::plan::limits::grants;
use host::{
    closed_before_it_joins, closed_before_lookups, no_host_path_after_join, no_host_path_after_pivot,
    undumpable_before_it_joins,
};

/// What a plan is for. Each kind has the checks that apply to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlanKind {
    /// A new container, up to its program (`create`, `run`).
    Container {
        /// The container has a UTS namespace, new or joined.
        uts: bool,
    },
    /// A program without a namespace of its own.
    Bare,
    /// One more process in a container that exists (`exec`, hooks inside the container).
    Exec,
    /// One more process in a container without a namespace.
    BareExec,
    /// A container that criu makes again (`restore`): the plan ends in criu.
    Criu,
    /// Rows of the runtime alone, without a program (what is recorded of a restored process).
    Records,
}

/// A value whose properties were proved. The executor takes nothing else, and [`check`] alone makes one.
#[derive(Debug, Clone)]
pub struct Checked<T>(T);

impl<T> std::ops::Deref for Checked<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl Checked<Plan> {
    /// The same rows, with notes for the reader.
    pub fn with_notes(mut self, notes: Vec<String>) -> Self {
        self.0.notes = notes;
        self
    }
}

/// One property, with its name: an error says which row breaks it.
type PlanCheck = (&'static str, fn(&Plan, PlanKind) -> std::result::Result<(), String>);

macro_rules! named {
    ($($check:ident),* $(,)?) => { &[$((stringify!($check), $check as _)),*] };
}

/// The checks of each kind of plan.
fn checks(kind: PlanKind) -> Vec<PlanCheck> {
    const ALWAYS: &[PlanCheck] = named![moved_once, made_once, undos, handovers];
    const PROGRAM: &[PlanCheck] = named![
        init_comes_last,
        filter_order,
        limits_last,
        undumpable_before_it_joins,
        closed_before_lookups,
        ids_in_order,
        read_back,
    ];
    const CONTAINER: &[PlanCheck] = named![ids_after_maps, hostname_needs_uts, no_host_path_after_pivot];
    const JOINER: &[PlanCheck] = named![closed_before_it_joins, no_host_path_after_join];
    let own: &[&[PlanCheck]] = match kind {
        PlanKind::Container { .. } => &[named![one_exec], CONTAINER, PROGRAM],
        PlanKind::Bare => &[named![one_exec, guarded], PROGRAM],
        PlanKind::Exec => &[named![one_exec], JOINER, PROGRAM],
        PlanKind::BareExec => &[named![one_exec, guarded], JOINER, PROGRAM],
        PlanKind::Criu => &[named![one_exec, closed_before_lookups]],
        PlanKind::Records => &[named![runtime_alone]],
    };
    own.iter().copied().flatten().chain(ALWAYS).copied().collect()
}

/// Checks the whole list by the checks of its kind.
pub fn check(plan: Plan, kind: PlanKind) -> Result<Checked<Plan>> {
    checks(kind)
        .iter()
        .try_for_each(|(_, check)| check(&plan, kind))
        .map_err(|text| Error::msg(format!("plan: {text}")))?;
    Ok(Checked(plan))
}

fn rows(plan: &Plan, actor: Actor) -> impl Iterator<Item = (usize, &Action)> {
    plan.rows.iter().enumerate().filter(move |(_, s)| s.actor == actor).map(|(i, s)| (i, &s.action))
}

/// Without namespaces three rows are all that guards the host: none may be missing.
fn guarded(plan: &Plan, _: PlanKind) -> std::result::Result<(), String> {
    let has = |what: fn(&Action) -> bool| plan.rows.iter().any(|s| s.actor == Actor::Init && what(&s.action));
    let guards = [
        ("landlock", has(|a| matches!(a, Action::Confine(ConfineOp::Landlock(_))))),
        ("no_new_privs", has(|a| matches!(a, Action::Cred(CredOp::NoNewPrivs)))),
        // A guard filter refuses single calls: it is no replacement.
        ("seccomp", has(|a| matches!(a, Action::Confine(ConfineOp::Seccomp { what: BUILT_IN, .. })))),
    ];
    match guards.iter().find(|(_, there)| !there) {
        Some((name, _)) => {
            Err(format!("no namespace can be made here, and {name} is missing: nothing guards the host"))
        }
        None => Ok(()),
    }
}

/// The limit on processes: the filters let it pass where Init sets it after them.
fn is_of_forks(step: &super::Row) -> bool {
    matches!(step.action, Action::Limit(LimitOp::Set { resource: libc::RLIMIT_NPROC, .. }))
}

/// The init that stays has the program's filters, ids and limits, but for the limit on processes, which would keep it from
/// forking: its child sets that one, and executes the program.
fn init_comes_last(plan: &Plan, _: PlanKind) -> std::result::Result<(), String> {
    let stays = |s: &super::Row| matches!(s.action, Action::Exec(ExecOp::StayInit { .. }));
    match plan.rows.iter().position(stays) {
        Some(row)
            if !plan.rows[row + 1..]
                .split_last()
                .is_some_and(|(_, between)| between.iter().all(is_of_forks)) =>
        {
            Err(format!(
                "row {} leaves init behind: only a limit on processes and the exec come after it",
                row + 1
            ))
        }
        _ => Ok(()),
    }
}

/// Exactly one `Exec`, and it is Init's last row.
fn one_exec(plan: &Plan, _: PlanKind) -> std::result::Result<(), String> {
    let execs = plan.rows.iter().filter(|s| matches!(s.action, Action::Exec(ExecOp::Exec { .. }))).count();
    let last = plan
        .rows
        .last()
        .is_some_and(|s| matches!(s.action, Action::Exec(ExecOp::Exec { .. })) && s.actor == Actor::Init);
    if execs == 1 && last {
        Ok(())
    } else {
        Err("there must be one exec, and it must be the last row".into())
    }
}

/// Nothing that needs mapped ids stands before the maps are written.
fn ids_after_maps(plan: &Plan, _: PlanKind) -> std::result::Result<(), String> {
    let Some(map) = plan.rows.iter().rposition(|s| {
        matches!(s.action, Action::User(UserOp::WriteMap { .. }) | Action::User(UserOp::RunMapTool { .. }))
    }) else {
        return Ok(());
    };
    let needs = |a: &Action| {
        matches!(
            a,
            Action::User(UserOp::BecomeRoot { .. })
                | Action::Cred(CredOp::SetUid { .. })
                | Action::Cred(CredOp::SetGid { .. })
                | Action::User(UserOp::Idmap { userns: None, .. })
                | Action::Mount(MountOp::New { .. })
        )
    };
    match plan.rows[..map].iter().position(|s| needs(&s.action)) {
        Some(i) => Err(format!("row {} needs mapped ids, which come with row {}", i + 1, map + 1)),
        None => Ok(()),
    }
}

/// `sethostname` only in a UTS namespace that is not the host's.
fn hostname_needs_uts(plan: &Plan, kind: PlanKind) -> std::result::Result<(), String> {
    let sets = |s: &super::Row| {
        matches!(s.action, Action::Ns(NsOp::Hostname { .. }) | Action::Ns(NsOp::Domainname { .. }))
    };
    if plan.rows.iter().any(sets) && kind == (PlanKind::Container { uts: false }) {
        return Err("a host name is set, but the UTS namespace is the host's".into());
    }
    Ok(())
}

/// seccomp is last before exec with no_new_privs, and before the capability drop without.
fn filter_order(plan: &Plan, _: PlanKind) -> std::result::Result<(), String> {
    let find = |f: fn(&Action) -> bool| plan.rows.iter().position(|s| f(&s.action));
    let Some(first) = find(|a| matches!(a, Action::Confine(ConfineOp::Seccomp { .. }))) else {
        return Ok(());
    };
    match find(|a| matches!(a, Action::Cred(CredOp::NoNewPrivs))) {
        Some(nnp) if nnp < first => {
            // A filter with a listener is loaded while the runtime is there, so what comes after it is what
            // `create` does last.
            let last = |s: &super::Row| {
                matches!(
                    s.action,
                    Action::Confine(ConfineOp::Seccomp { .. })
                        | Action::Exec(ExecOp::StayInit { .. })
                        | Action::Limit(LimitOp::Set { .. })
                        | Action::Confine(ConfineOp::SendListener { .. })
                        | Action::Confine(ConfineOp::DropListener { .. })
                        | Action::State(StateOp::Created { .. })
                        | Action::State(StateOp::PidFile { .. })
                        | Action::Exec(ExecOp::AwaitStart { .. })
                        | Action::Exec(ExecOp::Hooks { .. })
                )
            };
            let plain = find(|a| matches!(a, Action::Confine(ConfineOp::Seccomp { listener: None, .. })));
            let filter = |s: &super::Row| {
                is_of_forks(s)
                    || matches!(
                        s.action,
                        Action::Confine(ConfineOp::Seccomp { .. }) | Action::Exec(ExecOp::StayInit { .. })
                    )
            };
            let end = plan.rows.len() - 1;
            if plan.rows[first..end].iter().all(last)
                && plan.rows[plain.unwrap_or(end)..end].iter().all(filter)
            {
                Ok(())
            } else {
                Err("with no_new_privs the filter must be last before exec".into())
            }
        }
        Some(_) => Err("an unprivileged filter needs no_new_privs first".into()),
        None if find(|a| matches!(a, Action::Cred(CredOp::Caps { .. }))).is_some_and(|caps| first < caps) => {
            Ok(())
        }
        None => Err("without no_new_privs the filter must come before the capability drop".into()),
    }
}

/// The program's limits take effect when Init's work is done: nothing but filters comes between them and the program.
/// Where a filter that comes early refuses prlimit64 they stand right before it.
fn limits_last(plan: &Plan, _: PlanKind) -> std::result::Result<(), String> {
    let limits = |a: &Action| matches!(a, Action::Limit(LimitOp::Set { resource, .. }) if !grants(*resource));
    let filters = |a: &Action| matches!(a, Action::Confine(ConfineOp::Seccomp { .. }));
    let Some(first) = plan.rows.iter().position(|s| limits(&s.action)) else { return Ok(()) };
    let mut after = plan.rows[first..].iter().skip_while(|s| limits(&s.action));
    let ends = |a: &Action| matches!(a, Action::Exec(ExecOp::Exec { .. } | ExecOp::StayInit { .. }));
    let next = after.next().is_some_and(|s| filters(&s.action) || ends(&s.action));
    let again = after.find(|s| limits(&s.action) && !is_of_forks(s));
    if next && again.is_none() {
        Ok(())
    } else {
        Err(format!("row {} limits init itself: the program's limits come when its work is done", first + 1))
    }
}

/// Groups, gid, uid, capabilities: each row needs a right that the next one gives up.
fn ids_in_order(plan: &Plan, _: PlanKind) -> std::result::Result<(), String> {
    let rank = |a: &Action| match a {
        Action::Cred(CredOp::Bounding { .. }) | Action::Cred(CredOp::SetGroups { .. }) => Some(0),
        Action::Cred(CredOp::SetGid { .. }) => Some(1),
        Action::Cred(CredOp::SetUid { .. }) => Some(2),
        Action::Cred(CredOp::Caps { .. }) => Some(3),
        Action::Cred(CredOp::Ambient { .. }) => Some(4),
        _ => None,
    };
    let ranks: Vec<_> = rows(plan, Actor::Init).filter_map(|(i, a)| Some((i, rank(a)?))).collect();
    match ranks.windows(2).find(|w| w[0].1 > w[1].1) {
        Some(w) => Err(format!("row {} comes after a row that gives up the right to it", w[1].0 + 1)),
        None => Ok(()),
    }
}

/// What was dropped is read back after the last row that drops, and before the program.
fn read_back(plan: &Plan, _: PlanKind) -> std::result::Result<(), String> {
    let drops = |a: &Action| {
        matches!(
            a,
            Action::Cred(CredOp::Bounding { .. })
                | Action::Cred(CredOp::SetGroups { .. })
                | Action::Cred(CredOp::SetGid { .. })
                | Action::Cred(CredOp::SetUid { .. })
                | Action::Cred(CredOp::Caps { .. })
                | Action::Cred(CredOp::Ambient { .. })
                | Action::Cred(CredOp::NoNewPrivs)
        )
    };
    let Some((last, _)) = rows(plan, Actor::Init).filter(|(_, a)| drops(a)).last() else { return Ok(()) };
    if rows(plan, Actor::Init).any(|(i, a)| i > last && matches!(a, Action::Cred(CredOp::Verify(_)))) {
        return Ok(());
    }
    Err(format!("what row {} drops is not read back", last + 1))
}

/// A plan without a program has rows of the runtime only.
fn runtime_alone(plan: &Plan, _: PlanKind) -> std::result::Result<(), String> {
    match plan
        .rows
        .iter()
        .position(|s| s.actor != Actor::Runtime || matches!(s.action, Action::Exec(ExecOp::Exec { .. })))
    {
        Some(i) => Err(format!("row {} is another process's, and the plan makes none", i + 1)),
        None => Ok(()),
    }
}

/// A detached tree is closed when it is moved: a second move would act on whatever has its number by then.
fn moved_once(plan: &Plan, _: PlanKind) -> std::result::Result<(), String> {
    let moved = |a: &Action| match a {
        Action::Mount(MountOp::Move { tree, .. }) => Some(tree.index),
        _ => None,
    };
    repeated(plan, moved, "moves a tree that an earlier row has moved")
}

/// A directory that is the container's is made by one row: a second would find it there, as if it were another's.
fn made_once(plan: &Plan, _: PlanKind) -> std::result::Result<(), String> {
    let made = |a: &Action| match a {
        Action::Cgroup(CgroupOp::Dir { path, .. }) | Action::Cgroup(CgroupOp::InScope { path, .. }) => {
            Some(path.clone())
        }
        _ => None,
    };
    repeated(plan, made, "makes a directory that an earlier row has made")
}

/// An error where a row has a key that an earlier one has.
fn repeated<K: std::hash::Hash + Eq>(
    plan: &Plan,
    key: impl Fn(&Action) -> Option<K>,
    does: &str,
) -> std::result::Result<(), String> {
    let mut seen = std::collections::HashSet::new();
    match plan.rows.iter().position(|step| key(&step.action).is_some_and(|key| !seen.insert(key))) {
        Some(i) => Err(format!("row {} {does}: {}", i + 1, plan.rows[i].action)),
        None => Ok(()),
    }
}

/// Every row that creates something outside the container has an undo. A process that only makes the container's
/// needs none: it ends with its work, or with the runtime.
fn undos(plan: &Plan, _: PlanKind) -> std::result::Result<(), String> {
    let joiner = plan.rows.iter().any(|s| matches!(s.action, Action::Clone(CloneOp::Sibling { .. })));
    let of_joiner =
        |a: &Action| joiner && matches!(a, Action::Clone(CloneOp::Init { .. } | CloneOp::Plain { .. }));
    let creates = |a: &Action| a.does(OnHost::Creates) && !of_joiner(a);
    match plan.rows.iter().position(|s| creates(&s.action) && s.undo.is_none()) {
        Some(i) => Err(format!("row {} creates something and has no undo", i + 1)),
        None => Ok(()),
    }
}

/// At most five handovers between actors; two more where a seccomp agent gets its listener, where hooks get the way
/// in, where a sibling joins a pid or time namespace first, and where that one's offsets are set.
fn handovers(plan: &Plan, _: PlanKind) -> std::result::Result<(), String> {
    let n = plan.rows.windows(2).filter(|w| w[0].actor != w[1].actor).count();
    let has = |what: fn(&Action) -> bool| plan.rows.iter().any(|s| what(&s.action));
    let listens = has(|a| matches!(a, Action::Confine(ConfineOp::SendListener { .. })));
    let shows = has(|a| matches!(a, Action::Ns(NsOp::TakeFds { .. })));
    let joins = has(|a| matches!(a, Action::Clone(CloneOp::Sibling { .. })));
    let offsets = has(|a| matches!(a, Action::Ns(NsOp::TimeOffsets { .. })));
    let most = 5 + 2 * [listens, shows, joins, offsets].into_iter().map(usize::from).sum::<usize>();
    if n <= most { Ok(()) } else { Err(format!("{n} handovers between actors; at most {most} are meant")) }
}

#[cfg(test)]
mod tests;
