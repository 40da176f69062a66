//! The end of a run: deadlines, limited output, init.

use std::time::Duration;

use super::ladder::without_namespaces;
use super::{project, run_in};
use crate::harness::{Call, Need, Output, Sandbox, case};
use crate::oci::rootless::one;

const ROOT: &[Need] = &[Need::Root, Need::Userns, Need::Idmap, Need::Python];
const USER: &[Need] = &[Need::Root, Need::OrdinaryUserns, Need::Python];

/// The program is a shell script; options come before it.
fn script(call: Call, options: &[&str], script: &str) -> Output {
    call.arg("-q").args(options).args(["--", "sh", "-c", script]).output()
}

#[track_caller]
fn in_time(out: Output, seconds: f64) -> Output {
    let limit = Duration::from_secs_f64(seconds) + crate::harness::carried::slowed(Duration::from_secs(4));
    assert!(out.took < limit, "took {:?}\n{out}", out.took);
    out.exits(124)
}

#[case(ROOT)]
fn a_timeout_ends_what_ignores_it() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    let run = |options: &[&str], text: &str| script(run_in(&sb, &dir), options, text);
    in_time(run(&["--timeout", "300ms"], "sleep 60"), 0.3).says("stopped after 300ms: SIGTERM (--timeout)");
    let deaf = "trap '' TERM HUP INT; (setsid sleep 61 &); sleep 62; sleep 63";
    let out = in_time(run(&["--timeout", "0.3", "--stop-timeout", "400ms"], deaf), 0.7);
    assert!(out.took >= Duration::from_millis(700), "{out}");
    out.says("SIGTERM, then SIGKILL after 400ms");
    in_time(run(&["--timeout", "0.3", "--stop-timeout", "0"], deaf), 0.3).says("after 300ms: SIGKILL");
    // The program is process 1 itself, and handles the signal.
    let own = "trap 'echo asked; exit 5' INT; echo up; while :; do sleep 0.05; done";
    for init in ["--init", "--init=false"] {
        let out = in_time(run(&["--timeout", "400ms", "--stop-signal", "INT", init], own), 0.4);
        assert_eq!(out.stdout, "up\nasked\n", "{out}");
    }
    // A run that ends by itself is not affected.
    run(&["--timeout", "20s"], "exit 7").exits(7);
    // A bundle without an init.
    let sb = sb.sh("sleep 64");
    in_time(sb.run().args(["--timeout", "300ms"]).output(), 0.3);
    sb.leak_check();
}

/// Until the deadline Python starts and reaches the limit.
fn time_to_fork() -> String {
    format!("{}ms", crate::harness::slowed(Duration::from_millis(700)).as_millis())
}

/// Every process forks, ignores SIGTERM, and creates sessions.
const BOMB: &str = "exec python3 -c '
import os, signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
while True:
    try:
        os.fork()
        os.setsid()
    except OSError:
        pass
'";

#[case(ROOT)]
fn a_fork_bomb_ends_in_time() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    // Three times as long on an emulated machine, because here the limit must be reached.
    let times = if crate::harness::carried::slow() == 1 { 1 } else { 3 };
    let reached = format!("{}ms", (crate::harness::slowed(Duration::from_millis(700)) * times).as_millis());
    let options = ["--timeout", &reached, "--stop-timeout", "300ms", "--pids-limit", "100"];
    in_time(script(run_in(&sb, &dir), &options, BOMB), 1.0).says("(--pids-limit)");
    sb.leak_check();
    // Without a new pid namespace, by the cgroup.
    let bomb = "trap '' TERM; bomb() { while :; do (bomb) & setsid sleep 70 & done; }; (bomb 2>/dev/null) & exec sleep 71";
    let sb = Sandbox::new().sh(bomb).patch("/linux/resources/pids", serde_json::json!({ "limit": 100 }));
    let at = sb.config()["linux"]["namespaces"]
        .as_array()
        .expect("a list")
        .iter()
        .position(|n| n["type"] == "pid");
    let sb = sb.without(&format!("/linux/namespaces/{}", at.expect("a pid namespace")));
    let call = sb.run_oci().args(["--timeout", "700ms", "--stop-timeout", "300ms"]);
    in_time(call.output(), 1.0);
    sb.leak_check();
}

/// The output has no reader, before and after the deadline.
#[case(ROOT)]
fn a_full_pipe_ends_in_time() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    for text in ["yes", "yes | head -c 200000; exit 0"] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        let call = run_in(&sb, &dir).args(["-q", "--timeout", "600ms", "--stop-timeout", "200ms"]);
        let call = call.args(["--", "sh", "-c", text]).with(move |c| {
            c.stdout(writer);
        });
        in_time(call.output(), 0.8).says("stdout: the reader did not read the last");
        drop(reader);
        sb.leak_check();
    }
    // With an output limit the program is not blocked.
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let call = run_in(&sb, &dir).args(["-q", "--timeout", "20s", "--output-limit", "32k"]);
    let call = call.args(["--", "sh", "-c", "yes | head -c 3000000; exit 9"]).with(move |c| {
        c.stdout(writer);
    });
    call.output()
        .exits(9)
        .says("stdout: 2967232 of 3000000 bytes in the middle were dropped (--output-limit)");
    drop(reader);
    sb.leak_check();
}

