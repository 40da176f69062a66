//! Default location of the state directory.

use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};

use super::plain_root;

/// State root of root.
const OF_ROOT: &str = "/run/safebox";

/// The default state root: `/run/safebox`, or below `$XDG_RUNTIME_DIR` for an unprivileged user. Root of a
/// user namespace counts as unprivileged unless `$USER` is root; Podman calls without `$USER`. The rule is
/// runc's.
pub fn default_state_root() -> PathBuf {
    let var = |name| std::env::var_os(name).filter(|v| !v.is_empty());
    let euid = nix::unistd::geteuid();
    match var("XDG_RUNTIME_DIR") {
        Some(dir) if !plain_root() => PathBuf::from(dir).join("safebox"),
        _ => {
            let (of_root, fallback) = (Path::new(OF_ROOT), fallback_state_root());
            let usable = || is_usable(of_root) || !is_usable(&fallback);
            if euid.is_root() && usable() { of_root.into() } else { fallback }
        }
    }
}

/// State root of an unprivileged user without `$XDG_RUNTIME_DIR`: below the world-writable /tmp. In a container whose
/// root file system is read-only, or has no /tmp for all users, below /dev/shm.
pub fn fallback_state_root() -> PathBuf {
    let of_user = |dir: &str| PathBuf::from(format!("{dir}/safebox-{}", nix::unistd::geteuid()));
    let (tmp, shm) = (of_user("/tmp"), of_user("/dev/shm"));
    if !is_usable(&tmp) && is_usable(&shm) { shm } else { tmp }
}

/// Whether the directory exists, or can be created.
fn is_usable(dir: &Path) -> bool {
    let writable = |dir: &Path| access(dir, AccessFlags::W_OK | AccessFlags::X_OK).is_ok();
    dir.ancestors().find(|above| above.symlink_metadata().is_ok()).is_some_and(writable)
}
