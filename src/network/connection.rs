//! One connection: its two sockets, what was read and not yet written, and who may be greeted on it.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::time::Instant;

use super::dns::Family;
use super::http::Http;
use super::pipe::{Pipe, Pipes};
use super::tls::{Refusal, Tls};
use crate::sys::{Errno, io, net};

/// Bytes that are read at once.
pub const BLOCK: usize = 64 << 10;
/// How often one direction may read before the others have their turn, and after how many bytes they have it at the latest.
const TURN: usize = 8;
const MUCH: u64 = 1 << 20;
/// The capacity that an idle connection's buffer may keep.
const KEPT: usize = 4096;

/// A socket, and its events of epoll(7) since the last EAGAIN.
#[derive(Debug)]
pub struct SocketEnd {
    fd: OwnedFd,
    /// There may be something to read.
    pub readable: bool,
    /// Something may be written.
    pub writable: bool,
    /// It was reset, or does not answer any more.
    pub failed: bool,
}

impl SocketEnd {
    /// A socket that nothing is known of.
    pub fn new(fd: OwnedFd) -> Self {
        SocketEnd { fd, readable: false, writable: false, failed: false }
    }

    /// The socket itself.
    pub fn into_fd(self) -> OwnedFd {
        self.fd
    }

    /// Its descriptor.
    pub fn fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// Notes events of epoll(7).
    pub fn note(&mut self, events: u32) {
        let any = |bits: i32| events & bits as u32 != 0;
        self.readable |= any(libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR);
        self.writable |= any(libc::EPOLLOUT | libc::EPOLLHUP | libc::EPOLLERR);
        self.failed |= any(libc::EPOLLERR);
    }
}

/// What all connections copy with, one at a time.
pub struct Means {
    /// Room for what is read.
    pub block: Vec<u8>,
    /// Pipes.
    pub pipes: Pipes,
}

impl Default for Means {
    fn default() -> Self {
        Means { block: vec![0; BLOCK], pipes: Pipes::default() }
    }
}

/// One direction.
#[derive(Debug, Default)]
pub struct Flow {
    pending: Vec<u8>,
    /// In its place where much is carried.
    pipe: Option<Pipe>,
    /// How much of it was written.
    sent: usize,
    /// The sender has ended.
    ended: bool,
    /// The receiver was notified of it.
    notified: bool,
    /// Bytes that were written.
    pub bytes: u64,
}

/// Who is looked at before anything goes out.
#[derive(Debug)]
pub enum NameGuard {
    /// No check: the port is neither that of TLS nor of HTTP, or the rule lifts it.
    None,
    /// The name in a ClientHello.
    Tls(Tls),
    /// The host of every request.
    Http(Http),
}

impl NameGuard {
    fn feed(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
        match self {
            NameGuard::None => {
                out.extend_from_slice(data);
                Ok(())
            }
            NameGuard::Tls(tls) => tls.feed(data, out),
            NameGuard::Http(http) => http.feed(data, out),
        }
    }

    /// Whether the right name was seen.
    pub fn is_satisfied(&self) -> bool {
        match self {
            NameGuard::None => true,
            NameGuard::Tls(tls) => tls.is_satisfied(),
            NameGuard::Http(http) => http.is_satisfied(),
        }
    }

    fn is_open(&self) -> bool {
        match self {
            NameGuard::None => true,
            NameGuard::Tls(tls) => tls.is_open(),
            NameGuard::Http(_) => false,
        }
    }
}

/// How far a connection is.
#[derive(Debug, PartialEq, Eq)]
pub enum ConnectionPhase {
    /// The name that the program sends is waited for.
    Greeting,
    /// The name is looked up.
    Resolving,
    /// An address is dialled.
    Dialling,
    /// Both sides are connected.
    Open,
}

