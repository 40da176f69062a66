//! A copy between two descriptors that never waits: a buffer of fixed size, one bounded read and one bounded write
//! at a time. What cannot be written now is kept until poll(2) says that it can.

use std::collections::VecDeque;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use crate::lifecycle::sidecar::Sidecar;
use crate::sys::io::{self, Interest};
use crate::sys::{Errno, SysResult, fs, tty};

/// Bytes that a copy holds at most.
const ROOM: usize = 65_536;
/// How long a terminal in whose background this process runs is left alone.
const NAP: Duration = Duration::from_millis(200);
/// What is taken after the container's end at most: more than a pipe holds (fs.pipe-max-size).
const LAST: usize = 2 << 20;
/// /dev/kmsg takes each line at once, and poll(2) never says that it does.
const KMSG: libc::dev_t = libc::makedev(1, 11);

/// How a descriptor is used without waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum IoKind {
    /// Non-blocking, with an open file description that belongs to this process.
    NonBlocking,
    /// A regular file or a disk: it never waits for another process.
    File,
    /// A socket: each call can say that it does not wait.
    Socket,
    /// A blocking descriptor that other processes share: its mode is theirs, too.
    Shared,
}

/// One end of a copy.
#[derive(Debug)]
pub struct RelayEnd {
    fd: OwnedFd,
    kind: IoKind,
    /// A terminal: it is read only while this process is in its foreground.
    tty: bool,
}

impl RelayEnd {
    /// A descriptor that only this process has.
    pub fn own(fd: OwnedFd) -> SysResult<Self> {
        tty::set_nonblocking(fd.as_raw_fd())?;
        Ok(RelayEnd { fd, kind: IoKind::NonBlocking, tty: false })
    }

    /// One that was inherited from the caller, who may share it with other processes.
    pub fn of_caller(fd: RawFd, access: i32) -> SysResult<Self> {
        let st = fs::fstatat(fd, c"")?;
        let copy = || fs::dup_above(fd, 3).map(fs::own);
        let terminal = tty::is_tty(fd);
        // Another open of /dev/ptmx is another terminal, and /dev/tty may be another one for this process.
        let named = terminal && libc::major(st.st_rdev) != 5;
        let kind = match st.st_mode & libc::S_IFMT {
            libc::S_IFREG | libc::S_IFBLK => IoKind::File,
            libc::S_IFCHR if st.st_rdev == KMSG && access == libc::O_WRONLY => IoKind::File,
            libc::S_IFSOCK => IoKind::Socket,
            kind if kind == libc::S_IFIFO || named => match io::reopen_nonblocking(fd, access) {
                Ok(fd) => return Ok(RelayEnd { fd: fs::own(fd), kind: IoKind::NonBlocking, tty: terminal }),
                // A pipe of another user's.
                Err(_) => IoKind::Shared,
            },
            _ => IoKind::Shared,
        };
        Ok(RelayEnd { fd: copy()?, kind, tty: terminal })
    }

    fn fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// Whether this is a terminal in whose background this process runs: to read it would stop the process.
    fn in_background(&self) -> bool {
        self.tty && !tty::in_foreground(self.fd())
    }

    /// For poll(2).
    pub fn as_raw_fd(&self) -> RawFd {
        self.fd()
    }

    /// poll(2) has reported that it is readable.
    pub fn read(&self, buf: &mut [u8]) -> SysResult<usize> {
        match self.kind {
            IoKind::NonBlocking | IoKind::File => fs::read(self.fd(), buf),
            IoKind::Socket => io::receive_nowait(self.fd(), buf),
            IoKind::Shared => match io::read_nowait(self.fd(), buf) {
                // Another reader may be faster, and this one wait: nothing better exists for such a file.
                Err(Errno::EOPNOTSUPP | Errno::EINVAL | Errno::ENOSYS) => fs::read(self.fd(), buf),
                result => result,
            },
        }
    }

