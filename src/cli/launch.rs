//! The options of a launch as clap arguments: each argument is built from a row of the one option table.

use std::cell::RefCell;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use crate::launch::options::{OptionRow, Says, ValueShape, rows};
use crate::launch::value::Launch;

/// The launch options of a command line, for the verbs in the bit mask `VERBS`.
#[derive(Debug, Clone)]
pub struct LaunchArgs<const VERBS: u8>(pub Launch);

/// A value that a row has validated.
#[derive(Debug, Clone)]
struct OptionValue(String);

fn rows_of(verbs: u8) -> impl Iterator<Item = &'static OptionRow> {
    let named = NAMED.with_borrow(Clone::clone);
    let wanted = move |row: &&OptionRow| named.as_ref().is_none_or(|named| named.has(row));
    rows().filter(move |row| row.verbs & verbs != 0).filter(wanted)
}

/// The options that the words of a command line may name.
#[derive(Debug, Clone)]
struct NamedOptions {
    long: Vec<String>,
    short: String,
}

impl NamedOptions {
    fn of(args: &[OsString]) -> Self {
        let mut named = NamedOptions { long: Vec::new(), short: String::new() };
        for arg in args.iter().skip(1).map(|arg| arg.to_string_lossy()) {
            match (arg.strip_prefix("--"), arg.strip_prefix('-')) {
                (Some(long), _) => named.long.push(long.split('=').next().unwrap_or_default().into()),
                (None, Some(short)) => named.short.push_str(short),
                (None, None) => {}
            }
        }
        named
    }

    fn has(&self, row: &OptionRow) -> bool {
        let long = |name: &str| self.long.iter().any(|long| long == name);
        long(row.long) || row.also.is_some_and(long) || row.short.is_some_and(|c| self.short.contains(c))
    }
}

thread_local! {
    /// `None`: all rows are defined.
    static NAMED: RefCell<Option<NamedOptions>> = const { RefCell::new(None) };
}

/// Runs `parse` with the definitions of those launch options alone that the command line may name: each definition takes
/// some microseconds, and there are about a hundred. A line that does not parse so is to be parsed with all.
pub(super) fn with_named<T>(args: &[OsString], parse: impl FnOnce() -> T) -> T {
    NAMED.set(Some(NamedOptions::of(args)));
    let parsed = parse();
    NAMED.set(None);
    parsed
}

/// The clap argument of a row.
fn arg(row: &'static OptionRow) -> Arg {
    let arg = Arg::new(row.long).long(row.long).help(row.doc).help_heading(row.heading);
    let arg = if row.more.is_empty() { arg } else { arg.long_help(format!("{}\n\n{}", row.doc, row.more)) };
    let arg = row.short.map_or(arg.clone(), |short| arg.short(short));
    let arg = row.also.map_or(arg.clone(), |also| arg.alias(also));
    let looked_at =
        move |text: &str| row.say(&mut Launch::default(), text).map(|()| OptionValue(text.into()));
    match row.says {
        Says::Flag(_) => arg.action(ArgAction::SetTrue),
        Says::Switch(_) => arg
            .value_name("BOOL")
            .value_parser(looked_at)
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true"),
        Says::Path(name, _) => arg.value_name(name).value_parser(clap::value_parser!(PathBuf)),
        Says::One(name, _) => arg.value_name(name).value_parser(looked_at).allow_hyphen_values(row.hyphen),
        Says::Each(name, _) => arg
            .value_name(name)
            .value_parser(looked_at)
            .action(ArgAction::Append)
            .allow_hyphen_values(row.hyphen),
        Says::List(name, _) => {
            arg.value_name(name).value_parser(looked_at).action(ArgAction::Append).value_delimiter(',')
        }
        Says::Refused(ValueShape::Value, _) => arg.value_name("VALUE").value_parser(looked_at).hide(true),
        Says::Refused(ValueShape::Flag, _) => arg.action(ArgAction::SetTrue).hide(true),
    }
}

impl<const VERBS: u8> Args for LaunchArgs<VERBS> {
    fn augment_args(command: Command) -> Command {
        command.args(rows_of(VERBS).map(arg))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<const VERBS: u8> FromArgMatches for LaunchArgs<VERBS> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut args = LaunchArgs(Launch::default());
        args.update_from_arg_matches(matches)?;
        Ok(args)
    }

    /// In the order of the command line: of several options of one kind the last wins.
    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        let mut words: Vec<(usize, &OptionRow, String)> = Vec::new();
        for row in rows_of(VERBS) {
            let at = matches.indices_of(row.long).into_iter().flatten();
            match row.says {
                Says::Flag(_) | Says::Refused(ValueShape::Flag, _) => {
                    if matches.get_flag(row.long) {
                        words.extend(at.last().map(|at| (at, row, String::new())));
                    }
                }
                Says::Path(_, say) => {
                    if let Some(path) = matches.get_one::<PathBuf>(row.long) {
                        say(&mut self.0, path);
                        self.0.words.push((row.long, path.to_string_lossy().into_owned()));
                    }
                }
                _ => {
                    let values = matches.get_many::<OptionValue>(row.long).into_iter().flatten();
                    words.extend(at.zip(values).map(|(at, value)| (at, row, value.0.clone())));
                }
            }
        }
        words.sort_by_key(|(at, ..)| *at);
        for (_, row, value) in words {
            self.0.words.push((row.long, value.clone()));
            self.0.options.push(row.long);
            row.say(&mut self.0, &value).map_err(|why| {
                clap::Error::raw(ErrorKind::InvalidValue, format!("--{}: {why}\n", row.long))
            })?;
        }
        Ok(())
    }
}
