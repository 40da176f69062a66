//! Containers in the background: their log, their health, their end, and what is known of it until they are removed.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{project, run_in};
use crate::harness::carried::slowed;
use crate::harness::{Call, Need, Output, Sandbox, case, poll};
use crate::oci::rootless::one;

const ROOT: &[Need] = &[Need::Root, Need::Userns, Need::Idmap, Need::Python];
const USER: &[Need] = &[Need::Root, Need::OrdinaryUserns, Need::Python];

/// With pipes for stdout and stderr, as a shell's `$(...)` has them: a file would be the program's.
pub(super) fn piped(call: Call) -> (i32, String, String) {
    let (out, err) = (std::io::pipe().expect("a pipe"), std::io::pipe().expect("a pipe"));
    let (out_writer, err_writer) = (out.1, err.1);
    let code = call
        .with(move |c| {
            c.stdout(out_writer).stderr(err_writer);
        })
        .output()
        .code;
    let read = |pipe| std::io::read_to_string(pipe).expect("the output");
    (code, read(out.0), read(err.0))
}

/// `run --detach` of a shell script; the id is printed.
fn detach(sb: &Sandbox, dir: &std::path::Path, options: &[&str], script: &str) {
    let call = run_in(sb, dir).args(["-q", "--detach"]).args(options).args(["--", "sh", "-c", script]);
    let start = Instant::now();
    assert_eq!(piped(call), (0, format!("{}\n", sb.id()), String::new()), "{options:?} {script}");
    assert!(start.elapsed() < slowed(Duration::from_secs(10)), "it does not wait for the end");
}

fn logs(sb: &Sandbox, options: &[&str]) -> Output {
    sb.runtime().arg("logs").args(options).arg(sb.id()).output().ok()
}

#[case(ROOT)]
fn a_detached_container_has_a_log_and_an_end() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    let script = "echo one; sleep 0.2; echo error >&2; sleep 0.2; printf 'no end'; read x || echo empty; test -e /tmp/go || sleep 1; exit 7";
    detach(&sb, &dir, &[], script);
    poll("the log", Duration::from_secs(10), || logs(&sb, &[]).stdout.contains("empty"));
    let out = logs(&sb, &["--follow"]);
    assert_eq!((out.stdout.as_str(), out.stderr.as_str()), ("one\nno endempty\n", "error\n"), "{out}");
    let waited = sb.verb("wait").ok();
    assert_eq!(waited.stdout, "7\n");
    assert_eq!(logs(&sb, &["--tail", "1"]).stdout, "no endempty\n");
    assert_eq!(logs(&sb, &["--tail", "0"]).stdout, "");
    let line = logs(&sb, &["--timestamps", "--tail=all"]).stdout;
    assert!(line.starts_with("20") && line.contains("Z one\n"), "{line}");
    // docker's lines.
    let log = std::fs::read_to_string(sb.root().join(sb.id()).join("log.json")).expect("the log");
    for line in log.lines() {
        let entry: Value = serde_json::from_str(line).expect("JSON");
        assert!(entry["log"].is_string() && entry["time"].is_string(), "{line}");
        assert!(["stdout", "stderr"].iter().any(|s| entry["stream"] == *s), "{line}");
    }
    // It stays until it is removed, and so does the account.
    let state = sb.state();
    assert_eq!((&state["status"], &state["ended"]["code"]), (&"stopped".into(), &7.into()), "{state}");
    let account = &state["ended"]["account"];
    assert_eq!((&account["status"], &account["stdoutBytes"]), (&"exited".into(), &16.into()), "{state}");
    assert_eq!(sb.verb("wait").ok().stdout, "7\n");
    let inspected: Value = serde_json::from_str(&sb.verb("inspect").ok().stdout).expect("JSON");
    assert!(inspected["logPath"].is_string() && inspected["process"]["args"][0] == "sh", "{inspected}");
    run_in(&sb, &dir).args(["--", "true"]).output().exits(125).says("already exists");
    sb.verb("rm").ok();
    sb.leak_check();
    // A stream that leads to a file is not the log's, unless the log is asked for.
    run_in(&sb, &dir).args(["-q", "-d", "--", "sh", "-c", "echo to a file"]).output().ok();
    sb.verb("wait").ok();
    sb.verb("logs").exits(1).says("where stdout is no file");
    sb.verb("rm").ok();
    let call = run_in(&sb, &dir).args([
        "-q",
        "-d",
        "--log-driver",
        "json-file",
        "--",
        "sh",
        "-c",
        "echo to the log",
    ]);
    assert_eq!(call.output().ok().stdout, format!("{}\n", sb.id()));
    sb.verb("wait").ok();
    assert_eq!(logs(&sb, &[]).stdout, "to the log\n");
    sb.verb("rm").ok();
    detach(&sb, &dir, &["--log-driver", "none"], "echo to nobody");
    sb.verb("wait").ok();
    sb.verb("logs").exits(1).says("--log-driver none");
    sb.verb("rm").ok();
    for verb in ["logs", "wait", "stop", "inspect"] {
        sb.verb(verb).exits(1).says("container does not exist");
    }
    sb.leak_check();
}

