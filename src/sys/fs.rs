//! Files: openat2(2) and the *at family, without allocation.

use std::ffi::CStr;
use std::os::fd::RawFd;

use super::{Errno, SysResult, check};

/// `struct open_how` of openat2(2).
#[repr(C)]
struct OpenHow {
    flags: u64,
    mode: u64,
    resolve: u64,
}

/// openat2(2): treat the directory as the root; `..`, absolute paths and absolute symlinks stay below it.
pub const RESOLVE_IN_ROOT: u64 = 0x10;
/// openat2(2): never follow /proc's magic links.
pub const RESOLVE_NO_MAGICLINKS: u64 = 0x02;
/// openat2(2): follow no symlink at all.
pub const RESOLVE_NO_SYMLINKS: u64 = 0x04;
/// openat2(2): do not cross a mount.
pub const RESOLVE_NO_XDEV: u64 = 0x01;
/// openat2(2): never leave the directory.
pub const RESOLVE_BENEATH: u64 = 0x08;

/// openat2(2), always close-on-exec. Retries while a concurrent rename makes the kernel return `EAGAIN`.
pub fn openat2(dir: RawFd, path: &CStr, flags: i32, mode: u32, resolve: u64) -> SysResult<RawFd> {
    let how = OpenHow { flags: (flags | libc::O_CLOEXEC) as u64, mode: mode.into(), resolve };
    let mut tries = 0;
    loop {
        // SAFETY: `how` has the size passed and both pointers outlive the call.
        let ret = check(unsafe {
            libc::syscall(
                libc::SYS_openat2,
                dir,
                path.as_ptr(),
                std::ptr::from_ref(&how),
                std::mem::size_of::<OpenHow>(),
            )
        });
        match ret {
            Err(Errno::EAGAIN) if tries < 128 => tries += 1,
            other => return other.map(|fd| fd as RawFd),
        }
    }
}

/// openat(2), always close-on-exec.
pub fn openat(dir: RawFd, path: &CStr, flags: i32, mode: u32) -> SysResult<RawFd> {
    // SAFETY: `path` is NUL-terminated and outlives the call.
    check(unsafe { libc::openat(dir, path.as_ptr(), flags | libc::O_CLOEXEC, mode) }.into())
        .map(|fd| fd as RawFd)
}

/// mkdirat(2).
pub fn mkdirat(dir: RawFd, path: &CStr, mode: u32) -> SysResult<()> {
    // SAFETY: `path` is NUL-terminated and outlives the call.
    check(unsafe { libc::mkdirat(dir, path.as_ptr(), mode) }.into()).map(drop)
}

/// mknodat(2).
pub fn mknodat(dir: RawFd, path: &CStr, mode: u32, dev: u64) -> SysResult<()> {
    // SAFETY: `path` is NUL-terminated and outlives the call.
    check(unsafe { libc::mknodat(dir, path.as_ptr(), mode, dev) }.into()).map(drop)
}

/// symlinkat(2).
pub fn symlinkat(target: &CStr, dir: RawFd, path: &CStr) -> SysResult<()> {
    // SAFETY: both strings are NUL-terminated and outlive the call.
    check(unsafe { libc::symlinkat(target.as_ptr(), dir, path.as_ptr()) }.into()).map(drop)
}

/// unlinkat(2); `flags` may be `AT_REMOVEDIR`.
pub fn unlinkat(dir: RawFd, path: &CStr, flags: i32) -> SysResult<()> {
    // SAFETY: `path` is NUL-terminated and outlives the call.
    check(unsafe { libc::unlinkat(dir, path.as_ptr(), flags) }.into()).map(drop)
}

/// renameat(2) within or between directories.
pub fn renameat(from_dir: RawFd, from: &CStr, to_dir: RawFd, to: &CStr) -> SysResult<()> {
    // SAFETY: both strings are NUL-terminated and outlive the call.
    check(unsafe { libc::renameat(from_dir, from.as_ptr(), to_dir, to.as_ptr()) }.into()).map(drop)
}

