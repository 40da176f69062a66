//! What a launch loses on this machine's rung: the config and the overrides follow, and each loss is a change.

use std::path::Path;

use super::{LadderReport, MissingLayer, Rung, cgroup_writable, look, no_cgroup};
use crate::config::{Config, SeccompGuard, idmap};
use crate::error::{Error, Result};
use crate::host::Host;
use crate::launch::value::{Launch, RootSource};
use crate::policy::{Change, NONROOT, Overrides, Policy, SeccompAsk};
use crate::sys::probe::Namespaces;

/// Heading of the ladder's changes.
pub const HEADING: &str = "ladder";

/// Capability numbers of capabilities(7).
const CAP_SETGID: u32 = 6;
const CAP_SETUID: u32 = 7;
const CAP_SYS_ADMIN: u8 = 21;

/// What the layers that are missing would guard. `--require` refuses it.
fn unguarded(launch: &Launch, report: &LadderReport) -> Result<Vec<Change>> {
    let mut changes = Vec::new();
    for status in &report.layers {
        let Some(missing) = &status.missing else { continue };
        if launch.life.require.iter().any(|name| name == status.name) {
            return Err(Error::msg(format!(
                "--require {}: {} (safebox doctor): {}",
                status.name, missing.why, missing.lift
            )));
        }
        let text = lost((report.lacks(status.name), report.asset(status.name)), missing);
        // Landlock is a second protection next to mounts, and an id range next to the user namespace: no
        // warning.
        let second = matches!(status.name, "landlock" | "id-range");
        changes.push(if second { Change::new(HEADING, text) } else { Change::weaker(HEADING, text) });
    }
    if changes.iter().any(|change| change.weaker) {
        changes.insert(0, Change::weaker(HEADING, format!("{RUNG}{}", report.rung)));
    }
    Ok(changes)
}

/// Start of the change that names the rung.
const RUNG: &str = "rung: ";

/// The consequence of a missing layer: what is lacking, and what it guarded.
fn lost((lacks, asset): (&str, &str), missing: &MissingLayer) -> String {
    format!("no {lacks}: {asset} ({})", missing.why)
}

/// The ladder's weaker changes in one line; `None` without any.
pub fn summary(texts: &[&str]) -> Option<String> {
    let rung = texts.iter().find_map(|text| text.strip_prefix(RUNG));
    let (missing, others): (Vec<&str>, Vec<&str>) =
        texts.iter().filter(|text| !text.starts_with(RUNG)).partition(|text| text.starts_with("no "));
    match (rung, missing.as_slice(), others.as_slice()) {
        (_, [], []) => None,
        (Some(rung), [_, _, ..], _) | (Some(rung), [_], [_, ..]) => {
            let name = |text: &&str| text["no ".len()..].split(':').next().unwrap_or_default().to_string();
            let names: Vec<_> = missing.iter().map(name).collect();
            let others: String = others.iter().map(|text| format!("; {text}")).collect();
            Some(format!(
                "{HEADING}: {rung}: no {}{others} (--verbose and safebox doctor say why)",
                names.join(", no ")
            ))
        }
        _ => Some(format!("{HEADING}: {}", [missing, others].concat().join("; "))),
    }
}

/// Removes from the config what this machine cannot provide, and reports the missing layers. A layer in
/// `--require` is an error.
pub fn climb(
    launch: &Launch,
    host: &Host,
    config: &mut Config,
    overrides: &mut Overrides,
) -> Result<Vec<Change>> {
    if launch.root != RootSource::Host || launch.policy() < Policy::Restricted {
        return match launch.life.require.first() {
            Some(name) => Err(Error::msg(format!(
                "--require {name}: only for the host's programs under --policy restricted"
            ))),
            None => Ok(without_cgroup(launch, host, overrides)),
        };
    }
    let report = look(host)?;
    let mut changes = unguarded(launch, &report)?;
    let lacks = |name: &str| report.layers.iter().any(|s| s.name == name && s.missing.is_some());
    if lacks("cgroup") {
        overrides.no_cgroups = true;
    }
    if !matches!(report.rung, Rung::Bare | Rung::None) {
        changes.extend(leave_out(&report.tried, config));
    }
    match report.rung {
        Rung::Full => {}
        Rung::HostIds => overrides.allow.push("host-user".into()),
        Rung::SharedProc => config.hardening.shared_proc = true,
        Rung::Bare => {
            keeps_guards(overrides)?;
            let may_change = [CAP_SETGID, CAP_SETUID].iter().all(|cap| host.caps & 1 << cap != 0);
            let why = match (may_change, maps(host, NONROOT)) {
                (true, true) => None,
                (false, _) => Some("it has no privilege to change the user"),
                (true, false) => Some("no other id is mapped here"),
            };
            if let Some(why) = why.filter(|_| host.euid == 0) {
                overrides.allow.push("root".into());
                let text = format!("runs as root of this container, without capabilities: {why}");
                changes.push(Change::weaker(HEADING, text));
            }
            bare(config, overrides);
        }
        Rung::None => {
            return Err(Error::msg(if lacks("seccomp") {
                "no seccomp filter can be loaded here: the kernel's system calls would be unprotected, so safebox \
                 refuses to run (safebox doctor names the remedy)"
            } else {
                "no namespace can be created here, and the kernel has no Landlock: this machine's files would \
                 be unprotected, so safebox refuses to run (safebox doctor names the remedy)"
            }));
        }
    }
    Ok(changes)
}

