//! The normalised security state of a container: what a config asks for, or what a process has.
//!
//! [`Posture::of_config`] reads a [`crate::config::Config`]; [`Posture::of_process`] reads `/proc` and the cgroup file
//! systems from outside, and never what was asked for. The rules of the policy judge both in the same way. A part that
//! cannot be read is an `Err` with the reason, so that no rule takes it for a good answer.

mod host_paths;
mod of_config;
mod of_process;
pub mod ports;
mod process_files;
mod process_limits;
pub mod process_sysctl;
mod rootfs;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use ports::PortView;
pub use rootfs::{Rootfs, look as look_at_rootfs};

use crate::config::{Capabilities, IdMap, Rlimit};
use crate::host::Host;
use crate::tables::namespaces::NsKind;

/// A part of the posture, or why it cannot be read.
pub type Known<T> = Result<T, String>;

/// Facts of the machine that decide whether a rule applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MachineFacts {
    /// AppArmor is active.
    pub apparmor: bool,
    /// SELinux is active.
    pub selinux: bool,
    /// The ABI of landlock(7); 0 without it.
    pub landlock: i32,
}

impl MachineFacts {
    /// Nothing is looked at: for a posture that is only written down.
    pub const NONE: MachineFacts = MachineFacts { apparmor: false, selinux: false, landlock: 0 };

    /// The facts of this machine.
    pub fn of(host: &Host) -> Self {
        MachineFacts {
            apparmor: *host.apparmor.get(),
            selinux: *host.selinux.get(),
            landlock: *host.landlock.get(),
        }
    }
}

/// Where a posture was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Origin {
    /// A config as written.
    Written,
    /// A config that a policy has hardened.
    Hardened,
    /// This process.
    Process(i32),
}

/// The place that a finding names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Place {
    /// An RFC 6901 pointer into config.json.
    Pointer(String),
    /// A line of a file, counted from 1.
    Line(PathBuf, u32),
    /// A file.
    File(PathBuf),
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Place::Pointer(pointer) if pointer.is_empty() => f.write_str("/"),
            Place::Pointer(pointer) => f.write_str(pointer),
            Place::Line(file, line) => write!(f, "{}:{line}", file.display()),
            Place::File(file) => write!(f, "{}", file.display()),
        }
    }
}

/// A part of the posture that has one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Aspect {
    User,
    Capabilities,
    NoNewPrivileges,
    Seccomp,
    Lsm,
    Namespaces,
    IdMaps,
    Root,
    Mounts,
    Masked,
    Readonly,
    Memory,
    Cpu,
    Pids,
    Rlimits,
    Devices,
    DeviceRules,
    Sysctl,
    Environment,
    Args,
    Cgroup,
    OomScore,
    Terminal,
}

/// The user.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserView {
    /// User id inside the container.
    pub uid: u32,
    /// Group id inside the container.
    pub gid: u32,
    /// Supplementary groups, sorted.
    pub groups: Vec<u32>,
}

/// The system call filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SeccompView {
    /// None, or one that allows everything.
    Off,
    /// So many filters; 0 where the kernel does not count them.
    Filters(u32),
}

/// One kind of namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum NamespaceView {
    /// Not the host's.
    Own,
    /// The host's.
    Host,
    /// The one that this path leads to, whatever that is.
    Joined(PathBuf),
}

/// The mount at `/`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct RootView {
    pub readonly: bool,
    pub nosuid: bool,
    pub nodev: bool,
}

/// One mount below `/`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountView {
    /// Where.
    pub destination: PathBuf,
    /// File system; `None` for a bind mount of a config.
    pub fs_type: Option<String>,
    /// Host path of a bind mount.
    pub source: Option<PathBuf>,
    /// Host paths that a file system of a config is made of: the layers of an overlay, a block device.
    #[serde(default)]
    pub parts: Vec<PathBuf>,
    /// It is a bind mount; of a process, one whose host path is known.
    pub bind: bool,
    /// Attributes that hold for it, `MOUNT_ATTR_*`.
    pub attrs: u64,
    /// The mount itself is read-only, whatever is mounted below it.
    #[serde(default)]
    pub top_readonly: bool,
    /// Attributes that it does not need, since the config asks for their opposite.
    pub waived: u64,
    /// A tmpfs has a size.
    pub bounded: bool,
    /// The files of its owner are mapped, or there is nothing to map.
    pub volume: Option<bool>,
    /// Mounts below it are seen by the host, or by a peer.
    pub shared: bool,
    /// Its position in the input.
    pub at: Place,
}

impl MountView {
    /// Whether all of these attributes hold.
    pub fn has(&self, attrs: u64) -> bool {
        self.attrs & attrs == attrs
    }
}

/// A device node beyond the default ones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceView {
    /// Path inside.
    pub path: PathBuf,
    /// `c` or `b`.
    pub kind: char,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Its position in the input.
    pub at: Place,
}

/// A device rule that allows more than the defaults.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenDevice {
    /// As the kernel has it: `c 4:* rwm`.
    pub rule: String,
    /// It is every device.
    pub all: bool,
    /// Its position in the input.
    pub at: Place,
}

/// Which descriptors 0 to 2 are a terminal of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TerminalView {
    /// None of them.
    Own,
    /// At least one is.
    Host,
}

