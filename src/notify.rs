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

use crate::config::{Config, Mount};
use crate::error::{Error, Result};
use crate::sys::{fs, process, socket};

/// Name of the directory below the container's state.
pub const DIR: &str = "notify";
/// Name of the socket in it.
pub const SOCKET: &str = "notify.sock";
/// Messages that are read before others have their turn; the kernel keeps some more (net.unix.max_dgram_qlen).
const TURN: usize = 8;
/// Where the container sees the directory.
const INSIDE: &str = "/run/notify";

/// `$NOTIFY_SOCKET` of this process: a path, or `@` and an abstract name.
pub fn host() -> Option<PathBuf> {
    std::env::var_os("NOTIFY_SOCKET").filter(|v| !v.is_empty()).map(PathBuf::from)
}

/// Adds the mount and the variable to a config.
pub fn add_to(config: &mut Config, state_dir: &Path) {
    config.mounts.push(Mount {
        destination: INSIDE.into(),
        source: Some(state_dir.join(DIR).to_string_lossy().into_owned()),
        bind: Some(false),
        attr_set: libc::MOUNT_ATTR_RDONLY
            | libc::MOUNT_ATTR_NOSUID
            | libc::MOUNT_ATTR_NODEV
            | libc::MOUNT_ATTR_NOEXEC,
        ..Mount::default()
    });
    if let Some(process) = config.process.as_mut() {
        process.env.retain(|e| !e.starts_with("NOTIFY_SOCKET="));
        process.env.push(format!("NOTIFY_SOCKET={INSIDE}/{SOCKET}"));
    }
}

/// Passes the container's readiness on.
pub struct Proxy {
    inside: UnixDatagram,
    host: PathBuf,
}

impl Proxy {
    /// Listens in the directory of a container that was created; a socket that is there is replaced.
    pub fn listen(state_dir: &Path, host: PathBuf) -> Result<Self> {
        let dir = state_dir.join(DIR);
        match std::fs::remove_file(dir.join(SOCKET)) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::msg(format!("{}: {e}", dir.join(SOCKET).display())));
            }
            _ => {}
        }
        let fd = socket::named_dgram(&crate::plan::lower::cpath(&dir)?, SOCKET)
            .map_err(|e| Error::os("bind", dir.join(SOCKET).display(), e))?;
        Ok(Proxy::on(fd, host))
    }

    /// On the socket that a row of the plan made.
    pub fn on(fd: i32, host: PathBuf) -> Self {
        Proxy { inside: UnixDatagram::from(fs::own(fd)), host }
    }

    /// The descriptor to poll for input.
    pub fn fd(&self) -> i32 {
        self.inside.as_raw_fd()
    }

    /// Reads what the container said; true once it said that it is ready and systemd knows.
    pub fn relay(&self, pid: i32) -> bool {
        let mut buf = [0u8; 4096];
        // Who says more than that at a time waits for the next turn: others are waiting, too.
        for _ in 0..TURN {
            let Ok(n) = self.inside.recv(&mut buf) else { return false };
            let ready = buf[..n].split(|b| *b == b'\n').find(|line| line.starts_with(b"READY="));
            if let Some(line) = ready {
                if let Err(e) = self.tell(line, pid) {
                    eprintln!("safebox: $NOTIFY_SOCKET {}: {e}", self.host.display());
                }
                return true;
            }
        }
        false
    }

    /// The host is told, and has read it when this returns (sd_notify_barrier(3)).
    fn tell(&self, ready: &[u8], pid: i32) -> std::io::Result<()> {
        let name = self.host.as_os_str().as_bytes();
        let address = match name.strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None => SocketAddr::from_pathname(&self.host)?,
        };
        let out = UnixDatagram::unbound()?;
        out.connect_addr(&address)?;
        out.send(&[ready, b"\n"].concat())?;
        out.send(format!("MAINPID={pid}\n").as_bytes())?;
        let (reader, writer) = std::io::pipe()?;
        socket::send_fd(out.as_raw_fd(), b"BARRIER=1", writer.as_raw_fd())?;
        drop(writer);
        // Its end is closed when the messages before it were read.
        process::poll_in_for([reader.as_raw_fd()], std::time::Duration::from_secs(5))?;
        Ok(())
    }

    /// Waits until the container is ready, or has ended.
    pub fn wait(&self, pid: i32, pidfd: &OwnedFd) -> Result<()> {
        loop {
            let [said, ended] = process::poll_in([self.fd(), pidfd.as_raw_fd()])
                .map_err(|e| Error::os("poll", "the notify socket", e))?;
            if (said && self.relay(pid)) || ended {
                return Ok(());
            }
        }
    }
}

/// The proxy of a detached container: until it is ready.
pub fn wait_for(proxy: Option<Proxy>, pid: i32) -> Result<()> {
    let Some(proxy) = proxy else { return Ok(()) };
    match process::pidfd_open(pid) {
        Ok(pidfd) => proxy.wait(pid, &fs::own(pidfd)),
        // It has ended already.
        Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever never stops to talk would keep the supervisor from seeing signals and the container's end.
    #[test]
    fn a_flood_is_read_in_turns() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join(DIR)).unwrap();
        let host = UnixDatagram::bind(dir.path().join("host")).unwrap();
        let proxy = Proxy::listen(dir.path(), dir.path().join("host")).unwrap();
        let path = dir.path().join(DIR).join(SOCKET);
        let flood = UnixDatagram::unbound().unwrap();
        flood.set_nonblocking(true).unwrap();
        let mut sent = 0;
        while sent < 4 * TURN && flood.send_to(b"STATUS=talking", &path).is_ok() {
            sent += 1;
        }
        assert!(sent > TURN, "the kernel keeps {sent} messages only");
        assert!(!proxy.relay(1));
        // What was not read is still there; what matters comes through.
        assert_eq!(proxy.inside.recv(&mut [0; 64]).unwrap(), "STATUS=talking".len());
        flood.send_to(b"READY=1", &path).unwrap();
        std::thread::spawn(move || while host.recv(&mut [0; 64]).is_ok_and(|n| n > 0) {});
        assert!((0..sent).any(|_| proxy.relay(1)));
    }
}
