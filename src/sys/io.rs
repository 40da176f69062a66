//! Input and output that never block: poll(2), and non-blocking reads and writes.

use std::os::fd::RawFd;

use super::{Errno, SysResult, check, fs};

/// A descriptor and the events to wait for: `POLLIN`, `POLLOUT` or both. The descriptor -1 is never ready.
pub type Interest = (RawFd, i16);

/// poll(2): the events of each entry of `list`, after at most `millis` milliseconds (-1: no limit).
pub fn poll(list: &[Interest], millis: i32) -> SysResult<Vec<i16>> {
    let mut polls: Vec<_> =
        list.iter().map(|(fd, events)| libc::pollfd { fd: *fd, events: *events, revents: 0 }).collect();
    loop {
        // SAFETY: `polls` is a writable array of the length passed.
        match check(unsafe { libc::poll(polls.as_mut_ptr(), polls.len() as libc::nfds_t, millis) }.into()) {
            Err(Errno::EINTR) => {}
            Err(e) => return Err(e),
            Ok(_) => return Ok(polls.iter().map(|p| p.revents).collect()),
        }
    }
}

/// preadv2(2) at the current position with `RWF_NOWAIT`: `EAGAIN` if it would block, `EOPNOTSUPP` if the file
/// does not support the flag.
pub fn read_nowait(fd: RawFd, buf: &mut [u8]) -> SysResult<usize> {
    let iov = libc::iovec { iov_base: buf.as_mut_ptr().cast(), iov_len: buf.len() };
    // SAFETY: one iovec over a writable buffer; both outlive the call.
    check(unsafe { libc::preadv2(fd, &iov, 1, -1, libc::RWF_NOWAIT) } as libc::c_long).map(|n| n as usize)
}

/// pwritev2(2) at the current position with `RWF_NOWAIT`; same errors as [`read_nowait`].
pub fn write_nowait(fd: RawFd, bytes: &[u8]) -> SysResult<usize> {
    let iov = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    // SAFETY: one iovec over a readable buffer, which is not written to; both outlive the call.
    check(unsafe { libc::pwritev2(fd, &iov, 1, -1, libc::RWF_NOWAIT) } as libc::c_long).map(|n| n as usize)
}

/// A blocking pipe that poll(2) calls writable takes this much at once (pipe(7), `PIPE_BUF`).
const PIPE_BUF: usize = 4096;

/// Writes to a descriptor that poll(2) calls writable. It may be a blocking one, which other processes share, so no more
/// is written than it takes at once: of a file that does not support `RWF_NOWAIT`, as a terminal, poll(2) says only that
/// one more byte has room.
pub fn write_ready(fd: RawFd, bytes: &[u8]) -> SysResult<usize> {
    match write_nowait(fd, bytes) {
        Err(Errno::EOPNOTSUPP | Errno::EINVAL | Errno::ENOSYS) => {
            let most = if super::tty::is_tty(fd) { 1 } else { PIPE_BUF };
            fs::write(fd, &bytes[..bytes.len().min(most)])
        }
        result => result,
    }
}

/// recv(2) without blocking.
pub fn receive_nowait(fd: RawFd, buf: &mut [u8]) -> SysResult<usize> {
    // SAFETY: the buffer is writable for the length passed.
    check(unsafe { libc::recv(fd, buf.as_mut_ptr().cast(), buf.len(), libc::MSG_DONTWAIT) } as libc::c_long)
        .map(|n| n as usize)
}

/// send(2) without blocking and without SIGPIPE.
pub fn send_nowait(fd: RawFd, bytes: &[u8]) -> SysResult<usize> {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: the buffer is readable for the length passed.
    check(unsafe { libc::send(fd, bytes.as_ptr().cast(), bytes.len(), flags) } as libc::c_long)
        .map(|n| n as usize)
}

/// The access mode of a descriptor: `O_RDONLY`, `O_WRONLY` or `O_RDWR`, and `O_PATH` (fcntl(2) `F_GETFL`).
pub fn access_mode(fd: RawFd) -> SysResult<i32> {
    // SAFETY: no memory is involved.
    check(unsafe { libc::fcntl(fd, libc::F_GETFL) }.into())
        .map(|flags| flags as i32 & (libc::O_ACCMODE | libc::O_PATH))
}

/// Opens a second open file description of a pipe or a terminal in non-blocking mode. The first one, which
/// other processes share, stays unchanged. Needs permission to open the file.
pub fn reopen_nonblocking(fd: RawFd, access: i32) -> SysResult<RawFd> {
    let path = std::ffi::CString::new(format!("/proc/self/fd/{fd}")).map_err(|_| Errno::EINVAL)?;
    fs::openat(libc::AT_FDCWD, &path, access | libc::O_NONBLOCK | libc::O_NOCTTY, 0)
}

/// A pipe (read end, write end), both close-on-exec and blocking.
pub fn pipe() -> SysResult<(RawFd, RawFd)> {
    let mut fds = [0; 2];
    // SAFETY: pipe2 writes two descriptors.
    check(unsafe { libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC) }.into())?;
    Ok((fds[0], fds[1]))
}
