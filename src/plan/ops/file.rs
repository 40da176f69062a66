//! Rows that make directories and files inside the container.

use std::ffi::CString;
use std::fmt;
use std::rc::Rc;

use super::{COPIED, COPIES, NOT_OWNED, OnHost, Op, RESOLVE, RowLabel, WALK};
use crate::plan::call::Call;
use crate::plan::layer::Layer;
use crate::plan::place::Target;
use crate::plan::slot::Slot;
use crate::plan::words::{below, place, resolved};
use crate::sys::Errno;
use crate::sys::cstr::show;

/// What rows do about directories and files inside the container.
#[derive(Debug, Clone)]
#[allow(missing_docs)] // each variant's `why` documents it, and users see that
pub enum FileOp {
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
    OpenDir {
        root: Slot,
        path: CString,
        to: Slot,
    },
    MakeTarget {
        target: Target,
    },
    /// Files of the runtime's, on one tmpfs, and a detached mount of each.
    Own {
        root: Slot,
        data: Vec<(CString, Option<CString>)>,
        files: Vec<OwnFile>,
        /// An empty directory beside them, to cover masked ones.
        empty: Option<Slot>,
    },
    /// One of them, shown in place of one of the rootfs.
    Replace {
        root: Slot,
        path: CString,
        tree: Slot,
    },
    CopyUp {
        root: Slot,
        path: CString,
        tree: Slot,
        mode: bool,
        /// What cannot be read or made is an error; otherwise it is left out.
        strict: bool,
    },
}

/// A file of the runtime's.
#[derive(Debug, Clone)]
pub struct OwnFile {
    /// Its name on the tmpfs.
    pub name: CString,
    /// Its content.
    pub content: Rc<Vec<u8>>,
    /// A file in memory, whose content is used instead.
    pub from: Option<Slot>,
    /// A mount of it.
    pub to: Slot,
}

impl Op for FileOp {
    fn label(&self) -> RowLabel {
        match self {
            Self::OpenDir { root, path, .. } => (Layer::Mounts, "dir", below(root, path)),
            Self::MakeTarget { target } => (Layer::Mounts, "target", place(target)),
            Self::Own { .. } => (Layer::Mounts, "files", None),
            Self::Replace { root, path, .. } => (Layer::Mounts, "mount", below(root, path)),
            Self::Secret { path, .. } => (Layer::Mounts, "secret", Some(show(path).into_owned())),
            Self::CopyUp { root, path, .. } => (Layer::Mounts, "copy-up", below(root, path)),
        }
    }

