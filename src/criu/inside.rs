//! Set-up of a restored container inside its namespaces, before its processes continue.

use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::launch::prepare::Prepared;
use crate::perform::Cx;
use crate::perform::places::SHOWN_DEVICE;
use crate::perform::target;
use crate::sys::mount::{self, MountAttr};
use crate::sys::{Errno, fs, process, socket};
use crate::tables::namespaces::NsKind;

/// The cgroups of a process: (controller, path), the format of criu's `cgroup_root`s.
pub fn cgroups_of(pid: i32) -> Result<Vec<(String, String)>> {
    let path = format!("/proc/{pid}/cgroup");
    let text = std::fs::read_to_string(&path).map_err(|e| Error::msg(format!("{path}: {e}")))?;
    let mut cgroups = Vec::new();
    for line in text.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        if let (Some(controllers), Some(cgroup)) = (fields.next(), fields.next()) {
            cgroups.extend(controllers.split(',').map(|c| (c.to_string(), cgroup.to_string())));
        }
    }
    Ok(cgroups)
}

/// Sets up the parts of a network namespace that the images leave out: the loopback device, and the config's sysctls.
pub fn network(pid: i32, sysctls: &[(String, String)]) -> Result<()> {
    let path = format!("/proc/{pid}/ns/net");
    let ns = std::fs::File::open(&path).map_err(|e| Error::msg(format!("{path}: {e}")))?;
    let net: Vec<_> = sysctls.iter().filter(|(key, _)| key.starts_with("net.")).collect();
    let set = || -> std::result::Result<(), String> {
        process::setns(ns.as_raw_fd(), NsKind::Net.row().flag).map_err(|e| e.to_string())?;
        socket::loopback_up().map_err(|e| e.to_string())?;
        for (key, value) in net {
            let path = Path::new("/proc/sys").join(crate::config::sysctl::path(key));
            std::fs::write(&path, value).map_err(|e| format!("{key}: {e}"))?;
        }
        Ok(())
    };
    inside(set, "network namespace")
}

/// A mount that must have these attributes; `strict`: the path must be a mount.
pub struct Restriction {
    path: PathBuf,
    attrs: u64,
    strict: bool,
}

/// The restrictions of the config. criu 4 restores the second of two mounts of one source without its attributes, so
/// a read-only bind mount, or a masked file, would be writable.
pub fn restrictions(prepared: &Prepared) -> Vec<Restriction> {
    let config = &prepared.config;
    let mut all = Vec::new();
    let mut add = |path: &Path, attrs: u64, strict| {
        if attrs != 0 {
            all.push(Restriction { path: path.to_path_buf(), attrs, strict });
        }
    };
    add(Path::new("/"), if config.root.readonly { libc::MOUNT_ATTR_RDONLY } else { 0 }, true);
    for mount in config.mounts.iter().filter(|m| !m.remount) {
        add(&mount.destination, mount.attr_set | mount.rec_attr_set, false);
    }
    let shown = crate::launch::outside::host_mounts(
        config,
        &prepared.bundle.dir,
        &prepared.layout,
        prepared.host.cgroups.is_v2(),
    );
    for (at, _) in &shown {
        let cgroup = config
            .mounts
            .iter()
            .find(|m| m.fs_type.as_deref() == Some("cgroup") && at.starts_with(&m.destination));
        match cgroup {
            Some(mount) => add(at, mount.attr_set, false),
            None if at.starts_with("/dev") && config.mounts.iter().all(|m| m.destination != *at) => {
                add(at, SHOWN_DEVICE.attr_set, true);
            }
            None => {}
        }
    }
    for path in &config.masked_paths {
        add(path, SHOWN_DEVICE.attr_set, true);
    }
    for path in &config.readonly_paths {
        add(path, libc::MOUNT_ATTR_RDONLY, true);
    }
    all
}

/// Checks and sets the attributes of the container's mounts as the config requires.
pub fn guard(pid: i32, restrictions: &[Restriction]) -> Result<()> {
    let path = format!("/proc/{pid}/ns/mnt");
    let ns = std::fs::File::open(&path).map_err(|e| Error::msg(format!("{path}: {e}")))?;
    let set = || -> std::result::Result<(), String> {
        process::setns(ns.as_raw_fd(), NsKind::Mount.row().flag).map_err(|e| e.to_string())?;
        let root = std::fs::File::open("/").map_err(|e| e.to_string())?;
        for Restriction { path, attrs, strict } in restrictions {
            let inside = crate::plan::lower::in_root(path).map_err(|e| e.to_string())?;
            let attr = MountAttr { attr_set: *attrs, ..MountAttr::default() };
            let place = match target::open_existing(&mut Cx::new(0), root.as_raw_fd(), &inside) {
                Ok(fd) => fs::own(fd),
                Err(Errno::ENOENT | Errno::ENOTDIR) => continue,
                Err(e) => return Err(format!("{}: {e}", path.display())),
            };
            match mount::mount_setattr(place.as_raw_fd(), c"", mount::AT_EMPTY_PATH, &attr) {
                Ok(()) => {}
                Err(Errno::EINVAL) if !strict => {}
                Err(Errno::EINVAL) => {
                    return Err(format!(
                        "{} is not masked or read-only in the images, as the config requires",
                        path.display()
                    ));
                }
                Err(e) => return Err(format!("{}: mount_setattr: {e}", path.display())),
            }
        }
        Ok(())
    };
    inside(set, "mounts")
}

/// Runs `work` in a child process, which may join namespaces.
fn inside(work: impl FnOnce() -> std::result::Result<(), String>, what: &str) -> Result<()> {
    let child = process::fork_run(|| match work() {
        Ok(()) => 0,
        Err(e) => {
            crate::log::say(&format!("the container's {what}: {e}"));
            1
        }
    })
    .map_err(|e| Error::os("fork", "", e))?;
    match process::wait(child, 0) {
        Ok(Some((_, exit))) if exit.code() == 0 => Ok(()),
        _ => Err(Error::msg(format!("the container's {what} cannot be set up"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cgroups_are_named_one_by_one() {
        let all = cgroups_of(process::pid()).unwrap();
        assert!(
            !all.is_empty() && all.iter().all(|(c, path)| !c.contains(',') && path.starts_with('/')),
            "{all:?}"
        );
    }
}
