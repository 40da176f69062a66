//! What each row does: the system calls behind the actions of the runtime and of the common tail.
//!
//! Rows of Init run after clone: they make system calls and nothing else. The mounts are in
//! [`crate::perform::apply_mounts`], credentials in [`crate::perform::apply_creds`].

use std::os::fd::AsFd;

use crate::perform::at;
use crate::perform::files::{join, join_name, record_group, replace_file, state_dir, take_group, write_file};
use crate::perform::{Call, Cx, Done};
use crate::plan::action::Action;
use crate::state;
use crate::sys::{Errno, cred, fs, process, socket};

/// Performs one row; on an error `cx.call` names the system call.
pub fn apply(action: &Action, cx: &mut Cx) -> Done {
    use Action as A;
    cx.call = Call::None;
    match action {
        A::StateDir { path, lock } => state_dir(cx, path, lock),
        // One that is there is of a container whose directory was removed by hand.
        A::LauncherMark { path, launcher } => {
            crate::perform::files::relink(cx, libc::AT_FDCWD, path, launcher)
        }
        A::StateFile { dir, name, bytes } => replace_file(
            cx,
            &join(dir, format!("/{}", state::files::TEMP).as_bytes()),
            &join_name(dir, name),
            bytes,
        ),
        A::Fifo { path, to } => {
            at(cx, Call::Mkfifo, fs::mknodat(libc::AT_FDCWD, path, libc::S_IFIFO | 0o600, 0))?;
            let fd = at(cx, Call::Open, fs::openat(libc::AT_FDCWD, path, libc::O_RDWR, 0))?;
            cx.set(to, fd);
            Ok(())
        }
        A::DoorSocket { dir, to } => {
            let fd = at(cx, Call::Listen, socket::listen_in(dir, state::files::DOOR))?;
            cx.set(to, fd);
            Ok(())
        }
        A::NotifyDir { path } | A::CriuRoot { path } => {
            at(cx, Call::Mkdir, fs::mkdirat(libc::AT_FDCWD, path, 0o755))
        }
        A::NotifySocket { dir, to } => {
            let fd =
                at(cx, Call::Bind, crate::sys::socket::named_dgram(dir, crate::state::files::NOTIFY_SOCKET))?;
            cx.set(to, fd);
            Ok(())
        }
        // Another container that shares the parent may have made it meanwhile.
        A::CgroupParent { path } => match at(cx, Call::Mkdir, fs::mkdirat(libc::AT_FDCWD, path, 0o755)) {
            Err(Errno::EEXIST) => Ok(()),
            other => other,
        },
        A::CgroupDir { path, record } => {
            at(cx, Call::Mkdir, fs::mkdirat(libc::AT_FDCWD, path, 0o755))?;
            record_group(cx, path, record, "")
                .inspect_err(|_| fs::unlinkat(libc::AT_FDCWD, path, libc::AT_REMOVEDIR).unwrap_or_default())
        }
        A::CgroupJoinable { path, record, to } => take_group(cx, path, record, to),
        A::CgroupEnable { path, value } | A::CgroupWrite { path, value } | A::RecordIds { path, value } => {
            write_file(cx, path, value)
        }
        A::CgroupWriteEither { path, value, other } => match write_file(cx, path, value) {
            Err(Errno::ENOENT) => write_file(cx, &other.0, &other.1),
            written => written,
        },
        A::CgroupInScope { path, record } => {
            match at(cx, Call::Mkdir, fs::mkdirat(libc::AT_FDCWD, path, 0o755)) {
                Ok(()) | Err(Errno::EEXIST) => record_group(cx, path, record, ""),
                other => other,
            }
        }
        A::SystemdScope { start, record } => {
            systemd(cx, crate::cgroup::systemd::start(start, cx.pid))?;
            let group = crate::sys::cstr::cpath(&start.scope.group).map_err(|_| Errno::EINVAL)?;
            record_group(cx, &group, record, "")
                .inspect_err(|_| crate::cgroup::systemd::stop(&start.scope).unwrap_or_default())
        }
        A::CgroupOwner { path, uid } => crate::perform::apply_cgroup_owner::own(cx, path, *uid),
        A::SystemdAttach { scope } => systemd(cx, crate::cgroup::systemd::attach(scope, cx.pid)),
        A::CgroupOpen { path, to } => {
            let fd =
                at(cx, Call::Open, fs::openat(libc::AT_FDCWD, path, libc::O_RDONLY | libc::O_DIRECTORY, 0))?;
            cx.set(to, fd);
            Ok(())
        }
        A::DeviceFilter { cgroup, program } => {
            let loaded = at(cx, Call::Bpf, crate::cgroup::devices::load(program))?;
            at(cx, Call::Bpf, crate::cgroup::devices::attach(fs::borrow(cx.fd(cgroup)), loaded.as_fd()))
        }
        A::OpenRoot { .. } => crate::perform::apply_mounts::open_root(action, cx),
        A::OpenSource { path, recursive, to } => {
            let found = crate::perform::target::open_source(cx, path)?;
            crate::perform::apply_mounts::copy_of(cx, found, *recursive, to)
        }
        A::OpenTree { .. } => crate::perform::apply_mounts::open_tree(action, cx),
        A::DeviceNodes { nodes, to } => crate::perform::nodes::make(cx, nodes, to),
        A::StatusSocket { ours, theirs } => {
            let pair = at(cx, Call::Socketpair, socket::seqpacket_pair())?;
            cx.set(ours, pair.0);
            cx.set(theirs, pair.1);
            Ok(())
        }
        A::StdioPipe { pipe, owner } => crate::perform::apply_creds::stdio_pipe(pipe, *owner, cx),
        A::StdioNull { own: true, to } => crate::perform::nodes::null(cx, to),
        A::StdioNull { to, .. } => {
            let fd = at(cx, Call::Open, fs::openat(libc::AT_FDCWD, c"/dev/null", libc::O_RDWR, 0))?;
            cx.set(to, fd);
            Ok(())
        }
        A::GiveStdio { uid } => crate::perform::apply_creds::give_stdio(*uid, cx),
        A::OpenNs { path, to, .. } => {
            let fd = at(cx, Call::Open, fs::openat(libc::AT_FDCWD, path, libc::O_RDONLY, 0))?;
            cx.set(to, fd);
            Ok(())
        }
        A::OpenPidfd { pid, start, to } => {
            let fd = at(cx, Call::PidfdOpen, process::pidfd_open(*pid))?;
            cx.set(to, fd);
            // The number may have become another process's before it was opened; from here on it cannot.
            let same = crate::sys::process::alive(*pid, *start);
            if same { Ok(()) } else { at(cx, Call::SameProcess, Err(Errno::ESRCH)) }
        }
        A::TimeOffsets { value } => crate::perform::apply_outside::write_child(cx, "timens_offsets", value),
        A::Unshare { namespaces, owner } => {
            // In the new user namespace it has no ids yet, and all capabilities: there is no way back, and no need.
            as_user(cx, *owner)?;
            at(cx, Call::Unshare, process::unshare(*namespaces))
        }
        _ => crate::perform::apply_outside::apply(action, cx),
    }
}

