//! A description as the config that Docker would make of it: what the audit judges, and what `from-docker` prints.

use serde_json::{Value, json};

use super::{Description, Said, Spot};
use crate::config::defaults::{MASKED, READONLY};
use crate::config::{Config, parse};
use crate::error::{Error, Result};
use crate::launch::options::words::parse_size;
use crate::tables::capabilities;
use crate::tables::rlimits::RLIMITS;

/// What engines give without any option.
const CAPS: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

/// A config, and which line of the description each of its parts comes from.
pub struct Made {
    /// config.json.
    pub json: Value,
    /// (JSON pointer, place).
    pub places: Vec<(String, Spot)>,
    /// Options whose effect is not in a config: (place, text).
    pub left: Vec<(Spot, String)>,
}

impl Made {
    /// The config that the JSON means.
    pub fn config(&self) -> Result<Config> {
        Ok(parse::from_slice(self.json.to_string().as_bytes())?)
    }

    /// The place of the part that a pointer names: the closest that was said.
    pub fn place(&self, pointer: &str) -> Option<&Spot> {
        let covers = |p: &str| {
            pointer == p || pointer.starts_with(&format!("{p}/")) || p.starts_with(&format!("{pointer}/"))
        };
        let found = self.places.iter().rev().filter(|(p, _)| covers(p));
        found.max_by_key(|(p, _)| p.len().min(pointer.len())).map(|(_, spot)| spot)
    }

    fn set(&mut self, at: &Spot, pointer: &str, value: Value) {
        let mut here = &mut self.json;
        for key in pointer.split('/').skip(1) {
            let key = key.replace("~1", "/").replace("~0", "~");
            if key == "-" && here.is_array() {
                let Value::Array(list) = here else { return };
                list.push(Value::Null);
                let last = list.len() - 1;
                here = &mut list[last];
                continue;
            }
            if !here.is_object() {
                *here = json!({});
            }
            here = &mut here[key.as_str()];
        }
        *here = value;
        let place = match pointer.strip_suffix("/-") {
            Some(list) => {
                let len = self.json.pointer(list).and_then(Value::as_array).map_or(1, Vec::len);
                format!("{list}/{}", len.saturating_sub(1))
            }
            None => pointer.into(),
        };
        self.places.push((place, at.clone()));
    }

    fn without_namespace(&mut self, at: &Spot, kind: &str) {
        if let Some(list) = self.json["linux"]["namespaces"].as_array_mut() {
            list.retain(|n| n["type"] != kind);
        }
        self.places.push(("/linux/namespaces".into(), at.clone()));
    }
}

/// Docker's defaults: root, its capabilities, its filter, a writable root, no limits.
fn defaults(d: &Description) -> Value {
    let kinds = ["pid", "network", "ipc", "uts", "mount", "cgroup"];
    let private = json!(["nosuid", "noexec", "nodev"]);
    json!({
        "ociVersion": crate::config::features::OCI_VERSIONS.1,
        "process": {
            "user": { "uid": 0, "gid": 0 }, "cwd": "/", "env": [crate::config::defaults::PATH],
            "args": if d.args.is_empty() { vec!["/bin/sh".to_string()] } else { d.args.clone() },
            "capabilities": { "bounding": CAPS, "effective": CAPS, "permitted": CAPS },
            "noNewPrivileges": false,
        },
        "root": { "path": "rootfs", "readonly": false },
        "hostname": "docker",
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc", "options": private },
            { "destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "strictatime", "mode=755", "size=65536k"] },
            { "destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"] },
            { "destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"] },
            { "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro", "nosuid", "noexec", "nodev"] },
            { "destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": private },
            { "destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=67108864"] },
        ],
        "linux": {
            "namespaces": kinds.map(|kind| json!({ "type": kind })),
            "maskedPaths": MASKED, "readonlyPaths": READONLY,
            // Stands for the engine's own profile, which is not in the description.
            "seccomp": { "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1 },
            "resources": { "devices": [{ "allow": false, "access": "rwm" }] },
        },
    })
}

/// The config that Docker would make.
pub fn make(d: &Description) -> Result<Made> {
    let mut made = Made { json: defaults(d), places: Vec::new(), left: Vec::new() };
    // Capabilities are dropped before others are added, and --privileged gives all of them, in whatever order they are
    // said.
    let order = |said: &&Said| match said.option.as_str() {
        "privileged" => 2,
        "cap-add" => 1,
        _ => 0,
    };
    let mut all: Vec<&Said> = d.said.iter().collect();
    all.sort_by_key(order);
    for said in all {
        option(&mut made, said)
            .map_err(|why| Error::msg(format!("{}: {} {}: {why}", said.at, said.option, said.value)))?;
    }
    Ok(made)
}

