//! Integration tests: real bundles, real kernel, one harness.
//!
//! `cargo test --test integration [FILTER]`; names are `area::statement`. A test that cannot run here is
//! listed as ignored with its reason and counted below; it never counts as passed.
//!
//! - `SAFEBOX_RUNTIME=runc` (or a path) runs the tests about OCI behaviour ([`harness::Need::Oci`])
//!   against that runtime: one that fails there too is suspect.
//! - `UPDATE_GOLDEN=1` rewrites `integration/plan/golden`.
//! - `SAFEBOX_BIN` and `SAFEBOX_SLOW`: run the suite on another machine, see [`harness::carried`].
//! - `SAFEBOX_SOAK=N` sets the number of containers of the soak tests.

use std::process::ExitCode;

mod compat;
mod config;
mod harness;
mod host;
mod oci;
mod plan;
mod run;
mod security;

fn main() -> ExitCode {
    let mut args = libtest_mimic::Arguments::from_args();
    // Two tests in parallel reveal interference; more would only compete for cpus and distort timings.
    args.test_threads.get_or_insert(2);
    harness::run(&args)
}
