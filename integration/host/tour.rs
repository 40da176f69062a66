//! `safebox tour`: every attack succeeds before its layer and fails after it; the host is unchanged, and
//! there are no leftovers, even if the tour is killed.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use crate::harness::carried::{patience, safebox};
use crate::harness::case;
use crate::harness::needs::NOBODYS;
use crate::harness::sandbox::poll;

const LAYERS: [&str; 13] = [
    "cgroup",
    "devices",
    "pid",
    "network",
    "user",
    "root",
    "read-only",
    "masks",
    "descriptors",
    "capabilities",
    "credentials",
    "no-new-privs",
    "seccomp",
];

fn tour(args: &[&str]) -> Command {
    let mut command = Command::new(safebox());
    command.arg("tour").args(args).stdin(Stdio::null());
    command
}

fn ran(mut command: Command) -> (Output, String) {
    let out = command.output().expect("run the tour");
    let text = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success(), "{}\n{text}", out.status);
    let dir =
        text.split("itself, in ").nth(1).and_then(|t| t.split(',').next()).expect("the tour's directory");
    assert!(!Path::new(dir).exists(), "{dir} is left");
    (out, text)
}

/// The parts of the host that a tour could change: names, sizes, owners and times of files, mounts, kernel
/// settings.
fn host() -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    for dir in ["/", "/dev", "/etc", "/root", "/usr/bin", "/var/tmp", "/run/safebox"] {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            let Ok(meta) = entry.metadata() else { continue };
            let times = if meta.is_dir() { (0, 0) } else { (meta.mtime(), meta.ctime()) };
            // Other processes change the times of terminals and logs.
            let times = if dir == "/dev" { (0, 0) } else { times };
            let text = format!(
                "{:o} {} {} {:?}",
                meta.mode(),
                meta.uid(),
                meta.size() * u64::from(!meta.is_dir()),
                times
            );
            found.insert(entry.path(), text);
        }
    }
    for file in ["/proc/self/mountinfo", "/proc/sys/kernel/hostname", "/proc/sys/kernel/core_pattern"] {
        found.insert(file.into(), std::fs::read_to_string(file).unwrap_or_default());
    }
    found
}

#[case(Root, Userns, Alone)]
fn every_layer_stops_its_attack() {
    let before = host();
    let (_, text) = ran(tour(&["--all"]));
    assert_eq!(before, host());
    let shown: Vec<_> = text.lines().filter_map(|l| l.strip_prefix("=== ")?.split(": ").nth(1)).collect();
    assert_eq!(shown, LAYERS);
    // A machine may lack a requirement of a layer, which is then skipped; root has all others.
    let skipped = text.lines().filter(|l| l.starts_with("SKIPPED: ")).count();
    assert!(skipped <= 1 && !text.contains("it needs root"), "{text}");
    assert_eq!(text.matches("=> it works").count(), LAYERS.len() - skipped, "{text}");
    assert_eq!(text.matches("=> it fails").count(), LAYERS.len() - skipped, "{text}");
    for stopped in [
        "out of memory: the kernel killed 1 process",
        "open(/dev/own-node, c 1:11): EPERM",
        "SIGKILL): ESRCH",
        "Connection refused",
        "root-only): Permission denied",
        "secret): No such file or directory",
        "Read-only file system",
        "mount(tmpfs on /tmp): EPERM",
        "execve(/setuid), then as uid 1000: open(/root-only): Permission denied",
        "unshare(CLONE_NEWUSER): EPERM",
    ] {
        assert!(text.contains(stopped), "{stopped}\n{text}");
    }
    for row in ["clone3(CLONE_NEWPID", "pivot_root(", "seccomp(SECCOMP_SET_MODE_FILTER", "uid_map"] {
        assert!(text.contains(row), "{row}\n{text}");
    }
}

#[case(Root, OrdinaryUserns)]
fn an_ordinary_user_sees_what_needs_no_root() {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o1777))
        .expect("chmod");
    let program = dir.path().join("safebox");
    crate::harness::carried::copy_program(&safebox(), &program);
    let mut command = Command::new(&program);
    command.args(["tour", "--all"]).stdin(Stdio::null()).env("TMPDIR", dir.path()).uid(NOBODYS).gid(NOBODYS);
    let (_, text) = ran(command);
    for layer in ["network", "root", "read-only", "descriptors", "capabilities", "seccomp"] {
        assert!(text.contains(&format!("  {layer:14} stopped")), "{layer}\n{text}");
    }
    for layer in ["cgroup", "devices", "pid", "user", "credentials", "no-new-privs"] {
        assert!(text.contains(&format!("  {layer:14} skipped  it needs root")), "{layer}\n{text}");
    }
}

#[case(Root, Userns)]
fn one_layer_alone() {
    let (_, text) = ran(tour(&["seccomp"]));
    assert_eq!(text.matches("=== ").count(), 1);
    assert!(text.contains("=> it works") && text.contains("=> it fails"), "{text}");
}

#[case(Root, Userns, Idmap)]
fn a_killed_tour_leaves_nothing() {
    let temp = tempfile::tempdir().expect("a directory");
    let mut child = tour(&["--all"]).env("TMPDIR", temp.path()).stdout(Stdio::null()).spawn().expect("spawn");
    let entries = || std::fs::read_dir(temp.path()).expect("read").count();
    // The process that removes the directory runs before the first file is written.
    let started = || {
        let mut dirs = std::fs::read_dir(temp.path()).expect("read");
        dirs.any(|dir| dir.is_ok_and(|dir| dir.path().join("secret").exists()))
    };
    poll("the tour's files", patience(Duration::from_secs(10)), started);
    child.kill().expect("kill");
    child.wait().expect("wait");
    // Also if the tour could not use this directory and chose another.
    poll("an empty directory", patience(Duration::from_secs(20)), || entries() == 0);
}

#[case]
fn an_unknown_layer_is_refused() {
    let out = tour(&["nope"]).output().expect("run");
    assert_eq!(out.status.code(), Some(1));
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(said.contains("tour nope: no such layer; one of cgroup, devices, pid"), "{said}");
}
