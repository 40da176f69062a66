//! Parser of `root` and `mounts`.

use std::path::{Component, Path, PathBuf};

use super::at::At;
use super::lists::{id_maps, some_text};
use super::raw::{RawIdMap, RawMount, RawRoot};
use super::{ConfigError, CopyUp, Mount, Root};
use crate::config::mount_options::parse_options;
use crate::tables::mount_options::{self, MountEffect};

/// Parses `root`, which is required on Linux.
pub(super) fn root(raw: Option<RawRoot>, at: &At) -> Result<Root, ConfigError> {
    let Some(raw) = raw else {
        return Err(at.error("root must be specified: {\"path\": \"rootfs\"}"));
    };
    match some_text(raw.path) {
        None => Err(at.key("path").error("path must be specified: the directory of the root file system")),
        Some(path) => Ok(Root { path: path.into(), readonly: raw.readonly.unwrap_or(false), empty: false }),
    }
}

/// Parses `mounts`, in order.
pub(super) fn mounts(raw: Option<Vec<RawMount>>, at: &At) -> Result<Vec<Mount>, ConfigError> {
    raw.unwrap_or_default().into_iter().enumerate().map(|(i, m)| mount(m, &at.index(i))).collect()
}

/// Parses one mount.
fn mount(raw: RawMount, at: &At) -> Result<Mount, ConfigError> {
    let mut mount =
        Mount { destination: destination(raw.destination, &at.key("destination"))?, ..Mount::default() };
    parse_options(&raw.options.unwrap_or_default(), &mut mount);
    let (fs_type, source) = (some_text(raw.r#type), some_text(raw.source));
    if fs_type.as_deref() == Some("bind") && mount.bind.is_none() {
        mount.bind = Some(false);
    }
    if mount.bind.is_some() {
        bind(&mut mount, source.is_some(), at)?;
    } else {
        file_system(&mount, fs_type.as_deref(), at)?;
        mount.fs_type = fs_type;
    }
    mount.source = source;
    mapped(&mut mount, raw.uid_mappings, raw.gid_mappings, at)?;
    Ok(mount)
}

/// Parses `destination`. A relative path is deprecated and is taken as relative to `/`.
fn destination(raw: Option<String>, at: &At) -> Result<PathBuf, ConfigError> {
    match some_text(raw) {
        None => Err(at.error("destination must not be empty; give an absolute path inside the container")),
        Some(path) => Ok(clean(&path)),
    }
}

/// Makes `path` absolute and removes `.`, `..` and empty components. The cleaning is lexical: a symlink in
/// the rootfs must not turn `/x/../dev` into another path than /dev.
fn clean(path: &str) -> PathBuf {
    let mut clean = PathBuf::from("/");
    for component in Path::new(path).components() {
        match component {
            Component::Normal(name) => clean.push(name),
            // `..` at the root stays at the root.
            Component::ParentDir => drop(clean.pop()),
            _ => {}
        }
    }
    clean
}

/// Checks a bind mount.
fn bind(mount: &mut Mount, source: bool, at: &At) -> Result<(), ConfigError> {
    if !source && !mount.remount {
        return Err(at.key("source").error("a bind mount needs a source: a path on the host"));
    }
    if mount.copy_up != CopyUp::No {
        return Err(at.key("options").error("tmpcopyup is for new tmpfs mounts, not for bind mounts"));
    }
    // A bind mount shares the superblock of its source. The kernel ignores superblock flags on it; runc and
    // mount(8) ignore them too. The kernel would also ignore file system options, but runc refuses them since
    // 1.2.
    mount
        .data
        .retain(|(key, _)| !mount_options::find(key).is_some_and(|r| r.effect == MountEffect::Superblock));
    match mount.data.first() {
        Some((key, _)) => Err(at
            .key("options")
            .error(format!("bind mounts cannot have any filesystem-specific options applied: {key:?}"))),
        None => Ok(()),
    }
}

/// Checks a mount of a file system.
fn file_system(mount: &Mount, fs_type: Option<&str>, at: &At) -> Result<(), ConfigError> {
    if mount.idmap.is_some() {
        return Err(at.key("options").error("idmap and ridmap are for bind mounts"));
    }
    if mount.copy_up != CopyUp::No && (fs_type != Some("tmpfs") || mount.remount) {
        return Err(at.key("options").error("tmpcopyup is for new tmpfs mounts"));
    }
    if fs_type.is_none() && !mount.remount {
        return Err(at
            .key("type")
            .error("type must be a file system's name unless the options have bind or rbind"));
    }
    Ok(())
}

/// Parses the id mappings of a mount: both or neither.
fn mapped(
    mount: &mut Mount,
    uids: Option<Vec<RawIdMap>>,
    gids: Option<Vec<RawIdMap>>,
    at: &At,
) -> Result<(), ConfigError> {
    mount.uid_maps = id_maps(uids, &at.key("uidMappings"))?;
    mount.gid_maps = id_maps(gids, &at.key("gidMappings"))?;
    if mount.uid_maps.is_empty() != mount.gid_maps.is_empty() {
        let missing = if mount.uid_maps.is_empty() { "uidMappings" } else { "gidMappings" };
        return Err(at.key(missing).error("an id-mapped mount needs both uidMappings and gidMappings"));
    }
    if !mount.uid_maps.is_empty() {
        if mount.bind.is_none() {
            return Err(at.key("uidMappings").error("mappings are for bind mounts"));
        }
        mount.idmap = mount.idmap.or(Some(false));
    }
    Ok(())
}
