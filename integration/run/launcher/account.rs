//! `--result`: the account compared with independent measurements, and a program's attempts to forge it.

use std::io::Read;
use std::os::fd::AsRawFd;
use std::path::Path;

use serde_json::Value;

use super::{project, run_in};
use crate::harness::{Need, Output, Sandbox, case, slowed};
use crate::oci::rootless::one;

const ROOT: &[Need] = &[Need::Root, Need::Userns, Need::Idmap, Need::Python];
const USER: &[Need] = &[Need::Root, Need::OrdinaryUserns, Need::Python];

#[case(ROOT)]
fn a_killed_launcher_leaves_no_account_of_another_run() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    let path = sb.dir().join("result");
    std::fs::write(&path, "{\"status\":\"exited\",\"exitCode\":0}").expect("write");
    let call = run_in(&sb, &dir).arg("-q").arg("--result").arg(&path);
    let running = sb.run_until(call.args(["--", "sh", "-c", "echo up; sleep 74"]), "up");
    assert!(!path.exists(), "the account of an earlier run");
    running.signal(nix::sys::signal::Signal::SIGKILL);
    running.wait();
    sb.leak_check_within(std::time::Duration::from_secs(5));
    assert!(!path.exists());
}

fn read(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).expect("the account");
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

/// Runs a script, and reads its account.
fn account(sb: &Sandbox, dir: &Path, options: &[&str], script: &str) -> (Output, Value) {
    let path = sb.dir().join("result");
    let call = run_in(sb, dir).arg("-q").arg("--result").arg(&path).args(options);
    let out = call.args(["--", "sh", "-c", script]).output();
    let account = read(&path);
    std::fs::remove_file(&path).expect("remove");
    (out, account)
}

#[case(ROOT)]
fn the_account_says_how_it_ended() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    for (options, script, code, status, signal) in [
        (&[] as &[&str], "exit 0", 0, "exited", None),
        (&[], "exit 3", 3, "exited", None),
        (&[], "kill -SEGV $$", 139, "signaled", Some(11)),
        (&["--init=false"], "kill -9 1; exit 7", 7, "exited", None),
        (&["--timeout", "300ms"], "sleep 60", 124, "timeout", Some(15)),
        (&["--timeout", "300ms", "--stop-timeout", "0"], "sleep 60", 124, "timeout", Some(9)),
        (&["--timeout", "300ms"], "trap 'exit 5' TERM; sleep 60 & wait", 124, "timeout", None),
        (&["--cpu-time", "200ms"], "while :; do :; done", 124, "cpu-time", Some(9)),
        (&["--output-limit", "10"], "seq 1 1000; exit 2", 2, "output-limit", None),
        (&["-m", "32m"], "exec python3 -c 'b = bytearray(200 << 20)'", 137, "oom", Some(9)),
        // A child was killed, and the program continued.
        (&["-m", "32m"], "python3 -c 'b = bytearray(200 << 20)'; exit 4", 4, "exited", None),
    ] {
        let (out, account) = account(&sb, &dir, options, script);
        assert_eq!(out.code, code, "{script}\n{out}\n{account}");
        assert_eq!(account["status"], status, "{script}\n{account}");
        assert_eq!((&account["exitCode"], &account["id"]), (&code.into(), &sb.id().into()), "{account}");
        assert_eq!(account["signal"].as_i64(), signal, "{script}: {account}");
        assert_eq!(account["oomKills"], u64::from(options.contains(&"-m")), "{script}: {account}");
        assert_eq!((&account["policy"], account.get("error")), (&"restricted".into(), None), "{account}");
    }
    for (program, code, says) in [
        (&["/nowhere"] as &[&str], 127, "no such file"),
        (&["/etc"], 126, "permission denied"),
        (&["true", "--"], 0, ""),
    ] {
        let path = sb.dir().join("result");
        let out = run_in(&sb, &dir).arg("-q").arg("--result").arg(&path).arg("--").args(program).output();
        let account = read(&path);
        assert_eq!((out.code, &account["exitCode"]), (code, &code.into()), "{out}");
        if code != 0 {
            assert_eq!(account["status"], "not-started", "{account}");
            assert!(account["error"].as_str().expect("a text").contains(says), "{account}");
            assert_eq!(account.get("wallSeconds"), None, "{account}");
        }
    }
    let path = sb.dir().join("result");
    let call = run_in(&sb, &dir).arg("--result").arg(&path).args(["--ro", "nowhere", "--", "true"]);
    call.output().exits(125);
    let account = read(&path);
    assert_eq!((&account["status"], &account["exitCode"]), (&"not-started".into(), &125.into()), "{account}");
    sb.leak_check();
}

