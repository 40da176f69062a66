//! Files below a base directory, reached without following a symlink: the base may belong to a user who changes it while
//! root writes to it.

use std::collections::HashMap;
use std::ffi::{CStr, CString, OsStr};
use std::fs::{File, Metadata};
use std::io::{self, Read, Seek};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::{Whence, lseek};

use crate::sys::fs;

/// Directories are opened for this alone.
pub(super) const DIRECTORY: i32 = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW;

/// What a copy has come across.
#[derive(Debug, Default)]
pub(super) struct Copies {
    /// Files that cannot be written back, with the reason.
    pub skipped: Vec<String>,
    /// Files with several names: (device, inode) in the layer, and the first copy.
    first: HashMap<(u64, u64), First>,
}

/// The first copy of a file that has several names.
#[derive(Debug)]
struct First {
    /// The path below its base.
    path: PathBuf,
    /// (device, inode): a user who owns the base can replace it meanwhile.
    id: (u64, u64),
}

pub(super) fn c(name: impl AsRef<OsStr>) -> io::Result<CString> {
    CString::new(name.as_ref().as_bytes()).map_err(|e| io::Error::new(io::ErrorKind::InvalidInput, e))
}

/// A base directory, held open. Its path has no symlinks: one that is there now was not when the run began, and its owner
/// chooses where it leads.
pub(super) struct Base(OwnedFd);

impl Base {
    pub fn open(path: &Path) -> io::Result<Self> {
        let resolve = fs::RESOLVE_NO_SYMLINKS | fs::RESOLVE_NO_MAGICLINKS;
        fs::openat2(libc::AT_FDCWD, &c(path)?, DIRECTORY, 0, resolve)
            .map(|fd| Base(fs::own(fd)))
            .map_err(io::Error::from)
    }

    /// Of a directory that is open.
    pub fn of(dir: OwnedFd) -> Self {
        Base(dir)
    }

    /// The directory `below`.
    pub fn dir(&self, below: &Path) -> io::Result<OwnedFd> {
        let path = if below.as_os_str().is_empty() { Path::new(".") } else { below };
        let resolve = fs::RESOLVE_BENEATH | fs::RESOLVE_NO_SYMLINKS | fs::RESOLVE_NO_MAGICLINKS;
        let fd = fs::openat2(self.0.as_raw_fd(), &c(path)?, DIRECTORY & !libc::O_NOFOLLOW, 0, resolve);
        fd.map(fs::own).map_err(io::Error::from)
    }

    /// The directory of `path`, and its name.
    pub fn parent(&self, path: &Path) -> io::Result<(OwnedFd, CString)> {
        let name = path.file_name().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok((self.dir(path.parent().unwrap_or(Path::new("")))?, c(name)?))
    }

    /// Waits until everything on the base's file system is on the disk.
    pub fn sync(&self) -> io::Result<()> {
        nix::unistd::syncfs(&self.0).map_err(io::Error::from)
    }
}

