//! Descriptors that tell of changes: inotify(7) and eventfd(2).

use std::ffi::CStr;
use std::os::fd::{OwnedFd, RawFd};

use super::{Result, check, fs};

/// Readable whenever the file at `path` is modified.
pub fn modified(path: &CStr) -> Result<OwnedFd> {
    // SAFETY: no pointer is passed.
    let fd = check(unsafe { libc::inotify_init1(libc::IN_CLOEXEC | libc::IN_NONBLOCK) }.into())?;
    let fd = fs::own(fd as RawFd);
    let raw = std::os::fd::AsRawFd::as_raw_fd(&fd);
    // SAFETY: `path` is a NUL-terminated string.
    check(unsafe { libc::inotify_add_watch(raw, path.as_ptr(), libc::IN_MODIFY) }.into())?;
    Ok(fd)
}

/// A counter that others add to.
pub fn eventfd() -> Result<OwnedFd> {
    // SAFETY: no pointer is passed.
    check(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) }.into())
        .map(|fd| fs::own(fd as RawFd))
}

/// Reads what an inotify(7) descriptor has to tell: whether the file was modified. That the file is gone is told,
/// too, and is no modification.
pub fn was_modified(fd: RawFd) -> bool {
    // `struct inotify_event`: wd, mask, cookie, len; a watch of a file gives no names.
    const SIZE: usize = 16;
    let (mut events, mut modified) = ([0u8; SIZE * 32], false);
    while let Ok(n) = fs::read(fd, &mut events)
        && n > 0
    {
        modified |= events[..n].chunks_exact(SIZE).any(|event| {
            let mask = u32::from_ne_bytes([event[4], event[5], event[6], event[7]]);
            mask & libc::IN_MODIFY != 0
        });
    }
    modified
}

/// Reads what is there to read; the first eight bytes are an eventfd's count.
pub fn drain(fd: RawFd) -> u64 {
    let mut count = [0u8; 8];
    let first = fs::read(fd, &mut count).is_ok_and(|n| n == count.len());
    let mut rest = [0u8; 4096];
    while fs::read(fd, &mut rest).is_ok_and(|n| n > 0) {}
    if first { u64::from_ne_bytes(count) } else { 0 }
}
