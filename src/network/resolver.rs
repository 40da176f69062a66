//! Looking names up outside: the hosts file, then the host's servers in turn, by datagrams and over TCP where an answer
//! is too large. Answers are kept as long as they say, and no longer.

use std::collections::HashMap;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use simple_dns::rdata::RData;
use simple_dns::{CLASS, Name, Packet, PacketFlag, QCLASS, QTYPE, Question, RCODE, TYPE};

use super::dns::{Family, text};
use super::host_config::HostConfig;
use super::slab::{Slab, SlabKey};
use crate::sys::net::{Epoll, datagrams_to, random, start_connect, take_error};
use crate::sys::{Errno, io};

/// A name and a kind of address.
pub type LookupKey = (Rc<str>, Family);

/// What is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NameAnswer {
    /// Its addresses, and for how many seconds.
    Addresses(Rc<[IpAddr]>, u32),
    /// It has none of this kind.
    NoData,
    /// There is no such name.
    NoName,
    /// No server has answered.
    Failed,
}

/// The most lookups at once.
const MOST_LOOKUPS: usize = 64;
/// The most answers that are kept.
const MOST_KEPT: usize = 1024;
/// The most addresses of a name.
const MOST_ADDRESSES: usize = 16;
/// The most aliases on the way to an address.
const MOST_ALIASES: u8 = 16;
/// The longest that an answer is kept, in seconds.
const LONGEST: u32 = 3600;
/// The same for an answer without addresses.
const LONGEST_NOTHING: u32 = 300;
/// How long an entry of the hosts file is good for a program.
const HOSTS_TTL: u32 = 60;

/// One name being looked up.
struct NameLookup {
    wanted: LookupKey,
    /// What is asked for: the name, or the last alias on the way.
    asked: String,
    aliases: u8,
    ttl: u32,
    id: u16,
    query: Vec<u8>,
    /// Which server, counted over all attempts.
    turn: usize,
    socket: Option<OwnedFd>,
    stream: Option<TcpQuery>,
    deadline: Instant,
}

/// A question over TCP.
struct TcpQuery {
    sent: usize,
    received: Vec<u8>,
}

/// What a message says.
enum DnsReply {
    Addresses(Vec<IpAddr>, u32),
    Alias(String, u32),
    NoData(u32),
    NoName(u32),
    Truncated,
    /// Another server may know more.
    Failed,
    /// It is not the answer to this question.
    Stranger,
}

/// Looks names up.
pub struct Resolver {
    config: HostConfig,
    kept: HashMap<LookupKey, (NameAnswer, Instant)>,
    lookups: Slab<NameLookup>,
    running: HashMap<LookupKey, SlabKey>,
}

impl Resolver {
    /// One that asks as the host does.
    pub fn new(config: HostConfig) -> Self {
        Resolver { config, kept: HashMap::new(), lookups: Slab::new(MOST_LOOKUPS), running: HashMap::new() }
    }

    /// Whether a lookup is running.
    pub fn is_busy(&self) -> bool {
        self.lookups.len() > 0
    }

    /// The answer, where it is known; else it is looked up, and [`Resolver::ready`] or [`Resolver::tick`] returns it.
    pub fn ask(
        &mut self,
        epoll: &Epoll,
        token: fn(SlabKey) -> u64,
        wanted: &LookupKey,
    ) -> Option<NameAnswer> {
        if let Some(addresses) = self.config.hosts.get(&*wanted.0) {
            let of_family = |a: &&IpAddr| a.is_ipv4() == (wanted.1 == Family::V4);
            let found: Rc<[IpAddr]> =
                addresses.iter().filter(of_family).copied().take(MOST_ADDRESSES).collect();
            return Some(if found.is_empty() {
                NameAnswer::NoData
            } else {
                NameAnswer::Addresses(found, HOSTS_TTL)
            });
        }
        let now = Instant::now();
        match self.kept.get(wanted) {
            Some((NameAnswer::Addresses(found, _), until)) if *until > now => {
                return Some(NameAnswer::Addresses(found.clone(), (*until - now).as_secs() as u32));
            }
            Some((answer, until)) if *until > now => return Some(answer.clone()),
            _ => {}
        }
        if self.running.contains_key(wanted) {
            return None;
        }
        let lookup = NameLookup {
            wanted: wanted.clone(),
            asked: wanted.0.to_string(),
            aliases: 0,
            ttl: LONGEST,
            id: 0,
            query: Vec::new(),
            turn: 0,
            socket: None,
            stream: None,
            deadline: now,
        };
        let Some(key) = self.lookups.add(lookup) else { return Some(NameAnswer::Failed) };
        if self.send(epoll, token, key) {
            self.running.insert(wanted.clone(), key);
            return None;
        }
        self.lookups.remove(key);
        Some(NameAnswer::Failed)
    }

