//! What the rows about namespaces do.

use crate::perform::files::{proc_path, write_child};
use crate::perform::owner::as_user;
use crate::perform::{Call, Cx, Done, at};
use crate::plan::ops::NsOp;
use crate::sys::{Errno, fs, process};

/// Performs one row about namespaces.
pub(super) fn apply(op: &NsOp, cx: &mut Cx) -> Done {
    match op {
        NsOp::Open { path, to, .. } => {
            let fd = at(cx, Call::Open, fs::openat(libc::AT_FDCWD, path, libc::O_RDONLY, 0))?;
            cx.set(to, fd);
            Ok(())
        }
        NsOp::OpenPidfd { pid, start, to } => {
            let fd = at(cx, Call::PidfdOpen, process::pidfd_open(*pid))?;
            cx.set(to, fd);
            // The number may have become another process's before it was opened; from here on it cannot.
            let same = process::alive(*pid, *start);
            if same { Ok(()) } else { at(cx, Call::SameProcess, Err(Errno::ESRCH)) }
        }
        NsOp::TimeOffsets { value } => write_child(cx, "timens_offsets", value),
        NsOp::Unshare { namespaces, owner } => {
            // In the new user namespace it has no ids yet, and all capabilities: there is no way back, and no need.
            as_user(cx, *owner)?;
            at(cx, Call::Unshare, process::unshare(*namespaces))
        }
        NsOp::Join { ns, flags, .. } => {
            at(cx, Call::Setns, process::setns(cx.fd(ns), *flags))?;
            // A process inside with ptrace access to this one finds no descriptor of a host's namespace.
            fs::close(cx.fd(ns));
            cx.set(ns, -1);
            Ok(())
        }
        NsOp::OpenOfChild { kind, to } => {
            let path = proc_path(cx.pid, &format!("ns/{}", kind.row().proc));
            let fd = at(cx, Call::Open, fs::openat(libc::AT_FDCWD, &path, libc::O_RDONLY, 0))?;
            cx.set(to, fd);
            Ok(())
        }
        // They came with the baton.
        NsOp::TakeFds { .. } => Ok(()),
        NsOp::NewCgroup => at(cx, Call::Unshare, process::unshare(libc::CLONE_NEWCGROUP as u64)),
        NsOp::Hostname { name } => at(cx, Call::Hostname, process::sethostname(name.to_bytes())),
        NsOp::Domainname { name } => at(cx, Call::Domainname, process::setdomainname(name.to_bytes())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_has_become_another_process_s_is_noticed() {
        let (me, to) = (process::pid(), crate::plan::Slot { index: 0, name: "container".into() });
        let now = process::start_time(me).unwrap();
        let mut cx = Cx::new(1);
        let open = |start| NsOp::OpenPidfd { pid: me, start, to: to.clone() };
        assert_eq!(apply(&open(now), &mut cx), Ok(()));
        fs::close(cx.fd(&to));
        assert_eq!((apply(&open(now + 1), &mut cx), cx.call), (Err(Errno::ESRCH), Call::SameProcess));
        fs::close(cx.fd(&to));
    }
}
