//! Options about the network.

use super::super::network;
use super::heading::NETWORK;
use super::verbs::{CONFIG, RUN};
use super::{Row, Says};
use crate::config::network::{MOST, MOST_PORTS, parse_rule};

/// The rows.
pub(super) const ROWS: &[Row] = &[
    Row::new(
        "allow-net",
        NETWORK,
        CONFIG,
        Says::Each("NAME[:PORT]", |l, v| {
            let rule = parse_rule(v)?;
            l.network.rules.retain(|r| r.to != rule.to || r.port != rule.port);
            l.network.rules.push(rule);
            if l.network.rules.len() > MOST || l.network.ports().len() > MOST_PORTS {
                return Err(format!("at most {MOST} rules and {MOST_PORTS} ports are possible"));
            }
            Ok(())
        }),
        "Let the program connect to a name (port 443 unless :PORT), to names below one (*.NAME), or to an ADDRESS:PORT; \
         nothing else",
    )
    .more(
        "The container has no network but this: names are looked up outside, other names are refused without a question \
         to anyone, and tools need no settings. A name must not lead to a loopback, private, link-local or multicast \
         address, or to this host's own, unless another rule names the address and the port. On port 443 the server name \
         of TLS, and on port 80 the host of every request, must be the name; NAME:PORT,any-sni lifts that. Only TCP. \
         What was refused is printed at the end with the rule that would allow it",
    )
    .effect(network::apply)
    .values(
        &["api.example.org", "*.example.org:80", "10.0.0.5:5432", "[2001:db8::1]:80", "a.example.org,any-sni"],
        &["", "*", "*:443", "a.org:0", "a.org:x", "a b", "a.org:53", "a.org,what", "0.0.0.0:80", "http://a.org"],
    ),
    Row::new(
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