/// The program prints the values of getrusage(2) for itself and its children.
#[case(ROOT)]
fn the_account_s_times_are_getrusage_s() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    let program = r#"
import os, resource, time
b = bytearray(64 << 20)
end = time.process_time() + 0.5
while time.process_time() < end: pass
pid = os.fork()
if pid == 0:
    end = time.process_time() + 0.3
    while time.process_time() < end: os.stat('/')
    os._exit(0)
os.waitpid(pid, 0)
own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
print(own.ru_utime + children.ru_utime, own.ru_stime + children.ru_stime, own.ru_maxrss * 1024)
"#;
    std::fs::write(dir.join("program.py"), program).expect("write");
    for options in [&[] as &[&str], &["--cgroup-manager", "disabled"]] {
        let start = std::time::Instant::now();
        let (out, account) = account(&sb, &dir, options, "exec python3 program.py");
        let outside = start.elapsed().as_secs_f64();
        let says: Vec<f64> =
            out.clone().ok().stdout.split_whitespace().map(|n| n.parse().expect("a number")).collect();
        let slow = f64::from(crate::harness::carried::slow());
        let near = |is: f64, of: f64, by: f64| (is - of).abs() <= (by * slow).max(of * 0.1);
        let (user, system) = (&account["cpuSeconds"]["user"], &account["cpuSeconds"]["system"]);
        let (user, system) = (user.as_f64().expect("user"), system.as_f64().expect("system"));
        // The kernel divides the exact sum by samples.
        assert!(near(user + system, says[0] + says[1], 0.08), "{says:?} {account}");
        assert!(near(user, says[0], 0.2) && near(system, says[1], 0.2), "{says:?} {account}");
        let rss = account["maxRssBytes"].as_f64().expect("a size");
        assert!(rss >= says[2] && (rss - says[2]).abs() <= 4e6_f64.max(says[2] * 0.1), "{says:?} {account}");
        let wall = account["wallSeconds"].as_f64().expect("a time");
        assert!(wall <= outside && wall >= says[0] && outside - wall < 1.5 * slow, "{outside} {account}");
    }
    sb.leak_check();
}

