//! Where the account of a run goes: `--result`.

use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::unistd::AccessFlags;

use crate::error::{Error, Result};
use crate::launch::value::{LifeOptions, ResultTo};
use crate::lifecycle::account::Account;
use crate::sys::cstr::cpath;
use crate::sys::{Errno, fs, io};

/// How long a reader of `--result fd:N` may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where the account goes, looked at before anything is launched.
#[derive(Debug)]
pub struct Sink {
    to: ResultTarget,
    meta: bool,
}

/// Files are held by descriptor from before the start: the program may write to the directory, and put a symlink in the
/// place of any name.
#[derive(Debug)]
enum ResultTarget {
    /// A file of this name, in the directory that is held.
    File {
        dir: OwnedFd,
        name: CString,
        path: PathBuf,
    },
    /// A device or a FIFO (`O_PATH`): it is written to, and never replaced.
    Special {
        fd: OwnedFd,
        path: PathBuf,
    },
    Fd(RawFd),
}

impl Sink {
    /// What the options say; an error where nothing could be written there at the end.
    pub fn of(life: &LifeOptions) -> Result<Option<Self>> {
        let Some(to) = &life.result else {
            let unused = life.result_meta.is_some();
            return if unused {
                Err(Error::msg("--result-format: --result says where to"))
            } else {
                Ok(None)
            };
        };
        let to = match to {
            ResultTo::File(path) => file(path)?,
            ResultTo::Fd(fd) => {
                descriptor(*fd, life.preserve_fds)?;
                ResultTarget::Fd(*fd)
            }
        };
        Ok(Some(Sink { to, meta: life.result_meta == Some(true) }))
    }

    /// Sets close-on-exec, so that hooks and other programs do not inherit the descriptor. Call it after the last re-execution
    /// of this program.
    pub fn close_on_exec(&self) -> Result<()> {
        match &self.to {
            ResultTarget::Fd(fd) => fs::close_on_exec(*fd).map_err(|e| Error::os("--result: fcntl", fd, e)),
            ResultTarget::File { .. } | ResultTarget::Special { .. } => Ok(()),
        }
    }

    /// Writes it: a file is replaced as a whole.
    pub fn write(&self, account: &Account) -> Result<()> {
        let text = if self.meta { account.meta() } else { account.json() };
        let (named, written) = match &self.to {
            ResultTarget::File { dir, name, path } => {
                (path.display().to_string(), replace(dir, name, text.as_bytes()))
            }
            ResultTarget::Special { fd, path } => {
                (path.display().to_string(), write_to_special(fd, text.as_bytes()))
            }
            ResultTarget::Fd(fd) => (format!("fd:{fd}"), send(*fd, text.as_bytes())),
        };
        written.map_err(|e| Error::msg(format!("--result {named}: the account cannot be written: {e}")))
    }
}

/// Holds the file that a path leads to; its directory must let the caller make files.
fn file(path: &Path) -> Result<ResultTarget> {
    let failed = |why: String| Error::msg(format!("--result {}: {why}", path.display()));
    let full = std::path::absolute(path).map_err(|e| failed(e.to_string()))?;
    // A symlink stays one.
    let full = full.canonicalize().unwrap_or(full);
    if full.is_dir() {
        return Err(failed("it is a directory: name a file".into()));
    }
    let special = full.symlink_metadata().is_ok_and(|m| !m.is_file() && !m.is_symlink());
    let dir = full.parent().unwrap_or(Path::new("/"));
    let flags = AccessFlags::W_OK;
    let (needed, flags) = if special { (full.as_path(), flags) } else { (dir, flags | AccessFlags::X_OK) };
    let refused = |what: &Path, e: Errno| {
        failed(format!("{}: {}", what.display(), crate::tables::errno::text(e as i32)))
    };
    nix::unistd::access(needed, flags).map_err(|e| refused(needed, e))?;
    let hold = libc::O_PATH | if special { libc::O_NOFOLLOW } else { libc::O_DIRECTORY };
    let fd = fs::openat(libc::AT_FDCWD, &cpath(needed)?, hold, 0)
        .and_then(fs::move_up)
        .map_err(|e| refused(needed, e))?;
    if special {
        return Ok(ResultTarget::Special { fd, path: full });
    }
    let name = full.file_name().ok_or_else(|| failed("name a file".into()))?;
    let name = cpath(Path::new(name))?;
    // The account of an earlier run would be taken for that of this one if this program were killed.
    let regular = |st: libc::stat| st.st_mode & libc::S_IFMT == libc::S_IFREG;
    if fs::fstatat(fd.as_raw_fd(), &name).is_ok_and(regular) {
        fs::unlinkat(fd.as_raw_fd(), &name, 0).map_err(|e| refused(&full, e))?;
    }
    Ok(ResultTarget::File { dir: fd, name, path: full })
}

