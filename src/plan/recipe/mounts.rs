//! The container's mounts, in the config's order, and its devices.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::config::idmap;
use crate::config::{ConfigError, CopyUp, Mount};
use crate::error::Result;
use crate::plan::lower::in_root;
use crate::plan::ops::{DeviceOp, FileOp, MountOp, OwnFile, RootOp, SetAttr, Target, TargetKind};
use crate::plan::recipe::binds::{at_once, changes, options, propagation};
use crate::plan::recipe::{Builder, part};
use crate::plan::{Actor::Init, Actor::Runtime, Slot};
use crate::sys::cstr::{cpath, cstring};
use crate::sys::mount::MountAttr;
use crate::tables::namespaces::NsKind;
use crate::tables::procfs::EMULATED;

impl Builder<'_> {
    /// Every entry of `mounts`.
    pub(super) fn mounts(&mut self) -> Result<()> {
        if self.input.config.mount_label.is_some() && !self.input.host.selinux.get() {
            let message = "SELinux is not active on this host";
            return Err(ConfigError::new("/linux/mountLabel", message).into());
        }
        for (path, to) in &self.input.config.links {
            let (path, to) = (in_root(path)?, cstring("symlink", to.as_os_str())?);
            self.plan.push(Init, part::MOUNTS, DeviceOp::Symlink { root: self.root.clone(), path, to });
        }
        for i in 0..self.input.config.mounts.len() {
            let mount = &self.input.config.mounts[i];
            if mount.remount {
                self.remount(mount)?;
                continue;
            }
            check_proc(i, mount)?;
            if mount.bind.is_some() {
                self.bind(i, mount)?;
            } else if mount.fs_type.as_deref() == Some("cgroup") {
                self.cgroup_mount(mount)?;
            } else {
                self.check_mount_ids(i, mount)?;
                self.new_fs(mount)?;
            }
        }
        Ok(())
    }

    /// Missing mount targets are made by the container's root, who owns them then, as with runc. Where the rootfs
    /// belongs to ids that the user namespace does not have, the container's root cannot: the runtime makes them.
    pub(super) fn targets_for_the_owner(&mut self) -> Result<()> {
        if self.inner_root_may_write() {
            return Ok(());
        }
        let mut covered: Vec<&Path> = Vec::new();
        for mount in &self.input.config.mounts {
            let destination = mount.destination.as_path();
            if covered.iter().any(|c| destination.starts_with(c)) || mount.remount {
                continue;
            }
            covered.push(destination);
            let file = mount.bind.is_some()
                && mount.source.as_deref().is_some_and(|s| self.input.bundle.join(s).is_file());
            let kind = if file { TargetKind::File } else { TargetKind::Dir };
            let target = Target { root: self.slots.rootfs.clone(), path: in_root(destination)?, kind };
            self.plan.push(Runtime, part::SOURCES, FileOp::MakeTarget { target });
        }
        Ok(())
    }

    /// Whether Init may make files in the rootfs: it keeps the caller's ids, or the rootfs's owner has an id inside.
    fn inner_root_may_write(&self) -> bool {
        let config = self.input.config;
        if config.namespace(NsKind::User).is_none() || config.hardening.idmap_root || config.root.empty {
            return true;
        }
        let (uid, gid) = self.input.rootfs_owner;
        // Of a joined namespace whose mappings are unknown the best guess is that the rootfs was made for it.
        self.input.user_maps.is_none_or(|maps| idmap::has(&maps.uids, uid) && idmap::has(&maps.gids, gid))
    }

    /// The runtime's own files, over those of the rootfs.
    pub(super) fn files(&mut self) -> Result<()> {
        let wanted = &self.input.config.files;
        if wanted.is_empty() {
            return Ok(());
        }
        let (mut files, mut shown) = (Vec::new(), Vec::new());
        for file in wanted {
            let path = in_root(&file.path)?;
            let to = self.plan.slot(&format!("file {}", file.path.display()));
            files.push(OwnFile {
                name: cstring("file", path.to_string_lossy().replace('/', "!"))?,
                content: std::rc::Rc::new(file.content.clone()),
                from: self.resolv.clone().filter(|_| file.path == Path::new(crate::network::RESOLV)),
                to: to.clone(),
            });
            shown.push(FileOp::Replace { root: self.root.clone(), path, tree: to });
        }
        let size = cstring("size", format!("{}m", 2 * files.len()))?;
        let mut data = vec![(c"size".into(), Some(size)), (c"mode".into(), Some(c"0755".into()))];
        if let Some(label) = self.input.config.mount_label.as_deref() {
            data.push((c"context".into(), Some(cstring("/linux/mountLabel", label)?)));
        }
        let masks = !self.input.config.masked_paths.is_empty();
        self.empty = masks.then(|| self.plan.slot("empty"));
        let own = FileOp::Own { root: self.root.clone(), data, files, empty: self.empty.clone() };
        self.plan.push(Init, part::MOUNTS, own);
        shown.into_iter().for_each(|row| self.plan.push(Init, part::MOUNTS, row));
        Ok(())
    }

    pub(super) fn target(&self, mount: &Mount, kind: TargetKind) -> Result<Target> {
        Ok(Target { root: self.root.clone(), path: in_root(&mount.destination)?, kind })
    }

    /// Where a file system is mounted. Right below a /dev that the plan has mounted, its directory is new.
    fn fs_target(&self, mount: &Mount) -> Result<Target> {
        let name = mount.destination.strip_prefix("/dev").ok().filter(|name| name.components().count() == 1);
        match (name, &self.dev) {
            (Some(name), Some(dev)) => {
                Ok(Target { root: dev.clone(), path: cpath(name)?, kind: TargetKind::NewDir })
            }
            _ => self.target(mount, TargetKind::Dir),
        }
    }

    fn new_fs(&mut self, mount: &Mount) -> Result<()> {
        let fs = mount.fs_type.as_deref().unwrap_or("none");
        let name = mount.destination.to_string_lossy();
        let is_dev = name == "/dev";
        let secrets = name == crate::config::secrets::DIRECTORY && !self.input.config.secrets.is_empty();
        let keep = match (fs, &*name) {
            _ if secrets => Some(self.plan.slot("secrets")),
            _ if mount.copy_up != CopyUp::No => None,
            ("proc", "/proc") => Some(self.plan.slot("proc")),
            ("devpts", _) => Some(self.plan.slot("devpts")),
            (_, "/dev") => Some(self.plan.slot("dev")),
            _ => None,
        };
        let mut data = fs_data(mount)?;
        if let Some(label) = self.input.config.mount_label.as_deref().filter(|_| !OWN_LABELS.contains(&fs)) {
            data.push((c"context".into(), Some(cstring("/linux/mountLabel", label)?)));
        }
        if fs == "tmpfs" && self.in_userns() {
            data.retain(|(k, _)| k.to_bytes() != b"huge");
        }
        let mut attrs = mount.attr_set | mount.rec_attr_set;
        let after = propagation(mount);
        if mount.copy_up != CopyUp::No {
            return self.copied_up(mount, data, attrs);
        }
        let mut keep = keep;
        if attrs & libc::MOUNT_ATTR_RDONLY != 0 && !OF_THE_KERNEL.contains(&fs) {
            attrs &= !libc::MOUNT_ATTR_RDONLY;
            let slot = keep.get_or_insert_with(|| self.plan.slot(&format!("{fs} {name}"))).clone();
            self.seal_later(&mount.destination, slot);
        }
        let row = MountOp::New {
            fs: cstring("type", fs)?,
            data,
            attrs,
            after,
            target: Some(self.fs_target(mount)?),
            keep: keep.clone(),
        };
        self.plan.push(Init, part::MOUNTS, row);
        match (fs, keep) {
            ("proc", Some(slot)) => self.proc = Some(slot),
            ("devpts", Some(slot)) if name == "/dev/pts" => self.devpts = Some(slot),
            (_, Some(slot)) if is_dev => self.dev = Some(slot),
            (_, Some(slot)) if secrets => self.secrets = Some(slot),
            _ => {}
        }
        Ok(())
    }

    /// A tmpfs that is filled before it is mounted, and made read-only only then.
    fn copied_up(&mut self, mount: &Mount, data: Vec<(CString, Option<CString>)>, attrs: u64) -> Result<()> {
        let tree = self.plan.slot(&format!("tmpfs {}", mount.destination.display()));
        let mode = data.iter().all(|(key, _)| key.to_bytes() != b"mode");
        let row = MountOp::New {
            fs: c"tmpfs".into(),
            data,
            attrs: attrs & !libc::MOUNT_ATTR_RDONLY,
            after: Vec::new(),
            target: None,
            keep: Some(tree.clone()),
        };
        self.plan.push(Init, part::MOUNTS, row);
        let (root, path) = (self.root.clone(), in_root(&mount.destination)?);
        let strict = mount.copy_up == CopyUp::All;
        self.plan.push(Init, part::MOUNTS, FileOp::CopyUp { root, path, tree: tree.clone(), mode, strict });
        let before = propagation(mount);
        if attrs & libc::MOUNT_ATTR_RDONLY != 0 {
            self.hold(&mount.destination, &tree);
        }
        let target = self.target(mount, TargetKind::Dir)?;
        self.plan.push(Init, part::MOUNTS, MountOp::Move { tree, before, target });
        Ok(())
    }

    /// The container's own cgroups: the namespace's view on v2, bind mounts of its groups otherwise.
    fn cgroup_mount(&mut self, mount: &Mount) -> Result<()> {
        let target = self.target(mount, TargetKind::Dir)?;
        let sources = self.cgroup_sources.pop_front().unwrap_or_default();
        if sources.is_empty() {
            if !self.input.host.cgroups.is_v2() || !self.input.config.is_new(NsKind::Cgroup) {
                // Without groups an empty directory is shown: what the host has there must not be seen
                // through a bind of /sys (CVE-2023-25809).
                return self.cgroup_v1_mounts(mount, target, sources);
            }
            let row = MountOp::New {
                fs: c"cgroup2".into(),
                data: Vec::new(),
                attrs: mount.attr_set,
                after: Vec::new(),
                target: Some(target),
                keep: None,
            };
            self.plan.push(Init, part::MOUNTS, row);
            return Ok(());
        }
        if self.input.host.cgroups.is_v2() {
            for (_, tree) in sources {
                let before = at_once(changes(mount, libc::MS_PRIVATE));
                let row = MountOp::Move { tree, before, target: target.clone() };
                self.plan.push(Init, part::MOUNTS, row);
            }
            return Ok(());
        }
        self.cgroup_v1_mounts(mount, target, sources)
    }

    fn cgroup_v1_mounts(
        &mut self,
        mount: &Mount,
        target: Target,
        sources: Vec<(String, Slot)>,
    ) -> Result<()> {
        let tmpfs = self.plan.slot("cgroups");
        let row = MountOp::New {
            fs: c"tmpfs".into(),
            data: vec![(c"mode".into(), Some(c"0755".into())), (c"size".into(), Some(c"64k".into()))],
            attrs: mount.attr_set & !libc::MOUNT_ATTR_RDONLY,
            after: Vec::new(),
            target: Some(target),
            keep: Some(tmpfs.clone()),
        };
        self.plan.push(Init, part::MOUNTS, row);
        let bound = !sources.is_empty();
        for (name, tree) in sources {
            let target =
                Target { root: tmpfs.clone(), path: cstring("cgroup", &name)?, kind: TargetKind::NewDir };
            self.plan.push(Init, part::MOUNTS, MountOp::Move { tree, before: Vec::new(), target });
            if name.contains(',') {
                for one in name.split(',') {
                    let link = DeviceOp::Symlink {
                        root: tmpfs.clone(),
                        path: cstring("cgroup", one)?,
                        to: cstring("cgroup", &name)?,
                    };
                    self.plan.push(Init, part::MOUNTS, link);
                }
            }
        }
        if bound {
            self.bind_options(mount, &tmpfs);
        }
        if mount.attr_set & libc::MOUNT_ATTR_RDONLY != 0 {
            self.seal_later(&mount.destination, tmpfs);
        }
        Ok(())
    }

    /// The options of all bind mounts on `tmpfs` by one call. The tmpfs stays writable until all mounts are made.
    fn bind_options(&mut self, mount: &Mount, tmpfs: &Slot) {
        let mut push = |change| {
            let root = tmpfs.clone();
            self.plan.push(Init, part::MOUNTS, RootOp::Attributes { root, change });
        };
        for SetAttr { attr, .. } in at_once(changes(mount, libc::MS_PRIVATE)) {
            push(SetAttr { recursive: true, attr });
            if attr.attr_set & libc::MOUNT_ATTR_RDONLY != 0 {
                let attr = MountAttr { attr_clr: libc::MOUNT_ATTR_RDONLY, ..MountAttr::default() };
                push(SetAttr { recursive: false, attr });
            }
        }
    }
}

