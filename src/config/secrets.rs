//! Secrets: files that the program can read, on a tmpfs of their own. What they hold is never in a config: only where it
//! comes from.

use std::path::{Path, PathBuf};

/// Where the tmpfs of secrets is inside.
pub const DIRECTORY: &str = "/run/secrets";

/// The largest secret in bytes.
pub const LARGEST: u64 = 1 << 20;

/// The most secrets of a container.
pub const MOST: usize = 64;

/// One file that the program can read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secret {
    /// Its name, for messages and the file.
    pub name: String,
    /// Where its bytes come from; they are read once, right before the launch.
    pub source: SecretSource,
    /// The file, relative to [`DIRECTORY`].
    pub file: PathBuf,
    /// A second, absolute place, outside of [`DIRECTORY`].
    pub also: Option<PathBuf>,
    /// Permission bits.
    pub mode: u32,
    /// Owner inside; `None`: the program's user.
    pub uid: Option<u32>,
    /// Group inside; `None`: the program's group.
    pub gid: Option<u32>,
    /// Size in bytes; `None` where that is known only once it is read.
    pub size: Option<u64>,
}

/// Where the bytes of a secret come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// A file or a pipe that the caller can read.
    File(PathBuf),
    /// A variable of the caller's environment.
    Variable(String),
}

impl Secret {
    /// The option that asks for it, without what it holds.
    pub fn said(&self) -> String {
        match &self.source {
            SecretSource::File(path) => format!("--secret id={},src={}", self.name, path.display()),
            SecretSource::Variable(name) => format!("--secret id={},env={name}", self.name),
        }
    }

    /// Where the program finds it.
    pub fn place(&self) -> PathBuf {
        self.also.clone().unwrap_or_else(|| Path::new(DIRECTORY).join(&self.file))
    }
}
