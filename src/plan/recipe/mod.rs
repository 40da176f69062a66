//! From a config to a plan: the recipe. Its functions read like the list of rows they append.

mod bare;
mod binds;
mod cgroup_owner;
mod clone;
mod devices;
mod inside;
mod landlock;
pub mod limits;
mod mounts;
mod outside;
pub mod restore;
mod rootless;
mod secrets;
mod stdio;
mod tail;

use std::collections::VecDeque;
use std::ffi::CString;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::cgroup::Layout;
use crate::config::hooks::HookKind;
use crate::config::idmap::UserMaps;
use crate::config::{Config, Process};
use crate::error::{Error, Result};
use crate::host::Host;
use crate::plan::check::{Checked, Kind, check};
use crate::plan::hooks::HookRun;
use crate::plan::ops::{StateOp, StdioPipe};
use crate::plan::{Plan, Shown, Slot, Undo};
use crate::state::State;
use crate::tables::namespaces::NsKind;

/// Headings of `explain`.
pub mod part {
    #![allow(missing_docs)]
    pub const STATE: &str = "state: the name is taken, the undo is on disk";
    pub const CGROUP: &str = "cgroup: limits before the first process";
    pub const SCOPE: &str = "scope: systemd makes the cgroup around the child, which waits";
    pub const SOURCES: &str = "sources: host paths are resolved once";
    pub const CLONE: &str = "clone: one child in new namespaces";
    pub const OUTSIDE: &str = "outside: what only the host may give the child";
    pub const START: &str = "init: a clean process, root of nothing but its namespaces";
    pub const ROOT: &str = "root: the rootfs enters the mount namespace";
    pub const MOUNTS: &str = "mounts";
    pub const DEV: &str = "devices";
    pub const SEAL: &str = "seal: what is read-only becomes so, with all that lies on it in place";
    pub const MASKS: &str = "masks: what the kernel shows but the container must not use";
    pub const PIVOT: &str = "pivot: the host's tree is let go";
    pub const DROP: &str = "drop: ids, capabilities, privileges";
    pub const CREATED: &str = "created: waiting for start";
    pub const EXEC: &str = "exec: filter and program";
    pub const CRIU: &str = "criu: makes the container again from its images";
}

/// A compiled filter, ready for its row.
#[derive(Debug, Clone)]
pub struct Filter {
    /// The program.
    pub program: Rc<Vec<libc::sock_filter>>,
    /// `SECCOMP_FILTER_FLAG_*`.
    pub flags: u32,
    /// What `explain` calls it.
    pub what: &'static str,
    /// Where its listener goes.
    pub listener: Option<Listens>,
    /// It lets init set the program's limits once it is in force.
    pub lets_limits: bool,
}

/// Who answers the system calls that a filter leaves to others.
#[derive(Debug, Clone)]
pub enum Listens {
    /// An agent that the config names.
    Agent(crate::seccomp::Listener),
    /// The launcher, for `--debug`, as this filter says.
    Launcher(Rc<Vec<libc::sock_filter>>),
}

/// How the container's terminal is handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Console {
    /// stdin, stdout and stderr are the caller's.
    Inherit,
    /// A pty; its master end goes over the socket in [`Options::console`].
    Pty,
}

/// What the command line and the verb add to the config.
#[derive(Debug, Clone)]
pub struct Options {
    /// `create`: stop before the program and wait for `start`.
    pub wait_for_start: bool,
    /// `run` in the foreground: the container dies with the runtime.
    pub die_with_runtime: bool,
    /// Terminal.
    pub console: Console,
    /// What becomes of descriptors 0 to 2, apart from the terminal.
    pub stdio: [Stdio; 3],
    /// Without an own end of the runtime's: the caller's pipes and output files become the program's user's.
    pub gives_stdio: bool,
    /// `--no-pivot`.
    pub no_pivot: bool,
    /// `--no-new-keyring`.
    pub no_new_keyring: bool,
    /// Descriptors 3.. that the program keeps.
    pub preserve_fds: u32,
    /// Variables that tell the program about descriptors it gets (sd_listen_fds(3)).
    pub env: Vec<String>,
    /// `--pidfd-socket`: the socket is in [`Given::pidfd_socket`].
    pub pidfd_socket: bool,
    /// `$NOTIFY_SOCKET` is set: the container gets a socket of its own to say that it is ready.
    pub notify: bool,
    /// `--pid-file`.
    pub pid_file: Option<PathBuf>,
    /// `--debug` of a foreground `run`: the launcher hears of what the built-in seccomp profile refuses.
    pub report_refusals: bool,
    /// A window size for the pty where the config gives none: (rows, columns).
    pub window: Option<(u16, u16)>,
    /// The pty's lines end in LF: its output goes to a file or a pipe.
    pub lf: bool,
    /// `--init`: a minimal init is process 1, and the program is its child.
    pub init: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            wait_for_start: false,
            die_with_runtime: false,
            console: Console::Inherit,
            stdio: [Stdio::Inherit; 3],
            gives_stdio: false,
            no_pivot: false,
            no_new_keyring: false,
            preserve_fds: 0,
            env: Vec::new(),
            pidfd_socket: false,
            notify: false,
            pid_file: None,
            report_refusals: false,
            window: None,
            lf: false,
            init: false,
        }
    }
}

