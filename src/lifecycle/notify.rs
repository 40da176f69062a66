//! sd_notify(3) through the container's wall: systemd waits for `READY=1` on `$NOTIFY_SOCKET`, which the
//! container cannot see.
//!
//! A directory of the state is mounted at /run/notify, the program finds a socket of ours there, and its
//! `READY=` goes on to the host's socket together with the pid that systemd shall watch, as runc has it.

use std::os::fd::{AsRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::lifecycle::sidecar::Sidecar;
use crate::state::files::{NOTIFY_DIR, NOTIFY_SOCKET};
use crate::sys::io::{self, Interest};
use crate::sys::{Errno, fs, process, socket};

/// Messages that are read before others have their turn; the kernel keeps some more (net.unix.max_dgram_qlen).
const TURN: usize = 8;
/// How long a launcher that does not stay waits for the host to read.
const PATIENCE: Duration = Duration::from_secs(5);
/// `$NOTIFY_SOCKET` of this process: a path, or `@` and an abstract name.
pub fn host() -> Option<PathBuf> {
    std::env::var_os("NOTIFY_SOCKET").filter(|v| !v.is_empty()).map(PathBuf::from)
}

/// Passes the container's readiness on. Neither a container that floods the socket nor a host that does not read
/// can make it wait.
pub struct Proxy {
    inside: UnixDatagram,
    host: PathBuf,
    /// The process that systemd shall watch.
    pid: i32,
    /// The message on its way to the host.
    word: Option<Word>,
    /// The host has the message, or cannot receive it.
    ready: bool,
}

/// `READY=1` on its way to the host.
struct Word {
    out: UnixDatagram,
    since: Instant,
    /// Messages that the host's socket had no room for yet, the next one last.
    left: Vec<Vec<u8>>,
    /// sd_notify_barrier(3): (the end that hangs up once the messages before it were read, the end to send).
    barrier: (OwnedFd, Option<OwnedFd>),
}

impl Proxy {
    /// Listens in the directory of a container that was created; a socket that is there is replaced.
    pub fn listen(state_dir: &Path, host: PathBuf, pid: i32) -> Result<Self> {
        let dir = state_dir.join(NOTIFY_DIR);
        match std::fs::remove_file(dir.join(NOTIFY_SOCKET)) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::msg(format!("{}: {e}", dir.join(NOTIFY_SOCKET).display())));
            }
            _ => {}
        }
        let fd = socket::named_dgram(&crate::sys::cstr::cpath(&dir)?, NOTIFY_SOCKET)
            .map_err(|e| Error::os("bind", dir.join(NOTIFY_SOCKET).display(), e))?;
        Ok(Proxy::on(fd, host, pid))
    }

    /// On the socket that a row of the plan made.
    pub fn on(fd: i32, host: PathBuf, pid: i32) -> Self {
        Proxy { inside: UnixDatagram::from(fs::own(fd)), host, pid, word: None, ready: false }
    }

    /// Whether the host has the message, or cannot receive it.
    pub fn is_ready(&self) -> bool {
        self.ready
    }

    /// Until when the host may take to read that the container is ready; `None`: it is not ready yet.
    pub fn overdue(&self) -> Option<Instant> {
        self.word.as_ref().map(|word| word.since + PATIENCE)
    }

    /// Reads the container's messages, a few at a time.
    fn hear(&mut self) {
        let mut buf = [0u8; 4096];
        // A container that sends more than that at a time waits for the next turn: other sidecars are waiting, too.
        for _ in 0..TURN {
            let Ok(n) = io::receive_nowait(self.inside.as_raw_fd(), &mut buf) else { return };
            let ready = buf[..n].split(|b| *b == b'\n').find(|line| line.starts_with(b"READY="));
            if let Some(line) = ready {
                self.word = Word::new(&self.host, line, self.pid).map_err(|e| self.failed(&e)).ok();
                self.ready = self.word.is_none();
                return;
            }
        }
    }

    fn failed(&self, e: &std::io::Error) {
        crate::log::say(&format!("$NOTIFY_SOCKET {}: {e}", self.host.display()));
    }

    /// Waits until the container is ready, or has ended.
    pub fn wait(&mut self, pidfd: &OwnedFd) -> Result<()> {
        while !self.ready {
            let mut list = self.descriptors();
            list.push((pidfd.as_raw_fd(), libc::POLLIN));
            let left = self.overdue().map(|end| end.saturating_duration_since(Instant::now()));
            let millis = left.map_or(-1, |left| i32::try_from(left.as_millis()).unwrap_or(i32::MAX));
            let events = io::poll(&list, millis).map_err(|e| Error::os("poll", "the notify socket", e))?;
            let (ended, own) = events.split_last().unwrap_or((&0, &[]));
            self.ready(own);
            if (*ended != 0 && self.word.is_none()) || left.is_some_and(|left| left.is_zero()) {
                return Ok(());
            }
        }
        Ok(())
    }
}

