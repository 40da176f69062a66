//! What is wrong with a command line, in runc's words: its callers show them, and some look for them.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Command, CommandFactory};

use super::Cli;

/// A command line that makes no sense.
#[derive(Debug, PartialEq, Eq)]
pub struct Usage {
    /// What is wrong, in one line.
    pub text: String,
    /// How it is meant, for a person.
    pub help: String,
    /// Exit code of the OCI verbs.
    pub code: u8,
}

/// What other tools call what a verb here does, or what is not there: (their word, what to write).
const ELSEWHERE: &[(&str, &str)] = &[
    ("stop", "safebox kill ID"),
    ("rm", "safebox delete ID"),
    ("remove", "safebox delete ID"),
    ("inspect", "safebox state ID"),
    ("ls", "safebox list"),
    ("top", "safebox ps ID"),
    ("stats", "safebox events --stats ID"),
    ("unpause", "safebox resume ID"),
    ("version", "safebox --version"),
    ("info", "safebox features"),
    ("logs", "safebox keeps no output: redirect that of run, as in safebox run BUNDLE/ >FILE"),
    ("attach", "safebox exec -t ID PROGRAM starts another program in the container"),
    ("shell", "safebox exec -t ID /bin/sh"),
    ("pull", "safebox takes bundles, not images: the README says how to make one"),
    ("images", "safebox takes bundles, not images: the README says how to make one"),
    ("build", "safebox takes bundles, not images: the README says how to make one"),
];

/// Says what clap found; `verb` is the command line's, where it has one. Flags are quoted as they were typed; under runc's
/// name as Go's flag package does, with one dash.
pub fn usage(error: &clap::Error, verb: Option<&str>, args: &[OsString], as_runc: bool) -> Usage {
    let mut command = Cli::command();
    command.build();
    let typed =
        |flag: &str| if as_runc { format!("-{}", flag.trim_start_matches('-')) } else { typed(flag, args) };
    let mut text = text(error, verb.and_then(|name| command.find_subcommand(name)), typed);
    if let (ErrorKind::UnknownArgument, Some(verb), Some(ContextValue::String(arg))) =
        (error.kind(), verb, error.get(ContextKind::InvalidArg))
    {
        text.push_str(&remedy(&command, verb, arg));
    }
    let help = match verb.and_then(|name| command.find_subcommand_mut(name)) {
        Some(verb) => verb.render_usage(),
        None => command.render_usage(),
    };
    let code = if error.kind() == ErrorKind::InvalidSubcommand { 3 } else { 1 };
    Usage { text, help: help.to_string(), code }
}

/// Help or version under runc's name, with the first lines that its callers read; `text` is clap's.
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

/// The word of the command line that holds this flag, without its value.
fn typed(flag: &str, args: &[OsString]) -> String {
    let words = args.iter().skip(1).filter_map(|a| a.to_str()).map(|a| a.split('=').next().unwrap_or(a));
    let same = |word: &&str| *word == flag || !flag.starts_with("--") && word.starts_with(flag);
    // One dash or two: clap reads both as the same flag.
    let other =
        |word: &&str| word.trim_start_matches('-') == flag.trim_start_matches('-') && word.starts_with('-');
    let mut exact = words.clone();
    exact.find(same).or_else(|| words.clone().find(other)).unwrap_or(flag).to_string()
}

/// What is meant by an argument that `verb` does not take.
fn remedy(command: &Command, verb: &str, arg: &str) -> String {
    let Some(found) = command.find_subcommand(verb) else { return String::new() };
    if let Some(long) = arg.strip_prefix("--") {
        let of_all = command.get_arguments().any(|a| a.get_long() == Some(long));
        return if of_all {
            format!(" (an option of every verb is written before it: safebox --{long} ... {verb})")
        } else {
            String::new()
        };
    }
    if !arg.starts_with('-') && found.get_positionals().any(clap::Arg::is_last_set) {
        return format!(" (a program and its arguments come after --: safebox {verb} ... -- {arg} ...)");
    }
    String::new()
}

