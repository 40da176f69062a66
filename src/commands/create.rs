//! `safebox create`: performs the plan up to the program, which waits for `start`.

use crate::sys::start::ExitCode;
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use crate::cli::{CreateArgs, GlobalArgs};
use crate::commands::common::{VerbResult, inherit};
use crate::commands::report;
use crate::error::Error;
use crate::launch::caller::connect;
use crate::launch::prepare::draft;
use crate::launch::value::RootSource;
use crate::lifecycle::name::ReservedName;
use crate::log::Log;
use crate::perform::Cx;
use crate::perform::control::Control;
use crate::perform::runtime::Helpers;
use crate::plan::recipe::Console;
use crate::policy::Policy;

/// Creates a container. The config is not hardened unless a policy is named.
pub fn create(global: &GlobalArgs, args: CreateArgs, log: &Log) -> VerbResult {
    let root = crate::commands::common::root(global)?;
    crate::state::check_id(&args.id)?;
    crate::state::make_root(&root)?;
    if root.join(&args.id).exists() {
        return Err(Error::from(crate::error::StateError::Exists).into());
    }
    let mut launch = args.options.0;
    inherit(&mut launch)?;
    launch.root = RootSource::Bundle(launch.life.bundle.clone().unwrap_or_else(|| ".".into()));
    launch.id.clone_from(&args.id);
    launch.state_root = root;
    launch.policy = Some(Policy::Privileged);
    launch.enforcement = crate::commands::common::enforcement(global)?;
    (launch.caller.wait_for_start, launch.caller.gives_stdio) = (true, true);
    launch.cgroup_manager = crate::commands::common::cgroup_manager(global)?;
    let draft = draft(&launch)?;
    let terminal = draft.options.console == Console::Pty;
    crate::commands::common::check_terminal(true, terminal, launch.life.console_socket.is_some())?;
    if draft.shares_host_root {
        crate::perform::seal::seal()?;
    }
    let socket = |flag, path: &Option<PathBuf>| path.as_deref().map(|path| connect(flag, path)).transpose();
    let console = socket("--console-socket", &launch.life.console_socket)?;
    let pidfd = socket("--pidfd-socket", &launch.life.pidfd_socket)?;
    draft.report(log);
    let mut control = Control::default();
    let name = ReservedName::take(&draft.state_dir, draft.launcher, &mut control)?;
    let prepared = draft.place()?;
    let (plan, given) = prepared.plan()?;
    crate::plan::report::debug(&plan, log);
    let mut cx = Cx::new(plan.slots);
    cx.set(&given.rootfs, prepared.bundle.rootfs.as_raw_fd());
    cx.set(&given.console, console.unwrap_or(-1));
    cx.set(&given.pidfd_socket, pidfd.unwrap_or(-1));
    name.give(&plan, &mut cx);
    let mut helpers = Helpers::default();
    crate::lifecycle::hook_points::launch(&plan, &mut cx, &mut control, &mut helpers, &prepared.state)
        .map_err(|e| match e {
            Error::State(_) | Error::Config(_) => anyhow::Error::from(e),
            e => anyhow::Error::from(e).context("create failed: unable to start container process"),
        })?;
    report::created(&launch.state_root, log, "create", &prepared.state, cx.pid);
    Ok(ExitCode::SUCCESS)
}
