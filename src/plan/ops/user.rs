//! Rows of user namespaces: id maps, idmapped mounts, root inside.

use std::fmt;

use super::{OnHost, Op, RowLabel};
use crate::plan::call::Call;
use crate::plan::layer::Layer;
use crate::plan::slot::{Slot, Supplementary};
use crate::plan::words::{propagation, slot_name, value};
use crate::sys::Errno;
use crate::tables::mount_options::describe_attrs;

/// What rows do about id maps.
#[derive(Debug, Clone)]
#[allow(missing_docs)] // each variant's `why` documents it, and users see that
pub enum UserOp {
    WriteMap {
        file: &'static str,
        value: Vec<u8>,
    },
    RunMapTool {
        program: std::path::PathBuf,
        maps: Vec<crate::config::IdMap>,
    },
    BecomeRoot {
        groups: Supplementary,
    },
    ForMount {
        uid_map: Vec<u8>,
        gid_map: Vec<u8>,
        to: Slot,
    },
    Idmap {
        tree: Slot,
        userns: Option<Slot>,
        recursive: bool,
        propagation: u64,
        /// Set at once with the mapping.
        attrs: u64,
    },
}

impl Op for UserOp {
    fn label(&self) -> RowLabel {
        match self {
            Self::WriteMap { file, .. } => {
                let word = match *file {
                    "uid_map" => "uid-map",
                    "gid_map" => "gid-map",
                    _ => "setgroups-file",
                };
                (Layer::User, word, None)
            }
            Self::RunMapTool { program, .. } => {
                (Layer::User, "id-map", program.file_name().map(|n| n.to_string_lossy().into_owned()))
            }
            Self::ForMount { .. } => (Layer::User, "userns-of-mount", None),
            Self::Idmap { tree, .. } => (Layer::User, "idmap", Some(slot_name(tree))),
            Self::BecomeRoot { .. } => (Layer::User, "become-root", None),
        }
    }

    fn print(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WriteMap { file, value: v } => write!(f, "write(/proc/PID/{file}, {})", value(v)),
            Self::RunMapTool { program, maps } => {
                write!(f, "{} PID", program.display())?;
                maps.iter().try_for_each(|m| write!(f, " {} {} {}", m.container, m.host, m.size))
            }
            Self::ForMount { uid_map, gid_map, to } => {
                write!(
                    f,
                    "clone(CLONE_NEWUSER) write(uid_map, {}) write(gid_map, {}) open(ns/user) -> {to} kill",
                    value(uid_map),
                    value(gid_map)
                )
            }
            Self::Idmap { tree, userns, recursive, propagation: p, attrs } => {
                match userns {
                    None => f.write_str("open(/proc/PID/ns/user) ")?,
                    Some(slot) => write!(f, "{slot} ")?,
                }
                let recursive = if *recursive { ", AT_RECURSIVE" } else { "" };
                write!(f, "mount_setattr({tree}{recursive}, set=MOUNT_ATTR_IDMAP")?;
                if *attrs != 0 {
                    write!(f, "|{}", describe_attrs(*attrs))?;
                }
                if *p == 0 { f.write_str(")") } else { write!(f, ", propagation={})", propagation(*p)) }
            }
            Self::BecomeRoot { groups } => {
                f.write_str(match groups {
                    Supplementary::Drop => "setgroups([]) ",
                    Supplementary::DropIfAllowed => "setgroups([]) unless it is denied here, ",
                    Supplementary::Keep => "",
                })?;
                f.write_str("setresgid(0) setresuid(0)")
            }
        }
    }

    fn why(&self) -> &'static str {
        match self {
            Self::WriteMap { file: "setgroups", .. } => {
                "an unprivileged mapper must give up setgroups first (user_namespaces(7), CVE-2014-8989)"
            }
            Self::WriteMap { .. } => {
                "ids inside are mapped to a range outside that owns nothing: root inside is an unprivileged id outside (user_namespaces(7))"
            }
            Self::RunMapTool { .. } => {
                "an unprivileged user may map one id, the own one; this setuid program maps the ranges that /etc/subuid lists (newuidmap(1))"
            }
            Self::ForMount { .. } => {
                "a user namespace without processes: it only holds the id mapping of a mount (mount_setattr(2), MOUNT_ATTR_IDMAP)"
            }
            Self::Idmap { userns: Some(_), .. } => {
                "the mount shows its owners as the config maps them, without a chown on disk (mount_setattr(2))"
            }
            Self::Idmap { .. } => {
                "the mount shows its owners as ids of this user namespace, without a chown on disk (mount_setattr(2))"
            }
            Self::BecomeRoot { .. } => {
                "root of the new user namespace: enough to build the container, nothing outside it (user_namespaces(7), Capabilities)"
            }
        }
    }

    fn pointer(&self) -> Option<String> {
        match self {
            Self::WriteMap { .. }
            | Self::RunMapTool { .. }
            | Self::BecomeRoot { .. }
            | Self::ForMount { .. }
            | Self::Idmap { .. } => None,
        }
    }

    fn remedy(&self, errno: Errno, _call: Call) -> Option<&'static str> {
        match (self, errno) {
            (Self::ForMount { .. }, Errno::EPERM) => {
                Some("a mapping of other ids than one's own needs CAP_SETUID and CAP_SETGID")
            }
            (Self::Idmap { userns: Some(_), .. }, Errno::EINVAL) => Some(
                "the file system of the mount's source cannot be idmapped: put it on ext4, xfs, btrfs or tmpfs",
            ),
            (Self::Idmap { .. }, _) => Some(
                "its file system cannot be idmapped: use --allow host-user, or put it on ext4, xfs, btrfs or tmpfs",
            ),
            (Self::WriteMap { .. }, Errno::EPERM) => {
                Some("the mapping needs privileges outside: run as root, or use newuidmap's ranges")
            }
            (
                Self::WriteMap { .. }
                | Self::RunMapTool { .. }
                | Self::BecomeRoot { .. }
                | Self::ForMount { .. },
                _,
            ) => None,
        }
    }

    fn on_host(&self) -> &'static [OnHost] {
        match self {
            Self::RunMapTool { .. } => &[OnHost::Opens],
            Self::WriteMap { .. } | Self::BecomeRoot { .. } | Self::ForMount { .. } | Self::Idmap { .. } => {
                &[]
            }
        }
    }

    fn calls(&self) -> Vec<&'static str> {
        match self {
            Self::WriteMap { .. } => vec!["openat", "write", "close"],
            Self::ForMount { .. } => vec![
                "clone",
                "openat",
                "write",
                "close",
                "openat",
                "write",
                "close",
                "openat",
                "pidfd_send_signal",
            ],
            Self::Idmap { userns: Some(_), .. } => vec!["mount_setattr"],
            Self::Idmap { .. } => vec!["openat", "mount_setattr", "close"],
            Self::RunMapTool { .. } => vec!["*"],
            Self::BecomeRoot { groups: Supplementary::Keep } => vec!["setresgid", "setresuid"],
            Self::BecomeRoot { .. } => vec!["setgroups", "setresgid", "setresuid"],
        }
    }
}
