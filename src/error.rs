//! Error types. A message names what failed, the path, the likely cause and a remedy.

use std::fmt;

use crate::sys::Errno;

/// Any failure of the runtime. `main` prints it once.
#[derive(Debug)]
pub enum Error {
    /// The config is invalid.
    Config(ConfigError),
    /// The container does not exist, or its status does not allow the verb.
    State(StateError),
    /// A row of the plan failed.
    Row(Box<RowError>),
    /// The container's program cannot be executed.
    Exec(ExecError),
    /// `run --until N` (or `q` at a `--step` prompt) stopped the launch; everything was undone.
    Stopped(usize),
    /// This signal interrupted the launch before the program started.
    Interrupted(i32),
    /// The administrator's policy refuses the container, or what is to be done to it.
    Denied {
        /// Name of the first rule that is broken.
        rule: &'static str,
        /// The message.
        text: String,
    },
    /// Any other failure, as a message.
    Message(String),
}

/// Short for results of this crate.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error with this message.
    pub fn msg(text: impl Into<String>) -> Self {
        Error::Message(text.into())
    }

    /// A failed system call as a message: `what path: errno text`.
    pub fn os(what: &str, path: impl fmt::Display, errno: Errno) -> Self {
        Error::Message(format!("{what} {path}: {}", crate::tables::errno::text(errno as i32)))
    }

    /// Exit code of `run`, the same as of `docker run`: 125 runtime failure, 126 cannot execute, 127 not
    /// found.
    pub fn run_code(&self) -> u8 {
        match self {
            Error::Exec(e) if e.not_found => 127,
            Error::Exec(_) => 126,
            Error::Stopped(_) => 0,
            Error::Interrupted(signal) => u8::try_from(128 + signal).unwrap_or(125),
            _ => 125,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Config(e) => f.write_str(&in_lines(&e.to_string())),
            Error::State(e) => e.fmt(f),
            Error::Row(e) => e.fmt(f),
            Error::Exec(e) => f.write_str(&in_lines(&e.message)),
            Error::Stopped(row) => write!(f, "stopped before row {row}; everything was undone"),
            Error::Interrupted(signal) => {
                let name = crate::tables::signals::name(*signal).unwrap_or_else(|| signal.to_string());
                write!(f, "{name} before the program started; everything was undone")
            }
            Error::Denied { text: m, .. } | Error::Message(m) => f.write_str(&in_lines(m)),
        }
    }
}

impl std::error::Error for Error {}

impl From<ConfigError> for Error {
    fn from(e: ConfigError) -> Self {
        Error::Config(e)
    }
}

impl From<crate::sys::cstr::NulByte> for Error {
    fn from(e: crate::sys::cstr::NulByte) -> Self {
        Error::Message(e.0)
    }
}

impl From<StateError> for Error {
    fn from(e: StateError) -> Self {
        Error::State(e)
    }
}

/// `text` safe for a terminal or a log: control characters, which may come from a container or a file name,
/// are escaped. Line breaks and tabs stay.
pub fn escaped(text: &str) -> String {
    escaped_but(text, |c| c == '\n' || c == '\t')
}

/// As [`escaped`], for part of a line: line breaks are escaped too, so that text cannot forge a line of the
/// runtime.
pub fn escaped_line(text: &str) -> String {
    escaped_but(text, |_| false)
}

/// As [`escaped`], for a whole message, with the texts of errno(3) that callers match.
pub fn message(text: &str) -> String {
    escaped(&plain_errnos(text))
}

/// As [`message`], for an error: its own line breaks are followed by an indent; line breaks in names are escaped.
pub fn in_lines(text: &str) -> String {
    plain_errnos(text).split("\n  ").map(escaped_line).collect::<Vec<_>>().join("\n  ")
}

/// Control characters, and characters that change the text direction (Unicode "Bidirectional Algorithm").
fn is_hidden(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn escaped_but(text: &str, keep: fn(char) -> bool) -> String {
    let hidden = |c: char| is_hidden(c) && !keep(c);
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if hidden(c) { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

/// JSON text safe for a terminal: JSON escapes the first 32 control characters alone, and a terminal obeys others, too.
/// They are part of strings, so the value is the same.
pub fn escaped_json(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_hidden(c) && c != '\n' {
            out.push_str(&format!("\\u{:04x}", u32::from(c)))
        } else {
            out.push(c)
        }
    }
    out
}

/// `text` with runc's texts for error numbers. Rust prints `No such file or directory (os error 2)`; callers
/// match `no such file or directory` (Docker maps it to exit code 127).
fn plain_errnos(text: &str) -> String {
    let mut plain = text.to_owned();
    while let Some(number) = os_error(&plain) {
        let rust = std::io::Error::from_raw_os_error(number).to_string();
        let words = crate::tables::errno::text(number);
        if !plain.contains(&rust) {
            break;
        }
        plain = plain.replace(&rust, &words);
    }
    plain
}

/// The first `(os error N)` that Rust has put into `text`.
fn os_error(text: &str) -> Option<i32> {
    let (_, rest) = text.split_once(" (os error ")?;
    rest.split_once(')')?.0.parse().ok()
}

/// An invalid value in `config.json`: its location and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// RFC 6901 JSON pointer, e.g. `/linux/resources/pids/limit`; empty for the whole document.
    pub pointer: String,
    /// What is wrong and what is allowed; lower case, no full stop.
    pub message: String,
}

impl ConfigError {
    /// An error at `pointer`.
    pub fn new(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), message: message.into() }
    }
}

