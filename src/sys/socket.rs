//! The SEQPACKET pair that carries the baton, and descriptor passing for terminals.

use std::ffi::CStr;
use std::os::fd::RawFd;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr};

use super::{Errno, SysResult, check};

/// socketpair(2): a close-on-exec SEQPACKET pair. A record arrives whole, and a dead peer is end of file.
pub fn seqpacket_pair() -> SysResult<(RawFd, RawFd)> {
    let mut fds = [-1; 2];
    let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC;
    // SAFETY: `fds` has room for the two descriptors.
    check(unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, fds.as_mut_ptr()) }.into())?;
    Ok((fds[0], fds[1]))
}

/// send(2) of one record, without SIGPIPE.
pub fn send(fd: RawFd, bytes: &[u8]) -> SysResult<()> {
    // SAFETY: the buffer is readable for the length passed.
    let n = check(
        unsafe { libc::send(fd, bytes.as_ptr().cast(), bytes.len(), libc::MSG_NOSIGNAL) } as libc::c_long
    )?;
    if n as usize == bytes.len() { Ok(()) } else { Err(Errno::EMSGSIZE) }
}

/// recv(2) of one record, retried on `EINTR`; 0 is end of file. Returns the record's own length
/// (`MSG_TRUNC`), so a record longer than `buf` is detected.
pub fn recv(fd: RawFd, buf: &mut [u8]) -> SysResult<usize> {
    let (to, size) = (buf.as_mut_ptr().cast(), buf.len());
    loop {
        // SAFETY: the buffer is writable for the length passed.
        match check(unsafe { libc::recv(fd, to, size, libc::MSG_TRUNC) } as libc::c_long) {
            Err(Errno::EINTR) => {}
            other => return other.map(|n| n as usize),
        }
    }
}

/// Whether a socket reaches only its current peer: a connected Unix `SOCK_STREAM` or `SOCK_SEQPACKET` socket. Any
/// other socket can be connected again, or receives from the network namespace in which it was created.
pub fn has_one_peer(fd: RawFd) -> bool {
    let option = |name| {
        let (mut value, mut size): (libc::c_int, libc::socklen_t) = (0, 4);
        // SAFETY: `value` is writable for the size passed.
        let done =
            unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, name, (&raw mut value).cast(), &raw mut size) };
        (done == 0).then_some(value)
    };
    let stream = matches!(option(libc::SO_TYPE), Some(libc::SOCK_STREAM | libc::SOCK_SEQPACKET));
    stream
        && option(libc::SO_DOMAIN) == Some(libc::AF_UNIX)
        && nix::sys::socket::getpeername::<UnixAddr>(fd).is_ok()
}

/// poll(2) without waiting: `ESRCH` if the peer has closed its end.
pub fn peer_alive(fd: RawFd) -> SysResult<()> {
    let mut poll = libc::pollfd { fd, events: 0, revents: 0 };
    // SAFETY: one writable pollfd.
    check(unsafe { libc::poll(&mut poll, 1, 0) }.into())?;
    if poll.revents & libc::POLLHUP == 0 { Ok(()) } else { Err(Errno::ESRCH) }
}

/// Maximum number of descriptors in a message: a root directory and one namespace of each kind.
pub const MOST_FDS: usize = 9;

/// Buffer for one `SCM_RIGHTS` message with [`MOST_FDS`] descriptors, aligned as `struct cmsghdr` requires.
#[repr(C, align(8))]
struct ControlBuffer([u8; 64]);

/// connect(2) of a new `AF_UNIX` stream socket, close-on-exec; `ENAMETOOLONG` for a path of more than 107 bytes.
pub fn connect(path: &std::ffi::CStr) -> SysResult<RawFd> {
    // SAFETY: an all-zero sockaddr_un is a valid empty one.
    let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    address.sun_family = libc::AF_UNIX as libc::sa_family_t;
    // One byte is reserved for the NUL.
    if path.to_bytes().len() >= address.sun_path.len() {
        return Err(Errno::ENAMETOOLONG);
    }
    for (to, from) in address.sun_path.iter_mut().zip(path.to_bytes()) {
        *to = *from as libc::c_char;
    }
    // SAFETY: no memory is involved.
    let fd = check(unsafe { libc::socket(libc::AF_UNIX, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) }.into())?
        as RawFd;
    let len = std::mem::size_of::<libc::sockaddr_un>() as libc::socklen_t;
    // SAFETY: `address` is readable for the length passed.
    match check(unsafe { libc::connect(fd, (&raw const address).cast(), len) }.into()) {
        Ok(_) => Ok(fd),
        Err(e) => {
            super::fs::close(fd);
            Err(e)
        }
    }
}

