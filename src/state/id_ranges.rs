//! Allocation of host id ranges to containers.
//!
//! Each range is one file, named by its first id, in a directory that all state roots of the machine share.
//! So two containers never get the same range, whatever their `--root` is, and a launch checks only the
//! ranges that it tries. The launcher locks the file before it examines it and holds the lock until it ends.
//! A row of the plan writes the path of the container's state directory into the file; its undo removes the
//! file. An unlocked file that is empty or names a missing directory is stale, and its range is free.

use std::cell::OnceCell;
use std::fs::File;
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::config::idmap::RANGE;
use crate::error::{Error, Result};
use crate::host::{Fact, Host};
use crate::sys::cstr::cpath;
use crate::sys::fs;

/// Where systemd-nspawn records its ranges (systemd-nspawn(1), `--private-users=pick`).
const NSPAWN: &str = "/run/systemd/nspawn-uid";

/// The view of one launch on the ranges.
#[derive(Debug)]
pub struct Ranges {
    dir: Option<PathBuf>,
    getent: Fact<Option<PathBuf>>,
    pure: bool,
    claim: OnceCell<Claim>,
}

/// The range that this launch has taken.
#[derive(Debug)]
struct Claim {
    /// The locked file; `None` for a dry run.
    file: Option<File>,
    path: PathBuf,
}

impl Ranges {
    /// For a launch on `host`. `pure`: a dry run, which takes nothing.
    pub fn new(host: &Host, pure: bool) -> Self {
        Ranges { dir: host.ids.clone(), getent: host.getent.clone(), pure, claim: OnceCell::new() }
    }

    /// Tries to take the range that begins with `first`; returns whether it was free.
    pub fn take(&self, first: u32) -> Result<bool> {
        let Some(dir) = &self.dir else { return Ok(true) };
        if Path::new(NSPAWN).join(first.to_string()).exists() || self.has_users(first)? {
            return Ok(false);
        }
        let path = dir.join(first.to_string());
        let shown = path.display().to_string();
        let failed = |e: std::io::Error| Error::msg(format!("ranges of ids: {shown}: {e}"));
        if self.pure {
            let Ok(file) = File::open(&path) else { return Ok(self.look(path)) };
            let free = is_left_over(file, fs::try_lock_shared).map_err(failed)?;
            return Ok(free && self.look(path));
        }
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)?;
        if !crate::state::is_mine(dir) {
            return Err(Error::msg(format!("ranges of ids: {} is not this user's alone", dir.display())));
        }
        let file = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&path)
            .map_err(failed)?;
        let copy = file.try_clone().map_err(failed)?;
        // The file may have been removed between open and lock.
        let free =
            is_left_over(copy, fs::try_lock).map_err(failed)? && fs::is_at(file.as_raw_fd(), &cpath(&path)?);
        if free {
            file.set_len(0).map_err(failed)?;
            // A launch takes exactly one range.
            return Ok(self.claim.set(Claim { file: Some(file), path }).is_ok());
        }
        Ok(false)
    }

    /// Records a free range in a dry run, so that the shown plan contains the row for it.
    fn look(&self, path: PathBuf) -> bool {
        self.claim.get_or_init(|| Claim { file: None, path });
        true
    }

    /// The file of the taken range.
    pub fn taken(&self) -> Option<&Path> {
        self.claim.get().map(|claim| claim.path.as_path())
    }

    /// Whether the range contains ids of users or groups that /etc/passwd does not list. The check samples a
    /// few ids: a directory service assigns ids close together.
    fn has_users(&self, first: u32) -> Result<bool> {
        const SAMPLES: [u32; 6] = [0, 1000, 1001, 10_000, RANGE / 2, RANGE - 1];
        let Some(getent) = self.getent.get() else { return Ok(false) };
        for database in ["passwd", "group"] {
            let mut command = std::process::Command::new(getent);
            command.arg(database).args(SAMPLES.map(|n| (first + n).to_string()));
            let out = command.output().map_err(|e| Error::msg(format!("{}: {e}", getent.display())))?;
            if !out.stdout.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Whether the file is unlocked and its container is gone or was never made.
fn is_left_over(
    mut file: File,
    lock: fn(std::os::fd::RawFd) -> crate::sys::SysResult<()>,
) -> std::io::Result<bool> {
    match lock(file.as_raw_fd()) {
        Ok(()) => {}
        Err(crate::sys::Errno::EAGAIN) => return Ok(false),
        Err(e) => return Err(e.into()),
    }
    let mut of = String::new();
    file.read_to_string(&mut of)?;
    Ok(of.is_empty() || Path::new(&of).symlink_metadata().is_err())
}

impl Drop for Claim {
    /// Removes the file if the launch ended before the row ran; the undo of the plan does not cover that
    /// case.
    fn drop(&mut self) {
        let Some(file) = &self.file else { return };
        let unused = file.metadata().is_ok_and(|m| m.len() == 0);
        if unused && cpath(&self.path).is_ok_and(|path| fs::is_at(file.as_raw_fd(), &path)) {
            std::fs::remove_file(&self.path).unwrap_or_default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(dir: &Path, pure: bool) -> Ranges {
        Ranges { dir: Some(dir.to_path_buf()), getent: Fact::new(|| None), pure, claim: OnceCell::new() }
    }

    #[test]
    fn a_range_is_taken_once_until_its_container_is_gone() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("ids");
        let (one, two, look) = (ranges(&dir, false), ranges(&dir, false), ranges(&dir, true));
        assert!(look.take(7).unwrap() && !dir.exists(), "a dry run creates nothing");
        assert!(one.take(7).unwrap());
        assert!(!two.take(7).unwrap() && !look.take(7).unwrap(), "the launcher holds the lock");
        assert!(two.take(8).unwrap());
        drop(two);
        assert!(!dir.join("8").exists(), "nothing was launched");
        let container = temp.path().join("container");
        std::fs::create_dir(&container).unwrap();
        std::fs::write(dir.join("7"), container.to_str().unwrap()).unwrap();
        drop(one);
        let next = ranges(&dir, false);
        assert!(!next.take(7).unwrap() && !look.take(7).unwrap(), "its container exists");
        std::fs::remove_dir(&container).unwrap();
        assert!(look.take(7).unwrap() && next.take(7).unwrap(), "stale");
    }
}
