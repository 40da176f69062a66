//! Functions that several verbs share for the command line.

use crate::sys::start::ExitCode;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::cgroup::Manager;
use crate::cli::GlobalArgs;
use crate::error::Error;
use crate::launch::images;
use crate::launch::value::{Launch, RootSource};
use crate::policy::Policy;
use crate::policy::enforce::Enforcement;
use crate::sys::tty;

/// Return type of a verb.
pub type VerbResult = anyhow::Result<ExitCode>;

/// Refuses combinations of options, with runc's text: the terminal of a detached container must be sent to a
/// socket, and only then.
pub fn check_terminal(detach: bool, terminal: bool, socket: bool) -> Result<(), Error> {
    match (detach && terminal, socket) {
        (true, false) => {
            Err(Error::msg("cannot allocate tty if runc will detach without setting console socket"))
        }
        (false, true) => Err(Error::msg("cannot use console socket if runc will not detach or allocate tty")),
        _ => Ok(()),
    }
}

/// The policy: the option's, else the default of the program's name. A caller of `runc run` (BuildKit)
/// expects its config to be used as written, and runc has no option for that.
pub fn policy(global: &GlobalArgs, launch: &Launch) -> Policy {
    launch.policy.unwrap_or(if global.as_runc { Policy::Privileged } else { Policy::Restricted })
}

/// Completes the options about the caller's descriptors.
pub fn inherit(launch: &mut Launch) -> Result<(), Error> {
    let inherited = crate::launch::inherited_fds::inherited(launch.life.preserve_fds)?;
    let caller = &mut launch.caller;
    (caller.preserve_fds, caller.env) = (inherited.count, inherited.env);
    caller.pidfd_socket = launch.life.pidfd_socket.is_some();
    caller.notify = crate::lifecycle::notify::host().is_some() && !launch.life.notifies_ready;
    Ok(())
}

/// Detects which of the caller's descriptors are terminals, for the policy.
pub fn terminals(launch: &mut Launch) {
    launch.overrides.stdin_is_tty = tty::is_tty(0);
    launch.overrides.stdout_is_tty = tty::is_tty(1);
    launch.overrides.terminal_as_written = launch.life.detach || launch.life.console_socket.is_some();
    launch.caller.window = tty::size(0).ok().map(|s| (s.rows, s.cols));
}

/// The source of the root file system: a bundle, `--rootfs`, or without either this machine.
pub fn root_of(launch: &Launch, bundle: Option<&Path>) -> Result<RootSource, Error> {
    let (root, what) = match (bundle, &launch.life.rootfs) {
        (Some(bundle), None) => (RootSource::Bundle(bundle.to_path_buf()), bundle),
        (None, Some(dir)) => (RootSource::Directory(dir.clone()), dir.as_path()),
        (None, None) => return Ok(RootSource::Host),
        (Some(bundle), Some(_)) => {
            return Err(Error::msg(format!(
                "--rootfs: {} is a bundle, whose config.json names its root",
                bundle.display()
            )));
        }
    };
    images::no_image(what, matches!(root, RootSource::Bundle(_)))?;
    Ok(root)
}

/// The cgroup manager of a new container, if the command line names one. Later verbs read it from the state:
/// most callers do not repeat the option.
pub fn cgroup_manager(global: &GlobalArgs) -> Result<Option<Manager>, Error> {
    match (global.systemd_cgroup, global.cgroup_manager) {
        (true, Some(other)) if other != Manager::Systemd => {
            Err(Error::msg("--systemd-cgroup and --cgroup-manager contradict each other"))
        }
        (true, _) => Ok(Some(Manager::Systemd)),
        (false, manager) => Ok(manager),
    }
}

/// The requirements of the administrator's policy file and of the program's name.
pub fn enforcement(global: &GlobalArgs) -> Result<Option<Enforcement>, Error> {
    Enforcement::load(global.policy_file.as_deref(), global.fixed_level)
}

/// The state root. Every verb acts on the states in it, so a default path that other users could have created
/// is checked first.
pub fn root(global: &GlobalArgs) -> Result<PathBuf, Error> {
    own_procfs()?;
    match &global.root {
        // Absolute, because the plan uses the path in processes with other working directories.
        Some(dir) => Ok(std::path::absolute(dir).unwrap_or_else(|_| dir.clone())),
        None => {
            let root = crate::host::state_root::default_state_root();
            crate::state::check_root(&root)?;
            Ok(root)
        }
    }
}

/// Below another pid namespace's procfs the number of a process is another process's: its limits and id maps would be
/// written, and a container that runs would pass for stopped. Where no procfs is mounted its first use says so.
fn own_procfs() -> Result<(), Error> {
    match std::fs::read_link("/proc/self") {
        Ok(own) if own.to_str().and_then(|pid| pid.parse().ok()) != Some(std::process::id()) => {
            Err(Error::msg(
                "/proc belongs to another pid namespace: mount this one's (mount -t proc proc /proc, unshare --mount-proc)",
            ))
        }
        _ => Ok(()),
    }
}

/// Prints a value as runc does: indented, with a newline.
pub fn print_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(value)?;
    writeln!(std::io::stdout(), "{text}")?;
    Ok(())
}
