//! What a container may reach by name: rules, in the words of `--allow-net`.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// The most rules of a container.
pub const MOST: usize = 256;

/// The most ports that rules name.
pub const MOST_PORTS: usize = 32;

/// What no property of the specification says of a container's network. The default is none of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Network {
    /// What the program may connect to; empty: nothing.
    pub rules: Vec<NetworkRule>,
    /// `--network none` or `host`, if one of them was given.
    pub asked: Option<NetworkMode>,
    /// A network namespace that was made before, and is joined.
    pub joined: Option<std::path::PathBuf>,
    /// pasta(1), where it connects the container with the host's network.
    pub pasta: Option<std::path::PathBuf>,
    /// A network of CNI.
    pub cni: Option<super::cni::Cni>,
    /// Where such networks are described.
    pub cni_places: super::cni::Places,
    /// Ports inside that are reached from outside.
    pub published: Vec<Published>,
    /// Names with an address of the caller's choice.
    pub hosts: Vec<(String, IpAddr)>,
    /// The policy file that adds rules, and those.
    pub of_file: Option<(String, Vec<String>)>,
    /// Servers that are asked for names in place of those of the host's /etc/resolv.conf.
    pub servers: Vec<SocketAddr>,
    /// A record of each connection is appended to a file.
    pub audit: bool,
    /// The kernel has IPv6: names have addresses of both kinds inside.
    pub v6: bool,
    /// The kernel has packet sockets: connections that no listener takes are reported.
    pub packets: bool,
}

/// `--network` with a single word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetworkMode {
    /// `none`: a network namespace without interfaces but lo.
    None,
    /// `host`: the network of the host.
    Host,
}

impl Network {
    /// Whether a helper process is needed.
    pub fn is_used(&self) -> bool {
        !self.rules.is_empty() || (!self.published.is_empty() && self.cni.is_none())
    }

    /// That there are not too many rules.
    pub fn check_rules(&self) -> Result<(), String> {
        if self.rules.len() > MOST || self.ports().len() > MOST_PORTS {
            return Err(format!("at most {MOST} rules and {MOST_PORTS} ports are possible"));
        }
        Ok(())
    }

    /// The ports of all rules, each once, in order.
    pub fn ports(&self) -> Vec<u16> {
        let mut ports: Vec<u16> = self.rules.iter().map(|rule| rule.port).collect();
        ports.sort_unstable();
        ports.dedup();
        ports
    }
}

/// One `--publish`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Published {
    /// Where it is listened on the host.
    pub address: SocketAddr,
    /// The port inside.
    pub port: u16,
}

impl fmt::Display for Published {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.address, self.port)
    }
}

/// `[IP:]HOSTPORT:PORT[/tcp]`.
pub fn parse_published(text: &str) -> Result<Published, String> {
    let needed = || "[IP:]HOSTPORT:PORT is needed, such as 8080:80".to_string();
    let text = match text.split_once('/') {
        None => text,
        Some((text, "tcp")) => text,
        Some((_, other)) => return Err(format!("{other}: only TCP ports can be published")),
    };
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let port = if digits { text.parse::<u16>().ok() } else { None };
        port.filter(|p| *p > 0).ok_or("a port is a number from 1 to 65535")
    };
    let (host, port) = text.rsplit_once(':').ok_or_else(needed)?;
    let (address, host) = match host.rsplit_once(':') {
        None => (IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), host),
        Some((address, host)) => {
            let plain = address.strip_prefix('[').and_then(|a| a.strip_suffix(']')).unwrap_or(address);
            (plain.parse().map_err(|_| needed())?, host)
        }
    };
    Ok(Published { address: SocketAddr::new(address, number(host)?), port: number(port)? })
}

/// `NAME:ADDRESS` or `NAME=ADDRESS`.
pub fn parse_host(text: &str) -> Result<(String, IpAddr), String> {
    let (host, address) = text.split_once(['=', ':']).ok_or("NAME:ADDRESS is needed")?;
    let plain = address.strip_prefix('[').and_then(|a| a.strip_suffix(']')).unwrap_or(address);
    let address = plain.parse().map_err(|_| format!("{address:?} is no address: NAME:ADDRESS is needed"))?;
    let name = name(host)?;
    if is_localhost(&name) {
        return Err(format!("{name} is the container itself: another name is needed"));
    }
    Ok((name, address))
}

/// `--dns`: an address at which one server can be.
pub fn parse_server(text: &str) -> Result<SocketAddr, String> {
    let address: IpAddr = text.parse().map_err(|_| "the address of a server is needed, such as 9.9.9.9")?;
    let address = plain(address)?;
    if matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local()) {
        return Err(format!("{address}: a link-local address means another host on each interface"));
    }
    Ok(SocketAddr::new(address, 53))
}

/// Whether every system answers for this name with its own loopback addresses (RFC 6761).
fn is_localhost(name: &str) -> bool {
    name == "localhost" || name.ends_with(".localhost")
}

