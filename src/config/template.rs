//! The config that `safebox spec` writes: an initial config for users, close to the output of `runc spec`.
//!
//! Intended differences from runc 1.1.5:
//! - `ociVersion` is the version that safebox follows, `hostname` is `safebox`;
//! - no ambient capabilities: a program gets capabilities because it runs as root inside or has file
//! capabilities, not because its parent had them;
//! - the hard limit on open files is the caller's, so that servers can raise their own (under the name
//! `runc`: 1024);
//! - `/sys/devices/virtual/powercap` is masked: energy counters leak keys (CVE-2020-8694);
//! - rootless: the caller of [`spec`] passes the ids.

use serde_json::{Value, json};

use super::features::OCI_VERSIONS;

/// Soft limit of open files: programs that use select(2) need at most 1024.
const FILES: u64 = 1024;

/// The output of `safebox spec`. As in runc, a cgroup namespace is used only on pure cgroup v2 hosts. `files`
/// is the caller's hard limit of open files, if the container gets it.
pub fn spec_for(rootless: Option<(u32, u32)>, cgroup_v2: bool, files: Option<u64>) -> Value {
    let mut spec = spec(rootless);
    if let Some(hard) = files {
        spec["process"]["rlimits"][0]["soft"] = json!(FILES.min(hard));
        spec["process"]["rlimits"][0]["hard"] = json!(hard);
    }
    if !cgroup_v2 && let Some(list) = spec["linux"]["namespaces"].as_array_mut() {
        list.retain(|namespace| namespace["type"] != "cgroup");
    }
    spec
}

/// The template for a host with cgroup v2. With `rootless`, for the caller with this uid and gid, which is
/// root inside.
pub fn spec(rootless: Option<(u32, u32)>) -> Value {
    let caps = json!(["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    json!({
        "ociVersion": OCI_VERSIONS.1,
        "process": {
            "terminal": true,
            "user": { "uid": 0, "gid": 0 },
            "args": ["sh"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": { "bounding": caps, "effective": caps, "permitted": caps },
            "rlimits": [{ "type": "RLIMIT_NOFILE", "hard": FILES, "soft": FILES }],
            "noNewPrivileges": true,
        },
        "root": { "path": "rootfs", "readonly": true },
        "hostname": "safebox",
        "mounts": mounts(rootless.is_some()),
        "linux": linux(rootless),
    })
}

/// The mounts. Rootless: group 5 is not mapped, and mounting sysfs needs an owned network namespace, so the
/// host's sysfs is bind mounted.
fn mounts(rootless: bool) -> Value {
    let mut pts = vec!["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"];
    let sys = if rootless {
        json!({ "destination": "/sys", "type": "none", "source": "/sys",
                "options": ["rbind", "nosuid", "noexec", "nodev", "ro"] })
    } else {
        pts.push("gid=5");
        json!({ "destination": "/sys", "type": "sysfs", "source": "sysfs",
                "options": ["nosuid", "noexec", "nodev", "ro"] })
    };
    json!([
        { "destination": "/proc", "type": "proc", "source": "proc" },
        { "destination": "/dev", "type": "tmpfs", "source": "tmpfs",
          "options": ["nosuid", "strictatime", "mode=755", "size=65536k"] },
        { "destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": pts },
        { "destination": "/dev/shm", "type": "tmpfs", "source": "shm",
          "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"] },
        { "destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
          "options": ["nosuid", "noexec", "nodev"] },
        sys,
        { "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
          "options": ["nosuid", "noexec", "nodev", "relatime", "ro"] },
    ])
}

