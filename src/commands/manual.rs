//! `safebox completion` and `safebox manual`: generated from clap's definition of the command line.

use crate::sys::start::ExitCode;
use std::io::Write;

use anyhow::Context;
use clap::CommandFactory;

use crate::cli::{Cli, CompletionArgs, ManualArgs};
use crate::commands::common::VerbResult;

/// Prints the completion script of a shell.
pub fn completion(args: &CompletionArgs) -> VerbResult {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "safebox", &mut text);
    std::io::stdout().write_all(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// Writes safebox.1 and one man page per verb.
pub fn manual(args: &ManualArgs) -> VerbResult {
    // clap's version text has runc's three lines, which do not fit the footer of a page.
    let command = Cli::command().version(env!("CARGO_PKG_VERSION"));
    clap_mangen::generate_to(command, &args.dir).with_context(|| args.dir.display().to_string())?;
    Ok(ExitCode::SUCCESS)
}