/// renameat2(2) with `RENAME_NOREPLACE`: `EEXIST` if the new name exists.
pub fn rename_new(from: &CStr, to: &CStr) -> SysResult<()> {
    let (here, flags) = (libc::AT_FDCWD, libc::RENAME_NOREPLACE);
    // SAFETY: both strings are NUL-terminated and outlive the call.
    check(unsafe { libc::syscall(libc::SYS_renameat2, here, from.as_ptr(), here, to.as_ptr(), flags) })
        .map(drop)
}

/// readlinkat(2) into `buf`; returns the length read.
pub fn readlinkat(dir: RawFd, path: &CStr, buf: &mut [u8]) -> SysResult<usize> {
    // SAFETY: the buffer is writable for the length passed.
    check(unsafe { libc::readlinkat(dir, path.as_ptr(), buf.as_mut_ptr().cast(), buf.len()) } as libc::c_long)
        .map(|n| n as usize)
}

/// fchownat(2) on the descriptor itself or `path` below it; does not follow symlinks.
pub fn fchownat(dir: RawFd, path: &CStr, uid: u32, gid: u32) -> SysResult<()> {
    let flags = libc::AT_SYMLINK_NOFOLLOW | if path.is_empty() { libc::AT_EMPTY_PATH } else { 0 };
    // SAFETY: `path` is NUL-terminated and outlives the call.
    check(unsafe { libc::fchownat(dir, path.as_ptr(), uid, gid, flags) }.into()).map(drop)
}

/// getdents64(2) into `buf`; returns the number of bytes, 0 at the end.
pub fn getdents(fd: RawFd, buf: &mut [u8]) -> SysResult<usize> {
    // SAFETY: the buffer is writable for the length passed.
    check(unsafe { libc::syscall(libc::SYS_getdents64, fd, buf.as_mut_ptr(), buf.len()) }).map(|n| n as usize)
}

/// fchmod(2).
pub fn fchmod(fd: RawFd, mode: u32) -> SysResult<()> {
    // SAFETY: no memory is involved.
    check(unsafe { libc::fchmod(fd, mode) }.into()).map(drop)
}

/// chmod(2), whatever the umask is.
pub fn chmod(path: &CStr, mode: u32) -> SysResult<()> {
    // SAFETY: the path is a NUL-terminated string.
    check(unsafe { libc::fchmodat(libc::AT_FDCWD, path.as_ptr(), mode, 0) }.into()).map(drop)
}

/// futimens(2): sets the times of `fd` to those of `st`.
pub fn set_times(fd: RawFd, st: &libc::stat) -> SysResult<()> {
    let times = [
        libc::timespec { tv_sec: st.st_atime, tv_nsec: st.st_atime_nsec },
        libc::timespec { tv_sec: st.st_mtime, tv_nsec: st.st_mtime_nsec },
    ];
    // SAFETY: two timespecs that outlive the call.
    check(unsafe { libc::futimens(fd, times.as_ptr()) }.into()).map(drop)
}

/// stat(2) of an absolute path or one relative to the working directory; follows symlinks.
pub fn stat(path: &CStr) -> SysResult<libc::stat> {
    // SAFETY: an all-zero `stat` is a valid value of that plain C struct.
    let mut st: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: `st` is writable and `path` is NUL-terminated.
    check(unsafe { libc::fstatat(libc::AT_FDCWD, path.as_ptr(), &mut st, 0) }.into())?;
    Ok(st)
}

/// fstatat(2) with `AT_SYMLINK_NOFOLLOW` (and `AT_EMPTY_PATH` where `path` is empty).
pub fn fstatat(dir: RawFd, path: &CStr) -> SysResult<libc::stat> {
    let flags = libc::AT_SYMLINK_NOFOLLOW | if path.is_empty() { libc::AT_EMPTY_PATH } else { 0 };
    // SAFETY: an all-zero `stat` is a valid value of that plain C struct.
    let mut st: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: `st` is writable and `path` is NUL-terminated.
    check(unsafe { libc::fstatat(dir, path.as_ptr(), &mut st, flags) }.into())?;
    Ok(st)
}

