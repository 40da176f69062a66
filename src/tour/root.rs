//! Layer: its own root file system.

use serde_json::json;

use super::{TourLayer, always};

pub const LAYER: TourLayer = TourLayer {
    name: "root",
    title: "its own root file system, with pivot_root",
    attack: "a program reads a file of the host that every user may read",
    stopped: "the container's tree became / and the host's was unmounted from this namespace: no path leads \
              to it, with any number of `..`.",
    apply: |config, world| {
        config["root"] = json!({ "path": world.dir.join("rootfs"), "readonly": false });
        let tmp = json!({ "destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["mode=1777", "size=64k"] });
        if let Some(mounts) = config["mounts"].as_array_mut() {
            mounts.push(tmp);
        }
    },
    arguments: |world| vec![world.dir.join("secret").display().to_string()],
    perform: |arguments| read(arguments),
    also: &["pivot"],
    missing: always,
};

/// Reads the file named by the first argument.
pub fn read(arguments: &[String]) -> Result<String, String> {
    let path = arguments.first().ok_or("a path is needed")?;
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(format!("open({path}): read {text:?}")),
        Err(e) => Err(format!("open({path}): {e}")),
    }
}
