//! Writable copies (`run --overlay`): what a program changed, and writing it back to the host's directory.
//!
//! [`changes`] compares a layer's upper directory with its base, [`apply`] writes changes back, [`risk`] names changes
//! that could run a program later, outside of the sandbox.

pub mod apply;
mod at;
pub mod risk;
#[cfg(test)]
mod tests;

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// What happened to a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The base does not have it.
    Added,
    /// Content, type, mode or target of a symlink differ.
    Modified,
    /// The program removed it.
    Deleted,
}

impl Kind {
    /// As `safebox diff` prints it.
    pub fn letter(self) -> char {
        match self {
            Kind::Added => 'A',
            Kind::Modified => 'M',
            Kind::Deleted => 'D',
        }
    }
}

/// One changed path.
#[derive(Debug, Clone)]
pub struct Change {
    /// What happened.
    pub kind: Kind,
    /// The path below the base.
    pub path: PathBuf,
    /// The file in the layer; of a deleted one the file in the base.
    pub meta: Metadata,
    /// A directory of which only the mode differs.
    pub mode_only: bool,
}

/// All changes of the layer `upper` to `base`, parents first, sorted by name.
pub fn changes(base: &Path, upper: &Path) -> io::Result<Vec<Change>> {
    let mut found = Vec::new();
    walk(Some(base), upper, Path::new(""), &mut found)?;
    Ok(found)
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

fn names(dir: &Path) -> io::Result<Vec<std::ffi::OsString>> {
    let entries = std::fs::read_dir(dir).map_err(|e| named(dir, &e))?;
    let mut names = entries.map(|e| e.map(|e| e.file_name())).collect::<io::Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

/// A file's attributes; `None` where it does not exist.
fn meta(path: &Path) -> io::Result<Option<Metadata>> {
    match path.symlink_metadata() {
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        meta => meta.map(Some).map_err(|e| named(path, &e)),
    }
}

/// overlayfs marks a removed path with a character device 0:0.
fn is_whiteout(meta: &Metadata) -> bool {
    meta.file_type().is_char_device() && meta.rdev() == 0
}

/// `base`: `None` where the base has no directory of that path. A symlink of the base is not followed: what the program
/// has made in its place is all new.
fn walk(base: Option<&Path>, upper: &Path, below: &Path, found: &mut Vec<Change>) -> io::Result<()> {
    let dir = upper.join(below);
    let all_new = is_opaque(&dir).map_err(|e| named(&dir, &e))?;
    for name in names(&dir)? {
        let path = below.join(name);
        let Some(new) = meta(&upper.join(&path))? else { continue };
        let old = base.map_or(Ok(None), |base| meta(&base.join(&path)))?;
        if is_whiteout(&new) {
            if let Some(old) = old {
                found.push(Change { kind: Kind::Deleted, path, meta: old, mode_only: false });
            }
            continue;
        }
        let kind = match (&old, base) {
            (None, _) | (_, None) => Some((Kind::Added, false)),
            (Some(old), _) if new.is_dir() && old.is_dir() => {
                (mode(&new) != mode(old)).then_some((Kind::Modified, true))
            }
            (Some(old), Some(base)) => {
                differs(&base.join(&path), old, &upper.join(&path), &new)?.then_some((Kind::Modified, false))
            }
        };
        let is_dir = new.is_dir();
        if let Some((kind, mode_only)) = kind {
            found.push(Change { kind, path: path.clone(), meta: new, mode_only });
        }
        if is_dir {
            walk(base.filter(|_| old.is_some_and(|old| old.is_dir())), upper, &path, found)?;
        }
    }
    if let Some(base) = base.filter(|_| all_new) {
        deleted_by_opaque(base, upper, below, found)?;
    }
    Ok(())
}

/// What an opaque directory hides of the base.
fn deleted_by_opaque(base: &Path, upper: &Path, below: &Path, found: &mut Vec<Change>) -> io::Result<()> {
    if !meta(&base.join(below))?.is_some_and(|m| m.is_dir()) {
        return Ok(());
    }
    for name in names(&base.join(below))? {
        let path = below.join(name);
        if meta(&upper.join(&path))?.is_none()
            && let Some(old) = meta(&base.join(&path))?
        {
            found.push(Change { kind: Kind::Deleted, path, meta: old, mode_only: false });
        }
    }
    Ok(())
}

/// A directory that was removed and created again: the base's entries are hidden (`user.overlay.opaque`).
fn is_opaque(dir: &Path) -> io::Result<bool> {
    Ok(crate::sys::xattr::get(dir, c"user.overlay.opaque")?.as_deref() == Some(b"y"))
}

fn mode(meta: &Metadata) -> u32 {
    meta.mode() & 0o7777
}

/// Whether two files differ in what a reader notices. A file that was only opened for writing was copied as it is.
fn differs(old_path: &Path, old: &Metadata, new_path: &Path, new: &Metadata) -> io::Result<bool> {
    if old.file_type() != new.file_type() || mode(old) != mode(new) && !new.is_symlink() {
        return Ok(true);
    }
    if new.is_symlink() {
        return Ok(std::fs::read_link(old_path)? != std::fs::read_link(new_path)?);
    }
    if !new.is_file() {
        return Ok(old.rdev() != new.rdev());
    }
    Ok(old.len() != new.len() || !same_content(old_path, new_path, new.len())?)
}

/// Whether two files of the same size have the same bytes. Holes are skipped: a program can make a file that is larger than
/// the disk.
fn same_content(a: &Path, b: &Path, size: u64) -> io::Result<bool> {
    use std::os::unix::fs::{FileExt, OpenOptionsExt};
    // A program that still runs can put a symlink or a FIFO in a file's place.
    let open = |path| {
        std::fs::File::options().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)
    };
    let files = [open(a)?, open(b)?];
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
