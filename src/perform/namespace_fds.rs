//! The way into a container whose Init may not be looked into.
//!
//! Init is undumpable until it executes its program (CVE-2016-9962). By ptrace(2)'s rules only root of the machine
//! gets at the namespaces and the root directory of such a process; an ordinary user's runtime does not, although
//! hooks of the container namespace and `exec` into a created container need them. So Init hands them out itself:
//! to its own runtime with the baton, and while it waits for `start` to whoever knocks at a socket in the
//! container's directory, which is its owner's alone. It stays undumpable all the time, and what it hands out is
//! the container's own: setns(2) asks for rights over these namespaces all the same.
//!
//! ```text
//!   exec, start                     init (created)
//!   -----------                     --------------
//!   connect(door)
//!   write(start.fifo, KNOCK) -----> read
//!   recvmsg <---------------------- accept4, sendmsg(SCM_RIGHTS), close
//! ```

use std::os::fd::{AsRawFd, RawFd};

use crate::error::{Error, Result};
use crate::lifecycle::container::Container;
use crate::perform::apply::at;
use crate::perform::{Call, Cx, Done};
use crate::plan::lower::cpath;
use crate::plan::{Door, Shown, Slot};
use crate::state::files;
use crate::sys::socket::{self, MOST_FDS};
use crate::sys::{Errno, fs};
use crate::tables::namespaces::{NAMESPACES, NsKind};

/// What is written to the start FIFO by somebody who wants to come in; any other byte starts the program.
const KNOCK: u8 = b'?';

/// A container's root directory and its namespaces, in the order in which they are joined.
#[derive(Debug, Clone)]
pub struct Inside {
    /// The root directory.
    pub root: RawFd,
    /// The namespaces.
    pub namespaces: Vec<(NsKind, RawFd)>,
}

impl Shown {
    /// What the slots hold in the runtime.
    pub fn inside(&self, cx: &Cx) -> Inside {
        let namespaces = self.namespaces.iter().map(|(kind, slot)| (*kind, cx.fd(slot))).collect();
        Inside { root: cx.fd(&self.root), namespaces }
    }

    /// All of them, in the order in which they are sent.
    pub fn slots(&self) -> impl Iterator<Item = &Slot> {
        std::iter::once(&self.root).chain(self.namespaces.iter().map(|(_, slot)| slot))
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

/// Init: waits for the byte of `start`, and lets those in who knock meanwhile.
pub fn await_start(cx: &mut Cx, start: &Slot, door: Option<&Door>) -> Done {
    loop {
        let mut byte = [0u8; 1];
        match (at(cx, Call::Read, fs::read(cx.fd(start), &mut byte))?, door) {
            (1, Some(door)) if byte[0] == KNOCK => answer(cx, door),
            (1, _) => return Ok(()),
            _ => return Err(Errno::EPIPE),
        }
    }
}

/// Everybody who is there: one who is gone again would otherwise keep the next one out. That somebody is gone
/// is no failure of the container's.
fn answer(cx: &Cx, door: &Door) {
    while let Ok(connection) = socket::accept(cx.fd(&door.socket)) {
        door.shown.send(cx, connection, b"0").unwrap_or_default();
        fs::close(connection);
    }
}

/// The way into a container that waits for `start`, where it has a door; else its process's pidfd is the way.
pub fn knock(container: &Container) -> Result<Option<Inside>> {
    let there = |name| container.dir.join(name).exists();
    if !there(files::START) || !there(files::DOOR) {
        return Ok(None);
    }
    let wanted = container.state()?.namespaces;
    let kinds = || NAMESPACES.iter().filter(|row| wanted & row.flag != 0).map(|row| row.kind);
    let failed = |e| Error::os("enter", container.dir.join(files::DOOR).display(), e);
    let fds = ask(container, 1 + kinds().count()).map_err(failed)?;
    let (root, namespaces) = fds.split_first().ok_or_else(|| failed(Errno::EPROTO))?;
    Ok(Some(Inside { root: *root, namespaces: kinds().zip(namespaces.iter().copied()).collect() }))
}

fn ask(container: &Container, want: usize) -> std::result::Result<Vec<RawFd>, Errno> {
    let path = |name| cpath(&container.dir.join(name)).map_err(|_| Errno::EINVAL);
    let dir = path("")?;
    let door = fs::own(socket::connect_in(&dir, files::DOOR)?);
    let flags = libc::O_WRONLY | libc::O_NONBLOCK;
    let start = fs::own(fs::openat(libc::AT_FDCWD, &path(files::START)?, flags, 0)?);
    fs::write_all(start.as_raw_fd(), &[KNOCK])?;
    drop(start);
    let (mut byte, mut fds) = ([0; 1], [-1; MOST_FDS]);
    match socket::recv_with_fds(door.as_raw_fd(), &mut byte, &mut fds)? {
        (1, n) if n == want => Ok(fds[..n].to_vec()),
        // It has ended, or was started, before it answered.
        (0, _) => Err(Errno::ESRCH),
        _ => Err(Errno::EPROTO),
    }
}
