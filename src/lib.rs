//! safebox: a secure container launcher and OCI runtime whose every kernel operation can be read
//! before it runs.
//!
//! # The library
//!
//! A program in Rust launches sandboxes with a [`Sandbox`] and gets a [`Child`]; [`audit()`] judges a config. These and the
//! types that they use are the public API. The modules are public for the tests and the lessons of this repository, which
//! call the parts one by one; they change with the program, and so this documentation does not list them.
//!
//! # The tour
//!
//! A launch is a pipeline of values. Only the last stage has effects:
//!
//! ```text
//! argv -> Cli -> Bundle -> Config -> Policy -> Plan -> { Runtime <-> Init } -> execve -> exit code
//!         parsed opened    total     hardened  ordered    one baton
//! ```
//!
//! 1. `cli` parses the command line. `bundle` opens the directory and the rootfs, once.
//! 2. `config` converts the OCI JSON into a complete `config::Config`; errors carry a JSON pointer.
//! 3. `policy` hardens it by a table of rules and reports every change.
//! 4. `cgroup`, `seccomp` and `host` translate the parts that depend on this machine.
//! 5. `launch` opens the bundle, hardens the config and chooses cgroups; `plan::recipe` builds the list of
//!    `plan::Row`s: the order of kernel operations is data. `plan::check` verifies properties of it,
//!    `plan::report` prints it (`safebox explain`), `page` renders it as HTML.
//! 6. `perform` performs it: the runtime clones Init, a baton of sixteen bytes is passed at each change of the
//!    actor, and Init finally executes the container's program.
//! 7. `state` is the record for later verbs, `lifecycle` manages the container on disk and supervises it,
//!    `perform::undo` removes everything.
//!
//! `criu` saves a running container to images and restores it; a restore is a plan whose program is criu.
//!
//! # The layers
//!
//! Lowest first: a module imports only from its own layer and from lower ones. A test reads every import.
//!
//! ```text
//! sys        system calls: the only unsafe code; C strings, owned descriptors
//! tables     names, bits and texts that parsing and printing share
//! time       the clock
//! error      error types
//! log        destinations of messages
//! config     OCI JSON -> Config; defaults, id maps
//! bundle     a directory with a config and a rootfs, opened once
//! seccomp    profile -> BPF
//! network    the network by name: the helper process outside
//! cgroup     paths and values of a container's cgroups: v1, v2, systemd, devices, resctrl
//! host       facts about the machine
//! state      the record of a container on disk
//! policy     rules that harden a config
//! plan       rows: print, why, check; recipe/ is the order itself
//! page       a plan as an HTML page
//! launch     from options and bundle to the input of a plan
//! input      descriptions of containers in the words of other tools
//! perform    performs each row; the loop, the baton
//! copies     writable copies: what a program changed, and writing it back
//! lifecycle  the container on disk; hooks, removal, supervision
//! criu       checkpoint and restore
//! trail      the audit trail: what happens to the containers of a state root
//! tour       demonstrates what each layer of isolation stops
//! audit      verdicts of the rules on bundles, containers and this machine
//! cli        definition of the command line
//! commands   one file per verb
//! sandbox    for programs in Rust: a builder, and the child that it launches
//! ```

#[doc(hidden)]
pub mod audit;
#[doc(hidden)]
pub mod bundle;
#[doc(hidden)]
pub mod cgroup;
#[doc(hidden)]
pub mod cli;
#[doc(hidden)]
pub mod commands;
#[doc(hidden)]
pub mod config;
#[doc(hidden)]
pub mod copies;
#[doc(hidden)]
pub mod criu;
#[doc(hidden)]
pub mod error;
#[doc(hidden)]
pub mod host;
#[doc(hidden)]
pub mod input;
#[doc(hidden)]
pub mod launch;
#[cfg(test)]
mod layers;
#[doc(hidden)]
pub mod lifecycle;
#[doc(hidden)]
pub mod log;
#[doc(hidden)]
pub mod network;
#[doc(hidden)]
pub mod page;
#[doc(hidden)]
pub mod perform;
#[doc(hidden)]
pub mod plan;
#[doc(hidden)]
pub mod policy;
#[doc(hidden)]
pub mod sandbox;
#[doc(hidden)]
pub mod seccomp;
#[doc(hidden)]
pub mod state;
#[doc(hidden)]
pub mod sys;
#[doc(hidden)]
pub mod tables;
#[doc(hidden)]
pub mod time;
#[doc(hidden)]
pub mod tour;
#[doc(hidden)]
pub mod trail;

#[doc(inline)]
pub use audit::audit;
#[doc(inline)]
pub use cgroup::Manager;
#[doc(inline)]
pub use config::Config;
#[doc(inline)]
pub use error::{Error, Result};
#[doc(inline)]
pub use lifecycle::account::{Account, Status};
#[doc(inline)]
pub use plan::{Plan, check::Checked};
#[doc(inline)]
pub use policy::Policy;
#[doc(inline)]
pub use sandbox::{Child, Exit, Output, Sandbox};

pub mod report {
    //! What [`audit`](crate::audit()) finds: a [`Report`] of findings, and their parts.
    #[doc(inline)]
    pub use crate::audit::{About, Finding, Judgement, Report};
    #[doc(inline)]
    pub use crate::policy::{Evidence, Place, Severity, Verdict};
}
