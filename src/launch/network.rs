//! What the network's options do to the config.

use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::value::Launch;
use crate::bundle::Bundle;
use crate::config::network::{Network, NetworkMode};
use crate::config::{Config, Namespace, RuntimeFile};
use crate::error::{Error, Result};
use crate::network::{RESOLV, RESOLV_CONF};
use crate::policy::names::Names;
use crate::policy::{Change, Facts, Policy};
use crate::sys::fs;
use crate::tables::namespaces::NsKind;

/// `NSFS_MAGIC`.
const NSFS: i64 = 0x6e73_6673;

const HOSTS: &str = "/etc/hosts";

/// /etc/hosts as it is shown inside. Names with an address of the caller's choice are the resolver's where there is one.
fn hosts(config: &Config, by_name: bool) -> String {
    let own = config.hostname.as_ref().map(|name| format!("127.0.0.1\t{name}\n")).unwrap_or_default();
    let given = config.network.hosts.iter().filter(|_| !by_name);
    let given: String = given.map(|(name, address)| format!("{address}\t{name}\n")).collect();
    format!("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n{own}{given}")
}

/// Adds the network of the policy file to a launch whose network is its own. A network that was asked for, `none`
/// included, is the whole of it; a config that is used as written is, too.
pub fn add_names(launch: &mut Launch, names: &Names) -> Result<()> {
    let network = &launch.network;
    let asked = network.joined.is_some() || network.pasta.is_some() || network.cni.is_some();
    let host = launch.overrides.allows("host-net") || launch.options.contains(&"network");
    if names.is_empty() || asked || host || launch.policy() == Policy::Privileged {
        return Ok(());
    }
    names.add_to(&mut launch.network).map_err(|e| Error::msg(format!("{}: {e}", names.file)))
}

/// `--network none` and `--network host` hold on every config; without either a policy that hardens nothing leaves the
/// config's namespace as it is.
fn as_asked(
    asked: Option<NetworkMode>,
    facts: &Facts<'_>,
    config: &mut Config,
    changes: &mut Vec<Change>,
) -> Result<()> {
    let had = config.namespace(NsKind::Net).cloned();
    let joined = had.as_ref().and_then(|n| n.path.as_ref()).map(|path| path.display().to_string());
    let instead = joined
        .clone()
        .unwrap_or_else(|| if had.is_some() { "a new one".into() } else { "the host's".into() });
    match asked {
        Some(NetworkMode::None) if facts.overrides.allows("host-net") => {
            return Err(Error::msg("--network none with --allow host-net: leave one out"));
        }
        Some(NetworkMode::None) if !config.is_new(NsKind::Net) => {
            config.namespaces.retain(|n| n.kind != NsKind::Net);
            config.namespaces.push(Namespace { kind: NsKind::Net, path: None });
            let text = format!("a new network namespace with nothing in it, as asked, instead of {instead}");
            changes.push(Change::new("network", text));
        }
        // Of a new one the policy says so, where it hardens.
        Some(NetworkMode::Host)
            if joined.is_some() || (had.is_some() && facts.policy == Policy::Privileged) =>
        {
            config.namespaces.retain(|n| n.kind != NsKind::Net);
            let text = format!("the host's network namespace, as asked, instead of {instead}");
            changes.push(Change::weaker("network", text));
        }
        _ => {}
    }
    Ok(())
}

/// `--allow-net`, `--audit-log`.
pub(super) fn apply(
    launch: &Launch,
    facts: &Facts<'_>,
    config: &mut Config,
    changes: &mut Vec<Change>,
) -> Result<()> {
    let network = &launch.network;
    if network.audit && !network.is_used() {
        return Err(Error::msg(
            "--audit-log: there is nothing to write down without --allow-net or --publish",
        ));
    }
    let host = facts.overrides.allows("host-net");
    as_asked(network.asked, facts, config, changes)?;
    if let Some(text) = contradiction(network, host) {
        return Err(Error::msg(text));
    }
    if let Some(text) = taken_port(network) {
        return Err(Error::msg(text));
    }
    config.network.clone_from(network);
    super::cni::apply(facts, config, changes)?;
    if let Some(name) = &network.pasta {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let found = std::env::split_paths(&path).map(|dir| dir.join(name)).find(|p| p.is_file());
        config.network.pasta = Some(found.ok_or_else(|| {
            Error::msg("--network pasta: pasta is not installed (Debian and Fedora: the package passt)")
        })?);
        changes.push(Change::weaker(
            "network",
            "the program reaches what this host reaches, by way of pasta(1), but its loopback and metadata addresses",
        ));
    }
    if let Some(path) = &network.joined {
        // nsfs: what else is there is no namespace.
        if !crate::sys::cstr::cpath(path).is_ok_and(|p| fs::path_magic(&p) == Ok(NSFS)) {
            return Err(Error::msg(format!(
                "--network netns:{0}: no namespace is there: `ip netns add NAME` makes /run/netns/NAME",
                path.display()
            )));
        }
        config.namespaces.retain(|n| n.kind != NsKind::Net);
        config.namespaces.push(Namespace { kind: NsKind::Net, path: Some(path.clone()) });
    }
    report(network, changes);
    Ok(())
}