#[case(ROOT)]
fn stop_asks_and_then_kills() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    let asked = "trap 'echo asked; exit 5' INT; echo up; while :; do sleep 0.05; done";
    detach(&sb, &dir, &["--stop-signal", "INT"], asked);
    poll("up", Duration::from_secs(10), || logs(&sb, &[]).stdout.contains("up"));
    sb.verb("stop").ok();
    assert_eq!(
        (sb.verb("wait").ok().stdout.as_str(), logs(&sb, &[]).stdout.as_str()),
        ("5\n", "up\nasked\n")
    );
    // One that has ended is as was asked.
    sb.verb("stop").ok();
    sb.verb("rm").ok();
    let deaf = "trap '' TERM; echo up; (setsid sleep 301 &); sleep 302; sleep 303";
    for (options, time, least) in [
        (&["--stop-timeout", "400ms"] as &[&str], &[] as &[&str], 400),
        (&[], &["--time", "300ms"], 300),
        (&[], &["-t", "0"], 0),
    ] {
        detach(&sb, &dir, options, deaf);
        poll("up", Duration::from_secs(10), || logs(&sb, &[]).stdout.contains("up"));
        let out = sb.runtime().arg("stop").args(time).arg(sb.id()).output().ok();
        assert!(
            out.took >= Duration::from_millis(least) && out.took < slowed(Duration::from_secs(6)),
            "{out}"
        );
        assert_eq!(sb.verb("wait").ok().stdout, "137\n");
        assert_eq!(sb.state()["ended"]["account"]["status"], "signaled");
        sb.verb("rm").ok();
        sb.leak_check();
    }
    detach(&sb, &dir, &[], "echo up; sleep 304");
    poll("up", Duration::from_secs(10), || logs(&sb, &[]).stdout.contains("up"));
    sb.verb("pause").ok();
    sb.verb("stop").ok();
    assert_eq!(sb.verb("wait").ok().stdout, "143\n");
    sb.verb("rm").ok();
    sb.leak_check();
}

/// 30 MB at about 10 MB/s: a reader that follows misses nothing, and what is kept is the end.
#[case(ROOT)]
fn a_log_is_turned_over_and_followed() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    let program = r#"
import sys, time
line = 'x' * 90
for block in range(300):
    start = time.monotonic()
    sys.stdout.write(''.join('%06d %s\n' % (block * 1000 + n, line) for n in range(1000)))
    sys.stdout.flush()
    time.sleep(max(0, 0.01 - (time.monotonic() - start)))
