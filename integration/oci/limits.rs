//! Limits take effect: seen from outside, in the kernel's files.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;

use crate::harness::{Need, Sandbox, case, poll};

const OCI: &[Need] = &[Need::Root, Need::Oci];
const OWN: &[Need] = &[Need::Root];

const MIB: i64 = 1 << 20;

/// A shell that prints a line and then waits.
/// The value of the first of these cgroup files that exists: v2's name, then v1's.
pub fn limit(pid: i32, v2: &str, v1: (&str, &str)) -> String {
    let path = file(pid, v2, v1).unwrap_or_else(|| panic!("process {pid} has no {v2} or {}", v1.1));
    std::fs::read_to_string(path).expect("a cgroup file").trim().to_string()
}

/// The path of a process's cgroup file, found through /proc and not through the runtime.
pub fn file(pid: i32, v2: &str, v1: (&str, &str)) -> Option<PathBuf> {
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("/proc/PID/cgroup");
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    groups.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?.trim_start_matches('/'));
        let (name, has) = if controllers.is_empty() { (v2, "") } else { (v1.1, v1.0) };
        if !controllers.is_empty() && !controllers.split(',').any(|c| c == has) {
            return None;
        }
        let mount = mounts.lines().find_map(|m| {
            let (fields, tail) = m.split_once(" - ")?;
            let fits = if has.is_empty() {
                tail.starts_with("cgroup2 ")
            } else {
                tail.starts_with("cgroup ") && tail.split([',', ' ']).any(|o| o == has)
            };
            fits.then(|| fields.split(' ').nth(4).map(PathBuf::from)).flatten()
        })?;
        Some(mount.join(path).join(name)).filter(|p| p.exists())
    })
}

#[case(OCI)]
fn memory_is_written_and_kills() {
    let sb = Sandbox::new()
        .args(["/bin/tail", "/dev/zero"])
        .patch("/linux/resources/memory", json!({ "limit": 32 * MIB, "swap": 32 * MIB }));
    sb.run_oci().output().exits(137);
    sb.leak_check();
}

#[case(OWN)]
fn memory_kill_is_reported() {
    let sb = Sandbox::new().args(["/bin/tail", "/dev/zero"]);
    let out = sb.run().args(["--memory", "32m"]).output().exits(137);
    out.says("out of memory: the kernel killed 1 process(es) of the container at its memory limit of 32 MiB");
    // A SIGKILL with another cause is not reported as out of memory.
    let sb = Sandbox::up();
    let run = sb.run_until(sb.run(), "up");
    sb.kill("KILL").ok();
    let out = run.wait().exits(137);
    assert!(!out.stderr.contains("out of memory"), "{out}");
}

#[case(OCI)]
fn memory_counts_swap() {
    let sb = Sandbox::up().patch("/linux/resources/memory", json!({ "limit": 64 * MIB, "swap": 64 * MIB }));
    let run = sb.run_until(sb.run_oci(), "up");
    let pid = sb.pid();
    assert_eq!(limit(pid, "memory.max", ("memory", "memory.limit_in_bytes")), (64 * MIB).to_string());
    // v1 counts memory plus swap, v2 only swap.
    let swap = limit(pid, "memory.swap.max", ("memory", "memory.memsw.limit_in_bytes"));
    assert!(swap == "0" || swap == (64 * MIB).to_string(), "{swap}");
    sb.kill("KILL").ok();
    run.wait().exits(137);
}

#[case(OWN)]
fn a_killed_child_is_reported_too() {
    let sb = Sandbox::new().sh("tail /dev/zero; echo after $?");
    let out = sb.run().args(["--memory", "32m"]).output().ok().prints("after 137");
    out.says("out of memory").says("the container's first process continued");
}

#[case(OCI)]
fn cpu_quota_throttles() {
    let sb = Sandbox::new()
        .sh("echo up; while :; do :; done")
        .patch("/linux/resources/cpu", json!({ "quota": 10_000, "period": 100_000 }));
    let run = sb.run_until(sb.run_oci(), "up");
    let stat = || limit(sb.pid(), "cpu.stat", ("cpu", "cpu.stat"));
    let throttled = || -> u64 {
        let text = stat();
        let line = text.lines().find_map(|l| l.strip_prefix("nr_throttled ")).map(str::to_string);
        line.and_then(|n| n.parse().ok()).unwrap_or_else(|| panic!("no nr_throttled in {text}"))
    };
    poll("the loop is throttled", Duration::from_secs(10), || throttled() >= 3);
    sb.kill("KILL").ok();
    run.wait().exits(137);
}

