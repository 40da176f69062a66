//! The runtime is killed at any moment, or called twice at once: leftovers can always be removed, and usually
//! are removed automatically.

use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::json;

use crate::harness::carried::patience;
use crate::harness::process::{Call, Output};
use crate::harness::{Need, Sandbox, case, poll, rounds, slowed};

const HERE: &[Need] = &[Need::Root];
const OCI: &[Need] = &[Need::Root, Need::Oci];
const TRACED: &[Need] = &[Need::Root, Need::Strace];
const SOON: Duration = Duration::from_secs(2);

#[case(HERE)]
fn run_at_every_row_restricted() {
    every_row("restricted");
}

#[case(HERE)]
fn run_at_every_row_privileged() {
    every_row("privileged");
}

#[case(HERE)]
fn a_late_launcher_leaves_the_next_container_alone() {
    late(Signal::SIGCONT);
}

#[case(HERE)]
fn a_late_guardian_leaves_the_next_container_alone() {
    late(Signal::SIGKILL);
}

/// SIGKILL while the launcher waits after row N: the guardian cleans up once it exists; before that, `delete
/// --force` does.
fn every_row(policy: &str) {
    let sb = Sandbox::new();
    // With the same stdin, stdout and stderr as `run` below: the plan has a row for each relayed descriptor.
    let explain = sb.runtime().args(["explain", "--json", "--policy", policy]).arg(sb.bundle());
    let out = explain.spawn_with_stdin().wait().ok();
    let plan: serde_json::Value = serde_json::from_str(&out.stdout).expect("JSON");
    let steps = plan["steps"].as_array().expect("steps");
    // The guardian is forked at the first handover: when row N+1 is the first of Init, or later.
    let guarded = steps.iter().position(|s| s["actor"] == "init").expect("Init has rows");
    for row in 1..steps.len() {
        let call = sb.run().args(["--policy", policy, "--until", &row.to_string()]);
        let held = call.spawn_with_stdin();
        poll(&format!("row {row}"), Duration::from_secs(10), || held.so_far().1.contains("press Enter"));
        held.signal(Signal::SIGKILL);
        held.wait().exits(137);
        if row < guarded {
            sb.delete().ok();
        }
        let left = sb.left_after(SOON);
        assert!(left.is_empty(), "killed after row {row}, left:\n  {}", left.join("\n  "));
    }
}

/// Sixty delays from 0 to 15 ms, in a scattered order.
fn moments() -> impl Iterator<Item = Duration> {
    let count = rounds(60) as u32;
    (0..count).map(move |i| slowed(Duration::from_millis(15)) * (i * 7919 % count) / count)
}

/// Not [`Need::Oci`]: runc 1.1.5 leaves cgroups here.
#[case(HERE)]
fn create_at_any_moment() {
    let sb = Sandbox::new().args(["/bin/sleep", "1000"]);
    let (mut unfinished, mut all) = (0, 0);
    for moment in moments() {
        let create = sb.create_call().spawn();
        std::thread::sleep(moment);
        create.signal(Signal::SIGKILL);
        unfinished += u32::from(create.wait().code != 0);
        all += 1;
        sb.delete().ok();
        sb.leak_check_within(SOON);
    }
    assert!(unfinished > all / 12, "only {unfinished} of {all} were killed before they were done");
}

#[case(OCI)]
fn delete_at_any_moment() {
    let sb = Sandbox::new().args(["/bin/sleep", "1000"]);
    for moment in moments().step_by(3) {
        sb.create().ok();
        let delete = sb.runtime().args(["delete", "--force"]).arg(sb.id()).spawn();
        std::thread::sleep(moment / 2);
        delete.signal(Signal::SIGKILL);
        delete.wait();
        sb.delete().ok();
        sb.leak_check_within(SOON);
    }
}

#[case(HERE)]
fn the_launcher_of_a_running_container() {
    for policy in ["restricted", "privileged"] {
        let sb = Sandbox::new().sh("sleep 1000 & setsid sleep 1000 & echo up; sleep 1000");
        let running = sb.run_until(sb.run().args(["--policy", policy]), "up");
        // The launcher forks its guardian while Init works, so that may come after the program's first word.
        poll("launcher, guardian, and three inside", SOON, || sb.trace().processes().len() >= 5);
        running.signal(Signal::SIGKILL);
        running.wait().exits(137);
        sb.leak_check_within(SOON);
    }
}

