//! safebox: a secure container launcher and OCI runtime whose every kernel operation can be read
//! before it runs.
//!
//! # The tour
//!
//! A launch is a pipeline of values; only the last stage acts:
//!
//! ```text
//! argv -> Cli -> Bundle -> Config -> Policy -> Plan -> { Runtime <-> Init } -> execve -> exit code
//!         said   opened    total     hardened  ordered    one baton
//! ```
//!
//! 1. [`cli`] says what was asked. [`bundle`] opens the directory and the rootfs, once.
//! 2. [`config`] turns the OCI JSON into a total [`config::Config`]; errors carry a JSON pointer.
//! 3. [`policy`] hardens it by a table of rules and reports every change.
//! 4. [`cgroup`], [`seccomp`] and [`host`] lower what depends on this machine.
//! 5. [`launch`] opens, hardens and lays out; [`plan::recipe`] writes the list of [`plan::Step`]s: the order of kernel operations is data.
//!    [`plan::check`] proves properties of it, [`plan::print`] and `plan::why` show it (`safebox explain`), [`page`] as HTML.
//! 6. [`perform`] performs it: the runtime clones Init, a twelve-byte baton crosses where the actor
//!    changes, and Init ends as the container's program.
//! 7. [`state`] keeps what later verbs need, [`lifecycle`] is the container on disk and what stays with it,
//!    [`perform::undo`] takes everything back.
//!
//! [`criu`] turns a running container into images and back; a restore is a plan whose program is criu.
//!
//! # The layers
//!
//! Lowest first: a module imports only from its own layer and from lower ones. A test reads every import.
//!
//! ```text
//! sys        system calls: the only unsafe code; C strings, owned descriptors
//! tables     names, bits and words that parsing and printing share
//! time       the clock
//! error      error types
//! log        where messages go
//! config     OCI JSON -> Config; defaults, id maps
//! bundle     a directory with a config and a rootfs, opened once
//! seccomp    profile -> BPF
//! cgroup     where a container's cgroups are and what is written to them: v1, v2, systemd, devices, resctrl
//! host       facts about the machine
//! state      what is written of a container
//! policy     rules that harden a config
//! plan       rows: print, why, check; recipe/ is the order itself
//! page       a plan as a page of HTML
//! launch     what becomes a plan
//! perform    what each row does; the loop, the baton
//! lifecycle  the container on disk; hooks, removal, supervision
//! criu       checkpoint and restore
//! tour       what each layer of isolation stops, shown
//! audit      what the rules say of bundles, containers and this machine
//! cli        what can be said on the command line
//! commands   one file per verb
//! ```

pub mod audit;
pub mod bundle;
pub mod cgroup;
pub mod cli;
pub mod commands;
pub mod config;
pub mod criu;
pub mod error;
pub mod host;
pub mod launch;
#[cfg(test)]
mod layers;
pub mod lifecycle;
pub mod log;
pub mod page;
pub mod perform;
pub mod plan;
pub mod policy;
pub mod seccomp;
pub mod state;
pub mod sys;
pub mod tables;
pub mod time;
pub mod tour;
