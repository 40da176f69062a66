//! Differences for a caller that is not root of the machine: which process writes the maps, which copies mounts, and
//! what a config must not ask for.

use std::rc::Rc;

use crate::config::idmap::{self, map_text};
use crate::config::{ConfigError, Mount};
use crate::error::{Error, Result};
use crate::host::Rootless;
use crate::plan::ops::{Action, NsOp, RootOp, StateOp, UserOp};
use crate::plan::recipe::{Builder, part};
use crate::plan::{Actor, Actor::Init, Actor::Runtime, NamespaceServer, NamespaceSlots, Supplementary};
use crate::sys::cstr::{cpath, cstring};
use crate::tables::namespaces::{NAMESPACES, NsKind};

/// Which process writes a new user namespace's maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mapper {
    /// This process: it has the rights.
    Runtime,
    /// This process, as an ordinary user: its own id alone, and setgroups(2) is given up.
    Alone,
    /// newuidmap(1) and newgidmap(1).
    Tools,
}

impl Builder<'_> {
    fn rootless(&self) -> Option<&Rootless> {
        self.input.host.rootless.as_ref()
    }

    /// Refuses what an ordinary user cannot have, in the config's terms.
    pub(super) fn check_rootless(&self) -> Result<()> {
        let Some(rootless) = self.rootless() else { return Ok(()) };
        let config = self.input.config;
        let bad = |pointer: String, text: &str| Err(Error::Config(ConfigError::new(pointer, text)));
        if config.namespace(NsKind::User).is_none() && self.input.host.euid != 0 {
            return bad(
                "/linux/namespaces".into(),
                "an ordinary user's container needs a user namespace: add one with mappings (safebox spec --rootless), or use `safebox run`, which does",
            );
        }
        if let Some(i) = config.mounts.iter().position(|m| m.idmap.is_some()) {
            return bad(format!("/mounts/{i}"), "idmapped mounts need root of the machine");
        }
        if !self.process()?.user.additional_gids.is_empty() && !self.may_set_groups() {
            return bad(
                "/process/user/additionalGids".into(),
                "cannot set any additional groups in a rootless container whose only group is the caller's: the kernel allows no setgroups(2) there",
            );
        }
        if self.new_userns() && self.mapper() == Mapper::Tools && rootless.id_tools.is_none() {
            return bad(
                "/linux/uidMappings".into(),
                "more ids than the caller's own need newuidmap and newgidmap (package uidmap), and ranges in /etc/subuid and /etc/subgid",
            );
        }
        Ok(())
    }

    pub(super) fn mapper(&self) -> Mapper {
        let Some(rootless) = self.rootless() else { return Mapper::Runtime };
        let euid = self.input.host.euid;
        if euid == 0 {
            return Mapper::Runtime;
        }
        let config = self.input.config;
        let alone = idmap::is_only(&config.uid_maps, euid) && idmap::is_only(&config.gid_maps, rootless.egid);
        if alone { Mapper::Alone } else { Mapper::Tools }
    }

    /// Whether Init may call setgroups(2), so that the caller's supplementary groups can be dropped.
    pub(super) fn may_set_groups(&self) -> bool {
        let Some(rootless) = self.rootless() else { return true };
        let own_gid = idmap::is_only(&self.input.config.gid_maps, rootless.egid);
        // newgidmap gives setgroups up as well where it maps nothing but the caller's own group.
        rootless.setgroups && (self.input.host.euid == 0 || (self.new_userns() && !own_gid))
    }

    /// The same, where a user namespace that is joined has its say too.
    pub(super) fn supplementary(&self) -> Supplementary {
        let joined = self.input.config.namespace(NsKind::User).is_some_and(|ns| ns.path.is_some());
        match (self.may_set_groups(), joined) {
            (false, _) => Supplementary::Keep,
            (true, true) => Supplementary::DropIfAllowed,
            (true, false) => Supplementary::Drop,
        }
    }

    /// Whether Init can become uid 0 of its user namespace; it has all rights there in any case.
    pub(super) fn root_is_mapped(&self) -> bool {
        !self.new_userns() || idmap::to_host(&self.input.config.uid_maps, 0).is_some()
    }

    /// The maps of the new user namespace.
    pub(super) fn id_maps(&mut self) {
        let config = self.input.config;
        let maps = [("uid_map", &config.uid_maps), ("gid_map", &config.gid_maps)];
        let tools = self.rootless().and_then(|r| r.id_tools.clone());
        match (self.mapper(), tools) {
            (Mapper::Tools, Some((uid, gid))) => {
                for (program, (_, maps)) in [uid, gid].into_iter().zip(maps) {
                    let row = UserOp::RunMapTool { program, maps: maps.clone() };
                    self.plan.push(Runtime, part::OUTSIDE, row);
                }
            }
            (mapper, _) => {
                if mapper == Mapper::Alone {
                    let deny = UserOp::WriteMap { file: "setgroups", value: b"deny".to_vec() };
                    self.plan.push(Runtime, part::OUTSIDE, deny);
                }
                for (file, maps) in maps {
                    let write = UserOp::WriteMap { file, value: map_text(maps).into_bytes() };
                    self.plan.push(Runtime, part::OUTSIDE, write);
                }
            }
        }
    }

    /// Who copies the rootfs and the sources of binds. Only the owner of a mount namespace may: root of the
    /// machine before the clone, others in the container's own, while it still shows the host.
    pub(super) fn copier(&self) -> Actor {
        if self.rootless().is_some() && self.input.config.namespace(NsKind::User).is_some() {
            Init
        } else {
            Runtime
        }
    }

    /// The copy of the rootfs. Init looks its path up again, and what it finds must be what was opened.
    pub(super) fn open_root(&mut self) -> Result<Action> {
        Ok(Action::Root(RootOp::Open {
            path: cpath(self.input.rootfs)?,
            rootfs: self.slots.rootfs.clone(),
            recursive: true,
            to: self.root.clone(),
        }))
    }

    /// Descriptors of the container's root and namespaces for an unprivileged runtime, which has no ptrace access to
    /// Init. Init opens them itself, while it sees a procfs of the host.
    pub(super) fn show_inside(&mut self) -> Result<()> {
        let hooks = &self.input.config.hooks;
        let wait = self.input.options.wait_for_start;
        let for_hooks = !hooks.create_container.is_empty() || (!wait && !hooks.start_container.is_empty());
        if self.input.host.euid == 0 || !(for_hooks || wait) {
            return Ok(());
        }
        let root = self.plan.slot("Init's root");
        let open = NsOp::Open { path: c"/".into(), kind: NsKind::Mount, to: root.clone() };
        self.plan.push(Init, part::PIVOT, open);
        let mut namespaces = Vec::new();
        for row in NAMESPACES.iter().filter(|row| self.input.state.namespaces & row.flag != 0) {
            let to = self.plan.slot(&format!("own {} namespace", row.oci));
            let path = cstring("namespace", format!("/proc/self/ns/{}", row.proc))?;
            self.plan.push(Init, part::PIVOT, NsOp::Open { path, kind: row.kind, to: to.clone() });
            namespaces.push((row.kind, to));
        }
        let shown = Rc::new(NamespaceSlots { root, namespaces });
        if for_hooks {
            self.plan.push(Runtime, part::PIVOT, NsOp::TakeFds { shown: shown.clone() });
        }
        self.shown = Some(shown);
        Ok(())
    }

    /// The socket of the namespace-fd server of an unprivileged `create`.
    pub(super) fn namespace_server(&mut self) -> Result<()> {
        if self.input.host.euid != 0 {
            let to = self.plan.slot("namespace server");
            let row = StateOp::NamespaceServer { dir: cpath(self.input.state_dir)?, to: to.clone() };
            self.plan.push(Runtime, part::STATE, row);
            self.server = Some(to);
        }
        Ok(())
    }

    /// What that server sends to `start` and `exec`: the descriptors of [`Builder::show_inside`], with the container's
    /// root.
    pub(super) fn served_namespaces(&self) -> Option<NamespaceServer> {
        let (socket, shown) = (self.server.clone()?, self.shown.as_ref()?);
        let shown = NamespaceSlots { root: self.root.clone(), namespaces: shown.namespaces.clone() };
        Some(NamespaceServer { socket, shown })
    }

    /// A file system whose owner is an unmapped id cannot be mounted.
    pub(super) fn check_mount_ids(&self, index: usize, mount: &Mount) -> Result<()> {
        if !self.new_userns() {
            return Ok(());
        }
        let config = self.input.config;
        for (key, maps) in [("uid", &config.uid_maps), ("gid", &config.gid_maps)] {
            let given =
                mount.data.iter().find(|(k, _)| k == key).and_then(|(_, v)| v.as_deref()?.parse().ok());
            if let Some(id) = given
                && idmap::to_host(maps, id).is_none()
            {
                return Err(Error::Config(ConfigError::new(
                    format!("/mounts/{index}/options"),
                    format!(
                        "{key}={id} is not mapped into the container's user namespace: leave it out, or map it"
                    ),
                )));
            }
        }
        Ok(())
    }
}
