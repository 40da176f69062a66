//! The hooks of config.md ("POSIX-platform Hooks"): programs of the config's author, run by the
//! runtime at the moments the specification names.
//!
//! A hook gets the environment that the config gives it and nothing else (CVE-2025-23266), the
//! container's state on stdin, and its timeout. Hooks of the container namespace are run by a child
//! that joins the container's namespaces first.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::config::Hook;
use crate::sys::{Errno, process};

/// The moments of config.md.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum HookKind {
    Prestart,
    CreateRuntime,
    CreateContainer,
    StartContainer,
    Poststart,
    Poststop,
}

impl HookKind {
    /// The specification's name.
    pub fn name(self) -> &'static str {
        match self {
            HookKind::Prestart => "prestart",
            HookKind::CreateRuntime => "createRuntime",
            HookKind::CreateContainer => "createContainer",
            HookKind::StartContainer => "startContainer",
            HookKind::Poststart => "poststart",
            HookKind::Poststop => "poststop",
        }
    }

    /// Whether the hook runs in the container's namespaces.
    pub fn inside(self) -> bool {
        matches!(self, HookKind::CreateContainer | HookKind::StartContainer)
    }
}

impl std::fmt::Display for HookKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// The hooks of one moment and what they are told.
#[derive(Debug)]
pub struct HookRun {
    /// The hooks, in order.
    pub hooks: Vec<Hook>,
    /// The container's state without its pid, which is added when they run.
    pub state: serde_json::Value,
    /// Where the hooks start: the bundle for the runtime's, `/` inside.
    pub bundle: PathBuf,
    /// The namespaces that a hook of the container joins, as `CLONE_NEW*` flags.
    pub namespaces: u64,
    /// startContainer: the container whose programs these are.
    pub container: Option<std::rc::Rc<crate::state::State>>,
}

impl HookRun {
    /// Runs the hooks in order; the first that fails ends it.
    pub fn run(&self, kind: HookKind, pid: i32) -> Result<(), Errno> {
        for (i, hook) in self.hooks.iter().enumerate() {
            self.run_one(kind, hook, pid).map_err(|text| {
                eprintln!("safebox: {kind} hook {i} ({}): {text}", hook.path.display());
                Errno::ECANCELED
            })?;
        }
        Ok(())
    }

    fn run_one(&self, kind: HookKind, hook: &Hook, pid: i32) -> Result<(), String> {
        let mut state = self.state.clone();
        state["pid"] = if kind == HookKind::Poststop { 0.into() } else { pid.into() };
        if let Some(container) = &self.container {
            return crate::launch::inside::run_hook(container, hook, pid, &state.to_string());
        }
        let mut command = Command::new(&hook.path);
        command.env_clear().stdin(Stdio::piped());
        if let Some((name, rest)) = hook.args.split_first() {
            command.arg0(name).args(rest);
        }
        for entry in &hook.env {
            let (key, value) = entry.split_once('=').unwrap_or((entry, ""));
            command.env(key, value);
        }
        if kind.inside() {
            let pidfd = process::pidfd_open(pid).map_err(|e| format!("pidfd_open: {e}"))?;
            // The path of a createContainer hook is the runtime's (config.md): looked up below Init's root,
            // which is still the host's tree, and not in the rootfs, where anybody could have put a program.
            let root = (kind == HookKind::CreateContainer).then(|| init_root(pid)).transpose()?;
            crate::sys::process::enter_before_exec(&mut command, pidfd, self.namespaces, root);
        } else {
            command.current_dir(&self.bundle);
        }
        let mut child = command.spawn().map_err(|e| e.to_string())?;
        if let Some(mut stdin) = child.stdin.take() {
            // A hook that does not read its state is in its rights.
            match stdin.write_all(state.to_string().as_bytes()) {
                Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => return Err(e.to_string()),
                _ => {}
            }
        }
        wait(&mut child, hook.timeout)
    }
}

/// Init's root directory.
fn init_root(pid: i32) -> Result<std::os::fd::OwnedFd, String> {
    let path = std::ffi::CString::new(format!("/proc/{pid}/root")).map_err(|e| e.to_string())?;
    let flags = libc::O_PATH | libc::O_DIRECTORY;
    crate::sys::fs::openat(libc::AT_FDCWD, &path, flags, 0)
        .map(crate::sys::fs::own)
        .map_err(|e| format!("{}: {e}", path.to_string_lossy()))
}

fn wait(child: &mut std::process::Child, timeout: Option<u64>) -> Result<(), String> {
    let Some(seconds) = timeout else {
        let status = child.wait().map_err(|e| e.to_string())?;
        return if status.success() { Ok(()) } else { Err(status.to_string()) };
    };
    let end = Instant::now() + Duration::from_secs(seconds);
    loop {
        match child.try_wait().map_err(|e| e.to_string())? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => return Err(status.to_string()),
            None if Instant::now() >= end => {
                child.kill().map_err(|e| e.to_string())?;
                child.wait().map_err(|e| e.to_string())?;
                return Err(format!("still running after its timeout of {seconds} s; killed"));
            }
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}
