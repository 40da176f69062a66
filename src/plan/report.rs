//! The faces of a plan: text for people, JSON for programs, and what two plans do differently.

use std::fmt::Write;

use super::ops::{Action, LimitOp, StateOp};
use super::{Actor, Plan, Row};
use crate::error::escaped_line;
use crate::log::Log;
use crate::sys::cstr::show;

/// Which rows are printed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Only {
    /// All of them, with the notes.
    #[default]
    All,
    /// The row with this index.
    Row(usize),
    /// The rows under this heading.
    Section(&'static str),
}

/// The first word of a heading: what `--section` takes.
pub fn section(part: &str) -> &str {
    part.split(':').next().unwrap_or(part)
}

impl Only {
    /// The rows under the heading that begins with `word`.
    pub fn section(plan: &Plan, word: &str) -> Result<Only, String> {
        let mut parts: Vec<&'static str> = plan.rows.iter().map(|s| s.part).collect();
        parts.dedup();
        match parts.iter().find(|part| section(part) == word) {
            Some(part) => Ok(Only::Section(part)),
            None => {
                let mut names: Vec<_> = parts.into_iter().map(section).collect();
                let mut seen = std::collections::HashSet::new();
                names.retain(|name| seen.insert(*name));
                Err(format!("no section has this name; one of {}", names.join(", ")))
            }
        }
    }

    fn has(&self, i: usize, row: &Row) -> bool {
        match self {
            Only::All => true,
            Only::Row(row) => *row == i,
            Only::Section(part) => *part == row.part,
        }
    }
}

/// Rows under their headings, numbered from 1, each with its name; with `why`, a reason below each.
pub fn text(plan: &Plan, why: bool, only: &Only) -> String {
    let mut out = String::new();
    if *only == Only::All {
        let notes = plan.notes.iter().map(|note| escaped_line(note));
        notes.for_each(|note| writeln!(out, "# {note}").unwrap_or_default());
    }
    let names = plan.names();
    let mut part = "";
    for (i, row) in plan.rows.iter().enumerate().filter(|(i, row)| only.has(*i, row)) {
        if row.part != part {
            let line = if out.is_empty() { "" } else { "\n" };
            part = row.part;
            writeln!(out, "{line}{part}").unwrap_or_default();
        }
        out.push_str(&line(i, &names[i], row));
        if why {
            writeln!(out, "              why: {}", row.action.why()).unwrap_or_default();
            if let Some(undo) = &row.undo {
                let undo = escaped_line(&undo.to_string());
                writeln!(out, "              undo: {undo}").unwrap_or_default();
            }
        }
    }
    out
}

/// A row as `explain` and `--step` print it.
pub fn line(i: usize, name: &str, row: &Row) -> String {
    let note = row.action.note().map(|note| format!("  # {note}")).unwrap_or_default();
    // A line break in a path of the config must not start a line of its own.
    let text = escaped_line(&format!("{name:24} {}{note}", row.action));
    format!("{:4}  {:8}{text}\n", i + 1, row.actor)
}

/// Everything about every row.
pub fn json(plan: &Plan) -> serde_json::Value {
    let names = plan.names();
    let objects: Vec<_> = plan.rows.iter().enumerate().map(|(i, s)| object(i, &names[i], s)).collect();
    serde_json::json!({ "notes": plan.notes, "steps": objects })
}

fn object(i: usize, name: &str, row: &Row) -> serde_json::Value {
    serde_json::json!({
        "row": i + 1,
        "name": name,
        "layer": row.action.layer().row().name,
        "actor": row.actor.to_string(),
        "part": row.part,
        "action": row.action.to_string(),
        "calls": row.action.calls(),
        "why": row.action.why(),
        "note": row.action.note(),
        "pointer": row.action.pointer(),
        "undo": row.undo.as_ref().map(ToString::to_string),
    })
}

/// A row of two plans: in the first, in the second, or in both, by its index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiffSide {
    /// Only the first plan has it.
    First(usize),
    /// Only the second plan has it.
    Second(usize),
    /// Both have a row of this name, and it does something else.
    Changed(usize, usize),
    /// Both have it.
    Both(usize, usize),
}

