//! Only one run at a time, because rounds search the whole machine for leftovers, in cgroups that all runs
//! share.

use std::fs::{File, TryLockError};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::fcntl::OFlag;

/// Held until it is dropped or this process ends.
#[expect(dead_code, reason = "the open file is the lock")]
pub struct Lock(File);

/// Waits for another run and reports the wait. Call it before the private /run hides the file.
pub fn take() -> Result<Lock, String> {
    let dir = if Path::new("/run/lock").is_dir() { "/run/lock" } else { "/tmp" };
    let path = Path::new(dir).join("safebox-stacks");
    let named = |e: std::io::Error| format!("{}: {e}", path.display());
    // Every user may write in that directory.
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false).custom_flags(OFlag::O_NOFOLLOW.bits());
    let mut file = options.open(&path).map_err(named)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let holder = std::fs::read_to_string(&path).unwrap_or_default();
            eprintln!("stacks: another run (process {}) is under way: waiting for its end", holder.trim());
            file.lock().map_err(named)?;
        }
        Err(TryLockError::Error(e)) => return Err(named(e)),
    }
    file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(named)?;
    Ok(Lock(file))
}
