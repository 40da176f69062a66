//! The OCI verbs: fields, statuses, messages and exit codes that runc's callers rely on.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::carried::patience;
use crate::harness::{Need, Output, Sandbox, bundle, case, poll};

const OCI: &[Need] = &[Need::Root, Need::Oci];

fn running() -> Sandbox {
    let sb = Sandbox::sleeper().started();
    assert_eq!(sb.status(), "running");
    sb
}

#[case(OCI)]
fn state_has_runc_s_fields() {
    let sb = Sandbox::sleeper().patch("/annotations", json!({ "a.b/c": "d" }));
    sb.create().ok();
    let state = sb.state();
    let text = |key: &str| state[key].as_str().unwrap_or_else(|| panic!("no {key} in {state}")).to_string();
    assert_eq!(text("id"), sb.id());
    assert_eq!(text("status"), "created");
    assert_eq!(text("bundle"), sb.bundle().to_string_lossy());
    assert_eq!(text("rootfs"), sb.rootfs().to_string_lossy());
    assert_eq!(state["annotations"], json!({ "a.b/c": "d" }));
    assert!(text("created").ends_with('Z') && text("created").contains('T'), "{state}");
    assert!(!text("ociVersion").is_empty() && state["owner"].is_string(), "{state}");
    assert!(Path::new(&format!("/proc/{}", sb.pid())).exists());
    sb.delete().ok();
}

#[case(OCI)]
fn created_running_stopped() {
    let sb = Sandbox::new().sh(&format!("sleep {}", patience(Duration::from_millis(300)).as_secs_f32()));
    sb.create().ok();
    assert_eq!(sb.status(), "created");
    sb.verb("start").ok();
    assert_eq!(sb.status(), "running");
    sb.wait_for_status("stopped");
    assert_eq!(sb.state()["pid"], 0, "pid of a stopped container");
    sb.verb("delete").ok();
    sb.verb("state").exits(1).says("container does not exist");
    sb.leak_check();
}

/// A created container can be frozen and thawed like a running one.
#[case(OCI)]
fn a_created_container_can_be_paused() {
    let sb = Sandbox::sleeper();
    sb.create().ok();
    sb.verb("pause").ok();
    assert_eq!(sb.status(), "paused");
    sb.verb("start").exits(1).says("cannot start a container in the paused state");
    sb.verb("resume").ok();
    assert_eq!(sb.status(), "created");
    sb.verb("start").ok();
    assert_eq!(sb.status(), "running");
    sb.delete().ok();
}

/// The kernel drops signals that pid 1 of a pid namespace does not handle.
#[case(OCI)]
fn a_created_container_can_be_asked_to_end() {
    for signal in ["TERM", "HUP", "INT", "QUIT"] {
        let sb = Sandbox::sleeper();
        sb.create().ok();
        sb.kill("0").ok();
        sb.kill(signal).ok();
        sb.wait_for_status("stopped");
        sb.kill("0").exits(1).says("container not running");
        sb.verb("delete").ok();
        sb.kill("0").exits(1).says("container does not exist");
        sb.leak_check();
    }
}

/// A caller in the background (`nohup`, `&` of a shell) ignores signals, and its children inherit that.
#[case(OCI)]
fn signals_a_caller_ignores_have_their_default() {
    let ignore = ["sh", "-c", "trap '' HUP INT QUIT USR1 TERM PIPE; exec \"$@\"", "sh"];
    // The C library uses 32 and 33, and does not let them be set.
    let none = |out: Output| {
        let bits = out.stdout.split_whitespace().nth(1).and_then(|bits| u64::from_str_radix(bits, 16).ok());
        assert_eq!(bits.map(|bits| bits & !0x1_8000_0000), Some(0), "{out}");
    };
    let sb = Sandbox::new().args(["/bin/grep", "SigIgn", "/proc/self/status"]);
    let run = sb.under(&ignore).args(["run", "--bundle"]).arg(sb.bundle()).arg(sb.id());
    none(run.output().ok());
    let sb = running();
    let exec = sb.under(&ignore).args(["exec", sb.id(), "grep", "SigIgn", "/proc/self/status"]);
    none(exec.output().ok());
    sb.delete().ok();
}

#[case(OCI)]
fn the_program_waits_for_start() {
    let mut sb = Sandbox::new().sh("echo ran >/out/file");
    let out = sb.dir().join("out");
    std::fs::create_dir(&out).expect("mkdir");
    sb.set("/mounts/-", json!({ "destination": "/out", "type": "bind", "source": out, "options": ["bind"] }));
    sb.create().ok();
    std::thread::sleep(Duration::from_millis(100));
    assert!(!out.join("file").exists(), "the program ran before start");
    sb.verb("start").ok();
    poll("the program's file", Duration::from_secs(10), || out.join("file").exists());
    sb.wait_for_status("stopped");
    sb.verb("delete").ok();
}

