//! Each check, with a plan that breaks it and nothing else.

use std::rc::Rc;

use super::*;
use crate::plan::lower::CStrArray;
use crate::plan::ops::{
    CgroupOp, CloneOp, ConfineOp, CredOp, ExecOp, FdOp, Landlock, LimitOp, MountOp, NetOp, NsOp, RootOp,
    StateOp, Target, TargetKind, UserOp,
};
use crate::plan::{Slot, Undo};
use crate::sys::rlimit::RlimitPair;
use crate::tables::namespaces::NsKind;

/// A container with a UTS namespace.
const CONTAINER: PlanKind = PlanKind::Container { uts: true };

fn exec() -> Action {
    let none = || Rc::new(CStrArray::new("none", &[""; 0]).unwrap());
    Action::Exec(ExecOp::Exec { candidates: Rc::default(), argv: none(), envp: none() })
}

fn filter() -> Action {
    Action::Confine(ConfineOp::Seccomp { filter: Rc::default(), flags: 0, what: BUILT_IN, listener: None })
}

fn caps() -> Action {
    Action::Cred(CredOp::Caps { effective: 0, permitted: 0, inheritable: 0 })
}

fn slot(index: u16) -> Slot {
    Slot { index, name: "slot".into() }
}

fn verify() -> Action {
    Action::Cred(CredOp::Verify(Default::default()))
}

/// Rows of Init between a pivot and the exec; the first of them is row 3.
fn inside(rows: Vec<Action>) -> Plan {
    let mut plan = Plan::default();
    let before = [
        Action::Root(RootOp::Pivot { root: slot(0) }),
        Action::Fd(FdOp::CloseFds { keep: 3, needed: Vec::new() }),
    ];
    for action in before.into_iter().chain(rows).chain([exec()]) {
        plan.push(Actor::Init, "", action);
    }
    plan
}

#[track_caller]
fn refused(plan: &Plan, says: &str) {
    let error = check(plan.clone(), CONTAINER).expect_err(says).to_string();
    assert!(error.contains(says), "{error}");
}

#[test]
fn a_plan_that_breaks_nothing_passes() {
    check(inside(vec![Action::Cred(CredOp::NoNewPrivs), verify(), filter()]), CONTAINER).unwrap();
    check(inside(vec![filter(), caps(), verify()]), CONTAINER).unwrap();
}

#[test]
fn the_program_is_executed_once_and_last() {
    let says = "one exec, and it must be the last row";
    let mut none = inside(Vec::new());
    none.rows.pop();
    refused(&none, says);
    refused(&inside(vec![exec()]), says);
    let mut goes_on = inside(Vec::new());
    goes_on.push(Actor::Init, "", ExecOp::NewSession);
    refused(&goes_on, says);
    let mut others = inside(Vec::new());
    others.rows[2].actor = Actor::Runtime;
    refused(&others, says);
}

#[test]
fn ids_are_mapped_before_they_are_needed() {
    let map = Action::from(UserOp::WriteMap { file: "uid_map", value: Vec::new() });
    refused(&inside(vec![Action::Cred(CredOp::SetUid { uid: 0 }), map.clone()]), "row 3 needs mapped ids");
    check(inside(vec![map, Action::Cred(CredOp::SetUid { uid: 0 }), verify()]), CONTAINER).unwrap();
}

#[test]
fn limits_of_the_program_are_not_init_s() {
    let limit = |resource| {
        let limit = crate::sys::rlimit::RlimitPair { soft: 0, hard: 0 };
        Action::Limit(LimitOp::Set { resource, limit })
    };
    let files = || limit(libc::RLIMIT_NOFILE);
    let says = "limits init itself";
    refused(&inside(vec![files(), Action::Exec(ExecOp::NewSession)]), says);
    refused(&inside(vec![files(), Action::Cred(CredOp::NoNewPrivs), filter()]), says);
    refused(&inside(vec![files(), filter(), files(), caps()]), says);
    check(
        inside(vec![Action::Cred(CredOp::NoNewPrivs), verify(), files(), limit(libc::RLIMIT_AS), filter()]),
        CONTAINER,
    )
    .unwrap();
    check(inside(vec![files(), filter(), caps(), verify()]), CONTAINER).unwrap();
    check(inside(vec![limit(libc::RLIMIT_RTPRIO), Action::Exec(ExecOp::NewSession)]), CONTAINER).unwrap();
}

#[test]
fn the_host_keeps_its_name() {
    let plan = inside(vec![Action::Ns(NsOp::Hostname { name: c"box".into() })]);
    let error = check(plan, PlanKind::Container { uts: false }).unwrap_err().to_string();
    assert!(error.contains("the UTS namespace is the host's"), "{error}");
}

