//! Applies the administrator's policy file to a launch: hardening before, a check after.

use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use super::value::Launch;
use crate::bundle::Bundle;
use crate::config::{Config, Process, Resources};
use crate::error::{Error, Result};
use crate::host::Host;
use crate::policy::enforce::{Enforcement, Subject};
use crate::policy::posture::NamespaceView;
use crate::policy::{HardenResult, MachineFacts, Posture};
use crate::state::State;
use crate::tables::namespaces::{NAMESPACES, NsKind};

/// The launch with the policy that hardens it; `None`: unchanged.
pub(super) fn harden(launch: &Launch, config: &Config, bundle: &Path) -> Option<Launch> {
    let is_sandbox = |id: &str| is_sandbox(&launch.state_root, id);
    let of = Subject::of_config(&launch.id, (config, bundle), &is_sandbox);
    let policy = launch.enforcement.as_ref()?.hardens(launch.policy(), of)?;
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

/// Follows the symlinks of bind sources: the path that is judged has none, and its row opens it without following any.
pub(super) fn follow(launch: &Launch, config: &mut Config, bundle: &Path) {
    for mount in config.mounts.iter_mut().filter(|m| launch.enforcement.is_some() && m.bind.is_some()) {
        let real = mount.source.as_ref().map(|source| without_links(&bundle.join(source)));
        if let Some(real) = real.as_deref().and_then(Path::to_str) {
            mount.source = Some(real.into());
        }
        mount.judged = true;
    }
}

/// A path without symlinks, as far as it exists: its row fails for a rest that does not.
fn without_links(path: &Path) -> PathBuf {
    for above in path.ancestors() {
        if let (Ok(real), Ok(rest)) = (above.canonicalize(), path.strip_prefix(above)) {
            return if rest == Path::new("") { real } else { real.join(rest) };
        }
    }
    path.into()
}

/// Refuses a launch that violates the policy file, and returns the messages to log.
pub(super) fn judge(
    launch: &Launch,
    (config, bundle): (&Config, &Bundle),
    host: &Host,
    outcome: &mut HardenResult,
    hardened: bool,
) -> Result<Vec<String>> {
    let Some(enforcement) = &launch.enforcement else { return Ok(Vec::new()) };
    let mut posture = Posture::of_config(config, MachineFacts::of(host));
    if !config.root.empty {
        // The directory that is open, whatever its path leads to by now.
        let open = format!("/proc/self/fd/{}", bundle.rootfs.as_raw_fd());
        posture.root_path = std::fs::read_link(open).map_err(|e| e.to_string());
    }
    for (kind, namespace) in &mut posture.namespaces {
        if matches!(namespace, Ok(NamespaceView::Joined(path)) if is_own(path, kind.row().proc)) {
            *namespace = Ok(NamespaceView::Host);
        }
    }
    let is_sandbox = |id: &str| is_sandbox(&launch.state_root, id);
    let changes =
        enforcement.judge(Subject::of_config(&launch.id, (config, &bundle.dir), &is_sandbox), &posture)?;
    let mut lines: Vec<String> = changes.iter().map(ToString::to_string).collect();
    if hardened {
        lines.extend(outcome.changes.iter().map(|change| format!("policy hardens: {change}")));
    }
    outcome.changes.extend(changes);
    Ok(lines)
}

/// Whether a path leads to a namespace of this process, which is the host's: by whatever name.
fn is_own(path: &Path, name: &str) -> bool {
    use std::os::unix::fs::MetadataExt;
    let id = |path: &Path| path.metadata().ok().map(|meta| (meta.dev(), meta.ino()));
    let own = id(&Path::new("/proc/self/ns").join(name));
    own.is_some() && id(path) == own
}

/// Refuses a process that `exec` is to start in a container, or reduces it; returns the messages to log.
pub fn exec(
    enforcement: &Enforcement,
    (root, state): (&Path, &State),
    host: &Host,
    new: &mut Process,
) -> Result<Vec<String>> {
    let mut changes = enforcement.clamp(&state.process, new);
    let of = Subject::of_state(state, &|id| is_sandbox(root, id));
    changes.extend(enforcement.judge_process(of, &own(state, host)?, new)?);
    Ok(changes.iter().map(ToString::to_string).collect())
}

/// Refuses limits that `update` is to set; returns the messages to log.
pub fn update(
    enforcement: &Enforcement,
    (root, state): (&Path, &State),
    host: &Host,
    new: &Resources,
) -> Result<Vec<String>> {
    let own = own(state, host)?;
    let of = Subject::of_state(state, &|id| is_sandbox(root, id));
    let changes = enforcement.judge_limits(of, &own, (&state.resources, new))?;
    Ok(changes.iter().map(ToString::to_string).collect())
}

/// Whether the container `id` of this state root is a pod's sandbox.
fn is_sandbox(root: &Path, id: &str) -> bool {
    let dir = root.join(id);
    if crate::state::check_id(id).is_err() || crate::state::trust::check_owner(&dir, id).is_err() {
        return false;
    }
    let Ok(bytes) = std::fs::read(dir.join(crate::state::files::STATE)) else { return false };
    serde_json::from_slice::<State>(&bytes).is_ok_and(|state| Subject::is_sandbox(id, &state.annotations))
}

/// The posture that the container was asked to have.
fn own(state: &State, host: &Host) -> Result<Posture> {
    let asked = state.asked.as_ref().and_then(|asked| serde_json::from_str::<Posture>(asked.get()).ok());
    let asked = asked.ok_or_else(|| {
        Error::msg("the policy cannot judge this container: an older safebox made it; create it anew")
    })?;
    Ok(Posture { machine: MachineFacts::of(host), ..asked })
}
