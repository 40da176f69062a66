//! The listener of a filter with `SCMP_ACT_NOTIFY`: whose it is, and what its agent is told.

use std::path::{Path, PathBuf};

use oci_spec::runtime::LinuxSeccompAction;

use crate::config::{ConfigError, LinuxSeccomp};

/// `listenerPath` and `listenerMetadata` of a profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// The agent's unix socket, as written.
    pub path: PathBuf,
    /// Passed on as written.
    pub metadata: String,
}

/// The longest path of a unix socket: `sun_path` of unix(7), less the NUL.
const MAX_SOCKET_PATH: usize = 107;

impl Listener {
    /// The agent's socket; a relative path starts at the bundle.
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

/// Checks that the filter lets its own listener pass: where the runtime cannot take it, Init sends it with
/// sendmsg(2), when the filter is in force and nobody can answer for it yet.
pub fn may_be_passed(profile: &LinuxSeccomp) -> Result<(), ConfigError> {
    let why = "in a container of an ordinary user sendmsg must be allowed: it hands the listener over";
    refuses(profile, "sendmsg").map_or(Ok(()), |pointer| Err(ConfigError::new(pointer, why)))
}

/// Whether a profile lets every call of this name pass.
pub fn lets(profile: &LinuxSeccomp, call: &str) -> bool {
    refuses(profile, call).is_none()
}

/// Where a profile refuses some calls of this name, as a pointer into the config.
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
