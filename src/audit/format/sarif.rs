//! SARIF 2.1.0 (OASIS), with what GitHub's code scanning asks for: ruleId, level, message, a location with a region,
//! and a fingerprint that stays the same when lines move.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::audit::{About, Finding, Report};
use crate::policy::{Severity, Verdict};

/// All reports, as one run.
pub fn value(reports: &[Report]) -> Value {
    let mut rules: Vec<&About> = Vec::new();
    let mut index: BTreeMap<&str, usize> = BTreeMap::new();
    for judgement in reports.iter().flat_map(|r| &r.judgements) {
        index.entry(judgement.rule.id).or_insert_with(|| {
            rules.push(&judgement.rule);
            rules.len() - 1
        });
    }
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    let mut results = Vec::new();
    for report in reports {
        for finding in report.findings() {
            results.push(result(report, &finding, index[finding.rule.id], &mut seen));
        }
    }
    json!({
        "$schema": "https://docs.oasis-open.org/sarif/sarif/v2.1.0/os/schemas/sarif-schema-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "safebox audit",
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "rules": rules.into_iter().map(rule).collect::<Vec<_>>(),
            } },
            "columnKind": "unicodeCodePoints",
            "invocations": [{
                "executionSuccessful": true,
                "toolExecutionNotifications": notifications(reports, &index),
            }],
            "results": results,
        }],
    })
}

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Low => "note",
        Severity::Medium => "warning",
        Severity::High => "error",
    }
}

/// GitHub's scale is that of CVSS: above 7.0 high, above 4.0 medium.
fn security_severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Low => "3.0",
        Severity::Medium => "5.5",
        Severity::High => "8.0",
    }
}

fn rule(about: &About) -> Value {
    json!({
        "id": about.id,
        "name": about.id,
        "shortDescription": { "text": about.title },
        "fullDescription": { "text": format!("{} ({})", about.title, about.references.join("; ")) },
        "help": { "text": about.remedy },
        "defaultConfiguration": { "level": level(about.severity) },
        "properties": {
            "tags": ["security", "container"],
            "precision": "high",
            "security-severity": security_severity(about.severity),
        },
    })
}

/// A path as RFC 3986 has it: relative paths stay relative, others begin with `file:///`.
fn uri(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    let mut out = String::new();
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' | b'~' => {
                out.push(char::from(*byte))
            }
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    if out.starts_with('/') { format!("file://{out}") } else { out }
}

fn result(report: &Report, f: &Finding<'_>, index: usize, seen: &mut BTreeMap<String, u32>) -> Value {
    let file = f.file.as_deref().unwrap_or(Path::new(&report.target));
    let text = format!("{}: {}. Remedy: {}", f.rule.title, f.evidence.text, f.rule.remedy);
    let mut location = json!({
        "physicalLocation": {
            "artifactLocation": { "uri": uri(file) },
            "region": { "startLine": f.line.unwrap_or(1).max(1) },
        },
    });
    if let Some(pointer) = f.pointer {
        location["logicalLocations"] = json!([{ "fullyQualifiedName": pointer, "kind": "member" }]);
    }
    let what = format!("{}\n{}\n{}", f.rule.id, f.pointer.unwrap_or_default(), uri(file));
    let hash: String = Sha256::digest(what.as_bytes()).iter().take(8).map(|b| format!("{b:02x}")).collect();
    let count = seen.entry(hash.clone()).or_insert(0);
    *count += 1;
    json!({
        "ruleId": f.rule.id,
        "ruleIndex": index,
        "level": level(f.rule.severity),
        "message": { "text": text },
        "locations": [location],
        "partialFingerprints": { "primaryLocationLineHash": format!("{hash}:{count}") },
        "properties": { "target": report.target, "references": f.references() },
    })
}

/// What could not be judged: it is neither a finding nor passed.
fn notifications(reports: &[Report], index: &BTreeMap<&str, usize>) -> Vec<Value> {
    let mut all = Vec::new();
    for report in reports {
        for j in &report.judgements {
            if let Verdict::CannotTell(why) = &j.verdict {
                all.push(json!({
                    "level": "note",
                    "message": { "text": format!("{}: {}: cannot tell: {why}", report.target, j.rule.id) },
                    "associatedRule": { "id": j.rule.id, "index": index[j.rule.id] },
                }));
            }
        }
        for (at, what) in &report.unknown {
            let text = format!("{}: {at}: not understood: {what}", report.target);
            all.push(json!({ "level": "warning", "message": { "text": text } }));
        }
        for (at, what) in &report.beside {
            let text = format!("{}: {at}: no rule is about it: {what}", report.target);
            all.push(json!({ "level": "none", "message": { "text": text } }));
        }
    }
    all
}
