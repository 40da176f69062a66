//! Whose a container's cgroups are.

use std::path::Path;

use crate::cgroup::Cgroup;
use crate::config::Mount;
use crate::config::idmap;
use crate::error::Result;
use crate::plan::Actor::Runtime;
use crate::plan::ops::CgroupOp;
use crate::plan::recipe::Builder;
use crate::sys::cstr::cpath;
use crate::tables::namespaces::NsKind;

impl Builder<'_> {
    /// A container that has its own part of the tree, writable, may make cgroups below it, as a systemd or an engine
    /// inside does. On v1 that would not be safe. An ordinary user's cgroup is theirs already.
    pub(super) fn cgroup_owner(&mut self, cgroup: &Cgroup, part: &'static str) -> Result<()> {
        let config = self.input.config;
        let read_only = |m: &Mount| (m.attr_set | m.rec_attr_set) & libc::MOUNT_ATTR_RDONLY != 0;
        let shown =
            |m: &Mount| m.source.as_deref() == Some("cgroup") && m.destination == Path::new("/sys/fs/cgroup");
        let writable =
            config.is_new(NsKind::Cgroup) && config.mounts.iter().any(|m| shown(m) && !read_only(m));
        if !cgroup.v2 || !writable || self.input.host.rootless.is_some() {
            return Ok(());
        }
        let uid = config.process.as_ref().map_or(0, |p| p.user.uid);
        let owner = match config.namespace(NsKind::User) {
            Some(_) => idmap::to_host(&config.uid_maps, uid),
            None => Some(uid),
        };
        if let Some(uid) = owner.filter(|uid| *uid != 0) {
            let owner = CgroupOp::Owner { path: cpath(&cgroup.path)?, uid };
            self.plan.push(Runtime, part, owner);
        }
        Ok(())
    }
}
