//! `safebox run`: create, start, supervise, delete.

mod names;

use crate::sys::start::ExitCode;
use std::io::Write;
use std::ops::ControlFlow;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use crate::cli::{GlobalArgs, RunArgs};
use crate::commands::common::{VerbResult, inherit, policy, root_of, terminals};
use crate::commands::foreground::{ForegroundRun, begin, launched, proxy};
use crate::commands::run::names::{MadeFiles, made_up_id};
use crate::error::{Error, ExecError};
use crate::input;
use crate::launch::prepare::{Draft, Prepared, draft};
use crate::launch::stdio::{self, Launcher};
use crate::launch::value::{Access, Launch, LogDriver, RootSource};
use crate::launch::would::check_program;
use crate::launch::{images, layers, weaker};
use crate::lifecycle::account::Account;
use crate::lifecycle::detach::{self, DetachSide, Ready};
use crate::lifecycle::name::ReservedName;
use crate::lifecycle::result::Sink;
use crate::lifecycle::supervise::Supervisor;
use crate::log::Log;
use crate::network::handle::HelperHandle;
use crate::perform::Cx;
use crate::perform::control::Control;
use crate::perform::runtime::Helpers;
use crate::plan::Plan;
use crate::plan::check::Checked;
use crate::plan::recipe::{Console, PlanSlots};
use crate::policy::enforce::Enforcement;
use crate::policy::{Change, Policy};
use crate::sys::process;

pub use names::target;

/// `--compose FILE SERVICE` and `--pod FILE [CONTAINER]`: the options of the file are added to the launch, behind the command
/// line.
fn described(launch: &mut Launch, args: &mut RunArgs) -> Result<(), Error> {
    let mut described = match (&launch.life.compose, &launch.life.pod) {
        (None, None) => return Ok(()),
        (Some(_), Some(_)) => {
            return Err(Error::msg("--compose and --pod describe one container each: use one"));
        }
        (Some(file), None) => {
            let service = args.target.take();
            let service = service.ok_or_else(|| {
                Error::msg(format!(
                    "--compose {}: name the service: safebox run --compose FILE SERVICE",
                    file.display()
                ))
            })?;
            input::compose::read(file, &service)?
        }
        (None, Some(file)) => input::pod::read(file, args.target.take().as_deref())?,
    };
    if launch.life.rootfs.is_none() && launch.life.bundle.is_none() {
        let image = described.image.as_ref().map_or("its image", |(image, _)| image);
        return Err(Error::msg(format!(
            "{}: safebox runs no images: unpack {image} (skopeo copy, umoci unpack) and give its root file system with --rootfs DIR",
            described.at
        )));
    }
    launch.args = std::mem::take(&mut args.args);
    described.launch(launch)?;
    args.args = std::mem::take(&mut launch.args);
    if launch.life.name.is_none() {
        launch.life.name = Some(made_up_id(Path::new(&described.name)));
    }
    described.notices().iter().filter(|_| !launch.life.quiet).for_each(|line| crate::log::say(line));
    Ok(())
}

/// Where the root file system comes from, and the container's id.
fn root_and_id(global: &GlobalArgs, args: &RunArgs, launch: &mut Launch) -> Result<(), Error> {
    let life = &launch.life;
    let none = args.target.is_none() && life.bundle.is_none();
    if none && !(args.args.is_empty() && launch.process.entrypoint.is_none()) && !global.as_runc
        || life.rootfs.is_some()
    {
        launch.root = root_of(launch, None)?;
        let what = launch
            .life
            .rootfs
            .as_deref()
            .unwrap_or(Path::new(args.args.first().map_or("box", String::as_str)));
        launch.id = args.target.clone().unwrap_or_else(|| made_up_id(what));
    } else {
        let (bundle, id) = target(args.target.as_deref(), life.bundle.as_deref())?;
        let named = args.target.as_deref() == Some(id.as_str()) && life.bundle.is_none();
        if named && !global.as_runc && !Path::new("config.json").exists() {
            images::no_image(Path::new(&id), false)?;
            return Err(images::no_id(&id));
        }
        (launch.root, launch.id) = (root_of(launch, Some(&bundle))?, id);
    }
    if let Some(name) = &launch.life.name {
        if args.target.as_deref() == Some(launch.id.as_str()) {
            return Err(Error::msg(format!("--name {name}: the container's id is {} already", launch.id)));
        }
        launch.id.clone_from(name);
    }
    Ok(())
}

