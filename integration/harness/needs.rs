//! Requirements of tests on the machine, with the reason if one is not met.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use safebox::cgroup::Hierarchy;

use super::carried::{carried, lesson, slow};

/// A requirement, or a mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(dead_code)] // the list serves every test file, present and future
pub enum Need {
    /// Effective uid 0.
    Root,
    /// An unprivileged user.
    NotRoot,
    /// The host is pure cgroup v2.
    CgroupV2,
    /// The controllers are on cgroup v1 (a hybrid host counts).
    CgroupV1,
    /// The machine was booted with systemd.
    Systemd,
    /// The machine was not booted with systemd.
    NoSystemd,
    /// An unprivileged user may create user namespaces.
    OrdinaryUserns,
    /// newuidmap is installed, and an unprivileged user has a subordinate id range.
    Subordinate,
    /// runc is installed, for comparison.
    Runc,
    /// strace is installed and may ptrace.
    Strace,
    /// AppArmor is enabled in the kernel.
    AppArmor,
    /// SELinux is enabled in the kernel.
    Selinux,
    /// User namespaces can be created.
    Userns,
    /// The file system of temporary files can be idmapped.
    Idmap,
    /// A tmpfs can be idmapped.
    IdmapTmpfs,
    /// Virtual network devices can be created.
    NetDevice,
    /// Network namespaces with a pair of devices between them, python3, openssl and curl.
    World,
    /// Network namespaces with a pair of devices between them, bash and busybox.
    Pair,
    /// python3 is installed.
    Python,
    /// This program is installed.
    Program(&'static str),
    /// The root mount is private: what is mounted there does not propagate.
    PrivateRoot,
    /// pasta(1) is installed.
    Pasta,
    /// CNI plugins (bridge, host-local, portmap, firewall) and iptables are installed.
    Cni,
    /// This file is installed.
    File(&'static str),
    /// git is installed.
    Git,
    /// cargo of a Rust toolchain.
    Toolchain,
    /// The attackers' probe: copied along, or a C compiler that links statically.
    Probe,
    /// The lessons of `examples` are built.
    Lessons,
    /// The lessons on the kernel: built by cargo, or copied along.
    KernelLessons,
    /// criu that works on this kernel: `SAFEBOX_CRIU`, or the one in `$PATH` (`scripts/criu` finds or fetches it).
    Criu,
    /// criu that can also save changed memory only.
    CriuMemTrack,
    /// criu that cannot save only changed memory.
    CriuNoMemTrack,
    /// The templates of the documents that this project comes from, which are no part of it.
    Templates,
    /// Debug build: the allocator trap exists.
    Debug,
    /// The test is about speed or large amounts, for which an emulated machine is too slow.
    Quick,
    /// A mark: the test is about OCI behaviour, so it also runs against `SAFEBOX_RUNTIME`.
    Oci,
    /// A mark: no other test runs at the same time.
    Alone,
}

impl Need {
    /// The reason why the requirement is not met; `None` if it is met.
    pub fn missing(self) -> Option<String> {
        let unless = |met: bool, reason: &str| (!met).then(|| reason.to_string());
        match self {
            Need::Root => unless(euid() == 0, "needs root"),
            Need::NotRoot => unless(euid() != 0, "needs an unprivileged user"),
            Need::CgroupV2 => unless(v2(), "needs a pure cgroup v2 host"),
            Need::CgroupV1 => unless(!v2(), "needs a host with cgroup v1 controllers"),
            Need::Systemd => unless(systemd(), "needs a machine that was booted with systemd"),
            Need::NoSystemd => unless(!systemd(), "needs a machine without systemd"),
            Need::OrdinaryUserns => {
                unless(*ORDINARY, "an unprivileged user cannot create user namespaces here")
            }
            Need::Subordinate => unless(
                subordinate().is_some() && find("newuidmap").is_some(),
                "no unprivileged user with a range in /etc/subuid, or no newuidmap",
            ),
            Need::Runc => unless(find("runc").is_some(), "runc is not installed"),
            Need::Strace => unless(*STRACE, "strace is not installed or may not ptrace"),
            Need::AppArmor => unless(host(|h| *h.apparmor.get()), "AppArmor is not enabled in this kernel"),
            Need::Selinux => unless(host(|h| *h.selinux.get()), "SELinux is not enabled in this kernel"),
            Need::Userns => unless(*USERNS, "user namespaces cannot be created here"),
            Need::Idmap => unless(
                can_idmap(&std::env::temp_dir()),
                "this kernel cannot idmap the file system of temporary files (mount_setattr(2))",
            ),
            Need::IdmapTmpfs => {
                unless(can_idmap("/dev/shm".as_ref()), "this kernel cannot idmap tmpfs (since 6.3)")
            }
            Need::NetDevice => unless(
                device_kind().is_some(),
                "`ip link add` can create neither a dummy nor an ifb device here",
            ),
            Need::World => unless(*WORLD, "needs veth devices, nsenter, /usr/bin/python3, openssl and curl"),
            Need::Pair => unless(*PAIR, "needs veth devices, nsenter, bash and busybox"),
            Need::Python => unless(find("python3").is_some(), "python3 is not installed"),
            Need::Program(name) => unless(find(name).is_some(), &format!("{name} is not installed")),
            Need::PrivateRoot => unless(
                private_root(),
                "the root mount is shared: mounts of a plan without a row would reach the host",
            ),
            Need::Pasta => unless(find("pasta").is_some(), "pasta is not installed (passt)"),
            Need::Cni => unless(
                CNI.iter().all(|p| std::path::Path::new(p).exists()) && find("iptables").is_some(),
                "needs the plugins of CNI in /usr/lib/cni and iptables (containernetworking-plugins)",
            ),
            Need::File(path) => {
                (!std::path::Path::new(path).exists()).then(|| format!("{path} is not installed"))
            }
            Need::Git => unless(find("git").is_some(), "git is not installed"),
            Need::Toolchain => unless(toolchain().is_some(), "no Rust toolchain is installed (rustc, cargo)"),
            Need::Probe => unless(carried("probe").is_some() || *CC, "cc -static does not work here"),
            Need::Lessons => unless(lesson("14_plan").exists(), "not built (`cargo build --examples`)"),
            Need::KernelLessons => unless(
                carried("examples").is_none() || lesson("01_namespaces").exists(),
                "they were not copied here (`cargo build -p lessons`)",
            ),
            Need::Criu => CRIU.as_ref().err().cloned(),
            Need::CriuMemTrack => unless(*MEM_TRACK, "criu cannot track changed memory on this kernel"),
            Need::CriuNoMemTrack => unless(!*MEM_TRACK, "criu can track changed memory here"),
            Need::Templates => unless(
                templates().is_dir(),
                "the templates of the project's documents are not on this machine",
            ),
            Need::Debug => unless(cfg!(debug_assertions), "needs a debug build"),
            Need::Quick => unless(slow() == 1, "about speed or large amounts, and this machine is slow"),
            Need::Oci | Need::Alone => None,
        }
    }
}

/// The directory of [`Need::Templates`].
pub fn templates() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/templates"))
}

/// The path of a program in `$PATH` or in the directories for administrators.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/local/sbin"].map(PathBuf::from))
        .map(|dir| dir.join(program))
        .find(|p| p.is_file())
}

