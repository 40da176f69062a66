//! What the rows about security modules do.

use crate::perform::files::write_proc;
use crate::perform::{Call, Cx, Done, at};
use crate::plan::ops::ConfineOp;
use crate::sys::{Errno, fs, socket};

/// Performs one row about security modules.
pub(super) fn apply(op: &ConfineOp, cx: &mut Cx) -> Done {
    match op {
        // The launcher keeps it, and answers once it watches.
        ConfineOp::SendListener { agent: None, .. } => Ok(()),
        ConfineOp::SendListener { listener, agent: Some((path, state)), .. } => {
            let agent = at(cx, Call::Connect, socket::connect(path))?;
            let sent = at(cx, Call::Sendmsg, socket::send_fd(agent, &state.json(cx.pid), cx.fd(listener)));
            fs::close(agent);
            fs::close(cx.fd(listener));
            cx.set(listener, -1);
            sent
        }
        ConfineOp::Landlock(l) => crate::perform::landlock::restrict(cx, l),
        ConfineOp::Seccomp { filter, flags, listener, .. } => {
            let fd = at(cx, Call::Seccomp, crate::sys::seccomp::set_filter(filter, *flags))?;
            cx.filtered = true;
            match (listener, fd) {
                (Some(slot), Some(fd)) => cx.set(slot, fd),
                (None, None) => {}
                // A listener without a slot, or a slot without a listener: no process would answer.
                _ => return Err(Errno::EBADF),
            }
            Ok(())
        }
        ConfineOp::DropListener { listener } => {
            fs::close(cx.fd(listener));
            cx.set(listener, -1);
            Ok(())
        }
        ConfineOp::ExecLabel { proc, file: path, value } => write_proc(cx, cx.fd(proc), path, value),
    }
}
