//! The container's name, taken before the rest of the launch is planned.
//!
//! A plan says which of the places that an id names (cgroups, a class of service) are there already and which are
//! made. Another launch of the same id makes and removes them, so they are looked at while no other launch can have
//! the name: the first rows are performed, then the runtime looks, then it plans, then it performs the other rows.

use std::os::fd::RawFd;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result, StateError};
use crate::perform::Cx;
use crate::perform::control::Control;
use crate::perform::runtime::{Helpers, perform};
use crate::plan::{Plan, recipe};
use crate::sys::{Errno, fs};

/// A name that is taken: the container's directory is made, empty, and locked. Dropped, it is free again.
pub struct ReservedName {
    dir: PathBuf,
    lock: RawFd,
    rows: usize,
}

impl ReservedName {
    /// Performs the first rows of the plan of every new container. `launcher`: (pid, start time) of a foreground
    /// `run`.
    pub fn take(dir: &Path, launcher: Option<(i32, u64)>, control: &mut Control) -> Result<Self> {
        let (plan, lock) = recipe::name(dir, launcher)?;
        let mut cx = Cx::new(plan.slots);
        cx.keep_lock = true;
        perform(&plan, &mut cx, control, &mut Helpers::default()).map_err(|e| match e {
            Error::Row(e) if e.errno == Errno::EEXIST && e.call == crate::perform::Call::Rename.name() => {
                StateError::Exists.into()
            }
            e => e,
        })?;
        Ok(ReservedName { dir: dir.into(), lock: cx.fd(&lock), rows: plan.rows.len() })
    }

    /// Gives the name to the launch that performs `plan`: from here on its undos free it.
    pub fn give(mut self, plan: &Plan, cx: &mut Cx) {
        if let Some((_, slot)) = plan.state_dir() {
            cx.set(slot, std::mem::replace(&mut self.lock, -1));
            cx.performed = self.rows;
        }
    }
}

impl Drop for ReservedName {
    fn drop(&mut self) {
        if self.lock < 0 {
            return;
        }
        if let Err(e) = crate::perform::undo::remove_state(&self.dir) {
            crate::to_stderr!("safebox: state directory {} cannot be removed: {e}", self.dir.display());
        }
        fs::close(self.lock);
    }
}