/// The attributes of `name`; `None` where it does not exist.
pub(super) fn stat(dir: RawFd, name: &CStr) -> io::Result<Option<libc::stat>> {
    let flags = nix::fcntl::AtFlags::AT_SYMLINK_NOFOLLOW;
    match nix::sys::stat::fstatat(fs::borrow(dir), name, flags) {
        Ok(st) => Ok(Some(st)),
        Err(nix::errno::Errno::ENOENT) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

pub(super) fn rename(dir: &OwnedFd, from: &CStr, to: &CStr) -> io::Result<()> {
    let fd = dir.as_raw_fd();
    fs::renameat(fd, from, fd, to).map_err(io::Error::from)
}

/// Changes the mode of the directory `name`.
pub(super) fn chmod(dir: &OwnedFd, name: &CStr, mode: u32) -> io::Result<()> {
    let fd = fs::own(fs::openat(dir.as_raw_fd(), name, DIRECTORY, 0).map_err(io::Error::from)?);
    fs::fchmod(fd.as_raw_fd(), mode).map_err(io::Error::from)
}

/// Copies the file or tree at `from` to `to` below the base: content, mode without setuid and setgid, owner, times, and
/// which names are one file. Special files are skipped.
pub(super) fn copy(from: &Path, base: &Base, to: &Path, copies: &mut Copies) -> io::Result<()> {
    let (dir, name) = base.parent(to)?;
    let (meta, fd) = (from.symlink_metadata()?, dir.as_raw_fd());
    let kind = meta.file_type();
    if kind.is_symlink() {
        let target = std::fs::read_link(from)?;
        fs::symlinkat(&c(&target)?, fd, &name).map_err(io::Error::from)?;
        return own(fd, &name, &meta);
    }
    if kind.is_dir() {
        fs::mkdirat(fd, &name, 0o700).map_err(io::Error::from)?;
        let inner = fs::own(fs::openat(fd, &name, DIRECTORY, 0).map_err(io::Error::from)?);
        for entry in std::fs::read_dir(from)? {
            let entry = entry?;
            if !super::is_whiteout(&entry.metadata()?) {
                copy(&entry.path(), base, &to.join(entry.file_name()), copies)?;
            }
        }
        return finish(fd, &name, inner.as_raw_fd(), &meta);
    }
    if !kind.is_file() {
        copies.skipped.push(format!("{}: a device, socket or FIFO", from.display()));
        return Ok(());
    }
    // A program can give one large file countless names.
    let id = (meta.dev(), meta.ino());
    if copies.first.get(&id).is_some_and(|first| link(base, first, (&dir, &name)).is_ok()) {
        return Ok(());
    }
    let mut source = File::options().read(true).custom_flags(libc::O_NOFOLLOW).open(from)?;
    let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW;
    let mut file = File::from(fs::own(fs::openat(fd, &name, flags, 0o600).map_err(io::Error::from)?));
    copy_data(&mut source, &mut file, meta.len())?;
    if meta.nlink() > 1 {
        let made = file.metadata()?;
        copies.first.insert(id, First { path: to.into(), id: (made.dev(), made.ino()) });
    }
    finish(fd, &name, file.as_raw_fd(), &meta)
}

/// Another name of a file that was copied before.
fn link(base: &Base, first: &First, (dir, name): (&OwnedFd, &CStr)) -> io::Result<()> {
    let (from, old) = base.parent(&first.path)?;
    if stat(from.as_raw_fd(), &old)?.is_none_or(|st| (st.st_dev, st.st_ino) != first.id) {
        return Err(io::ErrorKind::NotFound.into());
    }
    nix::unistd::linkat(&from, old.as_c_str(), dir, name, nix::fcntl::AtFlags::empty())
        .map_err(io::Error::from)
}

/// Copies the content, and keeps its holes: a program can make a file that is larger than the disk and takes no room.
fn copy_data(from: &mut File, to: &mut File, size: u64) -> io::Result<()> {
    let mut at = 0;
    while at < size {
        let start = next_data(from, at, size)?;
        if start == size {
            break;
        }
        let end =
            lseek(&*from, offset(start)?, Whence::SeekHole).ok().and_then(|end| u64::try_from(end).ok());
        let end = end.filter(|end| *end > start).unwrap_or(size);
        from.seek(io::SeekFrom::Start(start))?;
        to.seek(io::SeekFrom::Start(start))?;
        io::copy(&mut (&*from).take(end - start), to)?;
        at = end;
    }
    to.set_len(size)
}

/// Where the next data is at or after `at`; `size`: the rest is a hole.
pub(super) fn next_data(file: &File, at: u64, size: u64) -> io::Result<u64> {
    match lseek(file, offset(at)?, Whence::SeekData) {
        Err(nix::errno::Errno::ENXIO) => Ok(size),
        // The file system knows no holes.
        Err(nix::errno::Errno::EINVAL) => Ok(at),
        start => Ok(u64::try_from(start.map_err(io::Error::from)?).unwrap_or(at).min(size)),
    }
}

fn offset(at: u64) -> io::Result<i64> {
    i64::try_from(at).map_err(io::Error::other)
}

/// Owner first: chown(2) clears bits of the mode.
fn finish(dir: RawFd, name: &CStr, file: RawFd, meta: &Metadata) -> io::Result<()> {
    own(dir, name, meta)?;
    fs::fchmod(file, meta.mode() & 0o1777).map_err(io::Error::from)?;
    let time = |seconds, nanoseconds| nix::sys::time::TimeSpec::new(seconds, nanoseconds);
    let (read, written) = (time(meta.atime(), meta.atime_nsec()), time(meta.mtime(), meta.mtime_nsec()));
    nix::sys::stat::futimens(fs::borrow(file), &read, &written).map_err(io::Error::from)
}

/// Only root gives files to others; an unprivileged user's layer has the user's files only.
fn own(dir: RawFd, name: &CStr, meta: &Metadata) -> io::Result<()> {
    if !nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    let flags = nix::fcntl::AtFlags::AT_SYMLINK_NOFOLLOW;
    let (uid, gid) = (meta.uid().into(), meta.gid().into());
    nix::unistd::fchownat(fs::borrow(dir), name, Some(uid), Some(gid), flags).map_err(io::Error::from)
}
