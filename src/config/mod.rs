//! The meaning of a bundle's `config.json`, with every default resolved.
//!
//! [`parse`] converts the OCI runtime-spec JSON into a [`Config`]. A field is either a plain value or an
//! `Option` whose `None` has its own meaning ("not set: keep the kernel's value"). Nothing here has an effect
//! on the system.
//!
//! Errors carry an RFC 6901 JSON pointer ([`ConfigError`]). Unknown properties are ignored, as config.md
//! requires ("Extensibility"); unsupported values are errors.

mod at;
mod checks;
pub mod cni;
pub mod cpulist;
pub mod defaults;
pub mod features;
mod fold;
pub mod hooks;
pub mod idmap;
mod json;
mod limits;
mod linux;
mod lists;
mod mount;
pub mod mount_options;
mod mounts;
pub mod network;
mod numa;
pub mod parse;
mod process;
mod raw;
mod resources;
pub mod secrets;
pub mod sysctl;
pub mod template;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;

pub use crate::error::ConfigError;
pub use limits::{Cpu, DeviceRule, Memory, Resources};
pub use mount::{CopyUp, Mount, Overlay, RuntimeFile, strip_root};
pub use oci_spec::runtime::LinuxSeccomp;
pub use process::variable;

use crate::tables::{capabilities::CapSet, namespaces::NsKind};

/// A config.json.
impl std::str::FromStr for Config {
    type Err = ConfigError;

    fn from_str(json: &str) -> Result<Self, ConfigError> {
        parse::from_slice(json.as_bytes())
    }
}

/// A container as its config describes it (runtime-spec 1.3, config.md and config-linux.md).
#[derive(Debug, Clone)]
pub struct Config {
    /// `ociVersion` as written.
    pub oci_version: String,
    /// `root`.
    pub root: Root,
    /// `mounts`, in the order in which they are mounted.
    pub mounts: Vec<Mount>,
    /// Read-only files of the runtime that are mounted inside. Set by the policy; not part of the
    /// specification.
    pub files: Vec<RuntimeFile>,
    /// Connections that the program may make. Not part of the specification.
    pub network: network::Network,
    /// Secrets. Not part of the specification.
    pub secrets: Vec<secrets::Secret>,
    /// `process`. A container without a process can be created, but not started.
    pub process: Option<Process>,
    /// `hostname`.
    pub hostname: Option<String>,
    /// `domainname`.
    pub domainname: Option<String>,
    /// `hooks`.
    pub hooks: Hooks,
    /// `annotations`. Only the documented ones have an effect.
    pub annotations: BTreeMap<String, String>,
    /// `linux.namespaces`: new ones (no path) and joined ones (path). A kind that is not listed is inherited.
    pub namespaces: Vec<Namespace>,
    /// `linux.uidMappings`.
    pub uid_maps: Vec<IdMap>,
    /// `linux.gidMappings`.
    pub gid_maps: Vec<IdMap>,
    /// `linux.timeOffsets`: (clock name, seconds, nanoseconds).
    pub time_offsets: Vec<(String, i64, u32)>,
    /// `linux.devices`, in addition to the default set of config-linux.md "Default Devices".
    pub devices: Vec<Device>,
    /// `linux.netDevices`: (host name, name inside).
    pub net_devices: Vec<(String, String)>,
    /// `linux.cgroupsPath` as written.
    pub cgroups_path: Option<String>,
    /// `linux.resources`.
    pub resources: Resources,
    /// `linux.sysctl`, validated (one line; only keys of the container's namespaces) and sorted by key.
    pub sysctl: Vec<(String, String)>,
    /// `linux.seccomp`, as the oci-spec type; `None`: no filter.
    pub seccomp: Option<LinuxSeccomp>,
    /// `linux.rootfsPropagation` as mount(2) flags (e.g. `MS_SLAVE | MS_REC`); `None`: not set.
    pub rootfs_propagation: Option<u64>,
    /// `linux.maskedPaths`, absolute.
    pub masked_paths: Vec<PathBuf>,
    /// `linux.readonlyPaths`, absolute.
    pub readonly_paths: Vec<PathBuf>,
    /// `linux.mountLabel` (SELinux context of mounts).
    pub mount_label: Option<String>,
    /// `linux.personality` as personality(2)'s argument.
    pub personality: Option<u64>,
    /// `linux.memoryPolicy`.
    pub memory_policy: Option<MemoryPolicy>,
    /// `linux.intelRdt`.
    pub intel_rdt: Option<IntelRdt>,
    /// Symlinks of an empty root: (path, target). Not part of the specification.
    pub links: Vec<(PathBuf, PathBuf)>,
    /// Decisions of the hardening; not part of the specification.
    pub hardening: Hardening,
}

