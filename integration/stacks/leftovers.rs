//! Leftovers of a step: processes, cgroups, mounts, states.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// The top-level directories of a cgroup hierarchy below which the stacks create theirs.
const PARENTS: &[&str] = &[
    "stacks",
    "stacks-parent",
    "stacks.slice",
    "docker",
    "libpod_parent",
    "buildah",
    "k8s.io",
    "kubepods",
    "machine.slice",
    "user.slice",
    "user.libpod_parent",
];

/// Name prefixes of the scopes that stacks create in slices shared with other units.
const SCOPES: &[&str] = &["docker-", "libpod-", "cri-containerd-", "stacks-", "crio-", "buildah-"];

/// The objects that exist at one time.
#[derive(Default)]
pub struct Scene {
    things: BTreeSet<String>,
}

impl Scene {
    /// Lists the descendants of this process, the cgroups of the stacks, the mounts, and the states in
    /// `states`.
    pub fn look(states: &[PathBuf]) -> Self {
        reap();
        let mut things = BTreeSet::new();
        things.extend(descendants().into_iter().map(|pid| format!("process {}", command(pid))));
        things.extend(cgroups().into_iter().map(|c| format!("cgroup {}", c.display())));
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let places = mounts.lines().filter_map(|l| l.split(' ').nth(4));
        things.extend(places.map(|p| format!("mount {p}")));
        things.retain(|t| !stays(t));
        for dir in states {
            things.extend(entries(dir).into_iter().map(|s| format!("state {}", s.display())));
        }
        Scene { things }
    }

    /// The objects that exist now and did not exist before.
    pub fn beyond(&self, before: &Scene) -> Vec<String> {
        self.things.difference(&before.things).cloned().collect()
    }
}

/// Objects that Podman itself keeps: the mount of its storage, the directory of network namespaces as a
/// mount, the cgroups of conmon and of pods, and a process that holds an unprivileged user's user namespace.
fn stays(thing: &str) -> bool {
    let pods = thing.split_once("/libpod_parent/").is_some_and(|(_, rest)| !rest.contains("libpod-"));
    let pause = thing.contains("/podman-") || thing.starts_with("process catatonit -P");
    thing.ends_with("/storage/overlay") || thing == "mount /run/netns" || pods || pause
}

/// Kills all descendants of this process.
pub fn kill_descendants() {
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        for _ in 0..50 {
            reap();
            let pids = descendants();
            if pids.is_empty() {
                return;
            }
            for pid in pids {
                // It may have ended already.
                kill(Pid::from_raw(pid), signal).unwrap_or_default();
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
    }
}

/// Removes the stacks' cgroups, innermost first; those in use stay.
pub fn remove_cgroups() {
    let mut all = cgroups();
    all.extend(tops());
    all.sort_by_key(|p| std::cmp::Reverse(p.components().count()));
    for dir in all {
        std::fs::remove_dir(dir).unwrap_or_default();
    }
}

fn reap() {
    while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
        if status == WaitStatus::StillAlive {
            break;
        }
    }
}

fn command(pid: i32) -> String {
    let raw = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&raw).replace(['\0', '\n'], " ").chars().take(100).collect()
}

/// Zombies do not count: their parent has not reaped them yet.
fn descendants() -> Vec<i32> {
    let mut parents = Vec::new();
    for entry in entries(Path::new("/proc")) {
        let Some(pid) = entry.file_name().and_then(|n| n.to_str()?.parse::<i32>().ok()) else { continue };
        let stat = std::fs::read_to_string(entry.join("stat")).unwrap_or_default();
        // The name is in parentheses and may contain any bytes.
        let mut rest = stat.rsplit_once(") ").map(|(_, r)| r.split(' ')).into_iter().flatten();
        if let (Some(state), Some(Ok(parent))) = (rest.next(), rest.next().map(str::parse::<i32>)) {
            parents.push((pid, parent, state == "Z"));
        }
    }
    let mut family = vec![std::process::id() as i32];
    let mut at = 0;
    while at < family.len() {
        let of = family[at];
        family.extend(parents.iter().filter(|(_, parent, _)| *parent == of).map(|(pid, ..)| *pid));
        at += 1;
    }
    let zombie = |pid: &i32| parents.iter().any(|(p, _, zombie)| p == pid && *zombie);
    family.into_iter().skip(1).filter(|pid| !zombie(pid)).collect()
}

fn tops() -> Vec<PathBuf> {
    let root = Path::new("/sys/fs/cgroup");
    let mut tops = Vec::new();
    for hierarchy in entries(root).into_iter().chain([root.to_path_buf()]).filter(|p| !p.is_symlink()) {
        tops.extend(PARENTS.iter().map(|p| hierarchy.join(p)).filter(|p| p.is_dir()));
        let system = entries(&hierarchy.join("system.slice"));
        let ours = |p: &PathBuf| {
            let name = p.file_name().and_then(|n| n.to_str()).unwrap_or_default();
            name.ends_with(".scope") && SCOPES.iter().any(|s| name.starts_with(s))
        };
        tops.extend(system.into_iter().filter(ours));
    }
    tops
}

fn cgroups() -> Vec<PathBuf> {
    let mut todo = tops();
    let scope = |p: &PathBuf| p.extension().is_some_and(|e| e == "scope");
    let mut found: Vec<PathBuf> = todo.iter().filter(|p| scope(p)).cloned().collect();
    while let Some(dir) = todo.pop() {
        let inner: Vec<PathBuf> = entries(&dir).into_iter().filter(|p| p.is_dir()).collect();
        found.extend(inner.iter().cloned());
        todo.extend(inner);
    }
    found
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(dir).map(|d| d.flatten().map(|e| e.path()).collect()).unwrap_or_default()
}
