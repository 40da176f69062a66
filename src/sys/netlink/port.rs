//! Ports of bridges: whether one is isolated from the others (bridge(8), `isolated`).

use super::{IFINFO_HEADER, Netlink, attribute, half, ifinfo, word, zero_terminated};
use crate::sys::{Errno, SysResult};

/// linux/if_link.h: attributes of a device, of its kind, and of a bridge's port.
const IFLA_LINKINFO: u16 = 18;
const IFLA_PROTINFO: u16 = 12;
const IFLA_INFO_SLAVE_KIND: u16 = 4;
const IFLA_INFO_SLAVE_DATA: u16 = 5;
const IFLA_BRPORT_ISOLATED: u16 = 33;
const NLA_F_NESTED: u16 = 1 << 15;

/// A port of a bridge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Port {
    /// Interface index.
    pub index: i32,
    /// It exchanges no frame with other isolated ports.
    pub isolated: bool,
}

impl Netlink {
    /// The port that the device `name` is of a bridge; `None` where it is of none.
    pub fn port(&mut self, name: &str) -> SysResult<Option<Port>> {
        let mut found = None;
        let mut body = ifinfo(0, 0, 0);
        attribute(&mut body, libc::IFLA_IFNAME, &zero_terminated(name));
        self.ask(libc::RTM_GETLINK, libc::NLM_F_ACK, &body, |kind, body| {
            if kind == libc::RTM_NEWLINK && body.len() >= IFINFO_HEADER {
                let isolated = find(&body[IFINFO_HEADER..], IFLA_LINKINFO).and_then(isolated);
                found = isolated.map(|isolated| Port { index: word(body, 4) as i32, isolated });
            }
        })?;
        Ok(found)
    }

    /// Isolates the port with this index.
    pub fn isolate(&mut self, index: i32) -> SysResult<()> {
        let mut body = ifinfo(index, 0, 0);
        body[0] = libc::AF_BRIDGE as u8;
        let mut port = Vec::new();
        attribute(&mut port, IFLA_BRPORT_ISOLATED, &[1]);
        attribute(&mut body, IFLA_PROTINFO | NLA_F_NESTED, &port);
        self.ask(libc::RTM_SETLINK, libc::NLM_F_ACK, &body, |_, _| {})
    }

    /// Isolates the port that the device `name` is, and reads back that it is; whether it is a port.
    pub fn isolated(&mut self, name: &str) -> SysResult<bool> {
        let Some(port) = self.port(name)? else { return Ok(false) };
        if !port.isolated {
            self.isolate(port.index)?;
        }
        match self.port(name)? {
            Some(Port { isolated: true, .. }) => Ok(true),
            _ => Err(Errno::EOPNOTSUPP),
        }
    }
}

/// What a bridge says of its port; `None` where the device is not a port of one.
fn isolated(info: &[u8]) -> Option<bool> {
    let kind = find(info, IFLA_INFO_SLAVE_KIND)?;
    let data = find(info, IFLA_INFO_SLAVE_DATA).filter(|_| kind == b"bridge\0")?;
    Some(find(data, IFLA_BRPORT_ISOLATED).is_some_and(|flag| flag.first() == Some(&1)))
}

/// The data of the attribute of this kind.
fn find(mut rest: &[u8], wanted: u16) -> Option<&[u8]> {
    while rest.len() >= 4 {
        let len = usize::from(half(rest, 0)).max(4);
        let data = rest.get(4..len)?;
        if half(rest, 2) & !NLA_F_NESTED == wanted {
            return Some(data);
        }
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_found_in_what_the_kernel_says() {
        let info = |kind: &[u8], flag: &[u8]| {
            let (mut data, mut info) = (Vec::new(), Vec::new());
            attribute(&mut data, 1, &[3]);
            attribute(&mut data, IFLA_BRPORT_ISOLATED, flag);
            attribute(&mut info, 1, b"veth\0");
            attribute(&mut info, IFLA_INFO_SLAVE_KIND, kind);
            attribute(&mut info, IFLA_INFO_SLAVE_DATA | NLA_F_NESTED, &data);
            isolated(&info)
        };
        assert_eq!((info(b"bridge\0", &[1]), info(b"bridge\0", &[0])), (Some(true), Some(false)));
        assert_eq!((info(b"bond\0", &[1]), isolated(&[])), (None, None));
        assert_eq!(isolated(&[200, 0, 4, 0]), None);
    }

    #[test]
    fn the_loopback_device_is_no_port() {
        assert_eq!(Netlink::open().unwrap().isolated("lo"), Ok(false));
    }
}
