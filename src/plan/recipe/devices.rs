//! /dev: the device nodes, the links, and the covers of masked paths.
//!
//! With inotify(7) on the inode, every process that watches one of the host's nodes sees each access. So the container's
//! nodes are its own. Init makes them where it may (mknod(2)). In a user namespace it may not, and a tmpfs
//! that is mounted there has no working nodes: there the runtime makes them before the clone, on a tmpfs of the
//! initial user namespace, and Init mounts each from there. An ordinary user can do neither: the host's are shown.

use std::ffi::CString;
use std::path::Path;

use crate::cgroup::devices::{self, may_mknod};
use crate::config::Mount;
use crate::config::idmap;
use crate::error::Result;
use crate::plan::ops::{
    DevFile, DeviceNode, DeviceOp, FileOp, MaskOp, MountOp, SetAttr, SourceOp, Target, TargetKind,
};
use crate::plan::recipe::{Builder, part};
use crate::plan::{Actor::Init, Actor::Runtime, Slot};
use crate::sys::cstr::{cpath, cstring};
use crate::sys::mount::MountAttr;

/// The devices that config-linux.md promises ("Default Devices"): (name, major, minor).
pub const DEFAULT_DEVICES: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

/// Names in /dev that lead elsewhere (config-linux.md, "Dev symbolic links").
pub const DEVICE_LINKS: [(&str, &str); 4] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
];

/// As with runc, where this kernel has it; most configs mask it.
const CORE: (&str, &str) = ("core", "/proc/kcore");

/// What opens a new terminal: the way to the container's own devpts.
const PTMX: (&str, &str) = ("ptmx", "pts/ptmx");

/// What covers masked files, on the tmpfs of nodes.
const NULL: (&str, u32, u32) = DEFAULT_DEVICES[0];

/// A device that the container gets.
struct WantedDevice {
    /// Below /dev; else the path is from the root.
    in_dev: bool,
    path: String,
    /// `b`, `c` or `p`.
    kind: char,
    number: (u32, u32),
    mode: u32,
    /// As ids of the container.
    owner: (u32, u32),
}

impl WantedDevice {
    /// Its name on the tmpfs of nodes.
    fn name(&self) -> Result<CString> {
        Ok(cstring("device", self.path.replace('/', "!"))?)
    }

    fn format(&self) -> u32 {
        match self.kind {
            'b' => libc::S_IFBLK,
            'p' => libc::S_IFIFO,
            _ => libc::S_IFCHR,
        }
    }
}

