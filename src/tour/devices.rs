//! Layer: a device filter.

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use serde_json::json;

use super::{TourLayer, world};

pub const LAYER: TourLayer = TourLayer {
    name: "devices",
    title: "a filter of the devices that may be opened",
    attack: "a program makes a device node of its own, c 1:11, and opens the kernel's log with it (a disk is as easy)",
    stopped: "a node is only a pair of numbers, and root may create one. The cgroup's device filter checks \
              every open and answers EPERM for a device that is not on its list.",
    apply: |config, _| {
        config["linux"]["resources"]["devices"] = json!([{ "allow": false, "access": "rwm" }]);
    },
    arguments: |_| Vec::new(),
    perform: |_| {
        let node = "/dev/own-node";
        // A node from an earlier attack serves as well.
        match mknod(node, SFlag::S_IFCHR, Mode::S_IRUSR, makedev(1, 11)) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(e) => return Err(format!("mknod({node}, c 1:11): {e}")),
        }
        match open(node, OFlag::O_RDONLY | OFlag::O_NONBLOCK, Mode::empty()) {
            Ok(_) => Ok(format!("mknod and open({node}, c 1:11): done")),
            Err(e) => Err(format!("open({node}, c 1:11): {e}")),
        }
    },
    also: &[],
    missing: world::needs_root,
};
