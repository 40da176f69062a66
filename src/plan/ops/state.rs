//! Rows of the container's state directory: its files, sockets and records.

use std::ffi::CString;
use std::fmt;
use std::rc::Rc;

use super::{OnHost, Op, RowLabel};
use crate::plan::call::Call;
use crate::plan::layer::Layer;
use crate::plan::slot::Slot;
use crate::plan::words::value;
use crate::sys::Errno;
use crate::sys::cstr::show;

/// What rows do about the state directory.
#[derive(Debug, Clone)]
#[allow(missing_docs)] // each variant's `why` documents it, and users see that
pub enum StateOp {
    Dir {
        path: CString,
        lock: Slot,
    },
    LauncherMark {
        path: CString,
        launcher: CString,
    },
    File {
        dir: CString,
        name: CString,
        bytes: Rc<Vec<u8>>,
    },
    /// Whose a range of ids is.
    RecordIds {
        path: CString,
        value: Vec<u8>,
    },
    Fifo {
        path: CString,
        to: Slot,
    },
    NamespaceServer {
        dir: CString,
        to: Slot,
    },
    NotifyDir {
        path: CString,
    },
    NotifySocket {
        dir: CString,
        to: Slot,
    },
    RecordPid {
        dir: CString,
        name: CString,
        temp: CString,
    },
    SendPidfd {
        socket: Slot,
        kind: &'static str,
    },
    Created {
        from: CString,
        to: CString,
    },
    PidFile {
        path: CString,
        temp: CString,
    },
}

impl Op for StateOp {
    fn label(&self) -> RowLabel {
        match self {
            Self::Dir { .. } => (Layer::State, "state", None),
            Self::LauncherMark { .. } => (Layer::State, "launcher", None),
            Self::File { .. } => (Layer::State, "state-file", None),
            Self::RecordIds { .. } => (Layer::State, "ids", None),
            Self::Fifo { .. } => (Layer::State, "fifo", None),
            Self::NamespaceServer { .. } => (Layer::State, "namespace-server", None),
            Self::NotifyDir { .. } => (Layer::State, "notify-dir", None),
            Self::NotifySocket { .. } => (Layer::State, "notify", None),
            Self::RecordPid { .. } => (Layer::State, "record-pid", None),
            Self::Created { .. } => (Layer::State, "created", None),
            Self::PidFile { .. } => (Layer::State, "pid-file", None),
            Self::SendPidfd { kind, .. } => (Layer::State, "send-pidfd", Some((*kind).to_string())),
        }
    }

