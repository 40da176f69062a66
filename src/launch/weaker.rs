//! What is weaker than `restricted`, as `run` prints it with `--quiet` too.
//!
//! Layers report their own weakenings ([`Change::weaker`]). The rules of the policy judge the finished config as well, so that
//! nothing that `safebox audit` finds is silent: whichever option, policy or config causes it.

use crate::config::Config;
use crate::launch::ladder;
use crate::policy::{Change, Cure, MachineFacts, Place, Policy, Posture, RULES, Rule, Severity, Verdict};

/// Rules about what this machine has: `restricted` does not hold them on a machine that lacks it either. A loss of Landlock
/// that an option causes is part of that option's line.
const OF_THE_MACHINE: [&str; 2] = ["lsm", "landlock"];

/// Lines of other headings that name what a rule is about: (rule, heading, start of the text).
const NAMED_BY: [(&str, &str, &str); 8] = [
    ("non-root", "process", "runs as root"),
    ("non-root", ladder::HEADING, "runs as root"),
    ("rootfs-options", "no-new-privileges", ""),
    ("limits", "cgroups", "none"),
    ("limits", ladder::HEADING, "no cgroup"),
    ("host-namespaces", "network", "the host's network namespace"),
    ("user-namespace", ladder::HEADING, "no user-namespace"),
    ("environment-secrets", "secrets", "the variable"),
];

/// The rules that `config` does not hold and that no line names yet: under `restricted` one line each. A weaker policy fails
/// many rules on purpose, so one line lists them, unless `each`.
pub fn unnamed(config: &Config, policy: Policy, changes: &[Change], each: bool) -> Vec<Change> {
    let trees = changes.iter().any(|c| c.weaker && ["user-namespace", ladder::HEADING].contains(&c.by));
    // Nothing is looked up on the machine: the container's name is reserved, and rows of the plan come next.
    let posture = Posture::of_config(config, MachineFacts::NONE);
    let failed = RULES.iter().filter(|rule| !OF_THE_MACHINE.contains(&rule.id)).filter_map(|rule| {
        let Verdict::Fail(found) = rule.verdict(&posture) else { return None };
        let found = found.into_iter().filter(|evidence| !(trees && is_own_tree(config, &evidence.at)));
        let texts: Vec<_> = found.map(|evidence| evidence.text).collect();
        (!texts.is_empty()).then(|| (rule, texts.join("; ")))
    });
    if policy == Policy::Restricted || each {
        let restricted = policy == Policy::Restricted;
        let failed = failed.filter(|(rule, _)| !(restricted && is_named(rule, changes)));
        return failed.map(|(rule, text)| Change::weaker(rule.id, text)).collect();
    }
    listed(policy, &failed.map(|(rule, _)| rule).collect::<Vec<_>>()).into_iter().collect()
}

/// Whether this is the mount of a directory that every run of the host's programs has, such as /etc. With the host's ids it is
/// not harmless; the line about the ids says so.
fn is_own_tree(config: &Config, at: &Place) -> bool {
    let Place::Pointer(pointer) = at else { return false };
    let number = pointer.strip_prefix("/mounts/").and_then(|number| number.parse::<usize>().ok());
    let mount = number.and_then(|number| config.mounts.get(number));
    config.root.empty && mount.is_some_and(|mount| mount.bind.is_some() && mount.volume.is_none())
}

/// Whether a weaker line is about what `rule` judges.
fn is_named(rule: &Rule, changes: &[Change]) -> bool {
    changes.iter().filter(|change| change.weaker).any(|change| {
        change.by == rule.id
            || matches!(rule.cure, Cure::By(id) if id == change.by)
            || NAMED_BY
                .iter()
                .any(|(id, by, text)| (*id, *by) == (rule.id, change.by) && change.text.starts_with(text))
    })
}

/// The rules that a weaker policy leaves open, the worst first, in one line.
fn listed(policy: Policy, failed: &[&Rule]) -> Option<Change> {
    let of = |severity: Severity| {
        let ids: Vec<_> = failed.iter().filter(|r| r.severity == severity).map(|r| r.id).collect();
        (!ids.is_empty()).then(|| format!("{} ({})", ids.join(", "), severity.name()))
    };
    let texts: Vec<_> =
        [Severity::High, Severity::Medium, Severity::Low].into_iter().filter_map(of).collect();
    let by = if policy == Policy::Baseline { "policy baseline" } else { "policy privileged" };
    (!texts.is_empty())
        .then(|| Change::weaker(by, format!("not held: {} (--verbose says why)", texts.join("; "))))
}

/// The lines about what is weaker; missing layers of the ladder share one.
pub fn lines(changes: &[Change]) -> Vec<String> {
    let weaker = changes.iter().filter(|change| change.weaker);
    let ladder: Vec<_> =
        weaker.clone().filter(|change| change.by == ladder::HEADING).map(|c| c.text.as_str()).collect();
    let mut lines: Vec<_> = ladder::summary(&ladder).into_iter().collect();
    // On the ladder the host's ids are a missing layer, and not as asked.
    let host_ids = ladder.iter().any(|text| text.starts_with("no user-namespace"));
    let covered = |c: &Change| {
        c.by == ladder::HEADING || host_ids && c.by == "user-namespace" && c.text.contains("as asked")
    };
    lines.extend(weaker.filter(|change| !covered(change)).map(ToString::to_string));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_are_rules() {
        let is_rule = |id: &str| RULES.iter().any(|rule| rule.id == id);
        assert!(OF_THE_MACHINE.iter().all(|id| is_rule(id)));
        assert!(NAMED_BY.iter().all(|(id, ..)| is_rule(id)));
    }
}