/// Sends a terminal's master end over the receiver's socket, and closes both.
pub fn send_pty(socket: RawFd, master: RawFd) -> SysResult<()> {
    // runc sends the pty's name. At least one byte is needed: the kernel drops descriptors of an empty message.
    let sent = send_fd(socket, b"/dev/ptmx", master);
    super::fs::close(master);
    super::fs::close(socket);
    sent
}

/// sendmsg(2): `bytes` and one descriptor. Bytes that do not fit into the socket buffer follow with send(2).
pub fn send_fd(socket: RawFd, bytes: &[u8], fd: RawFd) -> SysResult<()> {
    send_fds(socket, bytes, &[fd])
}

/// As [`send_fd`] with several descriptors, at most [`MOST_FDS`].
pub fn send_fds(socket: RawFd, bytes: &[u8], fds: &[RawFd]) -> SysResult<()> {
    if fds.len() > MOST_FDS {
        return Err(Errno::E2BIG);
    }
    let size = std::mem::size_of_val(fds) as libc::c_uint;
    let mut iov = libc::iovec { iov_base: bytes.as_ptr() as *mut _, iov_len: bytes.len() };
    let mut control = ControlBuffer([0; 64]);
    // SAFETY: an all-zero msghdr is a valid empty one.
    let mut msg: libc::msghdr = unsafe { std::mem::zeroed() };
    msg.msg_iov = &mut iov;
    msg.msg_iovlen = 1;
    msg.msg_control = control.0.as_mut_ptr().cast();
    // SAFETY: CMSG_* only compute; `control` is larger than CMSG_SPACE of nine ints (56) and aligned.
    unsafe {
        msg.msg_controllen = libc::CMSG_SPACE(size) as _;
        let head = libc::CMSG_FIRSTHDR(&msg);
        (*head).cmsg_level = libc::SOL_SOCKET;
        (*head).cmsg_type = libc::SCM_RIGHTS;
        (*head).cmsg_len = libc::CMSG_LEN(size) as _;
        std::ptr::copy_nonoverlapping(fds.as_ptr().cast::<u8>(), libc::CMSG_DATA(head), size as usize);
    }
    // SAFETY: `msg` points to live buffers of the lengths it states.
    let n = check(unsafe { libc::sendmsg(socket, &msg, libc::MSG_NOSIGNAL) } as libc::c_long)? as usize;
    let mut rest = bytes.get(n..).unwrap_or_default();
    while !rest.is_empty() {
        // SAFETY: the buffer is readable for the length passed.
        let n = check(unsafe { libc::send(socket, rest.as_ptr().cast(), rest.len(), libc::MSG_NOSIGNAL) }
            as libc::c_long)?;
        rest = rest.get(n as usize..).unwrap_or_default();
    }
    Ok(())
}

/// recvmsg(2) of one descriptor, close-on-exec; `EPROTO` where the message carries none.
pub fn recv_fd(socket: RawFd) -> SysResult<RawFd> {
    let mut byte = [0u8; 256];
    recv_with_fd(socket, &mut byte)?.1.ok_or(Errno::EPROTO)
}

/// recvmsg(2): the number of bytes received, and the received descriptor, close-on-exec.
pub fn recv_with_fd(socket: RawFd, buf: &mut [u8]) -> SysResult<(usize, Option<RawFd>)> {
    let mut fds = [-1; MOST_FDS];
    let (bytes, n) = recv_with_fds(socket, buf, &mut fds)?;
    // Close unexpected descriptors.
    fds[..n].iter().skip(1).for_each(|fd| super::fs::close(*fd));
    Ok((bytes, (n > 0).then_some(fds[0])))
}

