//! The example bundles end as their `expect` files say, and leave nothing behind.
//!
//! An `expect` file has one line per fact: `exit N`, `stdout TEXT`, `stderr TEXT` (the stream holds TEXT).

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use libtest_mimic::Trial;

use crate::harness::carried::{carried, examples, lesson};
use crate::harness::{Need, Output, Sandbox, test};

const NEEDS: &[Need] = &[Need::Root, Need::Userns];

pub fn tests() -> Vec<Trial> {
    vec![
        test("examples::every_bundle_has_a_test", &[], all_are_listed),
        test("examples::hello_says_hello", NEEDS, || example("hello")),
        test("examples::memory_hog_is_killed_and_reported", NEEDS, || example("memory-hog")),
        test("examples::fork_bomb_is_stopped_and_reported", NEEDS, || example("fork-bomb")),
        test("examples::root_cannot_be_written", NEEDS, || example("write-root")),
        test("examples::mounting_is_refused", NEEDS, || example("mount")),
        test("examples::tracing_is_refused", &[Need::Root, Need::Userns, Need::Strace], || example("ptrace")),
        test("examples::raw_sockets_are_refused", NEEDS, || example("raw-socket")),
        test("examples::setuid_makes_nobody_root", NEEDS, || example("become-root")),
        test("examples::core_pattern_cannot_be_written", NEEDS, || example("escape-proc")),
        test("examples::lessons_run_to_their_end", &[Need::Root, Need::Userns, Need::Lessons], lessons),
        test("examples::without_hardening_the_attacks_succeed", &[Need::Root], attacks_are_real),
    ]
}

const ALL: [&str; 9] = [
    "become-root",
    "escape-proc",
    "fork-bomb",
    "hello",
    "memory-hog",
    "mount",
    "ptrace",
    "raw-socket",
    "write-root",
];

fn bundles() -> PathBuf {
    examples().join("bundles")
}

fn all_are_listed() {
    let mut found: Vec<_> = std::fs::read_dir(bundles())
        .expect("examples/bundles")
        .flatten()
        .filter(|e| e.path().is_dir())
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .collect();
    found.sort();
    assert_eq!(found, ALL);
}

/// The lessons and their arguments; DIR is the bundle `hello`.
const LESSONS: [(&str, &[&str]); 6] = [
    ("01_namespaces", &[]),
    ("02_plan", &["DIR"]),
    ("03_policy", &["root", "proc"]),
    ("04_seccomp", &["SYS_PTRACE"]),
    ("05_openat2", &[]),
    ("06_baton", &[]),
];

fn lessons() {
    let (sb, dir) = make("hello");
    for (name, args) in LESSONS {
        let args = args.iter().map(|a| if *a == "DIR" { dir.as_os_str() } else { OsStr::new(a) });
        let out = Command::new(lesson(name)).args(args).output().unwrap_or_else(|e| panic!("{name}: {e}"));
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(
            out.status.success() && out.stdout.len() > 200,
            "{name}: {}
{said}",
            out.status
        );
    }
    sb.leak_check();
    if carried("examples").is_none() {
        let sources = std::fs::read_dir(examples()).expect("examples").flatten();
        assert_eq!(sources.filter(|e| e.path().extension() == Some("rs".as_ref())).count(), LESSONS.len());
    }
}

/// The bundle `name`, made in a sandbox of its own.
fn make(name: &str) -> (Sandbox, PathBuf) {
    let sb = Sandbox::new();
    let dir = sb.dir().join("example");
    let made = Command::new(bundles().join(name).join("make")).arg(&dir).output().expect("run make");
    assert!(made.status.success(), "make: {}", String::from_utf8_lossy(&made.stderr));
    (sb, dir)
}

fn run(sb: &Sandbox, dir: &Path, options: &[&str]) -> Output {
    // The directory for temporary files is often mounted nosuid: that must not be what stops an attack.
    let script = "mount --bind \"$0\" \"$0\" && mount -o remount,bind,suid,dev \"$0\" && exec \"$@\"";
    let wrap = ["unshare", "-m", "sh", "-c", script, dir.to_str().expect("UTF-8")];
    sb.under(&wrap).args(["run", "--quiet"]).args(options).arg("--bundle").arg(dir).arg(sb.id()).output()
}

fn example(name: &str) {
    let (sb, dir) = make(name);
    let out = run(&sb, &dir, &[]);
    let expect = std::fs::read_to_string(bundles().join(name).join("expect")).expect("expect");
    assert!(expect.starts_with("exit "), "{name}/expect names no exit code");
    check(out, &expect);
    sb.leak_check();
}

fn check(mut out: Output, expect: &str) {
    for line in expect.lines() {
        out = match line.split_once(' ') {
            Some(("exit", code)) => out.exits(code.parse().expect("a number")),
            Some(("stdout", text)) => out.prints(text),
            Some(("stderr", text)) => out.says(text),
            _ => panic!("expect: {line:?}"),
        };
    }
}

/// The same attacks on the config as written: what the policy stops is not stopped by anything else.
fn attacks_are_real() {
    let (sb, dir) = make("write-root");
    run(&sb, &dir, &["--policy", "privileged"]).ok();
    let (sb, dir) = make("become-root");
    run(&sb, &dir, &["--policy", "privileged", "--user", "65532"]).ok().prints("uid=0 gid=0");
    let (sb, dir) = make("raw-socket");
    // It ends with arping's complaint that `lo` has no ARP: the socket was made.
    run(&sb, &dir, &["--policy", "privileged"]).exits(2).prints("1 packets received").says("not ARPable");
}
