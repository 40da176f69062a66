//! What is wrong with a command line, in runc's words: its callers show them, and some look for them.

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

/// Says what clap found; `verb` is the command line's, where it has one.
pub fn usage(error: &clap::Error, verb: Option<&str>) -> Usage {
    let mut command = Cli::command();
    command.build();
    let text = text(error, verb.and_then(|name| command.find_subcommand(name)));
    let help = match verb.and_then(|name| command.find_subcommand_mut(name)) {
        Some(verb) => verb.render_usage(),
        None => command.render_usage(),
    };
    let code = if error.kind() == ErrorKind::InvalidSubcommand { 3 } else { 1 };
    Usage { text, help: help.to_string(), code }
}

fn text(error: &clap::Error, verb: Option<&Command>) -> String {
    let first = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        // Of what is similar the last is the most so.
        Some(ContextValue::Strings(texts)) => texts.last().map(String::as_str),
        _ => None,
    };
    let arg = first(ContextKind::InvalidArg);
    let value = first(ContextKind::InvalidValue);
    // A flag as Go's flag package names it: one dash, and no placeholder for its value.
    let flag = arg.filter(|arg| arg.starts_with('-')).and_then(|arg| arg.split([' ', '=']).next());
    let flag = flag.map(|flag| format!("-{}", flag.trim_start_matches('-')));
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

    /// The words of runc 1.3.6 for the same command lines.
    #[test]
    fn words_are_runc_s() {
        let said = |line: &str| {
            let words: Vec<_> = std::iter::once("safebox").chain(line.split_whitespace()).collect();
            let error = Cli::try_parse_from(words).unwrap_err();
            usage(&error, line.split_whitespace().next()).text
        };
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
