//! `linux.seccomp`: the verdicts of a profile, its flags, and the agent that decides for it.

mod agent;

use std::time::Duration;

use libseccomp::ScmpSyscall;
use serde_json::{Value, json};

use crate::harness::{self, Need, Sandbox, case};
pub use agent::Agent;

const OCI: &[Need] = &[Need::Root, Need::Oci];
const OWN: &[Need] = &[Need::Root];

#[case(OCI)]
fn seccomp_agent_decides_with_no_new_privs() {
    decides(true);
}

#[case(OCI)]
fn seccomp_agent_decides_without_no_new_privs() {
    decides(false);
}

/// A profile that allows everything except `rules`.
fn profile(rules: Value) -> Value {
    json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules })
}

fn errno(names: &[&str], errno: i32) -> Value {
    json!({ "names": names, "action": "SCMP_ACT_ERRNO", "errnoRet": errno })
}

#[case(OCI)]
fn seccomp_answers_with_the_errno_asked_for() {
    let rules = json!([
        errno(&["mkdir", "mkdirat"], libc::ENOMEDIUM),
        { "names": ["unlink", "unlinkat"], "action": "SCMP_ACT_ERRNO" },
        { "names": ["sethostname"], "action": "SCMP_ACT_KILL_PROCESS" },
    ]);
    let sb = Sandbox::new()
        .sh("mkdir /tmp/x; rm /bin/sh; hostname x; echo $?")
        .patch("/root/readonly", json!(false))
        .patch("/linux/seccomp", profile(rules));
    let out = sb.run_oci().output().ok();
    out.says("No medium found").says("Operation not permitted").prints("159");
    // The default's errno: every call that a shell needs is listed, mkdir is not.
    let mut names: Vec<Value> = ScmpSyscallNames.into_iter().map(Value::from).collect();
    names.retain(|n| n != "mkdir" && n != "mkdirat");
    let sb = Sandbox::new().sh("mkdir /tmp/x").patch("/root/readonly", json!(false)).patch(
        "/linux/seccomp",
        json!({
            "defaultAction": "SCMP_ACT_ERRNO",
            "defaultErrnoRet": libc::EXDEV,
            "syscalls": [{ "names": names, "action": "SCMP_ACT_ALLOW" }],
        }),
    );
    sb.run_oci().output().exits(1).says("Invalid cross-device link");
}

/// No default action and no rule.
#[case(OCI)]
fn seccomp_without_a_word_is_none() {
    for seccomp in [
        json!({}),
        json!({ "defaultAction": "", "syscalls": [] }),
        json!({ "defaultAction": null, "architectures": ["SCMP_ARCH_X86_64"] }),
    ] {
        let sb = Sandbox::new().sh("grep ^Seccomp: /proc/self/status").patch("/linux/seccomp", seccomp);
        sb.run_oci().output().ok().prints("Seccomp:\t0\n");
    }
}

/// Without no_new_privs the filter is active before the launch ends.
#[case(OCI)]
fn seccomp_may_refuse_what_runc_does_without() {
    let names = "close_range setresuid setresgid getresuid getresgid getgroups faccessat2 umask sendto recvfrom \
                 sendmsg recvmsg poll ppoll openat2";
    let names: Vec<_> = names.split_whitespace().collect();
    for errno_of in [libc::EPERM, libc::ENOSYS] {
        let sb = Sandbox::new()
            .sh("grep -E '^(Uid|Groups|CapEff|Seccomp|NoNewPrivs):' /proc/self/status; exec sleep 1000")
            .patch("/process/noNewPrivileges", json!(false))
            .patch("/process/user", json!({ "uid": 1000, "gid": 1000, "additionalGids": [7] }))
            .patch("/linux/seccomp", profile(json!([errno(&names, errno_of)])));
        sb.create().ok();
        sb.verb("start").ok();
        let out = sb
            .exec(["/bin/grep", "-E", "^(Uid|Groups|CapEff|Seccomp|NoNewPrivs):", "/proc/self/status"])
            .ok();
        out.prints("Uid:\t1000\t1000\t1000\t1000\n")
            .prints("Groups:\t7")
            .prints("CapEff:\t0000000000000000\n")
            .prints("NoNewPrivs:\t0\n")
            .prints("Seccomp:\t2\n");
        sb.delete().ok();
    }
}

