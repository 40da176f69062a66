//! Volumes, ports and secrets of a service, in their short and long forms.

use std::path::Path;

use super::{boolean, known, word};
use crate::error::Result;
use crate::input::Description;
use crate::input::values::PROPAGATIONS;
use crate::input::yaml::{Document, Node};

/// A published port in its long form: `[HOST_IP:]PUBLISHED:TARGET[/PROTOCOL]`.
pub(super) fn published(document: &Document, d: &mut Description, node: &Node) -> Result<Option<String>> {
    known(
        document,
        d,
        "ports",
        node,
        &["target", "published", "host_ip", "protocol", "mode", "name", "app_protocol"],
    );
    for key in ["protocol", "mode"] {
        if let Some(value) = node.get(key) {
            word(document, &format!("ports.{key}"), value)?;
        }
    }
    let part = |key: &str| node.get(key).and_then(Node::text);
    let Some(target) = part("target") else { return Ok(None) };
    let ip = part("host_ip").map(|ip| format!("{ip}:")).unwrap_or_default();
    let protocol = part("protocol").map(|name| format!("/{name}")).unwrap_or_default();
    Ok(Some(format!("{ip}{}:{target}{protocol}", part("published").unwrap_or_default())))
}

/// A device in its long form: `SOURCE:TARGET:PERMISSIONS`.
pub(super) fn device(document: &Document, d: &mut Description, node: &Node) -> Option<String> {
    known(document, d, "devices", node, &["source", "target", "permissions"]);
    let part = |key: &str| node.get(key).and_then(Node::text);
    let source = part("source")?;
    let target = part("target").unwrap_or_else(|| source.clone());
    Some(format!("{source}:{target}:{}", part("permissions").unwrap_or_else(|| "rwm".into())))
}

/// A path relative to the file; `~` is the caller's home.
pub(super) fn beside(document: &Document, path: &str) -> String {
    let home = std::env::var("HOME").unwrap_or_default();
    if let Some(rest) = path.strip_prefix('~').filter(|rest| rest.is_empty() || rest.starts_with('/')) {
        return format!("{home}{rest}");
    }
    let dir = document.file.parent().unwrap_or(Path::new("."));
    let path = dir.join(path.strip_prefix("./").unwrap_or(path));
    std::path::absolute(&path).unwrap_or(path).display().to_string()
}

/// What a volume is mounted from, where, and how.
struct ComposeVolume {
    source: String,
    target: String,
    readonly: bool,
    /// A propagation of mount(8).
    propagation: Option<String>,
}

/// `SRC:DST[:OPTIONS]`, or the long form. Compose's volumes can be written unless they say `ro`.
pub(super) fn volume(document: &Document, d: &mut Description, node: &Node) -> Result<()> {
    let at = document.at(node);
    let Some(v) = (match node.text() {
        Some(text) => Some(short(document, d, node, &text)?),
        None => long(document, d, node)?,
    }) else {
        return Ok(());
    };
    let mode = if v.readonly { "ro" } else { "rw" };
    let propagation = v.propagation.map(|p| format!(",{p}")).unwrap_or_default();
    if v.source.starts_with(['/', '.', '~']) {
        d.say(&at, "volume", format!("{}:{}:{mode}{propagation}", beside(document, &v.source), v.target));
        return Ok(());
    }
    // A directory of the host under a volume's name: driver_opts of the driver `local`.
    let options = document.top.path(&["volumes", &v.source, "driver_opts"]);
    if let Some(device) = options.and_then(|o| o.get("device")).and_then(Node::text) {
        if device.starts_with('/') {
            d.say(&at, "volume", format!("{device}:{}:{mode}{propagation}", v.target));
        } else {
            d.stop(&at, "volumes", &format!("the volume {} is of a device or a server: {device}", v.source));
        }
        return Ok(());
    }
    let name =
        if v.source.is_empty() { "an anonymous volume".into() } else { format!("the volume {}", v.source) };
    d.note(&at, "volumes", &format!("{name} is a tmpfs here: what is written there ends with the container"));
    d.say_tmpfs(&at, &format!("{}:{mode}", v.target));
    Ok(())
}

