//! Resources shared by all containers and the host: per-user counters, kernel tables, id ranges, files on
//! disk.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::{Need, Sandbox, case};

const OWN: &[Need] = &[Need::Root];

/// A profile that allows everything relevant here.
fn lax() -> Value {
    json!({ "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{ "names": ["kexec_load"], "action": "SCMP_ACT_ERRNO" }] })
}

/// Host view of a process's user namespace: first id and owner.
fn first_and_owner(pid: i32) -> (u32, u32) {
    let map = std::fs::read_to_string(format!("/proc/{pid}/uid_map")).expect("uid_map");
    let first = map.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("a map");
    // NS_GET_OWNER_UID of ioctl_nsfs(2).
    let script = format!(
        "open F, '</proc/{pid}/ns/user' or die; my $b = pack 'L', 0; ioctl(F, 0xb704, $b) or die; print unpack 'L', $b"
    );
    let out = Command::new("perl").args(["-e", &script]).output().expect("perl");
    let owner = String::from_utf8_lossy(&out.stdout).parse().expect("an owner");
    (first, owner)
}

/// Inotify instances, queued signals and message queues are also charged to the owner of the user namespace.
#[case(OWN)]
fn a_container_counts_for_its_own_user() {
    for offsets in [false, true] {
        let mut sb = Sandbox::up();
        if offsets {
            // The user namespace is then created by another row.
            sb.set("/linux/namespaces/-", json!({ "type": "time" }));
            sb.set("/linux/timeOffsets", json!({ "boottime": { "secs": 100, "nanosecs": 0 } }));
        }
        let running = sb.run_until(sb.run(), "up");
        let (first, owner) = first_and_owner(sb.pid());
        assert!(
            first >= 65_536 && owner == first,
            "{owner} made the user namespace whose first id is {first}"
        );
        sb.kill("KILL").ok();
        running.wait().exits(137);
    }
}

/// The second guard: without a filter the kernel refuses it, in `run` and in `exec`.
#[case(OWN)]
fn no_nested_user_namespace_whatever_the_filter() {
    let sb = Sandbox::up().patch("/linux/seccomp", lax());
    let running = sb.run_until(sb.run().args(["--seccomp", "config"]), "up");
    sb.exec(["cat", "/proc/sys/user/max_user_namespaces"]).ok().prints("0\n");
    let out = sb.exec(["unshare", "-U", "true"]);
    assert!(out.code != 0 && !out.stderr.contains("applet not found"), "{out}");
    sb.kill("KILL").ok();
    running.wait().exits(137);
    // Without a user namespace of its own there is no such limit, and a filter stands in.
    for filter in ["config", "unconfined"] {
        let flags = ["--seccomp", filter, "--allow", "host-user"];
        let running = sb.run_until(sb.run().args(flags), "up");
        let out = sb.exec(["unshare", "-U", "true"]);
        assert!(out.code != 0 && !out.stderr.contains("applet not found"), "{filter}: {out}");
        sb.exec(["sh", "-c", "(true) && true"]).ok();
        sb.kill("KILL").ok();
        running.wait().exits(137);
    }
}

#[case(OWN)]
fn tables_of_the_host_are_bounded() {
    let sb = Sandbox::new().args(["cat", "/proc/self/limits"]).without("/process/rlimits");
    let text = sb.run().output().ok().stdout;
    let limit = |name: &str| -> (u64, u64) {
        let line = text.lines().find_map(|l| l.strip_prefix(name)).unwrap_or_default();
        let mut numbers = line.split_whitespace().map(|n| n.parse().unwrap_or(u64::MAX));
        (numbers.next().expect("soft"), numbers.next().expect("hard"))
    };
    // 0 does not prevent a core dump to a piped handler (core(5)).
    assert_eq!(limit("Max core file size"), (1, 1));
    let (soft, hard) = limit("Max open files");
    let max = std::fs::read_to_string("/proc/sys/fs/file-max").expect("file-max");
    let max: u64 = max.trim().parse().expect("a number");
    assert!(soft <= 1024 && hard * 256 <= max, "256 x {hard} open files, fs.file-max is {max}");
    assert!(limit("Max pending signals").1 <= 4096 && limit("Max msgqueue size").1 <= 819_200, "{text}");
    // A config with limit 0 disables core dumps.
    let none = json!([{ "type": "RLIMIT_CORE", "soft": 0, "hard": 0 }]);
    let sb = sb.patch("/process/rlimits", none);
    let text = sb.run().output().ok().stdout;
    let core = text.lines().find_map(|l| l.strip_prefix("Max core file size")).unwrap_or_default();
    assert_eq!(core.split_whitespace().take(2).collect::<Vec<_>>(), ["1", "1"]);
}

/// kernel.pty.max is one limit for all containers.
#[case(OWN)]
fn terminals_are_bounded() {
    let sb = Sandbox::new().sh("i=0; while [ $i -lt 80 ]; do sleep 3 <>/dev/ptmx & i=$((i+1)); done; wait");
    let out = sb.run().output();
    let refused = out.stderr.matches("/dev/ptmx").count();
    assert!((14..=20).contains(&refused), "{refused} of 80 terminals were refused\n{out}");
}

/// The runtime's hash of an id: the start of its search for a range.
fn begins_at(id: &str) -> u32 {
    let hash = id.bytes().fold(0x811c_9dc5u32, |h, b| (h ^ u32::from(b)).wrapping_mul(0x0100_0193));
    hash % ((1_879_048_192 - 524_288) / 65_536)
}

/// Two ids with the same hash, started at the same moment, with different state roots.
#[case(OWN)]
fn no_two_containers_have_the_same_ids() {
    let (one, two) = (Sandbox::up(), Sandbox::up());
    let mut seen = std::collections::HashMap::new();
    let first = |n: u32| (begins_at(&one.other_id(&format!("a{n}"))), n);
    seen.extend((0..2000).map(first));
    let (a, b) = (0..)
        .find_map(|n| seen.get(&begins_at(&two.other_id(&format!("b{n}")))).map(|a| (*a, n)))
        .map(|(a, b)| (one.other_id(&format!("a{a}")), two.other_id(&format!("b{b}"))))
        .expect("a collision");
    let run = |sb: &Sandbox, id: &str| {
        sb.runtime().args(["run", "--quiet", "--bundle"]).arg(sb.bundle()).arg(id).spawn()
    };
    let (x, y) = (run(&one, &a), run(&two, &b));
    let firsts = [(&one, &a), (&two, &b)].map(|(sb, id)| {
        let mut pid = 0;
        crate::harness::poll("it runs", std::time::Duration::from_secs(20), || {
            let out = sb.runtime().arg("state").arg(id).output();
            let state: Value = serde_json::from_str(&out.stdout).unwrap_or_default();
            pid = state["pid"].as_i64().unwrap_or_default() as i32;
            state["status"] == "running"
        });
        first_and_owner(pid).0
    });
    assert_ne!(firsts[0], firsts[1], "{a} and {b} have the same ids");
    for (sb, id) in [(&one, &a), (&two, &b)] {
        sb.runtime().args(["kill"]).arg(id).arg("KILL").output().ok();
    }
    x.wait().exits(137);
    y.wait().exits(137);
    for first in firsts {
        assert!(
            !std::path::Path::new("/run/safebox-ids").join(first.to_string()).exists(),
            "the range is released"
        );
    }
}

/// Files that the container leaves in an idmapped rootfs belong to host users, including setuid programs.
#[case(Root, Userns, Idmap)]
fn a_rootfs_that_others_reach_is_not_written() {
    let sb = Sandbox::new().sh("touch /left && chmod 4755 /left").patch("/root/readonly", json!(false));
    let mode = |mode| {
        std::fs::set_permissions(sb.dir(), std::fs::Permissions::from_mode(mode)).expect("chmod");
    };
    for allow in
        [&["--allow", "root", "--allow", "write-rootfs"][..], &["--allow", "write-rootfs", "--user", "1000"]]
    {
        mode(0o755);
        let out = sb.run().args(allow).output();
        assert!(out.code == 125 && out.stderr.contains("every user of this machine can reach"), "{out}");
        assert!(!sb.rootfs().join("left").exists());
    }
    mode(0o711);
    assert_eq!(sb.run().args(["--allow", "write-rootfs"]).output().code, 125);
    mode(0o700);
    sb.run().args(["--allow", "root", "--allow", "write-rootfs"]).output().ok();
    assert!(sb.rootfs().join("left").exists());
}

/// A state root that another user can write, with a container planted by that user.
#[case(OWN)]
fn states_of_others_are_not_believed() {
    let sb = Sandbox::up();
    sb.create().ok();
    let dir = sb.root().join(sb.id());
    let verbs =
        ["state", "start", "pause", "resume", "ps", "delete --force", "delete", "events --stats", "kill"];
    let verbs = verbs.map(|line| line.split(' ').collect::<Vec<_>>());
    let more = [vec!["update", "--pids-limit", "9"], vec!["exec"]];
    let refused = |what: &str| {
        for verb in verbs.iter().chain(&more) {
            let mut call = sb.runtime().args(verb).arg(sb.id());
            if verb[0] == "exec" {
                call = call.arg("true");
            }
            let out = call.output();
            assert!(out.code != 0 && out.stderr.contains("not yours alone"), "{what}: {out}");
        }
        let out = sb.runtime().args(["list", "--quiet"]).output().ok();
        assert!(!out.stdout.contains(sb.id()) && out.stderr.contains("not yours alone"), "{what}: {out}");
    };
    let (own, mode) = (
        |path: &std::path::Path, uid| std::os::unix::fs::chown(path, Some(uid), None).expect("chown"),
        |path: &std::path::Path, mode| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("chmod");
        },
    );
    let state = dir.join("state.json");
    for path in [&dir, &state] {
        let was = path.metadata().expect("a mode").permissions().mode() & 0o777;
        own(path, 41_003);
        refused("owner");
        own(path, 0);
        mode(path, was | 0o002);
        refused("mode");
        mode(path, was);
    }
    // safebox's files are private with any umask of the caller.
    let id = sb.id();
    sb.under(&["sh", "-c", "umask 0; exec \"$@\"", "sh"])
        .args(["update", "--pids-limit", "99", id])
        .output()
        .ok();
    sb.verb("state").ok();
    sb.delete().ok();
}
