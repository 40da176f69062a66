//! `safebox create`: everything up to the program, which waits for `start`.

use std::io::Write;
use std::os::fd::{AsRawFd, IntoRawFd};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::Outcome;
use crate::cli::{Create, Creating, Global};
use crate::error::Error;
use crate::launch::Cx;
use crate::launch::control::Control;
use crate::launch::front::{Request, draft};
use crate::launch::name::Name;
use crate::launch::runtime::Attendants;
use crate::log::Log;
use crate::plan::build::{Console, Options};
use crate::policy::{Asked, Policy};

/// The plan's options for runc's flags, on top of the verb's own.
pub fn options(args: &Creating, verb: &Options) -> Result<Options, Error> {
    let inherited = super::inherit::inherited(args.preserve_fds)?;
    Ok(Options {
        no_pivot: args.no_pivot,
        no_new_keyring: args.no_new_keyring,
        preserve_fds: inherited.count,
        env: inherited.env,
        pidfd_socket: args.pidfd_socket.is_some(),
        notify: crate::notify::host().is_some(),
        pid_file: args
            .pid_file
            .as_deref()
            .map(|p| std::path::absolute(p).unwrap_or_else(|_| p.to_path_buf())),
        ..verb.clone()
    })
}

/// Connects to the socket of a flag that takes a descriptor: a terminal's master end, a pidfd.
pub fn connect(flag: &str, path: &Path) -> Result<i32, Error> {
    std::os::unix::net::UnixStream::connect(path)
        .map(IntoRawFd::into_raw_fd)
        .map_err(|e| Error::msg(format!("{flag} {}: {e}", path.display())))
}

/// Creates a container. The config is taken as written.
pub fn create(global: &Global, args: Create, log: &Log) -> Outcome {
    let root = super::root(global)?;
    crate::state::check_id(&args.id)?;
    crate::state::make_root(&root)?;
    let bundle = args.creating.bundle.clone().unwrap_or_else(|| ".".into());
    if root.join(&args.id).exists() {
        return Err(Error::from(crate::error::StateError::Exists).into());
    }
    let options =
        options(&args.creating, &Options { wait_for_start: true, gives_stdio: true, ..Options::default() })?;
    let draft = draft(Request {
        bundle: &bundle,
        id: &args.id,
        root: &root,
        policy: Policy::Privileged,
        asked: Asked::default(),
        options,
        args: Vec::new(),
        pure: false,
        stays: crate::launch::stdio::Launcher::Absent,
        cgroup_manager: super::cgroup_manager(global)?,
        launcher: None,
    })?;
    let terminal = draft.options.console == Console::Pty;
    super::check_terminal(true, terminal, args.creating.console_socket.is_some())?;
    if draft.shares_host_root {
        crate::launch::seal::seal()?;
    }
    let socket = |flag, path: &Option<PathBuf>| path.as_deref().map(|path| connect(flag, path)).transpose();
    let console = socket("--console-socket", &args.creating.console_socket)?;
    let pidfd = socket("--pidfd-socket", &args.creating.pidfd_socket)?;
    draft.tell(log);
    let mut control = Control::default();
    let name = Name::take(&draft.state_dir, draft.launcher, &mut control)?;
    let prepared = draft.place()?;
    let (plan, given) = prepared.plan()?;
    log.plan(&plan);
    let mut cx = Cx::new(plan.slots);
    cx.set(&given.rootfs, prepared.bundle.rootfs.as_raw_fd());
    cx.set(&given.console, console.unwrap_or(-1));
    cx.set(&given.pidfd_socket, pidfd.unwrap_or(-1));
    name.give(&plan, &mut cx);
    let mut attendants = Attendants::default();
    super::start::launch(&plan, &mut cx, &mut control, &mut attendants, &prepared.state).map_err(
        |e| match e {
            Error::State(_) | Error::Config(_) => anyhow::Error::from(e),
            e => anyhow::Error::from(e).context("create failed: unable to start container process"),
        },
    )?;
    Ok(ExitCode::SUCCESS)
}

/// Decimal and no newline, written whole or not at all: go-runc parses the raw bytes.
pub fn write_pid_file(path: &Path, pid: i32) -> Result<(), Error> {
    let failed = |e: std::io::Error| Error::msg(format!("--pid-file {}: {e}", path.display()));
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let temp = path.with_file_name(format!(".{name}.tmp"));
    // What has that name is a runtime's that was killed, or another user's, in a directory that both may write.
    std::fs::remove_file(&temp).unwrap_or_default();
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).open(&temp).map_err(failed)?;
    file.write_all(pid.to_string().as_bytes()).map_err(failed)?;
    std::fs::rename(&temp, path).map_err(failed)
}
