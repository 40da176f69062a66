//! The home directory of a user inside a running container.

use std::os::fd::AsRawFd;

use crate::bundle::home_in;
use crate::perform::namespace_fds::NamespaceFds;
use crate::sys::fs;

/// The home directory of `uid` in the passwd of a running container, whose process is (pid, start time); `/` where
/// there is none. The container's owner owns the file, and what is read of it is a path for the container.
/// `inside` is the way to it where /proc/PID/root of the process is closed.
pub fn home_inside((pid, start): (i32, u64), uid: u32, inside: Option<&NamespaceFds>) -> String {
    if let Some(inside) = inside {
        return home_in(inside.root, uid).unwrap_or_else(|| "/".into());
    }
    let root = std::ffi::CString::new(format!("/proc/{pid}/root")).ok();
    let root = root.and_then(|path| {
        fs::openat(libc::AT_FDCWD, &path, libc::O_PATH | libc::O_DIRECTORY, 0).map(fs::own).ok()
    });
    // The number could have become another process's before its root was opened.
    let root = root.filter(|_| crate::sys::process::alive(pid, start));
    root.and_then(|root| home_in(root.as_raw_fd(), uid)).unwrap_or_else(|| "/".into())
}
