//! `safebox verify`: what was asked for beside what runs; and for every row of the plan that guards something, that its
//! absence is named.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::harness::{Need, Sandbox, case, slowed};
use crate::security::audit::running::{foreign_bundle, under};

const SKIPS: &[Need] = &[Need::Root, Need::Userns, Need::Debug, Need::PrivateRoot];

#[case(Root, Userns)]
fn a_restricted_container_is_as_asked() {
    as_asked(&[]);
}

#[case(Root)]
fn a_config_as_written_is_as_asked() {
    as_asked(&["--policy", "privileged"])
}

#[case(Root, Runc)]
fn a_container_of_runc_is_compared_with_its_bundle() {
    foreign("runc")
}

#[case(Root, Program("crun"))]
fn a_container_of_crun_is_compared_with_its_bundle() {
    foreign("crun");
}

const WAIT: &str = "echo ready; sleep 60";

/// A config with something in every section.
fn rich() -> Sandbox {
    // A new network begins with the host's value: the other one is asked for.
    let host = std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap_or_default();
    let forward = if host.trim() == "1" { "0" } else { "1" };
    Sandbox::new()
        .sh(WAIT)
        .patch("/linux/resources/memory", json!({ "limit": 64 << 20 }))
        .patch("/linux/resources/pids", json!({ "limit": 50 }))
        .patch("/linux/resources/cpu", json!({ "quota": 50_000, "period": 100_000 }))
        .patch("/process/oomScoreAdj", json!(100))
        .patch("/process/user", json!({ "uid": 1000, "gid": 1000 }))
        .patch("/linux/sysctl", json!({ "net.ipv4.ip_forward": forward }))
        .patch("/process/rlimits", json!([{ "type": "RLIMIT_NPROC", "soft": 60, "hard": 70 }]))
        .patch("/mounts/-", json!({ "destination": "/mnt", "type": "tmpfs", "source": "t", "options": ["ro", "nosuid", "size=1m"] }))
}

fn differences(out: &crate::harness::Output) -> Vec<Value> {
    let value: Value = serde_json::from_str(&out.stdout).unwrap_or_else(|e| panic!("{e}\n{out}"));
    value["differences"].as_array().expect("differences").clone()
}

fn as_asked(args: &[&str]) {
    let sb = rich();
    let running = sb.run_until(sb.run().args(args), "ready");
    let out = sb.runtime().args(["verify", sb.id(), "--format", "json"]).output();
    let took = out.took;
    assert!(differences(&out).is_empty(), "{out}");
    out.clone().ok();
    let value: Value = serde_json::from_str(&out.stdout).expect("JSON");
    let compared: Vec<_> =
        value["compared"].as_array().expect("layers").iter().filter_map(Value::as_str).collect();
    for layer in [
        "user",
        "capabilities",
        "no_new_privs",
        "seccomp",
        "namespaces",
        "rootfs",
        "mounts",
        "masks",
        "memory",
        "rlimits",
    ] {
        assert!(compared.contains(&layer), "{layer} was not compared: {compared:?}");
    }
    println!("verify took {took:?}");
    sb.kill("KILL").ok();
    running.wait();
}

/// A run without a bundle, with the minimal init before the program.
#[case(Root, Userns)]
fn this_machine_s_programs_are_as_asked() {
    let sb = Sandbox::new();
    let call = sb.runtime().args(["run", "--quiet", "--name", sb.id(), "--", "/bin/sh", "-c", WAIT]);
    let running = sb.run_until(call, "ready");
    let out = sb.runtime().args(["verify", sb.id(), "--format", "json"]).output();
    assert!(differences(&out).is_empty(), "{out}");
    // Where a security module is enabled, it is a finding that no profile was named.
    let out = sb.runtime().args(["audit", sb.id(), "--fail-on", "high"]).output();
    assert!(out.code == 0, "{out}");
    sb.kill("KILL").ok();
    running.wait();
}

