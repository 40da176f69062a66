//! Where the account of a run goes: `--result`.

use std::io::Write;
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::launch::value::{LifeOptions, ResultTo};
use crate::lifecycle::account::Account;
use crate::sys::{fs, io};

/// How long a reader of `--result fd:N` may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where the account goes, looked at before anything is launched.
#[derive(Debug, Clone)]
pub struct Sink {
    to: ResultTo,
    meta: bool,
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
            ResultTo::File(path) => ResultTo::File(file(path)?),
            ResultTo::Fd(fd) => {
                descriptor(*fd, life.preserve_fds)?;
                ResultTo::Fd(*fd)
            }
        };
        Ok(Some(Sink { to, meta: life.result_meta == Some(true) }))
    }

    /// Keeps the descriptor from hooks and other programs; once this program does not begin anew any more.
    pub fn close_on_exec(&self) -> Result<()> {
        match self.to {
            ResultTo::Fd(fd) => fs::close_on_exec(fd).map_err(|e| Error::os("--result: fcntl", fd, e)),
            ResultTo::File(_) => Ok(()),
        }
    }

    /// Writes it: a file is replaced as a whole.
    pub fn write(&self, account: &Account) -> Result<()> {
        let text = if self.meta { account.meta() } else { account.json() };
        match &self.to {
            ResultTo::File(path) => replace(path, text.as_bytes()).map_err(|e| {
                Error::msg(format!("--result {}: the account cannot be written: {e}", path.display()))
            }),
            ResultTo::Fd(fd) => send(*fd, text.as_bytes())
                .map_err(|e| Error::msg(format!("--result fd:{fd}: the account cannot be written: {e}"))),
        }
    }
}

/// The absolute path of the file that a path leads to; its directory must let the caller make files.
fn file(path: &Path) -> Result<PathBuf> {
    let failed = |why: String| Error::msg(format!("--result {}: {why}", path.display()));
    let full = std::path::absolute(path).map_err(|e| failed(e.to_string()))?;
    // A symlink stays one.
    let full = full.canonicalize().unwrap_or(full);
    if full.is_dir() {
        return Err(failed("it is a directory: name a file".into()));
    }
    let flags = nix::unistd::AccessFlags::W_OK;
    let dir = full.parent().unwrap_or(Path::new("/"));
    let (needed, flags) = if is_special(&full) {
        (full.as_path(), flags)
    } else {
        (dir, flags | nix::unistd::AccessFlags::X_OK)
    };
    nix::unistd::access(needed, flags)
        .map_err(|e| failed(format!("{}: {}", needed.display(), crate::tables::errno::text(e as i32))))?;
    // The account of an earlier run would be taken for that of this one if this program were killed.
    match full.symlink_metadata() {
        Ok(m) if m.is_file() => std::fs::remove_file(&full).map_err(|e| failed(e.to_string()))?,
        _ => {}
    }
    Ok(full)
}

/// A device, a FIFO: it is written to, and never replaced.
fn is_special(path: &Path) -> bool {
    path.metadata().is_ok_and(|m| !m.is_file())
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

fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    if is_special(path) {
        return std::fs::OpenOptions::new().write(true).open(path)?.write_all(bytes);
    }
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let temp = path.with_file_name(format!(".{name}.{}", std::process::id()));
    let made = std::fs::OpenOptions::new().write(true).create_new(true).open(&temp);
    made.and_then(|mut file| file.write_all(bytes))
        .and_then(|()| std::fs::rename(&temp, path))
        .inspect_err(|_| std::fs::remove_file(&temp).unwrap_or_default())
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
        let n = fs::write(fd, &rest[..rest.len().min(AT_ONCE)])?;
        rest = &rest[n..];
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
        replace(&path, b"new").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        replace(Path::new("/dev/null"), b"x").unwrap();
        assert!(is_special(Path::new("/dev/null")));
    }

    #[test]
    fn a_descriptor_must_be_the_caller_s_and_writable() {
        assert!(descriptor(900, 0).is_err_and(|e| e.to_string().contains("not open")));
        let read = std::fs::File::open("/dev/null").unwrap();
        assert!(descriptor(read.as_raw_fd(), 0).is_err_and(|e| e.to_string().contains("for writing")));
        assert!(descriptor(3, 1).is_err_and(|e| e.to_string().contains("--preserve-fds")));
    }
}
