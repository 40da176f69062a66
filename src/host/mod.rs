//! Facts about this machine, each probed once and only when the plan needs it. Tests build a [`Host`] by
//! hand.

pub mod mountinfo;
pub mod state_root;

use std::cell::OnceCell;
use std::path::{Path, PathBuf};

use crate::cgroup::Hierarchy;
use crate::config::IdMap;
use crate::error::{Error, Result};
use crate::sys::rlimit::{self, RlimitPair};
use crate::sys::{cred, read};
use crate::tables::rlimits::RLIMITS;

/// A fact that is probed on first use, because few plans need all facts.
#[derive(Debug, Clone)]
pub struct Fact<T> {
    value: OnceCell<T>,
    probe: fn() -> T,
}

impl<T> Fact<T> {
    /// A fact that `probe` determines.
    pub const fn new(probe: fn() -> T) -> Self {
        Fact { value: OnceCell::new(), probe }
    }

    /// The fact; the first call probes it.
    pub fn get(&self) -> &T {
        self.value.get_or_init(self.probe)
    }
}

/// Subordinate id ranges and their owners.
#[derive(Debug, Clone, Default)]
pub struct Subordinate {
    /// A range of the caller, the same in /etc/subuid and /etc/subgid: (first, count).
    pub own: Option<(u32, u32)>,
    /// Ids that are in use or assigned to other users: (first, count), from both files, /etc/passwd and
    /// /etc/group.
    pub taken: Vec<(u32, u32)>,
}

/// Directory of the files that mark id ranges as taken on this machine.
pub const ID_RANGES: &str = "/run/safebox-ids";

/// Facts that the plan builder and the policy read.
#[derive(Debug, Clone)]
pub struct Host {
    /// Effective user id of the caller.
    pub euid: u32,
    /// Kernel release as (major, minor).
    pub kernel: (u32, u32),
    /// The cgroup hierarchies of the host, and the cgroups of this process.
    pub cgroups: Hierarchy,
    /// Total memory in bytes.
    pub memory: Fact<u64>,
    /// Maximum number of open files on the whole machine: fs.file-max, but at most the kernel's default for
    /// this memory size, because systemd sets fs.file-max to infinity.
    pub most_files: Fact<u64>,
    /// The caller's effective capabilities: bit N is capability N.
    pub caps: u64,
    /// Number of online cpus.
    pub cpus: Fact<u32>,
    /// Subordinate ids.
    pub subordinate: Fact<Subordinate>,
    /// See [`Host::possible_cpus`]: the highest cpu number plus one.
    pub cpus_possible: OnceCell<u32>,
    /// Directory in which id ranges are marked as taken; `None` for a caller that has only one choice.
    pub ids: Option<PathBuf>,
    /// Path of getent(1), if nsswitch.conf(5) names sources of users besides /etc/passwd.
    pub getent: Fact<Option<PathBuf>>,
    /// Whether AppArmor is enabled.
    pub apparmor: Fact<bool>,
    /// Whether SELinux is enabled.
    pub selinux: Fact<bool>,
    /// Whether `/proc/kcore` exists.
    pub kcore: Fact<bool>,
    /// ABI version of landlock(7); 0 without Landlock.
    pub landlock: Fact<i32>,
    /// Whether clone3(2) can be called: the filter of a surrounding container may hide it.
    pub clone3: Fact<bool>,
    /// Whether a seccomp filter can be loaded: a kernel may lack them, and the filter of a surrounding container may
    /// refuse another one.
    pub seccomp: Fact<bool>,
    /// Whether keyctl(2) can be called.
    pub keyctl: Fact<bool>,
    /// Facts that apply only to an unprivileged caller; `None` for root of the machine.
    pub rootless: Option<Rootless>,
    /// See [`Host::limit`]; the index is the number of the resource.
    pub limits: [OnceCell<RlimitPair>; RLIMITS.len()],
    /// The files behind stdout and stderr.
    pub outputs: Vec<OutputFile>,
    /// See [`Host::resctrl`].
    pub resctrl: OnceCell<Option<PathBuf>>,
    /// See [`Host::mqueue`].
    pub mqueue: OnceCell<bool>,
    /// See [`Host::kernel_mounts`].
    pub kernel_mounts: OnceCell<Option<Vec<PathBuf>>>,
}

/// A file that the caller's stdout or stderr is redirected to, and its owner.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OutputFile {
    /// Its path when the container was created.
    pub path: String,
    /// Device and inode, which identify the file even after a rename.
    pub id: (u64, u64),
    /// Its owner.
    pub uid: u32,
}

/// Facts about an unprivileged user, or root of a user namespace.
#[derive(Debug, Clone, Default)]
pub struct Rootless {
    /// Effective group id.
    pub egid: u32,
    /// The id map of the caller's own user namespace: users, groups.
    pub ids: (Vec<IdMap>, Vec<IdMap>),
    /// Whether setgroups(2) is allowed in the caller's user namespace.
    pub setgroups: bool,
    /// Paths of newuidmap(1) and newgidmap(1), if both are installed.
    pub id_tools: Option<(PathBuf, PathBuf)>,
    /// Whether systemd means the user's own instance.
    pub own_systemd: bool,
}

