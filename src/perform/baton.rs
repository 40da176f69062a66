//! The fixed-size record that crosses between processes where the actor changes.

use std::os::fd::{OwnedFd, RawFd};

use crate::sys::{Errno, Result, fs, socket};

/// Whose turn it is, or what went wrong. Twelve bytes, native byte order: both ends are one binary on one machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Baton {
    /// The next row to perform; on an error the row that failed.
    pub next: u32,
    /// 0, or why row `next` failed.
    pub errno: i32,
    /// A new child's pid, or the number of a seccomp listener; on an error what [`Baton::failure`] takes apart; [`ASK`]
    /// when Init asks before a row.
    pub pid: i32,
}

/// `Baton::pid` of Init's question "may I perform row `next`?" under `--step`, `--until` and `--fail`.
pub const ASK: i32 = -1;
/// The answer that leaves the row out; 1 is the answer that ends the launch.
#[cfg(debug_assertions)]
pub const SKIP: i32 = 2;

impl Baton {
    /// The turn passes to the actor of row `next`.
    pub fn turn(next: usize) -> Self {
        Baton { next: next as u32, errno: 0, pid: 0 }
    }

    /// Row `row` failed in `call`.
    pub fn failed(row: usize, errno: Errno, call: crate::perform::Call) -> Self {
        Baton { next: row as u32, errno: errno as i32, pid: call as i32 }
    }

    /// The same, with a number that the call gives its meaning: how much of the row's path leads to the symlink that was
    /// refused, else which candidate of `FindProgram` was taken.
    pub fn about(self, number: usize) -> Self {
        let number = i32::try_from(number).unwrap_or_default() & 0xffff;
        Baton { pid: number << 8 | self.pid, ..self }
    }

    /// The system call and the number of a record from [`Self::failed`].
    pub fn failure(self) -> (crate::perform::Call, usize) {
        let number = usize::try_from(self.pid >> 8).unwrap_or_default();
        (crate::perform::Call::from_number(self.pid & 0xff), number)
    }

    /// Sends the record.
    pub fn send(self, socket: RawFd) -> Result<()> {
        socket::send(socket, &self.to_bytes())
    }

    /// Sends it with write(2), which each filter allows that lets runc pass: not so send(2).
    pub fn write(self, socket: RawFd) -> Result<()> {
        fs::write_all(socket, &self.to_bytes())
    }

    /// [`Self::receive`] with read(2).
    pub fn read(socket: RawFd) -> Result<Option<Self>> {
        let mut bytes = [0u8; 12];
        let n = loop {
            match fs::read(socket, &mut bytes) {
                Err(Errno::EINTR) => {}
                n => break n,
            }
        };
        Self::received(n, &bytes)
    }

    /// Waits for a record; `None` is end of file: the peer is gone, or has become the container's program.
    pub fn receive(socket: RawFd) -> Result<Option<Self>> {
        let mut bytes = [0u8; 12];
        let n = socket::recv(socket, &mut bytes);
        Self::received(n, &bytes)
    }

    /// The same, with descriptors that may come along.
    pub fn receive_with_fds(socket: RawFd) -> (Result<Option<Self>>, Vec<OwnedFd>) {
        let (mut bytes, mut fds) = ([0u8; 12], [-1; socket::MOST_FDS]);
        match socket::recv_with_fds(socket, &mut bytes, &mut fds) {
            Ok((n, came)) => {
                (Self::received(Ok(n), &bytes), fds[..came].iter().map(|fd| fs::own(*fd)).collect())
            }
            Err(e) => (Self::received(Err(e), &bytes), Vec::new()),
        }
    }

    fn received(n: Result<usize>, bytes: &[u8; 12]) -> Result<Option<Self>> {
        match n {
            Ok(12) => Ok(Some(Self::from_bytes(bytes))),
            // A peer that was killed with a record unread resets the connection: it is gone.
            Ok(0) | Err(Errno::ECONNRESET) => Ok(None),
            Ok(_) => Err(Errno::EPROTO),
            Err(e) => Err(e),
        }
    }

    /// The record in `bytes`.
    pub fn from_bytes(bytes: &[u8; 12]) -> Self {
        let word = |i: usize| [bytes[i], bytes[i + 1], bytes[i + 2], bytes[i + 3]];
        Baton {
            next: u32::from_ne_bytes(word(0)),
            errno: i32::from_ne_bytes(word(4)),
            pid: i32::from_ne_bytes(word(8)),
        }
    }

    /// The record as bytes, for the report pipe that `start` reads.
    pub fn to_bytes(self) -> [u8; 12] {
        let mut bytes = [0u8; 12];
        bytes[..4].copy_from_slice(&self.next.to_ne_bytes());
        bytes[4..8].copy_from_slice(&self.errno.to_ne_bytes());
        bytes[8..].copy_from_slice(&self.pid.to_ne_bytes());
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_survives_the_crossing_and_a_dead_peer_is_end_of_file() {
        let (a, b) = socket::seqpacket_pair().unwrap();
        let sent = Baton { next: 41, errno: 13, pid: -1 };
        sent.send(a).unwrap();
        assert_eq!(Baton::receive(b).unwrap(), Some(sent));
        sent.write(a).unwrap();
        assert_eq!(Baton::read(b).unwrap(), Some(sent));
        let failed = Baton::failed(7, Errno::EXDEV, crate::perform::Call::VolumeLink).about(4095);
        assert_eq!(failed.failure(), (crate::perform::Call::VolumeLink, 4095));
        crate::sys::fs::close(a);
        assert_eq!(Baton::receive(b).unwrap(), None);
        assert_eq!(Baton::read(b).unwrap(), None);
        crate::sys::fs::close(b);
    }
}