#[test]
fn filters_are_last_or_before_the_drop() {
    let says = "with no_new_privs the filter must be last";
    refused(
        &inside(vec![Action::Cred(CredOp::NoNewPrivs), verify(), filter(), Action::Exec(ExecOp::NewSession)]),
        says,
    );
    refused(&inside(vec![filter(), Action::Cred(CredOp::NoNewPrivs)]), "needs no_new_privs first");
    refused(&inside(vec![caps(), filter()]), "before the capability drop");
    refused(&inside(vec![filter()]), "before the capability drop");
}

#[test]
fn no_path_of_the_host_is_named_once_the_root_is_the_containers() {
    let host = Action::from(NsOp::Open { path: c"/proc/1/ns/net".into(), kind: NsKind::Net, to: slot(1) });
    refused(&inside(vec![host]), "row 3 names a host path");
    let mut never = inside(Vec::new());
    never.rows.remove(0);
    refused(&never, "the root is never changed");
}

#[test]
fn a_tree_is_moved_once_and_a_directory_made_once() {
    let target = || Target { root: slot(0), path: c"x".into(), kind: TargetKind::Dir };
    let moves = |n| Action::Mount(MountOp::Move { tree: slot(n), before: Vec::new(), target: target() });
    check(inside(vec![moves(1), moves(2)]), CONTAINER).unwrap();
    refused(
        &inside(vec![moves(1), moves(1)]),
        "row 4 moves a tree that an earlier row has moved: move_mount(<slot>",
    );
    let mut plan = Plan::default();
    for _ in 0..2 {
        let dir = CgroupOp::Dir { path: c"/cgroup/x".into(), record: c"/state/cgroups".into() };
        plan.push_undo(Actor::Runtime, "", dir, Undo::Cgroup("/cgroup/x".into()));
    }
    plan.rows.extend(inside(Vec::new()).rows);
    refused(&plan, "row 2 makes a directory that an earlier row has made: mkdir(\"/cgroup/x\")");
}

#[test]
fn who_joins_a_namespace_is_undumpable() {
    let joins = |first: Option<Action>| {
        let mut plan = Plan::default();
        first.into_iter().for_each(|action| plan.push(Actor::Runtime, "", action));
        plan.push(Actor::Joiner, "", NsOp::Join { ns: slot(1), flags: 0, kind: Some(NsKind::User) });
        plan.rows.extend(inside(Vec::new()).rows);
        plan
    };
    refused(&joins(None), "row 1 joins a namespace, and processes in it may attach");
    check(joins(Some(Action::Cred(CredOp::Undumpable))), CONTAINER).unwrap();
    let map = Action::from(UserOp::WriteMap { file: "uid_map", value: Vec::new() });
    check(joins(Some(map)), CONTAINER).unwrap();
}

#[test]
fn what_is_made_can_be_unmade() {
    for action in [
        Action::State(StateOp::Dir { path: c"/state/x".into(), lock: slot(1) }),
        Action::Cgroup(CgroupOp::Dir { path: c"/cgroup/x".into(), record: c"/state/cgroups".into() }),
        Action::Clone(CloneOp::Init { namespaces: 0, cgroup: None, owner: None }),
        Action::Net(NetOp::MoveDevice { namespace: slot(1), outside: "eth1".into(), inside: "eth0".into() }),
    ] {
        let mut plan = Plan::default();
        plan.push(Actor::Runtime, "", action);
        plan.rows.extend(inside(Vec::new()).rows);
        refused(&plan, "row 1 creates something and has no undo");
        plan.rows[0].undo = Some(Undo::Kill);
        check(plan, CONTAINER).unwrap();
    }
}

#[test]
fn the_baton_changes_hands_five_times_at_most() {
    let handed_over = |times: usize| {
        let mut plan = Plan::default();
        for n in (0..times).rev() {
            let actor = if n % 2 == 0 { Actor::Runtime } else { Actor::Init };
            plan.push(actor, "", ExecOp::NewSession);
        }
        plan.rows.extend(inside(Vec::new()).rows);
        plan
    };
    check(handed_over(5), CONTAINER).unwrap();
    refused(&handed_over(6), "6 handovers between actors; at most 5");
}

