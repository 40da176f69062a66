//! Every kind of memory that a program can hold counts towards `--memory`.

use super::build_probe;
use crate::harness::{Need, Sandbox, case};
use crate::oci::limits::limit;

const PROBE: &[Need] = &[Need::Root, Need::Probe];
const V1: &[Need] = &[Need::Root, Need::CgroupV1];

/// On v1 socket buffers have a separate limit of the same size.
const LIMIT: &str = "32m";
const MOST: u64 = 40;

#[case(PROBE)]
fn memory_that_a_program_touches_is_limited() {
    hold(&["anonymous", "memfd"]);
}

#[case(PROBE)]
fn memory_in_pipes_and_unix_sockets_is_limited() {
    hold(&["pipe", "unix"]);
}

#[case(PROBE)]
fn memory_in_tcp_sockets_is_limited() {
    hold(&["tcp"]);
}

#[case(PROBE)]
fn memory_in_udp_sockets_is_limited() {
    hold(&["udp"]);
}

/// The program is killed at the limit, or gets no more than it.
fn hold(kinds: &[&str]) {
    for kind in kinds {
        let sb = Sandbox::new().args(["/bin/probe", "hold", kind]);
        build_probe(&sb);
        let call = sb.run().args(["--memory", LIMIT]).limit(std::time::Duration::from_secs(60));
        let out = call.output();
        let held = out.stdout.trim_end().strip_prefix("held ").and_then(|n| n.parse::<u64>().ok());
        assert!(out.code == 137 || held.is_some_and(|held| held <= MOST), "{kind}\n{out}");
    }
}

/// `update` changes both; with the OCI verbs the separate limit exists only if the config sets it, as with
/// runc.
#[case(V1)]
fn the_limit_of_sockets_follows_the_memory_limit() {
    let sockets = |sb: &Sandbox| limit(sb.pid(), "", ("memory", "memory.kmem.tcp.limit_in_bytes"));
    let sb = Sandbox::up();
    let running = sb.run_until(sb.run().args(["--memory", "64m"]), "up");
    assert_eq!(sockets(&sb), (64 << 20).to_string());
    sb.runtime().args(["update", "--memory", "96m", "--memory-swap", "96m", sb.id()]).output().ok();
    assert_eq!(sockets(&sb), (96 << 20).to_string());
    sb.delete().ok();
    running.wait();
    let sb = Sandbox::new().args(["/bin/sleep", "1000"]);
    let sb = sb.patch("/linux/resources/memory", serde_json::json!({ "limit": 64 << 20 }));
    sb.create().ok();
    assert!(sockets(&sb).parse::<i64>().is_ok_and(|n| n > 1 << 40), "{}", sockets(&sb));
    sb.delete().ok();
}
