//! Extended attributes (xattr(7)).

use std::ffi::CStr;
use std::io;
use std::path::Path;

use super::cstr::cpath;

/// The longest value that is read.
const MAX: usize = 256;

/// The attribute `name` of `path`, which is not followed if it is a symlink; `None` where the file has none, or the file
/// system has no attributes. A value of more than 256 bytes is an error (`ERANGE`).
pub fn get(path: &Path, name: &CStr) -> io::Result<Option<Vec<u8>>> {
    let path = cpath(path).map_err(|e| io::Error::new(io::ErrorKind::InvalidInput, e))?;
    let mut value = vec![0_u8; MAX];
    // SAFETY: both names are NUL-terminated, and the kernel writes at most `MAX` bytes to the buffer.
    let n = unsafe { libc::lgetxattr(path.as_ptr(), name.as_ptr(), value.as_mut_ptr().cast(), MAX) };
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
