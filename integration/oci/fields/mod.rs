//! One test per field: the kernel shows what the config of runtime-spec 1.3 requests, seen from outside where
//! possible; or the config is refused with a pointer.

use libtest_mimic::Trial;

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

pub fn tests() -> Vec<Trial> {
    [
        seccomp::tests,
        netdev::tests,
        process::tests,
        mounts::tests,
        cgroup::tests,
        others::tests,
        propagation::tests,
        targets::tests,
        readonly::tests,
        time::tests,
    ]
    .iter()
    .flat_map(|tests| tests())
    .collect()
}