/// With a kill action no fallback is possible: these calls must not be made.
#[case(OCI)]
fn seccomp_may_kill_for_what_runc_does_without() {
    let names =
        ["close_range", "setresuid", "setresgid", "getresuid", "getresgid", "getgroups", "sendto", "poll"];
    let rule = json!({ "names": names, "action": "SCMP_ACT_KILL_PROCESS" });
    let sb = Sandbox::new()
        .args(["/bin/true"])
        .patch("/process/noNewPrivileges", json!(false))
        .patch("/linux/seccomp", profile(json!([rule])));
    sb.run_oci().output().ok();
    sb.create().ok();
    sb.verb("start").ok();
    sb.delete().ok();
}

/// Calls that the launch needs; the hint names the profile, not the kernel's age.
#[case(OWN)]
fn seccomp_that_stops_the_launch_is_named() {
    let sb = Sandbox::new()
        .patch("/process/noNewPrivileges", json!(false))
        .patch("/linux/seccomp", profile(json!([errno(&["setuid"], libc::ENOSYS)])));
    sb.run_oci()
        .output()
        .exits(125)
        .says("setuid(0): setuid: function not implemented")
        .says("linux.seccomp");
    // With the filter last, the profile may refuse it.
    let sb = sb.patch("/process/noNewPrivileges", json!(true));
    sb.run_oci().output().ok();
}

/// The system calls of this machine, by libseccomp's names.
struct ScmpSyscallNames;

impl IntoIterator for ScmpSyscallNames {
    type Item = String;
    type IntoIter = std::vec::IntoIter<String>;

    fn into_iter(self) -> Self::IntoIter {
        (0..480).filter_map(|n| ScmpSyscall::from(n).get_name().ok()).collect::<Vec<_>>().into_iter()
    }
}

#[case(OCI)]
fn seccomp_compares_arguments() {
    // The shell sends itself signal 10 (SIGUSR1), which it ignores: kill(2)'s second argument.
    let cases = [
        ("SCMP_CMP_EQ", 10, 0, true),
        ("SCMP_CMP_EQ", 11, 0, false),
        ("SCMP_CMP_NE", 11, 0, true),
        ("SCMP_CMP_NE", 10, 0, false),
        ("SCMP_CMP_LT", 11, 0, true),
        ("SCMP_CMP_LT", 10, 0, false),
        ("SCMP_CMP_LE", 10, 0, true),
        ("SCMP_CMP_LE", 9, 0, false),
        ("SCMP_CMP_GE", 10, 0, true),
        ("SCMP_CMP_GE", 11, 0, false),
        ("SCMP_CMP_GT", 9, 0, true),
        ("SCMP_CMP_GT", 10, 0, false),
        ("SCMP_CMP_MASKED_EQ", 8, 8, true),
        ("SCMP_CMP_MASKED_EQ", 3, 3, false),
    ];
    for (op, value, two, dies) in cases {
        let rule = json!([{
            "names": ["kill"],
            "action": "SCMP_ACT_KILL_PROCESS",
            "args": [{ "index": 1, "value": value, "valueTwo": two, "op": op }],
        }]);
        let sb = Sandbox::new()
            .sh("trap '' USR1; kill -USR1 $$; echo lives")
            .patch("/linux/seccomp", profile(rule));
        let out = sb.run_oci().output();
        assert_eq!(!out.stdout.contains("lives"), dies, "{op} {value} {two}\n{out}");
    }
}

#[case(Root, Strace)]
fn seccomp_flags_reach_the_kernel() {
    let known = ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"];
    for nnp in [true, false] {
        let mut all = known.to_vec();
        // A single thread has nothing to synchronise: accepted, without an effect.
        all.push("SECCOMP_FILTER_FLAG_TSYNC");
        let sb = Sandbox::new()
            .patch("/process/noNewPrivileges", json!(nnp))
            .patch("/linux/seccomp", profile(json!([errno(&["mkdir"], 5)])))
            .patch("/linux/seccomp/flags", json!(all));
        let file = sb.dir().join("trace");
        sb.under(&["strace", "-f", "-e", "seccomp", "-o", &file.to_string_lossy()])
            .args(["run", "--quiet", "--policy", "privileged", "--bundle"])
            .arg(sb.bundle())
            .arg(sb.id())
            .output()
            .ok();
        let trace = std::fs::read_to_string(&file).expect("a trace");
        let want = format!("SECCOMP_SET_MODE_FILTER, {}, ", known.join("|"));
        assert!(trace.contains(&want), "{trace}");
    }
}

