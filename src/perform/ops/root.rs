//! What the rows about the root file system do.

use std::ffi::CStr;

use crate::perform::new_mount::set_attrs;
use crate::perform::places;
use crate::perform::{Call, Cx, Done, at};
use crate::plan::Slot;
use crate::plan::ops::RootOp;
use crate::sys::mount::{AT_RECURSIVE, MountAttr};
use crate::sys::{Errno, fs, mount, process};

/// Performs one row about the root file system.
pub(super) fn apply(op: &RootOp, cx: &mut Cx) -> Done {
    match op {
        RootOp::CriuDir { path } => at(cx, Call::Mkdir, fs::mkdirat(libc::AT_FDCWD, path, 0o755)),
        RootOp::Open { path, rootfs, recursive, to } => open_root(cx, path, rootfs, *recursive, to),
        RootOp::VerifyOwn => own_root(cx),
        RootOp::Propagation { flags } => {
            let attr = MountAttr { propagation: flags & !libc::MS_REC, ..MountAttr::default() };
            at(cx, Call::MountSetattr, mount::mount_setattr(libc::AT_FDCWD, c"/", AT_RECURSIVE, &attr))
        }
        RootOp::OpenPlace { path, rootfs, to } => {
            let flags = libc::O_PATH | libc::O_DIRECTORY;
            let fd = at(cx, Call::Open, fs::openat(libc::AT_FDCWD, path, flags, 0))?;
            cx.set(to, fd);
            let place = at(cx, Call::Stat, fs::fstatat(fd, c""))?;
            let rootfs = at(cx, Call::Stat, fs::fstatat(cx.fd(rootfs), c""))?;
            let same = (place.st_dev, place.st_ino) == (rootfs.st_dev, rootfs.st_ino);
            if same { Ok(()) } else { at(cx, Call::SameDirectory, Err(Errno::ESTALE)) }
        }
        RootOp::Attach { root, at: None } => {
            at(cx, Call::MoveMount, mount::move_mount(cx.fd(root), libc::AT_FDCWD, c"/"))
        }
        RootOp::Attach { root, at: Some(place) } => {
            at(cx, Call::MoveMount, mount::move_mount(cx.fd(root), cx.fd(place), c""))
        }
        RootOp::AttachAt { tree, path } => {
            let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_NOFOLLOW;
            let place = at(cx, Call::Open, fs::openat(libc::AT_FDCWD, path, flags, 0))?;
            at(cx, Call::MoveMount, mount::move_mount(cx.fd(tree), place, c""))?;
            fs::close(place);
            fs::close(cx.fd(tree));
            cx.set(tree, -1);
            Ok(())
        }
        RootOp::Attributes { root, change } => set_attrs(cx, cx.fd(root), std::slice::from_ref(change)),
        RootOp::Pivot { root } => {
            at(cx, Call::Fchdir, fs::fchdir(cx.fd(root)))?;
            at(cx, Call::Pivot, mount::pivot_root_here())?;
            at(cx, Call::Umount, mount::umount_here())
        }
        RootOp::Hide { path } => places::hide(cx, path),
        RootOp::Chroot { root } => {
            at(cx, Call::Fchdir, fs::fchdir(cx.fd(root)))?;
            at(cx, Call::Chroot, process::chroot_here())
        }
    }
}

/// setns(2) into one's own mount namespace leads to its root: another one than now is a chroot's.
fn own_root(cx: &mut Cx) -> Done {
    let before = at(cx, Call::Statx, fs::place_at(c"/"))?;
    let ns = at(cx, Call::Open, fs::openat(libc::AT_FDCWD, c"/proc/self/ns/mnt", libc::O_RDONLY, 0))?;
    let joined = at(cx, Call::Setns, process::setns(ns, libc::CLONE_NEWNS as u64));
    fs::close(ns);
    joined?;
    let after = at(cx, Call::Statx, fs::place_at(c"/"))?;
    if before == after { Ok(()) } else { at(cx, Call::Chrooted, Err(Errno::EXDEV)) }
}

/// A copy of the tree at `path`, which must be what is behind `rootfs`.
fn open_root(cx: &mut Cx, path: &CStr, rootfs: &Slot, recursive: bool, to: &Slot) -> Done {
    let flags = mount::OPEN_TREE_CLONE | mount::OPEN_TREE_CLOEXEC | if recursive { AT_RECURSIVE } else { 0 };
    let tree = at(cx, Call::OpenTree, mount::open_tree(libc::AT_FDCWD, path, flags))?;
    let found = at(cx, Call::Stat, fs::fstatat(tree, c""))?;
    let opened = at(cx, Call::Stat, fs::fstatat(cx.fd(rootfs), c""))?;
    if (found.st_dev, found.st_ino) != (opened.st_dev, opened.st_ino) {
        cx.call = Call::SameDirectory;
        return Err(Errno::ESTALE);
    }
    cx.set(to, tree);
    Ok(())
}
