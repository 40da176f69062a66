//! From a config and a directory of images to a plan: what the runtime does before criu makes the
//! container again, and what it does once the processes are there.
//!
//! ```text
//!  runtime   state, cgroups with their limits, the rootfs's copy, mount points, joined namespaces
//!  runtime   clone3(CLONE_NEWNS): a child in the container's cgroup, in a mount namespace of its own
//!  init      the rootfs becomes a mount below the state directory, where criu wants it; execve(criu)
//!  criu      namespaces, mounts, masks, ids, capabilities, seccomp filters, memory, files: from the images
//!  runtime   (criu says "setup-namespaces") the loopback device, sysctls, prestart and createRuntime hooks
//!  runtime   (criu says "post-restore") the rows of [`after`], before the processes go on
//! ```

use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::error::{Error, Result};
use crate::plan::check::{Checked, PlanKind, check};
use crate::plan::lower::{CStrArray, in_root};
use crate::plan::ops::{CloneOp, ExecOp, FdOp, FileOp, RootOp, SourceOp, StateOp, Target, TargetKind};
use crate::plan::recipe::{Builder, Input, PlanSlots, cjoin, part, state_undo};
use crate::plan::{Actor::Init, Actor::Runtime, Plan, Slot, Undo};
use crate::state::files;
use crate::sys::cstr::{cpath, cstring};
use crate::tables::namespaces::NsKind;

/// Directory below the container's state at which criu finds the rootfs.
pub const ROOT: &str = "criu-root";

/// The descriptor on which criu talks; those that the container inherits follow.
const SOCKET: i32 = 3;

/// What criu's process gets.
#[derive(Debug, Clone)]
pub struct CriuFds {
    /// For its own standard descriptors: its output is not read.
    pub null: Slot,
    /// Its end of the conversation.
    pub socket: Slot,
    /// The caller's descriptors 0 to 2, for the container.
    pub stdio: [Slot; 3],
    /// Namespaces that were joined, by the name that the images have for them.
    pub namespaces: Vec<(NsKind, Slot)>,
}

impl CriuFds {
    /// In the order of their numbers in criu's process.
    fn in_order(&self) -> Vec<Slot> {
        let own = [&self.null, &self.null, &self.null, &self.socket];
        own.into_iter().chain(&self.stdio).chain(self.namespaces.iter().map(|(_, s)| s)).cloned().collect()
    }

    /// The number of the container's descriptor `n` in criu's process.
    pub fn stdio_number(n: usize) -> i64 {
        i64::from(SOCKET) + 1 + n as i64
    }

    /// The numbers of the namespaces.
    pub fn namespace_numbers(&self) -> impl Iterator<Item = (NsKind, i64)> {
        self.namespaces.iter().enumerate().map(|(i, (kind, _))| (*kind, Self::stdio_number(3 + i)))
    }
}

/// The plan that ends in criu.
pub fn build(input: Input<'_>, criu: &Path) -> Result<(Checked<Plan>, PlanSlots, CriuFds)> {
    let mut plan = Plan::default();
    let slots = PlanSlots::new(&mut plan);
    let mut b = Builder::new(plan, input, slots);
    b.state()?;
    b.plan.push_undo(
        Runtime,
        part::STATE,
        RootOp::CriuDir { path: cjoin(input.state_dir, ROOT)? },
        state_undo(input.state_dir),
    );
    b.cgroups()?;
    b.resctrl()?;
    b.more_files()?;
    b.rootfs()?;
    b.mount_points()?;
    let namespaces = b.joined_by_criu()?;
    let mut slot = |name: &str| b.plan.slot(name);
    let fds = CriuFds {
        null: slot("/dev/null"),
        socket: slot("criu socket"),
        stdio: [slot("stdin"), slot("stdout"), slot("stderr")],
        namespaces,
    };
    let cgroup = b.cgroup_slot()?;
    b.open_tasks()?;
    let spawn = CloneOp::Init { namespaces: NsKind::Mount.row().flag, cgroup, owner: None };
    b.plan.push_undo(Runtime, part::CRIU, spawn, Undo::Kill);
    b.scope()?;
    b.join_cgroups()?;
    b.enter_cgroups(Init, part::CRIU);
    b.exec_criu(&fds, criu)?;
    let (plan, slots) = b.finish()?;
    Ok((check(plan, PlanKind::Criu)?, slots, fds))
}

