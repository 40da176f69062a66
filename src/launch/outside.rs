//! Host resources of a container that an image cannot contain. Images name them as "external", and a restore
//! provides them again.
//!
//! The names are runc's, so images of one runtime can be restored by the other: the name of a bind mount is
//! its destination, that of a masked file is `/dev/null`.

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::cgroup::{Layout, bind_name};
use crate::config::Config;
use crate::plan::recipe::{Console, DEFAULT_DEVICES, Options, Stdio, shows_cgroups};
use crate::state::outside::Outside;
use crate::sys::fs;
use crate::tables::namespaces::NsKind;

/// The external name of every masked file.
pub const MASK: &str = "/dev/null";

/// The external resources of a container that is about to be created.
pub fn of(config: &Config, bundle: &Path, layout: &Layout, v2: bool, options: &Options) -> Outside {
    let mounts = host_mounts(config, bundle, layout, v2);
    let joined = config.namespaces.iter().filter(|n| n.path.is_some());
    Outside {
        mounts: mounts.into_iter().map(|(at, _)| at).collect(),
        masked: config.masked_paths.clone(),
        descriptors: (0..3).map(|fd| descriptor(fd, options)).collect(),
        joined: joined.fold(0, |bits, n| bits | n.kind.row().flag),
        idmapped: config.hardening.idmap_root
            || config.mounts.iter().any(|m| m.idmap.is_some() || !m.uid_maps.is_empty()),
        secrets: !config.secrets.is_empty(),
    }
}

/// Every mount of a host file system: (destination, source on the host).
pub fn host_mounts(config: &Config, bundle: &Path, layout: &Layout, v2: bool) -> Vec<(PathBuf, PathBuf)> {
    let mut mounts = Vec::new();
    let at = |path: &str| config.mounts.iter().find(|m| m.destination == Path::new(path));
    for mount in config.mounts.iter().filter(|m| !m.remount) {
        if mount.bind.is_some() {
            let source = bundle.join(mount.source.as_deref().unwrap_or_default());
            mounts.push((mount.destination.clone(), source));
        } else if mount.fs_type.as_deref() == Some("cgroup") && shows_cgroups(config, v2) {
            for cgroup in &layout.cgroups {
                // A pure v2 host has one cgroup, bound at the destination itself.
                let name = if v2 { String::new() } else { bind_name(&cgroup.controllers) };
                let name = mount.destination.join(name);
                mounts.push((name.components().collect(), cgroup.path.clone()));
            }
        }
    }
    // Device nodes cannot be created in a user namespace: the host's are bind mounted.
    let bound = at("/dev").is_some_and(|m| m.bind.is_some());
    if config.namespace(NsKind::User).is_some() && !bound {
        let names = DEFAULT_DEVICES.iter().map(|(name, ..)| Path::new("/dev").join(name));
        let devices: BTreeSet<PathBuf> = names.chain(config.devices.iter().map(|d| d.path.clone())).collect();
        mounts.extend(devices.into_iter().map(|path| (path.clone(), path)));
    }
    mounts
}

/// The entry of a descriptor in `descriptors.json`; the process inherits the descriptor.
fn descriptor(fd: i32, options: &Options) -> String {
    if options.stdio[fd as usize] != Stdio::Inherit {
        // A pipe that does not exist yet; it is read from the process later.
        return String::new();
    }
    if options.console == Console::Pty {
        return "/dev/pts/0".into();
    }
    let link = std::fs::read_link(format!("/proc/self/fd/{fd}")).unwrap_or_default();
    let text = link.to_string_lossy().into_owned();
    match file_of(&link, fd, "self") {
        // A file of the host, including /dev/null: criu identifies it by mount and inode.
        Some(file) => file,
        None => text,
    }
}

/// criu's name of an open file: `file[MOUNT:INODE]`, both in hexadecimal. `None` for objects without a path
/// (pipes, sockets), and for terminals.
fn file_of(link: &Path, fd: i32, pid: &str) -> Option<String> {
    let path = link.as_os_str().as_bytes();
    if !path.starts_with(b"/") || path.starts_with(b"/dev/pts/") || path == b"/dev/tty" {
        return None;
    }
    let info = std::fs::read_to_string(format!("/proc/{pid}/fdinfo/{fd}")).ok()?;
    let mount: u64 = info.lines().find_map(|l| l.strip_prefix("mnt_id:")?.trim().parse().ok())?;
    let inode = fs::fstatat(fd, c"").ok()?.st_ino;
    Some(format!("file[{mount:x}:{inode:x}]"))
}
