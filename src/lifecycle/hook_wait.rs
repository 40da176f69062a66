//! Waiting for a hook's process.

use std::os::fd::{AsRawFd, RawFd};
use std::time::{Duration, Instant};

use crate::perform::HookError;
use crate::sys::process::{self, ProcessExit};
use crate::sys::signal::DEADLY;
use crate::sys::{fs, signal};

/// Waits for a hook's process, a child of this one; kills it when its time is over, or when a signal says that
/// the launcher is to end.
pub fn wait(child: i32, timeout: Option<u64>, signals: RawFd) -> Result<(), HookError> {
    let pidfd = process::pidfd_open(child).map(fs::own).map_err(|e| format!("pidfd_open: {e}"))?;
    let end = timeout.map(|s| Instant::now() + Duration::from_secs(s));
    let why = loop {
        let left = end.map(|end| end.saturating_duration_since(Instant::now()));
        let fds = [pidfd.as_raw_fd(), signals];
        let ready = left.map_or_else(|| process::poll_in(fds), |left| process::poll_in_for(fds, left));
        let [ended, signal] = ready.map_err(|e| format!("poll: {e}"))?;
        if ended {
            let exit = process::wait(child, 0).map_err(|e| format!("wait4: {e}"))?.map(|(_, exit)| exit);
            return match exit {
                Some(ProcessExit::Code(0)) => Ok(()),
                // Ctrl-C goes to the hook too, and is why it failed.
                other => Err(deadly(signals).map_or_else(|| failed(other), HookError::Interrupted)),
            };
        }
        match if signal { deadly(signals) } else { None } {
            Some(signal) => break HookError::Interrupted(signal),
            None if left.is_some_and(|left| left.is_zero()) => {
                let seconds = timeout.unwrap_or_default();
                break format!("still running after its timeout of {seconds} s; killed").into();
            }
            None => {}
        }
    };
    // It may have ended by itself in between; it is waited for in any case.
    process::pidfd_kill(pidfd.as_raw_fd(), libc::SIGKILL).unwrap_or_default();
    process::wait(child, 0).map_err(|e| format!("wait4: {e}"))?;
    Err(why)
}

/// The next signal that is to end the launcher. Others have no one to go to before the program runs.
fn deadly(signals: RawFd) -> Option<i32> {
    std::iter::from_fn(|| signal::next_signal(signals)).find(|s| DEADLY.contains(s))
}

fn failed(exit: Option<ProcessExit>) -> HookError {
    HookError::Failed(match exit {
        Some(ProcessExit::Code(code)) => format!("exit status {code}"),
        Some(ProcessExit::Signal(signal)) => {
            let name = crate::tables::signals::name(signal).unwrap_or_else(|| signal.to_string());
            format!("killed by {name} ({})", crate::tables::signals::in_words(signal))
        }
        None => "it is gone".into(),
    })
}
