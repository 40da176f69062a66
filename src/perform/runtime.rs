//! The loop that all actors run: perform own rows, hand the baton over, wait for it.

use std::os::fd::{IntoRawFd, OwnedFd};

use crate::cgroup::monitor::CgroupMonitor;
use crate::error::Result;
use crate::perform::baton::{Baton, Failed, With};
use crate::perform::control::{Control, RowVerdict};
use crate::perform::failure::{Failure, explain, half_done};
use crate::perform::files::close_lock;
use crate::perform::{Call, Cx, Done, HookRunner, no_hooks};
use crate::plan::check::Checked;
use crate::plan::handover::Brings;
use crate::plan::ops::{Action, DeviceOp, ExecOp, FdOp, RootOp, SourceOp, UserOp};
use crate::plan::{Actor, Plan};
use crate::sys::cstr::as_path;
use crate::sys::{Errno, fs, process, signal};

/// How far a plan got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlanProgress {
    /// The program runs (or has already ended).
    Started,
    /// The container waits for `start`.
    Created,
}

/// A process that undoes the launch if the launcher is killed.
pub trait StandBy {
    /// At each handover, so the work of beginning is done while the child works.
    fn stand(&mut self, plan: &Plan, cx: &Cx);
    /// Its process, once it stands.
    fn pid(&self) -> Option<i32>;
    /// The launch has ended in order.
    fn dismiss(self: Box<Self>);
}

/// Helpers of a launch while its plan is performed.
pub struct Helpers {
    /// Runs the plan's hooks.
    pub hooks: HookRunner,
    /// Undoes the launch if the launcher is killed.
    pub guardian: Option<Box<dyn StandBy>>,
    /// Watches the cgroups' events.
    pub monitor: Option<CgroupMonitor>,
}

impl Default for Helpers {
    fn default() -> Self {
        Helpers { hooks: no_hooks, guardian: None, monitor: None }
    }
}

impl Helpers {
    /// At each handover: they start while the child works.
    fn stand(&mut self, plan: &Plan, cx: &Cx) {
        self.guardian.iter_mut().for_each(|guardian| guardian.stand(plan, cx));
        self.monitor.iter_mut().for_each(CgroupMonitor::watch);
    }
}

/// Performs `plan`, the runtime's rows here and the others in the processes that it clones.
///
/// On a failure the undos of the rows that ran are replayed, and the report is the error.
pub fn perform(
    plan: &Checked<Plan>,
    cx: &mut Cx,
    control: &mut Control,
    helpers: &mut Helpers,
) -> Result<PlanProgress> {
    cx.ask = control.asks();
    cx.hooks = helpers.hooks;
    cx.child = crate::perform::child::child;
    match drive(plan, cx, control, helpers) {
        Ok(outcome) => {
            if !cx.keep_lock {
                close_lock(plan, cx);
            }
            Ok(outcome)
        }
        Err(failure) => {
            let reached = match failure {
                Failure::Row(row, ..)
                | Failure::Stopped(row)
                | Failure::Interrupted(row, _)
                | Failure::ChildDied(row) => row,
            };
            let done = plan.rows.iter().take(reached).filter_map(|s| s.undo.clone());
            let mut undos: Vec<_> = done.chain(half_done(plan, failure)).collect();
            // First: to see which undos are the container's own takes descriptors as well.
            close_sources(plan, cx);
            undos = plan
                .state_dir()
                .map(|(dir, _)| crate::perform::undo::own(&undos, as_path(dir)))
                .unwrap_or(undos);
            let row = plan.rows.get(reached).map(|step| &step.action);
            crate::perform::ops::relay::take_back(cx, row);
            for problem in crate::perform::netdev::bring_back(cx) {
                crate::log::say(&problem);
            }
            let ended = crate::perform::undo::undo(&undos, Some((cx.pid, cx.pidfd)), true);
            if let Some(guardian) = helpers.guardian.take() {
                guardian.dismiss();
            }
            Err(explain(plan, cx, failure, ended))
        }
    }
}

