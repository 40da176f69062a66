//! The helper's life: it waits for its sockets, gives everything up, and then turns one loop until its launcher or its
//! container ends.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use super::audit::NetworkAudit;
use super::connection::{Connection, Means};
use super::diallers::Diallers;
use super::host_config::HostConfig;
use super::names::NameTable;
use super::resolver::{LookupKey, Resolver};
use super::slab::{Slab, SlabKey};
use super::verdict::{ConnectionVerdict, Reason};
use super::{MOST_CONNECTIONS, Role, Settings};
use crate::sys::net::{self, Epoll, EpollEvent};
use crate::sys::route::Routes;
use crate::sys::{Errno, SysResult, fs, io, process, socket};

/// How often deadlines are looked at while something waits.
const TICK: Duration = Duration::from_millis(100);
/// The most questions over TCP at once, and how long one may take.
const MOST_STREAMS: usize = 32;
const STREAM: Duration = Duration::from_secs(10);
/// Bytes that wait inside for the program to read them: the way there is short, and what waits longer leaves the caches. The
/// kernel's own choice is 4 MiB for each connection.
const UNREAD: i32 = 512 << 10;
/// Datagrams and connections that are taken at once.
const AT_ONCE: usize = 64;

const LINE: u8 = 0;
const CONTAINER: u8 = 1;
const SOCKET: u8 = 2;
const STREAMS: u8 = 3;
const LOOKUP: u8 = 4;
pub(super) const INSIDE: u8 = 5;
pub(super) const OUTSIDE: u8 = 6;

pub(super) fn token(kind: u8, key: SlabKey) -> u64 {
    u64::from(kind) << 56 | u64::from(key.generation) << 32 | u64::from(key.index)
}

pub(super) fn lookup_token(key: SlabKey) -> u64 {
    token(LOOKUP, key)
}

fn plain(kind: u8, index: usize) -> u64 {
    token(kind, SlabKey { index: index as u32, generation: 0 })
}

fn of_token(token: u64) -> (u8, SlabKey) {
    let key = SlabKey { index: token as u32, generation: (token >> 32) as u32 & 0x00ff_ffff };
    ((token >> 56) as u8, key)
}

/// The descriptors that the helper starts with.
pub struct HelperFds {
    /// To the launcher: verdicts go there, and its end is the launcher's.
    pub line: RawFd,
    /// To Init, which sends the sockets.
    pub init: RawFd,
    /// The audit file.
    pub audit: Option<RawFd>,
    /// Listeners outside, in the order of the published ports.
    pub published: Vec<RawFd>,
}

/// The whole life of the helper, from the fork on; returns its exit code.
pub fn run(settings: &Settings, ends: &HelperFds) -> i32 {
    let failed = |what: String| {
        let verdict = ConnectionVerdict {
            reason: Reason::Start,
            name: String::new(),
            other: what,
            address: None,
            port: 0,
        };
        // The launcher then knows only that the helper has ended.
        io::send_nowait(ends.line, &verdict.record()).map(drop).unwrap_or_default();
        1
    };
    match Helper::start(settings, ends) {
        Ok(mut helper) => {
            helper.turn_until_the_end();
            helper.end();
            0
        }
        Err((what, e)) => failed(format!("{what}: {}", crate::tables::errno::text(e as i32))),
    }
}

/// A question that waits for an answer from outside.
pub(super) enum Waiter {
    Datagram(SocketAddr, Vec<u8>),
    Stream(SlabKey, Vec<u8>),
    Connection(SlabKey),
}

/// A connection to the resolver inside.
pub(super) struct ResolverStream {
    pub(super) socket: OwnedFd,
    /// Bytes that were read.
    pub(super) asked: usize,
    pub(super) received: Vec<u8>,
    pub(super) answers: Vec<u8>,
    pub(super) deadline: Instant,
}

/// The helper, once it has its sockets.
pub(super) struct Helper<'a> {
    pub(super) settings: &'a Settings,
    pub(super) epoll: Epoll,
    pub(super) line: RawFd,
    pub(super) audit: Option<NetworkAudit>,
    /// The sockets inside, and whether something may be waiting on each.
    pub(super) sockets: Vec<Taken>,
    pub(super) diallers: Diallers,
    pub(super) names: NameTable,
    pub(super) resolver: Resolver,
    pub(super) routes: Routes,
    pub(super) connections: Slab<Connection>,
    pub(super) streams: Slab<ResolverStream>,
    pub(super) waiting: HashMap<LookupKey, Vec<Waiter>>,
    pub(super) again: Vec<SlabKey>,
    pub(super) reported: HashSet<String>,
    pub(super) means: Means,
    pub(super) looked: Instant,
    /// A connection has a deadline.
    pub(super) opening: bool,
    /// Something waits on a socket inside.
    pub(super) more: bool,
    pub(super) over: bool,
}

