//! Rows of mounts inside the container and of their sources.

use std::ffi::CString;
use std::fmt;

use super::{FREE, NOT_OWNED, OnHost, Op, RESOLVE, RowLabel, WALK};
use crate::plan::call::Call;
use crate::plan::layer::Layer;
use crate::plan::place::{SetAttr, Target, TargetKind};
use crate::plan::slot::Slot;
use crate::plan::words::{place, print_data, resolved, set_attrs, slot_name};
use crate::sys::Errno;
use crate::sys::cstr::show;
use crate::tables::mount_options::describe_attrs;

/// What rows do about mounts.
#[derive(Debug, Clone)]
#[allow(missing_docs)] // each variant's `why` documents it, and users see that
pub enum MountOp {
    New {
        fs: CString,
        data: Vec<(CString, Option<CString>)>,
        attrs: u64,
        after: Vec<SetAttr>,
        target: Option<Target>,
        keep: Option<Slot>,
    },
    Move {
        tree: Slot,
        before: Vec<SetAttr>,
        target: Target,
    },
    Remount {
        target: Target,
        data: Vec<(CString, Option<CString>)>,
        changes: Vec<SetAttr>,
        keep: Option<Slot>,
    },
}

impl Op for MountOp {
    fn label(&self) -> RowLabel {
        match self {
            Self::New { target: Some(target), .. } => (Layer::Mounts, "mount", place(target)),
            Self::New { fs, keep, .. } => {
                (Layer::Mounts, "new", keep.as_ref().map(slot_name).or_else(|| Some(show(fs).into_owned())))
            }
            Self::Move { target, .. } => (Layer::Mounts, "mount", place(target)),
            Self::Remount { target, .. } => (Layer::ReadOnly, "remount", place(target)),
        }
    }

