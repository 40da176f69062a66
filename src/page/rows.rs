//! The rows of one or two plans, in lanes.

use std::fmt::Write;

use super::html::{Html, text};
use super::{NamedPlan, sources};
use crate::plan::report::{DiffSide, sides};
use crate::plan::{Action, Actor, Plan, Row};

/// One line of the page: the rows of each plan in it.
struct PageLine<'a> {
    cells: [Option<(usize, &'a Row)>; 2],
    both: bool,
}

impl<'a> PageLine<'a> {
    fn step(&self) -> Option<&'a Row> {
        self.cells.iter().flatten().next().map(|(_, step)| *step)
    }
}

/// Appends the section of rows.
pub fn rows(out: &mut String, first: &NamedPlan<'_>, second: Option<&NamedPlan<'_>>) {
    out.put("<section id=rows class=\"")
        .put(if second.is_some() { "two" } else { "one" })
        .put("\"><h2>Rows</h2>");
    out.put("<p class=legend>Lanes, from the left: <b class=runtime>runtime</b> is safebox on the host, ");
    out.put("<b class=joiner>joiner</b> enters namespaces for a moment, <b class=init>init</b> becomes the program.</p>");
    let lines = lines(first.plan, second.map(|n| n.plan));
    let names = [first.plan.names(), second.map(|n| n.plan.names()).unwrap_or_default()];
    if let Some(second) = second {
        out.put("<div class=heads aria-hidden=true><span>").put(&text(&first.name)).put("</span><span>");
        out.put(&text(&second.name)).put("</span></div>");
    }
    let (mut part, mut actor, mut open) = ("", None, false);
    for (i, line) in lines.iter().enumerate() {
        let Some(step) = line.step() else { continue };
        if step.part != part {
            out.put(if open { "</ol></details>" } else { "" });
            (part, open) = (step.part, true);
            // The same heading can occur again after another one.
            let count = lines[i..].iter().take_while(|l| l.step().is_some_and(|s| s.part == part)).count();
            heading(out, part, count);
        }
        if actor.is_some_and(|actor| actor != step.actor) && second.is_none() {
            let from = actor.unwrap_or(Actor::Runtime);
            write!(out, "<li class=\"turn from-{from} to-{0}\"><span class=baton>{from} hands over to {0}</span></li>", step.actor)
                .unwrap_or_default();
        }
        actor = Some(step.actor);
        put_line(out, line, &names, [first, second.unwrap_or(first)], second.is_some());
    }
    out.put(if open { "</ol></details>" } else { "" }).put("</section>");
}

fn lines<'a>(first: &'a Plan, second: Option<&'a Plan>) -> Vec<PageLine<'a>> {
    let Some(second) = second else {
        let rows = first.rows.iter().enumerate();
        return rows.map(|row| PageLine { cells: [Some(row), None], both: true }).collect();
    };
    let cell = |plan: &'a Plan, i: usize| Some((i, &plan.rows[i]));
    let line = |side| match side {
        DiffSide::First(i) => PageLine { cells: [cell(first, i), None], both: false },
        DiffSide::Second(j) => PageLine { cells: [None, cell(second, j)], both: false },
        DiffSide::Changed(i, j) => PageLine { cells: [cell(first, i), cell(second, j)], both: false },
        DiffSide::Both(i, j) => PageLine { cells: [cell(first, i), cell(second, j)], both: true },
    };
    sides(first, second).into_iter().map(line).collect()
}

fn heading(out: &mut String, part: &str, count: usize) {
    let plural = if count == 1 { "row" } else { "rows" };
    write!(out, "<details class=part open><summary><h3>{}</h3> <span class=many>{count} {plural}</span></summary><ol>", text(part))
        .unwrap_or_default();
}