#[case(ROOT)]
fn a_frozen_container_ends_in_time() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    let call = run_in(&sb, &dir).args(["-q", "--timeout", "1500ms", "--stop-timeout", "200ms"]);
    let running = sb.run_until(call.args(["--", "sh", "-c", "echo up; sleep 71"]), "up");
    sb.verb("pause").ok();
    in_time(running.wait(), 1.7);
    sb.leak_check();
}

#[case(ROOT)]
fn cpu_time_is_bounded() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    // Two processes together.
    let busy = "trap '' TERM; (while :; do :; done) & while :; do :; done";
    let out = in_time(script(run_in(&sb, &dir), &["--cpu-time", "400ms"], busy), 2.0);
    out.says("its processes together used 400ms of cpu time (--cpu-time)");
    script(run_in(&sb, &dir), &["--cpu-time", "300ms"], "sleep 0.8; exit 3").exits(3);
    sb.leak_check();
}

#[case(ROOT)]
fn output_keeps_its_head_and_its_tail() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    let run = |limit: &str, text: &str| script(run_in(&sb, &dir), &["--output-limit", limit], text);
    let out = run("100", "printf %0100d 7; printf %0100d 8 >&2").ok();
    assert_eq!((out.stdout.len(), out.stderr.len()), (100, 100), "{out}");
    let out = run("100", "printf 'head%0500dtail' 7; printf e >&2").ok();
    assert!(
        out.stdout.len() == 100 && out.stdout.starts_with("head0") && out.stdout.ends_with("07tail"),
        "{out}"
    );
    assert_eq!(
        out.stderr,
        "esafebox: stdout: 408 of 508 bytes in the middle were dropped (--output-limit)\n"
    );
    // One pipe for both; and an unhardened config, whose descriptors would otherwise be the caller's.
    let out = run("1k", "exec 2>&1; seq 1 100000").ok();
    assert!(out.stdout.len() == 1024 && out.stdout.ends_with("\n100000\n"), "{out}");
    let sb = sb.sh("seq 1 100000; exit 4");
    let out = sb.run_oci().args(["--output-limit", "1k"]).output().exits(4);
    assert!(out.stdout.len() == 1024 && out.stdout.ends_with("\n100000\n"), "{out}");
    sb.leak_check();
    let words = ["-d", "--output-limit", "1m", "--", "true"];
    run_in(&sb, &dir).args(words).output().exits(125).says("--output-limit with --detach").says("--log-opt");
}

#[case(ROOT)]
fn init_reaps_and_passes_signals_on() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    let run = |options: &[&str], text: &str| script(run_in(&sb, &dir), options, text);
    for (text, code) in [
        ("kill -ABRT $$", 134),
        ("kill -TERM $$", 143),
        ("kill -KILL $$", 137),
        ("exit 134", 134),
        ("trap 'exit 6' USR1; kill -USR1 1; sleep 5", 6),
        // The end of a daemon does not end the run; its processes end with the program.
        ("(setsid sh -c 'sleep 0.1' &); (sleep 300 &); sleep 0.3; exit 8", 8),
    ] {
        run(&[], text).exits(code);
    }
    let zombies = "for i in 1 2 3 4 5; do (sh -c 'sh -c true &' &); done; sleep 0.4; \
                   grep -h '^State' /proc/[0-9]*/status | grep -c Z";
    assert_eq!(run(&[], zombies).stdout, "0\n");
    assert_eq!(run(&[], "echo $$").stdout, "2\n");
    assert_eq!(run(&["--init=false"], "echo $$").stdout, "1\n");
    run(&["--init=maybe"], "true").exits(125).says("for flag --init: true or false is needed");
    // Signals to the launcher are forwarded.
    let call = run_in(&sb, &dir).args([
        "-q",
        "--",
        "sh",
        "-c",
        "trap 'echo got; exit 4' TERM; echo up; sleep 9 & wait",
    ]);
    let running = sb.run_until(call, "up");
    running.signal(nix::sys::signal::Signal::SIGTERM);
    running.wait().exits(4).prints("got");
    run(&["--pids-limit", "1"], "true").exits(125).says("--init=false");
    run_in(&sb, &dir).args(["--", "/nowhere"]).output().exits(127).says("no such file");
    run_in(&sb, &dir).args(["--", "/etc"]).output().exits(126).says("permission denied");
    let sb = sb.sh("echo $$; kill -ABRT $$");
    assert_eq!(sb.run().arg("--init").output().exits(134).stdout, "2\n");
    sb.leak_check();
}

