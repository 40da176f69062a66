//! The helper, as its launcher has it.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use super::verdict::{ConnectionVerdict, RECORD};
use crate::sys::{Errno, SysResult, io, process};

/// How long the helper may take to end once its launcher has.
const LAST_WORDS: i32 = 2000;

/// The helper, as the launcher has it. It ends with this value.
#[derive(Debug)]
pub struct HelperHandle {
    pid: i32,
    pidfd: OwnedFd,
    line: Option<OwnedFd>,
}

impl HelperHandle {
    /// A child of this process, and the way to it.
    pub fn new(pid: i32, pidfd: OwnedFd, line: OwnedFd) -> Self {
        HelperHandle { pid, pidfd, line: Some(line) }
    }

    /// Where its verdicts come; -1 once it has ended.
    pub fn line(&self) -> RawFd {
        self.line.as_ref().map_or(-1, AsRawFd::as_raw_fd)
    }

    /// A verdict, without waiting: `None` where there is none now, `ECONNRESET` once it has ended.
    pub fn verdict(&self) -> SysResult<Option<ConnectionVerdict>> {
        let mut record = [0; RECORD];
        match io::receive_nowait(self.line(), &mut record) {
            Ok(0) => Err(Errno::ECONNRESET),
            Ok(n) => Ok(ConnectionVerdict::of_record(&record[..n])),
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// It belongs to the container alone from now on.
    pub fn release(mut self) {
        self.line = None;
        self.pid = 0;
    }

    /// Has it end, and writes its last words down first; whatever it does, it is gone when this returns.
    pub fn end(&mut self) {
        self.line = None;
        let pid = std::mem::take(&mut self.pid);
        if pid == 0 {
            return;
        }
        if !process::wait_for_exit(self.pidfd.as_raw_fd(), LAST_WORDS) {
            process::pidfd_kill(self.pidfd.as_raw_fd(), libc::SIGKILL).unwrap_or_default();
        }
        // The supervisor may have reaped it already.
        process::wait(pid, 0).map(drop).unwrap_or_default();
    }
}

impl Drop for HelperHandle {
    fn drop(&mut self) {
        self.end();
    }
}
