//! The plan: every kernel operation of a launch, in order, as data.
//!
//! [`recipe`] turns a config into a [`Plan`]; [`check`] proves properties of the list; [`print`] shows
//! it; `perform` performs it. Nothing in this folder has an effect on the system.

pub mod action;
pub mod calls;
pub mod check;
pub mod layer;
pub mod lower;
pub mod name;
mod place;
pub mod pointer;
pub mod print;
pub mod recipe;
pub mod report;
pub mod why;

use std::ffi::CStr;
use std::rc::Rc;

pub use action::Action;

use crate::tables::namespaces::NsKind;

/// Who performs a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Actor {
    /// `safebox` itself, in the runtime namespaces, with the caller's rights.
    Runtime,
    /// A short-lived process that joins namespaces and then clones Init inside them.
    Joiner,
    /// The process that becomes the container's: it only makes system calls.
    Init,
}

impl std::fmt::Display for Actor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Actor::Runtime => "runtime",
            Actor::Joiner => "joiner",
            Actor::Init => "init",
        })
    }
}

/// A file descriptor that one row opens and later rows use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// Index into `launch::Cx::fds`.
    pub index: u16,
    /// What the plan prints for it.
    pub name: Rc<str>,
}

impl std::fmt::Display for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "<{}>", self.name)
    }
}

/// What leads into the container: its root directory and its namespaces, in the order in which they are joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// The root directory.
    pub root: Slot,
    /// The namespaces.
    pub namespaces: Vec<(NsKind, Slot)>,
}

/// Where Init hands that out while it waits for `start`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Door {
    /// The socket that is listened on.
    pub socket: Slot,
    /// What is handed out.
    pub shown: Shown,
}

/// What becomes of the caller's supplementary groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Supplementary {
    /// They are dropped.
    Drop,
    /// They are dropped unless the user namespace, which is somebody else's, denies setgroups(2)
    /// (user_namespaces(7), "The /proc/PID/setgroups file"); root of the machine has dropped them before.
    DropIfAllowed,
    /// It is known that they cannot be dropped.
    Keep,
}

/// What takes back a row, recorded in the state directory before the row runs.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Undo {
    /// Remove the container's state directory.
    StateDir(String),
    /// Remove the file by which a range of ids is the container's.
    Ids(String),
    /// Kill what is left in this cgroup and remove it.
    Cgroup(String),
    /// Remove this class of service, if the launch failed. Later others may be in it: it has a name of their own
    /// choice, and stays, as with runc.
    Class(String),
    /// Kill what is left in this cgroup, which somebody else made and which stays.
    Members(String),
    /// Kill what is left in this scope and have systemd stop and forget it.
    Scope(crate::cgroup::systemd::Scope),
    /// Kill the container's init and wait for it.
    Kill,
    /// Bring a network device back to the host, if the launch failed. Later that is not the runtime's to do:
    /// the kernel does it when the namespace goes (config-linux.md, Network Devices).
    NetDevice {
        /// Its name on the host.
        outside: String,
        /// Its name in the container.
        inside: String,
    },
}

impl std::fmt::Display for Undo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Undo::StateDir(path) | Undo::Ids(path) => write!(f, "remove {path}"),
            Undo::Cgroup(path) => write!(f, "kill what is left in {path}, rmdir it"),
            Undo::Members(path) => write!(f, "kill what is left in {path}"),
            Undo::Class(path) => write!(f, "rmdir {path}, if the launch failed"),
            Undo::NetDevice { outside, inside } => {
                write!(f, "netlink(RTM_NEWLINK, {inside:?}, IFLA_NET_NS_FD <own>, IFLA_IFNAME {outside:?})")
            }
            Undo::Scope(scope) => {
                write!(f, "kill what is left in {0}, StopUnit({0}), ResetFailedUnit({0})", scope.unit)
            }
            Undo::Kill => f.write_str("pidfd_send_signal(SIGKILL), waitpid"),
        }
    }
}

/// One row of the plan.
#[derive(Debug, Clone)]
pub struct Step {
    /// Who performs it.
    pub actor: Actor,
    /// What is done.
    pub action: Action,
    /// What takes it back; every row that creates something has one.
    pub undo: Option<Undo>,
    /// The heading it stands under in `explain`.
    pub part: &'static str,
}

/// An ordered list of rows, and the descriptors they share.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// The rows.
    pub steps: Vec<Step>,
    /// How many slots the rows use.
    pub slots: u16,
    /// What the reader should know that no row says (which id mapping is in force, what was left out and why).
    pub notes: Vec<String>,
}

impl Plan {
    /// A new slot, printed as `<name>`.
    pub fn slot(&mut self, name: &str) -> Slot {
        self.slots += 1;
        Slot { index: self.slots - 1, name: name.into() }
    }

    /// Appends a row.
    pub fn push(&mut self, actor: Actor, part: &'static str, action: Action) {
        self.steps.push(Step { actor, action, undo: None, part });
    }

    /// Appends a row that creates something.
    pub fn push_undo(&mut self, actor: Actor, part: &'static str, action: Action, undo: Undo) {
        self.steps.push(Step { actor, action, undo: Some(undo), part });
    }

    /// The undos of all rows, in the rows' order, each once: the one list that is persisted, replayed in reverse by
    /// `delete`, and replayed by a launch that failed.
    pub fn undos(&self) -> Vec<Undo> {
        let mut undos: Vec<Undo> = Vec::new();
        for undo in self.steps.iter().filter_map(|s| s.undo.as_ref()) {
            if !undos.contains(undo) {
                undos.push(undo.clone());
            }
        }
        undos
    }

    /// The container's directory and the slot of its lock, in a plan that makes it.
    pub fn state_dir(&self) -> Option<(&CStr, &Slot)> {
        self.steps.iter().find_map(|s| match &s.action {
            Action::StateDir { path, lock } => Some((path.as_c_str(), lock)),
            _ => None,
        })
    }

    /// The path, below the container's root, of the candidate with this number among those of the program.
    pub fn program(&self, candidate: usize) -> Option<std::path::PathBuf> {
        let cwd = self.steps.iter().find_map(|s| match &s.action {
            Action::ChangeDir { path, .. } => Some(lower::as_path(path)),
            _ => None,
        });
        self.steps.iter().find_map(|s| match &s.action {
            Action::Exec { candidates, .. } => Some(
                cwd.unwrap_or(std::path::Path::new("/")).join(lower::as_path(candidates.get(candidate)?)),
            ),
            _ => None,
        })
    }

    /// The row that replaces this process with the container's.
    pub fn exec_row(&self) -> usize {
        self.steps.iter().rposition(|s| matches!(s.action, Action::Exec { .. })).unwrap_or(self.steps.len())
    }
}