    /// Sends the question to the server whose turn it is, or to a later one; whether there was one.
    fn send(&mut self, epoll: &Epoll, token: fn(SlabKey) -> u64, key: SlabKey) -> bool {
        let Some(lookup) = self.lookups.get(key) else { return false };
        let servers = &self.config.servers;
        while lookup.turn < servers.len() * self.config.attempts as usize {
            let tcp = self.config.tcp || lookup.stream.is_some();
            let server = servers[lookup.turn % servers.len()];
            lookup.deadline = Instant::now() + self.config.timeout;
            let sent = lookup.compose().and_then(|()| match tcp {
                true => start_connect(server).map(|(socket, _)| {
                    lookup.stream = Some(TcpQuery { sent: 0, received: Vec::new() });
                    socket
                }),
                false => {
                    let socket = datagrams_to(server)?;
                    io::send_nowait(socket.as_raw_fd(), &lookup.query)?;
                    Ok(socket)
                }
            });
            let events = libc::EPOLLIN | if tcp { libc::EPOLLOUT } else { 0 } | libc::EPOLLET;
            let added =
                sent.and_then(|socket| epoll.add(socket.as_raw_fd(), token(key), events).map(|()| socket));
            match added {
                Ok(socket) => {
                    lookup.socket = Some(socket);
                    return true;
                }
                Err(_) => lookup.next(),
            }
        }
        false
    }

    /// Something has happened on the socket of a lookup.
    pub fn ready(
        &mut self,
        epoll: &Epoll,
        token: fn(SlabKey) -> u64,
        key: SlabKey,
    ) -> Option<(LookupKey, NameAnswer)> {
        let lookup = self.lookups.get(key)?;
        let message = lookup.receive()?;
        self.heard(epoll, token, key, message)
    }

    fn heard(
        &mut self,
        epoll: &Epoll,
        token: fn(SlabKey) -> u64,
        key: SlabKey,
        message: DnsReply,
    ) -> Option<(LookupKey, NameAnswer)> {
        let lookup = self.lookups.get(key)?;
        match message {
            DnsReply::Stranger => None,
            DnsReply::Addresses(found, ttl) => {
                let ttl = ttl.min(lookup.ttl);
                self.end(key, NameAnswer::Addresses(found.into(), ttl), ttl)
            }
            DnsReply::NoData(ttl) => self.end(key, NameAnswer::NoData, ttl.min(LONGEST_NOTHING)),
            DnsReply::NoName(ttl) => self.end(key, NameAnswer::NoName, ttl.min(LONGEST_NOTHING)),
            DnsReply::Alias(name, ttl) => {
                lookup.aliases += 1;
                (lookup.asked, lookup.ttl) = (name, lookup.ttl.min(ttl));
                if lookup.aliases > MOST_ALIASES {
                    return self.end(key, NameAnswer::Failed, 0);
                }
                self.send_or_end(epoll, token, key)
            }
            DnsReply::Truncated => {
                lookup.stream = Some(TcpQuery { sent: 0, received: Vec::new() });
                self.send_or_end(epoll, token, key)
            }
            DnsReply::Failed => {
                lookup.next();
                self.send_or_end(epoll, token, key)
            }
        }
    }