/// Completes what the command line says: the launch of a `run`.
fn complete(global: &GlobalArgs, args: &mut RunArgs, log: &Log) -> Result<Launch, Error> {
    let mut launch = std::mem::take(&mut args.options.0);
    described(&mut launch, args)?;
    root_and_id(global, args, &mut launch)?;
    launch.state_root = crate::commands::common::root(global)?;
    launch.args = std::mem::take(&mut args.args);
    if launch.args.is_empty() && matches!(launch.root, RootSource::Directory(_)) {
        launch.args = vec!["/bin/sh".into()];
    }
    launch.policy = Some(policy(global, &launch));
    let names;
    (launch.enforcement, names) = Enforcement::with_names(global.policy_file.as_deref(), global.fixed_level)?;
    crate::launch::network::add_names(&mut launch, &names)?;
    terminals(&mut launch);
    inherit(&mut launch)?;
    let stays = !launch.life.detach;
    launch.life.keep &= !launch.life.rm;
    let monitored = stays || is_monitored(global, &launch);
    if !monitored {
        refuse_unmonitored(&launch)?;
    }
    if !stays && launch.life.output_limit.is_some() {
        return Err(Error::msg(
            "--output-limit with --detach: the log is bounded instead, by --log-opt max-size=SIZE and max-file=N",
        ));
    }
    let copied = launch.files.paths.iter().any(|(access, _)| *access == Access::Copy);
    if launch.life.overlay_size.is_some() && !copied {
        return Err(Error::msg("--overlay-size: there is no --overlay whose layers it could limit"));
    }
    // A container that is kept outlives its launcher on purpose.
    launch.caller.die_with_runtime = stays && !launch.life.keep;
    launch.caller.observe = launch.life.explain_denials;
    launch.caller.report_refusals = launch.caller.observe || log.is_debug() && stays;
    launch.caller.lf = stays && launch.life.console_socket.is_none() && stdio::lines_end_in_lf();
    launch.stays = match (stays, monitored) {
        (true, _) => Launcher::Stays,
        (false, true) => {
            let driver = launch.life.log_driver;
            Launcher::Monitors { none: driver == Some(LogDriver::None), asked: driver.is_some() }
        }
        (false, false) => Launcher::Detaches,
    };
    launch.cgroup_manager = crate::commands::common::cgroup_manager(global)?;
    let me = process::pid();
    launch.launcher = (stays && !launch.life.keep)
        .then(|| crate::sys::process::start_time(me).map(|s| (me, s)).unwrap_or((me, 0)));
    Ok(launch)
}

/// Whether a process stays with a detached container. Callers of an OCI runtime have one of their own, and are the
/// parents of the container's process.
fn is_monitored(global: &GlobalArgs, launch: &Launch) -> bool {
    let callers = global.as_runc || launch.life.console_socket.is_some();
    launch.life.detach && !callers && launch.policy() != Policy::Privileged
}