fn option(made: &mut Made, said: &Said) -> std::result::Result<(), String> {
    let (at, value) = (&said.at, said.value.as_str());
    let number = |text: &str| text.parse::<i64>().map(Value::from).map_err(|e| e.to_string());
    if limit(made, at, &said.option, value)? {
        return Ok(());
    }
    match said.option.as_str() {
        "user" => user(made, at, value),
        "read-only" => made.set(at, "/root/readonly", true.into()),
        "privileged" => privileged(made, at),
        "cap-add" | "cap-drop" => capability(made, at, &said.option, value)?,
        "security-opt" => security(made, at, value),
        "seccomp" if value == "unconfined" => made.set(at, "/linux/seccomp", Value::Null),
        "seccomp" => {}
        kind @ ("network" | "pid" | "ipc" | "uts" | "cgroupns") if value == "host" => shared(made, at, kind),
        "env" => made.set(
            at,
            "/process/env/-",
            if value.contains('=') { value.into() } else { format!("{value}=").into() },
        ),
        "workdir" => made.set(at, "/process/cwd", value.into()),
        "hostname" => made.set(at, "/hostname", value.into()),
        "oom-score-adj" => made.set(at, "/process/oomScoreAdj", number(value)?),
        "sysctl" => {
            let (key, value) = value.split_once('=').ok_or("NAME=VALUE is needed")?;
            made.set(at, &format!("/linux/sysctl/{}", key.replace('/', "~1")), value.into());
        }
        "label" | "annotation" => {
            let (key, value) = value.split_once('=').unwrap_or((value, ""));
            made.set(
                at,
                &format!("/annotations/{}", key.replace('~', "~0").replace('/', "~1")),
                value.into(),
            );
        }
        "tmpfs" => tmpfs(made, at, value),
        "volume" => volume(made, at, value),
        "mount" => mount(made, at, value),
        "device" => device(made, at, value),
        "device-cgroup-rule" => device_rule(made, at, value)?,
        // No part of a config.
        name if name.starts_with("health-") || name.starts_with("log-") => {}
        "tty" => made.set(at, "/process/terminal", true.into()),
        "entrypoint" => {
            let args = made.json["process"]["args"].as_array().cloned().unwrap_or_default();
            let all: Vec<Value> = std::iter::once(value.into()).chain(args).collect();
            made.set(at, "/process/args", all.into());
        }
        other => made.left.push((at.clone(), format!("{other} {value}").trim_end().to_string())),
    }
    Ok(())
}

/// A namespace of the host's instead of the container's own.
fn shared(made: &mut Made, at: &Spot, option: &str) {
    made.without_namespace(at, if option == "cgroupns" { "cgroup" } else { option });
    if option == "uts" {
        made.json["hostname"] = Value::Null;
    }
}

/// Options that limit something; returns whether this is one.
fn limit(made: &mut Made, at: &Spot, option: &str, value: &str) -> std::result::Result<bool, String> {
    let size = |text: &str| parse_size(text).map(Value::from);
    let number = |text: &str| text.parse::<i64>().map(Value::from).map_err(|e| e.to_string());
    match option {
        "memory" => made.set(at, "/linux/resources/memory/limit", size(value)?),
        "memory-swap" => made.set(at, "/linux/resources/memory/swap", size(value)?),
        "memory-reservation" => made.set(at, "/linux/resources/memory/reservation", size(value)?),
        "cpus" => {
            let cpus: f64 = value.parse().map_err(|e| format!("{e}"))?;
            if cpus > 0.0 {
                made.set(at, "/linux/resources/cpu/quota", ((cpus * 100_000.0) as i64).into());
                made.set(at, "/linux/resources/cpu/period", 100_000.into());
            }
        }
        "cpu-shares" => made.set(at, "/linux/resources/cpu/shares", number(value)?),
        "cpu-quota" => made.set(at, "/linux/resources/cpu/quota", number(value)?),
        "cpu-period" => made.set(at, "/linux/resources/cpu/period", number(value)?),
        "cpuset-cpus" => made.set(at, "/linux/resources/cpu/cpus", value.into()),
        "cpuset-mems" => made.set(at, "/linux/resources/cpu/mems", value.into()),
        "pids-limit" => made.set(at, "/linux/resources/pids/limit", number(value)?),
        "ulimit" => ulimit(made, at, value)?,
        _ => return Ok(false),
    }
    Ok(true)
}

