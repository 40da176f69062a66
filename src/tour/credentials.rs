//! Layer: an unprivileged user.

use serde_json::json;

use super::{TourLayer, root, world};

pub const LAYER: TourLayer = TourLayer {
    name: "credentials",
    title: "a user that is not root",
    attack: "a program reads a file of the container's root (mode 0600), without any capability",
    stopped: "a file's owner needs no capability, so root without capabilities is still root of its own files. \
              Another user is not.",
    apply: |config, _| config["process"]["user"] = json!({ "uid": 1000, "gid": 1000 }),
    arguments: |_| vec!["/root-only".into()],
    perform: |arguments| root::read(arguments),
    also: &["verify"],
    missing: world::needs_root,
};
