//! Files of the runtime's own, and of the kernel, outside the container: written whole, or not at all.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, RawFd};

use crate::perform::at;
use crate::perform::{Call, Cx, Done};
use crate::plan::{Plan, Slot};
use crate::sys::cstr::as_path;
use crate::sys::replace::{ReplaceCall, ReplaceMode, replace};
use crate::sys::{Errno, fs, process};

/// Takes the container's name: the directory is made and locked under another one first, so that no
/// process ever finds it unlocked, and two callers cannot both believe that they made it.
pub(super) fn state_dir(cx: &mut Cx, path: &CStr, lock: &Slot) -> Done {
    let temp = join(path, format!("{}{}", crate::state::NOT_IN_IDS, process::pid()).as_bytes());
    at(cx, Call::Mkdir, fs::mkdirat(libc::AT_FDCWD, &temp, 0o700))?;
    let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW;
    let taken = at(cx, Call::Open, fs::openat(libc::AT_FDCWD, &temp, flags, 0)).and_then(|fd| {
        cx.set(lock, fd);
        at(cx, Call::Lock, fs::lock(fd))?;
        at(cx, Call::Rename, fs::rename_new(&temp, path))
    });
    taken.inspect_err(|_| fs::unlinkat(libc::AT_FDCWD, &temp, libc::AT_REMOVEDIR).unwrap_or_default())
}

/// Writes down which directory was made: the same path may be another container's, now or later, and then
/// its processes are no business of `delete`.
pub(super) fn record_cgroup(cx: &mut Cx, path: &CStr, record: &CStr, how: &str) -> Done {
    let st = at(cx, Call::Stat, fs::fstatat(libc::AT_FDCWD, path))?;
    let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_APPEND | libc::O_NOFOLLOW;
    let line = format!("{} {}{how}\n", st.st_dev, st.st_ino);
    write_kept(cx, RECORD, record, flags, line.as_bytes())
}

/// Which kept descriptor: that of the record of cgroups, that of a file that takes one line in each write.
const RECORD: usize = 0;
const LINES: usize = 1;

/// Writes to a file that stays open, since the next row often writes to it too.
fn write_kept(cx: &mut Cx, which: usize, path: &CStr, flags: i32, bytes: &[u8]) -> Done {
    if cx.kept[which].as_ref().is_none_or(|(kept, _)| kept.as_c_str() != path) {
        let fd = at(cx, Call::Open, fs::openat(libc::AT_FDCWD, path, flags, 0o600)).map(fs::own)?;
        cx.kept[which] = Some((path.to_owned(), fd));
    }
    let fd = cx.kept[which].as_ref().map_or(-1, |(_, fd)| fd.as_raw_fd());
    at(cx, Call::Write, fs::write_all(fd, bytes))
}

/// Writes one line to a file of the kernel that takes one in each write.
pub(super) fn write_line(cx: &mut Cx, path: &CStr, line: &[u8]) -> Done {
    write_kept(cx, LINES, path, libc::O_WRONLY | libc::O_NOFOLLOW, line)
}

/// Takes a pre-existing cgroup. The lock is held until the launch is over: of two launches that both
/// find it empty one must not join the other's container.
pub(super) fn take_cgroup(cx: &mut Cx, path: &CStr, record: &CStr, to: &Slot) -> Done {
    let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW;
    let open = || fs::openat(libc::AT_FDCWD, path, flags, 0);
    // A container of this name may have been deleted since the launch looked: then it is this one's to make.
    let mut opened = open();
    let made = opened == Err(Errno::ENOENT) && fs::mkdirat(libc::AT_FDCWD, path, 0o755).is_ok();
    if made {
        opened = open();
    }
    let fd = at(cx, Call::Open, opened)?;
    cx.set(to, fd);
    at(cx, Call::Lock, fs::try_lock(fd))?;
    let cgroup = as_path(path);
    let members = at(cx, Call::Read, crate::cgroup::tree::pids(cgroup))?.len();
    let problem = if members > 0 {
        Some(format!("container's cgroup is not empty: {members} process(es) found"))
    } else {
        crate::cgroup::ops::frozen(cgroup).then(|| "container's cgroup unexpectedly frozen".to_string())
    };
    if problem.is_some() {
        cx.detail = problem;
        return at(cx, Call::Read, Err(Errno::EBUSY));
    }
    record_cgroup(cx, path, record, if made { "" } else { crate::state::files::JOINED })
}

pub(super) fn join(dir: &CStr, tail: &[u8]) -> std::ffi::CString {
    let bytes: Vec<u8> = dir.to_bytes().iter().chain(tail).copied().collect();
    // Both parts come from C strings, so there is no NUL inside.
    std::ffi::CString::new(bytes).unwrap_or_default()
}

pub(super) fn join_name(dir: &CStr, name: &CStr) -> std::ffi::CString {
    let mut tail = vec![b'/'];
    tail.extend_from_slice(name.to_bytes());
    join(dir, &tail)
}

