//! Descriptors 0, 1 and 2: the access of a container to the caller's.
//!
//! A descriptor gives more than its bytes. The container could read a terminal after the program has ended,
//! including what the user types at the shell. A directory gives access to its parent directories. A file
//! opened for reading can be opened again for writing through /proc/self/fd if its owner is mapped, and one
//! opened for writing can be truncated. So a hardened container gets pipes, and the foreground launcher
//! copies between them and the caller's descriptors, as `runc run` does for every container. The container's
//! user owns the pipes and can open /dev/stdout; the caller's descriptors keep their owner. A launcher that
//! does not stay (`--detach`) cannot copy: it replaces a terminal with /dev/null, and under `run` also an
//! output pipe, whose reader waits for its end. The null device is one of the container's own.

use std::os::fd::RawFd;

use crate::error::{Error, Result};
use crate::plan::recipe::Stdio;
use crate::sys::{fs, io, socket, tty};

/// Whether a launcher stays with the container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Launcher {
    /// `create`, `restore`: the caller's descriptors are passed on.
    #[default]
    Absent,
    /// `run --detach`.
    Detaches,
    /// `run --detach` with a monitor that keeps the output; a stream that leads to a file goes there (`files`).
    Monitors {
        /// The log is kept of no stream.
        none: bool,
        /// Whether it is asked for: of a stream that leads to a file, too.
        asked: bool,
    },
    /// `exec --detach`: conmon and the shims pass descriptors and keep their other ends.
    DetachesExec,
    /// A foreground `run` or `exec`.
    Stays,
}

/// The facts that the choice depends on.
#[derive(Debug, Clone, Copy)]
pub struct StdioFacts {
    /// Whether a launcher stays with the container.
    pub launcher: Launcher,
    /// Whether any policy but `privileged` applies.
    pub hardened: bool,
    /// The container's pty, which replaces the descriptors that stay `Inherit`.
    pub pty: Pty,
    /// Whether the program's user can open the caller's descriptors, or will own them.
    pub opens: bool,
    /// Whether the output is counted or limited.
    pub counts: bool,
}

/// The descriptors that a pty replaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pty {
    /// No pty.
    None,
    /// All three, as requested by the config or `--tty`.
    All,
    /// The descriptors that are the caller's terminal.
    Terminals,
}

