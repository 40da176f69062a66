//! The launcher: `run -- PROGRAM`, its options, network and secrets.

mod launcher;
mod network;

use libtest_mimic::Trial;

pub fn tests() -> Vec<Trial> {
    let areas = [launcher::tests, network::tests];
    areas.iter().flat_map(|tests| tests()).collect()
}
