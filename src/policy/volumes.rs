//! Volumes belong to the caller: what the program writes there belongs, on the host, to the owner of the directory.
//!
//! As root by an idmapped bind mount: the owner's id on disk is the container user's id inside, and no other id is
//! mapped. An unprivileged caller cannot make such a mount; there the container's user is the caller (see `rootless`).

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::{Facts, HardenResult};
use crate::config::idmap;
use crate::config::{Config, IdMap, Mount, SeccompGuard};
use crate::error::{Error, Result};
use crate::sys::fs;
use crate::tables::namespaces::NsKind;

/// What asks for the bind mount of the working directory.
pub const WORKING_DIRECTORY: &str = "the working directory";

/// Whether a mount of the config can be written.
pub fn is_writable(mount: &Mount) -> bool {
    (mount.attr_set | mount.rec_attr_set) & libc::MOUNT_ATTR_RDONLY == 0
}

/// Whether users other than its owner and group cannot read this file or directory.
pub fn is_closed(meta: &std::fs::Metadata) -> bool {
    let needed = if meta.is_dir() { 0o005 } else { 0o004 };
    meta.mode() & needed != needed
}

/// Maps the owner of each volume to the container's user.
pub fn volumes(config: &mut Config, facts: &Facts<'_>, out: &mut HardenResult) -> Result<()> {
    if facts.host.rootless.is_some() {
        if config.mounts.iter().any(|m| m.volume.is_some() && is_writable(m)) {
            no_setuid_files(&mut config.hardening.guards);
        }
        return Ok(());
    }
    let Some(user) = config.process.as_ref().map(|p| (p.user.uid, p.user.gid)) else { return Ok(()) };
    let outside = |maps: &[IdMap], id| if maps.is_empty() { Some(id) } else { idmap::to_host(maps, id) };
    let Some(outside) = outside(&config.uid_maps, user.0).zip(outside(&config.gid_maps, user.1)) else {
        return Ok(());
    };
    // Without a user namespace root inside is root of the host, which needs no mapping.
    if user.0 == 0 && config.namespace(NsKind::User).is_none() {
        return Ok(());
    }
    for mount in config.mounts.iter_mut().filter(|m| m.bind.is_some()) {
        let (Some(option), Some(source)) = (mount.volume.clone(), mount.source.clone()) else { continue };
        let meta = std::fs::metadata(&source).map_err(|e| Error::msg(format!("{option}: {source}: {e}")))?;
        let (write, owner) = (is_writable(mount), (meta.uid(), meta.gid()));
        // git refuses a directory whose owner is another user.
        let mapped = write || is_closed(&meta) || option == WORKING_DIRECTORY;
        if owner == outside || !mapped {
            continue;
        }
        let recursive = mount.bind == Some(true);
        if let Some(name) = not_mappable(Path::new(&source), recursive, facts)? {
            if !write {
                out.note(format!("{source}: its file system ({name}) cannot be idmapped: only what other users may read can be read"));
                continue;
            }
            return Err(Error::msg(format!(
                "{option}: the file system of {source} ({name}) cannot be idmapped on this kernel, so what is written there \
                 would belong to id {}: use a directory on ext4, xfs, btrfs or tmpfs (Linux 6.3), or --allow host-user --user {}:{}",
                outside.0, owner.0, owner.1
            )));
        }
        let one = |container, host| vec![IdMap { container, host, size: 1 }];
        mount.idmap = Some(recursive);
        (mount.uid_maps, mount.gid_maps) = (one(owner.0, outside.0), one(owner.1, outside.1));
        let text = format!(
            "{}: {}:{} of the host is {}:{} inside (idmapped)",
            mount.destination.display(),
            owner.0,
            owner.1,
            user.0,
            user.1
        );
        if mount.overlay.is_some() {
            no_setuid_files(&mut config.hardening.guards);
            out.note(text)
        } else if write {
            no_setuid_files(&mut config.hardening.guards);
            out.weaker(format!("{text}: the program may write there what that user may"))
        } else {
            out.note(text)
        }
    }
    Ok(())
}

/// A setuid file in a volume would be one of the host's, for every user who can reach it there.
fn no_setuid_files(guards: &mut Vec<SeccompGuard>) {
    if !guards.contains(&SeccompGuard::NoSetuidFiles) {
        guards.push(SeccompGuard::NoSetuidFiles);
    }
}

/// The name of a file system at `source` that cannot be idmapped, or of one below it if the bind mount is recursive.
fn not_mappable(source: &Path, recursive: bool, facts: &Facts<'_>) -> Result<Option<String>> {
    let magic = fs::path_magic(&crate::sys::cstr::cpath(source)?)
        .map_err(|e| Error::os("statfs", source.display(), e))?;
    let mountinfo = std::fs::read("/proc/self/mountinfo").unwrap_or_default();
    if !facts.host.can_idmap(magic) {
        return Ok(Some(
            crate::host::mountinfo::file_system(&mountinfo, source).unwrap_or_else(|| format!("{magic:#x}")),
        ));
    }
    if !recursive {
        return Ok(None);
    }
    let known = |name: &str| {
        crate::host::IDMAP_SINCE.iter().any(|(_, n, since)| *n == name && facts.host.kernel >= *since)
    };
    let below = crate::host::mountinfo::mounts_below(&mountinfo, source);
    Ok(below
        .into_iter()
        .find(|(_, name)| !known(name))
        .map(|(at, name)| format!("{name} at {}", at.display())))
}
