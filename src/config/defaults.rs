//! The table of container defaults: settings of a hardened container that its config does not set.
//!
//! Sizes, options and numbers are defined here once. The rules of the policy read them.

use crate::tables::namespaces::NsKind;

/// Memory limit in bytes, if the config sets none; includes swap.
pub const MEMORY: i64 = 512 << 20;
/// Number of cpus, if the config sets no quota.
pub const CPUS: f64 = 1.0;
/// Maximum number of processes and threads, if the config sets no limit.
pub const PIDS: i64 = 256;

/// Soft limit of open files per process.
pub const SOFT_FILES: u64 = 1024;
/// Bounds of the hard limit of open files, which derives from fs.file-max and the number of processes.
pub const FILES: (u64, u64) = (256, 65_536);
/// Maximum number of queued signals of all processes together.
pub const SIGNALS: u64 = 4096;
/// Maximum bytes of POSIX message queues of all processes together: the kernel's default.
pub const QUEUES: u64 = 819_200;
/// Maximum number of terminals. kernel.pty.max is one limit for all containers of the host.
pub const PTYS: u32 = 64;

/// A file system that a container gets if the config mounts nothing at its destination.
#[derive(Debug)]
pub struct MountRow {
    /// Absolute path inside the container.
    pub destination: &'static str,
    /// `type`.
    pub fs_type: &'static str,
    /// `source`.
    pub source: &'static str,
    /// `options`, without the size.
    pub options: &'static [&'static str],
    /// Maximum size.
    pub size: TmpfsSize,
}

/// Maximum size of a tmpfs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TmpfsSize {
    /// The file system has no size option.
    None,
    /// Size in bytes.
    Bytes(i64),
    /// Half of the memory limit; [`TMPFS`] without a memory limit.
    HalfOfMemory,
}

/// Size in bytes of a tmpfs of the config without a size option.
pub const TMPFS: i64 = 64 << 20;

impl TmpfsSize {
    /// The size in bytes for a container with this memory limit.
    pub fn bytes(self, memory: Option<i64>) -> Option<i64> {
        match (self, memory) {
            (TmpfsSize::None, _) => None,
            (TmpfsSize::Bytes(bytes), _) => Some(bytes),
            (TmpfsSize::HalfOfMemory, Some(limit)) if limit > 0 => Some(limit / 2),
            (TmpfsSize::HalfOfMemory, _) => Some(TMPFS),
        }
    }
}

const fn row(
    destination: &'static str,
    (fs_type, source): (&'static str, &'static str),
    options: &'static [&'static str],
    size: TmpfsSize,
) -> MountRow {
    MountRow { destination, fs_type, source, options, size }
}

/// Private file systems that every container gets.
pub const STANDARD: [MountRow; 6] = [
    row("/proc", ("proc", "proc"), &["nosuid", "noexec", "nodev"], TmpfsSize::None),
    row("/dev", ("tmpfs", "tmpfs"), &["nosuid", "noexec", "mode=755"], TmpfsSize::Bytes(64 << 10)),
    row(
        "/dev/pts",
        ("devpts", "devpts"),
        &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        TmpfsSize::None,
    ),
    row(
        "/dev/shm",
        ("tmpfs", "shm"),
        &["nosuid", "noexec", "nodev", "mode=1777"],
        TmpfsSize::Bytes(64 << 20),
    ),
    row("/dev/mqueue", ("mqueue", "mqueue"), &["nosuid", "noexec", "nodev"], TmpfsSize::None),
    row("/sys", ("sysfs", "sysfs"), &["nosuid", "noexec", "nodev", "ro"], TmpfsSize::None),
];

/// The mount of the cgroup file system, if the config has one.
pub const CGROUP: MountRow = row(
    "/sys/fs/cgroup",
    ("cgroup", "cgroup"),
    &["nosuid", "noexec", "nodev", "relatime", "ro"],
    TmpfsSize::None,
);

/// File systems that can be mounted only by the user namespace that owns the corresponding namespace. If that is the
/// host's namespace, the host's mount is bind mounted: (type, namespace, host path, options).
pub const OF_NAMESPACES: [(&str, NsKind, &str, &[&str]); 3] = [
    ("sysfs", NsKind::Net, "/sys", &["rbind", "rro", "rnosuid", "rnodev", "rnoexec"]),
    ("proc", NsKind::Pid, "/proc", &["rbind", "rnosuid", "rnodev", "rnoexec"]),
    ("mqueue", NsKind::Ipc, "/dev/mqueue", &["bind", "nosuid", "nodev", "noexec"]),
];

/// Capabilities in the output of `safebox spec`, the same as runc's.
pub const SPEC_CAPABILITIES: [&str; 3] = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"];

/// Writable file systems of a container with a read-only root. `/run` starts with the image's content:
/// directories of daemons such as `/run/postgresql`.
pub const SCRATCH: [MountRow; 3] = [
    row("/tmp", ("tmpfs", "tmpfs"), &["nosuid", "noexec", "nodev", "mode=1777"], TmpfsSize::HalfOfMemory),
    row(
        "/run",
        ("tmpfs", "tmpfs"),
        &["nosuid", "noexec", "nodev", "mode=1777", "tmpcopyup"],
        TmpfsSize::Bytes(16 << 20),
    ),
    row(
        "/var/tmp",
        ("tmpfs", "tmpfs"),
        &["nosuid", "noexec", "nodev", "mode=1777"],
        TmpfsSize::Bytes(64 << 20),
    ),
];

/// Home of a user that the policy chooses: the name of a directory in the first tmpfs of [`HOME_IN`].
pub const HOME: &str = "home";
/// Mount points that can hold the home: it is in a tmpfs, so that nothing is created in the image.
pub const HOME_IN: [&str; 4] = ["/run", "/tmp", "/var/tmp", "/dev/shm"];
/// Maximum size of the home.
pub const HOME_SIZE: TmpfsSize = TmpfsSize::HalfOfMemory;
/// Name of that user and group if the image has none for the id; the second name if the image uses the first
/// for another id. (Google's distroless images use `nonroot`.)
pub const USER_NAMES: [&str; 2] = ["nonroot", "safebox"];

/// `PATH`, if neither config nor options set it.
pub const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Variables of the caller that are passed to the host's programs; all others are dropped.
pub const PASSED: [&str; 8] = ["PATH", "USER", "TERM", "COLORTERM", "LANG", "LC_ALL", "LC_CTYPE", "TZ"];
/// A program can detect by this variable that it runs confined; safebox itself never reads it.
pub const ENVIRONMENT: &str = "SAFEBOX=1";
/// Directories of the host that a run of the host's programs sees, read-only. Every directory whose name
/// starts with /lib is added.
pub const HOST_TREES: [&str; 7] = ["/usr", "/bin", "/sbin", "/etc", "/opt", "/nix", "/gnu"];

/// Paths that runc and Docker mask (moby's default list), plus paths of later advisories.
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

/// Paths that runc and Docker make read-only.
pub const READONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// `linux.sysctl` of a container with its own network namespace. A port below 1024 tells the users of a
/// machine that root opened it. In a namespace without other users this has no meaning, and an unprivileged
/// program needs no capability for such a port.
pub const SYSCTL: (&str, &str) = ("net.ipv4.ip_unprivileged_port_start", "0");

/// `linux.sysctl` of a container with its own user namespace: its share of kernel tables that the whole host
/// shares.
pub const USER_SYSCTL: [(&str, u64); 3] = [
    ("user.max_inotify_instances", 128),
    ("user.max_inotify_watches", 65_536),
    ("user.max_user_namespaces", 0),
];
