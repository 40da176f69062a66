//! The hooks of config.md ("POSIX-platform Hooks"): programs of the config's author, run by the
//! runtime at the moments the specification names.
//!
//! A hook gets the environment that the config gives it and nothing else (CVE-2025-23266), the
//! container's state on stdin, and its timeout. Hooks of the container namespace are run by a child
//! that joins the container's namespaces first.

use std::fs::File;
use std::io::{PipeReader, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::config::Hook;
use crate::config::hooks::HookKind;
use crate::config::idmap;
use crate::lifecycle::hook_wait::wait;
use crate::perform::HookError;
use crate::perform::namespace_fds::NamespaceFds;
use crate::plan::hooks::HookRun;
use crate::sys::before_exec::{self, Member};
use crate::sys::process;
use crate::sys::{fs, rlimit};

/// Runs the hooks in order; the first that fails ends it. `of` is the container process: its pid, and its
/// start time for the hooks that join it, which they do by `inside` where its /proc/PID/ns is closed. `signals` is
/// a signalfd(2) that tells the launcher to end, or -1.
pub fn run(
    run: &HookRun,
    kind: HookKind,
    of: (i32, u64),
    signals: RawFd,
    inside: Option<&NamespaceFds>,
) -> Result<(), HookError> {
    for (i, hook) in run.hooks.iter().enumerate() {
        let output = HookOutput::new()?;
        run_one(run, kind, hook, of, (signals, inside), &output).map_err(|e| match e {
            // In runc's words, which are what Docker and containerd show of it.
            HookError::Failed(text) => HookError::Failed(format!(
                "error running {kind} hook #{i}: {}: {text}, {output}",
                hook.path.display()
            )),
            interrupted => interrupted,
        })?;
    }
    Ok(())
}

/// What a hook reads. The pid is that of the container process as the hook's own kind sees it: a hook of the
/// container receives what getpid(2) returns there, which is 1 in a pid namespace of the container's own. After the
/// end there is none.
fn state_for(run: &HookRun, kind: HookKind, pid: i32) -> Result<serde_json::Value, String> {
    let mut state = run.state.clone();
    match kind {
        HookKind::Poststop => {}
        kind if kind.inside() => state["pid"] = pid_inside(pid)?.into(),
        _ => state["pid"] = pid.into(),
    }
    Ok(state)
}

/// Where hooks outside start: the bundle, or / where it has been removed in the meantime. A hook that undoes what
/// another hook made must run all the same.
fn dir_or_root(run: &HookRun) -> &Path {
    // Its last component is looked up, too: a directory that may be entered, and nothing else, has a `.`.
    let enters = nix::unistd::access(&run.dir.join("."), nix::unistd::AccessFlags::X_OK).is_ok();
    if enters { &run.dir } else { Path::new("/") }
}

fn run_one(
    run: &HookRun,
    kind: HookKind,
    hook: &Hook,
    of: (i32, u64),
    (signals, inside): (RawFd, Option<&NamespaceFds>),
    output: &HookOutput,
) -> Result<(), HookError> {
    let (pid, _) = of;
    let state = state_for(run, kind, pid)?;
    if let Some(container) = &run.container {
        let stdio = [state_pipe(&state.to_string())?.into(), output.out()?, output.err()?];
        return crate::lifecycle::container_hook::run_hook(container, hook, of, stdio, (signals, inside));
    }
    let mut command = Command::new(&hook.path);
    command.env_clear().stdin(state_pipe(&state.to_string())?).stdout(output.out()?).stderr(output.err()?);
    if let Some((name, rest)) = hook.args.split_first() {
        command.arg0(name).args(rest);
    }
    for entry in hook.env.iter().flatten() {
        let (key, value) = entry.split_once('=').unwrap_or((entry, ""));
        command.env(key, value);
    }
    if kind.inside() {
        let joins = match inside {
            Some(inside) => inside.namespaces.iter().map(|(kind, fd)| (*fd, kind.row().flag)).collect(),
            None => {
                let pidfd = process::pidfd_open(pid).map_err(|e| format!("pidfd_open: {e}"))?;
                vec![(pidfd, run.namespaces)]
            }
        };
        // The path of a createContainer hook is the runtime's (config.md): looked up below Init's root,
        // which is still the host's tree, and not in the rootfs, where anybody could have put a program.
        let root = match inside {
            _ if kind != HookKind::CreateContainer => None,
            Some(inside) => Some(inside.root),
            None => Some(init_root(pid)?),
        };
        let member = (run.namespaces & libc::CLONE_NEWUSER as u64 != 0).then(|| member(pid)).transpose()?;
        let dir = crate::sys::cstr::cpath(&run.dir).map_err(|e| e.to_string())?;
        before_exec::enter_before_exec(&mut command, joins, member, root, dir);
    } else {
        command.current_dir(dir_or_root(run));
    }
    before_exec::clean_before_exec(&mut command);
    rlimit::give_back(&mut command);
    let child = command.spawn().map_err(|e| e.to_string())?;
    wait(child.id() as i32, hook.timeout, signals)
}

/// The output of a hook: files in memory, so that a hook never waits for a reader. The runtime prints them only if the
/// hook fails, because its own stdout and stderr belong to the container or the caller.
struct HookOutput {
    out: File,
    err: File,
}

impl HookOutput {
    fn new() -> Result<Self, String> {
        let file = |name| {
            let made = memfd_create(name, MFdFlags::MFD_CLOEXEC);
            made.map(File::from).map_err(|e| format!("memfd_create: {e}"))
        };
        Ok(HookOutput { out: file(c"stdout")?, err: file(c"stderr")? })
    }

    fn out(&self) -> Result<OwnedFd, String> {
        self.out.try_clone().map(OwnedFd::from).map_err(|e| format!("dup: {e}"))
    }

    fn err(&self) -> Result<OwnedFd, String> {
        self.err.try_clone().map(OwnedFd::from).map_err(|e| format!("dup: {e}"))
    }
}

impl std::fmt::Display for HookOutput {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        /// As much of each as a reader wants.
        const MOST: usize = 4096;
        let text = |file: &File| {
            let mut bytes = [0; MOST];
            let n = file.read_at(&mut bytes, 0).unwrap_or_default();
            crate::error::escaped_line(String::from_utf8_lossy(&bytes[..n]).trim_end())
        };
        write!(f, "stdout: {}, stderr: {}", text(&self.out), text(&self.err))
    }
}

