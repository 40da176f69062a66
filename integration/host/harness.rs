//! Tests of the harness: it detects what it claims to detect.

use std::time::Duration;

use serde_json::json;

use crate::harness::{Sandbox, bundle, case};

#[case(Root, Oci)]
fn a_container_runs_and_leaves_nothing() {
    let sb = Sandbox::new().sh("echo out; echo err >&2; exit 7").patch("/process/env/-", json!("A=b"));
    sb.run_oci().output().exits(7).prints("out\n").says("err\n");
    sb.leak_check();
}

#[case(Root, Oci)]
fn a_created_container_is_found_as_left() {
    let sb = Sandbox::new().args(["/bin/sleep", "1000"]);
    sb.create().ok();
    assert_eq!(sb.status(), "created");
    let found = sb.trace().find().join("\n");
    for kind in ["process", "cgroup", "state"] {
        assert!(found.contains(kind), "no {kind} found:\n{found}");
    }
    assert!(sb.trace().processes().iter().any(|(pid, _)| *pid == sb.pid()), "{found}");
    sb.delete().ok();
    sb.leak_check();
}

#[case(Root, Oci)]
fn a_command_that_hangs_is_killed() {
    let sb = Sandbox::new().args(["/bin/sleep", "1000"]);
    // A runc that is killed in the middle of create leaves its cgroup.
    let limit = Duration::from_millis(if bundle::is_foreign() { 3000 } else { 500 });
    let out = sb.run_oci().limit(limit).output();
    assert!(out.timed_out && out.code == 137, "{out}");
    sb.delete().ok();
    sb.leak_check_within(Duration::from_secs(5));
}

#[case(Root, Oci)]
fn a_leak_fails_the_test() {
    let outcome = std::panic::catch_unwind(|| {
        let sb = Sandbox::new().args(["/bin/sleep", "1000"]);
        sb.create().ok();
    });
    let text = outcome.expect_err("dropping a sandbox with a container must fail");
    let text = text.downcast_ref::<String>().expect("a message");
    assert!(text.contains("left behind") && text.contains("process"), "{text}");
}

/// With the trap, every launch of this suite proves that Init does not allocate: it would be aborted. (A unit
/// test of `sys::trap` tests the trap itself.)
#[case(Debug)]
fn the_binary_under_test_has_the_allocator_trap() {
    let binary = std::fs::read(crate::harness::bundle::safebox()).expect("the binary");
    let words = b"safebox: bug: Init allocated memory after clone";
    assert!(binary.windows(words.len()).any(|w| w == words), "this binary has no allocator trap");
}
