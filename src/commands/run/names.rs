//! The container's id: what the command line names, and what is made up.

use std::io::Write;
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

/// `--cidfile`: written once, and never over a file that is there.
pub(super) fn write_id(path: &Path, id: &str) -> Result<(), Error> {
    let failed = |e: std::io::Error| Error::msg(format!("--cidfile {}: {e}", path.display()));
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).open(path).map_err(failed)?;
    file.write_all(id.as_bytes()).map_err(failed)
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
