//! Applies the administrator's policy file to a launch: hardening before, a check after.

use super::value::Launch;
use crate::config::Config;
use crate::error::Result;
use crate::host::Host;
use crate::policy::{Machine, Outcome, Posture};
use crate::tables::namespaces::{NAMESPACES, NsKind};

/// The launch with the policy that hardens it; `None`: unchanged.
pub(super) fn harden(launch: &Launch, config: &Config) -> Option<Launch> {
    let policy = launch.enforcement.as_ref()?.hardens(launch.policy(), config)?;
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

/// Refuses a launch that violates the policy file, and returns the messages to log.
pub(super) fn judge(
    launch: &Launch,
    config: &Config,
    host: &Host,
    outcome: &mut Outcome,
    hardened: bool,
) -> Result<Vec<String>> {
    let Some(enforcement) = &launch.enforcement else { return Ok(Vec::new()) };
    let posture = Posture::of_config(config, Machine::of(host));
    let changes = enforcement.judge(config, &posture)?;
    let mut lines: Vec<String> = changes.iter().map(ToString::to_string).collect();
    if hardened {
        lines.extend(outcome.changes.iter().map(|change| format!("policy hardens: {change}")));
    }
    outcome.changes.extend(changes);
    Ok(lines)
}