/// A name is looked up in the image, which is not at hand: it is some user that is not root.
fn user(made: &mut Made, at: &Spot, value: &str) {
    let (user, group) = value.split_once(':').unwrap_or((value, ""));
    // An empty name is the image's, which is root unless the image says otherwise.
    let id = |text: &str| if matches!(text, "root" | "") { Some(0) } else { text.parse::<u32>().ok() };
    let uid = id(user);
    if uid.is_none() {
        made.left.push((at.clone(), format!("user {user}: its number is in the image's /etc/passwd")));
    }
    let gid = id(group).filter(|_| !group.is_empty()).or(uid).unwrap_or(crate::policy::NONROOT);
    made.set(at, "/process/user", json!({ "uid": uid.unwrap_or(crate::policy::NONROOT), "gid": gid }));
}

fn privileged(made: &mut Made, at: &Spot) {
    let all: Vec<_> = capabilities::CAPABILITIES.iter().map(|row| row.name).collect();
    made.set(at, "/process/capabilities", json!({ "bounding": all, "effective": all, "permitted": all }));
    made.set(at, "/linux/seccomp", Value::Null);
    made.set(at, "/linux/maskedPaths", json!([]));
    made.set(at, "/linux/readonlyPaths", json!([]));
    made.set(at, "/linux/resources/devices", json!([{ "allow": true, "access": "rwm" }]));
}

fn capability(made: &mut Made, at: &Spot, option: &str, value: &str) -> std::result::Result<(), String> {
    for name in value.split(',') {
        let all = name.eq_ignore_ascii_case("all");
        let known: Vec<&str> = capabilities::CAPABILITIES
            .iter()
            .filter(|row| all || capabilities::parse(name) == Some(row.bit))
            .map(|row| row.name)
            .collect();
        if known.is_empty() {
            return Err(format!("unknown capability {name:?}"));
        }
        for set in ["bounding", "effective", "permitted"] {
            let list = made.json["process"]["capabilities"][set].as_array().cloned().unwrap_or_default();
            let mut list: Vec<Value> = list.into_iter().filter(|c| !known.iter().any(|k| c == k)).collect();
            if option == "cap-add" {
                list.extend(known.iter().map(|name| Value::from(*name)));
            }
            made.json["process"]["capabilities"][set] = list.into();
        }
    }
    made.places.push(("/process/capabilities".into(), at.clone()));
    Ok(())
}

fn security(made: &mut Made, at: &Spot, value: &str) {
    let (name, given) = value.split_once(['=', ':']).unwrap_or((value, ""));
    match (name, given) {
        ("no-new-privileges", "" | "true") => made.set(at, "/process/noNewPrivileges", true.into()),
        ("seccomp", "unconfined") => made.set(at, "/linux/seccomp", Value::Null),
        ("apparmor", profile) => made.set(at, "/process/apparmorProfile", profile.into()),
        // A type that SELinux does not confine.
        ("label", "disable" | "type:spc_t" | "type:unconfined_t") => {}
        ("label", label) => made.set(at, "/process/selinuxLabel", label.into()),
        ("systempaths", "unconfined") => {
            made.set(at, "/linux/maskedPaths", json!([]));
            made.set(at, "/linux/readonlyPaths", json!([]));
        }
        _ => {}
    }
}

fn ulimit(made: &mut Made, at: &Spot, value: &str) -> std::result::Result<(), String> {
    let (name, limits) = value.split_once('=').ok_or("NAME=SOFT[:HARD] is needed")?;
    let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
    let number = |text: &str| match text {
        "-1" => Ok(u64::MAX),
        text => text.parse::<u64>().map_err(|e| format!("{text:?}: {e}")),
    };
    let full = format!("RLIMIT_{}", name.to_ascii_uppercase());
    let row = RLIMITS.iter().find(|row| row.name == full).ok_or_else(|| format!("unknown limit {name:?}"))?;
    if !made.json["process"]["rlimits"].is_array() {
        made.json["process"]["rlimits"] = json!([]);
    }
    made.set(
        at,
        "/process/rlimits/-",
        json!({ "type": row.name, "soft": number(soft)?, "hard": number(hard)? }),
    );
    Ok(())
}

fn tmpfs(made: &mut Made, at: &Spot, value: &str) {
    let (target, words) = value.split_once(':').unwrap_or((value, ""));
    // Docker's own options for it.
    let mut options = vec!["nosuid", "nodev", "noexec"];
    options.extend(words.split(',').filter(|w| !w.is_empty()));
    made.set(
        at,
        "/mounts/-",
        json!({ "destination": target, "type": "tmpfs", "source": "tmpfs", "options": options }),
    );
}