fn systemd() -> bool {
    std::path::Path::new("/run/systemd/system").is_dir()
}

fn euid() -> u32 {
    nix::unistd::geteuid().as_raw()
}

fn v2() -> bool {
    Hierarchy::probe().is_ok_and(|h| h.is_v2())
}

fn host(fact: fn(&safebox::host::Host) -> bool) -> bool {
    safebox::host::Host::probe().is_ok_and(|h| fact(&h))
}

/// Whether the file system at `path` can be idmapped.
fn can_idmap(path: &std::path::Path) -> bool {
    let path = std::ffi::CString::new(path.to_string_lossy().as_bytes()).expect("a path");
    let magic = safebox::sys::fs::path_magic(&path).expect("statfs");
    safebox::host::Host::probe().is_ok_and(|h| h.can_idmap(magic))
}

/// A user id that no system uses.
pub const NOBODYS: u32 = 54_321;

/// The plugins that tests run.
const CNI: [&str; 4] =
    ["/usr/lib/cni/bridge", "/usr/lib/cni/host-local", "/usr/lib/cni/portmap", "/usr/lib/cni/firewall"];

/// The directory of the Rust toolchain: rustup's programs in `$PATH` only lead there.
pub fn toolchain() -> Option<PathBuf> {
    let out = Command::new("rustc").args(["--print", "sysroot"]).stderr(Stdio::null()).output().ok()?;
    let sysroot = PathBuf::from(String::from_utf8(out.stdout).ok()?.trim());
    sysroot.join("bin/cargo").exists().then_some(sysroot)
}

/// A pair of devices can be made, and what the servers beyond need is installed.
static WORLD: LazyLock<bool> = LazyLock::new(|| {
    let programs = ["openssl", "curl"].iter().all(|p| find(p).is_some());
    programs && std::path::Path::new("/usr/bin/python3").exists() && *PAIR
});

