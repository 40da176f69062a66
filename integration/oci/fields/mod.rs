//! One test per field: the kernel shows what the config of runtime-spec 1.3 requests, seen from outside where
//! possible; or the config is refused with a pointer.

pub mod cgroup;
mod mounts;
pub mod netdev;
mod others;
mod process;
mod propagation;
mod readonly;
pub mod seccomp;
mod targets;
mod time;
