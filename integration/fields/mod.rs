//! Field by field: what the config of runtime-spec 1.3 asks for is what the kernel shows, seen from outside
//! where that is possible; or it is refused with a pointer.

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
