//! `mounts` of type cgroup: the container sees its own cgroups, through the cgroup namespace or through bind
//! mounts.

use serde_json::json;

use crate::harness::{Need, Sandbox, bundle, case};

const OCI: &[Need] = &[Need::Root, Need::Oci];

const V2: &[Need] = &[Need::Root, Need::CgroupV2, Need::Userns];

#[case(V2)]
fn a_writable_cgroup_is_its_user_s() {
    owners(&[]);
}

/// A detached copy can be attached once, so each mount needs its own.
#[case(OCI)]
fn mounts_cgroup_can_be_shown_twice() {
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
        // runc 1.1 leaves the directory of the v1 hierarchies writable.
        assert!(out.stdout.contains("Read-only file system") || bundle::is_foreign(), "{out}");
    }
}

#[case(OCI)]
fn mounts_cgroup_shows_the_container_s_own() {
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
        // The container's own cgroup, never the root of the host's hierarchy.
        let shown = line.split(' ').nth(3).unwrap_or_default();
        assert!(v2 || namespace || shown.contains(sb.id()), "{line}");
        if !bundle::is_foreign() {
            // runc 1.1 leaves the directory of the v1 hierarchies writable.
            out.prints("Read-only file system");
        }
    }
}

/// config-linux.md "Cgroup ownership": the user owns the cgroup and the delegated files, but not its limits.
pub fn owners(global: &[&str]) {
    let kinds = ["mount", "pid", "ipc", "uts", "network", "cgroup", "user"];
    let of = |without: &[&str], options: &[&str], uid: u32| {
        let kinds: Vec<_> =
            kinds.iter().filter(|k| !without.contains(k)).map(|k| json!({ "type": k })).collect();
        let mut sb = Sandbox::new()
            .sh("cd /sys/fs/cgroup; echo $(stat -c %u . cgroup.procs cgroup.subtree_control pids.max); \
                 mkdir below 2>/dev/null && echo made; echo 3 2>/dev/null >pids.max && echo limit; :")
            .patch("/linux/namespaces", json!(kinds))
            .patch("/linux/resources/pids", json!({ "limit": 20 }))
            .patch("/process/user", json!({ "uid": uid, "gid": 0 }));
        if !without.contains(&"user") {
            let map = json!([{ "containerID": 0, "hostID": 100_000, "size": 65_536 }]);
            sb.set("/linux/uidMappings", map.clone());
            sb.set("/linux/gidMappings", map);
        }
        let mounts = sb.config()["mounts"].as_array().expect("mounts").clone();
        let others: Vec<_> = mounts.into_iter().filter(|m| m["type"] != "cgroup").collect();
        sb.set("/mounts", json!(others));
        let at = "/sys/fs/cgroup";
        let shown = json!({ "destination": at, "type": "cgroup", "source": "cgroup", "options": options });
        sb.set("/mounts/-", shown);
        let run = sb.runtime().args(global).args(["run", "--policy", "privileged", "--quiet", "--bundle"]);
        let out = run.arg(sb.bundle()).arg(sb.id()).output().ok();
        sb.leak_check();
        out.stdout
    };
    assert_eq!(of(&[], &["rw"], 0), "0 0 0 65534\nmade\n");
    assert_eq!(of(&[], &[], 7), "7 7 7 65534\nmade\n", "the user that the program runs as");
    assert_eq!(of(&[], &["ro"], 0), "65534 65534 65534 65534\n");
    assert_eq!(of(&["cgroup"], &["rw"], 0), "65534 65534 65534 65534\n", "the host's view of the tree");
    assert_eq!(of(&["user"], &["rw"], 7), "7 7 7 0\nmade\n");
    assert_eq!(of(&["user"], &["ro"], 7), "0 0 0 0\n");
}
