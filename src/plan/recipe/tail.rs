//! The tail that `run`, `start` and `exec` share: who the process is, what it may do, what it executes.

use std::ffi::CString;
use std::path::Path;
use std::rc::Rc;

use crate::config::Process;
use crate::error::{Error, Result};
use crate::host::Host;
use crate::plan::check::{Checked, Kind, check};
use crate::plan::lower::CStrArray;
use crate::plan::ops::{
    Action, CgroupOp, CloneOp, ConfineOp, CredOp, ExecOp, FdOp, LimitOp, MountOp, NsOp, StateOp, UserOp,
};
use crate::plan::recipe::{Filter, Given, Listens, Options, Stdio, limits, part};
use crate::plan::{Actor::Init, Actor::Joiner, Actor::Runtime, Door, Plan, Shown, Slot, Supplementary, Undo};
use crate::state::SeccompChoice;
use crate::sys::cred::Creds;
use crate::sys::cstr::{cpath, cstring};
use crate::tables::capabilities::CapSet;
use crate::tables::namespaces::NAMESPACES;

/// What `create` does between the drop and the program.
pub(super) struct Created {
    pub from: CString,
    pub to: CString,
    pub start: Slot,
    pub report: Slot,
    pub door: Option<Door>,
    pub pid_file: Option<(CString, CString)>,
}

/// All that the tail is made from.
pub(super) struct Tail<'a> {
    pub process: &'a Process,
    pub pty_slave: Option<Slot>,
    /// What becomes of descriptors 0 to 2.
    pub stdio: [Stdio; 3],
    pub proc: Option<Slot>,
    /// A session keyring of its own instead of the caller's.
    pub new_keyring: bool,
    /// What is executed, where that is not `process.args[0]`.
    pub program: Option<&'a Path>,
    pub filters: &'a [Filter],
    pub preserve_fds: u32,
    pub die_with_runtime: bool,
    pub groups: Supplementary,
    pub created: Option<Created>,
    /// `run`: hooks that go right before the program.
    pub start_hooks: Option<Rc<crate::plan::hooks::HookRun>>,
    /// The way in for them, where the process's pidfd is none.
    pub inside: Option<Rc<Shown>>,
    pub host: &'a Host,
    /// What landlock(7) leaves of the rights to files.
    pub landlock: Option<Rc<crate::plan::ops::Landlock>>,
    /// What a seccomp agent is told about.
    pub state: &'a crate::state::State,
    /// The container process, where this is another one.
    pub container: Option<i32>,
    /// `--init`: the socket of its status, and whether it must ask for the orphans.
    pub init: Option<(Slot, bool)>,
}

