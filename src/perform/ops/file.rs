//! What the rows about directories and files inside the container do.

use std::ffi::CString;
use std::os::fd::RawFd;

use crate::perform::new_mount::{new_fs, set_attrs};
use crate::perform::nodes::Detached;
use crate::perform::ops::mount::open_target;
use crate::perform::places;
use crate::perform::target::{open_existing, open_or_make};
use crate::perform::{Call, Cx, Done, at};
use crate::plan::Slot;
use crate::plan::ops::{FileOp, OwnFile, SetAttr, TargetKind};
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
        FileOp::Own { root, data, files, empty } => own(cx, cx.fd(root), data, (files, empty.as_ref())),
        FileOp::Replace { root, path, tree } => {
            set_attrs(cx, cx.fd(tree), &[SetAttr::READONLY])?;
            let target = open_existing(cx, cx.fd(root), path)?;
            at(cx, Call::MoveMount, mount::move_mount(cx.fd(tree), target, c""))?;
            fs::close(target);
            fs::close(cx.fd(tree));
            cx.set(tree, -1);
            Ok(())
        }
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

/// Writes the files, and makes a mount of each, and one of an empty directory.
fn own(
    cx: &mut Cx,
    root: RawFd,
    data: &[(CString, Option<CString>)],
    (files, empty): (&[OwnFile], Option<&Slot>),
) -> Done {
    let attrs = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC;
    let options = data.iter().map(|(key, value)| (key.as_c_str(), value.as_deref()));
    let fd = new_fs(cx, c"tmpfs", options, attrs)?;
    let mut tmpfs = Detached::new(fd, root);
    for OwnFile { name, content, from, to } in files {
        let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW;
        let file = at(cx, Call::Open, fs::openat(fd, name, flags, 0o444))?;
        match from {
            Some(slot) => copy(cx, cx.fd(slot), file)?,
            None => at(cx, Call::Write, fs::write_all(file, content))?,
        }
        at(cx, Call::Chmod, fs::fchmod(file, 0o444))?;
        fs::close(file);
        let tree = tmpfs.copy_of(cx, name)?;
        cx.set(to, tree);
    }
    if let Some(to) = empty {
        at(cx, Call::Mkdir, fs::mkdirat(fd, EMPTY, 0o555))?;
        let tree = tmpfs.copy_of(cx, EMPTY)?;
        cx.set(to, tree);
        set_attrs(cx, tree, &[SetAttr::READONLY])?;
    }
    tmpfs.close(cx)
}

/// The name of the empty directory; no file of the runtime's has it.
const EMPTY: &std::ffi::CStr = c"empty";
