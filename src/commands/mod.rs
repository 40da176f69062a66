//! One short file per verb.

mod audit;
mod checkpoint;
pub mod common;
mod copies;
mod create;
mod delete;
mod doctor;
mod events;
mod exec;
mod explain;
mod foreground;
mod freeze;
mod inspect;
mod install;
mod kill;
mod list;
mod logs;
mod manual;
mod meter;
mod ps;
mod report;
mod restore;
mod run;
mod spec;
mod start;
mod state;
mod stats;
mod stop;
mod tour;
mod unit;
mod update;
mod verify;
mod watch;

pub(crate) use explain::of as plan_of;

use crate::sys::start::ExitCode;
use std::ffi::OsString;
use std::io::Write;

use crate::cli::{self, Cli, Verb};
use crate::error::Error;
use crate::log::Log;

/// A failed verb: the error and the exit code.
pub struct VerbFailure {
    /// The error.
    pub error: anyhow::Error,
    /// Exit code.
    pub code: u8,
}

/// Executes the verb.
pub fn dispatch(cli: Cli, log: &Log) -> Result<ExitCode, VerbFailure> {
    let global = &cli.global;
    let doing = report::Doing::of(&cli);
    doing.iter().for_each(|doing| doing.begin(log));
    let code = failure_code(&cli);
    let outcome = match cli.verb {
        Verb::Run(args) => run::run(global, args, log),
        Verb::Create(args) => create::create(global, args, log),
        Verb::Start(args) => start::start(global, &args.id),
        Verb::State(args) => state::state(global, &args.id),
        Verb::Kill(args) => kill::kill(global, &args),
        Verb::Delete(args) => delete::delete(global, &args),
        Verb::List(args) => list::list(global, &args, log),
        Verb::Exec(args) => exec::exec(global, args, log),
        Verb::Ps(args) => ps::ps(global, &args),
        Verb::Pause(args) => freeze::pause(global, &args.id),
        Verb::Resume(args) => freeze::resume(global, &args.id),
        Verb::Update(args) => update::update(global, &args, log),
        Verb::Events(args) => events::events(global, &args),
        Verb::Logs(args) => logs::logs(global, &args),
        Verb::Stop(args) => stop::stop(global, &args),
        Verb::Wait(args) => stop::wait(global, &args),
        Verb::Stats(args) => stats::stats(global, &args),
        Verb::Inspect(args) => inspect::inspect(global, &args.id),
        Verb::Checkpoint(args) => checkpoint::checkpoint(global, &args),
        Verb::Restore(args) => restore::restore(global, &args, log),
        Verb::Diff(args) => copies::diff(global, &args),
        Verb::Apply(args) => copies::apply(global, &args),
        Verb::Discard(args) => copies::discard(global, &args),
        Verb::Explain(args) => explain::explain(global, args),
        Verb::Tour(args) => tour::tour(&args),
        Verb::Spec(args) => spec::spec(&args),
        Verb::Doctor(args) => doctor::doctor(&args),
        Verb::Audit(args) => audit::audit(global, &args),
        Verb::Verify(args) => verify::verify(global, &args),
        Verb::Watch(args) => watch::watch(global, &args),
        Verb::FromDocker(args) => audit::from_docker(&args),
        Verb::Features => spec::features(),
        Verb::Install(cli::InstallArgs { systemd_unit: Some(id), program, .. }) => {
            unit::unit(global, &id, program)
        }
        Verb::Install(args) => install::install(&args),
        Verb::Completion(args) => manual::completion(&args),
        Verb::Manual(args) => manual::manual(&args),
    };
    doing.iter().for_each(|doing| doing.end(log, &outcome));
    outcome.map_err(|error| {
        // `run` distinguishes failures of the runtime from those of the program, as `docker run` does.
        let code = match error.downcast_ref::<Error>() {
            Some(e) if code == 125 => e.run_code(),
            _ => code,
        };
        VerbFailure { error, code }
    })
}

/// The exit code of a verb that fails.
fn failure_code(cli: &Cli) -> u8 {
    match &cli.verb {
        Verb::Run(_) if !cli.global.as_runc => 125,
        // 1 says that what was asked about would fail.
        Verb::Explain(_) => 125,
        Verb::Exec(_) => 255,
        // 1 says that there are findings, or differences.
        Verb::Audit(_) | Verb::Verify(_) | Verb::Watch(cli::WatchArgs { verify: Some(_), .. }) => 2,
        _ => 1,
    }
}

/// Reports an invalid command line, also to the log; help and version are successes. For `run` the exit code
/// is 125 as for `docker run`, because the program itself could exit with 1.
pub fn usage(error: &clap::Error, args: &[OsString], as_runc: bool) -> ExitCode {
    if !error.use_stderr() || error.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    {
        let text = error.render().to_string();
        let text = if as_runc { cli::titled(error, &text, cli::outline(args).0) } else { text };
        // A failed write to stdout cannot be reported.
        write!(std::io::stdout(), "{text}").unwrap_or_default();
        return ExitCode::SUCCESS;
    }
    let (verb, mut global) = cli::outline(args);
    global.as_runc = as_runc;
    let mut usage = cli::usage(error, verb, args, as_runc);
    // An argument of the caller may contain a line break.
    usage.text = crate::error::escaped_line(&usage.text);
    match Log::new(global.log_options()) {
        Ok(log) => log.error(&usage.text),
        Err(e) => crate::to_stderr!("safebox: {}\nsafebox: {e}", usage.text),
    }
    crate::to_stderr!("\n{}\n\nFor more information, try '--help'.", usage.help);
    ExitCode::from(match verb {
        Some("run") if !as_runc => 125,
        Some("explain") => 125,
        Some("audit" | "verify") => 2,
        _ => usage.code,
    })
}
