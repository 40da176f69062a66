//! Parses a command line with the definitions of only the verb that it names.
//!
//! Building the definitions of all verbs takes most of the time of a short command. The global options and
//! those of one verb suffice for a valid line. Every other line (an error, `--help`) is parsed again with all
//! definitions, which the messages need.

use std::ffi::OsString;
use std::mem::ManuallyDrop;

use clap::{Args, Command, FromArgMatches, Parser};

use super::{Cli, GlobalArgs, Verb, go, launch};

/// Parses the command line.
pub fn parse(args: &[OsString]) -> Result<Cli, clap::Error> {
    one_verb(args).map_or_else(|| Cli::try_parse_from(args), Ok)
}

/// The output for a line that is only `--version`: callers run it often, and it needs no definitions.
pub fn version(args: &[OsString]) -> Option<String> {
    match args {
        [_, flag] if flag == "--version" || flag == "-v" => Some(format!("safebox {}\n", super::VERSION)),
        _ => None,
    }
}

fn one_verb(args: &[OsString]) -> Option<Cli> {
    let program = Command::new("safebox")
        .args_override_self(true)
        .disable_version_flag(true)
        .disable_help_subcommand(true);
    let program = GlobalArgs::augment_args(program);
    let verb = go::verb_after(&program, args)?;
    // Options of explain exclude some of a launch, so those must be defined.
    let parse = || parse_verb(program, verb, args);
    if verb == "explain" { parse() } else { launch::with_named(args, parse) }
}

fn parse_verb(program: Command, verb: &str, args: &[OsString]) -> Option<Cli> {
    let verb = definition(verb)?;
    // What is known of a line is needed to the program's end, so neither is freed piece by piece.
    let mut program = ManuallyDrop::new(program.subcommand(verb));
    let found = ManuallyDrop::new(program.try_get_matches_from_mut(args).ok()?);
    Some(Cli {
        global: GlobalArgs::from_arg_matches(&found).ok()?,
        version: None,
        verb: Verb::from_arg_matches(&found).ok()?,
    })
}

/// The arguments of a verb, equal to the derived definition of [`Verb`].
fn definition(verb: &str) -> Option<Command> {
    macro_rules! verbs {
        ($($name:literal $args:ty),* $(,)?) => {
            match verb {
                $($name => Some(<$args>::augment_args(Command::new($name))),)*
                "features" => Some(Command::new("features")),
                _ => None,
            }
        };
    }
    verbs! {
        "run" super::RunArgs, "create" super::CreateArgs, "start" super::IdArgs, "state" super::IdArgs, "kill" super::KillArgs,
        "delete" super::DeleteArgs, "list" super::ListArgs, "exec" super::ExecArgs, "ps" super::PsArgs, "pause" super::IdArgs,
        "resume" super::IdArgs, "update" super::UpdateArgs, "events" super::EventsArgs, "checkpoint" super::CheckpointArgs,
        "restore" super::RestoreArgs, "explain" super::ExplainArgs,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn a_line_means_the_same_with_one_verb_as_with_all() {
        for line in [
            "safebox run b/",
            "safebox --root /r --log l --log-format json --debug run -q -b b x --memory 1g --cap-add CHOWN -- sh -c x",
            "safebox run --cgroup-manager disabled --policy privileged --pids-limit -1 x",
            "safebox --systemd-cgroup create --bundle b --pid-file p --preserve-fds 2 x",
            "safebox --root create create x",
            "safebox run -qv /a:/b --env=A=b -e C=--memory --rm -it -w/x b -- sh --memory -x",
            "safebox explain --memory 1g --diff-policy baseline restricted b",
            "safebox run --memory=1g --cpus 2 -m 2g --rootfs /r --timeout 1s -- sh",
            "safebox exec -t -e A=b x sh -c --help",
            "safebox kill -a x KILL",
            "safebox delete --force x",
            "safebox list -f json",
            "safebox start x",
            "safebox features",
        ] {
            let args = words(line);
            let quick = one_verb(&args).unwrap_or_else(|| panic!("{line} is read at once"));
            assert_eq!(format!("{quick:?}"), format!("{:?}", Cli::try_parse_from(&args).unwrap()), "{line}");
        }
    }

    #[test]
    fn the_version_is_the_one_that_clap_prints() {
        for line in ["safebox --version", "safebox -v"] {
            let args = words(line);
            assert_eq!(version(&args).unwrap(), Cli::try_parse_from(&args).unwrap_err().render().to_string());
        }
        assert_eq!(version(&words("safebox --version run")), None);
    }

    #[test]
    fn what_needs_all_definitions_gets_them() {
        for line in [
            "safebox",
            "safebox --help",
            "safebox --version",
            "safebox help run",
            "safebox run --help",
            "safebox run --nope",
            "safebox --nope run x",
            "safebox rum x",
            "safebox start",
        ] {
            let args = words(line);
            assert!(one_verb(&args).is_none(), "{line}");
            assert!(parse(&args).is_err(), "{line}");
        }
    }

    /// The derived definition and [`definition`] produce the same arguments of a verb.
    #[test]
    fn the_definitions_are_the_derived_ones() {
        let arguments = |c: &Command| format!("{:?}", c.get_arguments().collect::<Vec<_>>());
        for verb in Cli::command().get_subcommands() {
            if let Some(own) = definition(verb.get_name()) {
                assert_eq!(arguments(&own), arguments(verb), "{}", verb.get_name());
            }
        }
        assert!(definition("run").is_some() && definition("exec").is_some());
    }
}
