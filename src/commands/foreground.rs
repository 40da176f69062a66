//! The foreground `run`: supervises the container until its end, and reports the result.

use crate::sys::start::ExitCode;
use std::cell::RefCell;
use std::rc::Rc;

use crate::cgroup::figures::{Counters, CpuClock};
use crate::cgroup::monitor::CgroupMonitor;
use crate::cgroup::ops::CgroupEvents;
use crate::commands::common::VerbResult;
use crate::commands::meter::Meter;
use crate::commands::report;
use crate::error::{Error, Result};
use crate::launch::prepare::Prepared;
use crate::launch::value::{Launch, LogDriver};
use crate::lifecycle::account::Account;
use crate::lifecycle::deadline::{Deadline, EndCause, OverlayLimit, RunLimits};
use crate::lifecycle::denials::Denials;
use crate::lifecycle::detach::Ready;
use crate::lifecycle::directory::StateLock;
use crate::lifecycle::ended::Ended;
use crate::lifecycle::guardian::{Guardian, Keeper};
use crate::lifecycle::health::Checks;
use crate::lifecycle::hook_points::{launch, poststart, report_and_poststop};
use crate::lifecycle::log_file::LogFile;
use crate::lifecycle::network::NetworkSidecar;
use crate::lifecycle::notify::{self, Proxy};
use crate::lifecycle::processes::{self, Killer};
use crate::lifecycle::refusals::Refusals;
use crate::lifecycle::result::Sink;
use crate::lifecycle::sigsys;
use crate::lifecycle::supervise::{ContainerEnd, Supervisor};
use crate::lifecycle::terminal::receive_pty;
use crate::log::Log;
use crate::perform::Cx;
use crate::perform::control::Control;
use crate::perform::runtime::Helpers;
use crate::plan::check::Checked;
use crate::plan::recipe::PlanSlots;
use crate::plan::{Plan, Undo};
use crate::sys::fs;
use crate::sys::process::ProcessExit;
use crate::tables::{signals, sizes};

/// A container with a launcher that stays.
pub(super) struct ForegroundRun<'a> {
    /// The launch as requested.
    pub launch: &'a Launch,
    /// The prepared launch.
    pub prepared: &'a Prepared,
    /// Its plan.
    pub plan: &'a Checked<Plan>,
    /// The input descriptors of the plan.
    pub slots: &'a PlanSlots,
    /// Destination of messages.
    pub log: &'a Log,
    /// Destination of the account.
    pub sink: Option<&'a Sink>,
}

