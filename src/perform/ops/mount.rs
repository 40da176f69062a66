//! What the rows about mounts do.

use std::ffi::{CStr, CString};
use std::os::fd::RawFd;

use crate::perform::new_mount::{new_fs, set_attrs};
use crate::perform::ops::device::expect_device;
use crate::perform::places;
use crate::perform::target::{open_existing, open_or_make};
use crate::perform::{Call, Cx, Done, at};
use crate::plan::Slot;
use crate::plan::ops::{DeviceNode, MountOp, SetAttr, Target, TargetKind};
use crate::sys::mount::{AT_EMPTY_PATH, AT_RECURSIVE};
use crate::sys::{Errno, fs, mount};

/// Performs one row about mounts.
pub(super) fn apply(op: &MountOp, cx: &mut Cx) -> Done {
    match op {
        MountOp::OpenSource { path, recursive, to } => {
            let found = crate::perform::target::open_source(cx, path)?;
            copy_of(cx, found, *recursive, to)
        }
        MountOp::OpenTree { source, at: from, recursive, device, to } => {
            open_tree(cx, (source, from.as_ref()), *recursive, *device, to)
        }
        MountOp::OpenDir { root, path, to } => {
            let fd = open_or_make(cx, cx.fd(root), path, TargetKind::Dir, false)?;
            cx.set(to, fd);
            places::expect_own(cx, cx.fd(root), path, fd)
        }
        MountOp::MakeTarget { target } => {
            let there = open_existing(cx, cx.fd(&target.root), &target.path);
            match there {
                Err(Errno::ENOENT) => {
                    cx.made.push(target.path.clone());
                    open_target(cx, target, target.kind, false).map(fs::close)
                }
                found => found.map(fs::close),
            }
        }
        MountOp::New { .. } => mount_fs(op, cx),
        MountOp::Move { tree, before, target } => move_tree(cx, cx.fd(tree), before, target),
        MountOp::File { .. } => file_mount(op, cx),
        MountOp::CopyUp { root, path, tree, mode, strict } => {
            let (root, tree) = (cx.fd(root), cx.fd(tree));
            crate::perform::copy_up::copy_up(cx, root, path, tree, (*mode, *strict))
        }
        MountOp::Secret { .. } => crate::perform::secrets::write(op, cx),
        MountOp::OpenInside { root, path, recursive, to } => {
            let found = open_existing(cx, cx.fd(root), path)?;
            copy_of(cx, found, Some(*recursive), to)
        }
        MountOp::KeepFd { tree, to } => {
            let fd = at(cx, Call::Dup, fs::dup_above(cx.fd(tree), 3))?;
            cx.set(to, fd);
            Ok(())
        }
        MountOp::Remount { target, data, changes, keep } => {
            let fd = open_existing(cx, cx.fd(&target.root), &target.path)?;
            reconfigure(cx, fd, data)?;
            set_attrs(cx, fd, changes)?;
            keep_or_close(cx, fd, keep.as_ref());
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

fn open_target(cx: &mut Cx, target: &Target, kind: TargetKind, strict: bool) -> Result<RawFd, Errno> {
    open_or_make(cx, cx.fd(&target.root), &target.path, kind, strict)
}

/// A file on a tmpfs of its own, bound over a file below the root. Only a mount that is attached can be copied
/// (before Linux 6.15): for that long the tmpfs covers the file's directory, which only Init sees.
fn file_mount(op: &MountOp, cx: &mut Cx) -> Done {
    let MountOp::File { root, path, dir, name, data, content } = op else { return Err(Errno::ENOSYS) };
    let shown = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC;
    let options = data.iter().map(|(key, value)| (key.as_c_str(), value.as_deref()));
    let tmpfs = new_fs(cx, c"tmpfs", options, shown)?;
    let place = open_existing(cx, cx.fd(root), dir)?;
    at(cx, Call::MoveMount, mount::move_mount(tmpfs, place, c""))?;
    let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW;
    let file = at(cx, Call::Open, fs::openat(tmpfs, name, flags, 0o444))?;
    at(cx, Call::Write, fs::write_all(file, content))?;
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

fn mount_fs(op: &MountOp, cx: &mut Cx) -> Done {
    let MountOp::New { fs: fs_type, data, attrs, after, target, keep } = op else {
        return Err(Errno::ENOSYS);
    };
    let mut octal = *b"0000\0";
    let mode = match target.as_ref().filter(|_| op.inherits_mode()) {
        Some(target) => inherited_mode(cx, target, &mut octal)?,
        None => None,
    };
    let options = data.iter().map(|(key, value)| (key.as_c_str(), value.as_deref()));
    let fd = new_fs(cx, fs_type, options.chain(mode.map(|mode| (c"mode", Some(mode)))), *attrs)?;
    set_attrs(cx, fd, after)?;
    if let Some(target) = target {
        // What procfs and sysfs say is believed later on, so no link may redirect them.
        let strict = matches!(fs_type.to_bytes(), b"proc" | b"sysfs");
        let place = open_target(cx, target, TargetKind::Dir, strict)?;
        places::expect_free(cx, place, target, fd)?;
        at(cx, Call::MoveMount, mount::move_mount(fd, place, c""))?;
        fs::close(place);
    }
    keep_or_close(cx, fd, keep.as_ref());
    Ok(())
}

/// Changes the options of the file system at `fd`, where there are any to change.
fn reconfigure(cx: &mut Cx, fd: RawFd, data: &[(CString, Option<CString>)]) -> Done {
    if data.is_empty() {
        return Ok(());
    }
    let context = at(cx, Call::Fspick, mount::fspick(fd))?;
    for (key, value) in data {
        at(cx, Call::Fsconfig, mount::fsconfig_set(context, key, value.as_deref()))?;
    }
    at(cx, Call::FsconfigReconfigure, mount::fsconfig_reconfigure(context))?;
    fs::close(context);
    Ok(())
}

/// A descriptor that a later row uses goes into its slot.
fn keep_or_close(cx: &mut Cx, fd: RawFd, keep: Option<&Slot>) {
    match keep {
        Some(slot) => cx.set(slot, fd),
        None => fs::close(fd),
    }
}

/// A tmpfs looks like the directory it covers, if there is one: its mode, as an option in octal.
fn inherited_mode<'a>(
    cx: &mut Cx,
    target: &Target,
    octal: &'a mut [u8; 5],
) -> Result<Option<&'a CStr>, Errno> {
    if cx.made.contains(&target.path) {
        return Ok(None);
    }
    let there = match open_existing(cx, cx.fd(&target.root), &target.path) {
        Err(Errno::ENOENT) => return Ok(None),
        other => other?,
    };
    let st = at(cx, Call::Stat, fs::fstatat(there, c""))?;
    fs::close(there);
    for (i, digit) in octal.iter_mut().take(4).enumerate() {
        *digit = b'0' + ((st.st_mode >> (9 - 3 * i)) & 7) as u8;
    }
    Ok(CStr::from_bytes_with_nul(octal).ok())
}

/// Moves a detached tree to its place, which is made as the source is.
pub(super) fn move_tree(cx: &mut Cx, tree: RawFd, before: &[SetAttr], target: &Target) -> Done {
    let mut kind = target.kind;
    if matches!(kind, TargetKind::AsSource | TargetKind::Proc) {
        let st = at(cx, Call::Stat, fs::fstatat(tree, c""))?;
        kind = if st.st_mode & libc::S_IFMT == libc::S_IFDIR { TargetKind::Dir } else { TargetKind::File };
    }
    set_attrs(cx, tree, before)?;
    let place = open_target(cx, target, kind, false)?;
    places::expect_free(cx, place, target, tree)?;
    let moved = mount::move_mount(tree, place, c"").map_err(|e| unlike(e, kind, place));
    at(cx, Call::MoveMount, moved)?;
    fs::close(place);
    fs::close(tree);
    Ok(())
}

/// A file goes on a file and a directory on a directory: mount(2) says ENOTDIR where that is not so, and its
/// words are what Docker looks for, but move_mount(2) says EINVAL for many things.
fn unlike(e: Errno, source: TargetKind, place: RawFd) -> Errno {
    let is_dir = fs::fstatat(place, c"").map(|st| st.st_mode & libc::S_IFMT == libc::S_IFDIR);
    match is_dir {
        Ok(dir) if e == Errno::EINVAL && dir != (source == TargetKind::Dir) => Errno::ENOTDIR,
        _ => e,
    }
}
