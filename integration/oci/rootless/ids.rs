//! Sources of ids: a range without its tools, and a surrounding user namespace.

use serde_json::json;

use super::{ONE, RANGE, User, one, range};
use crate::harness::{Call, Sandbox, case};

/// The user's runtime with newuidmap(1) hidden, as on a machine without the package.
fn bare(user: User, sb: &Sandbox) -> Call {
    let hide = "for d in /usr/bin /bin /usr/sbin /sbin /usr/local/bin; do \
                [ ! -e $d/newuidmap ] || mount --bind /dev/null $d/newuidmap || exit; done; exec \"$@\"";
    let (uid, gid) = (format!("--reuid={}", user.uid), format!("--regid={}", user.gid));
    let wrapper =
        ["unshare", "--mount", "sh", "-c", hide, "sh", "setpriv", &uid, &gid, "--clear-groups", "--"];
    User { uid: 0, gid: 0 }.under(sb, &wrapper)
}

#[case(RANGE)]
fn without_newuidmap_there_is_one_id() {
    let user = range();
    // A config with more than one id is refused, and the message names the remedy.
    let maps = |id| json!([{ "containerID": 0, "hostID": id, "size": 1 }, { "containerID": 1, "hostID": 100_000, "size": 10 }]);
    let sb = user
        .sandbox()
        .patch("/linux/uidMappings", maps(user.uid))
        .patch("/linux/gidMappings", maps(user.gid));
    let create = bare(user, &sb).arg("create").arg("--bundle").arg(sb.bundle()).arg(sb.id());
    create.output().exits(1).says("/linux/uidMappings: more ids").says("package uidmap");
    sb.leak_check();
    // The launcher uses the caller's own id, and reports it.
    let sb = user.sandbox().sh("id -u; wc -l </proc/self/uid_map; cat /proc/self/uid_map");
    let run = |call: Call| {
        let call = call.args(["--cgroup-manager", "disabled", "run", "--bundle"]);
        call.arg(sb.bundle()).arg(sb.id()).output().ok()
    };
    let out = run(bare(user, &sb));
    let words: Vec<_> = out.stdout.split_whitespace().collect();
    assert_eq!(words, ["65532", "1", "65532", &user.uid.to_string(), "1"], "{out}");
    assert!(out.stderr.contains("newuidmap"), "{out}");
    assert!(!run(user.under(&sb, &[])).stdout.ends_with(" 1\n"), "with the tools it has the range");
    sb.leak_check();
}

#[case(ONE)]
fn works_inside_a_user_namespace() {
    let user = one();
    let sb = user.sandbox().sh("id -u; grep CapEff /proc/self/status");
    let inside = ["unshare", "--user", "--map-root-user"];
    let call = user.under(&sb, &inside).args(["--cgroup-manager", "disabled", "run", "--quiet", "--bundle"]);
    let out = call.arg(sb.bundle()).arg(sb.id()).output().ok();
    assert!(out.stdout.contains("65532\n") && out.stdout.contains("CapEff:\t0000000000000000"), "{out}");
    sb.leak_check();
    // The OCI verbs: the config maps root of the namespace.
    let map = json!([{ "containerID": 0, "hostID": 0, "size": 1 }]);
    let sb =
        user.sandbox().patch("/linux/uidMappings", map.clone()).patch("/linux/gidMappings", map).sh("id -u");
    let run = user.under(&sb, &inside).args(["run", "--quiet", "--policy", "privileged", "--bundle"]);
    run.arg(sb.bundle()).arg(sb.id()).output().ok().prints("0\n");
    sb.leak_check();
}
