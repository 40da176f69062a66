//! The container's id: what the command line names, and what is made up.

use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use crate::error::Error;

/// What `run TARGET` means. With `--bundle` it is the id, as runc has it. Without, anything that an
/// id cannot be (it has a slash, or is `.` or `..`) is a bundle whose container gets a made-up id;
/// everything else is an id, and the bundle is the working directory, as runc has it.
pub fn target(target: Option<&str>, bundle: Option<&Path>) -> Result<(PathBuf, String), Error> {
    match (target, bundle) {
        (Some(id), Some(bundle)) => Ok((bundle.to_path_buf(), id.to_string())),
        (Some(path), None) if path.contains('/') || path == "." || path == ".." => {
            Ok((PathBuf::from(path), made_up_id(Path::new(path))))
        }
        (Some(id), None) => {
            let here = PathBuf::from(".");
            if !here.join("config.json").exists() && Path::new(id).join("config.json").exists() {
                return Err(Error::msg(format!(
                    "{id} is taken as a container id; for the bundle write {id}/"
                )));
            }
            Ok((here, id.to_string()))
        }
        (None, Some(bundle)) => Ok((bundle.to_path_buf(), made_up_id(bundle))),
        (None, None) => Err(Error::msg(
            "\"run\" requires exactly 1 argument: a bundle's directory, or a container id (this machine's programs: safebox run -- PROGRAM)",
        )),
    }
}

/// Files that a launch makes for its caller before the program runs: dropped, it removes them again, so that the same
/// command line can be tried again.
#[derive(Default)]
pub(super) struct MadeFiles {
    id: Option<PathBuf>,
    /// It stays where something was written to it.
    log: Option<PathBuf>,
}

impl MadeFiles {
    /// `--cidfile`: written once, and never over a pre-existing file.
    pub(super) fn write_id(&mut self, path: &Path, id: &str) -> Result<(), Error> {
        let failed = |e: std::io::Error| Error::msg(format!("--cidfile {}: {e}", path.display()));
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).open(path).map_err(failed)?;
        self.id = Some(path.into());
        file.write_all(id.as_bytes()).map_err(failed)
    }

    /// `--audit-log`, opened for the network helper.
    pub(super) fn open_log(&mut self, path: &Path) -> Result<OwnedFd, Error> {
        let (file, new) = crate::launch::network::open_audit(path)?;
        self.log = new.then(|| path.into());
        Ok(file)
    }

    /// The program runs: they stay.
    pub(super) fn keep(mut self) {
        (self.id, self.log) = (None, None);
    }
}

impl Drop for MadeFiles {
    fn drop(&mut self) {
        let is_empty = |path: &PathBuf| path.metadata().is_ok_and(|meta| meta.len() == 0);
        for path in self.id.iter().chain(self.log.iter().filter(|path| is_empty(path))) {
            if let Err(e) = std::fs::remove_file(path) {
                crate::to_stderr!("safebox: {} cannot be removed: {e}", path.display());
            }
        }
    }
}

/// The bundle's name and a part that differs from run to run.
pub(super) fn made_up_id(bundle: &Path) -> String {
    let full = std::path::absolute(bundle).unwrap_or_else(|_| bundle.to_path_buf());
    let name = full.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let name: String =
        name.chars().filter(|c| c.is_ascii_alphanumeric() || "_.-".contains(*c)).take(40).collect();
    let t = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let name = if name.is_empty() { "box" } else { &name };
    format!("{name}-{:x}-{:x}", std::process::id(), t.subsec_nanos())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bundles_and_ids_are_distinguished_by_what_an_id_may_be() {
        let t = |t, b: Option<&str>| target(t, b.map(Path::new)).map(|(b, id)| (b.display().to_string(), id));
        assert_eq!(t(Some("id"), Some("b")).unwrap(), ("b".into(), "id".into()));
        assert_eq!(t(Some("id"), None).unwrap(), (".".into(), "id".into()));
        let (bundle, id) = t(Some("some/bundle/"), None).unwrap();
        assert_eq!(bundle, "some/bundle/");
        assert!(id.starts_with("bundle-") && crate::state::check_id(&id).is_ok(), "{id}");
        assert!(t(None, None).is_err());
    }
}
