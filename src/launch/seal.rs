//! Sealing the runtime's own binary (CVE-2019-5736).
//!
//! A container that shares the host's uid 0 could open `/proc/PID/exe` of a runtime process and
//! overwrite the program that root will run next. So the runtime executes itself once more from a
//! detached, read-only bind mount of its file: whoever opens that path for writing gets EROFS. No byte
//! is copied. A container whose ids map to no host root needs none of this: it does not own the file.

use crate::error::{Error, Result};
use crate::plan::lower::CStrArray;
use crate::sys::mount::{self, MountAttr};
use crate::sys::{fs, process};

/// Continues as the sealed copy; returns at once where this already is one.
pub fn seal() -> Result<()> {
    const SELF: &std::ffi::CStr = c"/proc/self/exe";
    let failed = |what: &'static str| move |e| Error::os("cannot seal the runtime's own binary:", what, e);
    let exe = fs::openat(libc::AT_FDCWD, SELF, libc::O_PATH, 0).map_err(failed("open /proc/self/exe"))?;
    let sealed = fs::on_readonly_mount(exe).map_err(failed("fstatvfs /proc/self/exe"))?;
    fs::close(exe);
    if sealed {
        return Ok(());
    }
    let flags = mount::OPEN_TREE_CLONE | mount::OPEN_TREE_CLOEXEC;
    let tree = mount::open_tree(libc::AT_FDCWD, SELF, flags).map_err(failed("open_tree"))?;
    let attr = MountAttr {
        attr_set: libc::MOUNT_ATTR_RDONLY,
        propagation: libc::MS_PRIVATE,
        ..MountAttr::default()
    };
    mount::mount_setattr(tree, c"", mount::AT_EMPTY_PATH, &attr).map_err(failed("mount_setattr"))?;
    let text = |s: std::ffi::OsString| s.into_string().map_err(|_| Error::msg("arguments must be UTF-8"));
    let args = std::env::args_os().map(text).collect::<Result<Vec<_>>>()?;
    let env = std::env::vars_os()
        .map(|(k, v)| Ok(format!("{}={}", text(k)?, text(v)?)))
        .collect::<Result<Vec<_>>>()?;
    let (argv, envp) = (CStrArray::new("arguments", &args)?, CStrArray::new("environment", &env)?);
    Err(failed("execveat")(process::execve_fd(tree, argv.pointers(), envp.pointers())))
}
