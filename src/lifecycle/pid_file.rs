//! `--pid-file`.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::sys::cstr::cpath;
use crate::sys::fs;
use crate::sys::replace::{ReplaceMode, replace_path};

/// Decimal and no newline, written whole or not at all: go-runc parses the raw bytes. The program may run already, and put
/// a symlink in the place of a directory of its own; `path` was resolved before, so none is followed.
pub fn write(path: &Path, pid: i32) -> Result<(), Error> {
    let failed = |e: std::io::Error| Error::msg(format!("--pid-file {}: {e}", path.display()));
    let (_dir, at) = held(path).map_err(failed)?;
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let temp = at.with_file_name(format!(".{name}.tmp"));
    replace_path(&temp, &at, pid.to_string().as_bytes(), ReplaceMode { mode: 0o666, sync: false })
        .map_err(failed)
}

/// Removes it again.
pub fn remove(path: &Path) {
    // It may not have been written.
    held(path).and_then(|(_dir, at)| std::fs::remove_file(at)).unwrap_or_default();
}

/// The file's directory, held open, and the path of the file by way of it.
fn held(path: &Path) -> std::io::Result<(OwnedFd, PathBuf)> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(std::io::ErrorKind::InvalidInput.into());
    };
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    let flags = libc::O_PATH | libc::O_DIRECTORY;
    let dir = cpath(dir).map_err(std::io::Error::other)?;
    let fd = fs::own(fs::openat2(libc::AT_FDCWD, &dir, flags, 0, fs::RESOLVE_NO_SYMLINKS)?);
    let at = Path::new("/proc/self/fd").join(fd.as_raw_fd().to_string()).join(name);
    Ok((fd, at))
}