impl Sidecar for Proxy {
    fn descriptors(&self) -> Vec<Interest> {
        vec![match &self.word {
            None => (self.inside.as_raw_fd(), libc::POLLIN),
            Some(word) if word.is_sent() => (word.barrier.0.as_raw_fd(), libc::POLLIN),
            Some(word) => (word.out.as_raw_fd(), libc::POLLOUT),
        }]
    }

    fn ready(&mut self, events: &[i16]) {
        if events.iter().all(|e| *e == 0) {
            return;
        }
        match &mut self.word {
            None => self.hear(),
            Some(word) if word.is_sent() => self.ready = true,
            Some(_) => {}
        }
        let sent = self.word.as_mut().map_or(Ok(()), Word::send);
        if let Err(e) = sent {
            self.failed(&e);
            self.ready = true;
        }
    }
}

impl Word {
    /// A socket that leads to the host's.
    fn socket(host: &Path) -> std::io::Result<UnixDatagram> {
        let name = host.as_os_str().as_bytes();
        let address = match name.strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None => SocketAddr::from_pathname(host)?,
        };
        let out = UnixDatagram::unbound()?;
        out.set_nonblocking(true)?;
        out.connect_addr(&address)?;
        Ok(out)
    }

    fn new(host: &Path, ready: &[u8], pid: i32) -> std::io::Result<Self> {
        let out = Self::socket(host)?;
        let (reader, writer) = std::io::pipe()?;
        let left = vec![format!("MAINPID={pid}\n").into_bytes(), [ready, b"\n"].concat()];
        Ok(Word { out, since: Instant::now(), left, barrier: (reader.into(), Some(writer.into())) })
    }

    fn is_sent(&self) -> bool {
        self.left.is_empty() && self.barrier.1.is_none()
    }

    /// Sends as much as the host's socket takes now.
    fn send(&mut self) -> std::io::Result<()> {
        let later = |e: &std::io::Error| e.kind() == std::io::ErrorKind::WouldBlock;
        while let Some(message) = self.left.last() {
            match self.out.send(message) {
                Ok(_) => drop(self.left.pop()),
                Err(e) if later(&e) => return Ok(()),
                Err(e) => return Err(e),
            }
        }
        let Some(writer) = &self.barrier.1 else { return Ok(()) };
        match socket::send_fd(self.out.as_raw_fd(), b"BARRIER=1", writer.as_raw_fd()) {
            Ok(()) => self.barrier.1 = None,
            Err(Errno::EAGAIN) => {}
            Err(e) => return Err(e.into()),
        }
        Ok(())
    }
}

/// Tells the host that this process's container runs.
pub fn notify_ready() {
    let Some(host) = host() else { return };
    let line = format!("READY=1\nMAINPID={}\nSTATUS=the program runs\n", process::pid());
    let sent = Word::socket(&host).and_then(|out| out.send(line.as_bytes()));
    if let Err(e) = sent {
        crate::log::say(&format!("$NOTIFY_SOCKET {}: {e}", host.display()));
    }
}

/// The proxy of a detached container: until it is ready.
pub fn wait_for(proxy: Option<Proxy>, pid: i32) -> Result<()> {
    let Some(mut proxy) = proxy else { return Ok(()) };
    match process::pidfd_open(pid) {
        Ok(pidfd) => proxy.wait(&fs::own(pidfd)),
        // It has ended already.
        Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sender that never stops would keep the supervisor from seeing signals and the container's end.
    #[test]
    fn a_flood_is_read_in_turns() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join(NOTIFY_DIR)).unwrap();
        let host = UnixDatagram::bind(dir.path().join("host")).unwrap();
        let mut proxy = Proxy::listen(dir.path(), dir.path().join("host"), 1).unwrap();
        let path = dir.path().join(NOTIFY_DIR).join(NOTIFY_SOCKET);
        let flood = UnixDatagram::unbound().unwrap();
        flood.set_nonblocking(true).unwrap();
        let mut sent = 0;
        while sent < 4 * TURN && flood.send_to(b"STATUS=talking", &path).is_ok() {
            sent += 1;
        }
        assert!(sent > TURN, "the kernel keeps {sent} messages only");
        proxy.ready(&[libc::POLLIN]);
        assert!(!proxy.is_ready());
        // What was not read is still there; what matters comes through.
        assert_eq!(proxy.inside.recv(&mut [0; 64]).unwrap(), "STATUS=talking".len());
        flood.send_to(b"READY=1", &path).unwrap();
        std::thread::spawn(move || while host.recv(&mut [0; 64]).is_ok_and(|n| n > 0) {});
        let turn = |proxy: &mut Proxy| {
            let events = io::poll(&proxy.descriptors(), 5000).unwrap();
            proxy.ready(&events);
            proxy.is_ready()
        };
        assert!((0..sent + 4).any(|_| turn(&mut proxy)));
    }
}
