//! Routes by rtnetlink(7): addresses that a network namespace takes for its own, and what kind of address one is.

use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use super::{Errno, SysResult, check, fs, socket};

const NLMSG_ERROR: u16 = 2;
/// `struct nlmsghdr` and `struct rtmsg`.
const HEADERS: usize = 16 + 12;
/// The loopback device is the first of every network namespace.
const LOOPBACK: u32 = 1;

/// `RTN_UNICAST`: another host's address.
pub const UNICAST: u8 = libc::RTN_UNICAST;

/// A request of rtnetlink about one address or range.
fn request(
    kind: u16,
    flags: i32,
    (to, prefix): (IpAddr, u8),
    route: [u8; 4],
    device: Option<u32>,
) -> Vec<u8> {
    let (family, bytes) = match to {
        IpAddr::V4(a) => (libc::AF_INET, a.octets().to_vec()),
        IpAddr::V6(a) => (libc::AF_INET6, a.octets().to_vec()),
    };
    let [table, protocol, scope, class] = route;
    let mut message = vec![0; 16];
    // struct rtmsg: family, length of destination and source, tos, table, protocol, scope, type, flags.
    message.extend([family as u8, prefix, 0, 0, table, protocol, scope, class, 0, 0, 0, 0]);
    let mut attribute = |kind: u16, data: &[u8]| {
        message.extend(((4 + data.len()) as u16).to_ne_bytes());
        message.extend(kind.to_ne_bytes());
        message.extend(data);
    };
    attribute(libc::RTA_DST, &bytes);
    if let Some(device) = device {
        attribute(libc::RTA_OIF, &device.to_ne_bytes());
    }
    let len = message.len() as u32;
    message[..4].copy_from_slice(&len.to_ne_bytes());
    message[4..6].copy_from_slice(&kind.to_ne_bytes());
    message[6..8].copy_from_slice(&((flags | libc::NLM_F_REQUEST) as u16).to_ne_bytes());
    message
}

/// The request for `ip route add local TO dev lo`: every address of the range is this namespace's own.
pub fn local_request(to: IpAddr, prefix: u8) -> Vec<u8> {
    let flags = libc::NLM_F_ACK | libc::NLM_F_CREATE | libc::NLM_F_EXCL;
    let route = [libc::RT_TABLE_LOCAL, libc::RTPROT_BOOT, libc::RT_SCOPE_HOST, libc::RTN_LOCAL];
    request(libc::RTM_NEWROUTE, flags, (to, prefix), route, Some(LOOPBACK))
}

/// The request for `ip route add unreachable TO table local`: the first of the tables that the kernel looks into
/// (ip-rule(8)), so that no other route is found.
pub fn unreachable_request(to: IpAddr) -> Vec<u8> {
    let flags = libc::NLM_F_ACK | libc::NLM_F_CREATE | libc::NLM_F_EXCL;
    let route = [libc::RT_TABLE_LOCAL, libc::RTPROT_BOOT, libc::RT_SCOPE_UNIVERSE, libc::RTN_UNREACHABLE];
    request(libc::RTM_NEWROUTE, flags, host(to), route, None)
}

/// The request for `ip route get TO`.
pub fn kind_request(to: IpAddr) -> Vec<u8> {
    request(libc::RTM_GETROUTE, 0, host(to), [0; 4], None)
}

/// The range of this address alone.
fn host(address: IpAddr) -> (IpAddr, u8) {
    (address, if address.is_ipv4() { 32 } else { 128 })
}

/// Asks with a [`kind_request`] that was made before; Init may call it.
pub fn route_kind(request: &[u8]) -> SysResult<u8> {
    let fd = open()?;
    let kind = ask_kind(fd, request);
    fs::close(fd);
    kind
}

fn ask_kind(fd: RawFd, request: &[u8]) -> SysResult<u8> {
    socket::send(fd, request)?;
    let mut answer = [0u8; 4096];
    let n = socket::recv(fd, &mut answer)?;
    let answer = answer.get(..n).ok_or(Errno::EMSGSIZE)?;
    match half(answer, 4) {
        Some(NLMSG_ERROR) => Err(Errno::from_raw(word(answer, 16).map_or(libc::EBADMSG, |e| -(e as i32)))),
        Some(libc::RTM_NEWROUTE) if answer.len() >= HEADERS => Ok(answer[16 + 7]),
        _ => Err(Errno::EBADMSG),
    }
}

/// Sends a request that was made before, and waits for the kernel's answer; Init may call it.
pub fn perform(request: &[u8]) -> SysResult<()> {
    let fd = open()?;
    let asked = socket::send(fd, request).and_then(|()| {
        let mut answer = [0u8; 512];
        let n = socket::recv(fd, &mut answer)?;
        let message = answer.get(..n).ok_or(Errno::EMSGSIZE)?;
        match (half(message, 4), word(message, 16)) {
            (Some(NLMSG_ERROR), Some(0)) => Ok(()),
            (Some(NLMSG_ERROR), Some(e)) => Err(Errno::from_raw(-(e as i32))),
            _ => Err(Errno::EBADMSG),
        }
    });
    fs::close(fd);
    asked
}

fn open() -> SysResult<RawFd> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
    // SAFETY: no memory is involved.
    check(unsafe { libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_ROUTE) }.into()).map(|fd| fd as RawFd)
}

/// A socket that answers what kind of address one is.
#[derive(Debug)]
pub struct Routes(OwnedFd);

impl Routes {
    /// Of this process's network namespace.
    pub fn open() -> SysResult<Self> {
        open().map(|fd| Routes(fs::own(fd)))
    }

    /// `RTN_*` of the route that leads to `address`: [`UNICAST`] for another host's, `RTN_LOCAL` for this host's own.
    pub fn kind(&self, address: IpAddr) -> SysResult<u8> {
        ask_kind(self.0.as_raw_fd(), &kind_request(address))
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map(u32::from_ne_bytes)
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2).and_then(|b| b.try_into().ok()).map(u16::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_host_s_own_addresses_are_local() {
        let routes = Routes::open().unwrap();
        assert_eq!(routes.kind("127.0.0.1".parse().unwrap()), Ok(libc::RTN_LOCAL));
        assert_eq!(routes.kind("127.1.2.3".parse().unwrap()), Ok(libc::RTN_LOCAL));
        // The socket is in order after an error.
        assert_ne!(routes.kind("203.0.113.1".parse().unwrap()), Ok(libc::RTN_LOCAL));
        assert_eq!(routes.kind("127.0.0.1".parse().unwrap()), Ok(libc::RTN_LOCAL));
    }
}