/// One `--allow-net`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkRule {
    /// What may be connected to.
    pub to: Destination,
    /// The port.
    pub port: u16,
    /// `,any-sni`: the name in a TLS ClientHello or an HTTP request may be another one.
    pub any_name: bool,
}

/// What a rule allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// This name, in lower case.
    Name(String),
    /// `*.NAME`: every name below this one, and not this one itself.
    Below(String),
    /// This address, whatever kind of address it is.
    Address(IpAddr),
}

impl NetworkRule {
    /// Whether it is about this name, whatever the port.
    pub fn has_name(&self, name: &str) -> bool {
        match &self.to {
            Destination::Name(allowed) => allowed == name,
            Destination::Below(parent) => name
                .strip_suffix(parent.as_str())
                .and_then(|n| n.strip_suffix('.'))
                .is_some_and(|n| !n.is_empty()),
            Destination::Address(_) => false,
        }
    }
}

impl fmt::Display for NetworkRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.to {
            Destination::Name(name) => write!(f, "{name}:{}", self.port)?,
            Destination::Below(name) => write!(f, "*.{name}:{}", self.port)?,
            Destination::Address(address) => write!(f, "{}", SocketAddr::new(*address, self.port))?,
        }
        if self.any_name { f.write_str(",any-sni") } else { Ok(()) }
    }
}

/// `NAME[:PORT]`, `*.NAME[:PORT]` or `ADDRESS[:PORT]`, and `,any-sni`.
pub fn parse_rule(text: &str) -> Result<NetworkRule, String> {
    let (place, any_name) = match text.split_once(',') {
        None => (text, false),
        Some((place, "any-sni")) => (place, true),
        Some((_, other)) => return Err(format!("{other:?}: any-sni is the only word after a comma")),
    };
    let (host, port) = split_port(place)?;
    if host == "*" {
        return Err(
            "* alone is every host: --network host gives the whole network, *.NAME the names below one"
                .into(),
        );
    }
    if port == 53 {
        return Err(
            "port 53 is that of the resolver inside: names are looked up without a rule for it".into()
        );
    }
    let address = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    let to = match address.parse::<IpAddr>() {
        Ok(address) => Destination::Address(plain(address)?),
        Err(_) => match host.strip_prefix("*.") {
            Some(parent) => Destination::Below(name(parent)?),
            None => Destination::Name(name(host)?),
        },
    };
    match &to {
        Destination::Name(name) | Destination::Below(name) if is_localhost(name) => {
            return Err(format!(
                "{name} is the container itself: 127.0.0.1:{port} is the loopback address of this host"
            ));
        }
        _ => {}
    }
    Ok(NetworkRule { to, port, any_name })
}

/// The port after the last colon; 443 without one.
fn split_port(text: &str) -> Result<(&str, u16), String> {
    let bare_v6 = text.parse::<std::net::Ipv6Addr>().is_ok();
    match text.rsplit_once(':').filter(|(host, _)| !bare_v6 && !host.ends_with(':')) {
        None => Ok((text, 443)),
        Some((host, port)) => {
            let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
            let port = if digits { port.parse::<u16>().ok() } else { None };
            let port = port.filter(|p| *p > 0).ok_or("a port is a number from 1 to 65535")?;
            Ok((host, port))
        }
    }
}

/// An address to which one can connect.
fn plain(address: IpAddr) -> Result<IpAddr, String> {
    let address = address.to_canonical();
    let broadcast = address == IpAddr::V4(std::net::Ipv4Addr::BROADCAST);
    if address.is_unspecified() || address.is_multicast() || broadcast {
        return Err(format!("{address}: the address of one host is needed"));
    }
    if crate::config::network::is_inside(address) {
        return Err(format!(
            "{address}: addresses of this range stand for names inside ({INSIDE_V4}, {INSIDE_V6})"
        ));
    }
    Ok(address)
}

/// A host name in lower case, without a dot at its end.
pub fn name(text: &str) -> Result<String, String> {
    let text = text.strip_suffix('.').unwrap_or(text);
    let label = |label: &str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        (1..=63).contains(&label.len()) && label.chars().all(plain)
    };
    let number = text.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()));
    if !text.is_ascii() {
        return Err(format!(
            "{text}: the ASCII form of the name is needed, whose labels begin with xn-- (idn2 NAME prints it)"
        ));
    }
    if text.len() > 253 || !text.split('.').all(label) || number {
        return Err("NAME[:PORT], *.NAME[:PORT] or ADDRESS:PORT is needed: a name has letters, digits, dashes and dots".into());
    }
    Ok(text.to_ascii_lowercase())
}

/// The addresses that stand for names inside: a range for benchmarks, which no host of the internet has (RFC 2544).
pub const INSIDE_V4: &str = "198.18.0.0/15";
/// The same for IPv6: a unique local prefix (RFC 4193).
pub const INSIDE_V6: &str = "fd5a:feb0:1980:18::/64";
/// How many names have an address.
pub const MOST_NAMES: u32 = 4096;

