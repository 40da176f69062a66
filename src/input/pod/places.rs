//! Limits and volumes of a container.

use crate::error::Result;
use crate::input::Description;
use crate::input::words::quantity;
use crate::input::yaml::{Document, Node};

/// `resources`: what is limited; nothing is reserved.
pub(super) fn resources(document: &Document, d: &mut Description, resources: &Node) -> Result<()> {
    for (kind, values) in resources.entries() {
        for (name, node) in values.entries() {
            let at = document.at(node);
            let text = node.text().unwrap_or_default();
            let amount = quantity(&text)
                .ok_or_else(|| document.error(node, format!("{name}: {text:?} is no quantity")))?;
            match (kind.as_str(), name.as_str()) {
                ("limits", "memory") => d.say(&at, "memory", format!("{}", amount as i64)),
                ("limits", "cpu") => d.say(&at, "cpus", amount.to_string()),
                ("requests", "memory") => d.say(&at, "memory-reservation", format!("{}", amount as i64)),
                _ => d.note(&at, &format!("resources.{kind}.{name}"), "nothing reserves it"),
            }
        }
    }
    Ok(())
}

/// `volumeMounts`, with the volumes that they name.
pub(super) fn mounts(
    document: &Document,
    d: &mut Description,
    mounts: &Node,
    volumes: Option<&Node>,
) -> Result<()> {
    const KEYS: [&str; 7] =
        ["name", "mountPath", "readOnly", "recursiveReadOnly", "subPath", "subPathExpr", "mountPropagation"];
    for mount in mounts.items() {
        let at = document.at(mount);
        for (key, value) in mount.entries().iter().filter(|(key, _)| !KEYS.contains(&key.as_str())) {
            d.unknown.push((document.at(value), format!("volumeMounts.{key}")));
        }
        let part = |key: &str| mount.get(key).and_then(Node::text).unwrap_or_default();
        let (name, path, below) = (part("name"), part("mountPath"), part("subPath"));
        let list = volumes.map(Node::items).unwrap_or_default();
        let volume = list.into_iter().find(|v| v.get("name").and_then(Node::text).as_deref() == Some(&name));
        let volume =
            volume.ok_or_else(|| document.error(mount, format!("volumeMounts: no volume {name:?}")))?;
        if mount.get("subPathExpr").is_some() {
            d.stop(&at, "volumeMounts.subPathExpr", "its variables are not read: use subPath");
            continue;
        }
        if below.split('/').any(|part| part == "..") || below.starts_with('/') {
            return Err(document.error(mount, format!("volumeMounts: subPath {below:?} leaves the volume")));
        }
        let kind = volume.entries().iter().find(|(key, _)| key != "name");
        let mode = if mount.get("readOnly").is_some_and(Node::is_true) { "ro" } else { "rw" };
        match kind.map(|(key, node)| (key.as_str(), node)) {
            Some(("emptyDir", node)) => {
                let size = match node.get("sizeLimit") {
                    Some(size) => {
                        let bytes = size.text().and_then(|text| quantity(&text));
                        let bytes = bytes.ok_or_else(|| document.error(size, "sizeLimit: no quantity"))?;
                        format!(",size={}", bytes as i64)
                    }
                    None => String::new(),
                };
                d.say_tmpfs(&at, &format!("{path}:{mode}{size}"));
            }
            Some(("hostPath", node)) => {
                let source = node.get("path").and_then(Node::text).unwrap_or_default();
                let source = if below.is_empty() { source } else { format!("{source}/{below}") };
                let propagation = match part("mountPropagation").as_str() {
                    "Bidirectional" => ",rshared",
                    "HostToContainer" => ",rslave",
                    // None; other words are no value of it.
                    _ => "",
                };
                d.say(&at, "volume", format!("{source}:{path}:{mode}{propagation}"));
            }
            Some((key, _)) => d.note(
                &at,
                &format!("the volume {name}"),
                &format!("there is no cluster to take a {key} from"),
            ),
            None => d.say_tmpfs(&at, &format!("{path}:{mode}")),
        }
    }
    Ok(())
}