/// faccessat2(2) with the effective ids: the check that execve(2) makes.
pub fn faccess_exec(dir: RawFd, path: &CStr) -> SysResult<()> {
    // SAFETY: `path` is NUL-terminated and outlives the call.
    check(unsafe { libc::syscall(libc::SYS_faccessat2, dir, path.as_ptr(), libc::X_OK, libc::AT_EACCESS) })
        .map(drop)
}

/// The magic number of the file system that `fd` lies on (statfs(2) `f_type`).
pub fn fs_magic(fd: RawFd) -> SysResult<i64> {
    // SAFETY: an all-zero `statfs` is a valid value of that plain C struct.
    let mut st: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: `st` is writable.
    check(unsafe { libc::fstatfs(fd, &mut st) }.into())?;
    #[allow(clippy::unnecessary_cast)] // f_type's type differs between architectures
    Ok(st.f_type as i64)
}

/// The magic number of the file system at `path`; follows symlinks.
pub fn path_magic(path: &CStr) -> SysResult<i64> {
    // SAFETY: an all-zero `statfs` is a valid value of that plain C struct.
    let mut st: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: `st` is writable and `path` is NUL-terminated.
    check(unsafe { libc::statfs(path.as_ptr(), &mut st) }.into())?;
    #[allow(clippy::unnecessary_cast)] // f_type's type differs between architectures
    Ok(st.f_type as i64)
}

/// Whether the mount that `fd` lies on is read-only (statvfs(3) `ST_RDONLY`).
pub fn on_readonly_mount(fd: RawFd) -> SysResult<bool> {
    // SAFETY: an all-zero `statvfs` is a valid value of that plain C struct.
    let mut st: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: `st` is writable.
    check(unsafe { libc::fstatvfs(fd, &mut st) }.into())?;
    Ok(st.f_flag & libc::ST_RDONLY != 0)
}

/// Whether the file at `path` lies on a mount that executes nothing (statvfs(3) `ST_NOEXEC`); follows symlinks.
pub fn on_noexec_mount(path: &CStr) -> SysResult<bool> {
    // SAFETY: an all-zero `statvfs` is a valid value of that plain C struct.
    let mut st: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: `st` is writable and `path` is NUL-terminated.
    check(unsafe { libc::statvfs(path.as_ptr(), &mut st) }.into())?;
    Ok(st.f_flag & libc::ST_NOEXEC != 0)
}

/// write(2) of all of `bytes`: in one write, but for the rest on a disk that is full, whose error the next write returns.
pub fn write_all(fd: RawFd, mut bytes: &[u8]) -> SysResult<()> {
    loop {
        // SAFETY: the buffer is readable for the length passed.
        let n = check(unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) } as libc::c_long)?;
        match bytes.get(n as usize..) {
            None | Some([]) => return Ok(()),
            Some(_) if n == 0 => return Err(Errno::EIO),
            Some(rest) => bytes = rest,
        }
    }
}

/// fsync(2).
pub fn fsync(fd: RawFd) -> SysResult<()> {
    // SAFETY: takes a number only.
    check(unsafe { libc::fsync(fd) } as libc::c_long).map(drop)
}

/// One write(2).
pub fn write(fd: RawFd, bytes: &[u8]) -> SysResult<usize> {
    // SAFETY: the buffer is readable for the length passed.
    check(unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) } as libc::c_long).map(|n| n as usize)
}

/// One read(2).
pub fn read(fd: RawFd, buf: &mut [u8]) -> SysResult<usize> {
    // SAFETY: the buffer is writable for the length passed.
    check(unsafe { libc::read(fd, buf.as_mut_ptr().cast(), buf.len()) } as libc::c_long).map(|n| n as usize)
}

/// read(2) into the spare capacity of `buf`.
pub fn read_more(fd: RawFd, buf: &mut Vec<u8>) -> SysResult<usize> {
    let spare = buf.spare_capacity_mut();
    // SAFETY: the spare capacity is writable for the length passed.
    let n =
        check(unsafe { libc::read(fd, spare.as_mut_ptr().cast(), spare.len()) } as libc::c_long)? as usize;
    // SAFETY: the kernel has written the first `n` bytes of the spare capacity.
    unsafe { buf.set_len(buf.len() + n) };
    Ok(n)
}