static PAIR: LazyLock<bool> = LazyLock::new(|| {
    let programs = ["ip", "nsenter", "bash", "busybox"].iter().all(|p| find(p).is_some());
    let ip = |args: &[&str]| {
        Command::new("ip").args(args).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
    };
    let name = format!("w{}", std::process::id());
    let made = programs
        && ip(&["netns", "add", &name])
        && ip(&["-n", &name, "link", "add", "w0", "type", "veth", "peer", "name", "w1"]);
    ip(&["netns", "delete", &name]);
    made
});

static ORDINARY: LazyLock<bool> = LazyLock::new(|| {
    use std::os::unix::process::CommandExt;
    let mut command = Command::new("unshare");
    command.args(["--user", "true"]).uid(NOBODYS).gid(NOBODYS).stdin(Stdio::null()).stderr(Stdio::null());
    euid() == 0 && command.status().is_ok_and(|s| s.success())
});

/// An unprivileged user with an id range in /etc/subuid: (uid, gid).
pub fn subordinate() -> Option<(u32, u32)> {
    let ranges = std::fs::read_to_string("/etc/subuid").ok()?;
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    users.lines().find_map(|line| {
        let fields: Vec<_> = line.split(':').collect();
        let (uid, gid): (u32, u32) = (fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?);
        let given = ranges.lines().any(|r| r.split(':').next() == Some(fields[0]));
        (uid != 0 && given).then_some((uid, gid))
    })
}

static STRACE: LazyLock<bool> = LazyLock::new(|| succeeds("strace", &["-o", "/dev/null", "true"]));
static USERNS: LazyLock<bool> = LazyLock::new(|| succeeds("unshare", &["--user", "true"]));

/// A kind of virtual network device that this kernel can create.
pub fn device_kind() -> Option<&'static str> {
    static KIND: LazyLock<Option<&str>> = LazyLock::new(|| {
        let name = format!("sbx{}", std::process::id());
        let works = |kind: &&str| {
            succeeds("ip", &["link", "add", &name, "type", kind]) && succeeds("ip", &["link", "del", &name])
        };
        ["dummy", "ifb"].into_iter().find(works)
    });
    *KIND
}

static CC: LazyLock<bool> = LazyLock::new(|| {
    let Ok(dir) = tempfile::tempdir() else { return false };
    let (source, out) = (dir.path().join("a.c"), dir.path().join("a"));
    let written = std::fs::write(&source, "int main(void) { return 0; }").is_ok();
    written && succeeds("cc", &["-static", "-o", &out.to_string_lossy(), &source.to_string_lossy()])
});

/// Directory of the tests' criu, to be put before `$PATH`.
pub fn criu() -> Option<&'static std::path::Path> {
    CRIU.as_ref().ok().and_then(|p| p.parent())
}

static CRIU: LazyLock<Result<PathBuf, String>> = LazyLock::new(|| {
    let found = std::env::var_os("SAFEBOX_CRIU").filter(|v| !v.is_empty()).map(PathBuf::from);
    let criu = found.or_else(|| find("criu")).ok_or("criu is not installed (scripts/criu fetches it)")?;
    // It writes a log into its working directory.
    let dir = tempfile::tempdir().map_err(|e| e.to_string())?;
    let out = Command::new(&criu)
        .arg("check")
        .current_dir(dir.path())
        .output()
        .map_err(|e| format!("{}: {e}", criu.display()))?;
    if out.status.success() {
        return Ok(criu);
    }
    let said = String::from_utf8_lossy(&out.stderr).lines().next().unwrap_or_default().to_string();
    Err(format!("criu does not work on this kernel, SAFEBOX_CRIU=$(scripts/criu) may: {said}"))
});

static MEM_TRACK: LazyLock<bool> = LazyLock::new(|| {
    let tracks = |criu: &PathBuf| {
        let dir = tempfile::tempdir().ok()?;
        let mut check = Command::new(criu);
        check.args(["check", "--feature", "mem_dirty_track"]).current_dir(dir.path());
        Some(check.output().ok()?.status.success())
    };
    CRIU.as_ref().ok().and_then(tracks).unwrap_or(false)
});

fn succeeds(program: &str, args: &[&str]) -> bool {
    Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|s| s.success())
}

/// Whether `/` has no peers (mountinfo of proc(5)).
fn private_root() -> bool {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let of_root = |line: &&str| line.split(' ').nth(4) == Some("/");
    mounts.lines().rfind(of_root).is_some_and(|line| !line.contains(" shared:"))
}
