//! Sockets of the internet, without waiting. What Init calls makes system calls and nothing else.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::RawFd;

use super::{Errno, SysResult, check, fs};

/// An address in the kernel's form, on the stack.
struct RawAddress {
    storage: libc::sockaddr_storage,
    len: libc::socklen_t,
}

impl RawAddress {
    fn empty() -> Self {
        // SAFETY: all-zero bytes are a valid sockaddr_storage of the family AF_UNSPEC.
        let storage = unsafe { std::mem::zeroed() };
        RawAddress { storage, len: std::mem::size_of::<libc::sockaddr_storage>() as libc::socklen_t }
    }

    fn of(address: SocketAddr) -> Self {
        let mut raw = RawAddress::empty();
        match address {
            SocketAddr::V4(a) => {
                let v4 = libc::sockaddr_in {
                    sin_family: libc::AF_INET as libc::sa_family_t,
                    sin_port: a.port().to_be(),
                    sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(a.ip().octets()) },
                    sin_zero: [0; 8],
                };
                // SAFETY: a sockaddr_storage has room and alignment for every kind of address.
                unsafe { (&raw mut raw.storage).cast::<libc::sockaddr_in>().write(v4) };
                raw.len = std::mem::size_of::<libc::sockaddr_in>() as libc::socklen_t;
            }
            SocketAddr::V6(a) => {
                let v6 = libc::sockaddr_in6 {
                    sin6_family: libc::AF_INET6 as libc::sa_family_t,
                    sin6_port: a.port().to_be(),
                    sin6_flowinfo: 0,
                    sin6_addr: libc::in6_addr { s6_addr: a.ip().octets() },
                    sin6_scope_id: a.scope_id(),
                };
                // SAFETY: as above.
                unsafe { (&raw mut raw.storage).cast::<libc::sockaddr_in6>().write(v6) };
                raw.len = std::mem::size_of::<libc::sockaddr_in6>() as libc::socklen_t;
            }
        }
        raw
    }

    /// `EAFNOSUPPORT` for what is no address of the internet. An IPv4-mapped address is the IPv4 address.
    fn address(&self) -> SysResult<SocketAddr> {
        let at = &raw const self.storage;
        match i32::from(self.storage.ss_family) {
            libc::AF_INET => {
                // SAFETY: the family says that this is a sockaddr_in.
                let v4 = unsafe { at.cast::<libc::sockaddr_in>().read() };
                let ip = Ipv4Addr::from(v4.sin_addr.s_addr.to_ne_bytes());
                Ok(SocketAddr::new(ip.into(), u16::from_be(v4.sin_port)))
            }
            libc::AF_INET6 => {
                // SAFETY: the family says that this is a sockaddr_in6.
                let v6 = unsafe { at.cast::<libc::sockaddr_in6>().read() };
                let ip = IpAddr::V6(Ipv6Addr::from(v6.sin6_addr.s6_addr)).to_canonical();
                Ok(SocketAddr::new(ip, u16::from_be(v6.sin6_port)))
            }
            _ => Err(Errno::EAFNOSUPPORT),
        }
    }

    fn pointer(&self) -> *const libc::sockaddr {
        (&raw const self.storage).cast()
    }
}

fn family(address: SocketAddr) -> i32 {
    if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 }
}

/// socket(2), close-on-exec and non-blocking.
pub fn socket(family: i32, kind: i32) -> SysResult<RawFd> {
    let kind = kind | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: no memory is involved.
    check(unsafe { libc::socket(family, kind, 0) }.into()).map(|fd| fd as RawFd)
}

/// setsockopt(2) of an int.
pub fn set_option(fd: RawFd, level: i32, name: i32, value: i32) -> SysResult<()> {
    let size = std::mem::size_of::<i32>() as libc::socklen_t;
    // SAFETY: the kernel reads one int, which outlives the call.
    check(unsafe { libc::setsockopt(fd, level, name, (&raw const value).cast(), size) }.into()).map(drop)
}

