//! What rows hand to one another: descriptors, by the slots that hold them.

use std::rc::Rc;

use crate::tables::namespaces::NsKind;

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

/// Slots of the container's root directory and namespaces, in the order in which they are joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamespaceSlots {
    /// The root directory.
    pub root: Slot,
    /// The namespaces.
    pub namespaces: Vec<(NsKind, Slot)>,
}

impl NamespaceSlots {
    /// All of them, in the order in which they are sent.
    pub fn slots(&self) -> impl Iterator<Item = &Slot> {
        std::iter::once(&self.root).chain(self.namespaces.iter().map(|(_, slot)| slot))
    }
}

/// The socket on which Init sends those descriptors while it waits for `start`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamespaceServer {
    /// The socket that is listened on.
    pub socket: Slot,
    /// What is handed out.
    pub shown: NamespaceSlots,
}

/// What a plan does with the caller's supplementary groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Supplementary {
    /// They are dropped.
    Drop,
    /// They are dropped unless the joined user namespace denies setgroups(2)
    /// (user_namespaces(7), "The /proc/PID/setgroups file"); root of the machine has dropped them before.
    DropIfAllowed,
    /// It is known that they cannot be dropped.
    Keep,
}
