//! Messages: text from a container is escaped before it is printed for the caller, and kernel events of a
//! container are reported where its program cannot write.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::process::Output;
use crate::harness::{Need, Sandbox, case};

const OWN: &[Need] = &[Need::Root];

/// Sets a terminal's title, reverses the text direction, and starts a forged line.
const EVIL: &str = "\x1b]0;owned\x07\u{9b}31m\u{202e}\rsafebox: all is well";

#[track_caller]
fn is_plain(text: &str, out: &Output) {
    let sent = |c: char| c.is_control() && c != '\n' && c != '\t' || c == '\u{202e}';
    assert!(!text.contains(sent), "{text:?}\n{out}");
    assert!(!text.lines().any(|l| l.trim_start().starts_with("safebox: all is well")), "{text:?}\n{out}");
}

#[case(OWN)]
fn of_a_hook_are_shown_and_not_sent() {
    let script = format!("printf '%s\\n%s\\n' '{EVIL}' '{EVIL}' >&2; printf '\\n%s\\n' '{EVIL}'; exit 1");
    for kind in ["createRuntime", "createContainer", "startContainer"] {
        for format in ["text", "json"] {
            let hook = json!([{ "path": "/bin/sh", "args": ["sh", "-c", &script] }]);
            let sb = Sandbox::new().sh("true").patch(&format!("/hooks/{kind}"), hook);
            let log = sb.dir().join("log");
            let global = || sb.runtime().arg("--log").arg(&log).args(["--log-format", format]);
            let out = global().args(["run", "--quiet", "--bundle"]).arg(sb.bundle()).arg(sb.id()).output();
            assert!(out.code != 0 && out.stderr.contains("owned"), "{kind}: {out}");
            is_plain(&out.stderr, &out);
            let text = std::fs::read_to_string(&log).expect("the log");
            is_plain(&text, &out);
            assert_eq!(text.lines().filter(|l| l.contains("owned")).count(), 1, "{text}");
            sb.leak_check();
        }
    }
}

#[case(OWN)]
fn of_an_interpreter_are_shown_and_not_sent() {
    let sb = Sandbox::new().args(["/bin/sleep", "1000"]);
    let script = sb.rootfs().join("bin/script");
    std::fs::write(&script, format!("#!/bin/no{EVIL}\n")).expect("a script");
    std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).expect("chmod");
    sb.create().ok();
    sb.verb("start").ok();
    let out = sb.runtime().args(["exec", sb.id(), "/bin/script"]).output();
    assert_ne!(out.code, 0, "{out}");
    is_plain(&out.stderr, &out);
    sb.delete().ok();
    let other = sb.args(["/bin/script"]);
    let out = other.run().output();
    assert_ne!(out.code, 0, "{out}");
    is_plain(&out.stderr, &out);
}

/// A ps(1) that shows command lines as they are: that of procps escapes some of it by itself.
const PS: &str = "#!/bin/sh\necho 'PID CMD'; for d in /proc/[0-9]*; do printf '%s %s\\n' \"${d#/proc/}\" \
    \"$(tr '\\0' ' ' 2>/dev/null <$d/cmdline)\"; done";

#[case(OWN)]
fn of_a_process_name_are_shown_and_not_sent() {
    let sb = Sandbox::new().args(["/bin/sh", "-c", "sleep 1000; exit", EVIL]);
    sb.create().ok();
    sb.verb("start").ok();
    let room = tempfile::tempdir().expect("a directory");
    let program = room.path().join("ps");
    std::fs::write(&program, PS).expect("a script");
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).expect("chmod");
    let path = format!("{}:{}", room.path().display(), std::env::var("PATH").unwrap_or_default());
    for args in [&[] as &[&str], &["-o", "pid,args"]] {
        for own in [true, false] {
            let call = sb.runtime().args(["ps", sb.id()]).args(args);
            let out = if own { call.env("PATH", &path) } else { call }.output().ok();
            assert!(out.stdout.contains("owned"), "{out}");
            is_plain(&out.stdout, &out);
        }
    }
    sb.delete().ok();
}

#[case(OWN)]
fn explain_shows_what_an_image_says() {
    let sb = Sandbox::new().args(["/bin/true", EVIL]).patch("/hostname", json!(EVIL));
    let sb = sb.patch("/process/env/-", json!(format!("A={EVIL}")));
    for args in [&["explain"] as &[&str], &["explain", "--why"], &["explain", "--json"]] {
        let out = sb.runtime().args(args).arg(sb.bundle()).output();
        is_plain(&out.stdout, &out);
        is_plain(&out.stderr, &out);
    }
}