/// Closes this process's copy of the lock: the runtime's when the container is made, so that others may
/// start, signal or delete it; Init's at once, since the lock is the runtime's alone.
pub(super) fn close_lock(plan: &Plan, cx: &Cx) {
    if let Some((_, lock)) = plan.state_dir() {
        fs::close(cx.fd(lock));
    }
}

/// Writes a file of the kernel (cgroupfs, procfs) in one write.
pub(super) fn write_file(cx: &mut Cx, path: &CStr, value: &[u8]) -> Done {
    let fd = at(cx, Call::Open, fs::openat(libc::AT_FDCWD, path, libc::O_WRONLY | libc::O_NOFOLLOW, 0))?;
    let written = at(cx, Call::Write, fs::write_all(fd, value));
    fs::close(fd);
    written
}

/// Writes a file of ours so that readers see the old or the new one, never a part.
pub(super) fn replace_file(cx: &mut Cx, temp: &CStr, path: &CStr, bytes: &[u8]) -> Done {
    replace(temp, path, bytes, ReplaceMode::PRIVATE).map_err(|(step, errno)| {
        cx.call = match step {
            ReplaceCall::Open => Call::Open,
            ReplaceCall::Write => Call::Write,
            ReplaceCall::Rename => Call::Rename,
        };
        errno
    })
}

/// The link `name` in the directory `dir`, in place of a file or an empty directory that the rootfs brings. Only names
/// in that very directory are removed, and no link is followed. What is mounted there is there on purpose.
pub(super) fn relink(cx: &mut Cx, dir: RawFd, name: &CStr, to: &CStr) -> Done {
    match at(cx, Call::Symlink, fs::symlinkat(to, dir, name)) {
        Err(Errno::EEXIST) => {}
        done => return done,
    }
    let mut is = [0; 64];
    // One that is as it should be may lie on a file system that is read-only.
    if fs::readlinkat(dir, name, &mut is).is_ok_and(|n| is[..n] == *to.to_bytes()) {
        return Ok(());
    }
    let removed = match at(cx, Call::Unlink, fs::unlinkat(dir, name, 0)) {
        Err(Errno::EISDIR) => at(cx, Call::Unlink, fs::unlinkat(dir, name, libc::AT_REMOVEDIR)),
        other => other,
    };
    match removed {
        Err(Errno::EBUSY) => Ok(()),
        removed => removed.and_then(|()| at(cx, Call::Symlink, fs::symlinkat(to, dir, name))),
    }
}

/// A file of a process below /proc.
pub(super) fn proc_path(pid: i32, file: &str) -> std::ffi::CString {
    // Digits and a static name hold no NUL.
    std::ffi::CString::new(format!("/proc/{pid}/{file}")).unwrap_or_default()
}

/// Writes a file of the container process below /proc.
pub(super) fn write_child(cx: &mut Cx, file: &str, value: &[u8]) -> Done {
    let path = proc_path(cx.pid, file);
    write_file(cx, &path, value)
}

/// Writes below the verified procfs: no link is followed and no other mount is entered.
pub(super) fn write_proc(cx: &mut Cx, proc: RawFd, path: &CStr, value: &[u8]) -> Done {
    let resolve = fs::RESOLVE_BENEATH | fs::RESOLVE_NO_XDEV | fs::RESOLVE_NO_MAGICLINKS;
    let fd = at(cx, Call::OpenIn, fs::openat2(proc, path, libc::O_WRONLY, 0, resolve))?;
    let written = at(cx, Call::Write, fs::write_all(fd, value));
    fs::close(fd);
    written
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::perform::undo::own;
    use crate::plan::Undo;
    use std::path::Path;

    /// A delete of the container that had the name comes between the look and the row.
    #[test]
    fn a_group_that_is_gone_when_it_is_to_be_joined_is_made() {
        let dir = tempfile::tempdir().unwrap();
        let (cgroup, record) = (dir.path().join("group"), dir.path().join(crate::state::files::CGROUPS));
        let undo = Undo::Members(cgroup.to_string_lossy().into_owned());
        let take = || {
            let mut plan = crate::plan::Plan::default();
            let to = plan.slot("joinable");
            let mut cx = Cx::new(plan.slots);
            let path = |p: &Path| crate::sys::cstr::cpath(p).unwrap();
            let taken = take_cgroup(&mut cx, &path(&cgroup), &path(&record), &to);
            fs::close(cx.fd(&to));
            taken
        };
        std::fs::create_dir(&cgroup).unwrap();
        take().unwrap();
        let undos = [undo];
        assert_eq!(own(&undos, dir.path()), undos, "it stays");
        std::fs::remove_dir(&cgroup).unwrap();
        std::fs::remove_file(&record).unwrap();
        take().unwrap();
        let made = Undo::Cgroup(cgroup.to_string_lossy().into_owned());
        assert_eq!(own(&undos, dir.path()), [made], "it goes with the container");
    }
}
