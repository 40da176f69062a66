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
//! Every address is the namespace's own, so a connection to an address that no rule names arrives at a listener, too, and
//! is reset. A port that no rule names has no listener: the kernel refuses the connection, and the helper reports it
//! ([`strays`]).

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
mod placement;
mod published;
mod questions;
mod resolver;
mod slab;
pub mod strays;
mod tls;
pub mod verdict;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;

pub use crate::config::network::Published;
use crate::config::network::{Network, NetworkRule};
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
    /// First packets of connections that no listener takes.
    Strays,
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
        !matches!(self.role, Role::Questions | Role::Strays)
    }
}

/// What the helper receives.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What may be connected to.
    pub rules: Vec<NetworkRule>,
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
    let any: IpAddr = if v6 { ANY_V6 } else { ANY_V4 };
    let resolver = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 53);
    let questions = [Role::Questions, Role::QuestionStreams].map(|role| Socket { role, address: resolver });
    let ports = network.ports().into_iter();
    let listeners = ports.map(|port| Socket { role: Role::Port(port), address: SocketAddr::new(any, port) });
    let kinds = [ANY_V4].into_iter().chain(v6.then_some(ANY_V6)).filter(|_| network.packets);
    let strays = kinds.map(|any| Socket { role: Role::Strays, address: SocketAddr::new(any, 0) });
    questions.into_iter().chain(listeners).chain(strays).collect()
}

const ANY_V4: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
const ANY_V6: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

/// The ranges that the namespace takes for its own: every address. Those of names and those that rules name lead to the
/// helper's listeners; a connection to any other is refused, and reported.
pub fn local_ranges(network: &Network, v6: bool) -> Vec<(IpAddr, u8)> {
    let kinds = [ANY_V4].into_iter().chain(v6.then_some(ANY_V6));
    kinds.filter(|_| !network.rules.is_empty()).map(|any| (any, 0)).collect()
}

/// Where resolvers look up whom to ask.
pub const RESOLV: &str = "/etc/resolv.conf";

/// /etc/resolv.conf as it is shown inside.
pub const RESOLV_CONF: &str =
    "# safebox: the names that --allow-net allows\nnameserver 127.0.0.1\noptions timeout:3 attempts:2\n";
