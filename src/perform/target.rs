//! Finding, and where need be making, a place inside the container: below the root's descriptor, one component at a
//! time, so that no symlink leads outside (CVE-2024-45310, CVE-2021-30465).
//!
//! Every row that names a place goes through here, and so do the sources of bind mounts in a hardened run. The common
//! case, a path without a symlink on it, is one openat2(2) that follows none. A path with symlinks is walked: each
//! component is opened with `O_PATH | O_NOFOLLOW`, and what is judged (its mount, its owner, its target) is read from
//! that descriptor. A process that exchanges names meanwhile changes where the walk goes, never what is judged.
//!
//! Whose symlinks are followed:
//!
//! | where the symlink lies | followed |
//! | --- | --- |
//! | on the mount of the root that the walk starts from | yes, inside the root |
//! | on another mount (a volume, which other containers may write) | if it leads to a place on that same mount |
//! | on the host, on the way to a bind source | if it belongs to root or the caller, or its target to the same user |
//!
//! Init calls this: it only makes system calls and uses fixed buffers.

use std::ffi::CStr;
use std::os::fd::RawFd;

use crate::perform::{Call, Cx};
use crate::plan::ops::TargetKind;
use crate::sys::fs::FileIdentity;
use crate::sys::{Errno, SysResult, cred, fs};

const PATH_MAX: usize = 4096;
const NAME_MAX: usize = 255;
const MAX_LINKS: usize = 40;
const STICKY_AND_WRITABLE: u32 = libc::S_ISVTX | libc::S_IWOTH;
const IN_ROOT: u64 = fs::RESOLVE_IN_ROOT | fs::RESOLVE_NO_MAGICLINKS | fs::RESOLVE_NO_SYMLINKS;

/// Which symlinks a walk follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Follow {
    /// None: for procfs and sysfs, whose contents are trusted later on.
    Never,
    /// Those of the root's own mount, and those of a volume that stay on it.
    WithinVolume,
    /// Those of root and of this user, and those whose target has the same owner.
    OwnersMatch(u32),
}

/// What is made where a component is missing.
#[derive(Debug, Clone, Copy)]
enum OnMissing {
    Fails,
    Made(TargetKind, Option<(u32, u32)>),
}

/// Opens (`O_PATH`) what is at `path` below `root`; makes it, and the directories above it, where it is missing.
/// `strict` follows no symlink at all.
pub fn open_or_make(
    cx: &mut Cx,
    root: RawFd,
    path: &CStr,
    kind: TargetKind,
    strict: bool,
) -> SysResult<RawFd> {
    let follow = if strict { Follow::Never } else { Follow::WithinVolume };
    find(cx, root, path, follow, OnMissing::Made(kind, None))
}

/// Opens (`O_PATH`) what is at `path` below `root`, without making anything.
pub fn open_existing(cx: &mut Cx, root: RawFd, path: &CStr) -> SysResult<RawFd> {
    find(cx, root, path, Follow::WithinVolume, OnMissing::Fails)
}

/// Makes the directory `path` below `root` for a user (uid, gid), who owns it from its first moment: a chown(2) after it
/// could give away what another process has put in its place.
pub fn make_for(cx: &mut Cx, root: RawFd, path: &CStr, owner: (u32, u32)) -> SysResult<RawFd> {
    find(cx, root, path, Follow::WithinVolume, OnMissing::Made(TargetKind::Dir, Some(owner)))
}

/// Opens (`O_PATH`) `path` below this process's own root, which is the container's.
pub fn open_own(cx: &mut Cx, path: &CStr) -> SysResult<RawFd> {
    let resolve = fs::RESOLVE_NO_SYMLINKS | fs::RESOLVE_NO_MAGICLINKS;
    cx.call = Call::OpenIn;
    match fs::openat2(libc::AT_FDCWD, path, libc::O_PATH, 0, resolve) {
        Err(Errno::ELOOP) => {}
        // The config's own filter may know no openat2(2).
        Err(Errno::ENOSYS | Errno::EPERM) if cx.filtered => {}
        opened => return opened,
    }
    let root = fs::openat(libc::AT_FDCWD, c"/", libc::O_PATH | libc::O_DIRECTORY, 0)?;
    let found = walk(cx, root, path, Follow::WithinVolume, OnMissing::Fails);
    fs::close(root);
    found
}

/// Opens (`O_PATH`) a path of the host that had no symlinks when a policy judged it.
pub fn open_judged(cx: &mut Cx, path: &CStr) -> SysResult<RawFd> {
    cx.call = Call::OpenIn;
    fs::openat2(libc::AT_FDCWD, path, libc::O_PATH, 0, fs::RESOLVE_NO_SYMLINKS)
}