/// The cgroup's own files are read from outside while the program waits.
#[case(ROOT)]
fn the_account_s_peaks_are_the_cgroup_s() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    let path = sb.dir().join("result");
    let script = "for i in 1 2 3 4 5 6 7; do sleep 30 & done; kill %1 %2; \
                  python3 -c 'b = bytearray(48 << 20)'; python3 -c 'import time\nwhile time.process_time() < 0.2: pass'; echo up; read x";
    let call = run_in(&sb, &dir).arg("-q").arg("--result").arg(&path);
    let mut running = call.args(["--cpus", "0.2", "-m", "96m", "--", "sh", "-c", script]).spawn_with_stdin();
    crate::harness::poll("up", std::time::Duration::from_secs(20), || running.so_far().0.contains("up"));
    let number = |file: &str, key: &str| -> Option<u64> {
        let text = sb.trace().cgroups().iter().find_map(|g| std::fs::read_to_string(g.join(file)).ok())?;
        text.lines().find_map(|l| l.strip_prefix(key)?.trim().parse().ok())
    };
    let memory =
        number("memory.peak", "").or_else(|| number("memory.max_usage_in_bytes", "")).expect("a peak");
    let pids = number("pids.peak", "");
    let throttled = number("cpu.stat", "throttled_usec ").map(|n| n as f64 / 1e6);
    let throttled = throttled.or_else(|| number("cpu.stat", "throttled_time ").map(|n| n as f64 / 1e9));
    drop(running.stdin.take());
    running.wait();
    let account = read(&path);
    assert!(memory > 48 << 20, "{memory}");
    assert_eq!(account["memoryPeakBytes"], memory, "{account}");
    assert_eq!(account["pidsPeak"].as_u64(), pids, "{account}");
    // init, the shell, seven children, and one more before or after two were killed.
    assert!(pids.is_none_or(|n| (9..=11).contains(&n)), "{account}");
    // Its end is throttled, too: much longer on a slow machine.
    let at_most = slowed(slowed(std::time::Duration::from_millis(300))).as_secs_f64();
    let is = account["throttledSeconds"].as_f64().expect("a time");
    assert!(throttled.is_some_and(|of| of > 0.0 && is >= of && is - of < at_most), "{throttled:?} {account}");
    let (_, account) =
        self::account(&sb, &dir, &["--pids-limit", "5"], "for i in 1 2 3 4 5 6 7; do sleep 1 & done; exit 0");
    assert!(account["pidsRefused"].as_u64().is_some_and(|n| n > 0), "{account}");
    sb.leak_check();
}

#[case(ROOT)]
fn the_account_counts_output() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    let (out, of) = account(&sb, &dir, &[], "head -c 123456 /dev/zero; head -c 777 /dev/zero >&2");
    assert_eq!((&of["stdoutBytes"], &of["stderrBytes"]), (&123_456.into(), &777.into()), "{of}");
    assert_eq!((&of["truncated"], out.stdout.len()), (&false.into(), 123_456), "{of}");
    let (_, of) = account(&sb, &dir, &["--output-limit", "1k"], "head -c 123456 /dev/zero");
    assert_eq!((&of["stdoutBytes"], &of["truncated"]), (&123_456.into(), &true.into()), "{of}");
    // An unhardened config's program inherits the caller's descriptors, except if they are counted.
    let sb = sb.sh("echo 12345");
    let path = sb.dir().join("result");
    sb.run_oci().arg("--result").arg(&path).output().ok();
    assert_eq!(read(&path)["stdoutBytes"], 6);
    sb.leak_check();
}

/// Without a cgroup.
#[case(USER)]
fn a_figure_that_cannot_be_had_is_absent() {
    let user = one();
    let sb = user.sandbox();
    std::fs::create_dir(sb.dir().join("out")).expect("mkdir");
    user.own(&sb.dir().join("out"));
    let path = sb.dir().join("out/result");
    let dir = project(&sb);
    let call = user.under(&sb, &[]).args(["run", "-q", "--name", sb.id(), "--result"]).arg(&path);
    let call = call.with(move |c| {
        c.current_dir(dir);
    });
    call.args(["--", "sh", "-c", "exit 3"]).output().exits(3);
    let account = read(&path);
    // Lists are there, empty or not.
    for list in ["changes", "missing", "denials"] {
        assert!(account[list].is_array(), "{list}: {account}");
    }
    if Need::CgroupV1.missing().is_none() {
        for figure in ["memoryPeakBytes", "pidsPeak", "oomKills", "pidsRefused", "throttledSeconds"] {
            assert_eq!(account.get(figure), None, "{account}");
        }
        assert!(account["missing"].as_array().is_some_and(|m| m.contains(&"cgroup".into())), "{account}");
    }
    assert_eq!((&account["status"], &account["exitCode"]), (&"exited".into(), &3.into()), "{account}");
    assert!(account["cpuSeconds"]["user"].is_number() && account["maxRssBytes"].is_number(), "{account}");
    sb.leak_check();
}

