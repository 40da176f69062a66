//! The faces of a plan: text for people, JSON for programs, and what two plans do differently.

use std::fmt::Write;

use super::action::Action;
use super::{Actor, Plan, Step};
use crate::log::Log;
use crate::sys::cstr::show;

/// Rows under their headings, numbered from 1; with `why`, a reason below each.
pub fn text(plan: &Plan, why: bool) -> String {
    let mut out = String::new();
    for note in &plan.notes {
        writeln!(out, "# {note}").unwrap_or_default();
    }
    let mut part = "";
    for (i, step) in plan.steps.iter().enumerate() {
        if step.part != part {
            part = step.part;
            writeln!(out, "\n{part}").unwrap_or_default();
        }
        writeln!(out, "{:4}  {:8}{}", i + 1, step.actor, step.action).unwrap_or_default();
        if why {
            writeln!(out, "              why: {}", step.action.why()).unwrap_or_default();
            if let Some(undo) = &step.undo {
                writeln!(out, "              undo: {undo}").unwrap_or_default();
            }
        }
    }
    out
}

/// Everything about every row.
pub fn json(plan: &Plan) -> serde_json::Value {
    let steps: Vec<_> = plan.steps.iter().enumerate().map(|(i, s)| row(i, s)).collect();
    serde_json::json!({ "notes": plan.notes, "steps": steps })
}

fn row(i: usize, step: &Step) -> serde_json::Value {
    serde_json::json!({
        "row": i + 1,
        "actor": step.actor.to_string(),
        "part": step.part,
        "action": step.action.to_string(),
        "calls": step.action.calls(),
        "why": step.action.why(),
        "undo": step.undo.as_ref().map(ToString::to_string),
    })
}

/// Rows that only one of two plans has: `-` the first, `+` the second, in order, by headings. `None` where there are
/// none.
pub fn diff(a: &Plan, b: &Plan) -> Option<String> {
    let line = |s: &Step| match &s.action {
        // How long the state is follows from the other rows.
        Action::StateFile { dir, name, .. } => format!("write({}/{}) rename", show(dir), show(name)),
        action => action.to_string(),
    };
    let lines = |p: &Plan| -> Vec<(&'static str, String)> {
        p.steps.iter().map(|s| (s.part, format!("{:8}{}", s.actor, line(s)))).collect()
    };
    let (a, b) = (lines(a), lines(b));
    let common = longest_common(&a, &b);
    let (mut out, mut part) = (String::new(), "");
    let (mut i, mut j) = (0, 0);
    let mut emit = |sign: char, (heading, line): &(&'static str, String)| {
        if *heading != part {
            part = heading;
            writeln!(out, "\n{part}").unwrap_or_default();
        }
        writeln!(out, "{sign} {line}").unwrap_or_default();
    };
    for (ai, bi) in common.into_iter().chain([(a.len(), b.len())]) {
        a[i..ai].iter().for_each(|l| emit('-', l));
        b[j..bi].iter().for_each(|l| emit('+', l));
        (i, j) = (ai + 1, bi + 1);
    }
    (!out.is_empty()).then_some(out)
}

/// Index pairs of a longest common subsequence; plans have some hundred rows, so the table is small.
fn longest_common<T: PartialEq>(a: &[T], b: &[T]) -> Vec<(usize, usize)> {
    let mut len = vec![vec![0u32; b.len() + 1]; a.len() + 1];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            len[i][j] = if a[i] == b[j] { len[i + 1][j + 1] + 1 } else { len[i + 1][j].max(len[i][j + 1]) };
        }
    }
    let (mut i, mut j, mut pairs) = (0, 0, Vec::new());
    while i < a.len() && j < b.len() {
        if a[i] == b[j] {
            pairs.push((i, j));
            (i, j) = (i + 1, j + 1);
        } else if len[i + 1][j] >= len[i][j + 1] {
            i += 1;
        } else {
            j += 1;
        }
    }
    pairs
}

/// The rows that are about to be performed, with `--debug`: Init, which performs some, cannot say anything.
pub fn debug(plan: &Plan, log: &Log) {
    for (i, step) in plan.steps.iter().enumerate().filter(|_| log.is_debug()) {
        log.debug(&format!("step {} ({}): {}", i + 1, step.actor, step.action));
    }
    if log.is_runc() && log.is_debug() {
        debug_as_runc(plan, log);
    }
}

/// The places that users of runc's log look for.
fn debug_as_runc(plan: &Plan, log: &Log) {
    let steps = || plan.steps.iter().enumerate();
    let Some((last, _)) = steps().rfind(|(_, step)| step.actor == Actor::Init) else { return };
    let of = |actor| steps().find(|(_, step)| step.actor == actor).map_or(0, |(i, _)| i + 1);
    log.debug(&format!("nsexec container setup: from step {}", of(Actor::Runtime)));
    log.debug(&format!("child process in init(): from step {}", of(Actor::Init)));
    for step in plan.steps.iter().filter(|step| step.actor == Actor::Runtime) {
        if let Action::Affinity { cpus } = &step.action {
            log.debug(&format!("nsexec: affinity: {}", mask(cpus)));
        }
    }
    let is_new = steps().any(|(_, step)| matches!(step.action, Action::StateDir { .. }));
    let end =
        if is_new { "init: closing the pipe to signal completion" } else { "setns_init: about to exec" };
    log.debug(&format!("{end}: step {}", last + 1));
}

/// CPUs as the mask of which runc's log speaks.
fn mask(cpus: &[u64]) -> String {
    let words: String = cpus.iter().rev().map(|word| format!("{word:016x}")).collect();
    format!("0x{}", Some(words.trim_start_matches('0')).filter(|w| !w.is_empty()).unwrap_or("0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_rows_keep_their_order() {
        assert_eq!(longest_common(b"abcd", b"acxd"), [(0, 0), (2, 1), (3, 3)]);
        assert_eq!(longest_common(b"", b"a"), []);
    }
}
