//! Default location of the state directory.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use nix::errno::Errno;
use nix::unistd::{AccessFlags, access};

use super::plain_root;

/// State root of root.
const OF_ROOT: &str = "/run/safebox";

/// The default state root: `/run/safebox`, or below `$XDG_RUNTIME_DIR` for an unprivileged user. Root of a
/// user namespace counts as unprivileged unless `$USER` is root; Podman calls without `$USER`. The rule is
/// runc's. It is found once in the life of a process.
pub fn default_state_root() -> PathBuf {
    static FOUND: OnceLock<PathBuf> = OnceLock::new();
    FOUND.get_or_init(find).clone()
}

fn find() -> PathBuf {
    let var = |name| std::env::var_os(name).filter(|v| !v.is_empty());
    let euid = nix::unistd::geteuid();
    match var("XDG_RUNTIME_DIR") {
        Some(dir) if !plain_root() => PathBuf::from(dir).join("safebox"),
        // The root file system of a container may be read-only.
        _ if euid.is_root() && writable(Path::new(OF_ROOT)) != Err(Errno::EROFS) => OF_ROOT.into(),
        _ => fallback_state_root(),
    }
}

/// State root of an unprivileged user without `$XDG_RUNTIME_DIR`: below the world-writable /tmp. In a container whose
/// root file system is read-only, or has no /tmp for all users, below /dev/shm.
fn fallback_state_root() -> PathBuf {
    let of_user = |dir: &str| PathBuf::from(format!("{dir}/safebox-{}", nix::unistd::geteuid()));
    let (tmp, shm) = (of_user("/tmp"), of_user("/dev/shm"));
    // One that another user has made is refused later, and not evaded.
    let made = tmp.symlink_metadata().is_ok();
    if !made && writable(&tmp).is_err() && writable(&shm).is_ok() { shm } else { tmp }
}

/// Whether this is a default root below a directory that all users can write.
pub fn is_fallback(root: &Path) -> bool {
    root != Path::new(OF_ROOT) && root == fallback_state_root()
}

/// Whether the directory can be written, or created.
fn writable(dir: &Path) -> nix::Result<()> {
    let existing = dir.ancestors().find(|above| above.symlink_metadata().is_ok());
    access(existing.unwrap_or(Path::new("/")), AccessFlags::W_OK | AccessFlags::X_OK)
}
