//! Terminals: pseudo-terminals by descriptor, window size, raw mode.

use std::os::fd::RawFd;

use super::{SysResult, check};

/// A terminal's size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowSize {
    /// Rows.
    pub rows: u16,
    /// Columns.
    pub cols: u16,
}

/// ioctl `TIOCSPTLCK` 0 and `TIOCGPTPEER`: unlocks the pty and opens its slave end, never by path (same class
/// as CVE-2016-9962).
pub fn open_peer(master: RawFd) -> SysResult<RawFd> {
    let unlock: libc::c_int = 0;
    // SAFETY: TIOCSPTLCK reads one int.
    check(unsafe { libc::ioctl(master, libc::TIOCSPTLCK, &unlock) }.into())?;
    // SAFETY: TIOCGPTPEER takes open flags by value and returns a new descriptor.
    check(
        unsafe { libc::ioctl(master, libc::TIOCGPTPEER, libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC) }
            .into(),
    )
    .map(|fd| fd as RawFd)
}

/// ioctl `TIOCSCTTY`: makes `fd` the controlling terminal of this session.
pub fn set_controlling(fd: RawFd) -> SysResult<()> {
    // SAFETY: the argument 0 is passed by value (do not steal).
    check(unsafe { libc::ioctl(fd, libc::TIOCSCTTY, 0) }.into()).map(drop)
}

/// ioctl `TIOCNOTTY`: this session gives up its controlling terminal.
pub fn give_up_controlling(fd: RawFd) -> SysResult<()> {
    // SAFETY: no argument is taken.
    check(unsafe { libc::ioctl(fd, libc::TIOCNOTTY) }.into()).map(drop)
}

/// ioctl `TIOCGWINSZ`: the window size.
pub fn size(fd: RawFd) -> SysResult<WindowSize> {
    // SAFETY: winsize is plain data.
    let mut ws: libc::winsize = unsafe { std::mem::zeroed() };
    // SAFETY: TIOCGWINSZ writes one winsize.
    check(unsafe { libc::ioctl(fd, libc::TIOCGWINSZ, &mut ws) }.into())?;
    Ok(WindowSize { rows: ws.ws_row, cols: ws.ws_col })
}

/// ioctl `TIOCSWINSZ`: sets the window size.
pub fn set_size(fd: RawFd, size: WindowSize) -> SysResult<()> {
    let ws = libc::winsize { ws_row: size.rows, ws_col: size.cols, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCSWINSZ reads one winsize.
    check(unsafe { libc::ioctl(fd, libc::TIOCSWINSZ, &ws) }.into()).map(drop)
}

/// Saved terminal modes, for [`restore`].
pub struct Saved(libc::termios);

/// The current modes of a terminal.
pub fn modes(fd: RawFd) -> SysResult<Saved> {
    // SAFETY: termios is plain data that tcgetattr fills.
    let mut modes: libc::termios = unsafe { std::mem::zeroed() };
    // SAFETY: `modes` is writable.
    check(unsafe { libc::tcgetattr(fd, &mut modes) }.into())?;
    Ok(Saved(modes))
}

/// Restores the modes of a terminal that [`make_raw`] changed, unless another process has changed them since.
pub fn end_raw(fd: RawFd, saved: &Saved) -> SysResult<()> {
    let now = modes(fd)?.0;
    let mut raw = saved.0;
    // SAFETY: cfmakeraw only changes the struct.
    unsafe { libc::cfmakeraw(&mut raw) };
    let flags = |t: &libc::termios| (t.c_iflag, t.c_oflag, t.c_cflag, t.c_lflag, t.c_cc);
    if flags(&now) == flags(&raw) { restore(fd, saved) } else { Ok(()) }
}

/// Sets the caller's terminal to raw mode and returns the previous modes.
pub fn make_raw(fd: RawFd) -> SysResult<Saved> {
    let old = modes(fd)?.0;
    let mut raw = old;
    // SAFETY: cfmakeraw only changes the struct.
    unsafe { libc::cfmakeraw(&mut raw) };
    // SAFETY: `raw` is readable.
    check(unsafe { libc::tcsetattr(fd, libc::TCSANOW, &raw) }.into())?;
    Ok(Saved(old))
}

/// Restores the terminal's modes.
pub fn restore(fd: RawFd, saved: &Saved) -> SysResult<()> {
    // SAFETY: the struct is readable.
    // TCSANOW, because TCSADRAIN blocks while output is stopped (Ctrl-S).
    check(unsafe { libc::tcsetattr(fd, libc::TCSANOW, &saved.0) }.into()).map(drop)
}

/// Turns `ONLCR` off: lines end in LF instead of CR LF.
pub fn clear_onlcr(fd: RawFd) -> SysResult<()> {
    let mut modes = modes(fd)?.0;
    modes.c_oflag &= !libc::ONLCR;
    // SAFETY: `modes` is readable.
    check(unsafe { libc::tcsetattr(fd, libc::TCSANOW, &modes) }.into()).map(drop)
}

/// Whether this process can use its controlling terminal `fd` without being stopped by SIGTTIN or SIGTTOU.
/// True for every terminal that is not its controlling one.
pub fn in_foreground(fd: RawFd) -> bool {
    // SAFETY: neither call takes memory.
    let (terminal, own) = unsafe { (libc::tcgetpgrp(fd), libc::getpgrp()) };
    terminal < 0 || terminal == own
}

/// Whether `fd` is a terminal.
pub fn is_tty(fd: RawFd) -> bool {
    modes(fd).is_ok()
}

/// Sets `O_NONBLOCK` with fcntl(2).
pub fn set_nonblocking(fd: RawFd) -> SysResult<()> {
    // SAFETY: no memory is involved.
    let flags = check(unsafe { libc::fcntl(fd, libc::F_GETFL) }.into())?;
    // SAFETY: no memory is involved.
    check(unsafe { libc::fcntl(fd, libc::F_SETFL, flags as i32 | libc::O_NONBLOCK) }.into()).map(drop)
}