/// File systems in which nothing can be made but by the kernel: what lies on them is there or is not.
const OF_THE_KERNEL: [&str; 5] = ["proc", "sysfs", "devpts", "cgroup", "cgroup2"];

/// File systems that SELinux labels by itself, whatever the mount says.
const OWN_LABELS: [&str; 5] = ["proc", "sysfs", "mqueue", "cgroup", "cgroup2"];

/// Programs trust /proc (runc CVE-2019-16884), so only these mounts are allowed there; the message is runc's. Init checks where links lead.
fn check_proc(index: usize, mount: &Mount) -> std::result::Result<(), ConfigError> {
    let kernel = mount.bind.is_none() && matches!(mount.fs_type.as_deref(), Some("proc" | "sysfs"));
    let Ok(inside) = mount.destination.strip_prefix("/proc") else { return Ok(()) };
    let refuse = |key: &str, why: &str| {
        let text = format!("{:?} cannot be mounted because it is {why}", mount.destination);
        Err(ConfigError::new(format!("/mounts/{index}/{key}"), text))
    };
    if inside.as_os_str().is_empty() {
        let other = mount.bind.is_none() && mount.fs_type.as_deref() != Some("proc");
        return if other { refuse("type", "not of type proc") } else { Ok(()) };
    }
    let below = mount.destination.strip_prefix("/").unwrap_or(inside).as_os_str().as_bytes();
    if kernel || EMULATED.iter().any(|path| path.to_bytes() == below) {
        return Ok(());
    }
    refuse("destination", "inside /proc")
}

/// What fsconfig takes: the source's name, then the options.
fn fs_data(mount: &Mount) -> Result<Vec<(CString, Option<CString>)>> {
    let mut data = Vec::with_capacity(mount.data.len() + 1);
    // The name shown in mountinfo; file systems that read it (overlay does not) want it too.
    if let Some(source) = mount.source.as_deref().filter(|s| !s.is_empty()) {
        data.push((c"source".into(), Some(cstring("source", source)?)));
    }
    data.extend(options(mount)?);
    Ok(data)
}
