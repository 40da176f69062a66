//! Rows of the runtime that act on the child from outside.

use crate::perform::files::{join_name, replace_file, write_file};
use crate::perform::{Call, Cx, Done, HookError, at};
use crate::plan::action::Action;
use crate::sys::{Errno, fs, mount, process, rlimit, socket};

/// Rows of the runtime that act on the child from outside.
pub(super) fn apply(action: &Action, cx: &mut Cx) -> Done {
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
        _ => crate::perform::apply_inside::apply(action, cx),
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

pub(super) fn write_child(cx: &mut Cx, file: &str, value: &[u8]) -> Done {
    let path = proc_path(cx.pid, file);
    write_file(cx, &path, value)
}