const V4: u32 = 0xc612_0000;
const V6: u128 = 0xfd5a_feb0_1980_0018 << 64;

/// The addresses of the name with this number, from 1.
pub fn inside(number: u32) -> (std::net::Ipv4Addr, std::net::Ipv6Addr) {
    ((V4 + number).into(), (V6 + u128::from(number)).into())
}

/// The number of the name that this address stands for.
pub fn number(address: IpAddr) -> Option<u32> {
    let number = match address {
        IpAddr::V4(address) => u32::from(address).checked_sub(V4)?,
        IpAddr::V6(address) => u32::try_from(u128::from(address).checked_sub(V6)?).ok()?,
    };
    (1..=MOST_NAMES).contains(&number).then_some(number)
}

/// Whether an address belongs to one of the two ranges.
pub fn is_inside(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => u32::from(address) >> 17 == V4 >> 17,
        IpAddr::V6(address) => u128::from(address) >> 64 == V6 >> 64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_print_as_they_are_read() {
        for (text, prints) in [
            ("api.example.org", "api.example.org:443"),
            ("API.Example.org.:8443", "api.example.org:8443"),
            ("*.example.org:80,any-sni", "*.example.org:80,any-sni"),
            ("10.0.0.5:5432", "10.0.0.5:5432"),
            ("10.0.0.5", "10.0.0.5:443"),
            ("[2001:db8::1]:80", "[2001:db8::1]:80"),
            ("2001:db8::1", "[2001:db8::1]:443"),
            ("[::ffff:10.0.0.5]:80", "10.0.0.5:80"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example:443"),
        ] {
            assert_eq!(parse_rule(text).map(|r| r.to_string()), Ok(prints.into()), "{text}");
        }
        for bad in [
            "",
            "*",
            "*:443",
            "a.org:0",
            "a.org:x",
            "a.org:65536",
            "a.org:",
            "a..org",
            "a b",
            "*.*.org",
            "a.org:53",
            "a.org,what",
            "0.0.0.0:80",
            "224.0.0.1:80",
            "198.18.0.1:80",
            "1.2.3:80",
            "http://a.org",
            "a.org/x",
            "[::1",
            "255.255.255.255:80",
            "b\u{fc}cher.example",
            "localhost:80",
            "LocalHost.",
            "*.localhost",
            "app.localhost:8080",
        ] {
            assert!(parse_rule(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn hosts_and_servers() {
        let host = parse_host("Db.Example.=[2001:db8::1]").map(|(name, address)| format!("{name} {address}"));
        assert_eq!(host, Ok("db.example 2001:db8::1".into()));
        for (text, prints) in
            [("9.9.9.9", "9.9.9.9:53"), ("127.0.0.53", "127.0.0.53:53"), ("::ffff:9.9.9.9", "9.9.9.9:53")]
        {
            assert_eq!(parse_server(text).map(|s| s.to_string()), Ok(prints.into()));
        }
        for bad in [
            "",
            "x",
            "9.9.9.9:53",
            "0.0.0.0",
            "::",
            "224.0.0.251",
            "255.255.255.255",
            "fe80::1",
            "198.18.0.1",
        ] {
            assert!(parse_server(bad).is_err(), "{bad}");
        }
        for bad in ["localhost:10.0.0.1", "LOCALHOST.=10.0.0.1", "b\u{fc}cher:10.0.0.1"] {
            assert!(parse_host(bad).is_err(), "{bad}");
        }
        assert!(parse_rule("b\u{fc}cher.example").unwrap_err().contains("xn--"));
        assert!(parse_rule("localhost:8080").unwrap_err().contains("127.0.0.1:8080"));
    }

    #[test]
    fn names_below_one() {
        let rule = parse_rule("*.example.org").unwrap();
        assert!(rule.has_name("a.example.org") && rule.has_name("a.b.example.org"));
        for other in ["example.org", "aexample.org", ".example.org", "example.org.evil.test", "evil.test"] {
            assert!(!rule.has_name(other), "{other}");
        }
    }

    #[test]
    fn addresses_stand_for_numbers() {
        for n in [1, 255, 256, MOST_NAMES] {
            let (v4, v6) = inside(n);
            assert_eq!((number(v4.into()), number(v6.into())), (Some(n), Some(n)));
            assert!(is_inside(v4.into()) && is_inside(v6.into()));
        }
        assert_eq!(inside(1).0.to_string(), "198.18.0.1");
        assert_eq!(inside(1).1.to_string(), "fd5a:feb0:1980:18::1");
        for other in
            ["198.18.0.0", "198.17.255.255", "198.20.0.0", "127.0.0.1", "fd5a:feb0:1980:19::1", "::1"]
        {
            assert_eq!(number(other.parse().unwrap()), None, "{other}");
        }
    }
}
