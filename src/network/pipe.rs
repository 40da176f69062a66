//! Pipes for connections that carry much: splice(2) moves pages from one socket to the other, without a copy.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use crate::sys::{Errno, Result, net};

/// The most pipes at once; other connections copy.
pub const MOST_PIPES: usize = 64;
/// Bytes that are asked for at once.
const MUCH: usize = 1 << 20;

/// A pipe, and the bytes in it.
#[derive(Debug)]
pub struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
    held: usize,
}

impl Pipe {
    /// An empty one.
    pub fn new() -> Result<Self> {
        let (read, write) = net::pipe()?;
        Ok(Pipe { read, write, held: 0 })
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.held == 0
    }

    /// Takes from a socket what the pipe has room for; 0 at its end. To be called while the pipe is empty: EAGAIN then
    /// says that the socket has nothing.
    pub fn fill(&mut self, from: RawFd) -> Result<usize> {
        let n = net::splice(from, self.write.as_raw_fd(), MUCH)?;
        self.held += n;
        Ok(n)
    }

    /// Gives a socket what it takes.
    pub fn drain(&mut self, to: RawFd) -> Result<usize> {
        match net::splice(self.read.as_raw_fd(), to, self.held)? {
            0 => Err(Errno::EPIPE),
            n => {
                self.held -= n;
                Ok(n)
            }
        }
    }
}

/// Pipes that are not in use.
#[derive(Debug, Default)]
pub struct Pipes {
    free: Vec<Pipe>,
    made: usize,
}

impl Pipes {
    /// An empty pipe, where one more is possible.
    pub fn take(&mut self) -> Option<Pipe> {
        if let Some(pipe) = self.free.pop() {
            return Some(pipe);
        }
        let pipe = if self.made < MOST_PIPES { Pipe::new().ok() } else { None };
        self.made += usize::from(pipe.is_some());
        pipe
    }

    /// Takes one back; one with bytes of a connection that is over is closed.
    pub fn give_back(&mut self, pipe: Pipe) {
        if pipe.is_empty() { self.free.push(pipe) } else { self.made -= 1 }
    }
}
