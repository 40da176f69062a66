//! What the watcher sees of containers from outside: ends, kills for lack of memory, directories that come and go.

use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::event::{EventSource, TrailEvent, event};
use super::spool::{LOST, Spool};
use crate::cgroup::monitor::MemoryWatch;
use crate::cgroup::ops;
use crate::error::{Error, Result};
use crate::lifecycle::container::Container;
use crate::lifecycle::processes;
use crate::state::check_id;
use crate::sys::cstr::cpath;
use crate::sys::io::Interest;
use crate::sys::process::{self, ProcessExit};
use crate::sys::watch::{self, Inotify};

/// How long the report of a verb may take to follow what is seen of it.
const GRACE: Duration = Duration::from_secs(2);
/// How long the exit code may take to be known after an end: it is once the process's parent has waited for it.
const REAPED: Duration = Duration::from_millis(500);
/// How long a launcher may take between the program's end and its report: it waits for output and hooks.
const ACCOUNT: Duration = Duration::from_secs(15);

/// Where kills for lack of memory are counted.
enum OomWatch {
    /// v2: a watch of the shared inotify instance.
    Watch(i32, PathBuf),
    /// v1: an eventfd.
    Eventfd(MemoryWatch, PathBuf),
    None,
}

/// A container that is watched.
struct WatchedContainer {
    pid: i32,
    pidfd: Option<OwnedFd>,
    /// A launcher stays with it and reports its end.
    launcher: bool,
    /// Its process has ended; when that is reported, whatever is known by then.
    ending: Option<Instant>,
    memory: OomWatch,
    kills: u64,
}

/// The containers of a state root.
pub struct Observer {
    root: PathBuf,
    inotify: Inotify,
    /// The watch of the state root.
    of_root: i32,
    known: BTreeMap<String, WatchedContainer>,
    /// Directories that came, or went, without a report so far; when that is reported.
    appeared: BTreeMap<String, Instant>,
    vanished: BTreeMap<String, Instant>,
    /// A report was lost.
    lost: bool,
}

impl Observer {
    /// Of the root whose spool this is.
    pub fn new(root: &Path, spool: &Spool) -> Result<Self> {
        let inotify = Inotify::new().map_err(|e| Error::os("inotify_init1", "", e))?;
        let add = |path: &Path, mask| {
            inotify.add(&cpath(path)?, mask).map_err(|e| Error::os("inotify_add_watch", path.display(), e))
        };
        let names = libc::IN_CREATE | libc::IN_MOVED_TO | libc::IN_DELETE | libc::IN_MOVED_FROM;
        let of_root = add(root, names | libc::IN_ONLYDIR)?;
        add(&spool.path(), libc::IN_MODIFY)?;
        let (appeared, vanished) = (BTreeMap::new(), BTreeMap::new());
        let root = root.to_path_buf();
        Ok(Observer { root, inotify, of_root, known: BTreeMap::new(), appeared, vanished, lost: false })
    }

    /// The containers that exist, as events; they are watched from here on.
    pub fn list(&mut self) -> Vec<TrailEvent> {
        let mut events = Vec::new();
        let show = |c: &Container| (c.id.clone(), c.status().name(), c.state.clone());
        let (found, left_out) = crate::lifecycle::container::all(&self.root, show);
        for (id, status, state) in found {
            let state = state.as_ref();
            let details = json!({
                "status": status,
                "bundle": state.map(|s| s.bundle.clone()),
                "created": state.map(|s| s.created.clone()),
                "owner": state.map(|s| s.owner.clone()),
            });
            events.push(event(EventSource::Observed, "exists", &id, details));
            events.extend(self.watch(&id));
            if let Some(known) = self.known.get_mut(&id).filter(|known| known.pidfd.is_none()) {
                // It says so: stopped.
                known.ending = None;
            }
        }
        for why in left_out {
            let details = json!({ "error": super::event::text(&why.to_string()) });
            events.push(event(EventSource::Observed, "refused", "", details));
        }
        events
    }