"#;
    std::fs::write(dir.join("program.py"), program).expect("write");
    let options = ["--log-opt", "max-size=5m", "--log-opt", "max-file=4", "--cpus", "2"];
    detach(&sb, &dir, &options, "exec python3 program.py");
    let follower = sb.runtime().args(["logs", "--follow", sb.id()]).limit(Duration::from_secs(120)).spawn();
    let code = sb.runtime().args(["wait", sb.id()]).limit(Duration::from_secs(120)).output().ok();
    assert_eq!(code.stdout, "0\n");
    let followed = follower.files().0.clone();
    follower.wait().ok();
    let lines = BufReader::new(std::fs::File::open(followed).expect("what was followed")).lines();
    let mut expected = 0;
    for line in lines {
        let line = line.expect("a line");
        assert_eq!(&line[..6], format!("{expected:06}"), "a line is missing");
        assert_eq!(line.len(), 97);
        expected += 1;
    }
    assert_eq!(expected, 300_000);
    let state = sb.root().join(sb.id());
    let sizes: Vec<u64> = std::fs::read_dir(&state)
        .expect("the state")
        .flatten()
        .filter(|e| e.file_name().to_string_lossy().starts_with("log.json"))
        .map(|e| e.metadata().expect("a file").len())
        .collect();
    assert!(sizes.len() == 4 && sizes.iter().all(|size| *size <= 5 << 20), "{sizes:?}");
    let kept = logs(&sb, &[]).stdout;
    let first: usize = kept[..6].parse().expect("a number");
    assert!(kept.lines().count() == 300_000 - first && kept.lines().count() > 50_000, "{first}");
    let account = &sb.state()["ended"]["account"];
    assert_eq!(
        (&account["stdoutBytes"], &account["truncated"]),
        (&29_400_000.into(), &false.into()),
        "{account}"
    );
    sb.verb("rm").ok();
    sb.leak_check();
}

#[case(ROOT)]
fn health_has_docker_s_states() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    let state = || {
        let inspected: Value = serde_json::from_str(&sb.verb("inspect").ok().stdout).expect("JSON");
        inspected["health"].clone()
    };
    let of = |key: &str| state()[key].clone();
    let is = |status: &str| {
        poll(&format!("{status}: {}", of("log")), Duration::from_secs(15), || of("status") == status)
    };
    // The first check is seen within the start period, on a slow machine too.
    let period = format!("{}ms", slowed(Duration::from_secs(3)).as_millis());
    let options = [
        "--health-cmd",
        "echo looked; test -e /tmp/well",
        "--health-interval",
        "150ms",
        "--health-retries",
        "2",
        "--health-start-period",
        &period,
        "--health-start-interval",
        "100ms",
    ];
    detach(&sb, &dir, &options, "echo up; sleep 305");
    let mut first = Value::Null;
    poll("a check", Duration::from_secs(10), || {
        first = state();
        first["log"].as_array().is_some_and(|l| !l.is_empty())
    });
    assert_eq!((&first["status"], &first["failingStreak"]), (&"starting".into(), &0.into()), "{first}");
    is("unhealthy");
    let last = of("log").as_array().and_then(|l| l.last().cloned()).expect("a check");
    assert_eq!((&last["exitCode"], &last["output"]), (&1.into(), &"looked\n".into()), "{last}");
    sb.exec(["touch", "/tmp/well"]).ok();
    is("healthy");
    assert_eq!(of("failingStreak"), 0);
    sb.exec(["rm", "/tmp/well"]).ok();
    is("unhealthy");
    assert!(of("log").as_array().is_some_and(|l| l.len() <= 5));
    sb.verb("stop").ok();
    sb.verb("rm").ok();
    sb.leak_check();
    // A check that hangs is ended, with what it started.
    let options = [
        "--health-cmd",
        "trap '' TERM; sleep 306",
        "--health-interval",
        "100ms",
        "--health-timeout",
        "300ms",
        "--health-retries",
        "1",
    ];
    detach(&sb, &dir, &options, "echo up; sleep 307");
    is("unhealthy");
    assert_eq!(of("log")[0]["exitCode"], -1);
    sb.verb("stop").ok();
    sb.verb("rm").ok();
    sb.leak_check();
}

