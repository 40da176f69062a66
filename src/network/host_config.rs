//! The host's way to look names up: resolv.conf(5) and hosts(5), read once, before the helper gives files up.

use std::collections::HashMap;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

/// The most servers that are asked, as with the resolver of libc.
const MOST_SERVERS: usize = 3;
/// The largest file that is read.
const LARGEST: u64 = 4 << 20;

/// Servers and files of the host.
#[derive(Debug, Clone)]
pub struct HostConfig {
    /// In the order in which they are asked.
    pub servers: Vec<SocketAddr>,
    /// How long each is waited for.
    pub timeout: Duration,
    /// How often all of them are asked.
    pub attempts: u32,
    /// Only TCP (`use-vc`).
    pub tcp: bool,
    /// The names of /etc/hosts, in lower case.
    pub hosts: HashMap<String, Vec<IpAddr>>,
}

impl HostConfig {
    /// Reads the host's files; `servers` takes the place of those of resolv.conf where it has any, and the entries of
    /// `hosts` that of those with the same name.
    pub fn read(servers: &[SocketAddr], hosts: &[(String, IpAddr)]) -> Self {
        let file = |path: &str| {
            let mut text = Vec::new();
            // A file that is not there says nothing, as for libc.
            let read = std::fs::File::open(path).and_then(|f| f.take(LARGEST).read_to_end(&mut text));
            read.map(|_| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default()
        };
        let mut config = Self::parse(&file("/etc/resolv.conf"), &file("/etc/hosts"));
        if !servers.is_empty() {
            config.servers = servers.to_vec();
        }
        for (name, _) in hosts {
            config.hosts.remove(name);
        }
        for (name, address) in hosts {
            config.hosts.entry(name.clone()).or_default().push(*address);
        }
        config
    }

    fn parse(resolv: &str, hosts: &str) -> Self {
        let mut config = HostConfig {
            servers: Vec::new(),
            timeout: Duration::from_secs(5),
            attempts: 2,
            tcp: false,
            hosts: HashMap::new(),
        };
        for line in resolv.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") if config.servers.len() < MOST_SERVERS => {
                    config.servers.extend(words.next().and_then(server));
                }
                Some("options") => words.for_each(|word| config.option(word)),
                _ => {}
            }
        }
        if config.servers.is_empty() {
            config.servers.push(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 53));
        }
        for line in hosts.lines() {
            let line = line.split('#').next().unwrap_or_default();
            let mut words = line.split_whitespace();
            let Some(address) = words.next().and_then(|w| w.parse::<IpAddr>().ok()) else { continue };
            for name in words {
                let name = name.trim_end_matches('.').to_ascii_lowercase();
                let addresses = config.hosts.entry(name).or_default();
                if !addresses.contains(&address) {
                    addresses.push(address);
                }
            }
        }
        config
    }

    fn option(&mut self, word: &str) {
        let number = |text: &str| text.parse::<u32>().ok();
        match word.split_once(':') {
            Some(("timeout", n)) => {
                self.timeout = number(n).map_or(self.timeout, |n| Duration::from_secs(n.clamp(1, 30).into()));
            }
            Some(("attempts", n)) => self.attempts = number(n).map_or(self.attempts, |n| n.clamp(1, 5)),
            None if word == "use-vc" => self.tcp = true,
            _ => {}
        }
    }
}

/// An address, with a zone where it is link-local.
fn server(word: &str) -> Option<SocketAddr> {
    let (address, zone) = word.split_once('%').map_or((word, None), |(a, z)| (a, Some(z)));
    match address.parse().ok()? {
        IpAddr::V4(address) => Some(SocketAddr::new(address.into(), 53)),
        IpAddr::V6(address) => {
            let zone =
                zone.map_or(Some(0), |z| z.parse().ok().or_else(|| nix::net::if_::if_nametoindex(z).ok()));
            Some(std::net::SocketAddrV6::new(address, 53, 0, zone?).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_s_files_are_read() {
        let resolv = "; comment\nnameserver 10.0.0.1\nnameserver ::1\nnameserver what\nsearch x\nnameserver 10.0.0.3\n\
                      nameserver 10.0.0.4\noptions timeout:1 attempts:9 use-vc edns0\n";
        let hosts =
            "127.0.0.1 localhost\n::1 localhost ip6-localhost\n10.0.0.7 App.Example.org app # x\nbad line\n";
        let config = HostConfig::parse(resolv, hosts);
        let servers: Vec<_> = config.servers.iter().map(ToString::to_string).collect();
        assert_eq!(servers, ["10.0.0.1:53", "[::1]:53", "10.0.0.3:53"]);
        assert_eq!((config.timeout.as_secs(), config.attempts, config.tcp), (1, 5, true));
        assert_eq!(config.hosts["localhost"].len(), 2);
        assert_eq!(config.hosts["app.example.org"], ["10.0.0.7".parse::<IpAddr>().unwrap()]);
        let none = HostConfig::parse("", "");
        assert_eq!(none.servers[0].to_string(), "127.0.0.1:53");
    }
}
