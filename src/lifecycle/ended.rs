//! How a container has ended, where the launcher or the kernel knows it, whatever the program printed.

use std::os::fd::{AsRawFd, RawFd};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::cgroup::ops;
use crate::error::{Error, Result};
use crate::lifecycle::account::Account;
use crate::lifecycle::container::Container;
use crate::plan::Undo;
use crate::state::{State, files};
use crate::sys::{Errno, fs};

/// The end of a container, and what the kernel refused it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ended {
    /// The program's exit code, 128 and the signal's number where one killed it; absent where no launcher saw it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<i32>,
    /// Processes that the kernel killed at the memory limit.
    pub oom_kills: u64,
    /// Forks that the limit of processes refused.
    pub pids_refused: u64,
    /// The whole account; absent where no launcher saw the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<Box<Account>>,
}

impl Ended {
    /// Into the container's open directory; one that was removed meanwhile has no use for it.
    pub fn write(&self, dir: RawFd) -> Result<()> {
        let failed = |e| Error::os("write", files::ENDED, e);
        let bytes = serde_json::to_vec(self).map_err(|e| Error::msg(e.to_string()))?;
        let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW;
        match fs::openat(dir, c"ended.json", flags, 0o600) {
            Ok(fd) => fs::write_all(fs::own(fd).as_raw_fd(), &bytes).map_err(failed),
            Err(Errno::ENOENT) => Ok(()),
            Err(e) => Err(failed(e)),
        }
    }

    /// What the launcher of a kept container has written; else what the container's own groups have counted, where
    /// that is anything.
    pub fn of(container: &Container, state: &State) -> Option<Self> {
        Self::read(&container.dir).or_else(|| Self::counted(state))
    }

    fn read(dir: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(dir.join(files::ENDED)).ok()?).ok()
    }

    /// Groups that were there before the container count for others, too.
    fn counted(state: &State) -> Option<Self> {
        let own = state.undo.iter().filter_map(|undo| match undo {
            Undo::Cgroup(path) => Some(ops::events(Path::new(path))),
            _ => None,
        });
        let (oom_kills, pids_refused) =
            own.fold((0, 0), |(kills, forks), e| (e.oom_kills.max(kills), e.pids_refused.max(forks)));
        (oom_kills + pids_refused > 0).then_some(Ended { code: None, oom_kills, pids_refused, account: None })
    }
}
