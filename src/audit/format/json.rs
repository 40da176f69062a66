//! JSON: one object with all targets.

use serde_json::{Value, json};

use crate::audit::Report;
use crate::policy::{Place, Verdict};

/// All reports.
pub fn value(reports: &[Report]) -> Value {
    json!({ "version": 1, "targets": reports.iter().map(target).collect::<Vec<_>>() })
}

fn target(report: &Report) -> Value {
    let findings: Vec<_> = report
        .findings()
        .iter()
        .map(|f| {
            let mut finding = json!({
                "rule": f.rule.id,
                "severity": f.rule.severity.name(),
                "title": f.rule.title,
                "evidence": f.evidence.text,
                "place": f.place(),
                "references": f.references(),
                "remedy": f.rule.remedy,
            });
            if let Some(file) = &f.file {
                finding["file"] = file.display().to_string().into();
            }
            if let Some(line) = f.line {
                finding["line"] = line.into();
            }
            if let Some(pointer) = f.pointer {
                finding["pointer"] = pointer.into();
            }
            finding
        })
        .collect();
    let verdicts: Vec<_> = report
        .judgements
        .iter()
        .map(|j| {
            let mut verdict = json!({ "rule": j.rule.id, "verdict": j.verdict.name() });
            if let Verdict::NotApplicable(why) | Verdict::CannotTell(why) = &j.verdict {
                verdict["why"] = why.as_str().into();
            }
            verdict
        })
        .collect();
    let list = |all: &[(Place, String)]| -> Vec<Value> {
        all.iter().map(|(at, what)| json!({ "place": at.to_string(), "what": what })).collect()
    };
    json!({
        "target": report.target,
        "kind": report.kind.name(),
        "worst": report.worst().map(|s| s.name()),
        "findings": findings,
        "verdicts": verdicts,
        "notUnderstood": list(&report.unknown),
        "notJudged": list(&report.beside),
    })
}
