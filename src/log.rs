//! The log for callers of runc: one JSON object per failed call, none on success.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{in_lines, plain_errnos, shown};
use crate::sys::io;

/// Prints a line on stderr. Unlike `eprintln!` it does not panic if stderr is closed: the launch continues.
#[macro_export]
macro_rules! tell {
    ($($text:tt)*) => { $crate::log::to_stderr(format_args!($($text)*)) };
}

/// Nothing is written to stderr any more: it is the program's alone, and the account has the rest.
static SILENT: AtomicBool = AtomicBool::new(false);

/// From here on stderr is the program's alone.
pub fn silence() {
    SILENT.store(true, Ordering::Relaxed);
}

/// See [`tell!`].
pub fn to_stderr(text: std::fmt::Arguments<'_>) {
    if SILENT.load(Ordering::Relaxed) {
        return;
    }
    // A failed write to stderr cannot be reported anywhere.
    std::io::stderr().write_fmt(format_args!("{text}\n")).unwrap_or_default();
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
    format: LogFormat,
    debug: bool,
    as_runc: bool,
}

impl Log {
    /// Opens the log that the command line names. An unwritable log is an error: its reader would take an
    /// empty log for success. It does not stay open, because its descriptor could be inherited by mistake.
    pub fn new(options: LogOptions) -> Result<Self, String> {
        if let Some(path) = &options.file {
            open(path).map_err(|e| plain_errnos(&format!("--log {}: {e}", path.display())))?;
        }
        Ok(Log { file: options.file, format: options.format, debug: options.debug, as_runc: options.as_runc })
    }

    /// Reports a failure: to the log file in its format, and always to stderr, where Podman reads it.
    pub fn error(&self, text: &str) {
        let text = &shown(&plain_errnos(text));
        self.to_file("error", text);
        if self.file.is_none() && self.format == LogFormat::Json {
            tell!("{}", json("error", text));
        } else if self.as_runc && self.file.is_none() {
            tell!("{}", logrus("error", text));
        } else if self.as_runc {
            tell!("{text}");
        } else {
            tell!("safebox: {text}");
        }
    }

    /// Reports a failed execve(2). Under the name runc and without a log, stderr gets only `bare`, as runc's
    /// init prints it.
    pub fn not_executed(&self, text: &str, bare: &str) {
        if self.as_runc && self.file.is_none() && self.format == LogFormat::Text {
            tell!("{}", shown(bare));
        } else {
            self.error(text);
        }
    }

    /// Reports a deviation from the request: to the log file if there is one, because stderr belongs to the
    /// container.
    pub fn warning(&self, text: &str) {
        let text = &in_lines(&plain_errnos(text));
        match &self.file {
            Some(_) => self.to_file("warning", text),
            None if self.format == LogFormat::Json => tell!("{}", json("warning", text)),
            None if self.as_runc => tell!("{}", logrus("warning", text)),
            None => tell!("safebox: warning: {text}"),
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
            Some(_) => self.to_file("warning", &in_lines(&plain_errnos(text))),
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
            None => tell!("{}", self.line("debug", text)),
        }
    }

    fn line(&self, level: &str, text: &str) -> String {
        match self.format {
            LogFormat::Json => json(level, text),
            LogFormat::Text => logrus(level, text),
        }
    }

    fn to_file(&self, level: &str, text: &str) {
        let Some(path) = &self.file else { return };
        let line = self.line(level, text);
        if let Err(e) = open(path).and_then(|mut f| writeln!(f, "{line}")) {
            tell!("safebox: {}", plain_errnos(&format!("--log {}: {e}", path.display())));
        }
    }
}

/// Prints a remark on stderr.
pub fn say(text: &str) {
    tell!("safebox: {}", in_lines(text));
}

fn open(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o644).open(path)
}

/// The text format of logrus, runc's log library, which callers of runc parse.
fn logrus(level: &str, text: &str) -> String {
    format!("time={:?} level={level} msg={text:?}", crate::time::now())
}

fn json(level: &str, text: &str) -> String {
    serde_json::json!({ "level": level, "msg": text, "time": crate::time::now() }).to_string()
}
