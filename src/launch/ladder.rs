//! The ladder: the strongest confinement that the caller can get on this machine, the missing layers with the
//! asset that each would protect, and one line per layer that enables it.

mod climb;

use std::path::{Path, PathBuf};

use crate::cgroup::Hierarchy;
use crate::error::{Error, Result};
use crate::host::Host;
use crate::sys::Errno;
use crate::sys::probe::{self, Namespaces};

pub use climb::{HEADING, check_bare, climb, summary};

/// A layer of a full confinement.
#[derive(Debug)]
pub struct ConfinementLayer {
    /// Name, as in `--require`.
    pub name: &'static str,
    /// The consequence if the layer is missing.
    pub asset: &'static str,
}

/// All layers, in the order of `safebox doctor`.
pub const LAYERS: [ConfinementLayer; 8] = [
    ConfinementLayer { name: "user-namespace", asset: "a process that breaks out has an id of this machine" },
    ConfinementLayer {
        name: "mount-namespace",
        asset: "only Landlock protects the files of this machine outside the shown paths",
    },
    ConfinementLayer {
        name: "pid-namespace",
        asset: "other processes are visible; their owner's id, and Landlock from ABI 6 on, protect them from signals",
    },
    ConfinementLayer {
        name: "network-namespace",
        asset: "the program is in this machine's network namespace; a filter allows only unix sockets",
    },
    ConfinementLayer { name: "id-range", asset: "a process that breaks out has the caller's own id" },
    ConfinementLayer { name: "cgroup", asset: "memory, cpu and number of processes are not limited" },
    ConfinementLayer { name: "landlock", asset: "only the mounts protect files" },
    ConfinementLayer {
        name: "seccomp",
        asset: "every system call of the kernel is in reach of the program: safebox refuses to run",
    },
];

/// Whether a layer is available; if not, the reason and a remedy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerStatus {
    /// Name of the layer.
    pub name: &'static str,
    /// `None`: it is available.
    pub missing: Option<MissingLayer>,
}

/// Why a layer is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingLayer {
    /// The reason.
    pub why: String,
    /// Remedy in one line.
    pub lift: String,
}

/// The strongest level of confinement that is available.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rung {
    /// The file system cannot be protected: safebox refuses to run.
    None,
    /// Only landlock(7), no_new_privs and a seccomp filter.
    Bare,
    /// All namespaces, without a procfs of the pid namespace: the caller's processes are visible.
    SharedProc,
    /// Namespaces created by root, with the host's ids.
    HostIds,
    /// All namespaces.
    Full,
}

impl std::fmt::Display for Rung {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Rung::None => "none: nothing runs",
            Rung::Bare => "landlock, no_new_privs and seccomp only",
            Rung::SharedProc => "all namespaces, without a /proc of their own",
            Rung::HostIds => "namespaces, except a user namespace",
            Rung::Full => "all namespaces",
        })
    }
}

/// The result of probing the machine.
#[derive(Debug, Clone)]
pub struct LadderReport {
    /// The available level.
    pub rung: Rung,
    /// The status of every layer.
    pub layers: Vec<LayerStatus>,
    /// The results of the operations that the ladder is made of.
    pub tried: Namespaces,
}

impl LadderReport {
    /// What is missing where this layer is: of the pid namespace perhaps only its /proc.
    pub fn lacks(&self, name: &'static str) -> &'static str {
        match (name, self.rung) {
            ("pid-namespace", Rung::SharedProc) => "pid-namespace with a /proc of its own",
            _ => name,
        }
    }

    /// The consequence if this layer is missing.
    pub fn asset(&self, name: &str) -> &'static str {
        match (name, self.rung) {
            ("pid-namespace", Rung::SharedProc) => {
                "other processes are visible there, and out of reach of signals"
            }
            _ => asset(name),
        }
    }
}

/// What a layer guards.
fn asset(name: &str) -> &'static str {
    LAYERS.iter().find(|layer| layer.name == name).map_or("", |layer| layer.asset)
}

fn sysctl(name: &str) -> Option<String> {
    let text = std::fs::read_to_string(Path::new("/proc/sys").join(name.replace('.', "/"))).ok()?;
    Some(text.trim().to_string())
}

/// Whether a part of /proc is a mount of its own, as engines of containers make it.
fn covers_proc() -> bool {
    let mount = |path| crate::sys::fs::place_at(path).map_or(0, |place| place.mount);
    mount(c"/proc/sys") != mount(c"/proc")
}

