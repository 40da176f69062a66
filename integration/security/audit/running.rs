//! The law on running containers: after `run`, every rule passes on the process; and containers of other runtimes.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::json;

use safebox::host::Host;
use safebox::policy::{Cure, MachineFacts, Posture, RULES, Verdict};

use crate::harness::needs::find;
use crate::harness::{Call, Need, Running, Sandbox, case};
use crate::oci::rootless::{one, range};

const RANGE: &[Need] = &[Need::Root, Need::OrdinaryUserns, Need::Subordinate];

#[case(Root, OrdinaryUserns)]
fn a_restricted_rootless_container_passes() {
    rootless(false)
}

#[case(RANGE)]
fn a_restricted_rootless_container_with_a_range_passes() {
    rootless(true);
}

#[case(Root, Runc)]
fn a_container_of_runc_is_audited_by_pid() {
    assert!(foreign("runc"), "runc starts nothing here");
}

#[case(Root, Program("crun"))]
fn a_container_of_crun_is_audited_by_pid() {
    assert!(foreign("crun"), "crun starts nothing here");
}

const WAIT: &str = "echo ready; sleep 60";

/// Ends the container, and with it the launcher.
fn end(sb: &Sandbox, running: Running) {
    sb.kill("KILL").ok();
    running.wait();
}

fn machine() -> MachineFacts {
    MachineFacts::of(&Host::probe().expect("a host"))
}

/// What does not pass, but for what cannot be told of any process.
fn broken(pid: i32, author_too: bool) -> Vec<String> {
    let posture = Posture::of_process(pid, machine(), &[]).expect("a posture");
    let rules = RULES.iter().filter(|rule| author_too || !matches!(rule.cure, Cure::Author));
    let broken = rules.filter_map(|rule| match rule.verdict(&posture) {
        Verdict::Pass | Verdict::NotApplicable(_) => None,
        Verdict::CannotTell(_) if rule.id == "landlock" => None,
        other => Some(format!("{}: {other:?}", rule.id)),
    });
    broken.collect()
}

fn names(broken: &[String]) -> Vec<&str> {
    broken.iter().map(|line| line.split(':').next().unwrap_or_default()).collect()
}

#[case(Root, Userns)]
fn a_restricted_container_passes() {
    let sb = Sandbox::new().sh(WAIT);
    let running = sb.run_until(sb.run(), "ready");
    let found = broken(sb.pid(), false);
    assert!(found.is_empty(), "{found:#?}");
    end(&sb, running);
}

fn rootless(with_range: bool) {
    let user = if with_range { range() } else { one() };
    let mut sb = user.sandbox();
    sb.set("/process/args", json!(["/bin/sh", "-c", WAIT]));
    let call = user.under(&sb, &[]).args(["--cgroup-manager", "disabled", "run", "--quiet", "--bundle"]);
    let running = sb.run_until(call.arg(sb.bundle()).arg(sb.id()), "ready");
    let out = user.under(&sb, &[]).args(["state", sb.id()]).output().ok();
    let state: serde_json::Value = serde_json::from_str(&out.stdout).expect("a state");
    let pid = i32::try_from(state["pid"].as_i64().expect("a pid")).expect("a pid");
    let found = broken(pid, false);
    // Without delegated cgroups nothing limits: run has said so.
    let limited = !names(&found).contains(&"limits");
    let rest: Vec<_> = found.iter().filter(|line| !line.starts_with("limits:")).collect();
    assert!(rest.is_empty(), "limits: {limited} {found:#?}");
    // The owner sees the same as root.
    let out = user.under(&sb, &[]).args(["audit", sb.id(), "--format", "json"]).output().ok();
    let report: serde_json::Value = serde_json::from_str(&out.stdout).expect("JSON");
    let failed: Vec<_> =
        report["targets"][0]["findings"].as_array().expect("findings").iter().map(|f| &f["rule"]).collect();
    assert!(
        failed.iter().all(|rule| ["limits", "lsm", "cgroup"].contains(&rule.as_str().unwrap_or(""))),
        "{failed:?}\n{out}"
    );
    user.under(&sb, &[]).args(["kill", sb.id(), "KILL"]).output().ok();
    running.wait();
}

#[case(Root)]
fn a_config_as_written_is_seen_as_it_is() {
    let caps = json!(["CAP_CHOWN", "CAP_SYS_ADMIN"]);
    let sb = Sandbox::new()
        .sh(WAIT)
        .patch("/process/capabilities", json!({ "bounding": caps, "effective": caps, "permitted": caps }))
        .patch("/process/noNewPrivileges", json!(false))
        .patch("/root/readonly", json!(false))
        .patch("/linux/maskedPaths", json!([]))
        .patch("/linux/namespaces", json!([{ "type": "pid" }, { "type": "mount" }, { "type": "ipc" }]))
        .patch("/hostname", json!(null))
        .patch(
            "/mounts/5",
            json!({ "destination": "/sys", "type": "none", "source": "/sys", "options": ["rbind", "ro"] }),
        );
    let running = sb.run_until(sb.run_oci(), "ready");
    let found = broken(sb.pid(), true);
    let names = names(&found);
    for rule in [
        "non-root",
        "no-new-privileges",
        "dangerous-capabilities",
        "no-capabilities",
        "seccomp",
        "masks",
        "read-only-rootfs",
        "user-namespace",
        "host-namespaces",
        "namespaces",
        "limits",
    ] {
        assert!(names.contains(&rule), "{rule} is not seen: {found:#?}");
    }
    for rule in ["privileged", "engine-sockets", "sshd"] {
        assert!(!names.contains(&rule), "{rule}: {found:#?}");
    }
    let host = found.iter().find(|line| line.starts_with("host-namespaces")).expect("a finding");
    assert!(host.contains("network") && !host.contains("the pid namespace"), "{host}");
    end(&sb, running);
}

