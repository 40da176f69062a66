//! Rows of the root file system, up to pivot_root(2).

use std::ffi::CString;
use std::fmt;

use super::{OnHost, Op, RowLabel};
use crate::plan::call::Call;
use crate::plan::layer::Layer;
use crate::plan::place::SetAttr;
use crate::plan::slot::Slot;
use crate::plan::words::{propagation, slot_name};
use crate::sys::Errno;
use crate::sys::cstr::show;

/// What rows do about the root file system.
#[derive(Debug, Clone)]
#[allow(missing_docs)] // each variant's `why` documents it, and users see that
pub enum RootOp {
    Open { path: CString, rootfs: Slot, recursive: bool, to: Slot },
    OpenPlace { path: CString, rootfs: Slot, to: Slot },
    CriuDir { path: CString },
    Attach { root: Slot, at: Option<Slot> },
    AttachAt { tree: Slot, path: CString },
    VerifyOwn,
    Propagation { flags: u64 },
    Attributes { root: Slot, change: SetAttr },
    Pivot { root: Slot },
    Hide { path: CString },
    Chroot { root: Slot },
}

impl Op for RootOp {
    fn label(&self) -> RowLabel {
        match self {
            Self::Open { .. } => (Layer::Root, "rootfs", None),
            Self::VerifyOwn => (Layer::Root, "own-root", None),
            Self::Propagation { .. } => (Layer::Root, "propagation", None),
            Self::OpenPlace { .. } => (Layer::Root, "open-place", None),
            Self::Attach { .. } => (Layer::Root, "attach-root", None),
            Self::Pivot { .. } => (Layer::Root, "pivot", None),
            Self::Hide { path } => (Layer::Root, "hide", Some(show(path).into_owned())),
            Self::Chroot { .. } => (Layer::Root, "chroot", None),
            Self::Attributes { root, change } => {
                let ro = change.attr.attr_set & libc::MOUNT_ATTR_RDONLY != 0;
                (Layer::ReadOnly, if ro { "readonly" } else { "attributes" }, Some(slot_name(root)))
            }
            Self::CriuDir { .. } => (Layer::Program, "criu-root", None),
            Self::AttachAt { .. } => (Layer::Root, "attach-at", None),
        }
    }

