//! The plan of `exec`: one more process in a container that is there.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::config::Process;
use crate::error::Result;
use crate::host::Host;
use crate::plan::check::{Checked, PlanKind, check};
use crate::plan::ops::{CgroupOp, CloneOp, CredOp, ExecOp, FdOp, LimitOp, MountOp, NsOp, StateOp, UserOp};
use crate::plan::recipe::landlock::lowered;
use crate::plan::recipe::tail::{TailInput, append};
use crate::plan::recipe::{
    Console, ExecCgroups, FilterInput, Options, PlanSlots, clone, enter, limits, part, stdio,
};
use crate::plan::{Actor::Init, Actor::Joiner, Actor::Runtime, Plan, Slot, Supplementary, Undo};
use crate::sys::cstr::cpath;
use crate::tables::namespaces::{NAMESPACES, NsKind};

/// All that the plan of `exec` is made from.
#[derive(Debug, Clone, Copy)]
pub struct ExecInput<'a> {
    /// The container.
    pub state: &'a crate::state::State,
    /// The container process: pid and start time.
    pub process_id: (i32, u64),
    /// Namespaces to join, as `CLONE_NEW*` flags.
    pub namespaces: u64,
    /// The new process.
    pub process: &'a Process,
    /// What is executed, where that is not `process.args[0]`.
    pub program: Option<&'a Path>,
    /// The namespaces come from elsewhere, in the slots of [`PlanSlots::namespaces`]: the container's process cannot be
    /// looked into.
    pub inside: bool,
    /// setgroups(2) is allowed in the container's user namespace.
    pub may_set_groups: bool,
    /// uid 0 is mapped there.
    pub root_is_mapped: bool,
    /// Its user, as the runtime sees it, where the runtime may give files away.
    pub user_outside: Option<u32>,
    /// How it gets into the container's cgroups.
    pub groups: &'a ExecCgroups,
    /// The machine.
    pub host: &'a Host,
    /// seccomp filters in the order of loading.
    pub filters: &'a [FilterInput],
    /// Flags of the verb.
    pub options: &'a Options,
}

impl ExecInput<'_> {
    /// Whether this may be inside another container, whose filter refuses calls.
    fn lacks_namespaces(&self) -> bool {
        self.state.landlock.is_some()
    }

    /// Whether Landlock guards the machine from the container, and no namespace.
    fn is_bare(&self) -> bool {
        self.lacks_namespaces() && self.state.namespaces == 0
    }

    /// Whether the filter of that container hides clone3(2).
    fn hides_clone3(&self) -> bool {
        self.lacks_namespaces() && !*self.host.clone3.get()
    }

    /// Whether the container's user namespace is joined.
    fn joins_userns(&self) -> bool {
        self.namespaces & NsKind::User.row().flag != 0
    }
}

/// Builds the plan that runs one more process in a container: the same tail behind another front.
pub fn build_exec(input: ExecInput<'_>) -> Result<(Checked<Plan>, PlanSlots)> {
    let mut plan = Plan::default();
    let mut slots = PlanSlots::new(&mut plan);
    let (target, ends) = sources(&mut plan, &mut slots, &input);
    clone_joiner(&mut plan, &input)?;
    join(&mut plan, &slots, &input, (target, ends));
    if input.options.pidfd_socket {
        let socket = slots.pidfd_socket.clone();
        plan.push(Runtime, part::OUTSIDE, StateOp::SendPidfd { socket, kind: "setns" });
    }
    limits::raise(&mut plan, input.process, input.host);
    let groups = if input.may_set_groups { Supplementary::Drop } else { Supplementary::Keep };
    start(&mut plan, &input, groups);
    let pty_slave = console(&mut plan, &slots, &input)?;
    let proc = private_proc(&mut plan, input.process)?;
    let landlock = input.state.landlock.as_ref();
    let landlock = landlock.map(|rules| lowered(rules, 3 + input.options.preserve_fds));
    let tail = TailInput {
        process: input.process,
        pty_slave,
        stdio: input.options.stdio,
        proc,
        new_keyring: !input.options.no_new_keyring && (!input.lacks_namespaces() || *input.host.keyctl.get()),
        program: input.program,
        filters: input.filters,
        preserve_fds: input.options.preserve_fds,
        die_with_runtime: input.options.die_with_runtime,
        groups,
        created: None,
        start_hooks: None,
        inside: None,
        host: input.host,
        files_before: None,
        state: input.state,
        container: Some(input.process_id.0),
        landlock: landlock.transpose()?,
        init: None,
    };
    append(&mut plan, &tail)?;
    let kind = if input.is_bare() { PlanKind::BareExec } else { PlanKind::Exec };
    Ok((check(plan, kind)?, slots))
}

