//! C strings, as system calls take them.

use std::ffi::{CStr, CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// A text that cannot be a C string: what it is, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NulByte(pub String);

impl std::fmt::Display for NulByte {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NulByte {}

/// `s` as a C string.
pub fn cstring(what: &str, s: impl AsRef<OsStr>) -> Result<CString, NulByte> {
    CString::new(s.as_ref().as_bytes()).map_err(|_| NulByte(format!("{what}: a NUL byte is not allowed")))
}

/// A path that was lowered, again.
pub fn as_path(path: &CStr) -> &Path {
    Path::new(OsStr::from_bytes(path.to_bytes()))
}

/// A path as a C string.
pub fn cpath(path: &Path) -> Result<CString, NulByte> {
    CString::new(path.as_os_str().as_bytes())
        .map_err(|_| NulByte(format!("{}: a NUL byte is not allowed in a path", path.display())))
}

/// A C string for people.
pub fn show(s: &CStr) -> std::borrow::Cow<'_, str> {
    s.to_string_lossy()
}
