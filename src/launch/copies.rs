//! `--overlay`: where the changes of a writable copy go.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::value::Launch;
use crate::config::Overlay;
use crate::error::{Error, Result};
use crate::policy::Facts;
use crate::state::layers;

/// The change that `--overlay` makes, in words.
pub(super) fn text((path, option): (&Path, &str), id: &str) -> String {
    format!("{} is writable as a copy ({}): safebox diff, apply or discard {id}", path.display(), option)
}

/// Where the changes of a writable copy go.
pub(super) fn overlay(
    (path, option): (&Path, &str),
    number: usize,
    launch: &Launch,
    facts: &Facts<'_>,
) -> Result<Overlay> {
    let meta = std::fs::metadata(path).map_err(|e| Error::msg(format!("{option}: {e}")))?;
    if !meta.is_dir() {
        return Err(Error::msg(format!(
            "{option}: a directory is needed; --rw makes a single file writable"
        )));
    }
    let store = layers::store(&launch.state_root)?;
    let of_container = store.join(facts.id);
    if !launch.pure && of_container.symlink_metadata().is_ok() {
        return Err(Error::msg(format!(
            "{option}: {id} has left changes of an earlier run: safebox diff {id}, then apply or discard it, or another --name",
            id = facts.id
        )));
    }
    if store.starts_with(path) {
        return Err(Error::msg(format!(
            "{option}: it contains {}, where the layers are kept",
            store.display()
        )));
    }
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let since = since.map_err(|e| Error::msg(format!("the clock: {e}")))?;
    Ok(Overlay {
        dir: of_container.join(number.to_string()),
        store,
        owner: facts.host.rootless.is_none().then(|| (meta.uid(), meta.gid())),
        mode: meta.mode() & 0o7777,
        since: (since.as_secs() as i64, since.subsec_nanos()),
    })
}
