//! Rows for descriptors 0 to 2.

use crate::config::idmap;
use crate::error::Result;
use crate::host::OutputFile;
use crate::plan::ops::{ExecOp, FdOp, StdioPipe};
use crate::plan::recipe::{Builder, Console, Options, PlanSlots, part};
use crate::plan::{Actor, Actor::Runtime, Plan, Slot, Undo};
use crate::tables::namespaces::NsKind;

/// How one of the descriptors 0 to 2 gets to the container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Stdio {
    /// The caller's own.
    #[default]
    Inherit,
    /// A null device: one of the container's own where the runtime can make nodes.
    Null,
    /// A pipe, which the launcher copies from or to the caller's.
    Pipe,
    /// stderr that is the same as stdout: one pipe keeps the order of what is written.
    AsStdout,
}

const NAMES: [&str; 3] = ["stdin", "stdout", "stderr"];

/// What takes the place of the caller's descriptors: (number, slot).
pub(super) type StdioFds = Vec<(u8, Slot)>;

/// The runtime's rows: what takes the place of the caller's descriptors. `owner`: the program's user.
pub(super) fn pipes(
    plan: &mut Plan,
    slots: &mut PlanSlots,
    stdio: &[Stdio; 3],
    (owner, own_null): (Option<u32>, bool),
) -> StdioFds {
    let (mut ends, mut null): (Vec<(u8, Slot)>, Option<Slot>) = Default::default();
    for ((number, how), name) in (0..).zip(stdio).zip(NAMES) {
        let end = match how {
            Stdio::Inherit => continue,
            Stdio::AsStdout => ends.iter().find(|(n, _)| *n == 1).map(|(_, slot)| slot.clone()),
            Stdio::Null => {
                // One serves for all.
                if null.is_none() {
                    let to = plan.slot("null");
                    plan.push(Runtime, part::SOURCES, FdOp::StdioNull { own: own_null, to: to.clone() });
                    null = Some(to);
                }
                null.clone()
            }
            Stdio::Pipe => {
                let (ours, theirs) = (plan.slot(&format!("{name} outside")), plan.slot(name));
                let pipe = StdioPipe { number, ours, theirs: theirs.clone() };
                slots.pipes.push(pipe.clone());
                plan.push(Runtime, part::SOURCES, FdOp::StdioPipe { pipe, owner });
                Some(theirs)
            }
        };
        ends.extend(end.map(|slot| (number, slot)));
    }
    ends
}

/// The row of the process that has yet to enter the container.
pub(super) fn place(plan: &mut Plan, actor: Actor, ends: StdioFds) {
    if !ends.is_empty() {
        plan.push(actor, part::CLONE, FdOp::PlaceStdio { ends });
    }
}

/// In a user namespace the program's user cannot be given what is the caller's: the runtime does it.
pub(super) fn give(plan: &mut Plan, options: &Options, owner: Option<u32>, files: &[OutputFile]) {
    let inherited = options.stdio.contains(&Stdio::Inherit) && options.console == Console::Inherit;
    let Some(uid) = owner.filter(|_| inherited && options.gives_stdio) else { return };
    let files: Vec<_> = files.iter().filter(|file| file.uid != uid).cloned().collect();
    let action = FdOp::GiveStdio { uid };
    if files.is_empty() {
        // A pipe goes with those who have it open.
        plan.push(Runtime, part::SOURCES, action);
    } else {
        plan.push_undo(Runtime, part::SOURCES, action, Undo::Outputs { files, given: uid });
    }
}

impl Builder<'_> {
    /// `--init`: the slot of init's end of the status socket, and whether it must ask for the orphans.
    pub(super) fn init(&self) -> Option<(Slot, bool)> {
        let (_, theirs) = self.slots.status.as_ref()?;
        Some((theirs.clone(), !self.input.config.is_new(NsKind::Pid)))
    }

    /// What takes the place of the caller's descriptors.
    pub(super) fn stdio(&mut self) -> Result<()> {
        if self.input.options.init {
            let (ours, theirs) = (self.plan.slot("status"), self.plan.slot("status inside"));
            let row = ExecOp::StatusSocket { ours: ours.clone(), theirs: theirs.clone() };
            self.plan.push(Runtime, part::SOURCES, row);
            self.slots.status = Some((ours, theirs));
        }
        let config = self.input.config;
        let uid = self.process()?.user.uid;
        let root = self.input.host.euid == 0;
        let outside = match config.namespace(NsKind::User) {
            None => Some(uid),
            // A user namespace that is joined has its maps already; they are not in the config.
            Some(_) => idmap::to_host(&config.uid_maps, uid),
        };
        let owner = outside.filter(|_| root);
        let facts = (owner, self.makes_nodes());
        self.stdio = pipes(&mut self.plan, &mut self.slots, &self.input.options.stdio, facts);
        if config.namespace(NsKind::User).is_some() {
            give(&mut self.plan, self.input.options, owner, &self.input.host.outputs);
        }
        Ok(())
    }
}
