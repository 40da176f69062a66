//! `safebox restore`: restores a running container from a directory of images.

use crate::sys::start::ExitCode;
use std::os::fd::{AsRawFd, RawFd};
use std::path::{Path, PathBuf};

use crate::cli::{GlobalArgs, RestoreArgs};
use crate::commands::common::VerbResult;
use crate::config::hooks::HookKind;
use crate::criu::inside::{cgroups_of, guard, network, restrictions};
use crate::criu::rpc::{self, CriuNotification, CriuRequestType, CriuSocket, opt};
use crate::criu::wire::WireMessage;
use crate::criu::{self, Directories, outside};
use crate::error::{Error, Result, StateError};
use crate::launch::prepare::{Draft, Prepared, draft};
use crate::launch::value::{Launch, RootSource};
use crate::lifecycle::directory::StateLock;
use crate::lifecycle::guardian::Keeper;
use crate::lifecycle::name::ReservedName;
use crate::lifecycle::supervise::Supervisor;
use crate::log::Log;
use crate::perform::Cx;
use crate::perform::control::Control;
use crate::perform::runtime::{Helpers, perform};
use crate::perform::undo;
use crate::plan::recipe::{Console, PlanSlots, restore as rows};
use crate::plan::{Plan, Undo};
use crate::policy::Policy;
use crate::state::State;
use crate::sys::{fs, process, socket, tty};
use crate::tables::errno;
use crate::tables::namespaces::NsKind;

const LOG: &str = "restore.log";

/// Restores a container. The config is not hardened. The properties of the process itself (user,
/// capabilities, filters, rlimits) are in the images; criu restores them.
pub fn restore(global: &GlobalArgs, args: &RestoreArgs, log: &Log) -> VerbResult {
    let root = crate::commands::common::root(global)?;
    check(args, &root)?;
    let program = criu::program(global.criu.as_deref())?;
    let draft = draft_of(global, args, root)?;
    let terminal = TerminalReceiver::of(&draft, args)?;
    let dirs = Directories::open(&args.criu.flags(), None)?;
    if draft.config.is_new(NsKind::User) {
        dirs.reachable()?;
    }
    let descriptors = descriptors(&dirs.path)?;
    let (ours, theirs) = socket::seqpacket_pair().map_err(|e| Error::os("socketpair", "", e))?;
    let ours = CriuSocket(ours);
    let null = fs::openat(libc::AT_FDCWD, c"/dev/null", libc::O_RDWR, 0)
        .map_err(|e| Error::os("open", "/dev/null", e))?;
    if !args.detach && !args.no_subreaper {
        process::become_subreaper().map_err(|e| Error::os("prctl(PR_SET_CHILD_SUBREAPER)", "", e))?;
    }
    let supervisor = if args.detach { None } else { Some(Supervisor::new()?) };
    let mut control = Control::default();
    let name = ReservedName::take(&draft.state_dir, draft.launcher, &mut control)?;
    let prepared = draft.place()?;
    let (plan, given, fds) = prepared.restore_plan(&program)?;
    let options = options(args, &prepared, (&fds, &descriptors))?;
    let mut cx = context(plan.slots, (&given, &fds), &prepared, (theirs, null));
    name.give(&plan, &mut cx);
    perform(
        &plan,
        &mut cx,
        &mut control,
        &mut Helpers { hooks: crate::lifecycle::hooks::run, ..Helpers::default() },
    )?;
    fs::close(theirs);
    let mut restored = Restored {
        prepared: &prepared,
        args,
        terminal,
        pid: 0,
        pidfd: -1,
        signals: supervisor.as_ref().map_or(-1, Supervisor::signals),
        state: State { undo: plan.undos(), ..prepared.state.clone() },
    };
    if let Err(e) = restored.by_criu(ours, options, &dirs, &cx) {
        let e = criu::log::explain(e, &dirs.log, LOG);
        restored.undo(&plan, &cx);
        return Err(e.into());
    }
    let hold = StateLock::of(&plan, &cx).ok_or_else(|| Error::msg("the plan makes no state directory"))?;
    hold.release().inspect_err(|_| restored.undo(&plan, &cx))?;
    let root = prepared.state_dir.parent().unwrap_or(&prepared.state_dir);
    crate::commands::report::created(root, log, "restore", &prepared.state, restored.pid);
    match supervisor {
        None => Ok(ExitCode::SUCCESS),
        Some(supervisor) => restored.watch(supervisor, &plan, &hold),
    }
}