#[case(OCI)]
fn verbs_in_the_wrong_state() {
    let sb = running();
    sb.verb("start").exits(1).says("cannot start an already running container");
    sb.verb("delete").exits(1).says("that is not stopped: running");
    sb.verb("resume").exits(1).says("container not paused");
    sb.kill("FOO").exits(1).says("unknown signal \"FOO\"");
    sb.kill("99").exits(1).says("unable to signal init: invalid argument");
    sb.kill("KILL").ok();
    sb.wait_for_status("stopped");
    sb.verb("start").exits(1).says("cannot start a container that has stopped");
    sb.kill("TERM").exits(1).says("container not running");
    sb.runtime().args(["kill", "--all", sb.id(), "KILL"]).output().ok();
    sb.verb("pause").exits(1).says("container not running");
    sb.exec(["true"]).exits(255).says("cannot exec in a stopped container");
    sb.verb("delete").ok();
    sb.leak_check();
}

/// runc requires its options before the id.
fn create_with_pid_file(sb: &Sandbox, file: &Path) -> Output {
    let call = sb.runtime().args(["create", "--pid-file"]).arg(file).arg("--bundle").arg(sb.bundle());
    call.arg(sb.id()).output()
}

#[case(OCI)]
fn pid_file_is_bare_digits() {
    let sb = Sandbox::sleeper();
    let file = sb.dir().join("pid");
    create_with_pid_file(&sb, &file).ok();
    assert_eq!(std::fs::read_to_string(&file).expect("the pid file"), sb.pid().to_string());
    let exec = sb.dir().join("exec-pid");
    sb.verb("start").ok();
    let call = sb.runtime().args(["exec", "--detach", "--pid-file"]).arg(&exec);
    call.args([sb.id(), "sleep", "1000"]).output().ok();
    let pid = std::fs::read_to_string(&exec).expect("the pid file");
    assert!(pid.bytes().all(|b| b.is_ascii_digit()), "{pid:?}");
    let command = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).expect("cmdline");
    assert_eq!(command, "sleep\u{0}1000\u{0}");
    sb.delete().ok();
    sb.leak_check_within(Duration::from_secs(2));
}

#[case(OCI)]
fn no_pid_file_after_a_failure() {
    let sb = Sandbox::new().args(["/nowhere"]);
    let file = sb.dir().join("pid");
    create_with_pid_file(&sb, &file).exits(1);
    assert!(!file.exists(), "a pid file after a failure");
    sb.leak_check();
}

#[case(OCI)]
fn kill_takes_names_and_numbers() {
    for signal in ["KILL", "SIGKILL", "9", "kill"] {
        let sb = running();
        sb.kill(signal).ok();
        sb.wait_for_status("stopped");
        sb.verb("delete").ok();
    }
    let sb = Sandbox::new().sh("trap 'exit 0' TERM; while :; do sleep 0.05; done");
    sb.create().ok();
    sb.verb("start").ok();
    poll("the default signal ends it", Duration::from_secs(10), || {
        sb.verb("kill");
        sb.status() == "stopped"
    });
    sb.verb("delete").ok();
}

#[case(OCI)]
fn kill_all_reaches_every_process() {
    let sb = running();
    let call = sb.runtime().args(["exec", "--detach", sb.id(), "sleep", "1001"]);
    call.output().ok();
    assert_eq!(sb.trace().processes().iter().filter(|p| p.1 == "in its cgroup").count(), 2);
    sb.runtime().args(["kill", "--all", sb.id(), "KILL"]).output().ok();
    sb.wait_for_status("stopped");
    sb.verb("delete").ok();
    sb.leak_check_within(Duration::from_secs(2));
}

#[case(OCI)]
fn delete_force_kills() {
    let sb = running();
    sb.delete().ok();
    sb.leak_check_within(Duration::from_secs(2));
    sb.delete().ok();
}

#[case(OCI)]
fn delete_takes_created_and_stopped() {
    let sb = Sandbox::sleeper();
    sb.create().ok();
    sb.verb("delete").ok();
    sb.leak_check_within(Duration::from_secs(2));
}

#[case(OCI)]
fn list_knows_all() {
    let sb = running();
    let call = |args: &[&str]| sb.runtime().arg("list").args(args).output().ok().stdout;
    assert_eq!(call(&["-q"]).trim(), sb.id());
    let json: Value = serde_json::from_str(&call(&["--format", "json"])).expect("JSON");
    assert_eq!((json[0]["id"].as_str(), json[0]["status"].as_str()), (Some(sb.id()), Some("running")));
    assert_eq!(json[0]["pid"], sb.pid());
    let table = call(&[]);
    for word in ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"] {
        assert!(table.lines().next().is_some_and(|l| l.contains(word)), "{table}");
    }
    assert!(table.contains("running"), "{table}");
    sb.delete().ok();
}

