//! Layer: a read-only root file system.

use super::{TourLayer, always};

pub const LAYER: TourLayer = TourLayer {
    name: "read-only",
    title: "a root file system that cannot be written",
    attack: "a program plants a file for the next container that is started from this root file system",
    stopped: "the mount is read-only in this namespace, regardless of the file's mode and owner. Writable \
              paths are on a tmpfs, which is empty at the next start.",
    apply: |config, _| config["root"]["readonly"] = true.into(),
    arguments: |_| vec!["/planted".into()],
    perform: |arguments| {
        let path = arguments.first().ok_or("a path is needed")?;
        match std::fs::write(path, "#!/bin/sh\n") {
            Ok(()) => Ok(format!("open({path}, O_CREAT|O_WRONLY): done")),
            Err(e) => Err(format!("open({path}, O_CREAT|O_WRONLY): {e}")),
        }
    },
    also: &[],
    missing: always,
};