/// Launcher and guardian die: the kernel kills the container, and the next `run` removes the leftovers. The
/// cost of a run does not grow with the number of containers.
#[case(TRACED)]
fn a_run_reads_the_state_of_no_other_container() {
    let sb = Sandbox::up();
    sb.create().ok();
    let other = sb.other_id("foreground");
    let call = sb.runtime().args(["run", "--quiet", "--bundle"]).arg(sb.bundle()).arg(&other);
    let running = sb.run_until(call, "up");
    let file = sb.dir().join("trace");
    let next = sb.under(&["strace", "-f", "-o", &file.to_string_lossy()]);
    let next = next.args(["run", "--quiet", "--bundle"]).arg(sb.bundle()).arg(sb.other_id("next"));
    next.args(["--", "/bin/true"]).output().ok();
    let trace = std::fs::read_to_string(&file).expect("the trace");
    for id in [sb.id(), &other] {
        let state = format!("/{id}/state.json");
        let read = trace.lines().find(|line| line.contains(&state));
        assert!(read.is_none(), "{read:?}");
    }
    sb.runtime().args(["delete", "--force", &other]).output().ok();
    running.wait();
    sb.delete().ok();
    sb.leak_check_within(SOON);
}

#[case(HERE)]
fn launcher_and_guardian_together() {
    let sb = Sandbox::new().sh("echo up; sleep 1000");
    let running = sb.run_until(sb.run(), "up");
    let guardian = children(running.pid()).into_iter().find(|pid| !has_own_pid_namespace(*pid));
    let guardian = nix::unistd::Pid::from_raw(guardian.expect("a guardian"));
    nix::sys::signal::kill(guardian, Signal::SIGKILL).expect("kill the guardian");
    running.signal(Signal::SIGKILL);
    running.wait().exits(137);
    poll("the container is dead", SOON, || sb.trace().processes().is_empty());
    assert!(sb.root().join(sb.id()).exists(), "it must not be removed yet");
    let next = sb.runtime().args(["run", "--quiet", "--bundle"]).arg(sb.bundle()).arg(sb.other_id("next"));
    next.args(["--", "/bin/true"]).output().ok();
    sb.leak_check();
}

/// `start` holds the lock while the hook runs, and the hook never ends.
#[case(OCI)]
fn delete_force_does_not_wait_for_a_hook_inside() {
    let hook = json!([{ "path": "/bin/sh", "args": ["sh", "-c", "echo here >/dev/shm/hook; sleep 1000"] }]);
    let sb = Sandbox::new().args(["/bin/sleep", "1000"]).patch("/hooks/startContainer", hook);
    sb.create().ok();
    let start = sb.runtime().args(["start", sb.id()]).spawn();
    let said = format!("/proc/{}/root/dev/shm/hook", sb.pid());
    poll("the hook runs", SOON, || std::path::Path::new(&said).exists());
    let out = sb.delete().ok();
    assert!(out.took < patience(Duration::from_secs(5)), "{out}");
    // In runc 1.1 the end of the hook ends the start.
    assert!(start.wait().code != 0 || crate::harness::bundle::is_foreign(), "{out}");
    sb.leak_check_within(SOON);
}

/// Poststop hooks undo the effects of other hooks, in whichever process runs them.
#[case(HERE)]
fn poststop_hooks_run_when_the_launcher_is_killed() {
    let sb = Sandbox::new().sh("echo up; sleep 1000");
    let told = sb.dir().join("told");
    let hook = json!([{ "path": "/bin/sh", "args": ["sh", "-c", format!("cat >>{}", told.display())] }]);
    let sb = sb.patch("/hooks/poststop", hook);
    let launcher = sb.run_until(sb.run_oci(), "up");
    launcher.signal(Signal::SIGKILL);
    launcher.wait().exits(137);
    let said = || std::fs::read_to_string(&told).unwrap_or_default();
    poll("the hook", SOON, || said().contains("stopped"));
    sb.leak_check_within(SOON);
    assert_eq!(said().matches("stopped").count(), 1, "{}", said());
}

