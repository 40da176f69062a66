//! `safebox run`: create, start, supervise, delete.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::cgroup::ops::Events;
use crate::cgroup::witness::Witness;
use crate::cli::{Global, Run};
use crate::commands::common::{Outcome, inherit, policy, root_of, terminals};
use crate::error::Error;
use crate::launch::layers;
use crate::launch::prepare::{Draft, Prepared, draft};
use crate::launch::stdio::{self, Launcher};
use crate::launch::value::{Launch, Root};
use crate::lifecycle::denials::Denials;
use crate::lifecycle::directory::Hold;
use crate::lifecycle::ended::Ended;
use crate::lifecycle::guardian::{Guardian, Keeper};
use crate::lifecycle::hook_points::tell_and_stop;
use crate::lifecycle::hook_points::{launch, poststart};
use crate::lifecycle::name::Name;
use crate::lifecycle::notify::{self, Proxy};
use crate::lifecycle::processes;
use crate::lifecycle::refusals::Refusals;
use crate::lifecycle::supervise::Supervisor;
use crate::lifecycle::terminal::receive_pty;
use crate::log::Log;
use crate::perform::Cx;
use crate::perform::control::Control;
use crate::perform::runtime::Attendants;
use crate::plan::check::Checked;
use crate::plan::recipe::{Console, Given};
use crate::plan::{Plan, Undo};
use crate::policy::Policy;
use crate::sys::process::Exit;
use crate::sys::{process, socket};

/// What `run TARGET` means. With `--bundle` it is the id, as runc has it. Without, anything that an
/// id cannot be (it has a slash, or is `.` or `..`) is a bundle whose container gets a made-up id;
/// everything else is an id, and the bundle is the working directory, as runc has it.
pub fn target(target: Option<&str>, bundle: Option<&Path>) -> Result<(PathBuf, String), Error> {
    match (target, bundle) {
        (Some(id), Some(bundle)) => Ok((bundle.to_path_buf(), id.to_string())),
        (Some(path), None) if path.contains('/') || path == "." || path == ".." => {
            Ok((PathBuf::from(path), made_up_id(Path::new(path))))
        }
        (Some(id), None) => {
            let here = PathBuf::from(".");
            if !here.join("config.json").exists() && Path::new(id).join("config.json").exists() {
                return Err(Error::msg(format!(
                    "{id} is taken as a container id; for the bundle write {id}/"
                )));
            }
            Ok((here, id.to_string()))
        }
        (None, Some(bundle)) => Ok((bundle.to_path_buf(), made_up_id(bundle))),
        (None, None) => Err(Error::msg(
            "\"run\" requires exactly 1 argument: a bundle's directory, or a container id (this machine's programs: safebox run -- PROGRAM)",
        )),
    }
}

/// `--cidfile`: written once, and never over a file that is there.
fn write_id(path: &Path, id: &str) -> Result<(), Error> {
    let failed = |e: std::io::Error| Error::msg(format!("--cidfile {}: {e}", path.display()));
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).open(path).map_err(failed)?;
    file.write_all(id.as_bytes()).map_err(failed)
}

/// The bundle's name and a part that differs from run to run.
fn made_up_id(bundle: &Path) -> String {
    let full = std::path::absolute(bundle).unwrap_or_else(|_| bundle.to_path_buf());
    let name = full.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let name: String =
        name.chars().filter(|c| c.is_ascii_alphanumeric() || "_.-".contains(*c)).take(40).collect();
    let t = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let name = if name.is_empty() { "box" } else { &name };
    format!("{name}-{:x}-{:x}", std::process::id(), t.subsec_nanos())
}

