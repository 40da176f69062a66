//! CIS Docker Benchmark, sections 1 to 3, as far as a file or stat(2) decides.

use std::os::unix::fs::MetadataExt;

use serde_json::Value;

use super::machine::{MachineCheck, MachineRoot, check, fail};
use crate::policy::{Evidence, Judged, Place, Severity, Verdict};

const DAEMON: &str = "/etc/docker/daemon.json";

/// Files whose every use CIS 1.1 wants audited.
const AUDITED: [&str; 12] = [
    "/usr/bin/dockerd",
    "/run/containerd",
    "/var/lib/docker",
    "/etc/docker",
    "/usr/lib/systemd/system/docker.service",
    "/usr/lib/systemd/system/docker.socket",
    "/run/containerd/containerd.sock",
    "/etc/default/docker",
    "/etc/docker/daemon.json",
    "/etc/containerd/config.toml",
    "/usr/bin/containerd",
    "/usr/bin/runc",
];

/// CIS 3: (file, the most that its mode may have).
const OWNED: [(&str, u32); 12] = [
    ("/usr/lib/systemd/system/docker.service", 0o644),
    ("/usr/lib/systemd/system/docker.socket", 0o644),
    ("/etc/systemd/system/docker.service", 0o644),
    ("/etc/docker", 0o755),
    ("/etc/docker/daemon.json", 0o644),
    ("/etc/docker/key.json", 0o600),
    ("/etc/default/docker", 0o644),
    ("/etc/sysconfig/docker", 0o644),
    ("/etc/containerd/config.toml", 0o644),
    ("/run/docker.sock", 0o660),
    ("/run/containerd/containerd.sock", 0o660),
    ("/etc/docker/certs.d", 0o755),
];

/// The checks; none where no engine is installed.
pub(super) fn checks(m: &MachineRoot) -> &'static [MachineCheck] {
    let installed = [
        "/usr/bin/dockerd",
        "/usr/local/bin/dockerd",
        "/usr/sbin/dockerd",
        "/etc/docker",
        "/usr/bin/containerd",
    ];
    if installed.iter().any(|path| m.path(path).exists()) { CHECKS } else { &[] }
}

/// daemon.json; an empty object where there is none.
fn daemon(m: &MachineRoot) -> Result<Value, String> {
    let text = m.read(DAEMON)?.filter(|text| !text.is_empty()).unwrap_or_else(|| "{}".into());
    serde_json::from_str(&text).map_err(|e| format!("{DAEMON}: {e}"))
}

fn no_docker(m: &MachineRoot) -> Option<Verdict> {
    let docker = ["/usr/bin/dockerd", "/usr/local/bin/dockerd", "/usr/sbin/dockerd", "/etc/docker"];
    let none = !docker.iter().any(|path| m.path(path).exists());
    none.then(|| Verdict::NotApplicable("Docker is not installed".into()))
}

/// A key of daemon.json that must have this value; `usual` is what it is without it.
fn key(m: &MachineRoot, name: &str, want: &Value, usual: &Value) -> Judged {
    if let Some(verdict) = no_docker(m) {
        return Ok(verdict);
    }
    let daemon = daemon(m)?;
    let value = daemon.get(name).unwrap_or(usual);
    if value == want { Ok(Verdict::Pass) } else { fail(DAEMON, format!("{name} is {value}, not {want}")) }
}

/// A key of daemon.json that must be there.
fn present(m: &MachineRoot, name: &str) -> Judged {
    if let Some(verdict) = no_docker(m) {
        return Ok(verdict);
    }
    match daemon(m)?.get(name) {
        Some(value) if !value.is_null() && value != "" => Ok(Verdict::Pass),
        _ => fail(DAEMON, format!("{name} is not set")),
    }
}

/// A key of daemon.json that must not be there.
fn absent(m: &MachineRoot, name: &str) -> Judged {
    if let Some(verdict) = no_docker(m) {
        return Ok(verdict);
    }
    match daemon(m)?.get(name) {
        None | Some(Value::Null) => Ok(Verdict::Pass),
        Some(Value::Array(list)) if list.is_empty() => Ok(Verdict::Pass),
        Some(value) => fail(DAEMON, format!("{name} is {value}")),
    }
}

fn tls(m: &MachineRoot) -> Judged {
    if let Some(verdict) = no_docker(m) {
        return Ok(verdict);
    }
    let daemon = daemon(m)?;
    let hosts = daemon["hosts"].as_array().cloned().unwrap_or_default();
    let words = unit_words(m);
    let verified = daemon["tlsverify"] == true || words.iter().any(|word| word == "--tlsverify");
    let written = hosts.iter().filter_map(Value::as_str).map(|host| (DAEMON, host));
    let given = words.iter().map(|word| ("docker.service", word.as_str()));
    match written.chain(given).find(|(_, host)| host.starts_with("tcp://")) {
        Some((at, host)) if !verified => {
            fail(at, format!("{host} takes orders from everyone who reaches it: tlsverify is not set"))
        }
        _ => Ok(Verdict::Pass),
    }
}

