//! Parts that a config may omit because options or the policy add them; and a rootfs that cannot be idmapped
//! as a whole.

use serde_json::json;

use crate::harness::{Need, Sandbox, case};

const USERNS: &[Need] = &[Need::Root, Need::Userns, Need::Idmap];

#[case(USERNS)]
fn checks_see_what_the_policy_adds() {
    let sb = Sandbox::new();
    std::fs::create_dir(sb.dir().join("src")).expect("mkdir");
    let bind = json!({ "destination": "/mnt", "source": sb.dir().join("src"), "options": ["bind", "idmap"] });
    let sb = sb
        .sh("hostname; stat -c %u /mnt")
        .patch("/mounts/-", bind)
        .patch("/hostname", json!("named"))
        .patch("/linux/namespaces", json!([{ "type": "mount" }]))
        .patch("/linux/sysctl", json!({ "net.ipv4.ip_forward": "1" }))
        .patch("/linux/resources", json!({ "memory": { "swap": 67_108_864 } }));
    sb.run().args(["--memory", "64m"]).output().ok().prints("named\n0\n");
}

#[case(Root)]
fn checks_still_hold_for_what_it_does_not_add() {
    let sb = Sandbox::new().patch("/linux/timeOffsets", json!({ "monotonic": { "secs": 1 } }));
    sb.create().exits(1).says("/linux/timeOffsets: ");
    sb.leak_check();
}

/// The host's own procfs and similar file systems are not mounted.
#[case(USERNS)]
fn the_host_s_root_is_a_rootfs() {
    let sb = Sandbox::new().sh("cat /proc/self/mountinfo").patch("/root/path", json!("/"));
    let run = sb.runtime().args(["run", "--verbose", "--bundle"]);
    let out = run.arg(sb.bundle()).arg(sb.id()).output().ok();
    out.clone().says("without what is mounted in it");
    let at = |place: &str| out.stdout.lines().filter(|l| l.split(' ').nth(4) == Some(place)).count();
    assert_eq!((at("/"), at("/proc"), at("/sys"), at("/dev")), (1, 1, 1, 1), "{out}");
}

#[case(USERNS)]
fn a_mount_left_in_the_rootfs_is_named() {
    let sb = Sandbox::new();
    let place = sb.rootfs().join("home").to_string_lossy().into_owned();
    let script = "mount -t proc proc \"$0\" && exec \"$@\"";
    let call =
        sb.under(&["unshare", "--mount", "sh", "-c", script, &place]).args(["run", "--quiet", "--bundle"]);
    let out = call.arg(sb.bundle()).arg(sb.id()).output();
    out.clone().says(&format!("{place} (proc) is mounted inside it and cannot be idmapped: umount it"));
    assert!(!out.stderr.contains("put it on ext4"), "{out}");
    sb.leak_check();
}
