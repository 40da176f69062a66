//! The loop that all actors run: perform own rows, hand the baton over, wait for it.

use std::os::fd::{IntoRawFd, OwnedFd};

use crate::cgroup::witness::Witness;
use crate::error::{Error, Result, StepError};
use crate::perform::apply::{apply, as_user, back};
use crate::perform::baton::{ASK, Baton};
use crate::perform::control::{Control, Verdict};
use crate::perform::{Call, Cx, Done, HookRunner, no_hooks};
use crate::plan::action::Action;
use crate::plan::check::Checked;
use crate::plan::{Actor, Plan, Step, Undo};
use crate::sys::cstr::as_path;
use crate::sys::{Errno, argv, fs, process, signal, socket, trap};

/// How far a plan got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The program runs (or has already ended).
    Started,
    /// The container waits for `start`.
    Created,
}

/// Why it got no further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// A row failed.
    Row(usize, Errno, Call),
    /// The reader stopped it before this row.
    Stopped(usize),
    /// A signal for the launcher ended it before the program started.
    Interrupted(usize, i32),
    /// The child died while it held the baton, before its last row.
    ChildDied(usize),
}

/// Somebody who undoes the launch if the launcher is killed.
pub trait StandBy {
    /// At each handover, so the work of beginning is done while the child works.
    fn stand(&mut self, plan: &Plan, cx: &Cx);
    /// Its process, once it stands.
    fn pid(&self) -> Option<i32>;
    /// The launch has ended in order.
    fn dismiss(self: Box<Self>);
}

/// What a launch brings to the performance of its plan.
pub struct Attendants {
    /// Runs the plan's hooks.
    pub hooks: HookRunner,
    /// Undoes the launch if the launcher is killed.
    pub guardian: Option<Box<dyn StandBy>>,
    /// Sees what the cgroups count.
    pub witness: Option<Witness>,
}

impl Default for Attendants {
    fn default() -> Self {
        Attendants { hooks: no_hooks, guardian: None, witness: None }
    }
}

impl Attendants {
    /// At each handover: they begin while the child works.
    fn stand(&mut self, plan: &Plan, cx: &Cx) {
        self.guardian.iter_mut().for_each(|guardian| guardian.stand(plan, cx));
        self.witness.iter_mut().for_each(Witness::watch);
    }
}

/// Performs `plan`, the runtime's rows here and the others in the processes that it clones.
///
/// On a failure the undos of the rows that ran are replayed, and the report is the error.
pub fn perform(
    plan: &Checked<Plan>,
    cx: &mut Cx,
    control: &mut Control,
    attendants: &mut Attendants,
) -> Result<Outcome> {
    cx.ask = control.asks();
    cx.hooks = attendants.hooks;
    match drive(plan, cx, control, attendants) {
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
            for problem in crate::perform::netdev::bring_back(cx) {
                crate::log::say(&problem);
            }
            let ended = crate::perform::undo::undo(&undos, Some((cx.pid, cx.pidfd)), true);
            if let Some(guardian) = attendants.guardian.take() {
                guardian.dismiss();
            }
            Err(explain(plan, cx, failure, ended))
        }
    }
}

/// What takes back the row that failed itself. A directory that could not be made is somebody else's: to
/// undo it would remove, or kill, another container. Of a clone it is not known how far it got.
fn half_done(plan: &Plan, failure: Failure) -> Option<Undo> {
    let (Failure::Row(row, ..)
    | Failure::Stopped(row)
    | Failure::Interrupted(row, _)
    | Failure::ChildDied(row)) = failure;
    let step = plan.steps.get(row)?;
    let others = |a: &Action| {
        matches!(
            a,
            Action::StateDir { .. }
                | Action::CgroupDir { .. }
                | Action::CgroupJoinable { .. }
                | Action::SystemdScope { .. }
        )
    };
    let made = !others(&step.action);
    made.then(|| step.undo.clone()).flatten()
}

