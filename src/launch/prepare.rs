//! From a bundle on disk to a plan: the common part of `run`, `create` and `explain`.

use std::path::{Path, PathBuf};

use crate::bundle::Bundle;
use crate::cgroup::{self, Layout};
use crate::config::idmap::{self, UserMaps};

use crate::config::{Config, ConfigError, Process, Terminal, strip_root};
use crate::error::{Error, Result};
use crate::host::Host;
use crate::launch::filters::{compile, seccomp_choices};
use crate::launch::value::{Launch, RootSource};
use crate::launch::{enforced, environment, ladder, layers, links, stdio};
use crate::log::Log;
use crate::plan::Plan;
use crate::plan::check::Checked;
use crate::plan::recipe::{self, Console, FilterInput, Input, Options, PlanSlots};
use crate::policy::{Change, Facts, HardenResult, MachineFacts, Policy, Posture};
use crate::seccomp;
use crate::state::id_ranges::Ranges;
use crate::state::{LandlockRules, SeccompChoice, State, Stored};
use crate::tables::namespaces::NsKind;

/// A launch before the locations that the container's id names are examined: its cgroups, its resctrl class.
/// A launch reserves the name first ([`crate::lifecycle::name::ReservedName`]), so that no other launch changes them
/// meanwhile.
pub struct Draft {
    /// The bundle, its rootfs open.
    pub bundle: Bundle,
    /// The config, hardened.
    pub config: Config,
    /// The verb's options, extended by the policy.
    pub options: Options,
    /// Whether a process inside could own files of the host's root. The runtime then seals its binary.
    pub shares_host_root: bool,
    /// The container's state directory.
    pub state_dir: PathBuf,
    host: Host,
    outcome: HardenResult,
    /// Deviations from the config that are no errors.
    left: crate::launch::capabilities::Dropped,
    /// The reason why refused system calls are not reported although `--debug` is given.
    silent: Option<&'static str>,
    filters: Vec<FilterInput>,
    choices: Vec<SeccompChoice>,
    /// Messages of the administrator's policy for the log.
    enforced: Vec<String>,
    /// Whether any policy but `privileged` applies.
    hardened: bool,
    /// The process that `exec` starts from, without the environment variables of the first process only.
    for_exec: Process,
    ids: Ranges,
    id: String,
    cgroup_manager: Option<cgroup::Manager>,
    stop: crate::state::Stop,
    /// `run --detach`: (pid, start time) of the process that stays.
    pub monitor: Option<(i32, u64)>,
    /// The same: what runs it again.
    pub command: Option<crate::state::Command>,
    /// For `run` in the foreground: (pid, start time) of this process.
    pub launcher: Option<(i32, u64)>,
}

/// A launch that is ready to be planned.
pub struct Prepared {
    /// The bundle, its rootfs open.
    pub bundle: Bundle,
    /// The config, hardened.
    pub config: Config,
    /// The facts about the machine.
    pub host: Host,
    /// The result of the policy.
    pub outcome: HardenResult,
    /// The cgroups.
    pub layout: Layout,
    /// The verb's options, extended by the policy.
    pub options: Options,
    /// Deviations from the config that are no errors.
    pub left: crate::launch::capabilities::Dropped,
    /// The container's state directory.
    pub state_dir: PathBuf,
    /// The content of the state directory's `state.json`.
    pub state: State,
    user_maps: Option<UserMaps>,
    resctrl: Option<crate::cgroup::resctrl::Class>,
    filters: Vec<FilterInput>,
    ids: Ranges,
    id: String,
}