impl ForegroundRun<'_> {
    /// Launches the container, supervises it, reports the result and removes it.
    pub(super) fn run(
        &self,
        mut cx: Cx,
        control: &mut Control,
        supervisor: Option<Supervisor>,
        (console, ready): (Option<i32>, Option<Ready>),
    ) -> VerbResult {
        let (prepared, plan, life) = (self.prepared, self.plan, &self.launch.life);
        // A detached container stays until it is deleted.
        let keep = life.keep || (life.detach && !life.rm);
        let mut helpers = Helpers {
            guardian: (!keep && !life.detach).then(|| Box::new(Guardian::new(plan, &prepared.state)) as _),
            monitor: Some(CgroupMonitor::of(&prepared.layout, prepared.state.cgroup_v2)),
            ..Helpers::default()
        };
        let hold = launched(prepared, plan, &mut cx, control, &mut helpers)?;
        let meter = Meter::new(prepared, keep || self.sink.is_some());
        if let Err(e) = begin(prepared, plan, &cx, &hold) {
            if let Some(guardian) = helpers.guardian.take() {
                guardian.dismiss();
            }
            return Err(e.into());
        }
        report::running(&self.launch.state_root, self.log, &prepared.state, cx.pid);
        let mut supervisor = supervisor.map_or_else(Supervisor::new, Ok)?;
        self.attend(&mut supervisor, &cx)?;
        supervisor.network = cx.helper.take().map(|helper| NetworkSidecar::of(helper, cx.pidfd));
        supervisor.monitor = helpers.monitor;
        if life.notifies_ready {
            notify::notify_ready();
        }
        supervisor.ready = ready;
        let master = console.map(|fd| receive_pty(fd, plan, &cx)).transpose()?;
        let _keeper = master.filter(|_| keep).and_then(|_| Keeper::of_terminal());
        let end = supervisor.watch(cx.pid, cx.pidfd, master)?;
        let orphans = helpers.guardian.as_ref().and_then(|guardian| guardian.pid());
        let (account, events) = self.ended(&mut supervisor, meter, (&end, cx.pid), orphans);
        if keep {
            let account = Some(Box::new(account.clone()));
            let (oom_kills, pids_refused) = (events.oom_kills, events.pids_refused);
            Ended { code: Some(end.code()), oom_kills, pids_refused, account }.write(hold.fd())?;
        }
        if !keep {
            // A process that removed the container meanwhile has run its hooks.
            if let Some(undone) = hold.end(&without_kill(plan), None, false) {
                report_and_poststop(&prepared.state, &undone, supervisor.signals());
            }
        }
        self.name_copies();
        report::ended(&self.launch.state_root, self.log, &account, !keep);
        if let Some(guardian) = helpers.guardian {
            guardian.dismiss();
        }
        drop(supervisor);
        if let Some(Err(e)) = self.sink.map(|sink| sink.write(&account)) {
            self.log.error(&e.to_string());
            return Ok(ExitCode::from(125));
        }
        Ok(ExitCode::from(u8::try_from(end.code()).unwrap_or(255)))
    }

    /// The account of the program's end, and what the kernel refused; both are reported. Processes that no cgroup and no
    /// pid namespace holds are ended, but for `guardian`.
    fn ended(
        &self,
        supervisor: &mut Supervisor,
        mut meter: Meter,
        (end, pid): (&ContainerEnd, i32),
        guardian: Option<i32>,
    ) -> (Account, CgroupEvents) {
        meter.read();
        let refused = supervisor.network.take().map(NetworkSidecar::finish).unwrap_or_default();
        refused.iter().for_each(|line| self.log.verdict(line));
        if self.leaves_orphans() {
            processes::end_orphans(guardian);
        }
        let mut monitor = supervisor.monitor.take();
        let events = monitor.as_mut().map(|w| w.events(end.exit == ProcessExit::Signal(libc::SIGKILL)));
        let events = events.unwrap_or_default();
        let denials = supervisor.refusals.take().and_then(|refusals| refusals.denials);
        self.report(end, events);
        self.explain(end, pid, denials.as_ref());
        let mut account = meter.account((self.launch, self.prepared), end, events);
        account.denials = denials.as_ref().map(Denials::lines).unwrap_or_default();
        account
            .denials
            .extend(denials.iter().filter(|_| end.exit != ProcessExit::Code(0)).flat_map(Denials::powerless));
        account.denials.extend(refused);
        (account, events)
    }

    /// Names the id of the changes that `--overlay` keeps, where the caller did not choose it.
    fn name_copies(&self) {
        let (life, id) = (&self.launch.life, &self.launch.id);
        let mut copies = self.prepared.config.mounts.iter().filter_map(|mount| mount.overlay.as_ref());
        let kept = copies.any(|copy| copy.dir.symlink_metadata().is_ok());
        if kept && life.name.is_none() && !life.quiet {
            self.log.verdict(&format!(
                "the changes are kept: safebox diff {id}, then apply {id} or discard {id}"
            ));
        }
    }

    /// Adds the sidecars to the supervisor.
    fn attend(&self, supervisor: &mut Supervisor, cx: &Cx) -> Result<()> {
        let (life, prepared) = (&self.launch.life, self.prepared);
        (supervisor.output_limit, supervisor.handed) = (life.output_limit, Some(cx.handed));
        let logs = life.detach && life.log_driver != Some(LogDriver::None) && !self.slots.pipes.is_empty();
        if logs {
            let dir = &prepared.state_dir;
            let log = LogFile::create(dir, life.log_options);
            let log =
                log.map_err(|e| Error::msg(format!("{}: the log cannot be made: {e}", dir.display())))?;
            supervisor.log = Some(Rc::new(RefCell::new(log)));
        }
        let health = life.health.as_ref().filter(|health| !health.command.is_empty() && !life.no_healthcheck);
        supervisor.checks = health.map(|health| Checks::new(health.clone(), &prepared.state_dir));
        crate::lifecycle::stdio::attach(supervisor, self.slots, cx)?;
        if let Some((ours, theirs)) = &self.slots.status {
            fs::close(cx.fd(theirs));
            supervisor.status = Some(fs::own(cx.fd(ours)));
        }
        let limits = RunLimits { timeout: life.timeout, cpu_time: life.cpu_time, stop: prepared.state.stop };
        let clock = limits.cpu_time.map(|_| CpuClock::new(Counters::of(&prepared.layout), cx.pid));
        let layers = life.overlay_size.map(|limit| {
            let copies = prepared.config.mounts.iter().filter_map(|mount| mount.overlay.as_ref());
            OverlayLimit::new(copies.map(|copy| copy.dir.join("upper")).collect(), limit)
        });
        supervisor.deadline = Some(Deadline::new(limits, clock, layers));
        supervisor.killer = Some(Killer::of(&prepared.state));
        supervisor.notify = proxy(cx, self.slots);
        supervisor.refusals = Refusals::of(prepared, self.plan, cx, self.log);
        if let Some(refusals) = supervisor.refusals.as_mut().filter(|_| prepared.options.observe) {
            refusals.denials = Some(Denials::new(&prepared.config, &prepared.bundle.rootfs_path));
        }
        Ok(())
    }

    /// Whether neither a cgroup nor a pid namespace identifies the container's processes.
    fn leaves_orphans(&self) -> bool {
        let state = &self.prepared.state;
        self.prepared.config.hardening.bare || (!state.own_pid_namespace && state.cgroups.is_empty())
    }

    /// Reports the operations that the sandbox refused, after a failed run.
    fn explain(&self, end: &ContainerEnd, pid: i32, denials: Option<&Denials>) {
        let log = self.log;
        if let Some(text) = sigsys::explain(&self.prepared.config, pid, end.exit) {
            log.verdict(&text);
        }
        let Some(denials) = denials.filter(|_| end.exit != ProcessExit::Code(0)) else { return };
        let (lines, more) = denials.first_lines();
        lines.iter().for_each(|line| log.verdict(&format!("denied: {line}")));
        let powerless = denials.powerless();
        powerless.iter().for_each(|line| log.verdict(&format!("denied: {line}")));
        match (lines.is_empty(), more) {
            (true, _) if !powerless.is_empty() => {}
            (true, _) => log.verdict("denied: nothing that was observed: the failure is the program's own"),
            (_, 0) => {}
            (_, more) => log.verdict(&format!("denied: {more} more")),
        }
    }

    /// Why the launcher ended the container.
    fn cause(&self, end: &ContainerEnd) -> Option<String> {
        let (life, stop) = (&self.launch.life, self.prepared.state.stop);
        match end.cause? {
            EndCause::Timeout => {
                let signal = signals::name(stop.signal).unwrap_or_else(|| stop.signal.to_string());
                let how = match end.exit {
                    ProcessExit::Signal(libc::SIGKILL) if stop.millis > 0 && stop.signal != libc::SIGKILL => {
                        let grace = std::time::Duration::from_millis(stop.millis);
                        format!("{signal}, then SIGKILL after {grace:?}")
                    }
                    _ if stop.millis == 0 => "SIGKILL".into(),
                    _ => signal,
                };
                Some(format!("stopped after {:?}: {how} (--timeout)", life.timeout?))
            }
            EndCause::CpuTime => {
                let time = life.cpu_time?;
                Some(format!("killed: its processes together used {time:?} of cpu time (--cpu-time)"))
            }
            EndCause::OverlaySize => {
                let limit = sizes::text(i64::try_from(life.overlay_size?).unwrap_or(i64::MAX));
                Some(format!(
                    "killed: its layers take more than {limit} on the disk, or cannot be counted (--overlay-size)"
                ))
            }
        }
    }

    /// Reports why the container was ended, which output was dropped, and what the kernel refused it. The
    /// last comes from the events of its cgroups, not from exit code 137.
    fn report(&self, end: &ContainerEnd, events: CgroupEvents) {
        let (resources, log) = (&self.prepared.config.resources, self.log);
        self.cause(end).iter().for_each(|text| log.verdict(text));
        for (name, count) in ["stdout", "stderr"].iter().zip(end.streams) {
            let Some(count) = count else { continue };
            let (bytes, cut) = (count.bytes, count.cut);
            if cut > 0 {
                log.verdict(&format!(
                    "{name}: {cut} of {bytes} bytes in the middle were dropped (--output-limit)"
                ));
            }
            if count.lost > 0 {
                log.verdict(&format!(
                    "{name}: the reader did not read the last {} bytes in time",
                    count.lost
                ));
            }
        }
        if events.oom_kills > 0 {
            let limit = resources.memory.limit.map(|l| format!(" of {}", sizes::text(l))).unwrap_or_default();
            let ended = if end.exit == ProcessExit::Signal(libc::SIGKILL) {
                ""
            } else {
                "; the container's first process continued"
            };
            log.verdict(&format!(
                "out of memory: the kernel killed {} process(es) of the container at its memory limit{limit}{ended} (--memory)",
                events.oom_kills
            ));
        }
        if events.pids_refused > 0 {
            let limit = resources.pids_limit.unwrap_or_default();
            log.verdict(&format!(
                "the limit of {limit} processes refused a fork {} time(s) (--pids-limit)",
                events.pids_refused
            ));
        }
    }
}