/// Leftovers of the launcher that cannot be removed; every `run` tries again.
#[case(HERE)]
fn a_cgroup_that_cannot_be_removed_delays_no_other_run() {
    let sb = Sandbox::new().sh("echo up; sleep 1000");
    let launcher = sb.run_until(sb.run(), "up");
    let guardian = children(launcher.pid()).into_iter().find(|pid| !has_own_pid_namespace(*pid));
    let guardian = nix::unistd::Pid::from_raw(guardian.expect("a guardian"));
    let below = sb.trace().cgroups().into_iter().next().expect("a group").join("below");
    std::fs::create_dir(&below).expect("a group");
    let shell = |command: &str| {
        let done = std::process::Command::new("sh").args(["-c", command]).status();
        assert!(done.expect("sh").success(), "{command}");
    };
    shell(&format!("mount -t tmpfs none {}", below.display()));
    nix::sys::signal::kill(guardian, Signal::SIGKILL).expect("kill the guardian");
    launcher.signal(Signal::SIGKILL);
    launcher.wait().exits(137);
    let next = sb.runtime().args(["run", "--quiet", "--bundle"]).arg(sb.bundle()).arg(sb.other_id("next"));
    let out = next.args(["--", "/bin/true"]).output().ok();
    shell(&format!("umount {}", below.display()));
    assert!(out.took < patience(Duration::from_secs(5)), "{out}");
    out.says("delete --force");
    sb.delete().ok();
    sb.leak_check_within(SOON);
}

/// Init of a pid namespace stays until all other processes of it are reaped, and the parent of one of them,
/// outside, sleeps. The remaining init holds no resources.
#[case(HERE)]
fn delete_does_not_wait_for_an_unreaped_process() {
    let sb = Sandbox::new().args(["/bin/sleep", "1000"]);
    sb.create().ok();
    sb.verb("start").ok();
    let exec = sb.runtime().args(["exec", sb.id(), "sh", "-c", "echo up; exec sleep 1000"]);
    let exec = sb.run_until(exec, "up");
    exec.signal(Signal::SIGSTOP);
    let out = sb.delete().ok();
    assert!(out.took < patience(Duration::from_secs(5)), "{out}");
    assert!(!sb.root().join(sb.id()).exists(), "{out}");
    exec.signal(Signal::SIGCONT);
    exec.wait().exits(137);
    sb.leak_check_within(SOON);
}

/// A launcher sleeps while its container is removed and another container takes its name, cgroup and
/// directory.
fn late(wake: Signal) {
    let sb = Sandbox::up();
    let launcher = sb.run_until(sb.run_oci(), "up");
    let first = sb.pid();
    // In the middle of the launch it would hold the lock.
    let holds = format!(" {} ", launcher.pid());
    poll("the launch is over", SOON, || {
        std::fs::read_to_string("/proc/locks").is_ok_and(|locks| !locks.contains(&holds))
    });
    let proxy = format!("/proc/{}/stat", launcher.pid());
    launcher.signal(Signal::SIGSTOP);
    poll("the launcher sleeps", SOON, || std::fs::read_to_string(&proxy).is_ok_and(|s| s.contains(") T ")));
    sb.delete().ok();
    sb.create().ok();
    sb.verb("start").ok();
    let second = sb.pid();
    launcher.signal(wake);
    let ended = launcher.wait();
    assert_eq!(ended.code, 137, "{ended}");
    // No process waits for the guardian.
    std::thread::sleep(slowed(Duration::from_millis(300)));
    assert!(first != second && sb.pid() == second && sb.status() == "running", "{ended}");
    sb.exec(["true"]).ok();
    sb.delete().ok();
    sb.leak_check_within(SOON);
}

fn children(pid: i32) -> Vec<i32> {
    std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))
        .unwrap_or_default()
        .split_whitespace()
        .filter_map(|p| p.parse().ok())
        .collect()
}

fn has_own_pid_namespace(pid: i32) -> bool {
    let link = |pid: String| std::fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    link(pid.to_string()) != link("self".into())
}

/// pid 1 is exempt from signals that it does not handle; Ctrl-C must work all the same.
#[case(HERE)]
fn sigterm_and_sigint_end_a_program_that_does_not_care() {
    for (signal, code) in [(Signal::SIGTERM, 143), (Signal::SIGINT, 130)] {
        let sb = Sandbox::up();
        let running = sb.run_until(sb.run(), "up");
        poll("sleep runs", SOON, || {
            sb.trace().processes().iter().any(|(pid, _)| name(*pid).trim_end() == "sleep")
        });
        running.signal(signal);
        running.wait().exits(code);
        sb.leak_check();
    }
}

fn name(pid: i32) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default()
}

