//! The options of a launch: one table. A row is one option with all its faces: how it is spelled, what it takes, what
//! `--help`, the man page and the completions say of it, which verbs have it, what it says to the [`Launch`] and what
//! that does to the [`Config`]; or why it is refused. Options of `docker run` that mean nothing here are rows, too.

mod apply;
mod detached;
mod ends;
mod files;
mod life;
mod limits;
mod network;
mod process;
mod refused;
mod secrets;
mod security;
#[cfg(test)]
mod tests;
pub mod words;

use std::path::Path;

use super::value::Launch;
use crate::config::Config;
use crate::error::Result;
use crate::policy::{Change, Facts};

pub use apply::apply;
pub(super) use process::passed;

/// The verbs that have a row, as bits.
pub mod verbs {
    #![allow(missing_docs)]
    pub const RUN: u8 = 1;
    pub const CREATE: u8 = 2;
    pub const EXPLAIN: u8 = 4;
    /// Options of the config: `explain` shows what they do.
    pub const CONFIG: u8 = RUN | EXPLAIN;
}

/// Headings of `--help`.
pub mod heading {
    #![allow(missing_docs)]
    pub const GENERAL: &str = "Options";
    pub const ENDS: &str = "How it ends";
    pub const DETACHED: &str = "In the background";
    pub const PROCESS: &str = "Process";
    pub const FILES: &str = "Files";
    pub const NETWORK: &str = "Network";
    pub const SECRETS: &str = "Secrets";
    pub const HARDENING: &str = "Hardening";
    pub const LIMITS: &str = "Limits";
    pub const LEARNING: &str = "Learning";
    pub const CALLERS: &str = "For callers of an OCI runtime";
}

/// What an option takes, and what it says to the launch. A value that it does not take is an error in words: what is
/// allowed.
#[derive(Clone, Copy)]
pub enum Says {
    /// Nothing.
    Flag(fn(&mut Launch)),
    /// Nothing, or `=true` and `=false`: its default depends on what runs.
    Switch(fn(&mut Launch, bool)),
    /// One value; of several the last one counts.
    One(&'static str, fn(&mut Launch, &str) -> ValueResult),
    /// A value each time that it is given.
    Each(&'static str, fn(&mut Launch, &str) -> ValueResult),
    /// The same; a comma separates values, too.
    List(&'static str, fn(&mut Launch, &str) -> ValueResult),
    /// A host path; empty means none, as Go programs pass it.
    Path(&'static str, fn(&mut Launch, &Path)),
    /// Refused: why, and what to use.
    Refused(ValueShape, &'static str),
}

/// Whether a refused option has a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueShape {
    /// It has none.
    Flag,
    /// It has one.
    Value,
}

/// What a value says, or why it does not.
pub type ValueResult = std::result::Result<(), String>;

/// What an option does to the config.
pub type OptionEffect = fn(&Launch, &Facts<'_>, &mut Config, &mut Vec<Change>) -> Result<()>;

/// One option.
#[derive(Clone, Copy)]
pub struct OptionRow {
    /// The long spelling, without dashes.
    pub long: &'static str,
    /// The short one.
    pub short: Option<char>,
    /// Another long spelling.
    pub also: Option<&'static str>,
    /// Heading of `--help`.
    pub heading: &'static str,
    /// One line.
    pub doc: &'static str,
    /// More, for `--help` and the man page.
    pub more: &'static str,
    /// Which verbs have it.
    pub verbs: u8,
    /// A value may begin with a dash.
    pub hyphen: bool,
    /// What it says.
    pub says: Says,
    /// What that does to the config, once the bundle and the machine are known.
    pub effect: Option<OptionEffect>,
    /// Values that it takes, for tests.
    pub good: &'static [&'static str],
    /// Values that it refuses, for tests.
    pub bad: &'static [&'static str],
}

impl OptionRow {
    const fn new(
        long: &'static str,
        heading: &'static str,
        verbs: u8,
        says: Says,
        doc: &'static str,
    ) -> OptionRow {
        OptionRow {
            long,
            short: None,
            also: None,
            heading,
            doc,
            more: "",
            verbs,
            hyphen: false,
            says,
            effect: None,
            good: &[],
            bad: &[],
        }
    }

    const fn short(self, short: char) -> OptionRow {
        OptionRow { short: Some(short), ..self }
    }

    const fn also(self, also: &'static str) -> OptionRow {
        OptionRow { also: Some(also), ..self }
    }

    const fn more(self, more: &'static str) -> OptionRow {
        OptionRow { more, ..self }
    }

    const fn hyphen(self) -> OptionRow {
        OptionRow { hyphen: true, ..self }
    }

    const fn effect(self, effect: OptionEffect) -> OptionRow {
        OptionRow { effect: Some(effect), ..self }
    }

    const fn values(self, good: &'static [&'static str], bad: &'static [&'static str]) -> OptionRow {
        OptionRow { good, bad, ..self }
    }

    /// Says `value` (empty for a flag) to the launch.
    pub fn say(&self, launch: &mut Launch, value: &str) -> ValueResult {
        match self.says {
            Says::Flag(say) => {
                say(launch);
                Ok(())
            }
            Says::Switch(say) => match value {
                "" | "true" | "false" => {
                    say(launch, value != "false");
                    Ok(())
                }
                _ => Err("true or false is needed".into()),
            },
            Says::One(_, say) | Says::Each(_, say) | Says::List(_, say) => say(launch, value),
            Says::Path(_, say) => {
                say(launch, Path::new(value));
                Ok(())
            }
            Says::Refused(_, why) => Err(why.into()),
        }
    }

    /// Whether it is refused.
    pub fn is_refused(&self) -> bool {
        matches!(self.says, Says::Refused(..))
    }
}

/// All rows, in the order of `--help` and of their effects.
pub fn rows() -> impl Iterator<Item = &'static OptionRow> {
    let tables: [&'static [OptionRow]; 10] = [
        life::ROWS,
        ends::ROWS,
        detached::ROWS,
        process::ROWS,
        files::ROWS,
        network::ROWS,
        secrets::ROWS,
        security::ROWS,
        limits::ROWS,
        refused::ROWS,
    ];
    tables.into_iter().flatten()
}

/// The row with this long spelling.
pub fn row(long: &str) -> Option<&'static OptionRow> {
    rows().find(|row| row.long == long || row.also == Some(long))
}
