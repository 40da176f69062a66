//! Containers' state on disk: `ROOT/ID/state.json` and `ROOT/ID/pid`.
//!
//! Safe against two callers at once and against a runtime killed at any moment: `mkdir` takes the
//! name, files are replaced by rename, a lock on the directory is held by whoever changes the
//! container, and everything that must be undone is on disk before it is done.

mod trust;

use std::collections::BTreeMap;
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::config::{Hooks, MemoryPolicy, Process, Resources};
use crate::error::{Error, Result, StateError};
use crate::plan::Undo;
use crate::plan::lower::cpath;
use crate::sys::{Errno, fs};
use trust::check_owner;
pub use trust::{check_root, is_mine, make_root};

/// `state.json`: all that later verbs need, since their callers repeat nothing (CONTRACT, point 5).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// `ociVersion` of the config.
    pub oci_version: String,
    /// Container id.
    pub id: String,
    /// Absolute path of the bundle.
    pub bundle: PathBuf,
    /// Absolute path of the rootfs, as shown by `state`; later verbs never open it.
    pub rootfs: PathBuf,
    /// When it was created, RFC 3339 with nanoseconds.
    pub created: String,
    /// The config's annotations.
    pub annotations: BTreeMap<String, String>,
    /// Name of the user who created it.
    pub owner: String,
    /// What takes the container back: the undos of the plan's rows, in their order. The plan fills it in.
    pub undo: Vec<Undo>,
    /// cgroups among [`State::cgroups`] that existed before the container.
    #[serde(default)]
    pub preexisting: Vec<PathBuf>,
    /// The container's cgroups: (controllers, path); no controllers for a v2 group. On disk are those that it
    /// was to have; [`Container::load`] keeps those that it has made and that are still the same directories.
    pub cgroups: Vec<(Vec<String>, PathBuf)>,
    /// The scope, where systemd made the cgroups.
    #[serde(default)]
    pub scope: Option<crate::cgroup::systemd::Scope>,
    /// Whether the host is pure cgroup v2.
    pub cgroup_v2: bool,
    /// The limits as they were last set: what `update` changes.
    pub resources: Resources,
    /// `linux.personality`, which a process of `exec` gets too.
    pub personality: Option<u64>,
    /// `linux.memoryPolicy`, which a process of `exec` gets too.
    pub memory_policy: Option<MemoryPolicy>,
    /// The resctrl directories whose `tasks` every process of the container is in.
    pub resctrl: Vec<PathBuf>,
    /// The process as it was configured, after hardening: what `exec` starts from.
    pub process: Process,
    /// Namespaces that `exec` joins, as `CLONE_NEW*` flags.
    pub namespaces: u64,
    /// Whether its pid namespace is its own: all its processes end with the first.
    #[serde(default)]
    pub own_pid_namespace: bool,
    /// Whether a process inside could own files of the host's root: the runtime then seals its binary.
    pub shares_host_root: bool,
    /// Any policy but `privileged`: `exec` keeps the caller's descriptors outside, too.
    #[serde(default)]
    pub hardened: bool,
    /// There is a devpts at /dev/pts, so that `exec` can make a terminal.
    #[serde(default)]
    pub has_devpts: bool,
    /// The seccomp filters of the process: what `exec` loads again.
    pub seccomp: Vec<SeccompChoice>,
    /// The config's hooks.
    pub hooks: Hooks,
    /// `run` in the foreground: (pid, start time) of the launcher, without which the container is a leftover.
    pub launcher: Option<(i32, u64)>,
    /// What `checkpoint` must leave to the host.
    #[serde(default)]
    pub outside: crate::criu::outside::Outside,
}

/// Which filter a process gets.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SeccompChoice {
    /// The built-in profile, opened for these capabilities.
    BuiltIn {
        /// Bounding set.
        caps: u64,
        /// System calls that run whatever the table says (`--seccomp-allow`).
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        allow: Vec<String>,
    },
    /// The config's own.
    Profile(Box<crate::config::LinuxSeccomp>),
}

