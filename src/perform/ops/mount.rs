//! What the rows about mounts do.

use std::ffi::{CStr, CString};
use std::os::fd::RawFd;

use crate::perform::new_mount::{new_fs, set_attrs};
use crate::perform::places;
use crate::perform::target::{open_existing, open_or_make};
use crate::perform::{Call, Cx, Done, at};
use crate::plan::Slot;
use crate::plan::ops::{MountOp, SetAttr, Target, TargetKind};
use crate::sys::{Errno, fs, mount};

/// Performs one row about mounts.
pub(super) fn apply(op: &MountOp, cx: &mut Cx) -> Done {
    match op {
        MountOp::New { .. } => mount_fs(op, cx),
        MountOp::Move { tree, before, target } => move_tree(cx, cx.fd(tree), before, target),
        MountOp::Remount { target, data, changes, keep } => {
            let fd = open_existing(cx, cx.fd(&target.root), &target.path)?;
            reconfigure(cx, fd, data)?;
            set_attrs(cx, fd, changes)?;
            keep_or_close(cx, fd, keep.as_ref());
            Ok(())
        }
    }
}

/// A mount target, made where it is missing.
pub(super) fn open_target(
    cx: &mut Cx,
    target: &Target,
    kind: TargetKind,
    strict: bool,
) -> Result<RawFd, Errno> {
    open_or_make(cx, cx.fd(&target.root), &target.path, kind, strict)
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
        attach(cx, fd, target, target.kind, strict)?;
    }
    keep_or_close(cx, fd, keep.as_ref());
    Ok(())
}

/// Mounts `tree` at a target, which is made where it is missing. A new entry of a file system that the plan has made is
/// named and not looked at: nothing but this plan has made it, and move_mount(2) follows no symlink there.
fn attach(cx: &mut Cx, tree: RawFd, target: &Target, kind: TargetKind, strict: bool) -> Done {
    let dir = cx.fd(&target.root);
    if matches!(kind, TargetKind::NewDir | TargetKind::NewFile) && make_own(cx, dir, &target.path, kind)? {
        return at(cx, Call::MoveMount, mount::move_mount(tree, dir, &target.path));
    }
    let place = open_target(cx, target, kind, strict)?;
    places::expect_free(cx, place, target, tree)?;
    let moved = mount::move_mount(tree, place, c"").map_err(|e| unlike(e, kind, place));
    at(cx, Call::MoveMount, moved)?;
    fs::close(place);
    Ok(())
}

/// Makes the entry `name` in a file system that this plan has made; false where something has its name.
fn make_own(cx: &mut Cx, dir: RawFd, name: &CStr, kind: TargetKind) -> Result<bool, Errno> {
    let made = if kind == TargetKind::NewFile {
        cx.call = Call::Mknod;
        fs::mknodat(dir, name, libc::S_IFREG | 0o755, 0)
    } else {
        cx.call = Call::Mkdir;
        fs::mkdirat(dir, name, 0o755)
    };
    match made {
        Err(Errno::EEXIST) => Ok(false),
        made => made.map(|()| true),
    }
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
    attach(cx, tree, target, kind, false)?;
    fs::close(tree);
    Ok(())
}

/// A file goes on a file and a directory on a directory: mount(2) says ENOTDIR where that is not so, and its
/// words are what Docker looks for, but move_mount(2) says EINVAL for many things.
fn unlike(e: Errno, source: TargetKind, place: RawFd) -> Errno {
    let is_dir = fs::fstatat(place, c"").map(|st| st.st_mode & libc::S_IFMT == libc::S_IFDIR);
    match is_dir {
        Ok(dir) if e == Errno::EINVAL && dir != matches!(source, TargetKind::Dir | TargetKind::NewDir) => {
            Errno::ENOTDIR
        }
        _ => e,
    }
}
