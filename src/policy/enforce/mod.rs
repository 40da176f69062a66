//! Enforcement for the drop-in: what an administrator's policy file makes of configs that engines write.
//!
//! The file is TOML. A key that is not known, a file that others can write, and a file that cannot be read stop the
//! launch: nothing starts without the policy that was meant for it. Without a file nothing is enforced.

mod engines;
mod file;
mod later;
mod subject;
mod way;

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use super::names::Names;
use super::{Change, Evidence, Policy, Posture, RULES, Rule, Verdict, rule};
use crate::error::{Error, Result};
use engines::Trust;
use file::{parse, read, read_default};

pub use engines::CallerEngine;
pub use subject::Subject;

/// Where the file is looked for.
pub const FILE: &str = "/etc/safebox/policy.toml";

/// What happens to a config that breaks a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EnforceMode {
    /// Nothing.
    Off,
    /// It is logged.
    Warn,
    /// The config is hardened, as `run` does, and that is logged; what hardening does not cure is refused.
    Harden,
    /// It is refused.
    Enforce,
}

impl Exception {
    /// Whether all conditions hold, if what the config says is believed.
    fn fits(&self, of: Subject<'_>) -> bool {
        let annotation =
            |(key, want): (&String, &String)| of.annotations.get(key).is_some_and(|v| fits(want, v));
        self.annotations.iter().all(annotation)
            && self.cgroup.as_ref().is_none_or(|want| of.cgroup.is_some_and(|p| fits(want, p)))
            && self.image.as_ref().is_none_or(|want| of.image.is_some_and(|name| fits(want, name)))
    }
}

/// The levels that can be enforced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Known ways out of a container.
    Baseline,
    /// Pod Security Standards, restricted.
    Restricted,
}

impl Level {
    /// The policy of this name.
    pub fn policy(self) -> Policy {
        match self {
            Level::Baseline => Policy::Baseline,
            Level::Restricted => Policy::Restricted,
        }
    }
}

/// Containers that are treated otherwise. All conditions that are given must hold.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exception {
    /// Why it is there; logged with every use.
    pub reason: String,
    /// Annotations with these values; a `*` at the end of a value stands for any text. Those count that the engine
    /// sets itself (`io.kubernetes.cri.*`, `io.kubernetes.cri-o.*`), and those of `trusted-annotations`.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// `linux.cgroupsPath`, with a `*` at its end for any text.
    pub cgroup: Option<String>,
    /// The image's name, as a Kubernetes engine's annotations have it, with a `*` at its end for any text. An annotation
    /// that the engine itself has not written does not count ([`Subject`]).
    pub image: Option<String>,
    /// The rules that do not count; without this none does.
    pub rules: Option<Vec<String>>,
}

/// The file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enforcement {
    /// What happens.
    pub mode: EnforceMode,
    /// From which rules on.
    #[serde(default = "baseline")]
    pub level: Level,
    /// Names of rules beside those of the level.
    #[serde(default)]
    pub require: Vec<String>,
    /// Containers that are treated otherwise.
    #[serde(default)]
    pub exceptions: Vec<Exception>,
    /// The engines whose annotations and cgroups exceptions believe; without this those of Kubernetes.
    #[serde(default = "CallerEngine::of_kubernetes", rename = "trusted-engines")]
    pub engines: Vec<CallerEngine>,
    /// Annotations that exceptions believe although a user of the engine can set them.
    #[serde(default, rename = "trusted-annotations")]
    pub annotations: Vec<String>,
    /// The network of `run`.
    #[serde(default)]
    pub network: Names,
}

fn baseline() -> Level {
    Level::Baseline
}

/// Annotations in which engines write the image's name, for reports: an image, or a user of Podman or Docker, can set any.
pub const IMAGES: [&str; 4] = [
    "io.kubernetes.cri.image-name",
    "io.kubernetes.cri-o.ImageName",
    "org.opencontainers.image.ref.name",
    "io.podman.annotations.image",
];

impl Enforcement {
    /// What the program's name asks for (`safebox-restricted`, `safebox-baseline`).
    pub fn level_of_name(program: &Path) -> Option<Level> {
        match program.file_name()?.to_str()? {
            "safebox-restricted" => Some(Level::Restricted),
            "safebox-baseline" => Some(Level::Baseline),
            _ => None,
        }
    }

    /// The file at `path`; without one [`FILE`], which need not be there.
    fn at(path: Option<&Path>) -> Result<Option<Self>> {
        let file = match path {
            Some(path) => Some(read(path)?),
            None => read_default()?,
        };
        file.map(|(path, text)| parse(&path, &text)).transpose()
    }

    /// The file at `path` (else [`FILE`], which need not be there), and the level that the program's name fixes.
    pub fn load(path: Option<&Path>, fixed: Option<Level>) -> Result<Option<Self>> {
        Self::with_names(path, fixed).map(|(file, _)| file)
    }

    /// The same, and the network of the file, whatever its mode.
    pub fn with_names(path: Option<&Path>, fixed: Option<Level>) -> Result<(Option<Self>, Names)> {
        let file = Self::at(path)?;
        let names = file.as_ref().map(|file| file.network.clone()).unwrap_or_default();
        let Some(level) = fixed else {
            return Ok((file.filter(|file| file.mode != EnforceMode::Off), names));
        };
        // A RuntimeClass means its name: a file can choose to harden instead of refusing, and not to do nothing.
        let mut own = file.unwrap_or(Enforcement {
            mode: EnforceMode::Enforce,
            level,
            require: Vec::new(),
            exceptions: Vec::new(),
            engines: CallerEngine::of_kubernetes(),
            annotations: Vec::new(),
            network: Names::default(),
        });
        own.level = level;
        if matches!(own.mode, EnforceMode::Off | EnforceMode::Warn) {
            own.mode = EnforceMode::Enforce;
        }
        Ok((Some(own), names))
    }

