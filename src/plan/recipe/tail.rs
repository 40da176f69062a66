//! The tail that `run`, `start` and `exec` share: who the process is, what it may do, what it executes.

use std::ffi::CString;
use std::path::Path;
use std::rc::Rc;

use crate::config::Process;
use crate::error::{Error, Result};
use crate::host::Host;
use crate::plan::lower::CStrArray;
use crate::plan::ops::{Action, ConfineOp, CredOp, ExecOp, FdOp, LimitOp, StateOp};
use crate::plan::recipe::{FilterInput, Listens, Stdio, limits, part};
use crate::plan::{Actor::Init, Actor::Runtime, NamespaceServer, NamespaceSlots, Plan, Slot, Supplementary};
use crate::state::SeccompChoice;
use crate::sys::cred::Creds;
use crate::sys::cstr::{cpath, cstring};
use crate::sys::rlimit::RlimitPair;
use crate::tables::capabilities::CapSet;

/// What `create` does between the drop and the program.
pub(super) struct Created {
    pub from: CString,
    pub to: CString,
    pub start: Slot,
    pub report: Slot,
    pub server: Option<NamespaceServer>,
    pub pid_file: Option<(CString, CString)>,
}

/// All that the tail is made from.
pub(super) struct TailInput<'a> {
    pub process: &'a Process,
    pub pty_slave: Option<Slot>,
    /// What becomes of descriptors 0 to 2.
    pub stdio: [Stdio; 3],
    pub proc: Option<Slot>,
    /// A session keyring of its own instead of the caller's.
    pub new_keyring: bool,
    /// What is executed, where that is not `process.args[0]`.
    pub program: Option<&'a Path>,
    pub filters: &'a [FilterInput],
    pub preserve_fds: u32,
    pub die_with_runtime: bool,
    pub groups: Supplementary,
    pub created: Option<Created>,
    /// `run`: hooks that go right before the program.
    pub start_hooks: Option<Rc<crate::plan::hooks::HookRun>>,
    /// The way in for them, where the process's pidfd is none.
    pub inside: Option<Rc<NamespaceSlots>>,
    pub host: &'a Host,
    /// The limit on descriptors before the runtime raised its own.
    pub files_before: Option<RlimitPair>,
    /// What landlock(7) leaves of the rights to files.
    pub landlock: Option<Rc<crate::plan::ops::Landlock>>,
    /// The state that a seccomp agent gets.
    pub state: &'a crate::state::State,
    /// The container process, where this is another one.
    pub container: Option<i32>,
    /// `--init`: the socket of its status, and whether it must ask for the orphans.
    pub init: Option<(Slot, bool)>,
}

impl TailInput<'_> {
    /// Whether Init forks the program, which may then set limits itself.
    fn forks(&self) -> bool {
        self.init.is_some() && self.filters.iter().all(|f| f.lets_limits)
    }
}

/// Appends the tail.
pub(super) fn append(plan: &mut Plan, t: &TailInput<'_>) -> Result<()> {
    let process = t.process;
    settings(plan, t)?;
    close_descriptors(plan, t);
    // As runc does it: the config's author may want a directory that its user cannot enter, and the user may have
    // one that this process cannot.
    let cwd = cpath(&process.cwd)?;
    plan.push(Init, part::DROP, ExecOp::ChangeDir { path: cwd.clone(), again: false });
    while_privileged(plan, t);
    // Without no_new_privs only CAP_SYS_ADMIN may load a filter: before the drop, then, but not before rows that need
    // not come after it. A profile has to allow what follows, and runc, for which profiles are written, makes fewer
    // calls there than the rows above do.
    let late = limits::allowed_late(t.filters, process.no_new_privileges);
    let forks = t.forks();
    if !process.no_new_privileges {
        if !late {
            limits::set(plan, process, t.files_before, forks);
        }
        filters(plan, t, |_| true)?;
    }
    credentials(plan, t);
    plan.push(Init, part::DROP, ExecOp::ChangeDir { path: cwd, again: true });
    if t.die_with_runtime {
        plan.push(Init, part::DROP, ExecOp::DieWithRuntime);
    }
    let candidates = find_program(plan, t)?;
    if let Some(landlock) = &t.landlock {
        plan.push(Init, part::DROP, ConfineOp::Landlock(landlock.clone()));
    }
    // A listener needs the runtime, which is gone once the container waits for `start`.
    if process.no_new_privileges {
        if !late {
            limits::set(plan, process, t.files_before, forks);
        }
        filters(plan, t, |f| f.listener.is_some())?;
    }
    created(plan, t);
    if late {
        limits::set(plan, process, t.files_before, forks);
    }
    if process.no_new_privileges {
        filters(plan, t, |f| f.listener.is_none())?;
    }
    execute(plan, t, candidates)
}

/// Terminal, scheduling, keyring and label: settings that no later row depends on.
fn settings(plan: &mut Plan, t: &TailInput<'_>) -> Result<()> {
    if let Some(slave) = &t.pty_slave {
        let fds = (0..).zip(t.stdio).filter(|(_, s)| *s == Stdio::Inherit).map(|(n, _)| n);
        plan.push(Init, part::DROP, FdOp::TakeTty { slave: slave.clone(), fds: fds.collect() });
    }
    limits::grant(plan, t.process);
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
    label(plan, t)
}

