//! Connections: which rule allows one, which address is dialled for it, and what became of it.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use super::addresses::closed;
use super::connection::{Connection, ConnectionPhase, Flow, NameGuard, SocketEnd, Turn};
use super::dns::Family;
use super::helper::{Helper, INSIDE, OUTSIDE, Waiter, lookup_token, token};
use super::http::Http;
use super::resolver::{LookupKey, NameAnswer};
use super::slab::SlabKey;
use super::tls::Tls;
use super::verdict::{ConnectionVerdict, Reason};
use crate::config::network::{Destination, NetworkRule};
use crate::sys::route::UNICAST;
use crate::sys::{Errno, io, net};

/// What the program may take to say whom it means.
const GREETING: Duration = Duration::from_secs(10);
/// What the last address may take, and each one before it.
pub(super) const DIAL: Duration = Duration::from_secs(20);
const DIAL_NEXT: Duration = Duration::from_millis(1500);
/// The most different refusals that are reported to the launcher.
const MOST_TOLD: usize = 256;
/// A connection's events, each reported once.
pub(super) const EDGES: i32 = libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLET;

impl Helper<'_> {
    /// A connection that the program has made to a port.
    pub(super) fn connection(&mut self, socket: OwnedFd, port: u16) {
        let Ok(meant) = net::local_address(socket.as_raw_fd()) else { return };
        let name = self.names.name(meant.ip());
        let rule = match self.rule(name.as_deref(), meant.ip(), port) {
            Ok(rule) => rule.clone(),
            Err(reason) => {
                // The program sees a reset: nothing was read, so it is sent at once.
                net::reset_on_close(socket.as_raw_fd()).unwrap_or_default();
                let address = name.is_none().then_some(meant.ip());
                self.refuse(reason, name.as_deref().unwrap_or_default(), "", address, port);
                return;
            }
        };
        let guard = match (&name, port) {
            (Some(name), 443) if !rule.any_name => NameGuard::Tls(Tls::new(name)),
            (Some(name), 80) if !rule.any_name => NameGuard::Http(Http::new(name, port)),
            _ => NameGuard::None,
        };
        let raw = socket.as_raw_fd();
        let connection = Connection {
            inside: SocketEnd::new(socket),
            outside: None,
            up: Flow::default(),
            down: Flow::default(),
            guard,
            phase: ConnectionPhase::Greeting,
            inward: false,
            deadline: Instant::now() + GREETING,
            name,
            meant,
            rule: rule.to_string().into(),
            families: if meant.is_ipv6() {
                vec![Family::V4, Family::V6]
            } else {
                vec![Family::V6, Family::V4]
            },
            candidates: Vec::new(),
            dialled: None,
            shut: None,
        };
        let Some(key) = self.connections.add(connection) else { return };
        self.opening = true;
        if self.epoll.add(raw, token(INSIDE, key), EDGES).is_err() {
            self.connections.remove(key);
            return;
        }
        self.advance(key);
    }

    /// The rule that allows it; of several the one that asks least.
    pub(super) fn rule(
        &self,
        name: Option<&str>,
        address: IpAddr,
        port: u16,
    ) -> std::result::Result<&NetworkRule, Reason> {
        let rules = self.settings.rules.iter();
        let Some(name) = name else {
            let found = rules.into_iter().find(|r| r.to == Destination::Address(address) && r.port == port);
            return found.ok_or(Reason::NoName);
        };
        let mut named: Vec<&NetworkRule> = rules.filter(|rule| rule.has_name(name)).collect();
        if named.is_empty() {
            return Err(Reason::Name);
        }
        named.retain(|rule| rule.port == port);
        let exact = |rule: &&NetworkRule| (rule.any_name, matches!(rule.to, Destination::Name(_)));
        named.into_iter().max_by_key(exact).ok_or(Reason::Port)
    }

    /// Goes on with a connection as far as it gets.
    pub(super) fn advance(&mut self, key: SlabKey) {
        loop {
            let Some(connection) = self.connections.get(key) else { return };
            let turn = match connection.phase {
                ConnectionPhase::Greeting => match connection.greet(&mut self.means) {
                    Turn::Done => {
                        self.resolve(key);
                        continue;
                    }
                    turn => turn,
                },
                ConnectionPhase::Resolving => return,
                ConnectionPhase::Dialling => match connection.dialled_end().is_some_and(|end| end.writable) {
                    true => {
                        self.dialled(key);
                        continue;
                    }
                    false => return,
                },
                ConnectionPhase::Open => connection.copy(&mut self.means),
            };
            return self.after(key, turn);
        }
    }

    pub(super) fn after(&mut self, key: SlabKey, turn: Turn) {
        match turn {
            Turn::Idle => {}
            // Both of its sockets may have had an event.
            Turn::Again if self.again.contains(&key) => {}
            Turn::Again => self.again.push(key),
            Turn::Done => self.close(key, Reason::Allowed, ""),
            Turn::Reset => {
                self.connections.get(key).into_iter().for_each(|c| c.reset());
                self.close(key, Reason::Allowed, "");
            }
            Turn::Refused((reason, other)) => {
                self.connections.get(key).into_iter().for_each(|c| c.reset());
                self.close(key, reason, &other);
            }
        }
    }

    /// Looks the name up: first for the kind of addresses that the program has chosen, then for the other.
    pub(super) fn resolve(&mut self, key: SlabKey) {
        loop {
            let Some(connection) = self.connections.get(key) else { return };
            let Some(name) = connection.name.clone() else {
                connection.candidates = vec![connection.meant];
                return self.dial(key);
            };
            let Some(family) = connection.families.pop() else { return self.nothing(key) };
            (connection.phase, connection.deadline) = (ConnectionPhase::Resolving, Instant::now() + DIAL);
            let wanted: LookupKey = (name, family);
            match self.resolver.ask(&self.epoll, lookup_token, &wanted) {
                Some(answer) if self.check(key, &answer) => return self.dial(key),
                Some(_) => {}
                None => return self.waiting.entry(wanted).or_default().push(Waiter::Connection(key)),
            }
        }
    }

    /// The answer that a connection has waited for.
    pub(super) fn resolved(&mut self, key: SlabKey, answer: &NameAnswer) {
        if self.connections.get(key).is_none_or(|c| c.phase != ConnectionPhase::Resolving) {
            return;
        }
        if self.check(key, answer) {
            self.dial(key);
        } else {
            self.resolve(key);
        }
    }

    /// Which addresses may be dialled, and whether there are any: those that are checked here are those that are dialled.
    fn check(&mut self, key: SlabKey, answer: &NameAnswer) -> bool {
        let NameAnswer::Addresses(found, _) = answer else { return false };
        let Some(port) = self.connections.get(key).map(|c| c.meant.port()) else { return false };
        let (mut open, mut shut) = (Vec::new(), None);
        for address in found.iter().map(IpAddr::to_canonical) {
            match self.shut(address, port) {
                None => open.push(SocketAddr::new(address, port)),
                Some(why) => shut = shut.or(Some((address, why))),
            }
        }
        // The last of the list is dialled first.
        open.reverse();
        let Some(connection) = self.connections.get(key) else { return false };
        connection.shut = connection.shut.or(shut);
        connection.candidates = open;
        !connection.candidates.is_empty()
    }

    /// No address is left to be dialled.
    fn nothing(&mut self, key: SlabKey) {
        let Some(connection) = self.connections.get(key) else { return };
        connection.reset();
        match (connection.dialled, connection.shut) {
            (Some(_), _) => self.close(key, Reason::Unreachable, "no address could be connected to"),
            (None, Some((address, why))) => {
                connection.dialled = Some(address);
                self.close(key, Reason::Address, why);
            }
            (None, None) => self.close(key, Reason::Unresolved, ""),
        }
    }

    /// Why an address is not dialled for a name; a rule that names the address itself opens it.
    pub(super) fn shut(&self, address: IpAddr, port: u16) -> Option<&'static str> {
        let named = |r: &NetworkRule| r.to == Destination::Address(address) && r.port == port;
        if self.settings.rules.iter().any(named) {
            return None;
        }
        closed(address).or_else(|| match self.routes.kind(address) {
            Ok(UNICAST) => None,
            Ok(_) => Some("an address of this host"),
            // It cannot be reached, which dialling says better.
            Err(Errno::ENETUNREACH | Errno::EHOSTUNREACH | Errno::EACCES | Errno::EINVAL) => None,
            Err(_) => Some("an address whose kind the kernel does not tell"),
        })
    }

    /// Dials the next address.
    pub(super) fn dial(&mut self, key: SlabKey) {
        loop {
            let Some(connection) = self.connections.get(key) else { return };
            connection.outside = None;
            let Some(address) = connection.candidates.pop() else {
                return if connection.name.is_some() { self.resolve(key) } else { self.nothing(key) };
            };
            connection.phase = ConnectionPhase::Dialling;
            connection.dialled = Some(address.ip());
            let last = connection.candidates.is_empty() && connection.families.is_empty();
            connection.deadline = Instant::now() + if last { DIAL } else { DIAL_NEXT };
            let dialled = net::start_connect(address).and_then(|(socket, _)| {
                self.epoll.add(socket.as_raw_fd(), token(OUTSIDE, key), EDGES)?;
                Ok(socket)
            });
            match dialled {
                Ok(socket) => {
                    net::prompt_and_watched(socket.as_raw_fd());
                    connection.outside = Some(SocketEnd::new(socket));
                    return;
                }
                Err(_) => continue,
            }
        }
    }

    /// A connect has ended, well or not.
    pub(super) fn dialled(&mut self, key: SlabKey) {
        let Some(connection) = self.connections.get(key) else { return };
        match connection.dialled_end().map(|end| net::take_error(end.fd())) {
            Some(Ok(())) => connection.phase = ConnectionPhase::Open,
            _ if connection.inward => self.nothing(key),
            _ => self.dial(key),
        }
    }

    /// Removes a connection and writes down what became of it.
    pub(super) fn close(&mut self, key: SlabKey, reason: Reason, other: &str) {
        let Some(mut connection) = self.connections.remove(key) else { return };
        connection.up.release(&mut self.means.pipes);
        connection.down.release(&mut self.means.pipes);
        let over = connection.up.is_notified() && connection.down.is_notified();
        let name = connection.name.as_deref().unwrap_or_default().to_string();
        // Of a connection that was not dialled no address counts.
        let address = connection.dialled.or(connection.name.is_none().then_some(connection.meant.ip()));
        let port = connection.meant.port();
        let verdict = ConnectionVerdict { reason, name, other: other.into(), address, port };
        let bytes = (connection.up.bytes, connection.down.bytes);
        let rule = (!verdict.is_refused()).then_some(&*connection.rule);
        self.audit.iter_mut().for_each(|audit| audit.write(&verdict, bytes, rule));
        self.report(&verdict);
        if connection.inward {
            let fd = connection.inside.into_fd();
            self.epoll.remove(fd.as_raw_fd()).unwrap_or_default();
            self.diallers.give_back(fd, !over);
        }
    }

    pub(super) fn refuse(
        &mut self,
        reason: Reason,
        name: &str,
        other: &str,
        address: Option<IpAddr>,
        port: u16,
    ) {
        let verdict = ConnectionVerdict { reason, name: name.into(), other: other.into(), address, port };
        self.audit.iter_mut().for_each(|audit| audit.write(&verdict, (0, 0), None));
        self.report(&verdict);
    }

    /// Tells the launcher of a refusal, once of each.
    pub(super) fn report(&mut self, verdict: &ConnectionVerdict) {
        if verdict.is_refused() && self.reported.len() < MOST_TOLD && self.reported.insert(verdict.text()) {
            // Where the launcher does not listen the audit file has it.
            io::send_nowait(self.line, &verdict.record()).map(drop).unwrap_or_default();
        }
    }

    pub(super) fn deadlines(&mut self) {
        for (wanted, answer) in self.resolver.tick(&self.epoll, lookup_token) {
            self.answered(&wanted, &answer);
        }
        let now = Instant::now();
        self.diallers.collect();
        self.opening = self.diallers.is_draining();
        for key in self.streams.keys() {
            if self.streams.get(key).is_some_and(|s| s.deadline <= now) {
                self.streams.remove(key);
            }
        }
        for key in self.connections.keys() {
            let Some(connection) = self.connections.get(key) else { continue };
            self.opening |= connection.phase != ConnectionPhase::Open;
            connection.up.release_idle(&mut self.means.pipes);
            connection.down.release_idle(&mut self.means.pipes);
            if connection.phase == ConnectionPhase::Open || connection.deadline > now {
                continue;
            }
            match connection.phase {
                ConnectionPhase::Dialling
                    if !connection.candidates.is_empty() || !connection.families.is_empty() =>
                {
                    self.dial(key)
                }
                ConnectionPhase::Greeting => {
                    let reason = match connection.guard {
                        NameGuard::Http(_) => Reason::NotHttp,
                        _ => Reason::NotTls,
                    };
                    self.after(key, Turn::Refused((reason, "nothing was said in time".into())));
                }
                _ => {
                    connection.reset();
                    self.close(key, Reason::Unreachable, "no answer in time");
                }
            }
        }
    }

    /// What is still open is written down, and what was refused last.
    pub(super) fn end(&mut self) {
        self.last_strays();
        for key in self.connections.keys() {
            self.close(key, Reason::Allowed, "");
        }
    }
}
