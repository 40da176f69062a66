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
