//! What the rows about masked paths and sysctls do.

use crate::perform::files::write_proc;
use crate::perform::new_mount::new_fs;
use crate::perform::ops::device::expect_device;
use crate::perform::places;
use crate::perform::{Call, Cx, Done, at};
use crate::plan::ops::{DeviceNode, MaskOp};
use crate::sys::fs;

/// Performs one row about masked paths and sysctls.
pub(super) fn apply(op: &MaskOp, cx: &mut Cx) -> Done {
    match op {
        MaskOp::OpenNull { dev, to } => {
            let flags = libc::O_PATH | libc::O_NOFOLLOW;
            let fd = at(cx, Call::Open, fs::openat(cx.fd(dev), c"null", flags, 0))?;
            expect_device(cx, fd, DeviceNode { block: false, major: 1, minor: 3 })?;
            cx.set(to, fd);
            cx.null_used = true;
            Ok(())
        }
        MaskOp::EmptyDir { to } => {
            let fd = new_fs(
                cx,
                c"tmpfs",
                [(c"size", Some(c"4k")), (c"mode", Some(c"0555"))].into_iter(),
                libc::MOUNT_ATTR_RDONLY
                    | libc::MOUNT_ATTR_NOSUID
                    | libc::MOUNT_ATTR_NODEV
                    | libc::MOUNT_ATTR_NOEXEC,
            )?;
            cx.set(to, fd);
            Ok(())
        }
        MaskOp::Cover { root, path, null, empty } => places::mask(cx, root, path, null, empty),
        MaskOp::ReadOnly { root, path } => places::readonly_path(cx, root, path),
        MaskOp::Sysctl { proc, path, value } => write_proc(cx, cx.fd(proc), path, value),
    }
}
