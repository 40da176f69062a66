//! Secrets: files for the program, on a separate tmpfs. The config contains only the source of a secret,
//! never its content.

use std::path::{Path, PathBuf};

/// Mount point of the secrets' tmpfs inside.
pub const DIRECTORY: &str = "/run/secrets";

/// Maximum size of a secret in bytes.
pub const LARGEST: u64 = 1 << 20;

/// Maximum number of secrets of a container.
pub const MOST: usize = 64;

/// A secret file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secret {
    /// Name, for messages and the file.
    pub name: String,
    /// Source of the content, which is read once, just before the launch.
    pub source: SecretSource,
    /// Path of the file relative to [`DIRECTORY`].
    pub file: PathBuf,
    /// A second, absolute path outside [`DIRECTORY`].
    pub also: Option<PathBuf>,
    /// Permission bits.
    pub mode: u32,
    /// Owner inside; `None`: the program's user.
    pub uid: Option<u32>,
    /// Group inside; `None`: the program's group.
    pub gid: Option<u32>,
    /// Size in bytes; `None` if it is unknown before reading.
    pub size: Option<u64>,
}

/// Source of a secret's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// A file or a pipe that the caller can read.
    File(PathBuf),
    /// A variable of the caller's environment.
    Variable(String),
}

impl Secret {
    /// The option that requested it, without the content.
    pub fn option(&self) -> String {
        match &self.source {
            SecretSource::File(path) => format!("--secret id={},src={}", self.name, path.display()),
            SecretSource::Variable(name) => format!("--secret id={},env={name}", self.name),
        }
    }

    /// Path of the file inside.
    pub fn place(&self) -> PathBuf {
        self.also.clone().unwrap_or_else(|| Path::new(DIRECTORY).join(&self.file))
    }
}
