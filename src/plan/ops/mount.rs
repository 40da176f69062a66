//! Rows of mounts inside the container and of their sources.

use std::ffi::CString;
use std::fmt;
use std::rc::Rc;

use super::{FREE, Label, NOT_OWNED, Op, RESOLVE, WALK};
use crate::plan::call::Call;
use crate::plan::layer::Layer;
use crate::plan::place::{DeviceNode, SetAttr, Target, TargetKind};
use crate::plan::slot::Slot;
use crate::plan::words::{below, place, print_data, resolved, set_attrs, slot_name};
use crate::sys::Errno;
use crate::sys::cstr::show;
use crate::tables::mount_options::describe_attrs;

/// What rows do about mounts.
#[derive(Debug, Clone)]
#[allow(missing_docs)] // each variant's `why` documents it, and users see that
pub enum MountOp {
    OpenTree {
        source: CString,
        at: Option<Slot>,
        recursive: bool,
        device: Option<DeviceNode>,
        to: Slot,
    },
    /// A source of a bind mount: no symlink of another user is followed. A detached copy of it (`recursive` or not), or
    /// where that is for Init to make a descriptor that names it.
    OpenSource {
        path: CString,
        recursive: Option<bool>,
        to: Slot,
    },
    /// A file on the tmpfs of secrets, with what is in the file in memory `from`.
    Secret {
        tmpfs: Slot,
        /// Directories on the way, outermost first.
        dirs: Vec<CString>,
        path: CString,
        from: Slot,
        size: Option<u64>,
        mode: u32,
        owner: (u32, u32),
    },
    /// A detached copy of a place inside the container.
    OpenInside {
        root: Slot,
        path: CString,
        recursive: bool,
        to: Slot,
    },
    OpenDir {
        root: Slot,
        path: CString,
        to: Slot,
    },
    MakeTarget {
        target: Target,
    },
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
    /// A file of the runtime's, shown in place of one of the rootfs.
    File {
        root: Slot,
        /// Of the file, of its directory, and in that.
        path: CString,
        dir: CString,
        name: CString,
        data: Vec<(CString, Option<CString>)>,
        content: Rc<Vec<u8>>,
    },
    /// One more descriptor of a tree that is about to be moved.
    KeepFd {
        tree: Slot,
        to: Slot,
    },
    CopyUp {
        root: Slot,
        path: CString,
        tree: Slot,
        mode: bool,
        /// What cannot be read or made is an error; otherwise it is left out.
        strict: bool,
    },
    Remount {
        target: Target,
        data: Vec<(CString, Option<CString>)>,
        changes: Vec<SetAttr>,
        keep: Option<Slot>,
    },
}

impl Op for MountOp {
    fn label(&self) -> Label {
        match self {
            Self::OpenTree { to, .. } => (Layer::Mounts, "source", Some(slot_name(to))),
            Self::OpenSource { path, .. } => (Layer::Mounts, "source", Some(show(path).into_owned())),
            Self::OpenDir { root, path, .. } => (Layer::Mounts, "dir", below(root, path)),
            Self::MakeTarget { target } => (Layer::Mounts, "target", place(target)),
            Self::New { target: Some(target), .. } => (Layer::Mounts, "mount", place(target)),
            Self::New { fs, keep, .. } => {
                (Layer::Mounts, "new", keep.as_ref().map(slot_name).or_else(|| Some(show(fs).into_owned())))
            }
            Self::Move { target, .. } => (Layer::Mounts, "mount", place(target)),
            Self::File { root, path, .. } => (Layer::Mounts, "mount", below(root, path)),
            Self::Secret { path, .. } => (Layer::Mounts, "secret", Some(show(path).into_owned())),
            Self::OpenInside { root, path, .. } => (Layer::Mounts, "source", below(root, path)),
            Self::KeepFd { tree, .. } => (Layer::ReadOnly, "hold", Some(slot_name(tree))),
            Self::CopyUp { root, path, .. } => (Layer::Mounts, "copy-up", below(root, path)),
            Self::Remount { target, .. } => (Layer::ReadOnly, "remount", place(target)),
        }
    }

