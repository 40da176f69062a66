//! `safebox exec`: runs another process in a running container, with the same last rows as the first process.

use crate::sys::read::at_most;
use crate::sys::start::ExitCode;

use crate::cli::{ExecArgs, GlobalArgs, parse_user};
use crate::commands::common::VerbResult;
use crate::commands::report;
use crate::config::{Process, variable};
use crate::error::{Error, StateError};
use crate::host::Host;
use crate::launch::exec_input::exec_input;
use crate::launch::filters::compile;
use crate::launch::stdio::{self, Launcher, Pty};
use crate::launch::{environment, exec_cgroups};
use crate::lifecycle::container::{Container, ContainerStatus};
use crate::lifecycle::deadline::{Deadline, RunLimits};
use crate::lifecycle::guardian::Keeper;
use crate::lifecycle::processes;
use crate::lifecycle::supervise::Supervisor;
use crate::log::Log;
use crate::perform::Cx;
use crate::perform::control::Control;
use crate::perform::runtime::{Helpers, perform};
use crate::perform::undo::undo;
use crate::plan::check::Checked;
use crate::plan::recipe::{Console, ExecInput, FilterInput, Options, PlanSlots, build_exec};
use crate::plan::{Plan, Undo};
use crate::state::{State, Stop};
use crate::sys::tty;
use crate::tables::{capabilities, capabilities::CapSet, namespaces::NsKind};

/// Runs a process in a container.
pub fn exec(global: &GlobalArgs, args: ExecArgs, log: &Log) -> VerbResult {
    // Before any file is opened: safebox's own files would use numbers that the caller left free.
    crate::launch::inherited_fds::preserved(args.preserve_fds)?;
    let root = crate::commands::common::root(global)?;
    let container = Container::load(&root, &args.id).map_err(|e| match e {
        Error::State(StateError::NotFound) => Error::msg("exec failed: container does not exist"),
        e => e,
    })?;
    let state = container.state()?;
    match container.status() {
        ContainerStatus::Stopped => return Err(wrong("cannot exec in a stopped container")),
        ContainerStatus::Creating => return Err(wrong("cannot exec in a container that is being created")),
        ContainerStatus::Paused if !args.ignore_paused => {
            return Err(wrong("cannot exec in a paused container (use --ignore-paused to override)"));
        }
        _ => {}
    }
    let of = processes::entrance(&container).ok_or_else(|| wrong("cannot exec in a stopped container"))?;
    if let Some(path) = container.lost_cgroups.first() {
        // Its limits are gone, so no further process may run.
        return Err(Error::msg(format!("{}: the container's cgroup is gone", path.display())).into());
    }
    if state.shares_host_root {
        // seal() re-executes this program, so call it before printing.
        crate::perform::seal::seal()?;
    }
    let inside = crate::lifecycle::namespace_fds::request(&container)?;
    let mut new = process_of(&args, state)?;
    crate::commands::common::check_terminal(args.detach, new.terminal, args.console_socket.is_some())?;
    let uid = new.user.uid;
    environment::normalise(&mut new.env, || crate::lifecycle::home::home_inside(of, uid, inside.as_ref()));
    let in_userns = state.namespaces & NsKind::User.row().flag != 0;
    let host = Host::probe()?;
    if let Some(enforcement) = crate::commands::common::enforcement(global)? {
        let lines = crate::launch::enforced::exec(&enforcement, (&root, state), &host, &mut new)?;
        lines.iter().for_each(|line| log.warning(line));
    }
    crate::launch::capabilities::limit(&mut new, in_userns)?.report(log);
    let options = options_of(&args, state, &mut new, log)?;
    let filters =
        state.seccomp.get()?.iter().map(|c| compile(c, false)).collect::<Result<Vec<FilterInput>, _>>()?;
    let groups = exec_cgroups::choose(state, of.0, &args.cgroup)?;
    let input = exec_input(state, of, &new, &host, &filters, &options, &groups);
    let (plan, slots) = build_exec(ExecInput { inside: inside.is_some(), ..input })?;
    crate::plan::report::debug(&plan, log);
    let mut cx = Cx::new(plan.slots);
    crate::perform::namespace_fds::fill(&slots, &mut cx, inside.as_ref());
    if let Some(path) = &args.pidfd_socket {
        cx.set(&slots.pidfd_socket, crate::launch::caller::connect("--pidfd-socket", path)?);
    }
    let (console, master) = crate::launch::caller::console(args.console_socket.as_deref(), new.terminal)?;
    cx.set(&slots.console, console.unwrap_or(-1));
    let started =
        |pid| report::executed(container.dir.parent().unwrap_or(&container.dir), log, &args.id, pid, &new);
    run(&args, &plan, (cx, &slots), (master, &started))
}

