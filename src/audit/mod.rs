//! Audit: every rule's verdict on a bundle, a running container, this machine, or a file that describes a container.
//!
//! A [`Report`] has the verdicts of the rules on one target; [`format`] prints reports for people and for programs. Nothing here
//! changes anything.

pub mod bundle;
pub mod described;
pub mod dockerfile;
pub mod foreign;
pub mod format;
pub mod host;
mod host_docker;
pub mod machine;
mod manifest;
pub mod positions;
pub mod running;
pub mod verify;

use std::path::PathBuf;

use crate::config::Config;
use crate::error::Result;
use crate::host::Host;
use crate::policy::{Evidence, MachineFacts, Place, Posture, RULES, Severity, Verdict};

/// Judges a config by every rule of the policy, as `safebox audit` does a bundle's: as it is written, without what a
/// policy would change. What a rootfs holds is not looked at, and whether a rule applies may depend on this machine
/// (AppArmor, SELinux, Landlock); an error if that cannot be found out.
///
/// ```
/// # fn main() -> safebox::Result<()> {
/// let config: safebox::Config = r#"{
///     "ociVersion": "1.3.0",
///     "root": { "path": "rootfs" },
///     "process": { "args": ["sh"], "cwd": "/", "user": { "uid": 0, "gid": 0 } },
///     "linux": { "namespaces": [{ "type": "mount" }, { "type": "pid" }] }
/// }"#
/// .parse()?;
/// let report = safebox::audit(&config)?;
/// assert!(report.worst() >= Some(safebox::report::Severity::Medium));
/// let findings = report.findings();
/// let root = findings.iter().find(|finding| finding.rule.id == "non-root").expect("it runs as root");
/// assert_eq!(root.pointer, Some("/process/user"));
/// println!("{}: {} ({})", root.pointer.unwrap_or_default(), root.evidence.text, root.rule.remedy);
/// # Ok(())
/// # }
/// ```
pub fn audit(config: &Config) -> Result<Report> {
    let posture = Posture::of_config(config, MachineFacts::of(&Host::probe()?));
    Ok(Report::of_posture("config".into(), AuditedKind::Bundle, &posture))
}

/// What a report says about a rule, whichever table it stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct About {
    /// Stable name.
    pub id: &'static str,
    /// What should hold.
    pub title: &'static str,
    /// How bad it is where it does not.
    pub severity: Severity,
    /// Who asks for it.
    pub references: &'static [&'static str],
    /// What to do, in one line.
    pub remedy: &'static str,
}

impl About {
    /// A rule of the policy.
    pub fn of(rule: &crate::policy::Rule) -> Self {
        let crate::policy::Rule { id, title, severity, references, remedy, .. } = *rule;
        About { id, title, severity, references, remedy }
    }
}

/// One rule's verdict.
#[derive(Debug, Clone)]
pub struct Judgement {
    /// The rule.
    pub rule: About,
    /// What it says.
    pub verdict: Verdict,
}

/// What kind of thing was audited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuditedKind {
    /// A bundle's directory.
    Bundle,
    /// A running container, or a process of one.
    Process,
    /// This machine.
    Host,
    /// A service of a compose file, a container of a manifest, a `docker run` line.
    Description,
    /// A Dockerfile.
    Dockerfile,
}

impl AuditedKind {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            AuditedKind::Bundle => "bundle",
            AuditedKind::Process => "process",
            AuditedKind::Host => "host",
            AuditedKind::Description => "description",
            AuditedKind::Dockerfile => "dockerfile",
        }
    }
}

/// What the rules say about one target.
#[derive(Debug, Clone)]
pub struct Report {
    /// The target as the caller named it.
    pub target: String,
    /// What it is.
    pub kind: AuditedKind,
    /// The verdict of every rule.
    pub judgements: Vec<Judgement>,
    /// The file that JSON pointers are about, and its text.
    pub document: Option<(PathBuf, Vec<u8>)>,
    /// Parts of the target that were not understood, and so not judged: (place, what).
    pub unknown: Vec<(Place, String)>,
    /// Parts that are understood, and that no rule is about: (place, what).
    pub beside: Vec<(Place, String)>,
}

