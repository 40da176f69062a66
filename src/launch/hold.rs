//! The container's directory in the hands of a launcher that stays: what it takes back at the end is what it made,
//! and not what somebody else has made under the same name since.

use std::ffi::{CString, OsStr};
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::Cx;
use super::undo::{Undone, own, undo};
use crate::error::Error;
use crate::plan::{Action, Plan, Undo};
use crate::sys::fs;

/// The directory that a plan's `StateDir` has made. As long as it is open its number is no other's.
#[derive(Debug, Clone)]
pub struct Hold {
    fd: RawFd,
    path: CString,
}

impl Hold {
    /// Of a plan that has come to its first clone; it is locked then.
    pub fn of(plan: &Plan, cx: &Cx) -> Option<Self> {
        plan.steps.iter().find_map(|step| match &step.action {
            Action::StateDir { path, lock } => Some(Hold { fd: cx.fd(lock), path: path.clone() }),
            _ => None,
        })
    }

    /// The open directory.
    pub fn fd(&self) -> RawFd {
        self.fd
    }

    /// Lets others change the container.
    pub fn release(&self) -> Result<(), Error> {
        fs::unlock(self.fd).map_err(|e| Error::os("flock", crate::plan::lower::show(&self.path), e))
    }

    /// Keeps others off again: whether the container is still there.
    fn retake(&self) -> bool {
        let same = |a: libc::stat, b: libc::stat| (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino);
        // Without the lock somebody else may do the same work meanwhile, which harms nobody else.
        fs::lock(self.fd).unwrap_or_default();
        match (fs::fstatat(self.fd, c""), fs::fstatat(libc::AT_FDCWD, &self.path)) {
            (Ok(held), Ok(named)) => same(held, named),
            _ => false,
        }
    }

    /// Takes the container back as far as it is still there; `None` if somebody has removed it.
    pub fn end(&self, undos: &[Undo], child: Option<(i32, RawFd)>, ours: bool) -> Option<Undone> {
        if self.retake() {
            let dir = Path::new(OsStr::from_bytes(self.path.to_bytes()));
            return Some(undo(&own(undos, dir), child, ours));
        }
        // The process is known by its descriptor, whatever the name means now.
        undo(&undos.iter().filter(|u| **u == Undo::Kill).cloned().collect::<Vec<_>>(), child, ours);
        None
    }
}
