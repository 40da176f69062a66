//! Descriptors that report changes: inotify(7) and eventfd(2).

use std::ffi::CStr;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use super::{SysResult, check, fs};

/// An inotify(7) instance. A user has few of them (fs.inotify.max_user_instances, 128), but many watches.
#[derive(Debug)]
pub struct Inotify(OwnedFd);

/// A pending event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The watch; -1 with `IN_Q_OVERFLOW`.
    pub watch: i32,
    /// `IN_*`.
    pub mask: u32,
    /// The name in a watched directory.
    pub name: Vec<u8>,
}

impl Inotify {
    /// A non-blocking instance without watches.
    pub fn new() -> SysResult<Self> {
        // SAFETY: no pointer is passed.
        let fd = check(unsafe { libc::inotify_init1(libc::IN_CLOEXEC | libc::IN_NONBLOCK) }.into())?;
        Ok(Inotify(fs::own(fd as RawFd)))
    }

    /// Watches `path` for the events in `mask`. Returns the watch's number.
    pub fn add(&self, path: &CStr, mask: u32) -> SysResult<i32> {
        // SAFETY: `path` is a NUL-terminated string.
        let watch = check(unsafe { libc::inotify_add_watch(self.fd(), path.as_ptr(), mask) }.into())?;
        Ok(watch as i32)
    }

    /// Ends a watch; one whose file is gone has ended by itself.
    pub fn remove(&self, watch: i32) {
        // SAFETY: no pointer is passed.
        unsafe { libc::inotify_rm_watch(self.fd(), watch) };
    }

    /// What is polled.
    pub fn fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// Reads the pending events.
    pub fn read(&self) -> Vec<Seen> {
        // `struct inotify_event`: wd, mask, cookie, len, and a name of len bytes, padded with NUL.
        const HEAD: usize = 16;
        let (mut buffer, mut seen) = ([0u8; 16_384], Vec::new());
        while let Ok(n) = fs::read(self.fd(), &mut buffer)
            && n > 0
        {
            let mut left = &buffer[..n];
            while left.len() >= HEAD {
                let word = |at: usize| [left[at], left[at + 1], left[at + 2], left[at + 3]];
                let (watch, mask) = (i32::from_ne_bytes(word(0)), u32::from_ne_bytes(word(4)));
                let end = (HEAD + u32::from_ne_bytes(word(12)) as usize).min(left.len());
                let name = left[HEAD..end].split(|b| *b == 0).next().unwrap_or_default().to_vec();
                seen.push(Seen { watch, mask, name });
                left = &left[end..];
            }
        }
        seen
    }
}

/// An inotify descriptor that becomes readable when the file at `path` is modified.
pub fn modified(path: &CStr) -> SysResult<OwnedFd> {
    let inotify = Inotify::new()?;
    inotify.add(path, libc::IN_MODIFY)?;
    Ok(inotify.0)
}

/// A non-blocking counter for notifications from the kernel (eventfd(2)).
pub fn eventfd() -> SysResult<OwnedFd> {
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
