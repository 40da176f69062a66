//! The runtime's rows: state, cgroups, sources, and what only the outside may do.

use std::rc::Rc;

use crate::config::hooks::HookKind;
use crate::config::idmap::map_text;
use crate::error::Result;
use crate::plan::ops::{
    Action, CgroupOp, DeviceOp, ExecOp, LimitOp, NetOp, NsOp, RootOp, SetAttr, SourceOp, StateOp, UserOp,
};
use crate::plan::recipe::{Builder, cjoin, part, shows_cgroups, state_undo, text};
use crate::plan::{Actor, Actor::Runtime, Slot, Undo};
use crate::state::files;
use crate::sys::cstr::{cpath, cstring};
use crate::sys::mount::MountAttr;
use crate::tables::namespaces::NsKind;

impl Builder<'_> {
    /// The state directory, and in it what undoes everything below.
    pub(super) fn state(&mut self) -> Result<()> {
        let dir = self.input.state_dir;
        let path = cpath(dir)?;
        crate::plan::recipe::take_name(&mut self.plan, dir, self.input.state.launcher)?;
        if let Some(ids) = self.input.ids {
            let value = text(dir).into_bytes();
            let row = StateOp::RecordIds { path: cpath(ids)?, value };
            self.plan.push_undo(Runtime, part::STATE, row, Undo::Ids(text(ids)));
        }
        let file = StateOp::File {
            dir: path,
            name: cstring("state", files::STATE)?,
            // `finish` fills it in: it holds the undos of the rows below.
            bytes: Rc::default(),
        };
        self.plan.push(Runtime, part::STATE, file);
        if self.input.options.notify {
            let path = cjoin(dir, crate::state::files::NOTIFY_DIR)?;
            self.plan.push_undo(
                Runtime,
                part::STATE,
                StateOp::NotifyDir { path: path.clone() },
                state_undo(dir),
            );
            // `start` opens a new socket, because `create` has exited by then.
            if !self.input.options.wait_for_start {
                let listen = StateOp::NotifySocket { dir: path, to: self.slots.notify.clone() };
                self.plan.push_undo(Runtime, part::STATE, listen, state_undo(dir));
            }
        }
        Ok(())
    }

    /// The container's cgroups and their limits.
    pub(super) fn cgroups(&mut self) -> Result<()> {
        if self.input.cgroups.scope.is_some() {
            // systemd makes them, around a process.
            return Ok(());
        }
        for cgroup in &self.input.cgroups.cgroups {
            // Controllers are enabled in the ancestors first: only then the new cgroup has their files.
            for (file, value) in &cgroup.enable {
                if !cgroup.missing.iter().any(|m| file.starts_with(m)) {
                    self.cgroup_enable(file, value)?;
                }
            }
            for parent in &cgroup.missing {
                self.plan.push(Runtime, part::CGROUP, CgroupOp::Parent { path: cpath(parent)? });
                for (file, value) in cgroup.enable.iter().filter(|(f, _)| f.parent() == Some(parent)) {
                    self.cgroup_enable(file, value)?;
                }
            }
            let record = cjoin(self.input.state_dir, files::CGROUPS)?;
            let path = cpath(&cgroup.path)?;
            if cgroup.exists {
                let to = self.plan.slot("joinable");
                let undo = Undo::Members(text(&cgroup.path));
                let row = CgroupOp::Joinable { path, record, to };
                self.plan.push_undo(Runtime, part::CGROUP, row, undo);
            } else {
                let dir = CgroupOp::Dir { path, record };
                self.plan.push_undo(Runtime, part::CGROUP, dir, Undo::Cgroup(text(&cgroup.path)));
            }
            self.cgroup_writes(cgroup, part::CGROUP)?;
            // A pre-existing cgroup keeps its owner.
            if !cgroup.exists {
                self.cgroup_owner(cgroup, part::CGROUP)?;
            }
        }
        Ok(())
    }

    fn cgroup_writes(&mut self, cgroup: &crate::cgroup::Cgroup, part: &'static str) -> Result<()> {
        for (file, value) in &cgroup.writes {
            let other = crate::cgroup::limits::instead(file, value);
            let (path, value) = (cjoin(&cgroup.path, file)?, value.clone().into_bytes());
            let write = match other {
                Some((file, other)) => {
                    let other = (cjoin(&cgroup.path, file)?, other.into_bytes());
                    Action::Cgroup(CgroupOp::WriteEither { path, value, other })
                }
                None => Action::Cgroup(CgroupOp::Write { path, value }),
            };
            self.plan.push(Runtime, part, write);
        }
        Ok(())
    }

    /// The class of service: its shares are there before the first process.
    pub(super) fn resctrl(&mut self) -> Result<()> {
        let Some(class) = self.input.resctrl else { return Ok(()) };
        let monitor = class.monitor.iter().map(|dir| (dir, Some(Undo::Cgroup(text(dir)))));
        for (dir, undo) in std::iter::once((&class.dir, class_undo(class))).chain(monitor) {
            if let Some(undo) = undo {
                let record = cjoin(self.input.state_dir, files::CGROUPS)?;
                let row = CgroupOp::Dir { path: cpath(dir)?, record };
                self.plan.push_undo(Runtime, part::CGROUP, row, undo);
            }
            for lines in class.schemata.iter().filter(|_| *dir == class.dir) {
                let value = lines.clone().into_bytes();
                let row = CgroupOp::Write { path: cjoin(dir, "schemata")?, value };
                self.plan.push(Runtime, part::CGROUP, row);
            }
        }
        Ok(())
    }

    fn cgroup_enable(&mut self, file: &std::path::Path, value: &str) -> Result<()> {
        let enable = CgroupOp::Enable { path: cpath(file)?, value: value.as_bytes().to_vec() };
        self.plan.push(Runtime, part::CGROUP, enable);
        Ok(())
    }

    /// A detached copy of the rootfs.
    pub(super) fn rootfs(&mut self) -> Result<()> {
        if self.input.config.root.empty {
            // Init makes it, in the container's user namespace.
            return Ok(());
        }
        let actor = self.copier();
        let open = if actor == Runtime {
            Action::Source(SourceOp::Tree {
                source: cstring("rootfs", "")?,
                at: Some(self.slots.rootfs.clone()),
                recursive: !self.input.config.hardening.root_alone,
                device: None,
                to: self.root.clone(),
            })
        } else {
            self.open_root()?
        };
        self.plan.push(actor, part::SOURCES, open);
        if !self.input.config.hardening.idmap_root {
            let (propagation, attr_set) = (self.root_propagation(), self.input.config.hardening.root_attrs);
            let attr = MountAttr { propagation, attr_set, ..MountAttr::default() };
            let cut =
                RootOp::Attributes { root: self.root.clone(), change: SetAttr { recursive: true, attr } };
            self.plan.push(actor, part::SOURCES, cut);
        }
        Ok(())
    }

    /// How likely the kernel picks the container's processes when memory runs out; inherited over clone(2).
    pub(super) fn oom_score(&mut self) -> Result<()> {
        if let Some(value) = self.process()?.oom_score_adj.filter(|_| !self.scored) {
            self.plan.push(Runtime, part::OUTSIDE, LimitOp::OomScoreAdj { value });
            self.scored = true;
        }
        Ok(())
    }

    /// How the copy of the rootfs is cut off from the host's mounts, of which it is a peer at first. A slave sends
    /// nothing either, and receives what the host mounts there later.
    fn root_propagation(&self) -> u64 {
        let slave = self.input.config.rootfs_propagation.is_some_and(|flags| flags & libc::MS_SLAVE != 0);
        if slave { libc::MS_SLAVE } else { libc::MS_PRIVATE }
    }

    /// cgroup v1, or no cgroup namespace: the container's own cgroups are shown by bind mounts.
    pub(super) fn cgroup_sources(&mut self, actor: Actor) -> Result<()> {
        if !shows_cgroups(self.input.config, self.input.host.cgroups.is_v2()) {
            return Ok(());
        }
        // A copy can be moved once only: each mount of this type has its own.
        let shown = |m: &crate::config::Mount| m.fs_type.as_deref() == Some("cgroup");
        for _ in self.input.config.mounts.iter().filter(|m| shown(m)) {
            let mut trees = Vec::new();
            // As with runc, the v2 tree of a hybrid host is not shown: a systemd inside would take it for its own.
            let v2 = self.input.host.cgroups.is_v2();
            for cgroup in self.input.cgroups.cgroups.iter().filter(|g| v2 || !g.controllers.is_empty()) {
                let name = crate::cgroup::bind_name(&cgroup.controllers);
                let to = self.plan.slot(&format!("cgroup {name}"));
                let source = cpath(&cgroup.path)?;
                let open =
                    SourceOp::Tree { source, at: None, recursive: false, device: None, to: to.clone() };
                self.plan.push(actor, part::SOURCES, open);
                trees.push((name, to));
            }
            self.cgroup_sources.push_back(trees);
        }
        Ok(())
    }

    /// cgroup v2: the cgroup's descriptor for `CLONE_INTO_CGROUP`, with the device filter attached.
    ///
    /// None for a pre-existing cgroup: if its `cgroup.kill` was written to before, the kernel kills the child
    /// (it compares the cgroup's count of kills with that of the parent's cgroup;
    /// seen with Linux 6.1.17x), so the child is moved there while it waits, as on v1.
    pub(super) fn cgroup_slot(&mut self) -> Result<Option<Slot>> {
        // On a hybrid host the v2 tree, which has no controllers there, is entered in the same way.
        let on_v2 = |g: &&crate::cgroup::Cgroup| g.v2 || (g.controllers.is_empty() && self.enters());
        let Some(cgroup) = self.input.cgroups.cgroups.iter().find(on_v2) else { return Ok(None) };
        if self.input.cgroups.scope.is_some() {
            return Ok(None);
        }
        let to = self.plan.slot("cgroup");
        let open = CgroupOp::Open { path: cpath(&cgroup.path)?, to: to.clone() };
        if cgroup.exists && !cgroup.v2 {
            return Ok(None);
        }
        self.plan.push(Runtime, part::CGROUP, open);
        if cgroup.v2 {
            self.device_filter(&to);
        }
        Ok(Some(to).filter(|_| !cgroup.exists))
    }

    /// Only root of the machine may load the filter. Others own no device that a user namespace would not
    /// keep from them anyway.
    fn device_filter(&mut self, cgroup: &Slot) {
        if self.input.host.rootless.is_some() {
            return;
        }
        let rules = crate::cgroup::devices::rules(&self.input.config.resources);
        let program = Rc::new(crate::cgroup::devices::program(&rules));
        self.plan.push(Runtime, part::CGROUP, DeviceOp::Filter { cgroup: cgroup.clone(), program });
    }

    /// systemd: the scope is made around the child, which waits; then come the limits that only files say.
    pub(super) fn scope(&mut self) -> Result<()> {
        let Some(start) = &self.input.cgroups.scope else { return Ok(()) };
        let undo = Undo::Scope(start.scope.clone());
        let record = cjoin(self.input.state_dir, files::CGROUPS)?;
        let scope = CgroupOp::Scope { start: start.clone(), record: record.clone() };
        self.plan.push_undo(Runtime, part::SCOPE, scope, undo);
        for cgroup in &self.input.cgroups.cgroups {
            for (file, value) in &cgroup.enable {
                if !cgroup.missing.iter().any(|m| file.starts_with(m)) {
                    self.cgroup_enable(file, value)?;
                }
            }
            if !cgroup.v2 && cgroup.path != start.scope.cgroup {
                for parent in &cgroup.missing {
                    self.plan.push(Runtime, part::SCOPE, CgroupOp::Parent { path: cpath(parent)? });
                    for (file, value) in cgroup.enable.iter().filter(|(f, _)| f.parent() == Some(parent)) {
                        self.cgroup_enable(file, value)?;
                    }
                }
                let made = CgroupOp::InScope { path: cpath(&cgroup.path)?, record: record.clone() };
                self.plan.push_undo(Runtime, part::SCOPE, made, Undo::Cgroup(text(&cgroup.path)));
            }
            self.cgroup_writes(cgroup, part::SCOPE)?;
            self.cgroup_owner(cgroup, part::SCOPE)?;
            if cgroup.v2 {
                let to = self.plan.slot("cgroup");
                let open = CgroupOp::Open { path: cpath(&cgroup.path)?, to: to.clone() };
                if self.input.host.rootless.is_none() {
                    self.plan.push(Runtime, part::SCOPE, open);
                    self.device_filter(&to);
                }
            }
        }
        Ok(())
    }

    /// cgroup v1, and cgroups that were there: the child is moved into each while it waits.
    pub(super) fn join_cgroups(&mut self) -> Result<()> {
        // systemd has put the child into its own tree already.
        let scope = self.input.cgroups.scope.as_ref().map(|s| s.scope.cgroup.clone());
        let enters = self.enters();
        for cgroup in self
            .input
            .cgroups
            .cgroups
            .iter()
            .filter(|g| if enters { g.controllers.is_empty() && g.exists } else { !g.v2 || g.exists })
            .filter(|g| Some(&g.path) != scope.as_ref())
        {
            let path = cjoin(&cgroup.path, "cgroup.procs")?;
            self.plan.push(Runtime, part::OUTSIDE, CgroupOp::Join { path });
        }
        for class in &self.input.state.resctrl {
            let path = cjoin(class, "tasks")?;
            self.plan.push(Runtime, part::OUTSIDE, CgroupOp::Join { path });
        }
        Ok(())
    }

    /// What the child cannot do for itself.
    pub(super) fn outside(&mut self) -> Result<()> {
        self.plan.push(Runtime, part::OUTSIDE, record_pid(self.input.state_dir)?);
        if self.input.options.pidfd_socket {
            let socket = self.slots.pidfd_socket.clone();
            self.plan.push(Runtime, part::OUTSIDE, StateOp::SendPidfd { socket, kind: "standard" });
        }
        if self.new_userns() {
            self.id_maps();
            if self.input.config.hardening.idmap_root {
                let (tree, propagation) = (self.root.clone(), self.root_propagation());
                let recursive = !self.input.config.hardening.root_alone;
                let attrs = self.input.config.hardening.root_attrs;
                let idmap = UserOp::Idmap { tree, userns: None, recursive, propagation, attrs };
                self.plan.push(Runtime, part::OUTSIDE, idmap);
            }
        }
        self.idmap_binds();
        self.net_devices()?;
        self.pasta();
        self.network_of_plugins()?;
        self.oom_score()?;
        let process = self.process()?.clone();
        crate::plan::recipe::limits::raise(&mut self.plan, &process, self.input.host);
        Ok(())
    }

    /// The host's network devices that go to the container.
    fn net_devices(&mut self) -> Result<()> {
        let devices = &self.input.config.net_devices;
        if devices.is_empty() {
            return Ok(());
        }
        let joined = self.joined.iter().find(|(kind, _)| *kind == NsKind::Net);
        let namespace = match joined {
            Some((_, slot)) => slot.clone(),
            None => {
                let to = self.plan.slot("network namespace");
                let open = NsOp::OpenOfChild { kind: NsKind::Net, to: to.clone() };
                self.plan.push(Runtime, part::OUTSIDE, open);
                to
            }
        };
        for (outside, inside) in devices {
            let undo = Undo::NetDevice { outside: outside.clone(), inside: inside.clone() };
            let (outside, inside) = (outside.as_str().into(), inside.as_str().into());
            let row = NetOp::MoveDevice { namespace: namespace.clone(), outside, inside };
            self.plan.push_undo(Runtime, part::OUTSIDE, row, undo);
        }
        Ok(())
    }

    /// Bind mounts that ask for the mapping of the container's user namespace, be it new or joined.
    fn idmap_binds(&mut self) {
        for (i, tree) in &self.sources {
            let mount = &self.input.config.mounts[*i];
            let Some(recursive) = mount.idmap.filter(|_| mount.uid_maps.is_empty()) else { continue };
            let tree = tree.clone();
            let idmap = UserOp::Idmap { tree, userns: None, recursive, propagation: 0, attrs: 0 };
            self.plan.push(Runtime, part::OUTSIDE, idmap);
        }
    }

    /// A bind mount with a mapping of its own.
    pub(super) fn idmap_own(&mut self, index: usize, tree: &Slot) {
        let Some(mapping) = self.mapping_of(index) else { return };
        let row = super::binds::idmap(&self.input.config.mounts[index], tree, &mapping);
        self.plan.push(Runtime, part::SOURCES, row);
    }

    /// A user namespace with a mount's own mapping, where it has one.
    pub(super) fn mapping_of(&mut self, index: usize) -> Option<Slot> {
        let mount = &self.input.config.mounts[index];
        if mount.idmap.is_none() || mount.uid_maps.is_empty() {
            return None;
        }
        let to = self.plan.slot(&format!("mapping of {}", mount.destination.display()));
        let map = |maps| map_text(maps).into_bytes();
        let userns =
            UserOp::ForMount { uid_map: map(&mount.uid_maps), gid_map: map(&mount.gid_maps), to: to.clone() };
        self.plan.push(Runtime, part::SOURCES, userns);
        Some(to)
    }

    /// Hooks that run once the namespaces and mounts are there, before the root is changed.
    pub(super) fn hooks_before_pivot(&mut self) {
        let hooks = &self.input.config.hooks;
        let moments = [
            (HookKind::Prestart, &hooks.prestart),
            (HookKind::CreateRuntime, &hooks.create_runtime),
            (HookKind::CreateContainer, &hooks.create_container),
        ];
        for (kind, list) in moments {
            if !list.is_empty() {
                let state = self.hook_run(kind, list);
                let inside = self.shown.clone().filter(|_| kind.inside());
                self.plan.push(Runtime, part::PIVOT, ExecOp::Hooks { kind, state, inside });
            }
        }
    }
}

/// Writes down which process is the container's.
pub(super) fn record_pid(dir: &std::path::Path) -> Result<Action> {
    Ok(Action::State(StateOp::RecordPid {
        dir: cpath(dir)?,
        name: cstring("pid", files::PID)?,
        temp: cstring("pid", ".pid.tmp")?,
    }))
}

/// What takes a new class of service back.
fn class_undo(class: &crate::cgroup::resctrl::Class) -> Option<Undo> {
    let dir = class.dir.to_string_lossy().into_owned();
    let undo = if class.named { Undo::Class } else { Undo::Cgroup };
    class.make.then_some(undo(dir))
}
