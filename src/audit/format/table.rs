//! A table for people: the worst first, each with where and what to do.

use std::fmt::Write as _;

use crate::audit::Report;
use crate::error::escaped_line;
use crate::policy::{Place, Severity, Verdict};

/// Numbers of ECMA-48's "select graphic rendition".
fn colour_of(severity: Severity) -> &'static str {
    match severity {
        Severity::Low => "36",
        Severity::Medium => "33",
        Severity::High => "31;1",
    }
}

/// All reports.
pub fn text(reports: &[Report], colour: bool, all: bool) -> String {
    let mut out = String::new();
    for report in reports {
        // Writing to a string cannot fail.
        one(&mut out, report, colour, all).unwrap_or_default();
    }
    out
}

fn one(out: &mut String, report: &Report, colour: bool, all: bool) -> std::fmt::Result {
    let findings = report.findings();
    let of = |severity| findings.iter().filter(|f| f.rule.severity == severity).count();
    let count = |test: fn(&Verdict) -> bool| report.judgements.iter().filter(|j| test(&j.verdict)).count();
    let passed = count(|v| *v == Verdict::Pass);
    let unclear = count(|v| matches!(v, Verdict::CannotTell(_)));
    let beside = count(|v| matches!(v, Verdict::NotApplicable(_)));
    writeln!(
        out,
        "{} ({}): {} high, {} medium, {} low; {passed} rules pass, {beside} do not apply, {unclear} cannot be told",
        escaped_line(&report.target),
        report.kind.name(),
        of(Severity::High),
        of(Severity::Medium),
        of(Severity::Low),
    )?;
    for (i, f) in findings.iter().enumerate() {
        let name = format!("{:6}", f.rule.severity.name());
        let name = if colour { format!("\x1b[{}m{name}\x1b[0m", colour_of(f.rule.severity)) } else { name };
        writeln!(out, "  {name} {}: {}", f.rule.id, escaped_line(&f.evidence.text))?;
        writeln!(out, "         at {}", escaped_line(&f.place()))?;
        // Once for each rule: the findings of one stand together.
        if findings.get(i + 1).is_none_or(|next| next.rule.id != f.rule.id) {
            let all = findings.iter().filter(|other| other.rule.id == f.rule.id).map(|f| f.references());
            let all: std::collections::BTreeSet<String> = all.collect();
            let all: Vec<String> = all.into_iter().collect();
            writeln!(out, "         {} [{}]", f.rule.remedy, all.join("; "))?;
        }
    }
    for (at, what) in &report.unknown {
        writeln!(out, "  not understood: {} at {}", escaped_line(what), escaped_line(&at.to_string()))?;
    }
    if !report.beside.is_empty() {
        let all = report.beside.iter().map(|(at, what)| match at {
            Place::Line(_, line) => format!("{what} (line {line})"),
            at => format!("{what} ({at})"),
        });
        writeln!(out, "  no rule is about: {}", escaped_line(&all.collect::<Vec<_>>().join(", ")))?;
    }
    for j in &report.judgements {
        match &j.verdict {
            Verdict::CannotTell(why) => {
                writeln!(out, "  cannot tell {}: {}", j.rule.id, escaped_line(why))?;
            }
            Verdict::NotApplicable(why) if all => {
                writeln!(out, "  not applicable {}: {}", j.rule.id, escaped_line(why))?;
            }
            Verdict::Pass if all => writeln!(out, "  pass {}: {}", j.rule.id, j.rule.title)?,
            _ => {}
        }
    }
    Ok(())
}
