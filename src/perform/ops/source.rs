//! What the rows about the sources of mounts do.

use std::ffi::CStr;
use std::os::fd::RawFd;

use crate::perform::ops::device::expect_device;
use crate::perform::target::open_existing;
use crate::perform::{Call, Cx, Done, at};
use crate::plan::Slot;
use crate::plan::ops::{DeviceNode, SourceOp};
use crate::sys::mount::{AT_EMPTY_PATH, AT_RECURSIVE};
use crate::sys::{fs, mount};

/// Performs one row about the sources of mounts.
pub(super) fn apply(op: &SourceOp, cx: &mut Cx) -> Done {
    match op {
        SourceOp::Path { path, judged, recursive, to } => {
            let found = match judged {
                true => crate::perform::target::open_judged(cx, path)?,
                false => crate::perform::target::open_source(cx, path)?,
            };
            copy_of(cx, found, *recursive, to)
        }
        SourceOp::Tree { source, at: from, recursive, device, to } => {
            open_tree(cx, (source, from.as_ref()), *recursive, *device, to)
        }
        SourceOp::Inside { root, path, recursive, to } => {
            let found = open_existing(cx, cx.fd(root), path)?;
            copy_of(cx, found, Some(*recursive), to)
        }
        SourceOp::KeepFd { tree, to } => {
            let fd = at(cx, Call::Dup, fs::dup_above(cx.fd(tree), 3))?;
            cx.set(to, fd);
            Ok(())
        }
    }
}

/// Takes a detached copy of a host path, and checks that a device is the device it should be.
fn open_tree(
    cx: &mut Cx,
    (source, from): (&CStr, Option<&Slot>),
    recursive: bool,
    device: Option<DeviceNode>,
    to: &Slot,
) -> Done {
    let mut flags = mount::OPEN_TREE_CLONE | mount::OPEN_TREE_CLOEXEC;
    if recursive {
        flags |= AT_RECURSIVE;
    }
    let dir = match from {
        Some(slot) => {
            flags |= AT_EMPTY_PATH;
            cx.fd(slot)
        }
        None => libc::AT_FDCWD,
    };
    let tree = at(cx, Call::OpenTree, mount::open_tree(dir, source, flags))?;
    if let Some(device) = device {
        expect_device(cx, tree, device)?;
    }
    cx.set(to, tree);
    Ok(())
}

/// Fills `to` with a detached copy of the tree at `found`, or with `found` itself where none is to be made.
fn copy_of(cx: &mut Cx, found: RawFd, recursive: Option<bool>, to: &Slot) -> Done {
    let Some(recursive) = recursive else {
        cx.set(to, found);
        return Ok(());
    };
    let flags = mount::OPEN_TREE_CLONE | mount::OPEN_TREE_CLOEXEC | AT_EMPTY_PATH;
    let flags = flags | if recursive { AT_RECURSIVE } else { 0 };
    let tree = at(cx, Call::OpenTree, mount::open_tree(found, c"", flags))?;
    fs::close(found);
    cx.set(to, tree);
    Ok(())
}
