//! A plan as an HTML page: one file, no network requests, no build step (`explain --html`).
//!
//! The rows are static HTML, so the page can be read, folded and printed without its script; `page.js` adds
//! search, filters and keys. Every text from a config passes [`html::text`], and the page's content security
//! policy (CSP) allows only the script whose hash it contains.

mod drawing;
pub mod html;
mod rows;
mod source;

use std::fmt::Write;

use crate::plan::Plan;
use crate::plan::layer::LAYERS;
use html::{Html, text};
pub use source::{Citation, sources};

const CSS: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// A plan with a name.
pub struct NamedPlan<'a> {
    /// The name of the bundle or the policy.
    pub name: String,
    /// The plan.
    pub plan: &'a Plan,
}

/// The page of a plan, or of two plans side by side.
pub fn page(first: &NamedPlan<'_>, second: Option<&NamedPlan<'_>>) -> String {
    let mut out = String::with_capacity(200 << 10);
    let title = match second {
        None => format!("Plan of {}", first.name),
        Some(second) => format!("Plans of {} and {}", first.name, second.name),
    };
    head(&mut out, &title);
    out.put("<body><a class=skip href=\"#rows\">Skip to the rows</a><header><h1>");
    out.put(&text(&title)).put("</h1><p>");
    out.put(&summary(first, second)).put("</p></header>");
    tools(&mut out, first, second);
    out.put("<main>");
    for (side, named) in [Some(first), second].into_iter().flatten().enumerate() {
        notes(&mut out, named, side);
    }
    layers(&mut out, first, second);
    for named in [Some(first), second].into_iter().flatten() {
        out.put("<section><h2>What is built");
        if second.is_some() {
            out.put(": ").put(&text(&named.name));
        }
        out.put("</h2>");
        drawing::drawing(&mut out, named.plan);
        out.put("</section>");
    }
    rows::rows(&mut out, first, second);
    out.put("</main><footer><p>Made by safebox ").put(env!("CARGO_PKG_VERSION"));
    out.put(". The rows are what <code>safebox run</code> performs, in this order.</p></footer><script>");
    out.put(SCRIPT).put("</script></body></html>\n");
    out
}

fn head(out: &mut String, title: &str) {
    out.put("<!doctype html><html lang=en><head><meta charset=utf-8>");
    out.put("<meta name=viewport content=\"width=device-width, initial-scale=1\">");
    let (script, style) = (html::sha256(SCRIPT), html::sha256(CSS));
    write!(
        out,
        "<meta http-equiv=Content-Security-Policy content=\"default-src 'none'; style-src 'sha256-{style}'; script-src 'sha256-{script}'; base-uri 'none'; form-action 'none'\">"
    )
    .unwrap_or_default();
    out.put("<title>").put(&text(title)).put("</title><style>").put(CSS).put("</style></head>");
}

fn summary(first: &NamedPlan<'_>, second: Option<&NamedPlan<'_>>) -> String {
    let of = |named: &NamedPlan<'_>| {
        let rows = &named.plan.rows;
        let turns = rows.windows(2).filter(|w| w[0].actor != w[1].actor).count();
        let plural = if turns == 1 { "" } else { "s" };
        format!("{} rows, {turns} handover{plural} between processes", rows.len())
    };
    match second {
        None => format!("{}. Nothing was changed to make this page.", of(first)),
        Some(second) => {
            format!("{}: {}. {}: {}.", text(&first.name), of(first), text(&second.name), of(second))
        }
    }
}

fn tools(out: &mut String, first: &NamedPlan<'_>, second: Option<&NamedPlan<'_>>) {
    let steps = || [Some(first), second].into_iter().flatten().flat_map(|n| &n.plan.rows);
    out.put("<form class=tools role=search aria-label=\"Filter rows\" hidden>");
    out.put("<label>Search <input type=search id=q autocomplete=off spellcheck=false></label>");
    let mut select = |id: &str, label: &str, values: Vec<String>| {
        write!(out, "<label>{label} <select id={id}><option value=\"\">all</option>").unwrap_or_default();
        for value in values {
            out.put("<option>").put(&text(&value)).put("</option>");
        }
        out.put("</select></label>");
    };
    let layers = LAYERS.iter().filter(|row| steps().any(|s| s.action.layer() == row.layer));
    select("layer", "Layer", layers.map(|row| row.name.to_string()).collect());
    let actors = ["runtime", "joiner", "init"].into_iter();
    select(
        "actor",
        "Actor",
        actors.filter(|a| steps().any(|s| s.actor.to_string() == *a)).map(String::from).collect(),
    );
    let mut calls: Vec<_> = steps().flat_map(|s| rows::calls(&s.action)).collect();
    calls.sort();
    calls.dedup();
    select("call", "System call", calls);
    if second.is_some() {
        out.put("<label class=check><input type=checkbox id=changed> Only rows that differ</label>");
    }
    out.put("<button type=button id=fold>Fold all sections</button><button type=button id=open>Open all rows</button>");
    out.put("<output id=count aria-live=polite></output>");
    out.put("<p class=keys>Keys: <kbd>/</kbd> search, <kbd>j</kbd> and <kbd>k</kbd> next and previous row, ");
    out.put("<kbd>Enter</kbd> open a row, <kbd>Esc</kbd> all rows again.</p></form>");
}

fn notes(out: &mut String, named: &NamedPlan<'_>, side: usize) {
    if named.plan.notes.is_empty() {
        return;
    }
    let count = named.plan.notes.len();
    write!(out, "<details class=notes id=notes-{side}><summary><h2>What hardening changed: {count} notes")
        .unwrap_or_default();
    if side > 0 {
        out.put(" (").put(&text(&named.name)).put(")");
    }
    out.put("</h2></summary><ul>");
    for note in &named.plan.notes {
        out.put("<li>").put(&text(note)).put("</li>");
    }
    out.put("</ul></details>");
}

fn layers(out: &mut String, first: &NamedPlan<'_>, second: Option<&NamedPlan<'_>>) {
    out.put("<section><h2>The layers, and what each stops</h2><div class=wide tabindex=0 role=region ");
    out.put("aria-label=\"Table of layers\"><table><thead><tr><th scope=col>Layer<th scope=col>What it is");
    out.put("<th scope=col>What it stops");
    for named in [Some(first), second].into_iter().flatten() {
        out.put("<th scope=col>Rows");
        if second.is_some() {
            out.put(" (").put(&text(&named.name)).put(")");
        }
    }
    out.put("</tr></thead><tbody>");
    for row in LAYERS.iter().filter(|row| !row.stops.is_empty()) {
        let count = |n: &NamedPlan<'_>| n.plan.rows.iter().filter(|s| s.action.layer() == row.layer).count();
        let counts: Vec<_> = [Some(first), second].into_iter().flatten().map(count).collect();
        let missing = if counts.contains(&0) { " class=missing" } else { "" };
        write!(
            out,
            "<tr{missing}><th scope=row><button type=button data-layer=\"{0}\">{0}</button><td>{1}<td>{2}",
            row.name, row.title, row.stops
        )
        .unwrap_or_default();
        for count in counts {
            match count {
                0 => out.put("<td>missing in this plan"),
                n => out.put(&format!("<td>{n}")),
            };
        }
        out.put("</tr>");
    }
    out.put("</tbody></table></div></section>");
}

#[cfg(test)]
mod tests;
