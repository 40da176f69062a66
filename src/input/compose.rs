//! A service of a compose file (compose-spec) as options of `docker run`.

use std::path::Path;

use super::words::split;
use super::yaml::{Document, Node, Tree};
use super::{Description, Spot, yaml};
use crate::error::{Error, Result};

/// Keys of a service whose value is the value of one option: (key, option).
const PLAIN: &[(&str, &str)] = &[
    ("user", "user"),
    ("working_dir", "workdir"),
    ("hostname", "hostname"),
    ("domainname", "domainname"),
    ("network_mode", "network"),
    ("pid", "pid"),
    ("ipc", "ipc"),
    ("uts", "uts"),
    ("userns_mode", "userns"),
    ("cgroup", "cgroupns"),
    ("mem_limit", "memory"),
    ("memswap_limit", "memory-swap"),
    ("mem_reservation", "memory-reservation"),
    ("mem_swappiness", "memory-swappiness"),
    ("cpus", "cpus"),
    ("cpu_shares", "cpu-shares"),
    ("cpu_quota", "cpu-quota"),
    ("cpu_period", "cpu-period"),
    ("cpuset", "cpuset-cpus"),
    ("pids_limit", "pids-limit"),
    ("shm_size", "shm-size"),
    ("oom_score_adj", "oom-score-adj"),
    ("stop_signal", "stop-signal"),
    ("stop_grace_period", "stop-timeout"),
    ("container_name", "name"),
];

/// Keys that are a flag.
const FLAGS: &[(&str, &str)] = &[
    ("read_only", "read-only"),
    ("privileged", "privileged"),
    ("tty", "tty"),
    ("oom_kill_disable", "oom-kill-disable"),
];

/// Keys whose every item is the value of an option.
const LISTS: &[(&str, &str)] = &[
    ("tmpfs", "tmpfs"),
    ("cap_drop", "cap-drop"),
    ("cap_add", "cap-add"),
    ("devices", "device"),
    ("group_add", "group-add"),
    ("ports", "publish"),
    ("expose", "expose"),
    ("dns", "dns"),
    ("dns_search", "dns-search"),
    ("extra_hosts", "add-host"),
    ("links", "link"),
    ("volumes_from", "volumes-from"),
];

/// Keys that a single container's runtime cannot mean: (key, why).
const ELSEWHERE: &[(&str, &str)] = &[
    ("build", "safebox runs a root file system (--rootfs), and builds no image"),
    ("image", "safebox runs a root file system: give it with --rootfs"),
    ("depends_on", "one service runs alone"),
    ("networks", "the container has a network of its own with nothing in it"),
    ("restart", "a service manager restarts programs (systemd: Restart=on-failure)"),
    ("healthcheck", "a service manager asks for the health of programs"),
    ("logging", "stdout and stderr are the caller's: redirect them"),
    ("profiles", "the service is named on the command line"),
    ("platform", "the root file system is there already"),
    ("pull_policy", "nothing is pulled"),
    ("stdin_open", "stdin is the caller's"),
    ("runtime", "this is the runtime"),
    ("configs", "show the file with volumes"),
];

/// The services of a document, by name.
pub fn services(document: &Document) -> Vec<(&str, &Node)> {
    let services = document.top.get("services").map(Node::entries).unwrap_or_default();
    services.iter().map(|(name, node)| (name.as_str(), node)).collect()
}

/// Whether a document is a compose file.
pub fn is(document: &Document) -> bool {
    document.top.get("services").is_some_and(|s| matches!(s.tree, Tree::Map(_)))
}

/// One service of a file.
pub fn read(path: &Path, service: &str) -> Result<Description> {
    let text = super::read(path)?;
    let documents = yaml::parse(path, &text)?;
    let document = documents
        .iter()
        .find(|d| is(d))
        .ok_or_else(|| Error::msg(format!("{}: no compose file: it has no services", path.display())))?;
    describe(document, service)
}

/// One service of a document.
pub fn describe(document: &Document, service: &str) -> Result<Description> {
    let all = services(document);
    let Some((name, node)) = all.iter().find(|(name, _)| *name == service) else {
        let names: Vec<_> = all.iter().map(|(name, _)| *name).collect();
        let text = format!("no service {service:?}; one of {}", names.join(", "));
        return Err(document.error(&document.top, text));
    };
    let mut d = Description::new(name, document.at(node));
    for (key, value) in node.entries() {
        if value.tree != Tree::Null {
            entry(document, &mut d, key, value)?;
        }
    }
    // In compose the entrypoint stands before the command, wherever it is written.
    if let Some(node) = node.get("entrypoint") {
        let mut args = words(document, node)?;
        args.append(&mut d.args);
        d.args = args;
    }
    Ok(d)
}

