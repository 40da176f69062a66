//! Rows that make a process: Init, or a sibling that a Joiner makes.

use std::fmt;

use super::{AS_USER, BACK, NAMESPACE_LIMIT, OnHost, Op, RowLabel, USERNS_OFF};
use crate::plan::call::Call;
use crate::plan::layer::Layer;
use crate::plan::slot::Slot;
use crate::plan::words::{as_user, flags};
use crate::sys::Errno;

/// What rows do about new processes.
#[derive(Debug, Clone)]
#[allow(missing_docs)] // each variant's `why` documents it, and users see that
pub enum CloneOp {
    /// `owner`: the effective user of the call, who becomes the owner of a new user namespace; `None` for the caller.
    Init { namespaces: u64, cgroup: Option<Slot>, owner: Option<u32> },
    /// clone(2), where the filter of a surrounding container refuses clone3(2).
    Plain { namespaces: u64 },
    /// `plain`: by clone(2), as for [`CloneOp::Plain`].
    Sibling { namespaces: u64, owner: Option<u32>, plain: bool },
}

/// What reaps the holders of user namespaces.
const REAP: &str = "wait4|close*";

impl Op for CloneOp {
    fn label(&self) -> RowLabel {
        match self {
            Self::Init { .. } | Self::Plain { .. } | Self::Sibling { .. } => {
                (Layer::Namespaces, "clone", None)
            }
        }
    }

    fn print(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Init { namespaces, cgroup, owner } => {
                write!(
                    f,
                    "socketpair(AF_UNIX, SOCK_SEQPACKET) {}clone3({}|CLONE_PIDFD|CLONE_CLEAR_SIGHAND{})",
                    as_user(*owner),
                    flags(*namespaces),
                    cgroup.as_ref().map_or_else(String::new, |c| format!("|CLONE_INTO_CGROUP {c}"))
                )
            }
            Self::Plain { namespaces } => {
                write!(f, "socketpair(AF_UNIX, SOCK_SEQPACKET) clone({}|CLONE_PIDFD)", flags(*namespaces))
            }
            Self::Sibling { namespaces, plain: true, .. } => {
                write!(f, "clone({}|CLONE_PARENT|CLONE_PIDFD)", flags(*namespaces))
            }
            Self::Sibling { namespaces, owner, plain: false } => {
                write!(
                    f,
                    "{}clone3({}|CLONE_PARENT|CLONE_PIDFD|CLONE_CLEAR_SIGHAND)",
                    as_user(*owner),
                    flags(*namespaces)
                )
            }
        }
    }

    fn why(&self) -> &'static str {
        match self {
            Self::Init { owner: Some(_), .. } => {
                "one call makes the child and its namespaces, as the user behind the container's first id: the kernel counts the container's namespaces and other objects for the user who makes the user namespace (user_namespaces(7))"
            }
            Self::Init { .. } => {
                "one call makes the child and its namespaces; the first user namespace owns the others, so root inside rules only them (clone(2), user_namespaces(7))"
            }
            Self::Plain { .. } => {
                "the seccomp filter around this process hides clone3(2), whose arguments no filter can look at: clone(2) does the same without a cgroup (seccomp(2))"
            }
            Self::Sibling { .. } => {
                "a pid or time namespace is entered by children only, so one more clone enters it (pid_namespaces(7))"
            }
        }
    }

    fn pointer(&self) -> Option<String> {
        match self {
            Self::Init { .. } | Self::Plain { .. } | Self::Sibling { .. } => None,
        }
    }

    fn remedy(&self, errno: Errno, _call: Call) -> Option<&'static str> {
        match (self, errno) {
            (Self::Init { .. } | Self::Plain { .. } | Self::Sibling { .. }, Errno::EPERM) => Some(USERNS_OFF),
            (Self::Init { .. } | Self::Plain { .. } | Self::Sibling { .. }, Errno::ENOSPC) => {
                Some(NAMESPACE_LIMIT)
            }
            (Self::Init { cgroup: Some(_), .. }, Errno::ENOENT) => Some(
                "the cgroup is not below this process's cgroup namespace: mount cgroup2 anew inside it, instead of a bind mount of the host's",
            ),
            (Self::Init { .. } | Self::Plain { .. }, Errno::EAGAIN) => {
                Some("no more processes for this user (RLIMIT_NPROC, or the pids limit of this cgroup)")
            }
            (Self::Init { .. } | Self::Plain { .. } | Self::Sibling { .. }, _) => None,
        }
    }

    fn on_host(&self) -> &'static [OnHost] {
        match self {
            Self::Init { .. } | Self::Plain { .. } | Self::Sibling { .. } => &[OnHost::Creates],
        }
    }

    fn calls(&self) -> Vec<&'static str> {
        match self {
            // Holders of user namespaces are reaped; /proc/self/status tells this process's threads, and the signals that it
            // ignores.
            Self::Init { owner: None, .. } => {
                vec![REAP, "openat", "read", "close", "close?", "close?", "socketpair", "clone3", "close"]
            }
            Self::Plain { .. } => {
                vec![REAP, "openat", "read", "close", "close?", "close?", "socketpair", "clone", "close"]
            }
            Self::Init { owner: Some(_), .. } => [
                &[REAP, "openat", "read", "close", "close?", "close?", "socketpair"],
                AS_USER,
                &["clone3", "close"],
                BACK,
            ]
            .concat(),
            Self::Sibling { plain: true, .. } => vec!["clone"],
            Self::Sibling { owner: None, .. } => vec!["clone3"],
            Self::Sibling { owner: Some(_), .. } => [AS_USER, &["clone3"]].concat(),
        }
    }
}
