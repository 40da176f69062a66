//! Layer: no capabilities.

use nix::mount::{MsFlags, mount};

use super::{TourLayer, always};

pub const LAYER: TourLayer = TourLayer {
    name: "capabilities",
    title: "a root without privileges",
    attack: "root of the container mounts a file system of its own",
    stopped: "mount(2) requires CAP_SYS_ADMIN, not root. The bounding set prevents a later exec from \
              regaining it.",
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