/// Probes the machine. A child process tries what no file reports.
pub fn look(host: &Host) -> Result<LadderReport> {
    let tried = match &host.rootless {
        // For root of the machine the only restriction is the kernel's limit, which is a number. Root of a container
        // that covers parts of /proc, or under a profile, is restricted by what its engine has covered and filtered, too.
        None if !covers_proc() && !confined_by_apparmor() => {
            let off = sysctl("user.max_user_namespaces").as_deref() == Some("0");
            Namespaces { user: off.then_some(Errno::ENOSPC), ..Namespaces::default() }
        }
        _ => probe::namespaces().map_err(|e| {
            let text = crate::tables::errno::text(e as i32);
            Error::msg(format!(
                "the child that tries which namespaces can be made: {text}: raise the limit on processes (ulimit -u, pids.max) or on memory"
            ))
        })?,
    };
    // The namespace can be made, but not the map that it needs.
    let unmapped = tried.user.is_none() && !maps_root(host);
    let tried = if unmapped { Namespaces { user: Some(Errno::EPERM), ..tried } } else { tried };
    let rung = match (&host.rootless, tried.user.or(tried.mount), tried.proc) {
        _ if !*host.seccomp.get() => Rung::None,
        (None, Some(_), None) => Rung::HostIds,
        (_, Some(_), _) if *host.landlock.get() > 0 => Rung::Bare,
        (_, Some(_), _) => Rung::None,
        (_, None, Some(_)) => Rung::SharedProc,
        (_, None, None) => Rung::Full,
    };
    let layers = LAYERS
        .iter()
        .map(|layer| LayerStatus { name: layer.name, missing: missing(layer.name, host, tried, unmapped) });
    Ok(LadderReport { rung, layers: layers.collect(), tried })
}

fn missing(name: &str, host: &Host, tried: Namespaces, unmapped: bool) -> Option<MissingLayer> {
    let some = |why: &str, lift: &str| Some(MissingLayer { why: why.into(), lift: lift.into() });
    let namespaces = tried.user.or(tried.mount);
    match name {
        "user-namespace" => namespaces.map(|e| no_namespace(e, tried.user.is_none(), unmapped)),
        "mount-namespace" | "network-namespace" if host.rootless.is_some() || tried.proc.is_some() => {
            namespaces.map(|e| no_namespace(e, tried.user.is_none(), unmapped))
        }
        "pid-namespace" if host.rootless.is_some() || tried.proc.is_some() => {
            if let Some(e) = namespaces {
                return Some(no_namespace(e, tried.user.is_none(), unmapped));
            }
            tried.proc.and_then(|_| {
                some(
                    "this container covers parts of /proc, and the kernel then refuses a new procfs",
                    "docker run --security-opt systempaths=unconfined, or Kubernetes securityContext.procMount: Unmasked",
                )
            })
        }
        "id-range" => id_range(host),
        "cgroup" if !cgroup_writable(host) => no_cgroup(host),
        "seccomp" if !*host.seccomp.get() => some(
            "the kernel has no seccomp filters, or the filter of this container refuses another one",
            "boot a kernel with CONFIG_SECCOMP_FILTER; in a container allow seccomp(2) and prctl(2) in its profile (docker run --security-opt seccomp=FILE)",
        ),
        "landlock" if *host.landlock.get() == 0 => some(
            "this kernel has no Landlock",
            "boot with lsm=landlock,... (CONFIG_SECURITY_LANDLOCK, Linux 5.13)",
        ),
        _ => None,
    }
}

/// Whether an AppArmor profile confines this process, such as Docker's, which refuses every mount.
fn confined_by_apparmor() -> bool {
    let label = std::fs::read_to_string("/proc/self/attr/apparmor/current").unwrap_or_default();
    !matches!(label.trim_end_matches(['\n', '\0']), "" | "unconfined")
}

/// Whether a user namespace can have the caller's id: a map of root needs a capability (user_namespaces(7)).
fn maps_root(host: &Host) -> bool {
    host.rootless.is_none() || host.euid != 0 || host.caps & 1 << CAP_SETFCAP != 0
}

/// The limits of the namespaces that the ladder tries.
const LIMITS: [&str; 3] = ["user.max_user_namespaces", "user.max_mnt_namespaces", "user.max_pid_namespaces"];