/// Before any path is looked up: /proc/self/fd must not lead to a directory of the host.
fn close_descriptors(plan: &mut Plan, t: &TailInput<'_>) {
    let servers = t.created.iter().filter_map(|c| c.server.as_ref());
    let servers = servers.flat_map(|d| std::iter::once(&d.socket).chain(d.shown.slots()));
    let fifos = t.created.iter().flat_map(|c| [&c.start, &c.report]);
    let status = t.init.iter().map(|(status, _)| status);
    let needed = fifos.chain(servers).chain(status).cloned().collect();
    plan.push(Init, part::DROP, FdOp::CloseFds { keep: 3 + t.preserve_fds, needed });
}

/// Looks the program up; where it may be.
fn find_program(plan: &mut Plan, t: &TailInput<'_>) -> Result<Rc<Vec<CString>>> {
    let candidates = Rc::new(match t.program {
        Some(path) => vec![cpath(path)?],
        None => candidates(t.process)?,
    });
    let find = ExecOp::FindProgram { candidates: candidates.clone(), hook: t.program.is_some() };
    plan.push(Init, part::DROP, find);
    Ok(candidates)
}

/// The end of `create`: the container is recorded and waits for `start`. Or the last hooks of `run`.
fn created(plan: &mut Plan, t: &TailInput<'_>) {
    if let Some(c) = &t.created {
        plan.push(Runtime, part::CREATED, StateOp::Created { from: c.from.clone(), to: c.to.clone() });
        if let Some((path, temp)) = c.pid_file.clone() {
            plan.push(Runtime, part::CREATED, StateOp::PidFile { path, temp });
        }
        let wait =
            ExecOp::AwaitStart { start: c.start.clone(), report: c.report.clone(), server: c.server.clone() };
        plan.push(Init, part::CREATED, wait);
    }
    if let Some(state) = t.start_hooks.clone() {
        let kind = crate::config::hooks::HookKind::StartContainer;
        plan.push(Runtime, part::CREATED, ExecOp::Hooks { kind, state, inside: t.inside.clone() });
    }
}

/// Init becomes the program, or stays as the program's parent.
fn execute(plan: &mut Plan, t: &TailInput<'_>, candidates: Rc<Vec<CString>>) -> Result<()> {
    if let Some((status, subreaper)) = t.init.clone() {
        let terminal = t.stdio.iter().position(|s| *s == Stdio::Inherit).filter(|_| t.pty_slave.is_some());
        let tty = terminal.and_then(|fd| u8::try_from(fd).ok());
        plan.push(Init, part::EXEC, ExecOp::StayInit { status, tty, subreaper });
        if t.forks() {
            limits::set_processes(plan, t.process);
        }
    }
    let argv = Rc::new(CStrArray::new("process.args", &t.process.args)?);
    let envp = Rc::new(CStrArray::new("process.env", &t.process.env)?);
    plan.push(Init, part::EXEC, ExecOp::Exec { candidates, argv, envp });
    Ok(())
}

/// Loads those filters that are `wanted`; a listener goes to its agent at once.
fn filters(plan: &mut Plan, t: &TailInput<'_>, wanted: fn(&FilterInput) -> bool) -> Result<()> {
    for f in t.filters.iter().filter(|f| wanted(f)) {
        let slot = f.listener.is_some().then(|| plan.slot("seccomp listener"));
        let (filter, flags, what) = (f.program.clone(), f.flags, f.what);
        plan.push(Init, part::EXEC, ConfineOp::Seccomp { filter, flags, what, listener: slot.clone() });
        let (Some(listener), Some(to)) = (slot, &f.listener) else { continue };
        let agent = match to {
            Listens::Launcher(_) => None,
            Listens::Agent(to) => {
                let state = crate::plan::process_state::ProcessState::new(t.state, t.container, &to.metadata);
                Some((cpath(&to.socket(&t.state.bundle)?)?, Rc::new(state)))
            }
        };
        // An ordinary user's runtime may not take it: Init has become another user, and is not to be looked into
        // (ptrace(2), "Ptrace access mode checking").
        let passed = t.host.rootless.is_some();
        if passed {
            for profile in t.state.seccomp.get()?.iter().filter_map(SeccompChoice::profile) {
                crate::seccomp::may_be_passed(profile)?;
            }
        }
        let send = ConfineOp::SendListener { listener: listener.clone(), agent, passed };
        plan.push(Runtime, part::EXEC, send);
        plan.push(Init, part::EXEC, ConfineOp::DropListener { listener });
    }
    Ok(())
}

fn scheduling(plan: &mut Plan, t: &TailInput<'_>) -> Result<()> {
    if let Some(scheduler) = &t.process.scheduler {
        plan.push(Init, part::DROP, LimitOp::Scheduler(crate::config::scheduler_attr(scheduler)?));
    }
    if let Some(value) = t.process.io_priority {
        plan.push(Init, part::DROP, LimitOp::IoPriority { value });
    }
    Ok(())
}

/// The label that the security module gives the program when it is executed.
fn label(plan: &mut Plan, t: &TailInput<'_>) -> Result<()> {
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
fn while_privileged(plan: &mut Plan, t: &TailInput<'_>) {
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
fn credentials(plan: &mut Plan, t: &TailInput<'_>) {
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
