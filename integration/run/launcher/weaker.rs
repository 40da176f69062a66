//! What is weaker than restricted: whatever `audit` finds in a run, the run has printed, with `-q` too.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{project, run_in};
use crate::harness::{Need, Sandbox, case};
use crate::oci::rootless::one;

const ROOT: &[Need] = &[Need::Root, Need::Userns, Need::Idmap];
const USER: &[Need] = &[Need::Root, Need::OrdinaryUserns];

/// What `restricted` does not decide: profiles of the machine, files of the image, later processes.
const OTHERS: [&str; 6] = ["lsm", "landlock", "setuid-files", "image-secrets", "exec", "sshd"];

/// Lines that name a rule in other words: (rule, words).
const ALIASES: [(&str, &str); 10] = [
    ("host-namespaces", "weaker: namespaces: the host's"),
    ("namespaces", "weaker: namespaces: the host's"),
    ("capabilities", "weaker: capabilities: "),
    ("no-capabilities", "weaker: capabilities: "),
    ("dangerous-capabilities", "weaker: capabilities: "),
    ("rootfs-options", "weaker: no-new-privileges: "),
    ("non-root", "weaker: process: runs as root"),
    // /etc with the host's ids.
    ("host-directories", "weaker: user-namespace: no user namespace"),
    ("limits", "weaker: limits: "),
    ("ports", "weaker: namespaces: the host's network"),
];

/// The rules that fail for a running container.
fn failed(sb: &Sandbox) -> BTreeSet<String> {
    let out = sb.runtime().args(["audit", "--format", "json", sb.id()]).output().ok();
    let report: serde_json::Value = serde_json::from_str(&out.stdout).expect("JSON");
    let verdicts = report["targets"][0]["verdicts"].as_array().expect("verdicts").iter();
    let failed = verdicts.filter(|v| v["verdict"] == "fail").filter_map(|v| v["rule"].as_str());
    failed.filter(|rule| !OTHERS.contains(rule)).map(str::to_string).collect()
}

#[case(ROOT)]
fn what_audit_finds_is_printed() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    let allowed = [
        "root",
        "host-user",
        "host-pid",
        "host-net",
        "host-ipc",
        "host-uts",
        "host-cgroup",
        "new-privileges",
        "write-rootfs",
        "devices",
        "suid-mounts",
        "ptrace",
        "proc",
    ];
    let mut options: Vec<Vec<&str>> = allowed.iter().map(|name| vec!["--allow", name]).collect();
    options.extend([vec![], vec!["--policy", "baseline"], vec!["--policy", "privileged"]]);
    options.extend([vec!["--user", "0"], vec!["--cap-add", "NET_ADMIN"], vec!["--seccomp", "unconfined"]]);
    options.extend([vec!["--ro", "/etc/shadow"], vec!["--ro", "/root"], vec!["--ro", "/var/lib"]]);
    options.extend([
        vec!["--rw", "sub"],
        vec!["--memory", "-1"],
        vec!["--allow", "root", "--allow", "host-user"],
    ]);
    for args in options {
        let call = run_in(&sb, &dir).args(["-q", "--init=false"]).args(&args).args(["--", "sh", "-c"]);
        let running = sb.run_until(call.arg("echo up; exec sleep 1000"), "up");
        let failed = failed(&sb);
        sb.kill("KILL").ok();
        let out = running.wait();
        let printed = |rule: &String| {
            let named = |line: &str| line.contains("weaker: ") && line.contains(rule.as_str());
            let alias = ALIASES.iter().any(|(id, words)| id == rule && out.stderr.contains(words));
            alias || out.stderr.lines().any(named)
        };
        let silent: Vec<_> = failed.iter().filter(|rule| !printed(rule)).collect();
        assert!(silent.is_empty(), "{args:?}: {silent:?}\n{out}");
        if args.is_empty() {
            assert_eq!(out.stderr, "", "nothing is weaker");
        }
    }
    sb.leak_check_within(Duration::from_secs(2));
}

