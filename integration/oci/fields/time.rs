//! `linux.timeOffsets`: the owner of the time namespace, and processes that are not in it.

use std::time::Duration;

use serde_json::json;

use crate::harness::{Need, Sandbox, case, poll};

/// runc 1.1 does not know the field.
const OWN: &[Need] = &[Need::Root];

fn offset() -> Sandbox {
    Sandbox::new()
        .sh("cat /proc/self/timens_offsets; echo done; exec sleep 1000")
        .patch("/linux/namespaces/-", json!({ "type": "time" }))
        .patch("/linux/timeOffsets", json!({ "boottime": { "secs": 900_000_000 } }))
}

fn started(sb: &Sandbox) -> String {
    let create = sb.create_call().spawn();
    let written = create.files().0.clone();
    create.wait().ok();
    sb.verb("start").ok();
    let said = || std::fs::read_to_string(&written).unwrap_or_default();
    poll("the offsets", Duration::from_secs(10), || said().contains("done"));
    said().split_whitespace().collect::<Vec<_>>().join(" ")
}

#[case(OWN)]
fn time_offsets_are_not_for_hooks_of_the_host() {
    let own = std::fs::read_link("/proc/self/ns/time").expect("a time namespace");
    for kind in ["createRuntime", "poststart"] {
        let sb = offset();
        let seen = sb.dir().join("seen");
        let script = format!("readlink /proc/self/ns/time >{}", seen.display());
        let hook =
            json!([{ "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"] }]);
        let sb = sb.patch(&format!("/hooks/{kind}"), hook).args(["/bin/true"]);
        sb.run_oci().output().ok();
        let seen = std::fs::read_to_string(&seen).expect("what the hook saw");
        assert_eq!(seen.trim(), own.display().to_string(), "{kind}");
    }
}

/// It belongs to the user namespace, so that a process with CAP_SYS_TIME there may join it; no other process
/// has the offsets.
#[case(Root, Userns)]
fn time_offsets_in_a_user_namespace() {
    let maps = json!([{ "containerID": 0, "hostID": 0, "size": 1 }, { "containerID": 1, "hostID": 200_001, "size": 5000 }]);
    let user = json!({ "type": "user" });
    let sb = offset()
        .patch("/linux/namespaces/-", user)
        .patch("/linux/uidMappings", maps.clone())
        .patch("/linux/gidMappings", maps);
    assert!(started(&sb).contains("boottime 900000000 0"));
    let pid = sb.pid().to_string();
    let owner = || {
        let mut lsns = std::process::Command::new("lsns");
        let out = lsns.args(["-n", "-p", &pid, "-t", "time", "-o", "ONS"]).output().expect("lsns");
        String::from_utf8_lossy(&out.stdout).trim().to_string()
    };
    // lsns reads all of /proc, and prints nothing if a process ends meanwhile.
    poll("lsns to find the owner", Duration::from_secs(10), || !owner().is_empty());
    let user = std::fs::read_link(format!("/proc/{pid}/ns/user")).expect("a user namespace");
    assert_eq!(format!("user:[{}]", owner()), user.display().to_string());
    assert!(sb.exec(["cat", "/proc/self/timens_offsets"]).ok().stdout.contains("900000000"));
    sb.delete().ok();
}