impl Rootless {
    /// `None` for root of the machine.
    fn probe(caps: u64) -> Option<Self> {
        let euid = nix::unistd::geteuid();
        let read = |file: &str| read::text(format!("/proc/self/{file}")).unwrap_or_default();
        let uids = crate::config::idmap::parse_map(&read("uid_map"));
        // In a container whose root lacks CAP_SYS_ADMIN, root is treated as an unprivileged user.
        let admin = caps & 1 << CAP_SYS_ADMIN != 0;
        if euid.is_root() && admin && crate::config::idmap::is_whole(&uids) {
            return None;
        }
        let ids = (uids, crate::config::idmap::parse_map(&read("gid_map")));
        Some(Rootless {
            egid: nix::unistd::getegid().as_raw(),
            ids,
            setgroups: read("setgroups").trim() != "deny",
            id_tools: find_tool("newuidmap").zip(find_tool("newgidmap")),
            own_systemd: !plain_root(),
        })
    }
}

/// The path of a system program. It ignores `PATH`, which callers often leave empty.
fn find_tool(name: &str) -> Option<PathBuf> {
    ["/usr/bin", "/bin", "/usr/sbin", "/sbin", "/usr/local/bin"]
        .iter()
        .map(|dir| Path::new(dir).join(name))
        .find(|path| path.is_file())
}

impl Host {
    /// Reads the facts from the running system.
    pub fn probe() -> Result<Self> {
        let euid = nix::unistd::geteuid().as_raw();
        let caps = cred::capget().map(|(effective, ..)| effective).map_err(|e| Error::os("capget", "", e))?;
        let rootless = Rootless::probe(caps);
        Ok(Host {
            euid,
            kernel: kernel_release(),
            cgroups: Hierarchy::probe()?,
            memory: Fact::new(total_memory),
            most_files: Fact::new(most_files),
            caps,
            cpus: Fact::new(online_cpus),
            ids: rootless.is_none().then(|| ID_RANGES.into()),
            getent: Fact::new(|| has_other_users().then(|| find_tool("getent")).flatten()),
            subordinate: Fact::new(|| {
                let (own, taken) = crate::config::idmap::read_subordinate(cred::effective_uid());
                Subordinate { own, taken }
            }),
            cpus_possible: OnceCell::new(),
            apparmor: Fact::new(|| {
                Path::new("/sys/kernel/security/apparmor").exists()
                    || read::value("/sys/module/apparmor/parameters/enabled")
                        .is_ok_and(|b| b.starts_with('Y'))
            }),
            selinux: Fact::new(|| Path::new("/sys/fs/selinux/enforce").exists()),
            kcore: Fact::new(|| Path::new("/proc/kcore").exists()),
            landlock: Fact::new(crate::sys::landlock::abi),
            clone3: Fact::new(crate::sys::process::has_clone3),
            seccomp: Fact::new(|| crate::sys::seccomp::flag_supported(0)),
            keyctl: Fact::new(crate::sys::process::has_keyctl),
            rootless,
            limits: [const { OnceCell::new() }; RLIMITS.len()],
            outputs: outputs(),
            resctrl: OnceCell::new(),
            mqueue: OnceCell::new(),
            kernel_mounts: OnceCell::new(),
        })
    }

    /// The possible cpus, online or not: each has a directory in sysfs.
    pub fn possible_cpus(&self) -> std::ops::Range<u32> {
        0..*self.cpus_possible.get_or_init(|| {
            let text = read::value("/sys/devices/system/cpu/possible").unwrap_or_default();
            let last = text.trim().rsplit(['-', ',']).next().and_then(|n| n.parse::<u32>().ok());
            last.map_or(*self.cpus.get(), |last| last + 1)
        })
    }

    /// The limit of this resource that a child of safebox starts with. Reading it cannot fail in practice; if
    /// it did, the plan would set every limit of the config.
    pub fn limit(&self, resource: u32) -> RlimitPair {
        let none = RlimitPair { soft: 0, hard: 0 };
        *self.limits[resource as usize].get_or_init(|| rlimit::started_with(resource).unwrap_or(none))
    }

    /// Whether the caller can drop its supplementary groups.
    pub fn drops_groups(&self) -> bool {
        self.euid == 0 && self.rootless.as_ref().is_none_or(|r| r.setgroups)
    }

    /// Mount point of resctrl; probed on first use, because few containers need it.
    pub fn resctrl(&self) -> Option<&Path> {
        self.resctrl.get_or_init(crate::cgroup::resctrl::mount_point).as_deref()
    }

    /// Whether /dev/mqueue shows message queues; probed only for a container in the host's IPC namespace.
    pub fn mqueue(&self) -> bool {
        let is_it = || crate::sys::fs::path_magic(c"/dev/mqueue").is_ok_and(|magic| magic == MQUEUE_MAGIC);
        *self.mqueue.get_or_init(is_it)
    }