/// A pipe that holds `text` and then ends. All of it is in the pipe before the hook starts: one that does not
/// read is in its rights, and must not hold up its own timeout.
pub fn state_pipe(text: &str) -> Result<PipeReader, String> {
    let (reader, mut writer) = std::io::pipe().map_err(|e| e.to_string())?;
    process::make_room(writer.as_raw_fd(), text.len())
        .map_err(|e| format!("a state of {} bytes does not fit into a pipe: {e}", text.len()))?;
    writer.write_all(text.as_bytes()).map_err(|e| e.to_string())?;
    Ok(reader)
}

/// The number of process `pid` in the innermost pid namespace that it is in (proc_pid_status(5), `NSpid`).
fn pid_inside(pid: i32) -> Result<i32, String> {
    let path = format!("/proc/{pid}/status");
    let status = std::fs::read_to_string(&path).map_err(|e| format!("{path}: {e}"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    line.and_then(|numbers| numbers.split_whitespace().last()?.parse().ok())
        .ok_or_else(|| format!("{path}: no NSpid"))
}

/// Who a hook is in a user namespace: its root, as with runc, or the first id that it has. Who was root outside
/// would have no id there, and would own the host's files all the same.
fn member(pid: i32) -> Result<Member, String> {
    let read = |file: &str| {
        let path = format!("/proc/{pid}/{file}");
        std::fs::read_to_string(&path).map_err(|e| format!("{path}: {e}"))
    };
    let id = |file: &str| {
        let maps = idmap::parse_map(&read(file)?);
        let root = idmap::to_host(&maps, 0).map(|_| 0);
        root.or_else(|| maps.first().map(|m| m.container)).ok_or_else(|| format!("{file} of {pid} is empty"))
    };
    let set_groups = read("setgroups")?.trim() != "deny";
    Ok(Member { uid: id("uid_map")?, gid: id("gid_map")?, set_groups })
}

/// Init's root directory.
fn init_root(pid: i32) -> Result<RawFd, String> {
    let path = std::ffi::CString::new(format!("/proc/{pid}/root")).map_err(|e| e.to_string())?;
    let flags = libc::O_PATH | libc::O_DIRECTORY;
    fs::openat(libc::AT_FDCWD, &path, flags, 0).map_err(|e| format!("{}: {e}", path.to_string_lossy()))
}
