//! Types of mounts.

use std::path::{Path, PathBuf};

use super::IdMap;

/// One entry of `mounts`, its options split by the system calls that apply them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mount {
    /// Absolute path inside the container, cleaned (no `.`, `..` and `//`).
    pub destination: PathBuf,
    /// `type`; `None` for binds.
    pub fs_type: Option<String>,
    /// `source`: a host path for bind mounts (absolute, or relative to the bundle), else the source name for
    /// the file system.
    pub source: Option<String>,
    /// `bind`/`rbind`: `Some(recursive)`; also set for `"type": "bind"`.
    pub bind: Option<bool>,
    /// Whether `remount` is set.
    pub remount: bool,
    /// Whether an option sets or clears a flag of this mount, even without changing it.
    pub names_flags: bool,
    /// Attributes to set (`MOUNT_ATTR_*` of mount_setattr(2)) on this mount only.
    pub attr_set: u64,
    /// Attributes to clear on this mount only; atime clears use `MOUNT_ATTR__ATIME`.
    pub attr_clr: u64,
    /// The same, for the whole subtree (`rro`, `rnosuid`, ...).
    pub rec_attr_set: u64,
    /// The same, for the whole subtree (`rrw`, `rsuid`, ...).
    pub rec_attr_clr: u64,
    /// Propagation changes in order, as mount(2) flags (`MS_PRIVATE`, `MS_SLAVE | MS_REC`, ...).
    pub propagation: Vec<u64>,
    /// Options for the file system: (key, value), e.g. `("size", Some("65536k"))`, `("newinstance", None)`,
    /// including the superblock flags (`sync`, `dirsync`, `mand`, `lazytime`).
    pub data: Vec<(String, Option<String>)>,
    /// `tmpcopyup`: copy the rootfs's content of the destination into the new tmpfs.
    pub copy_up: CopyUp,
    /// `idmap` / `ridmap`, or mappings: `Some(recursive)`.
    pub idmap: Option<bool>,
    /// `uidMappings` of this mount; empty with `idmap`: those of the container's user namespace.
    pub uid_maps: Vec<IdMap>,
    /// `gidMappings` of this mount.
    pub gid_maps: Vec<IdMap>,
    /// The policy file has judged the source of this bind mount, by a path without symlinks.
    pub judged: bool,
    /// This bind mount is the lower layer of an overlay: changes go to the directory of a layer.
    pub overlay: Option<Overlay>,
    /// The option that requested this bind mount. Files written there belong to the directory's owner.
    pub volume: Option<String>,
}

/// Where the changes of a writable copy go; no property of the specification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overlay {
    /// Directory of all layers.
    pub store: PathBuf,
    /// This layer's directory, in that of the container's layers.
    pub dir: PathBuf,
    /// Owner that the layer gets, as (uid, gid); `None`: the caller.
    pub owner: Option<(u32, u32)>,
    /// Mode of the base directory.
    pub mode: u32,
    /// When the run was prepared: seconds and nanoseconds since the epoch.
    pub since: (i64, u32),
}

/// A file of the runtime that is mounted over a file of the rootfs; the rootfs stays unchanged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeFile {
    /// Absolute path inside; the file must exist.
    pub path: PathBuf,
    /// Content of the file.
    pub content: Vec<u8>,
}

/// Whether a tmpfs starts with the rootfs's content of its destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CopyUp {
    /// The tmpfs is empty.
    #[default]
    No,
    /// Copy everything; a file that cannot be copied is an error.
    All,
    /// Copy the files that the container's root can read and create. The policy adds this option, so a
    /// failure must not prevent the start.
    Possible,
}

/// As in runc: removes the rootfs's host path from the front of destinations.
pub fn strip_root(mounts: &mut [Mount], rootfs: &Path) {
    for mount in mounts.iter_mut().filter(|_| rootfs != Path::new("/")) {
        if let Ok(inside) = mount.destination.strip_prefix(rootfs) {
            mount.destination = Path::new("/").join(inside);
        }
    }
}