fn put_line(
    out: &mut String,
    line: &PageLine<'_>,
    names: &[Vec<String>; 2],
    sides: [&NamedPlan<'_>; 2],
    two: bool,
) {
    let Some(step) = line.step() else { return };
    write!(out, "<li class=\"row {}", step.actor).unwrap_or_default();
    out.put(if two && !line.both { " differs" } else { "" });
    write!(
        out,
        "\" data-layer={} data-actor={} data-calls=\"{}\">",
        step.action.layer().row().name,
        step.actor,
        text(&calls(&step.action).join(" "))
    )
    .unwrap_or_default();
    for (side, cell) in line.cells.iter().enumerate() {
        match cell {
            Some((i, step)) => {
                // If one plan has the row: which one. If both have it: that it differs.
                let only = match line.cells {
                    _ if !two || line.both => None,
                    [Some(_), Some(_)] => Some("differs".to_string()),
                    _ => Some(format!("only in {}", sides[side].name)),
                };
                // Do not repeat on the right what the left side shows.
                let remedies = side == 0 || !line.both;
                put_row(out, *i, &names[side][*i], step, (side, only.as_deref()), remedies);
            }
            None if two => {
                out.put("<div class=absent><span>not in ").put(&text(&sides[side].name)).put("</span></div>");
            }
            None => {}
        }
    }
    out.put("</li>");
}

fn put_row(
    out: &mut String,
    i: usize,
    name: &str,
    step: &Row,
    (side, only): (usize, Option<&str>),
    remedies: bool,
) {
    // An id must not contain spaces; a path may.
    let id = text(&format!("{}{}", ["", "b:"][side.min(1)], name.replace(char::is_whitespace, "_")));
    let action = text(&step.action.to_string());
    write!(out, "<details id=\"row:{id}\"><summary><span class=lane></span><span class=no>{}</span> <span class=who>{}</span> <b class=name>{}</b> <code>{action}</code>", i + 1, step.actor, text(name))
        .unwrap_or_default();
    if let Some(note) = step.action.note() {
        out.put(" <i class=note>").put(&text(note)).put("</i>");
    }
    if let Some(only) = only {
        out.put(" <em class=only>").put(&text(only)).put("</em>");
    }
    out.put("</summary><dl>");
    let mut item = |term: &str, value: &str| {
        out.put("<dt>").put(term).put("</dt><dd>").put(value).put("</dd>");
    };
    let why = step.action.why();
    item("why", &text(why));
    let links: Vec<_> = sources(why)
        .iter()
        .map(|s| format!("<a href=\"{}\" rel=noreferrer>{}</a>", text(&s.address()), text(&s.to_string())))
        .collect();
    if !links.is_empty() {
        item("source", &links.join(", "));
    }
    let layer = step.action.layer().row();
    item("layer", &format!("{}: {}", layer.name, layer.title));
    item("system calls", &format!("<code>{}</code>", text(&step.action.calls().join(" "))));
    if let Some(pointer) = step.action.pointer() {
        item("from config.json", &format!("<code>{}</code>", text(&pointer)));
    }
    if let Some(undo) = &step.undo {
        item("undo", &text(&undo.to_string()));
    }
    for (errno, remedy) in step.action.remedies().into_iter().filter(|_| remedies) {
        item("if it fails", &format!("<b>{}</b>: {}", text(errno), text(remedy)));
    }
    if side == 1 || only.is_some() {
        return out.push_str("</dl></details>");
    }
    item(
        "try",
        &format!(
            "<code>safebox run --until {0} BUNDLE</code> or <code>safebox run --fail {0} BUNDLE</code>",
            text(name)
        ),
    );
    out.put("</dl></details>");
}

/// The names of a row's system calls, without the marks for optional and partial ones.
pub fn calls(action: &Action) -> Vec<String> {
    let mut names: Vec<String> = action
        .calls()
        .iter()
        .flat_map(|call| call.split('|'))
        .map(|name| name.trim_end_matches(['?', '*']).to_string())
        .filter(|name| !name.is_empty())
        .collect();
    names.sort();
    names.dedup();
    names
}
