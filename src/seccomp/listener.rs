//! The listener of a filter with `SCMP_ACT_NOTIFY`: the agent's socket and the metadata for it.

use std::path::{Path, PathBuf};

use oci_spec::runtime::LinuxSeccompAction;

use crate::config::{ConfigError, LinuxSeccomp};

/// `listenerPath` and `listenerMetadata` of a profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// The agent's unix socket, as written.
    pub path: PathBuf,
    /// Metadata for the agent, as written.
    pub metadata: String,
}

/// Maximum length of a unix socket's path: `sun_path` of unix(7), without the NUL.
const MAX_SOCKET_PATH: usize = 107;

impl Listener {
    /// The path of the agent's socket; a relative path is relative to the bundle.
    pub fn socket(&self, bundle: &Path) -> Result<PathBuf, ConfigError> {
        let path = bundle.join(&self.path);
        match path.as_os_str().len() {
            0..=MAX_SOCKET_PATH => Ok(path),
            n => {
                let message = format!(
                    "the path of a unix socket has at most {MAX_SOCKET_PATH} bytes, this one {n} (unix(7))"
                );
                Err(ConfigError::new("/linux/seccomp/listenerPath", message))
            }
        }
    }
}

/// Checks that the filter allows Init to pass its own listener: if the runtime cannot take it, Init sends it
/// with sendmsg(2) while the filter is in force and no agent can answer yet.
pub fn may_be_passed(profile: &LinuxSeccomp) -> Result<(), ConfigError> {
    let why = "for an unprivileged user sendmsg must be allowed: it passes the listener to the agent";
    refuses(profile, "sendmsg").map_or(Ok(()), |pointer| Err(ConfigError::new(pointer, why)))
}

/// Whether a profile allows every call of this name.
pub fn lets(profile: &LinuxSeccomp, call: &str) -> bool {
    refuses(profile, call).is_none()
}

/// The position in the config where a profile refuses calls of this name.
fn refuses(profile: &LinuxSeccomp, call: &str) -> Option<String> {
    let lets = |action: LinuxSeccompAction| {
        matches!(action, LinuxSeccompAction::ScmpActAllow | LinuxSeccompAction::ScmpActLog)
    };
    let mut allowed = lets(profile.default_action());
    for (i, entry) in profile.syscalls().iter().flatten().enumerate() {
        let Some(j) = entry.names().iter().position(|n| n == call) else { continue };
        if !lets(entry.action()) {
            return Some(format!("/linux/seccomp/syscalls/{i}/names/{j}"));
        }
        allowed |= entry.args().iter().flatten().next().is_none();
    }
    (!allowed).then(|| "/linux/seccomp/defaultAction".into())
}
