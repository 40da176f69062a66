//! Rows of Init that are not mounts: a clean process, descriptors, the filter, the program.

use std::ffi::CStr;

use crate::perform::{Call, Cx, Done, at};
use crate::plan::Supplementary;
use crate::plan::action::Action;
use crate::sys::{Errno, cred, fs, process, reaper, signal, socket, tty};

/// Rows of Init that are not about mounts.
pub(super) fn apply(action: &Action, cx: &mut Cx) -> Done {
    use Action as A;
    match action {
        A::CleanSignals => at(cx, Call::Sigaction, signal::clean_signals(cx.ignored)),
        A::NewSession => at(cx, Call::Setsid, process::setsid()),
        A::BecomeRoot { groups } => {
            match at(cx, Call::Setgroups, crate::perform::apply_creds::drop_groups(*groups)) {
                // Init has all rights in this namespace, so it is the namespace that says no.
                Err(Errno::EPERM) if *groups == Supplementary::DropIfAllowed => cx.groups_denied = true,
                dropped => dropped?,
            }
            at(cx, Call::Setresgid, cred::setresgid(0))?;
            at(cx, Call::Setresuid, cred::setresuid(0))
        }
        A::OwnRoot => own_root(cx),
        A::Undumpable => at(cx, Call::Prctl, process::prctl(libc::PR_SET_DUMPABLE, 0)).map(drop),
        A::NewCgroupNs => at(cx, Call::Unshare, process::unshare(libc::CLONE_NEWCGROUP as u64)),
        A::SetHostname { name } => at(cx, Call::Hostname, process::sethostname(name.to_bytes())),
        A::SetDomainname { name } => at(cx, Call::Domainname, process::setdomainname(name.to_bytes())),
        A::LoopbackUp => at(cx, Call::Loopback, socket::loopback_up()),
        A::PlaceStdio { ends } => {
            ends.iter().try_for_each(|(to, from)| at(cx, Call::Dup, fs::dup2(cx.fd(from), (*to).into())))
        }
        A::OpenDevpts { to } => {
            let flags = libc::O_PATH | libc::O_DIRECTORY;
            let fd = at(cx, Call::NotDevpts, fs::openat(libc::AT_FDCWD, c"/dev/pts", flags, 0))?;
            cx.set(to, fd);
            Ok(())
        }
        A::TakeTty { slave, fds } => {
            let fd = cx.fd(slave);
            at(cx, Call::Ioctl, tty::set_controlling(fd))?;
            fds.iter().try_for_each(|to| at(cx, Call::Dup, fs::dup2(fd, (*to).into())))
        }
        A::Scheduler(attr) => at(cx, Call::Sched, process::sched_setattr(attr)),
        A::IoPriority { value } => at(cx, Call::Ioprio, process::ioprio_set(*value)),
        A::AllCpus => match at(cx, Call::Affinity, process::sched_setaffinity(&[u64::MAX; 16])) {
            // A sandbox around this one may forbid it; no limit hangs on it.
            Err(Errno::EPERM | Errno::ENOSYS) => Ok(()),
            done => done,
        },
        A::Affinity { cpus } => at(cx, Call::Affinity, process::sched_setaffinity(cpus)),
        A::MemoryPolicy(policy) => {
            at(cx, Call::Mempolicy, process::set_mempolicy(policy.mode, &policy.nodes))
        }
        A::Personality { value } => at(cx, Call::Personality, process::personality(*value)),
        A::Landlock(l) => super::landlock::restrict(cx, l),
        A::Keyring => match at(cx, Call::Keyctl, process::new_session_keyring()) {
            // A kernel without keyrings has none to inherit.
            Err(Errno::ENOSYS) => Ok(()),
            other => other,
        },
        A::AwaitStart { start, door, .. } => {
            crate::perform::namespace_fds::await_start(cx, start, door.as_ref())
        }
        A::CloseFds { keep, needed } => close_fds(cx, *keep, needed),
        A::Seccomp { filter, flags, listener, .. } => {
            let fd = at(cx, Call::Seccomp, crate::sys::seccomp::set_filter(filter, *flags))?;
            cx.filtered = true;
            match (listener, fd) {
                (Some(slot), Some(fd)) => cx.set(slot, fd),
                (None, None) => {}
                // A listener that nobody waits for, or the other way round: the filter would answer nothing.
                _ => return Err(Errno::EBADF),
            }
            Ok(())
        }
        A::Relink { root, path, to } => crate::perform::files::relink(cx, cx.fd(root), path, to),
        A::PassFds { fds } => pass_fds(cx, fds),
        A::DropListener { listener } => {
            fs::close(cx.fd(listener));
            cx.set(listener, -1);
            Ok(())
        }
        A::StayInit { status, tty, subreaper } => stay_init(cx, status, *tty, *subreaper),
        A::FindProgram { candidates, hook } => {
            for path in candidates.iter().filter(|_| *hook) {
                crate::perform::target::open_own(cx, path).map(fs::close)?;
            }
            crate::perform::program::find(cx, candidates)
        }
        A::Exec { candidates, argv, envp } => {
            cx.call = Call::Exec;
            let program = candidates.get(cx.program).ok_or(Errno::ENOENT)?;
            Err(process::execve(program, argv.pointers(), envp.pointers()))
        }
        A::ChangeDir { .. } if cx.entered => Ok(()),
        A::ChangeDir { path, again } => match change_dir(cx, path) {
            Err(Errno::EACCES) if !again => Ok(()),
            done => {
                cx.entered = done.is_ok();
                done
            }
        },
        A::DieWithRuntime => {
            at(cx, Call::Prctl, process::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as u64))?;
            // The runtime may have died before the signal was armed: then its end of the socket is closed. The config's
            // filter, if it is in force, may kill who asks; the guardian ends the container all the same.
            if cx.filtered { Ok(()) } else { at(cx, Call::RuntimeGone, socket::peer_alive(cx.baton)) }
        }
        _ => crate::perform::apply_creds::apply(action, cx),
    }
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
    if !at(cx, Call::Fork, reaper::split())? {
        reaper::stay(cx.fd(status));
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

/// Makes descriptor N the Nth of `fds`. First all move out of the way, the baton's socket too: a number that
/// is to be taken may be one that is still needed.
fn pass_fds(cx: &mut Cx, fds: &[crate::plan::Slot]) -> Done {
    const ABOVE: i32 = 64;
    for slot in fds {
        let fd = at(cx, Call::Dup, fs::dup_above(cx.fd(slot), ABOVE))?;
        cx.set(slot, fd);
    }
    if cx.baton < ABOVE {
        cx.baton = at(cx, Call::Dup, fs::dup_above(cx.baton, ABOVE))?;
    }
    for (number, slot) in (0..).zip(fds) {
        at(cx, Call::Dup, fs::dup2(cx.fd(slot), number))?;
    }
    // What else had these numbers is closed now.
    for fd in cx.fds.iter_mut().filter(|fd| **fd < ABOVE && (0..).zip(fds).any(|(n, _)| n == **fd)) {
        *fd = -1;
    }
    Ok(())
}

/// Closes every descriptor from `keep` up but the baton and those in `needed`, which execve(2) closes. The
/// rest must be gone before that: execve still resolves `/proc/self/fd/N` of descriptors it is about to close.
fn close_fds(cx: &mut Cx, keep: u32, needed: &[crate::plan::Slot]) -> Done {
    cx.call = Call::CloseRange;
    for i in 0..cx.fds.len() {
        let fd = cx.fds[i];
        // A slot whose descriptor was closed long ago may hold the number of one that is needed.
        if fd > 2 && fd != cx.baton && needed.iter().all(|slot| cx.fd(slot) != fd) {
            // A descriptor of the runtime's own may have a number that the caller meant to preserve.
            if u32::try_from(fd).is_ok_and(|fd| fd < keep) {
                fs::close(fd);
            }
            cx.fds[i] = -1;
        }
    }
    let mut first = keep;
    while let Some(next) = std::iter::once(cx.baton)
        .chain(needed.iter().map(|slot| cx.fd(slot)))
        .filter_map(|fd| u32::try_from(fd).ok())
        .filter(|fd| *fd >= first)
        .min()
    {
        if next > first {
            process::close_range(first, next - 1)?;
        }
        first = next + 1;
    }
    process::close_range(first, u32::MAX)?;
    process::cloexec_from(keep)
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

/// setns(2) into one's own mount namespace leads to its root: another one than now is a chroot's.
fn own_root(cx: &mut Cx) -> Done {
    let before = at(cx, Call::Statx, fs::place_at(c"/"))?;
    let ns = at(cx, Call::Open, fs::openat(libc::AT_FDCWD, c"/proc/self/ns/mnt", libc::O_RDONLY, 0))?;
    let joined = at(cx, Call::Setns, process::setns(ns, libc::CLONE_NEWNS as u64));
    fs::close(ns);
    joined?;
    let after = at(cx, Call::Statx, fs::place_at(c"/"))?;
    if before == after { Ok(()) } else { at(cx, Call::Chrooted, Err(Errno::EXDEV)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CVE-2024-21626. What leads to the host is closed before; this is for what nobody has thought of.
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
        assert_eq!(change(false), Some(process::Exit::Code(0)));
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: chroot(2) needs root");
            return;
        }
        assert_eq!(change(true), Some(process::Exit::Code(1)));
        fs::close(outside);
    }
}
