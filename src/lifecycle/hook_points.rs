//! The moments of runtime.md (Lifecycle) at which hooks run beside a plan's rows.

use std::os::fd::RawFd;
use std::rc::Rc;

use crate::config::Hook;
use crate::config::hooks::HookKind;
use crate::error::Error;
use crate::lifecycle::hooks::run;
use crate::perform::Cx;
use crate::perform::HookError;
use crate::perform::control::Control;
use crate::perform::runtime::{Helpers, perform};
use crate::perform::undo::Undone;
use crate::plan::Plan;
use crate::plan::check::Checked;
use crate::plan::hooks::HookRun;
use crate::state::State;
use crate::sys::signal;

/// The hooks of one moment, and the state that they receive.
pub fn hooks(kind: HookKind, list: &[Hook], state: &State, status: &str) -> Rc<HookRun> {
    let mut for_hook = state.for_hooks();
    for_hook["status"] = status.into();
    Rc::new(HookRun {
        hooks: list.to_vec(),
        state: for_hook,
        dir: state.bundle.clone(),
        namespaces: if kind.inside() { state.namespaces } else { 0 },
        container: kind.inside().then(|| Rc::new(state.clone())),
    })
}

/// Performs the plan of a new container. If that fails once there was a process, the poststop hooks run: they take
/// back what earlier hooks have made (runtime.md, Lifecycle).
pub fn launch(
    plan: &Checked<Plan>,
    cx: &mut Cx,
    control: &mut Control,
    helpers: &mut Helpers,
    state: &State,
) -> Result<(), Error> {
    helpers.hooks = run;
    let launched = perform(plan, cx, control, helpers);
    if launched.is_err() && cx.pid != 0 {
        poststop(state, cx.signals);
    }
    launched.map(drop)
}

/// poststart hooks: one that fails ends the container (runtime.md, Lifecycle), which is for the caller to do.
pub fn poststart(state: &State, pid: i32, signals: RawFd) -> Result<(), Error> {
    let list = &state.hooks.poststart;
    if list.is_empty() {
        return Ok(());
    }
    // They join nothing, so the start time is not asked for.
    let hooks = hooks(HookKind::Poststart, list, state, "running");
    match run(&hooks, HookKind::Poststart, (pid, 0), signals, None) {
        Ok(()) => Ok(()),
        Err(HookError::Failed(text)) => {
            Err(Error::msg(format!("a poststart hook failed, the container was removed: {text}")))
        }
        // The container runs: the signal is for its program, and waits until it is passed on.
        Err(HookError::Interrupted(signal)) => {
            signal::raise(signal).unwrap_or_default();
            Ok(())
        }
    }
}

/// poststop hooks: every one runs, whatever the others did (runtime.md, Lifecycle).
pub fn poststop(state: &State, signals: RawFd) {
    for hook in &state.hooks.poststop {
        let one = std::slice::from_ref(hook);
        // A signal ends this one only.
        let hooks = hooks(HookKind::Poststop, one, state, "stopped");
        match run(&hooks, HookKind::Poststop, (0, 0), signals, None) {
            Ok(()) => {}
            Err(HookError::Failed(text)) => crate::log::say(&format!("a poststop hook failed: {text}")),
            Err(HookError::Interrupted(signal)) => {
                crate::log::say(&format!("poststop hook {}: killed on signal {signal}", hook.path.display()));
            }
        }
    }
}

/// Reports what could not be undone. After a complete removal it runs the poststop hooks.
pub fn report_and_poststop(state: &State, undone: &Undone, signals: i32) {
    for problem in &undone.problems {
        crate::log::say(problem);
    }
    if undone.problems.is_empty() {
        crate::lifecycle::hook_points::poststop(state, signals);
    }
}