impl<'a> Helper<'a> {
    /// Takes the sockets, gives everything up, and tells Init that the program may start.
    fn start(
        settings: &'a Settings,
        ends: &HelperFds,
    ) -> std::result::Result<Self, super::harden::HardenFailure> {
        let step = |what: &'static str| move |e: Errno| (what, e);
        process::setsid().map_err(step("setsid"))?;
        let keep = [ends.line, ends.init, ends.audit.unwrap_or(-1)];
        crate::sys::before_exec::keep_only(&[&keep[..], &ends.published].concat())
            .map_err(step("close_range"))?;
        process::set_name(c"safebox-net").map_err(step("prctl(PR_SET_NAME)"))?;
        let (epoll, routes) = (
            Epoll::new().map_err(step("epoll_create1"))?,
            Routes::open().map_err(step("socket(NETLINK_ROUTE)"))?,
        );
        let resolver = Resolver::new(HostConfig::read(&settings.servers, &settings.hosts));
        let taken = take_sockets(settings, ends.init).map_err(step("the sockets inside"))?;
        let (mut sockets, diallers, container) = taken;
        let ports = settings.published.iter().map(|published| Role::Published(published.port));
        sockets.extend(ports.zip(&ends.published).map(|(role, fd)| (role, fs::own(*fd), true)));
        let most = most_connections();
        super::harden::harden(settings.user, settings.with_launcher, &settings.filter)?;
        let add = |fd: RawFd, token: u64| epoll.add(fd, token, libc::EPOLLIN | libc::EPOLLET);
        let added = add(ends.line, plain(LINE, 0)).and_then(|()| add(container, plain(CONTAINER, 0)));
        let each = |(i, (role, fd, _)): (usize, &Taken)| {
            if matches!(role, Role::Port(_) | Role::Published(_)) {
                net::prompt_and_watched(fd.as_raw_fd());
            }
            if matches!(role, Role::Port(_)) {
                let (level, name) = (libc::SOL_SOCKET, libc::SO_SNDBUF);
                net::set_option(fd.as_raw_fd(), level, name, UNREAD).unwrap_or_default();
            }
            add(fd.as_raw_fd(), plain(SOCKET, i))
        };
        added.and_then(|()| sockets.iter().enumerate().try_for_each(each)).map_err(step("epoll_ctl"))?;
        socket::send(ends.init, b"r").map_err(step("the answer to init"))?;
        fs::close(ends.init);
        Ok(Helper {
            settings,
            epoll,
            line: ends.line,
            audit: ends.audit.map(|fd| NetworkAudit::new(fs::own(fd).into())),
            sockets,
            diallers: Diallers::new(diallers),
            names: NameTable::default(),
            resolver,
            routes,
            connections: Slab::new(most),
            streams: Slab::new(MOST_STREAMS),
            waiting: HashMap::new(),
            again: Vec::new(),
            reported: HashSet::new(),
            means: Means::default(),
            looked: Instant::now(),
            opening: false,
            more: false,
            over: false,
        })
    }

    fn turn_until_the_end(&mut self) {
        let mut events: Vec<EpollEvent> = Vec::new();
        while !self.over {
            let looks = self.opening || self.means.pipes.are_used();
            let waits = looks || self.resolver.is_busy() || self.streams.len() > 0;
            let millis = match (self.again.is_empty() && !self.more, waits) {
                (false, _) => 0,
                (true, true) => TICK.as_millis() as i32,
                (true, false) => -1,
            };
            events.clear();
            if self.epoll.wait(&mut events, millis).is_err() {
                return;
            }
            for (token, what) in events.drain(..) {
                self.event(token, what);
            }
            self.accept();
            for key in std::mem::take(&mut self.again) {
                self.advance(key);
            }
            if self.looked.elapsed() >= TICK {
                self.looked = Instant::now();
                self.means.pipes.placement.tick();
                self.deadlines();
            }
        }
    }

    fn event(&mut self, token: u64, what: u32) {
        let (kind, key) = of_token(token);
        match kind {
            LINE if self.settings.with_launcher || what & libc::EPOLLIN as u32 != 0 => {
                self.over |= self.line_is_closed()
            }
            CONTAINER => self.over = true,
            SOCKET => self.sockets.iter_mut().skip(key.index as usize).take(1).for_each(|s| s.2 = true),
            STREAMS => self.stream(key),
            LOOKUP => {
                if let Some((wanted, answer)) = self.resolver.ready(&self.epoll, lookup_token, key) {
                    self.answered(&wanted, &answer);
                }
            }
            INSIDE | OUTSIDE => {
                let Some(connection) = self.connections.get(key) else { return };
                match (kind, connection.outside.as_mut()) {
                    (INSIDE, _) => connection.inside.note(what),
                    (_, Some(outside)) => outside.note(what),
                    (_, None) => return,
                }
                self.advance(key);
            }
            _ => {}
        }
    }

