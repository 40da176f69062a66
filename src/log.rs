//! The log for callers of runc: one JSON object per failed call, none on success.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::error::{escaped, in_lines, message};
use crate::sys::{Errno, fs, io, tty};

/// Prints a line on stderr. Unlike `eprintln!` it does not panic if stderr is closed: the launch continues.
#[doc(hidden)]
#[macro_export]
macro_rules! to_stderr {
    ($($text:tt)*) => { $crate::log::to_stderr(format_args!($($text)*)) };
}

/// Nothing is written to stderr any more: it is the program's alone, and the account has the rest.
static SILENT: AtomicBool = AtomicBool::new(false);

/// From here on stderr is the program's alone.
pub fn silence() {
    SILENT.store(true, Ordering::Relaxed);
}

/// See [`to_stderr!`].
pub fn to_stderr(text: std::fmt::Arguments<'_>) {
    if SILENT.load(Ordering::Relaxed) {
        return;
    }
    write_in_time(&format!("{text}\n"));
}

/// A reader of stderr that takes nothing for this long loses what follows.
const PATIENCE: Duration = Duration::from_secs(2);

/// Set once a reader has taken nothing for that long: no later line waits again.
static UNREAD: AtomicBool = AtomicBool::new(false);

/// Writes to stderr without blocking: it may be a pipe that the program has filled, or a terminal whose output is
/// stopped, and the end of a run must not wait for its reader. A failed write cannot be reported anywhere.
fn write_in_time(text: &str) {
    let kind = fs::fstatat(2, c"").map_or(0, |st| st.st_mode & libc::S_IFMT);
    if !matches!(kind, libc::S_IFIFO | libc::S_IFSOCK) && !tty::is_tty(2) {
        // Files and devices wait for no reader.
        return fs::write_all(2, text.as_bytes()).unwrap_or_default();
    }
    let end = Instant::now() + if UNREAD.load(Ordering::Relaxed) { Duration::ZERO } else { PATIENCE };
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        let left = end.saturating_duration_since(Instant::now());
        match io::poll(&[(2, libc::POLLOUT)], i32::try_from(left.as_millis()).unwrap_or(0)).as_deref() {
            Ok([0]) if left.is_zero() => return UNREAD.store(true, Ordering::Relaxed),
            Ok([0]) => continue,
            Ok(_) => {}
            Err(_) => return,
        }
        match io::write_ready(2, rest) {
            Ok(n) => rest = &rest[n..],
            Err(Errno::EAGAIN | Errno::EINTR) if !left.is_zero() => {}
            Err(_) => return,
        }
    }
}

/// Formats of `--log`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

/// The log options of the command line.
#[derive(Debug, Clone, Default)]
pub struct LogOptions {
    /// `--log`.
    pub file: Option<PathBuf>,
    /// `--log-format`.
    pub format: LogFormat,
    /// `--debug`.
    pub debug: bool,
    /// Whether the program was started under the name runc.
    pub as_runc: bool,
}

/// Destination of messages.
#[derive(Debug, Clone)]
pub struct Log {
    file: Option<PathBuf>,
    /// That file (`O_PATH`). The program may write to its directory, and give its name to another file.
    held: Option<Arc<OwnedFd>>,
    format: LogFormat,
    debug: bool,
    as_runc: bool,
}

impl Log {
    /// Opens the log that the command line names. An unwritable log is an error: its reader would take an
    /// empty log for success. It does not stay open for writing, because its descriptor could be inherited by mistake.
    pub fn new(options: LogOptions) -> Result<Self, String> {
        // A monitor leaves the working directory.
        let file = options.file.map(|path| std::path::absolute(&path).unwrap_or(path));
        let hold = |path: &PathBuf| {
            open(path)
                .and_then(|file| hold(&file))
                .map_err(|e| in_lines(&format!("--log {}: {e}", path.display())))
        };
        let held = file.as_ref().map(hold).transpose()?.map(Arc::new);
        Ok(Log { file, held, format: options.format, debug: options.debug, as_runc: options.as_runc })
    }

