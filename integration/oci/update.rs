//! `update`: changes limits of a running container, checked in the kernel's files.

use serde_json::{Value, json};

use crate::harness::{Need, Sandbox, case};
use crate::oci::limits::limit;

const OCI: &[Need] = &[Need::Root, Need::Oci];
const OWN: &[Need] = &[Need::Root];
const V2: &[Need] = &[Need::Root, Need::CgroupV2];
const V1: &[Need] = &[Need::Root, Need::CgroupV1, Need::Oci];

const MIB: i64 = 1 << 20;

/// A running container with limits of memory, cpu and processes.
fn running() -> Sandbox {
    let sb = Sandbox::new()
        .sh("exec sleep 1000")
        .patch("/linux/resources/memory", json!({ "limit": 64 * MIB, "swap": 64 * MIB }))
        .patch("/linux/resources/cpu", json!({ "quota": 50_000, "period": 100_000, "shares": 512 }))
        .patch("/linux/resources/pids", json!({ "limit": 50 }));
    sb.started()
}

fn update(sb: &Sandbox, args: &[&str]) -> crate::harness::Output {
    sb.runtime().arg("update").args(args).arg(sb.id()).output()
}

fn update_json(sb: &Sandbox, resources: &Value) -> crate::harness::Output {
    sb.runtime().args(["update", "--resources", "-"]).arg(sb.id()).input(resources.to_string()).output()
}

fn memory_limit(sb: &Sandbox) -> i64 {
    limit(sb.pid(), "memory.max", ("memory", "memory.limit_in_bytes")).parse().unwrap_or(-1)
}

fn pids_limit(sb: &Sandbox) -> String {
    limit(sb.pid(), "pids.max", ("pids", "pids.max"))
}

/// Quota and period: one file on v2, two on v1.
fn cpu_max(sb: &Sandbox) -> String {
    let first = limit(sb.pid(), "cpu.max", ("cpu", "cpu.cfs_quota_us"));
    if first.contains(' ') {
        return first;
    }
    format!("{first} {}", limit(sb.pid(), "cpu.max", ("cpu", "cpu.cfs_period_us")))
}

fn shares(sb: &Sandbox) -> String {
    limit(sb.pid(), "cpu.weight", ("cpu", "cpu.shares"))
}

/// As runc since 1.4: 0 becomes 1, because the container's own process counts.
#[case(OWN)]
fn no_processes_more_is_one_process() {
    let sb = running();
    update(&sb, &["--pids-limit", "0"]).ok();
    assert_eq!(pids_limit(&sb), "1");
    update(&sb, &["--memory", "96m", "--memory-swap", "96m"]).ok();
    assert_eq!(pids_limit(&sb), "1", "what is not named stays");
    sb.delete().ok();
}

#[case(OCI)]
fn flags_change_the_limits() {
    let sb = running();
    assert_eq!(cpu_max(&sb), "50000 100000");
    update(&sb, &["--memory", "96m", "--memory-swap", "128m", "--pids-limit", "77"]).ok();
    assert_eq!((memory_limit(&sb), pids_limit(&sb).as_str()), (96 * MIB, "77"));
    update(&sb, &["--cpu-quota", "20000", "--cpu-period", "40000", "--cpu-share", "1024"]).ok();
    assert_eq!(cpu_max(&sb), "20000 40000");
    // On v2 the weight of runc since 1.3.2; Debian's runc is older.
    let weight = if crate::harness::bundle::is_foreign() { "39" } else { "100" };
    assert!(["1024", weight].contains(&shares(&sb).as_str()), "{}", shares(&sb));
    update(&sb, &["--pids-limit", "-1"]).ok();
    assert_eq!(pids_limit(&sb), "max");
    assert_eq!(memory_limit(&sb), 96 * MIB, "what was not named stays");
    sb.delete().ok();
}

#[case(OCI)]
fn json_from_stdin_and_from_a_file() {
    let sb = running();
    update_json(&sb, &json!({ "memory": { "limit": 80 * MIB, "swap": 100 * MIB }, "pids": { "limit": 20 } }))
        .ok();
    assert_eq!((memory_limit(&sb), pids_limit(&sb).as_str()), (80 * MIB, "20"));
    let file = sb.dir().join("resources.json");
    std::fs::write(&file, json!({ "cpu": { "quota": 30_000 } }).to_string()).expect("write");
    update(&sb, &[&format!("--resources={}", file.display())]).ok();
    assert_eq!(cpu_max(&sb), "30000 100000");
    update(&sb, &["-r", &file.display().to_string()]).ok();
    sb.delete().ok();
}

/// The JSON that Docker sends to update only the memory limit.
#[case(OCI)]
fn zeros_and_unknown_keys_change_nothing() {
    let sb = running();
    let before = (cpu_max(&sb), shares(&sb), pids_limit(&sb));
    let sent = json!({
        "memory": { "limit": 70 * MIB, "reservation": 0, "swap": 90 * MIB, "kernel": 0 },
        "cpu": { "shares": 0, "quota": 0, "period": 0, "cpus": "", "mems": "" },
        "blockIO": { "weight": 0 },
        "of the future": { "a": 1 },
    });
    update_json(&sb, &sent).ok();
    assert_eq!(memory_limit(&sb), 70 * MIB);
    assert_eq!((cpu_max(&sb), shares(&sb), pids_limit(&sb)), before);
    sb.delete().ok();
}

