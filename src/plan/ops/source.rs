//! Rows that open the sources of mounts: host paths, devices, places inside the container.

use std::ffi::CString;
use std::fmt;

use super::{OnHost, Op, RowLabel, WALK};
use crate::plan::call::Call;
use crate::plan::layer::Layer;
use crate::plan::place::DeviceNode;
use crate::plan::slot::Slot;
use crate::plan::words::{below, resolved, slot_name};
use crate::sys::Errno;
use crate::sys::cstr::show;

/// What rows do about the sources of mounts.
#[derive(Debug, Clone)]
#[allow(missing_docs)] // each variant's `why` documents it, and users see that
pub enum SourceOp {
    Tree {
        source: CString,
        at: Option<Slot>,
        recursive: bool,
        device: Option<DeviceNode>,
        to: Slot,
    },
    /// A source of a bind mount: no symlink of another user is followed. A detached copy of it (`recursive` or not), or
    /// where that is for Init to make a descriptor that names it.
    Path {
        path: CString,
        /// A policy file has judged this path: no symlink at all is followed.
        judged: bool,
        recursive: Option<bool>,
        to: Slot,
    },
    /// A detached copy of a place inside the container.
    Inside {
        root: Slot,
        path: CString,
        recursive: bool,
        to: Slot,
    },
    /// One more descriptor of a tree that is about to be moved.
    KeepFd {
        tree: Slot,
        to: Slot,
    },
}

impl Op for SourceOp {
    fn label(&self) -> RowLabel {
        match self {
            Self::Tree { to, .. } => (Layer::Mounts, "source", Some(slot_name(to))),
            Self::Path { path, .. } => (Layer::Mounts, "source", Some(show(path).into_owned())),
            Self::Inside { root, path, .. } => (Layer::Mounts, "source", below(root, path)),
            Self::KeepFd { tree, .. } => (Layer::ReadOnly, "hold", Some(slot_name(tree))),
        }
    }

    fn print(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tree { source, at, recursive, device, to } => {
                let from = at.as_ref().map_or_else(|| format!("{:?}", show(source)), |s| s.to_string());
                let recursive = if *recursive { "|AT_RECURSIVE" } else { "" };
                write!(f, "open_tree({from}, OPEN_TREE_CLONE{recursive}) -> {to}")?;
                match device {
                    Some(device) => write!(f, " fstat == {device}"),
                    None => Ok(()),
                }
            }
            Self::Path { path, judged, recursive, to } => {
                match judged {
                    true => write!(f, "openat2({:?}, RESOLVE_NO_SYMLINKS)", show(path))?,
                    false => write!(f, "openat2({:?}), no symlink of another user", show(path))?,
                }
                match recursive {
                    Some(true) => write!(f, ", open_tree(OPEN_TREE_CLONE|AT_RECURSIVE) -> {to}"),
                    Some(false) => write!(f, ", open_tree(OPEN_TREE_CLONE) -> {to}"),
                    None => write!(f, " -> {to}"),
                }
            }
            Self::Inside { root, path, recursive, to } => {
                let recursive = if *recursive { "|AT_RECURSIVE" } else { "" };
                write!(f, "openat2({root}/{}) open_tree(OPEN_TREE_CLONE{recursive}) -> {to}", show(path))
            }
            Self::KeepFd { tree, to } => write!(f, "fcntl({tree}, F_DUPFD_CLOEXEC) -> {to}"),
        }
    }

    fn why(&self) -> &'static str {
        match self {
            Self::Tree { device: Some(_), .. } => {
                "a copy of the host's device, proved to be that device: a planted /dev/null cannot take its place (CVE-2025-31133)"
            }
            Self::Tree { .. } => {
                "the host path is resolved once, now; later rows only hold the copy, so swapping the path changes nothing (CVE-2021-30465)"
            }
            Self::Path { judged: true, .. } => {
                "the policy file has judged this path, which has no symlinks: a directory on it that is exchanged for a symlink afterwards is refused, so what is mounted is what was judged (openat2(2), RESOLVE_NO_SYMLINKS)"
            }
            Self::Path { .. } => {
                "the host path is resolved once, and a symlink of another user is followed only to files of that user: write access to a shared directory does not decide what the container sees (symlink(7))"
            }
            Self::Inside { .. } => {
                "the source lies below the rootfs: it is taken with the mounts that are listed before it (config.md, Mounts)"
            }
            Self::KeepFd { .. } => {
                "it becomes read-only last: mounts, devices and the working directory may have to be made on it (mount_setattr(2), MOUNT_ATTR_RDONLY)"
            }
        }
    }

    fn pointer(&self) -> Option<String> {
        match self {
            Self::Tree { device: Some(_), .. } => Some("/linux/devices".into()),
            Self::Tree { .. } | Self::Path { .. } | Self::Inside { .. } | Self::KeepFd { .. } => None,
        }
    }

    fn resolves(&self) -> Option<(&'static str, String)> {
        match self {
            Self::Inside { root, path, .. } => Some(resolved(root, path)),
            Self::Path { path, .. } => Some(("", path.to_string_lossy().into_owned())),
            Self::Tree { .. } | Self::KeepFd { .. } => None,
        }
    }

    fn remedy(&self, errno: Errno, _call: Call) -> Option<&'static str> {
        match (self, errno) {
            (Self::Tree { device: Some(_), .. }, Errno::ENODEV) => {
                Some("the host's /dev has something else at this path: repair it first")
            }
            (Self::Path { judged: true, .. }, Errno::ELOOP) => Some(
                "a symlink is on this path that was not there when the policy file judged it: start it again, and find the user who can write the directories on it",
            ),
            (Self::Tree { .. } | Self::Path { .. } | Self::Inside { .. }, Errno::ENOENT) => {
                Some("the source of the bind mount does not exist on the host")
            }
            (Self::Tree { .. } | Self::Path { .. } | Self::Inside { .. } | Self::KeepFd { .. }, _) => None,
        }
    }

    fn on_host(&self) -> &'static [OnHost] {
        match self {
            Self::Tree { at: None, .. } | Self::Path { .. } => &[OnHost::Opens],
            Self::Tree { at: Some(_), .. } | Self::Inside { .. } | Self::KeepFd { .. } => &[],
        }
    }

    fn calls(&self) -> Vec<&'static str> {
        match self {
            Self::Tree { device: Some(_), .. } => vec!["open_tree", "newfstatat"],
            Self::Tree { .. } => vec!["open_tree"],
            Self::Path { judged: true, recursive: Some(_), .. } => vec!["openat2", "open_tree", "close"],
            Self::Path { judged: true, recursive: None, .. } => vec!["openat2"],
            Self::Path { recursive: Some(_), .. } => vec!["openat2", WALK, "open_tree", "close"],
            Self::Path { recursive: None, .. } => vec!["openat2", WALK],
            Self::Inside { .. } => ["openat2", WALK, "open_tree", "close"].to_vec(),
            Self::KeepFd { .. } => vec!["fcntl"],
        }
    }
}
