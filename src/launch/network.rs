//! What the network's options do to the config.

use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::value::Launch;
use crate::bundle::Bundle;
use crate::config::{Config, ShownFile};
use crate::error::{Error, Result};
use crate::network::RESOLV_CONF;
use crate::policy::{Change, Facts};
use crate::tables::namespaces::NsKind;

const RESOLV: &str = "/etc/resolv.conf";
const HOSTS: &str = "/etc/hosts";

/// /etc/hosts as it is shown inside.
fn hosts(own: Option<&str>) -> String {
    let own = own.map(|name| format!("127.0.0.1\t{name}\n")).unwrap_or_default();
    format!("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n{own}")
}

/// `--allow-net`, `--audit-log`.
pub(super) fn apply(
    launch: &Launch,
    facts: &Facts<'_>,
    config: &mut Config,
    changes: &mut Vec<Change>,
) -> Result<()> {
    if launch.network.rules.is_empty() {
        if launch.network.audit {
            return Err(Error::msg("--audit-log: there is nothing to write down without --allow-net"));
        }
        return Ok(());
    }
    if facts.overrides.allows("host-net") {
        return Err(Error::msg(
            "--allow-net with --network host: the host's network knows no names, so every host could be reached: leave one out",
        ));
    }
    config.network.clone_from(&launch.network);
    let rules: Vec<_> = launch.network.rules.iter().map(ToString::to_string).collect();
    changes.push(Change::weaker("network", format!("the program may connect to {}", rules.join(", "))));
    Ok(())
}

/// Once the policy has decided about namespaces: what the container must have, and what is shown in it.
pub fn settle(config: &mut Config, bundle: &Bundle) -> Result<()> {
    if !config.network.is_used() {
        return Ok(());
    }
    if config.hardening.bare {
        return Err(Error::msg(
            "--allow-net needs a network namespace, which this machine does not give (safebox doctor)",
        ));
    }
    if !config.is_new(NsKind::Net) {
        return Err(Error::msg(
            "--allow-net: the container has no network namespace of its own: the config joins one, or has the host's",
        ));
    }
    config.network.v6 = Path::new("/proc/sys/net/ipv6").exists();
    // Without the file libc, musl, Go and others ask 127.0.0.1, which is right.
    if is_shown(config, bundle, Path::new(RESOLV), 8) {
        config.files.push(ShownFile { path: RESOLV.into(), content: RESOLV_CONF.into() });
    }
    // Addresses of the host's file lead nowhere inside: such names are looked up outside.
    if is_shown(config, bundle, Path::new(HOSTS), 8) {
        let content = hosts(config.hostname.as_deref());
        config.files.push(ShownFile { path: HOSTS.into(), content: content.into() });
    }
    Ok(())
}

/// Whether a file is at this place inside, as far as that can be known now.
fn is_shown(config: &Config, bundle: &Bundle, path: &Path, links: u8) -> bool {
    let over = config.mounts.iter().filter(|m| path.starts_with(&m.destination));
    let Some(mount) = over.max_by_key(|m| m.destination.components().count()) else {
        let below = path.strip_prefix("/").unwrap_or(path);
        return !config.root.empty
            && bundle.account_file(&below.to_string_lossy()).is_some()
            && stays(&bundle.rootfs_path.join(below), path, links, |to| {
                is_shown(config, bundle, to, links - 1)
            });
    };
    let (Some(_), Some(source)) = (mount.bind, mount.source.as_deref()) else { return false };
    let below = path.strip_prefix(&mount.destination).unwrap_or(Path::new(""));
    let on_host =
        if below.as_os_str().is_empty() { PathBuf::from(source) } else { Path::new(source).join(below) };
    // A bind mount's own source is followed outside.
    let file = below.as_os_str().is_empty() && on_host.is_file();
    file || stays(&on_host, path, links, |to| is_shown(config, bundle, to, links - 1))
}

/// A regular file, or a symlink to a place where one is.
fn stays(on_host: &Path, path: &Path, links: u8, shown: impl Fn(&Path) -> bool) -> bool {
    let Ok(meta) = on_host.symlink_metadata() else { return false };
    if !meta.is_symlink() {
        return meta.is_file();
    }
    let Ok(to) = std::fs::read_link(on_host) else { return false };
    let mut place = path.parent().unwrap_or(Path::new("/")).to_path_buf();
    for part in to.components() {
        match part {
            std::path::Component::RootDir => place = PathBuf::from("/"),
            std::path::Component::ParentDir => drop(place.pop()),
            std::path::Component::Normal(name) => place.push(name),
            std::path::Component::CurDir | std::path::Component::Prefix(_) => {}
        }
    }
    links > 0 && shown(&place)
}

/// The audit file, for appending; it is made for its owner alone.
pub fn open_audit(path: &Path) -> Result<OwnedFd> {
    let failed = |why: String| Error::msg(format!("--audit-log {}: {why}", path.display()));
    let file = std::fs::OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)
        .map_err(|e| failed(e.to_string()))?;
    match file.metadata().map(|meta| meta.is_file()) {
        Ok(true) => Ok(file.into()),
        Ok(false) => Err(failed("a regular file is needed".into())),
        Err(e) => Err(failed(e.to_string())),
    }
}
