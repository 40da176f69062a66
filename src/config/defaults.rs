//! The table of container defaults: what a hardened container gets where its config says nothing.
//!
//! Sizes, options and numbers stand here once. The policy's rules, the options and `safebox spec` read them;
//! no other place repeats them.

use crate::tables::namespaces::NsKind;

/// Memory of a container whose config names no limit, in bytes; swap is included.
pub const MEMORY: i64 = 512 << 20;
/// Cpus of a container whose config names no quota.
pub const CPUS: f64 = 1.0;
/// Processes and threads of a container whose config names no limit.
pub const PIDS: i64 = 256;

/// Open files of a process: the soft limit.
pub const SOFT_FILES: u64 = 1024;
/// Bounds of its hard limit, which follows from fs.file-max and the number of processes.
pub const FILES: (u64, u64) = (256, 65_536);
/// Signals that are queued at one time, of all processes together.
pub const SIGNALS: u64 = 4096;
/// Bytes of POSIX message queues, of all processes together: the kernel's own default.
pub const QUEUES: u64 = 819_200;
/// Terminals: kernel.pty.max is one number for all containers of the host.
pub const PTYS: u32 = 64;

/// One file system that a container gets where the config has none at its destination.
#[derive(Debug)]
pub struct MountRow {
    /// Where.
    pub destination: &'static str,
    /// `type`.
    pub fs_type: &'static str,
    /// `source`.
    pub source: &'static str,
    /// `options`, without the size.
    pub options: &'static [&'static str],
    /// How large it may grow.
    pub size: Size,
}

/// How large a tmpfs may grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// The file system has no size.
    None,
    /// Bytes.
    Bytes(i64),
    /// Half of the memory limit; [`TMPFS`] where nothing limits the memory.
    HalfOfMemory,
}

/// A tmpfs of the config that names no size, in bytes.
pub const TMPFS: i64 = 64 << 20;

impl Size {
    /// In bytes, for a container with this memory limit.
    pub fn bytes(self, memory: Option<i64>) -> Option<i64> {
        match (self, memory) {
            (Size::None, _) => None,
            (Size::Bytes(bytes), _) => Some(bytes),
            (Size::HalfOfMemory, Some(limit)) if limit > 0 => Some(limit / 2),
            (Size::HalfOfMemory, _) => Some(TMPFS),
        }
    }
}

const fn row(
    destination: &'static str,
    (fs_type, source): (&'static str, &'static str),
    options: &'static [&'static str],
    size: Size,
) -> MountRow {
    MountRow { destination, fs_type, source, options, size }
}

/// The private file systems of every container.
pub const STANDARD: [MountRow; 6] = [
    row("/proc", ("proc", "proc"), &["nosuid", "noexec", "nodev"], Size::None),
    row("/dev", ("tmpfs", "tmpfs"), &["nosuid", "noexec", "mode=755"], Size::Bytes(64 << 10)),
    row(
        "/dev/pts",
        ("devpts", "devpts"),
        &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        Size::None,
    ),
    row("/dev/shm", ("tmpfs", "shm"), &["nosuid", "noexec", "nodev", "mode=1777"], Size::Bytes(64 << 20)),
    row("/dev/mqueue", ("mqueue", "mqueue"), &["nosuid", "noexec", "nodev"], Size::None),
    row("/sys", ("sysfs", "sysfs"), &["nosuid", "noexec", "nodev", "ro"], Size::None),
];

/// The cgroup file system, where a config shows it.
pub const CGROUP: MountRow =
    row("/sys/fs/cgroup", ("cgroup", "cgroup"), &["nosuid", "noexec", "nodev", "relatime", "ro"], Size::None);

/// File systems that only the user namespace which owns a namespace may mount. Where that namespace is the host's, the
/// container is shown the host's own mount: (type, namespace, place, options).
pub const OF_NAMESPACES: [(&str, NsKind, &str, &[&str]); 3] = [
    ("sysfs", NsKind::Net, "/sys", &["rbind", "rro", "rnosuid", "rnodev", "rnoexec"]),
    ("proc", NsKind::Pid, "/proc", &["rbind", "rnosuid", "rnodev", "rnoexec"]),
    ("mqueue", NsKind::Ipc, "/dev/mqueue", &["bind", "nosuid", "nodev", "noexec"]),
];

/// Capabilities of the config that `safebox spec` writes, as runc's.
pub const SPEC_CAPABILITIES: [&str; 3] = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"];

/// Where a container with a read-only root may write. `/run` begins with what the image holds there: the directories
/// of daemons such as `/run/postgresql`.
pub const SCRATCH: [MountRow; 3] = [
    row("/tmp", ("tmpfs", "tmpfs"), &["nosuid", "noexec", "nodev", "mode=1777"], Size::HalfOfMemory),
    row(
        "/run",
        ("tmpfs", "tmpfs"),
        &["nosuid", "noexec", "nodev", "mode=1777", "tmpcopyup"],
        Size::Bytes(16 << 20),
    ),
    row("/var/tmp", ("tmpfs", "tmpfs"), &["nosuid", "noexec", "nodev", "mode=1777"], Size::Bytes(64 << 20)),
];

/// The home of a user that the policy chooses: the name of a directory in the first tmpfs of [`HOME_IN`].
pub const HOME: &str = "home";
/// Where the home is mounted: in a tmpfs, so that nothing is made in the image.
pub const HOME_IN: [&str; 4] = ["/run", "/tmp", "/var/tmp", "/dev/shm"];
/// How large the home may grow.
pub const HOME_SIZE: Size = Size::HalfOfMemory;
/// Name of that user and group where the image has none for the id; the second where the image gives the first to
/// another id. (Google's distroless images call it `nonroot`.)
pub const USER_NAMES: [&str; 2] = ["nonroot", "safebox"];

/// `PATH` where nothing gives one.
pub const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Variables of the caller that the host's programs get; nothing else of the caller's environment passes.
pub const PASSED: [&str; 8] = ["PATH", "USER", "TERM", "COLORTERM", "LANG", "LC_ALL", "LC_CTYPE", "TZ"];
/// By this a program can tell that it runs confined; safebox itself never reads it.
pub const ENVIRONMENT: &str = "SAFEBOX=1";
/// What a run of the host's programs shows of the host, read-only, with every directory whose name begins with /lib.
pub const HOST_TREES: [&str; 7] = ["/usr", "/bin", "/sbin", "/etc", "/opt", "/nix", "/gnu"];

/// What runc and Docker mask (moby's default list), plus what later advisories added.
pub const MASKED: [&str; 13] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/sys/fs/selinux",
];

/// What runc and Docker make read-only.
pub const READONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// `linux.sysctl` of a container with a network namespace of its own. A port below 1024 says "root has opened it" to
/// the users of one machine; in a namespace without other users it says nothing, and a program that is not root
/// needs no capability for it.
pub const SYSCTL: (&str, &str) = ("net.ipv4.ip_unprivileged_port_start", "0");

/// `linux.sysctl` of a container with a user namespace of its own: what it may take of tables that the whole host shares.
pub const USER_SYSCTL: [(&str, u64); 3] = [
    ("user.max_inotify_instances", 128),
    ("user.max_inotify_watches", 65_536),
    ("user.max_user_namespaces", 0),
];
