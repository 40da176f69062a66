//! Plans: goldens, checks, the order of system calls, faults at every row.

mod checks;
mod faults;
pub mod goldens;
mod order;

use libtest_mimic::Trial;

pub fn tests() -> Vec<Trial> {
    let areas = [goldens::tests, checks::tests, order::tests, faults::tests];
    areas.iter().flat_map(|tests| tests()).collect()
}
