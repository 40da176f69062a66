//! A container's directory: `ROOT/ID/state.json`, `ROOT/ID/pid` and the lock.
//!
//! Safe against two callers at once and against a runtime killed at any moment: `mkdir` takes the
//! name, files are replaced by rename, a lock on the directory is held by the process that changes the
//! container, and everything that must be undone is on disk before it is done.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result, StateError};
use crate::state::trust::{check_owner, is_others};
use crate::state::{NOT_IN_IDS, State, check_id, directory_id, files, parse_pid, recorded_cgroups};
use crate::sys::cstr::cpath;
use crate::sys::process::alive;
use crate::sys::replace::{ReplaceMode, replace_path};
use crate::sys::{Errno, fs};

/// The statuses of runtime.md, and runc's `paused`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum ContainerStatus {
    Creating,
    Created,
    Running,
    Paused,
    Stopped,
}

impl ContainerStatus {
    /// As `state` prints it.
    pub fn name(self) -> &'static str {
        match self {
            ContainerStatus::Creating => "creating",
            ContainerStatus::Created => "created",
            ContainerStatus::Running => "running",
            ContainerStatus::Paused => "paused",
            ContainerStatus::Stopped => "stopped",
        }
    }
}

impl std::fmt::Display for ContainerStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

/// A container's directory.
#[derive(Debug, Clone)]
pub struct Container {
    /// `ROOT/ID`.
    pub dir: PathBuf,
    /// What is on disk; `None` where the runtime died before it was written.
    pub state: Option<State>,
    /// The id.
    pub id: String,
    /// Its missing cgroups: never created, removed, or created again by another process.
    pub lost_cgroups: Vec<PathBuf>,
}

impl Container {
    /// The container `id` below `root`.
    pub fn load(root: &Path, id: &str) -> Result<Self> {
        Self::load_with(root, id, |_| true)
    }

    /// The same with the `wanted` ones among its cgroups, by their controllers: each is looked at.
    fn load_with(root: &Path, id: &str, wanted: fn(&[String]) -> bool) -> Result<Self> {
        check_id(id)?;
        let dir = root.join(id);
        // What is believed here runs programs, signals processes and removes directories.
        check_owner(&dir, id)?;
        let raw = match std::fs::read(dir.join(files::STATE)) {
            Ok(raw) => Some(raw),
            // Its root is a file: that is not the container's absence.
            Err(e) if e.kind() == std::io::ErrorKind::NotADirectory => {
                return Err(Error::msg(format!("open {}: not a directory", dir.display())));
            }
            Err(_) if is_incomplete(&dir) => None,
            Err(_) => return Err(StateError::NotFound.into()),
        };
        let mut state = raw
            .map(|raw| {
                serde_json::from_slice::<State>(&raw)
                    .map_err(|e| Error::msg(format!("{}: {e}", dir.join(files::STATE).display())))
            })
            .transpose()?;
        let mut lost_cgroups = Vec::new();
        if let Some(state) = &mut state {
            let known = recorded_cgroups(&dir);
            let own = |path: &Path| directory_id(path).is_some_and(|id| known.iter().any(|(k, _)| *k == id));
            let mut all = std::mem::take(&mut state.cgroups);
            all.retain(|(controllers, _)| wanted(controllers));
            lost_cgroups = all.iter().map(|(_, path)| path).filter(|path| !own(path)).cloned().collect();
            state.cgroups = all.into_iter().filter(|(_, path)| !lost_cgroups.contains(path)).collect();
        }
        Ok(Container { dir, state, id: id.into(), lost_cgroups })
    }

    /// What is on disk, or an error where `create` was killed before it could be written.
    pub fn state(&self) -> Result<&State> {
        self.state.as_ref().ok_or_else(|| {
            Error::msg(format!(
                "container {} was never completely created; remove it with delete --force",
                self.id
            ))
        })
    }

