//! `tmpcopyup`: what the rootfs holds at a mount's destination is copied into the new tmpfs before that is
//! mounted.
//!
//! The rootfs is hostile: every entry is opened below its directory's descriptor without following links, so
//! whatever is exchanged meanwhile, only what lies in the rootfs is read. The tmpfs is attached nowhere yet, so
//! no other process sees it. Init calls this: it only makes system calls and uses fixed buffers.

use std::ffi::CStr;
use std::os::fd::RawFd;

use crate::perform::at;
use crate::perform::{Call, Cx, Done};
use crate::sys::{Errno, fs};

/// Directories within directories; more is a trap for the stack.
const MAX_DEPTH: u32 = 64;
const PATH_MAX: usize = 4096;

/// Copies the directory `path` below `root` into the detached mount `tree`; what is not there is not copied.
/// The mount's own directory gets the owner and, if `mode` says so, the mode of the directory. Unless `strict`, an
/// entry that Init may not read or make is left out.
pub fn copy_up(cx: &mut Cx, root: RawFd, path: &CStr, tree: RawFd, (mode, strict): (bool, bool)) -> Done {
    if cx.made.iter().any(|made| made.as_c_str() == path) {
        return Ok(());
    }
    let flags = libc::O_RDONLY | libc::O_DIRECTORY;
    let place = match crate::perform::target::open_existing(cx, root, path) {
        Err(Errno::ENOENT) => return Ok(()),
        Err(e) if !strict && left_out(e) => return Ok(()),
        other => other?,
    };
    let from = at(cx, Call::Open, fs::openat(place, c".", flags, 0))?;
    fs::close(place);
    let to = at(cx, Call::Open, fs::openat(tree, c".", flags, 0))?;
    let st = at(cx, Call::Stat, fs::fstatat(from, c""))?;
    directory(cx, from, to, (0, strict))?;
    let kept = at(cx, Call::Stat, fs::fstatat(to, c""))?.st_mode;
    finish(cx, to, &st, if mode { st.st_mode } else { kept })?;
    fs::close(from);
    fs::close(to);
    Ok(())
}

/// The entries of `from`, into `to`.
fn directory(cx: &mut Cx, from: RawFd, to: RawFd, (depth, strict): (u32, bool)) -> Done {
    if depth > MAX_DEPTH {
        return Err(Errno::ELOOP);
    }
    let mut buf = [0u8; 8192];
    loop {
        let n = at(cx, Call::Getdents, fs::getdents(from, &mut buf))?;
        if n == 0 {
            return Ok(());
        }
        let mut rest = &buf[..n];
        // struct linux_dirent64: d_ino, d_off (8 bytes each), d_reclen (2), d_type (1), d_name.
        while let (Some(len), Some(name)) = (rest.get(16..18), rest.get(19..)) {
            let len = usize::from(u16::from_ne_bytes([len[0], len[1]]));
            let name = CStr::from_bytes_until_nul(name).map_err(|_| Errno::EBADMSG)?;
            if !matches!(name.to_bytes(), b"." | b"..") {
                match entry(cx, from, to, name, (depth, strict)) {
                    Err(e) if !strict && left_out(e) => {}
                    other => other?,
                }
            }
            rest = rest.get(len.max(19)..).unwrap_or_default();
        }
    }
}

