//! Rows that open, make and join namespaces.

use std::ffi::CString;
use std::fmt;
use std::rc::Rc;

use super::{AS_USER, NAMESPACE_LIMIT, OnHost, Op, RowLabel, USERNS_OFF};
use crate::plan::call::Call;
use crate::plan::layer::Layer;
use crate::plan::slot::{NamespaceSlots, Slot};
use crate::plan::words::{as_user, flags, slot_name, value};
use crate::sys::Errno;
use crate::sys::cstr::show;
use crate::tables::namespaces::NsKind;

/// What rows do about namespaces.
#[derive(Debug, Clone)]
#[allow(missing_docs)] // each variant's `why` documents it, and users see that
pub enum NsOp {
    Open {
        path: CString,
        kind: NsKind,
        to: Slot,
    },
    OpenPidfd {
        pid: i32,
        start: u64,
        to: Slot,
    },
    TimeOffsets {
        value: Vec<u8>,
    },
    Unshare {
        namespaces: u64,
        owner: Option<u32>,
    },
    Join {
        ns: Slot,
        flags: u64,
        kind: Option<NsKind>,
    },
    OpenOfChild {
        kind: NsKind,
        to: Slot,
    },
    /// What Init sends along with the baton.
    TakeFds {
        shown: Rc<NamespaceSlots>,
    },
    NewCgroup,
    Hostname {
        name: CString,
    },
    Domainname {
        name: CString,
    },
}

impl Op for NsOp {
    fn label(&self) -> RowLabel {
        match self {
            Self::Open { kind, .. } => (Layer::Namespaces, "open", Some(kind.row().oci.to_string())),
            Self::OpenPidfd { .. } => (Layer::Namespaces, "pidfd", None),
            Self::TimeOffsets { .. } => (Layer::Namespaces, "time-offsets", None),
            Self::Unshare { .. } => (Layer::Namespaces, "unshare", None),
            Self::Join { kind, ns, .. } => (
                Layer::Namespaces,
                "join",
                Some(kind.map_or_else(|| slot_name(ns), |k| k.row().oci.to_string())),
            ),
            Self::OpenOfChild { kind, .. } => (Layer::Namespaces, "open", Some(kind.row().oci.to_string())),
            Self::TakeFds { .. } => (Layer::Namespaces, "take-namespaces", None),
            Self::NewCgroup => (Layer::Namespaces, "cgroup-namespace", None),
            Self::Hostname { .. } => (Layer::Namespaces, "hostname", None),
            Self::Domainname { .. } => (Layer::Namespaces, "domainname", None),
        }
    }

