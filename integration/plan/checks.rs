//! The checks of plans: a real plan of each kind passes, and the corresponding check refuses each mutation of
//! it. No privilege is needed, because nothing is performed.

use serde_json::json;

use safebox::launch::exec_input::exec_input;
use safebox::plan::check::{PlanKind, check};
use safebox::plan::ops::{Action, CgroupOp, ConfineOp, CredOp, ExecOp, FdOp, NsOp, RootOp, StateOp, UserOp};
use safebox::plan::recipe::ExecCgroups;
use safebox::plan::recipe::{Console, Options, build_exec};
use safebox::plan::{Actor, Plan};
use safebox::policy::Policy;

use crate::harness::case;
use crate::plan::goldens::{Case, policy, prepared};

/// The plan of `exec` in a container of this config, with all possible rows.
fn exec_plan(case: &Case) -> Plan {
    let (prepared, _bundle) = prepared(case);
    let filters = prepared.filters();
    let groups = ExecCgroups { born_in: Some("/cgroup/box".into()), ..ExecCgroups::default() };
    let options = Options { console: Console::Pty, ..Options::default() };
    let input = exec_input(
        &prepared.state,
        (1, 1),
        &prepared.state.process,
        &prepared.host,
        filters,
        &options,
        &groups,
    );
    Plan::clone(&build_exec(input).unwrap_or_else(|e| panic!("{e}")).0)
}

/// The state that a plan writes contains the undos of that plan, for each cgroup manager.
#[case]
fn what_is_persisted_are_the_undos_of_the_plan() {
    // Every combination of what adds rows with undos.
    let cases = (0..3 * 64).map(|i: usize| {
        let has = |bit: usize| (i / 3) & (1 << bit) != 0;
        let mut case = policy([Policy::Restricted, Policy::Baseline, Policy::Privileged][i % 3]);
        if has(0) {
            case.host = crate::plan::goldens::hybrid();
        }
        let mut set = |wanted: bool, pointer: &str, value: serde_json::Value| {
            if wanted {
                crate::harness::bundle::set(&mut case.config, pointer, value);
            }
        };
        set(has(1), "/linux/intelRdt", json!({ "schemata": ["L3:0=f"] }));
        set(has(2), "/linux/netDevices", json!({ "eth9": {} }));
        set(has(3), "/linux/cgroupsPath", json!("/made/by/config"));
        set(
            has(4),
            "/hooks",
            json!({ "createRuntime": [{ "path": "/opt/hook" }], "poststop": [{ "path": "/opt/hook" }] }),
        );
        case.options.notify = has(5);
        case
    });
    for (i, case) in cases.enumerate() {
        let (prepared, _bundle) = prepared(&case);
        let plan = prepared.plan().unwrap_or_else(|e| panic!("{e}")).0;
        let written = plan.rows.iter().find_map(|step| match &step.action {
            Action::State(StateOp::File { bytes, .. }) => Some(bytes.clone()),
            _ => None,
        });
        let state: serde_json::Value =
            serde_json::from_slice(&written.expect("a state")).expect("the state is JSON");
        let undos = serde_json::to_value(plan.undos()).expect("undos");
        assert!(plan.undos().len() > 2, "case {i}: {undos}");
        assert_eq!(state["undo"], undos, "case {i}");
        let created = plan.rows.iter().filter_map(|step| step.undo.as_ref());
        assert!(created.into_iter().all(|undo| plan.undos().contains(undo)), "case {i}");
    }
}

/// A container that joins a pid namespace, with everything that the checks examine.
fn restricted() -> Case {
    policy(Policy::Restricted)
}

fn row(plan: &Plan, what: &str, is: fn(&Action) -> bool) -> usize {
    plan.rows.iter().position(|s| is(&s.action)).unwrap_or_else(|| panic!("the plan has no row: {what}"))
}

/// One mutation: its name, the change, and the text of the refusal.
type Mutation = (&'static str, fn(&mut Plan), &'static str);

fn remove(plan: &mut Plan, what: &str, is: fn(&Action) -> bool) {
    let row = row(plan, what, is);
    plan.rows.remove(row);
}

/// Moves a row in front of another.
fn put(plan: &mut Plan, what: fn(&Action) -> bool, before: fn(&Action) -> bool) {
    let from = row(plan, "the one that moves", what);
    let step = plan.rows.remove(from);
    let to = row(plan, "the place", before);
    plan.rows.insert(to, step);
}

fn again(plan: &mut Plan, is: fn(&Action) -> bool) {
    let from = row(plan, "the one that comes twice", is);
    plan.rows.insert(from, plan.rows[from].clone());
}

#[track_caller]
fn refuses(plan: &Plan, kind: PlanKind, mutations: &[Mutation]) {
    check(plan.clone(), kind).unwrap_or_else(|e| panic!("the plan as it is: {e}"));
    for (name, mutate, says) in mutations {
        let mut wrong = plan.clone();
        mutate(&mut wrong);
        match check(wrong, kind) {
            Ok(_) => panic!("{name}: nothing refused it"),
            Err(e) => assert!(e.to_string().contains(says), "{name}: {e}"),
        }
    }
}

