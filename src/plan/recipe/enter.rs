//! cgroup v1: a new process enters its cgroups by itself, since to move another one waits for all forks of the machine.

use std::ffi::CString;
use std::path::Path;

use crate::error::Result;
use crate::host::Host;
use crate::plan::ops::CgroupOp;
use crate::plan::recipe::{Builder, cjoin, part};
use crate::plan::{Actor, Actor::Runtime, Plan, Slot};

/// Whether a new process enters cgroups of v1 by itself. An ordinary user's may not, once it has an id of its user
/// namespace; and systemd puts it into those of a scope.
pub(super) fn may_enter(host: &Host, scope: bool) -> bool {
    host.euid == 0 && host.rootless.is_none() && !scope
}

/// cgroup v1: opens the files by which a process enters these cgroups.
pub(super) fn open_tasks<'g>(
    plan: &mut Plan,
    cgroups: impl Iterator<Item = &'g Path>,
) -> Result<Vec<(CString, Slot)>> {
    let mut opened = Vec::new();
    for cgroup in cgroups {
        let (path, to) = (cjoin(cgroup, "tasks")?, plan.slot("tasks"));
        plan.push(Runtime, part::CGROUP, CgroupOp::OpenTasks { path: path.clone(), to: to.clone() });
        opened.push((path, to));
    }
    Ok(opened)
}

/// The process enters.
pub(super) fn enter(plan: &mut Plan, actor: Actor, part: &'static str, opened: Vec<(CString, Slot)>) {
    for (path, tasks) in opened {
        plan.push(actor, part, CgroupOp::Enter { tasks, path });
    }
}

impl Builder<'_> {
    /// Whether this launch's child enters by itself.
    pub(super) fn enters(&self) -> bool {
        may_enter(self.input.host, self.input.cgroups.scope.is_some())
    }

    /// cgroup v1: the files by which the child enters.
    pub(super) fn open_tasks(&mut self) -> Result<()> {
        if !self.enters() {
            return Ok(());
        }
        let v1 = self.input.cgroups.cgroups.iter().filter(|g| !g.controllers.is_empty());
        self.tasks = open_tasks(&mut self.plan, v1.map(|g| g.path.as_path()))?;
        Ok(())
    }

    /// The child enters.
    pub(super) fn enter_cgroups(&mut self, actor: Actor, part: &'static str) {
        enter(&mut self.plan, actor, part, std::mem::take(&mut self.tasks));
    }
}
