//! Errors of a command line in runc's phrases: its callers show them, and some match them.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Command, CommandFactory};

use super::{Cli, elsewhere};
use crate::launch::options::{OptionRow, rows};
use crate::launch::value::Launch;

/// An error for an invalid command line.
#[derive(Debug, PartialEq, Eq)]
pub struct UsageError {
    /// The error in one line.
    pub text: String,
    /// The usage text.
    pub help: String,
    /// Exit code of the OCI verbs.
    pub code: u8,
}

/// Converts clap's error. `verb` is the verb of the command line, if it has one. Options are quoted as typed;
/// under the name runc with one dash, as Go's flag package does.
pub fn usage(error: &clap::Error, verb: Option<&str>, args: &[OsString], as_runc: bool) -> UsageError {
    let mut command = Cli::command();
    command.build();
    let typed =
        |flag: &str| if as_runc { format!("-{}", flag.trim_start_matches('-')) } else { typed(flag, args) };
    let mut text = text(error, verb.and_then(|name| command.find_subcommand(name)), typed);
    if let (ErrorKind::UnknownArgument, Some(verb), Some(ContextValue::String(arg))) =
        (error.kind(), verb, error.get(ContextKind::InvalidArg))
    {
        match refused_value(arg, args).filter(|_| !as_runc) {
            Some(refused) => text = refused,
            None => text.push_str(&remedy(&command, verb, arg, args)),
        }
        if let Some(ContextValue::String(similar)) = error.get(ContextKind::SuggestedArg)
            && !as_runc
            && text.ends_with(arg.as_str())
        {
            text.push_str(&format!("; is {similar} meant?"));
        }
    }
    if error.kind() == ErrorKind::InvalidSubcommand
        && !as_runc
        && let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidSubcommand)
        && !elsewhere::VERBS.iter().any(|(verb, _)| verb == word)
    {
        text.push_str(&elsewhere::program(word).unwrap_or_default());
    }
    let help = match verb.and_then(|name| command.find_subcommand_mut(name)) {
        Some(verb) => verb.render_usage(),
        None => command.render_usage(),
    };
    let code = if error.kind() == ErrorKind::InvalidSubcommand { 3 } else { 1 };
    UsageError { text, help: help.to_string(), code }
}

/// Help or version under the name runc, with the first lines that its callers parse; `text` is clap's.
pub fn titled(error: &clap::Error, text: &str, verb: Option<&str>) -> String {
    let command = Cli::command();
    let verb = verb.and_then(|name| command.find_subcommand(name));
    let name = match (error.kind(), verb) {
        (ErrorKind::DisplayVersion, _) => return text.replacen("safebox", "runc", 1),
        (_, None) => "runc - Open Container Initiative runtime".to_string(),
        (_, Some(verb)) => {
            let about = verb.get_about().map(ToString::to_string).unwrap_or_default();
            format!("runc {} - {about}", verb.get_name())
        }
    };
    format!("NAME:\n   {name}\n\n{text}")
}

/// The word of the command line with this option, without its value.
fn typed(flag: &str, args: &[OsString]) -> String {
    let words = args.iter().skip(1).filter_map(|a| a.to_str()).map(|a| a.split('=').next().unwrap_or(a));
    let same = |word: &&str| *word == flag || !flag.starts_with("--") && word.starts_with(flag);
    // clap treats one and two dashes as the same option.
    let other =
        |word: &&str| word.trim_start_matches('-') == flag.trim_start_matches('-') && word.starts_with('-');
    let mut exact = words.clone();
    exact.find(same).or_else(|| words.clone().find(other)).unwrap_or(flag).to_string()
}

/// The error for a value that begins with a dash, as `--timeout -1`: clap takes it for an option. `arg` is the option
/// that it found in the word.
fn refused_value(arg: &str, args: &[OsString]) -> Option<String> {
    let words: Vec<&str> = args.iter().filter_map(|word| word.to_str()).collect();
    let number =
        |word: &str| word.starts_with(arg) && word[1..].starts_with(|c: char| c.is_ascii_digit() || c == '.');
    let at = words.iter().position(|word| arg.len() > 1 && number(word))?;
    let (flag, value) = (words[at.checked_sub(1)?], words[at]);
    let named = |row: &&OptionRow| match (flag.strip_prefix("--"), flag.strip_prefix('-')) {
        (Some(long), _) => row.long == long || row.also == Some(long),
        (None, Some(short)) => row.short.is_some_and(|c| short.ends_with(c)),
        (None, None) => false,
    };
    let why = rows().find(named)?.say(&mut Launch::default(), value).err()?;
    Some(format!("invalid value {value:?} for flag {flag}: {why}"))
}

