//! Integration tests: real bundles, real kernel, one harness.
//!
//! `cargo test --test integration [FILTER]`; names are `area::what_must_hold`. A test that cannot run
//! here is listed as ignored with its reason and counted below; it never counts as passed.
//!
//! - `SAFEBOX_RUNTIME=runc` (or a path) runs the tests about OCI behaviour ([`harness::Need::Oci`])
//!   against that runtime: one that fails there too is suspect.
//! - `UPDATE_GOLDEN=1` rewrites `integration/golden`.
//! - `SAFEBOX_BIN` and `SAFEBOX_SLOW`: the suite on another machine, see [`harness::carried`].
//! - `SAFEBOX_SOAK=N` sets how often the soak tests run a container.

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

/// Every test there is.
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
    // Two at once find what disturbs its neighbour; more only compete for cpus and make timings loose.
    args.test_threads.get_or_insert(2);
    harness::finish(&args, all())
}