/// Descriptors and terminal of the new process.
fn options_of(args: &ExecArgs, state: &State, new: &mut Process, log: &Log) -> Result<Options, Error> {
    let in_userns = state.namespaces & NsKind::User.row().flag != 0;
    // As for `run`: a caller at a terminal gets a terminal of the container, not its own.
    let own_terminal = !new.terminal && !args.detach && state.hardened && state.has_devpts;
    let interactive = own_terminal && tty::is_tty(0) && tty::is_tty(1);
    if state.hardened {
        stdio::check_preserved(args.preserve_fds)?;
    }
    let (descriptors, notes) = stdio::choose(stdio::StdioFacts {
        launcher: if args.detach { Launcher::DetachesExec } else { Launcher::Stays },
        hardened: state.hardened,
        pty: match (new.terminal, interactive) {
            (true, _) => Pty::All,
            (false, true) => Pty::Terminals,
            (false, false) => Pty::None,
        },
        opens: !in_userns && new.user.uid == 0,
        counts: false,
    })?;
    notes.iter().for_each(|note| log.warning(note));
    new.terminal |= interactive;
    Ok(Options {
        console: if new.terminal { Console::Pty } else { Console::Inherit },
        stdio: descriptors,
        gives_stdio: args.detach,
        preserve_fds: args.preserve_fds,
        pidfd_socket: args.pidfd_socket.is_some(),
        window: tty::size(0).ok().map(|s| (s.rows, s.cols)),
        lf: !args.detach && args.console_socket.is_none() && stdio::lines_end_in_lf(),
        ..Options::default()
    })
}

fn wrong(text: &str) -> anyhow::Error {
    Error::from(StateError::Wrong(text.into())).into()
}

fn run(
    args: &ExecArgs,
    plan: &Checked<Plan>,
    (mut cx, slots): (Cx, &PlanSlots),
    (master, started): (Option<i32>, &dyn Fn(i32)),
) -> VerbResult {
    let mut supervisor = if args.detach { None } else { Some(Supervisor::new()?) };
    let pid_file = args.pid_file.as_deref().map(crate::launch::links::in_real_directory);
    perform(plan, &mut cx, &mut Control::default(), &mut Helpers::default())
        .map_err(|e| anyhow::Error::from(e).context("exec failed: unable to start container process"))?;
    started(cx.pid);
    // After a reported failure no process may be running.
    let kill = |_: &Error| drop(undo(&[Undo::Kill], Some((cx.pid, cx.pidfd)), true));
    if let Some(path) = &pid_file {
        crate::lifecycle::pid_file::write(path, cx.pid).inspect_err(kill)?;
    }
    let Some(supervisor) = supervisor.as_mut() else { return Ok(ExitCode::SUCCESS) };
    let master = master
        .map(|fd| crate::lifecycle::terminal::receive_pty(fd, plan, &cx))
        .transpose()
        .inspect_err(kill)?;
    crate::lifecycle::stdio::attach(supervisor, slots, &cx).inspect_err(kill)?;
    let _keeper = master.and_then(|_| Keeper::of_terminal());
    if args.timeout.is_some() {
        let stop = Stop { millis: 0, ..Stop::default() };
        let limits = RunLimits { timeout: args.timeout, cpu_time: None, stop };
        supervisor.deadline = Some(Deadline::new(limits, None, None));
    }
    let end = supervisor.watch(cx.pid, cx.pidfd, master)?;
    Ok(ExitCode::from(u8::try_from(end.code()).unwrap_or(255)))
}

/// The process to run: that of process.json, or the container's with the options applied.
fn process_of(args: &ExecArgs, state: &State) -> Result<Process, Error> {
    if let Some(path) = &args.process {
        let read = std::fs::File::open(path).and_then(|file| at_most(file, crate::bundle::MAX_CONFIG));
        let raw = read.map_err(|e| Error::msg(format!("--process {}: {e}", path.display())))?;
        // As with runc the file overrides all options: conmon passes --tty too, with the same value.
        return crate::config::parse::process_from_slice(&raw, &state.process)
            .map_err(|e| Error::msg(format!("--process {}: {}: {}", path.display(), e.pointer, e.message)));
    }
    let mut process = state.process.clone();
    if args.command.is_empty() {
        return Err(Error::msg("process args cannot be empty"));
    }
    process.args = args.command.clone();
    process.terminal = args.tty;
    for entry in &args.env {
        variable(entry).map_err(|text| Error::msg(format!("invalid {text} (--env)")))?;
        process.env.push(entry.clone());
    }
    if let Some(cwd) = &args.cwd {
        if !cwd.starts_with('/') {
            return Err(Error::msg(format!("exec failed: Cwd must be an absolute path (--cwd {cwd})")));
        }
        process.cwd = cwd.into();
    }
    if let Some(user) = &args.user {
        let (uid, gid) = parse_user(user).map_err(|e| Error::msg(format!("exec failed: bad uid: {e}")))?;
        process.user.uid = uid;
        process.user.gid = gid.unwrap_or(process.user.gid);
    }
    process.user.additional_gids.extend(&args.additional_gids);
    process.no_new_privileges = args.no_new_privs.unwrap_or(process.no_new_privileges);
    if let Some(profile) = &args.apparmor {
        process.apparmor_profile = Some(profile.clone());
    }
    if let Some(label) = &args.process_label {
        process.selinux_label = Some(label.clone());
    }
    for name in &args.cap {
        let Some(bit) = capabilities::parse(name) else {
            process.unknown_capabilities.push(name.clone());
            continue;
        };
        // Not inheritable: a file with inheritable bits would gain them (CVE-2022-29162).
        for set in [
            &mut process.capabilities.bounding,
            &mut process.capabilities.effective,
            &mut process.capabilities.permitted,
        ] {
            *set = set.with(bit);
        }
        // As in runc: ambient capabilities need inheritable ones, so they are set only if the container has
        // an inheritable set.
        if process.capabilities.inheritable != CapSet::EMPTY {
            process.capabilities.ambient = process.capabilities.ambient.with(bit);
        }
    }
    Ok(process)
}
