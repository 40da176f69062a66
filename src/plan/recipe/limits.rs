//! The limits of getrlimit(2): raised from outside before Init works, lowered by Init when its work is done.
//!
//! A limit is the program's. While it holds for Init, Init fails of it, or is killed: it holds more descriptors than
//! the program may, writes larger files, has a larger stack and address space. So Init sets the limits last, right
//! before the filter and the program. What raises a hard limit is the runtime's row, since it takes the host's
//! CAP_SYS_RESOURCE, and a limit that only grants something (RLIMIT_NICE, RLIMIT_RTPRIO) comes before the scheduler's
//! row, which may need it.

use crate::config::{ConfigError, Process};
use crate::error::{Error, Result};
use crate::host::Host;
use crate::plan::limits::grants;
use crate::plan::ops::LimitOp;
use crate::plan::recipe::{Builder, FilterInput, part};
use crate::plan::{Actor::Init, Actor::Runtime, Plan};
use crate::sys::rlimit::RlimitPair;

/// Descriptors that a launch holds beside those of the mounts' sources: stdio, the slots of other rows, and some that
/// are open for a moment.
const BESIDE_SOURCES: u64 = 128;
/// Descriptors without which no launch is tried.
const LEAST: u64 = 20;
/// The slots of a plan are numbered with 16 bits.
const MOST_MOUNTS: usize = 60_000;

/// The child's hard limits, where they are to be higher than those that it starts with.
pub(super) fn raise(plan: &mut Plan, process: &Process, host: &Host) {
    for r in &process.rlimits {
        let has = host.limit(r.resource);
        if r.hard > has.hard {
            let limit = RlimitPair { soft: has.soft.max(r.soft), hard: r.hard };
            plan.push(Runtime, part::OUTSIDE, LimitOp::Raise { resource: r.resource, limit });
        }
    }
}

/// The limits that permit something.
pub(super) fn grant(plan: &mut Plan, process: &Process) {
    push(plan, process, part::DROP, grants);
}

/// All others. `files`: the limit on descriptors before the runtime raised its own. `forks`: Init forks afterwards, so the
/// limit on processes comes with [`set_processes`].
pub(super) fn set(plan: &mut Plan, process: &Process, files: Option<RlimitPair>, forks: bool) {
    let unset = process.rlimits.iter().all(|r| r.resource != libc::RLIMIT_NOFILE);
    if let Some(limit) = files.filter(|_| unset) {
        let resource = libc::RLIMIT_NOFILE;
        plan.push(Init, part::EXEC, LimitOp::Set { resource, limit });
    }
    push(plan, process, part::EXEC, |resource| {
        !grants(resource) && (!forks || resource != libc::RLIMIT_NPROC)
    });
}

/// The limit on processes, by the program's process itself: for its parent it counts one more.
pub(super) fn set_processes(plan: &mut Plan, process: &Process) {
    push(plan, process, part::EXEC, |resource| resource == libc::RLIMIT_NPROC);
}

fn push(plan: &mut Plan, process: &Process, part: &'static str, wanted: impl Fn(u32) -> bool) {
    for r in process.rlimits.iter().filter(|r| wanted(r.resource)) {
        let limit = RlimitPair { soft: r.soft, hard: r.hard };
        plan.push(Init, part, LimitOp::Set { resource: r.resource, limit });
    }
}

/// Whether the filters that are in force before Init's work is done let it set limits. Where one does not, the limits
/// come right before it: a profile for runc need not allow prlimit64, since runc calls it from outside.
pub(super) fn allowed_late(filters: &[FilterInput], no_new_privileges: bool) -> bool {
    let early = |f: &&FilterInput| !no_new_privileges || f.listener.is_some();
    filters.iter().filter(early).all(|f| f.lets_limits)
}

/// An error where there are not even the descriptors that taking back a failed launch needs: asked before anything is
/// made.
pub fn enough_files(host: &Host) -> Result<()> {
    let limit = host.limit(libc::RLIMIT_NOFILE);
    if limit.hard >= LEAST {
        return Ok(());
    }
    Err(Error::msg(format!(
        "the hard limit on open files (RLIMIT_NOFILE, `ulimit -Hn`) is {}: safebox needs at least {LEAST}",
        limit.hard
    )))
}

impl Builder<'_> {
    /// As many descriptors as there are sources to hold.
    pub(super) fn more_files(&mut self) -> Result<()> {
        let limit = self.input.host.limit(libc::RLIMIT_NOFILE);
        if self.input.config.mounts.len() > MOST_MOUNTS {
            let message =
                format!("at most {MOST_MOUNTS} mounts, these are {}", self.input.config.mounts.len());
            return Err(Error::Config(ConfigError::new("/mounts", message)));
        }
        let sources = self.input.config.mounts.len() + self.input.cgroups.cgroups.len();
        if limit.soft < limit.hard && limit.soft < sources as u64 + BESIDE_SOURCES {
            self.plan.push(Runtime, part::SOURCES, LimitOp::MoreFiles { limit });
            self.files_before = Some(limit);
        }
        Ok(())
    }
}
