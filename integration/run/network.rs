//! The network by name, against servers in network namespaces of the test's own.

mod attacks;
mod beyond;
mod cni;
mod cni_ends;
mod faults;
mod helper;
mod names;
mod odd;
mod ports;
mod registries;
mod small;
mod tools;
mod world;

use crate::harness::Need;

const WORLD: &[Need] = &[Need::Root, Need::Userns, Need::Idmap, Need::World];
const USER: &[Need] = &[Need::Root, Need::OrdinaryUserns, Need::World];
