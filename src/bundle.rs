//! A bundle on disk, opened once: `config.json` and the rootfs.

use std::ffi::CString;
use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::config::Config;
use crate::error::{Error, Result};
use crate::sys::cstr::cpath;
use crate::sys::{Errno, fs};
use crate::tables::errno;

/// Maximum size of a config. The largest known ones are below 1 MiB.
pub const MAX_CONFIG: u64 = 16 << 20;

/// An opened bundle. All later access to the rootfs uses [`Bundle::rootfs`].
#[derive(Debug)]
pub struct Bundle {
    /// Absolute path of the bundle directory, without symlinks.
    pub dir: PathBuf,
    /// `config.json` as it was on disk.
    pub raw: Vec<u8>,
    /// Absolute path of the rootfs, for `state` and hooks; it is not opened again.
    pub rootfs_path: PathBuf,
    /// `O_PATH` descriptor of the rootfs.
    pub rootfs: OwnedFd,
    /// The file system the rootfs lies on (statfs(2) `f_type`).
    pub rootfs_magic: i64,
    /// User and group that own the rootfs's directory.
    pub rootfs_owner: (u32, u32),
}

impl Bundle {
    /// Opens `dir`, reads and parses its config, and opens the rootfs the config names.
    pub fn open(dir: &Path) -> Result<(Self, Config)> {
        let dir = real_dir(dir)?;
        let raw = read_config(&dir)?;
        let config = crate::config::parse::from_slice(&raw)?;
        let rootfs_path = dir.join(&config.root.path);
        let rootfs = open_rootfs(&rootfs_path)?;
        let rootfs_magic =
            fs::fs_magic(rootfs.as_raw_fd()).map_err(|e| Error::os("statfs", rootfs_path.display(), e))?;
        let st =
            fs::fstatat(rootfs.as_raw_fd(), c"").map_err(|e| Error::os("stat", rootfs_path.display(), e))?;
        let rootfs_owner = (st.st_uid, st.st_gid);
        Ok((Bundle { dir, raw, rootfs_path, rootfs, rootfs_magic, rootfs_owner }, config))
    }

    /// A directory as root file system, without a config.json.
    pub fn of_directory(dir: &Path) -> Result<Self> {
        let rootfs = open_rootfs(dir)?;
        let shown = dir.display();
        let rootfs_magic = fs::fs_magic(rootfs.as_raw_fd()).map_err(|e| Error::os("statfs", shown, e))?;
        let st = fs::fstatat(rootfs.as_raw_fd(), c"").map_err(|e| Error::os("stat", dir.display(), e))?;
        let dir = real_dir(dir)?;
        let rootfs_owner = (st.st_uid, st.st_gid);
        Ok(Bundle { rootfs_path: dir.clone(), dir, raw: Vec::new(), rootfs, rootfs_magic, rootfs_owner })
    }

    /// The rootfs's `etc/passwd` or `etc/group`; `None` if the file is missing or larger than 1 MiB.
    pub fn account_file(&self, path: &str) -> Option<Vec<u8>> {
        read_account(self.rootfs.as_raw_fd(), path)
    }

    /// Whether every user of the host can reach the rootfs: all parent directories have search permission for
    /// all.
    pub fn reachable(&self) -> bool {
        use std::os::unix::fs::PermissionsExt;
        let passes = |dir: &Path| dir.metadata().is_ok_and(|m| m.permissions().mode() & 0o001 != 0);
        let path = std::fs::canonicalize(&self.rootfs_path);
        // If the path cannot be examined, assume that it is reachable.
        path.map_or(true, |path| path.ancestors().all(passes))
    }

    /// The home directory of `uid` in the rootfs's passwd, resolved inside the rootfs; `/` if there is no
    /// entry.
    pub fn home_of(&self, uid: u32) -> String {
        home_in(self.rootfs.as_raw_fd(), uid).unwrap_or_else(|| "/".into())
    }
}

/// The absolute path of a bundle, without symlinks. Later verbs and hooks use this path, so a changed symlink
/// has no effect. The error texts are those of runc, which changes into the bundle first.
fn real_dir(dir: &Path) -> Result<PathBuf> {
    let failed = |text: String| Error::msg(format!("chdir {}: {text}", dir.display()));
    let file = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_PATH | libc::O_DIRECTORY)
        .open(dir)
        .map_err(|e| failed(errno::of_io(&e)))?;
    std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).map_err(|e| failed(errno::of_io(&e)))
}

