//! The rule about the system call filter.

use super::{Facts, HardenResult, Policy, SeccompAsk};
use crate::config::{Config, SeccompGuard};
use crate::error::{Error, Result};
use crate::seccomp as filter;
use crate::tables::namespaces::NsKind;

/// `--seccomp-allow` opens the built-in profile: an error where that one is not loaded.
pub fn opens_what_is_loaded(facts: &Facts<'_>) -> Result<()> {
    let loaded = facts.policy >= Policy::Baseline && facts.overrides.seccomp == SeccompAsk::Default;
    match facts.overrides.seccomp_allow.first().filter(|_| !loaded) {
        None => Ok(()),
        Some(name) => Err(Error::msg(format!(
            "--seccomp-allow {name}: opens the built-in profile, which is not loaded here (--policy privileged, or --seccomp)"
        ))),
    }
}

/// The built-in profile, or what the command line asks for instead.
pub fn seccomp(config: &mut Config, facts: &Facts<'_>, out: &mut HardenResult) -> Result<()> {
    if facts.overrides.seccomp != SeccompAsk::Default && facts.overrides.allows("ptrace") {
        out.no_effect("ptrace", "the built-in profile is not loaded (--seccomp)");
    }
    let limited = config.is_new(NsKind::User) && !config.hardening.shared_proc;
    if facts.policy == Policy::Restricted && facts.overrides.seccomp != SeccompAsk::Default && !limited {
        config.hardening.guards.push(SeccompGuard::NoUserNamespaces);
    }
    match facts.overrides.seccomp {
        SeccompAsk::Default => {
            config.hardening.builtin_seccomp = true;
            let text = if config.seccomp.is_some() {
                "the built-in profile, on top of the config's"
            } else {
                "the built-in profile"
            };
            out.note(format!(
                "{text} (--allow ptrace for strace, gdb and LeakSanitizer, --seccomp-allow NAME)"
            ));
            weaken(config, facts, out)?;
        }
        SeccompAsk::Config if config.seccomp.is_none() => {
            return Err(Error::msg("--seccomp config: the config has no seccomp profile (linux.seccomp)"));
        }
        SeccompAsk::Config => {}
        SeccompAsk::Unconfined => {
            config.seccomp = None;
            out.weaker("off, as asked: every system call of the kernel can be reached");
        }
    }
    Ok(())
}

/// `--seccomp-allow NAME` and `--allow ptrace`: each is reported as the weakening that it is.
fn weaken(config: &mut Config, facts: &Facts<'_>, out: &mut HardenResult) -> Result<()> {
    let also = if config.seccomp.is_some() { "; the config's profile must allow it too" } else { "" };
    if facts.overrides.allows("ptrace") {
        let names: Vec<_> = filter::tracing().map(String::from).collect();
        out.weaker(format!("weakened: {} run, as --allow ptrace asks{also}", names.join(", ")));
        config.hardening.seccomp_allow = names;
    }
    for name in &facts.overrides.seccomp_allow {
        let refused =
            filter::weakens(name).map_err(|e| Error::msg(format!("--seccomp-allow {name}: {e}")))?;
        match refused {
            None => out.note(format!("--seccomp-allow {name} has no effect: the profile allows it")),
            Some(why) if !config.hardening.seccomp_allow.contains(name) => {
                config.hardening.seccomp_allow.push(name.clone());
                out.weaker(format!("weakened: {name} runs, whatever its arguments ({why}){also}"));
            }
            Some(_) => {}
        }
    }
    Ok(())
}