    /// Reports a failure: to the log file in its format, and always to stderr, where Podman reads it.
    pub fn error(&self, text: &str) {
        let text = &message(text);
        self.to_file("error", text);
        if self.file.is_none() && self.format == LogFormat::Json {
            to_stderr!("{}", json("error", text));
        } else if self.as_runc && self.file.is_none() {
            to_stderr!("{}", logrus("error", text));
        } else if self.as_runc {
            to_stderr!("{text}");
        } else {
            to_stderr!("safebox: {text}");
        }
    }

    /// Reports a failed execve(2). Under the name runc and without a log, stderr gets only `bare`, as runc's
    /// init prints it.
    pub fn not_executed(&self, text: &str, bare: &str) {
        if self.as_runc && self.file.is_none() && self.format == LogFormat::Text {
            to_stderr!("{}", escaped(bare));
        } else {
            self.error(text);
        }
    }

    /// Reports a deviation from the request: to the log file if there is one, because stderr belongs to the
    /// container.
    pub fn warning(&self, text: &str) {
        let text = &in_lines(text);
        match &self.file {
            Some(_) => self.to_file("warning", text),
            None if self.format == LogFormat::Json => to_stderr!("{}", json("warning", text)),
            None if self.as_runc => to_stderr!("{}", logrus("warning", text)),
            None => to_stderr!("safebox: warning: {text}"),
        }
    }

    /// Reports what the kernel did to the container, on stderr and in the log. The program can forge it on
    /// stderr, but not in the log.
    pub fn verdict(&self, text: &str) {
        self.to_file("warning", &in_lines(text));
        say(text);
    }

    /// Reports a detail: to the log file if there is one, else only with `--debug`.
    pub fn note(&self, text: &str) {
        match &self.file {
            Some(_) => self.to_file("warning", &in_lines(text)),
            None => self.debug(text),
        }
    }

    /// Whether [`Self::debug`] prints anything.
    pub fn is_debug(&self) -> bool {
        self.debug
    }

    /// Whether a line can be written without blocking: a container may have filled the pipe that the caller
    /// reads.
    pub fn takes_a_line(&self) -> bool {
        let full = || matches!(io::poll(&[(2, libc::POLLOUT)], 0).as_deref(), Ok([0]));
        self.file.is_some() || !full()
    }

    /// Whether the program was started under the name runc.
    pub fn is_runc(&self) -> bool {
        self.as_runc
    }

    /// Reports an action, with `--debug`.
    pub fn debug(&self, text: &str) {
        if !self.debug {
            return;
        }
        match &self.file {
            Some(_) => self.to_file("debug", text),
            None => to_stderr!("{}", self.line("debug", text)),
        }
    }

    fn line(&self, level: &str, text: &str) -> String {
        match self.format {
            LogFormat::Json => json(level, text),
            LogFormat::Text => logrus(level, text),
        }
    }

    fn to_file(&self, level: &str, text: &str) {
        let (Some(path), Some(held)) = (&self.file, &self.held) else { return };
        let line = self.line(level, text);
        if let Err(e) = again(held).and_then(|mut f| writeln!(f, "{line}")) {
            to_stderr!("safebox: {}", in_lines(&format!("--log {}: {e}", path.display())));
        }
    }
}

/// Prints a remark on stderr.
pub fn say(text: &str) {
    to_stderr!("safebox: {}", in_lines(text));
}

fn open(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o644).open(path)
}

/// The same file, without the right to write to it.
fn hold(file: &File) -> std::io::Result<OwnedFd> {
    let path = std::ffi::CString::new(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
    Ok(fs::openat(libc::AT_FDCWD, &path, libc::O_PATH, 0).and_then(fs::move_up)?)
}

/// The file that is held, to write to.
fn again(held: &OwnedFd) -> std::io::Result<File> {
    File::options().append(true).open(format!("/proc/self/fd/{}", held.as_raw_fd()))
}

/// The text format of logrus, runc's log library, which callers of runc parse.
fn logrus(level: &str, text: &str) -> String {
    format!("time={:?} level={level} msg={text:?}", crate::time::now())
}

fn json(level: &str, text: &str) -> String {
    serde_json::json!({ "level": level, "msg": text, "time": crate::time::now() }).to_string()
}
