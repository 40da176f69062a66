//! Descriptors that the caller hands to the container: socket activation and `--preserve-fds`.

use crate::error::{Error, Result};
use crate::sys::{fs, process};

/// What the container's process gets of the caller's descriptors.
#[derive(Debug, Default)]
pub struct Inherited {
    /// Descriptors 3 to 2+N.
    pub count: u32,
    /// What tells the program about them.
    pub env: Vec<String>,
}

/// Those of sd_listen_fds(3) first, if they were meant for this process, then `--preserve-fds`. Looked at
/// before anything is opened: a number that the caller left free would become one of our own files.
pub fn inherited(preserve: u32) -> Result<Inherited> {
    let mut inherited = listening()?;
    inherited.count = inherited.count.saturating_add(preserve);
    preserved(inherited.count)?;
    Ok(inherited)
}

/// An error where one of the descriptors 3 to 2+N is not open.
pub fn preserved(count: u32) -> Result<()> {
    match (3..count.saturating_add(3)).find(|fd| !i32::try_from(*fd).is_ok_and(fs::is_open)) {
        Some(fd) => Err(Error::msg(format!(
            "please check that preserved-fd {} (of {count}) is present: descriptor {fd} is not open (--preserve-fds, LISTEN_FDS)",
            fd - 3
        ))),
        None => Ok(()),
    }
}

fn listening() -> Result<Inherited> {
    let var = |name| std::env::var(name).ok().filter(|v| !v.is_empty());
    let for_us = var("LISTEN_PID").and_then(|p| p.parse().ok()) == Some(process::pid());
    let Some(text) = var("LISTEN_FDS").filter(|_| for_us) else { return Ok(Inherited::default()) };
    let count: u32 = text.parse().map_err(|_| Error::msg(format!("LISTEN_FDS={text:?} is not a number")))?;
    let mut env = vec![format!("LISTEN_FDS={count}"), "LISTEN_PID=1".to_string()];
    env.extend(var("LISTEN_FDNAMES").map(|names| format!("LISTEN_FDNAMES={names}")));
    Ok(Inherited { count, env })
}
