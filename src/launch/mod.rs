//! Preparing a launch: what becomes a plan. Nothing here has an effect on the system but the seccomp cache.
//!
//! [`prepare`] goes from a bundle on disk to a plan; the other modules settle what the config leaves open.

mod accounts;
pub mod caller;
pub mod capabilities;
mod enforced;
pub mod environment;
pub mod exec_cgroups;
pub mod images;
pub mod inherited_fds;
pub mod ladder;
pub mod layers;
pub mod notify;
pub mod options;
pub mod outside;
pub mod prepare;
pub mod refusals;
pub mod secrets;
pub mod stdio;
pub mod value;
mod volumes;
