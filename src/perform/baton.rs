//! The fixed-size record that crosses between processes where the actor changes.

use std::os::fd::{OwnedFd, RawFd};

use crate::perform::Call;
use crate::sys::{Errno, SysResult, fs, socket};

/// One record between two processes of a launch: the turn, a question with its answer, or what went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Baton {
    /// The turn passes to the actor of row `next`.
    Turn {
        /// The next row to perform.
        next: u32,
        /// The number that comes along.
        with: With,
    },
    /// Init asks before it performs a row (`--step`, `--until`, `--fail`).
    Ask {
        /// The row.
        row: u32,
    },
    /// The answer: perform it.
    Go,
    /// The answer: the launch ends here.
    Stop,
    /// The answer: leave the row out.
    #[cfg(debug_assertions)]
    Skip,
    /// The answer: fail with this errno.
    Fail(i32),
    /// A row has failed.
    Failed(Failed),
}

/// The number that comes with the turn: [`crate::plan::handover::Brings`] says which one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum With {
    /// None.
    Nothing,
    /// The pid of a new child.
    Child(i32),
    /// The number of a seccomp listener in the sender's table of descriptors.
    Listener(i32),
}

/// Which row failed, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failed {
    /// The row.
    pub row: u32,
    /// Why.
    pub errno: i32,
    /// In which system call.
    pub call: Call,
    /// A number that the call gives its meaning: how much of the row's path leads to the symlink that was refused, else
    /// which candidate of `FindProgram` was taken.
    pub number: u16,
}

impl Baton {
    /// Length in bytes: the kind, the row and two numbers, in native byte order, since both ends are one binary.
    pub const LEN: usize = 16;

    /// The turn passes to the actor of row `next`, with nothing else.
    pub fn turn(next: usize) -> Self {
        Baton::Turn { next: next as u32, with: With::Nothing }
    }

    /// The turn, with this number.
    pub fn turn_with(next: usize, with: With) -> Self {
        Baton::Turn { next: next as u32, with }
    }

    /// Row `row` failed in `call`.
    pub fn failed(row: usize, errno: Errno, call: Call, number: usize) -> Self {
        let number = u16::try_from(number).unwrap_or_default();
        Baton::Failed(Failed { row: row as u32, errno: errno as i32, call, number })
    }

    /// Sends the record.
    pub fn send(self, socket: RawFd) -> SysResult<()> {
        socket::send(socket, &self.to_bytes())
    }

    /// Sends it with write(2), which each filter allows that lets runc pass: not so send(2).
    pub fn write(self, socket: RawFd) -> SysResult<()> {
        fs::write_all(socket, &self.to_bytes())
    }

    /// [`Self::receive`] with read(2).
    pub fn read(socket: RawFd) -> SysResult<Option<Self>> {
        let mut bytes = [0u8; Self::LEN];
        let n = loop {
            match fs::read(socket, &mut bytes) {
                Err(Errno::EINTR) => {}
                n => break n,
            }
        };
        Self::received(n, &bytes)
    }

    /// Waits for a record; `None` is end of file: the peer is gone, or has become the container's program.
    pub fn receive(socket: RawFd) -> SysResult<Option<Self>> {
        let mut bytes = [0u8; Self::LEN];
        let n = socket::recv(socket, &mut bytes);
        Self::received(n, &bytes)
    }

    /// The same, with descriptors that may come along.
    pub fn receive_with_fds(socket: RawFd) -> (SysResult<Option<Self>>, Vec<OwnedFd>) {
        let (mut bytes, mut fds) = ([0u8; Self::LEN], [-1; socket::MOST_FDS]);
        match socket::recv_with_fds(socket, &mut bytes, &mut fds) {
            Ok((n, came)) => {
                (Self::received(Ok(n), &bytes), fds[..came].iter().map(|fd| fs::own(*fd)).collect())
            }
            Err(e) => (Self::received(Err(e), &bytes), Vec::new()),
        }
    }

