//! Bind mounts, where their sources come from, what a mount's options change, and what becomes read-only last.

use std::ffi::CString;
use std::path::{Component, Path, PathBuf};

use crate::config::Mount;
use crate::error::Result;
use crate::plan::lower::in_root;
use crate::plan::ops::{Action, MountOp, RootOp, SetAttr, SourceOp, TargetKind, UserOp};
use crate::plan::recipe::{Builder, part};
use crate::plan::{Actor, Actor::Init, Actor::Runtime, Slot};
use crate::sys::cstr::{cpath, cstring};
use crate::sys::mount::MountAttr;

/// The flags of a mount that runc takes away where the options name others and not these (mount(2), `MS_REMOUNT`).
const UNNAMED: u64 = libc::MOUNT_ATTR_RDONLY
    | libc::MOUNT_ATTR_NOSUID
    | libc::MOUNT_ATTR_NODEV
    | libc::MOUNT_ATTR_NOEXEC
    | libc::MOUNT_ATTR_NOSYMFOLLOW;

impl Builder<'_> {
    /// Detached copies of the rootfs and of every bind's source, made before the child exists.
    pub(super) fn sources(&mut self) -> Result<()> {
        self.rootfs()?;
        self.layers()?;
        let actor = self.copier();
        for (i, mount) in self.input.config.mounts.iter().enumerate() {
            let Some(recursive) = mount.bind else { continue };
            if mount.remount {
                continue;
            }
            if self.below_rootfs(mount).is_some() {
                if let Some(mapping) = self.mapping_of(i) {
                    self.mappings.push((i, mapping));
                }
                continue;
            }
            let to = self.open_source(actor, mount, recursive)?;
            if actor == Runtime {
                self.idmap_own(i, &to);
            }
            self.sources.push((i, to));
            self.layer_source(i, mount)?;
        }
        // A scope is not there before the child is.
        if actor == Runtime && self.input.cgroups.scope.is_some() {
            return Ok(());
        }
        self.cgroup_sources(actor)
    }

    /// The copy of one source. A hardened run follows no symlink that another user has put on the way, and where a policy
    /// file has judged the path no symlink at all.
    pub(super) fn open_source(&mut self, actor: Actor, mount: &Mount, recursive: bool) -> Result<Slot> {
        let source = self.source(mount);
        let to = self.plan.slot(&format!("bind {}", source.display()));
        let (path, copy) = (cpath(&source)?, to.clone());
        let checked = self.checked_sources.iter().find(|(of, _)| *of == source).map(|(_, slot)| slot.clone());
        let row = match checked {
            Some(rootfs) => Action::Root(RootOp::Open { path, rootfs, recursive, to: copy }),
            None if (self.input.config.hardening.hardened || mount.judged) && actor == Runtime => {
                let judged = mount.judged;
                Action::Source(SourceOp::Path { path, judged, recursive: Some(recursive), to: copy })
            }
            None => {
                Action::Source(SourceOp::Tree { source: path, at: None, recursive, device: None, to: copy })
            }
        };
        self.plan.push(actor, part::SOURCES, row);
        Ok(to)
    }

    /// In its user namespace Init cannot tell one user of the host from another: the runtime looks at the symlinks, and
    /// Init must find the same file.
    pub(super) fn check_sources(&mut self) -> Result<()> {
        let config = self.input.config;
        if self.copier() == Runtime {
            return Ok(());
        }
        let checked = |m: &&Mount| m.bind.is_some() && !m.remount && (config.hardening.hardened || m.judged);
        for mount in config.mounts.iter().filter(checked) {
            let source = self.source(mount);
            if self.checked_sources.iter().any(|(of, _)| *of == source) {
                continue;
            }
            let to = self.plan.slot(&format!("source {}", source.display()));
            let (path, judged) = (cpath(&source)?, mount.judged);
            let row = SourceOp::Path { path, judged, recursive: None, to: to.clone() };
            self.plan.push(Runtime, part::SOURCES, row);
            self.checked_sources.push((source, to));
        }
        Ok(())
    }

    fn source(&self, mount: &Mount) -> PathBuf {
        self.input.bundle.join(mount.source.as_deref().unwrap_or_default())
    }

    /// Under the OCI verbs: where in the container a source is that the config names below the rootfs. As with runc it
    /// shows the mounts that are listed before.
    fn below_rootfs(&self, mount: &Mount) -> Option<PathBuf> {
        // A new root shows the host's files only by its binds. In a user namespace Init may not idmap a mount: the
        // runtime does, before there are any others.
        let config = self.input.config;
        if config.root.empty || config.hardening.hardened || (mount.idmap.is_some() && self.in_userns()) {
            return None;
        }
        let source = self.source(mount);
        let plain = source.components().all(|c| !matches!(c, Component::ParentDir));
        source.strip_prefix(self.input.rootfs).ok().filter(|_| plain).map(Path::to_path_buf)
    }

    pub(super) fn bind(&mut self, index: usize, mount: &Mount) -> Result<()> {
        let tree = match (self.sources.iter().find(|(i, _)| *i == index), self.below_rootfs(mount)) {
            (Some((_, tree)), _) => tree.clone(),
            (None, Some(inside)) => {
                let to = self.plan.slot(&format!("bind <root>/{}", inside.display()));
                let (root, path) = (self.root.clone(), in_root(&inside)?);
                let recursive = mount.bind == Some(true);
                let row = SourceOp::Inside { root, path, recursive, to: to.clone() };
                self.plan.push(Init, part::MOUNTS, row);
                if let Some((_, mapping)) = self.mappings.iter().find(|(i, _)| *i == index) {
                    let row = idmap(mount, &to, mapping);
                    self.plan.push(Init, part::MOUNTS, row);
                }
                to
            }
            (None, None) => return Ok(()),
        };
        if self.overlay(index, mount, &tree)? {
            return Ok(());
        }
        // A copy of a shared mount is its peer: without this, mounts made inside would appear on the host.
        // Read-only at once, unlike a new file system: what is missing below it would be made in its source, on the host.
        let before = self.as_runc(mount, changes(mount, libc::MS_SLAVE));
        let is_proc = mount.destination == Path::new("/proc");
        let target = self.target(mount, if is_proc { TargetKind::Proc } else { TargetKind::AsSource })?;
        self.plan.push(Init, part::MOUNTS, MountOp::Move { tree, before, target });
        Ok(())
    }

    pub(super) fn remount(&mut self, mount: &Mount) -> Result<()> {
        let changes = changes(mount, 0);
        if changes.iter().any(|c| c.attr.attr_clr & libc::MOUNT_ATTR_RDONLY != 0) {
            // What an earlier mount there was to become is taken back.
            self.seals.retain(|(destination, _)| *destination != mount.destination);
        }
        // A bind mount's source is the host's: see `bind`.
        let at = |m: &Mount| m.destination == mount.destination && !m.remount && m.bind.is_some();
        let (changes, seal) = match self.input.config.mounts.iter().any(at) {
            true => (changes, false),
            false => self.seal_apart(changes),
        };
        let target = self.target(mount, TargetKind::AsSource)?;
        let data = match mount.bind {
            // The file system below a bind mount is not this mount's to change.
            Some(_) => Vec::new(),
            None => options(mount)?,
        };
        let keep = seal.then(|| self.plan.slot(&format!("mount {}", mount.destination.display())));
        self.plan.push(Init, part::MOUNTS, MountOp::Remount { target, data, changes, keep: keep.clone() });
        if let Some(slot) = keep {
            self.seal_later(&mount.destination, slot);
        }
        Ok(())
    }

    /// Under the OCI verbs flags that the options do not name are cleared where they name any, as mount(2) with
    /// `MS_REMOUNT` does for runc (1.3). In a user namespace the kernel refuses that for all but `nosymfollow`, and runc
    /// keeps them.
    fn as_runc(&self, mount: &Mount, mut changes: Vec<SetAttr>) -> Vec<SetAttr> {
        if self.input.config.hardening.hardened || !mount.names_flags {
            return changes;
        }
        if mount.attr_set | mount.attr_clr == 0 {
            changes.push(SetAttr { recursive: false, attr: MountAttr::default() });
        }
        // The mount's own flags come last.
        let Some(SetAttr { attr, .. }) = changes.last_mut() else { return changes };
        let named = mount.attr_set | mount.rec_attr_set;
        if self.in_userns() {
            attr.attr_clr |= libc::MOUNT_ATTR_NOSYMFOLLOW & !named;
            return changes;
        }
        attr.attr_clr |= UNNAMED & !named;
        // One option about access times stands for all of them; without one they stay.
        if attr.attr_clr & libc::MOUNT_ATTR__ATIME != 0 {
            attr.attr_clr |= libc::MOUNT_ATTR_NODIRATIME & !named;
        } else if attr.attr_set & libc::MOUNT_ATTR_NODIRATIME != 0 {
            attr.attr_clr |= libc::MOUNT_ATTR__ATIME;
        }
        changes
    }

    /// The changes without what makes the mount itself read-only, and whether that was among them: it comes last, since
    /// mounts, devices and the working directory may have to be made on it. Mounts below it become read-only at once.
    fn seal_apart(&self, changes: Vec<SetAttr>) -> (Vec<SetAttr>, bool) {
        let readonly = |c: &SetAttr| c.attr.attr_set & libc::MOUNT_ATTR_RDONLY != 0;
        // Of copies that Init makes the user namespace has locked what is read-only on the host: it cannot be taken back.
        let locked = self.copier() == Init && changes.iter().any(|c| readonly(c) && c.recursive);
        if locked || !changes.iter().any(readonly) {
            return (changes, false);
        }
        let mut now = Vec::new();
        for mut change in changes {
            if readonly(&change) && change.recursive {
                let attr = MountAttr { attr_clr: libc::MOUNT_ATTR_RDONLY, ..MountAttr::default() };
                now.extend([change, SetAttr { recursive: false, attr }]);
                continue;
            }
            change.attr.attr_set &= !libc::MOUNT_ATTR_RDONLY;
            if change.attr != MountAttr::default() {
                now.push(change);
            }
        }
        (now, true)
    }

    /// Keeps a detached tree open that the next row moves, to make it read-only later.
    pub(super) fn hold(&mut self, destination: &Path, tree: &Slot) {
        let to = self.plan.slot(&format!("mount {}", destination.display()));
        self.plan.push(Init, part::MOUNTS, SourceOp::KeepFd { tree: tree.clone(), to: to.clone() });
        self.seal_later(destination, to);
    }

    pub(super) fn seal_later(&mut self, destination: &Path, slot: Slot) {
        self.seals.push((destination.to_path_buf(), slot));
    }

    /// What is to be read-only becomes so: nothing is made on it any more.
    pub(super) fn seal(&mut self) {
        for (_, root) in std::mem::take(&mut self.seals) {
            self.plan.push(Init, part::SEAL, RootOp::Attributes { root, change: SetAttr::READONLY });
        }
    }
}

