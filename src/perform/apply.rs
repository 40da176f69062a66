//! What each row does: the system calls behind the actions of the runtime and of the common tail.
//!
//! Rows of Init run after clone: they make system calls and nothing else. The mounts are in
//! [`crate::perform::apply_mounts`], credentials in [`crate::perform::apply_creds`].

use std::ffi::CStr;
use std::os::fd::AsFd;

use crate::perform::HookError;
use crate::perform::at;
use crate::perform::files::{join, join_name, record_group, replace_file, state_dir, take_group, write_file};
use crate::perform::{Call, Cx, Done};
use crate::plan::Supplementary;
use crate::plan::action::Action;
use crate::state;
use crate::sys::{Errno, cred, fs, mount, process, rlimit, signal, socket, tty};

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
        A::TimeOffsets { value } => write_child(cx, "timens_offsets", value),
        A::Unshare { namespaces, owner } => {
            // In the new user namespace it has no ids yet, and all capabilities: there is no way back, and no need.
            as_user(cx, *owner)?;
            at(cx, Call::Unshare, process::unshare(*namespaces))
        }
        _ => apply_outside(action, cx),
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

/// What systemd said is kept: an error number would lose most of it.
fn systemd(cx: &mut Cx, said: Result<(), crate::cgroup::systemd::Failure>) -> Done {
    cx.call = Call::Systemd;
    said.map_err(|failure| {
        cx.detail = Some(failure.text);
        failure.errno
    })
}

