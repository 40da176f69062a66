//! Published ports: connections that come from outside, and go to a port inside.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Instant;

use super::connection::{Connection, ConnectionPhase, Flow, NameGuard, SocketEnd};
use super::dialling::{DIAL, EDGES};
use super::helper::{Helper, INSIDE, OUTSIDE, token};
use crate::sys::{Errno, net};

impl Helper<'_> {
    /// A connection from outside to a published port.
    pub(super) fn published(&mut self, socket: OwnedFd, port: u16) {
        let inner = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port);
        let Some(dialler) = self.diallers.take() else { return };
        let outside = socket.as_raw_fd();
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
            inside: SocketEnd::new(dialler),
            outside: Some(SocketEnd::new(socket)),
            up: Flow::default(),
            down: Flow::default(),
            guard: NameGuard::None,
            phase: ConnectionPhase::Dialling,
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