/// The same bundle under another runtime, until its program runs: what removes it, and its pid.
pub fn under(program: &str, sb: &Sandbox) -> Option<(Call, i32)> {
    let program = find(program)?;
    let root = sb.dir().join("foreign");
    let runtime = |verb: &str| {
        let mut command = without_hybrid(&program);
        command
            .arg("--root")
            .arg(&root)
            .arg(verb)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    };
    let run = runtime("run").arg("--detach").arg("--bundle").arg(sb.bundle()).arg(sb.id()).status();
    if !run.expect("a runtime").success() {
        return None;
    }
    let out = runtime("state").arg(sb.id()).stdout(Stdio::piped()).output().expect("state");
    let state: serde_json::Value = serde_json::from_slice(&out.stdout).expect("a state");
    let pid = i32::try_from(state["pid"].as_i64().expect("a pid")).expect("a pid");
    let mut delete = runtime("delete");
    delete.arg("--force").arg(sb.id());
    let file = |name: &str| sb.dir().join(name);
    Some((Call::new(delete, (file("delete.out"), file("delete.err"))), pid))
}

/// The program, which is to see no hybrid cgroups if it is crun: crun refuses them. In its own mount namespace the v2
/// tree is covered, as by scripts/bench.
fn without_hybrid(program: &Path) -> Command {
    const COVER: &str =
        "umount /sys/fs/cgroup/unified; mount -t tmpfs tmpfs /sys/fs/cgroup/unified; exec \"$@\"";
    let hybrid = Path::new("/sys/fs/cgroup/unified/cgroup.procs").exists();
    if !hybrid || program.file_name().is_none_or(|name| name != "crun") {
        return Command::new(program);
    }
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", COVER, "sh"]).arg(program);
    command
}

/// A bundle for other runtimes.
pub fn foreign_bundle() -> Sandbox {
    Sandbox::new().args(["/bin/sleep", "60"]).patch("/ociVersion", json!("1.0.2")).patch(
        "/linux/resources",
        json!({ "pids": { "limit": 50 }, "devices": [{ "allow": false, "access": "rwm" }] }),
    )
}

fn foreign(program: &str) -> bool {
    let sb = foreign_bundle();
    let Some((delete, pid)) = under(program, &sb) else { return false };
    let out = sb.runtime().args(["audit", "--format", "json", "--pid", &pid.to_string()]).output();
    delete.output().ok();
    let report: serde_json::Value = serde_json::from_str(&out.clone().ok().stdout).expect("JSON");
    let verdict = |id: &str| {
        let all = report["targets"][0]["verdicts"].as_array().expect("verdicts");
        let found = all.iter().find(|v| v["rule"] == id).unwrap_or_else(|| panic!("no {id}"));
        found["verdict"].as_str().unwrap_or_default().to_string()
    };
    for (id, want) in [
        ("non-root", "fail"),
        ("seccomp", "fail"),
        ("no-new-privileges", "pass"),
        ("read-only-rootfs", "pass"),
        ("host-namespaces", "pass"),
        ("masks", "pass"),
        ("capabilities", "pass"),
        ("no-capabilities", "fail"),
    ] {
        assert_eq!(verdict(id), want, "{program}: {id}\n{out}");
    }
    // On v2 the list is a BPF program, which cannot be read back.
    let v2 = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    let devices = verdict("devices");
    if !v2 && program == "crun" {
        // crun opens the console to its containers.
        let console =
            out.stdout.matches("the device rule ").count() == out.stdout.matches("rule c 5:1 rwm").count();
        assert!(console, "{devices}: {out}");
    } else {
        assert_eq!(devices, if v2 { "cannot-tell" } else { "pass" }, "{program}\n{out}");
    }
    let limits =
        out.stdout.contains("memory is not limited") && !out.stdout.contains("number of processes is not");
    assert!(limits, "{program}: {out}");
    true
}

#[case(Root, Userns)]
fn a_later_process_with_more_rights_is_seen() {
    let sb = Sandbox::new().sh(WAIT);
    let running = sb.run_until(sb.run(), "ready");
    let posture = |pid| Posture::of_process(pid, machine(), &[]).expect("a posture");
    let rule = safebox::policy::rule("exec").expect("a rule");
    let pid = sb.pid();
    assert_eq!(rule.verdict(&posture(pid)), Verdict::Pass);
    let call =
        sb.runtime().args(["exec", "--user", "0", "--cap", "CAP_CHOWN", sb.id(), "/bin/sh", "-c", WAIT]);
    let other = sb.run_until(call, "ready");
    let seen = rule.verdict(&posture(pid));
    assert_eq!(seen.name(), "fail", "{seen:?}");
    end(&sb, running);
    other.wait();
}

#[case(Root)]
fn mistakes_are_named() {
    let sb = Sandbox::new();
    sb.runtime().arg("audit").output().exits(2).says("name a target");
    sb.runtime().args(["audit", "nope"]).output().exits(2).says("container does not exist");
    sb.runtime().args(["audit", "./nope"]).output().exits(2).says("no such file or directory");
    sb.runtime().args(["audit", "--pid", "4194999"]).output().exits(2).says("no such process");
    sb.runtime().args(["audit", "--pid", "0"]).output().exits(2);
    sb.runtime().args(["audit", "--fail-on", "none", "x"]).output().exits(2).says("unknown severity");
    sb.create().ok();
    sb.runtime().args(["audit", sb.id()]).output().exits(2).says("is created: its program must run");
    sb.delete().ok();
}
