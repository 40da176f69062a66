//! `safebox create`: everything up to the program, which waits for `start`.

use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::cli::{Create, Global};
use crate::commands::common::Outcome;
use crate::commands::common::options;
use crate::error::Error;
use crate::launch::caller::connect;
use crate::launch::prepare::{Request, draft};
use crate::lifecycle::name::Name;
use crate::log::Log;
use crate::perform::Cx;
use crate::perform::control::Control;
use crate::perform::runtime::Attendants;
use crate::plan::recipe::{Console, Options};
use crate::policy::{Asked, Policy};

/// Creates a container. The config is taken as written.
pub fn create(global: &Global, args: Create, log: &Log) -> Outcome {
    let root = crate::commands::common::root(global)?;
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
        cgroup_manager: crate::commands::common::cgroup_manager(global)?,
        launcher: None,
    })?;
    let terminal = draft.options.console == Console::Pty;
    crate::commands::common::check_terminal(true, terminal, args.creating.console_socket.is_some())?;
    if draft.shares_host_root {
        crate::perform::seal::seal()?;
    }
    let socket = |flag, path: &Option<PathBuf>| path.as_deref().map(|path| connect(flag, path)).transpose();
    let console = socket("--console-socket", &args.creating.console_socket)?;
    let pidfd = socket("--pidfd-socket", &args.creating.pidfd_socket)?;
    draft.tell(log);
    let mut control = Control::default();
    let name = Name::take(&draft.state_dir, draft.launcher, &mut control)?;
    let prepared = draft.place()?;
    let (plan, given) = prepared.plan()?;
    crate::plan::report::debug(&plan, log);
    let mut cx = Cx::new(plan.slots);
    cx.set(&given.rootfs, prepared.bundle.rootfs.as_raw_fd());
    cx.set(&given.console, console.unwrap_or(-1));
    cx.set(&given.pidfd_socket, pidfd.unwrap_or(-1));
    name.give(&plan, &mut cx);
    let mut attendants = Attendants::default();
    crate::lifecycle::hook_points::launch(&plan, &mut cx, &mut control, &mut attendants, &prepared.state)
        .map_err(|e| match e {
            Error::State(_) | Error::Config(_) => anyhow::Error::from(e),
            e => anyhow::Error::from(e).context("create failed: unable to start container process"),
        })?;
    Ok(ExitCode::SUCCESS)
}
