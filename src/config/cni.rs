//! Networks of CNI: what a configuration file says (CNI specification 1.0, section 1). Parsing alone; `network::cni` reads
//! the files and runs the plugins.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Versions of the specification of which a configuration may be. Before 0.4.0 a plugin does not get what ADD returned
/// when it is to take it back.
pub const VERSIONS: [&str; 3] = ["0.4.0", "1.0.0", "1.1.0"];

/// Directory of configurations (libcni's default).
pub const CONFIGURATIONS: &str = "/etc/cni/net.d";

/// Directories of plugins: that of Debian's package, and that of upstream's archive.
pub const PLUGINS: [&str; 2] = ["/usr/lib/cni", "/opt/cni/bin"];

/// `--network cni:NAME`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cni {
    /// The network's name.
    pub name: String,
    /// What its file says; read when the launch is prepared.
    pub list: Option<NetworkConfigList>,
}

/// Where networks are described and plugins are, if not in the places of libcni.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places {
    /// `--cni-netconfpath`: directory of configurations.
    pub configurations: Option<PathBuf>,
    /// `--cni-path`: directory of plugins, searched first.
    pub plugins: Option<PathBuf>,
}

impl Places {
    /// The directory of configurations.
    pub fn configurations(&self) -> &Path {
        self.configurations.as_deref().unwrap_or(Path::new(CONFIGURATIONS))
    }

    /// The directories of plugins.
    pub fn plugins(&self) -> Vec<PathBuf> {
        self.plugins.iter().cloned().chain(PLUGINS.map(PathBuf::from)).collect()
    }
}

/// A network configuration list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkConfigList {
    /// The network's name.
    pub name: String,
    /// Version of the specification.
    pub version: String,
    /// The plugins understand CHECK.
    pub check: bool,
    /// The configuration of each plugin, in the order of ADD.
    pub plugins: Vec<Map<String, Value>>,
}

impl NetworkConfigList {
    /// A `.conflist`, or (`single`) a `.conf` with one plugin.
    pub fn parse(text: &[u8], single: bool) -> Result<NetworkConfigList, String> {
        let mut file: Map<String, Value> = serde_json::from_slice(text).map_err(|e| e.to_string())?;
        let name = file.get("name").and_then(Value::as_str).unwrap_or_default().to_string();
        check_name(&name)?;
        let version = file.get("cniVersion").and_then(Value::as_str).unwrap_or_default().to_string();
        if !VERSIONS.contains(&version.as_str()) {
            let versions = VERSIONS.join(", ");
            return Err(format!("cniVersion {version:?}: one of {versions} is needed"));
        }
        let check = !disabled(file.get("disableCheck"))?;
        let plugins = match (single, file.remove("plugins")) {
            (true, None) => vec![file],
            (true, Some(_)) => return Err("plugins: a list is in a file *.conflist".into()),
            (false, Some(Value::Array(list))) => list.into_iter().map(object).collect::<Result<_, _>>()?,
            (false, _) => return Err("plugins: an array is needed".into()),
        };
        let list = NetworkConfigList { name, version, check, plugins };
        if list.plugins.is_empty() {
            return Err("plugins: at least one is needed".into());
        }
        for plugin in &list.plugins {
            check_type(kind(plugin))?;
        }
        Ok(list)
    }

    /// The names of its plugins.
    pub fn types(&self) -> Vec<&str> {
        self.plugins.iter().map(kind).collect()
    }

    /// Whether a plugin maps ports of the host.
    pub fn maps_ports(&self) -> bool {
        self.plugins.iter().any(|plugin| has_capability(plugin, "portMappings"))
    }

    /// Whether the containers of a bridge are to be cut off from each other.
    pub fn isolates(&self) -> bool {
        let wanted = |plugin: &Map<String, Value>| plugin.get("portIsolation") == Some(&Value::Bool(true));
        self.plugins.iter().any(|plugin| kind(plugin) == "bridge" && wanted(plugin))
    }
}

