//! The mount API by file descriptors: open_tree(2), fsopen(2), move_mount(2), mount_setattr(2).

use std::ffi::CStr;
use std::os::fd::RawFd;

use super::{SysResult, check};

/// `struct mount_attr` of mount_setattr(2).
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MountAttr {
    /// `MOUNT_ATTR_*` to set.
    pub attr_set: u64,
    /// `MOUNT_ATTR_*` to clear.
    pub attr_clr: u64,
    /// `MS_SHARED`, `MS_SLAVE`, `MS_PRIVATE`, `MS_UNBINDABLE` or 0 for no change.
    pub propagation: u64,
    /// User namespace for `MOUNT_ATTR_IDMAP`.
    pub userns_fd: u64,
}

/// `move_mount(2)`: the source is named by its descriptor alone.
pub const MOVE_MOUNT_F_EMPTY_PATH: u32 = 0x4;
/// `move_mount(2)`: the target is named by its descriptor alone.
pub const MOVE_MOUNT_T_EMPTY_PATH: u32 = 0x40;
/// `open_tree(2)`: make a detached copy.
pub const OPEN_TREE_CLONE: u32 = 1;
/// `open_tree(2)`: close-on-exec.
pub const OPEN_TREE_CLOEXEC: u32 = libc::O_CLOEXEC as u32;
/// Apply to the whole subtree.
pub const AT_RECURSIVE: u32 = 0x8000;
/// Operate on the descriptor itself; the path is empty.
pub const AT_EMPTY_PATH: u32 = libc::AT_EMPTY_PATH as u32;

const FSCONFIG_SET_FLAG: u32 = 0;
const FSCONFIG_SET_STRING: u32 = 1;
const FSCONFIG_CMD_CREATE: u32 = 6;
const FSCONFIG_CMD_RECONFIGURE: u32 = 7;

/// open_tree(2): a detached copy of the mount (or subtree) at `path`, or an `O_PATH` handle.
pub fn open_tree(dir: RawFd, path: &CStr, flags: u32) -> SysResult<RawFd> {
    // SAFETY: `path` is NUL-terminated and outlives the call; no memory is written.
    check(unsafe { libc::syscall(libc::SYS_open_tree, dir, path.as_ptr(), flags) }).map(|fd| fd as RawFd)
}

/// fsopen(2): a new file system context, close-on-exec.
pub fn fsopen(fs_type: &CStr) -> SysResult<RawFd> {
    // SAFETY: `fs_type` is NUL-terminated and outlives the call. FSOPEN_CLOEXEC is 1.
    check(unsafe { libc::syscall(libc::SYS_fsopen, fs_type.as_ptr(), 1u32) }).map(|fd| fd as RawFd)
}

/// fsconfig(2): sets `key` to `value`, or sets the flag `key` if `value` is `None`.
pub fn fsconfig_set(fs: RawFd, key: &CStr, value: Option<&CStr>) -> SysResult<()> {
    let (cmd, val) = match value {
        Some(v) => (FSCONFIG_SET_STRING, v.as_ptr()),
        None => (FSCONFIG_SET_FLAG, std::ptr::null()),
    };
    // SAFETY: both strings are NUL-terminated and outlive the call; FSCONFIG_SET_FLAG requires null.
    check(unsafe { libc::syscall(libc::SYS_fsconfig, fs, cmd, key.as_ptr(), val, 0) }).map(drop)
}

/// fsconfig(2) with `FSCONFIG_CMD_CREATE`: creates the superblock.
pub fn fsconfig_create(fs: RawFd) -> SysResult<()> {
    let null = std::ptr::null::<libc::c_char>();
    // SAFETY: CMD_CREATE takes no key and no value.
    check(unsafe { libc::syscall(libc::SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, null, null, 0) }).map(drop)
}

/// fspick(2): a context to reconfigure the file system of the mount that `fd` is on; close-on-exec.
pub fn fspick(fd: RawFd) -> SysResult<RawFd> {
    // SAFETY: a static NUL-terminated string. FSPICK_CLOEXEC is 1, FSPICK_EMPTY_PATH 8.
    check(unsafe { libc::syscall(libc::SYS_fspick, fd, c"".as_ptr(), 1u32 | 8) }).map(|fd| fd as RawFd)
}

