//! Limits a process's capabilities to those that this process can grant. The others are dropped and reported,
//! as config.md requires ("Runtimes SHOULD NOT fail ...").

use crate::config::Process;
use crate::error::{Error, Result};
use crate::log::Log;
use crate::sys::cred;
use crate::tables::capabilities::CapSet;

/// Capabilities that were dropped from a config, as messages.
#[derive(Debug, Default)]
pub struct Dropped {
    /// Messages that the config's author should see.
    pub(super) warnings: Vec<String>,
    /// Drops without effect: the template of `runc spec` before 1.2 requests such capabilities in every
    /// config.
    notes: Vec<String>,
}

impl Dropped {
    /// Reports the warnings; the notes go only to the log file and to `--debug`.
    pub fn report(&self, log: &Log) {
        self.warnings.iter().for_each(|text| log.warning(text));
        self.notes.iter().for_each(|text| log.note(text));
    }
}

/// Drops from `process` the capabilities that cannot be granted, and returns the messages. `in_userns`: a
/// process in a new user namespace has all capabilities there (user_namespaces(7)).
pub fn limit(process: &mut Process, in_userns: bool) -> Result<Dropped> {
    let unknown = std::mem::take(&mut process.unknown_capabilities);
    let unknown = (!unknown.is_empty()).then(|| {
        format!(
            "ignoring unknown or unavailable capabilities: [{}] (process.capabilities)",
            unknown.join(" ")
        )
    });
    let lacking = lacking(process, in_userns)?;
    let mut left = Dropped { warnings: unknown.into_iter().chain(lacking).collect(), notes: Vec::new() };
    // Without an inheritable capability no ambient one could ever take effect.
    let meant = process.capabilities.inheritable != CapSet::EMPTY;
    if let Some(text) = not_raised(process) {
        if meant { left.warnings.push(text) } else { left.notes.push(text) }
    }
    Ok(left)
}

/// Drops ambient capabilities that are not both permitted and inheritable: the kernel refuses them
/// (capabilities(7)). The text is runc's. A missing ambient capability is no reason to refuse the start.
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
    // Skips the system call if no capability is requested.
    let c = &process.capabilities;
    let asked = c.permitted.0 | c.effective.0 | c.inheritable.0;
    if in_userns || asked == 0 {
        return Ok(None);
    }
    let (_, permitted, _) = cred::capget().map_err(|e| Error::os("capget", "", e))?;
    let lacking = limit_to(process, CapSet(permitted));
    Ok((lacking != CapSet::EMPTY).then(|| {
        format!("dropped capabilities that safebox does not have: {lacking} (process.capabilities)")
    }))
}

/// Limits all sets to `permitted` and returns the dropped capabilities.
fn limit_to(process: &mut Process, permitted: CapSet) -> CapSet {
    let c = &mut process.capabilities;
    let mut lacking = 0;
    for set in [&mut c.effective, &mut c.permitted, &mut c.inheritable, &mut c.ambient] {
        lacking |= set.0 & !permitted.0;
        set.0 &= permitted.0;
    }
    CapSet(lacking)
}