/// The `linux` section. Rootless: a user namespace instead of a network namespace and a device list.
fn linux(rootless: Option<(u32, u32)>) -> Value {
    let mut linux = json!({
        "maskedPaths": [
            "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
            "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/sys/devices/virtual/powercap", "/proc/scsi",
        ],
        "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
    });
    let namespaces = if let Some((uid, gid)) = rootless {
        linux["uidMappings"] = json!([{ "containerID": 0, "hostID": uid, "size": 1 }]);
        linux["gidMappings"] = json!([{ "containerID": 0, "hostID": gid, "size": 1 }]);
        ["pid", "ipc", "uts", "mount", "cgroup", "user"]
    } else {
        linux["resources"] = json!({ "devices": [{ "allow": false, "access": "rwm" }] });
        ["pid", "network", "ipc", "uts", "mount", "cgroup"]
    };
    linux["namespaces"] = namespaces.iter().map(|ns| json!({ "type": ns })).collect();
    linux
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse::from_slice;

    #[test]
    fn our_own_parser_takes_it() {
        for rootless in [None, Some((1000, 1000))] {
            from_slice(spec(rootless).to_string().as_bytes()).unwrap();
        }
    }

    #[test]
    fn servers_can_raise_their_limit_on_open_files() {
        let limit = |files| spec_for(None, true, files)["process"]["rlimits"].clone();
        assert_eq!(limit(None), json!([{ "type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024 }]));
        assert_eq!(limit(Some(20000)), json!([{ "type": "RLIMIT_NOFILE", "hard": 20000, "soft": 1024 }]));
        assert_eq!(limit(Some(500)), json!([{ "type": "RLIMIT_NOFILE", "hard": 500, "soft": 500 }]));
    }

    /// The output of runc, or `None` (reported as skipped) if it is not installed.
    fn runc_spec(args: &[&str]) -> Option<Value> {
        let dir = tempfile::tempdir().unwrap();
        let status =
            std::process::Command::new("runc").arg("spec").args(args).current_dir(dir.path()).status();
        if !status.is_ok_and(|s| s.success()) {
            eprintln!("SKIPPED: runc is not installed, its template was not compared");
            return None;
        }
        let text = std::fs::read(dir.path().join("config.json")).unwrap();
        serde_json::from_slice(&text).ok()
    }

    /// Reverts the differences that the module's documentation lists.
    fn as_runc(mut ours: Value, theirs: &Value) -> Value {
        ours["ociVersion"] = theirs["ociVersion"].clone();
        ours["hostname"] = json!("runc");
        if let Some(ambient) = theirs.pointer("/process/capabilities/ambient") {
            ours["process"]["capabilities"]["ambient"] = ambient.clone();
        }
        let has = |list: &str, item: &Value| theirs["linux"][list].as_array().unwrap().contains(item);
        let keep = |ours: &mut Value, list: &str, item: Value| {
            if !has(list, &item) {
                ours["linux"][list].as_array_mut().unwrap().retain(|v| *v != item);
            }
        };
        keep(&mut ours, "maskedPaths", json!("/sys/devices/virtual/powercap"));
        ours
    }

    /// Sorts namespaces and masked paths, whose order has no meaning.
    fn sorted(mut spec: Value) -> Value {
        for list in ["namespaces", "maskedPaths", "readonlyPaths"] {
            spec["linux"][list].as_array_mut().unwrap().sort_by_key(Value::to_string);
        }
        for mount in spec["mounts"].as_array_mut().unwrap() {
            if let Some(options) = mount["options"].as_array_mut() {
                options.sort_by_key(Value::to_string);
            }
        }
        spec
    }

    #[test]
    fn the_same_as_runc_but_for_the_listed_differences() {
        // Use the uid that runc wrote.
        let (uid, gid) = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
        let v2 = crate::cgroup::Hierarchy::probe().unwrap().is_v2();
        let ours = |ids| spec_for(ids, v2, None);
        for (args, ours) in [(&[][..], ours(None)), (&["--rootless"], ours(Some((uid, gid))))] {
            let Some(theirs) = runc_spec(args) else { return };
            pretty_equal(&sorted(as_runc(ours, &theirs)), &sorted(theirs));
        }
    }

    fn pretty_equal(ours: &Value, theirs: &Value) {
        // The order of keys has no meaning.
        let text = |v: &Value| {
            let mut v = v.clone();
            v.sort_all_objects();
            serde_json::to_string_pretty(&v).unwrap()
        };
        assert_eq!(text(ours), text(theirs));
    }
}
