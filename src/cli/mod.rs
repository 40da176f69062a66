//! The command line: runc's options for the OCI verbs, and safebox's own. Parsing has no side effects.
//!
//! Callers send `-no-subreaper` and `--detach=true` (Go's flag syntax); [`normalise`] converts both to clap's syntax.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

mod audit;
mod copies;
mod criu;
mod elsewhere;
mod go;
mod install;
mod launch;
mod learn;
mod quick;
mod update;
mod usage;
mod watch;

pub use audit::{AuditArgs, AuditFormat, FromDockerArgs, VerifyArgs};
pub use copies::{ApplyArgs, DiffArgs};
pub use criu::{CheckpointArgs, CriuFlags, RestoreArgs};
pub use go::{called_as_runc, normalise, outline};
pub use install::InstallArgs;
pub use launch::LaunchArgs;
pub use learn::{ExplainArgs, TourArgs};
pub use quick::{parse, version};
pub use update::UpdateArgs;
pub use usage::{UsageError, titled, usage};
pub use watch::WatchArgs;

use crate::launch::options::verbs;
pub use crate::launch::options::words::{parse_duration, parse_seconds, parse_size, parse_user};
use crate::log::{LogFormat, LogOptions};

/// A secure container launcher and OCI runtime.
#[derive(Debug, Parser)]
#[command(name = "safebox", version = VERSION, disable_version_flag = true, args_override_self = true)]
pub struct Cli {
    /// Options of every verb.
    #[command(flatten)]
    pub global: GlobalArgs,
    /// Print version
    #[arg(short = 'v', long, action = clap::ArgAction::Version)]
    version: Option<bool>,
    /// The verb.
    #[command(subcommand)]
    pub verb: Verb,
}

/// The output of `--version` after the name: runc's three lines, which Docker and Podman parse.
const VERSION: &str =
    concat!("version ", env!("CARGO_PKG_VERSION"), "\ncommit: v", env!("CARGO_PKG_VERSION"), "\nspec: 1.3.0");

/// Options of every verb.
#[derive(Debug, Clone, Args)]
pub struct GlobalArgs {
    /// Directory for the state of containers [default: /run/safebox, or $XDG_RUNTIME_DIR/safebox]
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// Append errors to this file
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
    /// Format of the log
    #[arg(long, value_enum, default_value = "text")]
    pub log_format: LogFormat,
    /// Log every row of the plan; `run` also logs the system calls that the built-in profile refuses
    #[arg(long)]
    pub debug: bool,
    /// systemd creates the cgroups; linux.cgroupsPath is slice:prefix:name
    #[arg(long)]
    pub systemd_cgroup: bool,
    /// cgroupfs, systemd (as --systemd-cgroup), or disabled: no cgroup and no limits
    #[arg(long, value_name = "MANAGER", global = true)]
    pub cgroup_manager: Option<crate::cgroup::Manager>,
    /// The administrator's policy file for containers [default: /etc/safebox/policy.toml, if it exists]
    #[arg(long, value_name = "FILE")]
    pub policy_file: Option<PathBuf>,
    /// Accepted for callers of runc and ignored: the privileges are detected
    #[arg(long, value_name = "true|false|auto", hide = true)]
    pub rootless: Option<String>,
    /// The criu program [default: criu in $PATH]
    #[arg(long, value_name = "PATH", hide = true)]
    pub criu: Option<PathBuf>,
    /// Whether the program was started under the name runc; `run` then behaves as runc's.
    #[arg(skip)]
    pub as_runc: bool,
    /// The level that the name of the program fixes (`safebox-restricted`).
    #[arg(skip)]
    pub fixed_level: Option<crate::policy::enforce::Level>,
}

impl GlobalArgs {
    /// The options of the log.
    pub fn log_options(&self) -> LogOptions {
        LogOptions {
            file: self.log.clone(),
            format: self.log_format,
            debug: self.debug,
            as_runc: self.as_runc,
        }
    }
}

