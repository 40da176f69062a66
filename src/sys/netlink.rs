//! rtnetlink(7): the requests needed to move a network device.
//!
//! Requests are built byte by byte in native byte order; the kernel answers each with an acknowledgement
//! that carries an errno. Only the runtime uses this, never Init.

mod port;

use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use super::{Errno, SysResult, check, fs, process, socket};

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLMSG_HEADER: usize = 16;
const IFINFO_HEADER: usize = 16;
const IFADDR_HEADER: usize = 8;

/// A network device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// Interface index in its namespace.
    pub index: i32,
    /// `IFF_UP`.
    pub up: bool,
}

/// An address of a device, with the data to add it again after a move.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    family: u8,
    prefix: u8,
    flags: u32,
    /// `IFA_ADDRESS`, `IFA_LOCAL`, `IFA_BROADCAST`: (type, bytes).
    parts: Vec<(u16, Vec<u8>)>,
    label: AddressLabel,
}

/// `IFA_LABEL`, which IPv4 addresses have.
#[derive(Debug, Clone, PartialEq, Eq)]
enum AddressLabel {
    /// The device's name, the kernel's default.
    Device,
    /// The device's name and a suffix, as in `eth0:1`.
    Alias(Vec<u8>),
    /// Any other label.
    Own(Vec<u8>),
}

impl AddressLabel {
    fn of(text: &[u8], device: &str) -> Self {
        match text.strip_prefix(device.as_bytes()) {
            Some(b"") => AddressLabel::Device,
            Some(alias) if alias.starts_with(b":") => AddressLabel::Alias(alias.to_vec()),
            _ => AddressLabel::Own(text.to_vec()),
        }
    }

    /// The label on a device with the name `device`; `None` for the kernel's default, or if the result would
    /// be too long.
    fn on(&self, device: &str) -> Option<Vec<u8>> {
        let text = match self {
            AddressLabel::Device => return None,
            AddressLabel::Alias(alias) => [device.as_bytes(), alias].concat(),
            AddressLabel::Own(text) => text.clone(),
        };
        (text.len() < libc::IFNAMSIZ).then_some(text)
    }
}

/// A routing socket of one network namespace.
#[derive(Debug)]
pub struct Netlink {
    fd: OwnedFd,
    sequence: u32,
}