/// Closes this process's copy of the lock: the runtime's when the container is made, so that others may
/// start, signal or delete it; Init's at once, since the lock is the runtime's alone.
pub fn close_lock(plan: &Plan, cx: &Cx) {
    if let Some((_, lock)) = plan.state_dir() {
        fs::close(cx.fd(lock));
    }
}

/// Closes the sources of mounts that this process still holds: where they have used up its descriptors, what takes the
/// launch back needs some.
fn close_sources(plan: &Plan, cx: &mut Cx) {
    for step in plan.steps.iter().filter(|s| s.actor == Actor::Runtime) {
        let (Action::OpenTree { to, .. }
        | Action::OpenSource { to, .. }
        | Action::OpenRoot { to, .. }
        | Action::DeviceNodes { to, .. }
        | Action::StdioNull { to, .. }
        | Action::Userns { to, .. }) = &step.action
        else {
            continue;
        };
        if cx.fd(to) >= 0 {
            fs::close(cx.fd(to));
            cx.set(to, -1);
        }
    }
}

/// The error for a failure: everything is derived from the row and the errno.
fn explain(plan: &Plan, cx: &Cx, failure: Failure, undo: crate::perform::undo::Undone) -> Error {
    for problem in &undo.problems {
        crate::log::say(problem);
    }
    match failure {
        Failure::Stopped(row) => Error::Stopped(row + 1),
        Failure::Interrupted(_, signal) => Error::Interrupted(signal),
        Failure::ChildDied(row) => {
            let how = match undo.exit {
                Some(process::Exit::Signal(s)) => {
                    format!("killed by {}", crate::tables::signals::name(s).unwrap_or_else(|| s.to_string()))
                }
                Some(process::Exit::Code(c)) => format!("exited with code {c}"),
                None => "gone".into(),
            };
            let born_in = |s: &crate::plan::Step| matches!(s.action, Action::Spawn { cgroup: Some(_), .. });
            let likely = if undo.oom_kills > 0 {
                "; the memory limit is too small even to build the container"
            } else if undo.exit == Some(process::Exit::Signal(libc::SIGKILL))
                && plan.steps.iter().any(born_in)
            {
                // Seen with Linux 6.1: clone3(2) takes the parent group's count of kills for the new group's.
                "; if cgroup.kill was ever written to in the cgroup that safebox runs in, kernels kill what is cloned from there into another: run it in a new one"
            } else {
                ""
            };
            let step = plan.steps.get(row).map(|s| s.action.to_string()).unwrap_or_default();
            Error::msg(format!(
                "the container process was {how} before it could start, at or after step {}: {step}{likely}",
                row + 1
            ))
        }
        Failure::Row(row, errno, call) => {
            let Some(step) = plan.steps.get(row) else {
                return Error::msg("a row that is not in the plan failed");
            };
            if let Some(e) = crate::perform::hints::exec_error(plan, row, cx, errno, call) {
                return Error::Exec(e);
            }
            let below = crate::perform::idmap_failure::culprit(plan, cx, &step.action);
            let place = crate::perform::hints::destination(plan, &step.action)
                .map_or_else(String::new, |place| format!(" (for the mount at {place})"));
            Error::Step(Box::new(StepError {
                row: row + 1,
                actor: step.actor.name(),
                action: format!("{}{place}", step.action),
                pointer: step.action.pointer(),
                call: call.name(),
                errno,
                hint: crate::perform::hints::refused(plan, row, errno)
                    .or_else(|| crate::perform::hints::hint(&step.action, errno, call))
                    .filter(|_| below.is_none()),
                detail: cx
                    .detail
                    .clone()
                    .or(below)
                    .or_else(|| crate::perform::hints::refused_link(&step.action, call, cx.link)),
            }))
        }
    }
}

