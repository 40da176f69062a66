//! Rows of device nodes, symlinks in /dev and the device filter.

use std::ffi::CString;
use std::fmt;
use std::rc::Rc;

use super::{COPIED, COPIES, OnHost, Op, RESOLVE, RowLabel};
use crate::cgroup::devices::BpfInsn;
use crate::plan::call::Call;
use crate::plan::layer::Layer;
use crate::plan::place::DevFile;
use crate::plan::slot::Slot;
use crate::plan::words::{below, resolved};
use crate::sys::Errno;
use crate::sys::cstr::show;

/// What rows do about devices.
#[derive(Debug, Clone)]
#[allow(missing_docs)] // each variant's `why` documents it, and users see that
pub enum DeviceOp {
    Filter {
        cgroup: Slot,
        program: Rc<Vec<BpfInsn>>,
    },
    Node {
        root: Slot,
        path: CString,
        parent: Option<CString>,
        mode: u32,
        dev: u64,
        uid: u32,
        gid: u32,
    },
    Symlink {
        root: Slot,
        path: CString,
        to: CString,
    },
    /// A link in place of whatever has its name.
    Relink {
        root: Slot,
        path: CString,
        to: CString,
    },
    /// A tmpfs that holds these nodes and nothing else.
    Nodes {
        nodes: Vec<DevFile>,
        to: Slot,
    },
    /// A detached mount of each of these nodes.
    NodeTrees {
        nodes: Slot,
        root: Slot,
        trees: Vec<(CString, Slot)>,
    },
}

impl Op for DeviceOp {
    fn label(&self) -> RowLabel {
        match self {
            Self::Filter { .. } => (Layer::Devices, "device-filter", None),
            Self::Node { root, path, .. } => (Layer::Devices, "device", below(root, path)),
            Self::Relink { root, path, .. } | Self::Symlink { root, path, .. } => {
                (Layer::Devices, "symlink", below(root, path))
            }
            Self::Nodes { .. } => (Layer::Devices, "device-nodes", None),
            Self::NodeTrees { .. } => (Layer::Devices, "device-trees", None),
        }
    }