/// What can be refused before anything is opened.
fn check(args: &RestoreArgs, root: &Path) -> Result<()> {
    crate::state::check_id(&args.id)?;
    criu::check_flags(&args.criu.flags())?;
    criu::needs_root("restore")?;
    crate::state::make_root(root)?;
    if root.join(&args.id).exists() { Err(StateError::Exists.into()) } else { Ok(()) }
}

/// The context of the plan. `theirs`: criu's end of the conversation.
fn context(
    slots: u16,
    (given, fds): (&PlanSlots, &rows::CriuFds),
    prepared: &Prepared,
    (theirs, null): (RawFd, RawFd),
) -> Cx {
    let mut cx = Cx::new(slots);
    cx.keep_lock = true;
    cx.set(&given.rootfs, prepared.bundle.rootfs.as_raw_fd());
    cx.set(&fds.socket, theirs);
    cx.set(&fds.null, null);
    for (fd, slot) in (0..).zip(&fds.stdio) {
        cx.set(slot, fd);
    }
    cx
}

/// The launch of the config in the bundle, as it is written.
fn draft_of(global: &GlobalArgs, args: &RestoreArgs, root: PathBuf) -> anyhow::Result<Draft> {
    let mut launch = Launch {
        root: RootSource::Bundle(args.bundle.clone().unwrap_or_else(|| ".".into())),
        id: args.id.clone(),
        state_root: root,
        policy: Some(Policy::Privileged),
        cgroup_manager: crate::commands::common::cgroup_manager(global)?,
        enforcement: crate::commands::common::enforcement(global)?,
        ..Launch::default()
    };
    launch.caller.notify = crate::lifecycle::notify::host().is_some();
    let draft = draft(&launch)?;
    if !draft.config.net_devices.is_empty() {
        let text = "/linux/netDevices: devices of the host are not given to a restored container";
        return Err(Error::msg(text).into());
    }
    Ok(draft)
}

/// Receiver of the master end of the container's terminal.
enum TerminalReceiver {
    /// The container has no terminal.
    None,
    /// A socket of the caller.
    Socket(i32),
    /// This process; the descriptor, once criu has sent it.
    Ours(Option<i32>),
}

impl TerminalReceiver {
    fn of(draft: &Draft, args: &RestoreArgs) -> Result<Self> {
        let terminal = draft.options.console == Console::Pty;
        crate::commands::common::check_terminal(args.detach, terminal, args.console_socket.is_some())?;
        match (&args.console_socket, terminal) {
            (Some(path), _) => {
                crate::launch::caller::connect("--console-socket", path).map(TerminalReceiver::Socket)
            }
            (None, true) => Ok(TerminalReceiver::Ours(None)),
            (None, false) => Ok(TerminalReceiver::None),
        }
    }
}

/// The container during and after its restore.
struct Restored<'a> {
    prepared: &'a Prepared,
    args: &'a RestoreArgs,
    terminal: TerminalReceiver,
    /// The container's init; 0 until criu has created it.
    pid: i32,
    pidfd: i32,
    /// In the foreground: a signalfd(2), so that Ctrl-C interrupts a hook.
    signals: i32,
    state: State,
}