#[case(HERE)]
fn sigterm_and_sigint_reach_a_program_that_handles_them() {
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGUSR1] {
        let script = "trap 'exit 3' TERM INT HUP USR1; echo up; while :; do sleep 0.05; done";
        let sb = Sandbox::new().sh(script);
        let running = sb.run_until(sb.run(), "up");
        running.signal(signal);
        running.wait().exits(3);
        sb.leak_check();
    }
}

/// Runs eight instances of a command at once and returns their results.
fn eight(mut call: impl FnMut() -> Call) -> Vec<Output> {
    let running: Vec<_> = (0..8).map(|_| call().spawn()).collect();
    running.into_iter().map(crate::harness::Running::wait).collect()
}

/// Asserts that one succeeded and that the others report `text`.
#[track_caller]
fn one_wins(outputs: &[Output], text: &str) {
    let won = outputs.iter().filter(|o| o.code == 0).count();
    let all = outputs.iter().map(ToString::to_string).collect::<String>();
    assert_eq!(won, 1, "how many succeeded\n{all}");
    for out in outputs.iter().filter(|o| o.code != 0) {
        assert!(!out.timed_out && (text.is_empty() || out.stderr.contains(text)), "not {text:?}\n{out}");
    }
}

/// The text of the specification's error, if the runtime is safebox.
fn words(text: &str) -> &str {
    if crate::harness::bundle::is_foreign() { "" } else { text }
}

/// Not [`Need::Oci`]: with runc 1.1.5 a loser removes the winner's state.
#[case(HERE)]
fn eight_creates_of_one_id() {
    let sb = Sandbox::new().args(["/bin/sleep", "1000"]);
    for _ in 0..rounds(5) {
        one_wins(&eight(|| sb.create_call()), "container with given ID already exists");
        // The winner's container is complete: no loser has undone any of it.
        assert_eq!(sb.status(), "created");
        sb.verb("start").ok();
        assert_eq!(sb.status(), "running");
        sb.delete().ok();
        sb.leak_check_within(SOON);
    }
}

#[case(HERE)]
fn eight_runs_of_one_id() {
    let sb = Sandbox::new().sh("sleep 0.5");
    one_wins(&eight(|| sb.run()), "container with given ID already exists");
    sb.leak_check();
}

// In runc 1.1 the error of the losers depends on timing.
#[case(HERE)]
fn eight_starts_of_one_container() {
    let sb = Sandbox::new().args(["/bin/sleep", "1000"]);
    for _ in 0..rounds(20) {
        sb.create().ok();
        one_wins(
            &eight(|| sb.runtime().arg("start").arg(sb.id())),
            words("cannot start an already running container"),
        );
        assert_eq!(sb.status(), "running");
        sb.delete().ok();
        sb.leak_check_within(SOON);
    }
}

#[case(HERE)]
fn eight_deletes_of_one_container() {
    let sb = Sandbox::new().args(["/bin/sleep", "1000"]);
    for started in [false, true] {
        sb.create().ok();
        if started {
            sb.verb("start").ok();
        }
        for out in eight(|| sb.runtime().args(["delete", "--force"]).arg(sb.id())) {
            out.ok();
        }
        sb.leak_check_within(SOON);
    }
}

/// Two creates and two deletes at once, many times: a create that has reserved the name is not disturbed (a
/// delete waits for it), and in any order one more delete leaves nothing.
#[case(HERE)]
fn creates_and_deletes_in_any_order() {
    let sb = Sandbox::new().args(["/bin/sleep", "1000"]);
    for moment in moments() {
        let creates = [sb.create_call().spawn(), sb.create_call().spawn()];
        std::thread::sleep(moment);
        let deletes = [(), ()].map(|()| sb.runtime().args(["delete", "--force"]).arg(sb.id()).spawn());
        let creates = creates.map(crate::harness::Running::wait);
        let deletes = deletes.map(crate::harness::Running::wait);
        let mut said: String = creates.iter().chain(&deletes).map(ToString::to_string).collect();
        for out in creates {
            let taken = out.stderr.contains("container with given ID already exists");
            assert!(out.code == 0 || taken, "a create failed\n{out}\n{said}");
        }
        for out in deletes {
            out.ok();
        }
        said += &sb.delete().ok().to_string();
        let left = sb.left_after(SOON);
        assert!(left.is_empty(), "left:\n  {}\n{said}", left.join("\n  "));
    }
}
