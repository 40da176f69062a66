//! What is written of a container: `state.json`, and the names of the other files in its directory.

pub mod id_ranges;
pub mod outside;
pub mod trust;
pub mod undo;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::config::{Hooks, MemoryPolicy, Process, Resources};
use crate::error::{Result, StateError};
use crate::state::undo::Undo;
pub use trust::{check_root, is_mine, make_root};

/// `state.json`: all that later verbs need, since their callers repeat nothing (CONTRACT, point 5).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// `ociVersion` of the config.
    pub oci_version: String,
    /// Container id.
    pub id: String,
    /// Absolute path of the bundle.
    pub bundle: PathBuf,
    /// Absolute path of the rootfs, as shown by `state`; later verbs never open it.
    pub rootfs: PathBuf,
    /// When it was created, RFC 3339 with nanoseconds.
    pub created: String,
    /// The config's annotations.
    pub annotations: BTreeMap<String, String>,
    /// Name of the user who created it.
    pub owner: String,
    /// What takes the container back: the undos of the plan's rows, in their order. The plan fills it in.
    pub undo: Vec<Undo>,
    /// cgroups among [`State::cgroups`] that existed before the container.
    #[serde(default)]
    pub preexisting: Vec<PathBuf>,
    /// The container's cgroups: (controllers, path); no controllers for a v2 group. On disk are those that it
    /// was to have; [`Container::load`] keeps those that it has made and that are still the same directories.
    pub cgroups: Vec<(Vec<String>, PathBuf)>,
    /// The scope, where systemd made the cgroups.
    #[serde(default)]
    pub scope: Option<crate::cgroup::systemd::Scope>,
    /// Whether the host is pure cgroup v2.
    pub cgroup_v2: bool,
    /// The limits as they were last set: what `update` changes.
    pub resources: Resources,
    /// `linux.personality`, which a process of `exec` gets too.
    pub personality: Option<u64>,
    /// `linux.memoryPolicy`, which a process of `exec` gets too.
    pub memory_policy: Option<MemoryPolicy>,
    /// The resctrl directories whose `tasks` every process of the container is in.
    pub resctrl: Vec<PathBuf>,
    /// The process as it was configured, after hardening: what `exec` starts from.
    pub process: Process,
    /// Namespaces that `exec` joins, as `CLONE_NEW*` flags.
    pub namespaces: u64,
    /// Whether its pid namespace is its own: all its processes end with the first.
    #[serde(default)]
    pub own_pid_namespace: bool,
    /// Whether a process inside could own files of the host's root: the runtime then seals its binary.
    pub shares_host_root: bool,
    /// Any policy but `privileged`: `exec` keeps the caller's descriptors outside, too.
    #[serde(default)]
    pub hardened: bool,
    /// There is a devpts at /dev/pts, so that `exec` can make a terminal.
    #[serde(default)]
    pub has_devpts: bool,
    /// The seccomp filters of the process: what `exec` loads again.
    pub seccomp: Vec<SeccompChoice>,
    /// The config's hooks.
    pub hooks: Hooks,
    /// `run` in the foreground: (pid, start time) of the launcher, without which the container is a leftover.
    pub launcher: Option<(i32, u64)>,
    /// The posture that was asked for, which `verify` compares with what runs: a `policy::Posture`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<serde_json::Value>,
    /// A minimal init is its first process, and the program is that one's first child.
    #[serde(default)]
    pub init: bool,
    /// How the program is asked to end.
    #[serde(default)]
    pub stop: Stop,
    /// What `checkpoint` must leave to the host.
    #[serde(default)]
    pub outside: crate::state::outside::Outside,
}

/// How a program is asked to end, and how long it has then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    /// The signal.
    pub signal: i32,
    /// Milliseconds until it is killed.
    pub millis: u64,
}

impl Default for Stop {
    fn default() -> Self {
        Stop { signal: libc::SIGTERM, millis: 2000 }
    }
}

impl State {
    /// The State of runtime.md without status and pid, as hooks get it; from runc without annotations where there
    /// are none.
    pub fn for_hooks(&self) -> serde_json::Value {
        let mut state = serde_json::json!({
            "ociVersion": self.oci_version,
            "id": self.id,
            "bundle": self.bundle,
        });
        if !self.annotations.is_empty() {
            state["annotations"] = serde_json::json!(self.annotations);
        }
        state
    }
}

