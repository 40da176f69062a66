//! Taking a container back: the undos of its rows, in reverse. Used by a create that failed, by
//! `delete`, and by the guardian of a launcher that died. Each undo may find its work done already.

use std::fmt::Display;
use std::os::fd::RawFd;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::cgroup::{ops, tree};
use crate::host::OutputFile;
use crate::plan::Undo;
use crate::state::{directory_id, launcher_mark, recorded_cgroups};
use crate::sys::process::{self, ProcessExit};
use crate::sys::{Errno, fs};

/// What undoing found.
#[derive(Debug, Clone, Default)]
pub struct Undone {
    /// How the container process ended, where it was this process's child.
    pub exit: Option<ProcessExit>,
    /// What could not be undone, in words.
    pub problems: Vec<String>,
    /// Processes of a launch that failed which were killed for lack of memory before all this.
    pub oom_kills: u64,
}

impl Undone {
    /// Keeps the words of an undo that failed.
    fn failed(&mut self, result: Result<(), impl Display>, what: impl FnOnce() -> String) {
        if let Err(e) = result {
            self.problems.push(format!("{}: {e}", what()));
        }
    }
}

/// The undos that are the container's whose directory is `dir`. A runtime that died may have recorded a cgroup that
/// it never created, or another process may have created it since: those processes must not be killed.
pub fn own(undos: &[Undo], dir: &Path) -> Vec<Undo> {
    let known = recorded_cgroups(dir);
    let made = |path: &Path| directory_id(path).is_some_and(|id| known.contains(&(id, true)));
    let used = |path: &Path| directory_id(path).is_some_and(|id| known.iter().any(|(k, _)| *k == id));
    let own = |undo: &Undo| match undo {
        // It was gone when it was to be joined.
        Undo::Cgroup(path) | Undo::Members(path) if made(Path::new(path)) => Some(Undo::Cgroup(path.clone())),
        Undo::Members(path) => used(Path::new(path)).then(|| undo.clone()),
        Undo::Cgroup(_) => None,
        Undo::Scope(scope) => (made(&scope.cgroup) || !scope.cgroup.exists()).then(|| undo.clone()),
        _ => Some(undo.clone()),
    };
    undos.iter().filter_map(own).collect()
}

/// Replays `undos` in reverse. `child` is the container process as (pid, pidfd), if there is one;
/// `ours` says that it is this process's child and must be waited for.
pub fn undo(undos: &[Undo], child: Option<(i32, RawFd)>, ours: bool) -> Undone {
    undo_within(undos, child, ours, ops::PATIENCE)
}

/// The same, with so much time for what does not go at once.
pub fn undo_within(undos: &[Undo], child: Option<(i32, RawFd)>, ours: bool, patience: Duration) -> Undone {
    let mut done = Undone::default();
    let end = Instant::now() + patience;
    let mut thawed = false;
    for undo in undos.iter().rev() {
        match undo {
            Undo::Kill => {
                let Some((pid, pidfd)) = child.filter(|(pid, _)| *pid != 0) else { continue };
                // Gone already is what is wanted.
                process::pidfd_kill(pidfd, libc::SIGKILL).unwrap_or_default();
                if ours {
                    done.exit = reap_until(pid);
                }
            }
            Undo::Scope(scope) => {
                if ours {
                    done.oom_kills += ops::events(&scope.cgroup).oom_kills;
                }
                let stopped = crate::cgroup::systemd::stop(scope);
                done.failed(stopped, || format!("scope {} cannot be stopped", scope.unit));
            }
            Undo::Cgroup(path) => {
                let path = Path::new(path);
                if ours {
                    done.oom_kills += ops::events(path).oom_kills;
                }
                let mut thaw_once = || {
                    if !std::mem::replace(&mut thawed, true) {
                        thaw(undos)
                    }
                };
                let removed = remove_cgroup(path, end, &mut thaw_once);
                done.failed(removed, || format!("cgroup {} cannot be removed", path.display()));
            }
            Undo::Layers(path) => {
                let removed = crate::state::layers::remove_unused(Path::new(path));
                done.failed(removed, || format!("layers {path} cannot be removed"));
            }
            Undo::Members(path) => ops::kill_all(Path::new(path)),
            Undo::Class(path) => {
                let removed = if ours { ops::remove(Path::new(path), end) } else { Ok(()) };
                done.failed(removed, || format!("class of service {path} cannot be removed"));
            }
            Undo::Outputs { files, given } => files.iter().for_each(|file| give_back(file, *given)),
            // Done by `launch::netdev::bring_back`, which holds the namespace, where it is to be done at all.
            Undo::NetDevice { .. } => {}
            // It ends with its launcher, or with the container.
            Undo::Helper => {}
            Undo::Pasta(file) => crate::perform::pasta::end(Path::new(file)),
            Undo::Cni(file) => done.problems.extend(crate::network::cni::take_back(Path::new(file))),
            // What is left must have a name, so that `delete` can be called again.
            Undo::Namespace(_) | Undo::StateDir(_) if !done.problems.is_empty() => {}
            Undo::Namespace(path) | Undo::StateDir(path) | Undo::Ids(path) => {
                done.problems.extend(remove(undo, path));
            }
        }
    }
    done
}

