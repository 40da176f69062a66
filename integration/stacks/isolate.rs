//! A place where a daemon can be started that shares nothing with the machine's own.

use std::path::Path;
use std::process::Command;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

/// What of the machine's /run is wanted in the private one: systemd's bus, for scopes.
const KEPT: &[&str] = &["/run/systemd", "/run/dbus", "/run/user"];

/// New mount and network namespaces, with an empty /run; orphans of this process's descendants become its
/// children, so that none is lost.
pub fn enter() -> Result<(), String> {
    let os = |what: &str| {
        let what = what.to_string();
        move |e: nix::Error| format!("{what}: {e}")
    };
    nix::sys::prctl::set_child_subreaper(true).map_err(os("prctl(PR_SET_CHILD_SUBREAPER)"))?;
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET).map_err(os("unshare"))?;
    let none: Option<&str> = None;
    let propagation = |flags: MsFlags| mount(none, "/", none, flags | MsFlags::MS_REC, none);
    propagation(MsFlags::MS_PRIVATE).map_err(os("make mounts private"))?;
    // As systemd has it, and as daemons expect it.
    propagation(MsFlags::MS_SHARED).map_err(os("make mounts shared"))?;
    fresh_run().map_err(os("an empty /run"))?;
    let lo = Command::new("ip").args(["link", "set", "lo", "up"]).status();
    if lo.is_ok_and(|s| s.success()) { Ok(()) } else { Err("ip link set lo up failed".into()) }
}

/// A tmpfs over /run, and in it again what is kept.
fn fresh_run() -> nix::Result<()> {
    let none: Option<&str> = None;
    let aside = tempfile::tempdir().map_err(|_| nix::Error::EIO)?;
    mount(Some("/run"), aside.path(), none, MsFlags::MS_BIND | MsFlags::MS_REC, none)?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("tmpfs"), "/run", Some("tmpfs"), flags, Some("mode=755"))?;
    for kept in KEPT.iter().map(Path::new) {
        let Some(name) = kept.file_name() else { continue };
        let from = aside.path().join(name);
        if from.is_dir() && std::fs::create_dir(kept).is_ok() {
            mount(Some(&from), kept, none, MsFlags::MS_BIND | MsFlags::MS_REC, none)?;
        }
    }
    // Podman's locks.
    mount(Some("tmpfs"), "/dev/shm", Some("tmpfs"), flags, Some("mode=1777"))?;
    std::fs::create_dir_all("/run/lock").map_err(|_| nix::Error::EIO)?;
    nix::mount::umount2(aside.path(), nix::mount::MntFlags::MNT_DETACH)
}