/// Rows of the runtime that act on the child from outside.
fn apply_outside(action: &Action, cx: &mut Cx) -> Done {
    use Action as A;
    match action {
        A::JoinNs { ns, flags, .. } => {
            at(cx, Call::Setns, process::setns(cx.fd(ns), *flags))?;
            // Whoever may look into this process from inside finds no door to the host's side of it.
            fs::close(cx.fd(ns));
            cx.set(ns, -1);
            Ok(())
        }
        A::RecordPid { dir, name, temp } => {
            let start = at(cx, Call::Read, crate::sys::process::start_time(cx.pid))?;
            let text = format!("{} {start}\n", cx.pid);
            replace_file(cx, &join_name(dir, temp), &join_name(dir, name), text.as_bytes())
        }
        // Decimal and no newline: go-runc parses the raw bytes.
        A::PidFile { path, temp } => replace_file(cx, temp, path, cx.pid.to_string().as_bytes()),
        A::SendPidfd { socket, kind } => {
            let sent =
                at(cx, Call::Sendmsg, crate::sys::socket::send_fd(cx.fd(socket), kind.as_bytes(), cx.pidfd));
            fs::close(cx.fd(socket));
            sent
        }
        A::CgroupJoin { path } => write_file(cx, path, cx.pid.to_string().as_bytes()),
        A::IdMapWrite { file, value } => write_child(cx, file, value),
        A::IdMapTool { program, maps } => id_map_tool(cx, program, maps),
        A::OomScoreAdj { value } => write_child(cx, "oom_score_adj", value.to_string().as_bytes()),
        A::OpenChildNs { kind, to } => {
            let path = proc_path(cx.pid, &format!("ns/{}", kind.row().proc));
            let fd = at(cx, Call::Open, fs::openat(libc::AT_FDCWD, &path, libc::O_RDONLY, 0))?;
            cx.set(to, fd);
            Ok(())
        }
        A::NetDevice { namespace, outside, inside } => {
            crate::perform::netdev::move_in(cx, cx.fd(namespace), outside, inside)
        }
        A::RaiseLimit { resource, limit } => at(cx, Call::Prlimit, rlimit::set(cx.pid, *resource, *limit)),
        A::MoreFiles { limit } => at(cx, Call::Prlimit, rlimit::raise_files(*limit)),
        A::Userns { uid_map, gid_map, to } => userns(cx, uid_map, gid_map, to),
        A::Idmap { tree, userns, recursive, propagation, attrs } => {
            let own = match userns {
                Some(_) => None,
                None => {
                    let path = proc_path(cx.pid, "ns/user");
                    Some(at(cx, Call::Open, fs::openat(libc::AT_FDCWD, &path, libc::O_RDONLY, 0))?)
                }
            };
            let userns_fd = own.unwrap_or_else(|| userns.as_ref().map_or(-1, |slot| cx.fd(slot)));
            let attr = mount::MountAttr {
                attr_set: libc::MOUNT_ATTR_IDMAP | attrs,
                userns_fd: userns_fd as u64,
                propagation: propagation & !libc::MS_REC,
                ..mount::MountAttr::default()
            };
            let flags = mount::AT_EMPTY_PATH | if *recursive { mount::AT_RECURSIVE } else { 0 };
            let done = at(cx, Call::MountSetattr, mount::mount_setattr(cx.fd(tree), c"", flags, &attr));
            own.into_iter().for_each(fs::close);
            done
        }
        // The launcher keeps it, and answers once it watches.
        A::SendListener { agent: None, .. } => Ok(()),
        A::SendListener { listener, agent: Some((path, told)), .. } => {
            let agent = at(cx, Call::Connect, socket::connect(path))?;
            let sent = at(cx, Call::Sendmsg, socket::send_fd(agent, &told.json(cx.pid), cx.fd(listener)));
            fs::close(agent);
            fs::close(cx.fd(listener));
            cx.set(listener, -1);
            sent
        }
        // They came with the baton.
        A::TakeShown { .. } => Ok(()),
        A::Hooks { kind, state, inside } => {
            // A child of this process that was not waited for keeps its number.
            let of = (cx.pid, at(cx, Call::Read, crate::sys::process::start_time(cx.pid))?);
            cx.call = Call::Hook;
            let inside = inside.as_ref().map(|shown| shown.inside(cx));
            (cx.hooks)(state, *kind, of, cx.signals, inside.as_ref()).map_err(|e| match e {
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
        A::Created { from, to } => {
            at(cx, Call::Rename, fs::renameat(libc::AT_FDCWD, from, libc::AT_FDCWD, to))
        }
        _ => apply_inside(action, cx),
    }
}

/// A user namespace with these maps, held by its descriptor alone: its process is gone again.
fn userns(cx: &mut Cx, uid_map: &[u8], gid_map: &[u8], to: &crate::plan::Slot) -> Done {
    let pid = at(cx, Call::Clone, process::idle_in_user_namespace())?;
    let made = write_file(cx, &proc_path(pid, "uid_map"), uid_map)
        .and_then(|()| write_file(cx, &proc_path(pid, "gid_map"), gid_map))
        .and_then(|()| {
            let path = proc_path(pid, "ns/user");
            at(cx, Call::Open, fs::openat(libc::AT_FDCWD, &path, libc::O_RDONLY, 0))
        });
    let call = cx.call;
    // It is this process's own child and not reaped yet, so the pid is its own.
    let pidfd = at(cx, Call::PidfdOpen, process::pidfd_open(pid))?;
    at(cx, Call::Kill, process::pidfd_kill(pidfd, libc::SIGKILL))?;
    fs::close(pidfd);
    at(cx, Call::Wait, process::wait(pid, 0))?;
    cx.call = call;
    cx.set(to, made?);
    Ok(())
}

/// Runs newuidmap(1) or newgidmap(1); what it says about a refusal is kept.
fn id_map_tool(cx: &mut Cx, program: &std::path::Path, maps: &[crate::config::IdMap]) -> Done {
    cx.call = Call::IdTool;
    let numbers = maps.iter().flat_map(|m| [m.container, m.host, m.size]).map(|n| n.to_string());
    let mut command = std::process::Command::new(program);
    command
        .arg(cx.pid.to_string())
        .args(numbers)
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null());
    rlimit::give_back(&mut command);
    let out = command.output().map_err(|e| Errno::from_raw(e.raw_os_error().unwrap_or(libc::EIO)))?;
    if out.status.success() {
        return Ok(());
    }
    cx.detail = Some(crate::error::shown_in_line(String::from_utf8_lossy(&out.stderr).trim()));
    Err(Errno::EPERM)
}

fn proc_path(pid: i32, file: &str) -> std::ffi::CString {
    // Digits and a static name hold no NUL.
    std::ffi::CString::new(format!("/proc/{pid}/{file}")).unwrap_or_default()
}

fn write_child(cx: &mut Cx, file: &str, value: &[u8]) -> Done {
    let path = proc_path(cx.pid, file);
    write_file(cx, &path, value)
}

/// Rows of Init that are not about mounts.
fn apply_inside(action: &Action, cx: &mut Cx) -> Done {
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
