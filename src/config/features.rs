//! The output of `safebox features`: runtime-spec features.md and features-linux.md.
//!
//! The lists come from the tables that the parser uses, so every announced name is also accepted.

use serde_json::{Value, json};

use super::hooks;
use crate::tables::memory_policy::{FLAGS, MODES};
use crate::tables::{capabilities::CAPABILITIES, mount_options::OPTIONS, namespaces::NAMESPACES};

/// The oldest and the newest supported version of the specification.
pub const OCI_VERSIONS: (&str, &str) = ("1.0.0", "1.3.0");

/// The features document. `seccomp` is its `linux.seccomp` part, which the filter compiler provides.
pub fn features(seccomp: Value) -> Value {
    let mut namespaces: Vec<&str> = NAMESPACES.iter().map(|r| r.oci).collect();
    namespaces.sort_unstable();
    json!({
        "ociVersionMin": OCI_VERSIONS.0,
        "ociVersionMax": OCI_VERSIONS.1,
        "hooks": hooks::NAMES,
        "mountOptions": OPTIONS.iter().map(|r| r.name).collect::<Vec<_>>(),
        "linux": {
            "namespaces": namespaces,
            "capabilities": CAPABILITIES.iter().map(|r| r.name).collect::<Vec<_>>(),
            "cgroup": { "v1": true, "v2": true, "systemd": true, "systemdUser": true, "rdma": true },
            "seccomp": seccomp,
            "apparmor": { "enabled": true },
            "selinux": { "enabled": true },
            "intelRdt": { "enabled": true, "schemata": true, "monitoring": true },
            "memoryPolicy": {
                "modes": MODES.iter().map(|m| m.0).collect::<Vec<_>>(),
                "flags": FLAGS.iter().map(|f| f.0).collect::<Vec<_>>(),
            },
            "mountExtensions": { "idmap": { "enabled": true } },
            "netDevices": { "enabled": true },
        },
        "annotations": { "safebox.version": env!("CARGO_PKG_VERSION") },
        // As runc: annotations that other runtimes act on. Callers must not let users set them.
        "potentiallyUnsafeConfigAnnotations": ["bundle", "org.systemd.property.", "org.criu.config"],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_callers_look_for_is_there() {
        let f = features(json!({ "enabled": true }));
        let has = |pointer: &str, name: &str| {
            f.pointer(pointer).and_then(Value::as_array).is_some_and(|a| a.iter().any(|v| v == name))
        };
        // Features that callers look up: recursive read-only mounts and user namespaces (Kubernetes),
        // versions (CRI-O).
        assert!(has("/mountOptions", "rro") && has("/linux/namespaces", "user"));
        assert_eq!(f.pointer("/linux/mountExtensions/idmap/enabled"), Some(&Value::Bool(true)));
        // Podman and similar engines choose the cgroup driver by this.
        let cgroup = &f["linux"]["cgroup"];
        assert!(["v1", "v2", "systemd", "systemdUser", "rdma"].iter().all(|key| cgroup[key] == json!(true)));
        assert_eq!((&f["ociVersionMin"], &f["ociVersionMax"]), (&json!("1.0.0"), &json!("1.3.0")));
        // The oci-spec crate's type of the document can parse it.
        assert!(serde_json::from_value::<oci_spec::runtime::Features>(f).is_ok());
    }
}
