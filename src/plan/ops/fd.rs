//! Rows of descriptors: stdio, terminal, and what is closed.

use std::fmt;

use super::mount::asks;
use super::{FREE, OnHost, Op, RESOLVE, RowLabel};
use crate::plan::call::Call;
use crate::plan::layer::Layer;
use crate::plan::place::{StdioPipe, Target};
use crate::plan::slot::Slot;
use crate::plan::words::{place, resolved};
use crate::sys::Errno;

/// What rows do about descriptors.
#[derive(Debug, Clone)]
#[allow(missing_docs)] // each variant's `why` documents it, and users see that
pub enum FdOp {
    Pty {
        devpts: Slot,
        master: Slot,
        slave: Slot,
        size: Option<(u16, u16)>,
        owner: u32,
        /// Lines end in LF and not in CR LF.
        lf: bool,
    },
    SendPty {
        master: Slot,
        socket: Slot,
    },
    ConsoleMount {
        slave: Slot,
        target: Target,
    },
    /// `fds`: which of 0 to 2 become the terminal.
    TakeTty {
        slave: Slot,
        fds: Vec<u8>,
    },
    /// A pipe in the place of descriptor `pipe.number`. `owner`: the program's user, as the runtime sees it.
    StdioPipe {
        pipe: StdioPipe,
        owner: Option<u32>,
    },
    /// `own`: a node on a file system of its own, or else the host's.
    StdioNull {
        own: bool,
        to: Slot,
    },
    /// Descriptors that take the place of the caller's 0 to 2: (number, what it becomes).
    PlaceStdio {
        ends: Vec<(u8, Slot)>,
    },
    /// The caller's pipes and output files are given to the program's user, as the runtime sees it.
    GiveStdio {
        uid: u32,
    },
    OwnStdio {
        uid: u32,
        files: bool,
    },
    /// The container's devpts, with O_PATH: a FIFO or device at that path is not opened.
    OpenDevpts {
        to: Slot,
    },
    CloseFds {
        keep: u32,
        needed: Vec<Slot>,
    },
    PassFds {
        fds: Vec<Slot>,
    },
}

impl Op for FdOp {
    fn label(&self) -> RowLabel {
        match self {
            Self::Pty { .. } => (Layer::Descriptors, "pty", None),
            Self::SendPty { .. } => (Layer::Descriptors, "send-pty", None),
            Self::ConsoleMount { target, .. } => (Layer::Mounts, "mount", place(target)),
            Self::TakeTty { .. } => (Layer::Descriptors, "tty", None),
            Self::StdioPipe { pipe, .. } => (Layer::Descriptors, "pipe", Some(pipe.number.to_string())),
            Self::StdioNull { .. } => (Layer::Descriptors, "null-stdin", None),
            Self::PlaceStdio { .. } => (Layer::Descriptors, "stdio", None),
            Self::GiveStdio { .. } | Self::OwnStdio { .. } => (Layer::Descriptors, "own-stdio", None),
            Self::OpenDevpts { .. } => (Layer::Descriptors, "devpts", None),
            Self::CloseFds { .. } => (Layer::Descriptors, "close-fds", None),
            Self::PassFds { .. } => (Layer::Descriptors, "pass-fds", None),
        }
    }