/// A row's action. How long the state is follows from the other rows.
fn same_size(row: &Row) -> String {
    match &row.action {
        Action::State(StateOp::File { dir, name, .. }) => {
            format!("write({}/{}) rename", show(dir), show(name))
        }
        action => action.to_string(),
    }
}

/// The rows of two plans in one order.
pub fn sides(a: &Plan, b: &Plan) -> Vec<DiffSide> {
    let lines = |p: &Plan| -> Vec<(&'static str, String)> {
        p.rows.iter().map(|s| (s.part, format!("{:8}{}", s.actor, same_size(s)))).collect()
    };
    let names = |p: &Plan| p.rows.iter().map(|s| s.action.name()).collect::<Vec<_>>();
    let (names_a, names_b) = (names(a), names(b));
    let (a, b) = (lines(a), lines(b));
    let (mut i, mut j, mut out) = (0, 0, Vec::new());
    for (ai, bi) in longest_common(&a, &b).into_iter().chain([(a.len(), b.len())]) {
        let (x0, y0) = (i, j);
        // Between two rows of both: what has the same name stands side by side.
        for (x, y) in
            longest_common(&names_a[i..ai], &names_b[j..bi]).into_iter().map(|(x, y)| (x0 + x, y0 + y))
        {
            out.extend((i..x).map(DiffSide::First));
            out.extend((j..y).map(DiffSide::Second));
            out.push(DiffSide::Changed(x, y));
            (i, j) = (x + 1, y + 1);
        }
        out.extend((i..ai).map(DiffSide::First));
        out.extend((j..bi).map(DiffSide::Second));
        if ai < a.len() {
            out.push(DiffSide::Both(ai, bi));
        }
        (i, j) = (ai + 1, bi + 1);
    }
    out
}

/// Rows that only one of two plans has: `-` the first, `+` the second, in order, by headings. `None` where there are
/// none.
pub fn diff(a: &Plan, b: &Plan) -> Option<String> {
    let (mut out, mut part) = (String::new(), "");
    let mut put = |sign: char, row: &Row| {
        if row.part != part {
            part = row.part;
            writeln!(out, "\n{part}").unwrap_or_default();
        }
        writeln!(out, "{sign} {:8}{}", row.actor, same_size(row)).unwrap_or_default();
    };
    for side in sides(a, b) {
        if let DiffSide::First(i) | DiffSide::Changed(i, _) = side {
            put('-', &a.rows[i]);
        }
        if let DiffSide::Second(j) | DiffSide::Changed(_, j) = side {
            put('+', &b.rows[j]);
        }
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
    for (i, row) in plan.rows.iter().enumerate().filter(|_| log.is_debug()) {
        log.debug(&format!("row {} ({}): {}", i + 1, row.actor, row.action));
    }
    if log.is_runc() && log.is_debug() {
        debug_as_runc(plan, log);
    }
}

/// The places that users of runc's log look for.
fn debug_as_runc(plan: &Plan, log: &Log) {
    let rows = || plan.rows.iter().enumerate();
    let Some((last, _)) = rows().rfind(|(_, row)| row.actor == Actor::Init) else { return };
    let of = |actor| rows().find(|(_, row)| row.actor == actor).map_or(0, |(i, _)| i + 1);
    log.debug(&format!("nsexec container setup: from row {}", of(Actor::Runtime)));
    log.debug(&format!("child process in init(): from row {}", of(Actor::Init)));
    for row in plan.rows.iter().filter(|row| row.actor == Actor::Runtime) {
        if let Action::Limit(LimitOp::Affinity { cpus }) = &row.action {
            log.debug(&format!("nsexec: affinity: {}", mask(cpus)));
        }
    }
    let is_new = rows().any(|(_, row)| matches!(row.action, Action::State(StateOp::Dir { .. })));
    let end =
        if is_new { "init: closing the pipe to signal completion" } else { "setns_init: about to exec" };
    log.debug(&format!("{end}: row {}", last + 1));
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
