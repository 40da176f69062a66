//! Device nodes of the container's own, on a tmpfs of their own. Init calls [`open`]: it only makes system calls.

use std::ffi::CString;

use crate::perform::at;
use crate::perform::new_mount::{new_fs, set_attrs};
use crate::perform::{Call, Cx, Done};
use crate::plan::Slot;
use crate::plan::ops::{DevFile, SetAttr};
use crate::sys::{fs, mount};

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

/// Copies the mount of each node. Only what is attached can be copied (before Linux 6.15): the tmpfs lies on the root
/// meanwhile, where no path is looked up.
pub fn open(cx: &mut Cx, nodes: &Slot, root: &Slot, trees: &[(CString, Slot)]) -> Done {
    let fd = cx.fd(nodes);
    at(cx, Call::MoveMount, mount::move_mount(fd, cx.fd(root), c""))?;
    for (name, to) in trees {
        let flags = mount::OPEN_TREE_CLONE | mount::OPEN_TREE_CLOEXEC;
        let tree = at(cx, Call::OpenTree, mount::open_tree(fd, name, flags))?;
        cx.set(to, tree);
    }
    at(cx, Call::Fchdir, fs::fchdir(fd))?;
    at(cx, Call::Umount, mount::umount_here())?;
    fs::close(fd);
    cx.set(nodes, -1);
    Ok(())
}