#[case(OCI)]
fn pids_stop_forks() {
    // busybox's shell prints an error and exits with 2 when it cannot fork.
    let sb = Sandbox::new()
        .sh("i=0; while [ $i -lt 30 ]; do sleep 100 & i=$((i+1)); echo child $i; done")
        .patch("/linux/resources/pids", json!({ "limit": 10 }));
    let out = sb.run_oci().output();
    assert!(out.code != 0 && out.stdout.contains("child 9\n") && !out.stdout.contains("child 10\n"), "{out}");
    sb.leak_check();
}

/// A limit of 0 allows no process besides the container's own.
#[case(OWN)]
fn pids_may_be_none_but_the_first() {
    let sb = Sandbox::new().sh("echo one; true & echo two; wait; echo three");
    let sb = sb.patch("/linux/resources/pids", json!({ "limit": 0 }));
    let out = sb.run_oci().output();
    assert!(out.stdout.starts_with("one\n") && !out.stdout.contains("three"), "{out}");
    sb.leak_check();
}

#[case(OWN)]
fn pids_are_reported() {
    let sb = Sandbox::new().sh("for i in 1 2 3 4 5 6 7 8; do sleep 100 & done");
    let out = sb.run().args(["--pids-limit", "5"]).output();
    assert_ne!(out.code, 0, "{out}");
    out.says("the limit of 5 processes refused a fork 1 time(s) (--pids-limit)");
}

#[case(OWN)]
fn flags_replace_the_config() {
    let sb = Sandbox::up().patch("/linux/resources/pids", json!({ "limit": 77 }));
    let run = sb.run_until(sb.run().args(["--memory", "48m", "--cpus", "0.5", "--pids-limit", "33"]), "up");
    let pid = sb.pid();
    assert_eq!(limit(pid, "memory.max", ("memory", "memory.limit_in_bytes")), (48 * MIB).to_string());
    assert_eq!(limit(pid, "pids.max", ("pids", "pids.max")), "33");
    let cpu = limit(pid, "cpu.max", ("cpu", "cpu.cfs_quota_us"));
    assert!(cpu == "50000" || cpu == "50000 100000", "{cpu}");
    sb.kill("KILL").ok();
    run.wait().exits(137);
}

#[case(OWN)]
fn default_limits_are_there() {
    let sb = Sandbox::up();
    let run = sb.run_until(sb.run(), "up");
    let pid = sb.pid();
    let memory = safebox::config::defaults::MEMORY.to_string();
    assert_eq!(limit(pid, "memory.max", ("memory", "memory.limit_in_bytes")), memory);
    assert_eq!(limit(pid, "pids.max", ("pids", "pids.max")), safebox::config::defaults::PIDS.to_string());
    let cpu = limit(pid, "cpu.max", ("cpu", "cpu.cfs_quota_us"));
    assert!(cpu == "100000" || cpu == "100000 100000", "{cpu}");
    sb.kill("KILL").ok();
    run.wait().exits(137);
}

#[case(OCI)]
fn exec_is_limited_too() {
    let sb = Sandbox::up().patch("/linux/resources/memory", json!({ "limit": 32 * MIB, "swap": 32 * MIB }));
    let run = sb.run_until(sb.run_oci(), "up");
    sb.exec(["/bin/tail", "/dev/zero"]).exits(137);
    assert_eq!(sb.status(), "running");
    sb.kill("KILL").ok();
    run.wait().exits(137);
}

/// The container was moved out of its cgroup, which was then removed: exec is refused, because it would be
/// unlimited.
#[case(OWN)]
fn exec_without_them_is_refused() {
    let sb = Sandbox::up().patch("/linux/resources/pids", json!({ "limit": 50 }));
    sb.create().ok();
    sb.verb("start").ok();
    let file = file(sb.pid(), "pids.max", ("pids", "pids.max")).expect("a limit");
    let group = file.parent().expect("a group");
    let above = group.parent().expect("a parent").join("cgroup.procs");
    std::fs::write(above, sb.pid().to_string()).expect("move");
    poll("the group is empty", Duration::from_secs(5), || std::fs::remove_dir(group).is_ok());
    sb.exec(["true"]).exits(255).says("the container's cgroup is gone");
    sb.delete().ok();
}
