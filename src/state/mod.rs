//! The record of a container: `state.json`, and the names of the other files in its directory.

pub mod id_ranges;
pub mod layers;
pub mod outside;
pub mod tree;
pub mod trust;
pub mod undo;

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::config::{Hooks, MemoryPolicy, Process, Resources};
use crate::error::{Error, Result, StateError};
use crate::state::undo::Undo;
pub use trust::{check_root, is_mine, make_root};

/// `state.json`: everything that later verbs need, because their callers do not repeat it (CONTRACT, point
/// 5). What `list` shows comes first: it reads no further.
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
    /// Creation time, RFC 3339 with nanoseconds.
    pub created: String,
    /// The config's annotations.
    pub annotations: BTreeMap<String, String>,
    /// The config's `linux.cgroupsPath`, by which exceptions of the policy file know the container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroups_path: Option<String>,
    /// Name of the user who created it.
    pub owner: String,
    /// The container's cgroups: (controllers, path); the list of controllers is empty for a v2 cgroup. On
    /// disk these are the planned cgroups; [`load`](crate::lifecycle::container::Container::load) keeps those that
    /// were created and are still the same directories.
    pub cgroups: Vec<(Vec<String>, PathBuf)>,
    /// The undos of the plan's rows, in their order, which remove the container. The plan fills them in.
    pub undo: Vec<Undo>,
    /// The pre-existing ones of [`State::cgroups`].
    #[serde(default)]
    pub preexisting: Vec<PathBuf>,
    /// The systemd scope, if systemd created the cgroups.
    #[serde(default)]
    pub scope: Option<crate::cgroup::systemd::SystemdScope>,
    /// Whether the host is pure cgroup v2.
    pub cgroup_v2: bool,
    /// The current limits, which `update` changes.
    pub resources: Resources,
    /// `linux.personality`, also for processes of `exec`.
    pub personality: Option<u64>,
    /// `linux.memoryPolicy`, also for processes of `exec`.
    pub memory_policy: Option<MemoryPolicy>,
    /// The resctrl directories whose `tasks` contain every process of the container.
    pub resctrl: Vec<PathBuf>,
    /// The process as configured, after hardening; the base for `exec`.
    pub process: Process,
    /// Namespaces that `exec` joins, as `CLONE_NEW*` flags.
    pub namespaces: u64,
    /// Whether the container has its own pid namespace: all its processes end with the first.
    #[serde(default)]
    pub own_pid_namespace: bool,
    /// Whether a process inside could own files of the host's root. The runtime then seals its binary.
    pub shares_host_root: bool,
    /// Whether any policy but `privileged` applies: `exec` then closes the caller's other descriptors too.
    #[serde(default)]
    pub hardened: bool,
    /// Whether a devpts is mounted at /dev/pts, which `exec` needs for a terminal.
    #[serde(default)]
    pub has_devpts: bool,
    /// The seccomp filters of the process, which `exec` loads again.
    pub seccomp: Stored<Vec<SeccompChoice>>,
    /// What guards the files of the machine, or its processes, where namespaces are missing: `exec` puts it in force again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub landlock: Option<LandlockRules>,
    /// The config's hooks.
    pub hooks: Hooks,
    /// For `run` in the foreground: (pid, start time) of the launcher. Without that process the container is
    /// garbage.
    pub launcher: Option<(i32, u64)>,
    /// `run --detach`: (pid, start time) of the process that stays with it.
    #[serde(default)]
    pub monitor: Option<(i32, u64)>,
    /// `run --detach`: what runs it again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Command>,
    /// The requested posture (a `policy::Posture`), which `verify` compares with the running container. Other verbs skip it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<Box<serde_json::value::RawValue>>,
    /// Whether the first process is the minimal init, and the program its first child.
    #[serde(default)]
    pub init: bool,
    /// How to stop the program.
    #[serde(default)]
    pub stop: Stop,
    /// Data for `checkpoint` about resources outside the container.
    #[serde(default)]
    pub outside: crate::state::outside::Outside,
}

/// What landlock(7) leaves of the rights to files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LandlockRules {
    /// The kernel's ABI.
    pub abi: i32,
    /// `LANDLOCK_SCOPE_*`.
    pub scoped: u64,
    /// Paths as the program sees them, and the rights that remain for them and below.
    pub paths: Vec<(PathBuf, u64)>,
}

/// How to stop a program: the signal, and the time before SIGKILL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    /// The signal.
    pub signal: i32,
    /// Milliseconds between the signal and SIGKILL.
    pub millis: u64,
}

/// A command line that runs a container again, in the foreground.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// The working directory.
    pub dir: PathBuf,
    /// What comes after `safebox --root DIR`.
    pub words: Vec<String>,
}

impl Default for Stop {
    fn default() -> Self {
        Stop { signal: libc::SIGTERM, millis: 2000 }
    }
}

impl State {
    /// The State of runtime.md without status and pid, as input for hooks. Empty annotations are left out, as
    /// by runc.
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

/// A large part of the state, which most verbs do not use: it stays JSON until it is asked for.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Stored<T> {
    text: Box<serde_json::value::RawValue>,
    #[serde(skip)]
    of: PhantomData<T>,
}

