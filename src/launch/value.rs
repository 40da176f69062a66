//! The value that contains everything about a launch. The command line and the library fill it in; the
//! builder's input derives only from it.

use std::path::PathBuf;
use std::time::Duration;

use super::stdio;
use crate::cgroup;
use crate::config::Rlimit;
use crate::config::network::Network;
use crate::config::secrets::Secret;
use crate::plan::recipe::Options;
use crate::policy::enforce::Enforcement;
use crate::policy::{Overrides, Policy};

/// Source of a container's root file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RootSource {
    /// A bundle directory: config.json names the root.
    Bundle(PathBuf),
    /// A directory (`--rootfs`); the table of container defaults replaces config.json.
    Directory(PathBuf),
    /// This machine's programs, read-only, on a tmpfs; no other file of the host is visible.
    Host,
}

/// Everything about a launch.
#[derive(Debug, Clone)]
pub struct Launch {
    /// Source of the root file system.
    pub root: RootSource,
    /// Container id.
    pub id: String,
    /// Directory of the states of containers.
    pub state_root: PathBuf,
    /// The options of the command line: (long name, value), a flag's is empty.
    pub words: Vec<(&'static str, String)>,
    /// Replaces `process.args`.
    pub args: Vec<String>,
    /// The policy that hardens the config; `None`: the verb's default.
    pub policy: Option<Policy>,
    /// Exceptions from the policy.
    pub overrides: Overrides,
    /// Program, user and other options of the process.
    pub process: ProcessOptions,
    /// Mounts.
    pub files: FileOptions,
    /// Limits.
    pub limits: LimitOptions,
    /// What the program may connect to.
    pub network: Network,
    /// Secrets.
    pub secrets: Vec<Secret>,
    /// Life cycle and output.
    pub life: LifeOptions,
    /// The caller's descriptors and options of the OCI verbs.
    pub caller: Options,
    /// `explain`: nothing on disk is changed, not even the cache.
    pub pure: bool,
    /// Whether a launcher stays with the container.
    pub stays: stdio::Launcher,
    /// The cgroup manager, if the command line names one.
    pub cgroup_manager: Option<cgroup::Manager>,
    /// For `run` in the foreground: (pid, start time) of this process.
    pub launcher: Option<(i32, u64)>,
    /// The options that the command line says, by their long spellings.
    pub options: Vec<&'static str>,
    /// Requirements of the administrator's policy file.
    pub enforcement: Option<Enforcement>,
}

impl Default for Launch {
    fn default() -> Self {
        Launch {
            root: RootSource::Bundle(".".into()),
            id: String::new(),
            state_root: PathBuf::new(),
            words: Vec::new(),
            args: Vec::new(),
            policy: None,
            overrides: Overrides::default(),
            process: ProcessOptions::default(),
            files: FileOptions::default(),
            limits: LimitOptions::default(),
            network: Network::default(),
            secrets: Vec::new(),
            life: LifeOptions::default(),
            caller: Options::default(),
            pure: false,
            stays: stdio::Launcher::Absent,
            cgroup_manager: None,
            launcher: None,
            options: Vec::new(),
            enforcement: None,
        }
    }
}

impl Launch {
    /// How to stop the program.
    pub fn stop(&self) -> crate::state::Stop {
        let default = crate::state::Stop::default();
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        crate::state::Stop {
            signal: self.life.stop_signal.unwrap_or(default.signal),
            millis: self.life.stop_timeout.map_or(default.millis, millis),
        }
    }

    /// The policy in force; the default is `restricted`.
    pub fn policy(&self) -> Policy {
        self.policy.unwrap_or(Policy::Restricted)
    }
}

/// A user or group, by number or by its name in the container's files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdOrName {
    /// A number, which is not looked up.
    Id(u32),
    /// A name in the container's /etc/passwd or /etc/group.
    Name(String),
}

/// One environment option; they are applied in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EnvOption {
    /// `NAME=VALUE`.
    Set(String),
    /// `NAME`: the caller's value, if it has one.
    Pass(String),
    /// A file with such lines.
    File(PathBuf),
}

