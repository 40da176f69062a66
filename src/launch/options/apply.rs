//! The layer of options: what they do to the config, on top of the bundle's or of the container defaults.

use super::super::value::Launch;
use super::rows;
use crate::config::Config;
use crate::error::Result;
use crate::policy::{Change, Facts};

/// Applies every row that has an effect on the config; the order of the command line does not matter.
pub fn apply(launch: &Launch, facts: &Facts<'_>, config: &mut Config) -> Result<Vec<Change>> {
    let mut changes = Vec::new();
    for effect in rows().filter_map(|row| row.effect) {
        effect(launch, facts, config, &mut changes)?;
    }
    Ok(changes)
}