/// A program writes forged accounts to everything that it can reach.
const FORGERY: &str = r#"
account='{"id":"x","status":"exited","exitCode":0}'
echo "$account" >&2; echo "safebox: out of memory: the kernel killed 1 process(es)" >&2
for fd in 3 4 5 6 7 8 9 20 100; do
    (eval "echo '$account' >&$fd") 2>/dev/null && echo "wrote $fd"
    (echo "$account" > /proc/1/fd/$fd) 2>/dev/null && echo "wrote 1/$fd"
    (echo "$account" > /proc/self/fd/$fd) 2>/dev/null && echo "wrote self/$fd"
done
for dir in /proc/[0-9]*/cwd /proc/[0-9]*/root; do (echo "$account" > $dir/result) 2>/dev/null && echo "wrote $dir"; done
"#;

#[case(ROOT)]
fn the_account_cannot_be_forged() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    for (ending, code, status) in [
        ("exit 124", 124, "exited"),
        ("exit 125", 125, "exited"),
        ("exit 126", 126, "exited"),
        ("exit 127", 127, "exited"),
        ("exit 137", 137, "exited"),
        ("kill -9 $$", 137, "signaled"),
        // Only to itself: init has no handler for its own faults, and process 1 does not receive them.
        ("kill -ABRT 1; kill -KILL 1; kill -SEGV 1; exit 9", 9, "exited"),
    ] {
        let file = std::fs::File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .open(sb.dir().join("by-fd"))
            .expect("a file");
        let fd = file.as_raw_fd();
        let call = run_in(&sb, &dir).arg("-q").args(["--result", "fd:9", "--", "sh", "-c"]);
        let call = call.arg(format!("{FORGERY}{ending}")).with(move |c| inherit_as(c, fd, 9));
        let out = call.output().exits(code);
        assert_eq!(out.stdout, "", "{out}");
        let account = read(&sb.dir().join("by-fd"));
        assert_eq!((&account["status"], &account["exitCode"]), (&status.into(), &code.into()), "{account}");
        assert_eq!(account["oomKills"], 0, "{account}");
    }
    sb.leak_check();
}

/// Passes `fd` to the command as descriptor `number`.
fn inherit_as(command: &mut std::process::Command, fd: i32, number: i32) {
    safebox::sys::before_exec::pass_before_exec(command, vec![(fd, number)]);
}

#[case(ROOT)]
fn the_account_goes_where_it_is_told() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    let run = |to: &str| run_in(&sb, &dir).args(["-q", "--result", to, "--", "true"]).output();
    for (to, says) in [
        ("fd:77", "fd:3 comes with 3>FILE"),
        ("sub", "it is a directory"),
        ("nowhere/result", "no such file"),
    ] {
        run(to).exits(125).says("--result").says(says);
    }
    run_in(&sb, &dir)
        .args(["--result-format", "meta", "--", "true"])
        .output()
        .exits(125)
        .says("--result says where");
    // A file is replaced atomically, without leftovers; a symlink stays a symlink.
    std::fs::write(dir.join("target"), "x".repeat(100_000)).expect("write");
    std::os::unix::fs::symlink("target", dir.join("link")).expect("symlink");
    run("link").ok();
    assert_eq!(read(&dir.join("target"))["status"], "exited");
    assert!(dir.join("link").is_symlink());
    assert!(
        std::fs::read_dir(&dir)
            .expect("a directory")
            .flatten()
            .all(|e| !e.file_name().to_string_lossy().starts_with('.'))
    );
    let path = dir.join("meta").to_string_lossy().into_owned();
    let args = ["--result", &path, "--result-format", "meta", "--", "sh", "-c", "exit 3"];
    run_in(&sb, &dir).args(args).output().exits(3);
    let meta = std::fs::read_to_string(&path).expect("the account");
    for line in [
        "time:",
        "time-wall:",
        "max-rss:",
        "cg-mem:",
        "exitcode:3",
        "status:RE",
        "message:Exited with error status 3",
    ] {
        assert!(meta.lines().any(|l| l.starts_with(line)), "{line}\n{meta}");
    }
    // A pipe.
    let (mut reader, writer) = std::io::pipe().expect("a pipe");
    let fd = writer.as_raw_fd();
    let call =
        run_in(&sb, &dir).args(["-q", "--result", "fd:5", "--", "true"]).with(move |c| inherit_as(c, fd, 5));
    call.output().ok();
    drop(writer);
    let mut text = String::new();
    reader.read_to_string(&mut text).expect("the account");
    assert!(text.contains("\"status\":\"exited\""), "{text}");
    sb.leak_check();
}