#[case(OCI)]
fn memory_goes_up_and_down() {
    let sb = running();
    // v1 requires memory <= memory plus swap at every moment, in both directions.
    for (limit, swap) in [(200, 300), (40, 50), (100, 100), (64, -1)] {
        let swap = if swap < 0 { swap } else { swap * MIB };
        update_json(&sb, &json!({ "memory": { "limit": limit * MIB, "swap": swap } })).ok();
        assert_eq!(memory_limit(&sb), limit * MIB, "to {limit} MiB");
    }
    update(&sb, &["--memory", "65.5M"]).ok();
    assert_eq!(memory_limit(&sb), 131 * MIB / 2);
    update(&sb, &["--memory", "-1"]).ok();
    // No limit is "max" on v2 and a number near 2^63 on v1.
    assert!(!(0..1 << 40).contains(&memory_limit(&sb)), "{}", memory_limit(&sb));
    sb.delete().ok();
}

/// The kernel accepts a burst up to the quota, and no shares for an idle cgroup.
#[case(OWN)]
fn burst_and_idle_go_with_quota_and_shares() {
    let sb = running();
    let of = |v2: &str, v1: &str| limit(sb.pid(), v2, ("cpu", v1));
    let burst = || of("cpu.max.burst", "cpu.cfs_burst_us");
    for (quota, size) in [("50000", "50000"), ("20000", "10000"), ("90000", "80000")] {
        update(&sb, &["--cpu-quota", quota, "--cpu-burst", size]).ok();
        assert_eq!((cpu_max(&sb), burst().as_str()), (format!("{quota} 100000"), size));
    }
    update(&sb, &["--cpu-burst", "90001"]).exits(1).says("invalid argument");
    assert_eq!(burst(), "80000");
    let before = shares(&sb);
    update(&sb, &["--cpu-idle", "1"]).ok();
    assert_eq!(of("cpu.idle", "cpu.idle"), "1");
    update(&sb, &["--cpu-share", "1024"]).exits(1).says("invalid argument");
    update(&sb, &["--cpu-idle", "0", "--cpu-share", "1024"]).ok();
    assert_eq!(of("cpu.idle", "cpu.idle"), "0");
    assert_ne!(shares(&sb), before);
    sb.delete().ok();
}

#[case(OWN)]
fn quota_and_period_remember_each_other() {
    let sb = running();
    update(&sb, &["--cpu-quota", "10000"]).ok();
    assert_eq!(cpu_max(&sb), "10000 100000");
    update(&sb, &["--cpu-period", "20000"]).ok();
    assert_eq!(cpu_max(&sb), "10000 20000", "the quota of the update before");
    update(&sb, &["--cpu-quota", "-1"]).ok();
    assert!(["max 20000", "-1 20000"].contains(&cpu_max(&sb).as_str()), "{}", cpu_max(&sb));
    sb.delete().ok();
}

#[case(OCI)]
fn a_created_container_takes_it_too() {
    let sb = Sandbox::new().patch("/linux/resources/pids", json!({ "limit": 50 }));
    sb.create().ok();
    update(&sb, &["--pids-limit", "9"]).ok();
    assert_eq!(pids_limit(&sb), "9");
    sb.delete().ok();
}

#[case(OWN)]
fn bad_input_changes_nothing() {
    let sb = running();
    let before = (memory_limit(&sb), cpu_max(&sb), pids_limit(&sb));
    for (sent, says) in [
        (json!({ "pids": { "limit": -7 }, "memory": { "limit": 80 * MIB } }), "/pids/limit"),
        (json!({ "memory": { "limit": "much" } }), "/memory/limit"),
        (json!({ "cpu": { "idle": 3 } }), "/cpu/idle"),
        (json!([]), "resources"),
    ] {
        update_json(&sb, &sent).exits(1).says(says);
    }
    sb.runtime().args(["update", "-r", "-"]).arg(sb.id()).input("{").output().exits(1).says("line 1");
    update(&sb, &["-r", "/nonexistent/file"]).exits(1).says("/nonexistent/file");
    update(&sb, &["--memory", "lots"]).exits(1).says("lots");
    update(&sb, &["--cpuset-cpus", "999"]).exits(1).says("cpuset.cpus");
    update(&sb, &["--l3-cache-schema", "L3:0=f"]).exits(1).says("l3 cache schema is not enabled");
    assert_eq!((memory_limit(&sb), cpu_max(&sb), pids_limit(&sb)), before);
    sb.delete().ok();
    update(&sb, &["--memory", "64m"]).exits(1).says("container does not exist");
}

#[case(OCI)]
fn a_stopped_container_has_no_limits() {
    let sb = Sandbox::new().patch("/linux/resources/pids", json!({ "limit": 50 }));
    sb.create().ok();
    sb.verb("start").ok();
    sb.wait_for_status("stopped");
    let out = update(&sb, &["--pids-limit", "9"]);
    assert_ne!(out.code, 0, "{out}");
    sb.delete().ok();
}

#[case(V1)]
fn v1_refuses_a_limit_below_the_use() {
    let sb = running();
    let out = update(&sb, &["--memory", "16k"]);
    assert_ne!(out.code, 0, "{out}");
    out.says("unable to set memory limit to 16384 (current usage: ");
    assert_eq!(memory_limit(&sb), 64 * MIB);
    sb.delete().ok();
}

#[case(V2)]
fn check_before_update_protects_on_v2() {
    let sb = running();
    let out = update_json(&sb, &json!({ "memory": { "limit": 4096, "checkBeforeUpdate": true } }));
    out.exits(1).says("rejecting memory limit 4096 < usage ");
    assert_eq!((memory_limit(&sb), sb.status().as_str()), (64 * MIB, "running"));
    sb.delete().ok();
}
