//! The spool: a file in the state root to which verbs append their reports, and from which the watcher reads them.
//!
//! Reports are appended with one write(2) each, so their order in the file is the order of the trail. A shared flock(2)
//! keeps the watcher from emptying the file meanwhile. A spool without a watcher grows up to a limit; beyond it, and
//! where a report cannot be written, the verb logs a warning and leaves a mark, from which the trail gets an event
//! `lost`. The verb itself goes on: a full disk must not stop containers from being killed and removed.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::event::{TrailEvent, line};
use crate::error::{Error, Result};
use crate::sys::{Errno, fs};

// Container ids cannot contain `~`.
/// The spool's name in the state root.
pub const SPOOL: &str = "~events";
/// The mark of a lost report.
pub const LOST: &str = "~events-lost";
/// The watcher's lock: its pid and the position up to which the spool is written to the trail.
const WATCHER: &str = "~watch";

/// Bytes that the spool holds at most: some 30,000 events.
const MOST: u64 = 16 << 20;
/// The watcher empties a spool that it has read once it is larger than this.
const EMPTIED: u64 = 256 << 10;
/// Bytes that are read at a time.
const ROOM: u64 = 1 << 20;
/// How long a report waits for a watcher that is emptying the spool, which takes microseconds.
const PATIENCE: Duration = Duration::from_millis(200);

/// Reports what a verb did. Nothing is built, and nothing but one open(2) is called, if no watch is set up. An error
/// means that the report is lost.
pub fn report(root: &Path, events: impl FnOnce() -> Vec<TrailEvent>) -> Result<()> {
    let path = root.join(SPOOL);
    let failed = |e: std::io::Error| Error::msg(format!("{}: {e}", path.display()));
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC;
    let mut file = match File::options().append(true).custom_flags(flags).open(&path) {
        Ok(file) => file,
        Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => return Ok(()),
        // Nothing in a directory that this user cannot enter is theirs.
        Err(_) if nix::unistd::access(root, nix::unistd::AccessFlags::X_OK).is_err() => return Ok(()),
        Err(e) => return Err(failed(e)),
    };
    let meta = file.metadata().map_err(failed)?;
    if !meta.is_file() || meta.uid() != nix::unistd::geteuid().as_raw() {
        return Err(Error::msg(format!("{}: not this user's file", path.display())));
    }
    let lines: String = events().iter().map(|event| format!("\n{}\n", line(event))).collect();
    let written = append(&mut file, lines.as_bytes()).map_err(failed);
    if written.is_err() {
        // The warning says it, too.
        drop(File::options().write(true).create(true).truncate(false).mode(0o600).open(root.join(LOST)));
    }
    written
}

/// The reports begin with a line break, so that one cut short by a full disk spoils no other.
fn append(file: &mut File, lines: &[u8]) -> std::io::Result<()> {
    let fd = file.as_raw_fd();
    if !patiently(PATIENCE, || fs::try_lock_shared(fd)) {
        return Err(std::io::Error::other("the watcher does not release it"));
    }
    let meta = file.metadata()?;
    if meta.nlink() == 0 {
        // The watch ended after the file was opened.
        return Ok(());
    }
    if meta.len() + lines.len() as u64 > MOST {
        return Err(std::io::Error::other("it is full: its watcher has ended without reading it"));
    }
    file.write_all(lines)
}

fn patiently(time: Duration, lock: impl Fn() -> crate::sys::SysResult<()>) -> bool {
    let end = Instant::now() + time;
    loop {
        match lock() {
            Ok(()) => return true,
            Err(Errno::EAGAIN | Errno::EINTR) if Instant::now() < end => {
                crate::sys::process::sleep_micros(200);
            }
            Err(_) => return false,
        }
    }
}

/// The watcher's end of the spool. There is one watcher per state root.
pub struct Spool {
    root: PathBuf,
    file: File,
    watcher: File,
    position: u64,
    /// The beginning of a line whose end has not come yet.
    rest: Vec<u8>,
    /// There was a spool: its watcher did not end by itself.
    pub resumed: bool,
}