impl<T: Serialize + DeserializeOwned> Stored<T> {
    /// Of a value.
    pub fn new(value: &T) -> Result<Self> {
        let text = serde_json::value::to_raw_value(value);
        Ok(Stored { text: text.map_err(|e| Error::msg(format!("state: {e}")))?, of: PhantomData })
    }

    /// The value.
    pub fn get(&self) -> Result<T> {
        serde_json::from_str(self.text.get()).map_err(|e| Error::msg(format!("state: {e}")))
    }
}

/// The seccomp filter of a process.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SeccompChoice {
    /// The built-in profile, extended by the system calls that these capabilities need.
    BuiltIn {
        /// Bounding set.
        caps: u64,
        /// System calls that are allowed in any case (`--seccomp-allow`).
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        allow: Vec<String>,
    },
    /// The config's own profile.
    Profile(Arc<crate::config::LinuxSeccomp>),
    /// A guard filter next to the built-in profile.
    Guard(crate::config::SeccompGuard),
}

impl SeccompChoice {
    /// The config's profile, if it is one.
    pub fn profile(&self) -> Option<&crate::config::LinuxSeccomp> {
        match self {
            SeccompChoice::BuiltIn { .. } | SeccompChoice::Guard(_) => None,
            SeccompChoice::Profile(profile) => Some(profile),
        }
    }
}

/// Names of the files in a container's directory.
pub mod files {
    /// Exit status of a kept container.
    pub const ENDED: &str = "ended.json";
    /// [`State`](super::State).
    pub const STATE: &str = "state.json";
    /// `PID START`: the container's init and its start time in clock ticks since boot.
    pub const PID: &str = "pid";
    /// The FIFO that `start` writes to. It has this name once the container is created.
    pub const START: &str = "start.fifo";
    /// The name of the same FIFO while the container is being created.
    pub const START_NEW: &str = "start.new";
    /// The FIFO through which Init reports a row that failed after `start`.
    pub const REPORT: &str = "report.fifo";
    /// The socket of the namespace-fd server: Init serves its owner through it while it waits for the start,
    /// if the caller cannot join the namespaces in another way.
    pub const NAMESPACE_SERVER: &str = "namespace-server";
    /// The cgroups that exist so far: `DEVICE INODE` of each directory, one per line; [`JOINED`] follows for
    /// a pre-existing one.
    pub const CGROUPS: &str = "cgroups";
    /// Temporary name under which [`STATE`] and [`PID`] are written before they are renamed.
    pub const TEMP: &str = ".state.tmp";
    /// What the container printed, where a monitor keeps it; older files have a number after it.
    pub const LOG: &str = "log.json";
    /// What its health checks found.
    pub const HEALTH: &str = "health.json";
    /// Directory of the socket for the container's readiness notification.
    pub const NOTIFY_DIR: &str = "notify";
    /// Name of the socket in it.
    pub const NOTIFY_SOCKET: &str = "notify.sock";
    /// All these files of a container's directory.
    pub const ALL: &[&str] = &[
        STATE,
        PID,
        START,
        START_NEW,
        REPORT,
        NAMESPACE_SERVER,
        CGROUPS,
        TEMP,
        NOTIFY_DIR,
        PASTA,
        CNI,
        NAMESPACE,
    ];
    /// Where pasta(1) writes its number.
    pub const PASTA: &str = "pasta.pid";
    /// What the plugins of a network have done (`network::cni::Attachment`).
    pub const CNI: &str = "cni.json";
    /// The container's network namespace, kept for those plugins.
    pub const NAMESPACE: &str = "netns";
    /// Suffix of the line of a pre-existing cgroup, which must not be removed.
    pub const JOINED: &str = " joined";
}

/// Separates the id and the pid in the name of a directory under construction; ids cannot contain it.
pub const NOT_IN_IDS: char = '~';

/// Suffix of the symlink next to the directory of a container that a foreground `run` made. The symlink's
/// target is the text `PID START` of the launcher.
pub const LAUNCHER: &str = "~launcher";

/// The path of that symlink for the container directory `dir`.
pub fn launcher_mark(dir: &Path) -> PathBuf {
    let mut path = dir.as_os_str().to_owned();
    path.push(LAUNCHER);
    path.into()
}

/// Validates an id: `[A-Za-z0-9_+.-]`, not `.` or `..`, at most 1024 bytes.
pub fn check_id(id: &str) -> Result<()> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_+.-".contains(&b);
    if id.is_empty() || id.len() > 1024 || id == "." || id == ".." || !id.bytes().all(allowed) {
        return Err(StateError::BadId.into());
    }
    Ok(())
}

/// The cgroup directories that a create has recorded: (device, inode) and whether the create made it.
pub fn recorded_cgroups(dir: &Path) -> Vec<((u64, u64), bool)> {
    let text = crate::sys::read::text(dir.join(files::CGROUPS)).unwrap_or_default();
    let cgroup = |line: &str| {
        let (pair, made) = line.strip_suffix(files::JOINED).map_or((line, true), |pair| (pair, false));
        let (dev, ino) = pair.split_once(' ')?;
        Some(((dev.parse().ok()?, ino.parse().ok()?), made))
    };
    text.lines().filter_map(cgroup).collect()
}

/// Identity of a directory: (device, inode).
pub fn directory_id(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    path.symlink_metadata().ok().map(|m| (m.dev(), m.ino()))
}

/// Parses `PID START`, the format of [`files::PID`] and of a [`launcher_mark`].
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
