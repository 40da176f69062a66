//! Checkpoints before the checkpoint.

use std::path::PathBuf;
use std::process::Stdio;

use super::{COUNT, call, checkpoint, counting, images, last, line, piped, restore_args, started};
use crate::harness::{Sandbox, case};

#[case(super::MEM_TRACK)]
fn pre_dump_and_its_child() {
    let sb = Sandbox::new().sh(COUNT);
    let out = started(&sb, Stdio::null());
    let dir = sb.dir().to_path_buf();
    call(&sb, &["checkpoint", "--pre-dump", "--image-path"])
        .arg(dir.join("first"))
        .arg(sb.id())
        .output()
        .ok();
    assert_eq!(sb.status(), "running");
    assert!(!dir.join("first/descriptors.json").exists(), "memory only");
    checkpoint(&sb, &["--parent-path", "../first"]).ok();
    let stopped_at = last(out);
    assert_eq!(std::fs::read_link(images(&sb).join("parent")).expect("a link"), PathBuf::from("../first"));
    let after = piped(&sb, &restore_args(&sb, &[]), Stdio::null());
    assert_eq!(line(&after).parse(), Ok(stopped_at + 1));
    sb.delete().ok();
}

#[case(super::NO_MEM_TRACK)]
fn pre_dump_needs_memory_tracking() {
    let sb = counting();
    let _out = started(&sb, Stdio::null());
    checkpoint(&sb, &["--pre-dump"]).exits(1).says("is missing features");
    assert_eq!(sb.status(), "running");
    sb.delete().ok();
}