impl ValueEnum for LogFormat {
    fn value_variants<'a>() -> &'a [Self] {
        &[LogFormat::Text, LogFormat::Json]
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        Some(clap::builder::PossibleValue::new(match self {
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        }))
    }
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run a confined program, or a bundle, in the foreground, and remove all traces when it ends
    Run(RunArgs),
    /// Create a container from a bundle; `start` runs its program
    Create(CreateArgs),
    /// Run the program of a created container
    Start(IdArgs),
    /// Print the state of a container as JSON
    State(IdArgs),
    /// Send a signal to a container's process
    Kill(KillArgs),
    /// Remove a stopped container
    #[command(alias = "rm")]
    Delete(DeleteArgs),
    /// List containers
    #[command(alias = "ls")]
    List(ListArgs),
    /// Run one more process in a running container
    Exec(ExecArgs),
    /// List the processes of a container
    #[command(alias = "top")]
    Ps(PsArgs),
    /// Freeze all processes of a container
    Pause(IdArgs),
    /// Thaw a paused container
    #[command(alias = "unpause")]
    Resume(IdArgs),
    /// Change the limits of a container
    Update(UpdateArgs),
    /// Print the resource usage and out-of-memory events of a container as JSON
    Events(EventsArgs),
    /// Print what a detached container has printed
    Logs(LogsArgs),
    /// Ask a container's program to end, and kill the container if it does not
    Stop(StopArgs),
    /// Wait for a container's end, and print its exit code
    Wait(IdArgs),
    /// Show what containers use: cpu, memory, processes
    Stats(StatsArgs),
    /// Print all that is known of a container, as JSON
    Inspect(IdArgs),
    /// Save a running container to images
    Checkpoint(CheckpointArgs),
    /// Restore a container from images
    Restore(RestoreArgs),
    /// List what a run with --overlay changed: added, modified, deleted, and what could run later outside
    Diff(DiffArgs),
    /// Write the changes of a run with --overlay to the host's directory
    Apply(ApplyArgs),
    /// Remove the changes of a run with --overlay
    Discard(IdArgs),
    /// Print the plan: every kernel operation of `run`, in order
    Explain(ExplainArgs),
    /// Show what each layer of isolation stops, by an attack without and with the layer
    Tour(TourArgs),
    /// Write a config.json
    Spec(SpecArgs),
    /// Print what this runtime supports, as JSON
    Features,
    /// Report which layers of isolation the caller can use on this machine, and how to get the missing ones
    Doctor(DoctorArgs),
    /// Check a bundle, a running container or this machine against the rules of the policy
    Audit(AuditArgs),
    /// Print the config.json that Docker would make of a `docker run` line
    FromDocker(FromDockerArgs),
    /// Compare a running container with its requested configuration, layer by layer
    Verify(VerifyArgs),
    /// Write an audit trail of what happens to the containers of the state root, as JSON lines in a hash chain
    Watch(WatchArgs),
    /// Register this runtime with containerd, Podman, Docker or CRI-O
    Install(InstallArgs),
    /// Print the completion script of a shell
    Completion(CompletionArgs),
    /// Write the man pages, one per verb
    Manual(ManualArgs),
}

/// A container id.
#[derive(Debug, Args)]
pub struct IdArgs {
    /// Container id
    pub id: String,
}

/// `run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// A bundle directory (any path with a slash, or `.`). Under the name runc: the container's id. Without
    /// it, this machine's programs run confined
    pub target: Option<String>,
    /// The program and its arguments [default: the config's process.args]
    #[arg(last = true)]
    pub args: Vec<String>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub options: LaunchArgs<{ verbs::RUN }>,
}

/// `create`.
#[derive(Debug, Args)]
pub struct CreateArgs {
    /// Container id
    pub id: String,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub options: LaunchArgs<{ verbs::CREATE }>,
}

/// `kill`.
#[derive(Debug, Args)]
pub struct KillArgs {
    /// Container id
    pub id: String,
    /// Name or number
    #[arg(default_value = "SIGTERM")]
    pub signal: String,
    /// All processes of the container
    #[arg(long, short)]
    pub all: bool,
}

/// `delete`.
#[derive(Debug, Args)]
pub struct DeleteArgs {
    /// Container id
    pub id: String,
    /// Kill it first; an unknown id is no error
    #[arg(long, short)]
    pub force: bool,
}

/// Formats of tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs)]
pub enum TableFormat {
    Table,
    Json,
}

/// `list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Output format
    #[arg(long, short, value_enum, default_value = "table")]
    pub format: TableFormat,
    /// Ids only
    #[arg(long, short)]
    pub quiet: bool,
    /// Runs with --overlay that left changes, instead of containers
    #[arg(long)]
    pub layers: bool,
}

/// `ps`.
#[derive(Debug, Args)]
pub struct PsArgs {
    /// Output format
    #[arg(long, short, value_enum, default_value = "table")]
    pub format: TableFormat,
    /// Container id
    pub id: String,
    /// Options for ps(1) [default: -ef]
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub ps_options: Vec<String>,
}

/// `events`.
#[derive(Debug, Args)]
pub struct EventsArgs {
    /// Container id
    pub id: String,
    /// Time between two statistics, e.g. 5s, 1m, 500ms
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_duration)]
    pub interval: std::time::Duration,
    /// Print the statistics once
    #[arg(long)]
    pub stats: bool,
}