    fn send_or_end(
        &mut self,
        epoll: &Epoll,
        token: fn(SlabKey) -> u64,
        key: SlabKey,
    ) -> Option<(LookupKey, NameAnswer)> {
        if self.send(epoll, token, key) { None } else { self.end(key, NameAnswer::Failed, 0) }
    }

    /// Lookups whose time is over go on to the next server.
    pub fn tick(&mut self, epoll: &Epoll, token: fn(SlabKey) -> u64) -> Vec<(LookupKey, NameAnswer)> {
        let now = Instant::now();
        let late = |resolver: &mut Self, key: &SlabKey| {
            resolver.lookups.get(*key).is_some_and(|l| l.deadline <= now)
        };
        let keys: Vec<SlabKey> = self.lookups.keys().into_iter().filter(|key| late(self, key)).collect();
        keys.into_iter().filter_map(|key| self.heard(epoll, token, key, DnsReply::Failed)).collect()
    }

    fn end(&mut self, key: SlabKey, answer: NameAnswer, ttl: u32) -> Option<(LookupKey, NameAnswer)> {
        let lookup = self.lookups.remove(key)?;
        self.running.remove(&lookup.wanted);
        if ttl > 0 && answer != NameAnswer::Failed {
            if self.kept.len() >= MOST_KEPT {
                let now = Instant::now();
                self.kept.retain(|_, (_, until)| *until > now);
                if self.kept.len() >= MOST_KEPT {
                    self.kept.clear();
                }
            }
            let until = Instant::now() + Duration::from_secs(ttl.into());
            self.kept.insert(lookup.wanted.clone(), (answer.clone(), until));
        }
        Some((lookup.wanted, answer))
    }
}

impl NameLookup {
    /// The turn goes to the next server, which is asked by datagrams first.
    fn next(&mut self) {
        self.turn += 1;
        (self.socket, self.stream) = (None, None);
    }

    /// The question in wire form, with an id that no one else can know.
    fn compose(&mut self) -> Result<(), Errno> {
        self.id = u16::from_ne_bytes(random()?);
        let mut packet = Packet::new_query(self.id);
        packet.set_flags(PacketFlag::RECURSION_DESIRED);
        let name = Name::new(&self.asked).map_err(|_| Errno::EINVAL)?;
        let kind = if self.wanted.1 == Family::V4 { TYPE::A } else { TYPE::AAAA };
        packet.questions.push(Question::new(name, QTYPE::TYPE(kind), QCLASS::CLASS(CLASS::IN), false));
        self.query = packet.build_bytes_vec().map_err(|_| Errno::EINVAL)?;
        Ok(())
    }

    /// What has come; `None` where more is needed.
    fn receive(&mut self) -> Option<DnsReply> {
        if self.stream.is_some() {
            return self.receive_stream();
        }
        let fd = self.socket.as_ref()?.as_raw_fd();
        let mut buf = [0; 4096];
        loop {
            match io::receive_nowait(fd, &mut buf) {
                Ok(n) => match self.understand(&buf[..n]) {
                    DnsReply::Stranger => {}
                    message => return Some(message),
                },
                Err(Errno::EAGAIN) => return None,
                Err(Errno::EINTR) => {}
                Err(_) => return Some(DnsReply::Failed),
            }
        }
    }