    fn print(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::New { fs, data, attrs, after, target, keep } => {
                write!(f, "fsopen({:?}) ", show(fs))?;
                print_data(f, data)?;
                write!(f, "fsmount({}) {}", describe_attrs(*attrs), set_attrs(after))?;
                match (target, keep) {
                    (Some(t), _) => write!(f, "move_mount(-> {t})"),
                    (None, Some(k)) => write!(f, "-> {k}"),
                    (None, None) => Ok(()),
                }
            }
            Self::Move { tree, before, target } => {
                write!(f, "{}move_mount({tree} -> {target})", set_attrs(before))
            }
            Self::Remount { target, data, changes, .. } => {
                write!(f, "openat2({target}, RESOLVE_IN_ROOT) ")?;
                if !data.is_empty() {
                    f.write_str("fspick() ")?;
                    print_data(f, data)?;
                    f.write_str("fsconfig(FSCONFIG_CMD_RECONFIGURE) ")?;
                }
                f.write_str(set_attrs(changes).trim_end())
            }
        }
    }

    fn why(&self) -> &'static str {
        match self {
            Self::New { fs, target: None, .. } if fs.to_bytes() == b"proc" => {
                "a private procfs that nothing can be mounted over: writes that matter go through it (CVE-2019-16884, CVE-2025-52881)"
            }
            Self::New { fs, .. } => match fs.to_bytes() {
                b"proc" => {
                    "shows the processes of this pid namespace only; the destination must not be a link (CVE-2019-19921)"
                }
                b"sysfs" => "shows the devices of this network namespace (sysfs(5))",
                b"devpts" => {
                    "the container's own terminals: none of the host's can be opened (pts(4), newinstance)"
                }
                b"mqueue" => "the message queues of this IPC namespace (mq_overview(7))",
                b"cgroup" | b"cgroup2" => "shows the container its own limits, read-only (CVE-2022-0492)",
                b"tmpfs" => {
                    "a place to write that is empty at every start, bounded, and cannot hold programs or devices where so marked (tmpfs(5))"
                }
                _ => "a mount of the config (config.md, Mounts)",
            },
            Self::Move { .. } => {
                "the copy made before clone is put below the container's root, wherever links there point (CVE-2021-30465)"
            }
            Self::Remount { .. } => {
                "changes the attributes of what is already mounted there (mount_setattr(2))"
            }
        }
    }

    fn pointer(&self) -> Option<String> {
        match self {
            Self::New { .. } | Self::Move { .. } | Self::Remount { .. } => None,
        }
    }

    fn resolves(&self) -> Option<(&'static str, String)> {
        match self {
            Self::New { target: Some(Target { root, path, .. }), .. }
            | Self::Move { target: Target { root, path, .. }, .. }
            | Self::Remount { target: Target { root, path, .. }, .. } => Some(resolved(root, path)),
            Self::New { .. } => None,
        }
    }

    fn remedy(&self, errno: Errno, call: Call) -> Option<&'static str> {
        match (self, errno) {
            (Self::New { .. } | Self::Move { .. }, Errno::ELOOP) if call == Call::SymlinkTarget => Some(
                "this must be mounted on ordinary directory, and the rootfs has a symbolic link there: refused, since it may lead anywhere (CVE-2019-19921)",
            ),
            (Self::New { .. } | Self::Move { .. }, Errno::EROFS) => Some(
                "it is missing, and what it lies on is read-only: create it in the rootfs, or in the source of the bind mount above it",
            ),
            (Self::New { .. } | Self::Move { .. }, Errno::EACCES | Errno::EOVERFLOW) => Some(NOT_OWNED),
            (Self::New { fs, .. }, Errno::EPERM) if fs.to_bytes() == b"proc" => Some(
                "a new procfs needs a pid namespace of the same user namespace (with a joined one: --allow host-user), and is only allowed where the present one is fully visible: in a container, unmask /proc first",
            ),
            (Self::New { fs, .. }, Errno::EPERM) if fs.to_bytes() == b"sysfs" => Some(
                "sysfs needs a network namespace of the same user namespace: give the container its own, or bind /sys",
            ),
            (Self::New { fs, .. }, Errno::EPERM) if fs.to_bytes() == b"mqueue" => Some(
                "mqueue needs an IPC namespace of the same user namespace: give the container its own, or leave the mount out",
            ),
            (Self::New { .. }, Errno::ENODEV) => {
                Some("the kernel does not know this file system: load its module, or correct `type`")
            }
            (Self::New { .. }, Errno::EINVAL) if call == Call::Fsconfig => {
                Some("the file system does not know this option")
            }
            (Self::New { .. } | Self::Move { .. } | Self::Remount { .. }, _) => None,
        }
    }

    fn on_host(&self) -> &'static [OnHost] {
        match self {
            Self::New { .. } | Self::Move { .. } | Self::Remount { .. } => &[],
        }
    }

    fn calls(&self) -> Vec<&'static str> {
        match self {
            Self::New { data, after, target, keep, .. } => {
                // A tmpfs without a mode gets that of the directory it covers.
                let inherits = self.inherits_mode();
                let mut calls = Vec::new();
                calls
                    .extend(inherits.then_some(["openat2?", WALK, "newfstatat?", "close?"]).iter().flatten());
                calls.push("fsopen");
                calls.extend(data.iter().map(|_| "fsconfig"));
                calls.extend(inherits.then_some("fsconfig?"));
                calls.extend(["fsconfig", "fsmount", "close"]);
                calls.extend(after.iter().map(|_| "mount_setattr"));
                if let Some(target) = target {
                    calls.extend(attaches(target.kind));
                }
                calls.extend(keep.is_none().then_some("close"));
                calls
            }
            Self::Move { before, target, .. } => {
                let mut calls: Vec<_> = asks(target.kind).into_iter().collect();
                calls.extend(before.iter().map(|_| "mount_setattr"));
                calls.extend(attaches(target.kind));
                calls.push("close");
                calls
            }
            Self::Remount { data, changes, keep, .. } => {
                let mut calls = RESOLVE.to_vec();
                if !data.is_empty() {
                    calls.push("fspick");
                    calls.extend(data.iter().map(|_| "fsconfig"));
                    calls.extend(["fsconfig", "close"]);
                }
                calls.extend(changes.iter().map(|_| "mount_setattr"));
                calls.extend(keep.is_none().then_some("close"));
                calls
            }
        }
    }
}

impl MountOp {
    /// Whether this is a tmpfs that gets the mode of the directory it covers, as with runc: the config gives none.
    pub fn inherits_mode(&self) -> bool {
        let Self::New { fs, data, target: Some(_), .. } = self else { return false };
        fs.to_bytes() == b"tmpfs" && data.iter().all(|(key, _)| key.to_bytes() != b"mode")
    }
}

/// How a tree gets to its target: a new entry of the plan's own file system is made and named, unless its name is taken.
fn attaches(kind: TargetKind) -> Vec<&'static str> {
    let found = ["openat2?", WALK, "statx?", "statx?", "fstatfs?", "fstatfs?", "move_mount", "close?"];
    match kind {
        TargetKind::NewDir => [&["mkdirat"], &found[..]].concat(),
        TargetKind::NewFile => [&["mknodat"], &found[..]].concat(),
        TargetKind::Dir | TargetKind::File | TargetKind::AsSource | TargetKind::Proc => {
            RESOLVE.iter().chain(&FREE).copied().chain(["move_mount", "close"]).collect()
        }
    }
}

/// A mount whose target is made as its source is looks at the source first.
pub(super) fn asks(kind: TargetKind) -> Option<&'static str> {
    matches!(kind, TargetKind::AsSource | TargetKind::Proc).then_some("newfstatat")
}
