//! What the rows about the state directory do.

use crate::perform::files::{join, join_name, relink, replace_file, state_dir, write_file};
use crate::perform::{Call, Cx, Done, at};
use crate::plan::ops::StateOp;
use crate::state::files;
use crate::sys::{fs, process, socket};

/// Performs one row about the state directory.
pub(super) fn apply(op: &StateOp, cx: &mut Cx) -> Done {
    match op {
        StateOp::Dir { path, lock } => state_dir(cx, path, lock),
        // One that is there is of a container whose directory was removed by hand.
        StateOp::LauncherMark { path, launcher } => relink(cx, libc::AT_FDCWD, path, launcher),
        StateOp::File { dir, name, bytes } => {
            replace_file(cx, &join(dir, format!("/{}", files::TEMP).as_bytes()), &join_name(dir, name), bytes)
        }
        StateOp::Fifo { path, to } => {
            at(cx, Call::Mkfifo, fs::mknodat(libc::AT_FDCWD, path, libc::S_IFIFO | 0o600, 0))?;
            let fd = at(cx, Call::Open, fs::openat(libc::AT_FDCWD, path, libc::O_RDWR, 0))?;
            cx.set(to, fd);
            Ok(())
        }
        StateOp::NamespaceServer { dir, to } => {
            let fd = at(cx, Call::Listen, socket::listen_in(dir, files::NAMESPACE_SERVER))?;
            cx.set(to, fd);
            Ok(())
        }
        StateOp::NotifyDir { path } => at(cx, Call::Mkdir, fs::mkdirat(libc::AT_FDCWD, path, 0o755)),
        StateOp::NotifySocket { dir, to } => {
            let fd = at(cx, Call::Bind, socket::named_dgram(dir, files::NOTIFY_SOCKET))?;
            cx.set(to, fd);
            Ok(())
        }
        StateOp::RecordIds { path, value } => write_file(cx, path, value),
        StateOp::RecordPid { dir, name, temp } => {
            let start = at(cx, Call::Read, process::start_time(cx.pid))?;
            let text = format!("{} {start}\n", cx.pid);
            replace_file(cx, &join_name(dir, temp), &join_name(dir, name), text.as_bytes())
        }
        // Decimal and no newline: go-runc parses the raw bytes.
        StateOp::PidFile { path, temp } => replace_file(cx, temp, path, cx.pid.to_string().as_bytes()),
        StateOp::SendPidfd { socket: to, kind } => {
            let sent = at(cx, Call::Sendmsg, socket::send_fd(cx.fd(to), kind.as_bytes(), cx.pidfd));
            fs::close(cx.fd(to));
            sent
        }
        StateOp::Created { from, to } => {
            at(cx, Call::Rename, fs::renameat(libc::AT_FDCWD, from, libc::AT_FDCWD, to))
        }
    }
}
