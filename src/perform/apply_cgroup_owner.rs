//! The system calls of the row that gives a group to the container's user.

use std::ffi::{CStr, CString};

use crate::perform::at;
use crate::perform::{Call, Cx, Done};
use crate::sys::{Errno, fs};

/// The kernel's list of files that go with a group.
const LIST: &str = "/sys/kernel/cgroup/delegate";
/// Where it has no list (config-linux.md, "Cgroup ownership").
const USUAL: &str = "cgroup.procs\ncgroup.subtree_control\ncgroup.threads\n";

/// Makes `uid` the owner of the group and of the files that go with it; its limits stay root's. Not every group has
/// every file.
pub(super) fn own(cx: &mut Cx, path: &CStr, uid: u32) -> Done {
    let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW;
    let dir = fs::own(at(cx, Call::Open, fs::openat(libc::AT_FDCWD, path, flags, 0))?);
    let dir = std::os::fd::AsRawFd::as_raw_fd(&dir);
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
