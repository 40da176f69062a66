//! The plan: every kernel operation of a launch, in order, as data.
//!
//! [`recipe`] turns a config into a [`Plan`]; [`check`] proves properties of the list; [`print`] shows
//! it; `perform` performs it. Nothing in this folder has an effect on the system.

pub mod action;
pub mod calls;
pub mod check;
pub mod hooks;
pub mod layer;
pub mod limits;
pub mod lower;
pub mod name;
mod place;
pub mod pointer;
pub mod print;
mod print_inside;
pub mod process_state;
pub mod recipe;
pub mod report;
mod resolves;
pub mod why;
mod words;

use std::ffi::CStr;
use std::rc::Rc;

pub use crate::state::undo::Undo;
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

impl Actor {
    /// As `explain` prints it.
    pub fn name(self) -> &'static str {
        match self {
            Actor::Runtime => "runtime",
            Actor::Joiner => "joiner",
            Actor::Init => "init",
        }
    }
}

impl std::fmt::Display for Actor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
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

/// Bytes of a secret that are copied at once.
pub const SECRET_BLOCK: u64 = 4096;

/// What leads into the container: its root directory and its namespaces, in the order in which they are joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// The root directory.
    pub root: Slot,
    /// The namespaces.
    pub namespaces: Vec<(NsKind, Slot)>,
}

impl Shown {
    /// All of them, in the order in which they are sent.
    pub fn slots(&self) -> impl Iterator<Item = &Slot> {
        std::iter::once(&self.root).chain(self.namespaces.iter().map(|(_, slot)| slot))
    }
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
            Action::ChangeDir { path, .. } => Some(crate::sys::cstr::as_path(path)),
            _ => None,
        });
        self.steps.iter().find_map(|s| match &s.action {
            Action::Exec { candidates, .. } => Some(
                cwd.unwrap_or(std::path::Path::new("/"))
                    .join(crate::sys::cstr::as_path(candidates.get(candidate)?)),
            ),
            _ => None,
        })
    }

    /// The row that replaces this process with the container's.
    pub fn exec_row(&self) -> usize {
        self.steps.iter().rposition(|s| matches!(s.action, Action::Exec { .. })).unwrap_or(self.steps.len())
    }
}
