//! No capabilities.

use nix::mount::{MsFlags, mount};

use super::{Layer, always};

pub const LAYER: Layer = Layer {
    name: "capabilities",
    title: "a root that may not",
    attack: "root of the container mounts a file system of its own",
    stopped: "mount(2) asks for CAP_SYS_ADMIN, not for root. The bounding set keeps it from coming back by any later \
              exec.",
    apply: |config, _| {
        for set in ["bounding", "effective", "permitted"] {
            config["process"]["capabilities"][set] = serde_json::json!([]);
        }
    },
    arguments: |_| Vec::new(),
    perform: |_| match mount(Some("tmpfs"), "/tmp", Some("tmpfs"), MsFlags::empty(), Some("size=64k")) {
        Ok(()) => Ok("mount(tmpfs on /tmp): done".into()),
        Err(e) => Err(format!("mount(tmpfs on /tmp): {e}")),
    },
    also: &[],
    missing: always,
};
