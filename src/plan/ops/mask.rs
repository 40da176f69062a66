//! Rows that cover paths of /proc and /sys, make them read-only, or write sysctls.

use std::ffi::CString;
use std::fmt;

use super::{OnHost, Op, RowLabel, WALK};
use crate::plan::call::Call;
use crate::plan::layer::Layer;
use crate::plan::slot::Slot;
use crate::plan::words::{below, resolved, value};
use crate::sys::Errno;
use crate::sys::cstr::show;

/// What rows do about masked paths and sysctls.
#[derive(Debug, Clone)]
#[allow(missing_docs)] // each variant's `why` documents it, and users see that
pub enum MaskOp {
    OpenNull { dev: Slot, to: Slot },
    EmptyDir { to: Slot },
    Cover { root: Slot, path: CString, null: Slot, empty: Slot },
    ReadOnly { root: Slot, path: CString },
    Sysctl { proc: Slot, path: CString, value: Vec<u8> },
}

impl Op for MaskOp {
    fn label(&self) -> RowLabel {
        match self {
            Self::OpenNull { .. } => (Layer::Masks, "null", None),
            Self::EmptyDir { .. } => (Layer::Masks, "empty-dir", None),
            Self::Cover { root, path, .. } => (Layer::Masks, "mask", below(root, path)),
            Self::ReadOnly { root, path } => (Layer::Masks, "readonly", below(root, path)),
            Self::Sysctl { path, .. } => {
                (Layer::Masks, "sysctl", Some(show(path).trim_start_matches("sys/").replace('/', ".")))
            }
        }
    }

    fn print(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OpenNull { dev, to } => {
                write!(f, "openat({dev}/null, O_PATH|O_NOFOLLOW) -> {to} fstat == char 1:3")
            }
            Self::EmptyDir { to } => {
                write!(
                    f,
                    "fsopen(\"tmpfs\") fsconfig(size=4k) fsconfig(mode=0555) fsmount(MOUNT_ATTR_RDONLY) -> {to}"
                )
            }
            Self::Cover { root, path, null, empty } => {
                write!(
                    f,
                    "openat2({root}/{}) open_tree({null} or {empty}, OPEN_TREE_CLONE) move_mount",
                    show(path)
                )
            }
            Self::ReadOnly { root, path } => {
                write!(
                    f,
                    "openat2({root}/{}) open_tree(OPEN_TREE_CLONE|AT_RECURSIVE) mount_setattr(set=MOUNT_ATTR_RDONLY) move_mount",
                    show(path)
                )
            }
            Self::Sysctl { proc, path, value: v } => {
                write!(f, "openat2({proc}/{}) write({})", show(path), value(v))
            }
        }
    }

    fn why(&self) -> &'static str {
        match self {
            Self::OpenNull { .. } => {
                "the container's own /dev/null, proved to be it: a planted one cannot take its place under a mask (CVE-2025-31133)"
            }
            Self::EmptyDir { .. } => {
                "an empty read-only directory, to cover directories that are masked (config-linux.md, Masked Paths)"
            }
            Self::Cover { .. } => {
                "covers what leaks or controls the host: a /dev/null of the container's own, or an empty directory (CVE-2025-31133)"
            }
            Self::ReadOnly { .. } => {
                "still readable, no longer a control of the host (config-linux.md, Readonly Paths)"
            }
            Self::Sysctl { .. } => {
                "kernel settings that belong to the new namespaces, written through a verified procfs (CVE-2022-0811)"
            }
        }
    }

    fn pointer(&self) -> Option<String> {
        match self {
            Self::Sysctl { .. } => Some("/linux/sysctl".into()),
            Self::OpenNull { .. } | Self::EmptyDir { .. } | Self::Cover { .. } | Self::ReadOnly { .. } => {
                None
            }
        }
    }

    fn resolves(&self) -> Option<(&'static str, String)> {
        match self {
            Self::Cover { root, path, .. } | Self::ReadOnly { root, path } => Some(resolved(root, path)),
            Self::OpenNull { .. } | Self::EmptyDir { .. } | Self::Sysctl { .. } => None,
        }
    }

    fn remedy(&self, errno: Errno, _call: Call) -> Option<&'static str> {
        match (self, errno) {
            (Self::Sysctl { .. }, Errno::ENOENT) => Some("this kernel has no such setting"),
            (Self::Sysctl { .. }, Errno::EACCES | Errno::EPERM) => {
                Some("this setting belongs to the host, not to a namespace of the container")
            }
            (
                Self::OpenNull { .. }
                | Self::EmptyDir { .. }
                | Self::Cover { .. }
                | Self::ReadOnly { .. }
                | Self::Sysctl { .. },
                _,
            ) => None,
        }
    }

    fn on_host(&self) -> &'static [OnHost] {
        match self {
            Self::OpenNull { .. } => &[OnHost::Opens],
            Self::EmptyDir { .. } | Self::Cover { .. } | Self::ReadOnly { .. } | Self::Sysctl { .. } => &[],
        }
    }

    fn calls(&self) -> Vec<&'static str> {
        match self {
            Self::OpenNull { .. } => vec!["openat", "newfstatat"],
            Self::EmptyDir { .. } => vec!["fsopen", "fsconfig", "fsconfig", "fsconfig", "fsmount", "close"],
            // What is not there needs nothing; the first masked directory takes the mount itself, and the root cannot
            // be covered.
            Self::Cover { .. } | Self::ReadOnly { .. } => vec![
                "openat2",
                WALK,
                "statx?",
                "statx?",
                "open_tree?",
                "mount_setattr?",
                "move_mount?",
                "close?",
                "close?",
            ],
            Self::Sysctl { .. } => vec!["openat2", "write", "close"],
        }
    }
}
