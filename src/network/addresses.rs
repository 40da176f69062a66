//! Addresses that a name must not lead to, whatever the answer says.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A range, and what it is for.
struct AddressRange<T> {
    first: T,
    prefix: u8,
    what: &'static str,
}

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8, what: &'static str) -> AddressRange<u32> {
    AddressRange { first: u32::from_be_bytes([a, b, c, d]), prefix, what }
}

const fn v6(first: u128, prefix: u8, what: &'static str) -> AddressRange<u128> {
    AddressRange { first, prefix, what }
}

/// IPv4 (IANA's registry of special-purpose addresses). The first that fits counts.
const V4: [AddressRange<u32>; 15] = [
    v4(0, 0, 0, 0, 8, "an address of this network"),
    v4(10, 0, 0, 0, 8, "a private address"),
    v4(100, 64, 0, 0, 10, "a shared address"),
    v4(127, 0, 0, 0, 8, "a loopback address"),
    v4(168, 63, 129, 16, 32, "a metadata address"),
    v4(169, 254, 169, 254, 32, "a metadata address"),
    v4(169, 254, 0, 0, 16, "a link-local address"),
    v4(172, 16, 0, 0, 12, "a private address"),
    v4(192, 0, 0, 0, 24, "a reserved address"),
    v4(192, 88, 99, 0, 24, "a reserved address"),
    v4(192, 168, 0, 0, 16, "a private address"),
    v4(198, 18, 0, 0, 15, "an address that stands for a name inside"),
    v4(224, 0, 0, 0, 4, "a multicast address"),
    v4(255, 255, 255, 255, 32, "a broadcast address"),
    v4(240, 0, 0, 0, 4, "a reserved address"),
];

/// IPv6, without the ranges that hold an IPv4 address.
const V6: [AddressRange<u128>; 11] = [
    v6(1, 128, "a loopback address"),
    v6(0, 96, "a reserved address"),
    v6(0x0064_ff9b_0001 << 80, 48, "a private address"),
    v6(0x0100 << 112, 64, "a reserved address"),
    v6(0x2001 << 112, 32, "an address of a tunnel (Teredo)"),
    v6(0xfc00 << 112, 7, "a unique local address"),
    v6(0xfe80 << 112, 10, "a link-local address"),
    v6(0xfec0 << 112, 10, "a site-local address"),
    v6(0xff00 << 112, 8, "a multicast address"),
    v6(0x5f00 << 112, 16, "a reserved address"),
    v6(0x3fff << 112, 20, "a reserved address"),
];

/// What kind of address this is, where a name must not lead to it.
pub fn closed(address: IpAddr) -> Option<&'static str> {
    match address.to_canonical() {
        IpAddr::V4(address) => closed_v4(address),
        IpAddr::V6(address) => {
            let bits = u128::from(address);
            let own = V6.iter().find(|r| bits >> (128 - r.prefix) == r.first >> (128 - r.prefix));
            own.map(|r| r.what).or_else(|| embedded(address).and_then(closed_v4))
        }
    }
}

fn closed_v4(address: Ipv4Addr) -> Option<&'static str> {
    let bits = u32::from(address);
    V4.iter().find(|r| bits >> (32 - r.prefix) == r.first >> (32 - r.prefix)).map(|r| r.what)
}

/// The IPv4 address to which a translator (RFC 6052) or a tunnel (RFC 3056) would carry packets.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let bits = u128::from(address);
    match address.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => Some((bits as u32).into()),
        [0x2002, ..] => Some(((bits >> 80) as u32).into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_are_closed() {
        for (address, what) in [
            ("127.0.0.1", "a loopback address"),
            ("127.8.8.8", "a loopback address"),
            ("0.0.0.0", "an address of this network"),
            ("10.1.2.3", "a private address"),
            ("172.16.0.1", "a private address"),
            ("172.31.255.255", "a private address"),
            ("192.168.1.1", "a private address"),
            ("100.100.100.200", "a shared address"),
            ("169.254.169.254", "a metadata address"),
            ("169.254.1.1", "a link-local address"),
            ("168.63.129.16", "a metadata address"),
            ("198.18.0.1", "an address that stands for a name inside"),
            ("224.0.0.251", "a multicast address"),
            ("255.255.255.255", "a broadcast address"),
            ("240.0.0.1", "a reserved address"),
            ("192.0.0.8", "a reserved address"),
            ("192.88.99.1", "a reserved address"),
            ("::1", "a loopback address"),
            ("::", "a reserved address"),
            ("::ffff:127.0.0.1", "a loopback address"),
            ("::ffff:169.254.169.254", "a metadata address"),
            ("::10.0.0.1", "a reserved address"),
            ("64:ff9b::a00:1", "a private address"),
            ("64:ff9b::a9fe:a9fe", "a metadata address"),
            ("2002:a00:1::", "a private address"),
            ("64:ff9b:1::a00:1", "a private address"),
            ("100::1", "a reserved address"),
            ("5f00::1", "a reserved address"),
            ("3fff::1", "a reserved address"),
            ("fec0::1", "a site-local address"),
            ("fe80::1", "a link-local address"),
            ("fd00:ec2::254", "a unique local address"),
            ("fc00::1", "a unique local address"),
            ("ff02::1", "a multicast address"),
            ("2001::1", "an address of a tunnel (Teredo)"),
        ] {
            assert_eq!(closed(address.parse().unwrap()), Some(what), "{address}");
        }
        for open in [
            "1.1.1.1",
            "172.32.0.1",
            "203.0.113.7",
            "100.128.0.1",
            "2606:4700::1111",
            "2001:4860::8888",
            "64:ff9b::101:101",
        ] {
            assert_eq!(closed(open.parse().unwrap()), None, "{open}");
        }
    }
}
