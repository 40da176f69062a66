//! One table of rules: what each asks for, how a config is hardened by it, and how a config or a running process is
//! judged by it.
//!
//! `restricted` applies every rule, `baseline` those that hardly any program notices, `privileged`
//! none: the config as written. Each change is reported in one line, and each rule can be relaxed by
//! name (`--allow`), so that weakening is asked for and seen.

mod accounts;
pub mod enforce;
pub mod judge;
#[cfg(test)]
mod law;
mod limits;
mod mounts;
pub mod names;
pub mod posture;
mod rootless;
mod rules;
mod seccomp;
mod table;
mod volumes;

use std::str::FromStr;

use crate::bundle::Bundle;
use crate::config::{Config, Terminal};
use crate::error::{Error, Result};
use crate::host::Host;
use crate::tables::capabilities::CapSet;
use crate::tables::namespaces::NsKind;

pub use judge::{Evidence, Judged, Severity, Verdict};
pub use limits::{bound_sockets, check_memory};
pub use mounts::{add_mount, row_mount};
pub use posture::{MachineFacts, Place, PortView, Posture};
pub use table::RULES;
pub use volumes::{WORKING_DIRECTORY, is_closed, is_writable};

/// The user that runs when the config says root (Google's distroless images call it `nonroot`).
pub const NONROOT: u32 = 65532;

/// The policies, by the field's names (Kubernetes Pod Security Standards).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Policy {
    /// The config as written.
    Privileged,
    /// Known ways out of a container are closed; most programs run as they are.
    Baseline,
    /// Every layer on.
    Restricted,
}

impl Policy {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Policy::Privileged => "privileged",
            Policy::Baseline => "baseline",
            Policy::Restricted => "restricted",
        }
    }
}

impl std::fmt::Display for Policy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Policy {
    type Err = String;

    fn from_str(s: &str) -> std::result::Result<Self, String> {
        match s {
            "restricted" => Ok(Policy::Restricted),
            "baseline" => Ok(Policy::Baseline),
            "privileged" => Ok(Policy::Privileged),
            _ => Err(format!("unknown policy {s:?}; one of restricted, baseline, privileged")),
        }
    }
}

/// What `--allow` permits: (name, text).
pub const ALLOW: &[(&str, &str)] = &[
    ("root", "the process may run as uid 0 of the container"),
    ("host-user", "no user namespace of its own: ids inside are the host's ids"),
    ("host-pid", "the namespace the config names (or the host's) for process ids"),
    ("host-net", "the namespace the config names (or the host's) for the network"),
    ("host-ipc", "the namespace the config names (or the host's) for IPC"),
    ("host-uts", "the namespace the config names (or the host's) for the host name"),
    ("host-cgroup", "the namespace the config names (or the host's) for cgroups"),
    ("new-privileges", "setuid programs and file capabilities have an effect"),
    ("write-rootfs", "the rootfs is writable"),
    ("devices", "devices of the config beyond the default ones"),
    ("suid-mounts", "bind mounts keep setuid programs and devices"),
    ("ptrace", "strace, gdb and LeakSanitizer work: ptrace(2) and its kin are kernel surface"),
    ("proc", "the paths that the config leaves unmasked stay unmasked"),
];

/// Names of [`ALLOW`] that say something from another policy on than `restricted`.
const ALLOW_SINCE: &[(&str, Policy)] = &[
    ("host-pid", Policy::Baseline),
    ("host-net", Policy::Baseline),
    ("host-ipc", Policy::Baseline),
    ("host-uts", Policy::Baseline),
    ("host-cgroup", Policy::Baseline),
    ("devices", Policy::Baseline),
    ("ptrace", Policy::Baseline),
    ("proc", Policy::Baseline),
];

/// Which seccomp profile the command line asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SeccompAsk {
    /// The built-in profile; with one of the config's, both (a call must pass both).
    #[default]
    Default,
    /// The config's alone.
    Config,
    /// None.
    Unconfined,
}

