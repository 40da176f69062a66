//! Resolves a path of the container: the mount that covers it, and the host file behind it.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::Metadata;
use std::path::{Component, Path, PathBuf};

use crate::config::{Config, Mount};
use crate::plan::recipe::DEVICE_LINKS;

/// The symlinks that one path may lead through (path_resolution(7)).
const MAX_SYMLINKS: usize = 40;

/// A container as its config describes it, and the directory of its root file system.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// The hardened config.
    pub config: &'a Config,
    /// Host path of the root file system.
    pub rootfs: &'a Path,
}

/// What covers a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CoveredBy<'a> {
    /// The root file system.
    Root,
    /// An entry of `mounts`.
    Mount(&'a Mount),
}

/// What is known about the file behind a path.
#[derive(Debug)]
pub enum File {
    /// Host path and attributes.
    Known(PathBuf, Metadata),
    /// The path does not exist in the container.
    Absent,
    /// Only the running container knows: tmpfs, procfs, sysfs and so on.
    Unknown,
}

/// A resolved path.
#[derive(Debug)]
pub struct ResolvedPath<'a> {
    /// The path inside, without symlinks.
    pub path: PathBuf,
    /// What covers it.
    pub layer: CoveredBy<'a>,
    /// The file behind it.
    pub file: File,
    /// The directories on the way, as far as their host paths are known.
    pub parents: Vec<(CoveredBy<'a>, Metadata)>,
}

impl<'a> View<'a> {
    /// The mount that covers `path`: the last one whose destination contains it.
    pub fn layer(&self, path: &Path) -> CoveredBy<'a> {
        let covering =
            self.config.mounts.iter().rev().find(|m| !m.remount && path.starts_with(&m.destination));
        covering.map_or(CoveredBy::Root, CoveredBy::Mount)
    }

    /// The file at `path`, whose parents have no symlinks.
    fn file(&self, path: &Path) -> File {
        let known = |host: PathBuf| match host.symlink_metadata() {
            Ok(meta) => File::Known(host, meta),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => File::Absent,
            Err(_) => File::Unknown,
        };
        let is_mount_point = || self.config.mounts.iter().any(|m| m.destination.starts_with(path));
        match self.layer(path) {
            CoveredBy::Root if self.config.root.empty => {
                let is_parent = is_mount_point() || path == Path::new("/");
                if is_parent { File::Unknown } else { File::Absent }
            }
            CoveredBy::Root => match known(below(self.rootfs, path)) {
                // The runtime makes missing mount points.
                File::Absent if is_mount_point() => File::Unknown,
                file => file,
            },
            CoveredBy::Mount(mount) => match (&mount.bind, &mount.source) {
                (Some(_), Some(source)) if Path::new(source).is_absolute() => {
                    let inside = path.strip_prefix(&mount.destination).unwrap_or(Path::new(""));
                    known(below(Path::new(source), inside))
                }
                _ => File::Unknown,
            },
        }
    }

    /// The target of the symlink at `path`, if it is one.
    fn symlink(&self, path: &Path, file: &File) -> Option<PathBuf> {
        let own = self.config.links.iter().find(|(link, _)| link == path).map(|(_, to)| to.clone());
        let name = path.strip_prefix("/dev").ok().filter(|_| is_dev(self.layer(path)));
        let of_runtime = || DEVICE_LINKS.iter().find(|(link, _)| name == Some(Path::new(link)));
        own.or_else(|| of_runtime().map(|(_, to)| to.into())).or_else(|| match file {
            File::Known(host, meta) if meta.is_symlink() => std::fs::read_link(host).ok(),
            _ => None,
        })
    }

    /// Follows symlinks inside the container's root; `None` for a loop of them.
    pub fn resolve(&self, path: &Path) -> Option<ResolvedPath<'a>> {
        let mut ahead: VecDeque<OsString> = names(path);
        let (mut at, mut symlinks, mut parents) = (PathBuf::from("/"), 0, Vec::new());
        let mut file = self.file(&at);
        while let Some(name) = ahead.pop_front() {
            if name == ".." {
                at.pop();
                file = self.file(&at);
                continue;
            }
            if let File::Known(_, meta) = file {
                parents.push((self.layer(&at), meta));
            }
            let next = at.join(&name);
            file = self.file(&next);
            let Some(to) = self.symlink(&next, &file) else {
                at = next;
                if matches!(file, File::Absent) {
                    at.extend(ahead.drain(..));
                }
                continue;
            };
            symlinks += 1;
            if symlinks > MAX_SYMLINKS {
                return None;
            }
            if to.is_absolute() {
                at = PathBuf::from("/");
            }
            names(&to).into_iter().rev().for_each(|name| ahead.push_front(name));
            file = self.file(&at);
        }
        Some(ResolvedPath { layer: self.layer(&at), path: at, file, parents })
    }
}

/// Whether this is the tmpfs at /dev whose nodes the runtime makes.
pub(super) fn is_dev(layer: CoveredBy<'_>) -> bool {
    matches!(layer, CoveredBy::Mount(m) if m.destination == Path::new("/dev") && m.bind.is_none())
}

/// `path`, which may be absolute, below `dir`.
fn below(dir: &Path, path: &Path) -> PathBuf {
    dir.join(path.strip_prefix("/").unwrap_or(path))
}

fn names(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|c| match c {
            Component::Normal(name) => Some(name.to_os_string()),
            Component::ParentDir => Some("..".into()),
            _ => None,
        })
        .collect()
}
