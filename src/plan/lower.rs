//! Lowering: strings and arrays in the form that system calls take, made before clone.

use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::error::Error;
use crate::sys::cstr::cstring;

/// A null-terminated array of C strings, as execve(2) takes it.
#[derive(Debug)]
pub struct CStrArray {
    strings: Vec<CString>,
    pointers: Vec<*const libc::c_char>,
}

impl CStrArray {
    /// The array for `strings`; an interior NUL is an error that names `what`.
    pub fn new<S: AsRef<OsStr>>(what: &str, strings: &[S]) -> Result<Self, Error> {
        let strings = strings.iter().map(|s| cstring(what, s.as_ref())).collect::<Result<Vec<_>, _>>()?;
        let mut pointers: Vec<_> = strings.iter().map(|s| s.as_ptr()).collect();
        pointers.push(std::ptr::null());
        Ok(Self { strings, pointers })
    }

    /// What execve(2) takes; ends with null.
    pub fn pointers(&self) -> &[*const libc::c_char] {
        &self.pointers
    }

    /// The strings.
    pub fn strings(&self) -> &[CString] {
        &self.strings
    }
}

/// A path inside the container as `openat2` below the root takes it: no leading slash, no `.` and
/// no empty parts; `..` is kept, since the kernel resolves it within the root.
pub fn in_root(path: &Path) -> Result<CString, Error> {
    let mut out = Vec::with_capacity(path.as_os_str().len());
    for part in path.as_os_str().as_bytes().split(|b| *b == b'/') {
        if part.is_empty() || part == b"." {
            continue;
        }
        if !out.is_empty() {
            out.push(b'/');
        }
        out.extend_from_slice(part);
    }
    CString::new(out)
        .map_err(|_| Error::msg(format!("{}: a NUL byte is not allowed in a path", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_relative_and_clean() {
        for (from, to) in
            [("/", ""), ("/proc", "proc"), ("//a/./b/", "a/b"), ("a/../b", "a/../b"), ("/..", "..")]
        {
            assert_eq!(in_root(Path::new(from)).unwrap().to_str().unwrap(), to, "{from}");
        }
    }
}