/// Why these options cannot stand together.
fn contradiction(network: &Network, host: bool) -> Option<&'static str> {
    Some(match (network.rules.is_empty(), network.published.is_empty()) {
        (false, _) if host => {
            "--allow-net with --network host: the host's network knows no names, so every host could be reached: leave one out"
        }
        (_, false) if host => {
            "--publish with --network host: the program's ports are the host's already: leave one out"
        }
        (false, _) if network.pasta.is_some() => {
            "--allow-net with --network pasta: every host could be reached: leave one out"
        }
        (true, _)
            if !host && network.pasta.is_none() && network.cni.is_none() && !network.servers.is_empty() =>
        {
            "--dns: no server can be reached without a network: --allow-net or --network"
        }
        _ => return None,
    })
}

/// A port inside that is published, and is the helper's: no program could listen on it.
fn taken_port(network: &Network) -> Option<String> {
    let taken = |port: u16| network.rules.iter().find(|rule| rule.port == port);
    let (published, rule) = network.published.iter().find_map(|p| Some((p, taken(p.port)?)))?;
    Some(format!(
        "--publish {published} with --allow-net {rule}: port {} inside is the helper's, which takes the program's connections to \
         {rule}: publish another port of the program",
        published.port
    ))
}

/// What the program reaches, and what reaches the program.
fn report(network: &Network, changes: &mut Vec<Change>) {
    let rules: Vec<_> = network.rules.iter().map(ToString::to_string).collect();
    if !rules.is_empty() {
        changes.push(Change::weaker("network", format!("the program may connect to {}", rules.join(", "))));
    }
    if let Some((file, rules)) = &network.of_file {
        let rules = rules.join(", ");
        changes.push(Change::weaker("network", format!("of these the policy file {file} allows {rules}")));
    }
    let ports: Vec<_> = network.published.iter().map(ToString::to_string).collect();
    if !ports.is_empty() {
        let ports = ports.join(", ");
        changes.push(Change::weaker(
            "network",
            format!("the program's ports are reached from outside: {ports}"),
        ));
    }
}

/// Once the policy has decided about namespaces: what the container must have, and what is shown in it.
pub fn after_policy(config: &mut Config, bundle: &Bundle, changes: &mut Vec<Change>) -> Result<()> {
    super::cni::after_policy(config, changes)?;
    let network = &config.network;
    let flag = match (network.rules.is_empty(), network.published.is_empty()) {
        _ if network.cni.is_some() => "--network cni:NAME",
        (false, _) => "--allow-net",
        (true, false) => "--publish",
        (true, true) if network.pasta.is_some() => "--network pasta",
        (true, true) if network.joined.is_some() => "--network netns:PATH",
        (true, true) if network.hosts.is_empty() && network.servers.is_empty() => return Ok(()),
        (true, true) => "--add-host",
    };
    if config.hardening.bare {
        let text = format!("{flag} needs namespaces, which this machine does not give (safebox doctor)");
        return Err(Error::msg(text));
    }
    if (network.is_used() || network.pasta.is_some() || network.cni.is_some()) && !config.is_new(NsKind::Net)
    {
        return Err(Error::msg(format!(
            "{flag}: the container has no network namespace of its own: the config joins one, or has the host's"
        )));
    }
    if config.network.is_used() {
        crate::network::harden::filter()?;
    }
    config.network.v6 = Path::new("/proc/sys/net/ipv6").exists();
    config.network.packets = crate::sys::net::has_packets();
    let by_name = !config.network.rules.is_empty();
    // Without the file libc, musl, Go and others ask 127.0.0.1, which is right for names that rules allow.
    let resolv = match (by_name, config.network.servers.is_empty()) {
        (true, _) => Some(RESOLV_CONF.to_string()),
        (false, false) => {
            let line = |server: &std::net::SocketAddr| format!("nameserver {}\n", server.ip());
            Some(config.network.servers.iter().map(line).collect())
        }
        (false, true) => config.network.cni.is_some().then(super::cni::resolv),
    };
    let spare = by_name || config.network.servers.is_empty();
    show(config, bundle, RESOLV, resolv, spare)?;
    // Addresses of the host's file lead nowhere inside: such names are looked up outside.
    let hosts = (by_name || !config.network.hosts.is_empty()).then(|| hosts(config, by_name));
    show(config, bundle, HOSTS, hosts, by_name)
}

/// Shows a file at this place; where none is there that could be covered, it is an error unless it can be done without.
fn show(
    config: &mut Config,
    bundle: &Bundle,
    path: &str,
    content: Option<String>,
    spare: bool,
) -> Result<()> {
    let Some(content) = content else { return Ok(()) };
    if is_shown(config, bundle, Path::new(path), 8) {
        config.files.push(RuntimeFile { path: path.into(), content: content.into() });
    } else if !spare {
        return Err(Error::msg(format!(
            "--add-host, --dns: the root file system has no {path} that could be covered: make an empty one in it"
        )));
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
pub fn open_audit(path: &Path) -> Result<(OwnedFd, bool)> {
    let failed = |why: String| Error::msg(format!("--audit-log {}: {why}", path.display()));
    let mut options = std::fs::OpenOptions::new();
    options.append(true).mode(0o600).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    let (file, new) = match options.clone().create_new(true).open(path) {
        Ok(file) => (file, true),
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
            (options.open(path).map_err(|e| failed(e.to_string()))?, false)
        }
        Err(e) => return Err(failed(e.to_string())),
    };
    match file.metadata().map(|meta| meta.is_file()) {
        Ok(true) => Ok((file.into(), new)),
        Ok(false) => Err(failed("a regular file is needed".into())),
        Err(e) => Err(failed(e.to_string())),
    }
}
