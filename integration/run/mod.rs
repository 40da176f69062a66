//! The launcher: `run -- PROGRAM`, its options, network and secrets.

mod launcher;
mod network;
