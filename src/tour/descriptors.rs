//! Open files of the caller.

use super::{Layer, always, root};

pub const LAYER: Layer = Layer {
    name: "descriptors",
    title: "no open file of the host stays open",
    attack: "a program leaves by descriptor 3, a directory of the host that a careless caller left open \
             (CVE-2024-21626)",
    stopped: "pivot_root takes back nothing that is open. Init closes every descriptor that is not asked for before \
              the program starts.",
    // `run` closes them unless --preserve-fds says otherwise, which the tour does until here (world.rs).
    apply: |_, _| {},
    arguments: |_| vec!["/proc/self/fd/3/secret".into()],
    perform: |arguments| root::read(arguments),
    also: &["close-fds", "chdir"],
    missing: always,
};
