//! Configs before a launch: bad values, the specification's properties, what options and inputs add.

mod bad_input;
mod conformance;
mod inputs;
mod policy_checks;

use libtest_mimic::Trial;

pub fn tests() -> Vec<Trial> {
    let areas = [inputs::tests, conformance::tests, policy_checks::tests, bad_input::tests];
    areas.iter().flat_map(|tests| tests()).collect()
}
