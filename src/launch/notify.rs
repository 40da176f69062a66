//! sd_notify(3): the mount and the variable through which the program reaches a socket of the launcher.

use std::path::Path;

use crate::config::{Config, Mount};
use crate::state::files::{NOTIFY_DIR, NOTIFY_SOCKET};

/// Path of the directory inside the container.
const INSIDE: &str = "/run/notify";

/// Adds the mount and the variable to a config.
pub fn add_to(config: &mut Config, state_dir: &Path) {
    config.mounts.push(Mount {
        destination: INSIDE.into(),
        source: Some(state_dir.join(NOTIFY_DIR).to_string_lossy().into_owned()),
        bind: Some(false),
        attr_set: libc::MOUNT_ATTR_RDONLY
            | libc::MOUNT_ATTR_NOSUID
            | libc::MOUNT_ATTR_NODEV
            | libc::MOUNT_ATTR_NOEXEC,
        ..Mount::default()
    });
    if let Some(process) = config.process.as_mut() {
        process.env.retain(|e| !e.starts_with("NOTIFY_SOCKET="));
        process.env.push(format!("NOTIFY_SOCKET={INSIDE}/{NOTIFY_SOCKET}"));
    }
}