#[case(ROOT)]
fn a_kept_container_has_its_account() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    run_in(&sb, &dir).args(["-q", "--keep", "--", "sh", "-c", "exit 5"]).output().exits(5);
    let state = sb.state();
    assert_eq!(state["ended"]["account"]["status"], "exited", "{state}");
    assert_eq!(state["ended"]["account"]["exitCode"], 5, "{state}");
    sb.delete().ok();
    sb.leak_check();
}

/// Whatever the stage at which a launch fails, its files are gone but for the account, and it can be tried again.
#[case(ROOT)]
fn a_launch_that_fails_takes_its_files_along() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    let files = || {
        let names = std::fs::read_dir(&dir).expect("a directory").flatten().map(|e| e.file_name());
        let mut names: Vec<_> = names.map(|name| name.to_string_lossy().into_owned()).collect();
        names.sort();
        names.retain(|name| !["file", "sub"].contains(&name.as_str()));
        names.join(" ")
    };
    let rootfs = sb.rootfs().to_string_lossy().into_owned();
    let net: &[&str] = &["--allow-net", "a.test", "--audit-log", "audit"];
    for (options, program, code) in [
        (&[] as &[&str], "nosuch", 127),
        (&["--rootfs", &rootfs], "nosuch", 127),
        (&[], "/etc/passwd", 126),
        (&["--memory", "1k"], "true", 125),
        (&["-w", "/nowhere/at/all", "--fail", "pivot"], "true", 125),
        (&["--fail", "1"], "true", 125),
        (&["--fail", "20"], "true", 125),
        (&["--fail", "exec"], "true", 125),
        (&["-d"], "nosuch", 127),
        (&["-d", "--fail", "pivot"], "true", 125),
        (net, "nosuch", 127),
        (&[net, &["--fail", "pivot"]].concat(), "true", 125),
    ] {
        let call = || {
            let files = ["--cidfile", "cid", "--pid-file", "pid", "--result", "result"];
            run_in(&sb, &dir).arg("-q").args(files).args(options).args(["--", program])
        };
        for _ in 0..2 {
            call().output().exits(code);
            assert_eq!(files(), "result", "{options:?} {program}");
            let text = std::fs::read_to_string(dir.join("result")).expect("the account");
            assert!(text.contains("not-started"), "{options:?} {program}: {text}");
            std::fs::remove_file(dir.join("result")).expect("remove");
        }
        sb.leak_check();
    }
    // What another run has written stays.
    std::fs::write(dir.join("audit"), "earlier\n").expect("write");
    let call = run_in(&sb, &dir).arg("-q").args(net).args(["--", "nosuch"]);
    call.output().exits(127);
    assert_eq!(std::fs::read_to_string(dir.join("audit")).expect("the log"), "earlier\n");
    let call = run_in(&sb, &dir).args(["-q", "--cidfile", "cid", "--", "sh", "-c", "exit 3"]);
    call.output().exits(3);
    assert_eq!(std::fs::read_to_string(dir.join("cid")).expect("the id"), sb.id());
    sb.leak_check();
}

#[case(ROOT)]
fn a_row_that_was_made_to_fail_blames_nothing_else() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    for row in ["exec", "pivot", "find-program"] {
        let out = run_in(&sb, &dir).args(["-q", "--fail", row, "--", "true"]).output().exits(125);
        assert!(!out.stderr.contains("filter"), "{out}");
        out.says("this row was made to fail by --fail");
    }
    sb.leak_check();
}