/// The row that gives a copy of a mount its own mapping.
pub(super) fn idmap(mount: &Mount, tree: &Slot, mapping: &Slot) -> Action {
    let (tree, userns) = (tree.clone(), Some(mapping.clone()));
    Action::User(UserOp::Idmap {
        tree,
        userns,
        recursive: mount.idmap == Some(true),
        propagation: 0,
        attrs: 0,
    })
}

pub(super) fn propagation(mount: &Mount) -> Vec<SetAttr> {
    mount
        .propagation
        .iter()
        .map(|p| SetAttr {
            recursive: p & libc::MS_REC != 0,
            attr: MountAttr { propagation: p & !libc::MS_REC, ..MountAttr::default() },
        })
        .collect()
}

/// The same changes to a tree of one mount, where recursion makes no difference: one call.
pub(super) fn at_once(changes: Vec<SetAttr>) -> Vec<SetAttr> {
    let merge = |a: MountAttr, b: MountAttr| MountAttr {
        attr_set: a.attr_set & !b.attr_clr | b.attr_set,
        attr_clr: a.attr_clr | b.attr_clr,
        propagation: if b.propagation == 0 { a.propagation } else { b.propagation },
        userns_fd: 0,
    };
    let attr = changes.into_iter().map(|c| c.attr).reduce(merge);
    attr.map(|attr| SetAttr { recursive: false, attr }).into_iter().collect()
}