impl Builder<'_> {
    /// The default devices and the config's; none where /dev is a bind of the caller's.
    fn wanted(&self) -> Vec<WantedDevice> {
        let config = self.input.config;
        if config.mounts.iter().any(|m| m.destination == Path::new("/dev") && m.bind.is_some()) {
            return Vec::new();
        }
        // The config's own entry says more: a mode, an owner.
        let listed = |name: &str| config.devices.iter().any(|d| d.path == Path::new("/dev").join(name));
        let hidden = |name: &str| name == "tty" && self.input.config.hardening.no_tty;
        let defaults = DEFAULT_DEVICES.iter().filter(|(name, ..)| !listed(name) && !hidden(name));
        let defaults = defaults.map(|(name, major, minor)| WantedDevice {
            in_dev: true,
            path: (*name).into(),
            kind: 'c',
            number: (*major, *minor),
            mode: 0o666,
            owner: (0, 0),
        });
        // As with runc, its name is a link in any case.
        let ptmx = Path::new("/dev").join(PTMX.0);
        let own = config.devices.iter().filter(|d| d.path != ptmx).map(|d| {
            let in_dev = d.path.strip_prefix("/dev").ok();
            WantedDevice {
                in_dev: in_dev.is_some(),
                path: in_dev.unwrap_or(&d.path).to_string_lossy().into_owned(),
                kind: d.kind,
                number: (d.major, d.minor),
                mode: d.mode,
                owner: (d.uid, d.gid),
            }
        });
        defaults.chain(own).collect()
    }

    /// Those that are mounts, because Init cannot make them where they are to be, or they would not work there.
    fn mounted(&self, wanted: &[WantedDevice]) -> Vec<bool> {
        let rules = devices::rules(&self.input.config.resources);
        let no_devices = self.input.config.hardening.root_attrs & libc::MOUNT_ATTR_NODEV != 0;
        let mounted = |w: &WantedDevice| {
            w.kind != 'p'
                && (self.in_userns() || !may_mknod(&rules, w.kind, w.number) || (!w.in_dev && no_devices))
        };
        wanted.iter().map(mounted).collect()
    }

    /// Whether nodes can be made at all, be it outside the container.
    pub(super) fn makes_nodes(&self) -> bool {
        self.input.host.rootless.is_none()
    }

    /// Whether the container's own /dev/null can be taken to cover masked files: Init makes it on a tmpfs of its own.
    fn own_null(&self) -> bool {
        let config = self.input.config;
        let at_dev = |m: &&Mount| m.destination == Path::new("/dev") && !m.remount;
        let mut mounts = config.mounts.iter().filter(at_dev);
        let tmpfs = mounts.next().is_some_and(|m| m.bind.is_none() && m.fs_type.as_deref() == Some("tmpfs"));
        let rules = devices::rules(&config.resources);
        let listed = config.devices.iter().any(|d| d.path == Path::new("/dev/null"));
        tmpfs
            && mounts.next().is_none()
            && !self.in_userns()
            && !listed
            && may_mknod(&rules, 'c', (NULL.1, NULL.2))
    }

    /// The nodes that Init mounts, made by the runtime before the clone.
    pub(super) fn nodes(&mut self) -> Result<()> {
        if !self.makes_nodes() {
            return Ok(());
        }
        let wanted = self.wanted();
        let mounted = self.mounted(&wanted);
        let mut nodes: Vec<DevFile> = Vec::new();
        for (w, _) in wanted.iter().zip(&mounted).filter(|(_, mounted)| **mounted) {
            let name = w.name()?;
            // As with runc, of two entries with one path the first counts.
            if nodes.iter().all(|node| node.name != name) {
                let dev = libc::makedev(w.number.0, w.number.1);
                let (uid, gid) = self.outside_ids(w.owner);
                nodes.push(DevFile { name, mode: w.format() | w.mode, dev, uid, gid });
            }
        }
        let null = cstring("device", NULL.0)?;
        if self.covers() && !self.own_null() && nodes.iter().all(|node| node.name != null) {
            let dev = libc::makedev(NULL.1, NULL.2);
            let (uid, gid) = self.outside_ids((0, 0));
            nodes.push(DevFile { name: null, mode: libc::S_IFCHR | 0o666, dev, uid, gid });
        }
        if !nodes.is_empty() {
            let to = self.plan.slot("nodes");
            self.plan.push(Runtime, part::SOURCES, DeviceOp::Nodes { nodes, to: to.clone() });
            self.nodes = Some(to);
        }
        Ok(())
    }

    /// Whether files are masked.
    fn covers(&self) -> bool {
        !self.input.config.masked_paths.is_empty()
    }

    /// The owner of a node as the runtime sees it; the host's root for an id that the container does not have.
    fn outside_ids(&self, (uid, gid): (u32, u32)) -> (u32, u32) {
        if !self.in_userns() {
            return (uid, gid);
        }
        let outside = |maps, id| idmap::to_host(maps, id).unwrap_or(0);
        self.input.user_maps.map_or((0, 0), |maps| (outside(&maps.uids, uid), outside(&maps.gids, gid)))
    }

    /// The devices, and the links of /dev.
    pub(super) fn devices(&mut self) -> Result<()> {
        let bound =
            self.input.config.mounts.iter().any(|m| m.destination == Path::new("/dev") && m.bind.is_some());
        if bound {
            return Ok(());
        }
        let dev = self.dev_dir();
        let wanted = self.wanted();
        let mounted = self.mounted(&wanted);
        let own = self.nodes.is_some();
        let trees = self.node_trees(&wanted, &mounted)?;
        for (w, tree) in wanted.iter().zip(trees) {
            let root = if w.in_dev { dev.clone() } else { self.root.clone() };
            match tree {
                Some(tree) => self.mounted_device(root, w, tree, own)?,
                None => self.made_device(root, w)?,
            }
        }
        let core = self.input.host.kcore.get().then_some(CORE);
        for (name, to) in DEVICE_LINKS.into_iter().chain(core) {
            let link = DeviceOp::Symlink {
                root: dev.clone(),
                path: cstring("link", name)?,
                to: cstring("link", to)?,
            };
            self.plan.push(Init, part::DEV, link);
        }
        // runc replaces an existing /dev/ptmx; other existing symlinks of the rootfs stay.
        let (path, to) = (cstring("link", PTMX.0)?, cstring("link", PTMX.1)?);
        self.plan.push(Init, part::DEV, DeviceOp::Relink { root: dev, path, to });
        Ok(())
    }

    /// A detached mount of each node that is one.
    fn node_trees(&mut self, wanted: &[WantedDevice], mounted: &[bool]) -> Result<Vec<Option<Slot>>> {
        let mut slots = Vec::with_capacity(wanted.len());
        let mut trees = Vec::new();
        for (w, mounted) in wanted.iter().zip(mounted) {
            if !*mounted {
                slots.push(None);
                continue;
            }
            let tree = self.plan.slot(&w.path);
            if self.nodes.is_some() {
                trees.push((w.name()?, tree.clone()));
            } else {
                let (major, minor) = w.number;
                let device = Some(DeviceNode { block: w.kind == 'b', major, minor });
                // On the host it is where it is to be inside.
                let above = if w.in_dev { "/dev" } else { "/" };
                let source = cpath(&Path::new(above).join(w.path.trim_start_matches('/')))?;
                let open = SourceOp::Tree { source, at: None, recursive: false, device, to: tree.clone() };
                self.plan.push(Init, part::DEV, open);
            }
            slots.push(Some(tree));
        }
        if !trees.is_empty() {
            if self.covers() && !self.own_null() {
                let null = self.plan.slot("null");
                trees.push((cstring("device", NULL.0)?, null.clone()));
                self.null = Some(null);
            }
            self.open_nodes(part::DEV, trees);
        }
        Ok(slots)
    }

    fn open_nodes(&mut self, part: &'static str, trees: Vec<(CString, Slot)>) {
        if let Some(nodes) = self.nodes.take() {
            let row = DeviceOp::NodeTrees { nodes, root: self.root.clone(), trees };
            self.plan.push(Init, part, row);
        }
    }

    fn mounted_device(&mut self, root: Slot, w: &WantedDevice, tree: Slot, own: bool) -> Result<()> {
        let path = cstring("device", w.path.trim_start_matches('/'))?;
        let kind = if path.to_bytes().contains(&b'/') { TargetKind::File } else { TargetKind::NewFile };
        let target = Target { root, path, kind };
        // No process inside can change the node's mode or owner; the device stays writable.
        let attr_set = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NOEXEC;
        let attr = MountAttr { attr_set, ..MountAttr::default() };
        // The mount of the own nodes has these flags, and a copy has them too.
        let before = if own { Vec::new() } else { vec![SetAttr { recursive: false, attr }] };
        self.plan.push(Init, part::DEV, MountOp::Move { tree, before, target });
        Ok(())
    }

    fn made_device(&mut self, root: Slot, w: &WantedDevice) -> Result<()> {
        let path = w.path.trim_start_matches('/');
        let parent = path.rsplit_once('/').map(|(p, _)| cstring("device", p)).transpose()?;
        let node = DeviceOp::Node {
            root,
            path: cstring("device", path)?,
            parent,
            mode: w.format() | w.mode,
            dev: if w.kind == 'p' { 0 } else { libc::makedev(w.number.0, w.number.1) },
            uid: w.owner.0,
            gid: w.owner.1,
        };
        self.plan.push(Init, part::DEV, node);
        Ok(())
    }

    /// The directory for device nodes: the mount at /dev, or the rootfs's own.
    fn dev_dir(&mut self) -> Slot {
        if let Some(dev) = &self.dev {
            return dev.clone();
        }
        let dev = self.plan.slot("dev");
        self.plan.push(
            Init,
            part::DEV,
            FileOp::OpenDir { root: self.root.clone(), path: c"dev".into(), to: dev.clone() },
        );
        self.dev = Some(dev.clone());
        dev
    }

    /// What covers masked files: a /dev/null of the container's own, or an empty file where none can be made.
    pub(super) fn null_device(&mut self) -> Result<Slot> {
        if let Some(null) = &self.null {
            return Ok(null.clone());
        }
        let to = self.plan.slot("null");
        if let Some(dev) = self.dev.clone().filter(|_| self.own_null()) {
            self.plan.push(Init, part::MASKS, MaskOp::OpenNull { dev, to: to.clone() });
        } else {
            let name = cstring("device", NULL.0)?;
            if self.nodes.is_none() {
                let nodes = self.plan.slot("empty file");
                let file =
                    DevFile { name: name.clone(), mode: libc::S_IFREG | 0o444, dev: 0, uid: 0, gid: 0 };
                let row = DeviceOp::Nodes { nodes: vec![file], to: nodes.clone() };
                self.plan.push(Init, part::MASKS, row);
                self.nodes = Some(nodes);
            }
            self.open_nodes(part::MASKS, vec![(name, to.clone())]);
        }
        self.null = Some(to.clone());
        Ok(to)
    }
}