/// A sandbox in which an agent decides about `names`.
pub fn asking(sb: Sandbox, names: &[&str], nnp: bool) -> (Sandbox, Agent) {
    let path = sb.dir().join("agent");
    let sb = sb
        .patch("/root/readonly", json!(false))
        .patch("/process/noNewPrivileges", json!(nnp))
        .patch("/annotations", json!({ "org.example.key": "a value" }))
        .patch("/linux/seccomp", profile(json!([{ "names": names, "action": "SCMP_ACT_NOTIFY" }])))
        .patch("/linux/seccomp/listenerPath", json!(path))
        .patch("/linux/seccomp/listenerMetadata", json!("opaque \"data\""));
    (sb, Agent::new(path))
}

pub const MKDIR: &[&str] = &["mkdir", "mkdirat"];

/// Checks the state that the agent of `sb` received with its only listener.
#[track_caller]
fn as_specified(sb: &Sandbox, told: &Value, status: &str) {
    assert_eq!(told["fds"], json!(["seccompFd"]), "{told:#}");
    assert_eq!(told["metadata"], "opaque \"data\"", "{told:#}");
    assert!(told["ociVersion"].as_str().is_some_and(|v| v.starts_with("1.")), "{told:#}");
    let state = &told["state"];
    assert!(state["ociVersion"].as_str().is_some_and(|v| v.starts_with("1.")), "{told:#}");
    assert_eq!((&state["id"], &state["status"]), (&json!(sb.id()), &json!(status)), "{told:#}");
    assert_eq!(state["bundle"], json!(sb.bundle()), "{told:#}");
    assert_eq!(state["annotations"]["org.example.key"], "a value", "{told:#}");
    assert!(told["pid"].as_i64().is_some_and(|p| p > 1), "{told:#}");
}

fn decides(nnp: bool) {
    let (sb, agent) = asking(Sandbox::new().sh("mkdir /tmp/x; mkdir /tmp/y; echo done"), MKDIR, nnp);
    sb.run_oci().output().ok().says("No medium found").prints("done");
    let told = agent.told();
    assert_eq!(told.len(), 1, "{told:#?}");
    as_specified(&sb, &told[0], "creating");
    assert_eq!(told[0]["pid"], told[0]["state"]["pid"]);
    assert!(agent.asked("mkdir") + agent.asked("mkdirat") >= 2, "{:?}", agent.asked);
}

#[case(OCI)]
fn seccomp_agent_gets_the_state_at_create_and_start() {
    let (sb, agent) = asking(Sandbox::new().sh("mkdir /tmp/x; exec sleep 1000"), MKDIR, true);
    sb.create().ok();
    harness::poll("the agent is told", Duration::from_secs(5), || agent.told().len() == 1);
    assert_eq!(agent.told()[0]["pid"], json!(sb.pid()));
    // Only the agent has the listener while the container waits.
    let fds = std::fs::read_dir(format!("/proc/{}/fd", sb.pid())).expect("descriptors").flatten();
    for fd in fds {
        let to = std::fs::read_link(fd.path()).unwrap_or_default();
        assert!(!to.to_string_lossy().contains("seccomp"), "{}", to.display());
    }
    sb.verb("start").ok();
    harness::poll("mkdir is asked about", Duration::from_secs(5), || {
        agent.asked("mkdir") + agent.asked("mkdirat") > 0
    });
    sb.delete().ok();
}

#[case(OCI)]
fn seccomp_agent_gets_the_state_at_exec() {
    for nnp in [true, false] {
        let (sb, agent) = asking(Sandbox::new().args(["/bin/sleep", "1000"]), MKDIR, nnp);
        sb.create().ok();
        sb.verb("start").ok();
        sb.exec(["mkdir", "/tmp/x"]).exits(1).says("No medium found");
        let told = agent.told();
        assert_eq!(told.len(), 2, "{told:#?}");
        as_specified(&sb, &told[1], "running");
        assert_eq!(told[1]["state"]["pid"], json!(sb.pid()));
        assert_ne!(told[1]["pid"], told[1]["state"]["pid"]);
        sb.delete().ok();
    }
}

