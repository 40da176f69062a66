//! One value that holds everything a launch is made of. The command line and the library's callers both fill it in; the
//! builder's input is made from it and from nothing else.

use std::path::PathBuf;
use std::time::Duration;

use super::stdio;
use crate::cgroup;
use crate::config::Rlimit;
use crate::config::secrets::Secret;
use crate::plan::recipe::Options;
use crate::policy::enforce::Enforcement;
use crate::policy::{Overrides, Policy};

/// Where a container's root file system comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Root {
    /// A bundle's directory: config.json says where the root is, and everything else.
    Bundle(PathBuf),
    /// A directory (`--rootfs`); the table of container defaults stands for config.json.
    Directory(PathBuf),
    /// This machine's programs, read-only, on a tmpfs; nothing else of it is there.
    Host,
}

/// Everything that a launch is made of.
#[derive(Debug, Clone)]
pub struct Launch {
    /// Where the root file system comes from.
    pub root: Root,
    /// Container id.
    pub id: String,
    /// Directory in which the states of containers are kept.
    pub state_root: PathBuf,
    /// Replaces `process.args`.
    pub args: Vec<String>,
    /// How the config is hardened; `None`: as the verb has it.
    pub policy: Option<Policy>,
    /// What the policy leaves as it is.
    pub overrides: Overrides,
    /// What runs, and as whom.
    pub process: ProcessOptions,
    /// What is mounted.
    pub files: FileOptions,
    /// What is limited.
    pub limits: LimitOptions,
    /// Secrets.
    pub secrets: Vec<Secret>,
    /// How long it lives, and what is said about it.
    pub life: LifeOptions,
    /// The caller's descriptors and flags of the OCI verbs.
    pub caller: Options,
    /// `explain`: nothing on disk is touched, not even a cache.
    pub pure: bool,
    /// Which process stays with the container.
    pub stays: stdio::Launcher,
    /// What makes the cgroups, where the command line says.
    pub cgroup_manager: Option<cgroup::Manager>,
    /// A foreground `run`: (pid, start time) of this process.
    pub launcher: Option<(i32, u64)>,
    /// What the administrator's policy file asks of every launch.
    pub enforcement: Option<Enforcement>,
}

impl Default for Launch {
    fn default() -> Self {
        Launch {
            root: Root::Bundle(".".into()),
            id: String::new(),
            state_root: PathBuf::new(),
            args: Vec::new(),
            policy: None,
            overrides: Overrides::default(),
            process: ProcessOptions::default(),
            files: FileOptions::default(),
            limits: LimitOptions::default(),
            secrets: Vec::new(),
            life: LifeOptions::default(),
            caller: Options::default(),
            pure: false,
            stays: stdio::Launcher::Absent,
            cgroup_manager: None,
            launcher: None,
            enforcement: None,
        }
    }
}

impl Launch {
    /// How the program is asked to end.
    pub fn stop(&self) -> crate::state::Stop {
        let default = crate::state::Stop::default();
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        crate::state::Stop {
            signal: self.life.stop_signal.unwrap_or(default.signal),
            millis: self.life.stop_timeout.map_or(default.millis, millis),
        }
    }

    /// The policy in force: as asked, else `restricted`.
    pub fn policy(&self) -> Policy {
        self.policy.unwrap_or(Policy::Restricted)
    }
}

/// A user or group by number or by its name in the container's files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Account {
    /// A number, which is never looked up.
    Id(u32),
    /// A name of the container's /etc/passwd or /etc/group.
    Name(String),
}

/// One option about the environment; they are applied in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EnvOption {
    /// `NAME=VALUE`.
    Set(String),
    /// `NAME`: the caller's value, where it has one.
    Pass(String),
    /// A file of such lines.
    File(PathBuf),
}

/// Options about the process.
#[derive(Debug, Clone, Default)]
pub struct ProcessOptions {
    /// `--env`, `--env-file`.
    pub env: Vec<EnvOption>,
    /// `--workdir`.
    pub workdir: Option<PathBuf>,
    /// `--user`.
    pub user: Option<(Account, Option<Account>)>,
    /// `--group-add`.
    pub groups: Vec<Account>,
    /// `--entrypoint`; empty: none.
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
    /// `--cap-drop`; 64 names that are not the config's.
    pub cap_drop: crate::tables::capabilities::CapSet,
    /// `--sysctl`.
    pub sysctl: Vec<(String, String)>,
    /// `--annotation`, `--label`.
    pub annotations: Vec<(String, String)>,
}

/// How a path of the host is shown at its own place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// `--rw`.
    Write,
    /// `--ro`.
    Read,
    /// `--hide`.
    Hide,
}

/// A mount that an option asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// The option as it was written, for messages.
    pub said: String,
    /// Host path; `None`: a tmpfs.
    pub source: Option<PathBuf>,
    /// Absolute path inside.
    pub destination: PathBuf,
    /// The program may write.
    pub write: bool,
    /// Words of mount options.
    pub options: Vec<String>,
}

/// Options about files.
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

/// Options about limits. Bytes; -1 for no limit.
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

/// Where the account of a run goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResultTo {
    /// A file, which is replaced.
    File(PathBuf),
    /// A descriptor that the caller has open.
    Fd(i32),
}

/// Options about the container's life and the launcher's words.
#[derive(Debug, Clone, Default)]
pub struct LifeOptions {
    /// `--bundle`.
    pub bundle: Option<PathBuf>,
    /// `--rootfs`.
    pub rootfs: Option<PathBuf>,
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
    /// `--stop-signal`.
    pub stop_signal: Option<i32>,
    /// `--stop-timeout`.
    pub stop_timeout: Option<Duration>,
    /// `--init`.
    pub init: Option<bool>,
    /// `--result`.
    pub result: Option<ResultTo>,
    /// `--result-format`: whether it is isolate's format.
    pub result_meta: Option<bool>,
    /// `--require`: layers without which nothing runs.
    pub require: Vec<String>,
    /// `--cidfile`.
    pub cidfile: Option<PathBuf>,
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
}