/// A descriptor that is open for writing and the caller's own.
fn descriptor(fd: RawFd, preserved: u32) -> Result<()> {
    let failed = |why: &str| Error::msg(format!("--result fd:{fd}: {why}"));
    if u32::try_from(fd).is_ok_and(|n| n < 3 + preserved) {
        return Err(failed("--preserve-fds passes this descriptor to the program"));
    }
    match io::access_mode(fd) {
        Ok(libc::O_WRONLY | libc::O_RDWR) => Ok(()),
        Ok(_) => Err(failed("it is not open for writing")),
        Err(_) => Err(failed("it is not open: in a shell, fd:3 comes with 3>FILE")),
    }
}

/// Replaces the file `name` in `dir`. Whatever has the name, it is not followed. [`crate::sys::replace`] is not enough
/// here: the program may write to the directory and rename it, so every call goes by the descriptor of the directory, and
/// the temporary name is one that cannot be foreseen.
fn replace(dir: &OwnedFd, name: &CStr, bytes: &[u8]) -> std::io::Result<()> {
    let dir = dir.as_raw_fd();
    let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW;
    // The program may have taken a name that it could guess.
    let time = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let temp = CString::new(format!(".safebox-result.{}.{}", std::process::id(), time.as_nanos()))?;
    let file = fs::own(fs::openat(dir, &temp, flags, 0o666)?);
    fs::write_all(file.as_raw_fd(), bytes)
        .and_then(|()| fs::renameat(dir, &temp, dir, name))
        .inspect_err(|_| fs::unlinkat(dir, &temp, 0).unwrap_or_default())?;
    Ok(())
}

/// Writes to the device or FIFO that is held; a FIFO without a reader is waited for, but not for ever.
fn write_to_special(fd: &OwnedFd, bytes: &[u8]) -> std::io::Result<()> {
    let end = Instant::now() + PATIENCE;
    let opened = loop {
        match io::reopen_nonblocking(fd.as_raw_fd(), libc::O_WRONLY) {
            Err(Errno::ENXIO) if Instant::now() < end => std::thread::sleep(Duration::from_millis(50)),
            opened => break fs::own(opened?),
        }
    };
    send(opened.as_raw_fd(), bytes)
}

/// Writes all of it; a pipe or a socket whose reader is slow is waited for, but not for ever.
fn send(fd: RawFd, bytes: &[u8]) -> std::io::Result<()> {
    /// A pipe that poll(2) calls writable takes this much at once (pipe(7), `PIPE_BUF`).
    const AT_ONCE: usize = 4096;
    let end = Instant::now() + PATIENCE;
    let mut rest = bytes;
    while !rest.is_empty() {
        let left = end.saturating_duration_since(Instant::now());
        let millis = i32::try_from(left.as_millis()).unwrap_or(i32::MAX);
        if io::poll(&[(fd, libc::POLLOUT)], millis)?.first().is_none_or(|events| *events == 0) {
            return Err(std::io::Error::new(std::io::ErrorKind::TimedOut, "its reader does not take it"));
        }
        match fs::write(fd, &rest[..rest.len().min(AT_ONCE)]) {
            Ok(n) => rest = &rest[n..],
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    #[test]
    fn a_file_is_replaced_and_a_device_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("result");
        std::fs::write(&path, "old, and longer than what comes").unwrap();
        let ResultTarget::File { dir: held, name, .. } = file(&path).unwrap() else { panic!("a file") };
        assert!(!path.exists(), "the account of an earlier run");
        // What comes to the name meanwhile is not followed.
        std::os::unix::fs::symlink("other", &path).unwrap();
        replace(&held, &name, b"new").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        let ResultTarget::Special { fd, .. } = file(Path::new("/dev/null")).unwrap() else {
            panic!("a device")
        };
        write_to_special(&fd, b"x").unwrap();
    }

    #[test]
    fn a_descriptor_must_be_the_caller_s_and_writable() {
        assert!(descriptor(900, 0).is_err_and(|e| e.to_string().contains("not open")));
        let read = std::fs::File::open("/dev/null").unwrap();
        assert!(descriptor(read.as_raw_fd(), 0).is_err_and(|e| e.to_string().contains("for writing")));
        assert!(descriptor(3, 1).is_err_and(|e| e.to_string().contains("--preserve-fds")));
    }
}
