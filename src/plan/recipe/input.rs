//! What a plan is made from: config, machine, flags of the verb; and the slots that the runtime fills.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::cgroup::Layout;
use crate::config::Config;
use crate::config::idmap::UserMaps;
use crate::host::Host;
use crate::plan::ops::StdioPipe;
use crate::plan::recipe::stdio::Stdio;
use crate::plan::{Plan, Slot};
use crate::tables::namespaces::NsKind;

/// A compiled filter, ready for its row.
#[derive(Debug, Clone)]
pub struct FilterInput {
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

/// The process that answers system calls which a filter notifies.
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
    /// `--pidfd-socket`: the socket is in [`PlanSlots::pidfd_socket`].
    pub pidfd_socket: bool,
    /// `$NOTIFY_SOCKET` is set: the container gets a socket of its own to say that it is ready.
    pub notify: bool,
    /// `--pid-file`.
    pub pid_file: Option<PathBuf>,
    /// `--debug` of a foreground `run`: the launcher hears of what the built-in seccomp profile refuses.
    pub report_refusals: bool,
    /// `--explain-denials`: the launcher also sees the paths and addresses that the program uses.
    pub observe: bool,
    /// A window size for the pty where the config gives none: (rows, columns).
    pub window: Option<(u16, u16)>,
    /// The pty's lines end in LF: its output goes to a file or a pipe.
    pub lf: bool,
    /// `--init`: a minimal init is process 1, and the program is its child.
    pub init: bool,
    /// No launcher stays with the container.
    pub detached: bool,
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
            observe: false,
            window: None,
            lf: false,
            init: false,
            detached: false,
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
    /// What `state.json` will hold, and hooks receive.
    pub state: &'a crate::state::State,
    /// cgroups and limits.
    pub cgroups: &'a Layout,
    /// seccomp filters in the order of loading.
    pub filters: &'a [FilterInput],
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
    /// cgroups of v1, which it enters by itself where it may.
    pub entered: Vec<PathBuf>,
    /// cgroups that it is moved to: a pre-existing one of v2, and one that `exec --cgroup` names.
    pub moved_to: Vec<PathBuf>,
    /// The scope, where its user's systemd moves it.
    pub scope: Option<crate::cgroup::systemd::SystemdScope>,
}

/// Slots that the runtime fills before the first row.
#[derive(Debug, Clone)]
pub struct PlanSlots {
    /// `O_PATH` descriptor of the rootfs.
    pub rootfs: Slot,
    /// The socket that takes the pty's master end.
    pub console: Slot,
    /// The socket that takes a pidfd of the process.
    pub pidfd_socket: Slot,
    /// `exec`: the namespaces of a container whose process has a closed /proc/PID/ns.
    pub namespaces: Vec<(NsKind, Slot)>,
    /// Filled by the plan: the pipes in the place of descriptors 0 to 2.
    pub pipes: Vec<StdioPipe>,
    /// Filled by the plan: the socket on which init tells how the program ended; (the launcher's end, init's).
    pub status: Option<(Slot, Slot)>,
    /// Filled by the plan: the socket on which the container says that it is ready.
    pub notify: Slot,
    /// The audit file.
    pub audit: Slot,
    /// Named by the plan: the files in memory that hold the secrets.
    pub secrets: Vec<Slot>,
}

impl PlanSlots {
    pub(super) fn new(plan: &mut Plan) -> Self {
        PlanSlots {
            rootfs: plan.slot("rootfs"),
            console: plan.slot("console socket"),
            pidfd_socket: plan.slot("pidfd socket"),
            notify: plan.slot("notify socket"),
            audit: plan.slot("audit file"),
            namespaces: Vec::new(),
            pipes: Vec::new(),
            status: None,
            secrets: Vec::new(),
        }
    }
}