/// What only a process that stays can do.
fn refuse_unmonitored(launch: &Launch) -> Result<(), Error> {
    let (life, network) = (&launch.life, &launch.network);
    let asked = [
        // The helper has its own ports; those of plugins are held by the launcher.
        ("--publish with --network cni:NAME", network.cni.is_some() && !network.published.is_empty()),
        ("--rm", life.rm),
        ("--timeout", life.timeout.is_some()),
        ("--cpu-time", life.cpu_time.is_some()),
        ("--output-limit", life.output_limit.is_some()),
        ("--overlay-size", life.overlay_size.is_some()),
        ("--result", life.result.is_some()),
        ("--log-driver", life.log_driver.is_some()),
        ("--health-cmd", life.health.is_some()),
        ("--explain-denials", life.explain_denials),
    ];
    match asked.iter().find(|(_, asked)| *asked) {
        Some((flag, _)) => Err(Error::msg(format!(
            "{flag} with --detach: no process stays with a container of --policy privileged or --console-socket; safebox delete ID removes it"
        ))),
        None => Ok(()),
    }
}

/// Adds what is weaker than `restricted` and what no layer has named. Callers of runc and of its `run --console-socket`
/// compare this output with runc's, and the config is theirs.
fn judge(global: &GlobalArgs, launch: &Launch, prepared: &mut Prepared) {
    if global.as_runc || launch.life.console_socket.is_some() {
        return;
    }
    let (config, each) = (&prepared.config, launch.life.verbose);
    let changes = weaker::unnamed(config, launch.policy(), &prepared.outcome.changes, each);
    prepared.outcome.changes.extend(changes);
}

/// Prints what was hardened: one line, or each change. What is weaker than `restricted` is printed in any case.
fn notices(launch: &Launch, prepared: &Prepared) {
    let changes = &prepared.outcome.changes;
    let life = &launch.life;
    let mark = |change: &Change| if change.weaker { "weaker: " } else { "" };
    if life.verbose {
        changes.iter().for_each(|change| crate::log::say(&format!("{}{change}", mark(change))));
        return;
    }
    if !life.quiet && launch.policy() != Policy::Privileged {
        crate::log::say(&layers::summary(&prepared.config, launch.policy(), changes));
    }
    weaker::lines(changes).iter().for_each(|line| crate::log::say(&format!("weaker: {line}")));
}

/// Runs a bundle, a directory, or this machine's programs. Whatever the end, the account goes where `--result` says.
pub fn run(global: &GlobalArgs, mut args: RunArgs, log: &Log) -> VerbResult {
    let sink = Sink::of(&args.options.0.life)?;
    let mut id = args.options.0.life.name.clone().or_else(|| args.target.clone()).unwrap_or_default();
    let Some(sink) = sink else { return started(global, &mut args, log, (None, &mut id)) };
    started(global, &mut args, log, (Some(&sink), &mut id)).inspect_err(|error| {
        let code = error.downcast_ref::<Error>().map_or(125, Error::run_code);
        let account = Account::not_started(&id, code.into(), &format!("{error:#}"));
        if let Err(e) = sink.write(&account) {
            log.error(&e.to_string());
        }
    })
}

