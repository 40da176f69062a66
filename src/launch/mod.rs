//! Prepares a launch: everything between the options and a plan. The only side effect is the seccomp cache.
//!
//! [`prepare`] converts a bundle on disk to a plan; the other modules resolve what the config leaves open.

mod accounts;
pub mod caller;
pub mod capabilities;
mod cni;
mod copies;
pub mod enforced;
pub mod environment;
pub mod exec_cgroups;
pub mod exec_input;
pub mod filters;
pub mod images;
pub mod inherited_fds;
pub mod interpreter;
pub mod ladder;
pub mod layers;
pub mod links;
pub mod network;
pub mod notify;
pub mod options;
pub mod outside;
pub mod prepare;
pub mod refusals;
pub mod secrets;
pub mod stdio;
pub mod value;
mod volumes;
pub mod weaker;
pub mod would;
