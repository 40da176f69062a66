//! Containers as the OCI runtime specification and its callers define them: fields, verbs, streams, lifecycle.

mod callers;
mod checkpoint;
mod events;
pub mod fields;
pub mod groups;
mod handover;
mod hooks;
mod inside;
mod kills;
mod lifecycle;
pub mod limits;
mod placement;
mod pods;
mod reader;
mod rlimits;
pub mod rootless;
pub mod soak;
mod stdio;
mod systemd;
pub mod terminal;
mod update;

use libtest_mimic::Trial;

pub fn tests() -> Vec<Trial> {
    let areas = [
        kills::tests,
        lifecycle::tests,
        callers::tests,
        inside::tests,
        fields::tests,
        hooks::tests,
        limits::tests,
        rlimits::tests,
        update::tests,
        events::tests,
        reader::tests,
        groups::tests,
        handover::tests,
        placement::tests,
        pods::tests,
        checkpoint::tests,
        terminal::tests,
        stdio::tests,
        rootless::tests,
        systemd::tests,
    ];
    areas.iter().flat_map(|tests| tests()).collect()
}
