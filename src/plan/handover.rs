//! What comes with the turn when it passes from one process to another.

use std::rc::Rc;

use super::Plan;
use super::ops::{Action, CloneOp, ConfineOp, NsOp};
use super::slot::{NamespaceSlots, Slot};

/// What the actor of a row takes from the one before it.
#[derive(Debug, Clone, Copy)]
pub enum Brings<'a> {
    /// The turn alone.
    Nothing,
    /// The pid of the process that a Joiner has cloned.
    Child,
    /// The number of a seccomp listener in Init's table of descriptors, which the runtime takes from there.
    Listener(&'a Slot),
    /// The listener itself.
    PassedListener(&'a Slot),
    /// Descriptors of the container's namespaces.
    Namespaces(&'a Rc<NamespaceSlots>),
}

impl Plan {
    /// What comes with the turn for row `next`, which another actor than that of the row before performs.
    pub fn brings(&self, next: usize) -> Brings<'_> {
        match self.rows.get(next).map(|step| &step.action) {
            Some(Action::Confine(ConfineOp::SendListener { listener, passed: true, .. })) => {
                Brings::PassedListener(listener)
            }
            Some(Action::Confine(ConfineOp::SendListener { listener, .. })) => Brings::Listener(listener),
            Some(Action::Ns(NsOp::TakeFds { shown })) => Brings::Namespaces(shown),
            _ if self.clones_sibling(next) => Brings::Child,
            _ => Brings::Nothing,
        }
    }

    /// Whether the row before `next` is a Joiner's clone.
    fn clones_sibling(&self, next: usize) -> bool {
        let before = next.checked_sub(1).and_then(|row| self.rows.get(row));
        before.is_some_and(|step| matches!(step.action, Action::Clone(CloneOp::Sibling { .. })))
    }

    /// The row at which the turn comes back when row `from` was handed over: the next one of another actor, or the end.
    pub fn turn_after(&self, from: usize) -> usize {
        let of = |row: usize| self.rows.get(row).map(|step| step.actor);
        (from..self.rows.len()).find(|row| of(*row) != of(from)).unwrap_or(self.rows.len())
    }
}