/// One connection.
#[derive(Debug)]
pub struct Connection {
    /// The program's side.
    pub inside: SocketEnd,
    /// The other side, once it is dialled.
    pub outside: Option<SocketEnd>,
    /// From the program.
    pub up: Flow,
    /// To the program.
    pub down: Flow,
    /// Who is looked at.
    pub guard: NameGuard,
    /// How far it is.
    pub phase: ConnectionPhase,
    /// It comes from outside, and the side of the program is dialled.
    pub inward: bool,
    /// When the phase is over at the latest; not looked at once it is open.
    pub deadline: Instant,
    /// The name that was meant; `None` for an address.
    pub name: Option<Rc<str>>,
    /// The address inside, by which it was meant.
    pub meant: SocketAddr,
    /// The rule that allows it.
    pub rule: Rc<str>,
    /// Kinds of addresses that were not asked for yet, the next one last.
    pub families: Vec<Family>,
    /// Addresses that are still to be dialled, the next one last.
    pub candidates: Vec<SocketAddr>,
    /// The address that was dialled last.
    pub dialled: Option<IpAddr>,
    /// An address that must not be dialled, and why.
    pub shut: Option<(IpAddr, &'static str)>,
}

/// How a turn has ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Turn {
    /// Nothing more can be done now.
    Idle,
    /// There is more, and it is the others' turn.
    Again,
    /// Both directions have ended.
    Done,
    /// One side has reset the connection.
    Reset,
    /// What the program sends must not go on.
    Refused(Refusal),
}

impl Connection {
    /// Reads what the program sends first; `Done` once the right name was seen.
    pub fn greet(&mut self, means: &mut Means) -> Turn {
        while !self.guard.is_satisfied() {
            if !self.inside.readable {
                return Turn::Idle;
            }
            match io::receive_nowait(self.inside.fd(), &mut means.block) {
                // It has changed its mind.
                Ok(0) => return Turn::Reset,
                Ok(n) => {
                    if let Err(refusal) = self.guard.feed(&means.block[..n], &mut self.up.pending) {
                        return Turn::Refused(refusal);
                    }
                }
                Err(Errno::EAGAIN) => self.inside.readable = false,
                Err(Errno::EINTR) => {}
                Err(_) => return Turn::Reset,
            }
        }
        Turn::Done
    }

    /// Copies in both directions what can be copied now.
    pub fn copy(&mut self, means: &mut Means) -> Turn {
        let Some(outside) = self.outside.as_mut() else { return Turn::Idle };
        let guard = Some(&mut self.guard).filter(|guard| !guard.is_open());
        let up = self.up.carry(&mut self.inside, outside, guard, means);
        let down = match &up {
            Ok(_) => self.down.carry(outside, &mut self.inside, None, means),
            Err(_) => Ok(false),
        };
        // A side that has ended is not read any more, which would show it.
        let lost = (self.up.ended && self.inside.failed) || (self.down.ended && outside.failed);
        match (up, down) {
            (Err(stop), _) | (_, Err(stop)) => stop,
            _ if self.up.notified && self.down.notified => Turn::Done,
            _ if lost => Turn::Reset,
            (Ok(more_up), Ok(more_down)) if more_up || more_down => Turn::Again,
            _ => Turn::Idle,
        }
    }

    /// The side that is dialled.
    pub fn dialled_end(&self) -> Option<&SocketEnd> {
        if self.inward { Some(&self.inside) } else { self.outside.as_ref() }
    }

    /// Both sides see a reset when it is closed.
    pub fn reset(&self) {
        // A socket that is dead already needs none; one that is used again is reset when it is disconnected.
        if !self.inward {
            net::reset_on_close(self.inside.fd()).unwrap_or_default();
        }
        if let Some(outside) = &self.outside {
            net::reset_on_close(outside.fd()).unwrap_or_default();
        }
    }
}

impl Flow {
    /// The receiver was notified that the sender has ended.
    pub fn is_notified(&self) -> bool {
        self.notified
    }

