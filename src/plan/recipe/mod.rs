//! From a config to a plan: the recipe. Its functions read like the list of rows they append.

mod bare;
mod binds;
mod cgroup_owner;
mod clone;
mod cni;
mod devices;
mod enter;
mod exec;
mod input;
mod inside;
mod landlock;
pub mod limits;
mod mounts;
mod outside;
mod overlay;
mod relay;
pub mod restore;
mod rootless;
mod secrets;
mod stdio;
mod tail;

use std::collections::VecDeque;
use std::ffi::CString;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::config::hooks::HookKind;
use crate::config::{Config, Process};
use crate::error::{Error, Result};
use crate::plan::check::{Checked, PlanKind, check};
use crate::plan::hooks::HookRun;
use crate::plan::ops::StateOp;
use crate::plan::{NamespaceSlots, Plan, Slot, Supplementary, Undo};
use crate::state::State;
use crate::sys::rlimit::RlimitPair;
use crate::tables::namespaces::NsKind;

/// Headings of `explain`.
pub mod part {
    #![allow(missing_docs)]
    pub const STATE: &str = "state: the name is taken, the undo is on disk";
    pub const CGROUP: &str = "cgroup: limits before the first process";
    pub const SCOPE: &str = "scope: systemd makes the cgroup around the child, which waits";
    pub const SOURCES: &str = "sources: host paths are resolved once";
    pub const NETWORK: &str = "network: what leads out of its namespace, and what is in it";
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

/// The plan under construction and what its parts share.
struct Builder<'a> {
    plan: Plan,
    input: Input<'a>,
    slots: PlanSlots,
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
    /// Init's end of the way to the network helper.
    helper: Option<Slot>,
    /// What is to be /etc/resolv.conf, where the network decides.
    resolv: Option<Slot>,
    /// What covers masked directories, where a row has made it already.
    empty: Option<Slot>,
    /// The tmpfs of secrets.
    secrets: Option<Slot>,
    /// Sources taken before clone: (index in `config.mounts`, slot).
    sources: Vec<(usize, Slot)>,
    /// Layers of writable copies, by index of mount.
    overlays: Vec<(usize, Slot)>,
    /// Sources whose symlinks the runtime has looked at, for Init: (path, slot).
    checked_sources: Vec<(PathBuf, Slot)>,
    /// Mappings of the binds whose source lies inside the container, by the index of the mount.
    mappings: Vec<(usize, Slot)>,
    /// Mounts that become read-only once all that lies on them is there: (destination, slot).
    seals: Vec<(PathBuf, Slot)>,
    /// Sources of cgroup binds: (name of the directory, slot).
    cgroup_sources: VecDeque<Vec<(String, Slot)>>,
    /// The files by which the child enters its cgroups of v1.
    tasks: Vec<(CString, Slot)>,
    /// Namespaces that are joined.
    joined: Vec<(NsKind, Slot)>,
    /// Those of them that Init joins itself.
    joined_by_init: Vec<(NsKind, Slot)>,
    /// The FIFOs of `start` and of its report, where the container waits for `start`.
    wait: Option<(Slot, Slot)>,
    /// The socket of the namespace-fd server.
    server: Option<Slot>,
    /// The limit on descriptors before the runtime raised its own.
    files_before: Option<RlimitPair>,
    /// The OOM score is set.
    scored: bool,
    /// What leads into the container before the pivot, where Init must hand it out.
    shown: Option<Rc<NamespaceSlots>>,
    /// What takes the place of descriptors 0 to 2.
    stdio: Vec<(u8, Slot)>,
    /// The master's and the slave's slots of the pty.
    pty: Option<(Slot, Slot)>,
}

impl<'a> Builder<'a> {
    fn new(mut plan: Plan, input: Input<'a>, slots: PlanSlots) -> Self {
        let root = plan.slot("root");
        Builder {
            plan,
            input,
            slots,
            root,
            place: None,
            dev: None,
            devpts: None,
            proc: None,
            nodes: None,
            null: None,
            helper: None,
            resolv: None,
            empty: None,
            secrets: None,
            sources: Vec::new(),
            overlays: Vec::new(),
            checked_sources: Vec::new(),
            mappings: Vec::new(),
            seals: Vec::new(),
            cgroup_sources: VecDeque::new(),
            tasks: Vec::new(),
            joined: Vec::new(),
            joined_by_init: Vec::new(),
            wait: None,
            server: None,
            files_before: None,
            scored: false,
            shown: None,
            stdio: Vec::new(),
            pty: None,
        }
    }
}

