//! The container's directory, held by a launcher that stays: at the end the launcher removes its own container, never
//! one that another process has created under the same name since.

use std::ffi::CString;
use std::os::fd::RawFd;

use crate::error::Error;
use crate::perform::Cx;
use crate::perform::undo::{Undone, own, undo};
use crate::plan::{Plan, Undo};
use crate::sys::cstr::as_path;
use crate::sys::fs;

/// The directory that a plan's `StateDir` has made. As long as it is open its number is no other's.
#[derive(Debug, Clone)]
pub struct StateLock {
    fd: RawFd,
    path: CString,
}

impl StateLock {
    /// Of a plan that has come to its first clone; it is locked then.
    pub fn of(plan: &Plan, cx: &Cx) -> Option<Self> {
        plan.state_dir().map(|(path, lock)| StateLock { fd: cx.fd(lock), path: path.into() })
    }

    /// The open directory.
    pub fn fd(&self) -> RawFd {
        self.fd
    }

    /// Lets others change the container.
    pub fn release(&self) -> Result<(), Error> {
        fs::unlock(self.fd).map_err(|e| Error::os("flock", crate::sys::cstr::show(&self.path), e))
    }

    /// Keeps others off again: whether the container is still there.
    fn retake(&self) -> bool {
        // Without the lock another process may do the same work meanwhile, which is harmless.
        fs::lock(self.fd).unwrap_or_default();
        fs::is_at(self.fd, &self.path)
    }

    /// Takes the container back as far as it is still there; `None` if another process has removed it.
    pub fn end(&self, undos: &[Undo], child: Option<(i32, RawFd)>, ours: bool) -> Option<Undone> {
        if self.retake() {
            return Some(undo(&own(undos, as_path(&self.path)), child, ours));
        }
        // The process is known by its descriptor, whatever the name means now.
        undo(&undos.iter().filter(|u| **u == Undo::Kill).cloned().collect::<Vec<_>>(), child, ours);
        None
    }
}
