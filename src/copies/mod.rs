//! Writable copies (`run --overlay`): what a program changed, and writing it back to the host's directory.
//!
//! [`changes`] compares a layer's upper directory with its base, [`apply`] writes changes back, [`risk`] names changes
//! that could run a program later, outside of the sandbox.

pub mod apply;
mod at;
pub mod risk;
pub mod size;
#[cfg(test)]
mod tests;

use std::ffi::{CStr, CString, OsString};
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::sys::fs;
use at::Base;

/// What happened to a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// The base does not have it.
    Added,
    /// Content, type, mode or target of a symlink differ.
    Modified,
    /// The program removed it.
    Deleted,
}

impl ChangeKind {
    /// As `safebox diff` prints it.
    pub fn letter(self) -> char {
        match self {
            ChangeKind::Added => 'A',
            ChangeKind::Modified => 'M',
            ChangeKind::Deleted => 'D',
        }
    }
}

/// One changed path.
#[derive(Debug, Clone)]
pub struct PathChange {
    /// What happened.
    pub kind: ChangeKind,
    /// The path below the base.
    pub path: PathBuf,
    /// The file in the layer; of a deleted one the file in the base.
    pub meta: Metadata,
    /// A directory of which only the mode differs.
    pub mode_only: bool,
    /// The target of a new symlink.
    pub link: Option<PathBuf>,
}

/// All changes of the layer `upper` to `base`, parents first, sorted by name. The program may still run and exchange
/// directories for symlinks: files are reached by descriptors of their directories, and no symlink is followed.
pub fn changes(base: &Path, upper: &Path) -> io::Result<Vec<PathChange>> {
    let tree = match Base::open(base) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => None,
        tree => Some(LayerTree { path: base, root: tree.map_err(|e| named(base, &e))? }),
    };
    let upper = LayerTree { path: upper, root: Base::of(File::open(upper)?.into()) };
    let mut found = Vec::new();
    walk(tree.as_ref(), &upper, Path::new(""), &mut found)?;
    Ok(found)
}

/// A directory tree, and its path for messages.
struct LayerTree<'a> {
    path: &'a Path,
    root: Base,
}

impl LayerTree<'_> {
    /// The directory `below`; `None` where it is none, or none any more.
    fn open(&self, below: &Path) -> io::Result<Option<OwnedFd>> {
        match self.root.dir(below) {
            Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP)) => {
                Ok(None)
            }
            dir => dir.map(Some).map_err(|e| named(&self.path.join(below), &e)),
        }
    }

    /// The names in its directory `below`, which is open.
    fn names(&self, dir: &OwnedFd, below: &Path) -> io::Result<Vec<CString>> {
        let names = || {
            let mut names = Vec::new();
            // Another descriptor, for the names alone: it is closed with the list.
            let list = fs::openat(dir.as_raw_fd(), c".", at::DIRECTORY, 0).map_err(io::Error::from)?;
            for entry in nix::dir::Dir::from_fd(fs::own(list)).map_err(io::Error::from)?.iter() {
                let name = entry.map_err(io::Error::from)?.file_name().to_owned();
                if !matches!(name.to_bytes(), b"." | b"..") {
                    names.push(name);
                }
            }
            names.sort();
            Ok(names)
        };
        names().map_err(|e: io::Error| named(&self.path.join(below), &e))
    }
}

/// The program may have closed a directory, or nested directories deeper than a path can be long: the error says which.
fn named(path: &Path, e: &io::Error) -> io::Error {
    if e.raw_os_error() == Some(libc::ENAMETOOLONG) {
        let top: PathBuf = path.components().take(12).collect();
        let top = top.display();
        return io::Error::other(format!(
            "{top}/...: a path of more than 4095 bytes: discard alone can remove it"
        ));
    }
    io::Error::new(e.kind(), format!("{}: {e}", path.display()))
}

fn os(name: &CStr) -> OsString {
    OsString::from_vec(name.to_bytes().to_vec())
}

