//! The directories and symlinks on the way to a policy file: a user who can write one of them chooses the policy.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use crate::error::{Error, Result};

/// The symlinks that one path may lead through (path_resolution(7)).
const MOST_LINKS: usize = 40;

/// Checks every directory on the way to `path` as far as it exists: its owner, and that its mode has none of the bits
/// `closed`, unless it is sticky and what is looked for in it is there. Returns whether a symlink leads
/// to what does not exist.
pub(super) fn check(path: &Path, closed: u32, owner: fn(u32) -> bool) -> Result<bool> {
    let failed = |at: &Path, why: String| Error::msg(format!("{}: {why}", at.display()));
    let absolute = std::path::absolute(path).map_err(|e| failed(path, e.to_string()))?;
    let (mut at, mut links) = (PathBuf::from("/"), 0);
    let mut ahead = names(&absolute);
    // As many of the names ahead come from a symlink.
    let mut of_link: usize = 0;
    while let Some(name) = ahead.pop_front() {
        let led = of_link > 0;
        of_link = of_link.saturating_sub(1);
        if name == ".." {
            at.pop();
            continue;
        }
        let Ok(meta) = at.metadata() else { break };
        if !meta.is_dir() {
            return Ok(led);
        }
        let next = at.join(&name);
        let found = next.symlink_metadata();
        // In a sticky directory a user can make what is not there, and leaves alone what is another's (inode(7)).
        let sticky = meta.mode() & 0o1000 != 0 && found.as_ref().is_ok_and(|m| owner(m.uid()));
        if (meta.mode() & closed != 0 && !sticky) || !owner(meta.uid()) {
            let dir = at.display();
            return Err(failed(
                &at,
                format!(
                    "users other than root can write it: no container starts where they can replace {}: chown root {dir}; chmod go-w {dir}",
                    path.display()
                ),
            ));
        }
        let Ok(meta) = found else { return Ok(led) };
        if !meta.is_symlink() {
            at = next;
            continue;
        }
        links += 1;
        if links > MOST_LINKS {
            let why = "too many levels of symlinks: no container starts without its policy";
            return Err(failed(&next, why.into()));
        }
        let to = std::fs::read_link(&next).map_err(|e| failed(&next, e.to_string()))?;
        if to.is_absolute() {
            at = PathBuf::from("/");
        }
        let to = names(&to);
        of_link += to.len();
        to.into_iter().rev().for_each(|name| ahead.push_front(name));
    }
    Ok(false)
}

fn names(path: &Path) -> VecDeque<OsString> {
    let name = |part: Component<'_>| match part {
        Component::Normal(name) => Some(name.to_os_string()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    };
    path.components().filter_map(name).collect()
}