impl std::fmt::Display for ConfigError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.pointer.is_empty() {
            write!(f, "config.json: {}", self.message)
        } else {
            write!(f, "config.json: {}: {}", self.pointer, self.message)
        }
    }
}

impl std::error::Error for ConfigError {}

/// Why a verb cannot act on a container. The texts are those of runc: containerd, Docker and Podman match
/// them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StateError {
    /// No container has this id.
    NotFound,
    /// The id is taken.
    Exists,
    /// The id has invalid characters.
    BadId,
    /// The container's status does not allow the verb; the text names both.
    Wrong(String),
}

impl fmt::Display for StateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StateError::NotFound => f.write_str("container does not exist"),
            StateError::Exists => f.write_str("container with given ID already exists"),
            StateError::BadId => f.write_str("invalid container ID format"),
            StateError::Wrong(text) => f.write_str(text),
        }
    }
}

/// A program that cannot be executed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecError {
    /// The whole message, in the phrases that Docker and Podman match.
    pub message: String,
    /// For a failed execve(2), runc's text alone: runc's init prints it on stderr.
    pub bare: Option<String>,
    /// Whether the program does not exist (127). False: it exists but cannot be executed (126).
    pub not_found: bool,
}

impl ExecError {
    /// A program that does not exist, in runc's words: its path, or a name that was looked up in `$PATH`.
    pub fn not_found(name: &str) -> Self {
        let why = if name.contains('/') {
            format!("stat {name}: no such file or directory")
        } else {
            "executable file not found in $PATH".into()
        };
        ExecError { message: format!("exec: \"{name}\": {why}"), bare: None, not_found: true }
    }
}

/// A failed row of the plan; all fields derive from the row and the errno.
#[derive(Debug)]
pub struct RowError {
    /// Number of the row, from 1, as in `explain`.
    pub row: usize,
    /// The actor that performed it.
    pub actor: &'static str,
    /// The row as `explain` prints it.
    pub action: String,
    /// The system call within the row.
    pub call: &'static str,
    /// The error of the system call.
    pub errno: Errno,
    /// The config property that the row comes from, as an RFC 6901 pointer.
    pub pointer: Option<String>,
    /// An error message of another program or daemon about it.
    pub detail: Option<String>,
    /// The likely cause and one remedy, if the hint table has one.
    pub hint: Option<&'static str>,
}

impl fmt::Display for RowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match &self.detail {
            Some(detail) => in_lines(detail),
            None => crate::tables::errno::text(self.errno as i32),
        };
        let name = crate::tables::errno::name(self.errno as i32);
        let action = escaped_line(&self.action);
        write!(f, "row {} ({}): {action}: {}: {text}", self.row, self.actor, self.call)?;
        // With ECANCELED the detail is the cause.
        if self.errno != Errno::ECANCELED || self.detail.is_none() {
            write!(f, " ({name})")?;
        }
        // The hint is on the first line, because Podman shows only that line.
        if let Some(hint) = self.hint {
            write!(f, "; hint: {hint}")?;
        }
        match &self.pointer {
            Some(pointer) => write!(f, "\n  config.json: {pointer}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{escaped, escaped_line, plain_errnos};

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(
            escaped("a\x1b]0;x\x07\tb\nc\r\u{9b}\u{202e}"),
            "a\\u{1b}]0;x\\u{7}\tb\nc\\r\\u{9b}\\u{202e}"
        );
        assert_eq!(escaped_line("a\nsafebox: b\t"), "a\\nsafebox: b\\t");
        assert_eq!(escaped("Größe 5 €"), "Größe 5 €");
    }

    #[test]
    fn a_name_begins_no_line_of_an_error() {
        let text = |e: super::Error| e.to_string();
        assert_eq!(
            text(super::Error::msg("open \"a\nsafebox: b\"\n  hint")),
            "open \"a\\nsafebox: b\"\n  hint"
        );
        let exec = super::ExecError { message: "exec a\nb".into(), bare: None, not_found: true };
        assert_eq!(text(super::Error::Exec(exec)), "exec a\\nb");
    }

    #[test]
    fn errnos_have_go_s_words() {
        let of = |number| std::io::Error::from_raw_os_error(number);
        let text = format!("/a: {}, then {}; {}", of(libc::ENOENT), of(libc::EACCES), of(libc::ENOENT));
        let plain = "/a: no such file or directory, then permission denied; no such file or directory";
        assert_eq!(plain_errnos(&text), plain);
        for other in ["", "said (os error 2)", "(os error x)", " (os error "] {
            assert_eq!(plain_errnos(other), other);
        }
    }
}