impl SeccompChoice {
    /// The config's profile, if this is one.
    pub fn profile(&self) -> Option<&crate::config::LinuxSeccomp> {
        match self {
            SeccompChoice::BuiltIn { .. } => None,
            SeccompChoice::Profile(profile) => Some(profile),
        }
    }
}

/// The statuses of runtime.md, and runc's `paused`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Status {
    Creating,
    Created,
    Running,
    Paused,
    Stopped,
}

impl Status {
    /// As `state` prints it.
    pub fn name(self) -> &'static str {
        match self {
            Status::Creating => "creating",
            Status::Created => "created",
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Stopped => "stopped",
        }
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

/// Names of the files in a container's directory.
pub mod files {
    /// [`crate::ended::Ended`]; only where the container was kept.
    pub const ENDED: &str = "ended.json";
    /// [`super::State`].
    pub const STATE: &str = "state.json";
    /// `PID START`: the container process and its start time in clock ticks since boot.
    pub const PID: &str = "pid";
    /// The FIFO that `start` writes to; it has this name once the container is created.
    pub const START: &str = "start.fifo";
    /// The same FIFO while the container is being created.
    pub const START_NEW: &str = "start.new";
    /// The FIFO on which Init reports a row that failed after `start`.
    pub const REPORT: &str = "report.fifo";
    /// The socket at which Init lets its owner in while it waits, where nothing else does.
    pub const DOOR: &str = "door";
    /// The container's cgroups so far: `DEVICE INODE` of each directory, one per line; [`JOINED`] follows
    /// where it was there before.
    pub const CGROUPS: &str = "cgroups";
    /// What [`STATE`] and [`PID`] are written as before they have their names.
    pub const TEMP: &str = ".state.tmp";
    /// All of these, and the directory of the notify socket.
    pub const ALL: &[&str] = &[STATE, PID, START, START_NEW, REPORT, DOOR, CGROUPS, TEMP, crate::notify::DIR];
    /// Ends the line of a cgroup that the container joined and must not remove.
    pub const JOINED: &str = " joined";
}

/// Stands between the id and the pid in the name of a directory that is being made; no id holds it.
pub const NOT_IN_IDS: char = '~';

/// Ends the name of a symlink beside the directory of a container that a foreground `run` made; its text is
/// `PID START` of the launcher.
pub const LAUNCHER: &str = "~launcher";

/// That symlink of the container whose directory is `dir`.
pub fn launcher_mark(dir: &Path) -> PathBuf {
    let mut path = dir.as_os_str().to_owned();
    path.push(LAUNCHER);
    path.into()
}

/// Removes what a create that was killed in its first row left of the name `id`.
pub fn sweep_unborn(root: &Path, id: &str) {
    let Ok(entries) = std::fs::read_dir(root) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some((of, pid)) = name.to_str().and_then(|n| n.split_once(NOT_IN_IDS)) else { continue };
        // Whoever makes it may not have opened and locked it yet.
        let alive = Path::new("/proc").join(pid).exists();
        if of == id && !alive {
            std::fs::remove_dir(entry.path()).unwrap_or_default();
        }
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
    /// The cgroups that it was to have and has not: never made, gone, or made anew by somebody else.
    pub lost_cgroups: Vec<PathBuf>,
}

/// Checks an id: `[A-Za-z0-9_+.-]`, not `.` or `..`, at most 1024 bytes.
pub fn check_id(id: &str) -> Result<()> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_+.-".contains(&b);
    if id.is_empty() || id.len() > 1024 || id == "." || id == ".." || !id.bytes().all(allowed) {
        return Err(StateError::BadId.into());
    }
    Ok(())
}

