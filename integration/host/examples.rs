//! The example bundles end as their `expect` files state, without leftovers.
//!
//! An `expect` file has one fact per line: `exit N`, `stdout TEXT`, `stderr TEXT` (the stream contains TEXT).

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::carried::examples;
use crate::harness::{Need, Output, Sandbox, case};

const NEEDS: &[Need] = &[Need::Root, Need::Userns];

#[case(NEEDS)]
fn hello_says_hello() {
    example("hello");
}

#[case(NEEDS)]
fn memory_hog_is_killed_and_reported() {
    example("memory-hog");
}

#[case(NEEDS)]
fn fork_bomb_is_stopped_and_reported() {
    example("fork-bomb");
}

#[case(NEEDS)]
fn root_cannot_be_written() {
    example("write-root");
}

#[case(NEEDS)]
fn mounting_is_refused() {
    example("mount");
}

#[case(Root, Userns, Strace)]
fn tracing_is_refused() {
    example("ptrace");
}

#[case(NEEDS)]
fn raw_sockets_are_refused() {
    example("raw-socket");
}

#[case(NEEDS)]
fn setuid_makes_no_user_root() {
    example("become-root");
}

#[case(NEEDS)]
fn core_pattern_cannot_be_written() {
    example("escape-proc");
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

#[case]
fn every_bundle_has_a_test() {
    let mut found: Vec<_> = std::fs::read_dir(bundles())
        .expect("examples/bundles")
        .flatten()
        .filter(|e| e.path().is_dir())
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .collect();
    found.sort();
    assert_eq!(found, ALL);
}

/// Creates the bundle `name` in a separate sandbox.
pub fn make(name: &str) -> (Sandbox, PathBuf) {
    let sb = Sandbox::new();
    let dir = sb.dir().join("example");
    let made = Command::new(bundles().join(name).join("make")).arg(&dir).output().expect("run make");
    assert!(made.status.success(), "make: {}", String::from_utf8_lossy(&made.stderr));
    (sb, dir)
}

fn run(sb: &Sandbox, dir: &Path, options: &[&str]) -> Output {
    // Temporary files are often on a nosuid mount, which must not be what stops an attack.
    let script = "mount --bind \"$0\" \"$0\" && mount -o remount,bind,suid,dev \"$0\" && exec \"$@\"";
    let wrap = ["unshare", "-m", "sh", "-c", script, dir.to_str().expect("UTF-8")];
    sb.under(&wrap).args(["run", "--quiet"]).args(options).arg("--bundle").arg(dir).arg(sb.id()).output()
}

fn example(name: &str) {
    let (sb, dir) = make(name);
    let out = run(&sb, &dir, &[]);
    let expect = expect(name, "expect");
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

/// The same attacks succeed on the unhardened config, so it is the policy that stops them.
#[case(Root, Strace)]
fn without_hardening_the_attacks_succeed() {
    for name in ALL {
        let (sb, dir) = make(name);
        // An unprivileged user has privileges to gain.
        let user: &[&str] = if name == "become-root" { &["--user", "65532"] } else { &[] };
        let out = run(&sb, &dir, &[&["--policy", "privileged"], user].concat());
        check(out, &expect(name, "expect-privileged"));
        sb.leak_check();
    }
}

fn expect(name: &str, file: &str) -> String {
    std::fs::read_to_string(bundles().join(name).join(file)).unwrap_or_else(|e| panic!("{name}/{file}: {e}"))
}

/// The table of README.md agrees with the `expect` files.
#[case]
fn the_table_is_what_the_files_say() {
    let readme = std::fs::read_to_string(bundles().join("README.md")).expect("README.md");
    for name in ALL {
        let row = readme.lines().find(|l| l.starts_with(&format!("| [{name}]("))).expect(name);
        for file in ["expect", "expect-privileged"] {
            let cells: Vec<_> = expect(name, file)
                .lines()
                .map(|line| match line.split_once(' ') {
                    Some(("exit", code)) => format!("exit {code}"),
                    Some((_, text)) => format!("`{text}`"),
                    None => panic!("{name}/{file}: {line:?}"),
                })
                .collect();
            assert!(row.contains(&format!("| {} |", cells.join(", "))), "{name}: {row}");
        }
    }
}
