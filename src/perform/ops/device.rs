//! What the rows about devices do.

use std::ffi::CStr;
use std::os::fd::{AsFd, RawFd};

use crate::cgroup::devices;
use crate::perform::files::relink;
use crate::perform::nodes;
use crate::perform::target::open_or_make;
use crate::perform::{Call, Cx, Done, at};
use crate::plan::ops::{DeviceNode, DeviceOp, TargetKind};
use crate::sys::{Errno, fs};

/// Performs one row about devices.
pub(super) fn apply(op: &DeviceOp, cx: &mut Cx) -> Done {
    match op {
        DeviceOp::Filter { cgroup, program } => {
            let loaded = at(cx, Call::Bpf, devices::load(program))?;
            at(cx, Call::Bpf, devices::attach(fs::borrow(cx.fd(cgroup)), loaded.as_fd()))
        }
        DeviceOp::Nodes { nodes, to } => nodes::make(cx, nodes, to),
        DeviceOp::Relink { root, path, to } => relink(cx, cx.fd(root), path, to),
        DeviceOp::Symlink { root, path, to } => {
            match at(cx, Call::Symlink, fs::symlinkat(to, cx.fd(root), path)) {
                // A rootfs may bring its own; /dev is the container's to arrange.
                Err(Errno::EEXIST) => Ok(()),
                other => other,
            }
        }
        DeviceOp::Node { .. } => device_node(op, cx),
        DeviceOp::NodeTrees { nodes, root, trees } => nodes::open(cx, nodes, root, trees),
    }
}

/// Refuses what is not the device with these numbers (CVE-2025-31133).
pub(super) fn expect_device(cx: &mut Cx, fd: RawFd, want: DeviceNode) -> Done {
    let st = at(cx, Call::Stat, fs::fstatat(fd, c""))?;
    let format = if want.block { libc::S_IFBLK } else { libc::S_IFCHR };
    if st.st_mode & libc::S_IFMT == format && st.st_rdev == libc::makedev(want.major, want.minor) {
        return Ok(());
    }
    cx.call = Call::NotThatDevice;
    Err(Errno::ENODEV)
}

fn device_node(op: &DeviceOp, cx: &mut Cx) -> Done {
    let DeviceOp::Node { root, path, parent, mode, dev, uid, gid } = op else { return Err(Errno::ENOSYS) };
    let (mut dir, mut name) = (cx.fd(root), path.as_c_str());
    if let Some(parent) = parent {
        dir = open_or_make(cx, dir, parent, TargetKind::Dir, false)?;
        let slash = path.to_bytes().iter().rposition(|b| *b == b'/').map_or(0, |i| i + 1);
        name = CStr::from_bytes_with_nul(&path.to_bytes_with_nul()[slash..]).map_err(|_| Errno::EINVAL)?;
    }
    // The mode is given once and for all: a chmod(2) by name could hit a link that was put there meanwhile.
    let umask = fs::umask(0);
    let made = at(cx, Call::Mknod, fs::mknodat(dir, name, *mode, *dev));
    fs::umask(umask);
    let made = match made {
        Err(Errno::EEXIST) => false,
        other => other.map(|()| true)?,
    };
    let flags = libc::O_PATH | libc::O_NOFOLLOW;
    let node = at(cx, Call::Open, fs::openat(dir, name, flags, 0))?;
    let st = at(cx, Call::Stat, fs::fstatat(node, c""))?;
    // A node that the rootfs brings is fine, as it is, if it is that device.
    if st.st_mode & libc::S_IFMT != mode & libc::S_IFMT || st.st_rdev != *dev {
        cx.call = Call::NotThatDevice;
        return Err(Errno::EEXIST);
    }
    if made && (*uid, *gid) != (0, 0) {
        at(cx, Call::Chown, fs::fchownat(node, c"", *uid, *gid))?;
    }
    fs::close(node);
    if parent.is_some() {
        fs::close(dir);
    }
    Ok(())
}