/// Profiles, compiled filters, and the reason why refusals are not reported.
type CompiledFilters = (Vec<SeccompChoice>, Vec<FilterInput>, Option<&'static str>);

/// Opens the bundle, hardens the config and chooses cgroups. The only side effect is the seccomp cache. For a
/// launch, see [`draft`].
pub fn prepare(launch: &Launch) -> Result<Prepared> {
    draft(launch)?.place()
}

/// As [`prepare`], for an opened bundle and a given host, which tests build by hand.
pub fn prepare_on(launch: &Launch, opened: (Bundle, Config), host: Host) -> Result<Prepared> {
    draft_on(launch, opened, host)?.place()
}

/// Opens the bundle and hardens the config. The only side effect is the seccomp cache.
pub fn draft(launch: &Launch) -> Result<Draft> {
    crate::state::check_id(&launch.id)?;
    let host = Host::probe()?;
    let opened = layers::base(launch, &host)?;
    recipe::limits::enough_files(&host)?;
    draft_on(launch, opened, host)
}

fn draft_on(launch: &Launch, opened: (Bundle, Config), host: Host) -> Result<Draft> {
    let (bundle, mut config) = opened;
    let hardened = enforced::harden(launch, &config, &bundle.dir);
    enforced::follow(launch, &mut config, &bundle.dir);
    let launch = hardened.as_ref().unwrap_or(launch);
    if launch.policy() == Policy::Privileged && matches!(launch.root, RootSource::Bundle(_)) {
        strip_root(&mut config.mounts, &bundle.rootfs_path);
    }
    let ids = Ranges::new(&host, launch.pure);
    let (mut outcome, no_cgroups) = harden(launch, (&bundle, &host, &ids), &mut config)?;
    // The policy adds mounts, too.
    enforced::follow(launch, &mut config, &bundle.dir);
    let enforced = enforced::judge(launch, (&config, &bundle), &host, &mut outcome, hardened.is_some())?;
    let (options, notes) = options_of(launch, &config)?;
    outcome.changes.extend(notes.into_iter().map(|note| Change::new("stdio", note)));
    let hardened = config.hardening.hardened;
    let (choices, filters, silent) = filters(launch, &config, &options)?;
    let state_dir = launch.state_root.join(&launch.id);
    let process = config
        .process
        .as_mut()
        .ok_or_else(|| Error::Config(ConfigError::new("/process", "required to start a container")))?;
    let in_userns = config.namespaces.iter().any(|n| n.kind == NsKind::User);
    let mut left = crate::launch::capabilities::limit(process, in_userns)?;
    left.warnings.append(&mut outcome.warnings);
    let for_exec = process.clone();
    process.env.extend(options.env.iter().cloned());
    let uid = process.user.uid;
    environment::normalise(&mut process.env, || bundle.home_of(uid));
    if options.notify {
        crate::launch::notify::add_to(&mut config, &state_dir);
    }
    Ok(Draft {
        shares_host_root: shares_host_root(&config, &host),
        bundle,
        config,
        options,
        state_dir,
        host,
        outcome,
        left,
        silent,
        filters,
        choices,
        enforced,
        hardened,
        for_exec,
        ids,
        id: launch.id.clone(),
        cgroup_manager: if no_cgroups { Some(cgroup::Manager::Disabled) } else { launch.cgroup_manager },
        stop: launch.stop(),
        monitor: None,
        command: None,
        launcher: launch.launcher,
    })
}

/// Hardens the config, and adapts it to what this machine permits. Returns the changes, and whether there is no cgroup.
fn harden(
    launch: &Launch,
    (bundle, host, ids): (&Bundle, &Host, &Ranges),
    config: &mut Config,
) -> Result<(HardenResult, bool)> {
    let mut overrides = launch.overrides.clone();
    overrides.no_cgroups = launch.cgroup_manager == Some(cgroup::Manager::Disabled);
    overrides.devices =
        launch.files.devices.iter().map(|(_, path, access)| (path.clone(), access.clone())).collect();
    let mut changes = ladder::climb(launch, host, config, &mut overrides)?;
    let facts = Facts {
        id: &launch.id,
        host,
        bundle,
        ids,
        overrides: &overrides,
        state_root: &launch.state_root,
        policy: launch.policy(),
    };
    let mut outcome = layers::harden(launch, &facts, config)?;
    if config.hardening.hardened {
        links::check_rootfs(launch, bundle)?;
    }
    ladder::check_bare(config, host)?;
    changes.append(&mut outcome.changes);
    outcome.changes = changes;
    Ok((outcome, overrides.no_cgroups))
}

/// The seccomp profiles and their filters; and the reason why refused system calls are not reported, where
/// `--debug` asks for reports.
fn filters(launch: &Launch, config: &Config, options: &Options) -> Result<CompiledFilters> {
    let choices = seccomp_choices(config);
    let mut filters = choices.iter().map(|c| compile(c, launch.pure)).collect::<Result<Vec<_>>>()?;
    let silent = options
        .report_refusals
        .then(|| crate::launch::refusals::report(config, &choices, &mut filters, options.observe))
        .flatten();
    match silent.filter(|_| options.observe) {
        Some(why) => Err(Error::msg(format!("--explain-denials: {why}"))),
        None => Ok((choices, filters, silent)),
    }
}

/// The options of the plan that follow from the launch and its config, and notes about stdio.
fn options_of(launch: &Launch, config: &Config) -> Result<(Options, Vec<String>)> {
    let mut options = launch.caller.clone();
    let terminal = config.hardening.terminal;
    options.console = if terminal == Terminal::None { Console::Inherit } else { Console::Pty };
    options.detached = launch.stays == stdio::Launcher::Detaches;
    let own_pids = config.is_new(NsKind::Pid);
    let init = own_pids && !matches!(launch.root, RootSource::Bundle(_));
    options.init = launch.life.init.unwrap_or(init);
    let in_userns = config.namespace(NsKind::User).is_some();
    let facts = stdio::StdioFacts {
        launcher: launch.stays,
        hardened: config.hardening.hardened,
        pty: match terminal {
            Terminal::None => stdio::Pty::None,
            Terminal::All => stdio::Pty::All,
            Terminal::Terminals => stdio::Pty::Terminals,
        },
        counts: launch.life.output_limit.is_some() || launch.life.result.is_some(),
        opens: !in_userns && config.process.as_ref().is_some_and(|p| p.user.uid == 0),
    };
    if config.hardening.hardened {
        stdio::check_preserved(options.preserve_fds)?;
    }
    if launch.stays == stdio::Launcher::Absent {
        return Ok((options, Vec::new()));
    }
    let (chosen, notes) = stdio::choose(facts)?;
    let leaves = matches!(launch.stays, stdio::Launcher::Detaches | stdio::Launcher::Monitors { .. });
    (options.stdio, options.gives_stdio) = (chosen, leaves);
    Ok((options, notes))
}

impl Draft {
    /// Examines the locations that the id names, and completes the launch. A launch has reserved the name
    /// before.
    pub fn place(mut self) -> Result<Prepared> {
        let (config, host) = (&self.config, &self.host);
        let layout = cgroup::layout(
            &host.cgroups,
            cgroup::Request {
                id: &self.id,
                path: config.cgroups_path.as_deref(),
                resources: &config.resources,
                annotations: &config.annotations,
                manager: self.cgroup_manager,
                as_written: !self.hardened,
                rootless: host.rootless.is_some(),
                user: host.rootless.as_ref().is_some_and(|r| r.own_systemd),
            },
        )?;
        // The ladder has reported a missing cgroup already.
        let reported =
            self.outcome.changes.iter().any(|c| c.by == ladder::HEADING && c.text.starts_with("no cgroup:"));
        let note = layout.note.clone().filter(|_| !reported);
        self.outcome.changes.extend(note.map(|note| Change::weaker("cgroups", note)));
        let resctrl = config
            .intel_rdt
            .as_ref()
            .map(|rdt| crate::cgroup::resctrl::class(host.resctrl(), &self.id, rdt))
            .transpose()?;
        let state = self.state(&layout, resctrl.as_ref())?;
        let user_maps = idmap::of_user_namespace(&self.config);
        Ok(Prepared {
            bundle: self.bundle,
            config: self.config,
            host: self.host,
            outcome: self.outcome,
            layout,
            options: self.options,
            left: self.left,
            state_dir: self.state_dir,
            state,
            user_maps,
            resctrl,
            filters: self.filters,
            ids: self.ids,
            id: self.id,
        })
    }

    /// Reports deviations from the config. Harmless ones are logged only with `--debug`: callers' profiles
    /// name system calls of all kernels, and some callers treat a non-empty log as a failure.
    pub fn report(&self, log: &Log) {
        self.left.report(log);
        self.enforced.iter().for_each(|line| log.warning(line));
        if let Some(why) = self.silent {
            log.debug(&format!("refused system calls are not reported: {why}"));
        }
        for profile in self.config.seccomp.iter().filter(|_| log.is_debug()) {
            for name in seccomp::unknown_names(profile) {
                log.debug(&format!("unknown seccomp syscall {name:?} ignored"));
            }
        }
    }

    /// The guard that `exec` needs, too, where namespaces are missing.
    fn landlock(&self) -> Option<LandlockRules> {
        let hardening = &self.config.hardening;
        let needed = hardening.bare || hardening.shared_proc;
        needed.then(|| recipe::landlock_rules(&self.config, &self.host)).flatten()
    }

    /// The state to write.
    fn state(&self, layout: &Layout, resctrl: Option<&crate::cgroup::resctrl::Class>) -> Result<State> {
        let (config, host, bundle) = (&self.config, &self.host, &self.bundle);
        Ok(State {
            oci_version: config.oci_version.clone(),
            id: self.id.clone(),
            bundle: bundle.dir.clone(),
            rootfs: bundle.rootfs_path.clone(),
            created: crate::time::now(),
            annotations: config.annotations.clone(),
            cgroups_path: config.cgroups_path.clone(),
            owner: owner(host.euid),
            undo: Vec::new(),
            preexisting: layout.cgroups.iter().filter(|g| g.exists).map(|g| g.path.clone()).collect(),
            cgroups: layout.cgroups.iter().map(|g| (g.controllers.clone(), g.path.clone())).collect(),
            scope: layout.scope.as_ref().map(|s| s.scope.clone()),
            cgroup_v2: host.cgroups.is_v2(),
            resources: config.resources.clone(),
            personality: config.personality,
            memory_policy: config.memory_policy.clone(),
            resctrl: resctrl
                .iter()
                .flat_map(|c| std::iter::once(&c.dir).chain(&c.monitor).cloned())
                .collect(),
            process: self.for_exec.clone(),
            namespaces: recipe::namespaces(config),
            own_pid_namespace: config.is_new(NsKind::Pid),
            shares_host_root: self.shares_host_root,
            seccomp: Stored::new(&self.choices)?,
            landlock: self.landlock(),
            hooks: config.hooks.clone(),
            hardened: self.hardened,
            has_devpts: config.mounts.iter().any(is_devpts),
            launcher: self.launcher,
            monitor: self.monitor,
            command: self.command.clone(),
            // Serialising a value of our own types does not fail; without it verify says that it has nothing to compare.
            asked: serde_json::value::to_raw_value(&Posture::of_config(config, MachineFacts::NONE)).ok(),
            init: self.options.init,
            stop: self.stop,
            outside: crate::launch::outside::of(
                config,
                &bundle.dir,
                layout,
                host.cgroups.is_v2(),
                &self.options,
            ),
        })
    }
}

impl Prepared {
    /// Builds and checks the plan of this launch.
    pub fn plan(&self) -> Result<(Checked<Plan>, PlanSlots)> {
        let (plan, slots) = recipe::build(self.input())?;
        let notes = self.outcome.changes.iter().map(ToString::to_string).collect();
        Ok((plan.with_notes(notes), slots))
    }

    /// Builds and checks the plan of a restore with this criu.
    pub fn restore_plan(&self, criu: &Path) -> Result<(Checked<Plan>, PlanSlots, recipe::restore::CriuFds)> {
        recipe::restore::build(self.input(), criu)
    }

    /// The compiled filters, in the order of loading.
    pub fn filters(&self) -> &[FilterInput] {
        &self.filters
    }

    fn input(&self) -> Input<'_> {
        Input {
            id: &self.id,
            config: &self.config,
            host: &self.host,
            bundle: &self.bundle.dir,
            rootfs: &self.bundle.rootfs_path,
            rootfs_owner: self.bundle.rootfs_owner,
            user_maps: self.user_maps.as_ref(),
            state_dir: &self.state_dir,
            state: &self.state,
            cgroups: &self.layout,
            filters: &self.filters,
            resctrl: self.resctrl.as_ref(),
            ids: self.ids.taken(),
            options: &self.options,
        }
    }
}