/// Makes `owner` the effective user, with the same capabilities; what [`back`] takes.
pub(super) fn as_user(cx: &mut Cx, owner: Option<u32>) -> Result<Option<(cred::Caps, i32)>, Errno> {
    let Some(uid) = owner else { return Ok(None) };
    // What the caller has asked for ends with a change of the user (prctl(2), PR_SET_PDEATHSIG).
    let signal = at(cx, Call::Prctl, process::death_signal())?;
    let caps = at(cx, Call::Capget, cred::capget())?;
    at(cx, Call::Setresuid, cred::effective_user(uid))?;
    // The change of the user has cleared the effective ones. Without them nothing could be taken back: a change to
    // root's id brings them again (capabilities(7), "Effect of user ID changes on capabilities").
    let set = at(cx, Call::Capset, cred::capset(caps.0, caps.1, caps.2));
    set.inspect_err(|_| cred::effective_user(0).unwrap_or_default()).map(|()| Some((caps, signal)))
}

/// Makes root the effective user again.
pub(super) fn back(cx: &mut Cx, before: Option<(cred::Caps, i32)>) -> Done {
    let Some(((effective, permitted, inheritable), signal)) = before else { return Ok(()) };
    at(cx, Call::Setresuid, cred::effective_user(0))?;
    at(cx, Call::Capset, cred::capset(effective, permitted, inheritable))?;
    match u64::try_from(signal) {
        Ok(1..) => at(cx, Call::Prctl, process::prctl(libc::PR_SET_PDEATHSIG, signal as u64)).map(drop),
        _ => Ok(()),
    }
}

/// What systemd said is kept: an error number would lose most of it.
fn systemd(cx: &mut Cx, said: Result<(), crate::cgroup::systemd::Failure>) -> Done {
    cx.call = Call::Systemd;
    said.map_err(|failure| {
        cx.detail = Some(failure.text);
        failure.errno
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_has_become_another_process_s_is_noticed() {
        let (me, to) = (process::pid(), crate::plan::Slot { index: 0, name: "container".into() });
        let now = crate::sys::process::start_time(me).unwrap();
        let mut cx = Cx::new(1);
        let open = |start| Action::OpenPidfd { pid: me, start, to: to.clone() };
        assert_eq!(apply(&open(now), &mut cx), Ok(()));
        fs::close(cx.fd(&to));
        assert_eq!((apply(&open(now + 1), &mut cx), cx.call), (Err(Errno::ESRCH), Call::SameProcess));
        fs::close(cx.fd(&to));
    }
}
