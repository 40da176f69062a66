//! Lesson 14: the order of kernel operations is a value. It can be counted, searched, checked and printed,
//! and `safebox run` executes exactly what is printed.
//!
//! `examples/bundles/hello/make /tmp/hello && cargo run --example 14_plan /tmp/hello`

use safebox::launch::prepare::prepare;
use safebox::launch::stdio::Launcher;
use safebox::launch::value::{Launch, RootSource};
use safebox::plan::check::{self, PlanKind};
use safebox::plan::ops::RootOp;
use safebox::plan::{Action, Actor, Plan};
use safebox::policy::Policy;

fn main() -> Result<(), safebox::error::Error> {
    let bundle = std::env::args().nth(1).unwrap_or_else(|| ".".into());
    let prepared = prepare(&Launch {
        root: RootSource::Bundle(bundle.into()),
        id: "lesson".into(),
        state_root: "/run/lesson".into(),
        policy: Some(Policy::Restricted),
        pure: true,             // nothing on disk is touched
        stays: Launcher::Stays, // a foreground run
        ..Launch::default()
    })?;
    let (plan, _) = prepared.plan()?;

    for actor in [Actor::Runtime, Actor::Init] {
        println!("{actor:8}{} rows", plan.rows.iter().filter(|s| s.actor == actor).count());
    }
    let handovers = plan.rows.windows(2).filter(|w| w[0].actor != w[1].actor).count();
    println!("the baton crosses {handovers} times\n");

    // Checks verify properties of the list: the executor accepts only a checked plan.
    let mut broken = Plan::clone(&plan);
    broken.rows.truncate(broken.exec_row());
    if let Err(e) = check::check(broken, PlanKind::Container { uts: true }) {
        println!("without its last row: {e}\n");
    }
    let pivot = plan
        .rows
        .iter()
        .position(|s| matches!(s.action, Action::Root(RootOp::Pivot { .. })))
        .unwrap_or_default();
    println!("row {} leaves the host's tree, row {} executes\n", pivot + 1, plan.exec_row() + 1);

    // ... and every row states its reason.
    for (i, step) in plan.rows.iter().enumerate().filter(|(i, _)| *i >= plan.exec_row().saturating_sub(6)) {
        println!("{:4} {:8}{}\n     {:8}{}", i + 1, step.actor, step.action, "", step.action.why());
    }
    println!(
        "
you saw:  What a runtime does is a list, so it can be counted, proved, printed and undone before anything happens.
try next: safebox explain --html plan.html BUNDLE/, safebox run --until pivot BUNDLE/; then lesson 15_policy"
    );
    Ok(())
}