/// Settings that hardening decides and that have no property in config.json. The default is an unhardened
/// config.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hardening {
    /// Whether a policy hardens the config. False: it is applied as runc applies it.
    pub hardened: bool,
    /// Whether the rootfs is mounted idmapped to the new user namespace.
    pub idmap_root: bool,
    /// `MOUNT_ATTR_*` for the rootfs and the mounts below it.
    pub root_attrs: u64,
    /// Mount the rootfs without the mounts below it.
    pub root_alone: bool,
    /// Create no /dev/tty: it would be the host's.
    pub no_tty: bool,
    /// The user that creates the new user namespace, if it is not the caller.
    pub userns_owner: Option<u32>,
    /// Whether the built-in seccomp profile is loaded after the config's.
    pub builtin_seccomp: bool,
    /// System calls that the built-in profile allows in addition to its table.
    pub seccomp_allow: Vec<String>,
    /// Additional filters.
    pub guards: Vec<SeccompGuard>,
    /// Which of the descriptors 0 to 2 become the container's terminal.
    pub terminal: Terminal,
    /// The option that maps an unprivileged caller's own id to the container's user.
    pub caller_ids: Option<String>,
    /// Whether landlock(7) restricts file access in addition.
    pub landlock: bool,
    /// Bind the visible /proc instead of a procfs of the new pid namespace; its sysctls cannot be written.
    pub shared_proc: bool,
    /// No namespace can be created here; only landlock(7) and seccomp protect the host.
    pub bare: bool,
    /// Home directory of the container's user, a tmpfs.
    pub home: Option<PathBuf>,
}

/// A small filter next to the built-in seccomp profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SeccompGuard {
    /// Refuses to create setuid and setgid files. In a volume such a file would belong to a user of the host.
    NoSetuidFiles,
    /// Allows only unix sockets, for a program in the host's network namespace that must have no network.
    NoInternet,
    /// No new user namespace, if the kernel's own limit (`user.max_user_namespaces`) cannot be set.
    NoUserNamespaces,
}

impl SeccompGuard {
    /// Its name in `explain`.
    pub fn what(self) -> &'static str {
        match self {
            SeccompGuard::NoSetuidFiles => "no setuid or setgid files",
            SeccompGuard::NoInternet => "unix sockets only",
            SeccompGuard::NoUserNamespaces => "no new user namespaces",
        }
    }
}

/// The descriptors that become the container's terminal.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Terminal {
    /// No terminal.
    #[default]
    None,
    /// All three descriptors.
    All,
    /// The descriptors that are the caller's terminal.
    Terminals,
}

/// `linux.memoryPolicy`, as arguments of set_mempolicy(2).
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct MemoryPolicy {
    /// `MPOL_*`, with `MPOL_F_*` or-ed in.
    pub mode: i32,
    /// One bit per node.
    pub nodes: Vec<u64>,
}

/// `linux.intelRdt`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IntelRdt {
    /// `closID`: the name of the class; `None`: a class of this container, named by its id.
    pub clos_id: Option<String>,
    /// Lines of `l3CacheSchema` and `memBwSchema`. A pre-existing class must already contain them.
    pub older: Vec<String>,
    /// `schemata`: lines that are written last, and replace what the class had before.
    pub schemata: Vec<String>,
    /// `enableMonitoring`: a monitoring group for this container.
    pub monitoring: bool,
}

/// `root`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// As written: absolute, or relative to the bundle.
    pub path: PathBuf,
    /// The container's `/` is read-only.
    pub readonly: bool,
    /// Whether the root is an empty tmpfs on which everything is mounted; `path` is then unused.
    pub empty: bool,
}

/// `process`.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct Process {
    /// A pseudo-terminal is allocated.
    pub terminal: bool,
    /// `consoleSize`: (rows, columns).
    pub console_size: Option<(u16, u16)>,
    /// `user`.
    pub user: User,
    /// `args`, at least one, none with a NUL.
    pub args: Vec<String>,
    /// `env`, `KEY=value`.
    pub env: Vec<String>,
    /// `cwd`, absolute inside the container.
    pub cwd: PathBuf,
    /// `capabilities`, all five sets.
    pub capabilities: Capabilities,
    /// Unknown names in the capability sets: capabilities of a newer kernel, or typing errors. They are
    /// dropped with a warning (config.md).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unknown_capabilities: Vec<String>,
    /// `rlimits`: (RLIMIT_* number, soft, hard); units as getrlimit(2).
    pub rlimits: Vec<Rlimit>,
    /// `noNewPrivileges`.
    pub no_new_privileges: bool,
    /// `apparmorProfile`; `None` or empty: unconfined.
    pub apparmor_profile: Option<String>,
    /// `selinuxLabel`.
    pub selinux_label: Option<String>,
    /// `oomScoreAdj`, -1000..=1000; `None`: inherited.
    pub oom_score_adj: Option<i32>,
    /// `scheduler` as written.
    pub scheduler: Option<oci_spec::runtime::Scheduler>,
    /// `ioPriority` as ioprio_set(2)'s argument (class << 13 | priority).
    pub io_priority: Option<i32>,
    /// `execCPUAffinity`: cpus of a process of `exec` before and after it joins the cgroup, as bit masks; an
    /// empty mask leaves the affinity unchanged. It does not apply to the container's first process
    /// (config.md).
    pub exec_cpu_affinity: (Vec<u64>, Vec<u64>),
}

