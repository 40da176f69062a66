//! A service of a compose file (compose-spec) as options of `docker run`.

mod places;

use std::path::Path;

use super::values::check;
use super::words::{quoted, split};
use super::yaml::{Document, Node, Tree};
use super::{Description, Spot, interpolate, yaml};
use crate::error::{Error, Result};
use places::{beside, device, published, secret, volume};

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
    ("cgroup_parent", "cgroup-parent"),
    ("mac_address", "mac-address"),
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
    ("device_cgroup_rules", "device-cgroup-rule"),
    ("dns_opt", "dns-option"),
];

/// Keys that a single container's runtime cannot mean: (key, why).
const ELSEWHERE: &[(&str, &str)] = &[
    ("build", "safebox runs a root file system (--rootfs), and builds no image"),
    ("image", "safebox runs a root file system: give it with --rootfs"),
    ("depends_on", "one service runs alone"),
    ("networks", "the container has a network of its own; ports are published, and --allow-net opens names"),
    ("restart", "a service manager restarts programs (systemd: Restart=on-failure)"),
    ("profiles", "the service is named on the command line"),
    ("platform", "the root file system is there already"),
    ("pull_policy", "nothing is pulled"),
    ("stdin_open", "stdin is the caller's"),
    ("runtime", "this is the runtime"),
    ("configs", "show the file with volumes"),
    ("develop", "it is for building"),
    ("scale", "one service runs alone"),
    ("attach", "one service runs alone"),
];

