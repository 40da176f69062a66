//! Cpu affinity, scheduling and memory placement of processes.

use serde_json::{Value, json};

use crate::harness::{Need, Output, Sandbox, case};

const OCI: &[Need] = &[Need::Root, Need::Oci];
const OWN: &[Need] = &[Need::Root];

fn running(pointer: &str, value: Value) -> Sandbox {
    let sb = Sandbox::new().sh("exec sleep 1000").patch(pointer, value);
    sb.started()
}

fn exec_json(sb: &Sandbox, changes: &[(&str, Value)]) -> Output {
    let mut process = sb.config()["process"].clone();
    for (pointer, value) in changes {
        crate::harness::bundle::set(&mut process, pointer, value.clone());
    }
    let file = sb.dir().join("process.json");
    std::fs::write(&file, process.to_string()).expect("write");
    sb.runtime().args(["exec", "--process"]).arg(&file).arg(sb.id()).output()
}

#[case(OWN)]
fn a_memory_node_that_is_not_there() {
    let sb = Sandbox::new().patch("/linux/memoryPolicy", json!({ "mode": "MPOL_BIND", "nodes": "63" }));
    sb.create().exits(1).says("set_mempolicy").says("no such memory node");
    sb.leak_check();
}

/// The calls of `exec`, in order; the kernel decides the final affinity.
#[case(Root, Strace)]
fn exec_cpu_affinity_before_and_after_the_cgroup() {
    let sb = running("/annotations", json!({}));
    let trace = sb.dir().join("trace");
    let mut process = sb.config()["process"].clone();
    process["args"] = json!(["grep", "Cpus_allowed_list", "/proc/self/status"]);
    process["execCPUAffinity"] = json!({ "initial": "0", "final": "1" });
    let file = sb.dir().join("process.json");
    std::fs::write(&file, process.to_string()).expect("write");
    let strace = ["strace", "-f", "-e", "trace=sched_setaffinity,clone3", "-o"];
    let call = sb.under(&[&strace[..], &[&trace.display().to_string()]].concat());
    let out = call.args(["exec", "--process"]).arg(&file).arg(sb.id()).output();
    let calls = std::fs::read_to_string(&trace).expect("the trace");
    let at = |what: &str| calls.find(what).unwrap_or_else(|| panic!("no {what} in {calls}"));
    assert!(at("[0]") < at("clone3("), "{calls}");
    assert!(at("clone3(") < at("[1]"), "{calls}");
    // A machine with one cpu has no cpu 1.
    if safebox::host::Host::probe().is_ok_and(|h| *h.cpus.get() > 1) {
        out.ok().prints("Cpus_allowed_list:\t1\n");
    }
    sb.delete().ok();
}

#[case(OWN)]
fn exec_cpu_affinity_needs_a_cpu() {
    let sb = running("/annotations", json!({}));
    let wrong = exec_json(&sb, &[("/execCPUAffinity", json!({ "final": "8000" }))]);
    wrong.exits(255).says("sched_setaffinity").says("none of these cpus");
    exec_json(&sb, &[("/execCPUAffinity", json!({ "final": "9000" }))])
        .exits(255)
        .says("/execCPUAffinity/final");
    sb.delete().ok();
}

#[case(OWN)]
fn a_cache_class_needs_resctrl() {
    if safebox::cgroup::resctrl::mount_point().is_some() {
        return made_class();
    }
    let sb = Sandbox::new().patch("/linux/intelRdt", json!({ "l3CacheSchema": "L3:0=f" }));
    sb.create().exits(1).says("/linux/intelRdt: resctrl is not mounted");
    sb.leak_check();
}

/// On a machine with resctrl: monitoring needs no schema and does not affect other processes.
fn made_class() {
    let root = safebox::cgroup::resctrl::mount_point().expect("resctrl");
    let sb = running("/linux/intelRdt", json!({ "enableMonitoring": true }));
    let tasks =
        |dir: &str| std::fs::read_to_string(root.join(sb.id()).join(dir).join("tasks")).expect("tasks");
    assert!(tasks("").lines().any(|l| l == sb.pid().to_string()));
    sb.delete().ok();
    assert!(!root.join(sb.id()).exists());
}

#[case(OCI)]
fn cpuset_of_the_config() {
    let sb = Sandbox::new()
        .args(["grep", "_allowed_list", "/proc/self/status"])
        .patch("/linux/resources/cpu", json!({ "cpus": "0", "mems": "0" }));
    sb.run_oci().output().ok().prints("Cpus_allowed_list:\t0\n").prints("Mems_allowed_list:\t0\n");
}

/// As runc since 1.3: a daemon that is bound to certain cpus starts containers that are not.
#[case(OWN)]
fn cpus_of_the_caller_bind_no_container() {
    let cpus =
        |text: &str| text.lines().find_map(|l| l.strip_prefix("Cpus_allowed_list:\t").map(str::to_string));
    let own = std::fs::read_to_string("/proc/self/status").expect("status");
    let bound = ["taskset", "-c", "0"];
    let sb = Sandbox::new().args(["/bin/grep", "Cpus_allowed_list", "/proc/self/status"]);
    let run = sb.under(&bound).args(["run", "--quiet", "--policy=privileged", "--bundle"]).arg(sb.bundle());
    assert_eq!(cpus(&run.arg(sb.id()).output().ok().stdout), cpus(&own));
    let sb = Sandbox::new().args(["/bin/sleep", "1000"]);
    sb.create().ok();
    sb.verb("start").ok();
    let exec = sb.under(&bound).args(["exec", sb.id(), "grep", "Cpus_allowed_list", "/proc/self/status"]);
    assert_eq!(cpus(&exec.output().ok().stdout), cpus(&own));
    sb.delete().ok();
}
