//! Checks across sections, one small function each.

use super::at::At;
use super::{Config, ConfigError, sysctl};
use crate::tables::namespaces::NsKind;

/// A check of a complete config.
type ConfigCheck = fn(&Config) -> Result<(), ConfigError>;

/// All checks; the first failure is reported.
pub(super) const CHECKS: &[ConfigCheck] = &[
    names_need_uts,
    new_user_needs_mappings,
    offsets_need_time,
    net_devices_need_net,
    hidden_paths_need_mount,
    idmap_needs_mappings,
    swap_needs_memory,
    sysctl::check,
];

/// Without a uts namespace the names would change on the host.
fn names_need_uts(c: &Config) -> Result<(), ConfigError> {
    for (name, pointer) in [(&c.hostname, "hostname"), (&c.domainname, "domainname")] {
        if name.is_some() && c.namespace(NsKind::Uts).is_none() {
            return Err(At::ROOT
                .key(pointer)
                .error(format!("unable to set {pointer} without a uts namespace")));
        }
    }
    Ok(())
}

/// Without id mappings every id in a new user namespace is the overflow id (65534). A joined user namespace
/// has its own mappings; containerd and CRI-O repeat them in the config.
fn new_user_needs_mappings(c: &Config) -> Result<(), ConfigError> {
    for (maps, pointer) in [(&c.uid_maps, "uidMappings"), (&c.gid_maps, "gidMappings")] {
        if maps.is_empty() && c.is_new(NsKind::User) {
            return Err(linux(
                pointer,
                "user namespaces enabled, but no mappings found; give at least one range",
            ));
        }
    }
    Ok(())
}

/// Offsets can be written only before the first process enters the time namespace: time_namespaces(7).
fn offsets_need_time(c: &Config) -> Result<(), ConfigError> {
    if !c.time_offsets.is_empty() && !c.is_new(NsKind::Time) {
        return Err(linux("timeOffsets", "offsets are given, but no new time namespace in namespaces"));
    }
    Ok(())
}

/// A device can only be moved into a network namespace other than the host's.
fn net_devices_need_net(c: &Config) -> Result<(), ConfigError> {
    if !c.net_devices.is_empty() && c.namespace(NsKind::Net).is_none() {
        return Err(linux("netDevices", "unable to move network devices without a network namespace"));
    }
    Ok(())
}

/// Masks are mounts. Without a mount namespace they would hide the host's files.
fn hidden_paths_need_mount(c: &Config) -> Result<(), ConfigError> {
    for (paths, pointer) in [(&c.masked_paths, "maskedPaths"), (&c.readonly_paths, "readonlyPaths")] {
        if !paths.is_empty() && c.namespace(NsKind::Mount).is_none() {
            return Err(linux(pointer, "unable to restrict paths without a mount namespace"));
        }
    }
    Ok(())
}

/// `idmap` without mappings of its own uses those of the container's user namespace.
fn idmap_needs_mappings(c: &Config) -> Result<(), ConfigError> {
    let bare = |m: &super::Mount| m.idmap.is_some() && m.uid_maps.is_empty();
    match c.mounts.iter().position(bare) {
        Some(i) if c.namespace(NsKind::User).is_none() => {
            Err(At::ROOT.key("mounts").index(i).key("options").error(
                "idmap and ridmap need uidMappings and gidMappings, or a user namespace to take them from",
            ))
        }
        _ => Ok(()),
    }
}

/// `swap` is the sum of memory and swap, so it has no meaning without a memory limit.
fn swap_needs_memory(c: &Config) -> Result<(), ConfigError> {
    let memory = &c.resources.memory;
    if memory.swap.is_some_and(|s| s > 0) && memory.limit.is_none_or(|l| l < 0) {
        return Err(ConfigError::new(
            "/linux/resources/memory/swap",
            "unable to set swap limit without memory limit",
        ));
    }
    Ok(())
}

/// An error at `/linux/NAME`.
fn linux(name: &str, message: &str) -> ConfigError {
    At::ROOT.key("linux").key(name).error(message)
}
