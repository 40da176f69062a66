//! The layers that make a config, lowest first: the container defaults or a bundle's config.json, then the
//! command line's options, then the policy. Each layer returns its changes.

use std::path::{Path, PathBuf};

use super::options;
use super::value::{Launch, RootSource};
use super::volumes::{bind, home};
use crate::bundle::Bundle;
use crate::config::defaults::{ENVIRONMENT, HOST_TREES, MASKED, PASSED, PATH, READONLY, STANDARD};
use crate::config::{Config, SeccompGuard, parse};
use crate::error::{Error, Result};
use crate::host::Host;
use crate::policy::{self, Change, Facts, HardenResult, row_mount};
use crate::tables::namespaces::{NAMESPACES, NsKind};

/// The lowest layer: config.json, or the table of container defaults.
pub fn base(launch: &Launch, host: &Host) -> Result<(Bundle, Config)> {
    match &launch.root {
        RootSource::Bundle(dir) => Bundle::open(dir),
        RootSource::Directory(dir) => {
            let config = defaults(dir)?;
            Ok((Bundle::of_directory(dir)?, config))
        }
        RootSource::Host => {
            let config = of_host(host)?;
            Ok((Bundle::of_directory(Path::new("/"))?, config))
        }
    }
}

/// Applies options, then the policy, to the lowest layer.
pub fn harden(launch: &Launch, facts: &Facts<'_>, config: &mut Config) -> Result<HardenResult> {
    let mut changes = options::apply(launch, facts, config)?;
    changes.extend(this_machine(launch));
    if launch.root == RootSource::Host && !launch.process.env.iter().any(sets_home) {
        config.hardening.home = home().or_else(|| Some("/run/home".into()));
    }
    if config.process.as_ref().is_some_and(|p| p.args.is_empty()) {
        return Err(Error::msg("a program is required: safebox run ... -- PROGRAM ARGUMENT..."));
    }
    let mut outcome = policy::apply(config, facts)?;
    changes.append(&mut outcome.changes);
    outcome.changes = changes;
    super::network::after_policy(config, facts.bundle, &mut outcome.changes)?;
    parse::check(config)?;
    Ok(outcome)
}

/// `--rootfs /` shows this machine's files to the program.
fn this_machine(launch: &Launch) -> Option<Change> {
    let RootSource::Directory(dir) = &launch.root else { return None };
    let whole = std::fs::canonicalize(dir).is_ok_and(|dir| dir == Path::new("/"));
    let home = home().map(|home| format!(", {} among them", home.display())).unwrap_or_default();
    whole.then(|| {
        Change::weaker(
            "files",
            format!(
                "--rootfs /: all files of this machine that the program's user may read are inside{home}"
            ),
        )
    })
}

fn sets_home(option: &super::value::EnvOption) -> bool {
    matches!(option, super::value::EnvOption::Set(entry) if entry.starts_with("HOME="))
        || matches!(option, super::value::EnvOption::Pass(name) if name == "HOME")
}

/// The container defaults around a root file system.
fn defaults(root: &Path) -> Result<Config> {
    let namespaces: Vec<_> = NAMESPACES
        .iter()
        .filter(|row| !matches!(row.kind, NsKind::User | NsKind::Time))
        .map(|row| serde_json::json!({ "type": row.oci }))
        .collect();
    let root = std::path::absolute(root).unwrap_or_else(|_| root.to_path_buf());
    let root = root.to_str().ok_or_else(|| Error::msg("--rootfs: the path is not valid UTF-8"))?;
    let json = serde_json::json!({
        "ociVersion": crate::config::features::OCI_VERSIONS.1,
        // The options layer sets the program.
        "process": { "args": [""], "cwd": "/", "env": [PATH] },
        "root": { "path": root },
        "linux": { "namespaces": namespaces, "maskedPaths": MASKED, "readonlyPaths": READONLY },
    });
    let mut config = parse::from_slice(json.to_string().as_bytes())?;
    config.mounts = STANDARD.iter().map(|row| row_mount(row, None)).collect();
    if let Some(process) = config.process.as_mut() {
        process.args.clear();
    }
    Ok(config)
}

