//! What can be said on the command line: runc's flags for the OCI verbs, and our own.
//!
//! Callers send `-no-subreaper` and `--detach=true` (Go's flag syntax); [`normalise`] turns both into
//! what clap reads. Parsing has no effects.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::policy::{Policy, SeccompAsk};

/// A secure container launcher and OCI runtime.
#[derive(Debug, Parser)]
#[command(name = "safebox", version = VERSION, disable_help_subcommand = true, args_override_self = true)]
pub struct Cli {
    /// Options of every verb.
    #[command(flatten)]
    pub global: Global,
    /// The verb.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What `--version` prints after the name: runc's three lines, which Docker and Podman read.
const VERSION: &str =
    concat!("version ", env!("CARGO_PKG_VERSION"), "\ncommit: v", env!("CARGO_PKG_VERSION"), "\nspec: 1.3.0");

/// Options of every verb.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// Directory for the state of containers [default: /run/safebox, or $XDG_RUNTIME_DIR/safebox]
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// Append errors to this file
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
    /// Format of the log
    #[arg(long, value_enum, default_value = "text")]
    pub log_format: LogFormat,
    /// Log what is done
    #[arg(long)]
    pub debug: bool,
    /// Use systemd for cgroups
    #[arg(long)]
    pub systemd_cgroup: bool,
    /// Accepted for callers of runc; which rights there are is found out
    #[arg(long, value_name = "true|false|auto", hide = true)]
    pub rootless: Option<String>,
    /// Accepted for callers of runc, which ignores it too
    #[arg(long, value_name = "PATH", hide = true)]
    pub criu: Option<PathBuf>,
}

/// Formats of `--log`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs)]
pub enum LogFormat {
    Text,
    Json,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run a bundle in the foreground, hardened, and remove every trace when it ends
    Run(Run),
    /// Create a container from a bundle; `start` runs its program
    Create(Create),
    /// Run the program of a created container
    Start(Id),
    /// Print the state of a container as JSON
    State(Id),
    /// Send a signal to a container's process
    Kill(Kill),
    /// Remove a stopped container
    Delete(Delete),
    /// List containers
    List(List),
    /// Run one more process in a running container
    Exec(Exec),
    /// List the processes of a container
    Ps(Ps),
    /// Freeze all processes of a container
    Pause(Id),
    /// Thaw a paused container
    Resume(Id),
    /// Print the plan: every kernel operation of `run`, in order
    Explain(Explain),
    /// Write a config.json
    Spec(Spec),
    /// Print what this runtime supports, as JSON
    Features,
}

/// A container by name.
#[derive(Debug, Args)]
pub struct Id {
    /// Container id
    pub id: String,
}

/// How a config is hardened.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Hardening")]
pub struct Hardening {
    /// restricted: every layer; baseline: known ways out are closed; privileged: the config as written
    #[arg(long, default_value = "restricted", value_name = "POLICY")]
    pub policy: Policy,
    /// Give something back: root, host-user, host-pid, host-net, host-ipc, host-uts, host-cgroup,
    /// new-privileges, write-rootfs, devices, suid-mounts, proc
    #[arg(long, value_name = "WHAT", value_delimiter = ',')]
    pub allow: Vec<String>,
    /// Run as UID[:GID] of the container (numbers; GID is UID if left out)
    #[arg(long, short = 'u', value_name = "UID[:GID]", value_parser = parse_user)]
    pub user: Option<(u32, Option<u32>)>,
    /// Keep a capability, e.g. NET_BIND_SERVICE; all five sets are empty otherwise
    #[arg(long, value_name = "CAP", value_delimiter = ',')]
    pub cap_add: Vec<String>,
    /// default: the built-in profile (with the config's, if it has one); config: the config's alone; unconfined: none
    #[arg(long, default_value = "default", value_name = "PROFILE")]
    pub seccomp: SeccompAsk,
    /// Memory with swap, e.g. 64m or 1g; -1 for no limit [default: the config's, else 512m]
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true, value_parser = parse_size)]
    pub memory: Option<i64>,
    /// Cpus, e.g. 0.5; 0 for no limit [default: the config's, else 1]
    #[arg(long, value_name = "N")]
    pub cpus: Option<f64>,
    /// Processes and threads; -1 for no limit [default: the config's, else 256]
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub pids_limit: Option<i64>,
}

/// Flags that `create` and `run` share with runc.
#[derive(Debug, Clone, Args)]
pub struct Creating {
    /// The bundle's directory [default: the working directory]
    #[arg(long, short, value_name = "DIR")]
    pub bundle: Option<PathBuf>,
    /// Write the pid of the container's process to this file
    #[arg(long, value_name = "FILE")]
    pub pid_file: Option<PathBuf>,
    /// Send the terminal's master end to this unix socket
    #[arg(long, value_name = "SOCKET")]
    pub console_socket: Option<PathBuf>,
    /// Use chroot instead of pivot_root (weaker; for a root on an initramfs)
    #[arg(long)]
    pub no_pivot: bool,
    /// Keep the caller's session keyring
    #[arg(long)]
    pub no_new_keyring: bool,
    /// Pass file descriptors 3 to 2+N on
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub preserve_fds: u32,
}

