//! Running a startContainer hook: a program of the container, so it gets what the container's process
//! gets and nothing more.
//!
//! config.md lets the path of these hooks resolve in the container namespace: the owner of the rootfs
//! owns the program. It goes through the plan of `exec` (namespaces, cgroup, ids, capabilities, filter),
//! with the container's state on stdin.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use crate::config::{Hook, Process, Rlimit};
use crate::error::{Error, Result};
use crate::host::Host;
use crate::launch::environment;
use crate::launch::exec_input::exec_input;
use crate::launch::filters::compile;
use crate::lifecycle::hook_wait::wait;
use crate::perform::Cx;
use crate::perform::HookError;
use crate::perform::control::Control;
use crate::perform::namespace_fds::NamespaceFds;
use crate::perform::runtime::{self, Helpers};
use crate::plan::Plan;
use crate::plan::check::Checked;
use crate::plan::recipe::{ExecInput, Options, PlanSlots, build_exec};
use crate::state::State;
use crate::sys::fs;
use crate::sys::process::{self, ProcessExit};

/// Runs `hook` in the container whose process (pid, start time) is given, with `stdio` as its first descriptors.
pub fn run_hook(
    state: &State,
    hook: &Hook,
    of: (i32, u64),
    stdio: [OwnedFd; 3],
    (signals, inside): (RawFd, Option<&NamespaceFds>),
) -> std::result::Result<(), HookError> {
    let (plan, slots) = plan(state, hook, of, inside).map_err(|e| e.to_string())?;
    let stdio = stdio.each_ref().map(AsRawFd::as_raw_fd);
    let child =
        process::fork_run(|| perform(&plan, (&slots, inside), stdio)).map_err(|e| format!("fork: {e}"))?;
    wait(child, hook.timeout, signals)
}

/// The plan of `exec` for the hook's program.
fn plan(
    state: &State,
    hook: &Hook,
    of: (i32, u64),
    inside: Option<&NamespaceFds>,
) -> Result<(Checked<Plan>, PlanSlots)> {
    // It runs inside: without an `env` of its own it has the program's, as with runc, crun and youki.
    let mut env = hook.env.clone().unwrap_or_else(|| state.process.env.clone());
    if hook.env.is_none() {
        environment::normalise(&mut env, || {
            crate::lifecycle::home::home_inside(of, state.process.user.uid, inside)
        });
    }
    let mut process =
        Process { terminal: false, args: hook.args.clone(), env, cwd: "/".into(), ..state.process.clone() };
    let filters = state.seccomp.get()?.iter().map(|c| compile(c, false)).collect::<Result<Vec<_>>>()?;
    let host = Host::probe()?;
    // What a hook prints goes to a memory file of the runtime's, which is no file of the program's.
    process.rlimits.retain(|r| r.resource != libc::RLIMIT_FSIZE);
    // The runtime may have raised its own, which a hook does not inherit.
    if process.rlimits.iter().all(|r| r.resource != libc::RLIMIT_NOFILE) {
        let limit = host.limit(libc::RLIMIT_NOFILE);
        process.rlimits.push(Rlimit { resource: libc::RLIMIT_NOFILE, soft: limit.soft, hard: limit.hard });
    }
    // If the runtime dies, so does the hook.
    let options = Options { die_with_runtime: true, ..Options::default() };
    let groups = crate::launch::exec_cgroups::choose(state, of.0, &[])?;
    let input = exec_input(state, of, &process, &host, &filters, &options, &groups);
    build_exec(ExecInput { program: Some(&hook.path), inside: inside.is_some(), ..input })
}

/// In a child of the runtime: `stdio` becomes its own, and the plan is performed as any other.
fn perform(
    plan: &Checked<Plan>,
    (slots, inside): (&PlanSlots, Option<&NamespaceFds>),
    stdio: [RawFd; 3],
) -> i32 {
    let mut cx = Cx::new(plan.slots);
    crate::perform::namespace_fds::fill(slots, &mut cx, inside);
    // Nothing of this may outlive the runtime.
    let done = process::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as u64)
        .and_then(|_| (0..).zip(stdio).try_for_each(|(number, fd)| fs::dup2(fd, number)))
        .map_err(|e| Error::os("dup2", "stdin, stdout or stderr", e))
        .and_then(|()| runtime::perform(plan, &mut cx, &mut Control::default(), &mut Helpers::default()));
    match done {
        Ok(_) => match process::wait(cx.pid, 0) {
            // Killed as the hook was: who waits for this process sees the signal.
            Ok(Some((_, ProcessExit::Signal(number)))) => process::die_of(number),
            ended => ended.ok().flatten().map_or(1, |(_, exit)| exit.code()),
        },
        Err(e) => {
            crate::log::say(&e.to_string());
            126
        }
    }
}