/// A hint for an argument that `verb` does not accept.
fn remedy(command: &Command, verb: &str, arg: &str, args: &[OsString]) -> String {
    let Some(found) = command.find_subcommand(verb) else { return String::new() };
    if let Some(long) = arg.strip_prefix("--") {
        let of_all = command.get_arguments().any(|a| a.get_long() == Some(long));
        let elsewhere = elsewhere::option(long).filter(|_| verb == "run" || verb == "explain");
        return match (of_all, elsewhere) {
            (true, _) => format!(" (global options come before the verb: safebox --{long} ... {verb})"),
            (false, Some(here)) => format!(" ({here})"),
            (false, None) => String::new(),
        };
    }
    if !arg.starts_with('-') && found.get_positionals().any(clap::Arg::is_last_set) {
        return elsewhere::positional(verb, arg, args);
    }
    String::new()
}

fn text(error: &clap::Error, verb: Option<&Command>, typed: impl Fn(&str) -> String) -> String {
    let first = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        // clap sorts similar names; the last is the most similar.
        Some(ContextValue::Strings(texts)) => texts.last().map(String::as_str),
        _ => None,
    };
    let arg = first(ContextKind::InvalidArg);
    let value = first(ContextKind::InvalidValue);
    // Without clap's placeholder for the value.
    let flag = arg.filter(|arg| arg.starts_with('-')).and_then(|arg| arg.split([' ', '=', '[']).next());
    let flag = flag.map(typed);
    match (error.kind(), flag, value, verb) {
        (ErrorKind::MissingRequiredArgument, Some(flag), ..) => format!("the flag {flag} is needed, too"),
        (ErrorKind::MissingRequiredArgument, None, _, Some(verb)) => wrong_number(verb, WrongCount::TooFew),
        (ErrorKind::UnknownArgument, None, _, Some(verb)) => wrong_number(verb, WrongCount::TooMany),
        (ErrorKind::UnknownArgument, Some(flag), ..) => format!("flag provided but not defined: {flag}"),
        (ErrorKind::InvalidValue, Some(flag), Some(""), _) => format!("flag needs an argument: {flag}"),
        (ErrorKind::InvalidValue | ErrorKind::ValueValidation, Some(flag), Some(value), _) => {
            let why = match (std::error::Error::source(error), error.get(ContextKind::ValidValue)) {
                (Some(source), _) => source.to_string(),
                (None, Some(valid)) => format!("one of {valid} is needed"),
                (None, None) => "parse error".into(),
            };
            format!("invalid value {value:?} for flag {flag}: {why}")
        }
        (ErrorKind::InvalidSubcommand, ..) => {
            let word = first(ContextKind::InvalidSubcommand).unwrap_or_default();
            let elsewhere = elsewhere::VERBS.iter().find(|(other, _)| *other == word);
            if let Some((_, here)) = elsewhere {
                return format!("No help topic for '{word}': {here}");
            }
            match first(ContextKind::SuggestedSubcommand) {
                Some(similar) => format!("No help topic for '{word}'; is {similar} meant?"),
                None => format!("No help topic for '{word}'"),
            }
        }
        // The first line of clap's message.
        _ => {
            let rendered = error.render().to_string();
            let line = rendered.lines().next().unwrap_or_default();
            line.strip_prefix("error: ").unwrap_or(line).to_string()
        }
    }
}

#[derive(PartialEq)]
enum WrongCount {
    TooFew,
    TooMany,
}