impl Netlink {
    /// A socket of this process's network namespace.
    pub fn open() -> SysResult<Self> {
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
        // SAFETY: no memory is involved.
        let fd = check(unsafe { libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_ROUTE) }.into())?;
        Ok(Netlink { fd: fs::own(fd as RawFd), sequence: 0 })
    }

    /// A socket in the network namespace `there`; this process enters it and returns to `own`.
    pub fn open_in(there: RawFd, own: RawFd) -> SysResult<Self> {
        let net = libc::CLONE_NEWNET as u64;
        process::setns(there, net)?;
        let opened = Self::open();
        process::setns(own, net)?;
        opened
    }

    /// The device with the name `name`; `ENODEV` if it does not exist.
    pub fn link(&mut self, name: &str) -> SysResult<Link> {
        let mut found = None;
        let mut body = ifinfo(0, 0, 0);
        attribute(&mut body, libc::IFLA_IFNAME, &zero_terminated(name));
        self.ask(libc::RTM_GETLINK, libc::NLM_F_ACK, &body, |kind, body| {
            if kind == libc::RTM_NEWLINK && body.len() >= IFINFO_HEADER {
                let up = word(body, 8) & libc::IFF_UP as u32 != 0;
                found = Some(Link { index: word(body, 4) as i32, up });
            }
        })?;
        found.ok_or(Errno::ENODEV)
    }

    /// The permanent addresses of global scope of device `index` with the name `name`. Addresses that the
    /// kernel creates itself (link-local ones, those from router advertisements) are left out: the kernel
    /// creates them again.
    pub fn addresses(&mut self, index: i32, name: &str) -> SysResult<Vec<Address>> {
        let mut found = Vec::new();
        let body = vec![0; IFADDR_HEADER];
        self.ask(libc::RTM_GETADDR, libc::NLM_F_DUMP, &body, |kind, body| {
            if kind == libc::RTM_NEWADDR && body.len() >= IFADDR_HEADER && word(body, 4) as i32 == index {
                found.extend(address(body, name));
            }
        })?;
        Ok(found)
    }

    /// Sets a device up or down.
    pub fn set_up(&mut self, index: i32, up: bool) -> SysResult<()> {
        let bit = libc::IFF_UP as u32;
        let body = ifinfo(index, if up { bit } else { 0 }, bit);
        self.ask(libc::RTM_NEWLINK, libc::NLM_F_ACK, &body, |_, _| {})
    }

    /// Moves a device to the namespace `to` and renames it in the same request, so the old name cannot
    /// collide with a name in that namespace.
    pub fn move_to(&mut self, index: i32, to: RawFd, name: &str) -> SysResult<()> {
        let mut body = ifinfo(index, 0, 0);
        attribute(&mut body, libc::IFLA_NET_NS_FD, &(to as u32).to_ne_bytes());
        attribute(&mut body, libc::IFLA_IFNAME, &zero_terminated(name));
        self.ask(libc::RTM_NEWLINK, libc::NLM_F_ACK, &body, |_, _| {})
    }

    /// Adds an address to device `index` with the name `name`. An existing equal address is no error.
    pub fn add_address(&mut self, index: i32, name: &str, address: &Address) -> SysResult<()> {
        let mut body = vec![address.family, address.prefix, 0, 0];
        body.extend_from_slice(&(index as u32).to_ne_bytes());
        for (kind, bytes) in &address.parts {
            attribute(&mut body, *kind, bytes);
        }
        if let Some(mut label) = address.label.on(name) {
            label.push(0);
            attribute(&mut body, libc::IFA_LABEL, &label);
        }
        attribute(&mut body, libc::IFA_FLAGS, &address.flags.to_ne_bytes());
        let flags = libc::NLM_F_ACK | libc::NLM_F_CREATE | libc::NLM_F_EXCL;
        match self.ask(libc::RTM_NEWADDR, flags, &body, |_, _| {}) {
            Err(Errno::EEXIST) => Ok(()),
            other => other,
        }
    }

    /// Sends one request and passes every message of the answer to `each`, up to the final one.
    fn ask(&mut self, kind: u16, flags: i32, body: &[u8], mut each: impl FnMut(u16, &[u8])) -> SysResult<()> {
        self.sequence += 1;
        let mut message = Vec::with_capacity(NLMSG_HEADER + body.len());
        message.extend_from_slice(&((NLMSG_HEADER + body.len()) as u32).to_ne_bytes());
        message.extend_from_slice(&kind.to_ne_bytes());
        message.extend_from_slice(&((flags | libc::NLM_F_REQUEST) as u16).to_ne_bytes());
        message.extend_from_slice(&self.sequence.to_ne_bytes());
        message.extend_from_slice(&0u32.to_ne_bytes());
        message.extend_from_slice(body);
        socket::send(self.fd.as_raw_fd(), &message)?;
        let mut buf = vec![0u8; 1 << 16];
        loop {
            let n = socket::recv(self.fd.as_raw_fd(), &mut buf)?;
            let mut rest = buf.get(..n).unwrap_or_default();
            while rest.len() >= NLMSG_HEADER {
                let len = (word(rest, 0) as usize).max(NLMSG_HEADER);
                let (kind, sequence) = (half(rest, 4), word(rest, 8));
                let body = rest.get(NLMSG_HEADER..len).ok_or(Errno::EBADMSG)?;
                rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
                match kind {
                    // An answer to an earlier request that was abandoned.
                    _ if sequence != self.sequence => {}
                    NLMSG_DONE => return Ok(()),
                    NLMSG_ERROR => {
                        return match word(body, 0) as i32 {
                            0 => Ok(()),
                            e => Err(Errno::from_raw(-e)),
                        };
                    }
                    kind => each(kind, body),
                }
            }
        }
    }
}

/// `struct ifinfomsg`.
fn ifinfo(index: i32, flags: u32, change: u32) -> Vec<u8> {
    let mut body = vec![0; 4];
    body.extend_from_slice(&index.to_ne_bytes());
    body.extend_from_slice(&flags.to_ne_bytes());
    body.extend_from_slice(&change.to_ne_bytes());
    body
}

