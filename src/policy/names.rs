//! The network of the policy file: what every `run` with a network of its own may connect to, in the words of the options.
//!
//! ```toml
//! mode = "off"
//! [network]
//! allow-net = ["pypi.org", "*.pythonhosted.org"]
//! add-host = ["db:10.0.0.5"]
//! dns = ["9.9.9.9"]
//! ```

use serde::Deserialize;

use crate::config::network::{Network, parse_host, parse_rule, parse_server};
use crate::error::{Error, Result};

/// The table `network`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Names {
    /// What programs may connect to, as `--allow-net`.
    #[serde(default)]
    pub allow_net: Vec<String>,
    /// Names with an address of the file's choice, as `--add-host`.
    #[serde(default)]
    pub add_host: Vec<String>,
    /// Servers that are asked, as `--dns`.
    #[serde(default)]
    pub dns: Vec<String>,
    /// The file.
    #[serde(skip)]
    pub file: String,
}

impl Names {
    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        self.allow_net.is_empty() && self.add_host.is_empty() && self.dns.is_empty()
    }

    /// Adds to `network` what the command line does not say otherwise.
    pub fn add_to(&self, network: &mut Network) -> std::result::Result<(), String> {
        let mut added = Vec::new();
        for value in &self.allow_net {
            let rule = parse_rule(value).map_err(|e| format!("allow-net {value:?}: {e}"))?;
            if !network.rules.iter().any(|own| own.to == rule.to && own.port == rule.port) {
                added.push(rule.to_string());
                network.rules.push(rule);
            }
        }
        network.check_rules()?;
        // A name may have more than one address in the file.
        let said: Vec<String> = network.hosts.iter().map(|(name, _)| name.clone()).collect();
        for value in &self.add_host {
            let host = parse_host(value).map_err(|e| format!("add-host {value:?}: {e}"))?;
            if !said.contains(&host.0) {
                network.hosts.push(host);
            }
        }
        let servers =
            self.dns.iter().map(|value| parse_server(value).map_err(|e| format!("dns {value:?}: {e}")));
        let servers = servers.collect::<std::result::Result<Vec<_>, _>>()?;
        if network.servers.is_empty() && !network.rules.is_empty() {
            network.servers = servers;
        }
        network.of_file = (!added.is_empty()).then(|| (self.file.clone(), added));
        Ok(())
    }

    /// That each entry can be read; an error has the line of the first that cannot.
    pub(super) fn check(&self, shown: &str, text: &str) -> Result<()> {
        self.add_to(&mut Network::default()).map_err(|e| {
            let value = e.split('"').nth(1).map(|value| format!("\"{value}\""));
            let line = value.and_then(|value| text.lines().position(|l| l.contains(&value)));
            Error::msg(format!("{shown}:{}: {e}", line.map_or(1, |n| n + 1)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_comes_first() {
        let words = |list: &[&str]| list.iter().map(ToString::to_string).collect();
        let names = Names {
            allow_net: words(&["a.test", "b.test:80"]),
            add_host: words(&["db:10.0.0.5", "web:10.0.0.6", "web:10.0.0.7"]),
            dns: words(&["9.9.9.9"]),
            file: "f".into(),
        };
        let mut network = Network {
            rules: vec![parse_rule("a.test,any-sni").unwrap()],
            hosts: vec![parse_host("db:10.1.1.1").unwrap()],
            servers: vec!["1.1.1.1:53".parse().unwrap()],
            ..Network::default()
        };
        names.add_to(&mut network).unwrap();
        let rules: Vec<_> = network.rules.iter().map(ToString::to_string).collect();
        assert_eq!(rules, ["a.test:443,any-sni", "b.test:80"]);
        assert_eq!(network.hosts[0].1.to_string(), "10.1.1.1");
        assert_eq!((network.hosts.len(), network.servers.len()), (3, 1));
        assert_eq!(network.of_file, Some(("f".into(), vec!["b.test:80".into()])));
    }

    #[test]
    fn an_entry_that_cannot_be_read_has_a_line() {
        let text = "mode = \"off\"\n[network]\nallow-net = [\"a.test\",\n  \"*\"]\n";
        let names: Names = Names { allow_net: vec!["a.test".into(), "*".into()], ..Names::default() };
        let error = names.check("f", text).unwrap_err().to_string();
        assert!(error.starts_with("f:4: allow-net \"*\": * alone is every host"), "{error}");
        let names = Names { dns: vec!["x".into()], ..Names::default() };
        assert!(names.check("f", "dns = [\"x\"]").unwrap_err().to_string().starts_with("f:1: dns \"x\""));
    }
}