impl Restored<'_> {
    /// Runs criu, which waits at the other end of `line`.
    fn by_criu(
        &mut self,
        line: CriuSocket,
        mut options: WireMessage,
        dirs: &Directories,
        cx: &Cx,
    ) -> Result<()> {
        let dirs = dirs.seen_by(cx.pid)?;
        dirs.name_in(&mut options);
        // criu is in the container's cgroups. They replace the cgroups that the images name.
        for (controller, path) in cgroups_of(cx.pid)? {
            options.nested(opt::CG_ROOT, &rpc::pair(&controller, &path));
        }
        let answer = rpc::converse(line.0, &rpc::request(CriuRequestType::Restore, &options), &mut |e| {
            self.on_event(e)
        });
        drop(line);
        // criu ends by itself, also after an error, and its processes with it.
        process::wait(cx.pid, 0).map_err(|e| Error::os("waitpid", "criu", e))?;
        let answer = answer?;
        if self.pid == 0 || answer.pid != self.pid {
            return Err(Error::msg("criu restored a process that it did not announce"));
        }
        Ok(())
    }

    /// Handles criu's notifications. An error makes criu abort and kill the processes it has created.
    fn on_event(&mut self, event: CriuNotification) -> Result<()> {
        match event.name.as_str() {
            "setup-namespaces" => self.namespaces_exist(event.pid),
            "orphan-pts-master" => self.terminal_exists(event.fd),
            "post-restore" => self.process_exists(event.pid),
            _ => Ok(()),
        }
    }

    /// The namespaces exist without processes: sets up what the images leave out, then runs the hooks.
    fn namespaces_exist(&self, pid: i32) -> Result<()> {
        let config = &self.prepared.config;
        if config.is_new(NsKind::Net) {
            network(pid, &config.sysctl)?;
        }
        let hooks = &config.hooks;
        for (kind, list) in
            [(HookKind::Prestart, &hooks.prestart), (HookKind::CreateRuntime, &hooks.create_runtime)]
        {
            let hooks = crate::lifecycle::hook_points::hooks(kind, list, &self.state, "creating");
            crate::lifecycle::hooks::run(&hooks, kind, (pid, 0), self.signals, None)
                .map_err(|_| Error::msg(format!("a {kind} hook failed")))?;
        }
        Ok(())
    }

    fn terminal_exists(&mut self, master: Option<i32>) -> Result<()> {
        let master = master.ok_or_else(|| Error::msg("criu announced a terminal but did not send it"))?;
        match &mut self.terminal {
            TerminalReceiver::Ours(slot) => {
                *slot = Some(master);
                if crate::launch::stdio::lines_end_in_lf() {
                    tty::clear_onlcr(master).map_err(|e| Error::os("tcsetattr", "the terminal", e))?;
                }
                Ok(())
            }
            TerminalReceiver::Socket(to) => socket::send_pty(*to, master)
                .map_err(|e| Error::os("send the terminal", "--console-socket", e)),
            TerminalReceiver::None => Err(Error::msg(
                "the images contain a terminal, but the config has none: set /process/terminal",
            )),
        }
    }

    /// The processes exist and are stopped.
    fn process_exists(&mut self, pid: i32) -> Result<()> {
        self.pidfd = process::pidfd_open(pid).map_err(|e| Error::os("pidfd_open", pid, e))?;
        self.pid = pid;
        guard(pid, &restrictions(self.prepared))?;
        // criu creates a time namespace, so that clocks continue from their saved values; `exec` must join
        // it.
        let own = outside::namespace_inode(process::pid(), NsKind::Time)?;
        if outside::namespace_inode(pid, NsKind::Time)? != own {
            self.state.namespaces |= NsKind::Time.row().flag;
        }
        let pid_file =
            self.args.pid_file.as_deref().map(|p| std::path::absolute(p).unwrap_or_else(|_| p.into()));
        let after = rows::after(&self.prepared.state_dir, &self.state, pid_file.as_ref())?;
        let mut cx = Cx::new(after.slots);
        cx.pid = pid;
        perform(&after, &mut cx, &mut Control::default(), &mut Helpers::default()).map(drop)
    }

    /// Removes everything after a failed restore.
    fn undo(&self, plan: &Plan, cx: &Cx) {
        let child = if self.pid == 0 { (cx.pid, cx.pidfd) } else { (self.pid, self.pidfd) };
        let undos: Vec<Undo> = plan.undos();
        for problem in undo::undo(&undos, Some(child), true).problems {
            crate::log::say(&problem);
        }
    }

    /// In the foreground: waits for the container and returns its exit code.
    fn watch(self, mut supervisor: Supervisor, plan: &Plan, hold: &StateLock) -> VerbResult {
        let master = match self.terminal {
            TerminalReceiver::Ours(master) => master,
            _ => None,
        };
        let _keeper = master.and_then(|_| Keeper::of_terminal());
        let exit = supervisor.watch(self.pid, self.pidfd, master)?.exit;
        let undos: Vec<Undo> = plan.undos().into_iter().filter(|u| *u != Undo::Kill).collect();
        if let Some(undone) = hold.end(&undos, None, false) {
            crate::lifecycle::hook_points::report_and_poststop(&self.state, &undone, supervisor.signals());
        }
        drop(supervisor);
        Ok(ExitCode::from(u8::try_from(exit.code()).unwrap_or(255)))
    }
}

