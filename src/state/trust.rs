//! Who can have written what lies in a state directory: it is believed by every verb, so it must be this user's alone.

use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;

use super::files;
use crate::error::{Error, Result};

/// Makes `root`, private to this user, where it is missing.
pub fn make_root(root: &Path) -> Result<()> {
    if root == Path::new("/") {
        return Err(Error::msg("--root: / is not a place for state"));
    }
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(root).map_err(|e| {
        let text = e.raw_os_error().map_or_else(|| e.to_string(), crate::tables::errno::text);
        Error::msg(format!("state directory {}: {text} (choose another with --root)", root.display()))
    })?;
    // Somebody else may have made it since it was looked at.
    check_root(root)
}

/// A state root that `--root` does not name lies where others may be able to make it first: below /tmp, or below a
/// `$XDG_RUNTIME_DIR` that they can write. With states of theirs, their hooks would run, their processes be signalled
/// and their directories be removed. So it must be a directory of this user's that nobody else can write, or enter
/// where it is in /tmp, or not be there yet; and what it lies in must not let others replace it.
pub fn check_root(root: &Path) -> Result<()> {
    let refused = |why: String| {
        let remedy = "remove it, set $XDG_RUNTIME_DIR, or choose another with --root";
        Err(Error::msg(format!("state directory {}: {why}: {remedy}", root.display())))
    };
    if root != crate::host::state_root::default_state_root() {
        return Ok(());
    }
    let me = nix::unistd::geteuid().as_raw();
    let parent = root.parent().and_then(|dir| dir.metadata().ok());
    // In a user namespace: what lies in a directory of the host's root, it has put there.
    let of_the_host = parent.as_ref().is_some_and(|m| is_unmapped(m.uid()) && m.mode() & 0o022 == 0);
    if let Some(m) = parent {
        // The sticky bit keeps users from each other's directories (inode(7)).
        let open = m.mode() & 0o022 != 0 && m.mode() & 0o1000 == 0;
        if open || (m.uid() != me && m.uid() != 0 && !is_unmapped(m.uid())) {
            return refused(format!("user {} or others can replace it", m.uid()));
        }
    }
    let closed = if root == crate::host::state_root::fallback_state_root() { 0o077 } else { 0o022 };
    match root.symlink_metadata() {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(e) => refused(e.to_string()),
        Ok(m) if !m.is_dir() => refused("it is not a directory".into()),
        Ok(m) if m.uid() != me && !(of_the_host && is_unmapped(m.uid())) => {
            refused(format!("it belongs to user {}, not to you", m.uid()))
        }
        Ok(m) if m.mode() & closed != 0 => {
            let may = if closed == 0o077 { "enter" } else { "write" };
            refused(format!("others may {may} it (mode {:03o}, not 700)", m.mode() & 0o777))
        }
        Ok(_) => Ok(()),
    }
}

/// Whether this is the overflow id, as which root of the host appears in a user namespace (user_namespaces(7)).
fn is_unmapped(uid: u32) -> bool {
    const OVERFLOW: u32 = 65534;
    let maps = || std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    uid == OVERFLOW && crate::config::idmap::to_host(&crate::config::idmap::parse_map(&maps()), uid).is_none()
}

/// Whether only this user can have made, and can change, what lies at `path`, which is no symlink.
pub fn is_mine(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|m| (m.is_dir() || m.is_file()) && alone(&m))
}

fn alone(m: &std::fs::Metadata) -> bool {
    m.uid() == nix::unistd::geteuid().as_raw() && m.mode() & 0o022 == 0
}

/// Refuses the container's directory `dir` where it, or the state in it, may be another user's words. What is not there
/// is refused by nobody here. Root must not act on an ordinary user's words either: they name hooks to run, and
/// directories and control groups to remove.
pub fn check_owner(dir: &Path, id: &str) -> Result<()> {
    for path in [dir.to_path_buf(), dir.join(files::STATE)] {
        let Ok(m) = path.symlink_metadata() else { continue };
        if (m.is_dir() || m.is_file()) && alone(&m) {
            continue;
        }
        let place = path.display();
        let remedy = if alone(&m) {
            "it is neither a directory nor a file".to_string()
        } else if m.uid() == nix::unistd::geteuid().as_raw() {
            format!("if it is still what safebox wrote: chmod go-w {place}")
        } else {
            let (uid, gid) = (m.uid(), m.gid());
            let root = dir.parent().unwrap_or(dir).display();
            format!(
                "as root: setpriv --reuid {uid} --regid {gid} --init-groups safebox --root {root} VERB {id}"
            )
        };
        return Err(Error::msg(format!(
            "container {id}: {place} is not yours alone (user {}, mode {:03o}), so what it says is not believed: {remedy}",
            m.uid(),
            m.mode() & 0o777
        )));
    }
    Ok(())
}

/// Whether a container lies there that [`check_owner`] refuses.
pub fn is_others(dir: &Path) -> bool {
    dir.join(files::STATE).symlink_metadata().is_ok() && check_owner(dir, "").is_err()
}