fn text(error: &clap::Error, verb: Option<&Command>, typed: impl Fn(&str) -> String) -> String {
    let first = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        // Of what is similar the last is the most so.
        Some(ContextValue::Strings(texts)) => texts.last().map(String::as_str),
        _ => None,
    };
    let arg = first(ContextKind::InvalidArg);
    let value = first(ContextKind::InvalidValue);
    // Without clap's placeholder for its value.
    let flag = arg.filter(|arg| arg.starts_with('-')).and_then(|arg| arg.split([' ', '=', '[']).next());
    let flag = flag.map(typed);
    match (error.kind(), flag, value, verb) {
        (ErrorKind::MissingRequiredArgument, None, _, Some(verb)) => wrong_number(verb, Wrong::TooFew),
        (ErrorKind::UnknownArgument, None, _, Some(verb)) => wrong_number(verb, Wrong::TooMany),
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
            let elsewhere = ELSEWHERE.iter().find(|(other, _)| *other == word);
            if let Some((_, here)) = elsewhere {
                return format!("No help topic for '{word}': {here}");
            }
            match first(ContextKind::SuggestedSubcommand) {
                Some(similar) => format!("No help topic for '{word}'; is {similar} meant?"),
                None => format!("No help topic for '{word}'"),
            }
        }
        // clap's own first line.
        _ => {
            let rendered = error.render().to_string();
            let line = rendered.lines().next().unwrap_or_default();
            line.strip_prefix("error: ").unwrap_or(line).to_string()
        }
    }
}

#[derive(PartialEq)]
enum Wrong {
    TooFew,
    TooMany,
}

fn wrong_number(verb: &Command, wrong: Wrong) -> String {
    // What comes after `--` is the program's.
    let positionals = || verb.get_positionals().filter(|a| !a.is_last_set());
    let least = positionals().filter(|a| a.is_required_set()).count();
    let most = positionals().count();
    let unbounded = positionals().any(clap::Arg::is_trailing_var_arg_set);
    let name = verb.get_name();
    match wrong {
        _ if least == most && !unbounded => format!("{name:?} requires exactly {most} argument(s)"),
        Wrong::TooFew => format!("{name:?} requires a minimum of {least} argument(s)"),
        Wrong::TooMany => format!("{name:?} requires a maximum of {most} argument(s)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn said(line: &str, as_runc: bool) -> String {
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
            (
                "run --root /r b/",
                "flag provided but not defined: --root (an option of every verb is written before it: safebox --root ... run)",
            ),
            (
                "run b/ ls",
                "\"run\" requires a maximum of 1 argument(s) (a program and its arguments come after --: safebox run ... -- ls ...)",
            ),
            ("stop x", "No help topic for 'stop': safebox kill ID"),
            ("rm x", "No help topic for 'rm': safebox delete ID"),
            ("version", "No help topic for 'version': safebox --version"),
        ] {
            assert_eq!(said(line, false), expect, "{line}");
        }
        // What is named is there.
        let command = Cli::command();
        for here in ELSEWHERE.iter().filter_map(|(_, here)| here.strip_prefix("safebox ")) {
            let verb = here.split(' ').next().unwrap_or_default();
            let known = verb.starts_with('-') || ["keeps", "takes"].contains(&verb);
            assert!(known || command.find_subcommand(verb).is_some(), "{here}");
        }
    }

    /// The words of runc 1.3.6 for the same command lines.
    #[test]
    fn words_are_runc_s() {
        let said = |line: &str| said(line, true);
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
            assert_eq!(said(line), expect, "{line}");
        }
        for (line, says) in [
            ("create --preserve-fds x y", "invalid value \"x\" for flag -preserve-fds: "),
            ("list --format xml", "invalid value \"xml\" for flag -format: one of table, json"),
            ("update --memory 1x c", "invalid value \"1x\" for flag -memory: "),
            ("nosuch", "No help topic for 'nosuch'"),
        ] {
            assert!(said(line).starts_with(says), "{line}: {}", said(line));
        }
    }
}