/// `run`.
#[derive(Debug, Args)]
pub struct Run {
    /// A bundle's directory (anything with a slash, or `.`), or, as runc has it, the container's id
    pub target: Option<String>,
    /// Run this instead of the config's process.args
    #[arg(last = true)]
    pub args: Vec<String>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub creating: Creating,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub hardening: Hardening,
    /// Do not print what was hardened
    #[arg(long, short)]
    pub quiet: bool,
    /// Return when the program runs
    #[arg(long, short)]
    pub detach: bool,
    /// Do not reap orphans
    #[arg(long)]
    pub no_subreaper: bool,
    /// Keep the state of the container when it ends
    #[arg(long)]
    pub keep: bool,
    /// Show each kernel operation and wait for Enter
    #[arg(long, help_heading = "Learning")]
    pub step: bool,
    /// Perform rows 1 to N of the plan, wait for Enter, undo them
    #[arg(long, value_name = "N", help_heading = "Learning")]
    pub until: Option<usize>,
    /// Make row N of the plan fail, to see what happens
    #[arg(long, value_name = "N[:ERRNO]", help_heading = "Learning", value_parser = parse_fail)]
    pub fail: Option<(usize, i32)>,
}

/// `create`.
#[derive(Debug, Args)]
pub struct Create {
    /// Container id
    pub id: String,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub creating: Creating,
}