/// This machine's programs, and no other files of the host.
fn of_host(host: &Host) -> Result<Config> {
    let mut config = defaults(Path::new("/"))?;
    config.root.empty = true;
    config.hostname = Some("safebox".into());
    for tree in trees() {
        let Ok(meta) = tree.symlink_metadata() else { continue };
        if meta.is_symlink() {
            let to = std::fs::read_link(&tree).map_err(|e| Error::msg(format!("{}: {e}", tree.display())))?;
            config.links.push((tree, to));
        } else if meta.is_dir() {
            let mut mount = bind(&tree, &tree, false, "")?;
            mount.volume = None;
            config.mounts.push(mount);
        }
    }
    if let Some(process) = config.process.as_mut() {
        process.env = environment();
        if let Some(rootless) = &host.rootless {
            (process.user.uid, process.user.gid) = (host.euid, rootless.egid);
        }
    }
    Ok(config)
}

/// [`HOST_TREES`], and the existing directories /lib32, /lib64 and so on.
fn trees() -> Vec<PathBuf> {
    let mut trees: Vec<PathBuf> = HOST_TREES.iter().map(PathBuf::from).collect();
    let entries = std::fs::read_dir("/").into_iter().flatten().flatten();
    let libs = entries.map(|e| e.path()).filter(|p| p.to_str().is_some_and(|p| p.starts_with("/lib")));
    trees.extend(libs);
    trees.sort();
    trees.dedup();
    trees
}

/// Variables that are passed from the caller's environment, and the one that identifies the sandbox.
fn environment() -> Vec<String> {
    let mut env: Vec<String> = PASSED.iter().filter_map(|name| options::passed(name)).collect();
    if !env.iter().any(|entry| entry.starts_with("PATH=")) {
        env.push(PATH.into());
    }
    if let Some(home) = home() {
        env.push(format!("HOME={}", home.display()));
    }
    env.push(ENVIRONMENT.into());
    env
}

/// The read-only paths whose owner the program's user stands for: also files that are closed to other users can be read there.
fn owned(config: &Config) -> String {
    let mapped =
        config.mounts.iter().filter(|m| m.volume.is_some() && m.idmap.is_some() && m.overlay.is_none());
    let read = mapped.filter(|m| !policy::is_writable(m));
    read.map(|m| format!(", reads {} as its owner", m.destination.display())).collect()
}

/// A summary of the hardened config in one line: `restricted: no network, ...`.
pub fn summary(config: &Config, policy: policy::Policy, changes: &[Change]) -> String {
    let resources = &config.resources;
    let network = match (config.is_new(NsKind::Net), config.network.rules.is_empty()) {
        (true, _) if config.network.cni.is_some() => "a network of plugins",
        (true, true) if config.network.pasta.is_some() => "the host's network by way of pasta",
        (true, true) => "no network",
        (true, false) => "a network by name",
        (false, _) if config.namespace(NsKind::Net).is_some() => "another network",
        (false, _) => "the host's network",
    };
    let bare = config.hardening.bare;
    let network = if bare && config.hardening.guards.contains(&SeccompGuard::NoInternet) {
        "no network"
    } else {
        network
    };
    let root = match (bare, config.root.readonly) {
        (true, _) => "files by Landlock alone",
        (false, true) => "/ read-only",
        (false, false) => "/ writable",
    };
    let memory = match resources.memory.limit {
        Some(bytes) if bytes > 0 => format!("memory {}", crate::tables::sizes::text(bytes)),
        _ => "memory unlimited".into(),
    };
    let cpu = match (resources.cpu.quota, resources.cpu.period) {
        (Some(quota), period) if quota > 0 => {
            format!("{} cpu", quota as f64 / period.unwrap_or(100_000) as f64)
        }
        _ => "all cpus".into(),
    };
    let pids = match resources.pids_limit {
        Some(n) if n > 0 => format!("{n} processes"),
        _ => "processes unlimited".into(),
    };
    let user =
        config.process.as_ref().map(|p| format!("user {}:{}", p.user.uid, p.user.gid)).unwrap_or_default();
    let owned = owned(config);
    format!(
        "{policy}: {network}, {root}, {user}, {memory}, {cpu}, {pids}{owned} (--verbose lists {} changes)",
        changes.len()
    )
}