/// Options of the process.
#[derive(Debug, Clone, Default)]
pub struct ProcessOptions {
    /// `--env`, `--env-file`.
    pub env: Vec<EnvOption>,
    /// `--workdir`.
    pub workdir: Option<PathBuf>,
    /// `--user`.
    pub user: Option<(IdOrName, Option<IdOrName>)>,
    /// `--group-add`.
    pub groups: Vec<IdOrName>,
    /// `--entrypoint`; empty: removes the config's.
    pub entrypoint: Option<String>,
    /// `--hostname`.
    pub hostname: Option<String>,
    /// `--domainname`.
    pub domainname: Option<String>,
    /// `--tty`.
    pub tty: bool,
    /// `--interactive=false`: stdin is empty.
    pub interactive: bool,
    /// `--ulimit`.
    pub ulimits: Vec<Rlimit>,
    /// `--umask`.
    pub umask: Option<u32>,
    /// `--oom-score-adj`.
    pub oom_score_adj: Option<i32>,
    /// `--security-opt no-new-privileges`.
    pub no_new_privileges: bool,
    /// `--security-opt apparmor=NAME`.
    pub apparmor: Option<String>,
    /// `--security-opt label=LABEL`.
    pub label: Option<String>,
    /// `--security-opt seccomp=FILE`.
    pub seccomp: Option<PathBuf>,
    /// `--cap-drop`.
    pub cap_drop: crate::tables::capabilities::CapSet,
    /// `--sysctl`.
    pub sysctl: Vec<(String, String)>,
    /// `--annotation`, `--label`.
    pub annotations: Vec<(String, String)>,
}

/// Access to a host path that is mounted at the same path inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// `--rw`.
    Write,
    /// `--overlay`.
    Copy,
    /// `--ro`.
    Read,
    /// `--hide`.
    Hide,
}

/// A mount requested by an option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// The option as typed, for messages.
    pub option: String,
    /// Host path; `None`: a tmpfs.
    pub source: Option<PathBuf>,
    /// Absolute path inside.
    pub destination: PathBuf,
    /// Whether the program may write.
    pub write: bool,
    /// Mount options.
    pub options: Vec<String>,
}

/// Options of files.
#[derive(Debug, Clone, Default)]
pub struct FileOptions {
    /// `--ro`, `--rw`, `--hide`, in order.
    pub paths: Vec<(Access, PathBuf)>,
    /// `--volume`, `--mount`, `--tmpfs`, in order.
    pub volumes: Vec<Volume>,
    /// `--read-only`.
    pub read_only: bool,
    /// `--device`: (host path, path inside, permissions).
    pub devices: Vec<(PathBuf, PathBuf, String)>,
    /// `--shm-size` in bytes.
    pub shm_size: Option<i64>,
}

/// Options of limits. Bytes; -1 for no limit.
#[derive(Debug, Clone, Default)]
pub struct LimitOptions {
    /// `--memory`.
    pub memory: Option<i64>,
    /// `--memory-swap`: memory and swap together.
    pub memory_swap: Option<i64>,
    /// `--memory-reservation`.
    pub memory_reservation: Option<i64>,
    /// `--memory-swappiness`.
    pub memory_swappiness: Option<u64>,
    /// `--cpus`; 0 for no limit.
    pub cpus: Option<f64>,
    /// `--cpu-shares`.
    pub cpu_shares: Option<u64>,
    /// `--cpu-quota`, in microseconds.
    pub cpu_quota: Option<i64>,
    /// `--cpu-period`, in microseconds.
    pub cpu_period: Option<u64>,
    /// `--cpuset-cpus`.
    pub cpuset_cpus: Option<String>,
    /// `--cpuset-mems`.
    pub cpuset_mems: Option<String>,
    /// `--blkio-weight`.
    pub blkio_weight: Option<u16>,
    /// `--pids-limit`; -1 for no limit.
    pub pids: Option<i64>,
}