fn started(
    global: &GlobalArgs,
    args: &mut RunArgs,
    log: &Log,
    (sink, id): (Option<&Sink>, &mut String),
) -> VerbResult {
    let launch = complete(global, args, log)?;
    id.clone_from(&launch.id);
    let (life, root) = (&launch.life, &launch.state_root);
    crate::state::check_id(&launch.id)?;
    crate::state::make_root(root)?;
    crate::lifecycle::garbage::sweep(root, log);
    let mut draft = draft_of(&launch)?;
    if draft.shares_host_root {
        crate::perform::seal::seal()?;
    }
    if let Some(sink) = sink {
        sink.close_on_exec()?;
    }
    // After `seal`, which may re-execute this program: a pipe can be read only once.
    let held = crate::launch::secrets::take(&mut draft.config.secrets)?;
    let ready = match monitor(&launch, &mut draft)? {
        ControlFlow::Continue(ready) => ready,
        ControlFlow::Break(code) => return Ok(code),
    };
    draft.report(log);
    let mut control = Control::new(life.step, life.until.clone(), life.fail.clone());
    let pidfd = life.pidfd_socket.as_deref();
    let pidfd = pidfd.map(|path| crate::launch::caller::connect("--pidfd-socket", path)).transpose()?;
    let (console, master) = console(&draft, &launch)?;
    let watches = !life.detach || ready.is_some();
    if watches && !life.no_subreaper {
        process::become_subreaper().map_err(|e| Error::os("prctl(PR_SET_CHILD_SUBREAPER)", "", e))?;
    }
    // A reader who steps through the plan keeps Ctrl-C.
    let supervisor = (watches && !control.asks()).then(Supervisor::new).transpose()?;
    let name = ReservedName::take(&draft.state_dir, draft.launcher, &mut control)?;
    let mut prepared = draft.place()?;
    judge(global, &launch, &mut prepared);
    let (plan, slots) = prepared.plan()?;
    notices(&launch, &prepared);
    crate::plan::report::debug(&plan, log);
    control.check(&plan)?;
    // The name is free again if this fails.
    let (mut cx, made) = context((&plan, &slots), &prepared, &launch, (console, pidfd), held)?;
    cx.signals = supervisor.as_ref().map_or(-1, Supervisor::signals);
    name.give(&plan, &mut cx);
    if !watches {
        let code = detached((&launch, log), &prepared, (&plan, &slots), cx, &mut control)?;
        made.keep();
        // As docker run. Callers of runc hand this output through, and name the id themselves.
        let named = args.target.as_deref() == Some(launch.id.as_str()) && !prepared.config.hardening.hardened;
        return if global.as_runc || named { Ok(code) } else { print_id(&launch.id) };
    }
    let watch = ForegroundRun { launch: &launch, prepared: &prepared, plan: &plan, slots: &slots, log, sink };
    match watch.run(cx, &mut control, supervisor, (master, ready)) {
        Ok(code) => {
            made.keep();
            // The process ends now, and its memory with it.
            std::mem::forget((plan, prepared, launch));
            Ok(code)
        }
        Err(error) => Err(place_outside(&launch, error)),
    }
}

/// The launch, up to what its name decides. A directory without the program is refused before mount points are made in it.
fn draft_of(launch: &Launch) -> Result<Draft, Error> {
    let draft = draft(launch)?;
    if matches!(launch.root, RootSource::Directory(_)) {
        check_program(&draft.config, &draft.bundle.rootfs_path)?;
    }
    Ok(draft)
}

/// `--detach`: this process forks. The child goes on and stays with the container; this process prints the id, or ends
/// with the exit code of a launch that failed.
fn monitor(launch: &Launch, draft: &mut Draft) -> anyhow::Result<ControlFlow<ExitCode, Option<Ready>>> {
    if !matches!(launch.stays, Launcher::Monitors { .. }) {
        return Ok(ControlFlow::Continue(None));
    }
    let ready = match detach::split()? {
        DetachSide::Monitor(ready) => ready,
        DetachSide::Started => return Ok(ControlFlow::Break(print_id(&launch.id)?)),
        DetachSide::Failed(code) => {
            return Ok(ControlFlow::Break(ExitCode::from(u8::try_from(code).unwrap_or(125))));
        }
    };
    let me = process::pid();
    draft.monitor = process::start_time(me).ok().map(|start| (me, start));
    draft.command = again(launch);
    Ok(ControlFlow::Continue(Some(ready)))
}

/// The context of the plan, with the descriptors that this process has opened for it, and the files it has made.
fn context(
    (plan, slots): (&Checked<Plan>, &PlanSlots),
    prepared: &Prepared,
    launch: &Launch,
    (console, pidfd): (Option<i32>, Option<i32>),
    held: Vec<OwnedFd>,
) -> Result<(Cx, MadeFiles), Error> {
    let mut cx = Cx::new(plan.slots);
    cx.set(&slots.rootfs, prepared.bundle.rootfs.as_raw_fd());
    cx.set(&slots.console, console.unwrap_or(-1));
    cx.set(&slots.pidfd_socket, pidfd.unwrap_or(-1));
    for (slot, fd) in slots.secrets.iter().zip(&held) {
        cx.set(slot, fd.as_raw_fd());
    }
    cx.held = held;
    let mut made = MadeFiles::default();
    if let Some(path) = &launch.life.audit_log {
        let file = made.open_log(path)?;
        cx.set(&slots.audit, file.as_raw_fd());
        cx.held.push(file);
    }
    if let Some(path) = &launch.life.cidfile {
        made.write_id(path, &launch.id)?;
    }
    Ok((cx, made))
}

