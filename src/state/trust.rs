//! Ownership checks of state directories. Every verb acts on the state, so only this user may be able to
//! write it.

use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;

use nix::unistd::AccessFlags;

use super::files;
use crate::error::{Error, Result};

/// Creates `root` with mode 0700 if it does not exist.
pub fn make_root(root: &Path) -> Result<()> {
    if root == Path::new("/") {
        return Err(Error::msg("--root: / is not a place for state"));
    }
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(root).map_err(|e| {
        let text = crate::tables::errno::of_io(&e);
        Error::msg(format!("state directory {}: {text} (choose another with --root)", root.display()))
    })?;
    // Another user may have created it since the first check.
    check_root(root)?;
    let flags = AccessFlags::W_OK | AccessFlags::X_OK;
    nix::unistd::access(root, flags).map_err(|e| {
        let text = crate::tables::errno::text(e as i32);
        Error::msg(format!("state directory {}: {text} (choose another with --root)", root.display()))
    })
}

/// Checks the default state root, used when `--root` is not given. It may be below a directory that other
/// users can write: /tmp, or a misconfigured `$XDG_RUNTIME_DIR`. An attacker who creates it first could plant
/// states whose hooks run, whose processes get signals and whose directories are removed. So the root must
/// not exist yet, or be a directory of this user that no other user can write (below /tmp: nor enter). Other
/// users must not be able to replace it in its parent directory.
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
    // In a user namespace: only the host's root can create entries in a directory of the host's root.
    let of_the_host = parent.as_ref().is_some_and(|m| is_unmapped(m.uid()) && m.mode() & 0o022 == 0);
    if let Some(m) = parent {
        // The sticky bit prevents users from renaming or removing each other's entries (inode(7)).
        let open = m.mode() & 0o022 != 0 && m.mode() & 0o1000 == 0;
        if open || (m.uid() != me && m.uid() != 0 && !is_unmapped(m.uid())) {
            return refused(format!("user {} or other users can replace it", m.uid()));
        }
    }
    let closed = if crate::host::state_root::is_fallback(root) { 0o077 } else { 0o022 };
    match root.symlink_metadata() {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(e) => refused(e.to_string()),
        Ok(m) if !m.is_dir() => refused("it is not a directory".into()),
        Ok(m) if m.uid() != me && !(of_the_host && is_unmapped(m.uid())) => {
            refused(format!("it belongs to user {}, not to you", m.uid()))
        }
        Ok(m) if m.mode() & closed != 0 => {
            let may = if closed == 0o077 { "enter" } else { "write" };
            refused(format!("other users may {may} it (mode {:03o}, not 700)", m.mode() & 0o777))
        }
        Ok(_) => Ok(()),
    }
}

/// Whether this is the overflow id, which stands for the host's root in a user namespace
/// (user_namespaces(7)).
pub fn is_unmapped(uid: u32) -> bool {
    const OVERFLOW: u32 = 65534;
    let maps = || std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    uid == OVERFLOW && crate::config::idmap::to_host(&crate::config::idmap::parse_map(&maps()), uid).is_none()
}

/// Whether only this user can have created and can change the file at `path`, which must not be a symlink.
pub fn is_mine(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|m| (m.is_dir() || m.is_file()) && alone(&m))
}

/// Whether only the user `me` can have written a file of these attributes.
pub fn is_alone(st: &libc::stat, me: u32) -> bool {
    st.st_uid == me && st.st_mode & 0o022 == 0
}

fn alone(m: &std::fs::Metadata) -> bool {
    m.uid() == nix::unistd::geteuid().as_raw() && m.mode() & 0o022 == 0
}

/// Refuses the container's directory `dir` if another user can have written it or the state in it. A missing
/// directory is no error here. Root must not trust the state of an unprivileged user either: it names hooks
/// to run, and directories and cgroups to remove.
pub fn check_owner(dir: &Path, id: &str) -> Result<()> {
    check_owner_of((dir, files::STATE), "container", id)
}

/// As [`check_owner`], for the directory of what is called `kind`, and the file in it that is believed.
pub fn check_owner_of((dir, file): (&Path, &str), kind: &str, id: &str) -> Result<()> {
    for path in [dir.to_path_buf(), dir.join(file)] {
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
            "{kind} {id}: {place} is not yours alone (user {}, mode {:03o}), so it is not trusted: {remedy}",
            m.uid(),
            m.mode() & 0o777
        )));
    }
    Ok(())
}

/// Whether a container exists there that [`check_owner`] refuses.
pub fn is_others(dir: &Path) -> bool {
    dir.join(files::STATE).symlink_metadata().is_ok() && check_owner(dir, "").is_err()
}