/// `exec` joins the program's namespaces, as root and as an unprivileged user.
#[case(ROOT)]
fn init_is_entered_around() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    let call = run_in(&sb, &dir).args(["-q", "--", "sh", "-c", "echo up; sleep 72"]);
    let running = sb.run_until(call, "up");
    assert_eq!(sb.exec(["sh", "-c", "cat /proc/1/comm; id -u"]).ok().stdout, "safebox\n65532\n");
    sb.runtime().args(["checkpoint", sb.id()]).output().exits(1);
    sb.kill("TERM").ok();
    running.wait().exits(143);
    sb.leak_check();
    let user = one();
    let sb = user.sandbox();
    let call = user
        .under(&sb, &[])
        .args(["run", "-q", "--cgroup-manager", "disabled", "--name", sb.id(), "--rootfs"])
        .arg(sb.rootfs());
    let running = sb.run_until(call.args(["--", "/bin/sh", "-c", "echo up; sleep 73"]), "up");
    let exec = |script: &str| user.under(&sb, &[]).args(["exec", sb.id(), "sh", "-c", script]).output();
    assert_eq!(exec("ls -d /bin").ok().stdout, "/bin\n");
    // The signal may end the container, and with it this program, before it ends by itself.
    let code = exec("kill 1").code;
    assert!(matches!(code, 0 | 137), "{code}");
    running.wait().exits(143);
    sb.leak_check();
}

/// The program has no access to init: its memory is an image of the launcher, and its socket reports the exit
/// status.
#[case(ROOT)]
fn init_tells_nothing_that_it_was_told() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    let text = "ls /proc/1/fd; readlink /proc/1/exe; cat /proc/1/environ /proc/1/maps; head -c 1 /proc/1/mem; \
                python3 -c 'import ctypes; l=ctypes.CDLL(None,use_errno=True); print(l.syscall(438, l.syscall(434, 1, 0), 3, 0))'";
    let out = script(run_in(&sb, &dir).env("SECRET_OF_THE_CALLER", "x"), &[], text);
    assert_eq!(out.stdout, "-1\n", "{out}");
}

#[case(USER)]
fn a_user_s_run_ends_in_time() {
    let user = one();
    let sb = user.sandbox();
    let dir = project(&sb);
    let run = |options: &[&str], text: &str| {
        let dir = dir.clone();
        let call = user.under(&sb, &[]).args(["run", "--name", sb.id()]).with(move |c| {
            c.current_dir(dir);
        });
        script(call, options, text)
    };
    in_time(
        run(&["--timeout", &time_to_fork(), "--stop-timeout", "300ms", "--ulimit", "nproc=100"], BOMB),
        1.0,
    );
    let busy = "(while :; do :; done) & while :; do :; done";
    in_time(run(&["--cpu-time", "400ms"], busy), 2.0);
    let out = run(&["--output-limit", "100"], "seq 1 1000").ok();
    assert_eq!(out.stdout.len(), 100, "{out}");
    run(&[], "kill -ABRT $$").exits(134);
    sb.leak_check();
}

#[case(ROOT)]
fn without_namespaces_a_run_ends_in_time() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    let run = |options: &[&str], text: &str| {
        let call = without_namespaces(&sb, &dir, &[]).args(["run", "--name", sb.id()]);
        script(call, options, text)
    };
    let spawns = "trap '' TERM; for i in 1 2 3 4 5 6 7 8 9; do (setsid sh -c 'trap \"\" TERM; sleep 74; sleep 75' &); done; sleep 76";
    in_time(run(&["--timeout", "600ms", "--stop-timeout", "200ms"], spawns), 0.8);
    sb.leak_check();
    in_time(run(&["--cpu-time", "300ms"], "while :; do :; done"), 1.0);
    in_time(run(&["--init", "--timeout", "600ms", "--stop-timeout", "200ms"], spawns), 0.8);
    sb.leak_check();
    // A fork bomb; the group bounds it, and is not the container's.
    let group = std::path::Path::new("/sys/fs/cgroup/pids").join(sb.other_id("bound"));
    if std::fs::create_dir(&group).is_ok() {
        std::fs::write(group.join("pids.max"), "150").expect("a limit");
        let bound = "echo $$ > \"$0/cgroup.procs\" && exec \"$@\"";
        let inner = "echo 0 > /proc/sys/user/max_user_namespaces && exec setpriv --bounding-set=-all --inh-caps=-all \"$@\"";
        let path = group.to_string_lossy().into_owned();
        let words =
            ["sh", "-c", bound, &path, "unshare", "--user", "--map-root-user", "sh", "-c", inner, "sh"];
        let dir = dir.clone();
        let call = sb.under(&words).args(["run", "--name", sb.id()]).with(move |c| {
            c.current_dir(dir);
        });
        in_time(script(call, &["--timeout", &time_to_fork(), "--stop-timeout", "200ms"], BOMB), 0.9);
        std::fs::remove_dir(&group).expect("the group is empty");
    }
    sb.leak_check();
}