    /// poll(2) has reported that it is writable.
    fn write(&self, bytes: &[u8]) -> SysResult<usize> {
        match self.kind {
            IoKind::NonBlocking | IoKind::File => fs::write(self.fd(), bytes),
            IoKind::Socket => io::send_nowait(self.fd(), bytes),
            IoKind::Shared => io::write_ready(self.fd(), bytes),
        }
    }
}

/// `--output-limit`: the beginning is passed on, of the rest the end.
#[derive(Debug)]
struct OutputLimit {
    /// Bytes of the beginning that are yet to come.
    head: u64,
    /// The last bytes after the beginning.
    tail: VecDeque<u8>,
    /// How many of them are kept.
    keep: usize,
    /// Bytes that were dropped.
    cut: u64,
}

impl OutputLimit {
    fn new(bytes: u64) -> Self {
        let keep = (bytes / 4).min(ROOM as u64);
        OutputLimit { head: bytes - keep, tail: VecDeque::new(), keep: keep as usize, cut: 0 }
    }

    /// Takes what is more than the beginning out of `new`.
    fn hold(&mut self, buffer: &mut Vec<u8>, filled: usize) {
        let new = buffer.len() - filled;
        let head = usize::try_from(self.head).unwrap_or(usize::MAX).min(new);
        self.head -= head as u64;
        let rest = &buffer[filled + head..];
        let kept = &rest[rest.len().saturating_sub(self.keep)..];
        self.cut += (rest.len() - kept.len()) as u64;
        let over = (self.tail.len() + kept.len()).saturating_sub(self.keep);
        self.tail.drain(..over);
        self.cut += over as u64;
        self.tail.extend(kept);
        buffer.truncate(filled + head);
    }
}

/// What came through a copy of the program's output.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// Bytes that the program wrote.
    pub bytes: u64,
    /// Of these, bytes that `--output-limit` dropped.
    pub cut: u64,
    /// Of these, bytes that no reader took in time.
    pub lost: u64,
}

/// A copy that goes on until one of its ends is closed.
pub struct Copy {
    from: Option<RelayEnd>,
    to: Option<RelayEnd>,
    buffer: Vec<u8>,
    /// How much of the buffer has been written.
    sent: usize,
    /// What it does for the container: output is written out to the last byte after the container's end.
    output: bool,
    lost: bool,
    /// Which of the descriptors 0 to 2.
    stream: u8,
    /// Bytes that were read.
    taken: u64,
    limit: Option<OutputLimit>,
}

impl Copy {
    /// The container's output.
    pub fn output(from: RelayEnd, to: RelayEnd) -> Self {
        Copy {
            from: Some(from),
            to: Some(to),
            buffer: Vec::new(),
            sent: 0,
            output: true,
            lost: false,
            stream: 1,
            taken: 0,
            limit: None,
        }
    }

    /// The same as one of the program's streams, of which at most `limit` bytes are passed on.
    pub fn of_stream(self, stream: u8, limit: Option<u64>) -> Self {
        Copy { stream, limit: limit.filter(|_| self.output).map(OutputLimit::new), ..self }
    }

    /// The number of the stream and what came of it, where this is output.
    pub fn count(&self) -> Option<(u8, Count)> {
        let cut = self.limit.as_ref().map_or(0, |limit| limit.cut);
        let lost = if self.to.is_some() { (self.buffer.len() - self.sent) as u64 } else { 0 };
        self.output.then_some((self.stream, Count { bytes: self.taken, cut, lost }))
    }

    /// The container's input.
    pub fn input(from: RelayEnd, to: RelayEnd) -> Self {
        Copy { output: false, ..Self::output(from, to) }
    }

    /// The container's output has nowhere to go any more.
    pub fn has_lost_its_reader(&self) -> bool {
        self.output && self.lost
    }

    fn room(&self) -> bool {
        self.buffer.len() < ROOM
    }

    fn reader(&self) -> Option<&RelayEnd> {
        self.from.as_ref().filter(|_| self.room() && self.to.is_some())
    }