/// fsconfig(2) with `FSCONFIG_CMD_RECONFIGURE`: applies the parameters that were set.
pub fn fsconfig_reconfigure(fs: RawFd) -> SysResult<()> {
    let null = std::ptr::null::<libc::c_char>();
    // SAFETY: CMD_RECONFIGURE takes no key and no value.
    check(unsafe { libc::syscall(libc::SYS_fsconfig, fs, FSCONFIG_CMD_RECONFIGURE, null, null, 0) }).map(drop)
}

/// fsmount(2): a detached mount of the context with `MOUNT_ATTR_*` attributes; close-on-exec.
pub fn fsmount(fs: RawFd, attrs: u64) -> SysResult<RawFd> {
    // SAFETY: no pointers. FSMOUNT_CLOEXEC is 1.
    check(unsafe { libc::syscall(libc::SYS_fsmount, fs, 1u32, attrs as u32) }).map(|fd| fd as RawFd)
}

/// move_mount(2): attaches the detached mount `tree` at `path` below `dir`, or at `dir` if `path` is empty.
pub fn move_mount(tree: RawFd, dir: RawFd, path: &CStr) -> SysResult<()> {
    let mut flags = MOVE_MOUNT_F_EMPTY_PATH;
    if path.is_empty() {
        flags |= MOVE_MOUNT_T_EMPTY_PATH;
    }
    // SAFETY: both strings are NUL-terminated and outlive the call.
    check(unsafe { libc::syscall(libc::SYS_move_mount, tree, c"".as_ptr(), dir, path.as_ptr(), flags) })
        .map(drop)
}

/// mount_setattr(2) on `path` below `dir`.
pub fn mount_setattr(dir: RawFd, path: &CStr, flags: u32, attr: &MountAttr) -> SysResult<()> {
    let size = std::mem::size_of::<MountAttr>();
    // SAFETY: `attr` is a #[repr(C)] struct of the size passed (MOUNT_ATTR_SIZE_VER0) and is only read.
    check(unsafe {
        libc::syscall(libc::SYS_mount_setattr, dir, path.as_ptr(), flags, std::ptr::from_ref(attr), size)
    })
    .map(drop)
}

/// pivot_root(".", "."): the working directory becomes the root, the old root is stacked on it.
pub fn pivot_root_here() -> SysResult<()> {
    // SAFETY: both arguments are static NUL-terminated strings.
    check(unsafe { libc::syscall(libc::SYS_pivot_root, c".".as_ptr(), c".".as_ptr()) }).map(drop)
}

/// Whether pivot_root(2) would be allowed. Security modules are asked once both paths are found; the root onto itself is
/// then refused with EBUSY, or EINVAL where it is shared, so nothing changes.
pub fn may_pivot() -> SysResult<()> {
    // SAFETY: both arguments are static NUL-terminated strings.
    match check(unsafe { libc::syscall(libc::SYS_pivot_root, c"/".as_ptr(), c"/".as_ptr()) }) {
        Err(super::Errno::EBUSY | super::Errno::EINVAL) | Ok(_) => Ok(()),
        Err(e) => Err(e),
    }
}

/// umount2(2) with `MNT_DETACH`: detaches the mount at `path` and all mounts below it; does not follow
/// symlinks.
pub fn umount(path: &CStr) -> SysResult<()> {
    // SAFETY: the path is a NUL-terminated string.
    check(unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH | libc::UMOUNT_NOFOLLOW) }.into()).map(drop)
}

/// umount2(".", MNT_DETACH): detaches the old root, which `pivot_root_here` stacked on the new one.
pub fn umount_here() -> SysResult<()> {
    // SAFETY: the path is a static NUL-terminated string.
    check(unsafe { libc::umount2(c".".as_ptr(), libc::MNT_DETACH) }.into()).map(drop)
}