/// What is recorded of the restored process, once it is there and before it goes on.
pub fn after(dir: &Path, state: &crate::state::State, pid_file: Option<&PathBuf>) -> Result<Checked<Plan>> {
    let mut plan = Plan::default();
    let file = StateOp::File {
        dir: cpath(dir)?,
        name: cstring("state", files::STATE)?,
        bytes: Rc::new(serde_json::to_vec(state).map_err(|e| Error::msg(format!("state: {e}")))?),
    };
    plan.push(Runtime, part::OUTSIDE, file);
    plan.push(Runtime, part::OUTSIDE, crate::plan::recipe::outside::record_pid(dir)?);
    if let Some(path) = pid_file {
        let (path, temp) = crate::plan::recipe::inside::pid_file(path)?;
        plan.push(Runtime, part::OUTSIDE, StateOp::PidFile { path, temp });
    }
    check(plan, PlanKind::Records)
}

impl Builder<'_> {
    /// The places of mounts, where the rootfs (or a bind that is mounted before) lacks them: criu makes none.
    /// What lies on a file system of the container's own comes back with it.
    fn mount_points(&mut self) -> Result<()> {
        let mounts = &self.input.config.mounts;
        for (i, mount) in mounts.iter().enumerate().filter(|(_, m)| !m.remount) {
            let file = mount.bind.is_some()
                && mount.source.as_deref().is_some_and(|s| self.input.bundle.join(s).is_file());
            let kind = if file { TargetKind::File } else { TargetKind::Dir };
            let below = |m: &&crate::config::Mount| {
                mount.destination.starts_with(&m.destination) && m.destination != mount.destination
            };
            let (root, path) = match mounts[..i].iter().rev().filter(|m| !m.remount).find(below) {
                None => (self.slots.rootfs.clone(), mount.destination.clone()),
                Some(m) if m.bind.is_some() => {
                    let source = self.input.bundle.join(m.source.as_deref().unwrap_or_default());
                    let to = self.plan.slot(&format!("bind {}", source.display()));
                    let open = SourceOp::Tree {
                        source: cpath(&source)?,
                        at: None,
                        recursive: false,
                        device: None,
                        to: to.clone(),
                    };
                    self.plan.push(Runtime, part::SOURCES, open);
                    let rest = mount.destination.strip_prefix(&m.destination).unwrap_or(&mount.destination);
                    (to, rest.to_path_buf())
                }
                Some(_) => continue,
            };
            let target = Target { root, path: in_root(&path)?, kind };
            self.plan.push(Runtime, part::SOURCES, FileOp::MakeTarget { target });
        }
        Ok(())
    }

    /// Namespaces of the caller's, which criu takes as descriptors. Others it joins by their paths.
    fn joined_by_criu(&mut self) -> Result<Vec<(NsKind, Slot)>> {
        let joined = self.open_joined(&[NsKind::Net, NsKind::Pid])?;
        let config = self.input.config;
        let unknown = [NsKind::Cgroup, NsKind::Time, NsKind::User];
        match config.namespaces.iter().find(|n| n.path.is_some() && unknown.contains(&n.kind)) {
            Some(ns) => Err(Error::msg(format!(
                "/linux/namespaces: criu cannot restore a container into an existing {} namespace",
                ns.kind.row().oci
            ))),
            None => Ok(joined),
        }
    }

    /// criu's own process, from the clone to its program.
    fn exec_criu(&mut self, fds: &CriuFds, criu: &Path) -> Result<()> {
        let part = part::CRIU;
        self.plan.push(Init, part, ExecOp::CleanSignals);
        self.plan.push(Init, part, RootOp::Propagation { flags: libc::MS_SLAVE | libc::MS_REC });
        let attach = RootOp::AttachAt { tree: self.root.clone(), path: cjoin(self.input.state_dir, ROOT)? };
        self.plan.push(Init, part, attach);
        let order = fds.in_order();
        let keep = u32::try_from(order.len()).map_err(|_| Error::msg("too many descriptors"))?;
        self.plan.push(Init, part, FdOp::PassFds { fds: order });
        self.plan.push(Init, part, FdOp::CloseFds { keep, needed: Vec::new() });
        let argv = CStrArray::new("argument", &["criu", "swrk", &SOCKET.to_string()])?;
        // It starts programs of its own: tar, ip, iptables.
        let path = ("PATH".into(), crate::host::search_path());
        let env: Vec<String> = std::env::vars_os()
            .filter(|(name, _)| name != "PATH")
            .chain([path])
            .filter_map(|(k, v)| Some(format!("{}={}", k.into_string().ok()?, v.into_string().ok()?)))
            .collect();
        let exec = ExecOp::Exec {
            candidates: Rc::new(vec![cpath(criu)?]),
            argv: Rc::new(argv),
            envp: Rc::new(CStrArray::new("environment", &env)?),
        };
        self.plan.push(Init, part, exec);
        Ok(())
    }
}
