//! Process limits (getrlimit(2)) apply only to the program. The runtime and Init work in spite of them, with
//! as many descriptors as their own hard limit allows.

use serde_json::{Value, json};

use crate::harness::{Need, Sandbox, case};

const OWN: &[Need] = &[Need::Root];

/// Bind mounts of one directory.
fn binds(mut sb: Sandbox, n: usize) -> Sandbox {
    let source = sb.dir().join("source");
    std::fs::create_dir_all(&source).expect("a directory");
    for i in 0..n {
        let bind = json!({ "destination": format!("/m/{i}"), "source": source, "type": "bind", "options": ["bind", "ro"] });
        sb.set("/mounts/-", bind);
    }
    sb
}

fn limit(name: &str, value: u64) -> Value {
    json!([{ "type": name, "soft": value, "hard": value }])
}

/// Each limit with a suitable program: by run, by create and start with a hook inside, by exec.
#[case(OWN)]
fn small_limits_do_not_reach_init() {
    let table = [
        ("RLIMIT_NOFILE", 16, "open files"),
        ("RLIMIT_STACK", 65_536, "stack size"),
        ("RLIMIT_AS", 4_000_000, "address space"),
        ("RLIMIT_FSIZE", 0, "file size"),
        ("RLIMIT_NPROC", 1, "processes"),
        ("RLIMIT_DATA", 2_000_000, "data size"),
        ("RLIMIT_MEMLOCK", 0, "locked memory"),
        ("RLIMIT_CPU", 5, "cpu time"),
        ("RLIMIT_CORE", 0, "core file size"),
        ("RLIMIT_SIGPENDING", 0, "pending signals"),
        ("RLIMIT_MSGQUEUE", 0, "msgqueue size"),
    ];
    for (name, value, shown) in table {
        let shown = format!("Max {shown}");
        for no_new_privs in [false, true] {
            let mut sb = binds(Sandbox::new(), 30)
                .args(["cat", "/proc/self/limits"])
                .patch("/process/user", json!({ "uid": 1000, "gid": 1000 }))
                .patch("/process/noNewPrivileges", json!(no_new_privs))
                .patch("/process/rlimits", limit(name, value));
            let holds = |text: &str| {
                let line = text.lines().find_map(|l| l.strip_prefix(&shown)).unwrap_or_default();
                let got: Vec<_> = line.split_whitespace().take(2).collect();
                assert_eq!(got, [value.to_string(), value.to_string()], "{name}\n{text}");
            };
            holds(&sb.run_oci().output().ok().stdout);
            sb.set("/process/args", json!(["sleep", "1000"]));
            // A hook writes to a file of the runtime, which RLIMIT_FSIZE does not limit.
            sb.set("/hooks", json!({ "startContainer": [{ "path": "/bin/cat", "args": ["cat"] }] }));
            sb.create().ok();
            sb.verb("start").ok();
            holds(&sb.exec(["cat", "/proc/self/limits"]).ok().stdout);
            let limits = std::fs::read_to_string(format!("/proc/{}/limits", sb.pid())).expect("limits");
            holds(&limits);
            sb.delete().ok();
        }
    }
}

/// Without no_new_privs the config's filter is loaded early, so calls that it refuses must come before it.
#[case(OWN)]
fn a_filter_that_refuses_prlimit_does_not_undo_them() {
    for action in ["SCMP_ACT_ERRNO", "SCMP_ACT_KILL_PROCESS"] {
        // A new limit: a static glibc program reads its stack limit at start.
        let sets = json!([{ "index": 2, "value": 0, "op": "SCMP_CMP_NE" }]);
        let call = json!([{ "names": ["prlimit64"], "action": action, "args": sets }]);
        let sb = Sandbox::new()
            .sh("ulimit -Hn")
            .patch("/process/noNewPrivileges", json!(false))
            .patch("/process/rlimits", limit("RLIMIT_NOFILE", 77))
            .patch("/linux/seccomp", json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": call }))
            .args(["grep", "open files", "/proc/self/limits"]);
        sb.run_oci().output().ok().prints("77");
    }
}

fn with_limits(sb: &Sandbox, limits: &str) -> crate::harness::Call {
    under_policy(sb, limits, "privileged")
}

fn under_policy(sb: &Sandbox, limits: &str, policy: &str) -> crate::harness::Call {
    let script = format!("{limits}; exec \"$@\"");
    sb.under(&["sh", "-c", &script, "sh"])
        .args(["run", "--policy", policy, "--quiet", "--bundle"])
        .arg(sb.bundle())
        .arg(sb.id())
}

#[case(OWN)]
fn more_binds_than_descriptors() {
    let sb = binds(Sandbox::new(), 150).sh("ls /m | wc -l; ulimit -Sn").without("/process/rlimits");
    let out = with_limits(&sb, "ulimit -Sn 100").output().ok();
    assert_eq!(out.stdout.split_whitespace().collect::<Vec<_>>(), ["150", "100"], "{out}");
}

/// The program, a hook of the host and one of the container have the caller's soft limit, or the config's.
#[case(OWN)]
fn a_program_gets_the_descriptors_it_would_have_had() {
    let hook = |out: &std::path::Path| {
        let script = format!("ulimit -Sn >{}", out.display());
        json!([{ "path": "/bin/sh", "args": ["sh", "-c", script] }])
    };
    let base = Sandbox::new();
    let (outside, inside) = (base.dir().join("outside"), base.rootfs().join("inside"));
    let mut sb = binds(base, 150)
        .sh("cat /inside; ulimit -Sn")
        .without("/process/rlimits")
        .patch("/root/readonly", json!(false))
        .patch("/hooks", json!({ "createRuntime": hook(&outside), "startContainer": hook(std::path::Path::new("/inside")) }));
    let out = with_limits(&sb, "ulimit -Sn 90").output().ok();
    assert_eq!(out.stdout.split_whitespace().collect::<Vec<_>>(), ["90", "90"], "{out}");
    assert_eq!(std::fs::read_to_string(&outside).expect("the hook's word").trim(), "90");
    std::fs::remove_file(inside).expect("the hook's word");
    sb.set("/process/rlimits", limit("RLIMIT_NOFILE", 33));
    let out = with_limits(&sb, "ulimit -Sn 90").output().ok();
    assert_eq!(out.stdout.split_whitespace().collect::<Vec<_>>(), ["33", "33"], "{out}");
}

/// A launch that runs out of descriptors is undone without needing more.
#[case(OWN)]
fn too_few_descriptors_leave_nothing() {
    let sb = binds(Sandbox::new(), 100).without("/process/rlimits");
    for hard in [5, 6, 7, 8, 12, 16, 17, 18, 24, 64, 100] {
        let out = with_limits(&sb, &format!("ulimit -n {hard}")).output();
        assert!(out.code != 0 && out.stderr.to_lowercase().contains("open files"), "{hard}: {out}");
        assert!(hard < 7 || out.stderr.contains("RLIMIT_NOFILE"), "{hard}: {out}");
        sb.leak_check();
        // A hardened run opens its sources in other rows.
        let out = under_policy(&sb, &format!("ulimit -n {hard}"), "restricted").output();
        assert!(out.code != 0 && !out.stderr.contains("cannot be removed"), "{hard}: {out}");
        sb.leak_check();
    }
}
