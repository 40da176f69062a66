//! The plan: every kernel operation of a launch, in order, as data.
//!
//! [`recipe`] turns a config into a [`Plan`]; [`check`] proves properties of the list; [`report`] shows
//! it; `perform` performs it. Nothing in this folder has an effect on the system.

pub mod call;
pub mod check;
pub mod handover;
pub mod hooks;
pub mod layer;
pub mod limits;
pub mod lower;
pub mod name;
pub mod ops;
mod place;
pub mod process_state;
pub mod recipe;
pub mod report;
pub mod slot;
mod words;

use std::ffi::CStr;

pub use crate::state::undo::Undo;
pub use ops::Action;
pub use slot::{NamespaceServer, NamespaceSlots, Slot, Supplementary};

use crate::plan::ops::{ExecOp, StateOp};

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

/// One row of the plan.
#[derive(Debug, Clone)]
pub struct Row {
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
    pub rows: Vec<Row>,
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
    pub fn push(&mut self, actor: Actor, part: &'static str, action: impl Into<Action>) {
        self.rows.push(Row { actor, action: action.into(), undo: None, part });
    }

    /// Appends a row that creates something.
    pub fn push_undo(&mut self, actor: Actor, part: &'static str, action: impl Into<Action>, undo: Undo) {
        self.rows.push(Row { actor, action: action.into(), undo: Some(undo), part });
    }

    /// The undos of all rows, in the rows' order, each once: the one list that is persisted, replayed in reverse by
    /// `delete`, and replayed by a launch that failed.
    pub fn undos(&self) -> Vec<Undo> {
        let mut undos: Vec<Undo> = Vec::new();
        for undo in self.rows.iter().filter_map(|s| s.undo.as_ref()) {
            if !undos.contains(undo) {
                undos.push(undo.clone());
            }
        }
        undos
    }

    /// The container's directory and the slot of its lock, in a plan that makes it.
    pub fn state_dir(&self) -> Option<(&CStr, &Slot)> {
        self.rows.iter().find_map(|s| match &s.action {
            Action::State(StateOp::Dir { path, lock }) => Some((path.as_c_str(), lock)),
            _ => None,
        })
    }

    /// The path, below the container's root, of the candidate with this number among those of the program.
    pub fn program(&self, candidate: usize) -> Option<std::path::PathBuf> {
        let cwd = self.rows.iter().find_map(|s| match &s.action {
            Action::Exec(ExecOp::ChangeDir { path, .. }) => Some(crate::sys::cstr::as_path(path)),
            _ => None,
        });
        self.rows.iter().find_map(|s| match &s.action {
            Action::Exec(ExecOp::Exec { candidates, .. }) => Some(
                cwd.unwrap_or(std::path::Path::new("/"))
                    .join(crate::sys::cstr::as_path(candidates.get(candidate)?)),
            ),
            _ => None,
        })
    }

    /// The row that replaces this process with the container's.
    pub fn exec_row(&self) -> usize {
        self.rows
            .iter()
            .rposition(|s| matches!(s.action, Action::Exec(ExecOp::Exec { .. })))
            .unwrap_or(self.rows.len())
    }
}