#[case(OCI)]
fn ps_lists_host_pids() {
    let sb = running();
    let out = sb.runtime().args(["ps", "--format", "json", sb.id()]).output().ok();
    let pids: Vec<i32> = serde_json::from_str(&out.stdout).expect("an array of pids");
    assert_eq!(pids, [sb.pid()]);
    let out = sb.runtime().args(["ps", sb.id()]).output().ok();
    assert!(out.stdout.lines().next().is_some_and(|l| l.contains("PID")), "{out}");
    out.prints("sleep 1000");
    sb.delete().ok();
}

/// User and system time of a process, in clock ticks.
fn ticks(pid: i32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("stat");
    let fields: Vec<_> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    fields[11].parse::<u64>().expect("utime") + fields[12].parse::<u64>().expect("stime")
}

#[case(OCI)]
fn pause_stops_and_resume_goes_on() {
    let sb = Sandbox::new().sh("while :; do :; done");
    sb.create().ok();
    sb.verb("start").ok();
    sb.verb("pause").ok();
    assert_eq!(sb.status(), "paused");
    let before = ticks(sb.pid());
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(ticks(sb.pid()), before, "a paused process ran");
    sb.exec(["true"]).exits(255).says("cannot exec in a paused container (use --ignore-paused to override)");
    sb.verb("resume").ok();
    assert_eq!(sb.status(), "running");
    poll("it goes on", Duration::from_secs(10), || ticks(sb.pid()) > before);
    sb.delete().ok();
    sb.leak_check_within(Duration::from_secs(2));
}

#[case(OCI)]
fn exec_is_inside() {
    let sb = running();
    sb.exec(["sh", "-c", "echo in; exit 7"]).exits(7).prints("in\n");
    sb.exec(["cat", "/proc/1/cmdline"]).ok().prints("sleep");
    let call = sb.runtime().args(["exec", "--user", "1000:1001", "--env", "A=b", "--cwd", "/tmp", sb.id()]);
    let out = call.args(["sh", "-c", "id -u; id -g; echo $A; pwd"]).output().ok();
    assert_eq!(out.stdout, "1000\n1001\nb\n/tmp\n");
    sb.exec(["sh", "-c", "kill -9 $$"]).exits(137);
    sb.delete().ok();
}

#[case(OCI)]
fn exec_fails_in_runc_s_words() {
    let sb = running();
    sb.exec(["nowhere"]).exits(255).says("exec: \"nowhere\": executable file not found in $PATH");
    sb.exec(["/nowhere"]).exits(255).says("no such file or directory");
    sb.exec(["/etc/passwd"]).exits(255).says("permission denied");
    let call = sb.runtime().args(["exec", "--cwd", "/nowhere", sb.id(), "true"]);
    call.output().exits(255).says("no such file or directory");
    assert_eq!(sb.status(), "running");
    sb.delete().ok();
    sb.exec(["true"]).exits(255).says("container does not exist");
}

#[case(OCI)]
fn exec_takes_a_process_json() {
    let sb = running();
    let file = sb.dir().join("process.json");
    let process = json!({ "args": ["sh", "-c", "id -u; echo $ONLY; pwd"], "cwd": "/tmp",
        "env": ["PATH=/bin", "ONLY=this"], "user": { "uid": 1000, "gid": 1000 } });
    std::fs::write(&file, process.to_string()).expect("write");
    let out = sb.runtime().args(["exec", "--process"]).arg(&file).arg(sb.id()).output().ok();
    assert_eq!(out.stdout, "1000\nthis\n/tmp\n");
    // The file overrides the options: without a terminal in the file there is none.
    let flags = ["exec", "--tty", "--user", "7", "--env", "ONLY=that", "--process"];
    let out = sb.runtime().args(flags).arg(&file).arg(sb.id()).output().ok();
    assert_eq!(out.stdout, "1000\nthis\n/tmp\n");
    sb.delete().ok();
}