    fn print(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Filter { cgroup, program } => {
                write!(
                    f,
                    "bpf(BPF_PROG_LOAD, CGROUP_DEVICE, {} instructions) bpf(BPF_PROG_ATTACH, {cgroup})",
                    program.len()
                )
            }
            Self::Node { root, path, mode, dev, .. } => {
                write!(
                    f,
                    "mknodat({root}/{}, {mode:#o}, {}:{})",
                    show(path),
                    libc::major(*dev),
                    libc::minor(*dev)
                )
            }
            Self::Relink { root, path, to } => {
                write!(f, "symlinkat({:?}, {root}/{1}), in place of what is there", show(to), show(path))
            }
            Self::Symlink { root, path, to } => write!(f, "symlinkat({:?}, {root}/{})", show(to), show(path)),
            Self::Nodes { nodes, to } => {
                f.write_str("fsopen(\"tmpfs\") fsmount(MOUNT_ATTR_NOSUID|MOUNT_ATTR_NOEXEC)")?;
                nodes.iter().try_for_each(|node| write!(f, " mknodat({node})"))?;
                write!(f, " mount_setattr(set=MOUNT_ATTR_RDONLY) -> {to}")
            }
            Self::NodeTrees { nodes, trees, .. } => {
                for (name, to) in trees {
                    write!(f, "open_tree({nodes}/{}, OPEN_TREE_CLONE) -> {to} ", show(name))?;
                }
                write!(f, "close({nodes})")
            }
        }
    }

    fn why(&self) -> &'static str {
        match self {
            Self::Filter { .. } => {
                "a device node gives access to a driver of the kernel: only the listed devices can be opened (config-linux.md, Allowed Device list)"
            }
            Self::Node { .. } => {
                "the few devices that every program expects (config-linux.md, Default Devices)"
            }
            Self::Relink { .. } => {
                "/dev/ptmx must lead to the container's own devpts, whatever the rootfs has at that path (config-linux.md, Default Devices)"
            }
            Self::Symlink { .. } => {
                "names that programs expect in /dev (config-linux.md, Dev symbolic links)"
            }
            Self::Nodes { nodes, .. } if nodes.iter().all(|node| node.dev == 0) => {
                "an unprivileged user cannot make device nodes, and inotify on the host's /dev/null would report each access: an empty file covers masked files (inotify(7))"
            }
            Self::Nodes { .. } => {
                "the container gets device nodes of its own, since inotify on the host's nodes would report each access (inotify(7)); the runtime makes them, since nodes on a tmpfs of a user namespace cannot be opened (mount_namespaces(7), mknod(2))"
            }
            Self::NodeTrees { .. } => {
                "each node is mounted alone; the tmpfs itself is not mounted in the container, but before Linux 6.15 it is attached to the root while its nodes are copied (mount_namespaces(7))"
            }
        }
    }

    fn pointer(&self) -> Option<String> {
        match self {
            Self::Filter { .. } => Some("/linux/resources/devices".into()),
            Self::Node { .. } | Self::Nodes { .. } => Some("/linux/devices".into()),
            Self::Symlink { .. } | Self::Relink { .. } | Self::NodeTrees { .. } => None,
        }
    }

    fn resolves(&self) -> Option<(&'static str, String)> {
        match self {
            Self::Node { root, path, .. } => Some(resolved(root, path)),
            Self::Filter { .. }
            | Self::Symlink { .. }
            | Self::Relink { .. }
            | Self::Nodes { .. }
            | Self::NodeTrees { .. } => None,
        }
    }

    fn remedy(&self, errno: Errno, _call: Call) -> Option<&'static str> {
        match (self, errno) {
            (Self::Nodes { .. }, Errno::EPERM) => Some(
                "mknod is refused to safebox itself: it needs CAP_MKNOD, and a device cgroup that allows it",
            ),
            (
                Self::Filter { .. }
                | Self::Node { .. }
                | Self::Symlink { .. }
                | Self::Relink { .. }
                | Self::Nodes { .. }
                | Self::NodeTrees { .. },
                _,
            ) => None,
        }
    }

    fn on_host(&self) -> &'static [OnHost] {
        match self {
            Self::Filter { .. }
            | Self::Node { .. }
            | Self::Symlink { .. }
            | Self::Relink { .. }
            | Self::Nodes { .. }
            | Self::NodeTrees { .. } => &[],
        }
    }

    fn calls(&self) -> Vec<&'static str> {
        match self {
            Self::Filter { .. } => vec!["bpf", "bpf", "close"],
            Self::Node { parent, uid, gid, .. } => {
                let mut calls = if parent.is_some() { RESOLVE.to_vec() } else { Vec::new() };
                calls.extend(["umask", "mknodat", "umask", "openat", "newfstatat"]);
                calls.extend(((*uid, *gid) != (0, 0)).then_some("fchownat"));
                calls.push("close");
                calls.extend(parent.is_some().then_some("close"));
                calls
            }
            Self::Symlink { .. } => vec!["symlinkat"],
            Self::Relink { .. } => vec!["symlinkat", "readlinkat?", "unlinkat?", "unlinkat?", "symlinkat?"],
            Self::Nodes { nodes, .. } => {
                let mut calls = vec!["fsopen", "fsconfig", "fsmount", "close", "umask"];
                for node in nodes {
                    calls.push("mknodat");
                    calls.extend(((node.uid, node.gid) != (0, 0)).then_some("fchownat"));
                }
                calls.extend(["umask", "mount_setattr"]);
                calls
            }
            Self::NodeTrees { trees, .. } => {
                let opened = trees.iter().skip(1).map(|_| "open_tree");
                COPIES.into_iter().chain(opened).chain(COPIED).collect()
            }
        }
    }
}
