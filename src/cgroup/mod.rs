//! Control cgroups: where a container's cgroup lies, and which files hold its limits.
//!
//! Three layouts of hosts (cgroups(7)): pure v2 (one tree), pure v1 (a tree per controller), and
//! hybrid (v1 trees for the controllers, plus a v2 tree that holds what is left). On all three a limit
//! is real or it is an error.

pub mod devices;
pub mod figures;
pub mod limits;
pub mod monitor;
pub mod ops;
pub mod resctrl;
pub mod rootless;
pub mod stats;
pub mod systemd;
pub mod tree;
pub mod update;
pub mod v1;
pub mod v2;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::config::{ConfigError, Resources};
use crate::error::{Error, Result};

/// Where cgroup file systems are mounted.
pub const MOUNT_POINT: &str = "/sys/fs/cgroup";

const CGROUP2_MAGIC: i64 = 0x6367_7270;
const CGROUP_MAGIC: i64 = 0x0027_e0eb;

/// A tree of a host with cgroup v1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct V1 {
    /// The controllers bound to it (`cpu`, `cpuacct`), or `name=systemd`; none for the v2 tree of a hybrid host.
    pub controllers: Vec<String>,
    /// Where it is mounted.
    pub mount: PathBuf,
    /// This process's cgroup in it, as a path from the mount.
    pub own: String,
}

/// How this host arranges cgroups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hierarchy {
    /// One tree for everything.
    V2 {
        /// Where it is mounted.
        mount: PathBuf,
        /// This process's cgroup.
        own: String,
        /// Controllers that the root of the tree has.
        controllers: Vec<String>,
    },
    /// A tree per controller; `unified` is the hybrid layout's v2 tree.
    V1 {
        /// The v1 trees.
        trees: Vec<V1>,
        /// The v2 tree of a hybrid host.
        unified: Option<V1>,
    },
    /// No cgroup file system is mounted.
    None,
}

impl Hierarchy {
    /// Reads the host's layout: one statfs(2) on a v2 host, mountinfo otherwise.
    pub fn probe() -> Result<Self> {
        Self::of("self")
    }

    /// The same trees, with the cgroups of the process `pid` (or `self`) in the place of this process's own.
    pub fn of(pid: &str) -> Result<Self> {
        let magic =
            crate::sys::fs::openat(libc::AT_FDCWD, c"/sys/fs/cgroup", libc::O_PATH | libc::O_DIRECTORY, 0)
                .map(crate::sys::fs::own)
                .and_then(|fd| crate::sys::fs::fs_magic(std::os::fd::AsRawFd::as_raw_fd(&fd)));
        let read = |path: &str| {
            crate::sys::read::text(path).map_err(|e| Error::msg(format!("{path}: {e} (is procfs mounted?)")))
        };
        let cgroups = read(&format!("/proc/{pid}/cgroup"))?;
        if magic == Ok(CGROUP2_MAGIC) {
            let controllers =
                crate::sys::read::value("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
            return Ok(Hierarchy::V2 {
                mount: MOUNT_POINT.into(),
                own: own_cgroup(&cgroups, ""),
                controllers: controllers.split_whitespace().map(str::to_string).collect(),
            });
        }
        Ok(v1::layout(&read("/proc/self/mountinfo")?, &cgroups).without_hidden())
    }

    /// Without trees whose mount point leads elsewhere now, since something was mounted over it.
    fn without_hidden(mut self) -> Self {
        let magic = |path: &Path| {
            crate::sys::cstr::cpath(path).ok().and_then(|p| crate::sys::fs::path_magic(&p).ok())
        };
        if let Hierarchy::V1 { trees, unified } = &mut self {
            trees.retain(|t| magic(&t.mount) == Some(CGROUP_MAGIC));
            unified.take_if(|u| magic(&u.mount) != Some(CGROUP2_MAGIC));
        }
        self
    }

    /// Whether the whole host is cgroup v2.
    pub fn is_v2(&self) -> bool {
        matches!(self, Hierarchy::V2 { .. })
    }
}

/// This process's cgroup in the tree whose controllers are `controllers` (`""` for v2), from `/proc/self/cgroup`.
fn own_cgroup(text: &str, controllers: &str) -> String {
    text.lines()
        .filter_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            Some((fields.next()?, fields.next()?))
        })
        .find(|(names, _)| *names == controllers)
        .map_or_else(|| "/".to_string(), |(_, path)| path.to_string())
}

/// The cgroups of one container and what is to be written into them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Layout {
    /// The container's cgroups, the v2 one or one per v1 tree; none where it has none of its own.
    pub cgroups: Vec<Cgroup>,
    /// systemd makes the cgroups, around the process.
    pub scope: Option<Rc<systemd::Start>>,
    /// What the caller should know: that there is no cgroup, and why.
    pub note: Option<String>,
}

/// The manager that makes a container's cgroups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Manager {
    /// safebox itself, in the file system.
    Cgroupfs,
    /// systemd, as a transient scope.
    Systemd,
    /// None: no limit is applied.
    Disabled,
}

impl Manager {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Manager::Cgroupfs => "cgroupfs",
            Manager::Systemd => "systemd",
            Manager::Disabled => "disabled",
        }
    }
}

impl std::str::FromStr for Manager {
    type Err = String;

    fn from_str(s: &str) -> std::result::Result<Self, String> {
        let all = [Manager::Cgroupfs, Manager::Systemd, Manager::Disabled];
        let named = all.into_iter().find(|manager| manager.name() == s);
        named.ok_or_else(|| format!("unknown cgroup manager {s:?}; one of cgroupfs, systemd, disabled"))
    }
}

