//! The network by name, against servers in network namespaces of the test's own.

mod attacks;
mod beyond;
mod cni;
mod cni_ends;
mod faults;
mod helper;
mod names;
mod ports;
mod registries;
mod small;
mod tools;
mod world;

use libtest_mimic::Trial;

use crate::harness::Need;

const WORLD: &[Need] = &[Need::Root, Need::Userns, Need::Idmap, Need::World];
const USER: &[Need] = &[Need::Root, Need::OrdinaryUserns, Need::World];

pub fn tests() -> Vec<Trial> {
    [
        names::tests(),
        attacks::tests(),
        helper::tests(),
        tools::tests(),
        ports::tests(),
        cni::tests(),
        cni_ends::tests(),
        registries::tests(),
        faults::tests(),
        small::tests(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