/// Whether a process inside could own files of the host's root, including this program.
///
/// For an unprivileged caller: whether a process inside could own the caller's files, and the caller may
/// write this program.
fn shares_host_root(config: &Config, host: &Host) -> bool {
    if host.rootless.is_some() {
        let writable = nix::unistd::access("/proc/self/exe", nix::unistd::AccessFlags::W_OK).is_ok();
        let new = config.is_new(NsKind::User);
        return writable && (!new || config.uid_maps.iter().any(|m| idmap::holds(m, host.euid)));
    }
    match config.namespace(NsKind::User) {
        None => true,
        Some(ns) => {
            ns.path.is_some()
                || idmap::maps_host_root(&config.uid_maps)
                || owner_of_this_program()
                    .is_none_or(|uid| config.uid_maps.iter().any(|m| idmap::holds(m, uid)))
        }
    }
}

/// Usually root, but the program can be in a user's home.
fn owner_of_this_program() -> Option<u32> {
    nix::sys::stat::stat("/proc/self/exe").ok().map(|st| st.st_uid)
}

fn is_devpts(mount: &crate::config::Mount) -> bool {
    mount.fs_type.as_deref() == Some("devpts") && mount.destination == Path::new("/dev/pts")
}

fn owner(euid: u32) -> String {
    if euid == 0 {
        return "root".into();
    }
    std::env::var("USER").unwrap_or_else(|_| euid.to_string())
}
