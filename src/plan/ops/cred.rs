//! Rows of credentials: ids, groups, capabilities, no_new_privs.

use std::fmt;

use super::{OnHost, Op, RowLabel};
use crate::plan::call::Call;
use crate::plan::layer::Layer;
use crate::sys::Errno;
use crate::tables::capabilities::CapSet;

/// What rows do about credentials.
#[derive(Debug, Clone)]
#[allow(missing_docs)] // each variant's `why` documents it, and users see that
pub enum CredOp {
    Undumpable,
    Keyring,
    Bounding {
        keep: u64,
    },
    KeepCaps,
    /// `if_allowed`: unless [`BecomeRoot`](super::user::UserOp::BecomeRoot) found that they cannot be set here.
    SetGroups {
        gids: Vec<u32>,
        if_allowed: bool,
    },
    SetGid {
        gid: u32,
    },
    SetUid {
        uid: u32,
    },
    Caps {
        effective: u64,
        permitted: u64,
        inheritable: u64,
    },
    Ambient {
        caps: Vec<u8>,
    },
    NoNewPrivs,
    Verify(crate::sys::cred::Creds),
}

impl Op for CredOp {
    fn label(&self) -> RowLabel {
        match self {
            Self::Undumpable => (Layer::Descriptors, "undumpable", None),
            Self::Keyring => (Layer::Credentials, "keyring", None),
            Self::Bounding { .. } => (Layer::Capabilities, "bounding", None),
            Self::KeepCaps => (Layer::Capabilities, "keep-caps", None),
            Self::Caps { .. } => (Layer::Capabilities, "caps", None),
            Self::Ambient { .. } => (Layer::Capabilities, "ambient", None),
            Self::SetGroups { .. } => (Layer::Credentials, "groups", None),
            Self::SetGid { .. } => (Layer::Credentials, "gid", None),
            Self::SetUid { .. } => (Layer::Credentials, "uid", None),
            Self::NoNewPrivs => (Layer::NoNewPrivileges, "no-new-privs", None),
            Self::Verify(_) => (Layer::Credentials, "verify", None),
        }
    }