fn base_size(m: &MachineRoot) -> Judged {
    if let Some(verdict) = no_docker(m) {
        return Ok(verdict);
    }
    let daemon = daemon(m)?;
    let mut options = daemon["storage-opts"].as_array().into_iter().flatten().filter_map(Value::as_str);
    match options.find(|option| option.starts_with("dm.basesize")) {
        Some(option) => fail(DAEMON, format!("storage-opts has {option}")),
        None => Ok(Verdict::Pass),
    }
}

/// Words of the unit's command: options of dockerd that are not in daemon.json.
fn unit_words(m: &MachineRoot) -> Vec<String> {
    let mut files =
        vec![m.path("/usr/lib/systemd/system/docker.service"), m.path("/etc/systemd/system/docker.service")];
    let parts =
        std::fs::read_dir(m.path("/etc/systemd/system/docker.service.d")).into_iter().flatten().flatten();
    let mut parts: Vec<_> = parts.map(|entry| entry.path()).collect();
    parts.sort();
    files.append(&mut parts);
    let mut words = Vec::new();
    for text in files.iter().filter_map(|file| std::fs::read_to_string(file).ok()) {
        for line in
            text.replace("\\\n", " ").lines().filter_map(|line| line.trim().strip_prefix("ExecStart="))
        {
            // A later file's command takes the place of the one before.
            words = line.split([' ', '=']).filter(|word| !word.is_empty()).map(String::from).collect();
        }
    }
    words
}

fn log_level(m: &MachineRoot) -> Judged {
    if let Some(verdict) = no_docker(m) {
        return Ok(verdict);
    }
    match daemon(m)?.get("log-level").and_then(Value::as_str) {
        None | Some("info") => Ok(Verdict::Pass),
        Some(level) => fail(DAEMON, format!("log-level is {level}, not info")),
    }
}

fn audited(m: &MachineRoot) -> Judged {
    let mut rules = m.read("/etc/audit/audit.rules")?.unwrap_or_default();
    for entry in std::fs::read_dir(m.path("/etc/audit/rules.d")).into_iter().flatten().flatten() {
        rules.push('\n');
        rules.push_str(&std::fs::read_to_string(entry.path()).unwrap_or_default());
    }
    let watched = |path: &str| {
        let lines = rules.lines().map(str::trim).filter(|line| !line.starts_with('#'));
        lines.flat_map(str::split_whitespace).any(|word| {
            word == path
                || word.strip_prefix("path=") == Some(path)
                || word.strip_prefix("dir=") == Some(path)
        })
    };
    let open = AUDITED.iter().filter(|path| m.path(path).exists() && !watched(path));
    let evidence = open.map(|path| Evidence {
        at: Place::File("/etc/audit/rules.d".into()),
        text: format!("no rule watches {path}"),
        reference: None,
    });
    let found: Vec<_> = evidence.collect();
    Ok(if found.is_empty() { Verdict::Pass } else { Verdict::Fail(found) })
}

fn owned(m: &MachineRoot) -> Judged {
    let root = std::fs::metadata(&m.top).map_err(|e| e.to_string())?.uid();
    let mut found = Vec::new();
    for (path, most) in OWNED {
        let Ok(meta) = std::fs::metadata(m.path(path)) else { continue };
        let mode = meta.mode() & 0o7777;
        let mut add = |text: String| {
            found.push(Evidence { at: Place::File(path.into()), text, reference: None });
        };
        if meta.uid() != root {
            add(format!("its owner is {}, not root", meta.uid()));
        }
        if mode & !most != 0 {
            add(format!("its mode is {mode:04o}, more than {most:04o}"));
        }
    }
    Ok(if found.is_empty() { Verdict::Pass } else { Verdict::Fail(found) })
}

fn partition(m: &MachineRoot) -> Judged {
    if !m.path("/var/lib/docker").exists() {
        return Ok(Verdict::NotApplicable("there is no /var/lib/docker".into()));
    }
    let text =
        std::fs::read(m.path("/proc/self/mountinfo")).map_err(|e| format!("/proc/self/mountinfo: {e}"))?;
    let own = crate::host::mountinfo::entries(&text)
        .iter()
        .any(|e| e.at == std::path::Path::new("/var/lib/docker"));
    if own {
        Ok(Verdict::Pass)
    } else {
        fail("/var/lib/docker", "it lies on the file system of /, which it can fill")
    }
}