fn entry(document: &Document, d: &mut Description, key: &str, value: &Node) -> Result<()> {
    let at = document.at(value);
    let named = |table: &[(&str, &'static str)]| table.iter().find(|(k, _)| *k == key).map(|(_, v)| *v);
    if let Some(option) = named(PLAIN) {
        d.say(&at, option, scalar(document, key, value)?);
    } else if let Some(option) = named(FLAGS) {
        if value.is_true() {
            d.say(&at, option, "");
        }
    } else if let Some(option) = named(LISTS) {
        for item in value.items() {
            let text = item.text().or_else(|| published(item));
            let text = text.ok_or_else(|| document.error(item, format!("{key}: a text is needed")))?;
            match option {
                "tmpfs" => d.say_tmpfs(&document.at(item), &text),
                option => d.say(&document.at(item), option, text),
            }
        }
    } else if let Some(why) = named(ELSEWHERE) {
        if key == "image" {
            d.image = value.text().map(|name| (name, at.clone()));
        }
        d.note(&at, key, why);
    } else {
        special(document, d, key, value)?;
    }
    Ok(())
}

fn special(document: &Document, d: &mut Description, key: &str, value: &Node) -> Result<()> {
    let at = document.at(value);
    match key {
        "command" => d.args.extend(words(document, value)?),
        "entrypoint" => {}
        "init" => d.say(&at, "init", value.is_true().to_string()),
        "environment" => {
            pairs(document, key, value)?.into_iter().for_each(|(at, pair)| d.say(&at, "env", pair))
        }
        "labels" | "annotations" => {
            pairs(document, key, value)?.into_iter().for_each(|(at, pair)| d.say(&at, "label", pair));
        }
        "sysctls" => {
            pairs(document, key, value)?.into_iter().for_each(|(at, pair)| d.say(&at, "sysctl", pair))
        }
        "env_file" => {
            for item in value.items() {
                let path = item.text().or_else(|| item.get("path").and_then(Node::text)).unwrap_or_default();
                d.say(&document.at(item), "env-file", beside(document, &path));
            }
        }
        "security_opt" => {
            for item in value.items() {
                d.say(
                    &document.at(item),
                    "security-opt",
                    security_opt(document, &scalar(document, key, item)?),
                );
            }
        }
        "ulimits" => {
            for (name, limit) in value.entries() {
                let part = |part: &str| limit.get(part).and_then(Node::text);
                let both = limit.text().or_else(|| Some(format!("{}:{}", part("soft")?, part("hard")?)));
                let both = both.ok_or_else(|| {
                    document.error(limit, format!("ulimits: {name}: soft and hard are needed"))
                })?;
                d.say(&document.at(limit), "ulimit", format!("{name}={both}"));
            }
        }
        "deploy" => deploy(document, d, value),
        "volumes" => {
            for item in value.items() {
                volume(document, d, item)?;
            }
        }
        "secrets" => {
            for item in value.items() {
                secret(document, d, item)?;
            }
        }
        key if key.starts_with("x-") => d.note(&at, key, "an extension"),
        key => d.unknown.push((at, key.into())),
    }
    Ok(())
}

/// `deploy.resources`; what else it has is for a cluster.
fn deploy(document: &Document, d: &mut Description, deploy: &Node) {
    const LIMITS: [(&str, &str, &str); 4] = [
        ("limits", "cpus", "cpus"),
        ("limits", "memory", "memory"),
        ("limits", "pids", "pids-limit"),
        ("reservations", "memory", "memory-reservation"),
    ];
    for (key, value) in deploy.entries() {
        if key != "resources" {
            d.note(&document.at(value), &format!("deploy.{key}"), "it is for a cluster");
            continue;
        }
        for (kind, values) in value.entries() {
            for (name, node) in values.entries() {
                let row = LIMITS.iter().find(|(k, n, _)| k == kind && n == name);
                match (row, node.text()) {
                    (Some((_, _, option)), Some(text)) => d.say(&document.at(node), option, text),
                    _ if kind == "reservations" => {
                        d.note(
                            &document.at(node),
                            &format!("deploy.resources.{kind}.{name}"),
                            "nothing reserves it",
                        );
                    }
                    _ => d.unknown.push((document.at(node), format!("deploy.resources.{kind}.{name}"))),
                }
            }
        }
    }
}

fn scalar(document: &Document, key: &str, node: &Node) -> Result<String> {
    node.text().ok_or_else(|| document.error(node, format!("{key}: a text or a number is needed")))
}

/// A command: a list, or words as in a shell.
fn words(document: &Document, node: &Node) -> Result<Vec<String>> {
    match &node.tree {
        Tree::List(list) => list.iter().map(|item| scalar(document, "command", item)).collect(),
        _ => split(&scalar(document, "command", node)?).map_err(|e| document.error(node, e)),
    }
}

/// A mapping, or a list of `NAME=VALUE`.
fn pairs(document: &Document, key: &str, node: &Node) -> Result<Vec<(Spot, String)>> {
    if let Tree::Map(map) = &node.tree {
        let pair = |(name, value): &(String, Node)| match &value.tree {
            // In compose a variable without a value is the caller's.
            Tree::Null => Ok((document.at(value), name.clone())),
            _ => Ok((document.at(value), format!("{name}={}", scalar(document, key, value)?))),
        };
        return map.iter().map(pair).collect();
    }
    node.items().iter().map(|item| Ok((document.at(item), scalar(document, key, item)?))).collect()
}

/// A published port in its long form.
fn published(node: &Node) -> Option<String> {
    let target = node.get("target")?.text()?;
    let published = node.get("published").and_then(Node::text).unwrap_or_default();
    Some(format!("{published}:{target}"))
}

/// A path relative to the file.
fn beside(document: &Document, path: &str) -> String {
    let dir = document.file.parent().unwrap_or(Path::new("."));
    let path = dir.join(path.strip_prefix("./").unwrap_or(path));
    std::path::absolute(&path).unwrap_or(path).display().to_string()
}

fn security_opt(document: &Document, text: &str) -> String {
    let file = text.strip_prefix("seccomp=").or_else(|| text.strip_prefix("seccomp:"));
    match file {
        Some(file) if file != "unconfined" => format!("seccomp={}", beside(document, file)),
        _ => text.to_string(),
    }
}

/// `SRC:DST[:OPTIONS]`, or the long form. Compose's volumes can be written unless they say `ro`.
fn volume(document: &Document, d: &mut Description, node: &Node) -> Result<()> {
    let at = document.at(node);
    let part = |name: &str| node.get(name).and_then(Node::text);
    let (source, target, readonly) = match node.text() {
        Some(text) => {
            let words: Vec<&str> = text.split(':').collect();
            match words[..] {
                [target] => (String::new(), target.to_string(), false),
                [source, target] => (source.to_string(), target.to_string(), false),
                [source, target, options] => {
                    (source.to_string(), target.to_string(), options.split(',').any(|o| o == "ro"))
                }
                _ => return Err(document.error(node, format!("volumes: {text:?} is no SRC:DST[:OPTIONS]"))),
            }
        }
        None => {
            let target = part("target").ok_or_else(|| document.error(node, "volumes: a target is needed"))?;
            let readonly = node.get("read_only").is_some_and(Node::is_true);
            if part("type").as_deref() == Some("tmpfs") {
                let size = node.path(&["tmpfs", "size"]).and_then(Node::text);
                let size = size.map(|s| format!("size={s},")).unwrap_or_default();
                d.say_tmpfs(&at, &format!("{target}:{size}{}", if readonly { "ro" } else { "" }));
                return Ok(());
            }
            (part("source").unwrap_or_default(), target, readonly)
        }
    };
    if source.starts_with(['/', '.', '~']) {
        let mode = if readonly { "ro" } else { "rw" };
        d.say(&at, "volume", format!("{}:{target}:{mode}", beside(document, &source)));
    } else {
        let name =
            if source.is_empty() { "an anonymous volume".into() } else { format!("the volume {source}") };
        d.note(
            &at,
            "volumes",
            &format!("{name} is a tmpfs here: what is written there ends with the container"),
        );
        d.say_tmpfs(&at, &format!("{target}:{}", if readonly { "ro" } else { "" }));
    }
    Ok(())
}

/// A secret by its name; its file is in the top level's `secrets`.
fn secret(document: &Document, d: &mut Description, node: &Node) -> Result<()> {
    let name = node.text().or_else(|| node.get("source").and_then(Node::text)).unwrap_or_default();
    let from = document.top.path(&["secrets", &name]);
    let Some(from) = from else {
        return Err(document.error(node, format!("secrets: the file defines no secret {name:?}")));
    };
    let mut text = format!("id={name}");
    if let Some(file) = from.get("file").and_then(Node::text) {
        text.push_str(&format!(",src={}", beside(document, &file)));
    } else if let Some(variable) = from.get("environment").and_then(Node::text) {
        text.push_str(&format!(",env={variable}"));
    } else {
        return Err(document.error(from, format!("secrets: {name}: a file or a variable is needed")));
    }
    for (key, option) in [("target", "target"), ("mode", "mode"), ("uid", "uid"), ("gid", "gid")] {
        if let Some(value) = node.get(key).and_then(Node::text) {
            text.push_str(&format!(",{option}={value}"));
        }
    }
    d.say(&document.at(node), "secret", text);
    Ok(())
}
