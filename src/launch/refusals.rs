//! `run --debug`: the built-in filter reports what it refuses.

use std::rc::Rc;

use crate::config::Config;
use crate::plan::recipe::{Filter, Listens};
use crate::seccomp::reported;
use crate::state::SeccompChoice;
use crate::sys::seccomp;

/// Makes the built-in filter report its refusals to the launcher, or returns why it cannot.
pub fn report(config: &Config, choices: &[SeccompChoice], filters: &mut [Filter]) -> Option<&'static str> {
    let ([SeccompChoice::BuiltIn { .. }, ..], [filter, ..]) = (choices, filters) else {
        return Some("only the built-in profile supports this, and the container does not use it alone");
    };
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
    filter.listener = Some(Listens::Launcher(filter.program.clone()));
    filter.program = Rc::new(reported(&filter.program));
    filter.flags |= flags;
    None
}
