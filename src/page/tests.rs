use std::ffi::CString;
use std::rc::Rc;

use super::*;
use crate::plan::ops::{CgroupOp, ExecOp, MountOp, Target, TargetKind};
use crate::plan::{Actor, Undo};

const EVIL: &str = "</script><script>alert(1)</script>\"' onload=x <!--";

fn plan(evil: &str) -> Plan {
    let mut plan = Plan { notes: vec![evil.into()], ..Plan::default() };
    let root = plan.slot("root");
    let c = |s: &str| CString::new(s).expect("no NUL");
    let path = c(evil);
    let state = CgroupOp::Parent { path: path.clone() };
    plan.push_undo(Actor::Runtime, "state: evil", state, Undo::StateDir(evil.into()));
    plan.push(Actor::Runtime, "cgroup", CgroupOp::Dir { path: path.clone(), record: path.clone() });
    let file = c(&format!("{evil}/memory.max"));
    plan.push(Actor::Runtime, "cgroup", CgroupOp::Write { path: file, value: evil.as_bytes().to_vec() });
    let target = Target { root, path: path.clone(), kind: TargetKind::Dir };
    let mount = MountOp::New {
        fs: path.clone(),
        data: vec![(path.clone(), Some(path.clone()))],
        attrs: 0,
        after: Vec::new(),
        target: Some(target),
        keep: None,
    };
    plan.push(Actor::Init, "mounts", mount);
    let array = || Rc::new(crate::plan::lower::CStrArray::new("args", &[evil]).expect("no NUL"));
    let exec = ExecOp::Exec { candidates: Rc::new(vec![path]), argv: array(), envp: array() };
    plan.push(Actor::Init, "exec", exec);
    plan
}

#[test]
fn nothing_of_a_config_is_markup() {
    let (plain, evil) = (plan("x"), plan(EVIL));
    let tags = |html: &str| html.matches('<').count();
    let named = |name: &str, plan| NamedPlan { name: name.into(), plan };
    let (plain, hostile) = (page(&named("x", &plain), None), page(&named(EVIL, &evil), None));
    // A hostile name must not add tags.
    assert_eq!(tags(&plain), tags(&hostile));
    assert_eq!(hostile.matches("<script>").count(), 1);
    assert!(!hostile.contains("alert(1)</script>"));
    assert!(hostile.contains("&lt;script&gt;alert(1)"));
}

#[test]
fn two_plans_are_marked() {
    let (a, b) = (plan("x"), plan("y"));
    let (a, b) =
        (NamedPlan { name: "first".into(), plan: &a }, NamedPlan { name: "second".into(), plan: &b });
    let html = page(&a, Some(&b));
    // Both plans have two rows named `cgroup-parent` and `cgroup`; only the limit's name contains its file.
    assert_eq!(html.matches("class=\"row runtime differs\"").count(), 3);
    assert_eq!(html.matches("<em class=only>differs</em>").count(), 2 * 4);
    assert!(html.contains("only in first") && html.contains("only in second"));
}

#[test]
fn a_row_has_its_remedies_and_its_undo() {
    let plan = plan("x");
    let named = NamedPlan { name: "x".into(), plan: &plan };
    let html = page(&named, None);
    assert!(
        html.contains("<b>EEXIST</b>: it was made this moment")
            && html.contains("<dt>undo</dt><dd>remove x</dd>")
    );
    assert!(html.contains("runtime hands over to init"));
}
