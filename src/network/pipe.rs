//! Pipes for connections that carry much: splice(2) moves pages from one socket to the other, without a copy.
//!
//! A call moves no more than the pipe's size. Each write to a socket of this machine wakes its reader, who takes the cpu from
//! the helper: in portions of 64 KiB a gibibyte takes 4,000 such switches and 0.4 s of the helper's cpu time, in portions of
//! 1 MiB 260 and 0.3 s. So a stream that goes on gets a large pipe. Pages of pipes are charged to the user, whose other
//! programs get tiny pipes beyond a limit (pipe(7), /proc/sys/fs/pipe-user-pages-soft): there are few large ones, and a
//! stream that pauses loses its pipe.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use super::placement::Placement;
use crate::sys::{Errno, SysResult, net};

/// The most pipes at once; other connections copy.
pub const MOST_PIPES: usize = 64;
/// Bytes of a pipe as the kernel makes it.
pub const SMALL: usize = 64 << 10;
/// Bytes of a large one: what an unprivileged user may have (/proc/sys/fs/pipe-max-size).
pub const LARGE: usize = 1 << 20;
/// The most large ones: 1,024 of the 16,384 pages that a user may have in pipes.
const MOST_LARGE: usize = 4;
/// How often a pipe is filled, one time after the other, before it becomes a large one.
const OFTEN: u8 = 8;

/// A pipe, and the bytes in it.
#[derive(Debug)]
pub struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
    held: usize,
    large: bool,
    /// How often it was filled without a pause.
    filled: u8,
    /// Something went through since it was looked at.
    used: bool,
}

impl Pipe {
    /// An empty one.
    pub fn new() -> SysResult<Self> {
        let (read, write) = net::pipe()?;
        Ok(Pipe { read, write, held: 0, large: false, filled: 0, used: true })
    }

    /// Whether it is a large one, which only a stream has.
    pub fn is_large(&self) -> bool {
        self.large
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.held == 0
    }

    /// Whether nothing is in it, and nothing went through since the last time that this was asked.
    pub fn is_idle(&mut self) -> bool {
        !std::mem::take(&mut self.used) && self.is_empty()
    }

    /// Takes from a socket what the pipe has room for; 0 at its end. To be called while the pipe is empty: EAGAIN then
    /// says that the socket has nothing.
    pub fn fill(&mut self, from: RawFd) -> SysResult<usize> {
        let n = net::splice(from, self.write.as_raw_fd(), LARGE)?;
        self.held += n;
        self.used = true;
        self.filled = if n < SMALL { 0 } else { self.filled.saturating_add(1) };
        Ok(n)
    }

    /// Gives a socket what it takes.
    pub fn drain(&mut self, to: RawFd) -> SysResult<usize> {
        match net::splice(self.read.as_raw_fd(), to, self.held)? {
            0 => Err(Errno::EPIPE),
            n => {
                self.held -= n;
                Ok(n)
            }
        }
    }

    fn resize(&mut self, bytes: usize) -> SysResult<()> {
        net::resize_pipe(self.write.as_raw_fd(), bytes)?;
        self.large = bytes == LARGE;
        Ok(())
    }
}

/// Pipes that are not in use.
#[derive(Debug, Default)]
pub struct Pipes {
    free: Vec<Pipe>,
    made: usize,
    large: usize,
    /// Where streams are carried.
    pub placement: Placement,
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

    /// Whether a connection has one.
    pub fn are_used(&self) -> bool {
        self.made > self.free.len()
    }

    /// Makes a pipe that is filled again and again a large one, where one more is possible.
    pub fn enlarge(&mut self, pipe: &mut Pipe) {
        if pipe.large || pipe.filled < OFTEN || self.large >= MOST_LARGE {
            return;
        }
        match pipe.resize(LARGE) {
            Ok(()) => self.large += 1,
            // The user has too many pages in pipes already: it is asked again later.
            Err(_) => pipe.filled = 0,
        }
    }

    /// Takes one back, in its first size; one with bytes of a connection that is over is closed.
    pub fn give_back(&mut self, mut pipe: Pipe) {
        self.large -= usize::from(pipe.large);
        if self.large == 0 {
            self.placement.rest();
        }
        (pipe.filled, pipe.used) = (0, true);
        if pipe.is_empty() && (!pipe.large || pipe.resize(SMALL).is_ok()) {
            self.free.push(pipe);
        } else {
            self.made -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    fn size(pipe: &Pipe) -> usize {
        nix::fcntl::fcntl(&pipe.write, nix::fcntl::FcntlArg::F_GETPIPE_SZ).unwrap() as usize
    }

    #[test]
    fn pipes_that_are_filled_again_and_again_become_large_and_are_few() {
        let mut pipes = Pipes::default();
        let mut all: Vec<Pipe> = (0..MOST_PIPES).map(|_| pipes.take().unwrap()).collect();
        assert!(pipes.take().is_none() && pipes.are_used());
        // A user whose pipes have too many pages already gets no large one.
        let Ok(()) = all[0].resize(LARGE) else { return };
        all[0].resize(SMALL).unwrap();
        for pipe in &mut all {
            pipe.filled = OFTEN - 1;
            pipes.enlarge(pipe);
            assert_eq!(size(pipe), SMALL, "not yet");
            pipe.filled = OFTEN;
            pipes.enlarge(pipe);
        }
        let large = |all: &[Pipe]| all.iter().filter(|pipe| size(pipe) == LARGE).count();
        assert_eq!(large(&all), MOST_LARGE);
        // One that comes back is small, and another connection may have a large one.
        pipes.give_back(all.remove(0));
        let mut next = pipes.take().unwrap();
        assert_eq!((size(&next), large(&all)), (SMALL, MOST_LARGE - 1));
        next.filled = OFTEN;
        pipes.enlarge(&mut next);
        assert_eq!(size(&next), LARGE);
        all.push(next);
        all.into_iter().for_each(|pipe| pipes.give_back(pipe));
        assert!(!pipes.are_used());
        assert!(pipes.free.iter().all(|pipe| size(pipe) == SMALL));
    }

    #[test]
    fn a_pipe_is_idle_when_nothing_went_through_since_it_was_looked_at() {
        let (mut from, inside) = UnixStream::pair().unwrap();
        let (outside, mut to) = UnixStream::pair().unwrap();
        let mut pipe = Pipe::new().unwrap();
        assert!(!pipe.is_idle(), "it was just taken");
        assert!(pipe.is_idle());
        from.write_all(b"bytes").unwrap();
        assert_eq!(pipe.fill(inside.as_raw_fd()), Ok(5));
        assert!(!pipe.is_idle());
        assert!(!pipe.is_idle(), "bytes are in it");
        assert_eq!(pipe.drain(outside.as_raw_fd()), Ok(5));
        assert!(pipe.is_idle());
        let mut text = [0; 5];
        to.read_exact(&mut text).unwrap();
        assert_eq!(&text, b"bytes");
    }
}