/// What keeps the output of a detached container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogDriver {
    /// Lines of JSON in the container's directory.
    JsonFile,
    /// Nothing.
    None,
}

/// `--log-opt`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogRotation {
    /// Bytes of a file, after which a new one begins.
    pub max_size: u64,
    /// Files that are kept.
    pub max_file: usize,
}

impl Default for LogRotation {
    fn default() -> Self {
        LogRotation { max_size: 10 << 20, max_file: 3 }
    }
}

/// `--health-cmd` and what belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthOptions {
    /// For the container's shell.
    pub command: String,
    /// Between two checks.
    pub interval: Duration,
    /// How long one may take.
    pub timeout: Duration,
    /// Failures in a row that make it unhealthy.
    pub retries: u32,
    /// Failures in this time do not count.
    pub start_period: Duration,
    /// Between two checks in that time.
    pub start_interval: Duration,
}

impl Default for HealthOptions {
    fn default() -> Self {
        HealthOptions {
            command: String::new(),
            interval: Duration::from_secs(30),
            timeout: Duration::from_secs(30),
            retries: 3,
            start_period: Duration::ZERO,
            start_interval: Duration::from_secs(5),
        }
    }
}

/// Destination of the account of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResultTo {
    /// A file, which is replaced.
    File(PathBuf),
    /// A descriptor that the caller has open.
    Fd(i32),
}

/// Options of the container's life cycle and of the output.
#[derive(Debug, Clone, Default)]
pub struct LifeOptions {
    /// `--bundle`.
    pub bundle: Option<PathBuf>,
    /// `--rootfs`.
    pub rootfs: Option<PathBuf>,
    /// `--compose`.
    pub compose: Option<PathBuf>,
    /// `--pod`.
    pub pod: Option<PathBuf>,
    /// `--name`.
    pub name: Option<String>,
    /// `--detach`.
    pub detach: bool,
    /// `--keep`.
    pub keep: bool,
    /// `--rm`.
    pub rm: bool,
    /// `--timeout`.
    pub timeout: Option<Duration>,
    /// `--cpu-time`.
    pub cpu_time: Option<Duration>,
    /// `--output-limit`: bytes of each stream.
    pub output_limit: Option<u64>,
    /// `--overlay-size`: bytes of all layers.
    pub overlay_size: Option<u64>,
    /// `--stop-signal`.
    pub stop_signal: Option<i32>,
    /// `--stop-timeout`.
    pub stop_timeout: Option<Duration>,
    /// `--init`.
    pub init: Option<bool>,
    /// `--result`.
    pub result: Option<ResultTo>,
    /// `--result-format`: whether the format is isolate's.
    pub result_meta: Option<bool>,
    /// `--log-driver`.
    pub log_driver: Option<LogDriver>,
    /// `--log-opt`.
    pub log_options: LogRotation,
    /// `--health-cmd`, `--health-interval`, ...
    pub health: Option<HealthOptions>,
    /// `--no-healthcheck`.
    pub no_healthcheck: bool,
    /// `--sdnotify launcher`: the launcher tells systemd that the program runs.
    pub notifies_ready: bool,
    /// `--require`: layers that must be available.
    pub require: Vec<String>,
    /// `--cidfile`.
    pub cidfile: Option<PathBuf>,
    /// `--audit-log`.
    pub audit_log: Option<PathBuf>,
    /// `--console-socket`.
    pub console_socket: Option<PathBuf>,
    /// `--pidfd-socket`.
    pub pidfd_socket: Option<PathBuf>,
    /// `--preserve-fds`.
    pub preserve_fds: u32,
    /// `--no-subreaper`.
    pub no_subreaper: bool,
    /// `--quiet`.
    pub quiet: bool,
    /// `--verbose`.
    pub verbose: bool,
    /// `--step`.
    pub step: bool,
    /// `--until`.
    pub until: Option<String>,
    /// `--fail`.
    pub fail: Option<(String, i32)>,
    /// `--explain-denials`.
    pub explain_denials: bool,
}
