//! Device nodes of the container's own, on a tmpfs of their own. Init calls [`open`]: it only makes system calls.

use std::ffi::CString;

use crate::perform::apply::at;
use crate::perform::apply_mounts::new_fs;
use crate::perform::{Call, Cx, Done};
use crate::plan::Slot;
use crate::plan::action::Node;
use crate::sys::{fs, mount};

/// Makes the tmpfs and what it holds. It is attached nowhere, so its names are this process's alone.
pub fn make(cx: &mut Cx, nodes: &[Node], to: &Slot) -> Done {
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
    made
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
