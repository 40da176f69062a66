//! Faults at every row: the message names the failed row, and there are no leftovers (runtime.md: a failure
//! leaves the environment as if the operation was never attempted).

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use nix::sys::termios::tcgetattr;
use serde_json::json;

use crate::harness::carried::slow;
use crate::harness::process::Call;
use crate::harness::{Need, Sandbox, case, poll};
use crate::run::launcher::{project, without_namespaces};

const HERE: &[Need] = &[Need::Root];
const TRACED: &[Need] = &[Need::Root, Need::Strace];

#[case(HERE)]
fn every_row_restricted() {
    every_row(&Sandbox::new(), "restricted");
}

#[case(HERE)]
fn every_row_privileged() {
    every_row(&Sandbox::new(), "privileged");
}

#[case(HERE)]
fn every_row_with_mounts_and_limits() {
    every_row(&rich(), "privileged");
}

#[case(HERE)]
fn every_row_with_a_joiner() {
    every_row(&joining(), "privileged");
}

#[case(TRACED)]
fn real_ones_in_run_restricted() {
    injected_run("restricted");
}

#[case(TRACED)]
fn real_ones_in_run_privileged() {
    injected_run("privileged");
}

#[case(Root, Userns, Idmap)]
fn every_row_of_this_machine_s_programs_with_a_copy() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    let call = || {
        let dir = dir.clone();
        sb.runtime().with(move |c| {
            c.current_dir(dir);
        })
    };
    every_row_of(&sb, call, &["--overlay", ".", "--hide", "/usr/share"]);
}

#[case(Root, Userns)]
fn every_row_without_namespaces() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    every_row_of(&sb, || without_namespaces(&sb, &dir, &[]), &[]);
}

/// Every row of `run OPTIONS -- /bin/true`; on a slow machine some of them.
fn every_row_of(sb: &Sandbox, call: impl Fn() -> Call, options: &[&str]) {
    let program = ["--", "/bin/true"];
    let out = call().args(["explain", "--json"]).args(options).args(program).output().ok();
    let plan: serde_json::Value = serde_json::from_str(&out.stdout).expect("JSON");
    let rows = plan["steps"].as_array().expect("steps").len();
    assert!(rows > 20, "{rows} rows");
    let run = || call().args(["run", "-q", "--name", sb.id()]).args(options);
    for row in (1..=rows).step_by(slow() as usize) {
        let out = run().args(["--fail", &format!("{row}:EIO")]).args(program).output().exits(125);
        assert!(out.stderr.contains(&format!("row {row} (")) && out.stderr.contains("(EIO)"), "{out}");
        let left = sb.trace().find();
        assert!(left.is_empty(), "left behind by row {row}:\n  {}\n{out}", left.join("\n  "));
        // A failed launch has no copy.
        sb.runtime().args(["diff", sb.id()]).output().exits(1);
    }
    // Without a fault it succeeds.
    run().args(program).output().ok();
}

/// A bundle with rows in most sections of the plan.
fn rich() -> Sandbox {
    let sb = Sandbox::new();
    std::fs::create_dir(sb.dir().join("data")).expect("a directory");
    let source = json!(sb.dir().join("data"));
    sb.patch("/mounts/-", json!({ "destination": "/new/data", "source": source, "options": ["rbind", "ro"] }))
        .patch("/mounts/-", json!({ "destination": "/new/tmp", "type": "tmpfs", "options": ["size=64k"] }))
        .patch("/linux/sysctl", json!({ "net.ipv4.ip_forward": "1" }))
        .patch("/linux/resources/pids", json!({ "limit": 64 }))
        .patch("/linux/resources/memory", json!({ "limit": 268_435_456 }))
        .patch("/process/oomScoreAdj", json!(500))
        .patch("/process/user", json!({ "uid": 1000, "gid": 1000, "additionalGids": [10] }))
        .patch("/process/cwd", json!("/work/dir"))
}

/// A bundle whose plan uses all three actors.
fn joining() -> Sandbox {
    let pid = format!("/proc/{}/ns/pid", std::process::id());
    Sandbox::new().patch(
        "/linux/namespaces",
        json!([{ "type": "pid", "path": pid }, { "type": "mount" }, { "type": "uts" }]),
    )
}

