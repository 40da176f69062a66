//! Equality with runc: command line, words, output; and the needs of ordinary programs.

mod command_line;
mod compare;
mod programs;
mod words;

use libtest_mimic::Trial;

pub fn tests() -> Vec<Trial> {
    let areas = [command_line::tests, words::tests, compare::tests, programs::tests];
    areas.iter().flat_map(|tests| tests()).collect()
}