impl Spool {
    /// Sets up the watch: from here on verbs report.
    pub fn open(root: &Path) -> Result<Self> {
        crate::state::make_root(root)?;
        let open = |name: &str| {
            let path = root.join(name);
            let failed = |e: std::io::Error| Error::msg(format!("{}: {e}", path.display()));
            let flags = libc::O_NOFOLLOW | libc::O_CLOEXEC;
            let mut options = File::options();
            options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(flags);
            let file = options.open(&path).map_err(failed)?;
            if !crate::state::is_mine(&path) {
                return Err(Error::msg(format!("{}: other users could write it: remove it", path.display())));
            }
            Ok(file)
        };
        let mut watcher = open(WATCHER)?;
        let mut text = String::new();
        watcher.read_to_string(&mut text).unwrap_or_default();
        if fs::try_lock(watcher.as_raw_fd()).is_err() {
            let pid = text.split(' ').next().unwrap_or_default();
            return Err(Error::msg(format!(
                "process {} watches {} already; read its output, or end it",
                crate::error::escaped_line(pid),
                root.display()
            )));
        }
        let resumed = root.join(SPOOL).exists();
        let file = open(SPOOL)?;
        let size = file.metadata().map_or(0, |m| m.len());
        let position = text.split(' ').nth(1).and_then(|n| n.trim().parse().ok()).filter(|n| *n <= size);
        let position = position.filter(|_| resumed).unwrap_or(0);
        let mut spool = Spool { root: root.into(), file, watcher, position, rest: Vec::new(), resumed };
        spool.note(position)?;
        Ok(spool)
    }

    /// The file, for inotify(7).
    pub fn path(&self) -> PathBuf {
        self.root.join(SPOOL)
    }

    /// The file's descriptor.
    pub fn fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    /// Complete lines that were not read before; empty ones are left out.
    pub fn read(&mut self) -> Result<Vec<String>> {
        let failed = |e: std::io::Error| Error::msg(format!("{SPOOL}: {e}"));
        let from = self.position + self.rest.len() as u64;
        self.file.seek(SeekFrom::Start(from)).map_err(failed)?;
        Read::by_ref(&mut self.file).take(ROOM).read_to_end(&mut self.rest).map_err(failed)?;
        let Some(end) = self.rest.iter().rposition(|b| *b == b'\n') else { return Ok(Vec::new()) };
        let rest = self.rest.split_off(end + 1);
        let whole = std::mem::replace(&mut self.rest, rest);
        self.position += whole.len() as u64;
        let lines = whole.split(|b| *b == b'\n').filter(|line| !line.is_empty());
        Ok(lines.map(|line| String::from_utf8_lossy(line).into_owned()).collect())
    }

    /// What was read is in the trail. A spool that is read to its end is emptied; otherwise its position is noted.
    pub fn done(&mut self) -> Result<()> {
        if self.position < EMPTIED || !self.rest.is_empty() || fs::try_lock(self.fd()).is_err() {
            return self.note(self.position);
        }
        let emptied = match self.file.metadata() {
            Ok(meta) if meta.len() == self.position => {
                // In this order a crash repeats events and loses none.
                self.note(0).and_then(|()| {
                    self.position = 0;
                    self.file.set_len(0).map_err(|e| Error::msg(format!("{SPOOL}: {e}")))
                })
            }
            _ => self.note(self.position),
        };
        fs::unlock(self.fd()).unwrap_or_default();
        emptied
    }

    fn note(&mut self, position: u64) -> Result<()> {
        let text = format!("{} {position:<20}\n", std::process::id());
        let written = self.watcher.set_len(text.len() as u64).and_then(|()| {
            self.watcher.seek(SeekFrom::Start(0))?;
            self.watcher.write_all(text.as_bytes())
        });
        written.map_err(|e| Error::msg(format!("{WATCHER}: {e}")))
    }

    /// Whether a report was lost since the last call.
    pub fn lost(&self) -> bool {
        std::fs::remove_file(self.root.join(LOST)).is_ok()
    }

    /// Ends the watch: verbs report no more. The last lines are returned.
    pub fn close(mut self) -> Result<Vec<String>> {
        // A verb that holds the lock is about to write.
        patiently(Duration::from_secs(2), || fs::try_lock(self.file.as_raw_fd()));
        let removed = std::fs::remove_file(self.path());
        let mut lines = Vec::new();
        loop {
            let some = self.read()?;
            if some.is_empty() {
                break;
            }
            lines.extend(some);
        }
        std::fs::remove_file(self.root.join(WATCHER)).unwrap_or_default();
        removed.map_err(|e| Error::msg(format!("{SPOOL}: {e}")))?;
        Ok(lines)
    }
}
