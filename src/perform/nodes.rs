//! Device nodes of the container's own, on a tmpfs of their own. Init calls [`open`]: it only makes system calls.

use std::ffi::{CStr, CString};
use std::os::fd::RawFd;

use crate::perform::at;
use crate::perform::new_mount::{new_fs, set_attrs};
use crate::perform::{Call, Cx, Done};
use crate::plan::Slot;
use crate::plan::ops::{DevFile, SetAttr};
use crate::sys::{Errno, SysResult, fs, mount};

/// Makes the tmpfs and what it holds. It is attached nowhere, so its names are this process's alone.
pub fn make(cx: &mut Cx, nodes: &[DevFile], to: &Slot) -> Done {
    let attrs = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NOEXEC;
    let fd = new_fs(cx, c"tmpfs", std::iter::empty(), attrs)?;
    cx.set(to, fd);
    let umask = fs::umask(0);
    let made = nodes.iter().try_for_each(|node| {
        at(cx, Call::Mknod, fs::mknodat(fd, &node.name, node.mode, node.dev))?;
        match (node.uid, node.gid) {
            (0, 0) => Ok(()),
            (uid, gid) => at(cx, Call::Chown, fs::fchownat(fd, &node.name, uid, gid)),
        }
    });
    fs::umask(umask);
    made?;
    // No process inside can change a node's mode or owner; a device stays writable on a read-only mount.
    set_attrs(cx, fd, &[SetAttr::READONLY])
}

/// Opens a null device that no other process has. Its path is the usual one, for programs that read their own links.
pub fn null(cx: &mut Cx, to: &Slot) -> Done {
    let attrs = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NOEXEC;
    let fd = new_fs(cx, c"tmpfs", std::iter::empty(), attrs)?;
    let umask = fs::umask(0);
    let made = at(cx, Call::Mkdir, fs::mkdirat(fd, c"dev", 0o755)).and_then(|()| {
        let dev = libc::makedev(1, 3);
        at(cx, Call::Mknod, fs::mknodat(fd, c"dev/null", libc::S_IFCHR | 0o666, dev))
    });
    fs::umask(umask);
    made?;
    let opened = at(cx, Call::Open, fs::openat(fd, c"dev/null", libc::O_RDWR, 0))?;
    fs::close(fd);
    cx.set(to, opened);
    Ok(())
}

/// Copies the mount of each node.
pub fn open(cx: &mut Cx, nodes: &Slot, root: &Slot, trees: &[(CString, Slot)]) -> Done {
    let mut tmpfs = Detached::new(cx.fd(nodes), cx.fd(root));
    for (name, to) in trees {
        let tree = tmpfs.copy_of(cx, name)?;
        cx.set(to, tree);
    }
    cx.set(nodes, -1);
    tmpfs.close(cx)
}

/// A new mount whose files are shown one by one.
pub struct Detached {
    fd: RawFd,
    /// Where it is attached while its files are copied, before Linux 6.15. No path is looked up there meanwhile.
    place: RawFd,
    attached: bool,
}

impl Detached {
    /// The mount `fd`, which is attached nowhere.
    pub fn new(fd: RawFd, place: RawFd) -> Self {
        Detached { fd, place, attached: false }
    }

    /// A mount of this file alone. Before Linux 6.15 open_tree(2) refuses with EINVAL to copy what is not attached.
    pub fn copy_of(&mut self, cx: &mut Cx, name: &CStr) -> SysResult<RawFd> {
        let flags = mount::OPEN_TREE_CLONE | mount::OPEN_TREE_CLOEXEC;
        match mount::open_tree(self.fd, name, flags) {
            Err(Errno::EINVAL) if !self.attached => {
                at(cx, Call::MoveMount, mount::move_mount(self.fd, self.place, c""))?;
                self.attached = true;
                at(cx, Call::OpenTree, mount::open_tree(self.fd, name, flags))
            }
            copied => at(cx, Call::OpenTree, copied),
        }
    }

    /// Unmounts the tmpfs, if it is attached, and closes it; the copies stay.
    pub fn close(self, cx: &mut Cx) -> Done {
        if self.attached {
            at(cx, Call::Fchdir, fs::fchdir(self.fd))?;
            at(cx, Call::Umount, mount::umount_here())?;
        }
        fs::close(self.fd);
        Ok(())
    }
}