fn no_namespace(errno: Errno, made: bool, unmapped: bool) -> MissingLayer {
    if unmapped {
        return MissingLayer {
            why: "root of this container may not map its id into a user namespace: it has no CAP_SETFCAP"
                .into(),
            lift:
                "docker run --user 1000, or --cap-add SETFCAP; in Kubernetes securityContext.runAsUser: 1000"
                    .into(),
        };
    }
    // The first limit of its kind that is 0 is the reason (namespaces(7)).
    if let Some(name) = LIMITS.iter().find(|name| sysctl(name).as_deref() == Some("0")) {
        let kind = name.trim_start_matches("user.max_").trim_end_matches("_namespaces");
        return MissingLayer {
            why: format!("a new {kind} namespace: {}", crate::tables::errno::text(errno as i32)),
            lift: format!("sysctl -w {name}=15000"),
        };
    }
    let on = |name: &str| sysctl(name).is_some_and(|v| v != "0");
    let off = |name: &str| sysctl(name).as_deref() == Some("0");
    let lift = if on("kernel.apparmor_restrict_unprivileged_userns") {
        "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or an AppArmor profile for safebox with userns"
    } else if off("kernel.unprivileged_userns_clone") {
        "sysctl -w kernel.unprivileged_userns_clone=1"
    } else if confined_by_apparmor() {
        "docker run --security-opt seccomp=unconfined --security-opt apparmor=unconfined --security-opt systempaths=unconfined, or Kubernetes hostUsers: false"
    } else {
        "docker run --security-opt seccomp=unconfined --security-opt systempaths=unconfined, or Kubernetes hostUsers: false"
    };
    let what = if made { "a mount in a new user namespace" } else { "a new user namespace" };
    let text = crate::tables::errno::text(errno as i32);
    MissingLayer { why: format!("{what}: {text}"), lift: lift.into() }
}

fn id_range(host: &Host) -> Option<MissingLayer> {
    let rootless = host.rootless.as_ref()?;
    if host.euid == 0 {
        return None;
    }
    let lift = match (host.subordinate.get().own, &rootless.id_tools) {
        (Some(_), Some(_)) => return None,
        (Some(_), None) => "install newuidmap and newgidmap (package uidmap)".into(),
        (None, _) => format!(
            "usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {} (and the package uidmap)",
            std::env::var("USER").unwrap_or_else(|_| host.euid.to_string())
        ),
    };
    Some(MissingLayer { why: "the caller has no subordinate id range".into(), lift })
}

fn cgroups(host: &Host) -> Vec<PathBuf> {
    let below = |mount: &Path, own: &str| mount.join(own.trim_start_matches('/'));
    match &host.cgroups {
        Hierarchy::V2 { mount, own, .. } => vec![below(mount, own)],
        Hierarchy::V1 { trees, .. } => trees.iter().map(|tree| below(&tree.mount, &tree.own)).collect(),
        Hierarchy::None => Vec::new(),
    }
}

/// Whether the caller can create a cgroup next to its own.
fn cgroup_writable(host: &Host) -> bool {
    let writable = |path: &PathBuf| nix::unistd::access(path, nix::unistd::AccessFlags::W_OK).is_ok();
    let cgroups = cgroups(host);
    // systemd's user manager can create cgroups for callers that cannot.
    let manager = || {
        std::env::var_os("XDG_RUNTIME_DIR")
            .is_some_and(|dir| Path::new(&dir).join("systemd/private").exists())
    };
    if host.euid != 0 && host.cgroups.is_v2() && manager() {
        return true;
    }
    !cgroups.is_empty() && cgroups.iter().all(writable)
}

fn no_cgroup(host: &Host) -> Option<MissingLayer> {
    let (why, lift) = match &host.cgroups {
        Hierarchy::None => ("no cgroup file system is mounted", "mount -t cgroup2 cgroup2 /sys/fs/cgroup"),
        _ if host.euid == 0 => (
            "the cgroup file system is read-only here",
            "docker run --cgroupns host -v /sys/fs/cgroup:/sys/fs/cgroup:rw, or limits of the surrounding container",
        ),
        Hierarchy::V1 { .. } => (
            "only root can create cgroups on cgroup v1",
            "boot with systemd.unified_cgroup_hierarchy=1: cgroup v2 can be delegated to users",
        ),
        Hierarchy::V2 { .. } => (
            "no cgroup is delegated to the caller",
            "loginctl enable-linger USER and log in again: systemd's user manager delegates cgroups",
        ),
    };
    Some(MissingLayer { why: why.into(), lift: lift.into() })
}

/// Number of `CAP_SETFCAP` (capabilities(7)).
const CAP_SETFCAP: u32 = 31;
