//! Sealing the runtime's own binary (CVE-2019-5736).
//!
//! A container that shares the host's uid 0 could open `/proc/PID/exe` of a runtime process and
//! overwrite the program that root will run next. So the runtime continues from a detached, read-only bind mount of
//! its file: an open of /proc/PID/exe for writing fails with EROFS. No byte is copied.
//!
//! | the runtime may | how it continues |
//! | --- | --- |
//! | make such a mount, and exchange its own file (`CAP_SYS_RESOURCE` or `CAP_SYS_ADMIN`) | its segments are mapped again from there ([`exe::exchange`]): no second start |
//! | make such a mount | it executes the file there |
//! | neither (an ordinary user whose program is theirs to write) | it executes a sealed copy in memory |
//!
//! A container whose ids map to no host root needs none of this: it does not own the file.

use std::os::fd::AsRawFd;

use crate::error::{Error, Result};
use crate::plan::lower::CStrArray;
use crate::sys::mount::{self, MountAttr};
use crate::sys::{Errno, argv, exe, fs, process};

/// Tells the copy what it is. No container gets this process's environment.
const SEALED: &str = "_SAFEBOX_SEALED";

/// Continues as the sealed copy; returns at once where this already is one.
pub fn seal() -> Result<()> {
    const SELF: &std::ffi::CStr = c"/proc/self/exe";
    let failed = |what: &'static str| move |e| Error::os("cannot seal the runtime's own binary:", what, e);
    let exe = fs::openat(libc::AT_FDCWD, SELF, libc::O_RDONLY, 0).map_err(failed("open /proc/self/exe"))?;
    let exe = fs::own(exe);
    let readonly = fs::on_readonly_mount(exe.as_raw_fd()).map_err(failed("fstatvfs /proc/self/exe"))?;
    // A file system that is read-only may be so until its next update: only the mount made here stays as it is.
    let ours = std::env::var_os(SEALED).is_some();
    if (readonly && ours) || crate::sys::memfd::is_sealed(exe.as_raw_fd()) {
        return Ok(());
    }
    let flags = mount::OPEN_TREE_CLONE | mount::OPEN_TREE_CLOEXEC;
    let tree = match mount::open_tree(libc::AT_FDCWD, SELF, flags) {
        // Only root of the machine can make such a mount here: others pay for a copy in memory.
        Err(Errno::EPERM) => {
            let copy = crate::sys::memfd::sealed_copy(&exe, c"safebox").map_err(failed("memfd_create"))?;
            return Err(execute(copy)?);
        }
        tree => tree.map_err(failed("open_tree"))?,
    };
    let attr = MountAttr {
        attr_set: libc::MOUNT_ATTR_RDONLY,
        propagation: libc::MS_PRIVATE,
        ..MountAttr::default()
    };
    mount::mount_setattr(tree, c"", mount::AT_EMPTY_PATH, &attr).map_err(failed("mount_setattr"))?;
    if exchange(tree).is_ok() {
        fs::close(tree);
        return Ok(());
    }
    Err(execute(tree)?)
}

/// Makes the file on the mount what this process executes. The kernel says so: it refuses while anything of the old
/// file is mapped.
fn exchange(tree: std::os::fd::RawFd) -> crate::sys::SysResult<()> {
    let path = std::ffi::CString::new(format!("/proc/self/fd/{tree}")).map_err(|_| Errno::EINVAL)?;
    let file = fs::own(fs::openat(libc::AT_FDCWD, &path, libc::O_RDONLY, 0)?);
    exe::exchange(file.as_raw_fd())
}

/// Executes the copy with this process's arguments and environment; returns why it could not.
fn execute(copy: std::os::fd::RawFd) -> Result<Error> {
    // Bytes, not texts: the caller's environment need not be UTF-8.
    let args: Vec<_> = std::env::args_os().collect();
    let env = std::env::vars_os().map(|(mut entry, value)| {
        entry.push("=");
        entry.push(value);
        entry
    });
    let sealed = std::ffi::OsString::from(format!("{SEALED}=1"));
    let env: Vec<_> = env.chain([sealed]).collect();
    let (argv, envp) = (CStrArray::new("arguments", &args)?, CStrArray::new("environment", &env)?);
    if let Some(request) = argv::request() {
        fs::inheritable(request)
            .map_err(|e| Error::os("cannot seal the runtime's own binary:", "fcntl", e))?;
    }
    let errno = process::execve_fd(copy, argv.pointers(), envp.pointers());
    Ok(Error::os("cannot seal the runtime's own binary:", "execveat", errno))
}
