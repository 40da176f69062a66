//! Permission check by file mode for the container's user: the kernel's rule, with the ids inside.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

use super::place::CoveredBy;
use crate::config::idmap::{self, UserMaps};
use crate::config::{Config, IdMap, Process};
use crate::tables::capabilities;

/// Uses of a file, as bits of its mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// `r`.
    Read = 4,
    /// `w`.
    Write = 2,
    /// `x`: execute, or search a directory.
    Execute = 1,
}

/// The container's user, and how ids on disk become ids inside.
pub struct ContainerUser<'a> {
    config: &'a Config,
    process: &'a Process,
    maps: Option<UserMaps>,
}

/// The file's owner as the container sees it; `None`: an id that it does not have.
type Owner = (Option<u32>, Option<u32>);

impl<'a> ContainerUser<'a> {
    /// `None` for a config without a process.
    pub fn of(config: &'a Config) -> Option<Self> {
        let process = config.process.as_ref()?;
        Some(ContainerUser { config, process, maps: idmap::of_user_namespace(config) })
    }

    /// The file's owner inside.
    fn owner(&self, layer: CoveredBy<'_>, meta: &Metadata) -> Owner {
        let (uid, gid) = (meta.uid(), meta.gid());
        let whole = UserMaps::default();
        let maps = self.maps.as_ref().unwrap_or(&whole);
        let inside = |uid, gid| (from_host(&maps.uids, uid), from_host(&maps.gids, gid));
        match layer {
            CoveredBy::Root if self.config.hardening.idmap_root => {
                (has(&maps.uids, uid), has(&maps.gids, gid))
            }
            CoveredBy::Mount(m) if !m.uid_maps.is_empty() => {
                let through = |maps: &[IdMap], id| idmap::to_host(maps, id);
                match (through(&m.uid_maps, uid), through(&m.gid_maps, gid)) {
                    (Some(uid), Some(gid)) => inside(uid, gid),
                    _ => (None, None),
                }
            }
            CoveredBy::Mount(m) if m.idmap.is_some() => (has(&maps.uids, uid), has(&maps.gids, gid)),
            _ => inside(uid, gid),
        }
    }

    /// Whether the mode of a file lets the user do this.
    pub fn may(&self, layer: CoveredBy<'_>, meta: &Metadata, what: Use) -> bool {
        let (owner, group) = self.owner(layer, meta);
        let (user, bit) = (&self.process.user, what as u32);
        let overrides = capabilities::parse("CAP_DAC_OVERRIDE")
            .is_some_and(|cap| self.process.capabilities.effective.has(cap));
        if overrides && owner.is_some() && group.is_some() {
            return what != Use::Execute || meta.is_dir() || meta.mode() & 0o111 != 0;
        }
        let in_group = |gid| gid == user.gid || user.additional_gids.contains(&gid);
        let shift = match (owner, group) {
            (Some(uid), _) if uid == user.uid => 6,
            (_, Some(gid)) if in_group(gid) => 3,
            _ => 0,
        };
        meta.mode() >> shift & bit != 0
    }

    /// `mode 0600, owner 0:0` as the container sees it.
    pub fn words(&self, layer: CoveredBy<'_>, meta: &Metadata) -> String {
        let (uid, gid) = self.owner(layer, meta);
        let text = |id: Option<u32>| id.map_or("unmapped".into(), |id| id.to_string());
        format!("mode {:04o}, owner {}:{}", meta.mode() & 0o7777, text(uid), text(gid))
    }

    /// `65532:65532`.
    pub fn name(&self) -> String {
        format!("{}:{}", self.process.user.uid, self.process.user.gid)
    }
}

/// The id itself, where the container has it.
fn has(maps: &[IdMap], id: u32) -> Option<u32> {
    (maps.is_empty() || idmap::to_host(maps, id).is_some()).then_some(id)
}

/// The id inside of a host id.
fn from_host(maps: &[IdMap], host: u32) -> Option<u32> {
    if maps.is_empty() {
        return Some(host);
    }
    idmap::to_container(maps, host)
}
