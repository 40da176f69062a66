//! The files of one process below /proc, read through one descriptor: another process that gets the same number is
//! not read in its place.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::{Known, Place};
use crate::error::{Error, Result};
use crate::sys::{Errno, fs};

/// A file of /proc with more than this is not read whole.
const MOST: usize = 4 << 20;

/// A process.
pub(super) struct Files {
    /// Its number.
    pub pid: i32,
    dir: OwnedFd,
    root: Known<OwnedFd>,
}

impl Files {
    /// Opens the process's directory.
    pub fn open(pid: i32) -> Result<Self> {
        let path = CString::new(format!("/proc/{pid}")).map_err(|_| Error::msg("a pid has no NUL"))?;
        let dir = fs::openat(libc::AT_FDCWD, &path, libc::O_PATH | libc::O_DIRECTORY, 0)
            .map(fs::own)
            .map_err(|e| match e {
                Errno::ENOENT => Error::msg(format!("--pid {pid}: no such process")),
                e => Error::os("open", format!("/proc/{pid}"), e),
            })?;
        let root = fs::openat(dir.as_raw_fd(), c"root", libc::O_PATH | libc::O_DIRECTORY, 0)
            .map(fs::own)
            .map_err(|e| format!("/proc/{pid}/root: {}", crate::tables::errno::text(e as i32)));
        Ok(Files { pid, dir, root })
    }

    fn real(&self, file: &str) -> PathBuf {
        format!("/proc/self/fd/{}/{file}", self.dir.as_raw_fd()).into()
    }

    /// The path as people know it.
    pub fn shown(&self, file: &str) -> PathBuf {
        format!("/proc/{}/{file}", self.pid).into()
    }

    fn failed(&self, file: &str, e: &std::io::Error) -> String {
        format!("{}: {}", self.shown(file).display(), crate::tables::errno::of_io(e))
    }

    /// A file, whole.
    pub fn bytes(&self, file: &str) -> Known<Vec<u8>> {
        use std::io::Read;
        let open = std::fs::File::open(self.real(file)).map_err(|e| self.failed(file, &e))?;
        let mut bytes = Vec::new();
        open.take(MOST as u64).read_to_end(&mut bytes).map_err(|e| self.failed(file, &e))?;
        Ok(bytes)
    }

    /// The same as text.
    pub fn text(&self, file: &str) -> Known<String> {
        Ok(String::from_utf8_lossy(&self.bytes(file)?).into_owned())
    }

    /// What a symlink leads to.
    pub fn link(&self, file: &str) -> Known<PathBuf> {
        std::fs::read_link(self.real(file)).map_err(|e| self.failed(file, &e))
    }

    /// What stat(2) says of a file, or of what a magic link leads to.
    pub fn stat(&self, file: &str) -> Known<std::fs::Metadata> {
        std::fs::metadata(self.real(file)).map_err(|e| self.failed(file, &e))
    }

    /// `status`, by the names of its lines: (value, place).
    pub fn status(&self) -> Known<BTreeMap<String, (String, Place)>> {
        let text = self.text("status")?;
        let row = |(i, line): (usize, &str)| {
            let (name, value) = line.split_once(':')?;
            let place = Place::Line(self.shown("status"), u32::try_from(i + 1).ok()?);
            Some((name.to_string(), (value.trim().to_string(), place)))
        };
        Ok(text.lines().enumerate().filter_map(row).collect())
    }

    /// What lies at `path` of the container's tree, resolved inside it; `None`: nothing.
    pub fn inside(&self, path: &Path) -> Known<Option<OwnedFd>> {
        let root = self.root.as_ref().map_err(Clone::clone)?;
        let below = path.strip_prefix("/").unwrap_or(path);
        let below = if below == Path::new("") { Path::new(".") } else { below };
        let name = CString::new(below.as_os_str().as_bytes()).map_err(|_| "a path with a NUL".to_string())?;
        let resolve = fs::RESOLVE_IN_ROOT | fs::RESOLVE_NO_MAGICLINKS;
        match fs::openat2(root.as_raw_fd(), &name, libc::O_PATH, 0, resolve) {
            Ok(fd) => Ok(Some(fs::own(fd))),
            Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
            Err(e) => Err(format!(
                "{} inside process {}: {}",
                path.display(),
                self.pid,
                crate::tables::errno::text(e as i32)
            )),
        }
    }
}