/// Appends the tail.
pub(super) fn append(plan: &mut Plan, t: &Tail<'_>) -> Result<()> {
    let process = t.process;
    if let Some(slave) = &t.pty_slave {
        let fds = (0..).zip(t.stdio).filter(|(_, s)| *s == Stdio::Inherit).map(|(n, _)| n);
        plan.push(Init, part::DROP, FdOp::TakeTty { slave: slave.clone(), fds: fds.collect() });
    }
    limits::grant(plan, process);
    scheduling(plan, t)?;
    if let Some(value) = t.state.personality {
        plan.push(Init, part::DROP, ExecOp::Personality { value });
    }
    if let Some(policy) = t.state.memory_policy.clone() {
        plan.push(Init, part::DROP, LimitOp::MemoryPolicy(policy));
    }
    if t.new_keyring {
        plan.push(Init, part::DROP, CredOp::Keyring);
    }
    label(plan, t)?;
    // Before any path is looked up: /proc/self/fd must not lead to a directory of the host.
    let doors = t.created.iter().filter_map(|c| c.door.as_ref());
    let doors = doors.flat_map(|d| std::iter::once(&d.socket).chain(d.shown.slots()));
    let fifos = t.created.iter().flat_map(|c| [&c.start, &c.report]);
    let status = t.init.iter().map(|(status, _)| status);
    let needed = fifos.chain(doors).chain(status).cloned().collect();
    plan.push(Init, part::DROP, FdOp::CloseFds { keep: 3 + t.preserve_fds, needed });
    // As runc does it: the config's author may want a directory that its user cannot enter, and the user may have
    // one that this process cannot.
    let cwd = cpath(&process.cwd)?;
    plan.push(Init, part::DROP, ExecOp::ChangeDir { path: cwd.clone(), again: false });
    while_privileged(plan, t);
    // Without no_new_privs only CAP_SYS_ADMIN may load a filter: before the drop, then, but not before what need
    // not come after it. A profile has to allow what follows, and runc, for which profiles are written, asks for
    // less of it than the rows above do.
    let late = limits::allowed_late(t.filters, process.no_new_privileges);
    if !process.no_new_privileges {
        if !late {
            limits::set(plan, process, t.host);
        }
        filters(plan, t, |_| true)?;
    }
    credentials(plan, t);
    plan.push(Init, part::DROP, ExecOp::ChangeDir { path: cwd, again: true });
    if t.die_with_runtime {
        plan.push(Init, part::DROP, ExecOp::DieWithRuntime);
    }
    let candidates = Rc::new(match t.program {
        Some(path) => vec![cpath(path)?],
        None => candidates(process)?,
    });
    plan.push(
        Init,
        part::DROP,
        ExecOp::FindProgram { candidates: candidates.clone(), hook: t.program.is_some() },
    );
    if let Some(landlock) = &t.landlock {
        plan.push(Init, part::DROP, ConfineOp::Landlock(landlock.clone()));
    }
    // A listener needs the runtime, which is gone once the container waits for `start`.
    if process.no_new_privileges {
        if !late {
            limits::set(plan, process, t.host);
        }
        filters(plan, t, |f| f.listener.is_some())?;
    }
    if let Some(c) = &t.created {
        plan.push(Runtime, part::CREATED, StateOp::Created { from: c.from.clone(), to: c.to.clone() });
        if let Some((path, temp)) = c.pid_file.clone() {
            plan.push(Runtime, part::CREATED, StateOp::PidFile { path, temp });
        }
        plan.push(
            Init,
            part::CREATED,
            ExecOp::AwaitStart { start: c.start.clone(), report: c.report.clone(), door: c.door.clone() },
        );
    }
    if let Some(state) = t.start_hooks.clone() {
        let kind = crate::config::hooks::HookKind::StartContainer;
        plan.push(Runtime, part::CREATED, ExecOp::Hooks { kind, state, inside: t.inside.clone() });
    }
    if late {
        limits::set(plan, process, t.host);
    }
    if process.no_new_privileges {
        filters(plan, t, |f| f.listener.is_none())?;
    }
    if let Some((status, subreaper)) = t.init.clone() {
        let terminal = t.stdio.iter().position(|s| *s == Stdio::Inherit).filter(|_| t.pty_slave.is_some());
        let tty = terminal.and_then(|fd| u8::try_from(fd).ok());
        plan.push(Init, part::EXEC, ExecOp::StayInit { status, tty, subreaper });
    }
    let argv = Rc::new(CStrArray::new("process.args", &process.args)?);
    let envp = Rc::new(CStrArray::new("process.env", &process.env)?);
    plan.push(Init, part::EXEC, ExecOp::Exec { candidates, argv, envp });
    Ok(())
}

/// Loads those filters that are `wanted`; a listener goes to who answers at once.
fn filters(plan: &mut Plan, t: &Tail<'_>, wanted: fn(&Filter) -> bool) -> Result<()> {
    for f in t.filters.iter().filter(|f| wanted(f)) {
        let slot = f.listener.is_some().then(|| plan.slot("seccomp listener"));
        let (filter, flags, what) = (f.program.clone(), f.flags, f.what);
        plan.push(Init, part::EXEC, ConfineOp::Seccomp { filter, flags, what, listener: slot.clone() });
        let (Some(listener), Some(to)) = (slot, &f.listener) else { continue };
        let agent = match to {
            Listens::Launcher(_) => None,
            Listens::Agent(to) => {
                let told = crate::plan::process_state::ProcessState::new(t.state, t.container, &to.metadata);
                Some((cpath(&to.socket(&t.state.bundle)?)?, Rc::new(told)))
            }
        };
        // An ordinary user's runtime may not take it: Init has become another user, and is not to be looked into
        // (ptrace(2), "Ptrace access mode checking").
        let passed = t.host.rootless.is_some();
        if passed {
            for profile in t.state.seccomp.iter().filter_map(SeccompChoice::profile) {
                crate::seccomp::may_be_passed(profile)?;
            }
        }
        let send = ConfineOp::SendListener { listener: listener.clone(), agent, passed };
        plan.push(Runtime, part::EXEC, send);
        plan.push(Init, part::EXEC, ConfineOp::DropListener { listener });
    }
    Ok(())
}