    /// Follows a container's process and memory; an event where that cannot be done.
    fn watch(&mut self, id: &str) -> Option<TrailEvent> {
        let unseen = |why: String| {
            Some(event(EventSource::Observed, "unobserved", id, json!({ "why": super::event::text(&why) })))
        };
        let container = match Container::load(&self.root, id) {
            Ok(container) => container,
            // Its launcher, or delete, was faster than this.
            Err(Error::State(_)) => return None,
            Err(e) => return unseen(e.to_string()),
        };
        let state = container.state.as_ref()?;
        let (pid, pidfd) = match processes::open(&container) {
            Some((pid, pidfd)) => (pid, Some(pidfd)),
            None => (container.recorded().map_or(0, |(pid, _)| pid), None),
        };
        if pidfd.is_none() && container.process().is_some() {
            return unseen("pidfd_open fails: are there too many open files?".into());
        }
        let launcher = state.launcher.is_some() || state.monitor.is_some();
        let cgroup = crate::cgroup::of_controller(&state.cgroups, state.cgroup_v2, "memory");
        let (memory, why) = match cgroup {
            Some(cgroup) => self.memory(cgroup, state.cgroup_v2),
            None => (OomWatch::None, None),
        };
        let kills = cgroup.map_or(0, |g| ops::events(g).oom_kills);
        let ending =
            pidfd.is_none().then(|| Instant::now() + if launcher { ACCOUNT } else { Duration::ZERO });
        self.forget(id);
        self.known.insert(id.into(), WatchedContainer { pid, pidfd, launcher, ending, memory, kills });
        why.and_then(unseen)
    }

    fn memory(&self, cgroup: &Path, on_v2: bool) -> (OomWatch, Option<String>) {
        let made = if on_v2 {
            let file = cgroup.join("memory.events");
            cpath(&file).map_err(Error::from).and_then(|path| {
                let watch = self.inotify.add(&path, libc::IN_MODIFY);
                let watch = watch.map_err(|e| Error::os("inotify_add_watch", file.display(), e))?;
                Ok(OomWatch::Watch(watch, cgroup.into()))
            })
        } else {
            MemoryWatch::of(cgroup, false).map(|watch| OomWatch::Eventfd(watch, cgroup.into()))
        };
        // A cgroup that is gone has ended with its container.
        made.map_or_else(
            |e| (OomWatch::None, cgroup.exists().then(|| e.to_string())),
            |memory| (memory, None),
        )
    }

    fn forget(&mut self, id: &str) -> Option<WatchedContainer> {
        let known = self.known.remove(id)?;
        if let OomWatch::Watch(watch, _) = known.memory {
            self.inotify.remove(watch);
        }
        Some(known)
    }

    /// Takes account of what a verb reported. The events that belong before it in the trail are returned.
    pub fn reported(&mut self, reported: &TrailEvent) -> Vec<TrailEvent> {
        let text = |key: &str| reported.get(key).and_then(Value::as_str).unwrap_or_default();
        let (name, id) = (text("event"), text("id").to_string());
        let mut before = self.kills(&id);
        match name {
            "create" | "restore" => {
                self.appeared.remove(&id);
                // A container of this name that went without a report.
                if self.vanished.remove(&id).is_some() {
                    before.extend(self.gone(&id));
                }
                before.extend(self.watch(&id));
            }
            "end" => {
                if let Some(known) = self.known.get_mut(&id) {
                    (known.pidfd, known.ending) = (None, None);
                }
            }
            "delete" => {
                self.vanished.remove(&id);
                before.extend(self.end(&id, false));
                self.forget(&id);
            }
            _ => {}
        }
        before
    }

    /// The end of a container, unless it was reported already; `due`: only if it is time.
    fn end(&mut self, id: &str, due: bool) -> Option<TrailEvent> {
        let known = self.known.get_mut(id)?;
        let ended = known.pidfd.as_ref().is_none_or(|fd| process::wait_for_exit(fd.as_raw_fd(), 0));
        let reported = known.pidfd.is_none() && known.ending.is_none();
        let early = due && known.ending.is_none_or(|at| Instant::now() < at);
        if reported || !ended || early {
            return None;
        }
        let exit = known.pidfd.as_ref().and_then(|fd| process::exit_of(fd.as_raw_fd()));
        let (code, signal) = match exit {
            Some(ProcessExit::Code(code)) => (Some(code), None),
            Some(ProcessExit::Signal(signal)) => (None, Some(signal)),
            None => (None, None),
        };
        (known.pidfd, known.ending) = (None, None);
        let details = json!({ "pid": known.pid, "exitCode": code, "signal": signal });
        Some(event(EventSource::Observed, "end", id, details))
    }

    /// A container that went without a report.
    fn gone(&mut self, id: &str) -> Vec<TrailEvent> {
        let mut events: Vec<_> = self.kills(id).into_iter().chain(self.end(id, false)).collect();
        if self.forget(id).is_some() {
            events.push(event(EventSource::Observed, "delete", id, json!({})));
        }
        events
    }

