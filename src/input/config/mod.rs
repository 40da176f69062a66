//! A description as the config that Docker would make of it: what the audit judges, and what `from-docker` prints.

mod places;

use serde_json::{Value, json};

use super::{Assumed, Description, Engine, OptionAt, Spot};
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
    /// Variables whose values are the caller's, and which the caller of this program does not have.
    pub passed: Vec<String>,
    /// The user is named by a shell's variable: whether it is root is unknown.
    pub user: Option<String>,
    engine: Engine,
}

impl Made {
    /// The config that the JSON means.
    pub fn config(&self) -> Result<Config> {
        Ok(parse::from_slice(self.json.to_string().as_bytes())?)
    }

    /// The place of the part that a pointer names: the closest one with a position.
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
            "seccomp": profile(),
            "resources": { "devices": [{ "allow": false, "access": "rwm" }] },
        },
    })
}

/// Stands for a profile that is not in the description: the engine's own, or one of a file.
fn profile() -> Value {
    json!({ "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1 })
}

/// The config that Docker would make.
pub fn make(d: &Description) -> Result<Made> {
    let mut made = Made {
        json: defaults(d),
        places: Vec::new(),
        left: Vec::new(),
        passed: Vec::new(),
        user: None,
        engine: d.engine,
    };
    // Without a profile the kubelet starts containers unconfined.
    if d.engine == Engine::Kubernetes {
        made.json["linux"]["seccomp"] = Value::Null;
    }
    for (at, what) in &d.assumed {
        match what {
            Assumed::NotRoot => {
                let id = crate::policy::NONROOT;
                made.set(at, "/process/user", json!({ "uid": id, "gid": id }));
            }
            Assumed::Filtered => made.set(at, "/linux/seccomp", profile()),
            Assumed::Variable(name) => {
                made.passed.push(name.clone());
                made.set(at, "/process/env/-", format!("{name}=").into());
            }
        }
    }
    // Capabilities are dropped before others are added, and --privileged gives all of them, in whatever order they are
    // said.
    let order = |option: &&OptionAt| match option.name.as_str() {
        "privileged" => 2,
        "cap-add" => 1,
        _ => 0,
    };
    let mut all: Vec<&OptionAt> = d.options.iter().collect();
    all.sort_by_key(order);
    for option in all {
        apply(&mut made, option)
            .map_err(|why| Error::msg(format!("{}: {} {}: {why}", option.at, option.name, option.value)))?;
    }
    Ok(made)
}

fn apply(made: &mut Made, option: &OptionAt) -> std::result::Result<(), String> {
    let (at, value) = (&option.at, option.value.as_str());
    let number = |text: &str| text.parse::<i64>().map(Value::from).map_err(|e| e.to_string());
    if limit(made, at, &option.name, value)? {
        return Ok(());
    }
    match option.name.as_str() {
        "user" => user(made, at, value),
        "read-only" => made.set(at, "/root/readonly", true.into()),
        "privileged" => privileged(made, at),
        "cap-add" | "cap-drop" => capability(made, at, &option.name, value)?,
        "security-opt" => security(made, at, value),
        "seccomp" if value == "unconfined" => made.set(at, "/linux/seccomp", Value::Null),
        "seccomp" => made.set(at, "/linux/seccomp", profile()),
        kind @ ("network" | "pid" | "ipc" | "uts" | "cgroupns") if value == "host" => shared(made, at, kind),
        "env" => env(made, at, value),
        "env-file" => env_file(made, at, value),
        "group-add" if value.parse::<u32>().is_ok() => {
            let mut groups =
                made.json["process"]["user"]["additionalGids"].as_array().cloned().unwrap_or_default();
            groups.push(number(value)?);
            made.json["process"]["user"]["additionalGids"] = groups.into();
        }
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
        "tmpfs" => places::tmpfs(made, at, value),
        "volume" => places::volume(made, at, value),
        "mount" => places::mount(made, at, value),
        "device" => places::device(made, at, value),
        "device-cgroup-rule" => places::device_rule(made, at, value)?,
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

/// `NAME=VALUE`, or the name of a variable of the caller's.
fn env(made: &mut Made, at: &Spot, value: &str) {
    let text = match (value.contains('='), std::env::var(value)) {
        (true, _) => value.to_string(),
        (false, Ok(own)) => format!("{value}={own}"),
        (false, Err(_)) => {
            made.passed.push(value.into());
            format!("{value}=")
        }
    };
    made.set(at, "/process/env/-", text.into());
}

/// A file of `NAME=VALUE` lines.
fn env_file(made: &mut Made, at: &Spot, path: &str) {
    match super::read(std::path::Path::new(path)) {
        Err(e) => made.left.push((at.clone(), format!("env-file {e}"))),
        Ok(text) => {
            for (line, text) in (1..).zip(text.lines()) {
                let text = text.trim();
                if !text.is_empty() && !text.starts_with('#') {
                    env(made, &Spot { file: path.into(), line }, text.trim_start_matches("export "));
                }
            }
        }
    }
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
    if user.contains('$') {
        made.user = Some(format!("a shell decides who {user} is"));
    } else if uid.is_none() {
        made.left.push((at.clone(), format!("user {user}: its number is in the image's /etc/passwd")));
    }
    let gid = id(group).filter(|_| !group.is_empty()).or(uid).unwrap_or(crate::policy::NONROOT);
    let groups = made.json["process"]["user"]["additionalGids"].take();
    let mut user = json!({ "uid": uid.unwrap_or(crate::policy::NONROOT), "gid": gid });
    if groups.is_array() {
        user["additionalGids"] = groups;
    }
    made.set(at, "/process/user", user);
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
        ("no-new-privileges", "false") => {}
        ("seccomp", "unconfined") => made.set(at, "/linux/seccomp", Value::Null),
        ("seccomp", "builtin") => {}
        ("seccomp", file) => {
            made.left
                .push((at.clone(), format!("seccomp profile {file}: what it lets through is not looked at")));
        }
        ("apparmor", profile) => made.set(at, "/process/apparmorProfile", profile.into()),
        // A type that SELinux does not confine.
        ("label", "disable" | "type:spc_t" | "type:unconfined_t") => {}
        ("label", label) => made.set(at, "/process/selinuxLabel", label.into()),
        ("systempaths", "unconfined") => {
            made.set(at, "/linux/maskedPaths", json!([]));
            made.set(at, "/linux/readonlyPaths", json!([]));
        }
        _ => made.left.push((at.clone(), format!("security-opt {value}"))),
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