    fn receive_stream(&mut self) -> Option<DnsReply> {
        let (fd, stream) = (self.socket.as_ref()?.as_raw_fd(), self.stream.as_mut()?);
        let message = [&(self.query.len() as u16).to_be_bytes()[..], &self.query].concat();
        if take_error(fd).is_err() {
            return Some(DnsReply::Failed);
        }
        while stream.sent < message.len() {
            match io::send_nowait(fd, &message[stream.sent..]) {
                Ok(n) => stream.sent += n,
                Err(Errno::EAGAIN | Errno::ENOTCONN) => return None,
                Err(_) => return Some(DnsReply::Failed),
            }
        }
        let mut buf = [0; 4096];
        loop {
            match io::receive_nowait(fd, &mut buf) {
                Ok(0) => return Some(DnsReply::Failed),
                Ok(n) => stream.received.extend_from_slice(&buf[..n]),
                Err(Errno::EAGAIN) => return None,
                Err(Errno::EINTR) => continue,
                Err(_) => return Some(DnsReply::Failed),
            }
            let Some(head) = stream.received.get(..2) else { continue };
            let size = usize::from(u16::from_be_bytes([head[0], head[1]]));
            if stream.received.len() >= 2 + size {
                let message = stream.received[2..2 + size].to_vec();
                return Some(match self.understand(&message) {
                    DnsReply::Stranger | DnsReply::Truncated => DnsReply::Failed,
                    message => message,
                });
            }
        }
    }

    fn understand(&self, message: &[u8]) -> DnsReply {
        let Ok(packet) = Packet::parse(message) else { return DnsReply::Stranger };
        let asked = |q: &Question<'_>| {
            let kind = if self.wanted.1 == Family::V4 { TYPE::A } else { TYPE::AAAA };
            q.qtype == QTYPE::TYPE(kind) && text(&q.qname).as_deref() == Some(self.asked.as_str())
        };
        let ours = packet.id() == self.id && packet.has_flags(PacketFlag::RESPONSE);
        if !ours || !matches!(&packet.questions[..], [question] if asked(question)) {
            return DnsReply::Stranger;
        }
        if packet.has_flags(PacketFlag::TRUNCATION) {
            return DnsReply::Truncated;
        }
        match packet.rcode() {
            RCODE::NoError => follow(&packet, &self.asked, self.wanted.1),
            RCODE::NameError => DnsReply::NoName(nothing(&packet)),
            _ => DnsReply::Failed,
        }
    }
}

/// The addresses at the end of the chain of aliases that begins with `name`.
fn follow(packet: &Packet<'_>, name: &str, family: Family) -> DnsReply {
    let (mut name, mut ttl) = (name.to_string(), LONGEST);
    for _ in 0..=MOST_ALIASES {
        let records = || packet.answers.iter().filter(|r| text(&r.name).as_deref() == Some(&*name));
        let mut found = Vec::new();
        for record in records() {
            let address: Option<IpAddr> = match (&record.rdata, family) {
                (RData::A(a), Family::V4) => Some(IpAddr::V4(a.address.into())),
                (RData::AAAA(a), Family::V6) => Some(IpAddr::V6(a.address.into())),
                _ => None,
            };
            if let Some(address) = address.filter(|_| found.len() < MOST_ADDRESSES) {
                found.push(address);
                ttl = ttl.min(record.ttl);
            }
        }
        if !found.is_empty() {
            return DnsReply::Addresses(found, ttl);
        }
        let alias = records().find_map(|r| match &r.rdata {
            RData::CNAME(to) => Some((text(&to.0)?, r.ttl)),
            _ => None,
        });
        let Some((to, alias_ttl)) = alias else { return DnsReply::NoData(nothing(packet)) };
        (name, ttl) = (to, ttl.min(alias_ttl));
        let known = packet.answers.iter().any(|r| text(&r.name).as_deref() == Some(&*name));
        // A server that does not resolve further has no more to answer; one that does has found nothing.
        if !known && !packet.has_flags(PacketFlag::RECURSION_AVAILABLE) {
            return DnsReply::Alias(name, ttl);
        }
    }
    // A circle, or a chain without an end.
    DnsReply::Failed
}

/// How long an answer without addresses is good (RFC 2308).
fn nothing(packet: &Packet<'_>) -> u32 {
    let soa = packet.name_servers.iter().find_map(|r| match &r.rdata {
        RData::SOA(soa) => Some(soa.minimum.min(r.ttl)),
        _ => None,
    });
    soa.unwrap_or(0)
}

#[cfg(test)]
mod tests;