fn without_kill(plan: &Plan) -> Vec<Undo> {
    plan.undos().into_iter().filter(|u| *u != Undo::Kill).collect()
}

/// Launches, and releases the state-directory lock; the directory stays open.
pub(super) fn launched(
    prepared: &Prepared,
    plan: &Checked<Plan>,
    cx: &mut Cx,
    control: &mut Control,
    helpers: &mut Helpers,
) -> Result<StateLock> {
    cx.keep_lock = true;
    launch(plan, cx, control, helpers, &prepared.state)?;
    cx.held.clear();
    let hold = StateLock::of(plan, cx).ok_or_else(|| Error::msg("the plan creates no state directory"))?;
    hold.release().inspect_err(|_| take_back(prepared, plan, cx, &hold))?;
    Ok(hold)
}

/// The actions after the program has started: `--pid-file` and the poststart hooks. If one fails, the
/// container is ended and removed.
pub(super) fn begin(prepared: &Prepared, plan: &Plan, cx: &Cx, hold: &StateLock) -> Result<()> {
    let pid_file = prepared.options.pid_file.as_ref();
    let written = pid_file.map_or(Ok(()), |path| crate::lifecycle::pid_file::write(path, cx.pid));
    let started = || poststart(&prepared.state, cx.pid, cx.signals);
    let unwritten = |_: &Error| pid_file.iter().for_each(|path| crate::lifecycle::pid_file::remove(path));
    written
        .and_then(|()| started().inspect_err(unwritten))
        .inspect_err(|_| take_back(prepared, plan, cx, hold))
}

/// Ends and removes a running container.
fn take_back(prepared: &Prepared, plan: &Plan, cx: &Cx, hold: &StateLock) {
    let undos = plan.undos();
    if let Some(undone) = hold.end(&undos, Some((cx.pid, cx.pidfd)), true) {
        report_and_poststop(&prepared.state, &undone, cx.signals);
    }
}

/// Forwards the container's readiness notification if `$NOTIFY_SOCKET` is set.
pub(super) fn proxy(cx: &Cx, slots: &PlanSlots) -> Option<Proxy> {
    let fd = Some(cx.fd(&slots.notify)).filter(|fd| *fd >= 0)?;
    Some(Proxy::on(fd, notify::host()?, cx.pid))
}