    /// The policy by which a launch is hardened that would otherwise take its config as `policy` has it.
    pub fn hardens(&self, policy: Policy, of: Subject<'_>) -> Option<Policy> {
        let level = if of.sandbox { Policy::Baseline } else { self.level.policy() };
        let all = self.exception(of).is_some_and(|e| e.rules.is_none());
        (self.mode == EnforceMode::Harden && policy < level && !all).then_some(level)
    }

    fn trust(&self) -> Trust<'_> {
        Trust { engines: &self.engines, annotations: &self.annotations }
    }

    /// The exception for this container.
    fn exception(&self, of: Subject<'_>) -> Option<&Exception> {
        let trust = self.trust();
        self.exceptions.iter().find(|e| e.fits(of) && trust.covers(of, e))
    }

    /// An exception that would hold if everything in the config were believed.
    fn unbelieved(&self, of: Subject<'_>) -> Option<&Exception> {
        self.exceptions.iter().find(|e| e.fits(of))
    }

    /// The rules that count for this container.
    fn rules(&self, of: Subject<'_>) -> Vec<&'static Rule> {
        let sandbox = of.sandbox;
        let level = if sandbox { Policy::Baseline } else { self.level.policy() };
        let named = |r: &Rule| !sandbox && self.require.iter().any(|id| id == r.id);
        let exception = self.exception(of);
        let excepted = |r: &Rule| {
            exception.is_some_and(|e| e.rules.as_ref().is_none_or(|rules| rules.iter().any(|id| id == r.id)))
        };
        let counts = |r: &&Rule| (r.enforced.is_some_and(|since| since <= level) || named(r)) && !excepted(r);
        RULES.iter().filter(counts).collect()
    }

    /// An exception would hold if the image's name could be believed.
    fn has_unproved_image(&self, of: Subject<'_>) -> bool {
        let named = IMAGES.iter().filter_map(|key| of.annotations.get(*key));
        let wanted = || self.exceptions.iter().filter_map(|e| e.image.as_ref());
        of.image.is_none() && named.into_iter().any(|name| wanted().any(|want| fits(want, name)))
    }

    /// What the posture breaks.
    fn broken(&self, of: Subject<'_>, posture: &Posture) -> Vec<(&'static Rule, Evidence)> {
        let mut broken = Vec::new();
        for rule in self.rules(of) {
            if let Verdict::Fail(found) = rule.verdict(posture) {
                broken.extend(found.into_iter().map(|evidence| (rule, evidence)));
            }
        }
        broken
    }

    /// Judges the config that is to run: an error, or what is to be logged.
    pub fn judge(&self, of: Subject<'_>, posture: &Posture) -> Result<Vec<Change>> {
        self.verdict(of, "container", self.broken(of, posture))
    }

    /// The answer to what breaks rules: an error, or what is to be logged.
    fn verdict(
        &self,
        of: Subject<'_>,
        what: &str,
        broken: Vec<(&'static Rule, Evidence)>,
    ) -> Result<Vec<Change>> {
        let mut changes = Vec::new();
        if let Some(e) = self.exception(of) {
            changes
                .push(Change::weaker("policy", format!("an exception holds for this {what}: {}", e.reason)));
        } else if let Some(e) = self.unbelieved(of) {
            let text = format!(
                "the exception {:?} does not hold: a user of the engine can set what it rests on ({}): see \
                 trusted-engines and trusted-annotations",
                e.reason,
                self.trust().why(of, e)
            );
            changes.push(Change::weaker("policy", text));
        }
        let Some((first, evidence)) = broken.first() else { return Ok(changes) };
        if self.mode == EnforceMode::Warn {
            let line = |(rule, e): &(&Rule, Evidence)| {
                Change::weaker(
                    "policy",
                    format!("{} would be refused: {} ({}): {}", rule.id, e.text, e.at, rule.remedy),
                )
            };
            changes.extend(broken.iter().map(line));
            return Ok(changes);
        }
        let mut more: Vec<&str> = Vec::new();
        for (rule, _) in &broken[1..] {
            if rule.id != first.id && !more.contains(&rule.id) {
                more.push(rule.id);
            }
        }
        let more = if more.is_empty() { String::new() } else { format!(" (also: {})", more.join(", ")) };
        let level = self.level.policy();
        let unproved = if self.has_unproved_image(of) {
            "; an exception names the image, but the engine has not written that annotation: name its cgroup"
        } else {
            ""
        };
        let text = format!(
            "policy {level} refuses this {what}: {}: {} at {}; remedy: {}{more}{unproved}",
            first.id, evidence.text, evidence.at, first.remedy
        );
        Err(Error::Denied { rule: first.id, text })
    }
}

/// Whether a text is `want`, or begins with what stands before its last `*`.
fn fits(want: &str, text: &str) -> bool {
    want.strip_suffix('*').map_or(want == text, |start| text.starts_with(start))
}

#[cfg(test)]
mod tests;
