//! The clone, and the namespaces that it makes and that are joined.

use crate::error::Result;
use crate::plan::ops::{Action, CloneOp, CredOp, NsOp, UserOp};
use crate::plan::recipe::{Builder, part};
use crate::plan::{Actor::Joiner, Actor::Runtime, Slot, Undo};
use crate::sys::cstr::cpath;
use crate::tables::namespaces::{NAMESPACES, NsKind};

/// Namespaces that are joined.
type Joined = Vec<(NsKind, Slot)>;

impl Builder<'_> {
    /// The clone. Joined namespaces are opened first, while host paths can be seen.
    pub(super) fn spawn(&mut self) -> Result<()> {
        let every: Vec<NsKind> = NAMESPACES.iter().map(|row| row.kind).collect();
        let joined = self.open_joined(&every)?;
        let cgroup = self.cgroup_slot()?;
        self.open_tasks()?;
        let new = self.new_flags();
        self.joined.clone_from(&joined);
        let (by_joiner, by_init) = self.who_joins(joined);
        self.joined_by_init = by_init;
        // Processes of a shared pid namespace see Init from its first moment. Processes of a joined user namespace can
        // attach to the process that joins it, whose root is still the host's. (A new user namespace has no processes
        // yet, and an unprivileged user could not write the maps of an undumpable one.)
        let seen = !by_joiner.is_empty() || !self.input.config.is_new(NsKind::Pid);
        let hide = seen && (self.input.host.rootless.is_none() || !self.new_userns());
        // To an ordinary user the files of such a process in /proc are closed: what goes there goes there before.
        let late = self.input.host.euid != 0 && !by_joiner.is_empty();
        if hide && !late {
            self.plan.push(Runtime, part::CLONE, CredOp::Undumpable);
        }
        if !by_joiner.is_empty() || !self.input.config.time_offsets.is_empty() {
            self.plan.push(Runtime, part::CLONE, CloneOp::Init { namespaces: 0, cgroup, owner: None });
            self.scope()?;
            self.join_cgroups()?;
            self.enter_cgroups(Joiner, part::CLONE);
            if hide && late {
                self.oom_score()?;
                self.plan.push(Joiner, part::CLONE, CredOp::Undumpable);
            }
            self.joiner(&by_joiner, new);
        } else {
            let spawn = if cgroup.is_none() && self.hides_clone3() {
                CloneOp::Plain { namespaces: new }
            } else {
                CloneOp::Init { namespaces: new, cgroup, owner: self.owner(new) }
            };
            self.plan.push_undo(Runtime, part::CLONE, spawn, Undo::Kill);
            self.scope()?;
            self.join_cgroups()?;
        }
        Ok(())
    }

    /// What the Joiner does, and its clone.
    fn joiner(&mut self, joined: &Joined, mut new: u64) {
        let enters = joined.iter().any(|(kind, _)| *kind == NsKind::User);
        if enters && self.input.host.drops_groups() {
            self.plan.push(Joiner, part::CLONE, no_groups());
        }
        for (kind, ns) in joined {
            self.plan.push(Joiner, part::CLONE, join(*kind, ns));
        }
        let offsets = &self.input.config.time_offsets;
        if !offsets.is_empty() {
            // The time namespace belongs to the user namespace in which it is made, so that one comes along.
            let early = new & (NsKind::User.row().flag | NsKind::Time.row().flag);
            new &= !early;
            let value: String = offsets.iter().map(|(clock, s, ns)| format!("{clock} {s} {ns}\n")).collect();
            self.plan.push(
                Joiner,
                part::CLONE,
                NsOp::Unshare { namespaces: early, owner: self.owner(early) },
            );
            self.plan.push(Runtime, part::CLONE, NsOp::TimeOffsets { value: value.into_bytes() });
        }
        if enters {
            let groups = self.supplementary();
            self.plan.push(Joiner, part::CLONE, UserOp::BecomeRoot { groups });
        }
        self.plan.push_undo(
            Joiner,
            part::CLONE,
            CloneOp::Sibling { namespaces: new, owner: self.owner(new), plain: false },
            Undo::Kill,
        );
    }

    /// Whether the program gets a session keyring of its own. Where the filter of a surrounding container refuses
    /// keyctl(2), the caller's keyring is out of the program's reach, too.
    pub(super) fn new_keyring(&self) -> bool {
        let hardening = &self.input.config.hardening;
        let filtered = (hardening.bare || hardening.shared_proc) && !*self.input.host.keyctl.get();
        !self.input.options.no_new_keyring && !filtered
    }

    /// Whether this is a container whose filter hides clone3(2), as Docker's default one does.
    fn hides_clone3(&self) -> bool {
        let hardening = &self.input.config.hardening;
        (hardening.bare || hardening.shared_proc) && !*self.input.host.clone3.get()
    }

    /// The user that makes these namespaces, if a user namespace is among them.
    fn owner(&self, namespaces: u64) -> Option<u32> {
        self.input.config.hardening.userns_owner.filter(|_| namespaces & NsKind::User.row().flag != 0)
    }

    /// The namespaces that a Joiner joins before it clones Init inside, and those that Init joins itself.
    ///
    /// A pid or time namespace is entered by children only, and what is new must belong to the user namespace that
    /// is joined. With a user namespace, root joins all others before it enters that one, as runc does: they may be the
    /// host's, over which a process in the user namespace has no rights. An unprivileged user has rights only in there.
    fn who_joins(&self, joined: Joined) -> (Joined, Joined) {
        let root = self.input.host.euid == 0;
        let all = root && self.input.config.namespace(NsKind::User).is_some();
        let early = |kind| all || matches!(kind, NsKind::User | NsKind::Pid | NsKind::Time);
        let (mut by_joiner, by_init): (Joined, Joined) =
            joined.into_iter().partition(|(kind, _)| early(*kind));
        if root {
            by_joiner.sort_by_key(|(kind, _)| *kind == NsKind::User);
        }
        (by_joiner, by_init)
    }

    /// The flags of the namespaces that are made new by the clone. A new cgroup namespace takes the group of its
    /// maker as root: Init makes it once it is in its own.
    fn new_flags(&self) -> u64 {
        let new = |n: &&crate::config::Namespace| n.path.is_none() && n.kind != NsKind::Cgroup;
        self.input.config.namespaces.iter().filter(new).fold(0, |bits, n| bits | n.kind.row().flag)
    }

    /// Opens the namespaces of these kinds that the config names by path.
    pub(super) fn open_joined(&mut self, kinds: &[NsKind]) -> Result<Joined> {
        let mut joined = Vec::new();
        for row in NAMESPACES.iter().filter(|row| kinds.contains(&row.kind)) {
            let Some(path) = self.input.config.namespace(row.kind).and_then(|n| n.path.as_ref()) else {
                continue;
            };
            let to = self.plan.slot(&format!("{} namespace", row.oci));
            let open = NsOp::Open { path: cpath(path)?, kind: row.kind, to: to.clone() };
            self.plan.push(Runtime, part::CLONE, open);
            joined.push((row.kind, to));
        }
        Ok(joined)
    }
}

/// The caller's groups, before a user namespace that may deny to drop them: files of these groups would be the
/// container's to read, mapped or not.
pub(super) fn no_groups() -> Action {
    Action::Cred(CredOp::SetGroups { gids: Vec::new(), if_allowed: false })
}

/// Joins one namespace.
pub(super) fn join(kind: NsKind, ns: &Slot) -> Action {
    Action::Ns(NsOp::Join { ns: ns.clone(), flags: kind.row().flag, kind: Some(kind) })
}