fn read_config(dir: &Path) -> Result<Vec<u8>> {
    let path = dir.join("config.json");
    // O_NONBLOCK: a FIFO named config.json must not block the launch.
    let file =
        std::fs::OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&path).map_err(|e| {
            let hint = if e.kind() == std::io::ErrorKind::NotFound {
                " (write one with `safebox spec`)"
            } else {
                ""
            };
            Error::msg(format!(
                "JSON specification file {} not readable: {}{hint}",
                path.display(),
                errno::of_io(&e)
            ))
        })?;
    let meta =
        file.metadata().map_err(|e| Error::msg(format!("{}: {}", path.display(), errno::of_io(&e))))?;
    if !meta.is_file() {
        return Err(Error::msg(format!("{} is not a regular file", path.display())));
    }
    let mut raw = Vec::with_capacity(meta.len() as usize + 1);
    file.take(MAX_CONFIG + 1)
        .read_to_end(&mut raw)
        .map_err(|e| Error::msg(format!("{}: {}", path.display(), errno::of_io(&e))))?;
    if raw.len() as u64 > MAX_CONFIG {
        return Err(Error::msg(format!("{}: larger than {} MiB", path.display(), MAX_CONFIG >> 20)));
    }
    Ok(raw)
}

fn open_rootfs(path: &Path) -> Result<OwnedFd> {
    let c = cpath(path)?;
    let fd = fs::openat(libc::AT_FDCWD, &c, libc::O_PATH | libc::O_DIRECTORY, 0).map_err(|e| match e {
        Errno::ENOENT => {
            Error::msg(format!("invalid rootfs: stat {}: no such file or directory", path.display()))
        }
        Errno::ENOTDIR => Error::msg(format!("invalid rootfs: {} is not a directory", path.display())),
        Errno::ELOOP => {
            Error::msg(format!("invalid rootfs: {}: too many levels of symbolic links", path.display()))
        }
        e => Error::os("invalid rootfs: open", path.display(), e),
    })?;
    Ok(fs::own(fd))
}

/// Maximum size of a passwd file, which may be hostile.
const MAX_PASSWD: u64 = 1 << 20;

/// File systems whose files are not plain data: reading one acts on the kernel (/proc/kmsg) or on the process behind
/// it (linux/magic.h, and each file system's source).
pub const SPECIAL: [i64; 19] = [
    0x9fa0,      // proc
    0x6265_6572, // sysfs
    0x6573_5546, // FUSE
    0x6573_5543, // fusectl
    0x0027_e0eb, // cgroup
    0x6367_7270, // cgroup2
    0x6462_6720, // debugfs
    0x7472_6163, // tracefs
    0x7363_6673, // securityfs
    0xf97c_ff8c, // selinuxfs
    0x1980_0202, // mqueue
    0xcafe_4a11, // bpf
    0x6265_6570, // configfs
    0xde5e_81e4, // efivarfs
    0x6165_676c, // pstore
    0x0765_5821, // resctrl
    0x6c6f_6f70, // binder
    0x4249_4e4d, // binfmt_misc
    0x6e66_7364, // nfsd
];

/// The home directory of `uid` in the passwd below `rootfs`, resolved inside it.
pub fn home_in(rootfs: RawFd, uid: u32) -> Option<String> {
    let text = read_account(rootfs, "etc/passwd")?;
    let number = uid.to_string();
    String::from_utf8_lossy(&text).lines().find_map(|line| {
        let mut fields = line.split(':').skip(2);
        // Compare only the number: an entry whose *name* looks like a number must not match (CVE-2026-30892).
        let matches = fields.next()? == number;
        let home = fields.nth(2)?;
        (matches && home.starts_with('/') && !home.contains('\0')).then(|| home.to_string())
    })
}

/// Reads a regular file of plain data below `rootfs`, resolved inside it.
fn read_account(rootfs: RawFd, path: &str) -> Option<Vec<u8>> {
    let path = CString::new(path).ok()?;
    let resolve = fs::RESOLVE_IN_ROOT | fs::RESOLVE_NO_MAGICLINKS;
    // Opened with O_PATH and checked first: opening a device (a watchdog, a tape) can have side effects.
    let found = fs::own(fs::openat2(rootfs, &path, libc::O_PATH, 0, resolve).ok()?);
    let st = fs::fstatat(found.as_raw_fd(), c"").ok()?;
    let magic = fs::fs_magic(found.as_raw_fd()).ok()?;
    if st.st_mode & libc::S_IFMT != libc::S_IFREG || SPECIAL.contains(&magic) {
        return None;
    }
    let path = format!("/proc/self/fd/{}", found.as_raw_fd());
    let file = std::fs::OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).ok()?;
    let mut text = Vec::new();
    file.take(MAX_PASSWD + 1).read_to_end(&mut text).ok()?;
    (text.len() as u64 <= MAX_PASSWD).then_some(text)
}