/// The plugin's program.
pub fn kind(plugin: &Map<String, Value>) -> &str {
    plugin.get("type").and_then(Value::as_str).unwrap_or_default()
}

/// Whether a plugin takes arguments of this kind from the runtime.
pub fn has_capability(plugin: &Map<String, Value>, name: &str) -> bool {
    plugin.get("capabilities").and_then(|c| c.get(name)) == Some(&Value::Bool(true))
}

/// A network's name: it begins with a letter or a digit, then `_`, `.` and `-` may follow (section 1).
pub fn check_name(name: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    if name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.chars().all(plain) && name.len() <= 128 {
        return Ok(());
    }
    Err(format!("{name:?} is no name of a network: letters, digits, and then _ . - are possible"))
}

fn check_type(kind: &str) -> Result<(), String> {
    if kind.is_empty() || kind.starts_with('.') || kind.contains(['/', '\0']) {
        return Err(format!("type {kind:?}: the name of a plugin's program is needed"));
    }
    Ok(())
}

/// `disableCheck`: a boolean, or one as text.
fn disabled(value: Option<&Value>) -> Result<bool, String> {
    match value {
        None => Ok(false),
        Some(Value::Bool(value)) => Ok(*value),
        Some(Value::String(text)) if matches!(text.as_str(), "true" | "false") => Ok(text == "true"),
        Some(other) => Err(format!("disableCheck: {other}: true or false is needed")),
    }
}

fn object(value: Value) -> Result<Map<String, Value>, String> {
    match value {
        Value::Object(map) => Ok(map),
        other => Err(format!("plugins: {other}: an object is needed")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_single_plugins() {
        let text = br#"{"cniVersion":"1.0.0","name":"net-1","disableCheck":"true","plugins":[{"type":"bridge","portIsolation":true},
            {"type":"portmap","capabilities":{"portMappings":true}}]}"#;
        let list = NetworkConfigList::parse(text, false).unwrap();
        assert_eq!(
            (list.name.as_str(), list.check, list.types()),
            ("net-1", false, vec!["bridge", "portmap"])
        );
        assert!(list.maps_ports() && list.isolates());
        let one =
            NetworkConfigList::parse(br#"{"cniVersion":"0.4.0","name":"n","type":"ptp"}"#, true).unwrap();
        assert_eq!(
            (one.types(), one.check, one.maps_ports(), one.isolates()),
            (vec!["ptp"], true, false, false)
        );
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for (text, says) in [
            ("[]", "expected a map"),
            (r#"{"cniVersion":"1.0.0","plugins":[{"type":"a"}]}"#, "is no name"),
            (r#"{"cniVersion":"1.0.0","name":"../x","plugins":[{"type":"a"}]}"#, "is no name"),
            (
                r#"{"cniVersion":"0.2.0","name":"n","plugins":[{"type":"a"}]}"#,
                "0.4.0, 1.0.0, 1.1.0 is needed",
            ),
            (r#"{"name":"n","plugins":[{"type":"a"}]}"#, "cniVersion"),
            (r#"{"cniVersion":"1.0.0","name":"n","plugins":[]}"#, "at least one"),
            (r#"{"cniVersion":"1.0.0","name":"n"}"#, "an array"),
            (r#"{"cniVersion":"1.0.0","name":"n","plugins":[1]}"#, "an object"),
            (r#"{"cniVersion":"1.0.0","name":"n","plugins":[{}]}"#, "type \"\""),
            (r#"{"cniVersion":"1.0.0","name":"n","plugins":[{"type":"../sh"}]}"#, "type \"../sh\""),
            (
                r#"{"cniVersion":"1.0.0","name":"n","disableCheck":1,"plugins":[{"type":"a"}]}"#,
                "disableCheck",
            ),
        ] {
            let error = NetworkConfigList::parse(text.as_bytes(), false).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
        let list = br#"{"cniVersion":"1.0.0","name":"n","plugins":[{"type":"a"}]}"#;
        assert!(NetworkConfigList::parse(list, true).unwrap_err().contains("conflist"));
    }
}