const CHECKS: &[MachineCheck] = &[
    check(
        ("docker-partition", "containers have a partition of their own"),
        Severity::Low,
        &["CIS Docker 1.1.1"],
        "mount a file system at /var/lib/docker",
        partition,
    ),
    check(
        ("docker-audit", "the engine's files are audited"),
        Severity::Low,
        &["CIS Docker 1.1.3 to 1.1.18"],
        "add -w FILE -p rwxa -k docker to /etc/audit/rules.d/docker.rules",
        audited,
    ),
    check(
        ("docker-icc", "containers on the default bridge do not reach each other"),
        Severity::Medium,
        &["CIS Docker 2.2"],
        "set \"icc\": false in daemon.json",
        |m| key(m, "icc", &Value::Bool(false), &Value::Bool(true)),
    ),
    check(
        ("docker-log-level", "the engine logs at level info"),
        Severity::Low,
        &["CIS Docker 2.3"],
        "set \"log-level\": \"info\" in daemon.json",
        log_level,
    ),
    check(
        ("docker-iptables", "the engine sets up the firewall"),
        Severity::Low,
        &["CIS Docker 2.4"],
        "remove \"iptables\": false from daemon.json",
        |m| key(m, "iptables", &Value::Bool(true), &Value::Bool(true)),
    ),
    check(
        ("docker-insecure-registries", "registries are reached with TLS only"),
        Severity::High,
        &["CIS Docker 2.5"],
        "remove \"insecure-registries\" from daemon.json",
        |m| absent(m, "insecure-registries"),
    ),
    check(
        ("docker-storage-driver", "the storage driver is maintained"),
        Severity::Low,
        &["CIS Docker 2.6"],
        "set \"storage-driver\": \"overlay2\" in daemon.json, or leave it out",
        |m| match no_docker(m) {
            Some(verdict) => Ok(verdict),
            None if daemon(m)?["storage-driver"] == "aufs" => fail(DAEMON, "storage-driver is aufs"),
            None => Ok(Verdict::Pass),
        },
    ),
    check(
        ("docker-tls", "the engine's TCP socket asks for a certificate"),
        Severity::High,
        &["CIS Docker 2.7"],
        "set tlsverify, tlscacert, tlscert and tlskey in daemon.json, or use ssh://; remove -H tcp:// from docker.service",
        tls,
    ),
    check(
        ("docker-ulimits", "containers have default ulimits"),
        Severity::Low,
        &["CIS Docker 2.8"],
        "set \"default-ulimits\" in daemon.json",
        |m| present(m, "default-ulimits"),
    ),
    check(
        ("docker-userns-remap", "root of containers is not root of the host"),
        Severity::Medium,
        &["CIS Docker 2.9"],
        "set \"userns-remap\": \"default\" in daemon.json",
        |m| present(m, "userns-remap"),
    ),
    check(
        ("docker-cgroup-parent", "containers lie below the usual cgroup"),
        Severity::Low,
        &["CIS Docker 2.10"],
        "remove \"cgroup-parent\" from daemon.json",
        |m| absent(m, "cgroup-parent"),
    ),
    check(
        ("docker-base-size", "the size of containers' disks is the usual one"),
        Severity::Low,
        &["CIS Docker 2.11"],
        "remove dm.basesize from \"storage-opts\" in daemon.json",
        base_size,
    ),
    check(
        ("docker-authorization", "commands are authorized"),
        Severity::Low,
        &["CIS Docker 2.12"],
        "set \"authorization-plugins\" in daemon.json",
        |m| present(m, "authorization-plugins"),
    ),
    check(
        ("docker-log-driver", "logs are kept elsewhere, too"),
        Severity::Low,
        &["CIS Docker 2.13"],
        "set \"log-driver\" in daemon.json, e.g. journald",
        |m| present(m, "log-driver"),
    ),
    check(
        ("docker-no-new-privileges", "containers gain no privileges"),
        Severity::Medium,
        &["CIS Docker 2.14"],
        "set \"no-new-privileges\": true in daemon.json",
        |m| key(m, "no-new-privileges", &Value::Bool(true), &Value::Bool(false)),
    ),
    check(
        ("docker-live-restore", "containers outlive the engine"),
        Severity::Low,
        &["CIS Docker 2.15"],
        "set \"live-restore\": true in daemon.json",
        |m| key(m, "live-restore", &Value::Bool(true), &Value::Bool(false)),
    ),
    check(
        ("docker-userland-proxy", "ports are forwarded by the kernel"),
        Severity::Low,
        &["CIS Docker 2.16"],
        "set \"userland-proxy\": false in daemon.json",
        |m| key(m, "userland-proxy", &Value::Bool(false), &Value::Bool(true)),
    ),
    check(
        ("docker-seccomp", "system calls are filtered by default"),
        Severity::High,
        &["CIS Docker 2.17"],
        "remove \"seccomp-profile\": \"unconfined\" from daemon.json",
        |m| match no_docker(m) {
            Some(verdict) => Ok(verdict),
            None if daemon(m)?["seccomp-profile"] == "unconfined" => {
                fail(DAEMON, "seccomp-profile is unconfined")
            }
            None => Ok(Verdict::Pass),
        },
    ),
    check(
        ("docker-experimental", "no experimental features are on"),
        Severity::Low,
        &["CIS Docker 2.18"],
        "remove \"experimental\": true from daemon.json",
        |m| key(m, "experimental", &Value::Bool(false), &Value::Bool(false)),
    ),
    check(
        ("docker-files", "the engine's files are root's, and only root writes them"),
        Severity::High,
        &["CIS Docker 3.1 to 3.24"],
        "chown root FILE; chmod FILE as the finding says",
        owned,
    ),
];