/// All that a plan is made from.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// Container id.
    pub id: &'a str,
    /// The config, hardened.
    pub config: &'a Config,
    /// The machine.
    pub host: &'a Host,
    /// Absolute path of the bundle.
    pub bundle: &'a Path,
    /// Absolute path of the rootfs.
    pub rootfs: &'a Path,
    /// User and group that own its directory, as the caller sees them.
    pub rootfs_owner: (u32, u32),
    /// The id mappings of the container's user namespace, where it has one and they are known.
    pub user_maps: Option<&'a UserMaps>,
    /// The container's state directory.
    pub state_dir: &'a Path,
    /// What `state.json` will hold, and hooks are told.
    pub state: &'a crate::state::State,
    /// cgroups and limits.
    pub cgroups: &'a Layout,
    /// seccomp filters in the order of loading.
    pub filters: &'a [Filter],
    /// The class of service of `linux.intelRdt`.
    pub resctrl: Option<&'a crate::cgroup::resctrl::Class>,
    /// The file of the range of ids that was taken for the container.
    pub ids: Option<&'a Path>,
    /// Verb and flags.
    pub options: &'a Options,
}

/// How a new process gets into the container's cgroups.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExecCgroups {
    /// The cgroup v2 that it is born in.
    pub born_in: Option<PathBuf>,
    /// cgroups that it is moved to: those of v1, and one of v2 that somebody else made.
    pub moved_to: Vec<PathBuf>,
    /// The scope, where its user's systemd moves it.
    pub scope: Option<crate::cgroup::systemd::Scope>,
}

/// Slots that the runtime fills before the first row.
#[derive(Debug, Clone)]
pub struct Given {
    /// `O_PATH` descriptor of the rootfs.
    pub rootfs: Slot,
    /// The socket that takes the pty's master end.
    pub console: Slot,
    /// The socket that takes a pidfd of the process.
    pub pidfd_socket: Slot,
    /// `exec`: the namespaces of a container whose process cannot be looked into.
    pub namespaces: Vec<(NsKind, Slot)>,
    /// Filled by the plan: the pipes in the place of descriptors 0 to 2.
    pub pipes: Vec<StdioPipe>,
    /// Filled by the plan: the socket on which init tells how the program ended; (the launcher's end, init's).
    pub status: Option<(Slot, Slot)>,
    /// Filled by the plan: the socket on which the container says that it is ready.
    pub notify: Slot,
    /// Named by the plan: the files in memory that hold the secrets.
    pub secrets: Vec<Slot>,
}

impl Given {
    fn new(plan: &mut Plan) -> Self {
        Given {
            rootfs: plan.slot("rootfs"),
            console: plan.slot("console socket"),
            pidfd_socket: plan.slot("pidfd socket"),
            notify: plan.slot("notify socket"),
            namespaces: Vec::new(),
            pipes: Vec::new(),
            status: None,
            secrets: Vec::new(),
        }
    }
}