    /// The launcher never writes: what can be read is its end, which is the helper's where it belongs to the launcher.
    fn line_is_closed(&self) -> bool {
        let closed = matches!(io::receive_nowait(self.line, &mut [0; 1]), Ok(0));
        closed && self.settings.with_launcher
    }

    /// Takes what waits on the sockets inside.
    fn accept(&mut self) {
        self.more = false;
        for i in 0..self.sockets.len() {
            for _ in 0..AT_ONCE {
                let (role, fd, ready) = &self.sockets[i];
                let (role, fd, ready) = (*role, fd.as_raw_fd(), *ready);
                if !ready || self.is_full(role) {
                    break;
                }
                match self.take(role, fd) {
                    Ok(()) | Err(Errno::EINTR | Errno::ECONNABORTED | Errno::ECONNREFUSED) => {}
                    Err(_) => self.sockets[i].2 = false,
                }
            }
            // What is left waits for the next turn.
            let (role, ready) = (self.sockets[i].0, self.sockets[i].2);
            self.more |= ready && !self.is_full(role);
        }
    }

    /// No connection more can be taken.
    fn is_full(&mut self, role: Role) -> bool {
        match role {
            Role::Questions | Role::QuestionStreams | Role::Strays => false,
            Role::Port(_) => self.connections.is_full(),
            Role::Published(_) => self.connections.is_full() || self.diallers.is_used_up(),
        }
    }

    fn take(&mut self, role: Role, fd: RawFd) -> SysResult<()> {
        match role {
            Role::Questions => {
                let mut message = [0; 4096];
                let (n, from) = net::receive_from(fd, &mut message)?;
                self.question(&message[..n], |message| Waiter::Datagram(from, message));
                Ok(())
            }
            Role::Strays => self.stray(fd),
            Role::QuestionStreams => {
                let socket = net::accept(fd)?;
                let (received, answers, deadline) = (Vec::new(), Vec::new(), Instant::now() + STREAM);
                let raw = socket.as_raw_fd();
                if let Some(key) =
                    self.streams.add(ResolverStream { socket, asked: 0, received, answers, deadline })
                {
                    let events = libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLET;
                    if self.epoll.add(raw, token(STREAMS, key), events).is_err() {
                        self.streams.remove(key);
                    }
                }
                Ok(())
            }
            Role::Port(port) => {
                let socket = net::accept(fd)?;
                self.connection(socket, port);
                Ok(())
            }
            Role::Published(port) => {
                let socket = net::accept(fd)?;
                self.published(socket, port);
                Ok(())
            }
        }
    }
}

/// As many as there are descriptors for.
fn most_connections() -> usize {
    let files = crate::sys::rlimit::started_with(libc::RLIMIT_NOFILE).map_or(1024, |limit| limit.hard);
    let rest = super::harden::FILES as usize - 2 * MOST_CONNECTIONS;
    let files = usize::try_from(files).unwrap_or(usize::MAX);
    (files.saturating_sub(rest) / 2).clamp(16, MOST_CONNECTIONS)
}

/// A socket, what it is for, and whether something may be waiting on it.
type Taken = (Role, OwnedFd, bool);

/// The sockets from inside, those that connect there, and the container's process: it is the one that sends them.
fn take_sockets(settings: &Settings, init: RawFd) -> SysResult<(Vec<Taken>, Vec<OwnedFd>, RawFd)> {
    let (mut sockets, mut diallers, mut sender) = (Vec::new(), Vec::new(), 0);
    for _ in 0..settings.diallers() {
        let (fd, pid) = socket::recv_fd_from(init)?;
        diallers.push(fs::own(fd));
        sender = pid;
    }
    for expected in &settings.sockets {
        let (fd, pid) = socket::recv_fd_from(init)?;
        sockets.push((expected.role, fs::own(fd), false));
        sender = pid;
    }
    // It waits for an answer, so the number is its own.
    let container = process::pidfd_open(sender)?;
    Ok((sockets, diallers, container))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_read_back() {
        let key = SlabKey { index: 0xdead_beef, generation: 0x00ab_cdef };
        assert_eq!(of_token(token(OUTSIDE, key)), (OUTSIDE, key));
        assert_eq!(of_token(plain(SOCKET, 7)), (SOCKET, SlabKey { index: 7, generation: 0 }));
    }
}