#[case(ROOT)]
fn detached_runs_end_in_time_and_clean_up() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    let result = sb.dir().join("result");
    let path = result.to_string_lossy().into_owned();
    let options = ["--rm", "--timeout", "400ms", "--stop-timeout", "100ms", "--result", &path];
    detach(&sb, &dir, &options, "trap '' TERM; sleep 308; sleep 309");
    poll("the account", Duration::from_secs(10), || result.exists());
    let account: Value = serde_json::from_slice(&std::fs::read(&result).expect("the account")).expect("JSON");
    assert_eq!((&account["status"], &account["exitCode"]), (&"timeout".into(), &124.into()), "{account}");
    sb.leak_check_within(Duration::from_secs(5));
    detach(&sb, &dir, &["--rm"], "echo x");
    sb.leak_check_within(Duration::from_secs(5));
    // delete --force comes at any moment.
    for millis in [0, 5, 20, 60] {
        detach(&sb, &dir, &["--rm"], "sleep 0.03");
        std::thread::sleep(Duration::from_millis(millis));
        sb.delete().ok();
        sb.leak_check_within(Duration::from_secs(5));
    }
    detach(&sb, &dir, &[], "sleep 310");
    sb.delete().ok();
    sb.leak_check();
    for (flag, value) in [("--timeout", "5s"), ("--log-driver", "none"), ("--health-cmd", "true")] {
        let out = sb.run_oci().args(["--detach", flag, value]).output().exits(125);
        out.says(flag).says("no process stays");
    }
    sb.leak_check();
}

#[case(ROOT)]
fn a_detached_launch_that_fails_leaves_nothing() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    for (words, code, says) in [
        (&["--", "/nowhere"] as &[&str], 127, "no such file"),
        (&["--", "/etc"], 126, "permission denied"),
        (&["--ro", "nowhere", "--", "true"], 125, "no such file"),
        (&["--fail", "pivot:EIO", "--", "true"], 125, "pivot_root"),
        (&["--log-opt", "max-size=x", "--", "true"], 125, "--log-opt"),
        (&["--log-driver", "journald", "--", "true"], 125, "json-file, none"),
    ] {
        let (is, out, err) = piped(run_in(&sb, &dir).args(["-q", "-d"]).args(words));
        assert_eq!((is, out.as_str()), (code, ""), "{words:?} {err}");
        assert!(err.contains(says) && err.matches("safebox: ").count() == 1, "{words:?} {err}");
        sb.leak_check();
    }
}

/// SIGKILL for the monitor: the container is not its to take along, but nothing is known of its end.
#[case(ROOT)]
fn without_its_monitor_a_container_goes_on() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    detach(&sb, &dir, &[], "echo up; while :; do sleep 0.05; done");
    poll("up", Duration::from_secs(10), || logs(&sb, &[]).stdout.contains("up"));
    let state: Value = serde_json::from_slice(
        &std::fs::read(sb.root().join(sb.id()).join("state.json")).expect("the state"),
    )
    .expect("JSON");
    let monitor = state["monitor"][0].as_i64().expect("a pid") as i32;
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(monitor), nix::sys::signal::Signal::SIGKILL)
        .expect("kill");
    assert_eq!(sb.status(), "running");
    assert_eq!(logs(&sb, &[]).stdout, "up\n");
    let inspected = |pointer: &str| {
        let value: Value = serde_json::from_str(&sb.verb("inspect").ok().stdout).expect("JSON");
        value.pointer(pointer).cloned().unwrap_or_default()
    };
    let says = |text: &Value| text.as_str().is_some_and(|t| t.starts_with("killed: nothing is logged"));
    poll("the monitor is gone", Duration::from_secs(5), || says(&inspected("/monitor/state")));
    sb.verb("stop").ok();
    sb.verb("wait").exits(1).says("is not known: the process that stayed with it (run --detach) was killed");
    assert_eq!((inspected("/status"), says(&inspected("/monitor/state"))), ("stopped".into(), true));
    sb.verb("rm").ok();
    sb.leak_check();
}

#[case(USER)]
fn a_user_s_detached_container_has_a_log_and_an_end() {
    let user = one();
    let sb = user.sandbox();
    let dir = project(&sb);
    let verb = |words: &[&str]| user.under(&sb, &[]).args(words).output();
    let call = user.under(&sb, &[]).args([
        "run",
        "-q",
        "-d",
        "--name",
        sb.id(),
        "--",
        "sh",
        "-c",
        "cat file; sleep 0.2; exit 6",
    ]);
    let call = call.with(move |c| {
        c.current_dir(dir).stdin(Stdio::null());
    });
    let (code, out, err) = piped(call);
    assert_eq!((code, out), (0, format!("{}\n", sb.id())), "{err}");
    assert_eq!(verb(&["wait", sb.id()]).ok().stdout, "6\n");
    assert_eq!(verb(&["logs", "-f", sb.id()]).ok().stdout, "project\n");
    verb(&["rm", sb.id()]).ok();
    sb.leak_check();
}