/// The plan under construction and what its parts share.
struct Builder<'a> {
    plan: Plan,
    input: Input<'a>,
    given: Given,
    /// The container's root mount.
    root: Slot,
    /// Where in Init's copy of the host's tree the root is attached; `None`: over the whole of it.
    place: Option<Slot>,
    /// Directory in which device nodes are made.
    dev: Option<Slot>,
    /// The container's devpts.
    devpts: Option<Slot>,
    /// A procfs that nothing can be mounted over.
    proc: Option<Slot>,
    /// The tmpfs of device nodes, until Init has taken them from there.
    nodes: Option<Slot>,
    /// What covers masked files.
    null: Option<Slot>,
    /// The tmpfs of secrets.
    secrets: Option<Slot>,
    /// Sources taken before clone: (index in `config.mounts`, slot).
    sources: Vec<(usize, Slot)>,
    /// Sources whose symlinks the runtime has looked at, for Init: (path, slot).
    checked_sources: Vec<(PathBuf, Slot)>,
    /// Mappings of the binds whose source lies inside the container, by the index of the mount.
    mappings: Vec<(usize, Slot)>,
    /// Mounts that become read-only once all that lies on them is there: (destination, slot).
    seals: Vec<(PathBuf, Slot)>,
    /// Sources of cgroup binds: (name of the directory, slot).
    cgroup_sources: VecDeque<Vec<(String, Slot)>>,
    /// Namespaces that are joined.
    joined: Vec<(NsKind, Slot)>,
    /// Those of them that Init joins itself.
    joined_by_init: Vec<(NsKind, Slot)>,
    /// What leads into the container before the pivot, where Init must hand it out.
    shown: Option<Rc<Shown>>,
    /// What takes the place of descriptors 0 to 2.
    stdio: Vec<(u8, Slot)>,
    /// The master's and the slave's slots of the pty.
    pty: Option<(Slot, Slot)>,
}

impl<'a> Builder<'a> {
    fn new(mut plan: Plan, input: Input<'a>, given: Given) -> Self {
        let root = plan.slot("root");
        Builder {
            plan,
            input,
            given,
            root,
            place: None,
            dev: None,
            devpts: None,
            proc: None,
            nodes: None,
            null: None,
            secrets: None,
            sources: Vec::new(),
            checked_sources: Vec::new(),
            mappings: Vec::new(),
            seals: Vec::new(),
            cgroup_sources: VecDeque::new(),
            joined: Vec::new(),
            joined_by_init: Vec::new(),
            shown: None,
            stdio: Vec::new(),
            pty: None,
        }
    }
}

impl Builder<'_> {
    fn process(&self) -> Result<&Process> {
        self.input.config.process.as_ref().ok_or_else(|| {
            Error::Config(crate::config::ConfigError::new("/process", "required to start a container"))
        })
    }

    /// The plan with its own undos in the state that its first rows write.
    fn finish(mut self) -> Result<(Plan, Given)> {
        let state = State { undo: self.plan.undos(), ..self.input.state.clone() };
        let json = serde_json::to_vec(&state).map_err(|e| Error::msg(format!("state: {e}")))?;
        for step in &mut self.plan.steps {
            if let crate::plan::Action::State(StateOp::File { bytes, .. }) = &mut step.action {
                *bytes = Rc::new(json);
                break;
            }
        }
        Ok((self.plan, self.given))
    }

    fn new_userns(&self) -> bool {
        self.input.config.is_new(NsKind::User)
    }

    /// Whether Init lives in a user namespace other than the runtime's.
    fn in_userns(&self) -> bool {
        self.input.host.rootless.is_some() || self.input.config.namespace(NsKind::User).is_some()
    }

    fn hook_run(&self, kind: HookKind, hooks: &[crate::config::Hook]) -> Rc<HookRun> {
        let status =
            if matches!(kind, HookKind::CreateContainer | HookKind::CreateRuntime | HookKind::Prestart) {
                "creating"
            } else {
                "created"
            };
        let mut state = self.input.state.for_hooks();
        state["status"] = status.into();
        Rc::new(HookRun {
            hooks: hooks.to_vec(),
            state,
            dir: match kind {
                HookKind::CreateContainer => self.input.rootfs.to_path_buf(),
                _ => self.input.bundle.to_path_buf(),
            },
            namespaces: namespaces(self.input.config),
            container: (kind == HookKind::StartContainer).then(|| Rc::new(self.input.state.clone())),
        })
    }
}

/// The `CLONE_NEW*` flags of all namespaces that the container does not share with the runtime.
pub fn namespaces(config: &Config) -> u64 {
    config.namespaces.iter().fold(0, |bits, n| bits | n.kind.row().flag)
}

/// Whether a mount of type `cgroup` shows the container's groups as bind mounts: on v1, and on v2 without a
/// cgroup namespace, where a mount of the file system would show the host's.
pub fn shows_groups(config: &Config, v2: bool) -> bool {
    !(v2 && config.is_new(NsKind::Cgroup))
}

