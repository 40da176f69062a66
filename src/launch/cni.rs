//! `--network cni:NAME`: the network's files are read, and what cannot be is refused before anything is made.

use crate::config::Config;
use crate::error::{Error, Result};
use crate::network::cni::{dns, find, programs};
use crate::policy::{Change, Facts};

/// Rights with which the program could go round the routes: it could remove them, or make packets of its own.
const RIGHTS: [&str; 2] = ["CAP_NET_ADMIN", "CAP_NET_RAW"];

/// Reads the network.
pub(super) fn apply(facts: &Facts<'_>, config: &mut Config, changes: &mut Vec<Change>) -> Result<()> {
    let network = &mut config.network;
    let Some(cni) = &mut network.cni else {
        if network.cni_places != crate::config::cni::Places::default() {
            return Err(Error::msg("--cni-path, --cni-netconfpath: they are for --network cni:NAME"));
        }
        return Ok(());
    };
    let failed = |text: &str| Error::msg(format!("--network cni:{}: {text}", cni.name));
    if facts.host.euid != 0 || facts.host.rootless.is_some() {
        return Err(failed(
            "the plugins change the host's network, which root alone may: --allow-net NAME and --network pasta work without",
        ));
    }
    if !network.rules.is_empty() {
        return Err(failed("with --allow-net: every host of that network could be reached: leave one out"));
    }
    if let Some(dir) = network.cni_places.plugins.iter().find(|dir| !dir.is_dir()) {
        return Err(Error::msg(format!("--cni-path {}: no such directory", dir.display())));
    }
    let list = find(network.cni_places.configurations(), &cni.name).map_err(|e| failed(&e))?;
    programs(&list, &network.cni_places.plugins()).map_err(|e| failed(&e))?;
    if !network.published.is_empty() && !list.maps_ports() {
        return Err(failed(
            "--publish: none of its plugins maps ports: add {\"type\": \"portmap\", \"capabilities\": {\"portMappings\": true}}",
        ));
    }
    changes.push(Change::weaker(
        "network",
        format!(
            "the program reaches what network {} reaches (plugins {})",
            cni.name,
            list.types().join(", ")
        ),
    ));
    changes.extend(if network.servers.is_empty() { without_servers(&resolv()) } else { None });
    cni.list = Some(list);
    Ok(())
}

/// Once the policy has decided about capabilities. pasta's network promises less than one of plugins: a notice says so.
pub(super) fn after_policy(config: &Config, changes: &mut Vec<Change>) -> Result<()> {
    let Some(process) = &config.process else { return Ok(()) };
    let has = |name: &&&str| {
        crate::tables::capabilities::parse(name).is_some_and(|bit| process.capabilities.bounding.has(bit))
    };
    let network = &config.network;
    match (RIGHTS.iter().find(has), &network.cni) {
        (Some(right), None) if network.pasta.is_some() => {
            let text = format!("with {right} the program reaches metadata addresses, too");
            changes.push(Change::weaker("network", text));
            Ok(())
        }
        (Some(right), Some(cni)) => Err(Error::msg(format!(
            "--network cni:{}: with {right} the program could reach the cloud's metadata address: leave --cap-add {} out",
            cni.name,
            right.trim_start_matches("CAP_")
        ))),
        _ => Ok(()),
    }
}

/// That no server of the host's can be asked from there, where that is so.
fn without_servers(text: &str) -> Option<Change> {
    let named = text.lines().any(|line| line.trim_start().starts_with("nameserver"));
    (!named).then(|| {
        Change::new(
            "network",
            "no DNS server of the host's can be reached from there: --dns ADDRESS, unless the network names one",
        )
    })
}

/// /etc/resolv.conf until the network names servers of its own.
pub(super) fn resolv() -> String {
    dns::of_host(&std::fs::read_to_string(crate::network::RESOLV).unwrap_or_default())
}