/// close(2) of a raw descriptor that nothing else owns.
pub fn close(fd: RawFd) {
    // SAFETY: no memory is involved; an error of close leaves the descriptor closed on Linux.
    unsafe { libc::close(fd) };
}

/// dup2(2): `to` becomes a copy of `from` without close-on-exec.
pub fn dup2(from: RawFd, to: RawFd) -> SysResult<()> {
    // SAFETY: no memory is involved.
    check(unsafe { libc::dup2(from, to) }.into()).map(drop)
}

/// A close-on-exec copy of `fd`, which is closed, with a high number: the low ones are the caller's, who may pass them to
/// the container, and Init closes all others.
pub fn move_up(fd: RawFd) -> SysResult<std::os::fd::OwnedFd> {
    let fd = own(fd);
    let raw = std::os::fd::AsRawFd::as_raw_fd(&fd);
    // The limit on open files may be small.
    dup_above(raw, 512).or_else(|_| dup_above(raw, 32)).or_else(|_| dup_above(raw, 10)).map(own)
}

/// `fcntl(F_DUPFD_CLOEXEC)`: a close-on-exec copy of `fd` with the lowest free number from `first` on.
pub fn dup_above(fd: RawFd, first: RawFd) -> SysResult<RawFd> {
    // SAFETY: no memory is involved.
    check(unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, first) }.into()).map(|n| n as RawFd)
}

/// Sets close-on-exec: executed programs do not inherit `fd`.
pub fn close_on_exec(fd: RawFd) -> SysResult<()> {
    // SAFETY: no memory is involved.
    check(unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) }.into()).map(drop)
}

/// Whether `fd` is open and close-on-exec.
pub fn is_close_on_exec(fd: RawFd) -> bool {
    // SAFETY: no memory is involved.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFD) };
    flags >= 0 && flags & libc::FD_CLOEXEC != 0
}

/// Clears close-on-exec: the next executed program inherits `fd`.
pub fn inheritable(fd: RawFd) -> SysResult<()> {
    // SAFETY: no memory is involved.
    check(unsafe { libc::fcntl(fd, libc::F_SETFD, 0) }.into()).map(drop)
}

/// Whether `fd` is open for writing.
pub fn is_writable(fd: RawFd) -> bool {
    // SAFETY: no memory is involved.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFL) };
    flags >= 0 && matches!(flags & libc::O_ACCMODE, libc::O_WRONLY | libc::O_RDWR)
}

/// fchdir(2).
pub fn fchdir(fd: RawFd) -> SysResult<()> {
    // SAFETY: no memory is involved.
    check(unsafe { libc::fchdir(fd) }.into()).map(drop)
}

/// chdir(2).
pub fn chdir(path: &CStr) -> SysResult<()> {
    // SAFETY: `path` is NUL-terminated and outlives the call.
    check(unsafe { libc::chdir(path.as_ptr()) }.into()).map(drop)
}

/// getcwd(2) into `buf`; returns the length with the NUL. A path that starts with `(unreachable)` is outside
/// the root.
pub fn getcwd(buf: &mut [u8]) -> SysResult<usize> {
    // SAFETY: the buffer is writable for the length passed.
    check(unsafe { libc::syscall(libc::SYS_getcwd, buf.as_mut_ptr(), buf.len()) }).map(|n| n as usize)
}

/// umask(2), which cannot fail; returns the previous mask.
pub fn umask(mask: u32) -> u32 {
    // SAFETY: no memory is involved.
    unsafe { libc::umask(mask) }
}

/// flock(2), exclusive and blocking. The lock is released when the descriptor is closed.
pub fn lock(fd: RawFd) -> SysResult<()> {
    // SAFETY: no memory is involved.
    check(unsafe { libc::flock(fd, libc::LOCK_EX) }.into()).map(drop)
}

/// flock(2): releases the lock, even if other processes have the same open file description.
pub fn unlock(fd: RawFd) -> SysResult<()> {
    // SAFETY: no memory is involved.
    check(unsafe { libc::flock(fd, libc::LOCK_UN) }.into()).map(drop)
}

