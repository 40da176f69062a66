//! The layers of writable copies (`--overlay`): where they are, and what is recorded of them.
//!
//! The layers of one container are the directories `0`, `1` and so on below `STORE/ID`, each with overlayfs's `upper`
//! and `work`. The record beside them names the base directories. Layers outlive their container.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::host::state_root::default_state_root;
use crate::state::trust::check_owner_of;

/// Name of the record in a container's directory of layers.
pub const RECORD: &str = "layers.json";
/// Name of the directory of layers below a state root that was chosen with `--root`: no container can have it.
const BELOW_ROOT: &str = "@layers";

/// The layers of one container.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LayerRecord {
    /// The container's id.
    pub id: String,
    /// When the run was prepared: seconds and nanoseconds since the epoch. What changed in the base later is a conflict.
    pub since: (i64, u32),
    /// The base directories; the number of an entry is the name of its layer.
    pub bases: Vec<PathBuf>,
}

/// The directory of all layers. The default state root is on a tmpfs, so its layers are kept where they survive a reboot:
/// `/var/lib/safebox/layers`, or below `$XDG_DATA_HOME` for an unprivileged user. Below `--root DIR` otherwise.
pub fn store(state_root: &Path) -> Result<PathBuf> {
    if state_root != default_state_root() {
        return Ok(state_root.join(BELOW_ROOT));
    }
    if nix::unistd::geteuid().is_root() {
        return Ok("/var/lib/safebox/layers".into());
    }
    let var = |name| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
    let data = var("XDG_DATA_HOME").or_else(|| var("HOME").map(|home| home.join(".local/share")));
    data.map(|dir| dir.join("safebox/layers")).ok_or_else(|| {
        Error::msg("neither XDG_DATA_HOME nor HOME is set: --root DIR says where layers are kept")
    })
}

/// The record of a container's layers; an error that names the id where there are none.
pub fn load(store: &Path, id: &str) -> Result<LayerRecord> {
    let dir = store.join(id);
    let path = dir.join(RECORD);
    // What is believed here is written to the host's directories, and removed.
    check_owner_of((&dir, RECORD), "layers of", id)?;
    let bytes = std::fs::read(&path).map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => Error::msg(format!(
            "{id}: no layers: no run with --overlay of this id has left changes (safebox list --layers)"
        )),
        _ => Error::msg(format!("{}: {e}", path.display())),
    })?;
    let record: LayerRecord =
        serde_json::from_slice(&bytes).map_err(|e| Error::msg(format!("{}: {e}", path.display())))?;
    if record.id != id || record.bases.iter().any(|base| !base.is_absolute()) {
        return Err(Error::msg(format!("{}: it is not the record of {id}", path.display())));
    }
    Ok(record)
}

/// The ids that have layers, sorted.
pub fn ids(store: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(store).into_iter().flatten().flatten();
    let mut ids: Vec<_> = entries
        .filter(|e| e.path().join(RECORD).is_file())
        .filter_map(|e| e.file_name().into_string().ok())
        .collect();
    ids.sort();
    ids
}

/// The upper directory of layer `number`.
pub fn upper(store: &Path, id: &str, number: usize) -> PathBuf {
    store.join(id).join(number.to_string()).join("upper")
}

/// Removes a container's layers if nothing was written to them. Layers that are gone are no error.
pub fn remove_unused(dir: &Path) -> io::Result<()> {
    let Some((layers, others)) = contents(dir)? else { return Ok(()) };
    for layer in &layers {
        match std::fs::read_dir(layer.join("upper")) {
            Ok(mut entries) => {
                if entries.next().is_some() {
                    return Ok(());
                }
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
    }
    remove(dir, &layers, &others)
}

/// Removes a container's layers with all changes. The record goes last, so that a removal that was interrupted can be
/// repeated.
pub fn discard(store: &Path, id: &str) -> io::Result<()> {
    let dir = store.join(id);
    match contents(&dir)? {
        Some((layers, others)) => remove(&dir, &layers, &others),
        None => Ok(()),
    }
}

/// The layers, and the other files; `None` where the directory does not exist.
fn contents(dir: &Path) -> io::Result<Option<(Vec<PathBuf>, Vec<PathBuf>)>> {
    let entries = match std::fs::read_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        entries => entries?.collect::<io::Result<Vec<_>>>()?,
    };
    Ok(Some(entries.into_iter().map(|e| e.path()).partition(|p| p.is_dir() && !p.is_symlink())))
}

fn remove(dir: &Path, layers: &[PathBuf], others: &[PathBuf]) -> io::Result<()> {
    layers.iter().try_for_each(|layer| remove_tree(layer))?;
    others.iter().try_for_each(std::fs::remove_file)?;
    std::fs::remove_dir(dir)
}

fn remove_tree(dir: &Path) -> io::Result<()> {
    let (parent, name) = (dir.parent().unwrap_or(Path::new("/")), dir.file_name().unwrap_or_default());
    let name = CString::new(name.as_bytes())?;
    super::tree::remove(&File::open(parent)?.into(), &name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unused_layers_go_and_used_ones_stay() {
        let store = tempfile::tempdir().expect("a directory");
        let store = store.path();
        let make = |id: &str| {
            std::fs::create_dir_all(upper(store, id, 0)).expect("a layer");
            let record = LayerRecord { id: id.into(), since: (1, 2), bases: vec!["/srv".into()] };
            std::fs::write(store.join(id).join(RECORD), serde_json::to_vec(&record).expect("JSON"))
                .expect("a record");
        };
        make("unused");
        make("used");
        std::fs::write(upper(store, "used", 0).join("file"), "x").expect("a file");
        for id in ["unused", "used", "none"] {
            remove_unused(&store.join(id)).expect("removed");
        }
        assert_eq!(ids(store), ["used"]);
        assert_eq!(load(store, "used").expect("a record").bases, [PathBuf::from("/srv")]);
        discard(store, "used").expect("discarded");
        assert!(ids(store).is_empty() && load(store, "used").is_err());
    }
}