impl Container {
    /// The container `id` below `root`.
    pub fn load(root: &Path, id: &str) -> Result<Self> {
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
            Err(_) if is_unborn(&dir) => None,
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
            let known = recorded_groups(&dir);
            let own = |path: &Path| directory_id(path).is_some_and(|id| known.iter().any(|(k, _)| *k == id));
            let all = std::mem::take(&mut state.cgroups);
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
        let open =
            std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temp);
        open.and_then(|mut file| file.write_all(&bytes)).map_err(failed)?;
        std::fs::rename(&temp, &file).map_err(failed)
    }

    /// The recorded process, if one was recorded: (pid, start time).
    pub fn recorded(&self) -> Option<(i32, u64)> {
        parse_pid(&std::fs::read_to_string(self.dir.join(files::PID)).ok()?)
    }

    /// The container process while it lives: the pid is ours only if the start time still matches.
    pub fn process(&self) -> Option<i32> {
        self.process_id().map(|(pid, _)| pid)
    }

    /// The same with its start time, for whoever opens it later.
    pub fn process_id(&self) -> Option<(i32, u64)> {
        self.recorded().filter(|(pid, start)| alive(*pid, *start))
    }

    /// The status, read from the system, never from what was once written.
    pub fn status(&self) -> Status {
        if self.recorded().is_none() {
            // No process yet: being created as long as somebody holds the lock.
            return if self.locked() { Status::Creating } else { Status::Stopped };
        }
        if self.process().is_none() {
            return Status::Stopped;
        }
        if self.dir.join(files::START_NEW).exists() {
            return Status::Creating;
        }
        let created = self.dir.join(files::START).exists();
        match (self.frozen(), created) {
            (true, _) => Status::Paused,
            (false, true) => Status::Created,
            (false, false) => Status::Running,
        }
    }

    /// Whether its cgroup is frozen.
    pub fn frozen(&self) -> bool {
        self.state
            .as_ref()
            .is_some_and(|s| s.cgroups.iter().any(|(_, path)| crate::cgroup::ops::frozen(path)))
    }

    /// Whether somebody is at work on it.
    pub fn locked(&self) -> bool {
        open_dir(&self.dir).is_ok_and(|fd| fs::try_lock_shared(fd.as_raw_fd()).is_err())
    }

    /// Waits for, and takes, the right to change this container; given back on drop. Whoever removed the
    /// container meanwhile leaves nothing to lock.
    pub fn lock(&self) -> Result<OwnedFd> {
        let fd = open_dir(&self.dir).map_err(|_| StateError::NotFound)?;
        fs::lock(fd.as_raw_fd()).map_err(|e| Error::os("flock", self.dir.display(), e))?;
        // Removed meanwhile, and perhaps made anew by another create: that is another container.
        let there = fs::is_at(fd.as_raw_fd(), &cpath(&self.dir)?);
        if there { Ok(fd) } else { Err(StateError::NotFound.into()) }
    }
}

/// Whether `dir` can be what a create left that died before it wrote its state: there is nothing in it that no
/// create makes. Whatever else lies below the state root is not a container's, and nobody's to remove.
fn is_unborn(dir: &Path) -> bool {
    let Ok(mut entries) = std::fs::read_dir(dir) else { return false };
    entries.all(|e| e.is_ok_and(|e| e.file_name().to_str().is_some_and(|name| files::ALL.contains(&name))))
}

/// The directories that a create has written down, each with whether it has made it.
pub fn recorded_groups(dir: &Path) -> Vec<((u64, u64), bool)> {
    let text = std::fs::read_to_string(dir.join(files::CGROUPS)).unwrap_or_default();
    let group = |line: &str| {
        let (pair, made) = line.strip_suffix(files::JOINED).map_or((line, true), |pair| (pair, false));
        let (dev, ino) = pair.split_once(' ')?;
        Some(((dev.parse().ok()?, ino.parse().ok()?), made))
    };
    text.lines().filter_map(group).collect()
}

/// What tells a directory from another of the same name.
pub fn directory_id(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    path.symlink_metadata().ok().map(|m| (m.dev(), m.ino()))
}

fn open_dir(dir: &Path) -> std::result::Result<OwnedFd, Errno> {
    let path = cpath(dir).map_err(|_| Errno::EINVAL)?;
    fs::openat(libc::AT_FDCWD, &path, libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW, 0).map(fs::own)
}

