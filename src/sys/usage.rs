//! Resource usage of a process, from wait4(2).

use std::time::Duration;

use super::process::ProcessExit;
use super::{Errno, SysResult, check};

/// Resource usage of a process and the children that it has waited for (getrusage(2)).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ResourceUsage {
    /// Cpu time in user mode.
    pub user: Duration,
    /// Cpu time in kernel mode.
    pub system: Duration,
    /// Peak resident memory in bytes of the largest of these processes.
    pub max_rss: u64,
}

/// wait4(2), retried on `EINTR`; `None` with `WNOHANG` if no child changed state.
pub fn wait(pid: i32, options: i32) -> SysResult<Option<(i32, ProcessExit, ResourceUsage)>> {
    Ok(wait_status(pid, options)?.map(|(pid, status, used)| (pid, ProcessExit::of_status(status), used)))
}

/// As [`wait`], with the undecoded wait status.
pub fn wait_status(pid: i32, options: i32) -> SysResult<Option<(i32, i32, ResourceUsage)>> {
    let mut status = 0;
    // SAFETY: an all-zero rusage is a valid value of that plain C struct.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    loop {
        // SAFETY: `status` and `usage` are writable.
        match check(unsafe { libc::wait4(pid, &mut status, options, &mut usage) }.into()) {
            Err(Errno::EINTR) => {}
            Err(e) => return Err(e),
            Ok(0) => return Ok(None),
            Ok(pid) => return Ok(Some((pid as i32, status, ResourceUsage::of(&usage)))),
        }
    }
}

/// The current time of CLOCK_MONOTONIC.
pub fn monotonic() -> Duration {
    // SAFETY: an all-zero timespec is a valid one.
    let mut now: libc::timespec = unsafe { std::mem::zeroed() };
    // SAFETY: `now` is writable. This clock cannot fail (clock_gettime(2)).
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) };
    let nanos = u64::try_from(now.tv_nsec).unwrap_or(0);
    Duration::from_secs(u64::try_from(now.tv_sec).unwrap_or(0)) + Duration::from_nanos(nanos)
}

impl ResourceUsage {
    /// Adds the usage of another process.
    pub fn add(&mut self, other: &ResourceUsage) {
        self.user = self.user.saturating_add(other.user);
        self.system = self.system.saturating_add(other.system);
        self.max_rss = self.max_rss.max(other.max_rss);
    }

    fn of(usage: &libc::rusage) -> ResourceUsage {
        let time = |t: libc::timeval| {
            let seconds = Duration::from_secs(u64::try_from(t.tv_sec).unwrap_or(0));
            seconds + Duration::from_micros(u64::try_from(t.tv_usec).unwrap_or(0))
        };
        // ru_maxrss is in KiB (getrusage(2)).
        let max_rss = u64::try_from(usage.ru_maxrss).unwrap_or(0).saturating_mul(1024);
        ResourceUsage { user: time(usage.ru_utime), system: time(usage.ru_stime), max_rss }
    }
}