/// Appends a `struct rtattr` with its data, padded.
fn attribute(body: &mut Vec<u8>, kind: u16, data: &[u8]) {
    body.extend_from_slice(&((4 + data.len()) as u16).to_ne_bytes());
    body.extend_from_slice(&kind.to_ne_bytes());
    body.extend_from_slice(data);
    body.resize(body.len().next_multiple_of(4), 0);
}

/// The address in the body of an `RTM_NEWADDR` of the device `device`; `None` if it is not permanent and
/// global.
fn address(body: &[u8], device: &str) -> Option<Address> {
    let (family, prefix, scope) = (*body.first()?, *body.get(1)?, *body.get(3)?);
    let mut flags = u32::from(*body.get(2)?);
    let (mut parts, mut label) = (Vec::new(), AddressLabel::Device);
    let mut rest = body.get(IFADDR_HEADER..)?;
    while rest.len() >= 4 {
        let (len, kind) = (usize::from(half(rest, 0)), half(rest, 2));
        let data = rest.get(4..len.max(4))?;
        match kind {
            libc::IFA_ADDRESS | libc::IFA_LOCAL | libc::IFA_BROADCAST => parts.push((kind, data.to_vec())),
            libc::IFA_LABEL => label = AddressLabel::of(data.strip_suffix(&[0]).unwrap_or(data), device),
            libc::IFA_FLAGS if data.len() == 4 => flags = word(data, 0),
            _ => {}
        }
        rest = rest.get(len.max(4).next_multiple_of(4)..).unwrap_or_default();
    }
    let permanent = flags & libc::IFA_F_PERMANENT != 0;
    let keep = flags & (libc::IFA_F_NODAD | libc::IFA_F_NOPREFIXROUTE | libc::IFA_F_MANAGETEMPADDR);
    (permanent && scope == libc::RT_SCOPE_UNIVERSE).then_some(Address {
        family,
        prefix,
        flags: keep,
        parts,
        label,
    })
}

fn zero_terminated(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.push(0);
    bytes
}

/// Four bytes at `at`; 0 if the message is too short.
fn word(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_ne_bytes)
}

/// Two bytes at `at`.
fn half(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).and_then(|b| b.try_into().ok()).map_or(0, u16::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_device_is_found_and_a_stranger_is_not() {
        let mut netlink = Netlink::open().unwrap();
        let lo = netlink.link("lo").unwrap();
        assert_eq!(lo.index, 1);
        // 127.0.0.1 has host scope, so it is left out.
        assert_eq!(netlink.addresses(lo.index, "lo").unwrap(), []);
        assert_eq!(netlink.link("no-such-device"), Err(Errno::ENODEV));
        // The socket still works after an error.
        assert_eq!(netlink.link("lo"), Ok(lo));
    }

    #[test]
    fn only_permanent_global_addresses_are_kept() {
        let message = |scope: u8, flags: u32| {
            let mut body = vec![2, 24, 0, scope, 7, 0, 0, 0];
            attribute(&mut body, libc::IFA_LOCAL, &[10, 0, 0, 1]);
            attribute(&mut body, libc::IFA_LABEL, b"eth0:1\0");
            attribute(&mut body, libc::IFA_FLAGS, &flags.to_ne_bytes());
            address(&body, "eth0")
        };
        let kept = message(0, libc::IFA_F_PERMANENT | libc::IFA_F_NOPREFIXROUTE).unwrap();
        assert_eq!((kept.family, kept.prefix, kept.flags), (2, 24, libc::IFA_F_NOPREFIXROUTE));
        assert_eq!(kept.parts, [(libc::IFA_LOCAL, vec![10, 0, 0, 1])]);
        assert_eq!(kept.label.on("lan0"), Some(b"lan0:1".to_vec()));
        assert_eq!(message(libc::RT_SCOPE_LINK, libc::IFA_F_PERMANENT), None);
        assert_eq!(message(0, 0), None);
    }

    #[test]
    fn labels_follow_the_device_s_name() {
        for (label, on) in
            [("eth0", None), ("eth0:1", Some("lan7:1")), ("eth0x", Some("eth0x")), ("web", Some("web"))]
        {
            assert_eq!(
                AddressLabel::of(label.as_bytes(), "eth0").on("lan7"),
                on.map(|l| l.as_bytes().to_vec()),
                "{label}"
            );
        }
        assert_eq!(AddressLabel::of(b"eth0:alias", "eth0").on("a-longer-name"), None);
    }
}
