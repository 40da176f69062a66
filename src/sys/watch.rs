//! Descriptors that report changes: inotify(7) and eventfd(2).

use std::ffi::CStr;
use std::os::fd::{OwnedFd, RawFd};

use super::{Result, check, fs};

/// An inotify descriptor that becomes readable when the file at `path` is modified.
pub fn modified(path: &CStr) -> Result<OwnedFd> {
    // SAFETY: no pointer is passed.
    let fd = check(unsafe { libc::inotify_init1(libc::IN_CLOEXEC | libc::IN_NONBLOCK) }.into())?;
    let fd = fs::own(fd as RawFd);
    let raw = std::os::fd::AsRawFd::as_raw_fd(&fd);
    // SAFETY: `path` is a NUL-terminated string.
    check(unsafe { libc::inotify_add_watch(raw, path.as_ptr(), libc::IN_MODIFY) }.into())?;
    Ok(fd)
}

/// A non-blocking counter for notifications from the kernel (eventfd(2)).
pub fn eventfd() -> Result<OwnedFd> {
    // SAFETY: no pointer is passed.
    check(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) }.into())
        .map(|fd| fs::own(fd as RawFd))
}

/// Reads the pending events of an inotify(7) descriptor. Returns whether the file was modified; its removal
/// is an event too, but no modification.
pub fn was_modified(fd: RawFd) -> bool {
    // `struct inotify_event`: wd, mask, cookie, len. Events of a watched file carry no name.
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

/// Reads the pending data. The first eight bytes are the count of an eventfd.
pub fn drain(fd: RawFd) -> u64 {
    let mut count = [0u8; 8];
    let first = fs::read(fd, &mut count).is_ok_and(|n| n == count.len());
    let mut rest = [0u8; 4096];
    while fs::read(fd, &mut rest).is_ok_and(|n| n > 0) {}
    if first { u64::from_ne_bytes(count) } else { 0 }
}
