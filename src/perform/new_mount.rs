//! New mounts, and changes of a mount's attributes.

use std::ffi::CStr;
use std::os::fd::RawFd;

use crate::perform::{Call, Cx, Done, at};
use crate::plan::ops::SetAttr;
use crate::sys::mount::{self, AT_EMPTY_PATH, AT_RECURSIVE};
use crate::sys::{Errno, fs};

/// Changes the attributes of the mount at `fd`.
pub(super) fn set_attrs(cx: &mut Cx, fd: RawFd, changes: &[SetAttr]) -> Done {
    for SetAttr { recursive, attr } in changes {
        let flags = AT_EMPTY_PATH | if *recursive { AT_RECURSIVE } else { 0 };
        at(cx, Call::MountSetattr, mount::mount_setattr(fd, c"", flags, attr))?;
    }
    Ok(())
}

/// A detached mount of a new file system.
pub(super) fn new_fs<'a>(
    cx: &mut Cx,
    fs_type: &CStr,
    data: impl Iterator<Item = (&'a CStr, Option<&'a CStr>)>,
    attrs: u64,
) -> Result<RawFd, Errno> {
    let context = at(cx, Call::Fsopen, mount::fsopen(fs_type))?;
    for (key, value) in data {
        at(cx, Call::Fsconfig, mount::fsconfig_set(context, key, value))?;
    }
    at(cx, Call::FsconfigCreate, mount::fsconfig_create(context))?;
    let fd = at(cx, Call::Fsmount, mount::fsmount(context, attrs))?;
    fs::close(context);
    Ok(fd)
}