/// Opens (`O_PATH`) a path of the host, on whose way other users may have put symlinks.
pub fn open_source(cx: &mut Cx, path: &CStr) -> SysResult<RawFd> {
    match open_judged(cx, path) {
        Err(Errno::ELOOP) => {}
        opened => return opened,
    }
    let root = fs::openat(libc::AT_FDCWD, c"/", libc::O_PATH | libc::O_DIRECTORY, 0)?;
    let found = walk(cx, root, path, Follow::OwnersMatch(cred::effective_uid()), OnMissing::Fails);
    fs::close(root);
    found
}

/// One openat2(2) where no symlink is on the way and nothing is missing, else the walk.
fn find(cx: &mut Cx, root: RawFd, path: &CStr, follow: Follow, missing: OnMissing) -> SysResult<RawFd> {
    let path = if path.is_empty() { c"." } else { path };
    cx.call = Call::OpenIn;
    match fs::openat2(root, path, libc::O_PATH, 0, IN_ROOT) {
        Err(Errno::ELOOP) => walk(cx, root, path, follow, missing),
        Err(Errno::ENOENT) if matches!(missing, OnMissing::Made(..)) => {
            match make_directly(cx, root, path, missing)? {
                Some(made) => Ok(made),
                None => walk(cx, root, path, follow, missing),
            }
        }
        other => other,
    }
}

/// Makes what alone is missing, in a directory reached without a symlink. `None` where the walk is needed.
fn make_directly(cx: &mut Cx, root: RawFd, path: &CStr, missing: OnMissing) -> SysResult<Option<RawFd>> {
    let OnMissing::Made(kind, None) = missing else { return Ok(None) };
    let bytes = path.to_bytes();
    let slash = bytes.iter().rposition(|b| *b == b'/');
    let name = CStr::from_bytes_with_nul(&path.to_bytes_with_nul()[slash.map_or(0, |i| i + 1)..]);
    let name = name.unwrap_or(c"");
    if name.is_empty() || name == c"." || name == c".." {
        return Ok(None);
    }
    let Some(above) = slash else { return or_walk(make_new(cx, root, name, kind)) };
    if above >= PATH_MAX {
        return Ok(None);
    }
    let mut buffer = [0; PATH_MAX];
    buffer[..above].copy_from_slice(&bytes[..above]);
    cx.call = Call::OpenIn;
    let above = CStr::from_bytes_until_nul(&buffer).unwrap_or(c".");
    let Some(dir) = or_walk(fs::openat2(root, above, libc::O_PATH | libc::O_DIRECTORY, 0, IN_ROOT))? else {
        return Ok(None);
    };
    let made = make_new(cx, dir, name, kind);
    fs::close(dir);
    or_walk(made)
}

