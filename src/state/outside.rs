//! Host resources that a container uses; `checkpoint` reads them from the state.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The part of the state that only `checkpoint` reads.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Outside {
    /// Mount points of host file systems.
    pub mounts: Vec<PathBuf>,
    /// `linux.maskedPaths`.
    pub masked: Vec<PathBuf>,
    /// Descriptors 0 to 2 of the process: `pipe:[N]`, `file[MOUNT:INODE]` or a path.
    pub descriptors: Vec<String>,
    /// Joined namespaces, as `CLONE_NEW*` flags.
    pub joined: u64,
    /// Whether the rootfs or a bind mount is idmapped.
    pub idmapped: bool,
    /// Whether the container has secrets, which an image would store on disk.
    #[serde(default)]
    pub secrets: bool,
}
