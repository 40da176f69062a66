//! The `safebox` command: parse, dispatch, print an error once, exit code.
#![no_main]

use std::io::Write;

use safebox::cli::{called_as_runc, normalise, parse, version};
use safebox::commands;
use safebox::error::{Error, ExecError};
use safebox::log::Log;
use safebox::sandbox::request;
use safebox::sys::start::ExitCode;

safebox::program!(safebox_main);

fn safebox_main() -> ExitCode {
    abort_on_panic();
    safebox::sys::process::open_missing_stdio();
    // A write beyond the caller's RLIMIT_FSIZE is an error (EFBIG); the signal would end the launcher without cleanup.
    safebox::sys::signal::ignore(libc::SIGXFSZ).unwrap_or_default();
    let args: Vec<_> = std::env::args_os().collect();
    safebox::sys::argv::find(args.len());
    let args = match request::take(args) {
        Ok(args) => normalise(args.into_iter()),
        Err(e) => {
            safebox::to_stderr!("safebox: {e}");
            return ExitCode::from(125);
        }
    };
    let as_runc = called_as_runc(args.first());
    if let Some(text) = version(&args).filter(|_| !as_runc) {
        return match std::io::stdout().write_all(text.as_bytes()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        };
    }
    let mut cli = match parse(&args) {
        Ok(cli) => cli,
        Err(e) => return commands::usage(&e, &args, as_runc),
    };
    cli.global.as_runc = as_runc;
    cli.global.fixed_level =
        args.first().and_then(|name| safebox::policy::enforce::Enforcement::level_of_name(name.as_ref()));
    if safebox::sys::argv::request().is_some() {
        safebox::log::silence();
    }
    let log = match Log::new(cli.global.log_options()) {
        Ok(log) => log,
        Err(e) => {
            safebox::to_stderr!("safebox: {e}");
            return ExitCode::FAILURE;
        }
    };
    match commands::dispatch(cli, &log) {
        Ok(code) => code,
        Err(failure) => {
            match failure.error.downcast_ref::<Error>() {
                Some(Error::Exec(ExecError { bare: Some(bare), message, .. })) => {
                    log.not_executed(message, bare)
                }
                _ => log.error(&format!("{:#}", failure.error)),
            }
            ExitCode::from(failure.code)
        }
    }
}

/// In debug builds, which unwind, a panic in a forked child would run the parent's remaining code.
fn abort_on_panic() {
    #[cfg(panic = "unwind")]
    std::panic::set_hook(Box::new(|panic| {
        safebox::to_stderr!("safebox: {panic}");
        std::process::abort();
    }));
}
