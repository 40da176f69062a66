//! Walking a cgroup and those below it. The container may have made them, so deep that no path can name them
//! (PATH_MAX) and no process could hold all of them open: one step at a time, down by name and up by `..`.

use std::ffi::{CStr, CString};
use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use crate::sys::cstr::cpath;
use crate::sys::{Errno, fs};

const DIRECTORY: i32 = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW;

/// What a walk calls for each cgroup, after those below it: the cgroup and, but for the topmost, the one above it and
/// its name in there.
type CgroupVisitor<'a> = dyn FnMut(&OwnedFd, Option<(&OwnedFd, &CStr)>) -> Result<(), Errno> + 'a;

/// Visits `cgroup` and all below it, the lowest first. What is gone meanwhile is passed over.
fn walk(cgroup: &Path, visit: &mut CgroupVisitor) -> Result<(), Errno> {
    let path = cpath(cgroup).map_err(|_| Errno::EINVAL)?;
    let mut at = fs::openat(libc::AT_FDCWD, &path, DIRECTORY, 0).map(fs::own)?;
    let mut levels = vec![(CString::default(), children(&at)?)];
    while let Some((_, below)) = levels.last_mut() {
        if let Some(name) = below.pop() {
            match fs::openat(at.as_raw_fd(), &name, DIRECTORY, 0).map(fs::own) {
                Ok(child) => {
                    levels.push((name, children(&child)?));
                    at = child;
                }
                Err(e) if gone(e) => {}
                Err(e) => return Err(e),
            }
            continue;
        }
        let (name, _) = levels.pop().unwrap_or_default();
        if levels.is_empty() {
            return visit(&at, None);
        }
        let above = fs::openat(at.as_raw_fd(), c"..", DIRECTORY, 0).map(fs::own)?;
        visit(&at, Some((&above, &name)))?;
        at = above;
    }
    Ok(())
}

/// A cgroup that was removed has no files any more, however it was opened.
fn gone(e: Errno) -> bool {
    matches!(e, Errno::ENOENT | Errno::ENODEV)
}

/// The names of the cgroups right below one.
fn children(cgroup: &OwnedFd) -> Result<Vec<CString>, Errno> {
    let mut dir = match nix::dir::Dir::openat(
        cgroup,
        ".",
        nix::fcntl::OFlag::from_bits_truncate(DIRECTORY),
        nix::sys::stat::Mode::empty(),
    ) {
        Ok(dir) => dir,
        Err(e) if gone(e) => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let mut names = Vec::new();
    for entry in dir.iter() {
        let entry = entry?;
        let own = matches!(entry.file_name().to_bytes(), b"." | b"..");
        if !own && entry.file_type() == Some(nix::dir::Type::Directory) {
            names.push(entry.file_name().to_owned());
        }
    }
    Ok(names)
}

/// The processes of a cgroup and of the cgroups below it; none where the cgroup is not there.
pub fn pids(cgroup: &Path) -> Result<Vec<i32>, Errno> {
    let mut found = Vec::new();
    let walked = walk(cgroup, &mut |cgroup, _| {
        let procs = match fs::openat(cgroup.as_raw_fd(), c"cgroup.procs", libc::O_RDONLY, 0) {
            Ok(fd) => fs::own(fd),
            Err(e) if gone(e) => return Ok(()),
            Err(e) => return Err(e),
        };
        let mut text = String::new();
        match std::fs::File::from(procs).read_to_string(&mut text) {
            Ok(_) => found.extend(text.lines().filter_map(|l| l.parse::<i32>().ok())),
            // The processes of a threaded cgroup are those of one above it (cgroups(7)).
            Err(e) if e.raw_os_error() == Some(libc::EOPNOTSUPP) => {}
            Err(e) if e.raw_os_error().is_some_and(|n| gone(Errno::from_raw(n))) => {}
            Err(e) => return Err(crate::sys::errno(e)),
        }
        Ok(())
    });
    match walked {
        Ok(()) => Ok(found),
        Err(e) if gone(e) => Ok(found),
        Err(e) => Err(e),
    }
}

/// Thaws a cgroup of v1 and those below it: each has a state of its own.
pub fn thaw(cgroup: &Path) -> Result<(), Errno> {
    walk(cgroup, &mut |cgroup, _| match fs::openat(cgroup.as_raw_fd(), c"freezer.state", libc::O_WRONLY, 0)
        .map(fs::own)
    {
        Ok(state) => fs::write_all(state.as_raw_fd(), b"THAWED"),
        Err(e) if gone(e) => Ok(()),
        Err(e) => Err(e),
    })
}

/// Removes a cgroup and those below it; `EBUSY` where one has processes.
pub fn remove(cgroup: &Path) -> Result<(), Errno> {
    let path = cpath(cgroup).map_err(|_| Errno::EINVAL)?;
    let rmdir = || fs::unlinkat(libc::AT_FDCWD, &path, libc::AT_REMOVEDIR);
    match rmdir() {
        // Cgroups below it, or processes: v1 and v2 both say EBUSY.
        Err(Errno::EBUSY | Errno::ENOTEMPTY) => {}
        other => return other,
    }
    walk(cgroup, &mut |_, place| match place {
        Some((above, name)) => match fs::unlinkat(above.as_raw_fd(), name, libc::AT_REMOVEDIR) {
            Err(e) if gone(e) => Ok(()),
            other => other,
        },
        None => Ok(()),
    })?;
    rmdir()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ordinary directories will do: 600 levels of names so long that the lowest has no path.
    #[test]
    fn cgroups_deeper_than_a_path_are_seen_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().join("top");
        std::fs::create_dir_all(top.join("beside")).unwrap();
        std::fs::write(top.join("cgroup.procs"), "1\n").unwrap();
        let mut at = std::fs::File::open(&top).map(OwnedFd::from).unwrap();
        let name = c"a-name-of-some-length";
        for _ in 0..600 {
            fs::mkdirat(at.as_raw_fd(), name, 0o755).unwrap();
            at = fs::openat(at.as_raw_fd(), name, DIRECTORY, 0).map(fs::own).unwrap();
        }
        let flags = libc::O_CREAT | libc::O_WRONLY;
        let file = fs::openat(at.as_raw_fd(), c"cgroup.procs", flags, 0o600).map(fs::own).unwrap();
        fs::write_all(file.as_raw_fd(), b"7\n8\n").unwrap();
        assert_eq!(pids(&top), Ok(vec![7, 8, 1]));
        // A file in it stands for a process.
        assert_eq!(remove(&top), Err(Errno::ENOTEMPTY));
        fs::unlinkat(at.as_raw_fd(), c"cgroup.procs", 0).unwrap();
        std::fs::remove_file(top.join("cgroup.procs")).unwrap();
        assert_eq!(remove(&top), Ok(()));
        assert!(!top.exists());
        assert_eq!(pids(&top), Ok(Vec::new()), "what is not there has no processes");
        assert_eq!(remove(&top), Err(Errno::ENOENT));
    }

    #[test]
    fn an_unreadable_group_is_not_an_empty_one() {
        let dir = tempfile::tempdir().unwrap();
        // EISDIR when it is read.
        std::fs::create_dir(dir.path().join("cgroup.procs")).unwrap();
        assert_eq!(pids(dir.path()), Err(Errno::EISDIR));
    }
}
