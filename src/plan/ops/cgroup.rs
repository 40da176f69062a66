//! Rows that make the container's cgroups, join them and write limits.

use std::ffi::{CStr, CString};
use std::fmt;
use std::rc::Rc;

use super::{OnHost, Op, RowLabel};
use crate::plan::call::Call;
use crate::plan::layer::Layer;
use crate::plan::slot::Slot;
use crate::plan::words::{device, device_of_rule, last, value};
use crate::sys::Errno;
use crate::sys::cstr::show;
use crate::tables::limits::{Limit, UNIFIED, controller, of_file};

/// What rows do about cgroups.
#[derive(Debug, Clone)]
#[allow(missing_docs)] // each variant's `why` documents it, and users see that
pub enum CgroupOp {
    Parent {
        path: CString,
    },
    Dir {
        path: CString,
        record: CString,
    },
    Joinable {
        path: CString,
        record: CString,
        to: Slot,
    },
    Enable {
        path: CString,
        value: Vec<u8>,
    },
    Write {
        path: CString,
        value: Vec<u8>,
    },
    /// `path`, or where it is not there `other`.
    WriteEither {
        path: CString,
        value: Vec<u8>,
        other: (CString, Vec<u8>),
    },
    /// systemd makes the container's scope around process `cx.pid`.
    Scope {
        start: Rc<crate::cgroup::systemd::Start>,
        record: CString,
    },
    /// A process joins the scope by way of the caller's systemd.
    AttachToScope {
        scope: Rc<crate::cgroup::systemd::SystemdScope>,
    },
    InScope {
        path: CString,
        record: CString,
    },
    /// The cgroup becomes `uid`'s, as far as the kernel says that it may.
    Owner {
        path: CString,
        uid: u32,
    },
    Open {
        path: CString,
        to: Slot,
    },
    Join {
        path: CString,
    },
    /// cgroup v1: the file by which a process enters.
    OpenTasks {
        path: CString,
        to: Slot,
    },
    /// The process itself enters.
    Enter {
        tasks: Slot,
        path: CString,
    },
}

impl Op for CgroupOp {
    fn label(&self) -> RowLabel {
        match self {
            Self::Parent { .. } => (Layer::Cgroup, "cgroup-parent", None),
            Self::Dir { .. } => (Layer::Cgroup, "cgroup", None),
            Self::Joinable { .. } => (Layer::Cgroup, "cgroup-joinable", None),
            Self::Enable { .. } => (Layer::Cgroup, "cgroup-enable", None),
            Self::Write { path, value } | Self::WriteEither { path, value, .. } => {
                let file = last(path);
                match file.strip_prefix("devices.") {
                    Some(_) => (Layer::Devices, "devices", Some(device(&file, value))),
                    None => (Layer::Cgroup, "cgroup", Some(file)),
                }
            }
            Self::Scope { .. } => (Layer::Cgroup, "scope", None),
            Self::AttachToScope { .. } => (Layer::Cgroup, "scope-attach", None),
            Self::InScope { .. } => (Layer::Cgroup, "cgroup-in-scope", None),
            Self::Owner { .. } => (Layer::Cgroup, "cgroup-owner", None),
            Self::Open { .. } => (Layer::Cgroup, "cgroup-open", None),
            Self::Join { .. } => (Layer::Cgroup, "cgroup-join", None),
            Self::OpenTasks { .. } => (Layer::Cgroup, "cgroup-tasks", None),
            Self::Enter { .. } => (Layer::Cgroup, "cgroup-enter", None),
        }
    }

