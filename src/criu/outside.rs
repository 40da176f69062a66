//! Where the processes of a container have what criu must be told of: descriptors, paths, namespaces.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::state::outside::Outside;
use crate::sys::fs;
use crate::tables::namespaces::NsKind;

/// What the descriptors 0 to 2 of the process are; a pipe of the launcher's is looked up.
pub fn descriptors_of(pid: i32, outside: &Outside) -> Vec<String> {
    let name = |(fd, known): (usize, &String)| {
        let link = || std::fs::read_link(format!("/proc/{pid}/fd/{fd}")).unwrap_or_default();
        if known.is_empty() { link().to_string_lossy().into_owned() } else { known.clone() }
    };
    outside.descriptors.iter().enumerate().map(name).collect()
}

/// Where `path` lies in the tree of the process `pid`: links resolved inside its root. `None` where nothing is.
pub fn resolved(pid: i32, path: &Path) -> Option<PathBuf> {
    let root = crate::sys::cstr::cpath(&PathBuf::from(format!("/proc/{pid}/root"))).ok()?;
    let root = fs::openat(libc::AT_FDCWD, &root, libc::O_PATH | libc::O_DIRECTORY, 0).ok().map(fs::own)?;
    within(&root, path)
}

/// Where `path` lies below the directory `root`, as a path from it.
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

/// The inode that names a namespace of `pid`.
pub fn namespace_inode(pid: i32, kind: NsKind) -> Result<u64> {
    use std::os::unix::fs::MetadataExt;
    let path = format!("/proc/{pid}/ns/{}", kind.row().proc);
    std::fs::metadata(&path).map(|m| m.ino()).map_err(|e| Error::msg(format!("{path}: {e}")))
}