/// One thing that is wrong.
#[derive(Debug, Clone)]
pub struct Finding<'a> {
    /// The rule.
    pub rule: &'a About,
    /// What is there, and where.
    pub evidence: &'a Evidence,
    /// The file and the line, where there is one.
    pub file: Option<PathBuf>,
    /// From 1.
    pub line: Option<u32>,
    /// The JSON pointer, where there is one.
    pub pointer: Option<&'a str>,
}

impl Finding<'_> {
    /// The item of a benchmark, or all of the rule's.
    pub fn references(&self) -> String {
        self.evidence.reference.map_or_else(|| self.rule.references.join("; "), String::from)
    }

    /// Where it is, in words: `config.json:12 (/process/user)`.
    pub fn place(&self) -> String {
        let file = self.file.as_ref().map(|f| f.display().to_string()).unwrap_or_default();
        let line = self.line.map(|n| format!(":{n}")).unwrap_or_default();
        match self.pointer {
            Some(pointer) if file.is_empty() => pointer.to_string(),
            Some(pointer) => format!("{file}{line} ({pointer})"),
            None => format!("{file}{line}"),
        }
    }
}

impl Report {
    /// Judges a posture by every rule of the policy.
    pub fn of_posture(target: String, kind: AuditedKind, posture: &Posture) -> Self {
        let judge = |rule| Judgement { rule: About::of(rule), verdict: rule.verdict(posture) };
        Report {
            target,
            kind,
            judgements: RULES.iter().map(judge).collect(),
            document: None,
            unknown: Vec::new(),
            beside: Vec::new(),
        }
    }

    /// Adds what the rule `id` does not see in a posture. What it has found at the same place stays alone.
    fn add(&mut self, id: &str, evidence: Evidence) {
        let Some(judgement) = self.judgements.iter_mut().find(|j| j.rule.id == id) else { return };
        match &mut judgement.verdict {
            Verdict::Fail(all) if all.iter().any(|other| other.at == evidence.at) => {}
            Verdict::Fail(all) => all.push(evidence),
            other => *other = Verdict::Fail(vec![evidence]),
        }
    }

    /// What is wrong, the worst first.
    pub fn findings(&self) -> Vec<Finding<'_>> {
        let lines = self.document.as_ref().map(|(_, text)| positions::Lines::new(text));
        let mut findings: Vec<Finding<'_>> = Vec::new();
        for judgement in &self.judgements {
            let Verdict::Fail(all) = &judgement.verdict else { continue };
            for evidence in all {
                let (file, line, pointer) = match &evidence.at {
                    Place::Pointer(pointer) => {
                        let line = lines.as_ref().map(|lines| lines.of(pointer));
                        (self.document.as_ref().map(|(path, _)| path.clone()), line, Some(pointer.as_str()))
                    }
                    Place::Line(file, line) => (Some(file.clone()), Some(*line), None),
                    Place::File(file) => (Some(file.clone()), None, None),
                };
                findings.push(Finding { rule: &judgement.rule, evidence, file, line, pointer });
            }
        }
        findings.sort_by_key(|f| std::cmp::Reverse(f.rule.severity));
        findings
    }

    /// The worst finding's severity.
    pub fn worst(&self) -> Option<Severity> {
        let failed = self.judgements.iter().filter(|j| matches!(j.verdict, Verdict::Fail(_)));
        failed.map(|j| j.rule.severity).max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_config_is_judged_as_it_is_written() {
        let verdict = |change: fn(&mut serde_json::Value), id: &str| {
            let mut json = crate::config::template::spec(None);
            change(&mut json);
            let config: Config = json.to_string().parse().expect("a config");
            let report = audit(&config).expect("a report");
            assert_eq!(report.judgements.len(), RULES.len());
            let pointer =
                report.findings().iter().find(|f| f.rule.id == id).map(|f| f.pointer.map(String::from));
            let judgement = report.judgements.iter().find(|j| j.rule.id == id).expect(id);
            (judgement.verdict.name(), pointer.flatten())
        };
        let user = |json: &mut serde_json::Value| {
            json["process"]["user"] = serde_json::json!({ "uid": 7, "gid": 7 })
        };
        let root = |json: &mut serde_json::Value| {
            json["process"]["user"] = serde_json::json!({ "uid": 0, "gid": 0 })
        };
        assert_eq!(verdict(root, "non-root"), ("fail", Some("/process/user".into())));
        assert_eq!(verdict(user, "non-root"), ("pass", None));
    }
}
