//! Networks of CNI: `--network cni:NAME` (CNI specification 1.0).
//!
//! A network is a list of plugins, programs of the administrator's that run as root outside the container and put a device
//! into its network namespace. Each plugin gets its part of the configuration and the result of the one before on stdin,
//! and answers on stdout:
//!
//! ```text
//!   ADD    bridge {"type": "bridge", ...}                         -> result
//!          portmap {"type": "portmap", ..., "prevResult": result} -> result, which is recorded
//!   CHECK  in the same order, with the last result
//!   DEL    in the reverse order, with the last result
//! ```
//!
//! The record ([`Attachment`]) is in the container's state directory before the first plugin runs: whatever ends the
//! container, DEL has what ADD had, also where the configuration is another one by then.

pub mod dns;
mod find;
mod plugin;
pub mod result;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::config::cni::{NetworkConfigList, has_capability, kind};
use crate::sys::replace::{ReplaceMode, replace_path};
use crate::sys::{cstr, fs};
pub use find::{find, programs};
pub use plugin::CniFailure;

/// The container's device.
pub const DEVICE: &str = "eth0";

/// `NSFS_MAGIC`.
const NSFS: i64 = 0x6e73_6673;

/// Addresses at which clouds give out credentials of the machine: no container reaches them.
pub const METADATA: [IpAddr; 5] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 2)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
];

/// What is done to a container's network namespace, and what came of it: the record in the container's directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attachment {
    /// `CNI_CONTAINERID`.
    pub container: String,
    /// `CNI_NETNS`: a file that holds the namespace.
    pub netns: PathBuf,
    /// Directories of plugins.
    pub path: Vec<PathBuf>,
    /// The network.
    pub list: NetworkConfigList,
    /// Ports of the host that lead inside, as portmap takes them.
    pub ports: Vec<Value>,
    /// What the last plugin's ADD returned.
    pub result: Option<Value>,
}

/// A port of the host, as the capability `portMappings` has it.
pub fn mapping(published: &crate::config::network::Published) -> Value {
    let mut mapping = json!({
        "hostPort": published.address.port(),
        "containerPort": published.port,
        "protocol": "tcp",
    });
    mapping["hostIP"] = published.address.ip().to_string().into();
    mapping
}

/// A container's name among all that share the plugins' data: of two state roots each may have a container of this id.
pub fn container_name(id: &str, state_dir: &Path) -> String {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hash = DefaultHasher::new();
    state_dir.hash(&mut hash);
    let plain: String =
        id.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(40).collect();
    format!("safebox-{plain}-{:016x}", hash.finish())
}

impl Attachment {
    /// Runs every plugin's ADD, and records the result.
    pub fn add(&mut self, record: &Path, signals: RawFd) -> Result<(), CniFailure> {
        self.write(record)?;
        for plugin in &self.list.plugins {
            let answer = self.run("ADD", plugin, signals)?;
            self.result = Some(result::parse(kind(plugin), &answer, &self.list.version)?);
        }
        self.write(record)
    }

    /// Runs every plugin's CHECK. That of portmap (1.1.1) fails for each container without an IPv6 address on a host with
    /// IPv6: it looks for rules of both kinds.
    pub fn check(&self, signals: RawFd) -> Result<(), CniFailure> {
        let mut plugins = self.list.plugins.iter().filter(|plugin| kind(plugin) != "portmap");
        plugins.try_for_each(|plugin| self.run("CHECK", plugin, signals).map(drop))
    }

    /// The port that has no address inside of its own kind, which portmap passes over without a word; in words.
    pub fn unmapped(&self, parts: &result::Parts) -> Option<String> {
        let v6 = |address: &str| address.contains(':');
        let mut hosts = self.ports.iter().filter_map(|port| port["hostIP"].as_str());
        let host = hosts.find(|host| !parts.ips.iter().any(|ip| v6(&ip.address) == v6(host)))?;
        let kind = if v6(host) { "IPv6" } else { "IPv4" };
        let name = &self.list.name;
        Some(format!(
            "network {name} gave the container no {kind} address for the port that is published on {host}"
        ))
    }

    /// Runs every plugin's DEL, the last one first, whatever the others did; what failed, in words.
    fn del(&self) -> Vec<String> {
        let failed = |plugin| match self.run("DEL", plugin, -1) {
            Ok(_) => None,
            Err(CniFailure::Message(text)) => Some(text),
            Err(CniFailure::Interrupted(signal)) => Some(format!("ended by signal {signal}")),
        };
        self.list.plugins.iter().rev().filter_map(failed).collect()
    }