/// Rows that change nothing which another process could see or use, each with its reason. All others must be named, or
/// the launch must end without them.
const NEUTRAL: &[(&str, &str)] = &[
    ("launcher", "a mark for later verbs"),
    ("ids", "a mark for other containers"),
    ("undumpable", "guards the runtime's own memory until execve(2), which resets it"),
    ("own-root", "a check"),
    ("verify", "a check"),
    ("check", "a check"),
    ("signals", "what the caller ignores is no guard"),
    ("all-cpus", "gives cpus back"),
    ("session", "the launcher has no terminal here"),
    ("become-root", "until the program's own user is set"),
    ("loopback", "an interface that is down"),
    ("keyring", "keyrings of other processes are not shown"),
    ("keep-caps", "nothing is kept"),
    ("umask", "the launcher's umask is the same"),
    ("chdir", "the program starts in / in any case"),
    ("die-with-runtime", "the life of the container"),
    ("find-program", "the first candidate is taken"),
    ("landlock", "the kernel does not show the Landlock domain of another process"),
    ("groups", "the caller has no supplementary groups, or they are not mapped"),
    ("copy-up", "the image's files in /run"),
    ("close-fds", "every descriptor of the runtime is close-on-exec"),
    ("own-stdio", "the owner of pipes"),
    ("ambient", "the set is empty before"),
    ("caps", "execve(2) leaves nothing without ambient capabilities"),
    ("record-pid", "without it there is no container to ask about"),
    ("hostname", "a name"),
    ("propagation", "the old root is left at once"),
    ("exec", "no program runs"),
    ("chdir-again", "only where the first was denied"),
    ("mount:/etc/passwd", "a file of the runtime's own: without it the image's is seen"),
    ("mount:/etc/group", "a file of the runtime's own"),
    ("limit:msgqueue", "the caller's is the same"),
    ("attributes:root", "the old root is left at once"),
    ("attributes:cgroups", "the tmpfs of cgroup v1 is read-only before its last row, too"),
    ("cgroup-join", "a cgroup of another controller, or the clone was born in it"),
    ("cgroup-enter", "a cgroup of a controller without a limit; those with one are compared"),
    ("stdio", "the launcher's pipes"),
];

/// Whether a row is neutral: by its name, or by the part before `:` or `.`.
fn is_neutral(name: &str) -> bool {
    let stem = name.split(['.']).next().unwrap_or(name);
    // What is not there on this machine needs no cover.
    if let Some(path) = name.strip_prefix("mask:").or_else(|| name.strip_prefix("readonly:"))
        && path.starts_with('/')
        && !std::path::Path::new(path).exists()
    {
        return true;
    }
    // Trees of cgroup v1 that are not shown at all.
    let v1 = ["cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids", "systemd"];
    if name.strip_prefix("mount:/").is_some_and(|tree| v1.contains(&tree)) {
        return true;
    }
    let limits = ["memory", "cpu.", "cpu:", "pids", "cfs"];
    if name.starts_with("cgroup:") {
        // The kernel's own period is the one that is written; swap and sockets are beside the memory limit.
        let beside = ["memsw", "kmem", "period"].iter().any(|word| name.contains(word));
        return !limits.iter().any(|l| name.contains(l)) || beside;
    }
    [
        "symlink:",
        "device-node",
        "device:/dev/",
        "mount:/dev/",
        "devices:allow",
        "source:",
        "new:",
        "pipe:",
        "null-stdin",
    ]
    .iter()
    .any(|start| {
        name.starts_with(start) && !["mount:/dev/pts", "mount:/dev/shm", "mount:/dev/mqueue"].contains(&name)
    }) || NEUTRAL.iter().any(|(n, _)| *n == stem || stem.starts_with(&format!("{n}:")))
}

fn rows(sb: &Sandbox, args: &[&str]) -> Vec<String> {
    let out = sb.runtime().arg("explain").arg(sb.bundle()).arg("--json").args(args).output().ok();
    let plan: Value = serde_json::from_str(&out.stdout).expect("JSON");
    let steps = plan["steps"].as_array().expect("steps");
    // The rows of the layer `state` are the runtime's book-keeping.
    let steps = steps.iter().filter(|s| s["layer"] != "state" && s["section"] != "state");
    steps.filter_map(|s| s["name"].as_str()).filter(|n| !n.is_empty()).map(String::from).collect()
}