/// Every container below `root`, by name; then why each of those that others may have made is left out.
pub fn all(root: &Path) -> (Vec<Container>, Vec<Error>) {
    let (mut found, mut left_out) = (Vec::new(), Vec::new());
    for entry in std::fs::read_dir(root).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(id) = name.to_str().filter(|id| check_id(id).is_ok()) else { continue };
        match Container::load(root, id) {
            Ok(container) => found.push(container),
            Err(why) if trust::is_others(&root.join(id)) => left_out.push(why),
            // Whatever else lies there is no container.
            Err(_) => {}
        }
    }
    found.sort_by(|a, b| a.id.cmp(&b.id));
    (found, left_out)
}

/// `PID START`, as [`files::PID`] and a [`launcher_mark`] hold it.
pub fn parse_pid(text: &str) -> Option<(i32, u64)> {
    let (pid, start) = text.trim_end().split_once(' ')?;
    Some((pid.parse().ok()?, start.parse().ok()?))
}

/// Start time of a process in clock ticks since boot (proc_pid_stat(5), field 22).
pub fn start_time(pid: i32) -> std::result::Result<u64, Errno> {
    stat_fields(pid).map(|(_, start)| start)
}

/// Whether `pid` is still the process that started at `start`, and not a zombie.
pub fn alive(pid: i32, start: u64) -> bool {
    stat_fields(pid).is_ok_and(|(state, s)| s == start && !matches!(state, b'Z' | b'X'))
}

/// (state, start time) from `/proc/PID/stat`; the name in parentheses may hold anything.
fn stat_fields(pid: i32) -> std::result::Result<(u8, u64), Errno> {
    let path = std::ffi::CString::new(format!("/proc/{pid}/stat")).map_err(|_| Errno::EINVAL)?;
    let fd = fs::openat(libc::AT_FDCWD, &path, libc::O_RDONLY, 0)?;
    let mut buf = [0u8; 1024];
    let n = fs::read(fd, &mut buf);
    fs::close(fd);
    let text = &buf[..n?];
    let after = text.iter().rposition(|b| *b == b')').ok_or(Errno::EPROTO)?;
    let mut fields = text[after + 1..].split(|b| *b == b' ').filter(|f| !f.is_empty());
    let state = fields.next().and_then(|f| f.first().copied()).ok_or(Errno::EPROTO)?;
    let start =
        fields.nth(18).and_then(|f| std::str::from_utf8(f).ok()?.parse().ok()).ok_or(Errno::EPROTO)?;
    Ok((state, start))
}

/// Now, as RFC 3339 in UTC with nanoseconds, like Go's `time.RFC3339Nano`.
pub fn now() -> String {
    let t = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let (days, seconds) = (t.as_secs() / 86_400, t.as_secs() % 86_400);
    let (year, month, day) = civil(days as i64);
    let clock = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{clock}.{:09}Z", t.subsec_nanos())
}

/// Days since 1970-01-01 as a date (Hinnant's `civil_from_days`).
fn civil(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (yoe + era * 400 + i64::from(month <= 2), month, doy - (153 * mp + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_could_leave_the_directory_are_refused() {
        for bad in ["", ".", "..", "a/b", "/a", "a b", "ä", "a\n", &"x".repeat(1025)] {
            assert!(check_id(bad).is_err(), "{bad:?}");
        }
        for good in ["a", "A_1+2.3-4", "..a", &"x".repeat(1024)] {
            assert!(check_id(good).is_ok(), "{good:?}");
        }
    }

    #[test]
    fn dates_are_the_calendar_s() {
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!(civil(11_016), (2000, 2, 29));
        assert_eq!(civil(20_779), (2026, 11, 22));
    }

    #[test]
    fn a_pid_counts_only_with_its_start_time() {
        let me = std::process::id() as i32;
        let start = start_time(me).unwrap();
        assert!(alive(me, start));
        assert!(!alive(me, start + 1));
    }

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
