//! The launcher: `run -- PROGRAM`, its options, network and secrets.

pub mod launcher;
mod network;