    fn print(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dir { path, lock } => {
                write!(
                    f,
                    "mkdir, open -> {lock}, flock(LOCK_EX), renameat2(-> {:?}, RENAME_NOREPLACE)",
                    show(path)
                )
            }
            Self::LauncherMark { path, .. } => write!(f, "symlink(\"PID START\", {:?})", show(path)),
            Self::File { dir, name, bytes } => {
                write!(f, "write({}/{}, {} bytes) rename", show(dir), show(name), bytes.len())
            }
            Self::RecordIds { path, value: v } => write!(f, "write({}, {})", show(path), value(v)),
            Self::Fifo { path, to } => write!(f, "mkfifo({:?}) open -> {to}", show(path)),
            Self::NamespaceServer { dir, to } => {
                let name = crate::state::files::NAMESPACE_SERVER;
                write!(f, "{to} = socket(AF_UNIX, SOCK_SEQPACKET) bind({}/{name}) listen", show(dir))
            }
            Self::RecordPid { dir, name, .. } => write!(f, "write({}/{}, PID) rename", show(dir), show(name)),
            Self::Created { from, to } => write!(f, "rename({:?}, {:?})", show(from), show(to)),
            Self::PidFile { path, .. } => write!(f, "write({:?}, PID) rename", show(path)),
            Self::NotifyDir { path } => write!(f, "mkdir({}, 0755)", show(path)),
            Self::NotifySocket { dir, to } => {
                write!(
                    f,
                    "{to} = socket(AF_UNIX, SOCK_DGRAM) bind({}/{})",
                    show(dir),
                    crate::state::files::NOTIFY_SOCKET
                )
            }
            Self::SendPidfd { socket, .. } => write!(f, "sendmsg({socket}, SCM_RIGHTS PIDFD)"),
        }
    }

    fn why(&self) -> &'static str {
        match self {
            Self::Dir { .. } => {
                "the name is taken atomically: a second create with this id fails here (runtime.md, create)"
            }
            Self::LauncherMark { .. } => {
                "the mark names the launcher: if launcher and guardian are killed, the next `run` finds and removes this container, without reading every state (start time in proc(5))"
            }
            Self::File { .. } => {
                "the list of undos is on disk before the rows run, so `delete` works after a crash (runtime.md, delete)"
            }
            Self::RecordIds { .. } => {
                "the file reserves the range of host ids for this container until its state directory is removed (user_namespaces(7))"
            }
            Self::Fifo { .. } => {
                "create and start are two commands; the container waits on this pipe in between (runtime.md, start)"
            }
            Self::NamespaceServer { .. } => {
                "Init is undumpable, so ptrace access to it is denied even to its owner (CVE-2016-9962): on this socket it hands out its namespaces until it is started"
            }
            Self::NotifySocket { .. } => {
                "the runtime passes the container's notify messages on to systemd (sd_notify(3))"
            }
            Self::NotifyDir { .. } => {
                "the container sends its notify messages to a socket in this directory, since it cannot see the host's (sd_notify(3))"
            }
            Self::RecordPid { .. } => {
                "pid and start time together identify the process, so `kill` never signals another process that got the same pid (pidfd_open(2), proc(5))"
            }
            Self::Created { .. } => "from here on the container counts as created (runtime.md, state)",
            Self::PidFile { .. } => {
                "written whole or not at all: callers read it the moment create returns (rename(2))"
            }
            Self::SendPidfd { .. } => {
                "the caller can wait for and signal this very process (pidfd_open(2), --pidfd-socket)"
            }
        }
    }

    fn pointer(&self) -> Option<String> {
        match self {
            Self::Dir { .. }
            | Self::LauncherMark { .. }
            | Self::File { .. }
            | Self::RecordIds { .. }
            | Self::Fifo { .. }
            | Self::NamespaceServer { .. }
            | Self::NotifyDir { .. }
            | Self::NotifySocket { .. }
            | Self::RecordPid { .. }
            | Self::SendPidfd { .. }
            | Self::Created { .. }
            | Self::PidFile { .. } => None,
        }
    }

    fn remedy(&self, errno: Errno, _call: Call) -> Option<&'static str> {
        match (self, errno) {
            (Self::Dir { .. }, Errno::EEXIST) => Some("container with given ID already exists"),
            (Self::Dir { .. } | Self::File { .. }, Errno::EROFS) => {
                Some("the state directory is read-only: choose another with --root")
            }
            (Self::Dir { .. }, Errno::ENAMETOOLONG) => Some(
                "a name has at most 255 bytes here, and the state directory needs some of them: a shorter id",
            ),
            (Self::Dir { .. } | Self::LauncherMark { .. } | Self::File { .. }, Errno::ENOSPC) => {
                Some("the state directory's file system is full: choose another with --root")
            }
            (
                Self::Dir { .. }
                | Self::LauncherMark { .. }
                | Self::File { .. }
                | Self::RecordIds { .. }
                | Self::Fifo { .. }
                | Self::NamespaceServer { .. }
                | Self::NotifyDir { .. }
                | Self::NotifySocket { .. }
                | Self::RecordPid { .. }
                | Self::SendPidfd { .. }
                | Self::Created { .. }
                | Self::PidFile { .. },
                _,
            ) => None,
        }
    }

    fn on_host(&self) -> &'static [OnHost] {
        match self {
            Self::Dir { .. }
            | Self::LauncherMark { .. }
            | Self::RecordIds { .. }
            | Self::NotifyDir { .. }
            | Self::NotifySocket { .. } => &[OnHost::Creates, OnHost::Opens],
            Self::File { .. }
            | Self::Fifo { .. }
            | Self::NamespaceServer { .. }
            | Self::RecordPid { .. }
            | Self::Created { .. }
            | Self::PidFile { .. } => &[OnHost::Opens],
            Self::SendPidfd { .. } => &[],
        }
    }

    fn calls(&self) -> Vec<&'static str> {
        match self {
            Self::Dir { .. } => vec!["mkdirat", "openat", "flock", "renameat2"],
            Self::LauncherMark { .. } => vec!["symlinkat"],
            Self::File { .. } => vec!["openat", "write", "close", "renameat"],
            Self::RecordIds { .. } => vec!["openat", "write", "close"],
            Self::Fifo { .. } => vec!["mknodat", "openat"],
            Self::NamespaceServer { .. } => {
                vec!["openat", "socket", "umask", "bind", "umask", "listen", "close"]
            }
            Self::RecordPid { .. } => vec!["openat", "read", "close", "openat", "write", "close", "renameat"],
            Self::PidFile { .. } => vec!["openat", "write", "close", "renameat"],
            Self::Created { .. } => vec!["renameat"],
            Self::NotifyDir { .. } => vec!["mkdirat"],
            Self::NotifySocket { .. } => vec!["openat", "socket", "bind", "fchmodat", "close"],
            Self::SendPidfd { .. } => vec!["sendmsg", "close"],
        }
    }
}
