//! The config that `safebox spec` writes: an initial config for users, close to the output of `runc spec`.
//!
//! Intended differences from runc 1.1.5:
//! - `ociVersion` is the version that safebox follows, `hostname` is `safebox`;
//! - no ambient capabilities: a program gets capabilities because it runs as root inside or has file
//!   capabilities, not because its parent had them;
//! - the hard limit on open files is the caller's, so that servers can raise their own (under the name
//!   `runc`: 1024);
//! - `/sys/devices/virtual/powercap` is masked: energy counters leak keys (CVE-2020-8694);
//! - rootless: the caller of [`spec`] passes the ids.

use serde_json::{Value, json};

use super::defaults::{
    CGROUP, MASKED, MountRow, OF_NAMESPACES, PATH, READONLY, SOFT_FILES, SPEC_CAPABILITIES, STANDARD,
    TmpfsSize,
};
use super::features::OCI_VERSIONS;

/// The output of `safebox spec`. As in runc, a cgroup namespace is used only on pure cgroup v2 hosts. `files`
/// is the caller's hard limit of open files, if the container gets it.
pub fn spec_for(rootless: Option<(u32, u32)>, cgroup_v2: bool, files: Option<u64>) -> Value {
    let mut spec = spec(rootless);
    if let Some(hard) = files {
        spec["process"]["rlimits"][0]["soft"] = json!(SOFT_FILES.min(hard));
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
    let caps = json!(SPEC_CAPABILITIES);
    json!({
        "ociVersion": OCI_VERSIONS.1,
        "process": {
            "terminal": true,
            "user": { "uid": 0, "gid": 0 },
            "args": ["sh"],
            "env": [PATH, "TERM=xterm"],
            "cwd": "/",
            "capabilities": { "bounding": caps, "effective": caps, "permitted": caps },
            "rlimits": [{ "type": "RLIMIT_NOFILE", "hard": SOFT_FILES, "soft": SOFT_FILES }],
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
    let (sysfs, _, host, bound) = OF_NAMESPACES[0];
    let mount = |row: &MountRow| {
        let size = match row.size {
            TmpfsSize::Bytes(bytes) => Some(format!("size={}k", bytes >> 10)),
            TmpfsSize::None | TmpfsSize::HalfOfMemory => None,
        };
        let options = row.options.iter().filter(|o| !rootless || **o != "gid=5");
        let options: Vec<String> = options.map(|o| (*o).to_string()).chain(size).collect();
        json!({ "destination": row.destination, "type": row.fs_type, "source": row.source, "options": options })
    };
    let of = |row: &MountRow| match row.fs_type == sysfs && rootless {
        true => json!({ "destination": row.destination, "type": "none", "source": host, "options": bound }),
        false => mount(row),
    };
    STANDARD.iter().chain([&CGROUP]).map(of).collect()
}

/// The `linux` section. Rootless: a user namespace instead of a network namespace and a device list.
fn linux(rootless: Option<(u32, u32)>) -> Value {
    let mut linux = json!({ "maskedPaths": MASKED, "readonlyPaths": READONLY });
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
        ours["linux"]["maskedPaths"] = theirs["linux"]["maskedPaths"].clone();
        ours["mounts"] = theirs["mounts"].clone();
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