    fn received(n: SysResult<usize>, bytes: &[u8; Self::LEN]) -> SysResult<Option<Self>> {
        match n {
            Ok(Self::LEN) => Self::from_bytes(bytes).map(Some).ok_or(Errno::EPROTO),
            // A peer that was killed with a record unread resets the connection: it is gone.
            Ok(0) | Err(Errno::ECONNRESET) => Ok(None),
            Ok(_) => Err(Errno::EPROTO),
            Err(e) => Err(e),
        }
    }

    /// The record in `bytes`; `None` for one of no kind.
    pub fn from_bytes(bytes: &[u8; Self::LEN]) -> Option<Self> {
        let word = |i: usize| [bytes[i], bytes[i + 1], bytes[i + 2], bytes[i + 3]];
        let (kind, row) = (u32::from_ne_bytes(word(0)), u32::from_ne_bytes(word(4)));
        let (a, b) = (i32::from_ne_bytes(word(8)), i32::from_ne_bytes(word(12)));
        Some(match kind {
            0 => Baton::Turn { next: row, with: With::Nothing },
            1 => Baton::Turn { next: row, with: With::Child(a) },
            2 => Baton::Turn { next: row, with: With::Listener(a) },
            3 => Baton::Ask { row },
            4 => Baton::Go,
            5 => Baton::Stop,
            #[cfg(debug_assertions)]
            6 => Baton::Skip,
            7 => Baton::Fail(a),
            8 => Baton::Failed(Failed {
                row,
                errno: a,
                call: Call::from_number(b & 0xff),
                number: u16::try_from(b >> 8).unwrap_or_default(),
            }),
            _ => return None,
        })
    }

    /// The record as bytes.
    pub fn to_bytes(self) -> [u8; Self::LEN] {
        let (kind, row, a, b) = match self {
            Baton::Turn { next, with: With::Nothing } => (0, next, 0, 0),
            Baton::Turn { next, with: With::Child(pid) } => (1, next, pid, 0),
            Baton::Turn { next, with: With::Listener(number) } => (2, next, number, 0),
            Baton::Ask { row } => (3, row, 0, 0),
            Baton::Go => (4, 0, 0, 0),
            Baton::Stop => (5, 0, 0, 0),
            #[cfg(debug_assertions)]
            Baton::Skip => (6, 0, 0, 0),
            Baton::Fail(errno) => (7, 0, errno, 0),
            Baton::Failed(f) => (8, f.row, f.errno, i32::from(f.number) << 8 | f.call as i32),
        };
        let mut bytes = [0u8; Self::LEN];
        bytes[..4].copy_from_slice(&u32::to_ne_bytes(kind));
        bytes[4..8].copy_from_slice(&row.to_ne_bytes());
        bytes[8..12].copy_from_slice(&i32::to_ne_bytes(a));
        bytes[12..].copy_from_slice(&i32::to_ne_bytes(b));
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_survives_the_crossing_and_a_dead_peer_is_end_of_file() {
        let (a, b) = socket::seqpacket_pair().unwrap();
        let failed = Baton::failed(7, Errno::EXDEV, Call::VolumeLink, 4095);
        let child = Baton::turn_with(3, With::Child(17));
        let listener = Baton::turn_with(4, With::Listener(9));
        let answers = [Baton::Go, Baton::Stop, Baton::Fail(13), Baton::Ask { row: 41 }];
        for sent in [failed, child, listener, Baton::turn(2)].into_iter().chain(answers) {
            sent.send(a).unwrap();
            assert_eq!(Baton::receive(b).unwrap(), Some(sent));
            sent.write(a).unwrap();
            assert_eq!(Baton::read(b).unwrap(), Some(sent));
        }
        crate::sys::fs::close(a);
        assert_eq!(Baton::receive(b).unwrap(), None);
        assert_eq!(Baton::read(b).unwrap(), None);
        crate::sys::fs::close(b);
    }
}
