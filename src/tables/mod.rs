//! Tables of names: `(name, bits, doc)` rows with one lookup each.
//!
//! Parsing, `features`, `explain` and error messages read the same rows, so every accepted name is also
//! printed and documented.

pub mod capabilities;
pub mod errno;
pub mod host_paths;
pub mod landlock;
pub mod limits;
pub mod memory_policy;
pub mod mount_options;
pub mod namespaces;
pub mod procfs;
pub mod rlimits;
pub mod signals;
pub mod sizes;
pub mod sysctls;
