//! The loop that all actors run: perform own rows, hand the baton over, wait for it.

use std::os::fd::{IntoRawFd, OwnedFd};

use crate::cgroup::monitor::CgroupMonitor;
use crate::error::Result;
use crate::perform::baton::{ASK, Baton};
use crate::perform::control::{Control, Verdict};
use crate::perform::failure::{Failure, explain, half_done};
use crate::perform::files::close_lock;
use crate::perform::{Call, Cx, Done, HookRunner, no_hooks};
use crate::plan::check::Checked;
use crate::plan::ops::{Action, CloneOp, ConfineOp, DeviceOp, ExecOp, FdOp, NsOp, RootOp, SourceOp, UserOp};
use crate::plan::{Actor, Plan};
use crate::sys::cstr::as_path;
use crate::sys::{Errno, fs, process, signal};

/// How far a plan got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
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
) -> Result<Outcome> {
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
            let done = plan.steps.iter().take(reached).filter_map(|s| s.undo.clone());
            let mut undos: Vec<_> = done.chain(half_done(plan, failure)).collect();
            // First: to see which undos are the container's own takes descriptors as well.
            close_sources(plan, cx);
            undos = plan
                .state_dir()
                .map(|(dir, _)| crate::perform::undo::own(&undos, as_path(dir)))
                .unwrap_or(undos);
            let row = plan.steps.get(reached).map(|step| &step.action);
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
    for step in plan.steps.iter().filter(|s| s.actor == Actor::Runtime) {
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
) -> std::result::Result<Outcome, Failure> {
    let mut i = cx.performed;
    while let Some(step) = plan.steps.get(i) {
        if step.actor == Actor::Runtime {
            match control.before(plan, i, cx.pid) {
                Verdict::Go => {}
                Verdict::Stop => return Err(Failure::Stopped(i)),
                Verdict::Fail(errno) => return Err(Failure::Row(i, errno, Call::Injected)),
                #[cfg(debug_assertions)]
                Verdict::Skip => {
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
            return Ok(Outcome::Created);
        }
        helpers.stand(plan, cx);
        i = match wait_for_turn(plan, cx, control, i)? {
            Some(next) => next,
            None => return Ok(Outcome::Started),
        };
    }
    Ok(Outcome::Started)
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
            Ok(Some(b)) if b.pid == ASK => answer(plan, cx, control, b)?,
            Ok(Some(b)) if b.errno != 0 => return Err(reported(plan, cx, b)),
            // What the child says is what it was meant to say: it may have been tampered with from inside.
            Ok(Some(b)) if !expected(plan, from, b) => {
                return Err(Failure::Row(from, Errno::EPROTO, Call::Baton));
            }
            Ok(Some(b)) => return take_over(plan, cx, b, came).map(Some),
            // End of file after the last handover is a successful exec; before it, a death.
            Ok(None) if plan.steps[from..].iter().all(|s| s.actor == Actor::Init) => return Ok(None),
            Ok(None) => return Err(Failure::ChildDied(from)),
            Err(e) => return Err(Failure::Row(from, e, Call::Baton)),
        }
    }
}

/// Answers a child that asks whether its next row may run.
fn answer(plan: &Plan, cx: &Cx, control: &mut Control, question: Baton) -> std::result::Result<(), Failure> {
    let row = question.next as usize;
    let verdict = control.before(plan, row, cx.pid);
    let (errno, pid) = match verdict {
        Verdict::Go => (0, 0),
        Verdict::Stop => (0, 1),
        Verdict::Fail(e) => (e as i32, 0),
        #[cfg(debug_assertions)]
        Verdict::Skip => (0, crate::perform::baton::SKIP),
    };
    if (Baton { next: question.next, errno, pid }).send(cx.baton).is_err() {
        return Err(Failure::ChildDied(row));
    }
    if verdict == Verdict::Stop { Err(Failure::Stopped(row)) } else { Ok(()) }
}

/// The failure that a child reports.
fn reported(plan: &Plan, cx: &mut Cx, report: Baton) -> Failure {
    let (call, number) = report.failure();
    if call.is_refused_link() {
        cx.link = number;
    } else {
        cx.program = number;
    }
    if call == Call::Exec {
        let program = plan.program(number);
        cx.detail = program.and_then(|p| crate::perform::interpreter::lacking_inside(cx.baton, &p));
    }
    Failure::Row(report.next as usize, Errno::from_raw(report.errno), call)
}

/// Takes what comes with the baton; the meaning of its number depends on the row that comes next, which is returned.
fn take_over(plan: &Plan, cx: &mut Cx, b: Baton, came: Vec<OwnedFd>) -> std::result::Result<usize, Failure> {
    let row = b.next as usize;
    match plan.steps.get(row).map(|s| &s.action) {
        Some(Action::Confine(ConfineOp::SendListener { listener, passed: true, .. })) => {
            let fd = came.into_iter().next().ok_or(Failure::Row(row, Errno::EPROTO, Call::Baton))?;
            cx.set(listener, fd.into_raw_fd());
        }
        Some(Action::Ns(NsOp::TakeFds { shown })) => {
            let fds: Vec<_> = came.into_iter().map(IntoRawFd::into_raw_fd).collect();
            shown.take(cx, &fds).map_err(|e| Failure::Row(row, e, Call::Baton))?;
        }
        Some(Action::Confine(ConfineOp::SendListener { listener, .. })) => {
            let fd =
                process::pidfd_getfd(cx.pidfd, b.pid).map_err(|e| Failure::Row(row, e, Call::PidfdGetfd))?;
            cx.set(listener, fd);
        }
        _ if b.pid != 0 => adopt(cx, b.pid).map_err(|e| Failure::Row(row, e, Call::PidfdOpen))?,
        _ => {}
    }
    Ok(row)
}

/// The baton, and the descriptors that come with it where the row that is next takes some from Init.
fn receive(plan: &Plan, from: usize, cx: &Cx) -> (crate::sys::Result<Option<Baton>>, Vec<OwnedFd>) {
    let next = plan.steps[from..].iter().find(|s| s.actor != plan.steps[from].actor);
    match next.map(|s| &s.action) {
        Some(
            Action::Confine(ConfineOp::SendListener { passed: true, .. }) | Action::Ns(NsOp::TakeFds { .. }),
        ) => Baton::receive_with_fds(cx.baton),
        _ => (Baton::receive(cx.baton), Vec::new()),
    }
}

/// Whether this baton can come back after row `from` was handed over: it comes before the first row of
/// another actor (none of the runtime's may be skipped), a Joiner's clone has made a process, and Init has a number to
/// tell only where the next row takes one.
fn expected(plan: &Plan, from: usize, baton: Baton) -> bool {
    let next = baton.next as usize;
    let Some(step) = plan.steps.get(next) else { return false };
    let turn = plan.steps.iter().skip(from).take_while(|s| s.actor == plan.steps[from].actor).count();
    if next != from + turn {
        return false;
    }
    match step.action {
        Action::Confine(ConfineOp::SendListener { .. }) => baton.pid >= 0,
        _ if matches!(plan.steps[next - 1].action, Action::Clone(CloneOp::Sibling { .. })) => baton.pid > 0,
        _ => baton.pid == 0,
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
