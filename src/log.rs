//! The log that callers of runc read: one JSON object per failing call, none on success.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{plain_errnos, shown};
use crate::sys::io;

/// A line on stderr, as by `eprintln!`, which aborts where nothing reads it any more: a launch goes on without its reader.
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
    // There is no other place to report it to.
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

/// What the command line says of the log.
#[derive(Debug, Clone, Default)]
pub struct LogOptions {
    /// `--log`.
    pub file: Option<PathBuf>,
    /// `--log-format`.
    pub format: LogFormat,
    /// `--debug`.
    pub debug: bool,
    /// The program was started under runc's name.
    pub as_runc: bool,
}

/// Where messages go.
#[derive(Debug, Clone)]
pub struct Log {
    file: Option<PathBuf>,
    format: LogFormat,
    debug: bool,
    as_runc: bool,
}

impl Log {
    /// The log that the command line asks for. An error if it cannot be written to: who reads it would take an
    /// empty one for a success. It is not kept open, since a descriptor could be taken for one to be passed on.
    pub fn new(options: LogOptions) -> Result<Self, String> {
        if let Some(path) = &options.file {
            open(path).map_err(|e| plain_errnos(&format!("--log {}: {e}", path.display())))?;
        }
        Ok(Log { file: options.file, format: options.format, debug: options.debug, as_runc: options.as_runc })
    }

    /// Reports a failure: to the log file in its format, and always to stderr, since Podman reads it there.
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

    /// Reports a failed execve(2). Under runc's name and without a log, `bare` is the whole of it on stderr, as with
    /// runc, whose init writes it there.
    pub fn not_executed(&self, text: &str, bare: &str) {
        if self.as_runc && self.file.is_none() && self.format == LogFormat::Text {
            tell!("{}", shown(bare));
        } else {
            self.error(text);
        }
    }

    /// Says what is not as it was asked for. To the log file where there is one: stderr is the container's.
    pub fn warning(&self, text: &str) {
        let text = &shown(&plain_errnos(text));
        match &self.file {
            Some(_) => self.to_file("warning", text),
            None if self.format == LogFormat::Json => tell!("{}", json("warning", text)),
            None if self.as_runc => tell!("{}", logrus("warning", text)),
            None => tell!("safebox: warning: {text}"),
        }
    }

    /// What the kernel did to the container: on stderr, where the program can say the same, and in the log, where it
    /// cannot.
    pub fn verdict(&self, text: &str) {
        self.to_file("warning", &shown(text));
        say(text);
    }

    /// Says what few look for: to the log file where there is one, and else only with `--debug`.
    pub fn note(&self, text: &str) {
        match &self.file {
            Some(_) => self.to_file("warning", &shown(&plain_errnos(text))),
            None => self.debug(text),
        }
    }

    /// Whether [`Self::debug`] says anything.
    pub fn is_debug(&self) -> bool {
        self.debug
    }

    /// Whether a line can be written without a wait: a container may have filled the pipe that its caller reads.
    pub fn takes_a_line(&self) -> bool {
        let full = || matches!(io::poll(&[(2, libc::POLLOUT)], 0).as_deref(), Ok([0]));
        self.file.is_some() || !full()
    }

    /// Whether the program is called as runc.
    pub fn is_runc(&self) -> bool {
        self.as_runc
    }

    /// Says what is done, with `--debug`.
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

/// A remark on stderr.
pub fn say(text: &str) {
    tell!("safebox: {}", shown(text));
}

fn open(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o644).open(path)
}

/// The text form of logrus, runc's log library, in which its callers read errors from its log and its stderr.
fn logrus(level: &str, text: &str) -> String {
    format!("time={:?} level={level} msg={text:?}", crate::time::now())
}

fn json(level: &str, text: &str) -> String {
    serde_json::json!({ "level": level, "msg": text, "time": crate::time::now() }).to_string()
}