    fn writer(&self) -> Option<&RelayEnd> {
        self.to.as_ref().filter(|_| self.sent < self.buffer.len())
    }

    /// Reads what has arrived, within the buffer's bounds.
    fn fill(&mut self) {
        let Some(from) = &self.from else { return };
        let filled = self.buffer.len();
        self.buffer.resize(ROOM, 0);
        let result = from.read(&mut self.buffer[filled..]);
        let new = *result.as_ref().unwrap_or(&0);
        self.buffer.truncate(filled + new);
        self.taken += new as u64;
        if let Some(limit) = &mut self.limit {
            limit.hold(&mut self.buffer, filled);
        }
        match result {
            // A background read of a terminal whose SIGTTIN is ignored is EIO (tty_ioctl(4)), as is a pty without
            // its other side.
            Err(Errno::EIO) if from.in_background() => {}
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            Ok(n) if n > 0 => {}
            // The end: of file, of the terminal, or of a descriptor that cannot be read.
            _ => self.from = None,
        }
    }

    /// Writes without being asked to, where that cannot wait. Some descriptors are never called writable by poll(2), and
    /// the error of others, as of a socket that listens, is seen by a write alone.
    fn flush_unasked(&mut self) {
        if self.writer().is_some_and(|to| to.kind != IoKind::Shared) {
            self.flush();
        }
    }

    /// Writes what the other side takes.
    fn flush(&mut self) {
        let Some(to) = &self.to else { return };
        match to.write(&self.buffer[self.sent..]) {
            Ok(n) => self.sent += n,
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            // The reader is gone: closing the other end lets the writer know (SIGPIPE, or SIGHUP of a terminal).
            Err(_) => {
                (self.from, self.to) = (None, None);
                self.lost = true;
            }
        }
        if self.sent == self.buffer.len() {
            self.buffer.clear();
            self.sent = 0;
        } else if !self.room() && self.sent > 0 {
            self.buffer.drain(..self.sent);
            self.sent = 0;
        }
        self.close_at_the_end();
    }

    fn close_at_the_end(&mut self) {
        if self.from.is_none()
            && let Some(limit) = &mut self.limit
        {
            self.buffer.extend(limit.tail.drain(..));
        }
        if self.from.is_none() && self.buffer.is_empty() {
            // The program's stdin ends where the caller's does.
            self.to = None;
        }
    }
}

impl Sidecar for Copy {
    fn descriptors(&self) -> Vec<Interest> {
        let reader = self.reader().filter(|from| !from.in_background()).map_or(-1, RelayEnd::fd);
        // An error is reported whatever is asked for, so a reader who goes away is seen at once.
        vec![(reader, libc::POLLIN), (self.writer().map_or(-1, RelayEnd::fd), libc::POLLOUT)]
    }

    fn ready(&mut self, events: &[i16]) {
        if events.get(1).is_some_and(|e| *e != 0) {
            self.flush();
        }
        if events.first().is_some_and(|e| *e != 0) && self.room() {
            self.fill();
            self.flush_unasked();
            self.close_at_the_end();
        }
    }

    /// Nothing tells when this process comes to the foreground.
    fn due(&self) -> Option<Instant> {
        self.reader().is_some_and(RelayEnd::in_background).then(|| Instant::now() + NAP)
    }

    /// After the container's end no process reads its input, and what is in its pipes or its terminal is the
    /// last of its output.
    fn end(&mut self) {
        if !self.output {
            (self.from, self.to) = (None, None);
        }
    }

    fn is_done(&mut self) -> bool {
        if !self.output || self.to.is_none() {
            return true;
        }
        // A process that outlives the container may hold the other end open: what is not there now is not waited for.
        let first = self.taken;
        while self.room() && self.from.is_some() {
            let before = self.taken;
            self.fill();
            if self.taken == before || self.taken - first > LAST as u64 {
                self.from = None;
            }
        }
        self.flush_unasked();
        self.close_at_the_end();
        self.to.is_none()
    }
}