fn volume(made: &mut Made, at: &Spot, value: &str) {
    let words: Vec<&str> = value.split(':').collect();
    let (source, target, options) = match words[..] {
        [source, target] => (source, target, ""),
        [source, target, options] => (source, target, options),
        _ => {
            made.left.push((at.clone(), format!("volume {value}: an anonymous volume")));
            return;
        }
    };
    bind(made, at, (source, target), &options.split(',').collect::<Vec<_>>());
}

fn bind(made: &mut Made, at: &Spot, (source, target): (&str, &str), words: &[&str]) {
    if source.starts_with(['$', '~', '`']) || source.contains("$(") {
        made.left.push((
            at.clone(),
            format!("volume {source}: a shell decides which directory of the host it is"),
        ));
        return;
    }
    if !source.starts_with('/') && !source.starts_with('.') {
        made.left.push((at.clone(), format!("volume {source}: the engine's, below its own directory")));
        return;
    }
    let mut options = vec!["rbind"];
    options.extend(
        words.iter().filter(|w| matches!(**w, "ro" | "rshared" | "shared" | "rslave" | "slave" | "rprivate")),
    );
    made.set(
        at,
        "/mounts/-",
        json!({ "destination": target, "type": "bind", "source": source, "options": options }),
    );
}

fn mount(made: &mut Made, at: &Spot, value: &str) {
    let part = |keys: &[&str]| {
        value
            .split(',')
            .filter_map(|w| w.split_once('=').or(Some((w, "true"))))
            .find(|(k, _)| keys.contains(k))
            .map(|(_, v)| v)
    };
    let target = part(&["target", "dst", "destination"]).unwrap_or("/");
    match part(&["type"]) {
        Some("tmpfs") => {
            let size = part(&["tmpfs-size"]).map(|s| format!("{target}:size={s}"));
            tmpfs(made, at, &size.unwrap_or_else(|| target.into()));
        }
        Some("bind") => {
            let readonly = part(&["readonly", "ro"]).is_some_and(|v| matches!(v, "true" | "1"));
            let mut words = Vec::from_iter(part(&["bind-propagation"]));
            words.extend(readonly.then_some("ro"));
            bind(made, at, (part(&["source", "src"]).unwrap_or("/"), target), &words);
        }
        // A directory of the host behind a volume's name.
        Some("volume") | None if value.contains("device=/") => {
            let source =
                value.split("device=").nth(1).and_then(|rest| rest.split([',', '"']).next()).unwrap_or("/");
            bind(made, at, (source, target), &[]);
        }
        _ => made.left.push((at.clone(), format!("mount {value}"))),
    }
}

/// `c 1:3 rwm`, behind the engine's denial of everything.
fn device_rule(made: &mut Made, at: &Spot, value: &str) -> std::result::Result<(), String> {
    let words: Vec<&str> = value.split_whitespace().collect();
    let [kind, numbers, access] = words[..] else { return Err("TYPE MAJOR:MINOR ACCESS is needed".into()) };
    let (major, minor) = numbers.split_once(':').ok_or("MAJOR:MINOR is needed")?;
    let number = |text: &str| match text {
        "*" => Ok(Value::Null),
        text => text.parse::<u32>().map(Value::from).map_err(|e| format!("{text:?}: {e}")),
    };
    let mut rule = json!({ "allow": true, "type": kind, "access": access });
    for (key, text) in [("major", major), ("minor", minor)] {
        if let value @ Value::Number(_) = number(text)? {
            rule[key] = value;
        }
    }
    made.set(at, "/linux/resources/devices/-", rule);
    Ok(())
}

/// Which numbers a node has is known on the machine alone; that one is given away is what counts.
fn device(made: &mut Made, at: &Spot, value: &str) {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    let (host, rest) = value.split_once(':').unwrap_or((value, ""));
    let inside = rest.split(':').next().filter(|p| p.starts_with('/')).unwrap_or(host);
    let meta = std::fs::metadata(host).ok();
    let block = meta.as_ref().is_some_and(|m| m.file_type().is_block_device());
    let rdev = meta.map_or(0, |m| m.rdev());
    let (major, minor) = (nix::sys::stat::major(rdev), nix::sys::stat::minor(rdev));
    if !made.json["linux"]["devices"].is_array() {
        made.json["linux"]["devices"] = json!([]);
    }
    let kind = if block { "b" } else { "c" };
    made.set(at, "/linux/devices/-", json!({ "path": inside, "type": kind, "major": major, "minor": minor }));
}