    /// Runs one plugin; what it printed.
    fn run(
        &self,
        command: &'static str,
        plugin: &Map<String, Value>,
        signals: RawFd,
    ) -> Result<Vec<u8>, CniFailure> {
        let message = |text: String| CniFailure::Message(format!("network {}: {text}", self.list.name));
        let program = find::program(kind(plugin), &self.path).map_err(message)?;
        let netns = if self.has_namespace() { self.netns.as_path() } else { Path::new("") };
        let call = plugin::PluginCall {
            command,
            program: &program,
            variables: vec![
                ("CNI_COMMAND", command.into()),
                ("CNI_CONTAINERID", self.container.as_str().into()),
                ("CNI_NETNS", netns.into()),
                ("CNI_IFNAME", DEVICE.into()),
                ("CNI_PATH", std::env::join_paths(&self.path).unwrap_or_default()),
            ],
            input: self.input(plugin).to_string(),
        };
        plugin::run(&call, plugin::LONGEST, signals).map_err(|failure| match failure {
            CniFailure::Message(text) => message(text),
            interrupted => interrupted,
        })
    }

    /// What a plugin reads (section 4, Deriving execution configuration from plugin configuration).
    fn input(&self, plugin: &Map<String, Value>) -> Value {
        let mut input = plugin.clone();
        input.insert("cniVersion".into(), self.list.version.as_str().into());
        input.insert("name".into(), self.list.name.as_str().into());
        if has_capability(plugin, "portMappings") && !self.ports.is_empty() {
            input.insert("runtimeConfig".into(), json!({ "portMappings": self.ports }));
        }
        input.remove("capabilities");
        if let Some(result) = &self.result {
            input.insert("prevResult".into(), result.clone());
        }
        Value::Object(input)
    }

    /// Whether the namespace is still there; DEL may do without.
    fn has_namespace(&self) -> bool {
        cstr::cpath(&self.netns).is_ok_and(|path| fs::path_magic(&path) == Ok(NSFS))
    }

    fn write(&self, record: &Path) -> Result<(), CniFailure> {
        let failed = |e: String| CniFailure::Message(format!("{}: {e}", record.display()));
        let bytes = serde_json::to_vec(self).map_err(|e| failed(e.to_string()))?;
        let temp = record.with_extension("tmp");
        replace_path(&temp, record, &bytes, ReplaceMode::PRIVATE).map_err(|e| failed(e.to_string()))
    }

    /// The record in this file; `None` where none was written.
    pub fn read(record: &Path) -> Result<Option<Self>, String> {
        let failed = |e: String| format!("{}: {e}", record.display());
        match std::fs::read(record) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|e| failed(e.to_string())),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(failed(e.to_string())),
        }
    }
}

/// Takes back what `record` says was added; what failed, in words.
pub fn take_back(record: &Path) -> Vec<String> {
    let attachment = match Attachment::read(record) {
        Ok(None) => return Vec::new(),
        Ok(Some(attachment)) => attachment,
        Err(e) => return vec![e],
    };
    let mut problems = attachment.del();
    if problems.is_empty()
        && let Err(e) = std::fs::remove_file(record)
    {
        problems.push(format!("{}: {e}", record.display()));
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_gets_its_own_part() {
        let text = br#"{"cniVersion":"1.0.0","name":"n","plugins":[{"type":"bridge","x":1},{"type":"portmap","capabilities":{"portMappings":true}}]}"#;
        let published = crate::config::network::parse_published("0.0.0.0:8080:80").unwrap();
        let attachment = Attachment {
            container: container_name("a+b", Path::new("/run/x/a+b")),
            netns: "/nowhere".into(),
            path: Vec::new(),
            list: NetworkConfigList::parse(text, false).unwrap(),
            ports: vec![mapping(&published)],
            result: Some(json!({ "ips": [] })),
        };
        let input = attachment.input(&attachment.list.plugins[0]);
        assert_eq!(
            input,
            json!({"type": "bridge", "x": 1, "cniVersion": "1.0.0", "name": "n", "prevResult": {"ips": []}})
        );
        let input = attachment.input(&attachment.list.plugins[1]);
        let ports = json!({ "portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp", "hostIP": "0.0.0.0"}] });
        assert_eq!((&input["runtimeConfig"], input.get("capabilities")), (&ports, None));
        let parts = |address: &str| result::parts(&json!({ "ips": [{ "address": address }] })).unwrap();
        assert_eq!(attachment.unmapped(&parts("10.0.0.2/8")), None);
        assert!(attachment.unmapped(&parts("fd00::2/64")).unwrap().contains("no IPv4 address"));
        assert!(attachment.container.starts_with("safebox-a-b-"), "{}", attachment.container);
        assert_ne!(attachment.container, container_name("a+b", Path::new("/run/y/a+b")));
    }
}