fn short(document: &Document, d: &mut Description, node: &Node, text: &str) -> Result<ComposeVolume> {
    let words: Vec<&str> = text.split(':').collect();
    let (source, target, options) = match words[..] {
        [target] => ("", target, ""),
        [source, target] => (source, target, ""),
        [source, target, options] => (source, target, options),
        _ => return Err(document.error(node, format!("volumes: {text:?} is no SRC:DST[:OPTIONS]"))),
    };
    let mut v =
        ComposeVolume { source: source.into(), target: target.into(), readonly: false, propagation: None };
    for option in options.split(',').filter(|o| !o.is_empty()) {
        match option {
            "ro" => v.readonly = true,
            "rw" => {}
            // SELinux labels, and caching of Docker Desktop.
            "z" | "Z" | "cached" | "delegated" | "consistent" | "nocopy" => {
                d.note(&document.at(node), &format!("volumes: {option}"), "the files stay as they are");
            }
            "" => {}
            option if PROPAGATIONS.contains(&option) => v.propagation = Some(option.into()),
            option => d.unknown.push((document.at(node), format!("volumes: {option}"))),
        }
    }
    Ok(v)
}

/// The long form; `None`: the problem is noted already.
fn long(document: &Document, d: &mut Description, node: &Node) -> Result<Option<ComposeVolume>> {
    let at = document.at(node);
    known(
        document,
        d,
        "volumes",
        node,
        &["type", "source", "target", "read_only", "bind", "volume", "tmpfs", "consistency"],
    );
    for (kind, keys) in [
        ("bind", &["propagation", "create_host_path", "selinux"][..]),
        ("volume", &["nocopy", "labels"]),
        ("tmpfs", &["size", "mode"]),
    ] {
        if let Some(options) = node.get(kind) {
            known(document, d, &format!("volumes.{kind}"), options, keys);
        }
    }
    let part = |name: &str| node.get(name).and_then(Node::text);
    for key in ["propagation", "selinux", "recursive"] {
        if let Some(value) = node.path(&["bind", key]) {
            word(document, &format!("volumes.bind.{key}"), value)?;
        }
    }
    let readonly = match node.get("read_only") {
        Some(value) => boolean(document, "volumes.read_only", value)?,
        None => false,
    };
    let target = part("target").ok_or_else(|| document.error(node, "volumes: a target is needed"))?;
    match part("type").as_deref() {
        Some("tmpfs") => {
            let size = node.path(&["tmpfs", "size"]).and_then(Node::text);
            let size = size.map(|s| format!(",size={s}")).unwrap_or_default();
            // A number of YAML 1.2: 0o1777, or what it is in decimal.
            let bits = match node.path(&["tmpfs", "mode"]) {
                None => String::new(),
                Some(mode) => {
                    let bits = mode.text().and_then(|text| text.parse::<u32>().ok());
                    let wrong = || document.error(mode, "volumes.tmpfs.mode: a number is needed");
                    format!(",mode={:o}", bits.ok_or_else(wrong)?)
                }
            };
            let mode = if readonly { "ro" } else { "rw" };
            d.say_tmpfs(&at, &format!("{target}:{mode}{size}{bits}"));
            return Ok(None);
        }
        Some("bind" | "volume") | None => {}
        Some(kind) => {
            d.stop(&at, "volumes", &format!("a volume of the type {kind} cannot be mounted here"));
            return Ok(None);
        }
    }
    Ok(Some(ComposeVolume {
        source: part("source").unwrap_or_default(),
        target,
        readonly,
        propagation: node.path(&["bind", "propagation"]).and_then(Node::text),
    }))
}

/// A secret by its name; its file is in the top level's `secrets`.
pub(super) fn secret(document: &Document, d: &mut Description, node: &Node) -> Result<()> {
    let name = node.text().or_else(|| node.get("source").and_then(Node::text)).unwrap_or_default();
    known(document, d, "secrets", node, &["source", "target", "mode", "uid", "gid"]);
    let from = document.top.path(&["secrets", &name]);
    let Some(from) = from else {
        return Err(document.error(node, format!("secrets: the file defines no secret {name:?}")));
    };
    let mut parts = vec![format!("id={name}")];
    if let Some(file) = from.get("file").and_then(Node::text) {
        parts.push(format!("src={}", beside(document, &file)));
    } else if let Some(variable) = from.get("environment").and_then(Node::text) {
        parts.push(format!("env={variable}"));
    } else if from.get("external").is_some() {
        d.stop(&document.at(from), &format!("secrets: {name}"), "it is kept by an engine, and not in a file");
        return Ok(());
    } else {
        return Err(document.error(from, format!("secrets: {name}: a file or a variable is needed")));
    }
    for (key, option) in [("target", "target"), ("mode", "mode"), ("uid", "uid"), ("gid", "gid")] {
        if let Some(value) = node.get(key).and_then(Node::text) {
            parts.push(format!("{option}={value}"));
        }
    }
    // A comma would begin another setting.
    if let Some(part) = parts.iter().find(|part| part.contains(',')) {
        return Err(document.error(node, format!("secrets: {part}: a name without a comma is needed")));
    }
    d.say(&document.at(node), "secret", parts.join(","));
    Ok(())
}
