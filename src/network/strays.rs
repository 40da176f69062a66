//! Connections that no listener takes: to a port without a rule, or datagrams. The kernel refuses them inside, and the
//! helper reads their first packets from the loopback device to report them (packet(7)).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, RawFd};

use libc::sock_filter;

use super::Role;
use super::helper::Helper;
use super::verdict::Reason;
use crate::sys::{SysResult, io};

/// Bytes of each packet that are passed on: the headers of both protocols.
const MOST: usize = 128;

/// Packets that are read when the container has ended; a socket's buffer holds fewer.
const MOST_LEFT: usize = 1024;

const TCP: u8 = 6;
const UDP: u8 = 17;

/// `BPF_*` (linux/filter.h): load a word, half word or byte; the length of an IPv4 header; a byte behind it; mask, compare.
const LD_W: u16 = 0x20;
const LD_H: u16 = 0x28;
const LD_B: u16 = 0x30;
const LDX_HEADER: u16 = 0xb1;
const LD_B_BEHIND: u16 = 0x50;
const AND: u16 = 0x54;
const JEQ: u16 = 0x15;
const JSET: u16 = 0x45;
const RET: u16 = 0x06;

/// The flags of a TCP segment (RFC 9293): an opening one has SYN and not ACK.
const SYN: u32 = 0x02;
const SYN_ACK: u32 = 0x12;

const fn op(code: u16, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

/// Of IPv4: the opening segment of a TCP connection, and each UDP datagram, unless it goes to 127.0.0.0/8.
const V4: [sock_filter; 14] = [
    op(LD_W, 16, 0, 0), // the destination
    op(AND, 0xff00_0000, 0, 0),
    op(JEQ, 0x7f00_0000, 10, 0),
    op(LD_H, 6, 0, 0), // a later fragment has no port
    op(JSET, 0x1fff, 8, 0),
    op(LD_B, 9, 0, 0), // the protocol
    op(JEQ, UDP as u32, 5, 0),
    op(JEQ, TCP as u32, 0, 5),
    op(LDX_HEADER, 0, 0, 0),
    op(LD_B_BEHIND, 13, 0, 0), // the flags
    op(AND, SYN_ACK, 0, 0),
    op(JEQ, SYN, 0, 1),
    op(RET, MOST as u32, 0, 0),
    op(RET, 0, 0, 0),
];

/// The same of IPv6, unless it goes to ::1.
const V6: [sock_filter; 16] = [
    op(LD_W, 24, 0, 0),
    op(JEQ, 0, 0, 6),
    op(LD_W, 28, 0, 0),
    op(JEQ, 0, 0, 4),
    op(LD_W, 32, 0, 0),
    op(JEQ, 0, 0, 2),
    op(LD_W, 36, 0, 0),
    op(JEQ, 1, 7, 0),
    op(LD_B, 6, 0, 0), // the next header
    op(JEQ, UDP as u32, 4, 0),
    op(JEQ, TCP as u32, 0, 4),
    op(LD_B, 53, 0, 0), // the flags
    op(AND, SYN_ACK, 0, 0),
    op(JEQ, SYN, 0, 1),
    op(RET, MOST as u32, 0, 0),
    op(RET, 0, 0, 0),
];

/// What a socket for packets of this kind of address takes.
pub fn filter(v6: bool) -> &'static [sock_filter] {
    if v6 { &V6 } else { &V4 }
}

/// A packet to an address: whether it is a datagram, and where it goes.
#[derive(Debug, PartialEq, Eq)]
struct Stray {
    datagram: bool,
    to: SocketAddr,
}

/// Reads the headers of a packet that one of the filters has passed.
fn read(packet: &[u8]) -> Option<Stray> {
    let at = |at: usize| packet.get(at).copied();
    let version = at(0)? >> 4;
    let (protocol, address, transport): (u8, IpAddr, usize) = match version {
        4 => {
            let address = packet.get(16..20)?.first_chunk::<4>()?;
            (at(9)?, Ipv4Addr::from(*address).into(), usize::from(at(0)? & 15) * 4)
        }
        6 => (at(6)?, Ipv6Addr::from(*packet.get(24..40)?.first_chunk::<16>()?).into(), 40),
        _ => return None,
    };
    let port = u16::from_be_bytes([at(transport + 2)?, at(transport + 3)?]);
    let datagram = match protocol {
        TCP => false,
        UDP => true,
        _ => return None,
    };
    Some(Stray { datagram, to: SocketAddr::new(address.to_canonical(), port) })
}