/// Properties missing in a process.json are those of the container.
#[case(OCI)]
fn exec_of_a_process_json_is_confined_as_the_container() {
    let sb = Sandbox::sleeper()
        .patch("/process/capabilities", json!({ "bounding": ["CAP_KILL"], "permitted": ["CAP_KILL"] }))
        .patch("/process/rlimits", json!([{ "type": "RLIMIT_NOFILE", "soft": 100, "hard": 100 }]))
        .patch("/process/oomScoreAdj", json!(321));
    sb.create().ok();
    sb.verb("start").ok();
    let file = sb.dir().join("process.json");
    let script = "grep -E 'CapBnd|CapPrm' /proc/self/status; ulimit -n; cat /proc/self/oom_score_adj";
    let process = json!({ "args": ["sh", "-c", script], "cwd": "/", "env": ["PATH=/bin"] });
    std::fs::write(&file, process.to_string()).expect("write");
    let out = sb.runtime().args(["exec", "--process"]).arg(&file).arg(sb.id()).output().ok();
    let kill = "0000000000000020";
    // runc leaves the limits of its own caller.
    let files = if bundle::is_foreign() { out.stdout.lines().nth(2).unwrap_or_default() } else { "100" };
    assert_eq!(out.stdout, format!("CapPrm:\t{kill}\nCapBnd:\t{kill}\n{files}\n321\n"));
    std::fs::write(&file, "{").expect("write");
    let out = sb.runtime().args(["exec", "--process"]).arg(&file).arg(sb.id()).output();
    assert!(!out.exits(255).stderr.contains("config.json"), "names the right file");
    for (flags, says) in [(["--cwd", "rel"], "Cwd must be an absolute path"), (["--user", "root"], "uid")] {
        let call = sb.runtime().arg("exec").args(flags).args([sb.id(), "true"]);
        call.output().exits(255).says(says);
    }
    sb.delete().ok();
}

#[case(OCI)]
fn run_passes_the_exit_code() {
    for (script, code) in
        [("exit 0", 0), ("exit 3", 3), ("exit 255", 255), ("sh -c 'kill -SEGV $$'; exit $?", 139)]
    {
        let sb = Sandbox::new().sh(script);
        sb.run_oci().output().exits(code);
        sb.leak_check();
    }
}

#[case(OCI)]
fn run_passes_signals_on() {
    let sb = Sandbox::new().sh("trap 'echo got; exit 5' TERM; echo up; while :; do sleep 0.05; done");
    let run = sb.run_until(sb.run_oci(), "up");
    run.signal(nix::sys::signal::Signal::SIGTERM);
    run.wait().exits(5).prints("got");
    sb.leak_check();
}

#[case(OCI)]
fn run_detached_returns() {
    let sb = Sandbox::sleeper();
    sb.runtime().args(["run", "--detach", "--bundle"]).arg(sb.bundle()).arg(sb.id()).output().ok();
    assert_eq!(sb.status(), "running");
    sb.delete().ok();
    sb.leak_check_within(Duration::from_secs(2));
}

#[case(OCI)]
fn nothing_but_json_on_stdout() {
    let sb = Sandbox::sleeper();
    let calls =
        [sb.create(), sb.verb("start"), sb.verb("pause"), sb.verb("resume"), sb.kill("KILL"), sb.delete()];
    for out in calls {
        let out = out.ok();
        assert!(out.stdout.is_empty() && out.stderr.is_empty(), "{out}");
    }
}

#[case(OCI)]
fn the_log_has_one_json_object() {
    let sb = Sandbox::new();
    let file = sb.dir().join("log.json");
    let call = sb.runtime().arg("--log").arg(&file).args(["--log-format", "json", "state", "nobody"]);
    call.output().exits(1).says("container does not exist");
    let text = std::fs::read_to_string(&file).expect("the log");
    let entry: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("not one object: {e}\n{text}"));
    assert_eq!(
        (entry["level"].as_str(), entry["msg"].as_str()),
        (Some("error"), Some("container does not exist"))
    );
    assert!(entry["time"].as_str().is_some_and(|t| t.contains('T')), "{entry}");
}

/// In the foreground and detached; no pid file if the launch fails.
#[case(Root)]
fn run_writes_a_pid_file_too() {
    let sb = Sandbox::sleeper();
    let file = sb.dir().join("pid");
    let read = || std::fs::read_to_string(&file).unwrap_or_default();
    let run = sb.run_oci().arg("--pid-file").arg(&file).spawn();
    crate::harness::poll("the pid file", std::time::Duration::from_secs(10), || !read().is_empty());
    assert_eq!(read(), sb.pid().to_string(), "decimal, no newline");
    sb.kill("KILL").ok();
    run.wait().exits(137);
    std::fs::remove_file(&file).expect("remove");
    sb.run_oci().arg("--detach").arg("--pid-file").arg(&file).output().ok();
    assert_eq!(read(), sb.pid().to_string());
    sb.delete().ok();
    std::fs::remove_file(&file).expect("remove");
    let sb = Sandbox::sleeper().args(["/none"]);
    let out = sb.run_oci().arg("--pid-file").arg(&file).output();
    assert!(out.code != 0 && !file.exists(), "{out}");
    let sb = Sandbox::sleeper();
    for detach in [&[] as &[&str], &["--detach"]] {
        let call = sb.run_oci().args(["--pid-file", "/nonexistent/dir/pid"]).args(detach);
        assert_ne!(call.output().code, 0);
        sb.leak_check_within(std::time::Duration::from_secs(2));
    }
}
