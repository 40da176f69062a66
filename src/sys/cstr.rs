//! C strings for system calls.

use std::ffi::{CStr, CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Error for a text with a NUL byte. The field is the complete message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NulByte(pub String);

impl std::fmt::Display for NulByte {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NulByte {}

/// Converts `s` to a C string. `what` names it in the error.
pub fn cstring(what: &str, s: impl AsRef<OsStr>) -> Result<CString, NulByte> {
    CString::new(s.as_ref().as_bytes()).map_err(|_| NulByte(format!("{what}: a NUL byte is not allowed")))
}

/// The path of a C string.
pub fn as_path(path: &CStr) -> &Path {
    Path::new(OsStr::from_bytes(path.to_bytes()))
}

/// Converts a path to a C string.
pub fn cpath(path: &Path) -> Result<CString, NulByte> {
    CString::new(path.as_os_str().as_bytes())
        .map_err(|_| NulByte(format!("{}: a NUL byte is not allowed in a path", path.display())))
}

/// A C string for messages; bytes that are not UTF-8 are replaced.
pub fn show(s: &CStr) -> std::borrow::Cow<'_, str> {
    s.to_string_lossy()
}
