//! `safebox stop` and `safebox wait`: the end of a container.

use crate::sys::start::ExitCode;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use crate::cli::{GlobalArgs, IdArgs, StopArgs};
use crate::commands::common::VerbResult;
use crate::error::{Error, Result};
use crate::lifecycle::container::{Container, ContainerStatus};
use crate::lifecycle::ended::Ended;
use crate::lifecycle::processes::{self, Killer};
use crate::sys::process;

/// How long what was killed may take to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// Asks the program to end, and kills the container after `--time`. One that has ended is as was asked.
pub fn stop(global: &GlobalArgs, args: &StopArgs) -> VerbResult {
    let container = Container::load(&crate::commands::common::root(global)?, &args.id)?;
    let state = container.state()?;
    let grace = args.time.unwrap_or(Duration::from_millis(state.stop.millis));
    if let Some((pid, pidfd)) = processes::open(&container) {
        let signal = |signal| match process::pidfd_kill(pidfd.as_raw_fd(), signal) {
            Ok(()) | Err(crate::sys::Errno::ESRCH) => Ok(()),
            Err(e) => Err(Error::os("stop", pid, e)),
        };
        if grace.is_zero() {
            signal(libc::SIGKILL)?;
        } else {
            signal(state.stop.signal)?;
        }
        // A paused program cannot hear of it.
        if container.frozen() {
            processes::thaw(&container);
        }
        let end = Instant::now() + grace;
        if !ended_by(pidfd.as_raw_fd(), end) {
            signal(libc::SIGKILL)?;
        }
        Killer::of(state).kill();
        if !ended_by(pidfd.as_raw_fd(), end.max(Instant::now()) + PATIENCE) {
            return Err(Error::msg(format!("process {pid} of the container does not end")).into());
        }
    }
    processes::wait_for_monitor(&container, PATIENCE);
    Ok(ExitCode::SUCCESS)
}

fn ended_by(pidfd: i32, end: Instant) -> bool {
    let left = end.saturating_duration_since(Instant::now()).as_millis();
    process::wait_for_exit(pidfd, i32::try_from(left).unwrap_or(i32::MAX))
}

/// Waits for the end, and prints the exit code.
pub fn wait(global: &GlobalArgs, args: &IdArgs) -> VerbResult {
    let container = Container::load(&crate::commands::common::root(global)?, &args.id)?;
    if let Some((_, pidfd)) = processes::open(&container) {
        process::poll_in([pidfd.as_raw_fd()]).map_err(|e| Error::os("poll", "the container", e))?;
    }
    // Between the program's end and its account lies the last of the output.
    processes::wait_for_monitor(&container, Duration::MAX);
    let code = exit_code(&container)?;
    writeln!(std::io::stdout(), "{code}")?;
    Ok(ExitCode::SUCCESS)
}

fn exit_code(container: &Container) -> Result<i32> {
    if container.status() == ContainerStatus::Created {
        return Err(Error::msg(format!("container {} is created and not started", container.id)));
    }
    let state = container.state()?;
    let why = match &state.monitor {
        Some(_) => "the process that stayed with it (run --detach) was killed",
        None => "no launcher stayed with it (run --detach and run --keep do)",
    };
    Ended::of(container, state)
        .and_then(|ended| ended.code)
        .ok_or_else(|| Error::msg(format!("the exit code of container {} is not known: {why}", container.id)))
}
