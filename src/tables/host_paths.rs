//! Paths of the host whose files expose or control it. The launcher's options, which refuse some of them as sources, and
//! the rules of the policy, which judge every bind mount, read the same rows.

/// When a bind mount of a path is not harmless.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exposes {
    /// The path and everything below it, read-only too.
    Below,
    /// The directory as a whole, read-only too.
    Whole,
    /// The directory as a whole, if it is writable: its files are readable by every user.
    WholeWritable,
    /// The path and everything below it, if it is writable: the host executes these files, or trusts their content.
    BelowWritable,
}

/// Whether `restricted` refuses an option that names a path as a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// No: the mount is the caller's wish, and is printed as weaker.
    Never,
    /// The directory as a whole.
    Whole,
    /// The path and everything below it.
    Below,
}

/// One path.
#[derive(Debug, Clone, Copy)]
pub struct HostPath {
    /// Absolute path without symlinks.
    pub path: &'static str,
    /// When a mount of it is not harmless.
    pub exposes: Exposes,
    /// Whether options may name it.
    pub refused: Refused,
}

const fn row(path: &'static str, exposes: Exposes, refused: Refused) -> HostPath {
    HostPath { path, exposes, refused }
}

/// All paths.
pub const HOST_PATHS: &[HostPath] = &[
    row("/", Exposes::Whole, Refused::Whole),
    row("/etc", Exposes::Whole, Refused::Whole),
    row("/run", Exposes::Whole, Refused::Whole),
    row("/boot", Exposes::Below, Refused::Below),
    row("/proc", Exposes::Below, Refused::Below),
    row("/sys", Exposes::Below, Refused::Below),
    row("/dev", Exposes::Below, Refused::Below),
    // Directories of container engines and of this runtime. Engines bind mount single files of theirs into containers.
    row("/run/containerd", Exposes::Whole, Refused::Below),
    row("/run/crio", Exposes::Whole, Refused::Below),
    row("/run/podman", Exposes::Whole, Refused::Below),
    row("/run/docker", Exposes::Whole, Refused::Below),
    row("/run/buildkit", Exposes::Whole, Refused::Below),
    row("/run/safebox", Exposes::Whole, Refused::Below),
    row("/run/safebox-ids", Exposes::Whole, Refused::Below),
    row("/run/dbus", Exposes::Whole, Refused::Never),
    row("/run/systemd", Exposes::Whole, Refused::Never),
    row("/var", Exposes::Whole, Refused::Never),
    row("/var/lib", Exposes::Whole, Refused::Never),
    row("/var/lib/docker", Exposes::Whole, Refused::Never),
    row("/var/lib/docker/volumes", Exposes::Whole, Refused::Never),
    row("/var/lib/containerd", Exposes::Whole, Refused::Never),
    row("/var/lib/kubelet", Exposes::Whole, Refused::Never),
    row("/var/lib/kubelet/pki", Exposes::Below, Refused::Never),
    row("/root", Exposes::Below, Refused::Never),
    row("/etc/kubernetes", Exposes::Below, Refused::Never),
    row("/etc/ssh", Exposes::Below, Refused::Never),
    row("/etc/shadow", Exposes::Below, Refused::Never),
    row("/etc/gshadow", Exposes::Below, Refused::Never),
    row("/etc/sudoers", Exposes::Below, Refused::Never),
    row("/opt", Exposes::WholeWritable, Refused::Never),
    row("/var/log", Exposes::WholeWritable, Refused::Never),
    row("/home", Exposes::WholeWritable, Refused::Never),
    row("/usr", Exposes::BelowWritable, Refused::Never),
    row("/lib", Exposes::BelowWritable, Refused::Never),
    row("/lib32", Exposes::BelowWritable, Refused::Never),
    row("/lib64", Exposes::BelowWritable, Refused::Never),
    row("/bin", Exposes::BelowWritable, Refused::Never),
    row("/sbin", Exposes::BelowWritable, Refused::Never),
    row("/opt/cni", Exposes::BelowWritable, Refused::Never),
    row("/etc/cni", Exposes::BelowWritable, Refused::Never),
    row("/etc/containerd", Exposes::BelowWritable, Refused::Never),
    row("/etc/docker", Exposes::BelowWritable, Refused::Never),
    row("/etc/safebox", Exposes::BelowWritable, Refused::Never),
    row("/etc/passwd", Exposes::BelowWritable, Refused::Never),
    row("/etc/group", Exposes::BelowWritable, Refused::Never),
    row("/etc/sudoers.d", Exposes::BelowWritable, Refused::Never),
    row("/etc/crontab", Exposes::BelowWritable, Refused::Never),
    row("/etc/cron.d", Exposes::BelowWritable, Refused::Never),
    row("/etc/cron.daily", Exposes::BelowWritable, Refused::Never),
    row("/etc/cron.hourly", Exposes::BelowWritable, Refused::Never),
    row("/var/spool/cron", Exposes::BelowWritable, Refused::Never),
    row("/etc/init.d", Exposes::BelowWritable, Refused::Never),
    row("/etc/systemd", Exposes::BelowWritable, Refused::Never),
    row("/etc/pam.d", Exposes::BelowWritable, Refused::Never),
    row("/etc/profile.d", Exposes::BelowWritable, Refused::Never),
    row("/etc/ld.so.preload", Exposes::BelowWritable, Refused::Never),
    row("/etc/ld.so.conf.d", Exposes::BelowWritable, Refused::Never),
];

/// Names of sockets by which a process gives orders to a container engine, and so is root. Options refuse every socket.
pub const ENGINE_SOCKETS: [&str; 7] = [
    "docker.sock",
    "containerd.sock",
    "crio.sock",
    "podman.sock",
    "buildkitd.sock",
    "cri-dockerd.sock",
    "dockershim.sock",
];
