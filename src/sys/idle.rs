//! A process that only holds a user namespace, for an id map that no other process has.

use std::mem::ManuallyDrop;
use std::os::fd::RawFd;

use super::process::{pidfd_kill, prctl, wait};
use super::{SysResult, check, fs};

/// A child in a new user namespace that only waits, until it or this process is killed: see [`idle_in_user_namespace`].
/// Dropping it kills and reaps it.
pub struct IdleChild {
    pid: i32,
    pidfd: RawFd,
    killed: bool,
    stack: ManuallyDrop<Box<IdleStack>>,
}

/// Where the child's two frames are; a stack is aligned to 16 bytes.
#[repr(align(16))]
struct IdleStack([u8; 4096]);

/// clone(2) with `CLONE_VM`: a copy of this process's memory would cost more than everything else, so the child shares
/// it, and writes only to a stack of its own.
pub fn idle_in_user_namespace() -> SysResult<IdleChild> {
    extern "C" fn idle(_: *mut libc::c_void) -> libc::c_int {
        if prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as u64).is_err() {
            return 1;
        }
        loop {
            // SAFETY: no memory is involved. No signal has a handler, so the call neither returns nor sets errno.
            unsafe { libc::pause() };
        }
    }
    let mut stack = Box::new(IdleStack([0; 4096]));
    let mut pidfd: RawFd = -1;
    let flags = libc::CLONE_NEWUSER | libc::CLONE_VM | libc::CLONE_PIDFD | libc::SIGCHLD;
    // SAFETY: the stack grows down from its end, and lives until the child is reaped or for ever; `pidfd`
    // is writable. The child calls two functions of the C library that are system calls.
    let pid = unsafe {
        let top = stack.0.as_mut_ptr_range().end.cast();
        libc::clone(idle, top, flags, std::ptr::null_mut(), std::ptr::from_mut(&mut pidfd))
    };
    match check(pid.into()) {
        Ok(pid) => Ok(IdleChild { pid: pid as i32, pidfd, killed: false, stack: ManuallyDrop::new(stack) }),
        Err(e) => Err(e),
    }
}

impl IdleChild {
    /// Its process number.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Kills it. Its end takes a while, on another cpu: there is time until it must be gone.
    pub fn kill(&mut self) -> SysResult<()> {
        pidfd_kill(self.pidfd, libc::SIGKILL)?;
        self.killed = true;
        Ok(())
    }
}

impl Drop for IdleChild {
    fn drop(&mut self) {
        let killed = if self.killed { Ok(()) } else { self.kill() };
        let ended = killed.and_then(|()| wait(self.pid, 0));
        fs::close(self.pidfd);
        if ended.is_ok() {
            // SAFETY: the child, which has run on it, is gone, and nothing uses the stack after this.
            unsafe { ManuallyDrop::drop(&mut self.stack) };
        }
    }
}