/// Closes the sources of mounts that this process still holds: where they have used up its descriptors, what takes the
/// launch back needs some.
fn close_sources(plan: &Plan, cx: &mut Cx) {
    for step in plan.rows.iter().filter(|s| s.actor == Actor::Runtime) {
        let (Action::Source(SourceOp::Tree { to, .. })
        | Action::Source(SourceOp::Path { to, .. })
        | Action::Root(RootOp::Open { to, .. })
        | Action::Device(DeviceOp::Nodes { to, .. })
        | Action::Fd(FdOp::StdioNull { to, .. })
        | Action::User(UserOp::ForMount { to, .. })) = &step.action
        else {
            continue;
        };
        if cx.fd(to) >= 0 {
            fs::close(cx.fd(to));
            cx.set(to, -1);
        }
    }
}

/// The runtime's side of the loop.
fn drive(
    plan: &Plan,
    cx: &mut Cx,
    control: &mut Control,
    helpers: &mut Helpers,
) -> std::result::Result<PlanProgress, Failure> {
    let mut i = cx.performed;
    while let Some(step) = plan.rows.get(i) {
        if step.actor == Actor::Runtime {
            match control.before(plan, i, cx.pid) {
                RowVerdict::Go => {}
                RowVerdict::Stop => return Err(Failure::Stopped(i)),
                RowVerdict::Fail(errno) => return Err(Failure::Row(i, errno, Call::Injected)),
                #[cfg(debug_assertions)]
                RowVerdict::Skip => {
                    i += 1;
                    continue;
                }
            }
            crate::perform::ops::apply(plan, i, cx).map_err(|e| match cx.interrupted {
                Some(signal) => Failure::Interrupted(i, signal),
                None => Failure::Row(i, e, cx.call),
            })?;
            i += 1;
            continue;
        }
        cx.handed = crate::sys::usage::monotonic();
        if Baton::turn(i).send(cx.baton).is_err() {
            return Err(Failure::ChildDied(i));
        }
        if matches!(step.action, Action::Exec(ExecOp::AwaitStart { .. })) {
            return Ok(PlanProgress::Created);
        }
        helpers.stand(plan, cx);
        i = match wait_for_turn(plan, cx, control, i)? {
            Some(next) => next,
            None => return Ok(PlanProgress::Started),
        };
    }
    Ok(PlanProgress::Started)
}

/// Waits for the baton: the next row, or `None` once the child has become the program.
fn wait_for_turn(
    plan: &Plan,
    cx: &mut Cx,
    control: &mut Control,
    from: usize,
) -> std::result::Result<Option<usize>, Failure> {
    loop {
        if let Some(signal) = interrupted(cx) {
            return Err(Failure::Interrupted(from, signal));
        }
        let (baton, came) = receive(plan, from, cx);
        match baton {
            Ok(Some(Baton::Ask { row })) => answer(plan, cx, control, row)?,
            Ok(Some(Baton::Failed(failed))) => return Err(reported(plan, cx, failed)),
            // The child hands back where the plan says: it may have been tampered with from inside.
            Ok(Some(Baton::Turn { next, with })) if next as usize == plan.turn_after(from) => {
                return take_over(plan, cx, (from, next as usize), with, came).map(Some);
            }
            Ok(Some(_)) => return Err(Failure::Row(from, Errno::EPROTO, Call::Baton)),
            // End of file after the last handover is a successful exec; before it, a death.
            Ok(None) if plan.rows[from..].iter().all(|s| s.actor == Actor::Init) => return Ok(None),
            Ok(None) => return Err(Failure::ChildDied(from)),
            Err(e) => return Err(Failure::Row(from, e, Call::Baton)),
        }
    }
}

/// Answers a child that asks whether its next row may run.
fn answer(plan: &Plan, cx: &Cx, control: &mut Control, row: u32) -> std::result::Result<(), Failure> {
    let row = row as usize;
    let verdict = control.before(plan, row, cx.pid);
    let answer = match verdict {
        RowVerdict::Go => Baton::Go,
        RowVerdict::Stop => Baton::Stop,
        RowVerdict::Fail(e) => Baton::Fail(e as i32),
        #[cfg(debug_assertions)]
        RowVerdict::Skip => Baton::Skip,
    };
    if answer.send(cx.baton).is_err() {
        return Err(Failure::ChildDied(row));
    }
    if verdict == RowVerdict::Stop { Err(Failure::Stopped(row)) } else { Ok(()) }
}

