//! Ports of the host that lead into a container.
//!
//! config.json has no property for them: an engine publishes ports itself. Two engines write them into annotations:
//!
//! | engine | annotation |
//! | --- | --- |
//! | CRI-O | `io.kubernetes.cri-o.PortMappings` of a pod's sandbox |
//! | nerdctl 1 | `nerdctl/ports` |

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Known, Place};
use crate::config::Config;

/// CRI-O's annotation, whose ports are `hostPort`s of a pod.
const CRI_O: &str = "io.kubernetes.cri-o.PortMappings";

/// nerdctl's annotation.
const NERDCTL: &str = "nerdctl/ports";

/// Why a config.json shows no ports.
pub const NOT_WRITTEN: &str = "config.json has no ports of the host: the engine publishes them";

/// A port of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortView {
    /// Its number, or a range; empty: the engine chooses a free one.
    pub port: String,
    /// The address on which it is published; empty: every address of the host.
    pub address: String,
    /// It is a `hostPort` of a pod.
    pub of_pod: bool,
    /// Where it is said.
    pub at: Place,
}

impl PortView {
    /// From a value of `docker run --publish`: `[[IP:][HOSTPORT]:]PORT[/PROTOCOL]`.
    pub fn of_publish(text: &str, of_pod: bool, at: Place) -> Self {
        let text = text.split('/').next().unwrap_or_default();
        let (host, _) = text.rsplit_once(':').unwrap_or(("", text));
        // An address of IPv6 has colons of its own.
        let (address, port) = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((address, rest)) => (address, rest.trim_start_matches(':')),
            None => host.rsplit_once(':').unwrap_or_else(|| {
                if host.contains('.') && host.parse::<std::net::IpAddr>().is_ok() {
                    (host, "")
                } else {
                    ("", host)
                }
            }),
        };
        PortView { port: port.into(), address: address.into(), of_pod, at }
    }

    /// Whether every address of the host leads in.
    pub fn is_everywhere(&self) -> bool {
        let address = self.address.parse::<std::net::IpAddr>();
        // A name, or a variable of a shell, is one address.
        self.address.is_empty() || address.is_ok_and(|address| address.is_unspecified())
    }

    /// Whether a port of it is below 1024.
    pub fn is_privileged(&self) -> bool {
        let first = self.port.split('-').next().unwrap_or_default();
        first.parse::<u32>().is_ok_and(|port| (1..1024).contains(&port))
    }
}

/// The ports that a config shows: those that safebox publishes, and those of an engine's annotation.
pub(super) fn of_config(config: &Config) -> Known<Vec<PortView>> {
    let published = config.network.published.iter().map(|port| PortView {
        port: port.address.port().to_string(),
        address: port.address.ip().to_string(),
        of_pod: false,
        at: Place::Pointer(String::new()),
    });
    let mut all: Vec<PortView> = published.collect();
    let mut known = !all.is_empty();
    for (key, of_pod) in [(CRI_O, true), (NERDCTL, false)] {
        let Some(text) = config.annotations.get(key) else { continue };
        let list = serde_json::from_str::<Vec<Value>>(text);
        let list = list.map_err(|e| format!("the annotation {key} cannot be read: {e}"))?;
        let at = Place::Pointer(format!("/annotations/{}", key.replace('/', "~1")));
        let view = |entry: &Value| PortView {
            port: member(entry, "hostport"),
            address: member(entry, "hostip"),
            of_pod,
            at: at.clone(),
        };
        all.extend(list.iter().map(view).filter(|port| !matches!(port.port.as_str(), "" | "0")));
        known = true;
    }
    if known { Ok(all) } else { Err(NOT_WRITTEN.into()) }
}

/// A member whatever the case of its name: `HostPort`, `hostPort`, `host_port`.
fn member(entry: &Value, name: &str) -> String {
    let plain = |key: &str| key.replace('_', "").to_ascii_lowercase();
    let found = entry.as_object().into_iter().flatten().find(|(key, _)| plain(key) == name);
    match found.map(|(_, value)| value) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_published_port_is_read_as_docker_reads_it() {
        for (text, address, port, everywhere, privileged) in [
            ("8080:80", "", "8080", true, false),
            ("80:80", "", "80", true, true),
            ("80", "", "", true, false),
            (":80", "", "", true, false),
            ("127.0.0.1:8080:80/tcp", "127.0.0.1", "8080", false, false),
            ("127.0.0.1::80", "127.0.0.1", "", false, false),
            ("0.0.0.0:443:443", "0.0.0.0", "443", true, true),
            ("[::1]:8080:80", "::1", "8080", false, false),
            ("[::]:8080:80", "::", "8080", true, false),
            ("::1:8080:80", "::1", "8080", false, false),
            ("8000-8010:8000-8010/udp", "", "8000-8010", true, false),
            ("22-30:22-30", "", "22-30", true, true),
            ("$ADDRESS:8080:80", "$ADDRESS", "8080", false, false),
            ("$PORT:80", "", "$PORT", true, false),
        ] {
            let view = PortView::of_publish(text, false, Place::Pointer(String::new()));
            assert_eq!((view.address.as_str(), view.port.as_str()), (address, port), "{text}");
            assert_eq!((view.is_everywhere(), view.is_privileged()), (everywhere, privileged), "{text}");
        }
    }
}