/// Keys whose effect is in another place, which a run must not go without: (key, why).
const STOPS: &[(&str, &str)] = &[
    ("extends", "what is inherited is not read: resolve it with docker compose config"),
    ("provider", "another program provides the service"),
    ("credential_spec", "it is for Windows"),
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
    let mut documents = yaml::parse(path, &text)?;
    let document = documents
        .iter_mut()
        .find(|d| is(d))
        .ok_or_else(|| Error::msg(format!("{}: no compose file: it has no services", path.display())))?;
    interpolate::apply(document)?;
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
    for (line, name) in &document.unset {
        let at = Spot { file: document.file.clone(), line: *line };
        d.note(&at, &format!("${{{name}}}"), "the variable is not set, and so empty");
    }
    if let Some(node) = document.top.get("include") {
        d.stop(
            &document.at(node),
            "include",
            "other files are not read: resolve it with docker compose config",
        );
    }
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
        if boolean(document, key, value)? {
            d.say(&at, option, "");
        }
    } else if let Some(why) = named(STOPS) {
        d.stop(&at, key, why);
    } else if let Some(option) = named(LISTS) {
        for item in value.items() {
            let text = match (item.text(), key) {
                (Some(text), _) => Some(text),
                (None, "ports") => published(document, d, item)?,
                (None, "devices") => device(document, d, item),
                _ => None,
            };
            let text = text.ok_or_else(|| document.error(item, format!("{key}: a text is needed")))?;
            match option {
                "tmpfs" => d.say_tmpfs(&document.at(item), &text),
                option => d.say(&document.at(item), option, text),
            }
        }
    } else if let Some(why) = named(ELSEWHERE) {
        word(document, key, value)?;
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
        "init" => d.say(&at, "init", boolean(document, key, value)?.to_string()),
        "healthcheck" => health(document, d, value)?,
        "logging" => logging(document, d, value)?,
        "gpus" => d.say(&at, "gpus", device_request(value)),
        // The engine's socket, by another name.
        "use_api_socket" if boolean(document, key, value)? => {
            d.say(&at, "volume", "/var/run/docker.sock:/var/run/docker.sock:rw");
        }
        "use_api_socket" => {}
        "environment" => {
            pairs(document, key, value)?.into_iter().for_each(|(at, pair)| d.say(&at, "env", pair))
        }
        "labels" | "annotations" => {
            pairs(document, key, value)?.into_iter().for_each(|(at, pair)| d.say(&at, "label", pair));
        }
        "sysctls" => {
            pairs(document, key, value)?.into_iter().for_each(|(at, pair)| d.say(&at, "sysctl", pair))
        }
        "env_file" => env_files(document, d, value),
        "security_opt" => {
            for item in value.items() {
                let option = security_opt(document, &scalar(document, key, item)?);
                d.say(&document.at(item), "security-opt", option);
            }
        }
        "ulimits" => ulimits(document, d, value)?,
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

fn env_files(document: &Document, d: &mut Description, value: &Node) {
    for item in value.items() {
        let path = item.text().or_else(|| item.get("path").and_then(Node::text)).unwrap_or_default();
        known(document, d, "env_file", item, &["path", "required"]);
        let required = item.get("required").is_none_or(|node| node.boolean() != Some(false));
        if !required && !Path::new(&beside(document, &path)).exists() {
            continue;
        }
        d.say(&document.at(item), "env-file", beside(document, &path));
    }
}

fn ulimits(document: &Document, d: &mut Description, value: &Node) -> Result<()> {
    for (name, limit) in value.entries() {
        known(document, d, "ulimits", limit, &["soft", "hard"]);
        let part = |part: &str| limit.get(part).and_then(Node::text);
        let both = limit.text().or_else(|| Some(format!("{}:{}", part("soft")?, part("hard")?)));
        let both =
            both.ok_or_else(|| document.error(limit, format!("ulimits: {name}: soft and hard are needed")))?;
        d.say(&document.at(limit), "ulimit", format!("{name}={both}"));
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
                    // A whole device, mostly a GPU.
                    _ if kind == "reservations" && name == "devices" => {
                        d.say(&document.at(node), "gpus", device_request(node));
                    }
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

/// `deploy.resources.reservations.devices` and `gpus`, in the words of --gpus.
fn device_request(node: &Node) -> String {
    let count = node.items().into_iter().find_map(|item| item.get("count").and_then(Node::text));
    node.text().or(count).unwrap_or_else(|| "all".into())
}

/// Lists the keys of a mapping that are not among `keys`.
fn known(document: &Document, d: &mut Description, what: &str, node: &Node, keys: &[&str]) {
    for (key, value) in node.entries().iter().filter(|(key, _)| !keys.contains(&key.as_str())) {
        if !key.starts_with("x-") {
            d.unknown.push((document.at(value), format!("{what}.{key}")));
        }
    }
}

/// `healthcheck`: the options of a detached run.
fn health(document: &Document, d: &mut Description, node: &Node) -> Result<()> {
    const TIMES: [(&str, &str); 5] = [
        ("interval", "health-interval"),
        ("timeout", "health-timeout"),
        ("retries", "health-retries"),
        ("start_period", "health-start-period"),
        ("start_interval", "health-start-interval"),
    ];
    let all = TIMES.map(|(key, _)| key);
    known(document, d, "healthcheck", node, &[&all[..], &["test", "disable"]].concat());
    if let Some(node) = node.get("disable")
        && boolean(document, "healthcheck.disable", node)?
    {
        return Ok(());
    }
    let Some(test) = node.get("test") else { return Ok(()) };
    let words = test.items().iter().map(|item| scalar(document, "test", item)).collect::<Result<Vec<_>>>()?;
    let command = match (&test.tree, words.first().map(String::as_str)) {
        (Tree::List(_), Some("NONE")) => return Ok(()),
        (Tree::List(_), Some("CMD-SHELL")) => words[1..].join(" "),
        // A shell runs it: each word is quoted.
        (Tree::List(_), Some("CMD")) => words[1..].iter().map(|w| quoted(w)).collect::<Vec<_>>().join(" "),
        (Tree::List(_), _) => {
            return Err(document.error(test, "healthcheck: CMD, CMD-SHELL or NONE is needed"));
        }
        _ => words.concat(),
    };
    d.say(&document.at(test), "health-cmd", command);
    for (key, option) in TIMES {
        if let Some(value) = node.get(key) {
            d.say(&document.at(value), option, scalar(document, key, value)?);
        }
    }
    Ok(())
}

/// `logging`: the log of a detached run.
fn logging(document: &Document, d: &mut Description, node: &Node) -> Result<()> {
    known(document, d, "logging", node, &["driver", "options"]);
    if let Some(driver) = node.get("driver") {
        d.say(&document.at(driver), "log-driver", scalar(document, "driver", driver)?);
    }
    for (key, value) in node.get("options").map(Node::entries).unwrap_or_default() {
        d.say(&document.at(value), "log-opt", format!("{key}={}", scalar(document, key, value)?));
    }
    Ok(())
}

fn boolean(document: &Document, key: &str, node: &Node) -> Result<bool> {
    node.boolean().ok_or_else(|| document.error(node, format!("{key}: true or false is needed")))
}

/// Refuses a word that the key cannot have.
fn word(document: &Document, key: &str, node: &Node) -> Result<()> {
    let text = node.text().unwrap_or_default();
    check(key, &text).map_err(|why| document.error(node, format!("{key}: {why}")))
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

fn security_opt(document: &Document, text: &str) -> String {
    let file = text.strip_prefix("seccomp=").or_else(|| text.strip_prefix("seccomp:"));
    match file {
        Some(file) if file != "unconfined" => format!("seccomp={}", beside(document, file)),
        _ => text.to_string(),
    }
}
