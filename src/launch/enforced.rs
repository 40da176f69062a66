//! Applies the administrator's policy file to a launch: hardening before, a check after.

use std::path::Path;

use super::value::Launch;
use crate::config::{Config, Process, Resources};
use crate::error::{Error, Result};
use crate::host::Host;
use crate::policy::enforce::{Enforcement, Subject};
use crate::policy::{Machine, Outcome, Posture};
use crate::state::State;
use crate::tables::namespaces::{NAMESPACES, NsKind};

/// The launch with the policy that hardens it; `None`: unchanged.
pub(super) fn harden(launch: &Launch, config: &Config, bundle: &Path) -> Option<Launch> {
    let policy = launch.enforcement.as_ref()?.hardens(launch.policy(), Subject::new(config, bundle))?;
    let mut launch = launch.clone();
    launch.policy = Some(policy);
    // The engine has created the descriptors and receives the terminal.
    launch.overrides.terminal_as_written = true;
    // The namespaces of a pod are kept: a new user namespace would not own them.
    for row in NAMESPACES.iter().filter(|row| row.kind != NsKind::User) {
        if config.namespace(row.kind).is_some_and(|ns| ns.path.is_some()) {
            launch.overrides.allow.push(format!("host-{}", row.proc));
            if !launch.overrides.allows("host-user") {
                launch.overrides.allow.push("host-user".into());
            }
        }
    }
    launch.overrides.allow.retain(|name| crate::policy::ALLOW.iter().any(|(known, _)| known == name));
    Some(launch)
}

/// Follows the symlinks of bind sources, so that the path which is judged is the one that is mounted.
pub(super) fn follow(launch: &Launch, config: &mut Config, bundle: &Path) {
    for mount in config.mounts.iter_mut().filter(|m| launch.enforcement.is_some() && m.bind.is_some()) {
        let real = mount.source.as_ref().and_then(|source| bundle.join(source).canonicalize().ok());
        // One that is not there fails when it is mounted.
        if let Some(real) = real.as_deref().and_then(Path::to_str) {
            mount.source = Some(real.into());
        }
    }
}

/// Refuses a launch that violates the policy file, and returns the messages to log.
pub(super) fn judge(
    launch: &Launch,
    (config, bundle): (&Config, &Path),
    host: &Host,
    outcome: &mut Outcome,
    hardened: bool,
) -> Result<Vec<String>> {
    let Some(enforcement) = &launch.enforcement else { return Ok(Vec::new()) };
    let posture = Posture::of_config(config, Machine::of(host));
    let changes = enforcement.judge(Subject::new(config, bundle), &posture)?;
    let mut lines: Vec<String> = changes.iter().map(ToString::to_string).collect();
    if hardened {
        lines.extend(outcome.changes.iter().map(|change| format!("policy hardens: {change}")));
    }
    outcome.changes.extend(changes);
    Ok(lines)
}

/// Refuses a process that `exec` is to start in a container, or reduces it; returns the messages to log.
pub fn exec(enforcement: &Enforcement, state: &State, host: &Host, new: &mut Process) -> Result<Vec<String>> {
    let mut changes = enforcement.clamp(&state.process, new);
    changes.extend(enforcement.judge_process(Subject::from(state), &own(state, host)?, new)?);
    Ok(changes.iter().map(ToString::to_string).collect())
}

/// Refuses limits that `update` is to set; returns the messages to log.
pub fn update(enforcement: &Enforcement, state: &State, host: &Host, new: &Resources) -> Result<Vec<String>> {
    let own = own(state, host)?;
    let changes = enforcement.judge_limits(Subject::from(state), &own, (&state.resources, new))?;
    Ok(changes.iter().map(ToString::to_string).collect())
}

/// The posture that the container was asked to have.
fn own(state: &State, host: &Host) -> Result<Posture> {
    let asked = state.asked.as_ref().and_then(|asked| serde_json::from_str::<Posture>(asked.get()).ok());
    let asked = asked.ok_or_else(|| {
        Error::msg("the policy cannot judge this container: an older safebox made it; create it anew")
    })?;
    Ok(Posture { machine: Machine::of(host), ..asked })
}