/// Another process of the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// Process id, as the reader sees it.
    pub pid: i32,
    /// User id inside.
    pub uid: u32,
    /// Effective, permitted and bounding capabilities, or-ed.
    pub capabilities: u64,
    /// Its name.
    pub name: String,
}

/// The normalised security state.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Posture {
    /// Where it was read.
    pub origin: Origin,
    /// The user.
    pub user: Known<UserView>,
    /// The five capability sets.
    pub capabilities: Known<Capabilities>,
    /// no_new_privs.
    pub no_new_privileges: Known<bool>,
    /// The filter.
    pub seccomp: Known<SeccompView>,
    /// The label of AppArmor or SELinux; `None`: unconfined.
    pub lsm: Known<Option<String>>,
    /// The kinds of namespace but time.
    pub namespaces: Vec<(NsKind, Known<NamespaceView>)>,
    /// uid_map.
    pub uid_maps: Known<Vec<IdMap>>,
    /// gid_map.
    pub gid_maps: Known<Vec<IdMap>>,
    /// `/`.
    pub root: Known<RootView>,
    /// The directory of the host that is mounted at `/`, where it is known.
    #[serde(skip, default = "unread")]
    pub root_path: Known<PathBuf>,
    /// What is mounted below it, a later mount of the same place in the place of an earlier one.
    pub mounts: Known<Vec<MountView>>,
    /// Paths that are covered, and paths that are read-only.
    pub masked: Known<Vec<PathBuf>>,
    /// Paths that are read-only.
    pub readonly: Known<Vec<PathBuf>>,
    /// Bytes; `None`: no limit.
    pub memory: Known<Option<u64>>,
    /// Cpus; `None`: no limit.
    pub cpus: Known<Option<f64>>,
    /// A relative weight was given.
    pub cpu_weight: Known<bool>,
    /// Processes and threads; `None`: no limit.
    pub pids: Known<Option<u64>>,
    /// Limits of getrlimit(2) that are set (config), or all (process).
    pub rlimits: Known<Vec<Rlimit>>,
    /// Devices beyond the default ones.
    pub devices: Known<Vec<DeviceView>>,
    /// Device rules beyond the default ones.
    pub device_rules: Known<Vec<OpenDevice>>,
    /// Kernel parameters that are set.
    pub sysctl: Known<Vec<(String, String)>>,
    /// `NAME=VALUE`; never written to disk.
    #[serde(skip, default = "unread")]
    pub environment: Known<Vec<String>>,
    /// The program and its arguments; never written to disk.
    #[serde(skip, default = "unread")]
    pub args: Known<Vec<String>>,
    /// The adjustment of the OOM killer's score, where one is set.
    pub oom_score_adj: Known<Option<i32>>,
    /// The container has cgroups of its own.
    pub own_cgroup: Known<bool>,
    /// landlock(7).
    pub landlock: Known<bool>,
    /// Terminal.
    pub terminal: Known<TerminalView>,
    /// Other processes of the container.
    #[serde(skip, default = "unread")]
    pub peers: Known<Vec<Peer>>,
    /// Ports of the host that lead in.
    #[serde(skip, default = "unread")]
    pub ports: Known<Vec<PortView>>,
    /// What the image holds.
    #[serde(skip, default = "unread")]
    pub rootfs: Known<Rootfs>,
    /// The user runs in the place of root: it was chosen by the policy.
    pub picked_user: bool,
    /// The rules about namespaces, mounts and paths do not apply: only Landlock and seccomp guard.
    pub bare: bool,
    /// What this machine has.
    #[serde(skip, default = "no_machine")]
    pub machine: MachineFacts,
    /// The places of the parts that have one.
    pub places: BTreeMap<Aspect, Place>,
}

fn unread<T>() -> Known<T> {
    Err("it is not kept".into())
}

fn no_machine() -> MachineFacts {
    MachineFacts::NONE
}

impl Posture {
    /// The position of a part in the input.
    pub fn at(&self, aspect: Aspect) -> Place {
        self.places.get(&aspect).cloned().unwrap_or_else(|| Place::Pointer(String::new()))
    }

    /// One kind of namespace.
    pub fn namespace(&self, kind: NsKind) -> Known<&NamespaceView> {
        let found = self.namespaces.iter().find(|(k, _)| *k == kind);
        found.map_or_else(|| Err("it was not read".into()), |(_, ns)| ns.as_ref().map_err(Clone::clone))
    }

    /// Whether it is a running process's.
    pub fn is_process(&self) -> bool {
        matches!(self.origin, Origin::Process(_))
    }

    /// The mount at exactly this path.
    pub fn mount_at(&self, path: &Path) -> Known<Option<&MountView>> {
        let mounts = self.mounts.as_ref().map_err(Clone::clone)?;
        Ok(mounts.iter().rev().find(|m| m.destination == path))
    }

    /// The mount on which this path lies; `None`: the one at `/`.
    pub fn mount_over(&self, path: &Path) -> Known<Option<&MountView>> {
        let mounts = self.mounts.as_ref().map_err(Clone::clone)?;
        let over = mounts.iter().filter(|m| path.starts_with(&m.destination));
        Ok(over.max_by_key(|m| m.destination.components().count()))
    }
}