fn scheduling(plan: &mut Plan, t: &Tail<'_>) -> Result<()> {
    if let Some(scheduler) = &t.process.scheduler {
        plan.push(Init, part::DROP, LimitOp::Scheduler(crate::config::scheduler_attr(scheduler)?));
    }
    if let Some(value) = t.process.io_priority {
        plan.push(Init, part::DROP, LimitOp::IoPriority { value });
    }
    Ok(())
}

/// The label that the security module gives the program when it is executed.
fn label(plan: &mut Plan, t: &Tail<'_>) -> Result<()> {
    let want = |v: &Option<String>| v.clone().filter(|v| !v.is_empty());
    let (apparmor, selinux) = (want(&t.process.apparmor_profile), want(&t.process.selinux_label));
    let (file, value) = match (apparmor, selinux) {
        (Some(profile), _) if *t.host.apparmor.get() => {
            ("self/attr/apparmor/exec", format!("exec {profile}"))
        }
        (None, Some(label)) if *t.host.selinux.get() => ("self/attr/exec", label),
        (Some(_), _) => {
            return Err(pointer("/process/apparmorProfile", "AppArmor is not active on this host"));
        }
        (None, Some(_)) => {
            return Err(pointer("/process/selinuxLabel", "SELinux is not active on this host"));
        }
        (None, None) => return Ok(()),
    };
    let Some(proc) = t.proc.clone() else {
        return Err(Error::msg("a security label needs a procfs handle, and the plan has none"));
    };
    let row = ConfineOp::ExecLabel { proc, file: cstring("label", file)?, value: value.into_bytes() };
    plan.push(Init, part::DROP, row);
    Ok(())
}

fn pointer(pointer: &str, message: &str) -> Error {
    Error::Config(crate::config::ConfigError::new(pointer, message))
}

/// What needs capabilities that go with the ids or the sets: the bounding set needs CAP_SETPCAP, groups
/// CAP_SETGID, a chown CAP_CHOWN.
fn while_privileged(plan: &mut Plan, t: &Tail<'_>) {
    let (user, caps) = (&t.process.user, &t.process.capabilities);
    let mut push = |action| plan.push(Init, part::DROP, action);
    push(Action::Cred(CredOp::Bounding { keep: caps.bounding.0 }));
    push(Action::Cred(CredOp::KeepCaps));
    // A terminal is made for its user; 0 to 2 of the caller are its, and root opens them anyhow.
    if t.pty_slave.is_none() && user.uid != 0 {
        // An ordinary user's files would become a subordinate id's, out of their owner's reach.
        push(Action::Fd(FdOp::OwnStdio { uid: user.uid, files: t.host.rootless.is_none() }));
    }
    if t.groups != Supplementary::Keep {
        let if_allowed = t.groups == Supplementary::DropIfAllowed;
        push(Action::Cred(CredOp::SetGroups { gids: user.additional_gids.clone(), if_allowed }));
    }
    push(Action::Exec(ExecOp::Umask { mask: user.umask.unwrap_or(0o022) }));
}

