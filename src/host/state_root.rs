//! Default location of the state directory.

use std::path::PathBuf;

use super::plain_root;

/// The default state root: `/run/safebox`, or below `$XDG_RUNTIME_DIR` for an unprivileged user. Root of a
/// user namespace counts as unprivileged unless `$USER` is root; Podman calls without `$USER`. The rule is
/// runc's.
pub fn default_state_root() -> PathBuf {
    let var = |name| std::env::var_os(name).filter(|v| !v.is_empty());
    let euid = nix::unistd::geteuid();
    match var("XDG_RUNTIME_DIR") {
        Some(dir) if !plain_root() => PathBuf::from(dir).join("safebox"),
        _ if euid.is_root() => PathBuf::from("/run/safebox"),
        _ => fallback_state_root(),
    }
}

/// State root of an unprivileged user without `$XDG_RUNTIME_DIR`: below the world-writable /tmp.
pub fn fallback_state_root() -> PathBuf {
    PathBuf::from(format!("/tmp/safebox-{}", nix::unistd::geteuid()))
}