/// Mutations of the tail that all programs share.
const TAIL: &[Mutation] = &[
    ("no exec", |p| drop(p.rows.pop()), "one exec"),
    ("two execs", |p| again(p, |a| matches!(a, Action::Exec(ExecOp::Exec { .. }))), "one exec"),
    (
        "descriptors stay open",
        |p| {
            while let Some(i) = p
                .rows
                .iter()
                .position(|s| s.actor == Actor::Init && matches!(s.action, Action::Fd(FdOp::CloseFds { .. })))
            {
                p.rows.remove(i);
            }
        },
        "looks up a path while descriptors of the host are open",
    ),
    (
        "uid before gid",
        |p| {
            put(
                p,
                |a| matches!(a, Action::Cred(CredOp::SetUid { .. })),
                |a| matches!(a, Action::Cred(CredOp::SetGid { .. })),
            )
        },
        "gives up the right",
    ),
    (
        "groups after the user",
        |p| {
            put(
                p,
                |a| matches!(a, Action::Cred(CredOp::SetGroups { .. })),
                |a| matches!(a, Action::Cred(CredOp::Caps { .. })),
            )
        },
        "gives up the right",
    ),
    (
        "nothing is read back",
        |p| remove(p, "VerifyCreds", |a| matches!(a, Action::Cred(CredOp::Verify(_)))),
        "is not read back",
    ),
    (
        "read back too early",
        |p| {
            put(
                p,
                |a| matches!(a, Action::Cred(CredOp::Verify(_))),
                |a| matches!(a, Action::Cred(CredOp::Caps { .. })),
            )
        },
        "is not read back",
    ),
    (
        "no no_new_privs",
        |p| remove(p, "NoNewPrivs", |a| matches!(a, Action::Cred(CredOp::NoNewPrivs))),
        "the filter must come before the capability drop",
    ),
    (
        "a row after the filter",
        |p| {
            let at = p.rows.len() - 1;
            let step = p.rows[row(p, "Umask", |a| matches!(a, Action::Exec(ExecOp::Umask { .. })))].clone();
            p.rows.insert(at, step);
        },
        "the filter must be last before exec",
    ),
    ("a child without an undo", |p| p.rows.iter_mut().for_each(|s| s.undo = None), "has no undo"),
    (
        "the baton goes to and fro",
        |p| {
            let wait = p.rows[row(p, "Umask", |a| matches!(a, Action::Exec(ExecOp::Umask { .. })))].clone();
            for actor in [Actor::Init, Actor::Runtime].repeat(8) {
                p.rows.insert(0, safebox::plan::Row { actor, ..wait.clone() });
            }
        },
        "handovers between actors",
    ),
];

#[case]
fn each_mutation_of_an_exec_plan_is_refused() {
    let plan = exec_plan(&restricted());
    refuses(&plan, PlanKind::Exec, TAIL);
    refuses(
        &plan,
        PlanKind::Exec,
        &[
            (
                "ptrace access while it joins",
                |p| remove(p, "Undumpable", |a| matches!(a, Action::Cred(CredOp::Undumpable))),
                "processes in it may attach",
            ),
            (
                "descriptors go along",
                |p| remove(p, "CloseFds", |a| matches!(a, Action::Fd(FdOp::CloseFds { .. }))),
                "joins a namespace while descriptors of the host are open",
            ),
            (
                "a host path inside",
                |p| {
                    let at = p.rows.len() - 1;
                    let to = p.slot("x");
                    let action = CgroupOp::Open { path: c"/sys/fs/cgroup".into(), to }.into();
                    let step = safebox::plan::Row { actor: Actor::Init, action, undo: None, part: "" };
                    // Before the filter, which must stay last.
                    let filter = p
                        .rows
                        .iter()
                        .position(|s| matches!(s.action, Action::Confine(ConfineOp::Seccomp { .. })));
                    p.rows.insert(filter.unwrap_or(at), step);
                },
                "names a host path in the container's mount namespace",
            ),
        ],
    );
}

#[case]
fn each_mutation_of_a_container_plan_is_refused() {
    let (prepared, _bundle) = prepared(&restricted());
    let plan = Plan::clone(&prepared.plan().unwrap_or_else(|e| panic!("{e}")).0);
    let kind = PlanKind::Container { uts: true };
    refuses(&plan, kind, TAIL);
    refuses(
        &plan,
        kind,
        &[
            (
                "no pivot",
                |p| remove(p, "Pivot", |a| matches!(a, Action::Root(RootOp::Pivot { .. }))),
                "never changed",
            ),
            (
                "maps too late",
                |p| {
                    put(
                        p,
                        |a| matches!(a, Action::User(UserOp::WriteMap { file: "uid_map", .. })),
                        |a| matches!(a, Action::Cred(CredOp::SetGid { .. })),
                    );
                },
                "needs mapped ids",
            ),
        ],
    );
    let mut named = plan;
    let host = NsOp::Hostname { name: c"x".into() }.into();
    let pivot = row(&named, "Pivot", |a| matches!(a, Action::Root(RootOp::Pivot { .. })));
    named.rows.insert(pivot, safebox::plan::Row { actor: Actor::Init, action: host, undo: None, part: "" });
    let error =
        check(named, PlanKind::Container { uts: false }).map(drop).expect_err("the host's name").to_string();
    assert!(error.contains("the UTS namespace is the host's"), "{error}");
}

#[case]
fn an_exec_plan_without_no_new_privs_loads_filters_first() {
    let mut case = policy(Policy::Privileged);
    crate::harness::bundle::set(&mut case.config, "/process/noNewPrivileges", json!(false));
    crate::harness::bundle::set(
        &mut case.config,
        "/linux/seccomp",
        json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{ "names": ["kexec_load"], "action": "SCMP_ACT_ERRNO" }] }),
    );
    let plan = exec_plan(&case);
    refuses(
        &plan,
        PlanKind::Exec,
        &[(
            "the filter after the drop",
            |p| {
                put(
                    p,
                    |a| matches!(a, Action::Confine(ConfineOp::Seccomp { .. })),
                    |a| matches!(a, Action::Exec(ExecOp::Exec { .. })),
                )
            },
            "the filter must come before the capability drop",
        )],
    );
}