impl FromStr for SeccompAsk {
    type Err = String;

    fn from_str(s: &str) -> std::result::Result<Self, String> {
        match s {
            "default" => Ok(SeccompAsk::Default),
            "config" => Ok(SeccompAsk::Config),
            "unconfined" => Ok(SeccompAsk::Unconfined),
            _ => Err(format!("unknown seccomp choice {s:?}; one of default, config, unconfined")),
        }
    }
}

/// What the policy leaves as it is, because the command line says so.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// Names from [`ALLOW`].
    pub allow: Vec<String>,
    /// `--user`: the config's user was chosen by the caller, and stays.
    pub user: bool,
    /// `--network`: what it says holds on every config, whatever the policy.
    pub network: bool,
    /// `--device`: paths inside of devices that stay, and what may be done to each (`rwm`).
    pub devices: Vec<(std::path::PathBuf, String)>,
    /// `--cap-add`.
    pub cap_add: CapSet,
    /// `--seccomp`.
    pub seccomp: SeccompAsk,
    /// `--seccomp-allow`.
    pub seccomp_allow: Vec<String>,
    /// `--cgroup-manager disabled`: nothing is limited.
    pub no_cgroups: bool,
    /// stdin is a terminal.
    pub stdin_is_tty: bool,
    /// stdout is one.
    pub stdout_is_tty: bool,
    /// `--console-socket` or `--detach`: a terminal of the config goes elsewhere, whatever stdin is.
    pub terminal_as_written: bool,
}

impl Overrides {
    /// Whether `--allow NAME` was given.
    pub fn allows(&self, name: &str) -> bool {
        self.allow.iter().any(|a| a == name)
    }

    /// Refuses names that are not in [`ALLOW`].
    pub fn check(&self) -> Result<()> {
        match self.allow.iter().find(|a| ALLOW.iter().all(|(name, _)| name != a)) {
            None => Ok(()),
            Some(bad) => {
                let names: Vec<_> = ALLOW.iter().map(|(n, _)| *n).collect();
                Err(Error::msg(format!("--allow {bad}: unknown; one of {}", names.join(", "))))
            }
        }
    }
}

/// What a rule may look at.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// Container id.
    pub id: &'a str,
    /// The machine.
    pub host: &'a Host,
    /// The bundle: its rootfs's file system and account files.
    pub bundle: &'a Bundle,
    /// The ranges of ids that containers have.
    pub ids: &'a crate::state::id_ranges::Ranges,
    /// What the command line lets stay.
    pub overrides: &'a Overrides,
    /// Directory in which the states of containers are kept.
    pub state_root: &'a std::path::Path,
    /// The policy in force.
    pub policy: Policy,
}

/// How a rule hardens a config.
pub type Harden = fn(&mut Config, &Facts<'_>, &mut HardenResult) -> Result<()>;

/// What makes a rule hold.
#[derive(Clone, Copy)]
pub enum Cure {
    /// This changes the config; one line per change.
    Harden(Harden),
    /// The rule with this name does.
    By(&'static str),
    /// Only the author of the config or the image can.
    Author,
}

/// One rule, with all its faces.
pub struct Rule {
    /// Stable name, printed before each change.
    pub id: &'static str,
    /// What holds once the rule was applied.
    pub title: &'static str,
    /// From which policy on it applies.
    pub since: Policy,
    /// How bad it is where it does not hold.
    pub severity: Severity,
    /// The level of Pod Security Standards from which on an enforcing policy refuses.
    pub enforced: Option<Policy>,
    /// Where the field asks for it: CIS Docker Benchmark 1.6, Pod Security Standards, NIST SP 800-190.
    pub references: &'static [&'static str],
    /// Whether it holds.
    pub judge: fn(&Posture) -> Judged,
    /// What makes it hold.
    pub cure: Cure,
    /// What to do where it does not, in one line.
    pub remedy: &'static str,
}

impl Rule {
    /// Judges a posture.
    pub fn verdict(&self, posture: &Posture) -> Verdict {
        let bare = posture.bare && !BARE.contains(&self.id);
        if bare && !matches!(self.cure, Cure::Author) {
            return Verdict::NotApplicable(
                "no namespace can be made here: Landlock and seccomp guard".into(),
            );
        }
        (self.judge)(posture).unwrap_or_else(Verdict::CannotTell)
    }
}

/// The rule with this name.
pub fn rule(id: &str) -> Option<&'static Rule> {
    RULES.iter().find(|rule| rule.id == id)
}

