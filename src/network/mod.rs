//! The network by name: a helper process outside that holds the sockets of a container's own network namespace, looks the
//! allowed names up, dials, and copies.
//!
//! ```text
//!   container's network namespace              host's network
//!   -----------------------------              --------------
//!   getaddrinfo("api.example.org")
//!     127.0.0.1:53  ------------------------>  helper: a rule? then the host's resolvers
//!     198.18.0.1    <------------------------  an address that stands for the name
//!   connect(198.18.0.1:443)
//!     listener on 443 ---------------------->  helper: getsockname() says which name was meant
//!                                              addresses looked up and checked, dialled, copied
//! ```
//!
//! Nothing leads out of the namespace but these sockets: no interface, no route, no right. Init makes them in there, and
//! hands them to the helper before the program starts. The helper was forked before the clone, has one thread, no
//! capability, no file, a filter of its own ([`harden`]), and ends with the launcher.
//!
//! What it does not see: a connection to an address without a route, or to a port that no rule names. The kernel refuses
//! both inside.

pub mod addresses;
pub mod audit;
pub mod cni;
mod connection;
mod diallers;
mod dialling;
mod dns;
pub mod handle;
pub mod harden;
pub mod helper;
mod host_config;
mod http;
mod names;
mod pipe;
mod published;
mod questions;
mod resolver;
mod slab;
mod tls;
pub mod verdict;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;

pub use crate::config::network::Published;
use crate::config::network::{Destination, Network, Rule};
pub use diallers::DIALLERS;

/// The most connections at once. Each holds two descriptors.
pub const MOST_CONNECTIONS: usize = 2048;

/// What a socket inside is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Questions in datagrams.
    Questions,
    /// Questions over TCP.
    QuestionStreams,
    /// Connections to this port of any allowed name or address.
    Port(u16),
    /// Connections from outside to this port inside.
    Published(u16),
}

/// A socket inside that the helper gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Socket {
    /// What it is for.
    pub role: Role,
    /// Where it is bound.
    pub address: SocketAddr,
}

impl Socket {
    /// Whether connections are accepted on it; otherwise it takes datagrams.
    pub fn listens(&self) -> bool {
        self.role != Role::Questions
    }
}

/// What the helper receives.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What may be connected to.
    pub rules: Vec<Rule>,
    /// Servers that are asked in place of the host's.
    pub servers: Vec<SocketAddr>,
    /// Names with an address of the caller's choice, as in the host's /etc/hosts.
    pub hosts: Vec<(String, IpAddr)>,
    /// Ports that are published.
    pub published: Vec<Published>,
    /// The sockets inside, in the order in which they come.
    pub sockets: Vec<Socket>,
    /// It ends with the launcher; else with the container.
    pub with_launcher: bool,
    /// Its seccomp filter.
    pub filter: Rc<Vec<libc::sock_filter>>,
    /// The user and group that it becomes, where it is started by root.
    pub user: Option<u32>,
}

impl Settings {
    /// How many sockets that connect inside there are.
    pub fn diallers(&self) -> usize {
        if self.published.is_empty() { 0 } else { DIALLERS }
    }
}

/// The sockets that are made inside for these rules.
pub fn sockets(network: &Network, v6: bool) -> Vec<Socket> {
    if network.rules.is_empty() {
        return Vec::new();
    }
    let any: IpAddr = if v6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
    let resolver = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 53);
    let questions = [Role::Questions, Role::QuestionStreams].map(|role| Socket { role, address: resolver });
    let ports = network.ports().into_iter();
    let listeners = ports.map(|port| Socket { role: Role::Port(port), address: SocketAddr::new(any, port) });
    questions.into_iter().chain(listeners).collect()
}

/// The ranges that the namespace takes for its own: those of names, and the addresses that rules name.
pub fn local_ranges(network: &Network, v6: bool) -> Vec<(IpAddr, u8)> {
    if network.rules.is_empty() {
        return Vec::new();
    }
    let (v4_names, v6_names) = crate::config::network::inside(0);
    let mut ranges = vec![(IpAddr::V4(v4_names), 15)];
    if v6 {
        ranges.push((v6_names.into(), 64));
    }
    for rule in &network.rules {
        let Destination::Address(address) = rule.to else { continue };
        let range = (address, if address.is_ipv4() { 32 } else { 128 });
        // The loopback device has its own addresses already.
        if !address.is_loopback() && !ranges.contains(&range) {
            ranges.push(range);
        }
    }
    ranges
}

/// Where resolvers look up whom to ask.
pub const RESOLV: &str = "/etc/resolv.conf";

/// /etc/resolv.conf as it is shown inside.
pub const RESOLV_CONF: &str =
    "# safebox: the names that --allow-net allows\nnameserver 127.0.0.1\noptions timeout:3 attempts:2\n";