/// Completes what the command line says: the launch of a `run`.
fn complete(global: &Global, args: &mut Run, log: &Log) -> Result<Launch, Error> {
    let mut launch = std::mem::take(&mut args.said.0);
    let life = &launch.life;
    let none = args.target.is_none() && life.bundle.is_none();
    if none && !(args.args.is_empty() && launch.process.entrypoint.is_none()) && !global.as_runc
        || life.rootfs.is_some()
    {
        launch.root = root_of(&launch, None)?;
        let what = launch
            .life
            .rootfs
            .as_deref()
            .unwrap_or(Path::new(args.args.first().map_or("box", String::as_str)));
        launch.id = args.target.clone().unwrap_or_else(|| made_up_id(what));
    } else {
        let (bundle, id) = target(args.target.as_deref(), life.bundle.as_deref())?;
        (launch.root, launch.id) = (root_of(&launch, Some(&bundle))?, id);
    }
    if let Some(name) = &launch.life.name {
        if args.target.as_deref() == Some(launch.id.as_str()) {
            return Err(Error::msg(format!("--name {name}: the container's id is {} already", launch.id)));
        }
        launch.id.clone_from(name);
    }
    launch.state_root = crate::commands::common::root(global)?;
    launch.args = std::mem::take(&mut args.args);
    if launch.args.is_empty() && matches!(launch.root, Root::Directory(_)) {
        launch.args = vec!["/bin/sh".into()];
    }
    launch.policy = Some(policy(global, &launch));
    terminals(&mut launch);
    inherit(&mut launch)?;
    let stays = !launch.life.detach;
    launch.life.keep &= !launch.life.rm;
    if launch.life.rm && launch.life.detach {
        return Err(Error::msg(
            "--rm with --detach: no process stays to remove the container: safebox delete ID does it",
        ));
    }
    // A container that is kept outlives its launcher on purpose.
    launch.caller.die_with_runtime = stays && !launch.life.keep;
    if launch.life.explain_denials && !stays {
        return Err(Error::msg("--explain-denials with --detach: no launcher stays to observe the program"));
    }
    launch.caller.observe = launch.life.explain_denials;
    launch.caller.report_refusals = launch.caller.observe || log.is_debug() && stays;
    launch.caller.lf = stays && launch.life.console_socket.is_none() && stdio::lines_end_in_lf();
    launch.stays = if stays { Launcher::Stays } else { Launcher::Leaves };
    launch.cgroup_manager = crate::commands::common::cgroup_manager(global)?;
    let me = process::pid();
    launch.launcher = (stays && !launch.life.keep)
        .then(|| crate::sys::process::start_time(me).map(|s| (me, s)).unwrap_or((me, 0)));
    Ok(launch)
}

/// Prints what was hardened: one line, or each change. What is weaker than `restricted` is printed in any case.
fn notices(launch: &Launch, prepared: &Prepared) {
    let changes = &prepared.outcome.changes;
    let life = &launch.life;
    if life.verbose {
        changes.iter().for_each(|change| crate::log::say(&change.to_string()));
        return;
    }
    if !life.quiet && launch.policy() != Policy::Privileged {
        crate::log::say(&layers::summary(&prepared.config, launch.policy(), changes));
    }
    changes.iter().filter(|c| c.weaker).for_each(|change| crate::log::say(&format!("weaker: {change}")));
}

/// Runs a bundle, a directory, or this machine's programs.
pub fn run(global: &Global, mut args: Run, log: &Log) -> Outcome {
    let launch = complete(global, &mut args, log)?;
    let (life, root) = (&launch.life, &launch.state_root);
    crate::state::check_id(&launch.id)?;
    crate::state::make_root(root)?;
    crate::lifecycle::garbage::sweep(root, log);
    let mut draft = draft(&launch)?;
    if draft.shares_host_root {
        crate::perform::seal::seal()?;
    }
    // Once: a pipe can be read no second time, and `seal` may have executed this program anew.
    let held = crate::launch::secrets::take(&mut draft.config.secrets)?;
    draft.tell(log);
    let mut control = Control::new(life.step, life.until.clone(), life.fail.clone());
    let pidfd = life.pidfd_socket.as_deref();
    let pidfd = pidfd.map(|path| crate::launch::caller::connect("--pidfd-socket", path)).transpose()?;
    let (console, master) = console(&draft, &launch)?;
    if !life.detach && !life.no_subreaper {
        process::become_subreaper().map_err(|e| Error::os("prctl(PR_SET_CHILD_SUBREAPER)", "", e))?;
    }
    // A reader who steps through the plan keeps Ctrl-C.
    let supervisor = (!life.detach && !control.asks()).then(Supervisor::new).transpose()?;
    let name = Name::take(&draft.state_dir, draft.launcher, &mut control)?;
    let prepared = draft.place()?;
    let (plan, given) = prepared.plan()?;
    notices(&launch, &prepared);
    crate::plan::report::debug(&plan, log);
    control.check(&plan)?;
    let mut cx = Cx::new(plan.slots);
    cx.signals = supervisor.as_ref().map_or(-1, Supervisor::signals);
    cx.set(&given.rootfs, std::os::fd::AsRawFd::as_raw_fd(&prepared.bundle.rootfs));
    cx.set(&given.console, console.unwrap_or(-1));
    cx.set(&given.pidfd_socket, pidfd.unwrap_or(-1));
    for (slot, fd) in given.secrets.iter().zip(&held) {
        cx.set(slot, std::os::fd::AsRawFd::as_raw_fd(fd));
    }
    cx.held = held;
    name.give(&plan, &mut cx);
    if let Some(path) = &life.cidfile {
        write_id(path, &launch.id)?;
    }
    if life.detach {
        let code = detached(&prepared, &plan, cx, &mut control, &given)?;
        // As docker run. Callers of runc hand this output through, and name the id themselves.
        let told = args.target.as_deref() == Some(launch.id.as_str()) && !prepared.config.hardening.hardened;
        if !global.as_runc && !told {
            // A program that has opened its output anew, a file, may have written to it already: its lines stay.
            nix::unistd::lseek(std::io::stdout(), 0, nix::unistd::Whence::SeekEnd).unwrap_or_default();
            writeln!(std::io::stdout(), "{}", launch.id)?;
        }
        Ok(code)
    } else {
        foreground((&prepared, log), &plan, cx, &mut control, (supervisor, master, &given), life.keep)
    }
}