/// `None` for an error that says what is on the way, which the walk finds out.
fn or_walk(opened: SysResult<RawFd>) -> SysResult<Option<RawFd>> {
    match opened {
        Err(Errno::EEXIST | Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => Ok(None),
        opened => opened.map(Some),
    }
}

/// Makes the entry `name` of the directory `at`, which must not be there, and opens it. A process that exchanges it
/// meanwhile can put neither a symlink nor a file in the place of a directory.
fn make_new(cx: &mut Cx, at: RawFd, name: &CStr, kind: TargetKind) -> SysResult<RawFd> {
    if matches!(kind, TargetKind::File | TargetKind::NewFile) {
        cx.call = Call::Open;
        let flags = libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW | libc::O_RDONLY;
        return fs::openat(at, name, flags, 0o755);
    }
    cx.call = Call::Mkdir;
    fs::mkdirat(at, name, 0o755)?;
    cx.call = Call::Open;
    fs::openat(at, name, libc::O_PATH | libc::O_NOFOLLOW | libc::O_DIRECTORY, 0)
}

/// A path being walked: what is left of it, in a buffer of fixed size.
struct Rest {
    bytes: [u8; PATH_MAX],
    start: usize,
    len: usize,
}

impl Rest {
    fn new(path: &[u8]) -> SysResult<Self> {
        let mut rest = Rest { bytes: [0; PATH_MAX], start: 0, len: 0 };
        rest.append(path)?;
        Ok(rest)
    }

    fn append(&mut self, part: &[u8]) -> SysResult<()> {
        let end = self.len + part.len();
        self.bytes.get_mut(self.len..end).ok_or(Errno::ENAMETOOLONG)?.copy_from_slice(part);
        self.len = end;
        Ok(())
    }

    /// What is left, from the next component on; empty at the end.
    fn left(&self) -> &[u8] {
        let left = &self.bytes[self.start..self.len];
        &left[left.iter().take_while(|b| **b == b'/').count()..]
    }

    /// Takes the next component.
    fn next(&mut self) -> SysResult<Option<ComponentName>> {
        let left = self.left();
        let Some(len) = left.iter().position(|b| *b == b'/').or(Some(left.len())).filter(|n| *n > 0) else {
            return Ok(None);
        };
        if len > NAME_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        let mut name = ComponentName([0; NAME_MAX + 1]);
        name.0[..len].copy_from_slice(&left[..len]);
        self.start = self.len - left.len() + len;
        Ok(Some(name))
    }
}

/// One component, ended by a NUL.
struct ComponentName([u8; NAME_MAX + 1]);

impl ComponentName {
    fn as_cstr(&self) -> &CStr {
        // The last byte is always NUL, and no component holds one.
        CStr::from_bytes_until_nul(&self.0).unwrap_or(c".")
    }
}

/// A symlink whose target is being walked, and what its target must be.
#[derive(Clone, Copy)]
struct Bound {
    must: Must,
    /// How much of the path is left once its target is reached.
    after: usize,
}

#[derive(Clone, Copy)]
enum Must {
    Mount(u64),
    Owner(u32),
    Never,
}

impl Bound {
    fn holds(&self, here: &FileIdentity) -> bool {
        match self.must {
            Must::Mount(mount) => here.mount == mount,
            Must::Owner(uid) => here.uid == uid,
            Must::Never => false,
        }
    }
}

/// Where a walk is.
struct Walk {
    root: RawFd,
    top: FileIdentity,
    at: RawFd,
    here: FileIdentity,
    rest: Rest,
    follow: Follow,
    links: usize,
    bounds: [Bound; MAX_LINKS],
    bound: usize,
    /// How much of the path is left after the component that is a symlink, or leads to one.
    outer: usize,
}

fn walk(cx: &mut Cx, root: RawFd, path: &CStr, follow: Follow, missing: OnMissing) -> SysResult<RawFd> {
    let at = fs::openat(root, c".", libc::O_PATH | libc::O_DIRECTORY, 0)?;
    let top = fs::place(at)?;
    let none = Bound { must: Must::Never, after: 0 };
    let mut walk = Walk {
        root,
        top,
        at,
        here: top,
        rest: Rest::new(path.to_bytes())?,
        follow,
        links: 0,
        bounds: [none; MAX_LINKS],
        bound: 0,
        outer: usize::MAX,
    };
    let length = walk.rest.left().len();
    let skipped = path.to_bytes().len() - length;
    let found = walk.walk_on(cx, missing);
    if found.is_err() {
        // Where in the path it is, for the report: Init cannot send a text.
        cx.link = skipped + length.saturating_sub(walk.outer);
        fs::close(walk.at);
    }
    found.map(|()| walk.at)
}

impl Walk {
    fn walk_on(&mut self, cx: &mut Cx, missing: OnMissing) -> SysResult<()> {
        while let Some(name) = self.rest.next()? {
            self.component(cx, name.as_cstr(), missing).map_err(|e| self.astray(cx, e))?;
            self.leave_links(cx)?;
        }
        Ok(())
    }

    fn component(&mut self, cx: &mut Cx, name: &CStr, missing: OnMissing) -> SysResult<()> {
        if name == c".." {
            return self.up(cx);
        }
        if name == c"." {
            return Ok(());
        }
        let last = self.rest.left().is_empty();
        let missing = match missing {
            // What is made must not be made where a symlink of a volume has led.
            OnMissing::Made(..) if !self.bounds[..self.bound].iter().all(|b| b.holds(&self.here)) => {
                OnMissing::Fails
            }
            OnMissing::Made(..) if !last => OnMissing::Made(TargetKind::Dir, None),
            missing => missing,
        };
        let next = step(cx, self.at, name, missing)?;
        cx.call = Call::Statx;
        let found = fs::place(next).inspect_err(|_| fs::close(next))?;
        if found.is_link() {
            let followed = self.refuse_magic(cx, name, next).and_then(|()| self.follow(cx, next, &found));
            fs::close(next);
            return followed;
        }
        self.go(next, found);
        Ok(())
    }

    fn go(&mut self, to: RawFd, place: FileIdentity) {
        fs::close(self.at);
        (self.at, self.here) = (to, place);
    }

    /// `..`; above the root there is nothing.
    fn up(&mut self, cx: &mut Cx) -> SysResult<()> {
        if self.here.is_same(&self.top) {
            return Ok(());
        }
        cx.call = Call::Open;
        let up = fs::openat(self.at, c"..", libc::O_PATH | libc::O_DIRECTORY, 0)?;
        let place = fs::place(up).inspect_err(|_| fs::close(up))?;
        self.go(up, place);
        Ok(())
    }

    /// A link of procfs such as /proc/self/fd/N leads to what this process has open, whatever its text says.
    fn refuse_magic(&self, cx: &mut Cx, name: &CStr, link: RawFd) -> SysResult<()> {
        cx.call = Call::Statfs;
        if fs::fs_magic(link)? != crate::tables::procfs::PROC_MAGIC {
            return Ok(());
        }
        cx.call = Call::OpenIn;
        fs::openat2(self.at, name, libc::O_PATH, 0, fs::RESOLVE_NO_MAGICLINKS).map(fs::close)
    }

    /// What is left of the path begins with the target of the symlink `link`.
    fn follow(&mut self, cx: &mut Cx, link: RawFd, place: &FileIdentity) -> SysResult<()> {
        self.links += 1;
        if self.links > MAX_LINKS || self.follow == Follow::Never {
            cx.call = Call::SymlinkTarget;
            return Err(Errno::ELOOP);
        }
        let after = self.rest.left().len();
        self.outer = self.outer.min(after);
        if let Some(must) = self.judge(place) {
            self.bounds[self.bound] = Bound { must, after };
            self.bound += 1;
        }
        let mut target = [0u8; PATH_MAX];
        let n = fs::readlinkat(link, c"", &mut target)?;
        let mut rest = Rest::new(&target[..n])?;
        rest.append(b"/")?;
        rest.append(self.rest.left())?;
        self.rest = rest;
        if target[0] == b'/' {
            let top = fs::openat(self.root, c".", libc::O_PATH | libc::O_DIRECTORY, 0)?;
            self.go(top, self.top);
        }
        Ok(())
    }

    /// What the target of a symlink must be, if not anything.
    fn judge(&self, link: &FileIdentity) -> Option<Must> {
        match self.follow {
            Follow::Never => None,
            Follow::WithinVolume => (link.mount != self.top.mount).then_some(Must::Mount(link.mount)),
            // As fs.protected_symlinks: in a directory such as /tmp only one's own, and those of its owner.
            Follow::OwnersMatch(caller) if [0, caller].contains(&link.uid) => None,
            Follow::OwnersMatch(_) => {
                let shared = self.here.mode & STICKY_AND_WRITABLE == STICKY_AND_WRITABLE;
                let refused = shared && self.here.uid != link.uid;
                Some(if refused { Must::Never } else { Must::Owner(link.uid) })
            }
        }
    }

    /// The targets of symlinks that have been reached are what they must be.
    fn leave_links(&mut self, cx: &mut Cx) -> SysResult<()> {
        while let Some(i) = self.bound.checked_sub(1) {
            if self.rest.left().len() > self.bounds[i].after {
                break;
            }
            if !self.bounds[i].holds(&self.here) {
                return Err(self.refuse(cx));
            }
            self.bound = i;
        }
        Ok(())
    }

    /// An error on the way to a symlink's target, where that is not what it must be: the symlink is what is wrong.
    fn astray(&self, cx: &mut Cx, e: Errno) -> Errno {
        if self.bounds[..self.bound].iter().all(|b| b.holds(&self.here)) { e } else { self.refuse(cx) }
    }

    fn refuse(&self, cx: &mut Cx) -> Errno {
        let owners = matches!(self.follow, Follow::OwnersMatch(_));
        cx.call = if owners { Call::OthersLink } else { Call::VolumeLink };
        Errno::EXDEV
    }
}

/// Opens the entry `name` of directory `at` without following it; makes it where it is missing.
fn step(cx: &mut Cx, at: RawFd, name: &CStr, missing: OnMissing) -> SysResult<RawFd> {
    const FLAGS: i32 = libc::O_PATH | libc::O_NOFOLLOW;
    cx.call = Call::Open;
    let opened = fs::openat(at, name, FLAGS, 0);
    let (Err(Errno::ENOENT), OnMissing::Made(kind, owner)) = (opened, missing) else { return opened };
    let made = if matches!(kind, TargetKind::File | TargetKind::NewFile) {
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
        // Another process made it in between: whatever it is, it is opened without being followed.
        Ok(()) | Err(Errno::EEXIST) => {}
        Err(e) => return Err(e),
    }
    cx.call = Call::Open;
    fs::openat(at, name, FLAGS, 0)
}

#[cfg(test)]
mod tests;