    fn print(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OpenDevpts { to } => write!(f, "open(\"/dev/pts\", O_PATH) -> {to}"),
            Self::StdioPipe { pipe, owner } => {
                write!(f, "pipe2() -> {}, {}", pipe.ours, pipe.theirs)?;
                owner.map_or(Ok(()), |uid| write!(f, " fchown({}, {uid})", pipe.theirs))
            }
            Self::StdioNull { own: false, to } => write!(f, "open(\"/dev/null\") -> {to}"),
            Self::StdioNull { to, .. } => {
                write!(f, "fsopen(\"tmpfs\") fsmount mknodat(dev/null, 0o20666, 1:3) open -> {to}")
            }
            Self::GiveStdio { uid } => {
                write!(
                    f,
                    "fchown(0, {uid}) fchown(1, {uid}) fchown(2, {uid}), but /dev/null, terminals and an input file"
                )
            }
            Self::Pty { devpts, master, slave, owner, lf, .. } => {
                let modes = if *lf { format!(" tcsetattr({master}, ~ONLCR)") } else { String::new() };
                write!(
                    f,
                    "openat2({devpts}/ptmx) -> {master} ioctl(TIOCGPTPEER) -> {slave}{modes} fchownat({slave}, {owner})"
                )
            }
            Self::PassFds { fds } => {
                let names: Vec<String> = fds.iter().map(|s| s.to_string()).collect();
                write!(f, "dup2({}) to 0-{}", names.join(" "), fds.len().saturating_sub(1))
            }
            Self::SendPty { master, socket } => write!(f, "sendmsg({socket}, SCM_RIGHTS {master})"),
            Self::ConsoleMount { slave, target } => {
                write!(f, "open_tree({slave}, OPEN_TREE_CLONE) move_mount(-> {target})")
            }
            Self::PlaceStdio { ends } => {
                let dup = |(number, from): &(u8, Slot)| format!("dup2({from}, {number})");
                f.write_str(&ends.iter().map(dup).collect::<Vec<_>>().join(" "))
            }
            Self::TakeTty { slave, fds } => {
                write!(f, "ioctl({slave}, TIOCSCTTY)")?;
                fds.iter().try_for_each(|fd| write!(f, " dup2({slave}, {fd})"))
            }
            Self::OwnStdio { uid, files } => {
                let but = if *files { "/dev/null" } else { "/dev/null and files" };
                write!(f, "fchown(0, {uid}) fchown(1, {uid}) fchown(2, {uid}), but {but}")
            }
            Self::CloseFds { keep, needed } => {
                write!(f, "close_range({keep}, ~0) but <baton>")?;
                needed.iter().try_for_each(|slot| write!(f, " {slot}"))
            }
        }
    }

    fn why(&self) -> &'static str {
        match self {
            Self::PassFds { .. } => {
                "criu gets nothing but its socket and what the container inherits, at numbers its request names (criu(8), --inherit-fd)"
            }
            Self::OpenDevpts { .. } => {
                "a terminal of the container's own devpts; a FIFO or a device there is not opened, so that it cannot hold the runtime (open(2), O_PATH)"
            }
            Self::StdioPipe { .. } => {
                "the launcher copies: the caller's terminal, file or pipe stays outside, and the program's user may open /dev/stdout (pipe(2))"
            }
            Self::StdioNull { .. } => {
                "a detached container must not read the caller's terminal or pipe, where later input is meant for other programs (credentials(7), Sessions); its null device is its own, since inotify on the host's reports each access (inotify(7))"
            }
            Self::GiveStdio { .. } => {
                "the program may open /dev/stdout: its user is not mapped to the owner, so only the runtime can give it (fchown(2))"
            }
            Self::Pty { .. } => {
                "a terminal of the container's own; its peer is opened through the descriptor, never by path (ioctl_tty(2), TIOCGPTPEER)"
            }
            Self::SendPty { .. } => {
                "the master end goes to the process behind the console socket (config.md, Process: terminal)"
            }
            Self::ConsoleMount { .. } => {
                "/dev/console is the container's terminal (config-linux.md, Default Devices)"
            }
            Self::PlaceStdio { .. } => {
                "descriptors 0 to 2 of the caller do not reach the container (CVE-2016-9962)"
            }
            Self::TakeTty { .. } => {
                "stdin, stdout and stderr are the container's own terminal, which is also its controlling one (ioctl_tty(2), TIOCSCTTY)"
            }
            Self::OwnStdio { .. } => {
                "the program may open /dev/stdout, as programs that log there do: only the owner of a pipe may open it again; where the owner cannot be changed, it stays (fchown(2))"
            }
            Self::CloseFds { .. } => {
                "no descriptor of the host is left open in the container, nor while paths are looked up in it (CVE-2024-21626)"
            }
        }
    }

    fn pointer(&self) -> Option<String> {
        match self {
            Self::Pty { .. }
            | Self::SendPty { .. }
            | Self::ConsoleMount { .. }
            | Self::TakeTty { .. }
            | Self::StdioPipe { .. }
            | Self::StdioNull { .. }
            | Self::PlaceStdio { .. }
            | Self::GiveStdio { .. }
            | Self::OwnStdio { .. }
            | Self::OpenDevpts { .. }
            | Self::CloseFds { .. }
            | Self::PassFds { .. } => None,
        }
    }

    fn resolves(&self) -> Option<(&'static str, String)> {
        match self {
            Self::ConsoleMount { target: Target { root, path, .. }, .. } => Some(resolved(root, path)),
            Self::Pty { .. }
            | Self::SendPty { .. }
            | Self::TakeTty { .. }
            | Self::StdioPipe { .. }
            | Self::StdioNull { .. }
            | Self::PlaceStdio { .. }
            | Self::GiveStdio { .. }
            | Self::OwnStdio { .. }
            | Self::OpenDevpts { .. }
            | Self::CloseFds { .. }
            | Self::PassFds { .. } => None,
        }
    }

    fn remedy(&self, _errno: Errno, _call: Call) -> Option<&'static str> {
        match self {
            Self::Pty { .. }
            | Self::SendPty { .. }
            | Self::ConsoleMount { .. }
            | Self::TakeTty { .. }
            | Self::StdioPipe { .. }
            | Self::StdioNull { .. }
            | Self::PlaceStdio { .. }
            | Self::GiveStdio { .. }
            | Self::OwnStdio { .. }
            | Self::OpenDevpts { .. }
            | Self::CloseFds { .. }
            | Self::PassFds { .. } => None,
        }
    }

    fn on_host(&self) -> &'static [OnHost] {
        match self {
            Self::Pty { .. }
            | Self::SendPty { .. }
            | Self::ConsoleMount { .. }
            | Self::TakeTty { .. }
            | Self::StdioPipe { .. }
            | Self::StdioNull { .. }
            | Self::PlaceStdio { .. }
            | Self::GiveStdio { .. }
            | Self::OwnStdio { .. }
            | Self::OpenDevpts { .. }
            | Self::CloseFds { .. }
            | Self::PassFds { .. } => &[],
        }
    }

    fn calls(&self) -> Vec<&'static str> {
        match self {
            Self::OpenDevpts { .. } | Self::StdioNull { own: false, .. } => vec!["openat"],
            Self::StdioNull { .. } => {
                let made = ["umask", "mkdirat", "mknodat", "umask", "openat", "close"];
                [vec!["fsopen", "fsconfig", "fsmount", "close"], made.to_vec()].concat()
            }
            Self::StdioPipe { owner: None, .. } => vec!["pipe2"],
            Self::StdioPipe { .. } => vec!["pipe2", "fchownat"],
            Self::GiveStdio { .. } => ["newfstatat", "fchownat?"].repeat(3),
            Self::ConsoleMount { target, .. } => {
                let mut calls = vec!["open_tree"];
                calls.extend(asks(target.kind));
                calls.extend(RESOLVE.iter().chain(&FREE).chain(&["move_mount", "close", "close"]));
                calls
            }
            // Unlock the pty, open its peer, set its size.
            Self::Pty { size, lf, .. } => {
                let set = size.map(|_| "ioctl");
                let modes = vec!["ioctl"; if *lf { 2 } else { 0 }];
                let open = ["fstatfs", "openat2", "ioctl", "ioctl"];
                open.into_iter().chain(set).chain(modes).chain(["fchownat"]).collect()
            }
            // Each out of the way, and the baton's socket; then each to its place.
            Self::PassFds { fds } => {
                [vec!["fcntl"; fds.len()], vec!["fcntl?"], vec!["dup2"; fds.len()]].concat()
            }
            Self::SendPty { .. } => vec!["sendmsg", "close", "close"],
            Self::TakeTty { fds, .. } => std::iter::once("ioctl").chain(fds.iter().map(|_| "dup2")).collect(),
            Self::PlaceStdio { ends } => vec!["dup2"; ends.len()],
            Self::OwnStdio { .. } => ["newfstatat", "fchownat?"].repeat(3),
            // Slots below those that are kept; the gaps between the descriptors that are needed; the rest; and
            // those marked.
            Self::CloseFds { needed, .. } => {
                [vec!["close*"], vec!["close_range?"; needed.len() + 1], vec!["close_range"; 2]].concat()
            }
        }
    }
}