/// Names of the descriptors 0 to 2 in messages.
pub const NAMES: [&str; 3] = ["stdin", "stdout", "stderr"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StreamKind {
    Terminal,
    /// /dev/null, which every user may open.
    Null,
    Pipe,
    /// A socket that reaches only its current peer.
    Socket,
    /// A socket of the host's network namespace, or one that can be connected again.
    Network,
    File,
    /// Gives access to more than its bytes, or is not readable and writable as a stream.
    Place(&'static str),
    /// A disk, or a device or kernel object with a function of its own.
    Other,
}

const ANONYMOUS: &str = "an anonymous inode (a pidfd, an eventfd, a poll set)";

fn kind(fd: RawFd, name: &str) -> Result<StreamKind> {
    let failed = |e| Error::os("fstat", name, e);
    let st = fs::fstatat(fd, c"").map_err(failed)?;
    if io::access_mode(fd).map_err(failed)? & libc::O_PATH != 0 {
        return Ok(StreamKind::Place("an O_PATH descriptor"));
    }
    Ok(match st.st_mode & libc::S_IFMT {
        libc::S_IFDIR => StreamKind::Place("a directory"),
        // anon_inode:[eventfd] and the like have no file type and are not byte streams.
        0 => StreamKind::Place(ANONYMOUS),
        libc::S_IFIFO => StreamKind::Pipe,
        libc::S_IFSOCK if socket::has_one_peer(fd) => StreamKind::Socket,
        libc::S_IFSOCK => StreamKind::Network,
        libc::S_IFREG => match fs::fs_magic(fd).map_err(failed)? {
            PIDFS => StreamKind::Place("a pidfd"),
            // A namespace, a process's memory, or another kernel file.
            magic if is_kernel_s(magic) => StreamKind::Other,
            _ => StreamKind::File,
        },
        libc::S_IFCHR if st.st_rdev == libc::makedev(1, 3) => StreamKind::Null,
        libc::S_IFCHR if tty::is_tty(fd) => StreamKind::Terminal,
        _ => StreamKind::Other,
    })
}

/// pidfs, the file system of pidfds since Linux 6.9 (linux/magic.h).
const PIDFS: i64 = 0x5049_4446;

/// File systems whose files act on the kernel or on a process: those of [`crate::bundle::SPECIAL`] except
/// FUSE, and nsfs (linux/magic.h).
fn is_kernel_s(magic: i64) -> bool {
    const FUSE: i64 = 0x6573_5546;
    const NSFS: i64 = 0x6e73_6673;
    magic == NSFS || (magic != FUSE && crate::bundle::SPECIAL.contains(&magic))
}

/// Checks the `count` descriptors from 3 on that `--preserve-fds` or `LISTEN_FDS` pass to a hardened container: the
/// caller's terminal and a directory or O_PATH descriptor of the host are errors.
pub fn check_preserved(count: u32) -> Result<()> {
    for fd in (3..count.saturating_add(3)).filter_map(|fd| RawFd::try_from(fd).ok()) {
        // A descriptor that the caller left closed has a placeholder, which is close-on-exec.
        if !fs::is_open(fd) || fs::is_close_on_exec(fd) {
            continue;
        }
        let what = match kind(fd, "a preserved descriptor")? {
            StreamKind::Terminal => {
                "a terminal, whose input could be read inside as long as the container runs"
            }
            StreamKind::Place(ANONYMOUS) => continue,
            StreamKind::Place(what) => what,
            _ => continue,
        };
        return Err(Error::msg(format!(
            "descriptor {fd} (--preserve-fds, LISTEN_FDS) is {what}: a hardened container does not get it; use --policy privileged, or pass a file, a pipe or a socket"
        )));
    }
    Ok(())
}

/// Chooses for all three descriptors; the second part of the result is the changes to report.
pub fn choose(facts: StdioFacts) -> Result<([Stdio; 3], Vec<String>)> {
    let mut chosen = [Stdio::Inherit; 3];
    let mut notes = Vec::new();
    if facts.launcher == Launcher::Absent || facts.pty == Pty::All {
        return Ok((chosen, notes));
    }
    for (fd, name) in (0..).zip(NAMES) {
        let kind = kind(fd, name)?;
        chosen[fd as usize] = match kind {
            StreamKind::Terminal if facts.pty == Pty::Terminals => Stdio::Inherit,
            StreamKind::Place(what) if facts.hardened => {
                return Err(Error::msg(format!(
                    "{name} is {what}: it would give the container access to files of the host; use a file, a pipe or /dev/null"
                )));
            }
            kind if fd > 0 && !matches!(kind, StreamKind::Place(_)) && is_monitored(facts) => {
                monitor(kind, facts.launcher)
            }
            StreamKind::Null if facts.hardened && nix::unistd::geteuid().is_root() => Stdio::Null,
            StreamKind::Null | StreamKind::Place(_) => Stdio::Inherit,
            _ if facts.launcher != Launcher::Stays => leave(fd, kind, facts, &mut notes)?,
            _ if facts.hardened => Stdio::Pipe,
            _ if facts.counts && fd > 0 => Stdio::Pipe,
            StreamKind::Terminal | StreamKind::Pipe | StreamKind::File if !facts.opens => Stdio::Pipe,
            _ => Stdio::Inherit,
        };
    }
    if chosen[1] == Stdio::Pipe && chosen[2] == Stdio::Pipe && !is_monitored(facts) && is_one_file() {
        chosen[2] = Stdio::AsStdout;
    }
    Ok((chosen, notes))
}

fn is_monitored(facts: StdioFacts) -> bool {
    matches!(facts.launcher, Launcher::Monitors { .. })
}

/// Chooses stdout or stderr of a container with a monitor.
fn monitor(kind: StreamKind, launcher: Launcher) -> Stdio {
    match launcher {
        Launcher::Monitors { none: true, .. } => Stdio::Null,
        Launcher::Monitors { asked: false, .. } if kind == StreamKind::File => Stdio::Inherit,
        _ => Stdio::Pipe,
    }
}

/// Chooses for `--detach`, where no launcher copies.
fn leave(fd: RawFd, kind: StreamKind, facts: StdioFacts, notes: &mut Vec<String>) -> Result<Stdio> {
    let (name, hardened) = (NAMES[fd as usize], facts.hardened);
    match kind {
        // id=$(safebox run --detach ...) would wait for the container's end.
        StreamKind::Pipe | StreamKind::Socket | StreamKind::Network
            if hardened && facts.launcher == Launcher::Detaches && fd > 0 =>
        {
            notes.push(format!(
                "{name} is /dev/null instead of your pipe, which a detached container would hold open: >FILE keeps its output"
            ));
            Ok(Stdio::Null)
        }
        StreamKind::Terminal if hardened => {
            notes.push(format!(
                "{name} is /dev/null instead of your terminal, which a detached container would keep open"
            ));
            Ok(Stdio::Null)
        }
        StreamKind::Network if hardened => Err(Error::msg(format!(
            "{name} is a socket through which a detached container would reach the host's network: without --detach its bytes are copied; else use a pipe, a socketpair, a file or /dev/null"
        ))),
        StreamKind::Other if hardened => Err(Error::msg(format!(
            "{name} is a device or a kernel object, which a detached container would keep open: without --detach its bytes are copied; else use a file, a pipe or /dev/null"
        ))),
        StreamKind::File if hardened && fd == 0 && !nix::unistd::geteuid().is_root() => Err(Error::msg(
            "stdin is a file that the container could open again for writing: without --detach its bytes are copied; else use a pipe (cat FILE |) or /dev/null",
        )),
        _ => Ok(Stdio::Inherit),
    }
}

/// Whether a pty ends lines in LF, as the program writes them, instead of CR LF. The caller's terminal in raw
/// mode needs the pty's line ends; a file or a pipe gets lines as they were written, as with runc.
pub fn lines_end_in_lf() -> bool {
    !(tty::is_tty(0) && tty::is_tty(1))
}

/// Whether stdout and stderr are the same file with the same access mode.
fn is_one_file() -> bool {
    match (fs::fstatat(1, c""), fs::fstatat(2, c""), io::access_mode(1), io::access_mode(2)) {
        (Ok(a), Ok(b), Ok(one), Ok(two)) => (a.st_dev, a.st_ino, one) == (b.st_dev, b.st_ino, two),
        _ => false,
    }
}