fn entry(cx: &mut Cx, from: RawFd, to: RawFd, name: &CStr, (depth, strict): (u32, bool)) -> Done {
    let st = at(cx, Call::Stat, fs::fstatat(from, name))?;
    match st.st_mode & libc::S_IFMT {
        libc::S_IFDIR => {
            let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW;
            let source = open(cx, from, name, (flags, strict))?;
            at(cx, Call::Mkdir, fs::mkdirat(to, name, 0o700))?;
            let copy = at(cx, Call::Open, fs::openat(to, name, flags, 0))?;
            directory(cx, source, copy, (depth + 1, strict))?;
            finish(cx, copy, &st, st.st_mode)?;
            fs::close(source);
            fs::close(copy);
            Ok(())
        }
        libc::S_IFREG => file(cx, from, to, (name, strict)),
        libc::S_IFLNK => {
            let mut target = [0u8; PATH_MAX + 1];
            let n = at(cx, Call::Open, fs::readlinkat(from, name, &mut target[..PATH_MAX]))?;
            let target = CStr::from_bytes_until_nul(&target[..=n]).map_err(|_| Errno::ENAMETOOLONG)?;
            at(cx, Call::Symlink, fs::symlinkat(target, to, name))?;
            give(cx, to, name, &st).map(drop)
        }
        libc::S_IFCHR | libc::S_IFBLK | libc::S_IFIFO if strict => {
            let umask = fs::umask(0);
            let made = at(cx, Call::Mknod, fs::mknodat(to, name, st.st_mode, st.st_rdev));
            fs::umask(umask);
            made?;
            give(cx, to, name, &st).map(drop)
        }
        // A socket or a FIFO without its process is nothing, and device nodes are the container's own.
        _ => Ok(()),
    }
}

/// Opens an entry. Unless `strict`, it must lie on the mount of its directory: below another one are files of another file
/// system, such as the namespaces that ip-netns(8) mounts in /run/netns.
fn open(cx: &mut Cx, dir: RawFd, name: &CStr, (flags, strict): (i32, bool)) -> Result<RawFd, Errno> {
    let resolve = fs::RESOLVE_NO_SYMLINKS | if strict { 0 } else { fs::RESOLVE_NO_XDEV };
    at(cx, Call::OpenIn, fs::openat2(dir, name, flags, 0, resolve))
}

fn file(cx: &mut Cx, from: RawFd, to: RawFd, (name, strict): (&CStr, bool)) -> Done {
    // Without waiting: what was a file a moment ago may be a pipe.
    let flags = libc::O_RDONLY | libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let source = open(cx, from, name, (flags, strict))?;
    let st = at(cx, Call::Stat, fs::fstatat(source, c""))?;
    if st.st_mode & libc::S_IFMT != libc::S_IFREG {
        return Err(Errno::EBUSY);
    }
    let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW;
    let copy = at(cx, Call::Open, fs::openat(to, name, flags, 0o600))?;
    let mut buf = [0u8; 16384];
    loop {
        let n = at(cx, Call::Read, fs::read(source, &mut buf))?;
        if n == 0 {
            break;
        }
        at(cx, Call::Write, fs::write_all(copy, &buf[..n]))?;
    }
    finish(cx, copy, &st, st.st_mode)?;
    fs::close(source);
    fs::close(copy);
    Ok(())
}

/// Gives an entry the owner of what it is a copy of. An owner without an id in this user namespace shows as the
/// overflow id, which may have none either: then the copy stays the container root's, and the answer is false.
fn give(cx: &mut Cx, dir: RawFd, name: &CStr, st: &libc::stat) -> Result<bool, Errno> {
    match at(cx, Call::Chown, fs::fchownat(dir, name, st.st_uid, st.st_gid)) {
        Err(Errno::EINVAL) => Ok(false),
        given => given.map(|()| true),
    }
}

/// Owner first: a change of owner takes set-user-ID bits away, and a copy that got another owner has none.
fn finish(cx: &mut Cx, fd: RawFd, st: &libc::stat, mode: u32) -> Done {
    let bits = if give(cx, fd, c"", st)? { 0o7777 } else { 0o1777 };
    at(cx, Call::Chmod, fs::fchmod(fd, mode & bits))?;
    at(cx, Call::Chmod, fs::set_times(fd, st))
}

/// What lies on another mount, what the container's root may not read (another owner's files where the rootfs cannot be idmapped), or may not
/// make (device nodes in a user namespace).
fn left_out(e: Errno) -> bool {
    matches!(e, Errno::EACCES | Errno::EPERM | Errno::EXDEV)
}