    fn print(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Undumpable => f.write_str("prctl(PR_SET_DUMPABLE, 0)"),
            Self::Keyring => f.write_str("keyctl(KEYCTL_JOIN_SESSION_KEYRING, NULL)"),
            Self::Bounding { keep } => write!(f, "prctl(PR_CAPBSET_DROP, all but {})", caps(*keep)),
            Self::KeepCaps => f.write_str("prctl(PR_SET_KEEPCAPS, 1)"),
            Self::SetGroups { gids, if_allowed } => {
                write!(f, "setgroups({gids:?}){}", if *if_allowed { " unless it is denied here" } else { "" })
            }
            Self::SetGid { gid } => write!(f, "setgid({gid})"),
            Self::SetUid { uid } => write!(f, "setuid({uid})"),
            Self::Caps { effective, permitted, inheritable } => {
                write!(
                    f,
                    "capset(effective={}, permitted={}, inheritable={})",
                    caps(*effective),
                    caps(*permitted),
                    caps(*inheritable)
                )
            }
            Self::Ambient { caps: list } if list.is_empty() => {
                f.write_str("prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)")
            }
            Self::Ambient { caps: list } => {
                write!(f, "prctl(PR_CAP_AMBIENT, clear all, then raise {})", list.len())
            }
            Self::NoNewPrivs => f.write_str("prctl(PR_SET_NO_NEW_PRIVS, 1)"),
            Self::Verify(creds) => {
                write!(f, "getresuid() == {} getresgid() == {}", creds.uid, creds.gid)?;
                if let Some(groups) = &creds.groups {
                    write!(f, " getgroups() == {groups:?}")?;
                }
                f.write_str(" capget() == as set, prctl(PR_CAPBSET_READ, PR_CAP_AMBIENT_IS_SET")?;
                f.write_str(if creds.no_new_privs { ", PR_GET_NO_NEW_PRIVS)" } else { ")" })
            }
        }
    }

    fn why(&self) -> &'static str {
        match self {
            Self::Undumpable => {
                "processes inside get no ptrace access to Init while it holds descriptors of the host (prctl(2), PR_SET_DUMPABLE; CVE-2016-9962)"
            }
            Self::Keyring => {
                "the caller's session keys are not passed on; without a name, which another container could have taken first (keyctl(2))"
            }
            Self::Bounding { .. } => {
                "no exec, setuid program or file capability can bring these back (capabilities(7))"
            }
            Self::KeepCaps => {
                "the next row gives up uid 0; without this the permitted set would go with it (prctl(2))"
            }
            Self::SetGroups { .. } => "the caller's supplementary groups are not inherited (CVE-2022-36109)",
            Self::SetGid { .. } => {
                "group before user: afterwards there would be no right to change it (setgid(2))"
            }
            Self::SetUid { .. } => {
                "with CAP_SETUID real, effective and saved: there is no way back (setuid(2))"
            }
            Self::Caps { .. } => {
                "the program keeps the capabilities that were asked for and no others; the inheritable set stays empty unless asked for (CVE-2022-29162)"
            }
            Self::Ambient { .. } => {
                "ambient capabilities survive exec for non-root users, so the set is cleared first (capabilities(7))"
            }
            Self::NoNewPrivs => {
                "setuid and file capabilities have no effect from here on; seccomp may be loaded unprivileged (prctl(2), PR_SET_NO_NEW_PRIVS)"
            }
            Self::Verify(_) => {
                "Init reads back what it dropped: if a row had no effect, the launch fails here (credentials(7), capabilities(7))"
            }
        }
    }

    fn pointer(&self) -> Option<String> {
        match self {
            Self::Undumpable
            | Self::Keyring
            | Self::Bounding { .. }
            | Self::KeepCaps
            | Self::SetGroups { .. }
            | Self::SetGid { .. }
            | Self::SetUid { .. }
            | Self::Caps { .. }
            | Self::Ambient { .. }
            | Self::NoNewPrivs
            | Self::Verify(_) => None,
        }
    }

    fn remedy(&self, errno: Errno, _call: Call) -> Option<&'static str> {
        match (self, errno) {
            (Self::SetUid { .. } | Self::SetGid { .. } | Self::SetGroups { .. }, Errno::EINVAL) => {
                Some("this id is not mapped into the container's user namespace")
            }
            (
                Self::Undumpable
                | Self::Keyring
                | Self::Bounding { .. }
                | Self::KeepCaps
                | Self::SetGroups { .. }
                | Self::SetGid { .. }
                | Self::SetUid { .. }
                | Self::Caps { .. }
                | Self::Ambient { .. }
                | Self::NoNewPrivs
                | Self::Verify(_),
                _,
            ) => None,
        }
    }

    fn on_host(&self) -> &'static [OnHost] {
        match self {
            Self::Undumpable
            | Self::Keyring
            | Self::Bounding { .. }
            | Self::KeepCaps
            | Self::SetGroups { .. }
            | Self::SetGid { .. }
            | Self::SetUid { .. }
            | Self::Caps { .. }
            | Self::Ambient { .. }
            | Self::NoNewPrivs
            | Self::Verify(..) => &[],
        }
    }

    fn calls(&self) -> Vec<&'static str> {
        match self {
            Self::Undumpable | Self::KeepCaps | Self::NoNewPrivs => vec!["prctl"],
            Self::Keyring => vec!["keyctl"],
            // One for each capability that the kernel knows and that is not kept.
            Self::Bounding { .. } => vec!["prctl*"],
            Self::Ambient { caps } => vec!["prctl"; 1 + caps.len()],
            Self::SetGroups { if_allowed, .. } => vec![if *if_allowed { "setgroups?" } else { "setgroups" }],
            Self::SetGid { .. } => vec!["setgid"],
            Self::SetUid { .. } => vec!["setuid"],
            Self::Caps { .. } => vec!["capset"],
            Self::Verify(creds) => {
                let groups = creds.groups.iter().map(|_| "getgroups?");
                // Not under a filter of the config's. One for each capability that the kernel knows and that is not kept, or could be ambient.
                ["getresuid?", "getresgid?"].into_iter().chain(groups).chain(["capget", "prctl*"]).collect()
            }
        }
    }
}

fn caps(bits: u64) -> CapSet {
    CapSet(bits)
}