/// Small messages are not held back for larger ones, and a peer that is gone without a word is noticed (tcp(7)). What a
/// listener accepts has the listener's options. A socket that cannot have them works without.
pub fn prompt_and_watched(fd: RawFd) {
    for (level, name, value) in [
        (libc::IPPROTO_TCP, libc::TCP_NODELAY, 1),
        (libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1),
        (libc::IPPROTO_TCP, libc::TCP_KEEPIDLE, 60),
        (libc::IPPROTO_TCP, libc::TCP_KEEPINTVL, 15),
        (libc::IPPROTO_TCP, libc::TCP_KEEPCNT, 4),
    ] {
        set_option(fd, level, name, value).unwrap_or_default();
    }
}

/// socket(2) for packets of one protocol (`ETH_P_*`) without the header of the link, close-on-exec and non-blocking.
pub fn packets(protocol: i32) -> SysResult<RawFd> {
    let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    let protocol = i32::from((protocol as u16).to_be());
    // SAFETY: no memory is involved.
    check(unsafe { libc::socket(libc::AF_PACKET, kind, protocol) }.into()).map(|fd| fd as RawFd)
}

/// Whether this kernel has packet sockets. Without the right to have one the answer is `EPERM`.
pub fn has_packets() -> bool {
    match packets(0) {
        Ok(fd) => {
            fs::close(fd);
            true
        }
        Err(e) => e == Errno::EPERM,
    }
}

/// `SO_ATTACH_FILTER`: the socket receives what the filter passes.
pub fn attach_filter(fd: RawFd, filter: &[libc::sock_filter]) -> SysResult<()> {
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_ptr().cast_mut() };
    let (from, size) = ((&raw const program).cast(), std::mem::size_of::<libc::sock_fprog>());
    let (level, name) = (libc::SOL_SOCKET, libc::SO_ATTACH_FILTER);
    // SAFETY: the kernel reads the program and its instructions, which outlive the call, and writes to neither.
    check(unsafe { libc::setsockopt(fd, level, name, from, size as libc::socklen_t) }.into()).map(drop)
}

/// bind(2).
pub fn bind(fd: RawFd, address: SocketAddr) -> SysResult<()> {
    let raw = RawAddress::of(address);
    // SAFETY: the address is readable for the length passed.
    check(unsafe { libc::bind(fd, raw.pointer(), raw.len) }.into()).map(drop)
}

/// listen(2).
pub fn listen(fd: RawFd, backlog: i32) -> SysResult<()> {
    // SAFETY: no memory is involved.
    check(unsafe { libc::listen(fd, backlog) }.into()).map(drop)
}

/// connect(2); `EINPROGRESS` while a non-blocking socket connects.
pub fn connect(fd: RawFd, address: SocketAddr) -> SysResult<()> {
    let raw = RawAddress::of(address);
    // SAFETY: the address is readable for the length passed.
    check(unsafe { libc::connect(fd, raw.pointer(), raw.len) }.into()).map(drop)
}

/// connect(2) with `AF_UNSPEC`: a stream socket is as if it had never been connected.
pub fn disconnect(fd: RawFd) -> SysResult<()> {
    let raw = RawAddress::empty();
    // SAFETY: the storage is readable for the length passed, and its family is AF_UNSPEC.
    check(unsafe { libc::connect(fd, raw.pointer(), raw.len) }.into()).map(drop)
}

/// Whether a connection is over, and all that was sent has been acknowledged (`TCP_INFO`, state `TCP_CLOSE`).
pub fn is_closed(fd: RawFd) -> bool {
    const TCP_CLOSE: u8 = 7;
    let (mut state, mut size) = ([0u8; 8], 8 as libc::socklen_t);
    let to = state.as_mut_ptr().cast();
    // SAFETY: the kernel writes at most the 8 bytes passed; the state is the first of them.
    let asked = unsafe { libc::getsockopt(fd, libc::IPPROTO_TCP, libc::TCP_INFO, to, &raw mut size) };
    asked == 0 && state[0] == TCP_CLOSE
}

/// A socket that connects to `address`, and whether it is connected already.
pub fn start_connect(address: SocketAddr) -> SysResult<(std::os::fd::OwnedFd, bool)> {
    let fd = fs::own(socket(family(address), libc::SOCK_STREAM)?);
    match connect(std::os::fd::AsRawFd::as_raw_fd(&fd), address) {
        Ok(()) => Ok((fd, true)),
        Err(Errno::EINPROGRESS) => Ok((fd, false)),
        Err(e) => Err(e),
    }
}