/// Where the pty's master end goes: a caller's socket, or a socket whose other end this process keeps.
fn console(draft: &Draft, launch: &Launch) -> Result<(Option<i32>, Option<i32>), Error> {
    let terminal = draft.options.console == Console::Pty;
    let life = &launch.life;
    crate::commands::common::check_terminal(life.detach, terminal, life.console_socket.is_some())?;
    if let Some(path) = &life.console_socket {
        return Ok((Some(crate::launch::caller::connect("--console-socket", path)?), None));
    }
    if !terminal {
        return Ok((None, None));
    }
    let (ours, theirs) = socket::seqpacket_pair().map_err(|e| Error::os("socketpair", "", e))?;
    Ok((Some(theirs), Some(ours)))
}

/// `run --detach`: the container goes to whoever reaps this process's children.
fn detached(
    prepared: &Prepared,
    plan: &Checked<Plan>,
    mut cx: Cx,
    control: &mut Control,
    given: &Given,
) -> Outcome {
    let hold = launched(prepared, plan, &mut cx, control, &mut Attendants::default())?;
    begin(prepared, plan, &cx, &hold)?;
    crate::lifecycle::notify::wait_for(proxy(&cx, given), cx.pid)?;
    Ok(ExitCode::SUCCESS)
}

fn foreground(
    (prepared, log): (&Prepared, &Log),
    plan: &Checked<Plan>,
    mut cx: Cx,
    control: &mut Control,
    (mut supervisor, console, given): (Option<Supervisor>, Option<i32>, &Given),
    keep: bool,
) -> Outcome {
    let mut attendants = Attendants {
        guardian: (!keep).then(|| Box::new(Guardian::new(plan, &prepared.state)) as _),
        witness: Some(Witness::of(&prepared.layout, prepared.state.cgroup_v2)),
        ..Attendants::default()
    };
    let hold = launched(prepared, plan, &mut cx, control, &mut attendants)?;
    if let Err(e) = begin(prepared, plan, &cx, &hold) {
        if let Some(guardian) = attendants.guardian.take() {
            guardian.dismiss();
        }
        return Err(e.into());
    }
    let mut supervisor = match supervisor.take() {
        Some(s) => s,
        None => Supervisor::new()?,
    };
    crate::lifecycle::stdio::attach(&mut supervisor, given, &cx)?;
    supervisor.notify = proxy(&cx, given);
    supervisor.witness = attendants.witness;
    supervisor.refusals = Refusals::of(prepared.filters(), plan, &cx, log);
    if let Some(refusals) = supervisor.refusals.as_mut().filter(|_| prepared.options.observe) {
        refusals.denials = Some(Denials::new(&prepared.config, &prepared.bundle.rootfs_path));
    }
    let master = console.map(|fd| receive_pty(fd, plan, &cx)).transpose()?;
    let _keeper = master.filter(|_| keep).and_then(|_| Keeper::of_terminal());
    let exit = supervisor.watch(cx.pid, cx.pidfd, master)?;
    if prepared.config.hardening.bare {
        processes::end_orphans(attendants.guardian.as_ref().and_then(|guardian| guardian.pid()));
    }
    if let Some(denials) = supervisor.refusals.take().and_then(|r| r.denials) {
        explain_denials(&denials, exit, log);
    }
    if let Some(text) = crate::lifecycle::sigsys::explain(&prepared.config, cx.pid, exit) {
        log.verdict(&text);
    }
    if let Some(mut witness) = supervisor.witness.take() {
        let events = witness.events(exit == Exit::Signal(libc::SIGKILL));
        report(prepared, exit, events, log);
        if keep {
            let ended = Ended {
                code: Some(exit.code()),
                oom_kills: events.oom_kills,
                pids_refused: events.pids_refused,
            };
            ended.write(hold.fd())?;
        }
    }
    if !keep {
        // Whoever removed it meanwhile has run its hooks.
        if let Some(undone) = hold.end(&without_kill(plan), None, false) {
            tell_and_stop(&prepared.state, &undone, supervisor.signals());
        }
    }
    if let Some(guardian) = attendants.guardian {
        guardian.dismiss();
    }
    drop(supervisor);
    Ok(ExitCode::from(u8::try_from(exit.code()).unwrap_or(255)))
}

