//! Capabilities that this process itself does not have cannot be given away: they are left out and said,
//! as config.md asks ("Runtimes SHOULD NOT fail ...").

use crate::config::Process;
use crate::error::{Error, Result};
use crate::log::Log;
use crate::sys::cred;
use crate::tables::capabilities::CapSet;

/// What a process does not get of what its config asks for, in words.
#[derive(Debug, Default)]
pub struct Left {
    /// What the config's author may miss.
    pub(super) warnings: Vec<String>,
    /// What was never possible: the template of `runc spec` before 1.2 asked for it in every config.
    notes: Vec<String>,
}

impl Left {
    /// Warns of what may be missed; the rest is for the log file and `--debug`.
    pub fn tell(&self, log: &Log) {
        self.warnings.iter().for_each(|text| log.warning(text));
        self.notes.iter().for_each(|text| log.note(text));
    }
}

/// Leaves out of `process` what cannot be granted, and says what. A process in a new user namespace has all
/// capabilities there (user_namespaces(7)): `in_userns`.
pub fn limit(process: &mut Process, in_userns: bool) -> Result<Left> {
    let unknown = std::mem::take(&mut process.unknown_capabilities);
    let unknown = (!unknown.is_empty()).then(|| {
        format!(
            "ignoring unknown or unavailable capabilities: [{}] (process.capabilities)",
            unknown.join(" ")
        )
    });
    let lacking = lacking(process, in_userns)?;
    let mut left = Left { warnings: unknown.into_iter().chain(lacking).collect(), notes: Vec::new() };
    // Without any inheritable capability no ambient one was meant to work.
    let meant = process.capabilities.inheritable != CapSet::EMPTY;
    if let Some(text) = not_raised(process) {
        if meant { left.warnings.push(text) } else { left.notes.push(text) }
    }
    Ok(left)
}

/// The kernel makes ambient only what is permitted and inheritable (capabilities(7)). The rest is left out, in
/// runc's words: what a program gets less is not worth its life.
fn not_raised(process: &mut Process) -> Option<String> {
    let c = &mut process.capabilities;
    let refused = CapSet(c.ambient.0 & !(c.permitted.0 & c.inheritable.0));
    c.ambient.0 &= !refused.0;
    (refused != CapSet::EMPTY).then(|| {
        format!(
            "can't raise ambient capability {refused}: operation not permitted (process.capabilities.ambient)"
        )
    })
}

fn lacking(process: &mut Process, in_userns: bool) -> Result<Option<String>> {
    // The one system call is only worth it where something is asked for.
    let c = &process.capabilities;
    let asked = c.permitted.0 | c.effective.0 | c.inheritable.0;
    if in_userns || asked == 0 {
        return Ok(None);
    }
    let (_, permitted, _) = cred::capget().map_err(|e| Error::os("capget", "", e))?;
    let lacking = limit_to(process, CapSet(permitted));
    Ok((lacking != CapSet::EMPTY).then(|| {
        format!("capabilities that safebox does not have here are left out: {lacking} (process.capabilities)")
    }))
}

/// What was left out.
fn limit_to(process: &mut Process, permitted: CapSet) -> CapSet {
    let c = &mut process.capabilities;
    let mut lacking = 0;
    for set in [&mut c.effective, &mut c.permitted, &mut c.inheritable, &mut c.ambient] {
        lacking |= set.0 & !permitted.0;
        set.0 &= permitted.0;
    }
    CapSet(lacking)
}
