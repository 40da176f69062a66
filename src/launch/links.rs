//! Symlinks of other users on the way to a path that an option names.
//!
//! The rule is that of the rows which open the sources of bind mounts (`fs.protected_symlinks`, in every directory): a
//! symlink is followed if root or the caller owns it, or if its owner owns its target and the directory is not sticky
//! and world-writable. The result has no symlinks, and those rows check it again when they open it.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use crate::bundle::Bundle;
use crate::error::Error;
use crate::launch::value::{Launch, RootSource};
use crate::sys::cstr::cpath;
use crate::sys::fs;
use crate::tables::errno;

/// Maximum number of symlinks on one path, as in the kernel.
const MOST: u32 = 40;

/// `S_ISVTX` and write permission for others.
const STICKY_AND_WRITABLE: u32 = 0o1002;

/// `path` without symlinks; an error with the words for it if a component does not exist or belongs to another user.
pub fn resolved(path: &Path) -> Result<PathBuf, String> {
    let path = std::path::absolute(path).map_err(|e| e.to_string())?;
    follow(PathBuf::from("/"), &path, &mut 0)
}

/// The absolute path of a file to be written, its directory without symlinks: a program that exchanges directories later
/// cannot change where the file goes.
pub fn in_real_directory(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.into());
    let dir = path.parent().and_then(|dir| dir.canonicalize().ok());
    // Where there is no such directory, writing the file says so.
    dir.zip(path.file_name()).map_or_else(|| path.clone(), |(dir, name)| dir.join(name))
}

/// Opens a file that an option names, without another user's symlinks on the way. Where the path cannot be resolved by its
/// names, as that of a pipe in /proc/self/fd, the kernel resolves it.
pub fn open_file(path: &Path) -> std::io::Result<File> {
    match resolved(path) {
        Ok(found) => {
            let found = cpath(&found).map_err(std::io::Error::other)?;
            let fd = fs::openat2(libc::AT_FDCWD, &found, libc::O_RDONLY, 0, fs::RESOLVE_NO_SYMLINKS)?;
            Ok(fs::own(fd).into())
        }
        Err(why) if why.contains(OTHERS) => Err(std::io::Error::other(why)),
        Err(_) => File::open(path),
    }
}

/// Words of the refusal.
const OTHERS: &str = "is a symlink of another user";

fn follow(mut at: PathBuf, path: &Path, links: &mut u32) -> Result<PathBuf, String> {
    for part in path.components() {
        let name = match part {
            Component::RootDir => {
                at = PathBuf::from("/");
                continue;
            }
            Component::ParentDir => {
                at.pop();
                continue;
            }
            Component::Normal(name) => name,
            Component::CurDir | Component::Prefix(_) => continue,
        };
        let next = at.join(name);
        let failed = |e: std::io::Error| errno::of_io(&e);
        let link = std::fs::symlink_metadata(&next).map_err(failed)?;
        if !link.is_symlink() {
            at = next;
            continue;
        }
        *links += 1;
        if *links > MOST {
            return Err("too many levels of symbolic links".into());
        }
        let directory = std::fs::metadata(&at).map_err(failed)?;
        let target = std::fs::read_link(&next).map_err(failed)?;
        let found = follow(at, &target, links)?;
        if ![0, nix::unistd::geteuid().as_raw()].contains(&link.uid()) {
            let shared = directory.mode() & STICKY_AND_WRITABLE == STICKY_AND_WRITABLE;
            let owner = std::fs::symlink_metadata(&found).map_err(failed)?.uid();
            if owner != link.uid() || shared && directory.uid() != link.uid() {
                return Err(format!(
                    "{} {OTHERS} (id {}), who chooses its target: name the target itself",
                    next.display(),
                    link.uid()
                ));
            }
        }
        at = found;
    }
    Ok(at)
}

/// Checks that the opened rootfs is the directory that the caller named, without another user's symlinks on the way.
pub fn check_rootfs(launch: &Launch, bundle: &Bundle) -> crate::error::Result<()> {
    let path = match &launch.root {
        RootSource::Host => return Ok(()),
        RootSource::Directory(path) => path,
        RootSource::Bundle(path) => {
            resolved(path).map_err(|why| Error::msg(format!("bundle {}: {why}", path.display())))?;
            &bundle.rootfs_path
        }
    };
    let failed = |why: &str| Error::msg(format!("rootfs {}: {why}", path.display()));
    let resolved = resolved(path).map_err(|why| failed(&why))?;
    let meta = std::fs::symlink_metadata(&resolved).map_err(|e| failed(&errno::of_io(&e)))?;
    let opened = fs::fstatat(bundle.rootfs.as_raw_fd(), c"").map_err(|e| failed(&e.to_string()))?;
    if (meta.dev(), meta.ino()) == (opened.st_dev, opened.st_ino) {
        Ok(())
    } else {
        Err(failed("it was replaced while it was opened: start again"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn own_symlinks_are_followed_as_the_kernel_does() {
        let dir = tempfile::tempdir().unwrap();
        let top = std::fs::canonicalize(dir.path()).unwrap();
        std::fs::create_dir_all(top.join("a/b")).unwrap();
        symlink("a/../a/b", top.join("relative")).unwrap();
        symlink(top.join("relative"), top.join("absolute")).unwrap();
        symlink("loop", top.join("loop")).unwrap();
        // `..` is taken of the target, a/b.
        std::fs::create_dir(top.join("a/c")).unwrap();
        assert_eq!(resolved(&top.join("absolute/.././c")).unwrap(), top.join("a/c"));
        assert_eq!(resolved(&top.join("absolute")).unwrap(), top.join("a/b"));
        assert!(resolved(&top.join("loop")).unwrap_err().contains("too many levels"));
        assert!(resolved(&top.join("missing")).unwrap_err().contains("no such file"));
    }
}