/// recvmsg(2): the bytes received, and the message. Its heads point into `control`; the descriptors are close-on-exec.
fn receive(socket: RawFd, buf: &mut [u8], control: &mut ControlBuffer) -> SysResult<(usize, libc::msghdr)> {
    let mut iov = libc::iovec { iov_base: buf.as_mut_ptr().cast(), iov_len: buf.len() };
    // SAFETY: an all-zero msghdr is a valid empty one.
    let mut msg: libc::msghdr = unsafe { std::mem::zeroed() };
    msg.msg_iov = &mut iov;
    msg.msg_iovlen = 1;
    msg.msg_control = control.0.as_mut_ptr().cast();
    msg.msg_controllen = control.0.len() as _;
    let n = loop {
        // SAFETY: `msg` points to live, writable buffers of the lengths it states.
        match check(unsafe { libc::recvmsg(socket, &mut msg, libc::MSG_CMSG_CLOEXEC) } as libc::c_long) {
            Err(Errno::EINTR) => {}
            other => break other? as usize,
        }
    };
    (msg.msg_iov, msg.msg_iovlen) = (std::ptr::null_mut(), 0);
    Ok((n, msg))
}

/// recvmsg(2) of one descriptor, close-on-exec, and of the process that sent it, as this one's pid namespace numbers it.
/// The socket has `SO_PASSCRED`; `EPROTO` where either is missing.
pub fn recv_fd_from(socket: RawFd) -> SysResult<(RawFd, i32)> {
    let mut control = ControlBuffer([0; 64]);
    let (_, msg) = receive(socket, &mut [0; 1], &mut control)?;
    let (mut fd, mut pid) = (None, None);
    // SAFETY: the kernel filled `msg`; the heads point into `control`, and each is followed by the data that its type
    // promises: one int was sent, and a `ucred` has its own size.
    unsafe {
        let mut head = libc::CMSG_FIRSTHDR(&msg);
        while !head.is_null() {
            match (*head).cmsg_type {
                libc::SCM_RIGHTS => fd = Some(libc::CMSG_DATA(head).cast::<RawFd>().read_unaligned()),
                libc::SCM_CREDENTIALS => {
                    pid = Some(libc::CMSG_DATA(head).cast::<libc::ucred>().read_unaligned().pid);
                }
                _ => {}
            }
            head = libc::CMSG_NXTHDR(&msg, head);
        }
    }
    match (fd, pid) {
        (Some(fd), Some(pid)) if pid > 0 => Ok((fd, pid)),
        _ => Err(Errno::EPROTO),
    }
}

/// recvmsg(2): the number of bytes and of descriptors received; the descriptors are close-on-exec.
pub fn recv_with_fds(
    socket: RawFd,
    buf: &mut [u8],
    fds: &mut [RawFd; MOST_FDS],
) -> SysResult<(usize, usize)> {
    let mut control = ControlBuffer([0; 64]);
    let (n, msg) = receive(socket, buf, &mut control)?;
    // A record longer than `buf` is an error, not a record that fits.
    if msg.msg_flags & libc::MSG_TRUNC != 0 {
        return Err(Errno::EMSGSIZE);
    }
    // SAFETY: the kernel filled `msg`; CMSG_FIRSTHDR is null or points into `control`.
    unsafe {
        let head = libc::CMSG_FIRSTHDR(&msg);
        if head.is_null() || (*head).cmsg_type != libc::SCM_RIGHTS {
            return Ok((n, 0));
        }
        // `control` has room for at most `MOST_FDS` descriptors, except for its padding.
        let count = (((*head).cmsg_len as usize - libc::CMSG_LEN(0) as usize) / 4).min(MOST_FDS);
        std::ptr::copy_nonoverlapping(libc::CMSG_DATA(head), fds.as_mut_ptr().cast::<u8>(), count * 4);
        Ok((n, count))
    }
}