    /// Copies; whether there is more to do at once.
    fn carry(
        &mut self,
        from: &mut SocketEnd,
        to: &mut SocketEnd,
        mut guard: Option<&mut NameGuard>,
        means: &mut Means,
    ) -> Result<bool, Turn> {
        let begun = self.bytes;
        for _ in 0..TURN {
            if !self.flush(to)? {
                return Ok(false);
            }
            if self.bytes - begun >= MUCH {
                break;
            }
            if self.ended {
                return self.notify(to).map(|()| false);
            }
            if !from.readable {
                return Ok(false);
            }
            let read = match &mut self.pipe {
                Some(pipe) => {
                    means.pipes.enlarge(pipe);
                    let filled = pipe.fill(from.fd());
                    if let (Ok(bytes), true) = (&filled, pipe.is_large()) {
                        means.pipes.placement.carried(from.fd(), *bytes);
                    }
                    filled
                }
                None => io::receive_nowait(from.fd(), &mut means.block),
            };
            let n = match read {
                Ok(0) => {
                    self.ended = true;
                    continue;
                }
                Ok(_) if self.pipe.is_some() => continue,
                Ok(n) => n,
                Err(Errno::EAGAIN) => {
                    from.readable = false;
                    continue;
                }
                Err(Errno::EINTR) => continue,
                Err(_) => return Err(Turn::Reset),
            };
            match guard.as_mut() {
                Some(guard) => guard.feed(&means.block[..n], &mut self.pending).map_err(|refusal| {
                    // What came before it is the program's right.
                    self.flush(to).map_or(Turn::Reset, |_| Turn::Refused(refusal))
                })?,
                None => self.put(to, &means.block[..n])?,
            }
            if n == BLOCK && guard.is_none() {
                self.pipe = means.pipes.take();
            }
        }
        Ok(true)
    }

    /// An idle connection keeps no pipe.
    pub fn release_idle(&mut self, pipes: &mut Pipes) {
        if self.pipe.as_mut().is_some_and(Pipe::is_idle) {
            self.release(pipes);
        }
    }

    /// Gives its pipe back.
    pub fn release(&mut self, pipes: &mut Pipes) {
        self.pipe.take().into_iter().for_each(|pipe| pipes.give_back(pipe));
    }

    /// Writes, and keeps what is not taken.
    fn put(&mut self, to: &mut SocketEnd, mut bytes: &[u8]) -> Result<(), Turn> {
        while to.writable && !bytes.is_empty() {
            match io::send_nowait(to.fd(), bytes) {
                Ok(n) => {
                    self.bytes += n as u64;
                    bytes = &bytes[n..];
                }
                Err(Errno::EAGAIN) => to.writable = false,
                Err(Errno::EINTR) => {}
                Err(_) => return Err(Turn::Reset),
            }
        }
        self.pending.extend_from_slice(bytes);
        Ok(())
    }

    /// Writes what was kept; whether nothing is left of it.
    fn flush(&mut self, to: &mut SocketEnd) -> Result<bool, Turn> {
        while self.sent < self.pending.len() {
            if !to.writable {
                return Ok(false);
            }
            match io::send_nowait(to.fd(), &self.pending[self.sent..]) {
                Ok(n) => {
                    self.bytes += n as u64;
                    self.sent += n;
                }
                Err(Errno::EAGAIN) => to.writable = false,
                Err(Errno::EINTR) => {}
                Err(_) => return Err(Turn::Reset),
            }
        }
        while let Some(pipe) = self.pipe.as_mut().filter(|pipe| !pipe.is_empty()) {
            if !to.writable {
                return Ok(false);
            }
            match pipe.drain(to.fd()) {
                Ok(n) => self.bytes += n as u64,
                Err(Errno::EAGAIN) => to.writable = false,
                Err(Errno::EINTR) => {}
                Err(_) => return Err(Turn::Reset),
            }
        }
        self.sent = 0;
        if self.pending.capacity() > KEPT {
            self.pending = Vec::new();
        } else {
            self.pending.clear();
        }
        Ok(true)
    }

    /// Passes the end on, once.
    fn notify(&mut self, to: &SocketEnd) -> Result<(), Turn> {
        if !self.notified {
            self.notified = true;
            match net::end_sending(to.fd()) {
                Ok(()) | Err(Errno::ENOTCONN) => {}
                Err(_) => return Err(Turn::Reset),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
