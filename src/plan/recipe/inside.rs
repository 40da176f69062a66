//! Init's rows that are not mounts: a clean start, the root, the terminal, kernel settings, masks, the pivot.

use std::ffi::CString;
use std::path::Path;

use crate::config::{ConfigError, Mount};
use crate::error::{Error, Result};
use crate::plan::lower::in_root;
use crate::plan::ops::{
    Action, CredOp, ExecOp, FdOp, FileOp, LimitOp, MaskOp, MountOp, NetOp, NsOp, RootOp, SetAttr, StateOp,
    Target, TargetKind, UserOp,
};
use crate::plan::recipe::clone::join;
use crate::plan::recipe::tail::Created;
use crate::plan::recipe::{Builder, Console, cjoin, part};
use crate::plan::{Actor::Init, Actor::Runtime};
use crate::state::files;
use crate::sys::cstr::{cpath, cstring};
use crate::sys::mount::MountAttr;
use crate::tables::namespaces::NsKind;

impl Builder<'_> {
    /// A process without the caller's session, signals and groups, root of its own namespaces.
    pub(super) fn start(&mut self) -> Result<()> {
        let config = self.input.config;
        let early = self.copier() == Init;
        let become_root = config.namespace(NsKind::User).is_some() && self.root_is_mapped();
        let groups = self.supplementary();
        self.plan.push(Init, part::START, CredOp::Undumpable);
        crate::plan::recipe::stdio::place(&mut self.plan, Init, std::mem::take(&mut self.stdio));
        let mut push = |action| self.plan.push(Init, part::START, action);
        if self.input.host.euid == 0 && !config.hardening.bare {
            // An ordinary user's clone has failed already in a chroot (clone(2), EPERM).
            push(Action::Root(RootOp::VerifyOwn));
        }
        push(Action::Exec(ExecOp::CleanSignals));
        push(Action::Limit(LimitOp::AllCpus));
        push(Action::Exec(ExecOp::NewSession));
        if let Some(to) = &self.place {
            let path = cpath(self.input.rootfs)?;
            push(Action::Root(RootOp::OpenPlace { path, rootfs: self.slots.rootfs.clone(), to: to.clone() }));
        }
        for (kind, slot) in &self.joined_by_init {
            push(join(*kind, slot));
        }
        if early {
            // With the caller's ids, which can search directories that the container's root cannot.
            self.sources()?;
        } else if self.input.cgroups.scope.is_some() {
            self.cgroup_sources(Init)?;
        }
        let mut push = |action| self.plan.push(Init, part::START, action);
        if become_root {
            push(Action::User(UserOp::BecomeRoot { groups }));
        }
        self.enter_cgroups(Init, part::START);
        let mut push = |action| self.plan.push(Init, part::START, action);
        if config.is_new(NsKind::Cgroup) {
            push(Action::Ns(NsOp::NewCgroup));
        }
        if let Some(name) = &config.hostname {
            push(Action::Ns(NsOp::Hostname { name: cstring("hostname", name)? }));
        }
        if let Some(name) = &config.domainname {
            push(Action::Ns(NsOp::Domainname { name: cstring("domainname", name)? }));
        }
        if config.is_new(NsKind::Net) {
            push(Action::Net(NetOp::LoopbackUp));
        }
        Ok(())
    }

    /// The rootfs, attached to the container's mount namespace.
    pub(super) fn root(&mut self) -> Result<()> {
        if !self.input.config.is_new(NsKind::Mount) {
            return Err(Error::Config(ConfigError::new(
                "/linux/namespaces",
                "a new mount namespace is required: without one the container's mounts would be the host's",
            )));
        }
        let flags = match self.input.config.rootfs_propagation {
            // What the config wants to receive from the host must not be cut off here.
            Some(flags) if flags & (libc::MS_SHARED | libc::MS_SLAVE) != 0 => libc::MS_SLAVE | libc::MS_REC,
            _ => libc::MS_PRIVATE | libc::MS_REC,
        };
        self.plan.push(Init, part::ROOT, RootOp::Propagation { flags });
        if self.input.config.root.empty {
            let root = MountOp::New {
                fs: c"tmpfs".into(),
                data: vec![
                    (c"source".into(), Some(c"safebox".into())),
                    (c"mode".into(), Some(c"0755".into())),
                    (c"size".into(), Some(c"1m".into())),
                ],
                attrs: self.input.config.hardening.root_attrs,
                after: Vec::new(),
                target: None,
                keep: Some(self.root.clone()),
            };
            self.plan.push(Init, part::ROOT, root);
        }
        let attach = RootOp::Attach { root: self.root.clone(), at: self.place.clone() };
        self.plan.push(Init, part::ROOT, attach);
        Ok(())
    }

    /// The container's terminal.
    pub(super) fn console(&mut self) -> Result<()> {
        if self.input.options.console == Console::Inherit {
            return Ok(());
        }
        let Some(devpts) = self.devpts.clone() else {
            return Err(Error::Config(ConfigError::new(
                "/process/terminal",
                "a terminal needs a devpts mount at /dev/pts, and the config has none",
            )));
        };
        let (master, slave) = (self.plan.slot("pty master"), self.plan.slot("pty"));
        let size = self.process()?.console_size.or(self.input.options.window);
        let (owner, lf) = (self.process()?.user.uid, self.input.options.lf);
        let pty = FdOp::Pty { devpts, master: master.clone(), slave: slave.clone(), size, owner, lf };
        self.plan.push(Init, part::DEV, pty);
        if let Some(dev) = self.dev.clone() {
            let target = Target { root: dev, path: cstring("console", "console")?, kind: TargetKind::File };
            self.plan.push(Init, part::DEV, FdOp::ConsoleMount { slave: slave.clone(), target });
        }
        let send = FdOp::SendPty { master: master.clone(), socket: self.slots.console.clone() };
        self.plan.push(Init, part::DEV, send);
        self.pty = Some((master, slave));
        Ok(())
    }

    /// Kernel settings of the new namespaces, before /proc/sys is made read-only.
    pub(super) fn sysctls(&mut self) -> Result<()> {
        let config = self.input.config;
        let label = self.process()?.apparmor_profile.as_deref().is_some_and(|p| !p.is_empty())
            || self.process()?.selinux_label.as_deref().is_some_and(|l| !l.is_empty());
        if (!config.sysctl.is_empty() || label) && self.proc.is_none() {
            let proc = self.plan.slot("proc");
            let row = if self.shows_host_proc() {
                Action::File(FileOp::OpenDir {
                    root: self.root.clone(),
                    path: c"proc".into(),
                    to: proc.clone(),
                })
            } else {
                Action::Mount(MountOp::New {
                    fs: cstring("proc", "proc")?,
                    data: Vec::new(),
                    attrs: libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC,
                    after: Vec::new(),
                    target: None,
                    keep: Some(proc.clone()),
                })
            };
            self.plan.push(Init, part::MOUNTS, row);
            self.proc = Some(proc);
        }
        let Some(proc) = self.proc.clone() else { return Ok(()) };
        for (key, value) in &config.sysctl {
            let path = cstring("sysctl", format!("sys/{}", crate::config::sysctl::path(key)))?;
            let write = MaskOp::Sysctl { proc: proc.clone(), path, value: value.clone().into_bytes() };
            self.plan.push(Init, part::MASKS, write);
        }
        Ok(())
    }

    /// Whether /proc is the host's and a new procfs cannot be mounted in its place: the pid namespace is the host's, or
    /// parts of /proc are covered. The host's shows Init as a new one would.
    fn shows_host_proc(&self) -> bool {
        let config = self.input.config;
        let hosts = |m: &Mount| m.destination == Path::new("/proc") && m.source.as_deref() == Some("/proc");
        (config.namespace(NsKind::Pid).is_none() || config.hardening.shared_proc)
            && config.mounts.iter().any(|m| m.bind.is_some() && hosts(m))
            && config.mounts.iter().all(|m| m.destination != Path::new("/proc") || hosts(m))
    }

    /// The working directory, made while the rootfs may still be written.
    pub(super) fn cwd(&mut self) -> Result<()> {
        let process = self.process()?;
        let path = in_root(&process.cwd)?;
        if !path.is_empty() {
            let make = ExecOp::MakeCwd {
                root: self.root.clone(),
                path,
                uid: process.user.uid,
                gid: process.user.gid,
            };
            self.plan.push(Init, part::MOUNTS, make);
        }
        Ok(())
    }

    /// Masked and read-only paths, then the root itself.
    pub(super) fn masks(&mut self) -> Result<()> {
        let config = self.input.config;
        for path in &config.readonly_paths {
            let row = MaskOp::ReadOnly { root: self.root.clone(), path: in_root(path)? };
            self.plan.push(Init, part::MASKS, row);
        }
        if !config.masked_paths.is_empty() {
            let null = self.null_device()?;
            let empty = self.empty.take().unwrap_or_else(|| {
                let to = self.plan.slot("empty");
                self.plan.push(Init, part::MASKS, MaskOp::EmptyDir { to: to.clone() });
                to
            });
            let mut covered: Vec<CString> = Vec::with_capacity(config.masked_paths.len());
            for path in &config.masked_paths {
                let path = in_root(path)?;
                // One cover is enough.
                if covered.contains(&path) {
                    continue;
                }
                covered.push(path.clone());
                let (root, null, empty) = (self.root.clone(), null.clone(), empty.clone());
                self.plan.push(Init, part::MASKS, MaskOp::Cover { root, path, null, empty });
            }
        }
        if config.root.readonly {
            let change = SetAttr::READONLY;
            self.plan.push(Init, part::MASKS, RootOp::Attributes { root: self.root.clone(), change });
        }
        Ok(())
    }

    /// The new root.
    pub(super) fn pivot(&mut self) -> Result<()> {
        let root = self.root.clone();
        if self.input.options.no_pivot {
            let mounts = self.input.host.kernel_mounts().ok_or_else(|| {
                Error::msg(
                    "--no-pivot: /proc/self/mountinfo cannot be read: it says which mounts must be hidden",
                )
            })?;
            for path in mounts {
                self.plan.push(Init, part::PIVOT, RootOp::Hide { path: cpath(path)? });
            }
            self.plan.push(Init, part::PIVOT, RootOp::Chroot { root });
        } else {
            self.plan.push(Init, part::PIVOT, RootOp::Pivot { root });
        }
        if let Some(flags) = self.input.config.rootfs_propagation {
            let attr = MountAttr { propagation: flags & !libc::MS_REC, ..MountAttr::default() };
            let change = SetAttr { recursive: flags & libc::MS_REC != 0, attr };
            self.plan.push(Init, part::PIVOT, RootOp::Attributes { root: self.root.clone(), change });
        }
        Ok(())
    }

    /// What Init waits on between `create` and `start`. The runtime opens it before the clone, so that Init needs no
    /// path.
    pub(super) fn wait_files(&mut self) -> Result<()> {
        if !self.input.options.wait_for_start {
            return Ok(());
        }
        let dir = self.input.state_dir;
        self.namespace_server()?;
        let (start, report) = (self.plan.slot("start"), self.plan.slot("report"));
        for (file, to) in [(files::START_NEW, &start), (files::REPORT, &report)] {
            let row = StateOp::Fifo { path: cjoin(dir, file)?, to: to.clone() };
            self.plan.push(Runtime, part::STATE, row);
        }
        self.wait = Some((start, report));
        Ok(())
    }

    /// What `create` does before it leaves the container waiting.
    pub(super) fn created(&self) -> Result<Option<Created>> {
        let Some((start, report)) = self.wait.clone() else { return Ok(None) };
        let dir = self.input.state_dir;
        let pid_file = self.input.options.pid_file.as_deref().map(pid_file);
        Ok(Some(Created {
            from: cjoin(dir, files::START_NEW)?,
            to: cjoin(dir, files::START)?,
            start,
            report,
            server: self.served_namespaces(),
            pid_file: pid_file.transpose()?,
        }))
    }
}

/// A pid file's path, and the name it has until it is whole.
pub(super) fn pid_file(path: &std::path::Path) -> Result<(std::ffi::CString, std::ffi::CString)> {
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let temp = path.with_file_name(format!(".{name}.tmp"));
    Ok((cpath(path)?, cpath(&temp)?))
}