#[case(ROOT)]
fn stats_are_the_cgroup_s() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    detach(&sb, &dir, &["-m", "64m", "--pids-limit", "32"], "sleep 311 & while :; do :; done");
    let out = sb.runtime().args(["stats", "--no-stream", "--format", "json"]).output().ok();
    let row: Value = serde_json::from_str(&out.stdout).expect("one row");
    assert_eq!((&row["id"], &row["memoryLimitBytes"]), (&sb.id().into(), &(64 << 20).into()), "{row}");
    assert_eq!((&row["pids"], &row["pidsLimit"]), (&3.into(), &32.into()), "{row}");
    assert!(row["cpuPercent"].as_f64().is_some_and(|p| p > 5.0 && p < 120.0), "{row}");
    let table = sb.runtime().args(["stats", "--no-stream", sb.id()]).output().ok();
    assert!(table.stdout.lines().count() == 2 && table.stdout.contains("64.0 MiB"), "{table}");
    assert!(sb.runtime().args(["top", sb.id()]).output().ok().stdout.contains("sleep 311"));
    assert!(sb.runtime().arg("ls").output().ok().stdout.contains(sb.id()));
    sb.runtime().args(["rm", "-f", sb.id()]).output().ok();
    sb.leak_check();
}

/// The unit's command line does what the detached run did; without systemd this test stands for it.
#[case(ROOT)]
fn a_unit_runs_a_detached_container() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    detach(&sb, &dir, &["-e", "WORD=a $b 100%", "--memory", "64m"], "echo \"$WORD\"; cat file; exit 4");
    sb.verb("wait").ok();
    let first = logs(&sb, &[]).stdout;
    assert_eq!(first, "a $b 100%\nproject\n");
    let unit = sb.runtime().args(["install", "--systemd-unit", sb.id()]).output().ok().stdout;
    for line in ["Type=notify", "Restart=on-failure", "KillMode=mixed", "WantedBy=multi-user.target"] {
        assert!(unit.lines().any(|l| l == line), "{line}\n{unit}");
    }
    assert!(unit.contains(&format!("WorkingDirectory={}\n", dir.display())), "{unit}");
    assert!(unit.contains("\"--env=WORD=a $$b 100%%\""), "{unit}");
    sb.verb("rm").ok();
    // What systemd makes of the line; no shell reads it.
    let line = unit.lines().find_map(|l| l.strip_prefix("ExecStart=")).expect("a command line");
    let shell = line.replace("$$", "\\$").replace("%%", "%");
    let host = std::os::unix::net::UnixDatagram::bind(sb.dir().join("notify")).expect("a socket");
    let out = std::process::Command::new("sh")
        .args(["-c", &shell])
        .current_dir(&dir)
        .env("NOTIFY_SOCKET", sb.dir().join("notify"))
        .output()
        .expect("sh");
    std::fs::remove_file(sb.dir().join("notify")).expect("remove");
    assert_eq!(
        (String::from_utf8_lossy(&out.stdout).as_ref(), out.status.code()),
        (first.as_str(), Some(4)),
        "{out:?}"
    );
    let mut told = [0; 256];
    let n = host.recv(&mut told).expect("a message");
    assert!(String::from_utf8_lossy(&told[..n]).starts_with("READY=1\nMAINPID="), "{told:?}");
    // One that was not detached has no command line.
    run_in(&sb, &dir).args(["-q", "--keep", "--", "true"]).output().ok();
    sb.runtime()
        .args(["install", "--systemd-unit", sb.id()])
        .output()
        .exits(1)
        .says("was not made by `run --detach`");
    sb.verb("rm").ok();
    sb.leak_check();
}
