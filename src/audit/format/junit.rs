//! JUnit's XML: a suite per target, a test case per rule.

use std::fmt::Write as _;

use crate::audit::Report;
use crate::policy::Verdict;

/// Text as XML 1.0 allows it: markup and control characters escaped.
fn xml(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\t' => out.push(c),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
    out
}

/// All reports.
pub fn text(reports: &[Report]) -> String {
    let mut out =
        String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"safebox audit\">\n");
    for report in reports {
        suite(&mut out, report).unwrap_or_default();
    }
    out.push_str("</testsuites>\n");
    out
}

fn suite(out: &mut String, report: &Report) -> std::fmt::Result {
    let count = |test: fn(&Verdict) -> bool| report.judgements.iter().filter(|j| test(&j.verdict)).count();
    let failures = count(|v| matches!(v, Verdict::Fail(_)));
    let skipped = count(|v| matches!(v, Verdict::NotApplicable(_) | Verdict::CannotTell(_)));
    let (name, tests) = (xml(&report.target), report.judgements.len());
    writeln!(
        out,
        "  <testsuite name=\"{name}\" tests=\"{tests}\" failures=\"{failures}\" errors=\"0\" skipped=\"{skipped}\">"
    )?;
    let findings = report.findings();
    for j in &report.judgements {
        let case = format!("    <testcase classname=\"{name}\" name=\"{}\"", j.rule.id);
        match &j.verdict {
            Verdict::Pass => writeln!(out, "{case}/>")?,
            Verdict::NotApplicable(why) => {
                writeln!(out, "{case}><skipped message=\"not applicable: {}\"/></testcase>", xml(why))?;
            }
            Verdict::CannotTell(why) => {
                writeln!(out, "{case}><skipped message=\"cannot tell: {}\"/></testcase>", xml(why))?;
            }
            Verdict::Fail(_) => {
                let mut text = String::new();
                for f in findings.iter().filter(|f| f.rule.id == j.rule.id) {
                    writeln!(text, "{}: {}", f.place(), f.evidence.text)?;
                }
                write!(text, "remedy: {}", j.rule.remedy)?;
                writeln!(
                    out,
                    "{case}><failure type=\"{}\" message=\"{}\">{}</failure></testcase>",
                    j.rule.severity.name(),
                    xml(j.rule.title),
                    xml(&text)
                )?;
            }
        }
    }
    writeln!(out, "  </testsuite>")
}

#[cfg(test)]
mod tests {
    #[test]
    fn markup_and_control_characters_are_escaped() {
        assert_eq!(super::xml("a<b>&\"\u{1b}\u{0}"), "a&lt;b&gt;&amp;&quot;\\u{1b}\\u{0}");
    }
}
