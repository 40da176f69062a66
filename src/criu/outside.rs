//! Resources outside a container that criu must know: descriptors, paths, namespaces.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::state::outside::Outside;
use crate::sys::fs;
use crate::tables::namespaces::NsKind;

/// The files behind descriptors 0 to 2 of the process. A pipe of the launcher is resolved.
pub fn descriptors_of(pid: i32, outside: &Outside) -> Vec<String> {
    let name = |(fd, known): (usize, &String)| {
        let link = || std::fs::read_link(format!("/proc/{pid}/fd/{fd}")).unwrap_or_default();
        if known.is_empty() { link().to_string_lossy().into_owned() } else { known.clone() }
    };
    outside.descriptors.iter().enumerate().map(name).collect()
}

/// The real path of `path` in the root of the process `pid`, symlinks resolved inside that root. `None` if it
/// does not exist.
pub fn resolved(pid: i32, path: &Path) -> Option<PathBuf> {
    let root = crate::sys::cstr::cpath(&PathBuf::from(format!("/proc/{pid}/root"))).ok()?;
    let root = fs::openat(libc::AT_FDCWD, &root, libc::O_PATH | libc::O_DIRECTORY, 0).ok().map(fs::own)?;
    within(&root, path)
}

/// The real path of `path` below the directory `root`, relative to it.
pub fn within(root: &std::os::fd::OwnedFd, path: &Path) -> Option<PathBuf> {
    use std::os::fd::AsRawFd;
    let top = name_of(root.as_raw_fd())?;
    let inside = crate::plan::lower::in_root(path).ok()?;
    let resolve = fs::RESOLVE_IN_ROOT | fs::RESOLVE_NO_MAGICLINKS;
    let found = fs::openat2(root.as_raw_fd(), &inside, libc::O_PATH, 0, resolve).ok().map(fs::own)?;
    let full = name_of(found.as_raw_fd())?;
    Some(Path::new("/").join(full.strip_prefix(&top).ok()?))
}

fn name_of(fd: i32) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/self/fd/{fd}")).ok()
}

/// The inode of a namespace of `pid`, which identifies it.
pub fn namespace_inode(pid: i32, kind: NsKind) -> Result<u64> {
    use std::os::unix::fs::MetadataExt;
    let path = format!("/proc/{pid}/ns/{}", kind.row().proc);
    std::fs::metadata(&path).map(|m| m.ino()).map_err(|e| Error::msg(format!("{path}: {e}")))
}
