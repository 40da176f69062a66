//! `safebox tour`: demonstrates what each layer of isolation stops.

use crate::sys::start::ExitCode;

use crate::cli;
use crate::commands::common::VerbResult;
use crate::sys::tty;
use crate::tour;

/// Shows the layers, or performs one attack.
pub fn tour(args: &cli::TourArgs) -> VerbResult {
    if let Some(name) = &args.attack {
        return Ok(ExitCode::from(tour::attack(name, &args.arguments)?));
    }
    tour::tour(args.layer.as_deref(), !args.all && tty::is_tty(0))?;
    Ok(ExitCode::SUCCESS)
}
