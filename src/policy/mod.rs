//! What `run` does to a config before it runs it: a table of rules, each with its reason.
//!
//! `restricted` applies every rule, `baseline` those that hardly any program notices, `privileged`
//! none: the config as written. Each change is reported in one line, and each rule can be relaxed by
//! name (`--allow`), so that weakening is asked for and seen.

mod accounts;
mod limits;
mod mounts;
mod rootless;
mod rules;
mod seccomp;

use std::str::FromStr;

use crate::bundle::Bundle;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::host::Host;
use crate::tables::capabilities::CapSet;

pub use rules::RULES;

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

/// Things that `--allow` gives back: (name, what it allows).
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

/// What the command line asks for.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    /// Names from [`ALLOW`].
    pub allow: Vec<String>,
    /// `--user`: uid and, where given, gid.
    pub user: Option<(u32, Option<u32>)>,
    /// `--cap-add`.
    pub cap_add: CapSet,
    /// `--seccomp`.
    pub seccomp: SeccompAsk,
    /// `--seccomp-allow`.
    pub seccomp_allow: Vec<String>,
    /// `--memory` in bytes, -1 for no limit.
    pub memory: Option<i64>,
    /// `--cpus`, 0 for no limit.
    pub cpus: Option<f64>,
    /// `--pids-limit`, -1 for no limit.
    pub pids: Option<i64>,
    /// `--cgroup-manager disabled`: nothing is limited.
    pub no_cgroups: bool,
    /// stdin is a terminal.
    pub stdin_is_tty: bool,
    /// stdout is one.
    pub stdout_is_tty: bool,
    /// `--console-socket` or `--detach`: a terminal of the config goes to somebody else, whatever stdin is.
    pub terminal_as_written: bool,
}

impl Asked {
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
    /// The command line.
    pub asked: &'a Asked,
    /// The policy in force.
    pub policy: Policy,
}

/// One rule: what it is about and how it hardens a config.
pub struct Rule {
    /// Stable name, printed before each change.
    pub id: &'static str,
    /// What holds once the rule was applied.
    pub title: &'static str,
    /// From which policy on it applies.
    pub since: Policy,
    /// Where the field asks for it: CIS Docker Benchmark, Pod Security Standards, NIST SP 800-190.
    pub references: &'static [&'static str],
    /// Changes the config; one line per change.
    pub harden: fn(&mut Config, &Facts<'_>, &mut Outcome) -> Result<()>,
}

/// What the rules found and did.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// (rule, what was changed).
    pub changes: Vec<(&'static str, String)>,
    /// What the user has to know even with `--quiet`.
    pub warnings: Vec<String>,
    /// The rootfs gets an idmapped mount.
    pub idmap_root: bool,
    /// `MOUNT_ATTR_*` of the rootfs.
    pub root_attrs: u64,
    /// The rootfs is the host's root, whose own mount alone is shown.
    pub root_alone: bool,
    /// No /dev/tty, which would be the host's own.
    pub no_tty: bool,
    /// The user who makes the user namespace, where that is not the caller.
    pub userns_owner: Option<u32>,
    /// The built-in seccomp profile is loaded.
    pub builtin_seccomp: bool,
    /// System calls that it lets run whatever its table says.
    pub seccomp_allow: Vec<String>,
    /// The user that the policy chose in place of root.
    pub picked: Option<u32>,
    /// The container gets a pty.
    pub pty: bool,
    /// Only for those of the descriptors 0 to 2 that are the caller's terminal.
    pub pty_for_terminals: bool,
    rule: &'static str,
}

impl Outcome {
    fn note(&mut self, text: impl Into<String>) {
        self.changes.push((self.rule, text.into()));
    }

    /// Warns of an `--allow NAME` that changes nothing, with the reason.
    fn no_effect(&mut self, name: &str, why: &str) {
        self.warnings.push(format!("--allow {name} has no effect: {why}"));
    }
}

/// Applies the rules of `facts.policy` to `config`.
pub fn apply(config: &mut Config, facts: &Facts<'_>) -> Result<Outcome> {
    facts.asked.check()?;
    let mut outcome = Outcome::default();
    for name in &facts.asked.allow {
        let since =
            ALLOW_SINCE.iter().find(|(known, _)| known == name).map_or(Policy::Restricted, |(_, p)| *p);
        if facts.policy < since {
            outcome.no_effect(name, "the policy in force does not take it away (--policy)");
        }
    }
    for rule in RULES.iter().filter(|r| facts.policy >= r.since) {
        outcome.rule = rule.id;
        (rule.harden)(config, facts, &mut outcome)?;
    }
    Ok(outcome)
}
