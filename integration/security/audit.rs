//! `safebox audit`: the law on running containers, a bundle for every item of the benchmarks, formats, exit codes.

mod bundles;
mod formats;
pub mod running;