/// A datagram socket that sends to `address` and receives from it alone; its port is the kernel's choice.
pub fn datagrams_to(address: SocketAddr) -> SysResult<std::os::fd::OwnedFd> {
    let fd = fs::own(socket(family(address), libc::SOCK_DGRAM)?);
    connect(std::os::fd::AsRawFd::as_raw_fd(&fd), address)?;
    Ok(fd)
}

/// accept4(2), close-on-exec and non-blocking, of a connection whose address is not needed.
pub fn accept(fd: RawFd) -> SysResult<std::os::fd::OwnedFd> {
    let (none, flags) = (std::ptr::null_mut(), libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK);
    // SAFETY: null asks for no address.
    let fd = check(unsafe { libc::accept4(fd, none, std::ptr::null_mut(), flags) }.into())?;
    Ok(fs::own(fd as RawFd))
}

/// getsockname(2).
pub fn local_address(fd: RawFd) -> SysResult<SocketAddr> {
    let mut raw = RawAddress::empty();
    // SAFETY: the storage is writable for the length that is passed, and the length is writable.
    check(unsafe { libc::getsockname(fd, (&raw mut raw.storage).cast(), &raw mut raw.len) }.into())?;
    raw.address()
}

/// `SO_ERROR`: how a non-blocking connect ended, or what a connection died of.
pub fn take_error(fd: RawFd) -> SysResult<()> {
    let (mut error, mut size) = (0i32, std::mem::size_of::<i32>() as libc::socklen_t);
    let to = (&raw mut error).cast();
    // SAFETY: the kernel writes one int.
    check(unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_ERROR, to, &raw mut size) }.into())?;
    if error == 0 { Ok(()) } else { Err(Errno::from_raw(error)) }
}

/// `SO_INCOMING_CPU`: the cpu on which the socket's last packet was taken (socket(7)).
pub fn incoming_cpu(fd: RawFd) -> SysResult<usize> {
    let (mut cpu, mut size) = (0i32, std::mem::size_of::<i32>() as libc::socklen_t);
    let to = (&raw mut cpu).cast();
    // SAFETY: the kernel writes one int.
    let got = unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_INCOMING_CPU, to, &raw mut size) };
    check(got.into())?;
    usize::try_from(cpu).map_err(|_| Errno::ENODATA)
}

/// shutdown(2) of the sending half.
pub fn end_sending(fd: RawFd) -> SysResult<()> {
    // SAFETY: no memory is involved.
    check(unsafe { libc::shutdown(fd, libc::SHUT_WR) }.into()).map(drop)
}

/// Closing the socket sends a reset, and what was not sent is dropped (socket(7), `SO_LINGER`).
pub fn reset_on_close(fd: RawFd) -> SysResult<()> {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    let size = std::mem::size_of::<libc::linger>() as libc::socklen_t;
    let from = (&raw const linger).cast();
    // SAFETY: the kernel reads one `linger`, which outlives the call.
    check(unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_LINGER, from, size) }.into()).map(drop)
}

/// recvfrom(2).
pub fn receive_from(fd: RawFd, buf: &mut [u8]) -> SysResult<(usize, SocketAddr)> {
    let mut raw = RawAddress::empty();
    let (to, size) = (buf.as_mut_ptr().cast(), buf.len());
    let (from, len) = ((&raw mut raw.storage).cast(), &raw mut raw.len);
    // SAFETY: the buffer and the address are writable for the lengths passed.
    let n = check(unsafe { libc::recvfrom(fd, to, size, libc::MSG_DONTWAIT, from, len) } as libc::c_long)?;
    Ok((n as usize, raw.address()?))
}

/// sendto(2).
pub fn send_to(fd: RawFd, bytes: &[u8], address: SocketAddr) -> SysResult<()> {
    let raw = RawAddress::of(address);
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    let (from, size) = (bytes.as_ptr().cast(), bytes.len());
    // SAFETY: the buffer and the address are readable for the lengths passed.
    check(unsafe { libc::sendto(fd, from, size, flags, raw.pointer(), raw.len) } as libc::c_long).map(drop)
}

