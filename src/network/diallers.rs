//! Sockets that connect inside, for published ports.
//!
//! A socket belongs to the network namespace that it was made in, so the helper cannot make one that connects inside. Init
//! has made some. One that has done its work is disconnected (connect(2), `AF_UNSPEC`) once its last bytes have arrived,
//! and used again.

use std::os::fd::{AsRawFd, OwnedFd};

use crate::sys::net;

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

    /// One that is free.
    pub(super) fn take(&mut self) -> Option<OwnedFd> {
        self.free.pop()
    }

    /// Whether none is free.
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