    fn print(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open { path, rootfs, recursive, to } => {
                let recursive = if *recursive { "|AT_RECURSIVE" } else { "" };
                write!(f, "open_tree({:?}, OPEN_TREE_CLONE{recursive}) -> {to} fstat == {rootfs}", show(path))
            }
            Self::VerifyOwn => {
                f.write_str("setns(/proc/self/ns/mnt, CLONE_NEWNS): / must be the same before and after")
            }
            Self::Propagation { flags } => {
                write!(f, "mount_setattr(\"/\", AT_RECURSIVE, propagation={})", propagation(*flags))
            }
            Self::OpenPlace { path, rootfs, to } => {
                write!(f, "open({:?}, O_PATH|O_DIRECTORY) -> {to} fstat == {rootfs}", show(path))
            }
            Self::Attach { root, at: None } => write!(f, "move_mount({root} -> \"/\")"),
            Self::Attach { root, at: Some(place) } => write!(f, "move_mount({root} -> {place})"),
            Self::CriuDir { path } => write!(f, "mkdir({}, 0755)", show(path)),
            Self::AttachAt { tree, path } => write!(f, "move_mount({tree}, {})", show(path)),
            Self::Pivot { root } => {
                write!(f, "fchdir({root}) pivot_root(\".\", \".\") umount2(\".\", MNT_DETACH)")
            }
            Self::Hide { path } => write!(f, "umount2({}, MNT_DETACH)", show(path)),
            Self::Chroot { root } => write!(f, "fchdir({root}) chroot(\".\")"),
            Self::Attributes { root, change } => write!(f, "{change} on {root}"),
        }
    }

    fn why(&self) -> &'static str {
        match self {
            Self::CriuDir { .. } => "criu wants the rootfs to be a mount of its own (criu(8))",
            Self::AttachAt { .. } => {
                "in a mount namespace that ends with criu: the host never sees this mount, so nothing is to be unmounted (mount_namespaces(7))"
            }
            Self::Open { .. } => {
                "an unprivileged user may copy mounts only in a mount namespace of the same user namespace; the path is resolved again and must be the rootfs that was opened (mount_namespaces(7))"
            }
            Self::VerifyOwn => {
                "in a plain chroot the namespace's root stays the host's, and `exec` would land there: then nothing runs (setns(2), chroot(2))"
            }
            Self::Propagation { .. } => {
                "mounts made here must not appear on the host (mount_namespaces(7), shared subtrees)"
            }
            Self::OpenPlace { .. } => {
                "createContainer hooks find the container's mounts at the bundle's rootfs; proved to be the directory that was opened (config.md, POSIX-platform Hooks)"
            }
            Self::Attach { at: Some(_), .. } => {
                "the copy of the rootfs enters this mount namespace (mount_namespaces(7))"
            }
            Self::Attach { .. } => {
                "the copy of the rootfs enters this mount namespace, on top of the host's tree (mount_namespaces(7))"
            }
            Self::Pivot { .. } => {
                "the container's root becomes / and the host's tree is let go: unlike chroot, there is nothing to climb back to (pivot_root(2))"
            }
            Self::Hide { .. } => {
                "the host's procfs and sysfs stay mounted below a chroot, and where one is fully visible, user namespaces inside may mount another (mount_namespaces(7))"
            }
            Self::Chroot { .. } => {
                "only where pivot_root cannot work (an initramfs): weaker, since the old root stays mounted (chroot(2))"
            }
            Self::Attributes { change, .. } if change.attr.attr_clr & libc::MOUNT_ATTR_RDONLY != 0 => {
                "the places of later mounts are still to be made on it; it is read-only at the end (mount_setattr(2))"
            }
            Self::Attributes { .. } => {
                "nothing can be planted for the next start; what must be written goes to a tmpfs (mount_setattr(2), MOUNT_ATTR_RDONLY)"
            }
        }
    }

    fn pointer(&self) -> Option<String> {
        match self {
            Self::Open { .. }
            | Self::OpenPlace { .. }
            | Self::CriuDir { .. }
            | Self::Attach { .. }
            | Self::AttachAt { .. }
            | Self::VerifyOwn
            | Self::Propagation { .. }
            | Self::Attributes { .. }
            | Self::Pivot { .. }
            | Self::Hide { .. }
            | Self::Chroot { .. } => None,
        }
    }

    fn remedy(&self, errno: Errno, _call: Call) -> Option<&'static str> {
        match (self, errno) {
            (Self::VerifyOwn, Errno::EXDEV) => Some(
                "safebox was started in a plain chroot, where `exec` would land in the host's root: start it outside, or enter the tree with pivot_root (unshare --mount, systemd-nspawn)",
            ),
            (Self::OpenPlace { .. }, Errno::EACCES) => Some(
                "the container's root may not pass the directories above the rootfs, where createContainer hooks look for its mounts: chmod them, or put the bundle elsewhere",
            ),
            (Self::Pivot { .. }, Errno::EINVAL) => {
                Some("pivot_root cannot work on an initramfs: use --no-pivot")
            }
            (
                Self::Open { .. }
                | Self::OpenPlace { .. }
                | Self::CriuDir { .. }
                | Self::Attach { .. }
                | Self::AttachAt { .. }
                | Self::VerifyOwn
                | Self::Propagation { .. }
                | Self::Attributes { .. }
                | Self::Pivot { .. }
                | Self::Hide { .. }
                | Self::Chroot { .. },
                _,
            ) => None,
        }
    }

    fn on_host(&self) -> &'static [OnHost] {
        match self {
            Self::CriuDir { .. } => &[OnHost::Creates, OnHost::Opens],
            Self::Open { .. } | Self::OpenPlace { .. } => &[OnHost::Opens],
            Self::Attach { .. }
            | Self::AttachAt { .. }
            | Self::VerifyOwn
            | Self::Propagation { .. }
            | Self::Attributes { .. }
            | Self::Pivot { .. }
            | Self::Hide { .. }
            | Self::Chroot { .. } => &[],
        }
    }

    fn calls(&self) -> Vec<&'static str> {
        match self {
            Self::Open { .. } => vec!["open_tree", "newfstatat", "newfstatat"],
            Self::VerifyOwn => vec!["statx", "openat", "setns", "close", "statx"],
            Self::Propagation { .. } | Self::Attributes { .. } => vec!["mount_setattr"],
            Self::OpenPlace { .. } => vec!["openat", "newfstatat", "newfstatat"],
            Self::Attach { .. } => vec!["move_mount"],
            Self::Pivot { .. } => vec!["fchdir", "pivot_root", "umount2"],
            Self::Hide { .. } => {
                const COVER: [&str; 7] =
                    ["fsopen?", "fsconfig?", "fsconfig?", "fsmount?", "close?", "move_mount?", "close?"];
                [&["umount2*"], &COVER[..]].concat()
            }
            Self::Chroot { .. } => vec!["fchdir", "chroot"],
            Self::CriuDir { .. } => vec!["mkdirat"],
            Self::AttachAt { .. } => vec!["openat", "move_mount", "close", "close"],
        }
    }
}