/// Ids and capabilities, in the one order that works: the group before the user, the sets last; then everything
/// is read back.
fn credentials(plan: &mut Plan, t: &Tail<'_>) {
    let (user, caps) = (&t.process.user, &t.process.capabilities);
    let mut push = |action| plan.push(Init, part::DROP, action);
    push(Action::Cred(CredOp::SetGid { gid: user.gid }));
    push(Action::Cred(CredOp::SetUid { uid: user.uid }));
    let (effective, permitted, inheritable) = (caps.effective.0, caps.permitted.0, caps.inheritable.0);
    push(Action::Cred(CredOp::Caps { effective, permitted, inheritable }));
    // The kernel raises only what is permitted and inheritable; runc's own template asks for more, and
    // gets as little: the rest is left out here.
    let possible = CapSet(caps.ambient.0 & permitted & inheritable);
    push(Action::Cred(CredOp::Ambient { caps: possible.iter().collect() }));
    if t.process.no_new_privileges {
        push(Action::Cred(CredOp::NoNewPrivs));
    }
    let mut groups = user.additional_gids.clone();
    groups.sort_unstable();
    push(Action::Cred(CredOp::Verify(Creds {
        uid: user.uid,
        gid: user.gid,
        groups: (t.groups != Supplementary::Keep).then_some(groups),
        bounding: caps.bounding.0,
        effective,
        permitted,
        inheritable,
        ambient: possible.0,
        no_new_privs: t.process.no_new_privileges,
    })));
}

/// Where the program may be: the path as given when it has a slash, else every directory of `PATH`.
pub fn candidates(process: &Process) -> Result<Vec<CString>> {
    let program = process.args.first().map(String::as_str).unwrap_or_default();
    if program.contains('/') {
        return Ok(vec![cstring("process.args", program)?]);
    }
    // As execvp(3), the last PATH wins; without one there is nothing to search.
    let path = process.env.iter().rev().find_map(|e| e.strip_prefix("PATH=")).unwrap_or_default();
    path.split(':')
        .filter(|dir| !dir.is_empty())
        .map(|dir| Ok(cpath(&Path::new(dir).join(program))?))
        .collect()
}

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
    /// The namespaces come from elsewhere, in the slots of [`Given::namespaces`]: the container's process cannot be
    /// looked into.
    pub inside: bool,
    /// setgroups(2) is allowed in the container's user namespace.
    pub may_set_groups: bool,
    /// uid 0 is mapped there.
    pub root_is_mapped: bool,
    /// Its user, as the runtime sees it, where the runtime may give files away.
    pub user_outside: Option<u32>,
    /// How it gets into the container's groups.
    pub groups: &'a crate::plan::recipe::ExecCgroups,
    /// The machine.
    pub host: &'a Host,
    /// seccomp filters in the order of loading.
    pub filters: &'a [Filter],
    /// Flags of the verb.
    pub options: &'a Options,
}

