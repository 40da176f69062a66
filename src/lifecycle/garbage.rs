//! Containers of launchers that died together with their guardian (a crash of the machine's memory, a
//! `kill -9` of both): the next `run` removes them.
//!
//! Each container of a foreground `run` has a mark beside its directory ([`crate::state::launcher_mark`]). So the
//! cost of the sweep is one reading of the state root, and one readlink(2) per launcher that runs: no state of any
//! other container is read.

use std::path::Path;
use std::time::Duration;

use crate::lifecycle::container::Container;
use crate::log::Log;
use crate::state;
use crate::sys::process;

/// How many marks of processes that exist are compared with the start time in one sweep: a process number that was
/// used again is found by one of the next sweeps.
const COMPARED: usize = 32;

/// Removes what foreground launchers left whose process is gone.
pub fn sweep(root: &Path, log: &Log) {
    let Ok(entries) = std::fs::read_dir(root) else { return };
    let marked = |entry: std::fs::DirEntry| {
        let name = entry.file_name();
        let id = name.to_str()?.strip_suffix(state::LAUNCHER)?;
        let mark = std::fs::read_link(entry.path()).ok()?;
        Some((id.to_string(), state::parse_pid(mark.to_str()?)?))
    };
    let marks: Vec<_> = entries.flatten().filter_map(marked).collect();
    let first = process::pid() as usize;
    for (i, (id, launcher)) in marks.iter().enumerate() {
        let compared = (first + i) % marks.len().max(1) < COMPARED;
        if is_gone(*launcher, compared) {
            remove(root, id, *launcher, log);
        }
    }
}

/// Whether the process of this number and start time has ended.
fn is_gone((pid, start): (i32, u64), compare: bool) -> bool {
    !process::exists(pid) || (compare && !process::alive(pid, start))
}

/// Removes a container whose launcher is gone, if it is what its mark says.
fn remove(root: &Path, id: &str, launcher: (i32, u64), log: &Log) {
    let dir = root.join(id);
    if !dir.exists() {
        // Its directory was removed by hand.
        std::fs::remove_file(state::launcher_mark(&dir)).unwrap_or_default();
        return;
    }
    // Nor is one acted on that others may have put there.
    let Ok(container) = Container::load(root, id) else { return };
    // The lock's holder (its guardian, another launcher) is at work on it.
    if container.locked() {
        return;
    }
    let Ok(_lock) = container.lock() else { return };
    // Another container may have taken the name before the lock was had.
    let Ok(container) = Container::load(root, id) else { return };
    let same = |state: &state::State| state.launcher == Some(launcher);
    let marked = std::fs::read_link(state::launcher_mark(&dir)).ok();
    let marked = marked.and_then(|mark| state::parse_pid(mark.to_str()?)) == Some(launcher);
    if !marked || !container.state.as_ref().is_none_or(same) {
        return;
    }
    let (pid, start) = launcher;
    log.debug(&format!("removing container {id}: its launcher {pid} (started {start}) is gone"));
    // Another container is waiting to be started: what does not go is `delete`'s to wait for.
    let undone = crate::lifecycle::destroy::destroy_within(&container, Duration::from_millis(50));
    for problem in undone.problems {
        log.warning(&format!("container {id} of a launcher that is gone: {problem}; see delete --force"));
    }
}
