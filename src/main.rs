//! The `safebox` command: parse, dispatch, print an error once, exit code.

use std::process::ExitCode;

use clap::Parser;
use safebox::cli::{Cli, normalise};
use safebox::commands;
use safebox::log::Log;

fn main() -> ExitCode {
    safebox::sys::process::open_missing_stdio();
    let args = normalise(std::env::args_os());
    let cli = match Cli::try_parse_from(&args) {
        Ok(cli) => cli,
        Err(e) => return commands::usage(&e, &args),
    };
    let log = Log::new(&cli.global);
    match commands::dispatch(cli, &log) {
        Ok(code) => code,
        Err(failure) => {
            log.error(&format!("{:#}", failure.error));
            ExitCode::from(failure.code)
        }
    }
}
