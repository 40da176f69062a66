//! Attacks from inside and from neighbours, and the tools that judge, refuse and verify.

mod apparmor;
pub mod attacks;
mod audit;
mod enforce;
mod verify;
mod watch;

use libtest_mimic::Trial;

pub fn tests() -> Vec<Trial> {
    let areas = [verify::tests, enforce::tests, apparmor::tests, attacks::tests, audit::tests, watch::tests];
    areas.iter().flat_map(|tests| tests()).collect()
}
