//! Where rows act inside the container, and what must be there.

use std::ffi::CString;

use super::slot::Slot;
use crate::sys::mount::MountAttr;

/// What must exist at a mount's destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetKind {
    /// A directory; made if missing.
    Dir,
    /// A regular file; made empty if missing.
    File,
    /// A directory in a file system that the plan has just made: nothing should have its name yet.
    NewDir,
    /// A regular file in such a file system.
    NewFile,
    /// What the source is.
    AsSource,
    /// The directory /proc: what is mounted there must be a procfs.
    Proc,
}

/// A place inside the container, resolved below the root's descriptor when the row runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The container's root mount.
    pub root: Slot,
    /// Relative to it, cleaned; empty for the root itself.
    pub path: CString,
    /// What to make if nothing is there.
    pub kind: TargetKind,
}

impl Target {
    /// Its path as the container sees it.
    pub fn inside(&self) -> String {
        let dir = if &*self.root.name == "dev" { "/dev/" } else { "/" };
        format!("{dir}{}", crate::sys::cstr::show(&self.path))
    }
}

/// What landlock(7) leaves of the rights to files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Landlock {
    /// The kernel's ABI.
    pub abi: i32,
    /// The rights that are given up but for what follows.
    pub handled: u64,
    /// `LANDLOCK_SCOPE_*`.
    pub scoped: u64,
    /// Paths as the program sees them, and what stays for them and below.
    pub paths: Vec<(CString, u64)>,
    /// The files of this many descriptors keep what the descriptor allows.
    pub descriptors: u32,
}

/// What a device node must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceNode {
    /// A block device; else a character device.
    pub block: bool,
    /// The driver's number.
    pub major: u32,
    /// The device's number with its driver.
    pub minor: u32,
}

/// A file on a tmpfs of device nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DevFile {
    /// One component.
    pub name: CString,
    /// Its kind (`S_IFMT`) and mode.
    pub mode: u32,
    /// The device's number, 0 for a file.
    pub dev: u64,
    /// Its owner, as the process that makes the node sees it.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

impl std::fmt::Display for DevFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:#o}", crate::sys::cstr::show(&self.name), self.mode)?;
        if self.dev != 0 {
            write!(f, " {}:{}", libc::major(self.dev), libc::minor(self.dev))?;
        }
        if (self.uid, self.gid) != (0, 0) { write!(f, " {}:{}", self.uid, self.gid) } else { Ok(()) }
    }
}

impl std::fmt::Display for DeviceNode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}:{}", if self.block { "block" } else { "char" }, self.major, self.minor)
    }
}

/// One mount_setattr(2): to the mount alone or to everything below it too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SetAttr {
    /// `AT_RECURSIVE`.
    pub recursive: bool,
    /// What to change.
    pub attr: MountAttr,
}

impl SetAttr {
    /// No mount event of it or below it reaches another mount namespace, nor comes from one.
    pub const PRIVATE: SetAttr = SetAttr {
        recursive: true,
        attr: MountAttr { attr_set: 0, attr_clr: 0, propagation: libc::MS_PRIVATE, userns_fd: 0 },
    };
    /// The mount alone becomes read-only.
    pub const READONLY: SetAttr = SetAttr {
        recursive: false,
        attr: MountAttr { attr_set: libc::MOUNT_ATTR_RDONLY, attr_clr: 0, propagation: 0, userns_fd: 0 },
    };
}

/// The two ends of a pipe that takes the place of one of the descriptors 0 to 2.
#[derive(Debug, Clone, PartialEq)]
pub struct StdioPipe {
    /// Which of them.
    pub number: u8,
    /// The launcher's end.
    pub ours: Slot,
    /// The program's end.
    pub theirs: Slot,
}