/// Launches, and lets others at the container; its directory stays open.
fn launched(
    prepared: &Prepared,
    plan: &Checked<Plan>,
    cx: &mut Cx,
    control: &mut Control,
    attendants: &mut Attendants,
) -> Result<Hold, Error> {
    cx.keep_lock = true;
    launch(plan, cx, control, attendants, &prepared.state)?;
    cx.held.clear();
    let hold = Hold::of(plan, cx).ok_or_else(|| Error::msg("the plan makes no state directory"))?;
    hold.release().inspect_err(|_| take_back(prepared, plan, cx, &hold))?;
    Ok(hold)
}

/// What follows once the program has started: `--pid-file` and the poststart hooks. Where that fails the container
/// ends, and leaves nothing.
fn begin(prepared: &Prepared, plan: &Plan, cx: &Cx, hold: &Hold) -> Result<(), Error> {
    let pid_file = prepared.options.pid_file.as_ref();
    let written = pid_file.map_or(Ok(()), |path| crate::lifecycle::pid_file::write(path, cx.pid));
    let started = || poststart(&prepared.state, cx.pid, cx.signals);
    let unwritten = |_: &Error| drop(pid_file.map(std::fs::remove_file));
    written
        .and_then(|()| started().inspect_err(unwritten))
        .inspect_err(|_| take_back(prepared, plan, cx, hold))
}

/// Ends a container that runs.
fn take_back(prepared: &Prepared, plan: &Plan, cx: &Cx, hold: &Hold) {
    let undos = plan.undos();
    if let Some(undone) = hold.end(&undos, Some((cx.pid, cx.pidfd)), true) {
        tell_and_stop(&prepared.state, &undone, cx.signals);
    }
}

/// What passes the container's readiness on, where `$NOTIFY_SOCKET` asks for it.
fn proxy(cx: &Cx, given: &Given) -> Option<Proxy> {
    let fd = Some(cx.fd(&given.notify)).filter(|fd| *fd >= 0)?;
    Some(Proxy::on(fd, notify::host()?, cx.pid))
}

fn without_kill(plan: &Plan) -> Vec<Undo> {
    plan.undos().into_iter().filter(|u| *u != Undo::Kill).collect()
}

/// Prints what was refused, after a run that failed.
fn explain_denials(denials: &Denials, exit: Exit, log: &Log) {
    if exit == Exit::Code(0) {
        return;
    }
    let (lines, more) = denials.shown();
    lines.iter().for_each(|line| log.verdict(&format!("denied: {line}")));
    match (lines.is_empty(), more) {
        (true, _) => log.verdict("denied: nothing that was observed: the failure is the program's own"),
        (_, 0) => {}
        (_, more) => log.verdict(&format!("denied: {more} more")),
    }
}

/// Says what the kernel refused the container, from its cgroups' events: never guessed from exit code 137.
fn report(prepared: &Prepared, exit: Exit, events: Events, log: &Log) {
    let resources = &prepared.config.resources;
    if events.oom_kills > 0 {
        let limit = resources
            .memory
            .limit
            .map(|l| format!(" of {}", crate::tables::sizes::text(l)))
            .unwrap_or_default();
        let ended =
            if exit == Exit::Signal(libc::SIGKILL) { "" } else { "; the container's own process went on" };
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bundles_and_ids_are_told_apart_by_what_an_id_may_be() {
        let t = |t, b: Option<&str>| target(t, b.map(Path::new)).map(|(b, id)| (b.display().to_string(), id));
        assert_eq!(t(Some("id"), Some("b")).unwrap(), ("b".into(), "id".into()));
        assert_eq!(t(Some("id"), None).unwrap(), (".".into(), "id".into()));
        let (bundle, id) = t(Some("some/bundle/"), None).unwrap();
        assert_eq!(bundle, "some/bundle/");
        assert!(id.starts_with("bundle-") && crate::state::check_id(&id).is_ok(), "{id}");
        assert!(t(None, None).is_err());
    }
}
