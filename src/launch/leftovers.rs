//! Containers of launchers that died together with their guardian (a crash of the machine's memory, a
//! `kill -9` of both): the next `run` removes them.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use crate::log::Log;
use crate::state::{self, files};

/// Removes what foreground launchers left whose process is gone.
pub fn sweep(root: &Path, log: &Log) {
    let Ok(entries) = std::fs::read_dir(root) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(id) = name.to_str() else { continue };
        // What is believed here runs programs: only what nobody else can have put there.
        let mine = |path: &Path| {
            path.symlink_metadata()
                .is_ok_and(|m| m.uid() == nix::unistd::geteuid().as_raw() && m.mode() & 0o022 == 0)
        };
        if !mine(&entry.path()) || !mine(&entry.path().join(files::STATE)) {
            continue;
        }
        // Most containers are somebody's: one look at the file decides.
        let Ok(raw) = std::fs::read(entry.path().join(files::STATE)) else { continue };
        let Ok(state) = serde_json::from_slice::<state::State>(&raw) else { continue };
        let Some((pid, start)) = state.launcher.filter(|(pid, start)| !state::alive(*pid, *start)) else {
            continue;
        };
        let Ok(container) = state::Container::load(root, id) else { continue };
        // Whoever holds the lock (its guardian, another launcher) is at work on it.
        if container.locked() {
            continue;
        }
        let Ok(_lock) = container.lock() else { continue };
        log.debug(&format!("removing container {id}: its launcher {pid} (started {start}) is gone"));
        // Another container is waiting to be started: what does not go is `delete`'s to wait for.
        let undone = crate::commands::destroy_within(&container, Duration::from_millis(50));
        for problem in undone.problems {
            log.warning(&format!("container {id} of a launcher that is gone: {problem}; see delete --force"));
        }
    }
}
