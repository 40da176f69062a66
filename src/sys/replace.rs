//! Atomic replacement of a file: written under a temporary name, then renamed.

use std::ffi::CStr;
use std::path::Path;

use super::{Errno, cstr, fs};

/// Mode of the new file, before the umask, and whether it is synced before the rename.
#[derive(Debug, Clone, Copy)]
pub struct ReplaceMode {
    /// Permission bits.
    pub mode: u32,
    /// fsync(2) before rename(2).
    pub sync: bool,
}

impl ReplaceMode {
    /// A file that only its owner can read.
    pub const PRIVATE: ReplaceMode = ReplaceMode { mode: 0o600, sync: false };
}

/// The failed system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplaceCall {
    /// open(2) of the temporary name.
    Open,
    /// write(2).
    Write,
    /// rename(2).
    Rename,
}

/// Replaces `path` through the temporary name `temp` in the same directory. Only system calls: no allocation.
pub fn replace(
    temp: &CStr,
    path: &CStr,
    bytes: &[u8],
    kind: ReplaceMode,
) -> std::result::Result<(), (ReplaceCall, Errno)> {
    let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW;
    let open = || fs::openat(libc::AT_FDCWD, temp, flags, kind.mode);
    // An existing temporary file is the leftover of a killed process, or of another user with access to the directory.
    let fd = match open() {
        Err(Errno::EEXIST) => fs::unlinkat(libc::AT_FDCWD, temp, 0).and_then(|()| open()),
        opened => opened,
    };
    let fd = fd.map_err(|e| (ReplaceCall::Open, e))?;
    let written = fs::write_all(fd, bytes).and_then(|()| if kind.sync { fs::fsync(fd) } else { Ok(()) });
    fs::close(fd);
    written.map_err(|e| (ReplaceCall::Write, e)).and_then(|()| {
        fs::renameat(libc::AT_FDCWD, temp, libc::AT_FDCWD, path).map_err(|e| (ReplaceCall::Rename, e))
    })
}

fn invalid(e: cstr::NulByte) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidInput, e)
}

/// As [`replace`], for paths; removes `temp` after a failure.
pub fn replace_path(temp: &Path, path: &Path, bytes: &[u8], kind: ReplaceMode) -> std::io::Result<()> {
    let (temp, path) = (cstr::cpath(temp).map_err(invalid)?, cstr::cpath(path).map_err(invalid)?);

    replace(&temp, &path, bytes, kind).map_err(|(step, errno)| {
        if step != ReplaceCall::Open {
            fs::unlinkat(libc::AT_FDCWD, &temp, 0).unwrap_or_default();
        }
        errno.into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_a_planted_link_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (temp, path, other) = (dir.path().join("t"), dir.path().join("p"), dir.path().join("other"));
        std::fs::write(&other, "untouched").unwrap();
        std::os::unix::fs::symlink(&other, &temp).unwrap();
        std::fs::write(&path, "before").unwrap();
        replace_path(&temp, &path, b"after", ReplaceMode::PRIVATE).unwrap();
        let read = |path: &Path| std::fs::read_to_string(path).unwrap();
        assert_eq!((read(&path).as_str(), read(&other).as_str()), ("after", "untouched"));
        assert!(!temp.exists());
    }
}
