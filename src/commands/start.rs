//! `safebox start`: writes the byte that a created container waits for.

use crate::sys::start::ExitCode;
use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use crate::cli::GlobalArgs;
use crate::commands::common::VerbResult;
use crate::config::hooks::HookKind;
use crate::error::{Error, StateError};
use crate::launch::filters::compile;
use crate::lifecycle::container::{Container, ContainerStatus};
use crate::lifecycle::hook_points::{hooks, poststart};
use crate::perform::Call;
use crate::perform::HookError;
use crate::perform::baton::{Baton, Failed};
use crate::state::files;
use crate::sys::cstr::as_path;
use crate::sys::{Errno, fs};

/// Starts a created container.
pub fn start(global: &GlobalArgs, id: &str) -> VerbResult {
    let container = Container::load(&crate::commands::common::root(global)?, id)?;
    let lock = container.lock()?;
    // Load again under the lock: a create may have changed the state since the first load.
    let container = Container::load(&crate::commands::common::root(global)?, id)?;
    let state = container.state()?;
    match container.status() {
        ContainerStatus::Created => {}
        ContainerStatus::Stopped => return Err(wrong("cannot start a container that has stopped")),
        ContainerStatus::Creating => return Err(wrong("cannot start a container that is being created")),
        ContainerStatus::Running => return Err(wrong("cannot start an already running container")),
        // A frozen init cannot read the byte.
        ContainerStatus::Paused => return Err(wrong("cannot start a container in the paused state")),
    }
    let of = container.process_id().ok_or_else(|| Error::msg("the container process is gone"))?;
    if state.shares_host_root && !state.hooks.start_container.is_empty() {
        // The hook's program comes from the rootfs and runs as a child of this process.
        crate::perform::seal::seal()?;
    }
    let inside = if state.hooks.start_container.is_empty() {
        None
    } else {
        crate::lifecycle::namespace_fds::request(&container)?
    };
    let start_hooks = hooks(HookKind::StartContainer, &state.hooks.start_container, state, "created");
    if let Err(e) =
        crate::lifecycle::hooks::run(&start_hooks, HookKind::StartContainer, of, -1, inside.as_ref())
    {
        // config.md: a failing startContainer hook ends the container.
        crate::lifecycle::destroy::destroy(&container);
        let why = match e {
            HookError::Failed(text) => text,
            HookError::Interrupted(signal) => format!("signal {signal}"),
        };
        return Err(
            Error::msg(format!("a startContainer hook failed, the container was removed: {why}")).into()
        );
    }
    let made = container.dir.join(crate::state::files::NOTIFY_DIR).exists();
    let proxy = crate::lifecycle::notify::host()
        .filter(|_| made)
        .map(|host| crate::lifecycle::notify::Proxy::listen(&container.dir, host, of.0))
        .transpose()?;
    release(&container, of.0)?;
    drop(lock);
    poststart(state, of.0, -1).inspect_err(|_| {
        // Another process may have removed the container meanwhile.
        if let Ok(_lock) = container.lock() {
            crate::lifecycle::destroy::destroy(&container);
        }
    })?;
    crate::lifecycle::notify::wait_for(proxy, of.0)?;
    Ok(ExitCode::SUCCESS)
}

fn wrong(text: &str) -> anyhow::Error {
    Error::from(StateError::Wrong(text.into())).into()
}

/// Writes the byte, and waits until the program runs or Init reports why it cannot.
fn release(container: &Container, pid: i32) -> Result<(), Error> {
    // For the report of a failed execve(2): the process has ended by then. An unprivileged user may lack
    // access.
    let root = path_fd(&format!("/proc/{pid}/root"));
    let path = |name: &str| crate::sys::cstr::cpath(&container.dir.join(name));
    let report = fs::openat(libc::AT_FDCWD, &path(files::REPORT)?, libc::O_RDONLY | libc::O_NONBLOCK, 0)
        .map(fs::own)
        .map_err(|e| Error::os("open", container.dir.join(files::REPORT).display(), e))?;
    let start = path(files::START)?;
    let fifo = fs::openat(libc::AT_FDCWD, &start, libc::O_WRONLY | libc::O_NONBLOCK, 0)
        .map_err(|e| Error::os("open", container.dir.join(files::START).display(), e))?;
    let written = fs::write_all(fifo, b"0");
    fs::close(fifo);
    written.map_err(|e| Error::os("write", container.dir.join(files::START).display(), e))?;
    let failed = wait_for_report(std::fs::File::from(report))?;
    // The FIFO's name means "created". Without it the container is running or stopped.
    fs::unlinkat(libc::AT_FDCWD, &start, 0)
        .map_err(|e| Error::os("unlink", container.dir.join(files::START).display(), e))?;
    match failed {
        None => Ok(()),
        Some(failed) if failed.call == Call::Exec => not_executed(container, failed, root),
        Some(failed) => Err(Error::msg(format!(
            "row {}: {}: {}",
            failed.row + 1,
            failed.call.name(),
            crate::tables::errno::text(failed.errno)
        ))),
    }
}

fn path_fd(path: &str) -> Option<OwnedFd> {
    let path = std::ffi::CString::new(path).ok()?;
    fs::openat(libc::AT_FDCWD, &path, libc::O_PATH | libc::O_DIRECTORY, 0).ok().map(fs::own)
}

/// The error for a program that could not be executed, with the text of `run`, from the facts in the state.
fn not_executed(container: &Container, report: Failed, root: Option<OwnedFd>) -> Result<(), Error> {
    let state = container.state()?;
    let candidates = crate::plan::recipe::candidates(&state.process)?;
    let program = candidates.get(usize::from(report.number)).map(|c| as_path(c)).unwrap_or(Path::new(""));
    let lacking = root.and_then(|root| {
        crate::perform::interpreter::lacking(root.as_raw_fd(), &state.process.cwd.join(program))
    });
    let filters = state.seccomp.get()?.iter().map(|c| compile(c, true)).collect::<Result<Vec<_>, _>>()?;
    let filters = filters.iter().map(|f| f.program.as_slice());
    let errno = Errno::from_raw(report.errno);
    let path = program.display().to_string();
    Err(Error::Exec(crate::perform::hints::not_executed(&path, errno, lacking.as_deref(), filters)))
}

/// Waits for end of file, when execve (or death) has closed all of Init's descriptors; a record before that
/// is a failure.
fn wait_for_report(mut report: std::fs::File) -> Result<Option<Failed>, Error> {
    let mut bytes = [0u8; Baton::LEN];
    loop {
        match report.read(&mut bytes) {
            Ok(0) => return Ok(None),
            Ok(n) => match Baton::from_bytes(&bytes) {
                Some(Baton::Failed(failed)) if n == Baton::LEN => return Ok(Some(failed)),
                _ => {
                    return Err(Error::msg(format!(
                        "the container process sent {n} bytes that are no report of a failure"
                    )));
                }
            },
            Err(e) if e.raw_os_error() == Some(Errno::EAGAIN as i32) => {
                let fd = std::os::fd::AsRawFd::as_raw_fd(&report);
                crate::sys::process::poll_in([fd]).map_err(|e| Error::os("poll", "report", e))?;
            }
            Err(e) => return Err(Error::msg(format!("report: {e}"))),
        }
    }
}
