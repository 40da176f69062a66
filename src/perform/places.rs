//! Places inside the container that are special: where nothing may be mounted, and what is covered or made
//! read-only. Init calls this: it only makes system calls.

use std::ffi::CStr;
use std::os::fd::RawFd;

use crate::perform::at;
use crate::perform::new_mount::{new_fs, set_attrs};
use crate::perform::target::open_existing;
use crate::perform::{Call, Cx, Done};
use crate::plan::Slot;
use crate::plan::ops::{SetAttr, Target, TargetKind};
use crate::sys::mount::{self, AT_EMPTY_PATH, AT_RECURSIVE, MountAttr};
use crate::sys::{Errno, fs};
use crate::tables::procfs::{EMULATED, PROC_MAGIC};

/// The root directory of every procfs (include/linux/proc_ns.h).
const PROC_ROOT: u64 = 1;

/// Refuses two places, however the rootfs's links led there. On the root itself a mount would be without
/// effect: the process stays below it. In procfs, which programs trust (runc CVE-2019-16884), only
/// the emulated files may be covered; and what is mounted as /proc is one.
pub fn expect_free(cx: &mut Cx, place: RawFd, target: &Target, tree: RawFd) -> Done {
    let root = cx.top(&target.root)?;
    let there = at(cx, Call::Statx, fs::place(place))?;
    if there.is_same(&root) {
        return at(cx, Call::OnRoot, Err(Errno::EBUSY));
    }
    let over_proc = target.kind == TargetKind::Proc;
    // What lies on the root's own mount lies in no procfs.
    if !over_proc && (there.mount == root.mount || EMULATED.contains(&target.path.as_c_str())) {
        return Ok(());
    }
    let in_proc = at(cx, Call::Statfs, fs::fs_magic(place))? == PROC_MAGIC;
    if !over_proc && !in_proc {
        return Ok(());
    }
    let is_proc = at(cx, Call::Statfs, fs::fs_magic(tree))? == PROC_MAGIC;
    if is_proc && (!in_proc || there.inode == PROC_ROOT) {
        return Ok(());
    }
    at(cx, if is_proc || !over_proc { Call::InProc } else { Call::NotProc }, Err(Errno::EPERM))
}

/// Refuses a directory that is another mount's by way of a link: a rootfs whose /dev leads to a volume would have its
/// devices made there, and files of that name removed. A mount that the rootfs brings itself is its own.
pub fn expect_own(cx: &mut Cx, root: &Slot, path: &CStr, dir: RawFd) -> Done {
    let there = at(cx, Call::Statx, fs::place(dir))?;
    if there.mount == cx.top(root)?.mount {
        return Ok(());
    }
    let root = cx.fd(root);
    let resolve = fs::RESOLVE_IN_ROOT | fs::RESOLVE_NO_SYMLINKS;
    let direct = at(cx, Call::OpenIn, fs::openat2(root, path, libc::O_PATH, 0, resolve));
    let direct = direct.and_then(|fd| fs::place(fd).inspect(|_| fs::close(fd)));
    if direct.is_ok_and(|direct| direct.is_same(&there)) {
        Ok(())
    } else {
        at(cx, Call::OtherMount, Err(Errno::EXDEV))
    }
}

/// What is at `path`, if something is: what is not there needs no cover.
fn existing(cx: &mut Cx, root: RawFd, path: &CStr) -> Result<Option<RawFd>, Errno> {
    match open_existing(cx, root, path) {
        Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
        opened => opened.map(Some),
    }
}

/// Covers a file with /dev/null and a directory with an empty one; what is not there needs no mask.
pub fn mask(cx: &mut Cx, root: &Slot, path: &CStr, null: &Slot, empty: &Slot) -> Done {
    let Some(place) = existing(cx, cx.fd(root), path)? else { return Ok(()) };
    let there = at(cx, Call::Statx, fs::place(place))?;
    let dir = there.is_dir();
    if dir && there.is_same(&cx.top(root)?) {
        return at(cx, Call::OnRoot, Err(Errno::EBUSY));
    }
    let (cover, used) =
        if dir { (cx.fd(empty), cx.empty_used) } else { (cx.fd(null), cx.null_used || cx.null_sealed) };
    let flags = mount::OPEN_TREE_CLONE | mount::OPEN_TREE_CLOEXEC | AT_EMPTY_PATH;
    // Only a mount that is attached can be copied (before Linux 6.15): the first place gets the mount itself.
    let tree = if used { at(cx, Call::OpenTree, mount::open_tree(cover, c"", flags))? } else { cover };
    let seal = !dir && !cx.null_sealed;
    if seal {
        // Mode, owner and times must not be changed through the mask.
        set_attrs(cx, tree, &[SetAttr { recursive: false, attr: SHOWN_DEVICE }])?;
    }
    at(cx, Call::MoveMount, mount::move_mount(tree, place, c""))?;
    if seal {
        // A copy has the flags of what it is copied from.
        cx.set(null, tree);
        cx.null_sealed = true;
    } else if used {
        fs::close(tree);
    }
    cx.empty_used |= dir;
    fs::close(place);
    Ok(())
}

/// For what covers masked files: a read-only mount keeps the node as it is, and
/// reading and writing the device itself is not affected by it.
pub const SHOWN_DEVICE: MountAttr = MountAttr {
    attr_set: libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NOEXEC,
    attr_clr: 0,
    propagation: 0,
    userns_fd: 0,
};

/// Covers a place with a read-only copy of itself. The root cannot be covered: it becomes read-only itself, and
/// as with runc nothing below it does.
pub fn readonly_path(cx: &mut Cx, root: &Slot, path: &CStr) -> Done {
    let Some(place) = existing(cx, cx.fd(root), path)? else { return Ok(()) };
    let there = at(cx, Call::Statx, fs::place(place))?;
    if there.is_same(&cx.top(root)?) {
        set_attrs(cx, cx.fd(root), &[SetAttr::READONLY])?;
    } else {
        let flags = mount::OPEN_TREE_CLONE | mount::OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | AT_RECURSIVE;
        let tree = at(cx, Call::OpenTree, mount::open_tree(place, c"", flags))?;
        set_attrs(cx, tree, &[SetAttr { recursive: true, ..SetAttr::READONLY }])?;
        at(cx, Call::MoveMount, mount::move_mount(tree, place, c""))?;
        fs::close(tree);
    }
    fs::close(place);
    Ok(())
}

/// Takes a mount of the host's out of this mount namespace, with what covers it, and covers the place: a user
/// namespace may have locked it.
pub fn hide(cx: &mut Cx, path: &CStr) -> Done {
    loop {
        match at(cx, Call::Umount, mount::umount(path)) {
            Ok(()) => {}
            // It went with one above it.
            Err(Errno::ENOENT) => return Ok(()),
            Err(Errno::EINVAL | Errno::EPERM) => break,
            Err(e) => return Err(e),
        }
    }
    let attrs = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;
    let cover = new_fs(cx, c"tmpfs", [(c"size", Some(c"4k"))].into_iter(), attrs)?;
    let moved = match mount::move_mount(cover, libc::AT_FDCWD, path) {
        Err(Errno::ENOENT) => Ok(()),
        other => at(cx, Call::MoveMount, other),
    };
    fs::close(cover);
    moved
}
