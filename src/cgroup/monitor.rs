//! The last values of a cgroup's event files, kept for when the cgroup is gone: systemd removes a scope as soon as its last
//! process has ended, which may be before the launcher learns of that end.
//!
//! So the launcher looks whenever the files change, and once more at the end. If the scope is gone by then, a
//! kill for lack of memory is still known: on v1 from the notices, which come before the kill (and once more
//! after the cgroup's end); on v2 from the count of the slice, which holds that of all its scopes (cgroup-v2,
//! `memory.events`).

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::ops::{CgroupEvents, events, events_of};
use super::{Cgroup, Layout, has};
use crate::error::{Error, Result};
use crate::sys::{process, watch};

/// How long the notification of a v1 cgroup's end may take: the kernel does that from a work queue.
const END: Duration = Duration::from_millis(500);

/// A descriptor that becomes readable when a cgroup's memory events change.
pub struct MemoryWatch {
    fd: OwnedFd,
    /// v1 watches the file for as long as this is open.
    _control: Option<std::fs::File>,
}

impl MemoryWatch {
    /// Watches `cgroup`, a v2 one or one in the v1 tree of the memory controller.
    pub fn of(cgroup: &Path, on_v2: bool) -> Result<Self> {
        let file = cgroup.join(if on_v2 { "memory.events" } else { "memory.oom_control" });
        let failed = |e| Error::os("watch", file.display(), e);
        if on_v2 {
            let path = crate::sys::cstr::cpath(&file)?;
            return Ok(MemoryWatch { fd: watch::modified(&path).map_err(failed)?, _control: None });
        }
        // cgroup v1, memory.txt 9: an eventfd and the file's descriptor are written to cgroup.event_control.
        let control =
            std::fs::File::open(&file).map_err(|e| Error::msg(format!("{}: {e}", file.display())))?;
        let fd = watch::eventfd().map_err(failed)?;
        let line = format!("{} {}", fd.as_raw_fd(), control.as_raw_fd());
        let register = cgroup.join("cgroup.event_control");
        std::fs::write(&register, line).map_err(|e| Error::msg(format!("{}: {e}", register.display())))?;
        Ok(MemoryWatch { fd, _control: Some(control) })
    }

    /// What is polled.
    pub fn fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

/// Looks at the cgroups of a container while they are there.
pub struct CgroupMonitor {
    /// Those whose tree counts something: path, controllers, and what was counted before: a cgroup that was there may
    /// have served another container.
    cgroups: Vec<(PathBuf, Vec<String>, CgroupEvents)>,
    memory: Option<PathBuf>,
    on_v2: bool,
    /// Other cgroups than a scope's stay until the launcher removes them.
    scoped: bool,
    watch: Option<MemoryWatch>,
    /// The slice of a v2 scope, and what it counted before the container was there.
    slice: Option<(PathBuf, u64)>,
    seen: CgroupEvents,
    /// v1: number of notifications.
    notifications: u64,
    /// There was an event: on v2 the file has changed, on v1 a notification came while the cgroup existed.
    changed: bool,
}

impl CgroupMonitor {
    /// For the cgroups that are about to be made.
    pub fn of(layout: &Layout, on_v2: bool) -> Self {
        let memory = |g: &&Cgroup| on_v2 || has(&g.controllers, "memory");
        let before =
            |g: &Cgroup| if g.exists { events_of(&g.path, &g.controllers) } else { CgroupEvents::default() };
        let counts = |g: &&Cgroup| {
            g.controllers.is_empty() || ["memory", "pids"].iter().any(|c| has(&g.controllers, c))
        };
        let cgroups = layout.cgroups.iter().filter(counts);
        let slice = layout.scope.as_ref().filter(|_| on_v2).and_then(|s| s.scope.cgroup.parent());
        CgroupMonitor {
            cgroups: cgroups.map(|g| (g.path.clone(), g.controllers.clone(), before(g))).collect(),
            memory: layout.cgroups.iter().find(memory).map(|g| g.path.clone()),
            on_v2,
            scoped: layout.scope.is_some(),
            watch: None,
            slice: slice.map(|path| (path.to_path_buf(), events(path).oom_kills)),
            seen: CgroupEvents::default(),
            notifications: 0,
            changed: false,
        }
    }

    /// Begins as soon as there is a cgroup; to be called before the container's program starts.
    pub fn watch(&mut self) {
        if self.scoped && self.watch.is_none() {
            self.watch = self.memory.as_ref().and_then(|path| MemoryWatch::of(path, self.on_v2).ok());
        }
    }

    /// What is polled; -1 where nothing is watched.
    pub fn fd(&self) -> RawFd {
        self.watch.as_ref().map_or(-1, MemoryWatch::fd)
    }

    /// The container's process has ended: a scope may go at any moment. Other cgroups are looked at by
    /// [`CgroupMonitor::events`].
    pub fn ended(&mut self) {
        if self.scoped {
            self.look();
        }
    }

    /// Reads what there is.
    pub fn look(&mut self) {
        match &self.watch {
            Some(notice) if self.on_v2 => self.changed |= watch::was_modified(notice.fd()),
            Some(notice) => {
                self.notifications += watch::drain(notice.fd());
                self.changed |= self.notifications > 0 && !self.gone();
            }
            None => {}
        }
        for (cgroup, controllers, before) in &self.cgroups {
            let now = events_of(cgroup, controllers);
            let (kills, refused) = (&mut self.seen.oom_kills, &mut self.seen.pids_refused);
            *kills = (*kills).max(now.oom_kills.saturating_sub(before.oom_kills));
            *refused = (*refused).max(now.pids_refused.saturating_sub(before.pids_refused));
        }
    }

    fn gone(&self) -> bool {
        self.memory.as_ref().is_some_and(|path| !path.exists())
    }

    /// What was refused in all; `killed`: the container's process was ended by SIGKILL.
    pub fn events(&mut self, killed: bool) -> CgroupEvents {
        self.look();
        if killed && self.seen.oom_kills == 0 && self.gone() {
            self.seen.oom_kills = u64::from(match &self.slice {
                // What cannot be watched may have changed.
                Some((slice, before)) => {
                    (self.changed || self.watch.is_none()) && events(slice).oom_kills > *before
                }
                None => self.changed || self.notified_before_removal(),
            });
        }
        self.seen
    }

    /// v1, after the removal of the cgroup: whether a notification other than that of the removal came.
    fn notified_before_removal(&mut self) -> bool {
        if self.notifications == 1 && process::poll_in_for([self.fd()], END).is_ok_and(|[more]| more) {
            self.notifications += watch::drain(self.fd());
        }
        self.notifications > 1
    }
}
