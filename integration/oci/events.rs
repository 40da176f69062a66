//! `events`: statistics in runc's format, and OOM kills when they happen.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Need, Sandbox, case, poll};

const OCI: &[Need] = &[Need::Root, Need::Oci];
const OWN: &[Need] = &[Need::Root];

const MIB: i64 = 1 << 20;

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|l| serde_json::from_str(l).unwrap_or_else(|e| panic!("{e}: {l}"))).collect()
}

fn running(script: &str) -> Sandbox {
    let sb = Sandbox::new()
        .sh(script)
        .patch("/linux/resources/memory", json!({ "limit": 32 * MIB, "swap": 32 * MIB }))
        .patch("/linux/resources/pids", json!({ "limit": 50 }));
    sb.started()
}

#[case(OCI)]
fn stats_count_what_was_used() {
    let sb = running("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; sleep 1000 & exec sleep 1000");
    let one = || {
        let out = sb.runtime().args(["events", "--stats"]).arg(sb.id()).output().ok();
        let events = lines(&out.stdout);
        assert_eq!(events.len(), 1, "{out}");
        events.into_iter().next().unwrap_or_default()
    };
    poll("two processes", Duration::from_secs(10), || one()["data"]["pids"]["current"] == 2);
    let event = one();
    assert_eq!((&event["type"], &event["id"]), (&json!("stats"), &json!(sb.id())));
    let data = &event["data"];
    assert_eq!(data["pids"], json!({ "current": 2, "limit": 50 }));
    assert!(data["cpu"]["usage"]["total"].as_u64().is_some_and(|n| n > 1_000_000), "nanoseconds: {data}");
    assert_eq!(data["memory"]["usage"]["limit"], json!(32 * MIB));
    assert!(data["memory"]["usage"]["usage"].as_u64().is_some_and(|n| n > 4096), "{data}");
    assert!(data["memory"]["raw"].as_object().is_some_and(|m| m.len() > 10), "{data}");
    sb.delete().ok();
}

/// The container has a cgroup in every hierarchy of the host, which counts its usage and which programs
/// inside look for (the JVM needs cpuset, cpu, cpuacct and memory).
#[case(OWN)]
fn a_hardened_run_is_counted_by_every_controller() {
    let sb = Sandbox::new().sh("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; echo up; exec sleep 1000");
    let running = sb.run_until(sb.run(), "up");
    let groups = std::fs::read_to_string(format!("/proc/{}/cgroup", sb.pid())).expect("its groups");
    assert!(groups.lines().all(|line| line.contains(sb.id())), "{groups}");
    let out = sb.runtime().args(["events", "--stats", sb.id()]).output().ok();
    let data = &lines(&out.stdout)[0]["data"];
    assert!(data["cpu"]["usage"]["total"].as_u64().is_some_and(|n| n > 1_000_000), "nanoseconds: {data}");
    sb.delete().ok();
    running.wait();
}

#[case(OCI)]
fn an_interval_goes_on_until_the_end() {
    let sb = running("exec sleep 1000");
    let run = sb.runtime().args(["events", "--interval", "50ms"]).arg(sb.id()).spawn();
    poll("three statistics", Duration::from_secs(10), || run.so_far().0.lines().count() >= 3);
    sb.kill("KILL").ok();
    // runc waits until the cgroup is removed, safebox until the process ends.
    poll("stopped", Duration::from_secs(10), || sb.status() == "stopped");
    sb.delete().ok();
    let out = run.wait().ok();
    assert!(lines(&out.stdout).iter().all(|e| e["type"] == "stats"), "{out}");
}

#[case(OCI)]
fn an_oom_kill_is_reported() {
    let sb = running("while [ ! -e /dev/shm/go ]; do sleep 0.1; done; tail /dev/zero; exec sleep 1000");
    let run = sb.runtime().args(["events", "--interval", "1h"]).arg(sb.id()).spawn();
    // The watch exists when its descriptor exists.
    poll("the watch", Duration::from_secs(10), || watches(run.pid()));
    sb.exec(["touch", "/dev/shm/go"]).ok();
    poll("an oom event", Duration::from_secs(20), || run.so_far().0.contains("oom"));
    sb.delete().ok();
    let out = run.wait().ok();
    let events = lines(&out.stdout);
    assert_eq!(events.first(), Some(&json!({ "type": "oom", "id": sb.id() })), "{out}");
}

/// Whether a process has an inotify or eventfd descriptor besides those of its language runtime.
fn watches(pid: i32) -> bool {
    let Ok(entries) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    let links: Vec<_> = entries.flatten().filter_map(|e| std::fs::read_link(e.path()).ok()).collect();
    let has = |what: &str| links.iter().any(|l| l.to_string_lossy().contains(what));
    has("inotify") || (has("eventfd") && has("memory.oom_control"))
}

#[case(OCI)]
fn wrong_states_and_intervals() {
    let sb = running("exec sleep 1000");
    let run = |args: &[&str]| sb.runtime().arg("events").args(args).arg(sb.id()).output();
    run(&["--interval", "0s"]).exits(1).says("duration interval must be greater than 0");
    let out = run(&["--interval", "soon"]);
    assert_ne!(out.code, 0, "{out}");
    sb.kill("KILL").ok();
    sb.wait_for_status("stopped");
    run(&["--stats"]).exits(1).says("is not running");
    sb.delete().ok();
    run(&["--stats"]).exits(1).says("container does not exist");
}