/// Listens on a SEQPACKET socket `name` in the directory `dir` with mode 0600. accept(2) on it does not
/// block.
pub fn listen_in(dir: &CStr, name: &str) -> SysResult<RawFd> {
    let (_at, address) = address_in(dir, name)?;
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = nix::sys::socket::socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)?;
    let umask = super::fs::umask(0o177);
    let bound = nix::sys::socket::bind(std::os::fd::AsRawFd::as_raw_fd(&socket), &address);
    super::fs::umask(umask);
    bound?;
    nix::sys::socket::listen(&socket, nix::sys::socket::Backlog::new(16)?)?;
    Ok(std::os::fd::IntoRawFd::into_raw_fd(socket))
}

/// connect(2) to a socket of [`listen_in`].
pub fn connect_in(dir: &CStr, name: &str) -> SysResult<RawFd> {
    let (_at, address) = address_in(dir, name)?;
    let kind = SockType::SeqPacket;
    let socket = nix::sys::socket::socket(AddressFamily::Unix, kind, SockFlag::SOCK_CLOEXEC, None)?;
    nix::sys::socket::connect(std::os::fd::AsRawFd::as_raw_fd(&socket), &address)?;
    Ok(std::os::fd::IntoRawFd::into_raw_fd(socket))
}

/// accept4(2), close-on-exec.
pub fn accept(socket: RawFd) -> SysResult<RawFd> {
    let none = std::ptr::null_mut();
    // SAFETY: the peer's address is not requested.
    let fd = unsafe { libc::accept4(socket, none, std::ptr::null_mut(), libc::SOCK_CLOEXEC) };
    check(fd.into()).map(|fd| fd as RawFd)
}

/// The address of `name` in the directory `dir`, by /proc/self/fd; valid while the returned descriptor is
/// open. A socket address has only 107 bytes for a path (unix(7)).
fn address_in(dir: &CStr, name: &str) -> SysResult<(std::os::fd::OwnedFd, UnixAddr)> {
    let at = super::fs::own(super::fs::openat(libc::AT_FDCWD, dir, libc::O_PATH | libc::O_DIRECTORY, 0)?);
    let path = format!("/proc/self/fd/{}/{name}", std::os::fd::AsRawFd::as_raw_fd(&at));
    let address = UnixAddr::new(path.as_str())?;
    Ok((at, address))
}

/// A datagram socket `name` in the directory `dir` that every user may write to. The address goes through the
/// directory's descriptor: a socket address has only 107 bytes for a path (unix(7)).
pub fn named_dgram(dir: &CStr, name: &str) -> SysResult<RawFd> {
    let at = super::fs::own(super::fs::openat(libc::AT_FDCWD, dir, libc::O_PATH | libc::O_DIRECTORY, 0)?);
    let path = format!("/proc/self/fd/{}/{name}", std::os::fd::AsRawFd::as_raw_fd(&at));
    let address = UnixAddr::new(path.as_str())?;
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = nix::sys::socket::socket(AddressFamily::Unix, SockType::Datagram, flags, None)?;
    nix::sys::socket::bind(std::os::fd::AsRawFd::as_raw_fd(&socket), &address)?;
    nix::sys::stat::fchmodat(
        nix::fcntl::AT_FDCWD,
        path.as_str(),
        nix::sys::stat::Mode::from_bits_truncate(0o777),
        nix::sys::stat::FchmodatFlags::FollowSymlink,
    )?;
    Ok(std::os::fd::IntoRawFd::into_raw_fd(socket))
}

/// Brings the loopback device up: `ioctl(SIOCSIFFLAGS, IFF_UP)` on `lo` of this network namespace.
pub fn loopback_up() -> SysResult<()> {
    // SAFETY: no memory is involved.
    let fd = check(unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) }.into())?
        as RawFd;
    // SAFETY: an all-zero ifreq is valid; the name is shorter than IFNAMSIZ.
    let mut req: libc::ifreq = unsafe { std::mem::zeroed() };
    req.ifr_name[0] = b'l' as libc::c_char;
    req.ifr_name[1] = b'o' as libc::c_char;
    req.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads an ifreq, which outlives the call.
    let up = check(unsafe { libc::ioctl(fd, libc::SIOCSIFFLAGS, &req) }.into()).map(drop);
    super::fs::close(fd);
    up
}