/// The failure that a child reports.
fn reported(plan: &Plan, cx: &mut Cx, failed: Failed) -> Failure {
    let (call, number) = (failed.call, usize::from(failed.number));
    if call.is_refused_link() {
        cx.link = number;
    } else {
        cx.program = number;
    }
    if call == Call::Exec {
        let program = plan.program(number);
        cx.detail = program.and_then(|p| crate::perform::interpreter::lacking_inside(cx.baton, &p));
    }
    Failure::Row(failed.row as usize, Errno::from_raw(failed.errno), call)
}

/// Takes what comes with the turn for row `next`, handed over at row `from`, and nothing else.
fn take_over(
    plan: &Plan,
    cx: &mut Cx,
    (from, next): (usize, usize),
    with: With,
    came: Vec<OwnedFd>,
) -> std::result::Result<usize, Failure> {
    let forged = Failure::Row(from, Errno::EPROTO, Call::Baton);
    if next >= plan.rows.len() {
        return Err(forged);
    }
    match (plan.brings(next), with) {
        (Brings::PassedListener(slot), With::Listener(_)) => {
            let fd = came.into_iter().next().ok_or(Failure::Row(next, Errno::EPROTO, Call::Baton))?;
            cx.set(slot, fd.into_raw_fd());
        }
        (Brings::Namespaces(shown), With::Nothing) => {
            let fds: Vec<_> = came.into_iter().map(IntoRawFd::into_raw_fd).collect();
            shown.take(cx, &fds).map_err(|e| Failure::Row(next, e, Call::Baton))?;
        }
        (Brings::Listener(slot), With::Listener(number)) if number >= 0 => {
            let taken = process::pidfd_getfd(cx.pidfd, number);
            cx.set(slot, taken.map_err(|e| Failure::Row(next, e, Call::PidfdGetfd))?);
        }
        (Brings::Child, With::Child(pid)) if pid > 0 => {
            adopt(cx, pid).map_err(|e| Failure::Row(next, e, Call::PidfdOpen))?;
        }
        (Brings::Nothing, With::Nothing) => {}
        _ => return Err(forged),
    }
    Ok(next)
}

/// The baton, and the descriptors that come with it where the plan says so.
fn receive(plan: &Plan, from: usize, cx: &Cx) -> (crate::sys::SysResult<Option<Baton>>, Vec<OwnedFd>) {
    match plan.brings(plan.turn_after(from)) {
        Brings::PassedListener(_) | Brings::Namespaces(_) => Baton::receive_with_fds(cx.baton),
        Brings::Listener(_) | Brings::Child | Brings::Nothing => (Baton::receive(cx.baton), Vec::new()),
    }
}

/// Waits until the baton's socket has something; a signal that would end the launcher comes first only
/// if the socket has nothing.
fn interrupted(cx: &Cx) -> Option<i32> {
    if cx.signals < 0 {
        return None;
    }
    loop {
        let [baton, signals] = process::poll_in([cx.baton, cx.signals]).ok()?;
        if baton || !signals {
            return None;
        }
        let signal = signal::next_signal(cx.signals)?;
        if crate::sys::signal::DEADLY.contains(&signal) {
            return Some(signal);
        }
    }
}

/// Init was cloned by a Joiner as this process's own child; the Joiner has done its work.
fn adopt(cx: &mut Cx, pid: i32) -> Done {
    let joiner = std::mem::take(&mut cx.pid);
    fs::close(std::mem::replace(&mut cx.pidfd, -1));
    let opened = process::pidfd_open(pid).and_then(|pidfd| {
        // The number came from the child: a process that is not this one's child is neither signalled nor limited.
        process::expect_child(pidfd).inspect_err(|_| fs::close(pidfd)).map(|()| pidfd)
    });
    match opened {
        Ok(pidfd) => (cx.pid, cx.pidfd) = (pid, pidfd),
        Err(e) => {
            // It waits for the baton: at the end of that it ends. One that is not this process's child is not
            // waited for.
            fs::close(std::mem::replace(&mut cx.baton, -1));
            process::wait(pid, 0).map(drop).unwrap_or_default();
            process::wait(joiner, 0).map(drop).unwrap_or_default();
            return Err(e);
        }
    }
    process::wait(joiner, 0).map(drop)
}

#[cfg(test)]
mod tests;
