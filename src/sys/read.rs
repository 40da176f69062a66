//! Reads small files with few system calls. std asks for the size first and reads in growing portions.

use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use super::{Errno, SysResult, fs};

/// The maximum that one read(2) of a kernel-made file returns.
const PAGE: usize = 4096;

/// Reads a file with one value, such as those of sysctl and cgroup: openat(2), one read(2), close(2). The
/// kernel returns such a file in one read, and none is larger than a page.
pub fn value(path: impl AsRef<Path>) -> io::Result<String> {
    let file = open(path.as_ref())?;
    let mut bytes = Vec::with_capacity(PAGE);
    more(&file, &mut bytes)?;
    text_of(bytes)
}

/// Reads a file of any length, as `std::fs::read_to_string`.
pub fn text(path: impl AsRef<Path>) -> io::Result<String> {
    let file = open(path.as_ref())?;
    let mut bytes = Vec::with_capacity(PAGE);
    while more(&file, &mut bytes)? > 0 {
        bytes.reserve(PAGE);
    }
    text_of(bytes)
}

/// Reads all that comes, and refuses more than `most` bytes: a file that a caller names may be a device without an end.
pub fn at_most(from: impl io::Read, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::other(format!("larger than {} MiB", most >> 20)));
    }
    Ok(bytes)
}

fn open(path: &Path) -> io::Result<OwnedFd> {
    let path = std::ffi::CString::new(path.as_os_str().as_encoded_bytes())?;
    fs::openat(libc::AT_FDCWD, &path, libc::O_RDONLY, 0).map(fs::own).map_err(io::Error::from)
}

fn more(file: &OwnedFd, bytes: &mut Vec<u8>) -> io::Result<usize> {
    loop {
        match fs::read_more(file.as_raw_fd(), bytes) {
            Err(Errno::EINTR) => {}
            other => return other.map_err(io::Error::from),
        }
    }
}

fn text_of(bytes: Vec<u8>) -> io::Result<String> {
    String::from_utf8(bytes).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))
}

/// Fields of /proc/self/status (proc_pid_status(5)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcStatus {
    /// Number of threads.
    pub threads: u64,
    /// Ignored signals: bit N is signal N + 1.
    pub ignored: u64,
}

/// Reads /proc/self/status.
pub fn status() -> SysResult<ProcStatus> {
    of_status(&value("/proc/self/status").map_err(super::errno)?).ok_or(Errno::EPROTO)
}

fn of_status(text: &str) -> Option<ProcStatus> {
    let field = |name: &str| text.lines().find_map(|l| l.strip_prefix(name)).map(str::trim);
    Some(ProcStatus {
        threads: field("Threads:")?.parse().ok()?,
        ignored: u64::from_str_radix(field("SigIgn:")?, 16).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        for len in [0, 1, PAGE - 1, PAGE, 3 * PAGE + 7] {
            let want = "ä".repeat(len);
            std::fs::write(&path, &want).unwrap();
            assert_eq!(text(&path).unwrap(), want);
        }
        assert_eq!(
            text("/proc/self/mountinfo").unwrap(),
            std::fs::read_to_string("/proc/self/mountinfo").unwrap()
        );
        assert_eq!(
            value("/proc/sys/kernel/pid_max").unwrap(),
            std::fs::read_to_string("/proc/sys/kernel/pid_max").unwrap()
        );
        assert_eq!(text(dir.path().join("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
        std::fs::write(&path, [0xff]).unwrap();
        assert_eq!(text(&path).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn a_process_is_what_its_status_says() {
        let of = |text| of_status(text).map(|s| (s.threads, s.ignored));
        assert_eq!(of("Name:\tThreads:\nThreads:\t3\nSigIgn:\t0000000000001000\n"), Some((3, 1 << 12)));
        assert_eq!(of("Threads:\t3\n"), None);
        assert!(status().unwrap().threads >= 1);
    }
}