/// The runtime's side of the loop.
fn drive(
    plan: &Plan,
    cx: &mut Cx,
    control: &mut Control,
    attendants: &mut Attendants,
) -> std::result::Result<Outcome, Failure> {
    let mut i = cx.performed;
    while let Some(step) = plan.steps.get(i) {
        if step.actor == Actor::Runtime {
            match control.before(plan, i, cx.pid) {
                Verdict::Go => {}
                Verdict::Stop => return Err(Failure::Stopped(i)),
                Verdict::Fail(errno) => return Err(Failure::Row(i, errno, Call::Injected)),
            }
            perform_row(plan, step, i, cx).map_err(|e| match cx.interrupted {
                Some(signal) => Failure::Interrupted(i, signal),
                None => Failure::Row(i, e, cx.call),
            })?;
            i += 1;
            continue;
        }
        if Baton::turn(i).send(cx.baton).is_err() {
            return Err(Failure::ChildDied(i));
        }
        if matches!(step.action, Action::AwaitStart { .. }) {
            return Ok(Outcome::Created);
        }
        attendants.stand(plan, cx);
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
            Ok(Some(b)) if b.pid == ASK => {
                let row = b.next as usize;
                let verdict = control.before(plan, row, cx.pid);
                let (errno, pid) = match verdict {
                    Verdict::Go => (0, 0),
                    Verdict::Stop => (0, 1),
                    Verdict::Fail(e) => (e as i32, 0),
                };
                if (Baton { next: b.next, errno, pid }).send(cx.baton).is_err() {
                    return Err(Failure::ChildDied(row));
                }
                if verdict == Verdict::Stop {
                    return Err(Failure::Stopped(row));
                }
            }
            Ok(Some(b)) if b.errno != 0 => {
                let (call, number) = b.failure();
                if call.is_refused_link() {
                    cx.link = number;
                } else {
                    cx.program = number;
                }
                if call == Call::Exec {
                    cx.detail = plan
                        .program(number)
                        .and_then(|p| crate::perform::interpreter::lacking_inside(cx.baton, &p));
                }
                return Err(Failure::Row(b.next as usize, Errno::from_raw(b.errno), call));
            }
            // What the child says is what it was meant to say: it may have been tampered with from inside.
            Ok(Some(b)) if !expected(plan, from, b) => {
                return Err(Failure::Row(from, Errno::EPROTO, Call::Baton));
            }
            Ok(Some(b)) => {
                let row = b.next as usize;
                // What the number is depends on the row that comes next.
                match plan.steps.get(row).map(|s| &s.action) {
                    Some(Action::SendListener { listener, passed: true, .. }) => {
                        let fd =
                            came.into_iter().next().ok_or(Failure::Row(row, Errno::EPROTO, Call::Baton))?;
                        cx.set(listener, fd.into_raw_fd());
                    }
                    Some(Action::TakeShown { shown }) => {
                        let fds: Vec<_> = came.into_iter().map(IntoRawFd::into_raw_fd).collect();
                        shown.take(cx, &fds).map_err(|e| Failure::Row(row, e, Call::Baton))?;
                    }
                    Some(Action::SendListener { listener, .. }) => {
                        let fd = process::pidfd_getfd(cx.pidfd, b.pid)
                            .map_err(|e| Failure::Row(row, e, Call::PidfdGetfd))?;
                        cx.set(listener, fd);
                    }
                    _ if b.pid != 0 => {
                        adopt(cx, b.pid).map_err(|e| Failure::Row(row, e, Call::PidfdOpen))?;
                    }
                    _ => {}
                }
                return Ok(Some(row));
            }
            // End of file after the last handover is a successful exec; before it, a death.
            Ok(None) if plan.steps[from..].iter().all(|s| s.actor == Actor::Init) => return Ok(None),
            Ok(None) => return Err(Failure::ChildDied(from)),
            Err(e) => return Err(Failure::Row(from, e, Call::Baton)),
        }
    }
}

