//! Descriptions of a container in the words of other tools: a service of a compose file, a container of a Kubernetes
//! manifest, a `docker run` line. Each becomes the same list: options of `docker run`, every one with its place.
//!
//! The list is applied to a [`Launch`] through the table of options, or written into a config for the audit. What has no
//! meaning here is kept in the list of notes with the reason; a key that is not known, in that of unknown ones.

pub mod compose;
pub mod config;
pub mod docker;
pub mod dockerfile;
pub mod interpolate;
pub mod pod;
#[cfg(test)]
mod tests;
pub mod words;
pub mod yaml;

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::launch::options::{Says, row};
use crate::launch::value::Launch;

/// Options that a process which stays with a detached container acts on.
const DETACHED: [&str; 2] = ["health-", "log-"];

/// A file with more than this describes no container.
const MOST: u64 = 4 << 20;

/// A place in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spot {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: u32,
}

impl std::fmt::Display for Spot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

/// One option of `docker run`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OptionAt {
    /// Its long spelling.
    pub name: String,
    /// Its value; empty for a flag.
    pub value: String,
    /// Its position.
    pub at: Spot,
}

/// The engine that a description is written for. Each engine has its own defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// Docker, and those that take its options.
    Docker,
    /// The kubelet.
    Kubernetes,
}

/// What a description demands without saying how. The audit takes it as done; a run has its own way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Assumed {
    /// The engine starts no program as root.
    NotRoot,
    /// A filter of a file that is not at hand.
    Filtered,
    /// A variable of this name, whose value comes from elsewhere.
    Variable(String),
}

/// A container as it is described.
#[derive(Debug, Clone)]
pub struct Description {
    /// Its name.
    pub name: String,
    /// Where it begins.
    pub at: Spot,
    /// In whose words it is described.
    pub engine: Engine,
    /// Its image.
    pub image: Option<(String, Spot)>,
    /// Its options.
    pub options: Vec<OptionAt>,
    /// The program and its arguments; empty: the image's.
    pub args: Vec<String>,
    /// What is known and has no effect here: (place, key, why).
    pub notes: Vec<(Spot, String, String)>,
    /// What is not known: (place, key).
    pub unknown: Vec<(Spot, String)>,
    /// What a run must not go without, and cannot have: (place, key, why). The audit lists it as not judged.
    pub stops: Vec<(Spot, String, String)>,
    /// What the audit takes as done.
    pub assumed: Vec<(Spot, Assumed)>,
}

impl Description {
    /// One without options.
    pub fn new(name: &str, at: Spot) -> Self {
        Description {
            name: name.into(),
            at,
            engine: Engine::Docker,
            image: None,
            options: Vec::new(),
            args: Vec::new(),
            notes: Vec::new(),
            unknown: Vec::new(),
            stops: Vec::new(),
            assumed: Vec::new(),
        }
    }

    /// Adds an option.
    pub fn say(&mut self, at: &Spot, option: &str, value: impl Into<String>) {
        self.options.push(OptionAt { name: option.into(), value: value.into(), at: at.clone() });
    }

    /// Adds a tmpfs, which every user may write to as in Docker and Kubernetes.
    pub fn say_tmpfs(&mut self, at: &Spot, value: &str) {
        let (target, options) = value.split_once(':').unwrap_or((value, ""));
        let mut options: Vec<&str> = options.split(',').filter(|o| !o.is_empty()).collect();
        if !options.iter().any(|o| o.starts_with("mode=")) {
            options.push("mode=1777");
        }
        self.say(at, "tmpfs", format!("{target}:{}", options.join(",")));
    }

    /// Adds something that has no effect here.
    pub fn note(&mut self, at: &Spot, key: &str, why: &str) {
        self.notes.push((at.clone(), key.into(), why.into()));
    }

    /// Adds something that a run must not go without.
    pub fn stop(&mut self, at: &Spot, key: &str, why: &str) {
        self.stops.push((at.clone(), key.into(), why.into()));
    }

    /// Says everything to a launch, through the table of options. What the table refuses is a note, but for what would
    /// weaken the container: that must not be passed over, and not be granted either.
    pub fn launch(&mut self, launch: &mut Launch) -> Result<()> {
        if let Some((at, key, why)) = self.stops.first() {
            return Err(Error::msg(format!("{at}: {key}: {why}")));
        }
        let spoken = launch.options.clone();
        for option in self.options.clone() {
            let Some(row) = row(&option.name) else {
                self.unknown.push((option.at.clone(), option.name.clone()));
                continue;
            };
            // Of an option with one value the command line's counts; of the others both do.
            if DETACHED.iter().any(|start| option.name.starts_with(start)) && !launch.life.detach {
                self.note(&option.at, &option.name, "only a detached run has it: --detach");
                continue;
            }
            let one = matches!(row.says, Says::One(..) | Says::Path(..) | Says::Switch(_) | Says::Flag(_));
            if one && spoken.contains(&row.long) {
                continue;
            }
            match row.say(launch, &option.value) {
                Ok(()) => {}
                Err(why) if row.is_refused() && option.name != "privileged" => {
                    self.note(&option.at, &option.name, &why)
                }
                Err(why) => return Err(Error::msg(format!("{}: {}: {why}", option.at, as_written(&option)))),
            }
        }
        if !self.args.is_empty() && launch.args.is_empty() {
            launch.args.clone_from(&self.args);
        }
        Ok(())
    }

    /// The lines that tell what was passed over.
    pub fn notices(&self) -> Vec<String> {
        let notes = self.notes.iter().map(|(at, key, why)| format!("{at}: {key} has no effect: {why}"));
        let unknown =
            self.unknown.iter().map(|(at, key)| format!("{at}: {key} is not known, and has no effect"));
        notes.chain(unknown).collect()
    }
}

fn as_written(option: &OptionAt) -> String {
    // The value of a variable may be a secret.
    let value =
        if option.name == "env" { option.value.split('=').next().unwrap_or_default() } else { &option.value };
    if value.is_empty() { option.name.clone() } else { format!("{} {value}", option.name) }
}

/// Reads a file of a bounded size.
pub fn read(path: &Path) -> Result<String> {
    use std::io::Read;
    let failed = |e: &dyn std::fmt::Display| Error::msg(format!("{}: {e}", path.display()));
    // A FIFO would wait for its writer.
    let mut options = std::fs::File::options();
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NONBLOCK);
    let file = options.read(true).open(path);
    let file = file.map_err(|e| failed(&crate::tables::errno::of_io(&e)))?;
    if !file.metadata().map_err(|e| failed(&e))?.is_file() {
        return Err(failed(&"not a regular file"));
    }
    let mut text = String::new();
    file.take(MOST + 1).read_to_string(&mut text).map_err(|e| failed(&e))?;
    if text.len() as u64 > MOST {
        return Err(failed(&"larger than 4 MiB"));
    }
    Ok(text)
}