/// Which filter a process gets.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SeccompChoice {
    /// The built-in profile, opened for these capabilities.
    BuiltIn {
        /// Bounding set.
        caps: u64,
        /// System calls that run whatever the table says (`--seccomp-allow`).
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        allow: Vec<String>,
    },
    /// The config's own.
    Profile(Box<crate::config::LinuxSeccomp>),
    /// A guard beside the built-in profile.
    Guard(crate::config::Guard),
}

impl SeccompChoice {
    /// The config's profile, if this is one.
    pub fn profile(&self) -> Option<&crate::config::LinuxSeccomp> {
        match self {
            SeccompChoice::BuiltIn { .. } | SeccompChoice::Guard(_) => None,
            SeccompChoice::Profile(profile) => Some(profile),
        }
    }
}

/// Names of the files in a container's directory.
pub mod files {
    /// How the container ended; only where the container was kept.
    pub const ENDED: &str = "ended.json";
    /// [`crate::State`].
    pub const STATE: &str = "state.json";
    /// `PID START`: the container process and its start time in clock ticks since boot.
    pub const PID: &str = "pid";
    /// The FIFO that `start` writes to; it has this name once the container is created.
    pub const START: &str = "start.fifo";
    /// The same FIFO while the container is being created.
    pub const START_NEW: &str = "start.new";
    /// The FIFO on which Init reports a row that failed after `start`.
    pub const REPORT: &str = "report.fifo";
    /// The socket at which Init lets its owner in while it waits, where nothing else does.
    pub const DOOR: &str = "door";
    /// The container's cgroups so far: `DEVICE INODE` of each directory, one per line; [`JOINED`] follows
    /// where it was there before.
    pub const CGROUPS: &str = "cgroups";
    /// What [`STATE`] and [`PID`] are written as before they have their names.
    pub const TEMP: &str = ".state.tmp";
    /// Directory of the socket on which the container says that it is ready.
    pub const NOTIFY_DIR: &str = "notify";
    /// Name of the socket in it.
    pub const NOTIFY_SOCKET: &str = "notify.sock";
    /// All of these that are in a container's directory.
    pub const ALL: &[&str] = &[STATE, PID, START, START_NEW, REPORT, DOOR, CGROUPS, TEMP, NOTIFY_DIR];
    /// Ends the line of a cgroup that the container joined and must not remove.
    pub const JOINED: &str = " joined";
}

/// Stands between the id and the pid in the name of a directory that is being made; no id holds it.
pub const NOT_IN_IDS: char = '~';

/// Ends the name of a symlink beside the directory of a container that a foreground `run` made; its text is
/// `PID START` of the launcher.
pub const LAUNCHER: &str = "~launcher";

/// That symlink of the container whose directory is `dir`.
pub fn launcher_mark(dir: &Path) -> PathBuf {
    let mut path = dir.as_os_str().to_owned();
    path.push(LAUNCHER);
    path.into()
}

/// Checks an id: `[A-Za-z0-9_+.-]`, not `.` or `..`, at most 1024 bytes.
pub fn check_id(id: &str) -> Result<()> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_+.-".contains(&b);
    if id.is_empty() || id.len() > 1024 || id == "." || id == ".." || !id.bytes().all(allowed) {
        return Err(StateError::BadId.into());
    }
    Ok(())
}

/// The directories that a create has written down, each with whether it has made it.
pub fn recorded_groups(dir: &Path) -> Vec<((u64, u64), bool)> {
    let text = crate::sys::read::text(dir.join(files::CGROUPS)).unwrap_or_default();
    let group = |line: &str| {
        let (pair, made) = line.strip_suffix(files::JOINED).map_or((line, true), |pair| (pair, false));
        let (dev, ino) = pair.split_once(' ')?;
        Some(((dev.parse().ok()?, ino.parse().ok()?), made))
    };
    text.lines().filter_map(group).collect()
}

/// What tells a directory from another of the same name.
pub fn directory_id(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    path.symlink_metadata().ok().map(|m| (m.dev(), m.ino()))
}

/// `PID START`, as [`files::PID`] and a [`launcher_mark`] hold it.
pub fn parse_pid(text: &str) -> Option<(i32, u64)> {
    let (pid, start) = text.trim_end().split_once(' ')?;
    Some((pid.parse().ok()?, start.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_could_leave_the_directory_are_refused() {
        for bad in ["", ".", "..", "a/b", "/a", "a b", "ä", "a\n", &"x".repeat(1025)] {
            assert!(check_id(bad).is_err(), "{bad:?}");
        }
        for good in ["a", "A_1+2.3-4", "..a", &"x".repeat(1024)] {
            assert!(check_id(good).is_ok(), "{good:?}");
        }
    }
}