    fn print(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OpenTree { source, at, recursive, device, to } => {
                let from = at.as_ref().map_or_else(|| format!("{:?}", show(source)), |s| s.to_string());
                let recursive = if *recursive { "|AT_RECURSIVE" } else { "" };
                write!(f, "open_tree({from}, OPEN_TREE_CLONE{recursive}) -> {to}")?;
                match device {
                    Some(device) => write!(f, " fstat == {device}"),
                    None => Ok(()),
                }
            }
            Self::OpenSource { path, recursive, to } => {
                write!(f, "openat2({:?}), no symlink of another user", show(path))?;
                match recursive {
                    Some(true) => write!(f, ", open_tree(OPEN_TREE_CLONE|AT_RECURSIVE) -> {to}"),
                    Some(false) => write!(f, ", open_tree(OPEN_TREE_CLONE) -> {to}"),
                    None => write!(f, " -> {to}"),
                }
            }
            Self::OpenDir { root, path, to } => {
                write!(f, "openat2({root}/{}, RESOLVE_IN_ROOT) or mkdirat -> {to}", show(path))
            }
            Self::MakeTarget { target } => write!(f, "openat2({target}, RESOLVE_IN_ROOT) or mkdirat"),
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
            Self::Secret { tmpfs, path, from, size, mode, owner: (uid, gid), .. } => {
                let size = size.map_or_else(|| "some".to_string(), |size| size.to_string());
                let path = show(path);
                write!(
                    f,
                    "write({tmpfs}/{path}, {size} bytes of {from}) fchown({uid}, {gid}) fchmod({mode:04o})"
                )
            }
            Self::OpenInside { root, path, recursive, to } => {
                let recursive = if *recursive { "|AT_RECURSIVE" } else { "" };
                write!(f, "openat2({root}/{}) open_tree(OPEN_TREE_CLONE{recursive}) -> {to}", show(path))
            }
            Self::KeepFd { tree, to } => write!(f, "fcntl({tree}, F_DUPFD_CLOEXEC) -> {to}"),
            Self::File { root, dir, name, content, .. } => {
                let (dir, name) = (show(dir), show(name));
                write!(
                    f,
                    "fsopen(\"tmpfs\") fsmount() move_mount(-> {root}/{dir}) write({name}, {} bytes) open_tree({name}, OPEN_TREE_CLONE) umount2(., MNT_DETACH) mount_setattr(set=MOUNT_ATTR_RDONLY|MOUNT_ATTR_NOSUID|MOUNT_ATTR_NODEV|MOUNT_ATTR_NOEXEC) move_mount(-> {root}/{dir}/{name})",
                    content.len()
                )
            }
            Self::CopyUp { root, path, tree, strict, .. } => {
                let what = if *strict { "copy" } else { "copy what may be read" };
                write!(f, "openat2({root}/{}, RESOLVE_IN_ROOT) {what} -> {tree}", show(path))
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
            Self::OpenTree { device: Some(_), .. } => {
                "a copy of the host's device, proved to be that device: a planted /dev/null cannot take its place (CVE-2025-31133)"
            }
            Self::OpenTree { .. } => {
                "the host path is resolved once, now; later rows only hold the copy, so swapping the path changes nothing (CVE-2021-30465)"
            }
            Self::OpenSource { .. } => {
                "the host path is resolved once, and a symlink of another user is followed only to files of that user: write access to a shared directory does not decide what the container sees (symlink(7))"
            }
            Self::OpenDir { .. } => {
                "entries are made through this descriptor, so a link in the rootfs cannot lead elsewhere (CVE-2019-18837)"
            }
            Self::MakeTarget { .. } => {
                "a mount needs a target; it is made now, as the owner of the rootfs, and resolved below the root (CVE-2024-45310)"
            }
            Self::Secret { .. } => {
                "a file in memory for the program's user alone: in no argument, variable, image or log, and gone with the mount namespace (CIS Docker 4.10, tmpfs(5))"
            }
            Self::OpenInside { .. } => {
                "the source lies below the rootfs: it is taken with the mounts that are listed before it (config.md, Mounts)"
            }
            Self::KeepFd { .. } => {
                "it becomes read-only last: mounts, devices and the working directory may have to be made on it (mount_setattr(2), MOUNT_ATTR_RDONLY)"
            }
            Self::File { .. } => {
                "a copy of the image's file with a line for the user that runs, over it and read-only: the image stays as it is, and programs that look their user up find one (passwd(5))"
            }
            Self::CopyUp { strict: false, .. } => {
                "the image's directories for daemons (/run/postgresql) are there; links are copied, never followed, and what the container's root may not read is left out (symlink(7))"
            }
            Self::CopyUp { .. } => {
                "the tmpfs starts with what the rootfs holds there; links in it are copied, never followed (tmpcopyup, symlink(7))"
            }
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
            Self::OpenTree { device: Some(_), .. } => Some("/linux/devices".into()),
            Self::OpenTree { .. }
            | Self::OpenSource { .. }
            | Self::OpenInside { .. }
            | Self::OpenDir { .. }
            | Self::MakeTarget { .. }
            | Self::New { .. }
            | Self::Move { .. }
            | Self::File { .. }
            | Self::Secret { .. }
            | Self::KeepFd { .. }
            | Self::CopyUp { .. }
            | Self::Remount { .. } => None,
        }
    }

