//! What the rows about directories and files inside the container do.

use crate::perform::new_mount::{new_fs, set_attrs};
use crate::perform::ops::mount::open_target;
use crate::perform::places;
use crate::perform::target::{open_existing, open_or_make};
use crate::perform::{Call, Cx, Done, at};
use crate::plan::ops::{FileOp, SetAttr, TargetKind};
use crate::sys::{Errno, fs, mount};

/// Performs one row about directories and files inside the container.
pub(super) fn apply(op: &FileOp, cx: &mut Cx) -> Done {
    match op {
        FileOp::OpenDir { root, path, to } => {
            let fd = open_or_make(cx, cx.fd(root), path, TargetKind::Dir, false)?;
            cx.set(to, fd);
            places::expect_own(cx, root, path, fd)
        }
        FileOp::MakeTarget { target } => {
            let there = open_existing(cx, cx.fd(&target.root), &target.path);
            match there {
                Err(Errno::ENOENT) => {
                    cx.made.push(target.path.clone());
                    open_target(cx, target, target.kind, false).map(fs::close)
                }
                found => found.map(fs::close),
            }
        }
        FileOp::Replace { .. } => file_mount(op, cx),
        FileOp::CopyUp { root, path, tree, mode, strict } => {
            let (root, tree) = (cx.fd(root), cx.fd(tree));
            crate::perform::copy_up::copy_up(cx, root, path, tree, (*mode, *strict))
        }
        FileOp::Secret { .. } => crate::perform::secrets::write(op, cx),
    }
}

/// Copies the rest of a file.
fn copy(cx: &mut Cx, from: std::os::fd::RawFd, to: std::os::fd::RawFd) -> Done {
    let mut block = [0u8; 4096];
    loop {
        match at(cx, Call::Read, fs::read(from, &mut block))? {
            0 => return Ok(()),
            n => at(cx, Call::Write, fs::write_all(to, &block[..n]))?,
        }
    }
}

/// A file on a tmpfs of its own, bound over a file below the root. Only a mount that is attached can be copied
/// (before Linux 6.15): for that long the tmpfs covers the file's directory, which only Init sees.
fn file_mount(op: &FileOp, cx: &mut Cx) -> Done {
    let FileOp::Replace { root, path, dir, name, data, content, from } = op else {
        return Err(Errno::ENOSYS);
    };
    let shown = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC;
    let options = data.iter().map(|(key, value)| (key.as_c_str(), value.as_deref()));
    let tmpfs = new_fs(cx, c"tmpfs", options, shown)?;
    let place = open_existing(cx, cx.fd(root), dir)?;
    at(cx, Call::MoveMount, mount::move_mount(tmpfs, place, c""))?;
    let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW;
    let file = at(cx, Call::Open, fs::openat(tmpfs, name, flags, 0o444))?;
    match from {
        Some(slot) => copy(cx, cx.fd(slot), file)?,
        None => at(cx, Call::Write, fs::write_all(file, content))?,
    }
    at(cx, Call::Chmod, fs::fchmod(file, 0o444))?;
    fs::close(file);
    let clone = mount::OPEN_TREE_CLONE | mount::OPEN_TREE_CLOEXEC;
    let tree = at(cx, Call::OpenTree, mount::open_tree(tmpfs, name, clone))?;
    at(cx, Call::Fchdir, fs::fchdir(tmpfs))?;
    at(cx, Call::Umount, mount::umount_here())?;
    fs::close(tmpfs);
    set_attrs(cx, tree, &[SetAttr::READONLY])?;
    let target = open_existing(cx, cx.fd(root), path)?;
    at(cx, Call::MoveMount, mount::move_mount(tree, target, c""))?;
    fs::close(target);
    fs::close(tree);
    fs::close(place);
    Ok(())
}