/// One directory of the container in one tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cgroup {
    /// Controllers of the tree; empty for v2.
    pub controllers: Vec<String>,
    /// Absolute path.
    pub path: PathBuf,
    /// It is pre-existing: the container joins it if it has no processes, and does not remove it
    /// (runtime.md, Delete: what was not created by the container must not be deleted).
    pub exists: bool,
    /// Ancestors that do not exist yet, outermost first.
    pub missing: Vec<PathBuf>,
    /// What ancestors need, outermost first: on v2 `cgroup.subtree_control`, in a v1 cpuset tree the
    /// cpus and memory nodes of those that are made (they start empty, and a child can have no more).
    pub enable: Vec<(PathBuf, String)>,
    /// Limits in the order in which they must be written: (file name, value).
    pub writes: Vec<(String, String)>,
    /// Whether this is a cgroup v2 cgroup.
    pub v2: bool,
}

/// What the container wants of cgroups.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Container id, for the default path.
    pub id: &'a str,
    /// `linux.cgroupsPath`.
    pub path: Option<&'a str>,
    /// Limits.
    pub resources: &'a Resources,
    /// The config's annotations; some are properties of systemd's.
    pub annotations: &'a BTreeMap<String, String>,
    /// The manager; `None`: cgroupfs, or for an unprivileged user whatever is delegated.
    pub manager: Option<Manager>,
    /// The config is taken as written: the default path is runc's.
    pub as_written: bool,
    /// Not root of the machine: only what was delegated can be used.
    pub rootless: bool,
    /// systemd means the caller's own, not the machine's.
    pub user: bool,
}

impl<'a> Request<'a> {
    /// What root gets by default.
    pub fn of(id: &'a str, resources: &'a Resources, annotations: &'a BTreeMap<String, String>) -> Self {
        Request {
            id,
            path: None,
            resources,
            annotations,
            manager: None,
            as_written: false,
            rootless: false,
            user: false,
        }
    }

    /// The cgroup of a config that names none: where the config is taken as written, the id alone as with runc.
    fn default_name(&self) -> String {
        if self.as_written { self.id.to_string() } else { format!("safebox-{}", self.id) }
    }
}

/// Lays out a container's cgroups on this host; a limit whose controller is missing is an error.
pub fn layout(host: &Hierarchy, request: Request<'_>) -> Result<Layout> {
    match request.manager {
        Some(Manager::Disabled) => Ok(disabled(&request)),
        Some(Manager::Systemd) => systemd::layout(host, request),
        _ if request.rootless => rootless::layout(host, request),
        _ => cgroupfs(host, request),
    }
}

fn disabled(request: &Request<'_>) -> Layout {
    let limits = match v2::first_limit(request.resources) {
        Some(pointer) => format!(", not even {pointer}"),
        None => String::new(),
    };
    let note = format!("none, as asked: nothing is limited{limits} (--cgroup-manager disabled)");
    Layout { note: Some(note), ..Layout::default() }
}

/// Cgroups that safebox makes itself.
fn cgroupfs(host: &Hierarchy, request: Request<'_>) -> Result<Layout> {
    match host {
        Hierarchy::V2 { mount, own, controllers } => v2::layout(mount, own, controllers, request),
        Hierarchy::V1 { trees, unified } => v1::trees_for(trees, unified.as_ref(), request),
        Hierarchy::None => Err(Error::msg(
            "no cgroup file system is mounted at /sys/fs/cgroup, so no limit can be applied; \
             mount one (mount -t cgroup2 none /sys/fs/cgroup)",
        )),
    }
}

/// The name of a v1 tree's directory below a container's /sys/fs/cgroup, as hosts have it.
pub fn bind_name(controllers: &[String]) -> String {
    let name = if controllers.is_empty() { "unified".into() } else { controllers.join(",") };
    name.trim_start_matches("name=").to_string()
}

/// Whether a tree of cgroup v1 with these controllers has this one.
pub fn has(controllers: &[String], controller: &str) -> bool {
    controllers.iter().any(|c| c == controller)
}

/// The cgroup of a controller, of a container's cgroups as (controllers, path): on cgroup v2 its only one.
pub fn of_controller<'a>(
    cgroups: &'a [(Vec<String>, PathBuf)],
    on_v2: bool,
    controller: &str,
) -> Option<&'a Path> {
    cgroups.iter().find(|(all, _)| on_v2 || has(all, controller)).map(|(_, path)| path.as_path())
}

/// `cgroup` below `mount`; `..` would leave it and is refused by the config parser already.
fn below(mount: &Path, cgroup: &str) -> PathBuf {
    let cgroup = cgroup.trim_matches('/');
    if cgroup.is_empty() { mount.to_path_buf() } else { mount.join(cgroup) }
}

/// The ancestors of `path` below `mount` that do not exist, outermost first.
fn missing_parents(mount: &Path, path: &Path) -> Vec<PathBuf> {
    let mut missing: Vec<_> = path
        .ancestors()
        .skip(1)
        .take_while(|p| *p != mount && p.starts_with(mount) && !p.exists())
        .map(Path::to_path_buf)
        .collect();
    missing.reverse();
    missing
}

/// An error about a limit that this host cannot apply.
fn unavailable(pointer: &str, controller: &str, where_bound: &str) -> Error {
    Error::Config(ConfigError::new(
        pointer,
        format!(
            "the {controller} controller is not available here ({where_bound}), so this limit cannot be applied"
        ),
    ))
}