fn wrong_number(verb: &Command, wrong: WrongCount) -> String {
    // Arguments after `--` belong to the program.
    let positionals = || verb.get_positionals().filter(|a| !a.is_last_set());
    let least = positionals().filter(|a| a.is_required_set()).count();
    let most = positionals().count();
    let unbounded = positionals().any(clap::Arg::is_trailing_var_arg_set);
    let name = verb.get_name();
    match wrong {
        _ if least == most && !unbounded => format!("{name:?} requires exactly {most} argument(s)"),
        WrongCount::TooFew if least == 0 => {
            format!("{name:?} requires an argument, or a flag in its place: safebox {name} --help")
        }
        WrongCount::TooFew => format!("{name:?} requires a minimum of {least} argument(s)"),
        WrongCount::TooMany => format!("{name:?} requires a maximum of {most} argument(s)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn message(line: &str, as_runc: bool) -> String {
        let words: Vec<OsString> =
            std::iter::once("safebox").chain(line.split_whitespace()).map(OsString::from).collect();
        let error = Cli::try_parse_from(&words).unwrap_err();
        usage(&error, line.split_whitespace().next(), &words, as_runc).text
    }

    #[test]
    fn a_remedy_is_named() {
        for (line, expect) in [
            ("state --nope x", "flag provided but not defined: --nope"),
            ("state -nope x", "flag provided but not defined: -nope"),
            ("create --pid-file", "flag needs an argument: --pid-file"),
            ("watch --max-size 1m", "the flag --output is needed, too"),
            ("verify", "\"verify\" requires an argument, or a flag in its place: safebox verify --help"),
            (
                "run --root /r b/",
                "flag provided but not defined: --root (global options come before the verb: safebox --root ... run)",
            ),
            (
                "run b/ ls",
                "\"run\" requires a maximum of 1 argument(s) (a program and its arguments come after --: safebox run ... -- ls ...)",
            ),
            ("run --tiemout 3 -- sh", "flag provided but not defined: --tiemout; is --timeout meant?"),
            (
                "run --timeout -1 -- sh",
                "invalid value \"-1\" for flag --timeout: \"-1\" is not a duration, such as 5s, 1m30s or 500ms",
            ),
            (
                "run --stop-timeout -5s -- sh",
                "invalid value \"-5s\" for flag --stop-timeout: \"-5s\" is not a duration, such as 5s, 1m30s or 500ms",
            ),
            ("run -1 -- sh", "flag provided but not defined: -1"),
            ("remove x", "No help topic for 'remove': safebox delete ID"),
            (
                "rename a b",
                "No help topic for 'rename': a container keeps its id: safebox delete ID, and run it again with --name",
            ),
            ("version", "No help topic for 'version': safebox --version"),
        ] {
            assert_eq!(message(line, false), expect, "{line}");
        }
        // Every command that is suggested exists.
        let command = Cli::command();
        for here in elsewhere::VERBS.iter().filter_map(|(_, here)| here.strip_prefix("safebox ")) {
            let verb = here.split(' ').next().unwrap_or_default();
            let known = verb.starts_with('-') || ["keeps", "runs"].contains(&verb);
            assert!(known || command.find_subcommand(verb).is_some(), "{here}");
        }
    }

    /// The phrases of runc 1.3.6 for the same command lines.
    #[test]
    fn words_are_runc_s() {
        let message = |line: &str| message(line, true);
        for (line, expect) in [
            ("state", "\"state\" requires exactly 1 argument(s)"),
            ("state a b", "\"state\" requires exactly 1 argument(s)"),
            ("list a", "\"list\" requires exactly 0 argument(s)"),
            ("kill", "\"kill\" requires a minimum of 1 argument(s)"),
            ("kill a b c", "\"kill\" requires a maximum of 2 argument(s)"),
            ("exec", "\"exec\" requires a minimum of 1 argument(s)"),
            ("ps", "\"ps\" requires a minimum of 1 argument(s)"),
            ("features x", "\"features\" requires exactly 0 argument(s)"),
            ("state --nope x", "flag provided but not defined: -nope"),
            ("create --pid-file", "flag needs an argument: -pid-file"),
            ("restore --lsm-mount-context", "flag needs an argument: -lsm-mount-context"),
        ] {
            assert_eq!(message(line), expect, "{line}");
        }
        for (line, says) in [
            ("create --preserve-fds x y", "invalid value \"x\" for flag -preserve-fds: "),
            ("list --format xml", "invalid value \"xml\" for flag -format: one of table, json"),
            ("update --memory 1x c", "invalid value \"1x\" for flag -memory: "),
            ("nosuch", "No help topic for 'nosuch'"),
        ] {
            assert!(message(line).starts_with(says), "{line}: {}", message(line));
        }
    }
}
