//! Layer: a user namespace.

use serde_json::json;

use super::{TourLayer, world};

pub const LAYER: TourLayer = TourLayer {
    name: "user",
    title: "ids of its own: root inside is an unprivileged id outside",
    attack: "root of the container reads a file of the host's root (mode 0600)",
    stopped: "uid 0 inside is an id outside that owns nothing, and its capabilities are valid only in the \
              new namespace. If every other layer broke, the process would still be an unprivileged user.",
    apply: |config, _| {
        world::namespace(config, "user");
        let map = json!([{ "containerID": 0, "hostID": world::FIRST_ID, "size": 65536 }]);
        config["linux"]["uidMappings"] = map.clone();
        config["linux"]["gidMappings"] = map;
    },
    arguments: |world| vec![world.dir.join("root-only").display().to_string()],
    perform: |arguments| super::root::read(arguments),
    also: &["become-root"],
    missing: world::needs_root,
};