/// Builds the plan that creates a container and, in the end, becomes it.
pub fn build(input: Input<'_>) -> Result<(Checked<Plan>, Given)> {
    if input.config.hardening.bare {
        return bare::build(input);
    }
    let mut plan = Plan::default();
    let given = Given::new(&mut plan);
    let mut b = Builder::new(plan, input, given);
    // createContainer hooks look for the container's mounts below the bundle's rootfs, as runc shows them. It is
    // looked up in Init, in its own mount namespace; without such hooks no path of the host is. (After a chroot
    // the host's tree would be what setns(2) finds, so there it stays covered.)
    let shown = !input.config.hooks.create_container.is_empty() && !input.options.no_pivot;
    b.place = shown.then(|| b.plan.slot("rootfs as Init sees it"));
    b.check_rootless()?;
    b.state()?;
    b.stdio()?;
    b.cgroups()?;
    b.resctrl()?;
    b.more_files()?;
    b.targets_for_the_owner()?;
    b.nodes()?;
    if b.copier() == crate::plan::Actor::Runtime {
        b.sources()?;
    }
    b.check_sources()?;
    b.spawn()?;
    b.outside()?;
    b.start()?;
    b.root()?;
    b.mounts()?;
    b.files()?;
    b.secrets()?;
    b.devices()?;
    b.console()?;
    b.sysctls()?;
    b.cwd()?;
    b.show_inside()?;
    // Hooks may write below the root and mount there: what is read-only or covered becomes so after them.
    b.hooks_before_pivot();
    b.seal();
    b.masks()?;
    b.pivot()?;
    let created = input.options.wait_for_start.then(|| b.created()).transpose()?;
    let start_hooks = (!input.options.wait_for_start && !input.config.hooks.start_container.is_empty())
        .then(|| b.hook_run(HookKind::StartContainer, &input.config.hooks.start_container));
    let groups = b.supplementary();
    let landlock = b.landlock()?;
    let init = b.init();
    tail::append(
        &mut b.plan,
        &tail::Tail {
            process: input.config.process.as_ref().ok_or_else(|| Error::msg("process: missing"))?,
            pty_slave: b.pty.as_ref().map(|(_, s)| s.clone()),
            stdio: input.options.stdio,
            proc: b.proc.clone(),
            new_keyring: !input.options.no_new_keyring,
            program: None,
            filters: input.filters,
            preserve_fds: input.options.preserve_fds,
            die_with_runtime: input.options.die_with_runtime,
            groups,
            created,
            start_hooks,
            inside: b.shown.clone(),
            host: input.host,
            state: input.state,
            container: None,
            landlock,
            init,
        },
    )?;
    let uts = input.config.namespace(NsKind::Uts).is_some();
    let (plan, given) = b.finish()?;
    Ok((check(plan, Kind::Container { uts })?, given))
}

/// The rows that take the container's name, alone, and the slot of its lock: the launch performs them before it looks
/// at the places that the id names, and plans the rest after that.
pub fn name(state_dir: &Path, launcher: Option<(i32, u64)>) -> Result<(Checked<Plan>, Slot)> {
    let mut plan = Plan::default();
    let lock = take_name(&mut plan, state_dir, launcher)?;
    Ok((check(plan, Kind::Records)?, lock))
}

/// The first rows of the plan of every new container. `launcher`: (pid, start time) of a foreground `run`.
fn take_name(plan: &mut Plan, dir: &Path, launcher: Option<(i32, u64)>) -> Result<Slot> {
    let lock = plan.slot("lock");
    let row = StateOp::Dir { path: crate::sys::cstr::cpath(dir)?, lock: lock.clone() };
    plan.push_undo(crate::plan::Actor::Runtime, part::STATE, row, state_undo(dir));
    if let Some((pid, start)) = launcher {
        let path = crate::sys::cstr::cpath(&crate::state::launcher_mark(dir))?;
        let launcher = crate::sys::cstr::cstring("launcher", format!("{pid} {start}"))?;
        let row = StateOp::LauncherMark { path, launcher };
        plan.push_undo(crate::plan::Actor::Runtime, part::STATE, row, state_undo(dir));
    }
    Ok(lock)
}

/// `dir/name` as a C string.
fn cjoin(dir: &Path, name: &str) -> Result<CString> {
    Ok(crate::sys::cstr::cpath(&dir.join(name))?)
}

/// A path as text for an [`Undo`]; state paths and cgroup paths are valid UTF-8 by construction.
fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// The undo of the state directory.
fn state_undo(dir: &Path) -> Undo {
    Undo::StateDir(text(dir))
}

pub use devices::DEFAULT_DEVICES;
pub use stdio::Stdio;
pub use tail::{ExecInput, build_exec, candidates};
