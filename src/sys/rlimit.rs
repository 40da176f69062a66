//! Resource limits: getrlimit(2), prlimit(2), and the descriptor limit this process started with.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{SysResult, check};

/// The soft `RLIMIT_NOFILE` at the start of this process, once it has raised its own; `u64::MAX` before that.
static STARTED_WITH: AtomicU64 = AtomicU64::new(u64::MAX);

/// A soft and a hard limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RlimitPair {
    /// The limit that the kernel enforces.
    pub soft: u64,
    /// The maximum of `soft`; only CAP_SYS_RESOURCE can raise it.
    pub hard: u64,
}

/// prlimit(2) of another process (0: this one).
pub fn set(pid: i32, resource: u32, limit: RlimitPair) -> SysResult<()> {
    let limit = libc::rlimit { rlim_cur: limit.soft, rlim_max: limit.hard };
    #[allow(clippy::useless_conversion)] // the resource's type differs between libcs
    let resource = resource.into();
    // SAFETY: `limit` outlives the call; the old limit is not asked for.
    check(unsafe { libc::prlimit(pid, resource, &limit, std::ptr::null_mut()) }.into()).map(drop)
}

/// The limit of this process. For `RLIMIT_NOFILE` the soft limit is the one at its start.
pub fn started_with(resource: u32) -> SysResult<RlimitPair> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    #[allow(clippy::useless_conversion)] // the resource's type differs between libcs
    let number = resource.into();
    // SAFETY: `limit` is writable; no new limit is passed.
    check(unsafe { libc::prlimit(0, number, std::ptr::null(), &mut limit) }.into())?;
    let own = Some(STARTED_WITH.load(Ordering::Relaxed)).filter(|soft| *soft != u64::MAX);
    let soft = own.filter(|_| resource == libc::RLIMIT_NOFILE).unwrap_or(limit.rlim_cur);
    Ok(RlimitPair { soft, hard: limit.rlim_max })
}

/// Raises this process's soft limit on descriptors from `limit.soft` to `limit.hard`.
pub fn raise_files(limit: RlimitPair) -> SysResult<()> {
    set(0, libc::RLIMIT_NOFILE, RlimitPair { soft: limit.hard, hard: limit.hard })?;
    STARTED_WITH.store(limit.soft, Ordering::Relaxed);
    Ok(())
}

/// Restores, in `command`'s child, the soft descriptor limit that this process started with. Programs that
/// use select(2) need the low limit.
pub fn give_back(command: &mut std::process::Command) {
    use std::os::unix::process::CommandExt;
    if STARTED_WITH.load(Ordering::Relaxed) == u64::MAX {
        return;
    }
    let lower = || started_with(libc::RLIMIT_NOFILE).and_then(|limit| set(0, libc::RLIMIT_NOFILE, limit));
    // SAFETY: the closure only makes system calls, which is safe between fork and exec.
    unsafe {
        command.pre_exec(move || lower().map_err(std::io::Error::from));
    }
}