impl Helper<'_> {
    /// One packet that no rule allows: it is reported, and the kernel has answered it.
    pub(super) fn stray(&mut self, fd: RawFd) -> SysResult<()> {
        let mut packet = [0; MOST];
        let n = io::receive_nowait(fd, &mut packet)?;
        let Some(Stray { datagram, to }) = read(&packet[..n]) else { return Ok(()) };
        // Its listener has this connection.
        if !datagram && self.sockets.iter().any(|(role, ..)| *role == Role::Port(to.port())) {
            return Ok(());
        }
        let name = self.names.name(to.ip());
        let reason = match (&name, datagram) {
            (_, true) => Reason::Datagram,
            (Some(_), false) => Reason::Port,
            (None, false) => Reason::NoName,
        };
        let address = name.is_none().then_some(to.ip());
        self.refuse(reason, name.as_deref().unwrap_or_default(), "", address, to.port());
        Ok(())
    }

    /// What is left when the container has ended.
    pub(super) fn last_strays(&mut self) {
        let strays = self.sockets.iter().filter(|(role, ..)| *role == Role::Strays);
        let all: Vec<RawFd> = strays.map(|(_, fd, _)| fd.as_raw_fd()).collect();
        for fd in all {
            (0..MOST_LEFT).take_while(|_| self.stray(fd).is_ok()).for_each(drop);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4(protocol: u8, to: [u8; 4], port: u16, flags: u8) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 40, 0, 0, 0, 0, 64, protocol, 0, 0, 10, 0, 0, 1];
        packet.extend(to);
        packet.extend([0, 99]);
        packet.extend(port.to_be_bytes());
        packet.extend([0, 0, 0, 0, 0, 0, 0, 0, 0x50, flags, 0, 0, 0, 0, 0, 0]);
        packet
    }

    fn v6(protocol: u8, to: &str, port: u16, flags: u8) -> Vec<u8> {
        let mut packet = vec![0x60, 0, 0, 0, 0, 20, protocol, 64];
        packet.extend([0; 16]);
        packet.extend(to.parse::<Ipv6Addr>().unwrap().octets());
        packet.extend([0, 99]);
        packet.extend(port.to_be_bytes());
        packet.extend([0, 0, 0, 0, 0, 0, 0, 0, 0x50, flags, 0, 0, 0, 0, 0, 0]);
        packet
    }

    /// What the kernel's interpreter does with a filter (filter.txt, section "BPF engine and instruction set").
    fn passes(filter: &[sock_filter], packet: &[u8]) -> bool {
        let (mut a, mut x, mut at) = (0u32, 0u32, 0usize);
        loop {
            let i = filter[at];
            let k = i.k as usize;
            let byte = |at: usize| u32::from(packet[at]);
            at += 1;
            match i.code {
                LD_W => a = u32::from_be_bytes(*packet[k..].first_chunk().unwrap()),
                LD_H => a = byte(k) << 8 | byte(k + 1),
                LD_B => a = byte(k),
                LDX_HEADER => x = (byte(k) & 15) * 4,
                LD_B_BEHIND => a = byte(x as usize + k),
                AND => a &= i.k,
                JEQ => at += usize::from(if a == i.k { i.jt } else { i.jf }),
                JSET => at += usize::from(if a & i.k != 0 { i.jt } else { i.jf }),
                RET => return i.k != 0,
                other => panic!("{other:#x}"),
            }
        }
    }

    #[test]
    fn first_packets_pass_the_filters() {
        let mut fragment = v4(UDP, [9, 9, 9, 9], 53, 0);
        fragment[7] = 1;
        for (packet, expected) in [
            (v4(TCP, [169, 254, 169, 254], 80, 0x02), true),
            (v4(TCP, [1, 1, 1, 1], 443, 0xc2), true),
            (v4(TCP, [1, 1, 1, 1], 443, 0x12), false),
            (v4(TCP, [1, 1, 1, 1], 443, 0x10), false),
            (v4(TCP, [127, 0, 0, 9], 80, 0x02), false),
            (v4(UDP, [9, 9, 9, 9], 53, 0), true),
            (v4(UDP, [127, 0, 0, 1], 53, 0), false),
            (v4(1, [9, 9, 9, 9], 0, 0x02), false),
            (fragment, false),
            (v6(TCP, "2001:db8::1", 80, 0x02), true),
            (v6(TCP, "2001:db8::1", 80, 0x12), false),
            (v6(TCP, "::1", 80, 0x02), false),
            (v6(TCP, "::2", 80, 0x02), true),
            (v6(TCP, "0:0:1::1", 80, 0x02), true),
            (v6(UDP, "fe80::1", 5353, 0), true),
            (v6(UDP, "::1", 5353, 0), false),
            (v6(58, "fe80::1", 0, 0x02), false),
        ] {
            let filter = filter(packet[0] >> 4 == 6);
            assert_eq!(passes(filter, &packet), expected, "{packet:?}");
        }
    }

    #[test]
    fn headers_are_read() {
        let of = |packet: &[u8]| read(packet).map(|s| (s.datagram, s.to.to_string()));
        assert_eq!(of(&v4(TCP, [1, 2, 3, 4], 80, 2)), Some((false, "1.2.3.4:80".into())));
        assert_eq!(of(&v6(UDP, "2001:db8::1", 443, 0)), Some((true, "[2001:db8::1]:443".into())));
        let whole = v4(TCP, [1, 2, 3, 4], 80, 2);
        (0..24).for_each(|n| assert_eq!(of(&whole[..n]), None, "{n}"));
        assert_eq!(of(&v4(1, [1, 2, 3, 4], 80, 2)), None);
    }
}
