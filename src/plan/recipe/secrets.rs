//! Secrets: files on a tmpfs of their own, filled by Init from files in memory that the runtime has open.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::config::secrets::{DIRECTORY, Secret};
use crate::error::{Error, Result};
use crate::plan::lower::in_root;
use crate::plan::ops::{FileOp, MountOp, SetAttr, SourceOp, Target, TargetKind};
use crate::plan::recipe::{Builder, part};
use crate::plan::{Actor::Init, Slot};
use crate::sys::cstr::{cpath, cstring};

impl Builder<'_> {
    /// Every secret, and its second place where it has one.
    pub(super) fn secrets(&mut self) -> Result<()> {
        for secret in &self.input.config.secrets {
            let tmpfs = self
                .secrets
                .clone()
                .ok_or_else(|| Error::msg(format!("{}: no tmpfs is at {DIRECTORY}", secret.option())))?;
            self.secret(secret, &tmpfs)?;
        }
        Ok(())
    }

    fn secret(&mut self, secret: &Secret, tmpfs: &Slot) -> Result<()> {
        let user = self.process()?.user.clone();
        let (uid, gid) = (secret.uid.unwrap_or(user.uid), secret.gid.unwrap_or(user.gid));
        let config = self.input.config;
        if self.new_userns() {
            for (what, id, maps) in [("uid", uid, &config.uid_maps), ("gid", gid, &config.gid_maps)] {
                if !maps.iter().any(|m| id >= m.container && id - m.container < m.size) {
                    return Err(Error::msg(format!(
                        "{},{what}={id}: the container's user namespace has no such id",
                        secret.option()
                    )));
                }
            }
        }
        let from = self.plan.slot(&format!("secret {}", secret.name));
        self.slots.secrets.push(from.clone());
        let parents = secret.file.ancestors().skip(1).filter(|p| !p.as_os_str().is_empty());
        let mut dirs = parents.map(cpath).collect::<std::result::Result<Vec<_>, _>>()?;
        dirs.reverse();
        let row = FileOp::Secret {
            tmpfs: tmpfs.clone(),
            dirs,
            path: cstring("secret", std::ffi::OsStr::from_bytes(secret.file.as_os_str().as_bytes()))?,
            from,
            size: secret.size,
            mode: secret.mode,
            owner: (uid, gid),
        };
        self.plan.push(Init, part::MOUNTS, row);
        let Some(also) = &secret.also else { return Ok(()) };
        let tree = self.plan.slot(&format!("file of secret {}", secret.name));
        let path = in_root(&Path::new(DIRECTORY).join(&secret.file))?;
        let open = SourceOp::Inside { root: self.root.clone(), path, recursive: false, to: tree.clone() };
        self.plan.push(Init, part::MOUNTS, open);
        let target = Target { root: self.root.clone(), path: in_root(also)?, kind: TargetKind::File };
        let row = MountOp::Move { tree, before: vec![SetAttr::READONLY], target };
        self.plan.push(Init, part::MOUNTS, row);
        Ok(())
    }
}
