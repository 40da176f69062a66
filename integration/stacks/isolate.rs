//! An isolated environment for daemons, which shares nothing with the machine's own.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

/// Parts of the machine's /run in the private one: systemd's buses, for scopes.
const KEPT: &[&str] = &["/run/systemd", "/run/dbus", "/run/user"];

/// The unprivileged user for rootless stacks; the private environment adds it if it is missing.
pub const ORDINARY: &str = "tester";
const IDS: u32 = 64_321;
const NONE: Option<&str> = None;

/// Whether systemd runs: scopes are possible, and it is the default cgroup manager.
pub fn systemd() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

/// Enters new mount and network namespaces with an empty /run. Orphans of this process's descendants become
/// its children, so that none is lost.
pub fn enter() -> Result<(), String> {
    let os = |what: &str| {
        let what = what.to_string();
        move |e: nix::Error| format!("{what}: {e}")
    };
    linger();
    nix::sys::prctl::set_child_subreaper(true).map_err(os("prctl(PR_SET_CHILD_SUBREAPER)"))?;
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET).map_err(os("unshare"))?;
    let propagation = |flags: MsFlags| mount(NONE, "/", NONE, flags | MsFlags::MS_REC, NONE);
    propagation(MsFlags::MS_PRIVATE).map_err(os("make mounts private"))?;
    // While mounts are private: a mount over a shared /run would appear wherever /run is visible.
    fresh_run().map_err(os("an empty /run"))?;
    ordinary().map_err(|e| format!("the unprivileged user: {e}"))?;
    // As systemd mounts it, and as daemons expect it.
    propagation(MsFlags::MS_SHARED).map_err(os("make mounts shared"))?;
    let lo = Command::new("ip").args(["link", "set", "lo", "up"]).status();
    if lo.is_ok_and(|s| s.success()) { Ok(()) } else { Err("ip link set lo up failed".into()) }
}

/// A tmpfs over /run, with the kept directories bound in it.
fn fresh_run() -> nix::Result<()> {
    let aside = tempfile::tempdir().map_err(|_| nix::Error::EIO)?;
    mount(Some("/run"), aside.path(), NONE, MsFlags::MS_BIND | MsFlags::MS_REC, NONE)?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("tmpfs"), "/run", Some("tmpfs"), flags, Some("mode=755"))?;
    for kept in KEPT.iter().map(Path::new) {
        let Some(name) = kept.file_name() else { continue };
        let from = aside.path().join(name);
        if from.is_dir() && fs::create_dir(kept).is_ok() {
            mount(Some(&from), kept, NONE, MsFlags::MS_BIND | MsFlags::MS_REC, NONE)?;
        }
    }
    // Podman's locks.
    mount(Some("tmpfs"), "/dev/shm", Some("tmpfs"), flags, Some("mode=1777"))?;
    fs::create_dir_all("/run/lock").map_err(|_| nix::Error::EIO)?;
    umount2(aside.path(), MntFlags::MNT_DETACH)
}

/// Starts the systemd user manager of the unprivileged user, before /run is private.
fn linger() {
    let Some(user) = user() else { return };
    if !systemd() {
        return;
    }
    let unit = format!("user@{}.service", user.uid);
    let asked = Command::new("systemctl").args(["start", &unit]).status();
    if !asked.is_ok_and(|s| s.success()) {
        eprintln!("stacks: {unit} does not start");
        return; // The stack of the unprivileged user reports the missing bus.
    }
    let bus = user.runtime_dir.join("bus");
    for _ in 0..600 {
        if bus.exists() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}

/// An entry of /etc/passwd.
pub struct User {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// `XDG_RUNTIME_DIR`.
    pub runtime_dir: PathBuf,
}

/// The unprivileged user, if it exists. Parsed here, because a static program cannot use the C library's
/// lookup.
pub fn user() -> Option<User> {
    let users = fs::read_to_string("/etc/passwd").ok()?;
    let fields = users.lines().map(|l| l.split(':').collect::<Vec<_>>()).find(|f| f[0] == ORDINARY)?;
    let (uid, gid) = (fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?);
    Some(User { uid, gid, runtime_dir: Path::new("/run/user").join(fields[2]) })
}

/// Adds the unprivileged user, its runtime directory, and subordinate ids for it and for Podman's
/// `--userns=auto`. The machine's files stay unchanged: bind mounts cover them here only.
fn ordinary() -> std::io::Result<()> {
    let mut ranges = "containers:3000000:1048576\n".to_string();
    if user().is_none() {
        cover("/etc/passwd", &format!("{ORDINARY}:x:{IDS}:{IDS}::/tmp:/bin/sh\n"))?;
        cover("/etc/group", &format!("{ORDINARY}:x:{IDS}:\n"))?;
        ranges += &format!("{ORDINARY}:2000000:65536\n");
    }
    cover("/etc/subuid", &ranges)?;
    cover("/etc/subgid", &ranges)?;
    let user = user().ok_or(std::io::ErrorKind::NotFound)?;
    let dir = user.runtime_dir;
    if !dir.exists() {
        fs::create_dir_all("/run/user")?;
        fs::DirBuilder::new().mode(0o700).create(&dir)?;
        chown(&dir, Some(user.uid), Some(user.gid))?;
    }
    Ok(())
}

/// Mounts a copy with more lines over a file.
fn cover(path: &str, lines: &str) -> std::io::Result<()> {
    let mut text = fs::read_to_string(path)?;
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    let copy = format!("/run/stacks{}", path.replace('/', "-"));
    fs::write(&copy, text + lines)?;
    Ok(mount(Some(copy.as_str()), path, NONE, MsFlags::MS_BIND, NONE)?)
}
