//! `run --debug` and `run --explain-denials`: the built-in filter reports its refusals, and the paths that the program uses.

use std::rc::Rc;

use crate::config::Config;
use crate::plan::recipe::{FilterInput, Listens};
use crate::seccomp::observed::{judged, observing};
use crate::seccomp::reported;
use crate::state::SeccompChoice;
use crate::sys::seccomp;

/// Makes the built-in filter report its refusals to the launcher, with `observe` also the paths and addresses that the
/// program uses. Returns why it cannot.
pub fn report(
    config: &Config,
    choices: &[SeccompChoice],
    filters: &mut Vec<FilterInput>,
    observe: bool,
) -> Option<&'static str> {
    let filters_have_agent = filters.iter().any(|f| f.listener.is_some());
    let built_in = choices.iter().position(|choice| matches!(choice, SeccompChoice::BuiltIn { .. }));
    let Some(filter) = built_in.and_then(|i| filters.get_mut(i)) else {
        return Some("only the built-in seccomp profile reports, and the container does not have it");
    };
    if filters_have_agent {
        return Some("the config's seccomp profile has an agent, and a process can have one listener only");
    }
    if !config.process.as_ref().is_some_and(|p| p.no_new_privileges) {
        return Some("without no_new_privs the filter is loaded before the launcher can answer");
    }
    if !config.hooks.poststart.is_empty() {
        return Some("a poststart hook may wait for the program, and the program for the launcher");
    }
    let flags = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER as u32;
    if !seccomp::flag_supported(flags) {
        return Some("this kernel has no listeners (seccomp_unotify(2), Linux 5.0)");
    }
    let unchanged = filter.program.clone();
    let judge = observe.then(|| FilterInput {
        program: Rc::new(judged(&unchanged)),
        flags: filter.flags,
        what: "the profile, for the calls that are observed",
        listener: None,
        lets_limits: filter.lets_limits,
    });
    filter.program = Rc::new(reported(&unchanged));
    if observe {
        filter.program = Rc::new(observing(&filter.program));
        // A signal handler of the program must not interrupt a call that the profile allows (Linux 5.19).
        let killable = libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV as u32;
        filter.flags |= if seccomp::flag_supported(flags | killable) { killable } else { 0 };
    }
    filter.listener = Some(Listens::Launcher(unchanged));
    filter.flags |= flags;
    filters.extend(judge);
    None
}