    /// Mount points of complete procfs and sysfs mounts, the last mounted first; `None` if unknown. Probed
    /// only for `--no-pivot`.
    pub fn kernel_mounts(&self) -> Option<&[PathBuf]> {
        let read =
            || std::fs::read("/proc/self/mountinfo").ok().map(|text| mountinfo::whole_kernel_mounts(&text));
        self.kernel_mounts.get_or_init(read).as_deref()
    }

    /// Whether a file system with this magic number can be idmapped on this kernel (mount_setattr(2)).
    pub fn can_idmap(&self, magic: i64) -> bool {
        IDMAP_SINCE.iter().any(|(m, _, since)| *m == magic && self.kernel >= *since)
    }
}

/// Number of capabilities(7).
const CAP_SYS_ADMIN: u32 = 21;

/// statfs(2): `f_type` of an mqueue file system.
const MQUEUE_MAGIC: i64 = 0x1980_0202;

/// File systems that allow `MOUNT_ATTR_IDMAP`: (statfs magic, name, since which kernel). Source: mount_setattr(2).
pub const IDMAP_SINCE: &[(i64, &str, (u32, u32))] = &[
    (0xEF53, "ext4", (5, 12)),
    (0x5846_5342, "xfs", (5, 12)),
    (0x4d44, "fat", (5, 12)),
    (0x9123_683E, "btrfs", (5, 15)),
    (0xF2F5_2010, "f2fs", (5, 18)),
    (0x5346_544e, "ntfs3", (5, 15)),
    (0x0102_1994, "tmpfs", (6, 3)),
    (0x7371_7368, "squashfs", (6, 2)),
    (0xE0F5_E1E2, "erofs", (5, 19)),
];

/// Whether nsswitch.conf(5) names sources of users other than the local files and sources with known id
/// ranges.
fn has_other_users() -> bool {
    const KNOWN: [&str; 4] = ["files", "compat", "systemd", "mymachines"];
    let text = read::text("/etc/nsswitch.conf").unwrap_or_default();
    let sources = text.lines().filter_map(|l| l.strip_prefix("passwd:").or_else(|| l.strip_prefix("group:")));
    let words = sources.flat_map(str::split_whitespace);
    words.filter(|w| !w.starts_with('[')).any(|w| !KNOWN.contains(&w) && !w.starts_with('#'))
}

fn most_files() -> u64 {
    let max = read::value("/proc/sys/fs/file-max").ok().and_then(|text| text.trim().parse().ok());
    // "one file with associated inode and dcache is very roughly 1K" (fs/file_table.c): a tenth of the memory.
    max.unwrap_or(u64::MAX).min(total_memory() / 1024 / 10)
}

/// The named regular files behind descriptors 1 and 2, without duplicates.
fn outputs() -> Vec<OutputFile> {
    let mut files: Vec<OutputFile> = Vec::new();
    for fd in [1, 2] {
        let Ok(st) = crate::sys::fs::fstatat(fd, c"") else { continue };
        let path = std::fs::read_link(format!("/proc/self/fd/{fd}"))
            .ok()
            .and_then(|p| p.into_os_string().into_string().ok());
        let Some(path) = path.filter(|_| st.st_mode & libc::S_IFMT == libc::S_IFREG) else { continue };
        let file = OutputFile { path, id: (st.st_dev, st.st_ino), uid: st.st_uid };
        if !files.contains(&file) {
            files.push(file);
        }
    }
    files
}

fn kernel_release() -> (u32, u32) {
    let release =
        nix::sys::utsname::uname().map(|u| u.release().to_string_lossy().into_owned()).unwrap_or_default();
    let mut parts = release.split(|c: char| !c.is_ascii_digit()).map(|p| p.parse().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}

fn total_memory() -> u64 {
    let pages = nix::unistd::sysconf(nix::unistd::SysconfVar::_PHYS_PAGES).ok().flatten().unwrap_or(0);
    let size = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok().flatten().unwrap_or(4096);
    (pages as u64).saturating_mul(size as u64)
}

fn online_cpus() -> u32 {
    let n = nix::unistd::sysconf(nix::unistd::SysconfVar::_NPROCESSORS_ONLN).ok().flatten().unwrap_or(1);
    u32::try_from(n).unwrap_or(1).max(1)
}

/// Whether the caller is root of the machine, or of a user namespace with `$USER` = root: runc's rule.
fn plain_root() -> bool {
    let root = || std::env::var_os("USER").is_some_and(|u| u == "root");
    nix::unistd::geteuid().is_root() && (root() || !in_user_namespace())
}

fn in_user_namespace() -> bool {
    let map = read::text("/proc/self/uid_map").unwrap_or_default();
    !crate::config::idmap::is_whole(&crate::config::idmap::parse_map(&map))
}

/// `$PATH` plus the directories for administrators: some callers set no `PATH`, and criu itself executes
/// `iptables-restore`, `ip` and `tar`.
pub fn search_path() -> std::ffi::OsString {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let standard =
        ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"].map(PathBuf::from);
    let dirs = std::env::split_paths(&path).filter(|d| !d.as_os_str().is_empty()).chain(standard);
    // Joining fails only for a directory with a colon in its name; splitting at colons yields none.
    std::env::join_paths(dirs).unwrap_or(path)
}
