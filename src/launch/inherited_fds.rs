//! Descriptors that the caller passes to the container: socket activation and `--preserve-fds`.

use std::os::fd::IntoRawFd;

use crate::error::{Error, Result};
use crate::sys::{fs, process, watch};

/// The caller's descriptors that the container's process inherits.
#[derive(Debug, Default)]
pub struct InheritedFds {
    /// Number of descriptors, from 3 on: 3 to 2+N.
    pub count: u32,
    /// Environment variables that describe them to the program.
    pub env: Vec<String>,
}

/// Descriptors of sd_listen_fds(3) come first, if LISTEN_PID is this process, then those of `--preserve-fds`.
/// Call this before any file is opened: safebox's own files would use the numbers that the caller left free.
pub fn inherited(preserve: u32) -> Result<InheritedFds> {
    let mut inherited = listening()?;
    let closed = (3..inherited.count.saturating_add(3)).find(|fd| !i32::try_from(*fd).is_ok_and(fs::is_open));
    if let Some(fd) = closed {
        return Err(Error::msg(format!("LISTEN_FDS={}: descriptor {fd} is not open", inherited.count)));
    }
    inherited.count = inherited.count.saturating_add(preserve);
    preserved(inherited.count)?;
    Ok(inherited)
}

/// Occupies the closed numbers of 3 to 2+N until the program starts. runc accepts closed numbers; safebox
/// must not use them for its own descriptors. The placeholder is close-on-exec, so the program finds them
/// closed.
pub fn preserved(count: u32) -> Result<()> {
    let is_closed = |fd: &i32| !fs::is_open(*fd);
    let mut placeholder = None;
    for fd in (3..count.saturating_add(3)).map(|fd| i32::try_from(fd).unwrap_or(i32::MAX)).filter(is_closed) {
        let taken = match placeholder {
            Some(from) => fs::dup_above(from, fd),
            // This is the lowest free number, because all below it are open. The placeholder is an eventfd,
            // because another process could enter a container that waits for its start and open init's
            // descriptors.
            None => watch::eventfd().map(IntoRawFd::into_raw_fd),
        };
        let taken = taken.map_err(|e| {
            Error::os(
                "dup",
                format!("preserved-fd {} (of {count}): please check that it is present", fd - 3),
                e,
            )
        })?;
        placeholder.get_or_insert(taken);
    }
    Ok(())
}

fn listening() -> Result<InheritedFds> {
    let var = |name| std::env::var(name).ok().filter(|v| !v.is_empty());
    let for_us = var("LISTEN_PID").and_then(|p| p.parse().ok()) == Some(process::pid());
    let Some(text) = var("LISTEN_FDS").filter(|_| for_us) else { return Ok(InheritedFds::default()) };
    let count: u32 = text.parse().map_err(|_| Error::msg(format!("LISTEN_FDS={text:?} is not a number")))?;
    let mut env = vec![format!("LISTEN_FDS={count}"), "LISTEN_PID=1".to_string()];
    env.extend(var("LISTEN_FDNAMES").map(|names| format!("LISTEN_FDNAMES={names}")));
    Ok(InheritedFds { count, env })
}
