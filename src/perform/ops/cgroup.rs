//! What the rows about cgroups do.

use std::ffi::{CStr, CString};
use std::os::fd::AsRawFd;

use crate::cgroup::systemd;
use crate::perform::files::{record_cgroup, take_cgroup, write_file, write_line};
use crate::perform::{Call, Cx, Done, at};
use crate::plan::ops::{CgroupOp, is_device_list};
use crate::sys::cstr::cpath;
use crate::sys::{Errno, fs};

/// The kernel's list of files that are delegated with a cgroup.
const LIST: &str = "/sys/kernel/cgroup/delegate";
/// Where it has no list (config-linux.md, "Cgroup ownership").
const USUAL: &str = "cgroup.procs\ncgroup.subtree_control\ncgroup.threads\n";

/// Performs one row about cgroups.
pub(super) fn apply(op: &CgroupOp, cx: &mut Cx) -> Done {
    match op {
        // Another container that shares the parent may have made it meanwhile.
        CgroupOp::Parent { path } => match at(cx, Call::Mkdir, fs::mkdirat(libc::AT_FDCWD, path, 0o755)) {
            Err(Errno::EEXIST) => Ok(()),
            other => other,
        },
        CgroupOp::Dir { path, record } => {
            at(cx, Call::Mkdir, fs::mkdirat(libc::AT_FDCWD, path, 0o755))?;
            record_cgroup(cx, path, record, "")
                .inspect_err(|_| fs::unlinkat(libc::AT_FDCWD, path, libc::AT_REMOVEDIR).unwrap_or_default())
        }
        CgroupOp::Joinable { path, record, to } => take_cgroup(cx, path, record, to),
        CgroupOp::Write { path, value } if is_device_list(path) => write_line(cx, path, value),
        CgroupOp::Enable { path, value } | CgroupOp::Write { path, value } => write_file(cx, path, value),
        CgroupOp::WriteEither { path, value, other } => match write_file(cx, path, value) {
            Err(Errno::ENOENT) => write_file(cx, &other.0, &other.1),
            written => written,
        },
        CgroupOp::InScope { path, record } => {
            match at(cx, Call::Mkdir, fs::mkdirat(libc::AT_FDCWD, path, 0o755)) {
                Ok(()) | Err(Errno::EEXIST) => record_cgroup(cx, path, record, ""),
                other => other,
            }
        }
        CgroupOp::Scope { start, record } => {
            answered(cx, systemd::start(start, cx.pid))?;
            let cgroup = cpath(&start.scope.cgroup).map_err(|_| Errno::EINVAL)?;
            record_cgroup(cx, &cgroup, record, "")
                .inspect_err(|_| systemd::stop(&start.scope).unwrap_or_default())
        }
        CgroupOp::Owner { path, uid } => own(cx, path, *uid),
        CgroupOp::AttachToScope { scope } => answered(cx, systemd::attach(scope, cx.pid)),
        CgroupOp::Open { path, to } => {
            let fd =
                at(cx, Call::Open, fs::openat(libc::AT_FDCWD, path, libc::O_RDONLY | libc::O_DIRECTORY, 0))?;
            cx.set(to, fd);
            Ok(())
        }
        CgroupOp::OpenTasks { path, to } => {
            let flags = libc::O_WRONLY | libc::O_NOFOLLOW;
            let fd = at(cx, Call::Open, fs::openat(libc::AT_FDCWD, path, flags, 0))?;
            cx.set(to, fd);
            Ok(())
        }
        CgroupOp::Enter { tasks, .. } => {
            let fd = cx.fd(tasks);
            at(cx, Call::Write, fs::write_all(fd, b"0"))?;
            fs::close(fd);
            cx.set(tasks, -1);
            Ok(())
        }
        CgroupOp::Join { path } => write_file(cx, path, cx.pid.to_string().as_bytes()),
    }
}

/// Keeps systemd's own text of a failure: an error number would lose most of it.
fn answered(cx: &mut Cx, answer: Result<(), systemd::BusFailure>) -> Done {
    cx.call = Call::Systemd;
    answer.map_err(|failure| {
        cx.detail = Some(failure.text);
        failure.errno
    })
}

/// Makes `uid` the owner of the cgroup and of the files that are delegated with it; its limits stay root's. Not every
/// cgroup has every file.
fn own(cx: &mut Cx, path: &CStr, uid: u32) -> Done {
    let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW;
    let dir = fs::own(at(cx, Call::Open, fs::openat(libc::AT_FDCWD, path, flags, 0))?);
    let dir = dir.as_raw_fd();
    at(cx, Call::Chown, fs::fchownat(dir, c"", uid, u32::MAX))?;
    let list = std::fs::read_to_string(LIST).unwrap_or_else(|_| USUAL.into());
    for name in list.lines().filter(|name| !name.contains('/')).filter_map(|name| CString::new(name).ok()) {
        match at(cx, Call::Chown, fs::fchownat(dir, &name, uid, u32::MAX)) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}