/// The container's process and namespaces, and the process's stdin, stdout and stderr.
fn sources(plan: &mut Plan, slots: &mut PlanSlots, input: &ExecInput<'_>) -> (Slot, stdio::StdioFds) {
    if input.inside {
        let rows = NAMESPACES.iter().filter(|row| input.namespaces & row.flag != 0);
        slots.namespaces = rows.map(|row| (row.kind, plan.slot(&format!("{} namespace", row.oci)))).collect();
    }
    let target = plan.slot("container");
    let (pid, start) = input.process_id;
    plan.push(Runtime, part::SOURCES, NsOp::OpenPidfd { pid, start, to: target.clone() });
    let owner = (input.user_outside, input.host.rootless.is_none());
    let ends = stdio::pipes(plan, slots, &input.options.stdio, owner);
    if input.joins_userns() {
        stdio::give(plan, input.options, input.user_outside, &input.host.outputs);
    }
    (target, ends)
}

/// The Joiner is cloned, and gets into the container's cgroups.
fn clone_joiner(plan: &mut Plan, input: &ExecInput<'_>) -> Result<()> {
    let before = &input.process.exec_cpu_affinity.0;
    if !before.is_empty() {
        // The child inherits it; this process only waits.
        plan.push(Runtime, part::CLONE, LimitOp::Affinity { cpus: before.clone() });
    }
    let cgroup = match &input.groups.born_in {
        Some(path) => {
            let to = plan.slot("cgroup");
            plan.push(Runtime, part::CGROUP, CgroupOp::Open { path: cpath(path)?, to: to.clone() });
            Some(to)
        }
        None => None,
    };
    let enters = enter::may_enter(input.host, input.groups.scope.is_some());
    let entered = input.groups.entered.iter().filter(|_| enters).map(PathBuf::as_path);
    let tasks_of_v1 = enter::open_tasks(plan, entered)?;
    let clone = if cgroup.is_none() && input.hides_clone3() {
        CloneOp::Plain { namespaces: 0 }
    } else {
        CloneOp::Init { namespaces: 0, cgroup, owner: None }
    };
    plan.push_undo(Runtime, part::CLONE, clone, Undo::Kill);
    if let Some(scope) = &input.groups.scope {
        let attach = CgroupOp::AttachToScope { scope: Rc::new(scope.clone()) };
        plan.push(Runtime, part::CGROUP, attach);
    }
    let moved = input.groups.entered.iter().filter(|_| !enters).chain(&input.groups.moved_to);
    let procs = moved.map(|group| group.join("cgroup.procs"));
    let tasks = input.state.resctrl.iter().map(|class| class.join("tasks"));
    for file in procs.chain(tasks) {
        plan.push(Runtime, part::OUTSIDE, CgroupOp::Join { path: cpath(&file)? });
    }
    // Children inherit the score, and this process has none yet.
    if let Some(value) = input.process.oom_score_adj {
        plan.push(Runtime, part::OUTSIDE, LimitOp::OomScoreAdj { value });
    }
    enter::enter(plan, Joiner, part::CLONE, tasks_of_v1);
    Ok(())
}