/// Builds the plan that runs one more process in a container: the same tail behind another front.
pub fn build_exec(input: ExecInput<'_>) -> Result<(Checked<Plan>, Given)> {
    let mut plan = Plan::default();
    let mut given = Given::new(&mut plan);
    if input.inside {
        let rows = NAMESPACES.iter().filter(|row| input.namespaces & row.flag != 0);
        given.namespaces = rows.map(|row| (row.kind, plan.slot(&format!("{} namespace", row.oci)))).collect();
    }
    let target = plan.slot("container");
    let (pid, start) = input.process_id;
    plan.push(Runtime, part::SOURCES, NsOp::OpenPidfd { pid, start, to: target.clone() });
    let given_ends = crate::plan::recipe::stdio::pipes(
        &mut plan,
        &mut given,
        &input.options.stdio,
        (input.user_outside, input.host.rootless.is_none()),
    );
    if input.namespaces & libc::CLONE_NEWUSER as u64 != 0 {
        let files = &input.host.outputs;
        crate::plan::recipe::stdio::give(&mut plan, input.options, input.user_outside, files);
    }
    let (before, after) = &input.process.exec_cpu_affinity;
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
    plan.push_undo(Runtime, part::CLONE, CloneOp::Init { namespaces: 0, cgroup, owner: None }, Undo::Kill);
    if let Some(scope) = &input.groups.scope {
        let attach = CgroupOp::AttachToScope { scope: Rc::new(scope.clone()) };
        plan.push(Runtime, part::CGROUP, attach);
    }
    for group in &input.groups.moved_to {
        let path = cpath(&group.join("cgroup.procs"))?;
        plan.push(Runtime, part::OUTSIDE, CgroupOp::Join { path });
    }
    for class in &input.state.resctrl {
        let path = cpath(&class.join("tasks"))?;
        plan.push(Runtime, part::OUTSIDE, CgroupOp::Join { path });
    }
    // The score is passed on to children, and this one can still be told.
    if let Some(value) = input.process.oom_score_adj {
        plan.push(Runtime, part::OUTSIDE, LimitOp::OomScoreAdj { value });
    }
    plan.push(Joiner, part::CLONE, CredOp::Undumpable);
    crate::plan::recipe::stdio::place(&mut plan, Joiner, given_ends);
    let userns = input.namespaces & libc::CLONE_NEWUSER as u64 != 0;
    // From the clone below on, processes inside see Init: one that has CAP_SYS_PTRACE over it may open what it
    // holds, whatever prctl(PR_SET_DUMPABLE) says. So nothing of the host goes along but stdio, what the caller
    // preserves, the baton and the terminal's socket, neither of which can be opened through /proc. What such a
    // process can still do is stop Init and be it: of two processes with the same rights in the same user
    // namespace none can hide from the other. A user namespace of the container's own is the answer to that.
    let mut needed = vec![target.clone()];
    needed.extend(given.namespaces.iter().map(|(_, slot)| slot.clone()));
    needed
        .extend((input.options.console == crate::plan::recipe::Console::Pty).then(|| given.console.clone()));
    plan.push(Joiner, part::CLONE, FdOp::CloseFds { keep: 3 + input.options.preserve_fds, needed });
    if userns && !input.may_set_groups && input.host.drops_groups() {
        plan.push(Joiner, part::CLONE, crate::plan::recipe::clone::no_groups());
    }
    for (kind, slot) in &given.namespaces {
        plan.push(Joiner, part::CLONE, crate::plan::recipe::clone::join(*kind, slot));
    }
    if input.namespaces != 0 && !input.inside {
        let join = NsOp::Join { ns: target, flags: input.namespaces, kind: None };
        plan.push(Joiner, part::CLONE, join);
    }
    plan.push_undo(Joiner, part::CLONE, CloneOp::Sibling { namespaces: 0, owner: None }, Undo::Kill);
    if input.options.pidfd_socket {
        let socket = given.pidfd_socket.clone();
        plan.push(Runtime, part::OUTSIDE, StateOp::SendPidfd { socket, kind: "setns" });
    }
    crate::plan::recipe::limits::raise(&mut plan, input.process, input.host);
    plan.push(Init, part::START, ExecOp::CleanSignals);
    plan.push(Init, part::START, ExecOp::NewSession);
    match (before.is_empty(), after.is_empty()) {
        (true, true) => plan.push(Init, part::START, LimitOp::AllCpus),
        (_, false) => plan.push(Init, part::START, LimitOp::Affinity { cpus: after.clone() }),
        (false, true) => {}
    }
    let groups = if input.may_set_groups { Supplementary::Drop } else { Supplementary::Keep };
    if userns && input.root_is_mapped {
        plan.push(Init, part::START, UserOp::BecomeRoot { groups });
    }
    let pty = exec_console(&mut plan, &given, &input)?;
    let proc = exec_proc(&mut plan, input.process)?;
    append(
        &mut plan,
        &Tail {
            process: input.process,
            pty_slave: pty,
            stdio: input.options.stdio,
            proc,
            new_keyring: !input.options.no_new_keyring,
            program: input.program,
            filters: input.filters,
            preserve_fds: input.options.preserve_fds,
            die_with_runtime: input.options.die_with_runtime,
            groups,
            created: None,
            start_hooks: None,
            inside: None,
            host: input.host,
            state: input.state,
            container: Some(pid),
            landlock: None,
            init: None,
        },
    )?;
    Ok((check(plan, Kind::Exec)?, given))
}

/// A pty from the container's own devpts, opened inside its mount namespace.
fn exec_console(plan: &mut Plan, given: &Given, input: &ExecInput<'_>) -> Result<Option<Slot>> {
    if input.options.console == crate::plan::recipe::Console::Inherit {
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
    plan.push(Init, part::DEV, FdOp::SendPty { master, socket: given.console.clone() });
    Ok(Some(slave))
}

/// A procfs of the container's pid namespace for the label, never the one mounted inside.
fn exec_proc(plan: &mut Plan, process: &Process) -> Result<Option<Slot>> {
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