/// `logs`.
#[derive(Debug, Args)]
pub struct LogsArgs {
    /// Container id
    pub id: String,
    /// Go on with what is printed until the container ends
    #[arg(long, short)]
    pub follow: bool,
    /// The last N lines only; all without it
    #[arg(long, short = 'n', value_name = "N|all", value_parser = parse_tail)]
    pub tail: Option<TailLines>,
    /// Begin each line with its time
    #[arg(long, short)]
    pub timestamps: bool,
}

/// Lines at the end of a log; all: the largest number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TailLines(pub usize);

fn parse_tail(text: &str) -> Result<TailLines, String> {
    if text == "all" {
        return Ok(TailLines(usize::MAX));
    }
    text.parse().map(TailLines).map_err(|_| "a number of lines, or all, is needed".into())
}

/// `stop`.
#[derive(Debug, Args)]
pub struct StopArgs {
    /// Container id
    pub id: String,
    /// How long the program has before it is killed [default: --stop-timeout of its run, 2s]
    #[arg(long, short, value_name = "DURATION", value_parser = parse_seconds)]
    pub time: Option<std::time::Duration>,
}

/// `stats`.
#[derive(Debug, Args)]
pub struct StatsArgs {
    /// Container ids [default: all that run]
    pub ids: Vec<String>,
    /// How to print
    #[arg(long, short, value_enum, default_value = "table")]
    pub format: TableFormat,
    /// Print once; without it the table is refreshed every second
    #[arg(long)]
    pub no_stream: bool,
}

/// `exec`.
#[derive(Debug, Args)]
pub struct ExecArgs {
    /// Unix socket that receives a pidfd of the new process
    #[arg(long, value_name = "SOCKET")]
    pub pidfd_socket: Option<PathBuf>,
    /// Cgroups below the container's, with the controllers that they are for.
    #[arg(
        long,
        value_name = "PATH",
        help = "Run in a cgroup below the container's: [CONTROLLER[,CONTROLLER]...:]PATH; cgroup v2: only PATH"
    )]
    pub cgroup: Vec<String>,
    /// Unix socket that receives the terminal's master end
    #[arg(long, value_name = "SOCKET")]
    pub console_socket: Option<PathBuf>,
    /// Working directory
    #[arg(long, value_name = "DIR")]
    pub cwd: Option<String>,
    /// KEY=VALUE, added to the container's environment
    #[arg(long, short, value_name = "KEY=VALUE")]
    pub env: Vec<String>,
    /// Allocate a terminal
    #[arg(long, short)]
    pub tty: bool,
    /// The user and the group of the new process.
    #[arg(long, short, value_name = "UID[:GID]", help = "UID[:GID]")]
    pub user: Option<String>,
    /// Supplementary groups
    #[arg(long, short = 'g', value_name = "GID")]
    pub additional_gids: Vec<u32>,
    /// process.json
    #[arg(long, short, value_name = "FILE")]
    pub process: Option<PathBuf>,
    /// Exit when the program runs
    #[arg(long, short)]
    pub detach: bool,
    /// Write the pid of the new process to this file
    #[arg(long, value_name = "FILE")]
    pub pid_file: Option<PathBuf>,
    /// SELinux label
    #[arg(long, value_name = "LABEL")]
    pub process_label: Option<String>,
    /// AppArmor profile
    #[arg(long, value_name = "PROFILE")]
    pub apparmor: Option<String>,
    /// Set no_new_privs; =false: do not set it, even if the container has it
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub no_new_privs: Option<bool>,
    /// Add a capability
    #[arg(long, short, value_name = "CAP")]
    pub cap: Vec<String>,
    /// Pass file descriptors 3 to 2+N to the program
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub preserve_fds: u32,
    /// Allow a paused container
    #[arg(long)]
    pub ignore_paused: bool,
    /// Kill the new process after this time; exit code 124
    #[arg(long, value_name = "DURATION", value_parser = parse_seconds)]
    pub timeout: Option<std::time::Duration>,
    /// Container id
    pub id: String,
    /// Program and arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub command: Vec<String>,
}

/// `spec`.
#[derive(Debug, Args)]
pub struct SpecArgs {
    /// Directory for config.json [default: the working directory]
    #[arg(long, short, value_name = "DIR")]
    pub bundle: Option<PathBuf>,
    /// For an unprivileged user: a user namespace with the caller as root
    #[arg(long)]
    pub rootless: bool,
}

/// `doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Output format
    #[arg(long, short, value_enum, default_value = "table")]
    pub format: TableFormat,
}

/// `completion`.
#[derive(Debug, Args)]
pub struct CompletionArgs {
    /// bash, zsh, fish, elvish or powershell
    pub shell: clap_complete::Shell,
}

/// `manual`.
#[derive(Debug, Args)]
pub struct ManualArgs {
    /// An existing directory
    pub dir: PathBuf,
}