/// Without a cgroup, no limits: as on the ladder for a directory as root file system, and under `baseline`. A limit that an
/// option asks for is an error, and so is one of a bundle's config.
fn without_cgroup(launch: &Launch, host: &Host, overrides: &mut Overrides) -> Vec<Change> {
    let defaults = launch.policy() >= Policy::Baseline && !matches!(launch.root, RootSource::Bundle(_));
    if !defaults || overrides.no_cgroups || cgroup_writable(host) {
        return Vec::new();
    }
    overrides.no_cgroups = true;
    let asset = super::asset("cgroup");
    let lost = |missing| Change::weaker(HEADING, lost(("cgroup", asset), missing));
    no_cgroup(host).iter().map(lost).collect()
}

/// Whether the caller's user namespace has this id, as user and as group.
fn maps(host: &Host, id: u32) -> bool {
    let has = |ids: &Vec<_>| idmap::to_host(ids, id).is_some();
    host.rootless.as_ref().is_none_or(|rootless| has(&rootless.ids.0) && has(&rootless.ids.1))
}

/// Refuses an option that takes away one of the three guards of the last rung. The filter must be the built-in one, beside
/// which a profile of the caller's own is loaded: what that alone would refuse is not known.
fn keeps_guards(overrides: &Overrides) -> Result<()> {
    let filter = "the built-in system call filter";
    let taken = [
        ("--seccomp unconfined", filter, overrides.seccomp == SeccompAsk::Unconfined),
        ("--seccomp config", filter, overrides.seccomp == SeccompAsk::Config),
        ("--allow new-privileges", "no_new_privs", overrides.allows("new-privileges")),
        ("--cap-add SYS_ADMIN", "Landlock", overrides.cap_add.has(CAP_SYS_ADMIN)),
    ];
    match taken.iter().find(|(.., taken)| *taken) {
        Some((flag, guard, _)) => Err(Error::msg(format!(
            "{flag}: no namespace can be created here, so {guard} must guard this machine: leave the option out, or enable \
             namespaces (safebox doctor)"
        ))),
        None => Ok(()),
    }
}

/// Leaves out what a surrounding container refuses in new namespaces, and nothing depends on.
fn leave_out(tried: &Namespaces, config: &mut Config) -> Vec<Change> {
    let mut changes = Vec::new();
    let sysfs = config.mounts.iter_mut().find(|m| m.fs_type.as_deref() == Some("sysfs"));
    if let Some(mount) = sysfs.filter(|_| tried.sys.is_some()) {
        (mount.fs_type, mount.source) = (Some("tmpfs".into()), Some("hidden".into()));
        mount.data = vec![("size".into(), Some("64k".into())), ("mode".into(), Some("0555".into()))];
        changes.push(Change::new(
            HEADING,
            "/sys is empty: this container covers parts of its own, and the kernel then refuses a new sysfs",
        ));
    }
    if tried.hostname.is_some() {
        (config.hostname, config.domainname) = (None, None);
        changes.push(Change::new(
            HEADING,
            "the host name is this container's: its filter refuses sethostname(2)",
        ));
    }
    changes
}

fn bare(config: &mut Config, overrides: &mut Overrides) {
    config.hardening.bare = true;
    config.namespaces.clear();
    config.mounts.retain(|m| m.bind.is_some());
    (config.hostname, config.domainname) = (None, None);
    (config.masked_paths, config.readonly_paths) = (Vec::new(), Vec::new());
    config.links.clear();
    if !overrides.allows("host-net") {
        config.hardening.guards.push(SeccompGuard::NoInternet);
    }
    // Without namespaces there is no new devpts.
    (overrides.stdin_is_tty, overrides.stdout_is_tty) = (false, false);
}

/// Refuses options that need a mount namespace, and users that only a user namespace could map.
pub fn check_bare(config: &Config, host: &Host) -> Result<()> {
    if !config.hardening.bare {
        return Ok(());
    }
    let user = config.process.as_ref().map(|p| p.user.uid).filter(|_| host.euid == 0);
    if let Some(uid) = user.filter(|uid| !maps(host, *uid)) {
        return Err(Error::msg(format!(
            "--user {uid}: this id is not mapped here, and no user namespace can be created (safebox doctor): use --user 0"
        )));
    }
    let needs = |what: String| {
        Err(Error::msg(format!(
            "{what} needs a mount namespace, which cannot be created here (safebox doctor)"
        )))
    };
    if let Some(secret) = config.secrets.first() {
        return needs(secret.option());
    }
    if let Some(path) = config.masked_paths.first() {
        return needs(format!("--hide {}", path.display()));
    }
    let here = |m: &crate::config::Mount| m.source.as_deref().is_some_and(|s| Path::new(s) == m.destination);
    match config.mounts.iter().find(|m| m.bind.is_none() || !here(m)) {
        Some(mount) => needs(format!("a mount at {}", mount.destination.display())),
        None => Ok(()),
    }
}
