//! What the rows about the program do.

use std::ffi::CStr;

use crate::config::hooks::HookKind;
use crate::perform::HookError;
use crate::perform::target::make_for;
use crate::perform::{Call, Cx, Done, at};
use crate::plan::NamespaceSlots;
use crate::plan::hooks::HookRun;
use crate::plan::ops::ExecOp;
use crate::sys::{Errno, fs, process, reaper, sched, signal, socket, tty};

/// Performs one row about the program.
pub(super) fn apply(op: &ExecOp, cx: &mut Cx) -> Done {
    match op {
        ExecOp::Hooks { kind, state, inside } => hooks(cx, *kind, state, inside.as_deref()),
        ExecOp::CleanSignals => {
            at(cx, Call::Sigaction, signal::clean_signals(cx.ignored))?;
            // What is made for the program must not be closed to it because of the caller's umask.
            fs::umask(0o022);
            Ok(())
        }
        ExecOp::NewSession => at(cx, Call::Setsid, process::setsid()),
        ExecOp::Personality { value } => at(cx, Call::Personality, sched::personality(*value)),
        ExecOp::AwaitStart { start, server, .. } => {
            crate::perform::namespace_fds::await_start(cx, start, server.as_ref())
        }
        ExecOp::StatusSocket { ours, theirs } => {
            let pair = at(cx, Call::Socketpair, socket::seqpacket_pair())?;
            cx.set(ours, pair.0);
            cx.set(theirs, pair.1);
            Ok(())
        }
        ExecOp::StayInit { status, tty, subreaper } => stay_init(cx, status, *tty, *subreaper),
        ExecOp::FindProgram { candidates, hook } => {
            for path in candidates.iter().filter(|_| *hook) {
                crate::perform::target::open_own(cx, path).map(fs::close)?;
            }
            crate::perform::program::find(cx, candidates)
        }
        ExecOp::Exec { candidates, argv, envp } => {
            cx.call = Call::Exec;
            let program = candidates.get(cx.program).ok_or(Errno::ENOENT)?;
            Err(process::execve(program, argv.pointers(), envp.pointers()))
        }
        ExecOp::ChangeDir { .. } if cx.entered => Ok(()),
        ExecOp::ChangeDir { path, again } => match change_dir(cx, path) {
            Err(Errno::EACCES) if !again => Ok(()),
            done => {
                cx.entered = done.is_ok();
                done
            }
        },
        ExecOp::DieWithRuntime => {
            at(cx, Call::Prctl, process::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as u64))?;
            // The runtime may have died before the signal was armed: then its end of the socket is closed. The config's
            // filter, if it is in force, may kill a process that asks; the guardian ends the container all the same.
            if cx.filtered { Ok(()) } else { at(cx, Call::RuntimeGone, socket::peer_alive(cx.baton)) }
        }
        ExecOp::Umask { mask } => {
            fs::umask(*mask);
            Ok(())
        }
        ExecOp::MakeCwd { root, path, uid, gid } => {
            let fd = cx.fd(root);
            make_for(cx, fd, path, (*uid, *gid)).map(fs::close)
        }
    }
}

/// Runs the hooks of one moment.
fn hooks(cx: &mut Cx, kind: HookKind, run: &HookRun, inside: Option<&NamespaceSlots>) -> Done {
    // A child of this process that was not waited for keeps its number.
    let of = (cx.pid, at(cx, Call::Read, process::start_time(cx.pid))?);
    cx.call = Call::Hook;
    let inside = inside.map(|shown| shown.inside(cx));
    (cx.hooks)(run, kind, of, cx.signals, inside.as_ref()).map_err(|e| match e {
        HookError::Failed(text) => {
            cx.detail = Some(text);
            Errno::ECANCELED
        }
        HookError::Interrupted(signal) => {
            cx.interrupted = Some(signal);
            Errno::EINTR
        }
    })
}

/// Goes on in a child; this process stays as init and does not return. It is undumpable, since its memory is the
/// runtime's, and what it tells the launcher must not be another process's to say.
fn stay_init(cx: &mut Cx, status: &crate::plan::Slot, tty: Option<u8>, subreaper: bool) -> Done {
    at(cx, Call::Sigaction, reaper::forward_signals())?;
    at(cx, Call::Prctl, process::prctl(libc::PR_SET_DUMPABLE, 0))?;
    if subreaper {
        at(cx, Call::Prctl, process::become_subreaper())?;
    }
    if let Some(fd) = tty {
        at(cx, Call::Ioctl, reaper::deaf(|| tty::give_up_controlling(fd.into())))?;
    }
    let socket = cx.fd(status);
    if let Some(start) = at(cx, Call::Fork, reaper::split(socket))? {
        reaper::stay(socket, start);
    }
    at(cx, Call::Setsid, process::setsid())?;
    if let Some(fd) = tty {
        at(cx, Call::Ioctl, tty::set_controlling(fd.into()))?;
    }
    if subreaper {
        at(cx, Call::Prctl, process::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as u64))?;
    }
    Ok(())
}

/// Enters the working directory, and asks the kernel where that is.
fn change_dir(cx: &mut Cx, path: &CStr) -> Done {
    let dir = crate::perform::target::open_own(cx, path)?;
    at(cx, Call::Fchdir, fs::fchdir(dir))?;
    fs::close(dir);
    let mut buf = [0u8; 4096];
    let len = at(cx, Call::Getcwd, fs::getcwd(&mut buf))?;
    cx.call = Call::Outside;
    if len > 0 && buf[0] == b'/' { Ok(()) } else { Err(Errno::ENOENT) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CVE-2024-21626. Descriptors that lead to the host are closed before; this check finds any that was missed.
    #[test]
    fn a_working_directory_outside_the_root_is_noticed() {
        let below = tempfile::tempdir().unwrap();
        let below = crate::sys::cstr::cpath(below.path()).unwrap();
        let outside = fs::openat(libc::AT_FDCWD, c"/", libc::O_PATH | libc::O_DIRECTORY, 0).unwrap();
        // In a child: it leaves its root for good.
        let change = |leave: bool| {
            let child = process::fork_run(|| {
                let left = || {
                    fs::chdir(&below).and_then(|()| process::chroot_here()).and_then(|()| fs::fchdir(outside))
                };
                if leave && left().is_err() {
                    return 2;
                }
                let mut cx = Cx::new(0);
                match change_dir(&mut cx, c".") {
                    Ok(()) => 0,
                    Err(_) => i32::from(matches!(cx.call, Call::Outside)),
                }
            });
            process::wait(child.unwrap(), 0).unwrap().map(|(_, exit)| exit)
        };
        assert_eq!(change(false), Some(process::ProcessExit::Code(0)));
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: chroot(2) needs root");
            return;
        }
        assert_eq!(change(true), Some(process::ProcessExit::Code(1)));
        fs::close(outside);
    }
}