/// The number of rows of `run`.
fn rows(sb: &Sandbox, policy: &str) -> usize {
    let out = sb.runtime().args(["explain", "--json", "--policy", policy]).arg(sb.bundle()).output().ok();
    let plan: serde_json::Value = serde_json::from_str(&out.stdout).expect("JSON");
    plan["steps"].as_array().expect("steps").len()
}

fn every_row(sb: &Sandbox, policy: &str) {
    let rows = rows(sb, policy);
    assert!(rows > 50, "{rows} rows");
    for row in 1..=rows {
        fail_row(sb, sb.run().args(["--policy", policy]), row);
    }
    // Without a fault it succeeds.
    sb.run().args(["--policy", policy]).output().ok();
}

#[track_caller]
fn fail_row(sb: &Sandbox, call: Call, row: usize) {
    let out = call.args(["--fail", &format!("{row}:EIO")]).output().exits(125);
    assert!(out.stderr.contains(&format!("row {row} (")) && out.stderr.contains("(EIO)"), "{out}");
    let left = sb.trace().find();
    assert!(left.is_empty(), "left behind by row {row}:\n  {}\n{out}", left.join("\n  "));
}

/// The caller's terminal is restored too.
#[case(HERE)]
fn every_row_with_a_terminal() {
    let sb = Sandbox::new().patch("/process/terminal", json!(true));
    let pty = nix::pty::openpty(None, None).expect("a pty");
    let before = tcgetattr(&pty.slave).expect("tcgetattr");
    let on_pty = |call: Call, slave: OwnedFd| {
        call.with(|c| {
            c.stdin(slave);
        })
    };
    let slave = || pty.slave.try_clone().expect("dup");
    // `explain` decides about the terminal by its own stdin.
    let explain = sb.runtime().args(["explain", "--json"]).arg(sb.bundle());
    let plan = on_pty(explain, slave()).output().ok().prints("TIOCGPTPEER");
    let plan: serde_json::Value = serde_json::from_str(&plan.stdout).expect("JSON");
    for row in 1..=plan["steps"].as_array().expect("steps").len() {
        fail_row(&sb, on_pty(sb.run(), slave()), row);
    }
    assert_eq!(tcgetattr(&pty.slave).expect("tcgetattr"), before, "the terminal's settings");
}

/// `--until N` with stdin at its end: N rows are performed and undone, without an error.
#[case(HERE)]
fn until_every_row() {
    let sb = Sandbox::new();
    for row in 1..rows(&sb, "restricted") {
        let out = sb.run().args(["--until", &row.to_string()]).output().exits(0);
        assert!(out.stderr.contains(&format!("rows 1 to {row} are done")), "{out}");
        let left = sb.trace().find();
        assert!(left.is_empty(), "left behind after row {row}:\n  {}\n{out}", left.join("\n  "));
    }
}

/// Rows can be named; their numbers differ between machines.
#[case(HERE)]
fn rows_have_names() {
    let sb = Sandbox::new();
    for (row, call) in
        [("state", "mkdir"), ("pivot", "pivot_root"), ("mount:/proc", "fsopen"), ("seccomp", "seccomp(")]
    {
        let out = sb.run().args(["--fail", &format!("{row}:EIO")]).output().exits(125).says("(EIO)");
        assert!(out.stderr.contains(call), "{out}");
        let explained = sb.runtime().args(["explain", "--row", row, "--why"]).arg(sb.bundle()).output().ok();
        let (number, _) =
            explained.stdout.lines().nth(1).expect("a row").trim_start().split_once(' ').expect("a number");
        out.says(&format!("row {number} ("));
        sb.run().args(["--until", row]).output().exits(0).says(&format!("rows 1 to {number} are done"));
        assert!(sb.trace().find().is_empty());
    }
    sb.run().args(["--fail", "pivot"]).output().exits(125).says("(EPERM)");
    sb.run()
        .args(["--until", "mount"])
        .output()
        .exits(125)
        .says("--until mount: no row has this name; similar: mount:/");
}