/// The mount_setattr(2) calls for a mount's options; `default` is the propagation where the config names none.
pub(super) fn changes(mount: &Mount, default: u64) -> Vec<SetAttr> {
    let mut out = propagation(mount);
    if out.is_empty() && default != 0 {
        let attr = MountAttr { propagation: default, ..MountAttr::default() };
        out.push(SetAttr { recursive: true, attr });
    }
    if mount.rec_attr_set | mount.rec_attr_clr != 0 {
        let attr =
            MountAttr { attr_set: mount.rec_attr_set, attr_clr: mount.rec_attr_clr, ..MountAttr::default() };
        out.push(SetAttr { recursive: true, attr });
    }
    if mount.attr_set | mount.attr_clr != 0 {
        let attr = MountAttr { attr_set: mount.attr_set, attr_clr: mount.attr_clr, ..MountAttr::default() };
        out.push(SetAttr { recursive: false, attr });
    }
    out
}

/// The options that are the file system's own.
pub(super) fn options(mount: &Mount) -> Result<Vec<(CString, Option<CString>)>> {
    let lower = |(key, value): &(String, Option<String>)| {
        let value = value.as_deref().map(|v| cstring(key, v)).transpose()?;
        Ok((cstring("option", key)?, value))
    };
    mount.data.iter().map(lower).collect()
}
