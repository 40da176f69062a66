//! What can go wrong, with the words for it: what failed, on which path, why it is likely, what to do.

use std::fmt;

use crate::sys::Errno;

/// Any failure of the runtime. Printed once, by `main`.
#[derive(Debug)]
pub enum Error {
    /// The config cannot be used.
    Config(ConfigError),
    /// The container is not there, or not in the state that the verb needs.
    State(StateError),
    /// A row of the plan failed.
    Step(Box<StepError>),
    /// The container's program cannot be executed.
    Exec(ExecError),
    /// `run --until N` (or a `q` at a `--step` prompt) ended the run; everything was undone.
    Stopped(usize),
    /// This signal ended the launch before the program started.
    Interrupted(i32),
    /// Anything else, in words.
    Message(String),
}

/// Short for results of this crate.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error in words.
    pub fn msg(text: impl Into<String>) -> Self {
        Error::Message(text.into())
    }

    /// A failed system call in words: `what path: errno text`.
    pub fn os(what: &str, path: impl fmt::Display, errno: Errno) -> Self {
        Error::Message(format!("{what} {path}: {}", crate::tables::errno::text(errno as i32)))
    }

    /// Exit code of `run`, as `docker run` has it: 125 the runtime, 126 cannot execute, 127 not found.
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
            Error::Step(e) => e.fmt(f),
            Error::Exec(e) => f.write_str(&in_lines(&e.message)),
            Error::Stopped(row) => write!(f, "stopped before row {row}; everything was undone"),
            Error::Interrupted(signal) => {
                let name = crate::tables::signals::name(*signal).unwrap_or_else(|| signal.to_string());
                write!(f, "{name} before the program started; everything was undone")
            }
            Error::Message(m) => f.write_str(&in_lines(m)),
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

/// `text` as it may be shown on a terminal or in a log: control characters, which a container or a file name may have
/// put there, are shown and not sent. Line breaks and tabs stay.
pub fn shown(text: &str) -> String {
    escaped(text, |c| c == '\n' || c == '\t')
}

/// The same for text that is a part of a line: a line break in it would begin a line of its own, in the runtime's name.
pub fn shown_in_line(text: &str) -> String {
    escaped(text, |_| false)
}

/// The same for an error's whole text: its own line breaks are followed by an indent, those of a name in it are shown.
fn in_lines(text: &str) -> String {
    text.split("\n  ").map(shown_in_line).collect::<Vec<_>>().join("\n  ")
}

fn escaped(text: &str, keep: fn(char) -> bool) -> String {
    // Besides control characters those that turn the direction of what follows (Unicode, "Bidirectional Algorithm").
    let hidden = |c: char| {
        c.is_control() && !keep(c) || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if hidden(c) { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

/// `text` with runc's words for error numbers: Rust's own are `No such file or directory (os error 2)`, and
/// callers match `no such file or directory` (Docker makes exit code 127 of it).
pub fn plain_errnos(text: &str) -> String {
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

/// The first number that Rust has put into `text`.
fn os_error(text: &str) -> Option<i32> {
    let (_, rest) = text.split_once(" (os error ")?;
    rest.split_once(')')?.0.parse().ok()
}

/// A value in `config.json` that cannot be used: where it is and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// RFC 6901 JSON pointer, e.g. `/linux/resources/pids/limit`; empty for the whole document.
    pub pointer: String,
    /// What is wrong and what would be right; lower case, no full stop.
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

/// Why a verb cannot act on a container. The texts are runc's: containerd, Docker and Podman match them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StateError {
    /// No container has this id.
    NotFound,
    /// The id is taken.
    Exists,
    /// The id has characters that an id must not have.
    BadId,
    /// The container is in another state than the verb needs; the text says both.
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
    /// Whole message, in the words that Docker and Podman look for.
    pub message: String,
    /// Of a failed execve(2) runc's words alone: its init writes them to stderr by itself.
    pub bare: Option<String>,
    /// Not there at all (127), as opposed to there but not executable (126).
    pub not_found: bool,
}

/// A row of the plan that failed: everything is derived from the row and the errno.
#[derive(Debug)]
pub struct StepError {
    /// Number of the row, from 1, as `explain` prints it.
    pub row: usize,
    /// Who performed it.
    pub actor: &'static str,
    /// The row as `explain` prints it.
    pub action: String,
    /// The system call within the row.
    pub call: &'static str,
    /// What the kernel said.
    pub errno: Errno,
    /// The field of the config that asked for the row, as an RFC 6901 pointer.
    pub pointer: Option<String>,
    /// What somebody else said about it, in their words.
    pub detail: Option<String>,
    /// The likely layer and one remedy, where the hint table has one.
    pub hint: Option<&'static str>,
}

impl fmt::Display for StepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match &self.detail {
            Some(detail) => detail.clone(),
            None => crate::tables::errno::text(self.errno as i32),
        };
        let name = crate::tables::errno::name(self.errno as i32);
        let action = shown_in_line(&self.action);
        write!(f, "step {} ({}): {action}: {}: {text}", self.row, self.actor, self.call)?;
        // ECANCELED stands for what the detail says.
        if self.errno != Errno::ECANCELED || self.detail.is_none() {
            write!(f, " ({name})")?;
        }
        // On the first line, which is all that Podman shows.
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
    use super::{plain_errnos, shown, shown_in_line};

    #[test]
    fn control_characters_are_shown_and_not_sent() {
        assert_eq!(
            shown("a\x1b]0;x\x07\tb\nc\r\u{9b}\u{202e}"),
            "a\\u{1b}]0;x\\u{7}\tb\nc\\r\\u{9b}\\u{202e}"
        );
        assert_eq!(shown_in_line("a\nsafebox: b\t"), "a\\nsafebox: b\\t");
        assert_eq!(shown("Größe 5 €"), "Größe 5 €");
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