/// A file's attributes; `None` where it does not exist.
fn meta(dir: &OwnedFd, name: &CStr) -> io::Result<Option<Metadata>> {
    match fs::openat(dir.as_raw_fd(), name, libc::O_PATH | libc::O_NOFOLLOW, 0) {
        Ok(file) => File::from(fs::own(file)).metadata().map(Some),
        Err(crate::sys::Errno::ENOENT) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// The target of a symlink.
fn link(dir: &OwnedFd, name: &CStr) -> io::Result<PathBuf> {
    let mut target = vec![0; libc::PATH_MAX as usize];
    let length = fs::readlinkat(dir.as_raw_fd(), name, &mut target).map_err(io::Error::from)?;
    target.truncate(length);
    Ok(OsString::from_vec(target).into())
}

/// overlayfs marks a removed path with a character device 0:0.
fn is_whiteout(meta: &Metadata) -> bool {
    meta.file_type().is_char_device() && meta.rdev() == 0
}

/// An entry of a layer's directory: its change, and where it is a directory, its path and whether the base has it, too.
type LayerEntry = (Option<PathChange>, Option<(PathBuf, bool)>);

/// `base`: `None` where the base has no directory of that path. A symlink of the base is not followed: what the program
/// has made in its place is all new.
fn walk(
    base: Option<&LayerTree<'_>>,
    upper: &LayerTree<'_>,
    below: &Path,
    found: &mut Vec<PathChange>,
) -> io::Result<()> {
    // One directory of each tree is open at a time: a program can nest more of them than files can be open.
    for (change, dir) in entries(base, upper, below)? {
        found.extend(change);
        if let Some((path, both)) = dir {
            walk(base.filter(|_| both), upper, &path, found)?;
        }
    }
    Ok(())
}

fn entries(base: Option<&LayerTree<'_>>, upper: &LayerTree<'_>, below: &Path) -> io::Result<Vec<LayerEntry>> {
    let Some(dir) = upper.open(below)? else { return Ok(Vec::new()) };
    let old_dir = base.map_or(Ok(None), |base| base.open(below))?;
    let mut all = Vec::new();
    let names = upper.names(&dir, below)?;
    for name in &names {
        let path = below.join(os(name));
        let at = |e: io::Error| named(&upper.path.join(&path), &e);
        let Some(new) = meta(&dir, name).map_err(at)? else { continue };
        let old = old_dir.as_ref().map_or(Ok(None), |dir| meta(dir, name)).map_err(at)?;
        if is_whiteout(&new) {
            all.extend(old.map(|old| (Some(deleted(path, old)), None)));
            continue;
        }
        let kind = match (&old, &old_dir) {
            (None, _) | (_, None) => Some((ChangeKind::Added, false)),
            (Some(old), _) if new.is_dir() && old.is_dir() => {
                (mode(&new) != mode(old)).then_some((ChangeKind::Modified, true))
            }
            (Some(old), Some(old_dir)) => differs(name, (old_dir, old), (&dir, &new))
                .map_err(at)?
                .then_some((ChangeKind::Modified, false)),
        };
        let inner = new.is_dir().then(|| (path.clone(), old.is_some_and(|old| old.is_dir())));
        let change = kind.map(|(kind, mode_only)| {
            // One that is gone by now leads nowhere.
            let link = new.is_symlink().then(|| link(&dir, name).unwrap_or_default());
            PathChange { kind, path, meta: new, mode_only, link }
        });
        all.push((change, inner));
    }
    // What an opaque directory hides of the base.
    let opaque = |dir| is_opaque(dir).map_err(|e| named(&upper.path.join(below), &e));
    if let (Some(base), Some(old_dir)) = (base, &old_dir)
        && opaque(&dir)?
    {
        for name in base.names(old_dir, below)?.iter().filter(|name| !names.contains(name)) {
            let path = below.join(os(name));
            let old = meta(old_dir, name).map_err(|e| named(&base.path.join(&path), &e))?;
            all.extend(old.map(|old| (Some(deleted(path, old)), None)));
        }
    }
    Ok(all)
}

fn deleted(path: PathBuf, old: Metadata) -> PathChange {
    PathChange { kind: ChangeKind::Deleted, path, meta: old, mode_only: false, link: None }
}

/// A directory that was removed and created again: the base's entries are hidden (`user.overlay.opaque`).
fn is_opaque(dir: &OwnedFd) -> io::Result<bool> {
    Ok(crate::sys::xattr::get(dir.as_raw_fd(), c"user.overlay.opaque")?.as_deref() == Some(b"y"))
}

fn mode(meta: &Metadata) -> u32 {
    meta.mode() & 0o7777
}

/// Whether two files of one name differ in what a reader notices. A file that was only opened for writing was copied as it
/// is.
fn differs(
    name: &CStr,
    (old_dir, old): (&OwnedFd, &Metadata),
    (dir, new): (&OwnedFd, &Metadata),
) -> io::Result<bool> {
    if old.file_type() != new.file_type() || mode(old) != mode(new) && !new.is_symlink() {
        return Ok(true);
    }
    if new.is_symlink() {
        return Ok(link(old_dir, name)? != link(dir, name)?);
    }
    if !new.is_file() {
        return Ok(old.rdev() != new.rdev());
    }
    if old.len() != new.len() {
        return Ok(true);
    }
    // A program that still runs can put a symlink or a FIFO in a file's place.
    let flags = libc::O_RDONLY | libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let open = |dir: &OwnedFd| fs::openat(dir.as_raw_fd(), name, flags, 0).map(|fd| File::from(fs::own(fd)));
    let files = match (open(old_dir), open(dir)) {
        (Ok(old), Ok(new)) => [old, new],
        (_, Err(crate::sys::Errno::ELOOP | crate::sys::Errno::ENOENT)) => return Ok(true),
        (Err(e), _) | (_, Err(e)) => return Err(e.into()),
    };
    Ok(!files[1].metadata()?.is_file() || !same_content(&files, new.len())?)
}

/// Whether two files of the same size have the same bytes. Holes are skipped: a program can make a file that is larger than
/// the disk.
fn same_content(files: &[File; 2], size: u64) -> io::Result<bool> {
    use std::os::unix::fs::FileExt;
    let mut parts = [vec![0; 1 << 18], vec![0; 1 << 18]];
    let mut at = 0;
    loop {
        let start = at::next_data(&files[0], at, size)?.min(at::next_data(&files[1], at, size)?);
        let length = usize::try_from(size - start).unwrap_or(usize::MAX).min(1 << 18);
        if length == 0 {
            return Ok(true);
        }
        for (file, part) in files.iter().zip(&mut parts) {
            match file.read_exact_at(&mut part[..length], start) {
                // It is shorter by now.
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
                read => read?,
            }
        }
        if parts[0][..length] != parts[1][..length] {
            return Ok(false);
        }
        at = start + length as u64;
    }
}
