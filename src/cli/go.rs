//! Normalises command lines written for runc: Go's flag syntax, and the program name runc.

use std::any::TypeId;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, Command, CommandFactory, Parser};

use super::{Cli, GlobalArgs};

/// Converts Go's flag syntax to clap's: `-long` becomes `--long`, `--flag=true` becomes `--flag`;
/// `--flag=false` is removed, and so is an option with an empty text, which Go does not distinguish from a
/// missing one.
///
/// As with runc, options may follow a verb's arguments, except for `exec` and `ps`: the arguments of a
/// program are not changed. Only options that the verb defines are changed; clap's definitions are read only
/// when a word needs it.
pub fn normalise(args: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let args: Vec<OsString> = args.collect();
    if !args.iter().skip(1).any(|a| a.to_str().is_some_and(only_go_reads)) {
        return args;
    }
    let program = Cli::command();
    let mut command = Some(&program);
    let mut out = Vec::with_capacity(args.len());
    let mut args = args.into_iter();
    out.extend(args.next());
    while let Some(arg) = args.next() {
        let text = arg.to_str().unwrap_or_default();
        if !text.starts_with('-') || text == "-" || text == "--" {
            // A verb has its own options. They may follow its arguments, unless these belong to a program.
            let verb = command.and_then(|c| c.find_subcommand(text));
            let of_a_program = |c: &Command| c.get_positionals().any(Arg::is_trailing_var_arg_set);
            let ends = text == "--" || verb.is_none() && command.is_none_or(of_a_program);
            command = verb.or(command);
            out.push(arg);
            if ends {
                break;
            }
            continue;
        }
        let name = text.trim_start_matches('-');
        let (name, value) = name.split_once('=').map_or((name, None), |(n, v)| (n, Some(v)));
        let Some(option) = command.and_then(|c| option(c, name)) else {
            out.push(arg);
            continue;
        };
        // `-f` stays unchanged.
        let dashes = if name.len() == 1 { "-" } else { "--" };
        // An option for which `=false` differs from a missing option gets the word.
        let tells_false = option.get_num_args().is_some_and(|n| n.min_values() == 0);
        if tells_false || !option.get_action().takes_values() {
            match switch(value, tells_false) {
                Switch::On => out.push(format!("{dashes}{name}").into()),
                Switch::Off => out.push(format!("{dashes}{name}=false").into()),
                Switch::Left => {}
                Switch::Neither => out.push(arg),
            }
            continue;
        }
        let value = value.map_or_else(|| args.next(), |v| Some(v.into()));
        if value.as_ref().is_some_and(|v| v.is_empty()) && may_be_empty(command, option) {
            continue;
        }
        // As one word, because a value may begin with a dash.
        let mut word = OsString::from(format!("{dashes}{name}"));
        if let Some(value) = value {
            word.push("=");
            word.push(value);
        }
        out.push(word);
    }
    out.extend(args);
    out
}

/// Meaning of a switch's value in Go's flag package.
enum Switch {
    On,
    Off,
    /// Same as leaving the switch out.
    Left,
    /// Invalid; clap reports the error.
    Neither,
}

fn switch(value: Option<&str>, tells_false: bool) -> Switch {
    match value {
        None | Some("true" | "1" | "t" | "T" | "TRUE" | "True") => Switch::On,
        Some("false" | "0" | "f" | "F" | "FALSE" | "False") if tells_false => Switch::Off,
        Some("false" | "0" | "f" | "F" | "FALSE" | "False") => Switch::Left,
        Some(_) => Switch::Neither,
    }
}

/// Whether clap would misread the word, so that it needs normalising.
fn only_go_reads(text: &str) -> bool {
    let single = text.len() > 2 && text.starts_with('-') && !text.starts_with("--");
    let boolean = text.starts_with("--") && text.split_once('=').is_some_and(|(_, v)| v.len() < 6);
    single || boolean || text.is_empty()
}

/// The option of `command` with this long or one-letter name.
fn option<'a>(command: &'a Command, name: &str) -> Option<&'a Arg> {
    let short = |a: &Arg| a.get_short().is_some_and(|c| name.len() == 1 && name.starts_with(c));
    command.get_arguments().find(|a| a.get_long() == Some(name) || short(a))
}

/// Whether an empty value means that the option is not given: texts, and all options of `update`, whose
/// numbers are texts in runc.
fn may_be_empty(command: Option<&Command>, option: &Arg) -> bool {
    let texts = [TypeId::of::<String>(), TypeId::of::<PathBuf>()];
    let is_text = texts.iter().any(|text| option.get_value_parser().type_id() == *text);
    let one = matches!(option.get_action(), ArgAction::Set);
    one && (is_text || command.is_some_and(|c| c.get_name() == "update"))
}

/// The verb of a command line, which may be invalid, and the global options before it, as far as they parse.
pub fn outline(args: &[OsString]) -> (Option<&str>, GlobalArgs) {
    #[derive(Parser)]
    struct Before {
        #[command(flatten)]
        global: GlobalArgs,
    }
    let (verb, at) = find_verb(&Cli::command(), args);
    let before = Before::try_parse_from(&args[..at.min(args.len())]);
    let none = || Before::parse_from(["safebox"]);
    (verb, before.unwrap_or_else(|_| none()).global)
}

