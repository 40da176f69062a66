//! Files of the runtime's own, and of the kernel, outside the container: written whole, or not at all.

use std::ffi::CStr;

use super::apply::at;
use super::{Call, Cx, Done};
use crate::sys::{fs, process};

/// Takes the container's name: the directory is made and locked under another one first, so that nobody
/// ever finds it unlocked, and two callers cannot both believe that they made it.
pub(super) fn state_dir(cx: &mut Cx, path: &CStr, lock: &crate::plan::Slot) -> Done {
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
pub(super) fn record_group(cx: &mut Cx, path: &CStr, record: &CStr) -> Done {
    let st = at(cx, Call::Stat, fs::fstatat(libc::AT_FDCWD, path))?;
    let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_APPEND | libc::O_NOFOLLOW;
    let fd = at(cx, Call::Open, fs::openat(libc::AT_FDCWD, record, flags, 0o600))?;
    let line = format!("{} {}\n", st.st_dev, st.st_ino);
    let written = at(cx, Call::Write, fs::write_all(fd, line.as_bytes()));
    fs::close(fd);
    written
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

/// Writes a file of the kernel (cgroupfs, procfs) in one write.
pub(super) fn write_file(cx: &mut Cx, path: &CStr, value: &[u8]) -> Done {
    let fd = at(cx, Call::Open, fs::openat(libc::AT_FDCWD, path, libc::O_WRONLY | libc::O_NOFOLLOW, 0))?;
    let written = at(cx, Call::Write, fs::write_all(fd, value));
    fs::close(fd);
    written
}

/// Writes a file of ours so that readers see the old or the new one, never a part.
pub(super) fn replace_file(cx: &mut Cx, temp: &CStr, path: &CStr, bytes: &[u8]) -> Done {
    let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC | libc::O_NOFOLLOW;
    let fd = at(cx, Call::Open, fs::openat(libc::AT_FDCWD, temp, flags, 0o600))?;
    let written = at(cx, Call::Write, fs::write_all(fd, bytes));
    fs::close(fd);
    written?;
    at(cx, Call::Rename, fs::renameat(libc::AT_FDCWD, temp, libc::AT_FDCWD, path))
}