/// flock(2), exclusive, without waiting: `EWOULDBLOCK` if another open file description holds the lock.
pub fn try_lock(fd: RawFd) -> SysResult<()> {
    // SAFETY: no memory is involved.
    check(unsafe { libc::flock(fd, libc::LOCK_EX | libc::LOCK_NB) }.into()).map(drop)
}

/// flock(2), shared, without waiting: `EWOULDBLOCK` while another process holds it exclusively. Several can
/// hold it at once.
pub fn try_lock_shared(fd: RawFd) -> SysResult<()> {
    // SAFETY: no memory is involved.
    check(unsafe { libc::flock(fd, libc::LOCK_SH | libc::LOCK_NB) }.into()).map(drop)
}

/// Takes ownership of a descriptor that a system call just returned.
pub fn own(fd: RawFd) -> std::os::fd::OwnedFd {
    // SAFETY: the caller has just received `fd` from the kernel, nothing else owns it, and ownership moves to
    // the result.
    unsafe { std::os::fd::FromRawFd::from_raw_fd(fd) }
}

/// Borrows a descriptor that the caller keeps open.
pub fn borrow<'a>(fd: RawFd) -> std::os::fd::BorrowedFd<'a> {
    // SAFETY: descriptors in the slots of a plan stay open until their row closes them.
    unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) }
}

/// Whether the descriptor `fd` is open (`fcntl(F_GETFD)`).
pub fn is_open(fd: RawFd) -> bool {
    // SAFETY: no memory is involved.
    unsafe { libc::fcntl(fd, libc::F_GETFD) >= 0 }
}

/// Whether `path` still names the file that `fd` is open on.
pub fn is_at(fd: RawFd, path: &CStr) -> bool {
    match (fstatat(fd, c""), fstatat(libc::AT_FDCWD, path)) {
        (Ok(open), Ok(named)) => (open.st_dev, open.st_ino) == (named.st_dev, named.st_ino),
        _ => false,
    }
}

/// Identity of a file: mount, file system and inode; with its type and owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileIdentity {
    /// Mount id; no other mount has the same id at the same time.
    pub mount: u64,
    /// Device number (major, minor) of the file system.
    pub device: (u32, u32),
    /// Inode number in that file system.
    pub inode: u64,
    /// Type and permission bits.
    pub mode: u32,
    /// User id of the owner.
    pub uid: u32,
}

impl FileIdentity {
    /// Whether it is a symlink.
    pub fn is_link(&self) -> bool {
        self.mode & libc::S_IFMT == libc::S_IFLNK
    }

    /// Whether it is the same file on the same mount. Mode and owner are not compared.
    pub fn is_same(&self, other: &FileIdentity) -> bool {
        (self.mount, self.device, self.inode) == (other.mount, other.device, other.inode)
    }

    /// Whether it is a directory.
    pub fn is_dir(&self) -> bool {
        self.mode & libc::S_IFMT == libc::S_IFDIR
    }
}

/// The file behind a descriptor (statx(2); the mount id needs Linux 5.8).
pub fn place(fd: RawFd) -> SysResult<FileIdentity> {
    statx(fd, c"", libc::AT_EMPTY_PATH)
}

/// The file at a path.
pub fn place_at(path: &CStr) -> SysResult<FileIdentity> {
    statx(libc::AT_FDCWD, path, 0)
}

fn statx(dir: RawFd, path: &CStr, flags: i32) -> SysResult<FileIdentity> {
    // SAFETY: an all-zero statx is a valid empty one.
    let mut buf: libc::statx = unsafe { std::mem::zeroed() };
    let mask = libc::STATX_INO | libc::STATX_MNT_ID | libc::STATX_TYPE | libc::STATX_MODE | libc::STATX_UID;
    // SAFETY: `path` is a NUL-terminated string, `buf` a writable statx.
    check(unsafe { libc::statx(dir, path.as_ptr(), flags, mask, &mut buf) }.into())?;
    Ok(FileIdentity {
        mount: buf.stx_mnt_id,
        device: (buf.stx_dev_major, buf.stx_dev_minor),
        inode: buf.stx_ino,
        mode: buf.stx_mode.into(),
        uid: buf.stx_uid,
    })
}
