//! The namespace-fd server: how an unprivileged runtime gets a container's root and namespaces from Init.
//!
//! Init is undumpable until it executes its program (CVE-2016-9962). By ptrace(2)'s rules only root of the machine
//! gets at the namespaces and the root directory of such a process; an ordinary user's runtime does not, although
//! hooks of the container namespace and `exec` into a created container need them. So Init hands them out itself:
//! to its own runtime with the baton, and while it waits for `start` to processes that connect to a socket in the
//! container's directory, which only its owner can search. It stays undumpable all the time, and what it hands out is
//! the container's own: setns(2) asks for rights over these namespaces all the same.
//!
//! ```text
//!   exec, start                     init (created)
//!   -----------                     --------------
//!   connect(server)
//!   write(start.fifo, REQUEST) -----> read
//!   recvmsg <---------------------- accept4, sendmsg(SCM_RIGHTS), close
//! ```

use std::os::fd::RawFd;

use crate::perform::at;
use crate::perform::{Call, Cx, Done};
use crate::plan::recipe::PlanSlots;
use crate::plan::{NamespaceServer, NamespaceSlots, Slot};
use crate::sys::socket::{self, MOST_FDS};
use crate::sys::{Errno, fs};
use crate::tables::namespaces::NsKind;

/// The byte in the start FIFO that asks for the descriptors; any other byte starts the program.
pub const REQUEST: u8 = b'?';

/// A container's root directory and its namespaces, in the order in which they are joined.
#[derive(Debug, Clone)]
pub struct NamespaceFds {
    /// The root directory.
    pub root: RawFd,
    /// The namespaces.
    pub namespaces: Vec<(NsKind, RawFd)>,
}

impl NamespaceSlots {
    /// What the slots hold in the runtime.
    pub fn inside(&self, cx: &Cx) -> NamespaceFds {
        let namespaces = self.namespaces.iter().map(|(kind, slot)| (*kind, cx.fd(slot))).collect();
        NamespaceFds { root: cx.fd(&self.root), namespaces }
    }

    /// Init: sends what the slots hold along with `bytes`.
    pub fn send(&self, cx: &Cx, to: RawFd, bytes: &[u8]) -> Done {
        let mut fds = [-1; MOST_FDS];
        let mut n = 0;
        for (fd, slot) in fds.iter_mut().zip(self.slots()) {
            *fd = cx.fd(slot);
            n += 1;
        }
        socket::send_fds(to, bytes, &fds[..n])
    }

    /// The runtime: fills the slots; `EPROTO` where not as many came.
    pub fn take(&self, cx: &mut Cx, came: &[RawFd]) -> Done {
        if self.slots().count() != came.len() {
            return Err(Errno::EPROTO);
        }
        self.slots().zip(came).for_each(|(slot, fd)| cx.set(slot, *fd));
        Ok(())
    }
}

/// Init: waits for the byte of `start`, and answers requests meanwhile.
pub fn await_start(cx: &mut Cx, start: &Slot, server: Option<&NamespaceServer>) -> Done {
    loop {
        let mut byte = [0u8; 1];
        match (at(cx, Call::Read, fs::read(cx.fd(start), &mut byte))?, server) {
            (1, Some(server)) if byte[0] == REQUEST => answer(cx, server),
            (1, _) => return Ok(()),
            _ => return Err(Errno::EPIPE),
        }
    }
}

/// Answers every waiting connection: one whose peer has ended would otherwise block the next. A peer that has ended is no
/// failure of the container.
fn answer(cx: &Cx, server: &NamespaceServer) {
    while let Ok(connection) = socket::accept(cx.fd(&server.socket)) {
        server.shown.send(cx, connection, b"0").unwrap_or_default();
        fs::close(connection);
    }
}

/// Fills the slots of the container's namespaces.
pub fn fill(slots: &PlanSlots, cx: &mut Cx, inside: Option<&NamespaceFds>) {
    let fds = inside.into_iter().flat_map(|inside| &inside.namespaces);
    slots.namespaces.iter().zip(fds).for_each(|((_, slot), (_, fd))| cx.set(slot, *fd));
}