/// All calls of the last rows of a launch except write(2), which passes the listener.
#[case(OCI)]
fn seccomp_agent_may_ask_for_what_safebox_calls() {
    let names = [
        "read",
        "close",
        "sendto",
        "recvfrom",
        "sendmsg",
        "recvmsg",
        "prctl",
        "capset",
        "setresuid",
        "getcwd",
        "execve",
        "openat",
        "fcntl",
        "mkdir",
        "connect",
    ];
    for nnp in [true, false] {
        let (sb, agent) = asking(Sandbox::new().sh("mkdir /tmp/x; echo done"), &names, nnp);
        sb.create().ok();
        sb.verb("start").ok();
        sb.wait_for_status("stopped");
        assert!(agent.asked("execve") >= 1, "{:?}", agent.asked);
        sb.delete().ok();
        let (sb, agent) = asking(Sandbox::new().sh("mkdir /tmp/x; echo done"), &names, nnp);
        sb.run_oci().output().ok().prints("done").says("No medium found");
        drop(agent);
    }
}

#[case(OCI)]
fn seccomp_agent_that_is_not_there_stops_the_launch() {
    let (sb, agent) = asking(Sandbox::new(), MKDIR, true);
    drop(agent);
    let out = sb.create();
    assert_ne!(out.code, 0, "{out}");
    out.says("agent");
    sb.leak_check();
}

#[case(OCI)]
fn seccomp_agent_cannot_be_asked_about_everything() {
    let (sb, _agent) = asking(Sandbox::new(), &["write"], true);
    let out = sb.create();
    assert_ne!(out.code, 0, "{out}");
    out.says("write");
    let (mut sb, _agent) = asking(Sandbox::new(), MKDIR, true);
    sb.set("/linux/seccomp/defaultAction", json!("SCMP_ACT_NOTIFY"));
    let out = sb.create();
    assert_ne!(out.code, 0, "{out}");
    out.says("SCMP_ACT_NOTIFY");
    let notify = json!([{ "names": ["mkdir"], "action": "SCMP_ACT_NOTIFY" }]);
    let out = Sandbox::new().patch("/linux/seccomp", profile(notify)).create();
    assert_ne!(out.code, 0, "{out}");
}

#[case(OCI)]
fn seccomp_listener_is_not_left_inside() {
    let (sb, _agent) = asking(Sandbox::new().sh("ls -l /proc/self/fd"), MKDIR, true);
    let out = sb.run_oci().output().ok();
    assert!(!out.stdout.contains("seccomp"), "{out}");
}

#[case(OWN)]
fn seccomp_refusals_have_pointers() {
    let long = "/x".repeat(80);
    let notify = json!([{ "names": ["mkdir"], "action": "SCMP_ACT_NOTIFY" }]);
    let cases = [
        (json!({ "defaultAction": "SCMP_ACT_NOTIFY", "listenerPath": "/x" }), "/linux/seccomp/defaultAction"),
        (profile(notify.clone()), "/linux/seccomp/listenerPath"),
        (
            json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": notify, "listenerPath": long }),
            "/linux/seccomp/listenerPath",
        ),
        (
            json!({ "defaultAction": "SCMP_ACT_ALLOW", "listenerMetadata": "x" }),
            "/linux/seccomp/listenerMetadata",
        ),
        (
            json!({ "defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"] }),
            "/linux/seccomp/flags/0",
        ),
        (json!({ "syscalls": [errno(&["mkdir"], 1)] }), "/linux/seccomp/defaultAction"),
        (
            json!({ "defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": 1 }),
            "/linux/seccomp/defaultErrnoRet",
        ),
        (
            profile(json!([{ "names": ["mkdir"], "action": "SCMP_ACT_ALLOW", "errnoRet": 1 }])),
            "/linux/seccomp/syscalls/0/errnoRet",
        ),
        (profile(json!([errno(&["no_such_call"], 1)])), "/linux/seccomp/syscalls/0/names/0"),
        (profile(json!([{ "names": [], "action": "SCMP_ACT_LOG" }])), "/linux/seccomp/syscalls/0/names"),
    ];
    for (seccomp, pointer) in cases {
        let sb = Sandbox::new().patch("/linux/seccomp", seccomp);
        sb.create().exits(1).says(&format!("{pointer}: "));
        sb.leak_check();
    }
}