    /// Replaces what is on disk, whole or not at all; the caller holds the lock.
    pub fn save(&self, state: &State) -> Result<()> {
        let (temp, file) = (self.dir.join(files::TEMP), self.dir.join(files::STATE));
        let failed = |e: std::io::Error| Error::msg(format!("{}: {e}", file.display()));
        let bytes = serde_json::to_vec(state).map_err(|e| Error::msg(format!("state: {e}")))?;
        // Whatever the caller's umask: a state that others can write is not believed.
        replace_path(&temp, &file, &bytes, ReplaceMode::PRIVATE).map_err(failed)
    }

    /// The recorded process, if one was recorded: (pid, start time).
    pub fn recorded(&self) -> Option<(i32, u64)> {
        parse_pid(&crate::sys::read::value(self.dir.join(files::PID)).ok()?)
    }

    /// The container process while it lives: the pid is ours only if the start time still matches.
    pub fn process(&self) -> Option<i32> {
        self.process_id().map(|(pid, _)| pid)
    }

    /// The same with its start time, for a caller that opens it later.
    pub fn process_id(&self) -> Option<(i32, u64)> {
        self.recorded().filter(|(pid, start)| alive(*pid, *start))
    }

    /// The status, read from the system, never from what was once written.
    pub fn status(&self) -> ContainerStatus {
        self.status_and_process().0
    }

    /// The same, and the container process while it lives.
    pub fn status_and_process(&self) -> (ContainerStatus, Option<i32>) {
        let Some((pid, start)) = self.recorded() else {
            // No process yet: being created as long as a process holds the lock.
            return (if self.locked() { ContainerStatus::Creating } else { ContainerStatus::Stopped }, None);
        };
        if !alive(pid, start) {
            return (ContainerStatus::Stopped, None);
        }
        let exists = |file| self.dir.join(file).exists();
        let status = match (exists(files::START_NEW), self.frozen()) {
            (true, _) => ContainerStatus::Creating,
            (false, true) => ContainerStatus::Paused,
            (false, false) if exists(files::START) => ContainerStatus::Created,
            (false, false) => ContainerStatus::Running,
        };
        (status, Some(pid))
    }

    /// Whether its cgroup is frozen.
    pub fn frozen(&self) -> bool {
        let frozen = |(controllers, path): &(Vec<String>, PathBuf)| {
            can_freeze(controllers) && crate::cgroup::ops::frozen_in(path, controllers.is_empty())
        };
        self.state.as_ref().is_some_and(|s| s.cgroups.iter().any(frozen))
    }

    /// Whether another process changes it at this moment.
    pub fn locked(&self) -> bool {
        open_dir(&self.dir).is_ok_and(|fd| fs::try_lock_shared(fd.as_raw_fd()).is_err())
    }

    /// Waits for, and takes, the right to change this container; released on drop. A process that removed the
    /// container meanwhile leaves nothing to lock.
    pub fn lock(&self) -> Result<OwnedFd> {
        let fd = open_dir(&self.dir).map_err(|_| StateError::NotFound)?;
        fs::lock(fd.as_raw_fd()).map_err(|e| Error::os("flock", self.dir.display(), e))?;
        // Another process removed it meanwhile; a directory with the same name is that of another container.
        let there = fs::is_at(fd.as_raw_fd(), &cpath(&self.dir)?);
        if there { Ok(fd) } else { Err(StateError::NotFound.into()) }
    }
}

/// Whether `dir` can be what a create left that died before it wrote its state: there is nothing in it that no
/// create makes. Other directories below the state root are not containers, and are not removed.
fn is_incomplete(dir: &Path) -> bool {
    let Ok(mut entries) = std::fs::read_dir(dir) else { return false };
    entries.all(|e| e.is_ok_and(|e| e.file_name().to_str().is_some_and(|name| files::ALL.contains(&name))))
}