/// One entry of `process.rlimits`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Rlimit {
    /// `RLIMIT_*` of getrlimit(2).
    pub resource: u32,
    /// Soft limit; `RLIM_INFINITY` for none.
    pub soft: u64,
    /// Hard limit; `RLIM_INFINITY` for none.
    pub hard: u64,
}

/// `process.user`.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct User {
    /// User id inside the container.
    pub uid: u32,
    /// Group id inside the container.
    pub gid: u32,
    /// `umask`; `None`: 0022, as runc and crun.
    pub umask: Option<u32>,
    /// `additionalGids`.
    pub additional_gids: Vec<u32>,
}

/// `process.capabilities`: the five sets of capabilities(7).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[allow(missing_docs)]
pub struct Capabilities {
    pub bounding: CapSet,
    pub effective: CapSet,
    pub inheritable: CapSet,
    pub permitted: CapSet,
    pub ambient: CapSet,
}

/// `hooks`, by their spec names.
#[derive(Debug, Clone, Default, serde::Serialize, serde::Deserialize)]
#[allow(missing_docs)]
pub struct Hooks {
    pub prestart: Vec<Hook>,
    pub create_runtime: Vec<Hook>,
    pub create_container: Vec<Hook>,
    pub start_container: Vec<Hook>,
    pub poststart: Vec<Hook>,
    pub poststop: Vec<Hook>,
}

/// One hook.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Hook {
    /// Absolute path of the program.
    pub path: PathBuf,
    /// `args`, with `args[0]` as for execv(3); the default is the path alone.
    pub args: Vec<String>,
    /// The hook's complete environment; `None` if the config has no `env`.
    pub env: Option<Vec<String>>,
    /// Seconds, above 0; `None`: no limit.
    pub timeout: Option<u64>,
}

/// One entry of `linux.namespaces`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespace {
    /// Kind of the namespace.
    pub kind: NsKind,
    /// Path of the namespace to join; `None`: a new one.
    pub path: Option<PathBuf>,
}

/// One range of a uid_map or gid_map (user_namespaces(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct IdMap {
    /// First id inside.
    pub container: u32,
    /// First id outside.
    pub host: u32,
    /// Number of ids.
    pub size: u32,
}

/// One entry of `linux.devices`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Absolute path inside the container.
    pub path: PathBuf,
    /// `c` (also for `u`), `b` or `p`.
    pub kind: char,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Permission bits; 0666 by default.
    pub mode: u32,
    /// Owner inside the container.
    pub uid: u32,
    /// Group inside the container.
    pub gid: u32,
}

impl Device {
    /// The rule that allows the container the given access (`r`, `w`, `m`) to it.
    pub fn rule(&self, access: &str) -> DeviceRule {
        DeviceRule {
            allow: true,
            kind: self.kind,
            major: Some(self.major),
            minor: Some(self.minor),
            read: access.contains('r'),
            write: access.contains('w'),
            mknod: access.contains('m'),
        }
    }
}

/// Converts `process.scheduler` to the argument of sched_setattr(2).
pub fn scheduler_attr(s: &oci_spec::runtime::Scheduler) -> Result<crate::sys::sched::SchedAttr, ConfigError> {
    use oci_spec::runtime::{LinuxSchedulerFlag as F, LinuxSchedulerPolicy as P};
    let policy = match s.policy() {
        P::SchedOther => 0,
        P::SchedFifo => 1,
        P::SchedRr => 2,
        P::SchedBatch => 3,
        P::SchedIso => {
            return Err(ConfigError::new("/process/scheduler/policy", "SCHED_ISO does not exist in Linux"));
        }
        P::SchedIdle => 5,
        P::SchedDeadline => 6,
    };
    // SCHED_FLAG_* of <linux/sched.h>.
    let flags = s.flags().iter().flatten().fold(0u64, |bits, f| {
        bits | match f {
            F::SchedResetOnFork => 0x01,
            F::SchedFlagReclaim => 0x02,
            F::SchedFlagDLOverrun => 0x04,
            F::SchedFlagKeepPolicy => 0x08,
            F::SchedFlagKeepParams => 0x10,
            F::SchedFlagUtilClampMin => 0x20,
            F::SchedFlagUtilClampMax => 0x40,
        }
    });
    Ok(crate::sys::sched::SchedAttr {
        size: std::mem::size_of::<crate::sys::sched::SchedAttr>() as u32,
        policy,
        flags,
        nice: s.nice().unwrap_or(0),
        priority: s.priority().unwrap_or(0).unsigned_abs(),
        runtime: s.runtime().unwrap_or(0),
        deadline: s.deadline().unwrap_or(0),
        period: s.period().unwrap_or(0),
    })
}

impl Config {
    /// The namespace entry of `kind`, if the config lists one.
    pub fn namespace(&self, kind: NsKind) -> Option<&Namespace> {
        self.namespaces.iter().find(|n| n.kind == kind)
    }

    /// Whether the config asks for a *new* namespace of `kind`.
    pub fn is_new(&self, kind: NsKind) -> bool {
        self.namespace(kind).is_some_and(|n| n.path.is_none())
    }
}