    fn print(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OpenDir { root, path, to } => {
                write!(f, "openat2({root}/{}, RESOLVE_IN_ROOT) or mkdirat -> {to}", show(path))
            }
            Self::MakeTarget { target } => write!(f, "openat2({target}, RESOLVE_IN_ROOT) or mkdirat"),
            Self::Secret { tmpfs, path, from, size, mode, owner: (uid, gid), .. } => {
                let size = size.map_or_else(|| "some".to_string(), |size| size.to_string());
                let path = show(path);
                write!(
                    f,
                    "write({tmpfs}/{path}, {size} bytes of {from}) fchown({uid}, {gid}) fchmod({mode:04o})"
                )
            }
            Self::Own { files, empty, .. } => {
                f.write_str(
                    "fsopen(\"tmpfs\") fsmount(MOUNT_ATTR_NOSUID|MOUNT_ATTR_NODEV|MOUNT_ATTR_NOEXEC)",
                )?;
                for OwnFile { name, content, from, to } in files {
                    let what = match from {
                        Some(slot) => format!("what {slot} holds"),
                        None => format!("{} bytes", content.len()),
                    };
                    write!(f, " write({}, {what}) open_tree(OPEN_TREE_CLONE) -> {to}", show(name))?;
                }
                if let Some(to) = empty {
                    write!(
                        f,
                        " mkdirat(0555) open_tree(OPEN_TREE_CLONE) mount_setattr(set=MOUNT_ATTR_RDONLY) -> {to}"
                    )?;
                }
                f.write_str(" close()")
            }
            Self::Replace { root, path, tree } => {
                write!(
                    f,
                    "openat2({root}/{}, RESOLVE_IN_ROOT) mount_setattr({tree}, set=MOUNT_ATTR_RDONLY) move_mount",
                    show(path)
                )
            }
            Self::CopyUp { root, path, tree, strict, .. } => {
                let what = if *strict { "copy" } else { "copy what may be read" };
                write!(f, "openat2({root}/{}, RESOLVE_IN_ROOT) {what} -> {tree}", show(path))
            }
        }
    }

    fn why(&self) -> &'static str {
        match self {
            Self::OpenDir { .. } => {
                "entries are made through this descriptor, so a link in the rootfs cannot lead elsewhere (CVE-2019-18837)"
            }
            Self::MakeTarget { .. } => {
                "a mount needs a target; it is made now, as the owner of the rootfs, and resolved below the root (CVE-2024-45310)"
            }
            Self::Secret { .. } => {
                "a file in memory for the program's user alone: in no argument, variable, image or log, and gone with the mount namespace (CIS Docker 4.10, tmpfs(5))"
            }
            Self::Own { .. } => {
                "files of the runtime's own, in memory; the tmpfs itself is not mounted in the container, but before Linux 6.15 it is attached to the root while its files are copied (tmpfs(5))"
            }
            Self::Replace { path, .. } if [&b"etc/passwd"[..], b"etc/group"].contains(&path.to_bytes()) => {
                "a copy of the image's file with a line for the user that runs, over it and read-only: the image stays as it is, and programs that look their user up find one (passwd(5))"
            }
            Self::Replace { .. } => {
                "the container's network decides how names are looked up, and not the image's file, which stays as it is (resolv.conf(5), hosts(5))"
            }
            Self::CopyUp { strict: false, .. } => {
                "the image's directories for daemons (/run/postgresql) are there; links are copied, never followed, and what the container's root may not read is left out (symlink(7))"
            }
            Self::CopyUp { .. } => {
                "the tmpfs starts with what the rootfs holds there; links in it are copied, never followed (tmpcopyup, symlink(7))"
            }
        }
    }

    fn pointer(&self) -> Option<String> {
        match self {
            Self::OpenDir { .. }
            | Self::MakeTarget { .. }
            | Self::Own { .. }
            | Self::Replace { .. }
            | Self::Secret { .. }
            | Self::CopyUp { .. } => None,
        }
    }

    fn resolves(&self) -> Option<(&'static str, String)> {
        match self {
            Self::MakeTarget { target: Target { root, path, .. } }
            | Self::OpenDir { root, path, .. }
            | Self::CopyUp { root, path, .. }
            | Self::Replace { root, path, .. } => Some(resolved(root, path)),
            Self::Secret { .. } | Self::Own { .. } => None,
        }
    }

    fn remedy(&self, errno: Errno, _call: Call) -> Option<&'static str> {
        match (self, errno) {
            (Self::CopyUp { .. }, Errno::ENOSPC) => {
                Some("the tmpfs is smaller than what is to be copied into it: give it a larger size=")
            }
            (Self::MakeTarget { .. }, Errno::EROFS) => Some(
                "it is missing, and what it lies on is read-only: create it in the rootfs, or in the source of the bind mount above it",
            ),
            (Self::MakeTarget { .. }, Errno::EACCES | Errno::EOVERFLOW) => Some(NOT_OWNED),
            (
                Self::OpenDir { .. }
                | Self::MakeTarget { .. }
                | Self::Own { .. }
                | Self::Replace { .. }
                | Self::Secret { .. }
                | Self::CopyUp { .. },
                _,
            ) => None,
        }
    }

    fn on_host(&self) -> &'static [OnHost] {
        match self {
            Self::Secret { .. }
            | Self::OpenDir { .. }
            | Self::MakeTarget { .. }
            | Self::Own { .. }
            | Self::Replace { .. }
            | Self::CopyUp { .. } => &[],
        }
    }

    fn calls(&self) -> Vec<&'static str> {
        match self {
            Self::OpenDir { .. } => {
                [&RESOLVE[..], &["statx", "statx", "openat2?", "statx?", "close?"]].concat()
            }
            Self::MakeTarget { .. } => vec!["openat2", WALK, "openat2?", WALK],
            Self::Own { data, files, empty, .. } => {
                let mut calls = vec!["fsopen"];
                calls.extend(data.iter().map(|_| "fsconfig"));
                calls.extend(["fsconfig", "fsmount", "close"]);
                for (i, file) in files.iter().enumerate() {
                    calls.push("openat");
                    calls.push(if file.from.is_some() { "read|write*" } else { "write" });
                    calls.extend(["fchmod", "close"]);
                    calls.extend(if i == 0 { &COPIES[..] } else { &COPIES[..1] });
                }
                if empty.is_some() {
                    calls.extend(["mkdirat", "open_tree", "mount_setattr"]);
                }
                calls.extend(COPIED);
                calls
            }
            Self::Replace { .. } => vec!["mount_setattr", "openat2", WALK, "move_mount", "close", "close"],
            Self::Secret { dirs, size, .. } => {
                // What is read last is the end.
                let blocks = size.unwrap_or_default().div_ceil(crate::plan::slot::SECRET_BLOCK) as usize;
                let mut calls = vec!["mkdirat"; dirs.len()];
                calls.push("openat");
                calls.extend(["read", "write"].repeat(blocks));
                calls.extend(["read", "fchownat", "fchmod", "close", "close"]);
                calls
            }
            Self::CopyUp { .. } => {
                const COPY: &str = "openat|openat2|newfstatat|getdents64|mkdirat|read|write|fchownat|fchmod|utimensat|readlinkat|symlinkat|umask|mknodat|close*";
                vec!["openat2?", WALK, COPY]
            }
        }
    }
}