#[case(ROOT)]
fn a_weaker_policy_has_one_line() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    for (policy, rules) in
        [("privileged", ["seccomp", "non-root"]), ("baseline", ["user-namespace", "non-root"])]
    {
        let run = |more: &[&str]| {
            run_in(&sb, &dir).args(["--policy", policy]).args(more).args(["--", "id", "-u"]).output().ok()
        };
        let out = run(&["-q"]);
        assert_eq!((out.stdout.as_str(), out.stderr.lines().count()), ("0\n", 1), "{out}");
        for rule in rules {
            assert!(out.stderr.contains(rule), "{rule}: {out}");
        }
        out.says(&format!("weaker: policy {policy}: not held: "));
        run(&["--verbose"]).says("weaker: non-root: it runs as root, with the host's ids");
    }
    sb.leak_check();
}

/// The verbs of engines print what runc prints.
#[case(ROOT)]
fn the_verbs_of_engines_print_no_notice() {
    let sb = Sandbox::new();
    let runc = sb.dir().join("runc");
    std::os::unix::fs::symlink(crate::harness::bundle::runtime(), &runc).expect("symlink");
    let call = sb.runtime_as(&runc).arg("run").arg("--bundle").arg(sb.bundle()).arg(sb.id());
    let out = call.output().ok();
    assert_eq!(out.stderr, "", "{out}");
    let out = sb.create().ok();
    assert_eq!(out.stderr, "", "{out}");
    sb.delete().ok();
    sb.leak_check();
}

/// This machine as root file system, without cgroups: as `run -- PROGRAM`, and what is readable is printed.
#[case(USER)]
fn a_user_runs_in_this_machine_s_root_and_under_baseline() {
    let user = one();
    let sb = user.sandbox();
    let dir = project(&sb);
    let run = |args: &[&str]| {
        let dir = dir.clone();
        let call = user.under(&sb, &[]).args(["run", "-q", "--name", sb.id()]).args(args);
        call.with(move |c| {
            c.current_dir(dir);
        })
        .output()
    };
    let out = run(&["--rootfs", "/", "--", "/bin/sh", "-c", "ls -A /run; echo ran"]).ok();
    assert!(out.stdout.ends_with("ran\n") && !out.stdout.contains("safebox"), "{out}");
    out.says("weaker: files: --rootfs /: all files of this machine");
    let out = run(&["--policy", "baseline", "--", "/bin/echo", "ran"]).ok();
    assert_eq!(out.stdout, "ran\n", "{out}");
    let v1 = Need::CgroupV1.missing().is_none();
    if v1 {
        out.says("weaker: ladder: no cgroup");
        run(&["--rootfs", "/", "--memory", "64m", "--", "/bin/true"]).exits(125).says("--memory: ");
    }
    sb.leak_check();
}

/// The directory of a rootfs that becomes a tmpfs has mounts of its own, as /run/netns of ip-netns(8).
#[case(ROOT)]
fn mounts_in_a_root_file_system_are_not_copied() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    let run = sb.rootfs().join("run");
    std::fs::create_dir_all(run.join("netns")).expect("mkdir");
    std::fs::write(run.join("netns/one"), "").expect("write");
    std::fs::write(run.join("file"), "kept\n").expect("write");
    let script = "mount --bind /proc/self/ns/net \"$0/netns/one\" && exec \"$@\"";
    let run = run.to_string_lossy().into_owned();
    let call = sb.under(&["unshare", "--mount", "sh", "-c", script, &run]);
    let rootfs = sb.rootfs().to_string_lossy().into_owned();
    let call = call.args(["run", "-q", "--name", sb.id(), "--allow", "host-user", "--rootfs", &rootfs]);
    let call = call.args(["--", "/bin/sh", "-c"]);
    let call = call.arg("cat /run/file; ls /run/netns").with(move |c| {
        c.current_dir(dir);
    });
    assert_eq!(call.output().ok().stdout, "kept\n");
    sb.leak_check();
}
