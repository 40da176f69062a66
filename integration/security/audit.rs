//! `safebox audit`: the law on running containers, a bundle for every item of the benchmarks, formats, exit codes.

mod bundles;
mod formats;
pub mod running;

use libtest_mimic::Trial;

pub fn tests() -> Vec<Trial> {
    [bundles::tests(), formats::tests(), running::tests()].into_iter().flatten().collect()
}
