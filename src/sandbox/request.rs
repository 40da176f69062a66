//! The request of a [`super::Sandbox`]: a command line in a sealed memfd(2), which its launcher reads.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileExt;

use crate::sys::{self, argv, fs};

/// The one argument of a launcher that finds its command line elsewhere.
const FLAG: &str = "--request";

/// The arguments of the launcher whose command line is in descriptor `fd`.
pub fn arguments(fd: RawFd) -> [String; 2] {
    [FLAG.into(), fd.to_string()]
}

/// A command line in a sealed file, which no process can change.
pub fn seal(words: &[OsString]) -> sys::SysResult<OwnedFd> {
    let mut bytes = Vec::new();
    for word in words {
        if word.as_bytes().contains(&0) {
            return Err(sys::Errno::EINVAL);
        }
        bytes.extend_from_slice(word.as_bytes());
        bytes.push(0);
    }
    crate::sys::memfd::sealed_bytes(c"safebox request", &bytes)
}

/// The command line: `args` themselves, or what their descriptor holds. The latter is close-on-exec from here on.
pub fn take(args: Vec<OsString>) -> Result<Vec<OsString>, String> {
    let [_, flag, number] = args.as_slice() else { return Ok(args) };
    if flag != FLAG {
        return Ok(args);
    }
    let fd = number.to_str().and_then(|n| n.parse::<RawFd>().ok()).filter(|fd| *fd > 2);
    let fd = fd.filter(|fd| fs::is_open(*fd)).ok_or("--request: it needs an open descriptor")?;
    if !crate::sys::memfd::is_sealed(fd) {
        return Err("--request: the descriptor is no sealed memfd".into());
    }
    // A launcher that re-executes itself reads it again.
    argv::keep(fd);
    fs::close_on_exec(fd).map_err(|e| format!("--request: {e}"))?;
    let file = File::from(fs::own(fd));
    let size = file.metadata().map_err(|e| format!("--request: {e}"))?.len();
    let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
    let read = file.read_exact_at(&mut bytes, 0);
    // The descriptor stays open.
    std::mem::forget(file);
    read.map_err(|e| format!("--request: {e}"))?;
    let words = bytes.split(|b| *b == 0).map(|word| OsStr::from_bytes(word).to_os_string());
    let mut words: Vec<_> = words.collect();
    // What follows the last word's end.
    words.pop();
    words.iter_mut().for_each(|word| *word = OsString::from_vec(std::mem::take(word).into_vec()));
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    #[test]
    fn a_request_comes_back_as_it_was() {
        let words: Vec<OsString> = ["safebox", "run", "", "a b\n", "--"].map(OsString::from).to_vec();
        let sealed = seal(&words).unwrap();
        let args = |fd: RawFd| vec!["safebox".into(), FLAG.into(), fd.to_string().into()];
        assert_eq!(take(args(sealed.as_raw_fd())), Ok(words.clone()));
        assert_eq!(take(words.clone()), Ok(words));
        assert!(seal(&["a\0b".into()]).is_err());
        let open = crate::sys::memfd::memory_file(c"not sealed").unwrap();
        assert!(take(args(open.as_raw_fd())).is_err_and(|e| e.contains("sealed")));
        assert!(take(args(1)).is_err() && take(args(999)).is_err());
    }
}
