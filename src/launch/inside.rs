//! Running a startContainer hook: a program of the container, so it gets what the container's process
//! gets and nothing more.
//!
//! config.md lets the path of these hooks resolve in the container namespace: whoever owns the rootfs
//! owns the program. It goes through the plan of `exec` (namespaces, cgroup, ids, capabilities, filter),
//! with the container's state on stdin.

use std::io::Write;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use super::Cx;
use super::control::Control;
use super::front::{compile, exec_input};
use crate::config::{Hook, Process};
use crate::error::{Error, Result};
use crate::host::Host;
use crate::plan::Plan;
use crate::plan::build::{ExecInput, Options, build_exec};
use crate::state::State;
use crate::sys::fs;
use crate::sys::process::{self, Exit};

/// Runs `hook` in the container whose process is `pid`, with `told` on stdin.
pub fn run_hook(state: &State, hook: &Hook, pid: i32, told: &str) -> std::result::Result<(), String> {
    let plan = plan(state, hook, pid).map_err(|e| e.to_string())?;
    let (reader, mut writer) = std::io::pipe().map_err(|e| e.to_string())?;
    let input = reader.as_raw_fd();
    let output = writer.as_raw_fd();
    let child = process::fork_run(|| perform(&plan, input, output)).map_err(|e| format!("fork: {e}"))?;
    drop(reader);
    // A hook that does not read its state is in its rights.
    match writer.write_all(told.as_bytes()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => return Err(e.to_string()),
        _ => drop(writer),
    }
    wait(child, hook.timeout)
}

/// The plan of `exec` for the hook's program.
fn plan(state: &State, hook: &Hook, pid: i32) -> Result<Plan> {
    let process = Process {
        terminal: false,
        args: hook.args.clone(),
        env: hook.env.clone(),
        cwd: "/".into(),
        ..state.process.clone()
    };
    let filters = state.seccomp.iter().map(|c| compile(c, false)).collect::<Result<Vec<_>>>()?;
    let host = Host::probe()?;
    // If the runtime dies, so does the hook.
    let options = Options { die_with_runtime: true, ..Options::default() };
    let (v1, input) = exec_input(state, pid, &process, &host, &filters, &options);
    Ok(build_exec(ExecInput { program: Some(&hook.path), cgroups_v1: &v1, ..input })?.0)
}

/// In a child of the runtime: stdin becomes the pipe, and the plan is performed as any other.
fn perform(plan: &Plan, input: i32, output: i32) -> i32 {
    // Held open here, the hook would wait for more; and nothing of this may outlive the runtime.
    fs::close(output);
    let mut cx = Cx::new(plan.slots);
    let done = process::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as u64)
        .and_then(|_| fs::dup2(input, 0))
        .map_err(|e| Error::os("dup2", "stdin", e))
        .and_then(|()| super::runtime::perform(plan, &mut cx, &mut Control::default(), &mut None));
    match done {
        Ok(_) => process::wait(cx.pid, 0).ok().flatten().map_or(1, |(_, exit)| exit.code()),
        Err(e) => {
            eprintln!("safebox: {e}");
            126
        }
    }
}

fn wait(child: i32, timeout: Option<u64>) -> std::result::Result<(), String> {
    let end = timeout.map(|s| Instant::now() + Duration::from_secs(s));
    loop {
        let options = if end.is_some() { libc::WNOHANG } else { 0 };
        match process::wait(child, options).map_err(|e| e.to_string())? {
            Some((_, Exit::Code(0))) => return Ok(()),
            Some((_, exit)) => return Err(format!("exit status {}", exit.code())),
            None if end.is_some_and(|end| Instant::now() >= end) => {
                process::kill(child, libc::SIGKILL).map_err(|e| e.to_string())?;
                process::wait(child, 0).map_err(|e| e.to_string())?;
                return Err(format!(
                    "still running after its timeout of {} s; killed",
                    timeout.unwrap_or_default()
                ));
            }
            None => process::sleep_micros(5000),
        }
    }
}