/// A plan that this check refuses.
fn broken(check: &str) -> Plan {
    let joins = |kind| Action::Ns(NsOp::Join { ns: slot(1), flags: 0, kind: Some(kind) });
    let session = || Action::Exec(ExecOp::NewSession);
    let uid = || Action::Cred(CredOp::SetUid { uid: 0 });
    let map = Action::from(UserOp::WriteMap { file: "uid_map", value: Vec::new() });
    let files = RlimitPair { soft: 0, hard: 0 };
    let files = Action::Limit(LimitOp::Set { resource: libc::RLIMIT_NOFILE, limit: files });
    let host = || Action::from(NsOp::Open { path: c"/proc/1/ns/net".into(), kind: NsKind::Net, to: slot(1) });
    let target = || Target { root: slot(0), path: c"x".into(), kind: TargetKind::Dir };
    let moves = || Action::Mount(MountOp::Move { tree: slot(1), before: Vec::new(), target: target() });
    let dir = || CgroupOp::Dir { path: c"/cgroup/x".into(), record: c"/state/cgroups".into() }.into();
    let stays = Action::Exec(ExecOp::StayInit { status: slot(1), tty: None, subreaper: false });
    let (first, rows): (Vec<(Actor, Action)>, Vec<Action>) = match check {
        "one_exec" => (Vec::new(), vec![exec()]),
        "guarded" => (Vec::new(), vec![Action::Cred(CredOp::NoNewPrivs), verify(), filter()]),
        "init_comes_last" => (Vec::new(), vec![stays, session()]),
        "filter_order" => (Vec::new(), vec![caps(), filter()]),
        "limits_last" => (Vec::new(), vec![files, session()]),
        "undumpable_before_it_joins" | "closed_before_it_joins" => {
            (vec![(Actor::Joiner, joins(NsKind::User))], Vec::new())
        }
        "no_host_path_after_join" => {
            (vec![(Actor::Joiner, joins(NsKind::Mount)), (Actor::Joiner, host())], Vec::new())
        }
        "closed_before_lookups" => {
            let mut open = inside(Vec::new());
            open.rows.retain(|s| !matches!(s.action, Action::Fd(_)));
            return open;
        }
        "ids_in_order" => (Vec::new(), vec![caps(), uid(), verify()]),
        "read_back" => (Vec::new(), vec![uid()]),
        "ids_after_maps" => (Vec::new(), vec![uid(), map, verify()]),
        "hostname_needs_uts" => (Vec::new(), vec![Action::Ns(NsOp::Hostname { name: c"box".into() })]),
        "no_host_path_after_pivot" => (Vec::new(), vec![host()]),
        "moved_once" => (Vec::new(), vec![moves(), moves()]),
        "made_once" => (vec![(Actor::Runtime, dir()), (Actor::Runtime, dir())], Vec::new()),
        "undos" => (vec![(Actor::Runtime, dir())], Vec::new()),
        "handovers" => (
            [Actor::Init, Actor::Runtime].repeat(3).into_iter().map(|a| (a, session())).collect(),
            Vec::new(),
        ),
        // The program is a row of Init.
        "runtime_alone" => (Vec::new(), Vec::new()),
        other => panic!("no plan breaks the check {other}: add one"),
    };
    let mut plan = Plan::default();
    first.into_iter().for_each(|(actor, action)| plan.push(actor, "", action));
    plan.rows.extend(inside(rows).rows);
    plan
}

#[test]
fn every_check_of_every_kind_refuses_a_plan() {
    let kinds = [
        PlanKind::Container { uts: false },
        PlanKind::Bare,
        PlanKind::Exec,
        PlanKind::BareExec,
        PlanKind::Criu,
        PlanKind::Records,
    ];
    for kind in kinds {
        for (name, check) in checks(kind) {
            assert!(check(&broken(name), kind).is_err(), "{kind:?}: {name}");
            let fine = if name == "runtime_alone" { Plan::default() } else { guarded_plan() };
            assert_eq!(check(&fine, kind), Ok(()), "{kind:?}: {name}");
        }
    }
}

/// A plan that breaks no check, of any kind with a program.
fn guarded_plan() -> Plan {
    let rights = Landlock { abi: 1, handled: 0, scoped: 0, paths: Vec::new(), descriptors: 0 };
    let landlock = Action::Confine(ConfineOp::Landlock(Rc::new(rights)));
    inside(vec![Action::Cred(CredOp::NoNewPrivs), verify(), landlock, filter()])
}

/// Without namespaces a filter that refuses a few calls is no replacement for the built-in one.
#[test]
fn without_namespaces_the_built_in_filter_is_there() {
    let mut plan = guarded_plan();
    for step in &mut plan.rows {
        if let Action::Confine(ConfineOp::Seccomp { what, .. }) = &mut step.action {
            *what = "no internet sockets";
        }
    }
    let error = guarded(&plan, PlanKind::Bare).expect_err("a guard alone");
    assert!(error.contains("seccomp is missing"), "{error}");
}