/// The baton, and the descriptors that come with it where the row that is next takes some from Init.
fn receive(plan: &Plan, from: usize, cx: &Cx) -> (crate::sys::Result<Option<Baton>>, Vec<OwnedFd>) {
    let next = plan.steps[from..].iter().find(|s| s.actor != plan.steps[from].actor);
    match next.map(|s| &s.action) {
        Some(Action::SendListener { passed: true, .. } | Action::TakeShown { .. }) => {
            Baton::receive_with_fds(cx.baton)
        }
        _ => (Baton::receive(cx.baton), Vec::new()),
    }
}

/// Whether this baton can come back after row `from` was handed over: it comes before the first row that is
/// somebody else's (none of the runtime's may be skipped), a Joiner's clone has made a process, and Init has a number to
/// tell only where the next row takes one.
fn expected(plan: &Plan, from: usize, baton: Baton) -> bool {
    let next = baton.next as usize;
    let Some(step) = plan.steps.get(next) else { return false };
    let turn = plan.steps.iter().skip(from).take_while(|s| s.actor == plan.steps[from].actor).count();
    if next != from + turn {
        return false;
    }
    match step.action {
        Action::SendListener { .. } => baton.pid >= 0,
        _ if matches!(plan.steps[next - 1].action, Action::SpawnSibling { .. }) => baton.pid > 0,
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
        // The number came from the child: nobody else's process is signalled or limited for it.
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

/// One row; the clones are the loop's own business.
fn perform_row(plan: &Plan, step: &Step, row: usize, cx: &mut Cx) -> Done {
    match &step.action {
        Action::Spawn { namespaces, cgroup, owner } => {
            cx.call = Call::Threads;
            // A second thread could hold a lock that the child would wait for forever.
            let status = crate::sys::read::status()?;
            if status.threads != 1 {
                return Err(Errno::EBUSY);
            }
            cx.ignored = status.ignored;
            cx.call = Call::Socketpair;
            let (ours, theirs) = socket::seqpacket_pair()?;
            let cgroup = cgroup.as_ref().map(|slot| cx.fd(slot));
            let me = as_user(cx, *owner)?;
            cx.call = Call::Clone;
            let cloned = process::clone3(*namespaces, cgroup, false);
            if cloned.is_err() {
                back(cx, me)?;
                cx.call = Call::Clone;
            }
            match cloned? {
                process::Cloned::Child => {
                    trap::arm();
                    argv::forget();
                    fs::close(ours);
                    close_lock(plan, cx);
                    // A directory of the host: Init, whom a shared pid namespace shows, must not have it.
                    if let Some(fd) = cgroup {
                        fs::close(fd);
                    }
                    cx.baton = theirs;
                    cx.me = plan.steps[row + 1..]
                        .iter()
                        .map(|s| s.actor)
                        .find(|a| *a != Actor::Runtime)
                        .unwrap_or(Actor::Init);
                    child(plan, cx)
                }
                process::Cloned::Parent { pid, pidfd } => {
                    fs::close(theirs);
                    (cx.pid, cx.pidfd, cx.baton) = (pid, pidfd, ours);
                    back(cx, me)
                }
            }
        }
        action => apply(action, cx),
    }
}

/// The loop of a child: waits for the baton, performs its rows, and hands it back. Never returns.
fn child(plan: &Plan, cx: &mut Cx) -> ! {
    let Ok(Some(turn)) = Baton::receive(cx.baton) else { process::exit_now(1) };
    let mut i = turn.next as usize;
    loop {
        let Some(step) = plan.steps.get(i) else { process::exit_now(1) };
        if step.actor != cx.me {
            hand_back(cx, i, &step.action);
            let Ok(Some(turn)) = hear(cx) else { process::exit_now(1) };
            i = turn.next as usize;
            continue;
        }
        if cx.ask {
            ask(cx, i);
        }
        if let Action::SpawnSibling { namespaces, owner } = step.action {
            spawn_sibling(plan, cx, i, (namespaces, owner));
        } else if let Err(errno) = apply(&step.action, cx) {
            fail(plan, cx, i, errno);
        }
        i += 1;
    }
}

/// The Joiner's clone: the sibling waits for the baton, the Joiner reports its pid and is done.
fn spawn_sibling(plan: &Plan, cx: &mut Cx, row: usize, (namespaces, owner): (u64, Option<u32>)) {
    // The Joiner's work is done, so it need not become root again.
    if let Err(errno) = as_user(cx, owner) {
        fail(plan, cx, row, errno);
    }
    cx.call = Call::Clone;
    match process::clone3(namespaces, None, true) {
        Ok(process::Cloned::Child) => {
            cx.me = Actor::Init;
            cx.pid = 0;
            child(plan, cx)
        }
        Ok(process::Cloned::Parent { pid, .. }) => {
            let told = (Baton { next: row as u32 + 1, errno: 0, pid }).send(cx.baton);
            process::exit_now(i32::from(told.is_err()))
        }
        Err(errno) => fail(plan, cx, row, errno),
    }
}

/// Hands the baton to whoever performs row `row`. With it goes the number of a seccomp listener: in a
/// write(2), since the filter is in force and its agent, who may want to be asked about send(2), has yet to
/// get the listener. Or, where the runtime may not take it, the listener itself; or the way into the container.
fn hand_back(cx: &Cx, row: usize, action: &Action) {
    let handed = match action {
        Action::SendListener { listener, passed: true, .. } => {
            let baton = Baton { pid: cx.fd(listener), ..Baton::turn(row) };
            socket::send_fd(cx.baton, &baton.to_bytes(), cx.fd(listener))
        }
        Action::SendListener { listener, .. } => {
            Baton { pid: cx.fd(listener), ..Baton::turn(row) }.write(cx.baton)
        }
        Action::TakeShown { shown } => shown.send(cx, cx.baton, &Baton::turn(row).to_bytes()),
        _ => tell(cx, Baton::turn(row)),
    };
    if handed.is_err() {
        process::exit_now(1);
    }
}

/// A child's word to the runtime.
fn tell(cx: &Cx, baton: Baton) -> crate::sys::Result<()> {
    if cx.filtered { baton.write(cx.baton) } else { baton.send(cx.baton) }
}

/// The runtime's word to a child.
fn hear(cx: &Cx) -> crate::sys::Result<Option<Baton>> {
    if cx.filtered { Baton::read(cx.baton) } else { Baton::receive(cx.baton) }
}

/// Asks the runtime whether row `row` may run; a failure it injects is reported as any other.
fn ask(cx: &mut Cx, row: usize) {
    let question = Baton { next: row as u32, errno: 0, pid: ASK };
    let answer = tell(cx, question).and_then(|()| hear(cx));
    match answer {
        Ok(Some(b)) if b.pid == 0 && b.errno == 0 => {}
        Ok(Some(b)) if b.errno != 0 => {
            let report = Baton::failed(row, Errno::from_raw(b.errno), Call::Injected);
            process::exit_now(1 + i32::from(tell(cx, report).is_err()))
        }
        _ => process::exit_now(1),
    }
}

/// Reports a failed row to whoever listens (the runtime, or `start` on the report pipe) and ends.
fn fail(plan: &Plan, cx: &Cx, row: usize, errno: Errno) -> ! {
    let number = if cx.call.is_refused_link() { cx.link } else { cx.program };
    let report = Baton::failed(row, errno, cx.call).about(number);
    let mut told = tell(cx, report).is_ok();
    if told && cx.call == Call::Exec {
        crate::perform::interpreter::show_root(cx, report);
    }
    if !told
        && let Some(slot) = plan.steps.iter().find_map(|s| match &s.action {
            Action::AwaitStart { report, .. } => Some(report),
            _ => None,
        })
    {
        told = fs::write_all(cx.fd(slot), &report.to_bytes()).is_ok();
    }
    process::exit_now(if told { 1 } else { 125 })
}

#[cfg(test)]
mod tests;
