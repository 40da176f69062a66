//! What a container shows of the host, as `checkpoint` finds it in the state.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The part of the state that only `checkpoint` reads.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Outside {
    /// Where mounts of the host's file systems are.
    pub mounts: Vec<PathBuf>,
    /// `linux.maskedPaths`.
    pub masked: Vec<PathBuf>,
    /// What descriptors 0 to 2 of the process are: `pipe:[N]`, `file[MOUNT:INODE]` or a path.
    pub descriptors: Vec<String>,
    /// Namespaces that were joined, not made, as `CLONE_NEW*` flags.
    pub joined: u64,
    /// The rootfs, or a bind, is an idmapped mount.
    pub idmapped: bool,
    /// It has secrets, which an image on disk would hold.
    #[serde(default)]
    pub secrets: bool,
}
