//! What is installed on and shown of a host: packages, lessons, tour, page, and the harness itself.

pub mod examples;
mod install;
mod lessons;
mod page;
mod selftest;
mod tour;

use libtest_mimic::Trial;

pub fn tests() -> Vec<Trial> {
    let areas = [selftest::tests, lessons::tests, tour::tests, page::tests, examples::tests, install::tests];
    areas.iter().flat_map(|tests| tests()).collect()
}