    fn resolves(&self) -> Option<(&'static str, String)> {
        match self {
            Self::MakeTarget { target: Target { root, path, .. } }
            | Self::New { target: Some(Target { root, path, .. }), .. }
            | Self::Move { target: Target { root, path, .. }, .. }
            | Self::Remount { target: Target { root, path, .. }, .. }
            | Self::OpenDir { root, path, .. }
            | Self::OpenInside { root, path, .. }
            | Self::CopyUp { root, path, .. }
            | Self::File { root, path, .. } => Some(resolved(root, path)),
            Self::OpenSource { path, .. } => Some(("", path.to_string_lossy().into_owned())),
            Self::OpenTree { .. } | Self::New { .. } | Self::Secret { .. } | Self::KeepFd { .. } => None,
        }
    }

    fn remedy(&self, errno: Errno, call: Call) -> Option<&'static str> {
        match (self, errno) {
            (Self::CopyUp { .. }, Errno::ENOSPC) => {
                Some("the tmpfs is smaller than what is to be copied into it: give it a larger size=")
            }
            (Self::OpenTree { device: Some(_), .. }, Errno::ENODEV) => {
                Some("the host's /dev has something else at this path: repair it first")
            }
            (Self::OpenTree { .. } | Self::OpenSource { .. } | Self::OpenInside { .. }, Errno::ENOENT) => {
                Some("the source of the bind mount does not exist on the host")
            }
            (Self::New { .. } | Self::Move { .. }, Errno::ELOOP) if call == Call::SymlinkTarget => Some(
                "this must be mounted on ordinary directory, and the rootfs has a symbolic link there: refused, since it may lead anywhere (CVE-2019-19921)",
            ),
            (Self::New { .. } | Self::MakeTarget { .. } | Self::Move { .. }, Errno::EROFS) => Some(
                "it is missing, and what it lies on is read-only: create it in the rootfs, or in the source of the bind mount above it",
            ),
            (
                Self::New { .. } | Self::MakeTarget { .. } | Self::Move { .. },
                Errno::EACCES | Errno::EOVERFLOW,
            ) => Some(NOT_OWNED),
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
            (
                Self::OpenTree { .. }
                | Self::OpenSource { .. }
                | Self::OpenInside { .. }
                | Self::OpenDir { .. }
                | Self::MakeTarget { .. }
                | Self::New { .. }
                | Self::Move { .. }
                | Self::File { .. }
                | Self::Secret { .. }
                | Self::KeepFd { .. }
                | Self::CopyUp { .. }
                | Self::Remount { .. },
                _,
            ) => None,
        }
    }

    fn calls(&self) -> Vec<&'static str> {
        match self {
            Self::OpenTree { device: Some(_), .. } => vec!["open_tree", "newfstatat"],
            Self::OpenTree { .. } => vec!["open_tree"],
            Self::OpenSource { recursive: Some(_), .. } => vec!["openat2", WALK, "open_tree", "close"],
            Self::OpenSource { recursive: None, .. } => vec!["openat2", WALK],
            Self::OpenDir { .. } => {
                [&RESOLVE[..], &["statx", "statx", "openat2?", "statx?", "close?"]].concat()
            }
            Self::MakeTarget { .. } => vec!["openat2", WALK, "openat2?", WALK],
            Self::New { data, after, target, keep, .. } => {
                // What is there already says how a tmpfs without a mode of its own looks.
                let inherits = self.inherits_mode();
                let mut calls = Vec::new();
                calls
                    .extend(inherits.then_some(["openat2?", WALK, "newfstatat?", "close?"]).iter().flatten());
                calls.push("fsopen");
                calls.extend(data.iter().map(|_| "fsconfig"));
                calls.extend(inherits.then_some("fsconfig?"));
                calls.extend(["fsconfig", "fsmount", "close"]);
                calls.extend(after.iter().map(|_| "mount_setattr"));
                if target.is_some() {
                    calls.extend(RESOLVE.iter().chain(&FREE).chain(&["move_mount", "close"]));
                }
                calls.extend(keep.is_none().then_some("close"));
                calls
            }
            Self::Move { before, target, .. } => {
                let mut calls: Vec<_> = asks(target.kind).into_iter().collect();
                calls.extend(before.iter().map(|_| "mount_setattr"));
                calls.extend(RESOLVE.iter().chain(&FREE).chain(&["move_mount", "close", "close"]));
                calls
            }
            Self::File { data, .. } => {
                let mut calls = vec!["fsopen"];
                calls.extend(data.iter().map(|_| "fsconfig"));
                calls.extend(["fsconfig", "fsmount", "close", "openat2", WALK, "move_mount"]);
                calls.extend([
                    "openat",
                    "write",
                    "fchmod",
                    "close",
                    "open_tree",
                    "fchdir",
                    "umount2",
                    "close",
                ]);
                calls.extend(["mount_setattr", "openat2", WALK, "move_mount", "close", "close", "close"]);
                calls
            }
            Self::Secret { dirs, size, .. } => {
                // What is read last is the end.
                let blocks = size.unwrap_or_default().div_ceil(crate::plan::slot::SECRET_BLOCK) as usize;
                let mut calls = vec!["mkdirat"; dirs.len()];
                calls.push("openat");
                calls.extend(["read", "write"].repeat(blocks));
                calls.extend(["read", "fchownat", "fchmod", "close", "close"]);
                calls
            }
            Self::OpenInside { .. } => ["openat2", WALK, "open_tree", "close"].to_vec(),
            Self::KeepFd { .. } => vec!["fcntl"],
            Self::CopyUp { .. } => {
                const COPY: &str = "openat|newfstatat|getdents64|mkdirat|read|write|fchownat|fchmod|utimensat|readlinkat|symlinkat|umask|mknodat|close*";
                vec!["openat2?", WALK, COPY]
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
        match self {
            Self::New { fs, data, target: Some(_), .. } => {
                fs.to_bytes() == b"tmpfs" && data.iter().all(|(key, _)| key.to_bytes() != b"mode")
            }
            _ => false,
        }
    }
}

/// A mount whose target is made as its source is looks at the source first.
pub(super) fn asks(kind: TargetKind) -> Option<&'static str> {
    matches!(kind, TargetKind::AsSource | TargetKind::Proc).then_some("newfstatat")
}