fn open_dir(dir: &Path) -> std::result::Result<OwnedFd, Errno> {
    let path = cpath(dir).map_err(|_| Errno::EINVAL)?;
    fs::openat(libc::AT_FDCWD, &path, libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW, 0).map(fs::own)
}

/// Whether a tree of these controllers (none: cgroup v2) can freeze: of those of v1 one does.
pub(super) fn can_freeze<S: AsRef<str>>(controllers: &[S]) -> bool {
    controllers.is_empty() || controllers.iter().any(|name| name.as_ref() == "freezer")
}

/// What `show` says of every container below `root`, by name; then why each of those that others may have made is left
/// out. Of the containers' cgroups only those are there that tell whether one is frozen; and one container at a time.
pub fn all<T>(root: &Path, show: impl FnMut(&Container) -> T) -> (Vec<T>, Vec<Error>) {
    all_with(root, |_| None, show)
}

/// The same; a container that `short` knows what to show of is not loaded.
pub(super) fn all_with<T>(
    root: &Path,
    mut short: impl FnMut(&str) -> Option<T>,
    mut show: impl FnMut(&Container) -> T,
) -> (Vec<T>, Vec<Error>) {
    let name = |entry: std::fs::DirEntry| entry.file_name().into_string().ok();
    let entries = std::fs::read_dir(root).into_iter().flatten().flatten();
    let mut ids: Vec<String> = entries.filter_map(name).filter(|id| check_id(id).is_ok()).collect();
    ids.sort();
    let (mut shown, mut left_out) = (Vec::new(), Vec::new());
    for id in ids {
        if let Some(known) = short(&id) {
            shown.push(known);
            continue;
        }
        match Container::load_with(root, &id, can_freeze) {
            Ok(container) => shown.push(show(&container)),
            Err(why) if is_others(&root.join(&id)) => left_out.push(why),
            // Whatever else lies there is no container.
            Err(_) => {}
        }
    }
    (shown, left_out)
}

/// Removes what a create that was killed in its first row left of the name `id`.
pub fn remove_incomplete(root: &Path, id: &str) {
    let Ok(entries) = std::fs::read_dir(root) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some((of, pid)) = name.to_str().and_then(|n| n.split_once(NOT_IN_IDS)) else { continue };
        // Its maker may not have opened and locked it yet.
        let alive = Path::new("/proc").join(pid).exists();
        if of == id && !alive {
            std::fs::remove_dir(entry.path()).unwrap_or_default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who waited for the lock of a container that is gone by then has not got that of the next one.
    #[test]
    fn the_lock_of_a_removed_container_is_not_the_next_one_s() {
        for remade in [false, true] {
            let root = tempfile::tempdir().unwrap();
            let dir = root.path().join("c");
            std::fs::create_dir(&dir).unwrap();
            let held = open_dir(&dir).unwrap();
            fs::lock(held.as_raw_fd()).unwrap();
            let inode = fs::fstatat(held.as_raw_fd(), c"").unwrap().st_ino;
            let waits = Container { id: "c".into(), dir: dir.clone(), state: None, lost_cgroups: Vec::new() };
            let waiter = std::thread::spawn(move || waits.lock().map(drop));
            // proc_locks(5): `1: -> FLOCK ADVISORY WRITE pid major:minor:inode 0 EOF`.
            let blocked = || {
                let locks = std::fs::read_to_string("/proc/locks").unwrap();
                locks.lines().any(|l| l.contains("-> FLOCK") && l.contains(&format!(":{inode} ")))
            };
            while !blocked() && !waiter.is_finished() {
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            // Not removed: its inode's number must stay taken.
            std::fs::rename(&dir, root.path().join("gone")).unwrap();
            if remade {
                std::fs::create_dir(&dir).unwrap();
            }
            drop(held);
            let got = waiter.join().unwrap();
            assert!(matches!(got, Err(Error::State(StateError::NotFound))), "made anew: {remade}: {got:?}");
        }
    }
}