    fn print(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Parent { path } => write!(f, "mkdir({:?}) or it exists", show(path)),
            Self::Dir { path, record } => {
                write!(f, "mkdir({:?}) fstat write({}, \"DEV INODE\")", show(path), show(record))
            }
            Self::Joinable { path, record, to } => {
                write!(
                    f,
                    "open({:?}) -> {to} flock(LOCK_EX|LOCK_NB) cgroup.procs == \"\" write({}, \"DEV INODE joined\")",
                    show(path),
                    show(record)
                )
            }
            Self::Enable { path, value: v } | Self::Write { path, value: v } => {
                write!(f, "write({}, {})", show(path), value(v))
            }
            Self::WriteEither { path, value: v, other: (file, other) } => {
                write!(
                    f,
                    "write({}, {}) or, without it, write({}, {})",
                    show(path),
                    value(v),
                    show(file),
                    value(other)
                )
            }
            Self::Scope { start, .. } => {
                write!(f, "systemd: StartTransientUnit({:?}, PIDs=[PID]", start.scope.unit)?;
                start.properties.iter().try_for_each(|(name, value)| write!(f, " {name}={value}"))?;
                f.write_str(") JobRemoved == done")
            }
            Self::AttachToScope { scope } => {
                write!(f, "systemd: AttachProcessesToUnit({:?}, [PID])", scope.unit)
            }
            Self::InScope { path, .. } => write!(f, "mkdir({:?}) or it exists", show(path)),
            Self::Owner { path, uid } => {
                write!(
                    f,
                    "chown({:?}, {uid}) and its files that /sys/kernel/cgroup/delegate names",
                    show(path)
                )
            }
            Self::Open { path, to } => write!(f, "open({:?}, O_PATH|O_DIRECTORY) -> {to}", show(path)),
            Self::Join { path } => write!(f, "write({}, PID)", show(path)),
            Self::OpenTasks { path, to } => write!(f, "open({:?}, O_WRONLY) -> {to}", show(path)),
            Self::Enter { path, .. } => write!(f, "write({}, 0)", show(path)),
        }
    }

    fn why(&self) -> &'static str {
        match self {
            Self::Parent { .. } => {
                "this cgroup is a parent in the container's path; other containers may use it, so it is not removed (cgroups(7))"
            }
            Self::Dir { .. } => {
                "limits belong to a cgroup; one per container, so its usage is counted alone (cgroups(7))"
            }
            Self::Joinable { .. } => {
                "the config names a pre-existing cgroup: the container joins it only if it has no processes, and does not remove it (runtime.md, Delete)"
            }
            Self::Enable { .. } => {
                "a child cgroup has a controller only if its parent enables it (cgroups(7), subtree_control)"
            }
            Self::Write { path, .. } if is_device_list(path) => {
                "a device node gives access to a driver of the kernel: only the listed devices can be opened (config-linux.md, Allowed Device list)"
            }
            Self::Write { .. } => {
                "the limit is in force before the first process exists, so nothing runs unlimited (cgroups(7))"
            }
            Self::WriteEither { .. } => {
                "the weight's file depends on the I/O scheduler: BFQ has one, io.cost has another (cgroup-v2.rst, IO Interface Files)"
            }
            Self::Scope { .. } => {
                "systemd owns the cgroup tree: it makes the cgroup around the waiting child and delegates it (systemd.resource-control(5), Delegate)"
            }
            Self::AttachToScope { .. } => {
                "an unprivileged user may not move a process between cgroups; the user's systemd may, within its delegated part (cgroups(7), Delegation)"
            }
            Self::InScope { .. } => {
                "systemd makes the scope in the cgroup v1 trees that it uses; the runtime makes the same cgroup in the others (cgroups(7))"
            }
            Self::Owner { .. } => {
                "the config mounts the cgroup writable in a new cgroup namespace: the container's user may make cgroups below it, and may not change its limits (config-linux.md, Cgroup ownership)"
            }
            Self::Open { .. } => {
                "clone3 starts the child inside this cgroup: there is no moment outside it (clone(2), CLONE_INTO_CGROUP)"
            }
            Self::Join { .. } => {
                "no CLONE_INTO_CGROUP here: the child waits until it has been moved (cgroups(7))"
            }
            Self::OpenTasks { .. } => {
                "cgroup v1 has no CLONE_INTO_CGROUP: the child enters by this file, which the kernel checks with the rights of the process that opened it (cgroups(7), CVE-2021-4197)"
            }
            Self::Enter { .. } => {
                "a thread that moves itself takes no lock; to move another process waits for all forks and exits of the machine to come to a halt, often 10 ms (cgroups(7), cgroups v1 tasks)"
            }
        }
    }

    fn pointer(&self) -> Option<String> {
        match self {
            Self::Write { path, .. } | Self::WriteEither { path, .. } => Some(resource_pointer(path)?.into()),
            Self::Dir { .. } | Self::Joinable { .. } => Some("/linux/cgroupsPath".into()),
            Self::Parent { .. }
            | Self::Enable { .. }
            | Self::Scope { .. }
            | Self::AttachToScope { .. }
            | Self::InScope { .. }
            | Self::Owner { .. }
            | Self::Open { .. }
            | Self::OpenTasks { .. }
            | Self::Enter { .. }
            | Self::Join { .. } => None,
        }
    }

    fn remedy(&self, errno: Errno, _call: Call) -> Option<&'static str> {
        match (self, errno) {
            (Self::Scope { .. }, Errno::EEXIST) => {
                Some("a unit of this name runs: choose another id or linux.cgroupsPath")
            }
            (Self::Scope { .. } | Self::AttachToScope { .. }, Errno::ENOENT | Errno::ECONNREFUSED) => Some(
                "systemd does not listen there: is it running? Leave --systemd-cgroup out to use cgroupfs",
            ),
            (Self::Dir { .. }, Errno::EACCES | Errno::EPERM | Errno::EROFS) => {
                Some("cgroupfs is not writable here: run as root, or have this cgroup delegated to you")
            }
            (Self::Dir { .. }, Errno::EEXIST) => Some(
                "it was made this moment: another container is being created with the same linux.cgroupsPath",
            ),
            (Self::Joinable { .. }, Errno::EWOULDBLOCK) => {
                Some("another container is being created in it: give each its own linux.cgroupsPath")
            }
            (Self::Joinable { .. }, Errno::EBUSY) => Some(
                "a container would share its limits and be killed with them: choose another linux.cgroupsPath",
            ),
            (Self::Join { .. }, Errno::EBUSY) => Some(
                "this cgroup hands controllers down, so it can have no processes of its own (\"no internal processes\", cgroups(7)): name one below it (exec --cgroup PATH)",
            ),
            (Self::Enable { .. }, Errno::EBUSY) => Some(
                "the parent cgroup has processes of its own (\"no internal processes\", cgroups(7)): move them to a child, or choose another linux.cgroupsPath",
            ),
            (Self::Write { path, .. }, Errno::ENOENT) if bounds_swap(path) => Some(
                "swap accounting is off in this kernel (cgroup v2: cgroup.memory=noswap; v1: boot with swapaccount=1): swap cannot be bounded",
            ),
            (Self::WriteEither { .. }, Errno::ENOENT) => Some(
                "no I/O scheduler with weights is here (modprobe bfq, or a kernel with CONFIG_BLK_CGROUP_IOCOST): the weight cannot be applied",
            ),
            (Self::Write { .. } | Self::WriteEither { .. }, Errno::ENOENT | Errno::EACCES) => Some(
                "this kernel or cgroup has no such file: the limit cannot be applied, and nothing runs without it",
            ),
            (Self::Write { .. } | Self::WriteEither { .. }, Errno::EINVAL | Errno::ERANGE | Errno::EBUSY) => {
                Some("the kernel refuses this value")
            }
            (
                Self::Parent { .. }
                | Self::Dir { .. }
                | Self::Joinable { .. }
                | Self::Enable { .. }
                | Self::Write { .. }
                | Self::WriteEither { .. }
                | Self::Scope { .. }
                | Self::AttachToScope { .. }
                | Self::InScope { .. }
                | Self::Owner { .. }
                | Self::Open { .. }
                | Self::OpenTasks { .. }
                | Self::Enter { .. }
                | Self::Join { .. },
                _,
            ) => None,
        }
    }

    fn note(&self) -> Option<&'static str> {
        let Self::Write { path, value } = self else { return None };
        device_of_rule(&last(path), value)
    }

    fn on_host(&self) -> &'static [OnHost] {
        match self {
            Self::Dir { .. } | Self::Joinable { .. } | Self::InScope { .. } => {
                &[OnHost::Creates, OnHost::Opens]
            }
            Self::Scope { .. } => &[OnHost::Creates],
            Self::Parent { .. }
            | Self::Enable { .. }
            | Self::Write { .. }
            | Self::WriteEither { .. }
            | Self::Owner { .. }
            | Self::Open { .. }
            | Self::OpenTasks { .. } => &[OnHost::Opens],
            Self::AttachToScope { .. } | Self::Join { .. } | Self::Enter { .. } => &[],
        }
    }

    fn calls(&self) -> Vec<&'static str> {
        match self {
            Self::Parent { .. } => vec!["mkdirat"],
            // The record stays open for the next row.
            Self::Dir { .. } | Self::InScope { .. } => vec!["mkdirat", "newfstatat", "openat?", "write"],
            // The members of the cgroup and of those below it are read, and whether it is frozen.
            Self::Joinable { .. } => {
                vec![
                    "openat",
                    "mkdirat?",
                    "openat?",
                    "flock",
                    "openat|newfstatat|fstat|statx|fcntl|lseek|read|getdents64|close*",
                    "openat?",
                    "write",
                ]
            }
            // A conversation over a socket: as many records as the other side makes of it; then a look at
            // where the process is.
            Self::Scope { .. } | Self::AttachToScope { .. } => vec![
                "socket",
                "connect",
                "setsockopt",
                "setsockopt",
                "write|sendto|read|recvfrom|openat|fstat|statx|fcntl|lseek|getdents64|newfstatat|close*",
            ],
            // Its file stays open for the next line.
            Self::Write { path, .. } if is_device_list(path) => vec!["openat?", "close?", "write"],
            Self::Enable { .. } | Self::Write { .. } | Self::Join { .. } => {
                vec!["openat", "write", "close"]
            }
            Self::Owner { .. } => {
                vec![
                    "openat",
                    "fchownat",
                    "openat|fstat|statx|lseek|read|close*",
                    "fchownat",
                    "fchownat|close*",
                ]
            }
            Self::WriteEither { .. } => vec!["openat", "openat?", "write", "close"],
            Self::Open { .. } | Self::OpenTasks { .. } => vec!["openat"],
            Self::Enter { .. } => vec!["write", "close"],
        }
    }
}

/// Whether a file is a device list of cgroup v1, which takes one line in each write(2).
pub fn is_device_list(file: &CStr) -> bool {
    matches!(&*last(file), "devices.allow" | "devices.deny")
}

/// The field of `resources` behind a file of a cgroup.
fn resource_pointer(file: &CStr) -> Option<&'static str> {
    let name = last(file);
    match controller(&name) {
        "cgroup" => None,
        "devices" => Some("/linux/resources/devices"),
        "schemata" => Some("/linux/intelRdt"),
        _ => Some(of_file(&name).map_or(UNIFIED, |row| row.pointer)),
    }
}

/// Whether a file bounds swap.
fn bounds_swap(file: &CStr) -> bool {
    of_file(&last(file)).is_some_and(|row| row.limit == Limit::Swap)
}