/// One change that a layer made to the config, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The rule, or the heading of the options.
    pub by: &'static str,
    /// What is different now.
    pub text: String,
    /// It is weaker than `restricted`: printed even with `--quiet`.
    pub weaker: bool,
}

impl Change {
    /// A change that is as strong as `restricted`, or stronger.
    pub fn new(by: &'static str, text: impl Into<String>) -> Self {
        Change { by, text: text.into(), weaker: false }
    }

    /// A change that is weaker than `restricted`.
    pub fn weaker(by: &'static str, text: impl Into<String>) -> Self {
        Change { by, text: text.into(), weaker: true }
    }
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.by, self.text)
    }
}

/// What the rules found and did.
#[derive(Debug, Clone, Default)]
pub struct HardenResult {
    /// What was changed.
    pub changes: Vec<Change>,
    /// What the user has to know even with `--quiet`.
    pub warnings: Vec<String>,
    /// The user that the policy chose in place of root.
    pub picked: Option<u32>,
    rule: &'static str,
}

impl HardenResult {
    fn note(&mut self, text: impl Into<String>) {
        self.changes.push(Change::new(self.rule, text));
    }

    /// A change that is weaker than `restricted`: it is always printed.
    fn weaker(&mut self, text: impl Into<String>) {
        self.changes.push(Change::weaker(self.rule, text));
    }

    /// Warns of an `--allow NAME` that changes nothing, with the reason.
    fn no_effect(&mut self, name: &str, why: &str) {
        self.warnings.push(format!("--allow {name} has no effect: {why}"));
    }
}

/// The rules that say something where no namespace can be made.
const BARE: [&str; 8] =
    ["non-root", "capabilities", "no-new-privileges", "seccomp", "limits", "rlimits", "terminal", "landlock"];

/// Applies the rules of `facts.policy` to `config`.
pub fn apply(config: &mut Config, facts: &Facts<'_>) -> Result<HardenResult> {
    facts.overrides.check()?;
    seccomp::opens_what_is_loaded(facts)?;
    let mut outcome = HardenResult::default();
    config.hardening.hardened = facts.policy != Policy::Privileged;
    config.hardening.terminal = match &config.process {
        Some(p) if p.terminal => Terminal::All,
        _ => Terminal::None,
    };
    for name in &facts.overrides.allow {
        let since =
            ALLOW_SINCE.iter().find(|(known, _)| known == name).map_or(Policy::Restricted, |(_, p)| *p);
        if facts.policy < since && !(name == "host-net" && facts.overrides.network) {
            let why = match name.as_str() {
                "host-net" => "this policy takes the config's network as it is written: --network host",
                _ => "the policy in force does not take it away (--policy)",
            };
            outcome.no_effect(name, why);
        }
    }
    let bare = config.hardening.bare;
    // Only root of the machine makes the other namespaces without one of users.
    let needs_user = facts.policy == Policy::Baseline
        && facts.host.rootless.is_some()
        && config.namespace(NsKind::User).is_none();
    let applies = |r: &&Rule| facts.policy >= r.since || needs_user && r.id == "user-namespace";
    for rule in RULES.iter().filter(applies).filter(|r| !bare || BARE.contains(&r.id)) {
        if let Cure::Harden(harden) = rule.cure {
            outcome.rule = rule.id;
            harden(config, facts, &mut outcome)?;
        }
    }
    Ok(outcome)
}
