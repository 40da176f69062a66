//! Finding, and where need be making, a place inside the container: below the root's descriptor, one
//! component at a time, so that no link in a hostile rootfs leads outside (CVE-2024-45310, CVE-2021-30465).
//!
//! Init calls this: it only makes system calls and uses fixed buffers.

use std::ffi::CStr;
use std::os::fd::RawFd;

use super::{Call, Cx};
use crate::plan::action::TargetKind;
use crate::sys::{Errno, Result, cred, fs};

const IN_ROOT: u64 = fs::RESOLVE_IN_ROOT | fs::RESOLVE_NO_MAGICLINKS;
const PATH_MAX: usize = 4096;
const MAX_LINKS: u32 = 40;

/// A path being walked, in a buffer of fixed size.
struct PathBuf {
    bytes: [u8; PATH_MAX],
    len: usize,
}

impl PathBuf {
    fn new(path: &[u8]) -> Result<Self> {
        let mut buf = PathBuf { bytes: [0; PATH_MAX], len: 0 };
        buf.append(path)?;
        Ok(buf)
    }

    fn append(&mut self, part: &[u8]) -> Result<()> {
        // One byte stays for the NUL.
        if self.len + part.len() >= PATH_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        self.bytes[self.len..self.len + part.len()].copy_from_slice(part);
        self.len += part.len();
        self.bytes[self.len] = 0;
        Ok(())
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    fn as_cstr(&self) -> &CStr {
        // The byte after `len` is always NUL, and no component holds one.
        CStr::from_bytes_until_nul(&self.bytes).unwrap_or(c".")
    }

    fn pop_component(&mut self) {
        self.len = self.as_bytes().iter().rposition(|b| *b == b'/').unwrap_or(0);
        self.bytes[self.len] = 0;
    }
}

/// Opens (`O_PATH`) what is at `path` below `root`; makes it, and the directories above it, where it is missing.
///
/// `strict` follows no link at all: for procfs and sysfs, whose contents are trusted later on.
pub fn open_or_make(cx: &mut Cx, root: RawFd, path: &CStr, kind: TargetKind, strict: bool) -> Result<RawFd> {
    cx.call = Call::OpenIn;
    let path = if path.is_empty() { c"." } else { path };
    let resolve = IN_ROOT | if strict { fs::RESOLVE_NO_SYMLINKS } else { 0 };
    match fs::openat2(root, path, libc::O_PATH, 0, resolve) {
        Err(Errno::ENOENT) => make(cx, root, path, kind, strict, None),
        Err(Errno::ELOOP) if strict => {
            cx.call = Call::SymlinkTarget;
            Err(Errno::ELOOP)
        }
        other => other,
    }
}

/// Opens what is at `path` below `root`, without making anything.
pub fn open_existing(root: RawFd, path: &CStr) -> Result<RawFd> {
    fs::openat2(root, path, libc::O_PATH, 0, IN_ROOT)
}

/// Makes the directory `path` below `root` for a user (uid, gid), who owns it from its first moment: a chown(2)
/// after it could give away what somebody else has put in its place.
pub fn make_for(cx: &mut Cx, root: RawFd, path: &CStr, owner: (u32, u32)) -> Result<RawFd> {
    make(cx, root, path, TargetKind::Dir, false, Some(owner))
}

fn make(
    cx: &mut Cx,
    root: RawFd,
    path: &CStr,
    kind: TargetKind,
    strict: bool,
    owner: Option<(u32, u32)>,
) -> Result<RawFd> {
    let mut rest = PathBuf::new(path.to_bytes())?;
    let mut done = PathBuf::new(b"")?;
    let mut at = fs::openat2(root, c".", libc::O_PATH | libc::O_DIRECTORY, 0, IN_ROOT)?;
    let mut links = 0;
    while let Some((part, after)) = next_component(&rest) {
        let last = after.as_bytes().iter().all(|b| *b == b'/');
        if part.as_bytes() == b".." {
            done.pop_component();
            let up = if done.len == 0 { c"." } else { done.as_cstr() };
            at = replace(at, fs::openat2(root, up, libc::O_PATH | libc::O_DIRECTORY, 0, IN_ROOT)?);
            rest = after;
            continue;
        }
        let (kind, owner) = if last { (kind, owner) } else { (TargetKind::Dir, None) };
        let next = step(cx, at, part.as_cstr(), kind, owner)?;
        cx.call = Call::Stat;
        if fs::fstatat(next, c"")?.st_mode & libc::S_IFMT == libc::S_IFLNK {
            links += 1;
            if links > MAX_LINKS || strict {
                cx.call = Call::SymlinkTarget;
                return Err(Errno::ELOOP);
            }
            rest = follow(next, &after)?;
            fs::close(next);
            if rest.as_bytes().first() == Some(&b'/') {
                done = PathBuf::new(b"")?;
                at = replace(at, fs::openat2(root, c".", libc::O_PATH | libc::O_DIRECTORY, 0, IN_ROOT)?);
            }
            continue;
        }
        done.append(b"/")?;
        done.append(part.as_bytes())?;
        at = replace(at, next);
        rest = after;
    }
    Ok(at)
}

fn replace(old: RawFd, new: RawFd) -> RawFd {
    fs::close(old);
    new
}

/// The first component of `path` and what comes after it.
fn next_component(path: &PathBuf) -> Option<(PathBuf, PathBuf)> {
    let bytes = path.as_bytes();
    let start = bytes.iter().position(|b| *b != b'/')?;
    let end = bytes[start..].iter().position(|b| *b == b'/').map_or(bytes.len(), |n| start + n);
    // Parts of a path that fitted fit.
    Some((PathBuf::new(&bytes[start..end]).ok()?, PathBuf::new(&bytes[end..]).ok()?))
}

/// The path that replaces a link: its target, then what came after the link.
fn follow(link: RawFd, after: &PathBuf) -> Result<PathBuf> {
    let mut target = [0u8; PATH_MAX];
    let n = fs::readlinkat(link, c"", &mut target)?;
    let mut rest = PathBuf::new(&target[..n])?;
    rest.append(b"/")?;
    rest.append(after.as_bytes())?;
    Ok(rest)
}

/// Opens the entry `name` of directory `at` without following it; makes it where it is missing.
fn step(cx: &mut Cx, at: RawFd, name: &CStr, kind: TargetKind, owner: Option<(u32, u32)>) -> Result<RawFd> {
    const FLAGS: i32 = libc::O_PATH | libc::O_NOFOLLOW;
    cx.call = Call::OpenIn;
    match fs::openat2(at, name, FLAGS, 0, fs::RESOLVE_BENEATH | fs::RESOLVE_NO_MAGICLINKS) {
        Err(Errno::ENOENT) => {}
        other => return other,
    }
    let made = if kind == TargetKind::File {
        cx.call = Call::Open;
        let flags = libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW | libc::O_RDONLY;
        fs::openat(at, name, flags, 0o755).map(fs::close)
    } else {
        cx.call = Call::Mkdir;
        match owner {
            Some((uid, gid)) => cred::mkdirat_as(at, name, 0o755, uid, gid),
            None => fs::mkdirat(at, name, 0o755),
        }
    };
    match made {
        // Somebody else made it in between: whatever it is, it is opened without being followed.
        Ok(()) | Err(Errno::EEXIST) => {}
        Err(e) => return Err(e),
    }
    cx.call = Call::OpenIn;
    fs::openat2(at, name, FLAGS, 0, fs::RESOLVE_BENEATH | fs::RESOLVE_NO_MAGICLINKS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CString;
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::symlink;

    fn cx() -> Cx {
        Cx::new(0)
    }

    #[test]
    fn missing_places_are_made_inside_whatever_the_links_say() {
        let outside = tempfile::tempdir().unwrap();
        let dir = tempfile::tempdir().unwrap();
        symlink(outside.path(), dir.path().join("abs")).unwrap();
        symlink("../../../../../../../up", dir.path().join("rel")).unwrap();
        symlink("loop", dir.path().join("loop")).unwrap();
        let root = std::fs::File::open(dir.path()).unwrap();
        let make = |path: &str, kind| {
            let path = CString::new(path).unwrap();
            open_or_make(&mut cx(), root.as_raw_fd(), &path, kind, false).map(fs::close)
        };
        make("a/b/../c", TargetKind::Dir).unwrap();
        assert!(dir.path().join("a/c").is_dir());
        make("abs/x/file", TargetKind::File).unwrap();
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0, "nothing was made outside");
        let inside = dir.path().join(outside.path().strip_prefix("/").unwrap());
        assert!(inside.join("x/file").is_file(), "the absolute link was followed inside the root");
        make("rel/y", TargetKind::Dir).unwrap();
        assert!(dir.path().join("up/y").is_dir());
        make("../../etc", TargetKind::Dir).unwrap();
        assert!(dir.path().join("etc").is_dir());
        assert_eq!(make("loop/z", TargetKind::Dir), Err(Errno::ELOOP));
    }

    #[test]
    fn strict_follows_no_link() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("real")).unwrap();
        symlink("real", dir.path().join("proc")).unwrap();
        let root = std::fs::File::open(dir.path()).unwrap();
        let mut cx = cx();
        let err = open_or_make(&mut cx, root.as_raw_fd(), c"proc", TargetKind::Dir, true);
        assert_eq!((err, cx.call), (Err(Errno::ELOOP), Call::SymlinkTarget));
    }
}
