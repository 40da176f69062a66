//! A root file system of its own.

use serde_json::json;

use super::{Layer, always};

pub const LAYER: Layer = Layer {
    name: "root",
    title: "a tree of its own, and pivot_root",
    attack: "a program reads a file of the host that everyone may read",
    stopped: "the container's tree became / and the host's was unmounted from this namespace: there is no path that \
              leads to it, however many `..` one writes.",
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

/// Reads the file that the first argument names.
pub fn read(arguments: &[String]) -> Result<String, String> {
    let path = arguments.first().ok_or("a path is needed")?;
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(format!("open({path}): read {text:?}")),
        Err(e) => Err(format!("open({path}): {e}")),
    }
}