/// Removes a file or directory of the container's; what failed, in words.
fn remove(undo: &Undo, path: &str) -> Option<String> {
    let file = Path::new(path);
    match undo {
        Undo::Namespace(_) => crate::perform::cni::let_go(file)
            .err()
            .map(|e| format!("network namespace {path} cannot be let go: {e}")),
        Undo::StateDir(_) => {
            remove_state(file).err().map(|e| format!("state directory {path} cannot be removed: {e}"))
        }
        _ => std::fs::remove_file(file)
            .or_else(gone)
            .err()
            .map(|e| format!("range of ids {path} cannot be released: {e}")),
    }
}

/// Removes a cgroup. One that has processes may be frozen, which keeps them from dying.
fn remove_cgroup(path: &Path, end: Instant, thaw: &mut dyn FnMut()) -> Result<(), Errno> {
    let removed = match tree::remove(path) {
        Err(Errno::EBUSY) => {
            thaw();
            ops::remove(path, end)
        }
        removed => removed,
    };
    removed.or_else(|e| if e == Errno::ENOENT { Ok(()) } else { Err(e) })
}

/// Makes an output file its owner's again, if this is still the file and the container's user still has it. chown(2)
/// takes set-id bits away that this user may have set.
fn give_back(file: &OutputFile, given: u32) {
    let Ok(path) = std::ffi::CString::new(file.path.as_str()) else { return };
    // Not opened for anything: another file may have the name by now.
    let Ok(fd) = fs::openat(libc::AT_FDCWD, &path, libc::O_PATH | libc::O_NOFOLLOW, 0) else { return };
    let fd = fs::own(fd);
    let fd = std::os::fd::AsRawFd::as_raw_fd(&fd);
    let same = |st: &libc::stat| (st.st_dev, st.st_ino) == file.id && st.st_uid == given;
    if !fs::fstatat(fd, c"").is_ok_and(|st| same(&st)) {
        return;
    }
    if let Err(e) = fs::fchownat(fd, c"", file.uid, u32::MAX) {
        let errno = crate::tables::errno::text(e as i32);
        crate::log::say(&format!("warning: {} cannot be returned to uid {}: {errno}", file.path, file.uid));
    }
}

/// What is gone already is as it should be.
fn gone(e: std::io::Error) -> std::io::Result<()> {
    if e.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(e) }
}

/// Frozen processes do not die, and on v1 they hold cgroups of all trees: thaws what the container may have frozen.
fn thaw(undos: &[Undo]) {
    for undo in undos {
        if let Undo::Cgroup(path) | Undo::Members(path) = undo {
            // A failure shows when the cgroup is removed.
            tree::thaw(Path::new(path)).unwrap_or_default();
        }
    }
}

/// Waits for `pid`, and for what else ends meanwhile: the first process of a pid namespace is not gone before
/// all others of the namespace are buried, and some of them (a hook's) may have come to this process.
fn reap_until(pid: i32) -> Option<ProcessExit> {
    loop {
        match process::wait(-1, 0) {
            Ok(Some((ended, exit))) if ended == pid => return Some(exit),
            Ok(Some(_)) => {}
            _ => return None,
        }
    }
}

/// Removes a container's directory: the files that are ours, then the directory.
pub fn remove_state(dir: &Path) -> Result<(), Errno> {
    let path = crate::sys::cstr::cpath(dir).map_err(|_| Errno::EINVAL)?;
    let fd = match fs::openat(libc::AT_FDCWD, &path, libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW, 0)
    {
        Ok(fd) => fs::own(fd),
        Err(Errno::ENOENT) => return Ok(()),
        Err(e) => return Err(e),
    };
    let fd = std::os::fd::AsRawFd::as_raw_fd(&fd);
    let entries = std::fs::read_dir(dir).map_err(crate::sys::errno)?;
    for entry in entries.flatten() {
        let Ok(name) = std::ffi::CString::new(entry.file_name().into_encoded_bytes()) else { continue };
        match fs::unlinkat(fd, &name, 0) {
            Ok(()) | Err(Errno::ENOENT) => {}
            // The notify socket's directory.
            Err(Errno::EISDIR) => std::fs::remove_dir_all(entry.path()).map_err(crate::sys::errno)?,
            Err(e) => return Err(e),
        }
    }
    // As long as the directory is there, no other container can have the name, and the mark is this one's.
    let mark = crate::sys::cstr::cpath(&launcher_mark(dir)).map_err(|_| Errno::EINVAL)?;
    let gone = |removed| if removed == Err(Errno::ENOENT) { Ok(()) } else { removed };
    gone(fs::unlinkat(libc::AT_FDCWD, &mark, 0))?;
    gone(fs::unlinkat(libc::AT_FDCWD, &path, libc::AT_REMOVEDIR))
}
