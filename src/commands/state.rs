//! `safebox state`: the state of a container as JSON with runc's fields.

use crate::sys::start::ExitCode;

use crate::cli::GlobalArgs;
use crate::commands::common::VerbResult;
use crate::lifecycle::container::Container;
use crate::lifecycle::listing::Listing;

/// Prints the state.
pub fn state(global: &GlobalArgs, id: &str) -> VerbResult {
    let container = Container::load(&crate::commands::common::root(global)?, id)?;
    crate::commands::common::print_json(&Listing::of(&container, container.state()?))?;
    Ok(ExitCode::SUCCESS)
}
