//! Which ranges of host ids are some container's.
//!
//! A range is one file, named by its first id, in a directory that all state roots of the machine share. So two
//! containers never have the same range, whatever their `--root`, and a launch looks at the ranges that it tries and
//! not at every container. The launcher holds a lock on the file from the moment it looks until it ends; a row of the
//! plan writes the container's state directory into it, and its undo removes the file. A file that nobody locks is
//! left over, and can be taken, where it is empty or names a directory that is gone.

use std::cell::OnceCell;
use std::fs::File;
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::config::idmap::RANGE;
use crate::error::{Error, Result};
use crate::host::Host;
use crate::sys::cstr::cpath;
use crate::sys::fs;

/// Where systemd-nspawn takes its own (systemd-nspawn(1), `--private-users=pick`).
const NSPAWN: &str = "/run/systemd/nspawn-uid";

/// The ranges as one launch sees them.
#[derive(Debug)]
pub struct Ranges {
    dir: Option<PathBuf>,
    getent: Option<PathBuf>,
    pure: bool,
    claim: OnceCell<Claim>,
}

/// A range that this launch has taken.
#[derive(Debug)]
struct Claim {
    /// The locked file; none where the launch only looks.
    file: Option<File>,
    path: PathBuf,
}

impl Ranges {
    /// For a launch on `host`; `pure`: one that only looks.
    pub fn new(host: &Host, pure: bool) -> Self {
        Ranges { dir: host.ids.clone(), getent: host.getent.clone(), pure, claim: OnceCell::new() }
    }

    /// Takes the range that begins with `first`: whether it could be had.
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
        // The file may have been removed between the two.
        let free =
            is_left_over(copy, fs::try_lock).map_err(failed)? && fs::is_at(file.as_raw_fd(), &cpath(&path)?);
        if free {
            file.set_len(0).map_err(failed)?;
            // One launch takes one range.
            return Ok(self.claim.set(Claim { file: Some(file), path }).is_ok());
        }
        Ok(false)
    }

    /// The range could be had; the plan that is shown has the row for it, too.
    fn look(&self, path: PathBuf) -> bool {
        self.claim.get_or_init(|| Claim { file: None, path });
        true
    }

    /// The file of the range that was taken.
    pub fn taken(&self) -> Option<&Path> {
        self.claim.get().map(|claim| claim.path.as_path())
    }

    /// Whether some ids of the range are those of users or groups that /etc/passwd does not know: a directory service's
    /// lie close together.
    fn has_users(&self, first: u32) -> Result<bool> {
        const SAMPLES: [u32; 6] = [0, 1000, 1001, 10_000, RANGE / 2, RANGE - 1];
        let Some(getent) = &self.getent else { return Ok(false) };
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

/// Whether nobody holds this file, and the container that it names is gone or was never made.
fn is_left_over(
    mut file: File,
    lock: fn(std::os::fd::RawFd) -> crate::sys::Result<()>,
) -> std::io::Result<bool> {
    match lock(file.as_raw_fd()) {
        Ok(()) => {}
        Err(crate::sys::Errno::EAGAIN) => return Ok(false),
        Err(e) => return Err(std::io::Error::from_raw_os_error(e as i32)),
    }
    let mut of = String::new();
    file.read_to_string(&mut of)?;
    Ok(of.is_empty() || Path::new(&of).symlink_metadata().is_err())
}

impl Drop for Claim {
    /// A launch that did not get as far as the row has no undo for it.
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
        Ranges { dir: Some(dir.to_path_buf()), getent: None, pure, claim: OnceCell::new() }
    }

    #[test]
    fn a_range_is_taken_once_until_its_container_is_gone() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("ids");
        let (one, two, look) = (ranges(&dir, false), ranges(&dir, false), ranges(&dir, true));
        assert!(look.take(7).unwrap() && !dir.exists(), "a look makes nothing");
        assert!(one.take(7).unwrap());
        assert!(!two.take(7).unwrap() && !look.take(7).unwrap(), "the launcher holds it");
        assert!(two.take(8).unwrap());
        drop(two);
        assert!(!dir.join("8").exists(), "nothing was launched");
        let container = temp.path().join("container");
        std::fs::create_dir(&container).unwrap();
        std::fs::write(dir.join("7"), container.to_str().unwrap()).unwrap();
        drop(one);
        let next = ranges(&dir, false);
        assert!(!next.take(7).unwrap() && !look.take(7).unwrap(), "its container is there");
        std::fs::remove_dir(&container).unwrap();
        assert!(look.take(7).unwrap() && next.take(7).unwrap(), "left over");
    }
}
