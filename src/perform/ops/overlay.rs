//! What the rows about writable copies do.

use std::ffi::CStr;
use std::io::Write;
use std::os::fd::RawFd;

use crate::perform::files::{join, replace_file};
use crate::perform::new_mount::{new_fs, set_attrs};
use crate::perform::ops::mount::open_target;
use crate::perform::places;
use crate::perform::{Call, Cx, Done, at};
use crate::plan::ops::{OverlayOp, SetAttr, Target, TargetKind};
use crate::sys::{Errno, fs, mount};

/// Performs one row about writable copies.
pub(super) fn apply(op: &OverlayOp, cx: &mut Cx) -> Done {
    match op {
        OverlayOp::Record { store, dir, record, bytes } => {
            make_parents(cx, store)?;
            at(cx, Call::Mkdir, fs::mkdirat(libc::AT_FDCWD, dir, 0o700))?;
            let temp = join(record, b".new");
            replace_file(cx, &temp, record, bytes)
        }
        OverlayOp::Layer { dir, upper, work, owner, mode } => {
            for (path, mode) in [(dir, 0o755), (upper, *mode), (work, 0o700)] {
                at(cx, Call::Mkdir, fs::mkdirat(libc::AT_FDCWD, path, mode))?;
                // Whatever the caller's umask is.
                at(cx, Call::Chmod, fs::chmod(path, mode))?;
                if let Some((uid, gid)) = owner {
                    at(cx, Call::Chown, fs::fchownat(libc::AT_FDCWD, path, *uid, *gid))?;
                }
            }
            Ok(())
        }
        OverlayOp::Mount { lower, layer, attrs, target } => {
            overlay(cx, (cx.fd(lower), cx.fd(layer)), *attrs, target)
        }
    }
}

/// Makes `path` and its parents, each closed to other users where it is missing.
fn make_parents(cx: &mut Cx, path: &CStr) -> Done {
    let bytes = path.to_bytes();
    let ends = bytes.iter().enumerate().skip(1).filter(|(_, b)| **b == b'/').map(|(i, _)| i);
    for end in ends.chain([bytes.len()]) {
        let Ok(parent) = std::ffi::CString::new(&bytes[..end]) else { continue };
        match fs::mkdirat(libc::AT_FDCWD, &parent, 0o700) {
            Err(Errno::EEXIST) => {}
            made => at(cx, Call::Mkdir, made)?,
        }
    }
    Ok(())
}

/// Makes the overlay and moves it to its place. Init calls this: it only makes system calls.
fn overlay(cx: &mut Cx, (lower, layer): (RawFd, RawFd), attrs: u64, target: &Target) -> Done {
    let place = open_target(cx, target, TargetKind::Dir, false)?;
    places::expect_free(cx, place, target, lower)?;
    // overlayfs clones its layers, and a clone is made of a mount in this namespace only (before Linux 6.15).
    // A copy of a shared mount is its peer: without the first call what is attached to it would appear on the host.
    for tree in [lower, layer] {
        set_attrs(cx, tree, &[SetAttr::PRIVATE])?;
        at(cx, Call::MoveMount, mount::move_mount(tree, place, c""))?;
    }
    let (mut a, mut b, mut c) = ([0; 48], [0; 48], [0; 48]);
    let base = fd_path(lower, "", &mut a)?;
    let options = [
        (c"lowerdir", Some(base)),
        (c"upperdir", Some(fd_path(layer, "/upper", &mut b)?)),
        (c"workdir", Some(fd_path(layer, "/work", &mut c)?)),
        // In a user namespace overlayfs may not write trusted.* attributes.
        (c"userxattr", None),
    ];
    let fd = new_fs(cx, c"overlay", options.into_iter(), attrs)?;
    // The overlay has clones of its own.
    // The dot makes umount2(2) follow the link of procfs.
    let (mut d, mut e) = ([0; 48], [0; 48]);
    let top = fd_path(layer, "/.", &mut d)?;
    at(cx, Call::Umount, mount::umount(top))?;
    at(cx, Call::Umount, mount::umount(fd_path(lower, "/.", &mut e)?))?;
    at(cx, Call::MoveMount, mount::move_mount(fd, place, c""))?;
    [fd, lower, layer, place].into_iter().for_each(fs::close);
    Ok(())
}

/// `/proc/self/fd/N` and what is below it: before pivot_root(2) /proc is the caller's.
fn fd_path<'a>(fd: RawFd, below: &str, buf: &'a mut [u8; 48]) -> Result<&'a CStr, Errno> {
    let mut rest = &mut buf[..];
    write!(rest, "/proc/self/fd/{fd}{below}\0").map_err(|_| Errno::ENAMETOOLONG)?;
    CStr::from_bytes_until_nul(buf).map_err(|_| Errno::EINVAL)
}
