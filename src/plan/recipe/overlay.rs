//! Writable copies: the layers on the host, and the overlays made of them.

use std::rc::Rc;

use crate::config::idmap::{self, map_text};
use crate::config::{IdMap, Mount, Overlay};
use crate::error::{Error, Result};
use crate::plan::ops::{OverlayOp, TargetKind, UserOp};
use crate::plan::recipe::{Builder, cjoin, part};
use crate::plan::{Actor::Init, Actor::Runtime, Slot, Undo};
use crate::state::layers::{LayerRecord, RECORD};
use crate::sys::cstr::cpath;

/// The kernel from which overlayfs takes idmapped layers.
const IDMAPPED_LAYERS: (u32, u32) = (5, 19);

impl Builder<'_> {
    /// The directories of the layers, before anything is mounted on them.
    pub(super) fn layers(&mut self) -> Result<()> {
        let copies: Vec<(&Mount, &Overlay)> =
            self.input.config.mounts.iter().filter_map(|m| Some((m, m.overlay.as_ref()?))).collect();
        let Some((_, first)) = copies.first() else { return Ok(()) };
        let of_container = first.dir.parent().unwrap_or(&first.store);
        let record = LayerRecord {
            id: of_container.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            since: first.since,
            bases: copies.iter().map(|(mount, _)| mount.destination.clone()).collect(),
        };
        let bytes = serde_json::to_vec(&record).map_err(|e| Error::msg(format!("{RECORD}: {e}")))?;
        let row = OverlayOp::Record {
            store: cpath(&first.store)?,
            dir: cpath(of_container)?,
            record: cjoin(of_container, RECORD)?,
            bytes: Rc::new(bytes),
        };
        let undo = Undo::Layers(of_container.display().to_string());
        self.plan.push_undo(Runtime, part::SOURCES, row, undo);
        for (mount, overlay) in copies {
            if mount.idmap.is_some() && self.input.host.kernel < IDMAPPED_LAYERS {
                return Err(Error::msg(format!(
                    "--overlay {}: its owner has another id inside, and overlayfs takes idmapped layers from Linux 5.19 on: \
                     use --rw, or run as the owner without root",
                    mount.destination.display()
                )));
            }
            let row = OverlayOp::Layer {
                dir: cpath(&overlay.dir)?,
                upper: cjoin(&overlay.dir, "upper")?,
                work: cjoin(&overlay.dir, "work")?,
                owner: overlay.owner,
                mode: overlay.mode,
            };
            self.plan.push(Runtime, part::SOURCES, row);
        }
        Ok(())
    }

    /// A copy of the mount that holds a layer, mapped as the base is.
    pub(super) fn layer_source(&mut self, index: usize, mount: &Mount) -> Result<()> {
        let Some(overlay) = &mount.overlay else { return Ok(()) };
        let source = Mount {
            source: overlay.dir.to_str().map(str::to_string),
            destination: overlay.dir.clone(),
            // The directory is safebox's own.
            judged: false,
            ..mount.clone()
        };
        let actor = self.copier();
        let to = self.open_source(actor, &source, false)?;
        if actor == Runtime && mount.idmap.is_some() && !mount.uid_maps.is_empty() {
            let maps = |maps: &[IdMap], root: u32| map_text(&with_root(maps, root)).into_bytes();
            let (uid, gid) = self.root_outside();
            let userns = self.plan.slot(&format!("mapping of {}", overlay.dir.display()));
            let row = UserOp::ForMount {
                uid_map: maps(&mount.uid_maps, uid),
                gid_map: maps(&mount.gid_maps, gid),
                to: userns.clone(),
            };
            self.plan.push(Runtime, part::SOURCES, row);
            let row = super::binds::idmap(mount, &to, &userns);
            self.plan.push(Runtime, part::SOURCES, row);
        }
        self.overlays.push((index, to));
        Ok(())
    }

    /// The host ids of the container's root, which overlayfs's own files belong to: it acts as the process that mounts it.
    fn root_outside(&self) -> (u32, u32) {
        let outside = |maps: &[IdMap]| idmap::to_host(maps, 0).unwrap_or(0);
        (outside(&self.input.config.uid_maps), outside(&self.input.config.gid_maps))
    }

    /// The overlay at its place; `false` for a mount that is none.
    pub(super) fn overlay(&mut self, index: usize, mount: &Mount, lower: &Slot) -> Result<bool> {
        let Some((_, layer)) = self.overlays.iter().find(|(i, _)| *i == index) else { return Ok(false) };
        let attrs = mount.attr_set | mount.rec_attr_set;
        let (lower, layer) = (lower.clone(), layer.clone());
        let target = self.target(mount, TargetKind::Dir)?;
        self.plan.push(Init, part::MOUNTS, OverlayOp::Mount { lower, layer, attrs, target });
        Ok(true)
    }
}

/// The mappings, and one for the container's root, under an id on disk that no other one has.
fn with_root(maps: &[IdMap], root: u32) -> Vec<IdMap> {
    let mut all = maps.to_vec();
    if maps.iter().any(|map| idmap::holds(map, root)) {
        return all;
    }
    let on_disk =
        |id: u32| maps.iter().any(|map| id.checked_sub(map.container).is_some_and(|n| n < map.size));
    let free = [root, 0, 65534].into_iter().find(|id| !on_disk(*id)).unwrap_or(u32::MAX - 1);
    all.push(IdMap { container: free, host: root, size: 1 });
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_of_the_container_has_an_id_on_disk_of_its_own() {
        let map = |container, host| IdMap { container, host, size: 1 };
        assert_eq!(with_root(&[map(1000, 500_000)], 400_000), [map(1000, 500_000), map(400_000, 400_000)]);
        assert_eq!(with_root(&[map(0, 65532)], 0), [map(0, 65532), map(65534, 0)]);
        assert_eq!(with_root(&[map(1000, 0)], 0), [map(1000, 0)]);
    }
}