/// A line break in a name of the config must not start a line in the runtime's name.
#[case(OWN)]
fn of_a_config_begin_no_line() {
    let evil = format!("{EVIL}\nsafebox: all is well");
    let mount = |place: &str, kind: &str| json!({ "destination": place, "type": kind, "source": "x" });
    for (pointer, value) in [
        ("/process/capabilities/bounding/-", json!(format!("CAP_{evil}"))),
        ("/process/cwd", json!(format!("/bin/{evil}"))),
        ("/mounts/-", mount(&format!("/bin/true/{evil}"), "tmpfs")),
        ("/mounts/-", mount("/mnt", &evil)),
        ("/linux/maskedPaths", json!([format!("/bin/{evil}")])),
        ("/linux/cgroupsPath", json!(evil)),
        ("/linux/sysctl", json!({ evil.clone(): "1" })),
        ("/hooks", json!({ "createRuntime": [{ "path": format!("/nowhere/{evil}") }] })),
    ] {
        let sb = Sandbox::new().sh("true").patch(pointer, value);
        let explain = sb.runtime().args(["explain", "--why"]).arg(sb.bundle()).output();
        let create = || sb.runtime().args(["create", "--bundle"]).arg(sb.bundle()).arg(sb.id());
        for out in [explain, sb.run().arg("--verbose").output(), sb.run_oci().output(), create().output()] {
            is_plain(&out.stdout, &out);
            is_plain(&out.stderr, &out);
        }
        if sb.verb("state").code == 0 {
            sb.delete().ok();
        }
    }
}

/// Runs with a log and keeps the container; returns the log's text and the state's `ended`, without its account.
fn kept(sb: &Sandbox, flags: &[&str]) -> (Output, String, Value) {
    let log = sb.dir().join("log");
    let call = sb.runtime().arg("--log").arg(&log).args(["run", "--quiet", "--keep"]).args(flags);
    let out = call.arg("--bundle").arg(sb.bundle()).arg(sb.id()).limit(Duration::from_secs(60)).output();
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let state = sb.verb("state").ok();
    let state: Value = serde_json::from_str(&state.stdout).expect("JSON");
    sb.delete().ok();
    let mut ended = state["ended"].clone();
    if let Some(ended) = ended.as_object_mut() {
        ended.remove("account");
    }
    (out, text, ended)
}

#[case(OWN)]
fn a_kill_for_lack_of_memory_is_in_the_log_and_the_state() {
    let sb = Sandbox::new().args(["tail", "/dev/zero"]);
    let (out, log, ended) = kept(&sb, &["--memory", "20m"]);
    out.exits(137).says("out of memory");
    assert!(log.contains("out of memory: the kernel killed 1 process"), "{log}");
    assert_eq!(ended, json!({ "code": 137, "oomKills": 1, "pidsRefused": 0 }));
}

#[case(OWN)]
fn a_refused_fork_is_in_the_log_and_the_state() {
    let sb = Sandbox::new().sh("sleep 1 & sleep 1 & sleep 1 & sleep 1 & exit 5");
    let (out, log, ended) = kept(&sb, &["--pids-limit", "3"]);
    out.says("refused a fork");
    assert!(log.contains("the limit of 3 processes refused a fork"), "{log}");
    assert!(ended["pidsRefused"].as_u64() >= Some(1) && ended["oomKills"] == 0, "{ended}");
}

#[case(OWN)]
fn the_program_cannot_forge_a_verdict_in_the_log() {
    let sb = Sandbox::new().sh("echo 'safebox: out of memory: the kernel killed 1 process' >&2; exit 9");
    let (out, log, ended) = kept(&sb, &[]);
    out.exits(9);
    assert!(!log.contains("memory"), "{log}");
    assert_eq!(ended, json!({ "code": 9, "oomKills": 0, "pidsRefused": 0 }));
}

/// No launcher stays that could see the exit code; a hardened container has a monitor.
#[case(OWN)]
fn the_state_of_a_detached_container_tells_of_a_kill() {
    let sb = Sandbox::new().args(["tail", "/dev/zero"]);
    sb.run().args(["--detach", "--memory", "20m"]).output().ok();
    sb.verb("wait").ok().prints("137");
    let ended = sb.state()["ended"].clone();
    assert_eq!((&ended["code"], &ended["account"]["status"]), (&137.into(), &"oom".into()), "{ended}");
    sb.delete().ok();
    sb.run_oci().args(["--detach", "--memory", "20m"]).output().ok();
    sb.wait_for_status("stopped");
    let state: Value = serde_json::from_str(&sb.verb("state").ok().stdout).expect("JSON");
    assert_eq!(state["ended"], json!({ "oomKills": 1, "pidsRefused": 0 }));
    sb.delete().ok();
}
