//! Removing a directory tree that a program made: of any depth, with few descriptors.

use std::collections::hash_map::RandomState;
use std::ffi::{CStr, CString};
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use crate::sys::{Errno, fs};

/// A part of a name that no other process can guess.
pub fn token() -> String {
    format!("{:016x}", RandomState::new().build_hasher().finish())
}

/// Removes `name` in `dir` and all below it; nothing to remove is no error. Other mounts below it are not entered.
///
/// A program can nest directories deeper than any path or stack is long. So a directory is not entered from its parent:
/// the directories in it are moved to the top, until none is left.
pub fn remove(dir: &OwnedFd, name: &CStr) -> io::Result<()> {
    if unlinked(dir, name)? {
        return Ok(());
    }
    let top = open(dir, name)?;
    let (token, mut moved) = (token(), 0_u64);
    loop {
        let entries = names(&top)?;
        if entries.is_empty() {
            break;
        }
        for entry in entries {
            if unlinked(&top, &entry)? {
                continue;
            }
            let inner = open(&top, &entry)?;
            for below in names(&inner)? {
                if unlinked(&inner, &below)? {
                    continue;
                }
                // A directory that is moved gets another parent, which takes the right to write to it.
                open(&inner, &below)?;
                moved += 1;
                let to = CString::new(format!(".safebox-{token}-{moved}"))?;
                fs::renameat(inner.as_raw_fd(), &below, top.as_raw_fd(), &to).map_err(io::Error::from)?;
            }
            fs::unlinkat(top.as_raw_fd(), &entry, libc::AT_REMOVEDIR).map_err(io::Error::from)?;
        }
    }
    fs::unlinkat(dir.as_raw_fd(), name, libc::AT_REMOVEDIR).map_err(io::Error::from)
}

/// Removes what is no directory; `false`: it is one.
fn unlinked(dir: &OwnedFd, name: &CStr) -> io::Result<bool> {
    match fs::unlinkat(dir.as_raw_fd(), name, 0) {
        Ok(()) | Err(Errno::ENOENT) => Ok(true),
        Err(Errno::EISDIR) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

/// Opens a directory of the same mount. It may be closed to its own owner: the program made it so, or overlayfs did
/// (`work/work`).
fn open(dir: &OwnedFd, name: &CStr) -> io::Result<OwnedFd> {
    let resolve = fs::RESOLVE_BENEATH | fs::RESOLVE_NO_SYMLINKS | fs::RESOLVE_NO_XDEV;
    let open = |flags| fs::openat2(dir.as_raw_fd(), name, flags | libc::O_DIRECTORY, 0, resolve).map(fs::own);
    if !nix::unistd::geteuid().is_root() {
        let held = open(libc::O_PATH).map_err(io::Error::from)?;
        let path = CString::new(format!("/proc/self/fd/{}", held.as_raw_fd()))?;
        fs::chmod(&path, 0o700).map_err(io::Error::from)?;
    }
    open(libc::O_RDONLY).map_err(io::Error::from)
}

fn names(dir: &OwnedFd) -> io::Result<Vec<CString>> {
    // The descriptor's own position stays: another one is read.
    let again =
        fs::openat(dir.as_raw_fd(), c".", libc::O_RDONLY | libc::O_DIRECTORY, 0).map_err(io::Error::from)?;
    let mut found = Vec::new();
    for entry in nix::dir::Dir::from_fd(fs::own(again)).map_err(io::Error::from)?.iter() {
        let name = entry.map_err(io::Error::from)?.file_name().to_owned();
        if !matches!(name.to_bytes(), b"." | b"..") {
            found.push(name);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::cstr::cpath;

    #[test]
    fn a_tree_of_any_depth_is_removed() {
        let made = tempfile::tempdir().unwrap();
        let flags = libc::O_RDONLY | libc::O_DIRECTORY;
        let top = fs::own(fs::openat(libc::AT_FDCWD, &cpath(made.path()).unwrap(), flags, 0).unwrap());
        let mut at = top.try_clone().unwrap();
        for _ in 0..3000 {
            fs::mkdirat(at.as_raw_fd(), c"deep", 0o700).unwrap();
            fs::symlinkat(c"/etc", at.as_raw_fd(), c"link").unwrap();
            at = fs::own(fs::openat(at.as_raw_fd(), c"deep", flags, 0).unwrap());
        }
        remove(&top, c"deep").unwrap();
        remove(&top, c"link").unwrap();
        remove(&top, c"never").unwrap();
        assert_eq!(std::fs::read_dir(made.path()).unwrap().count(), 0);
    }
}