/// Leaves each row out in turn. What still starts is looked at from outside.
fn each_row(args: &[&str]) -> (BTreeSet<String>, Vec<String>) {
    let names = rows(&rich(), args);
    // The plan's own look at what was dropped would end most of these launches: it is left out, too.
    let own = names.iter().any(|name| name == "verify");
    assert!(names.len() > 40, "{names:?}");
    let (mut named, mut missed) = (BTreeSet::new(), Vec::new());
    for name in names {
        let sb = rich();
        let call = sb.run().args(args).env(
            "SAFEBOX_DEBUG_SKIP_ROW",
            if own && name != "verify" { format!("{name},verify") } else { name.clone() },
        );
        let mut running = call.spawn();
        let end = std::time::Instant::now() + slowed(std::time::Duration::from_secs(5));
        while !running.so_far().0.contains("ready") && !running.has_ended() && std::time::Instant::now() < end
        {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        if running.so_far().0.contains("ready") && !running.has_ended() {
            let out = sb.runtime().args(["verify", sb.id(), "--format", "json"]).output();
            let found = if out.code == 2 { Vec::new() } else { differences(&out) };
            let neutral = is_neutral(&name);
            if !found.is_empty() {
                assert_eq!(out.code, 1, "{out}");
                named.insert(name);
            } else if !neutral {
                missed.push(name);
            }
        }
        sb.kill("KILL");
        running.wait_at_most(std::time::Duration::from_secs(5));
        sb.delete();
        // A row that was left out may have been the one whose undo is missed.
        sb.trace().clean_up();
    }
    (named, missed)
}

#[case(SKIPS)]
fn every_row_that_is_left_out_is_named() {
    let (named, missed) = each_row(&[]);
    println!("named: {named:?}");
    assert!(missed.is_empty(), "not named:\n{}", missed.join("\n"));
    // Without no_new_privs the kernel takes no Landlock ruleset, and nothing runs.
    for row in [
        "seccomp",
        "bounding",
        "uid",
        "gid",
        "mask:/proc/keys",
        "readonly:/proc/sys",
        "readonly:root",
        "limit:nofile",
    ] {
        assert!(named.contains(row), "{row} is not among {named:?}");
    }
}

#[case(SKIPS)]
fn rows_of_a_config_as_written_are_named() {
    let (named, missed) = each_row(&["--policy", "privileged"]);
    println!("named: {named:?}");
    assert!(missed.is_empty(), "not named:\n{}", missed.join("\n"));
    for row in ["no-new-privs", "bounding", "uid", "mask:/proc/keys", "readonly:/proc/sys", "cgroup:pids.max"]
    {
        assert!(named.contains(row), "{row} is not among {named:?}");
    }
}

fn foreign(runtime: &str) {
    let sb = foreign_bundle();
    let (delete, pid) = under(runtime, &sb).expect("it starts a container");
    let verify = || {
        sb.runtime()
            .args(["verify", "--format", "json", "--bundle"])
            .arg(sb.bundle())
            .args(["--pid", &pid.to_string()])
            .output()
    };
    let same = verify();
    // The bundle says something else than what runs.
    let mut other = sb.config().clone();
    other["process"]["user"] = json!({ "uid": 7, "gid": 7 });
    other["linux"]["resources"]["pids"]["limit"] = json!(10);
    std::fs::write(sb.bundle().join("config.json"), other.to_string()).expect("write");
    let changed = verify();
    delete.output().ok();
    assert!(differences(&same).is_empty(), "{same}");
    let layers: Vec<_> = differences(&changed.clone().exits(1)).iter().map(|d| d["layer"].clone()).collect();
    assert!(layers.contains(&json!("user")) && layers.contains(&json!("processes")), "{changed}");
}

#[case(Root)]
fn mistakes_are_named() {
    let sb = Sandbox::new();
    sb.runtime().arg("verify").output().exits(2);
    sb.runtime().args(["verify", "nope"]).output().exits(2).says("container does not exist");
    let me = std::process::id().to_string();
    sb.runtime().args(["verify", "--pid", &me]).output().exits(2).says("--bundle DIR");
}