impl Builder<'_> {
    /// The rows up to the pivot, in their order.
    fn rows(&mut self) -> Result<()> {
        self.check_rootless()?;
        self.state()?;
        self.wait_files()?;
        self.stdio()?;
        self.cgroups()?;
        self.resctrl()?;
        self.more_files()?;
        self.targets_for_the_owner()?;
        self.nodes()?;
        if self.copier() == crate::plan::Actor::Runtime {
            self.sources()?;
        }
        self.check_sources()?;
        self.network_helper()?;
        self.before_plugins();
        self.spawn()?;
        self.outside()?;
        self.start()?;
        self.network_inside();
        self.unreachable();
        self.root()?;
        self.mounts()?;
        self.files()?;
        self.secrets()?;
        self.devices()?;
        self.console()?;
        self.sysctls()?;
        self.cwd()?;
        self.show_inside()?;
        // Hooks may write below the root and mount there: what is read-only or covered becomes so after them.
        self.hooks_before_pivot();
        self.seal();
        self.masks()?;
        self.pivot()
    }

    /// The rows after it, up to the program.
    fn tail(&mut self, groups: Supplementary) -> Result<()> {
        let input = self.input;
        let created = self.created()?;
        let start_hooks = (created.is_none() && !input.config.hooks.start_container.is_empty())
            .then(|| self.hook_run(HookKind::StartContainer, &input.config.hooks.start_container));
        let landlock = self.landlock()?;
        let (init, new_keyring) = (self.init(), self.new_keyring());
        tail::append(
            &mut self.plan,
            &tail::TailInput {
                process: input.config.process.as_ref().ok_or_else(|| Error::msg("process: missing"))?,
                pty_slave: self.pty.as_ref().map(|(_, s)| s.clone()),
                stdio: input.options.stdio,
                proc: self.proc.clone(),
                new_keyring,
                program: None,
                filters: input.filters,
                preserve_fds: input.options.preserve_fds,
                die_with_runtime: input.options.die_with_runtime,
                groups,
                created,
                start_hooks,
                inside: self.shown.clone(),
                host: input.host,
                files_before: self.files_before,
                state: input.state,
                container: None,
                landlock,
                init,
            },
        )
    }

    fn process(&self) -> Result<&Process> {
        self.input.config.process.as_ref().ok_or_else(|| {
            Error::Config(crate::config::ConfigError::new("/process", "required to start a container"))
        })
    }

    /// The plan with its own undos in the state that its first rows write.
    fn finish(mut self) -> Result<(Plan, PlanSlots)> {
        let state = State { undo: self.plan.undos(), ..self.input.state.clone() };
        let json = Rc::new(serde_json::to_vec(&state).map_err(|e| {
            let bundle = state.bundle.display();
            Error::msg(format!("{bundle}: {e}: state.json has text only: choose another path"))
        })?);
        for step in &mut self.plan.rows {
            if let crate::plan::Action::State(StateOp::File { bytes, .. }) = &mut step.action {
                *bytes = json.clone();
            }
        }
        Ok((self.plan, self.slots))
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
pub fn shows_cgroups(config: &Config, v2: bool) -> bool {
    !(v2 && config.is_new(NsKind::Cgroup))
}

/// Builds the plan that creates a container and, in the end, becomes it.
pub fn build(input: Input<'_>) -> Result<(Checked<Plan>, PlanSlots)> {
    if input.config.hardening.bare {
        return bare::build(input);
    }
    let mut plan = Plan::default();
    let slots = PlanSlots::new(&mut plan);
    let mut b = Builder::new(plan, input, slots);
    // createContainer hooks look for the container's mounts below the bundle's rootfs, as runc shows them. It is
    // looked up in Init, in its own mount namespace; without such hooks no path of the host is. (After a chroot
    // the host's tree would be what setns(2) finds, so there it stays covered.)
    let shown = !input.config.hooks.create_container.is_empty() && !input.options.no_pivot;
    b.place = shown.then(|| b.plan.slot("rootfs as Init sees it"));
    b.rows()?;
    let groups = b.supplementary();
    b.tail(groups)?;
    let uts = input.config.namespace(NsKind::Uts).is_some();
    let (plan, slots) = b.finish()?;
    Ok((check(plan, PlanKind::Container { uts })?, slots))
}

/// The rows that take the container's name, alone, and the slot of its lock: the launch performs them before it looks
/// at the places that the id names, and plans the rest after that.
pub fn name(state_dir: &Path, launcher: Option<(i32, u64)>) -> Result<(Checked<Plan>, Slot)> {
    let mut plan = Plan::default();
    let lock = take_name(&mut plan, state_dir, launcher)?;
    Ok((check(plan, PlanKind::Records)?, lock))
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

pub use devices::{DEFAULT_DEVICES, DEVICE_LINKS};
pub use exec::{ExecInput, build_exec};
pub use input::{Console, ExecCgroups, FilterInput, Input, Listens, Options, PlanSlots};
pub use landlock::landlock_rules;
pub use stdio::Stdio;
pub use tail::candidates;
