//! Rows of writable copies (`--overlay`): layers of overlayfs, and the mounts made of them.

use std::ffi::CString;
use std::fmt;
use std::rc::Rc;

use super::{FREE, OnHost, Op, RESOLVE, RowLabel};
use crate::plan::call::Call;
use crate::plan::layer::Layer;
use crate::plan::place::Target;
use crate::plan::slot::Slot;
use crate::plan::words::{place, resolved};
use crate::sys::Errno;
use crate::sys::cstr::show;
use crate::tables::mount_options::describe_attrs;

/// A file system that cannot hold a layer.
const NO_LAYER: &str = "the file system of the layers cannot be the upper layer of overlayfs (another overlay, NFS and FUSE cannot), or the kernel is older than 5.19 and the layers are idmapped: keep them elsewhere with --root DIR on ext4, xfs, btrfs or tmpfs";

/// What rows do about writable copies.
#[derive(Debug, Clone)]
#[allow(missing_docs)] // each variant's `why` documents it, and users see that
pub enum OverlayOp {
    /// The directory of a container's layers, with the record of what they are.
    Record { store: CString, dir: CString, record: CString, bytes: Rc<Vec<u8>> },
    /// One layer: a directory with `upper` and `work`; owner and mode are the base's.
    Layer { dir: CString, upper: CString, work: CString, owner: Option<(u32, u32)>, mode: u32 },
    /// The overlay, at its place. Both trees are attached there first, since the kernel takes layers from attached mounts only.
    Mount { lower: Slot, layer: Slot, attrs: u64, target: Target },
}

impl Op for OverlayOp {
    fn label(&self) -> RowLabel {
        match self {
            Self::Record { .. } => (Layer::State, "layers", None),
            Self::Layer { dir, .. } => (Layer::State, "layer", Some(show(dir).into_owned())),
            Self::Mount { target, .. } => (Layer::Mounts, "overlay", place(target)),
        }
    }

    fn print(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Record { dir, record, bytes, .. } => {
                write!(f, "mkdir({:?}, 0700) write({:?}, {} bytes)", show(dir), show(record), bytes.len())
            }
            Self::Layer { dir, owner, mode, .. } => {
                write!(
                    f,
                    "mkdir({0:?}, 0755) mkdir({0}/upper, {mode:04o}) mkdir({0}/work, 0700)",
                    show(dir)
                )?;
                match owner {
                    Some((uid, gid)) => write!(f, " chown({uid}:{gid})"),
                    None => Ok(()),
                }
            }
            Self::Mount { lower, layer, attrs, target } => {
                write!(
                    f,
                    "mount_setattr({lower}, AT_RECURSIVE, propagation=MS_PRIVATE) move_mount({lower} -> {target}) \
                     mount_setattr({layer}, AT_RECURSIVE, propagation=MS_PRIVATE) move_mount({layer} -> {target}) fsopen(\"overlay\") \
                     fsconfig(lowerdir={lower}, upperdir={layer}/upper, workdir={layer}/work, userxattr) \
                     fsmount({}) umount2({layer}) umount2({lower}) move_mount(-> {target})",
                    describe_attrs(*attrs)
                )
            }
        }
    }

    fn why(&self) -> &'static str {
        match self {
            Self::Record { .. } => {
                "the record says which directories the layers belong to and when the run began: `safebox apply` refuses what changed since (rename(2))"
            }
            Self::Layer { .. } => {
                "what the program writes goes to this directory, and the host's tree stays as it is (https://docs.kernel.org/filesystems/overlayfs.html)"
            }
            Self::Mount { .. } => {
                "the program sees the host's tree writable; changed files are copied to the layer first. Both are private before they are attached: a copy of a shared mount would show on the host what is mounted on it (mount(8), overlay; mount_namespaces(7))"
            }
        }
    }

    fn pointer(&self) -> Option<String> {
        match self {
            Self::Record { .. } | Self::Layer { .. } | Self::Mount { .. } => None,
        }
    }

    fn resolves(&self) -> Option<(&'static str, String)> {
        match self {
            Self::Mount { target, .. } => Some(resolved(&target.root, &target.path)),
            Self::Record { .. } | Self::Layer { .. } => None,
        }
    }

    fn remedy(&self, errno: Errno, call: Call) -> Option<&'static str> {
        match (self, errno) {
            (Self::Record { .. }, Errno::EEXIST) => Some(
                "a container of this id has left layers: safebox diff, apply or discard it, or give this one another --name",
            ),
            (Self::Mount { .. }, Errno::EINVAL | Errno::EOPNOTSUPP) if call == Call::FsconfigCreate => {
                Some(NO_LAYER)
            }
            (Self::Mount { .. }, Errno::ENODEV) => Some("the kernel has no overlayfs: modprobe overlay"),
            (Self::Record { .. } | Self::Layer { .. } | Self::Mount { .. }, _) => None,
        }
    }

    fn on_host(&self) -> &'static [OnHost] {
        match self {
            Self::Record { .. } => &[OnHost::Creates, OnHost::Opens],
            Self::Layer { .. } => &[OnHost::Opens],
            Self::Mount { .. } => &[],
        }
    }

    fn calls(&self) -> Vec<&'static str> {
        match self {
            Self::Record { .. } => vec!["mkdirat*", "openat", "write", "close", "renameat"],
            Self::Layer { owner, .. } => {
                let one = [Some("mkdirat"), Some("fchmodat"), owner.map(|_| "fchownat")];
                [one, one, one].into_iter().flatten().flatten().collect()
            }
            Self::Mount { .. } => {
                let mut calls = RESOLVE.to_vec();
                calls.extend(FREE);
                calls.extend(["mount_setattr", "move_mount", "mount_setattr", "move_mount", "fsopen"]);
                calls.extend(["fsconfig"; 5]);
                calls.extend(["fsmount", "close", "umount2", "umount2", "move_mount"]);
                calls.extend(["close"; 4]);
                calls
            }
        }
    }
}
