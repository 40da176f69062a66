//! Options about the network.

use std::path::{Component, Path, PathBuf};

use super::super::network;
use super::super::value::Launch;
use super::heading::NETWORK;
use super::verbs::{CONFIG, RUN};
use super::{OptionRow, Says, ValueResult};
use crate::config::network::{
    MOST_PORTS, NetworkMode, parse_host, parse_published, parse_rule, parse_server,
};

/// The rows.
pub(super) const ROWS: &[OptionRow] = &[
    OptionRow::new(
        "network",
        NETWORK,
        CONFIG,
        Says::One("NETWORK", kind),
        "none: a network of its own with nothing in it, the default; host: the host's; netns:PATH: one that was made before; \
         pasta: the host's by way of pasta(1), without its namespace, loopback and metadata addresses; cni:NAME: one of /etc/cni/net.d, by its plugins (root)",
    )
    .also("net")
    .more(
        "cni:NAME runs ADD and CHECK of the network's plugins once the container's network namespace is there, and DEL \
         whatever the end. The device is called eth0. --publish is the portmap plugin's, the network's DNS servers go to \
         /etc/resolv.conf, a bridge with portIsolation cuts its containers off from each other. With pasta and cni:NAME no \
         container reaches the addresses at which clouds give out credentials (169.254.169.254 and others)",
    )
    .values(
        &["host", "none", "netns:/run/netns/x", "pasta", "cni:podman", "cni:my-net.1"],
        &["", "bridge", "netns:", "netns:x", "netns:/a/../b", "cni:", "cni:../x", "cni:a b"],
    ),
    OptionRow::new(
        "cni-netconfpath",
        NETWORK,
        CONFIG,
        Says::Path("DIR", |l, v| l.network.cni_places.configurations = some(v)),
        "Directory of the networks of --network cni:NAME, in place of /etc/cni/net.d",
    )
    .values(&["/etc/cni/net.d"], &[]),
    OptionRow::new(
        "cni-path",
        NETWORK,
        CONFIG,
        Says::Path("DIR", |l, v| l.network.cni_places.plugins = some(v)),
        "Directory of plugins, searched before /usr/lib/cni and /opt/cni/bin",
    )
    .values(&["/opt/cni/bin"], &[]),
    OptionRow::new(
        "allow-net",
        NETWORK,
        CONFIG,
        Says::Each("NAME[:PORT]", |l, v| {
            let rule = parse_rule(v)?;
            l.network.rules.retain(|r| r.to != rule.to || r.port != rule.port);
            l.network.rules.push(rule);
            l.network.check_rules()
        }),
        "Let the program connect to a name (port 443 unless :PORT), to names below one (*.NAME), or to an ADDRESS:PORT; \
         nothing else",
    )
    .more(
        "The container has no network but this: names are looked up outside, other names are refused without a question \
         to anyone, and tools need no settings. A name must not lead to a loopback, private, link-local or multicast \
         address, or to this host's own, unless another rule names the address and the port. On port 443 the server name \
         of TLS, and on port 80 the host of every request, must be the name; NAME:PORT,any-sni lifts that. Only TCP. \
         Inside, no program can listen on a port that a rule names. \
         What was refused is printed at the end with the rule that would allow it",
    )
    .effect(network::apply)
    .values(
        &["api.example.org", "*.example.org:80", "10.0.0.5:5432", "[2001:db8::1]:80", "a.example.org,any-sni"],
        &["", "*", "*:443", "a.org:0", "a.org:x", "a b", "a.org:53", "a.org,what", "0.0.0.0:80", "http://a.org", "localhost:80"],
    ),
    OptionRow::new(
        "publish",
        NETWORK,
        CONFIG,
        Says::Each("[IP:]HOSTPORT:PORT", |l, v| {
            let published = parse_published(v)?;
            if l.network.published.iter().any(|p| p.address == published.address) {
                return Err("this port of the host is published already".into());
            }
            l.network.published.push(published);
            if l.network.published.len() > MOST_PORTS {
                return Err(format!("at most {MOST_PORTS} ports are possible"));
            }
            Ok(())
        }),
        "Let connections to a port of the host [default address: 127.0.0.1] arrive at a port inside; only TCP",
    )
    .short('p')
    .more(
        "The program listens on 127.0.0.1:PORT or 0.0.0.0:PORT inside. The container needs no address for that, and gets \
         no other way in or out. An unprivileged user may publish ports from 1024 on. 256 connections are possible at once",
    )
    .values(
        &["8080:80", "127.0.0.1:8080:80", "0.0.0.0:8080:80/tcp", "[::1]:8080:80"],
        &["", "80", "8080:", ":80", "x:80", "8080:80/udp", "0:80", "70000:80", "1.2.3:80:80"],
    ),
    OptionRow::new(
        "add-host",
        NETWORK,
        CONFIG,
        Says::Each("NAME:ADDRESS", |l, v| {
            let host = parse_host(v)?;
            l.network.hosts.push(host);
            Ok(())
        }),
        "Give a name an address of your choice: a line of /etc/hosts inside, or with --allow-net the answer of its resolver",
    )
    .values(
        &["db:10.0.0.5", "db=10.0.0.5", "db:[2001:db8::1]", "db:2001:db8::1"],
        &["", "db", "db:x", ":1.2.3.4", "db:host-gateway", "localhost:10.0.0.5"],
    ),
    OptionRow::new(
        "dns",
        NETWORK,
        CONFIG,
        Says::Each("ADDRESS", |l, v| {
            l.network.servers.push(parse_server(v)?);
            Ok(())
        }),
        "Ask this server for names in place of those of the host's /etc/resolv.conf; with --allow-net it is asked outside",
    )
    .values(&["9.9.9.9", "2620:fe::fe"], &["", "x", "9.9.9.9:53", "0.0.0.0", "224.0.0.1", "fe80::1"]),
    OptionRow::new(
        "audit-log",
        NETWORK,
        RUN,
        Says::Path("FILE", |l, v| {
            l.network.audit = true;
            l.life.audit_log = Some(v.into());
        }),
        "Append a line of JSON to FILE for each connection and each refusal of --allow-net: time, name, address, port, \
         bytes, verdict, rule",
    )
    .values(&["/tmp/net.jsonl"], &[]),
];