/// Descriptors 0 to 2 of the process at the checkpoint.
fn descriptors(images: &Path) -> Result<Vec<String>> {
    let path = images.join(criu::DESCRIPTORS);
    let bytes = std::fs::read(&path).map_err(|e| {
        Error::msg(format!("open {}: {} (--image-path: no checkpoint?)", path.display(), errno::of_io(&e)))
    })?;
    serde_json::from_slice(&bytes).map_err(|e| Error::msg(format!("{}: {e}", path.display())))
}

/// The options of the restore.
fn options(
    args: &RestoreArgs,
    prepared: &Prepared,
    (fds, descriptors): (&rows::CriuFds, &[String]),
) -> Result<WireMessage> {
    let config = &prepared.config;
    let mut m = criu::options(&args.criu.flags(), LOG, &config.annotations)?;
    m.switch(opt::EVASIVE_DEVICES, true)
        // The container's init becomes a child of this process, and later of the caller's subreaper.
        .switch(opt::RST_SIBLING, true)
        .text(opt::ROOT, &prepared.state_dir.join(rows::ROOT).to_string_lossy())
        .switch(opt::TCP_CLOSE, args.tcp_close);
    for (field, value) in
        [(opt::LSM_PROFILE, &args.lsm_profile), (opt::LSM_MOUNT_CONTEXT, &args.lsm_mount_context)]
    {
        if let Some(value) = value.as_deref().filter(|v| !v.is_empty()) {
            m.text(field, value);
        }
    }
    let mut mount = |called: &Path, source: &Path| {
        m.nested(opt::EXT_MNT, &rpc::pair(&called.to_string_lossy(), &source.to_string_lossy()));
    };
    let v2 = prepared.host.cgroups.is_v2();
    for (at, source) in
        crate::launch::outside::host_mounts(config, &prepared.bundle.dir, &prepared.layout, v2)
    {
        // Named by its real path, symlinks resolved.
        let real = outside::within(&prepared.bundle.rootfs, &at).filter(|real| *real != at);
        mount(&at, &source);
        real.inspect(|real| mount(real, &source));
    }
    if !config.masked_paths.is_empty() {
        mount(Path::new(crate::launch::outside::MASK), Path::new(crate::launch::outside::MASK));
    }
    // criu joins these by their paths.
    for ns in config.namespaces.iter().filter(|n| !matches!(n.kind, NsKind::Net | NsKind::Pid)) {
        if let Some(path) = &ns.path {
            m.nested(opt::JOIN_NS, &rpc::pair(ns.kind.row().proc, &path.to_string_lossy()));
        }
    }
    for (kind, number) in fds.namespace_numbers() {
        m.nested(opt::INHERIT_FD, &rpc::numbered(criu::namespace_key(kind), number));
    }
    for (i, name) in descriptors.iter().enumerate().take(3) {
        let inherited = name.contains("pipe:") || name.starts_with("file[");
        // Two descriptors may be the same pipe or file; criu requires unique names.
        if inherited && !descriptors[..i].contains(name) {
            m.nested(opt::INHERIT_FD, &rpc::numbered(name, rows::CriuFds::stdio_number(i)));
        }
    }
    Ok(m)
}