/// `kill`.
#[derive(Debug, Args)]
pub struct Kill {
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
pub struct Delete {
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
pub struct List {
    /// How to print
    #[arg(long, short, value_enum, default_value = "table")]
    pub format: TableFormat,
    /// Ids only
    #[arg(long, short)]
    pub quiet: bool,
}

/// `ps`.
#[derive(Debug, Args)]
pub struct Ps {
    /// How to print
    #[arg(long, short, value_enum, default_value = "table")]
    pub format: TableFormat,
    /// Container id
    pub id: String,
    /// Options for ps(1) [default: -ef]
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub ps_options: Vec<String>,
}

/// `exec`.
#[derive(Debug, Args)]
pub struct Exec {
    /// Send the terminal's master end to this unix socket
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
    /// UID[:GID]
    #[arg(long, short, value_name = "UID[:GID]", value_parser = parse_user)]
    pub user: Option<(u32, Option<u32>)>,
    /// Supplementary groups
    #[arg(long, short = 'g', value_name = "GID")]
    pub additional_gids: Vec<u32>,
    /// process.json
    #[arg(long, short, value_name = "FILE")]
    pub process: Option<PathBuf>,
    /// Return when the program runs
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
    /// Set no_new_privs
    #[arg(long)]
    pub no_new_privs: bool,
    /// Add a capability
    #[arg(long, short, value_name = "CAP")]
    pub cap: Vec<String>,
    /// Pass file descriptors 3 to 2+N on
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub preserve_fds: u32,
    /// Enter a paused container
    #[arg(long)]
    pub ignore_paused: bool,
    /// Container id
    pub id: String,
    /// Program and arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub command: Vec<String>,
}

/// `explain`.
#[derive(Debug, Args)]
pub struct Explain {
    /// The bundle's directory
    pub bundle: PathBuf,
    /// Run this instead of the config's process.args
    #[arg(last = true)]
    pub args: Vec<String>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub hardening: Hardening,
    /// A reason for every row
    #[arg(long)]
    pub why: bool,
    /// As JSON
    #[arg(long)]
    pub json: bool,
    /// Show what another bundle's plan does differently
    #[arg(long, value_name = "BUNDLE")]
    pub diff: Option<PathBuf>,
}

/// `spec`.
#[derive(Debug, Args)]
pub struct Spec {
    /// Where to write config.json [default: the working directory]
    #[arg(long, short, value_name = "DIR")]
    pub bundle: Option<PathBuf>,
    /// For an ordinary user: a user namespace with the caller as root
    #[arg(long)]
    pub rootless: bool,
}

/// A uid, and a gid after a colon: decimal numbers only; a name is never looked up in a hostile passwd.
pub fn parse_user(text: &str) -> Result<(u32, Option<u32>), String> {
    let id = |s: &str| {
        let digits = !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
        // The last id is (uid_t)-1, which system calls read as "leave as is".
        let n = if digits { s.parse::<u32>().ok() } else { None };
        n.filter(|n| *n != u32::MAX)
            .ok_or_else(|| format!("{s:?} is not an id: a number from 0 to 4294967294 is needed"))
    };
    match text.split_once(':') {
        Some((uid, gid)) => Ok((id(uid)?, Some(id(gid)?))),
        None => Ok((id(text)?, None)),
    }
}

/// Bytes, with k, m or g for powers of 1024; -1 for no limit.
pub fn parse_size(text: &str) -> Result<i64, String> {
    if text == "-1" {
        return Ok(-1);
    }
    let lower = text.to_ascii_lowercase();
    let number = lower.trim_end_matches("ib").trim_end_matches('b');
    let (digits, shift) = match number.as_bytes().last() {
        Some(b'k') => (&number[..number.len() - 1], 10),
        Some(b'm') => (&number[..number.len() - 1], 20),
        Some(b'g') => (&number[..number.len() - 1], 30),
        Some(b't') => (&number[..number.len() - 1], 40),
        _ => (number, 0),
    };
    let bad = || format!("{text:?} is not a size: a number with k, m or g, or -1 for no limit");
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(bad());
    }
    digits.parse::<i64>().ok().and_then(|n| n.checked_mul(1 << shift)).ok_or_else(bad)
}

fn parse_fail(text: &str) -> Result<(usize, i32), String> {
    let (row, errno) = text.split_once(':').unwrap_or((text, "EPERM"));
    let row = row.parse().map_err(|_| format!("{row:?} is not a row number"))?;
    let errno = (1..=133)
        .find(|n| crate::tables::errno::name(*n) == errno)
        .ok_or_else(|| format!("unknown errno {errno:?}"))?;
    Ok((row, errno))
}

/// Go's flag syntax in clap's: `-long` becomes `--long`, `--flag=true` becomes `--flag`, `--flag=false` goes.
///
/// Only words before the first positional argument of the verb are flags, and only names that some verb
/// has are touched, so a program's own arguments stay as they are.
pub fn normalise(args: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let (flags, values) = names();
    let mut out = Vec::new();
    let mut end = false;
    for (i, arg) in args.enumerate() {
        let Some(text) = arg.to_str().filter(|t| i > 0 && !end && t.starts_with('-') && t.len() > 2) else {
            end |= arg == "--";
            out.push(arg);
            continue;
        };
        let name = text.trim_start_matches('-');
        let (name, value) = name.split_once('=').map_or((name, None), |(n, v)| (n, Some(v)));
        let flag = flags.contains(&name);
        if !flag && !values.contains(&name) {
            out.push(arg);
            continue;
        }
        match value {
            Some("true" | "1" | "t" | "T" | "TRUE" | "True") if flag => out.push(format!("--{name}").into()),
            Some("false" | "0" | "f" | "F" | "FALSE" | "False") if flag => {}
            Some(value) => out.push(format!("--{name}={value}").into()),
            None => out.push(format!("--{name}").into()),
        }
    }
    out
}

/// Long options of all verbs: those that are switches, and those that take a value.
fn names() -> (Vec<&'static str>, Vec<&'static str>) {
    (
        vec![
            "debug",
            "systemd-cgroup",
            "no-pivot",
            "no-new-keyring",
            "quiet",
            "detach",
            "no-subreaper",
            "keep",
            "step",
            "all",
            "force",
            "tty",
            "no-new-privs",
            "ignore-paused",
            "why",
            "json",
        ],
        vec![
            "root",
            "log",
            "log-format",
            "rootless",
            "criu",
            "bundle",
            "pid-file",
            "console-socket",
            "preserve-fds",
            "policy",
            "allow",
            "user",
            "cap-add",
            "seccomp",
            "memory",
            "cpus",
            "pids-limit",
            "until",
            "fail",
            "format",
            "cwd",
            "env",
            "additional-gids",
            "process",
            "process-label",
            "apparmor",
            "cap",
            "diff",
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_numbers_and_nothing_else() {
        assert_eq!(parse_user("1"), Ok((1, None)));
        assert_eq!(parse_user("0:65534"), Ok((0, Some(65534))));
        for bad in ["1:", ":1", "4294967296", "4294967295", "-1", "65534:0x0", "root", "", "1 ", "+1"] {
            assert!(parse_user(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(parse_size("64m"), Ok(64 << 20));
        assert_eq!(parse_size("1GiB"), Ok(1 << 30));
        assert_eq!(parse_size("-1"), Ok(-1));
        for bad in ["", "m", "-5", "1x", "0x10", "99999999999g"] {
            assert!(parse_size(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn go_flags_are_understood_and_programs_arguments_left_alone() {
        let run = |args: &[&str]| -> Vec<String> {
            normalise(args.iter().map(OsString::from)).into_iter().map(|a| a.into_string().unwrap()).collect()
        };
        assert_eq!(
            run(&["safebox", "-root", "/r", "run", "-detach=true", "x"]),
            ["safebox", "--root", "/r", "run", "--detach", "x"]
        );
        assert_eq!(run(&["safebox", "delete", "--force=false", "x"]), ["safebox", "delete", "x"]);
        assert_eq!(
            run(&["safebox", "run", "x", "--", "-force=true"]),
            ["safebox", "run", "x", "--", "-force=true"]
        );
    }

    #[test]
    fn every_long_option_is_known_to_normalise() {
        use clap::CommandFactory;
        let (flags, values) = names();
        let command = Cli::command();
        let all = command.get_subcommands().chain([&command]);
        for arg in all.flat_map(clap::Command::get_arguments) {
            let Some(long) = arg.get_long().filter(|l| !matches!(*l, "help" | "version")) else { continue };
            let expected = if arg.get_action().takes_values() { &values } else { &flags };
            assert!(expected.contains(&long), "{long}");
        }
    }
}
