//! `mounts` of type cgroup: the container sees its own groups, by the namespace's view or by bind mounts.

use libtest_mimic::Trial;
use serde_json::json;

use crate::harness::{Need, Sandbox, bundle, test};

const OCI: &[Need] = &[Need::Root, Need::Oci];

pub fn tests() -> Vec<Trial> {
    vec![
        test("fields::mounts_cgroup_shows_the_container_s_own", OCI, own),
        test("fields::mounts_cgroup_can_be_shown_twice", OCI, twice),
    ]
}

/// A detached copy can be moved once: each mount needs one of its own.
fn twice() {
    for namespaces in [json!(["pid", "mount", "uts", "cgroup"]), json!(["pid", "mount", "uts"])] {
        let kinds: Vec<_> =
            namespaces.as_array().expect("names").iter().map(|kind| json!({ "type": kind })).collect();
        let out = Sandbox::new()
            .sh("cd /sys/fs/cgroup; here=$(find . -name cgroup.procs | sort); cd /again; \
                 [ \"$here\" = \"$(find . -name cgroup.procs | sort)\" ] && [ -n \"$here\" ] && echo same; \
                 touch x 2>&1")
            .patch("/linux/namespaces", json!(kinds))
            .patch("/mounts/-", json!({ "destination": "/again", "type": "cgroup", "options": ["ro"] }))
            .run_oci()
            .output();
        assert!(out.stdout.starts_with("same\n"), "{out}");
        // runc 1.1 leaves the directory of the v1 trees writable.
        assert!(out.stdout.contains("Read-only file system") || bundle::is_foreign(), "{out}");
    }
}

fn own() {
    for namespace in [true, false] {
        let mut sb = Sandbox::new()
            .sh("cat /proc/self/mountinfo; cat /proc/self/cgroup; touch /sys/fs/cgroup/x 2>&1; true");
        if !namespace {
            let all = sb.config()["linux"]["namespaces"].as_array().expect("namespaces").clone();
            let rest: Vec<_> = all.into_iter().filter(|n| n["type"] != "cgroup").collect();
            sb.set("/linux/namespaces", json!(rest));
        }
        let out = sb.run_oci().output().ok();
        let v2 = Need::CgroupV2.missing().is_none();
        let place = if v2 { "/sys/fs/cgroup" } else { "/sys/fs/cgroup/memory" };
        let line = out.stdout.lines().rfind(|l| l.contains(&format!(" {place} ")) || l.contains(",memory "));
        let line = line.unwrap_or_else(|| panic!("no cgroup mount\n{out}"));
        assert!(line.contains(" ro,"), "read-only: {line}");
        // The container's own group, never the root of the host's tree.
        let shown = line.split(' ').nth(3).unwrap_or_default();
        assert!(v2 || namespace || shown.contains(sb.id()), "{line}");
        if !bundle::is_foreign() {
            // runc 1.1 leaves the directory of the v1 trees writable.
            out.prints("Read-only file system");
        }
    }
}