    /// New kills for lack of memory in a container's cgroup.
    fn kills(&mut self, id: &str) -> Vec<TrailEvent> {
        let Some(known) = self.known.get_mut(id) else { return Vec::new() };
        let new = match &known.memory {
            OomWatch::None => 0,
            OomWatch::Watch(_, cgroup) => {
                let now = ops::events(cgroup).oom_kills;
                let new = now.saturating_sub(known.kills);
                known.kills = known.kills.max(now);
                new
            }
            // v1 notifies before the kill is counted, and once more when the cgroup is removed.
            OomWatch::Eventfd(watch, cgroup) => {
                let reported = watch::drain(watch.fd());
                if cgroup.join("cgroup.event_control").exists() { reported } else { 0 }
            }
        };
        match new {
            0 => Vec::new(),
            new => vec![event(EventSource::Observed, "oom", id, json!({ "kills": new }))],
        }
    }

    /// What is polled, always in the same order until the next call of another method.
    pub fn interests(&self) -> Vec<Interest> {
        let mut list = vec![(self.inotify.fd(), libc::POLLIN)];
        for known in self.known.values() {
            let ended = known.ending.is_some();
            let pidfd = known.pidfd.as_ref().filter(|_| !ended).map_or(-1, AsRawFd::as_raw_fd);
            let events = match &known.memory {
                OomWatch::Eventfd(watch, _) => watch.fd(),
                _ => -1,
            };
            list.extend([(pidfd, libc::POLLIN), (events, libc::POLLIN)]);
        }
        list
    }

    /// Looks at what is ready; the events follow.
    pub fn look(&mut self) -> Vec<TrailEvent> {
        let now = Instant::now();
        self.names(now);
        let ids: Vec<String> = self.known.keys().cloned().collect();
        let mut events = Vec::new();
        for id in &ids {
            events.extend(self.kills(id));
            if let Some(known) = self.known.get_mut(id)
                && let (None, Some(pidfd)) = (known.ending, &known.pidfd)
                && process::wait_for_exit(pidfd.as_raw_fd(), 0)
            {
                known.ending = Some(now + if known.launcher { ACCOUNT } else { REAPED });
            }
            events.extend(self.end(id, true));
        }
        let due = |map: &BTreeMap<String, Instant>| -> Vec<String> {
            map.iter().filter(|(_, at)| **at <= now).map(|(id, _)| id.clone()).collect()
        };
        for id in due(&self.vanished) {
            self.vanished.remove(&id);
            events.extend(self.gone(&id));
        }
        for id in due(&self.appeared) {
            self.appeared.remove(&id);
            if !self.known.contains_key(&id)
                && Container::load(&self.root, &id).is_ok_and(|c| c.state.is_some())
            {
                events.push(event(EventSource::Observed, "create", &id, json!({})));
                events.extend(self.watch(&id));
            }
        }
        if std::mem::take(&mut self.lost) {
            events.push(event(
                EventSource::Observed,
                "lost",
                "",
                json!({ "why": "a report could not be written" }),
            ));
        }
        events
    }

    /// Reads the names that came and went in the state root.
    fn names(&mut self, now: Instant) {
        for seen in self.inotify.read() {
            if seen.mask & libc::IN_Q_OVERFLOW != 0 {
                self.compare(now);
            }
            let Some(name) = std::str::from_utf8(&seen.name).ok().filter(|_| seen.watch == self.of_root)
            else {
                continue;
            };
            self.lost |= name == LOST;
            if check_id(name).is_err() {
                continue;
            }
            let (came, went) = (libc::IN_CREATE | libc::IN_MOVED_TO, libc::IN_DELETE | libc::IN_MOVED_FROM);
            if seen.mask & came != 0 && !self.known.contains_key(name) {
                self.appeared.insert(name.into(), now + GRACE);
            }
            if seen.mask & went != 0 {
                self.appeared.remove(name);
                if self.known.contains_key(name) {
                    self.vanished.insert(name.into(), now + GRACE);
                }
            }
        }
    }

    /// Events of inotify were dropped: what exists is compared with what is known.
    fn compare(&mut self, now: Instant) {
        let (there, _) = crate::lifecycle::container::all(&self.root, |c| c.id.clone());
        for id in &there {
            if !self.known.contains_key(id) {
                self.appeared.insert(id.clone(), now + GRACE);
            }
        }
        for id in self.known.keys().filter(|id| !there.contains(id)) {
            self.vanished.insert(id.clone(), now + GRACE);
        }
        self.lost |= self.root.join(LOST).exists();
    }

    /// When [`Observer::look`] has something to tell, whatever is ready.
    pub fn due(&self) -> Option<Instant> {
        let ending = self.known.values().filter_map(|known| known.ending);
        ending.chain(self.appeared.values().copied()).chain(self.vanished.values().copied()).min()
    }
}
