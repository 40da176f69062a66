//! The loop of a child of the runtime: a Joiner, or Init.

use crate::perform::baton::{Baton, With};
use crate::perform::{Call, Cx};
use crate::plan::Plan;
use crate::plan::handover::Brings;
use crate::plan::ops::{Action, ExecOp};
use crate::sys::{Errno, fs, process, socket};

/// The loop of a child: waits for the baton, performs its rows, and hands it back. Never returns.
pub(super) fn child(plan: &Plan, cx: &mut Cx) -> ! {
    let Ok(Some(Baton::Turn { next, .. })) = Baton::receive(cx.baton) else { process::exit_now(1) };
    let mut i = next as usize;
    loop {
        let Some(step) = plan.rows.get(i) else { process::exit_now(1) };
        if step.actor != cx.me {
            hand_back(cx, i, plan.brings(i));
            let Ok(Some(Baton::Turn { next, .. })) = receive(cx) else { process::exit_now(1) };
            i = next as usize;
            continue;
        }
        if cx.ask && ask(cx, i) {
            i += 1;
            continue;
        }
        if let Err(errno) = crate::perform::ops::apply(plan, i, cx) {
            fail(plan, cx, i, errno);
        }
        i += 1;
    }
}

/// Hands the baton to the actor of row `row`. With it goes the number of a seccomp listener: by write(2), since the
/// filter is in force, may notify send(2), and its agent has no listener yet. Or, where the runtime may not take it, the listener itself; or the way into the container.
fn hand_back(cx: &Cx, row: usize, brings: Brings) {
    let listener = |slot| Baton::turn_with(row, With::Listener(cx.fd(slot)));
    let handed = match brings {
        Brings::PassedListener(slot) => socket::send_fd(cx.baton, &listener(slot).to_bytes(), cx.fd(slot)),
        Brings::Listener(slot) => listener(slot).write(cx.baton),
        Brings::Namespaces(shown) => shown.send(cx, cx.baton, &Baton::turn(row).to_bytes()),
        // A Joiner that clones has ended with the report of its child.
        Brings::Child | Brings::Nothing => send(cx, Baton::turn(row)),
    };
    if handed.is_err() {
        process::exit_now(1);
    }
}

/// Passes the baton to the runtime.
fn send(cx: &Cx, baton: Baton) -> crate::sys::SysResult<()> {
    if cx.filtered { baton.write(cx.baton) } else { baton.send(cx.baton) }
}

/// Receives the baton from the runtime.
fn receive(cx: &Cx) -> crate::sys::SysResult<Option<Baton>> {
    if cx.filtered { Baton::read(cx.baton) } else { Baton::receive(cx.baton) }
}

/// Asks the runtime whether row `row` may run; a failure it injects is reported as any other. Returns whether the row is
/// left out, which a debug build can ask for.
fn ask(cx: &mut Cx, row: usize) -> bool {
    let answer = send(cx, Baton::Ask { row: row as u32 }).and_then(|()| receive(cx));
    match answer {
        Ok(Some(Baton::Go)) => false,
        #[cfg(debug_assertions)]
        Ok(Some(Baton::Skip)) => true,
        Ok(Some(Baton::Fail(errno))) => {
            let report = Baton::failed(row, Errno::from_raw(errno), Call::Injected, 0);
            process::exit_now(1 + i32::from(send(cx, report).is_err()))
        }
        _ => process::exit_now(1),
    }
}

/// Reports a failed row to the runtime, or to `start` on the report pipe, and ends.
fn fail(plan: &Plan, cx: &Cx, row: usize, errno: Errno) -> ! {
    let number = if cx.call.is_refused_link() { cx.link } else { cx.program };
    let report = Baton::failed(row, errno, cx.call, number);
    let mut reported = send(cx, report).is_ok();
    if reported && cx.call == Call::Exec {
        crate::perform::interpreter::show_root(cx, report);
    }
    if !reported
        && let Some(slot) = plan.rows.iter().find_map(|s| match &s.action {
            Action::Exec(ExecOp::AwaitStart { report, .. }) => Some(report),
            _ => None,
        })
    {
        reported = fs::write_all(cx.fd(slot), &report.to_bytes()).is_ok();
    }
    process::exit_now(if reported { 1 } else { 125 })
}