/// splice(2) without waiting: how many bytes went from one descriptor to the other, one of which is a pipe.
pub fn splice(from: RawFd, to: RawFd, most: usize) -> SysResult<usize> {
    let none = std::ptr::null_mut();
    let flags = libc::SPLICE_F_MOVE | libc::SPLICE_F_NONBLOCK;
    // SAFETY: null offsets, as sockets and pipes want them.
    check(unsafe { libc::splice(from, none, to, std::ptr::null_mut(), most, flags) } as libc::c_long)
        .map(|n| n as usize)
}

/// A non-blocking, close-on-exec pipe: (read end, write end).
pub fn pipe() -> SysResult<(std::os::fd::OwnedFd, std::os::fd::OwnedFd)> {
    let mut fds = [0; 2];
    // SAFETY: pipe2 writes two descriptors.
    check(unsafe { libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC | libc::O_NONBLOCK) }.into())?;
    Ok((fs::own(fds[0]), fs::own(fds[1])))
}

/// fcntl(2) `F_SETPIPE_SZ`: gives a pipe this size. `EPERM` where the user has too many pages in pipes (pipe(7)).
pub fn resize_pipe(fd: RawFd, bytes: usize) -> SysResult<()> {
    let bytes = libc::c_int::try_from(bytes).map_err(|_| Errno::EINVAL)?;
    // SAFETY: no memory is involved.
    check(unsafe { libc::fcntl(fd, libc::F_SETPIPE_SZ, bytes) }.into()).map(drop)
}

/// What waits for many descriptors at once (epoll(7)).
#[derive(Debug)]
pub struct Epoll(std::os::fd::OwnedFd);

/// What happened on a descriptor: its token, and `EPOLL*`.
pub type EpollEvent = (u64, u32);

impl Epoll {
    /// epoll_create1(2).
    pub fn new() -> SysResult<Self> {
        // SAFETY: no memory is involved.
        let fd = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) }.into())?;
        Ok(Epoll(fs::own(fd as RawFd)))
    }

    /// Adds a descriptor, which leaves by being closed.
    pub fn add(&self, fd: RawFd, token: u64, events: i32) -> SysResult<()> {
        let mut event = libc::epoll_event { events: events as u32, u64: token };
        let own = std::os::fd::AsRawFd::as_raw_fd(&self.0);
        // SAFETY: the kernel reads one event, which outlives the call.
        check(unsafe { libc::epoll_ctl(own, libc::EPOLL_CTL_ADD, fd, &raw mut event) }.into()).map(drop)
    }

    /// Removes a descriptor that stays open.
    pub fn remove(&self, fd: RawFd) -> SysResult<()> {
        let own = std::os::fd::AsRawFd::as_raw_fd(&self.0);
        // SAFETY: for a removal no event is read.
        check(unsafe { libc::epoll_ctl(own, libc::EPOLL_CTL_DEL, fd, std::ptr::null_mut()) }.into()).map(drop)
    }

    /// epoll_wait(2): appends what happened, after at most `millis` (-1: no limit).
    pub fn wait(&self, found: &mut Vec<EpollEvent>, millis: i32) -> SysResult<()> {
        const AT_ONCE: usize = 256;
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; AT_ONCE];
        let own = std::os::fd::AsRawFd::as_raw_fd(&self.0);
        // SAFETY: the array is writable for the number passed.
        let n = unsafe { libc::epoll_wait(own, events.as_mut_ptr(), AT_ONCE as i32, millis) };
        match check(n.into()) {
            Err(Errno::EINTR) => Ok(()),
            Err(e) => Err(e),
            Ok(n) => {
                found.extend(events[..n as usize].iter().map(|e| (e.u64, e.events)));
                Ok(())
            }
        }
    }
}

/// getrandom(2).
pub fn random<const N: usize>() -> SysResult<[u8; N]> {
    let mut bytes = [0; N];
    // SAFETY: the buffer is writable for the length passed.
    let n = check(unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), N, 0) } as libc::c_long)?;
    if n as usize == N { Ok(bytes) } else { Err(Errno::EAGAIN) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_go_in_and_out() {
        for text in ["127.0.0.1:80", "[2001:db8::1]:443"] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(RawAddress::of(address).address(), Ok(address));
        }
        let mapped: SocketAddr = "[::ffff:10.0.0.1]:5".parse().unwrap();
        assert_eq!(RawAddress::of(mapped).address(), Ok("10.0.0.1:5".parse().unwrap()));
    }
}
