//! Where the states of containers are kept.

use std::path::PathBuf;

use super::plain_root;

/// Where containers' state is kept: `/run/safebox`, or below `$XDG_RUNTIME_DIR` for an ordinary user
/// (or root of a user namespace whose `$USER` is not root: Podman's calls have none), as runc decides it.
pub fn default_state_root() -> PathBuf {
    let var = |name| std::env::var_os(name).filter(|v| !v.is_empty());
    let euid = nix::unistd::geteuid();
    match var("XDG_RUNTIME_DIR") {
        Some(dir) if !plain_root() => PathBuf::from(dir).join("safebox"),
        _ if euid.is_root() => PathBuf::from("/run/safebox"),
        _ => fallback_state_root(),
    }
}

/// Where an ordinary user's states are who has no `$XDG_RUNTIME_DIR`: below a directory that is everybody's.
pub fn fallback_state_root() -> PathBuf {
    PathBuf::from(format!("/tmp/safebox-{}", nix::unistd::geteuid()))
}
