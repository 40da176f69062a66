//! Seccomp filters of a launch.

use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use crate::config::{Config, Process};
use crate::error::Result;
use crate::plan::ops::BUILT_IN;
use crate::plan::recipe::{FilterInput, Listens};
use crate::seccomp::{self, FilterSource};
use crate::state::SeccompChoice;

/// The filters in the order of loading: the config's, then the built-in ones.
pub fn seccomp_choices(config: &Config) -> Vec<SeccompChoice> {
    let mut choices = Vec::new();
    if let Some(profile) = &config.seccomp {
        choices.push(SeccompChoice::Profile(Arc::new(profile.clone())));
    }
    if config.hardening.builtin_seccomp {
        // Without namespaces the bounding set may be unchanged, so the permitted set decides.
        let bare = config.hardening.bare;
        let caps = |p: &Process| if bare { p.capabilities.permitted.0 } else { p.capabilities.bounding.0 };
        let caps = config.process.as_ref().map(caps).unwrap_or(0);
        choices.push(SeccompChoice::BuiltIn { caps, allow: config.hardening.seccomp_allow.clone() });
    }
    choices.extend(config.hardening.guards.iter().map(|guard| SeccompChoice::Guard(*guard)));
    choices
}

/// Compiles a filter, or loads it from the cache.
pub fn compile(choice: &SeccompChoice, pure: bool) -> Result<FilterInput> {
    let (mode, what) = match choice {
        SeccompChoice::BuiltIn { caps, allow } => {
            let caps = crate::tables::capabilities::CapSet(*caps);
            (FilterSource::BuiltIn { caps, allow: allow.clone() }, BUILT_IN)
        }
        SeccompChoice::Profile(profile) => (FilterSource::Profile(profile.clone()), "the config's profile"),
        SeccompChoice::Guard(guard) => {
            (FilterSource::Profile(Arc::new(seccomp::guard_profile(*guard)?)), guard.what())
        }
    };
    let filter = if pure { seccomp::compile(&mode)? } else { seccomp::compile_cached(&mode, &cache_dir())? };
    let program = Rc::new(filter.instructions);
    let lets_limits = choice.profile().is_none_or(|profile| seccomp::lets(profile, "prlimit64"));
    let listener = filter.listener.map(Listens::Agent);
    Ok(FilterInput { program, flags: filter.flags, what, listener, lets_limits })
}

/// Directory of compiled filters; the files are verified before use.
pub fn cache_dir() -> PathBuf {
    if nix::unistd::geteuid().is_root() {
        return PathBuf::from("/var/cache/safebox");
    }
    let var = |name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    var("XDG_CACHE_HOME")
        .or_else(|| var("HOME").map(|h| h.join(".cache")))
        .unwrap_or_else(|| "/nonexistent".into())
        .join("safebox")
}