/// A path as the plan has it; an empty one is none.
fn some(path: &Path) -> Option<PathBuf> {
    (!path.as_os_str().is_empty()).then(|| std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf()))
}

/// `--network`; the last one counts.
fn kind(launch: &mut Launch, value: &str) -> ValueResult {
    launch.overrides.allow.retain(|name| name != "host-net");
    (launch.network.joined, launch.network.pasta, launch.network.cni) = (None, None, None);
    (launch.network.asked, launch.overrides.network) = (None, true);
    if let Some(name) = value.strip_prefix("cni:") {
        crate::config::cni::check_name(name)?;
        launch.network.cni = Some(crate::config::cni::Cni { name: name.into(), list: None });
        return Ok(());
    }
    match value {
        "none" => {
            launch.network.asked = Some(NetworkMode::None);
            return Ok(());
        }
        "pasta" => {
            // Its place is looked up when the launch is prepared.
            launch.network.pasta = Some("pasta".into());
            return Ok(());
        }
        "host" => launch.network.asked = Some(NetworkMode::Host),
        _ => {
            let path = value.strip_prefix("netns:").map(Path::new);
            let plain =
                |p: &&Path| p.components().all(|c| matches!(c, Component::RootDir | Component::Normal(_)));
            let path = path.filter(|p| p.is_absolute() && plain(p) && !value.contains('\0')).ok_or(
                "none (a network of its own, with nothing in it; the default), host, pasta, cni:NAME, or netns:PATH with an absolute path",
            )?;
            launch.network.joined = Some(path.into());
        }
    }
    launch.overrides.allow.push("host-net".into());
    Ok(())
}
