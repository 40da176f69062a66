//! Integration tests: real bundles, real kernel, one harness.
//!
//! `cargo test --test integration [FILTER]`; names are `area::statement`. A test that cannot run here is
//! listed as ignored with its reason and counted below; it never counts as passed.
//!
//! - `SAFEBOX_RUNTIME=runc` (or a path) runs the tests about OCI behaviour ([`harness::Need::Oci`])
//!   against that runtime: one that fails there too is suspect.
//! - `UPDATE_GOLDEN=1` rewrites `integration/golden`.
//! - `SAFEBOX_BIN` and `SAFEBOX_SLOW`: run the suite on another machine, see [`harness::carried`].
//! - `SAFEBOX_SOAK=N` sets the number of containers of the soak tests.

use std::process::ExitCode;

mod apparmor;
mod attacks;
mod audit;
mod bad_input;
mod checkpoint;
mod checks;
mod command_line;
mod compare;
mod conformance;
mod enforce;
mod events;
mod examples;
mod faults;
mod fields;
mod groups;
mod handover;
mod harness;
mod hooks;
mod inputs;
mod inside;
mod install;
mod kills;
mod launcher;
mod lessons;
mod lifecycle;
mod limits;
mod order;
mod page;
mod placement;
mod plan;
mod pods;
mod policy_checks;
mod programs;
mod rlimits;
mod rootless;
mod selftest;
mod soak;
mod stdio;
mod systemd;
mod terminal;
mod tour;
mod update;
mod verify;
mod words;

/// All tests.
fn all() -> Vec<libtest_mimic::Trial> {
    let areas = [
        selftest::tests,
        plan::tests,
        checks::tests,
        order::tests,
        faults::tests,
        kills::tests,
        lessons::tests,
        launcher::tests,
        lifecycle::tests,
        command_line::tests,
        inputs::tests,
        inside::tests,
        fields::tests,
        hooks::tests,
        limits::tests,
        rlimits::tests,
        tour::tests,
        update::tests,
        verify::tests,
        words::tests,
        enforce::tests,
        events::tests,
        compare::tests,
        conformance::tests,
        groups::tests,
        handover::tests,
        page::tests,
        placement::tests,
        pods::tests,
        policy_checks::tests,
        programs::tests,
        checkpoint::tests,
        terminal::tests,
        stdio::tests,
        bad_input::tests,
        rootless::tests,
        systemd::tests,
        apparmor::tests,
        attacks::tests,
        audit::tests,
        examples::tests,
        install::tests,
        // Last: they need the machine for themselves.
        soak::tests,
    ];
    areas.iter().flat_map(|tests| tests()).collect()
}

fn main() -> ExitCode {
    let mut args = libtest_mimic::Arguments::from_args();
    // Two tests in parallel reveal interference; more would only compete for cpus and distort timings.
    args.test_threads.get_or_insert(2);
    harness::finish(&args, all())
}