/// The verb after the options of `program`.
pub fn verb_after<'a>(program: &Command, args: &'a [OsString]) -> Option<&'a str> {
    find_verb(program, args).0
}

/// The verb, and the number of words before it.
fn find_verb<'a>(program: &Command, args: &'a [OsString]) -> (Option<&'a str>, usize) {
    let takes_value = |word: &str| {
        option(program, word.trim_start_matches('-')).is_some_and(|a| a.get_action().takes_values())
    };
    let mut at = 1;
    while let Some(word) = args.get(at) {
        let word = word.to_str().unwrap_or_default();
        if !word.starts_with('-') {
            return (Some(word), at);
        }
        at += if takes_value(word) { 2 } else { 1 };
    }
    (None, at)
}

/// Whether the program was started under the name runc (`runc`, `buildkit-runc`, ...), by a symlink or a
/// copy.
pub fn called_as_runc(program: Option<&OsString>) -> bool {
    let name = program.and_then(|p| Path::new(p).file_name()).and_then(OsStr::to_str);
    name.is_some_and(|name| name == "runc" || name.ends_with("-runc"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &[&str]) -> Vec<OsString> {
        line.iter().map(OsString::from).collect()
    }

    #[test]
    fn the_verb_is_found_among_options() {
        let of = |line: &[&str]| {
            let words = words(line);
            let (verb, global) = outline(&words);
            (verb.map(str::to_string), global.log.map(|log| log.display().to_string()))
        };
        let create = ["safebox", "--root", "run", "--debug", "--log", "f", "create", "--x"];
        assert_eq!(of(&create), (Some("create".into()), Some("f".into())));
        assert_eq!(of(&["safebox", "--root=/r", "run", "--nope"]), (Some("run".into()), None));
        assert_eq!(of(&["safebox", "--nope"]), (None, None));
        assert_eq!(of(&["safebox", "--log"]), (None, None));
        assert_eq!(of(&["safebox"]), (None, None));
    }

    #[test]
    fn go_flags_are_understood_and_programs_arguments_left_alone() {
        for (line, expect) in [
            ("safebox -root /r run -detach=true x", "safebox --root=/r run --detach x"),
            ("safebox delete --force=false x", "safebox delete x"),
            ("safebox delete -f=true x", "safebox delete -f x"),
            ("safebox run x -- -force=true", "safebox run x -- -force=true"),
            (
                "safebox --root /r exec -user 1 id ls -all --quiet=true",
                "safebox --root=/r exec --user=1 id ls -all --quiet=true",
            ),
            ("safebox restore -no-subreaper -no-pivot x", "safebox restore --no-subreaper --no-pivot x"),
            ("safebox update -r - -memory=1g x", "safebox update -r=- --memory=1g x"),
            ("safebox exec -td=true x", "safebox exec -td=true x"),
            ("safebox exec -no-new-privs x y", "safebox exec --no-new-privs x y"),
            ("safebox exec --no-new-privs=F x y", "safebox exec --no-new-privs=false x y"),
            ("safebox delete x -force=true", "safebox delete x --force"),
            ("safebox kill x KILL -all", "safebox kill x KILL --all"),
            ("safebox ps -format json x -ef", "safebox ps --format=json x -ef"),
        ] {
            let words = line.split(' ').map(OsString::from);
            assert_eq!(normalise(words).join(OsStr::new(" ")).to_str(), Some(expect));
        }
    }

    /// The value that a Go program passes for an unset string.
    #[test]
    fn an_empty_text_is_none() {
        let of = |line: &[&str]| normalise(words(line).into_iter());
        let plain = ["safebox", "create", "--bundle=b", "x"];
        let empty =
            ["safebox", "--root", "", "create", "--pid-file", "", "--bundle", "b", "--console-socket=", "x"];
        assert_eq!(of(&empty), words(&plain));
        let numbers = ["safebox", "update", "--memory", "", "--cpu-quota=", "x"];
        assert_eq!(of(&numbers), words(&["safebox", "update", "x"]));
        // An empty number means none; an empty element of a list is an element.
        for (flag, stays) in [("--preserve-fds", "--preserve-fds="), ("--env", "--env=")] {
            assert_eq!(of(&["safebox", "exec", flag, "", "x"]), words(&["safebox", "exec", stays, "x"]));
        }
        let program = ["safebox", "exec", "x", "printf", "%s", ""];
        assert_eq!(of(&program), words(&program));
    }

    #[test]
    fn runc_s_name_is_known() {
        let as_runc = |name: &str| called_as_runc(Some(&name.into()));
        assert!(["runc", "/usr/sbin/runc", "bin/buildkit-runc"].into_iter().all(as_runc));
        assert!(!["safebox", "/opt/runc/safebox", "runc.old", "brunc"].into_iter().any(as_runc));
        assert!(!called_as_runc(None));
    }
}