/// Single-stepping by lines: a row, the rest of a section, the rest. End of input undoes everything.
#[case(HERE)]
fn steps_by_lines() {
    let sb = Sandbox::new().args(["/bin/echo", "ran"]);
    let step = |lines: &str| sb.run().arg("--step").input(lines).output();
    let prompts = |out: &crate::harness::Output| out.stderr.matches("[Enter] do it").count();
    let out = step("\nc\n").ok().prints("ran");
    assert_eq!(prompts(&out), 2, "{out}");
    let sections = step(&"n\n".repeat(40)).ok().prints("ran");
    let count = prompts(&sections);
    assert!((8..40).contains(&count), "{count} sections\n{sections}");
    assert!(sections.stderr.contains("\npivot: the host's tree is let go\n"), "{sections}");
    for lines in ["", "\n\nq\n", "n\nn\nn\nq\n"] {
        let out = step(lines).exits(0);
        assert!(!out.stdout.contains("ran"), "{out}");
        assert!(sb.trace().find().is_empty(), "left after {lines:?}");
    }
}

#[case(HERE)]
fn a_row_that_is_not_there() {
    let sb = Sandbox::new();
    sb.run().args(["--fail", "9999"]).output().exits(125).says("--fail 9999: the plan has rows 1 to ");
    sb.run().args(["--until", "0"]).output().exits(125).says("--until 0: the plan has rows 1 to ");
    sb.run().args(["--fail", "1:ENOTANERROR"]).output().exits(125).says("unknown errno");
}

/// System calls in which errors are injected, each at its first occurrences in any process of the launch.
const INJECTED: &[&str] = &[
    "mkdirat",
    "flock",
    "renameat",
    "write",
    "open_tree",
    "mount_setattr",
    "move_mount",
    "fsopen",
    "fsconfig",
    "fsmount",
    "clone3",
    "prctl",
    "setsid",
    "setgroups",
    "setresgid",
    "setresuid",
    "unshare",
    "sethostname",
    "socket",
    "openat2",
    "symlinkat",
    "mknodat",
    "fchdir",
    "pivot_root",
    "umount2",
    "keyctl",
    "capset",
    "getresuid",
    "getresgid",
    "getgroups",
    "capget",
    "chdir",
    "getcwd",
    "faccessat2",
    "close_range",
    "seccomp",
    "sendto",
];

/// System calls with which a process creates another one in the container.
const JOINING: &[&str] = &["pidfd_open", "setns", "clone3", "waitid"];

fn injected_run(policy: &str) {
    let sb = Sandbox::new();
    inject(&sb, 125, INJECTED, 40, |wrapper| run(&sb, wrapper, policy));
}

#[case(TRACED)]
fn real_ones_in_run_with_a_joiner() {
    let sb = joining();
    inject(&sb, 125, JOINING, 3, |wrapper| run(&sb, wrapper, "privileged"));
}

fn run(sb: &Sandbox, wrapper: &[&str], policy: &str) -> Call {
    let call = sb.under(wrapper).args(["run", "--quiet", "--policy", policy, "--bundle"]);
    call.arg(sb.bundle()).arg(sb.id())
}

#[case(TRACED)]
fn real_ones_in_create() {
    let sb = Sandbox::new();
    inject(&sb, 1, INJECTED, 40, |wrapper| {
        sb.under(wrapper).arg("create").arg("--bundle").arg(sb.bundle()).arg(sb.id())
    });
}

/// Asserts that only the container's own process remains, and that it runs.
#[track_caller]
fn alone(sb: &Sandbox, about: &str) {
    let pids = sb.runtime().args(["ps", "--format", "json", sb.id()]).output().ok().stdout;
    assert_eq!(
        (pids.trim(), sb.status().as_str()),
        (format!("[{}]", sb.pid()).as_str(), "running"),
        "{about}"
    );
    let left: Vec<_> = sb.trace().processes().into_iter().filter(|(pid, _)| *pid != sb.pid()).collect();
    assert!(left.is_empty(), "left behind: {left:?}\n{about}");
}

