//! What several verbs read of the command line.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::cgroup::Manager;
use crate::cli::{Creating, Global, Hardening};
use crate::error::Error;
use crate::plan::recipe::Options;
use crate::policy::{Asked, Policy};
use crate::sys::tty;
use crate::tables::capabilities::{self, CapSet};

/// What a verb returns.
pub type Outcome = anyhow::Result<ExitCode>;

/// Flags that do not go together, in runc's words: the terminal of what is left alone goes to a socket, and only that.
pub fn check_terminal(detach: bool, terminal: bool, socket: bool) -> Result<(), Error> {
    match (detach && terminal, socket) {
        (true, false) => {
            Err(Error::msg("cannot allocate tty if runc will detach without setting console socket"))
        }
        (false, true) => Err(Error::msg("cannot use console socket if runc will not detach or allocate tty")),
        _ => Ok(()),
    }
}

/// How the config is hardened: as asked, else as the name of the program has it. A caller of `runc run`
/// (BuildKit) means what its config says, and cannot say so with a flag that runc does not have.
pub fn policy(global: &Global, h: &Hardening) -> Policy {
    h.policy.unwrap_or(if global.as_runc { Policy::Privileged } else { Policy::Restricted })
}

/// The command line's part of the policy.
pub fn asked(h: &Hardening) -> Result<Asked, Error> {
    let mut cap_add = CapSet::EMPTY;
    for name in &h.cap_add {
        if name.eq_ignore_ascii_case("all") {
            return Err(Error::msg(
                "--cap-add all: name the capabilities one by one, or use --policy privileged",
            ));
        }
        let bit = capabilities::parse(name)
            .ok_or_else(|| Error::msg(format!("--cap-add {name}: unknown capability")))?;
        cap_add = cap_add.with(bit);
    }
    Ok(Asked {
        allow: h.allow.clone(),
        user: h.user,
        cap_add,
        seccomp: h.seccomp,
        seccomp_allow: h.seccomp_allow.clone(),
        memory: h.memory,
        cpus: h.cpus,
        pids: h.pids_limit,
        no_cgroups: false,
        stdin_is_tty: tty::is_tty(0),
        stdout_is_tty: tty::is_tty(1),
        terminal_as_written: false,
    })
}

/// The plan's options for runc's flags, on top of the verb's own.
pub fn options(args: &Creating, verb: &Options) -> Result<Options, Error> {
    let inherited = crate::launch::inherited_fds::inherited(args.preserve_fds)?;
    Ok(Options {
        no_pivot: args.no_pivot,
        no_new_keyring: args.no_new_keyring,
        preserve_fds: inherited.count,
        env: inherited.env,
        pidfd_socket: args.pidfd_socket.is_some(),
        notify: crate::lifecycle::notify::host().is_some(),
        pid_file: args
            .pid_file
            .as_deref()
            .map(|p| std::path::absolute(p).unwrap_or_else(|_| p.to_path_buf())),
        ..verb.clone()
    })
}

/// Who makes the cgroups of a new container, where the command line says. Later verbs read it from the state:
/// most callers do not repeat the flag.
pub fn cgroup_manager(global: &Global) -> Result<Option<Manager>, Error> {
    match (global.systemd_cgroup, global.cgroup_manager) {
        (true, Some(other)) if other != Manager::Systemd => {
            Err(Error::msg("--systemd-cgroup and --cgroup-manager say different things"))
        }
        (true, _) => Ok(Some(Manager::Systemd)),
        (false, manager) => Ok(manager),
    }
}

/// Where states are kept. What lies there is believed by every verb, so a place that others could have made is
/// looked at first.
pub fn root(global: &Global) -> Result<PathBuf, Error> {
    match &global.root {
        // The plan names it from several processes: relative paths would depend on the directory.
        Some(dir) => Ok(std::path::absolute(dir).unwrap_or_else(|_| dir.clone())),
        None => {
            let root = crate::host::state_root::default_state_root();
            crate::state::check_root(&root)?;
            Ok(root)
        }
    }
}

/// Prints a value as runc does: indented, with a newline.
pub fn print_json(value: &serde_json::Value) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(value)?;
    writeln!(std::io::stdout(), "{text}")?;
    Ok(())
}
