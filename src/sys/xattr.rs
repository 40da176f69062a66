//! Extended attributes (xattr(7)).

use std::ffi::CStr;
use std::io;
use std::os::fd::RawFd;

/// The longest value that is read.
const MAX: usize = 256;

/// The attribute `name` of an open file; `None` where the file has none, or the file system has no attributes. A value of
/// more than 256 bytes is an error (`ERANGE`).
pub fn get(file: RawFd, name: &CStr) -> io::Result<Option<Vec<u8>>> {
    let mut value = vec![0_u8; MAX];
    // SAFETY: the name is NUL-terminated, and the kernel writes at most `MAX` bytes to the buffer.
    let n = unsafe { libc::fgetxattr(file, name.as_ptr(), value.as_mut_ptr().cast(), MAX) };
    match usize::try_from(n) {
        Ok(n) => {
            value.truncate(n);
            Ok(Some(value))
        }
        Err(_) => match io::Error::last_os_error() {
            e if matches!(e.raw_os_error(), Some(libc::ENODATA | libc::EOPNOTSUPP)) => Ok(None),
            e => Err(e),
        },
    }
}