/// Adds to the error for a missing program the place of that program on this machine, if it is not shown.
fn place_outside(launch: &Launch, error: anyhow::Error) -> anyhow::Error {
    let Some(Error::Exec(missing)) = error.downcast_ref::<Error>() else { return error };
    let looked_up = missing.not_found && missing.bare.is_none() && launch.root == RootSource::Host;
    let program = launch.process.entrypoint.as_ref().or(launch.args.first()).filter(|_| looked_up);
    let Some(place) = program.and_then(|program| images::outside(program)) else { return error };
    let message = format!("{} ({place})", missing.message);
    Error::Exec(ExecError { message, ..missing.clone() }).into()
}

/// The command line that runs a detached container in the foreground. What belongs to this run alone is left out.
fn again(launch: &Launch) -> Option<crate::state::Command> {
    const ONCE: [&str; 12] = [
        "detach",
        "rm",
        "name",
        "quiet",
        "verbose",
        "bundle",
        "cidfile",
        "pid-file",
        "result",
        "result-format",
        "step",
        "fail",
    ];
    let mut words = vec!["run".to_string(), format!("--name={}", launch.id)];
    if launch.life.compose.is_some() || launch.life.pod.is_some() {
        // The file would be read again, by another working directory's rules.
        return None;
    }
    let options = launch.words.iter().filter(|(long, _)| !ONCE.contains(long));
    words.extend(options.map(|(long, value)| match value.as_str() {
        "" => format!("--{long}"),
        value => format!("--{long}={value}"),
    }));
    if let RootSource::Bundle(dir) = &launch.root {
        words.push(format!("{}/", std::path::absolute(dir).ok()?.to_str()?.trim_end_matches('/')));
    }
    if !launch.args.is_empty() {
        words.push("--".into());
        words.extend(launch.args.iter().cloned());
    }
    Some(crate::state::Command { dir: std::env::current_dir().ok()?, words })
}

/// Prints the id of a detached container.
fn print_id(id: &str) -> VerbResult {
    // If stdout is a file, the program may have reopened it and written to it already: append.
    nix::unistd::lseek(std::io::stdout(), 0, nix::unistd::Whence::SeekEnd).unwrap_or_default();
    writeln!(std::io::stdout(), "{id}")?;
    Ok(ExitCode::SUCCESS)
}

/// Where the pty's master end goes: a caller's socket, or a socket whose other end this process keeps.
fn console(draft: &Draft, launch: &Launch) -> Result<(Option<i32>, Option<i32>), Error> {
    let terminal = draft.options.console == Console::Pty;
    let life = &launch.life;
    crate::commands::common::check_terminal(life.detach, terminal, life.console_socket.is_some())?;
    crate::launch::caller::console(life.console_socket.as_deref(), terminal)
}

/// `run --detach`: the container goes to the process that reaps this process's children.
fn detached(
    (launch, log): (&Launch, &Log),
    prepared: &Prepared,
    (plan, slots): (&Checked<Plan>, &PlanSlots),
    mut cx: Cx,
    control: &mut Control,
) -> VerbResult {
    let hold = launched(prepared, plan, &mut cx, control, &mut Helpers::default())?;
    begin(prepared, plan, &cx, &hold)?;
    crate::commands::report::running(&launch.state_root, log, &prepared.state, cx.pid);
    cx.helper.take().into_iter().for_each(HelperHandle::release);
    crate::lifecycle::notify::wait_for(proxy(&cx, slots), cx.pid)?;
    Ok(ExitCode::SUCCESS)
}