/// The Joiner enters the container's namespaces and clones Init there.
fn join(plan: &mut Plan, slots: &PlanSlots, input: &ExecInput<'_>, (target, ends): (Slot, stdio::StdioFds)) {
    plan.push(Joiner, part::CLONE, CredOp::Undumpable);
    stdio::place(plan, Joiner, ends);
    // From the clone below on, processes inside see Init: one that has CAP_SYS_PTRACE over it may open what it
    // holds, whatever prctl(PR_SET_DUMPABLE) says. So nothing of the host goes along but stdio, what the caller
    // preserves, the baton and the terminal's socket, neither of which can be opened through /proc. What such a
    // process can still do is stop Init and be it: of two processes with the same rights in the same user
    // namespace none can hide from the other. A user namespace of the container's own is the answer to that.
    let mut needed = vec![target.clone()];
    needed.extend(slots.namespaces.iter().map(|(_, slot)| slot.clone()));
    needed.extend((input.options.console == Console::Pty).then(|| slots.console.clone()));
    plan.push(Joiner, part::CLONE, FdOp::CloseFds { keep: 3 + input.options.preserve_fds, needed });
    if input.joins_userns() && !input.may_set_groups && input.host.drops_groups() {
        plan.push(Joiner, part::CLONE, clone::no_groups());
    }
    for (kind, slot) in &slots.namespaces {
        plan.push(Joiner, part::CLONE, clone::join(*kind, slot));
    }
    if input.namespaces != 0 && !input.inside {
        let join = NsOp::Join { ns: target, flags: input.namespaces, kind: None };
        plan.push(Joiner, part::CLONE, join);
    }
    let plain = input.hides_clone3();
    plan.push_undo(Joiner, part::CLONE, CloneOp::Sibling { namespaces: 0, owner: None, plain }, Undo::Kill);
}

/// Init's first rows.
fn start(plan: &mut Plan, input: &ExecInput<'_>, groups: Supplementary) {
    plan.push(Init, part::START, ExecOp::CleanSignals);
    plan.push(Init, part::START, ExecOp::NewSession);
    let (before, after) = &input.process.exec_cpu_affinity;
    match (before.is_empty(), after.is_empty()) {
        (true, true) => plan.push(Init, part::START, LimitOp::AllCpus),
        (_, false) => plan.push(Init, part::START, LimitOp::Affinity { cpus: after.clone() }),
        (false, true) => {}
    }
    if input.joins_userns() && input.root_is_mapped {
        plan.push(Init, part::START, UserOp::BecomeRoot { groups });
    }
}

/// A pty from the container's own devpts, opened inside its mount namespace.
fn console(plan: &mut Plan, slots: &PlanSlots, input: &ExecInput<'_>) -> Result<Option<Slot>> {
    if input.options.console == Console::Inherit {
        return Ok(None);
    }
    let devpts = plan.slot("devpts");
    plan.push(Init, part::DEV, FdOp::OpenDevpts { to: devpts.clone() });
    let (master, slave) = (plan.slot("pty master"), plan.slot("pty"));
    let size = input.process.console_size.or(input.options.window);
    plan.push(
        Init,
        part::DEV,
        FdOp::Pty {
            devpts,
            master: master.clone(),
            slave: slave.clone(),
            size,
            owner: input.process.user.uid,
            lf: input.options.lf,
        },
    );
    plan.push(Init, part::DEV, FdOp::SendPty { master, socket: slots.console.clone() });
    Ok(Some(slave))
}

/// A procfs of the container's pid namespace for the label, never the one mounted inside.
fn private_proc(plan: &mut Plan, process: &Process) -> Result<Option<Slot>> {
    let set = |v: &Option<String>| v.as_deref().is_some_and(|v| !v.is_empty());
    if !set(&process.apparmor_profile) && !set(&process.selinux_label) {
        return Ok(None);
    }
    let proc = plan.slot("proc");
    plan.push(
        Init,
        part::START,
        MountOp::New {
            fs: c"proc".into(),
            data: Vec::new(),
            attrs: libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC,
            after: Vec::new(),
            target: None,
            keep: Some(proc.clone()),
        },
    );
    Ok(Some(proc))
}