    fn print(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TakeFds { shown } => {
                f.write_str("recvmsg(SCM_RIGHTS")?;
                shown.slots().try_for_each(|slot| write!(f, " {slot}"))?;
                f.write_str(")")
            }
            Self::Open { path, to, .. } => write!(f, "open({:?}) -> {to}", show(path)),
            Self::OpenPidfd { pid, start, to } => {
                write!(f, "pidfd_open({pid}) -> {to} start time in /proc/{pid}/stat == {start}")
            }
            Self::TimeOffsets { value: v } => {
                write!(f, "write(/proc/PID/timens_offsets, {})", value(v))
            }
            Self::Unshare { namespaces, owner } => {
                write!(f, "{}unshare({})", as_user(*owner), flags(*namespaces))
            }
            Self::Join { ns, flags: bits, .. } => write!(f, "setns({ns}, {})", flags(*bits)),
            Self::OpenOfChild { kind, to } => write!(f, "open(/proc/PID/ns/{}) -> {to}", kind.row().proc),
            Self::NewCgroup => f.write_str("unshare(CLONE_NEWCGROUP)"),
            Self::Hostname { name } => write!(f, "sethostname({:?})", show(name)),
            Self::Domainname { name } => write!(f, "setdomainname({:?})", show(name)),
        }
    }

    fn why(&self) -> &'static str {
        match self {
            Self::Open { .. } => {
                "the namespace to join is opened while host paths can still be seen (setns(2))"
            }
            Self::OpenPidfd { .. } => {
                "a pidfd names this very process, even if its pid is used again (pidfd_open(2))"
            }
            Self::TimeOffsets { .. } => {
                "clock offsets can only be set before the first process enters the namespace (time_namespaces(7))"
            }
            Self::Unshare { .. } => {
                "made for children, while its offsets can still be set, and inside the user namespace that owns it (time_namespaces(7))"
            }
            Self::Join { kind, .. } => match kind {
                Some(NsKind::User) => {
                    "joined first: it gives the right to join the others (user_namespaces(7))"
                }
                _ => "shares this view with the container it belongs to (setns(2))",
            },
            Self::OpenOfChild { .. } => {
                "the descriptor keeps the namespace while devices are moved into it (namespaces(7))"
            }
            Self::TakeFds { .. } => {
                "hooks join the container by these descriptors: an unprivileged runtime has no ptrace access to Init, which stays undumpable (ptrace(2), CVE-2016-9962)"
            }
            Self::NewCgroup => {
                "the cgroup joined becomes the root of the tree that is shown inside (cgroup_namespaces(7))"
            }
            Self::Hostname { .. } | Self::Domainname { .. } => {
                "only in a new UTS namespace, or the host would be renamed (uts_namespaces(7))"
            }
        }
    }

    fn pointer(&self) -> Option<String> {
        match self {
            Self::TimeOffsets { .. } => Some("/linux/timeOffsets".into()),
            Self::Hostname { .. } => Some("/hostname".into()),
            Self::Domainname { .. } => Some("/domainname".into()),
            Self::Open { .. }
            | Self::OpenPidfd { .. }
            | Self::Unshare { .. }
            | Self::Join { .. }
            | Self::OpenOfChild { .. }
            | Self::TakeFds { .. }
            | Self::NewCgroup => None,
        }
    }

    fn remedy(&self, errno: Errno, _call: Call) -> Option<&'static str> {
        match (self, errno) {
            (Self::Unshare { .. }, Errno::EPERM) => Some(USERNS_OFF),
            (Self::Unshare { .. }, Errno::ENOSPC) => Some(NAMESPACE_LIMIT),
            (Self::TimeOffsets { .. }, Errno::EACCES) => Some(
                "an ordinary user cannot set clocks in a user namespace that others are in already: give the container one of its own",
            ),
            (
                Self::Open { .. }
                | Self::OpenPidfd { .. }
                | Self::TimeOffsets { .. }
                | Self::Unshare { .. }
                | Self::Join { .. }
                | Self::OpenOfChild { .. }
                | Self::TakeFds { .. }
                | Self::NewCgroup
                | Self::Hostname { .. }
                | Self::Domainname { .. },
                _,
            ) => None,
        }
    }

    fn on_host(&self) -> &'static [OnHost] {
        match self {
            // `exec` opens the container's own devpts there.
            Self::Open { path, .. } if path.as_c_str() == c"/dev/pts" => &[],
            Self::Open { .. } => &[OnHost::Opens],
            Self::OpenPidfd { .. }
            | Self::TimeOffsets { .. }
            | Self::Unshare { .. }
            | Self::Join { .. }
            | Self::OpenOfChild { .. }
            | Self::TakeFds { .. }
            | Self::NewCgroup
            | Self::Hostname { .. }
            | Self::Domainname { .. } => &[],
        }
    }

    fn calls(&self) -> Vec<&'static str> {
        match self {
            // It comes with the baton.
            Self::TakeFds { .. } => vec![],
            Self::Open { .. } => vec!["openat"],
            Self::OpenPidfd { .. } => vec!["pidfd_open", "openat", "read", "close"],
            Self::TimeOffsets { .. } => vec!["openat", "write", "close"],
            Self::Unshare { owner: None, .. } => vec!["unshare"],
            Self::Unshare { owner: Some(_), .. } => [AS_USER, &["unshare"]].concat(),
            Self::Join { .. } => vec!["setns", "close"],
            Self::OpenOfChild { .. } => vec!["openat"],
            Self::NewCgroup => vec!["unshare"],
            Self::Hostname { .. } => vec!["sethostname"],
            Self::Domainname { .. } => vec!["setdomainname"],
        }
    }
}
