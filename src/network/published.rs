//! Published ports: connections that come from outside, and go to a port inside.
//!
//! A socket belongs to the network namespace that it was made in, so the helper cannot make one that connects inside. Init
//! has made some. One that has done its work is disconnected (connect(2), `AF_UNSPEC`) once its last bytes have arrived,
//! and used again.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Instant;

use super::connection::{Connection, End, Flow, Guard, Phase};
use super::dialling::{DIAL, EDGES};
use super::helper::{Helper, INSIDE, OUTSIDE, token};
use crate::sys::{Errno, net};

/// Sockets that connect inside: as many connections at once.
pub const DIALLERS: usize = 256;

/// The sockets that connect inside.
#[derive(Debug, Default)]
pub(super) struct Diallers {
    free: Vec<OwnedFd>,
    /// Their last bytes are still on their way.
    draining: Vec<OwnedFd>,
}

impl Diallers {
    /// These, none of which is connected.
    pub(super) fn new(free: Vec<OwnedFd>) -> Self {
        Diallers { free, draining: Vec::new() }
    }

    /// Whether one is free, or may be soon.
    pub(super) fn is_used_up(&mut self) -> bool {
        self.collect();
        self.free.is_empty()
    }

    pub(super) fn is_draining(&self) -> bool {
        !self.draining.is_empty()
    }

    /// Those whose last bytes have arrived are free again.
    pub(super) fn collect(&mut self) {
        let (done, draining): (Vec<_>, Vec<_>) =
            self.draining.drain(..).partition(|fd| net::is_closed(fd.as_raw_fd()));
        self.draining = draining;
        done.into_iter().for_each(|fd| self.disconnect(fd));
    }

    /// Takes one back: what is not sent is dropped where the connection was reset.
    pub(super) fn give_back(&mut self, fd: OwnedFd, reset: bool) {
        if reset { self.disconnect(fd) } else { self.draining.push(fd) }
    }

    fn disconnect(&mut self, fd: OwnedFd) {
        // One that cannot be used again is closed.
        if net::disconnect(fd.as_raw_fd()).is_ok() {
            self.free.push(fd);
        }
    }
}

impl Helper<'_> {
    /// A connection from outside to a published port.
    pub(super) fn published(&mut self, socket: OwnedFd, port: u16) {
        let inner = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port);
        let Some(dialler) = self.diallers.free.pop() else { return };
        let outside = socket.as_raw_fd();
        net::set_option(outside, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1).unwrap_or_default();
        net::set_option(dialler.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_NODELAY, 1).unwrap_or_default();
        match net::connect(dialler.as_raw_fd(), inner) {
            Ok(()) | Err(Errno::EINPROGRESS) => {}
            Err(_) => {
                net::reset_on_close(outside).unwrap_or_default();
                return self.diallers.give_back(dialler, true);
            }
        }
        let inside = dialler.as_raw_fd();
        let connection = Connection {
            inside: End::new(dialler),
            outside: Some(End::new(socket)),
            up: Flow::default(),
            down: Flow::default(),
            guard: Guard::None,
            phase: Phase::Dialling,
            inward: true,
            deadline: Instant::now() + DIAL,
            name: None,
            meant: inner,
            rule: format!("-p {port}").into(),
            families: Vec::new(),
            candidates: Vec::new(),
            dialled: Some(inner.ip()),
            shut: None,
        };
        let Some(key) = self.connections.add(connection) else { return };
        self.opening = true;
        let added = self
            .epoll
            .add(inside, token(INSIDE, key), EDGES)
            .and_then(|()| self.epoll.add(outside, token(OUTSIDE, key), EDGES));
        if added.is_err() {
            self.connections.remove(key);
        }
    }
}
