//! Files in memory (memfd_create(2)).

use std::ffi::CStr;
use std::fs::File;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd, RawFd};

use super::{Errno, SysResult, check, fs};

/// The seals that make a memfd immutable (memfd_create(2)).
const SEALS: i32 = libc::F_SEAL_SEAL | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE;

/// Whether a memfd is immutable. Other files have no seals.
pub fn is_sealed(fd: RawFd) -> bool {
    // SAFETY: no memory is involved.
    unsafe { libc::fcntl(fd, libc::F_GET_SEALS) & SEALS == SEALS && libc::fcntl(fd, libc::F_GET_SEALS) >= 0 }
}

/// An immutable copy of `file` in a memfd, close-on-exec.
pub fn sealed_copy(file: &OwnedFd, name: &CStr) -> SysResult<RawFd> {
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    // SAFETY: `name` is NUL-terminated and outlives the call.
    let create = |flags| check(unsafe { libc::memfd_create(name.as_ptr(), flags) }.into());
    // The sysctl vm.memfd_noexec can forbid execution of memfds without MFD_EXEC. Linux before 6.3 does not
    // know that flag.
    let fd = match create(flags | libc::MFD_EXEC) {
        Err(Errno::EINVAL) => create(flags),
        other => other,
    }? as RawFd;
    let mut to = File::from(fs::own(fd));
    let mut from = File::from(file.try_clone().map_err(super::errno)?);
    std::io::copy(&mut from, &mut to).map_err(super::errno)?;
    // SAFETY: no memory is involved.
    check(unsafe { libc::fcntl(fd, libc::F_ADD_SEALS, SEALS) }.into())?;
    Ok(to.into_raw_fd())
}

/// A new immutable memfd with these bytes, close-on-exec.
pub fn sealed_bytes(name: &CStr, bytes: &[u8]) -> SysResult<OwnedFd> {
    // SAFETY: `name` is NUL-terminated and outlives the call.
    let create = |flags| check(unsafe { libc::memfd_create(name.as_ptr(), flags) }.into());
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    // It holds no program; before Linux 6.3 there was no such flag.
    let fd = match create(flags | libc::MFD_NOEXEC_SEAL) {
        Err(Errno::EINVAL) => create(flags),
        other => other,
    }?;
    let fd = fs::own(fd as RawFd);
    fs::write_all(fd.as_raw_fd(), bytes)?;
    let raw = fd.as_raw_fd();
    // SAFETY: no memory is involved.
    check(unsafe { libc::fcntl(raw, libc::F_ADD_SEALS, SEALS) }.into())?;
    Ok(fd)
}

/// A new memfd, close-on-exec.
pub fn memory_file(name: &CStr) -> SysResult<OwnedFd> {
    // SAFETY: `name` is NUL-terminated and outlives the call.
    let create = |flags| check(unsafe { libc::memfd_create(name.as_ptr(), flags) }.into());
    // The memfd is not executed. Linux before 6.3 does not know the flag.
    let fd = match create(libc::MFD_CLOEXEC | libc::MFD_NOEXEC_SEAL) {
        Err(Errno::EINVAL) => create(libc::MFD_CLOEXEC),
        other => other,
    }?;
    Ok(fs::own(fd as RawFd))
}
