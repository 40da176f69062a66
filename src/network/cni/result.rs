//! What a plugin's ADD returns (section 5, Success).

use std::net::IpAddr;

use serde::Deserialize;
use serde_json::Value;

/// The parts of a result that a runtime uses.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Parts {
    /// Devices that were made, on both sides.
    #[serde(default)]
    pub interfaces: Vec<Interface>,
    /// The container's addresses.
    #[serde(default)]
    pub ips: Vec<Ip>,
    /// How names are looked up.
    #[serde(default)]
    pub dns: Dns,
}

/// A device.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// The namespace that it is in; empty: the host's.
    #[serde(default)]
    pub sandbox: String,
}

/// An address.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Ip {
    /// `ADDRESS/PREFIX`.
    pub address: String,
}

/// Servers and domains.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Dns {
    /// Servers.
    #[serde(default)]
    pub nameservers: Vec<String>,
    /// The local domain.
    #[serde(default)]
    pub domain: String,
    /// Domains that short names are looked up in.
    #[serde(default)]
    pub search: Vec<String>,
    /// Options of resolv.conf(5).
    #[serde(default)]
    pub options: Vec<String>,
}

/// The result that plugin `kind` printed.
pub(super) fn parse(kind: &str, printed: &[u8], version: &str) -> Result<Value, String> {
    let failed = |what: String| format!("plugin {kind} (ADD): what it printed is no result: {what}");
    let result: Value = serde_json::from_slice(printed).map_err(|e| failed(e.to_string()))?;
    let found = result.get("cniVersion").and_then(Value::as_str).unwrap_or_default();
    if found != version {
        return Err(failed(format!("cniVersion {found:?} in place of {version:?}")));
    }
    let parts = parts(&result).map_err(|e| failed(e.to_string()))?;
    let address = |ip: &&Ip| ip.address.split('/').next().is_none_or(|a| a.parse::<IpAddr>().is_err());
    match parts.ips.iter().find(address) {
        Some(ip) => Err(failed(format!("{:?} is no address", ip.address))),
        None => Ok(result),
    }
}

/// The parts of a result.
pub fn parts(result: &Value) -> Result<Parts, serde_json::Error> {
    Parts::deserialize(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results() {
        let good = br#"{"cniVersion":"1.0.0","interfaces":[{"name":"br0","mac":"x"},{"name":"eth0","sandbox":"/x"}],
            "ips":[{"address":"10.1.0.2/24","gateway":"10.1.0.1","interface":1}],"dns":{"nameservers":["10.1.0.1"]}}"#;
        let parts = parts(&parse("p", good, "1.0.0").unwrap()).unwrap();
        assert_eq!((parts.interfaces.len(), parts.ips[0].address.as_str()), (2, "10.1.0.2/24"));
        assert_eq!(parts.dns.nameservers, ["10.1.0.1"]);
        for (bad, says) in [
            ("", "EOF"),
            ("[]", "cniVersion \"\""),
            (r#"{"cniVersion":"0.4.0"}"#, "in place of"),
            (r#"{"cniVersion":"1.0.0","ips":[{"address":"x/8"}]}"#, "\"x/8\" is no address"),
            (r#"{"cniVersion":"1.0.0","ips":3}"#, "expected a sequence"),
        ] {
            let error = parse("p", bad.as_bytes(), "1.0.0").unwrap_err();
            assert!(error.contains(says), "{bad}: {error}");
        }
    }
}
