//! Open files of the caller.

use super::{TourLayer, always, root};

pub const LAYER: TourLayer = TourLayer {
    name: "descriptors",
    title: "open files of the host are closed",
    attack: "a program escapes through descriptor 3, a directory of the host that a careless caller left open \
             (CVE-2024-21626)",
    stopped: "pivot_root does not close open descriptors. Init closes every descriptor that is not requested before \
              the program starts.",
    // `run` closes them unless --preserve-fds is given, which the tour does up to this layer (world.rs).
    apply: |_, _| {},
    arguments: |_| vec!["/proc/self/fd/3/secret".into()],
    perform: |arguments| root::read(arguments),
    also: &["close-fds", "chdir"],
    missing: always,
};