#[case(TRACED)]
fn real_ones_in_exec() {
    // If HOME cannot be looked up it is /, which is no fault.
    let sb = Sandbox::new().args(["/bin/sleep", "1000"]).patch("/process/env/-", "HOME=/".into());
    sb.create().ok();
    sb.verb("start").ok();
    let file = sb.dir().join("trace");
    let mut injected = 0;
    for name in INJECTED.iter().chain(JOINING) {
        for when in 1..=4 {
            let what = format!("inject={name}:error=ENOMEM:when={when}");
            let trace = format!("trace={name}");
            let call = sb.under(&["strace", "-f", "-o", &file.to_string_lossy(), "-e", &trace, "-e", &what]);
            let out = call.args(["exec", sb.id(), "true"]).output();
            let about = format!("{name} failed at occurrence {when}\n{out}\n{}", text(&file));
            alone(&sb, &about);
            if !was_injected(&file) {
                assert_eq!(out.code, 0, "{about}");
                break;
            }
            injected += 1;
            assert!(!out.timed_out, "hangs: {about}");
            // strace counts for each process: the write that fails may be that of the message.
            let lost = text(&file).lines().any(|l| l.contains("write(2,") && l.contains("(INJECTED)"));
            assert!(matches!(out.code, 126 | 255) && (lost || !out.stderr.trim().is_empty()), "{about}");
        }
    }
    assert!(injected > 20, "only {injected} faults were injected");
    sb.delete().ok();
}

#[case(HERE)]
fn an_exec_whose_pid_file_cannot_be_written() {
    let sb = Sandbox::new().args(["/bin/sleep", "1000"]);
    sb.create().ok();
    sb.verb("start").ok();
    for detach in [&["--detach"][..], &[]] {
        let call = sb.runtime().arg("exec").args(detach).args(["--pid-file", "/nonexistent/pid"]);
        let out = call.args([sb.id(), "sleep", "1000"]).output().exits(255).says("/nonexistent/pid");
        alone(&sb, &out.to_string());
    }
    sb.delete().ok();
}

/// Makes each of `names` fail at its first occurrences, at least `least` times in all.
fn inject(sb: &Sandbox, code: i32, names: &[&str], least: u32, call: impl Fn(&[&str]) -> Call) {
    let file = sb.dir().join("trace");
    let mut injected = 0;
    for name in names {
        for when in 1..=4 {
            let what = format!("inject={name}:error=ENOMEM:when={when}");
            let trace = format!("trace={name}");
            let out = call(&["strace", "-f", "-o", &file.to_string_lossy(), "-e", &trace, "-e", &what]);
            let mut running = out.spawn();
            poll("the launch ends, or the container is created", Duration::from_secs(20), || {
                running.has_ended() || sb.root().join(sb.id()).join("start.fifo").exists()
            });
            let made = !running.has_ended();
            if made {
                // strace ends when Init ends.
                sb.delete().ok();
            }
            let out = running.wait();
            if made || !was_injected(&file) {
                // There are fewer calls than that.
                assert!(made || out.code == 0, "{out}");
                break;
            }
            injected += 1;
            check_injected(sb, &file, name, when, code, &out);
        }
    }
    assert!(injected > least, "only {injected} faults were injected");
}

fn check_injected(sb: &Sandbox, file: &Path, name: &str, when: u32, code: i32, out: &crate::harness::Output) {
    let about = format!("{name} failed at occurrence {when}\n{out}\n{}", text(file));
    assert!(!out.timed_out, "hangs: {about}");
    let injected = |line: &&str| line.contains("(INJECTED)");
    // A program that cannot be executed has a separate exit code, as in `docker run`.
    let code = match (name, when, code) {
        ("faccessat2", _, 125) => 126,
        // The notice of a weaker policy is lost. strace counts for each process: Init's own write may fail as well.
        ("write", _, 125) if text(file).lines().filter(injected).all(|l| l.contains("safebox: weaker")) => 0,
        // Without the lock at the end, two processes do the same work. The file of an id range is locked
        // before the container's directory.
        ("flock", n, 125) if n as usize == 3 + text(file).matches("LOCK_NB").count() => 0,
        _ => code,
    };
    assert_eq!(out.code, code, "{about}");
    assert!(code == 0 || !out.stderr.trim().is_empty(), "says nothing: {about}");
    let left = sb.trace().find();
    assert!(left.is_empty(), "left behind:\n  {}\n{about}", left.join("\n  "));
}

fn was_injected(file: &Path) -> bool {
    text(file).contains("(INJECTED)")
}

fn text(file: &Path) -> String {
    std::fs::read(file).map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default()
}
