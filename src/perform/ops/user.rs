//! What the rows about id maps do.

use crate::perform::files::{proc_path, write_child, write_file};
use crate::perform::{Call, Cx, Done, at};
use crate::plan::Supplementary;
use crate::plan::ops::UserOp;
use crate::sys::{Errno, cred, fs, idle, mount, rlimit};

/// Performs one row about id maps.
pub(super) fn apply(op: &UserOp, cx: &mut Cx) -> Done {
    match op {
        UserOp::WriteMap { file, value } => write_child(cx, file, value),
        UserOp::RunMapTool { program, maps } => id_map_tool(cx, program, maps),
        UserOp::ForMount { uid_map, gid_map, to } => userns(cx, uid_map, gid_map, to),
        UserOp::Idmap { tree, userns, recursive, propagation, attrs } => {
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
        UserOp::BecomeRoot { groups } => {
            match at(cx, Call::Setgroups, drop_groups(*groups)) {
                // Init has all rights in this namespace, so it is the namespace that says no.
                Err(Errno::EPERM) if *groups == Supplementary::DropIfAllowed => cx.groups_denied = true,
                dropped => dropped?,
            }
            at(cx, Call::Setresgid, cred::setresgid(0))?;
            at(cx, Call::Setresuid, cred::setresuid(0))
        }
    }
}

/// A user namespace with these maps, held by its descriptor alone: its process is gone again.
fn userns(cx: &mut Cx, uid_map: &[u8], gid_map: &[u8], to: &crate::plan::Slot) -> Done {
    let mut holder = at(cx, Call::Clone, idle::idle_in_user_namespace())?;
    let pid = holder.pid();
    let made = write_file(cx, &proc_path(pid, "uid_map"), uid_map)
        .and_then(|()| write_file(cx, &proc_path(pid, "gid_map"), gid_map))
        .and_then(|()| {
            let path = proc_path(pid, "ns/user");
            at(cx, Call::Open, fs::openat(libc::AT_FDCWD, &path, libc::O_RDONLY, 0))
        });
    let call = cx.call;
    at(cx, Call::Kill, holder.kill())?;
    // It ends while the next rows are performed, and is reaped before the next clone.
    cx.ended.push(holder);
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
    let out = command.output().map_err(crate::sys::errno)?;
    if out.status.success() {
        return Ok(());
    }
    cx.detail = Some(crate::error::escaped_line(String::from_utf8_lossy(&out.stderr).trim()));
    Err(Errno::EPERM)
}

/// The caller's supplementary groups go, where they are to.
fn drop_groups(groups: Supplementary) -> Done {
    if groups == Supplementary::Keep { Ok(()) } else { cred::setgroups(&[]) }
}
