//! Shared by several lessons: a new user namespace with the caller as root, a tmpfs, results as text.

use std::ffi::CStr;
use std::fmt::Display;
use std::fs;
use std::io::Error;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getegid, geteuid};

/// Leaves the caller's user namespace for a new one, in which the caller is root, together with the
/// namespaces `more`, which it owns. Later mounts do not affect the host. (Lesson 4 explains the map.)
pub fn become_root(more: CloneFlags) -> Result<(), Error> {
    let (uid, gid) = (geteuid(), getegid());
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS | more).map_err(|e| {
        Error::other(format!(
            "unshare: {e} (is /proc/sys/user/max_user_namespaces 0, or AppArmor against it?)"
        ))
    })?;
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("0 {uid} 1"))?;
    fs::write("/proc/self/gid_map", format!("0 {gid} 1"))?;
    Ok(mount(Some(""), "/", Some(""), MsFlags::MS_REC | MsFlags::MS_PRIVATE, Some(""))?)
}

/// A mount namespace whose mounts do not reach the host.
pub fn private_mounts() -> nix::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(Some(""), "/", Some(""), MsFlags::MS_REC | MsFlags::MS_PRIVATE, Some(""))
}

/// A user namespace with this map of users and groups. Only its map is used, so its process is ended.
pub fn user_namespace(map: &str) -> Result<fs::File, Error> {
    let mut child = Command::new("unshare").args(["--user", "sleep", "60"]).stdin(Stdio::null()).spawn()?;
    let (proc, own) = (format!("/proc/{}", child.id()), fs::read_link("/proc/self/ns/user")?);
    while fs::read_link(format!("{proc}/ns/user"))? == own {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    fs::write(format!("{proc}/uid_map"), map)?;
    fs::write(format!("{proc}/gid_map"), map)?;
    let namespace = fs::File::open(format!("{proc}/ns/user"))?;
    child.kill()?;
    child.wait().map(|_| namespace)
}

/// A bind mount of `from` at `to` that shows ids by the map of a user namespace (mount_setattr(2)).
pub fn bind_idmapped(from: &CStr, to: &CStr, namespace: &fs::File) -> Result<(), Error> {
    let checked = |n: libc::c_long| if n < 0 { Err(Error::last_os_error()) } else { Ok(n) };
    let flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC;
    // SAFETY: the path is NUL-terminated.
    let tree = checked(unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, from.as_ptr(), flags) })?;
    // SAFETY: an all-zero mount_attr is a valid one.
    let mut attr: libc::mount_attr = unsafe { std::mem::zeroed() };
    (attr.attr_set, attr.userns_fd) = (libc::MOUNT_ATTR_IDMAP, namespace.as_raw_fd() as u64);
    let (size, empty) = (size_of::<libc::mount_attr>(), libc::AT_EMPTY_PATH);
    // SAFETY: `attr` has the size that is passed.
    checked(unsafe { libc::syscall(libc::SYS_mount_setattr, tree, c"".as_ptr(), empty, &attr, size) })?;
    let (place, from_fd) = (to.as_ptr(), libc::MOVE_MOUNT_F_EMPTY_PATH);
    // SAFETY: both paths are NUL-terminated.
    checked(unsafe {
        libc::syscall(libc::SYS_move_mount, tree, c"".as_ptr(), libc::AT_FDCWD, place, from_fd)
    })
    .map(drop)
}

/// Mounts an empty tmpfs at `dir`.
pub fn tmpfs(dir: &str) -> nix::Result<()> {
    mount(Some("tmpfs"), dir, Some("tmpfs"), MsFlags::empty(), Some("size=4m"))
}

/// The content of an open file, or the error of its open.
pub fn text(opened: nix::Result<OwnedFd>) -> String {
    let read = |fd| std::io::read_to_string(fs::File::from(fd));
    opened
        .map_err(Error::from)
        .and_then(read)
        .map_or_else(|e| format!("refused: {e}"), |t| format!("read {:?}", t.trim()))
}

/// The owner of a file.
pub fn owner(path: &str) -> Result<u32, Error> {
    Ok(fs::metadata(path)?.uid())
}

/// Whether a shell command succeeded.
pub fn sh(line: &str) -> Result<bool, Error> {
    Ok(Command::new("sh").args(["-c", line]).stderr(Stdio::null()).status()?.success())
}

/// `done`, or the error.
pub fn said<T>(result: Result<T, impl Display>) -> String {
    result.map_or_else(|e| format!("refused: {e}"), |_| "done".into())
}

/// A new cgroup of the memory controller, and whether it is a v2 cgroup.
pub fn memory_cgroup() -> Option<(PathBuf, bool)> {
    let (root, name) = (Path::new("/sys/fs/cgroup"), format!("lesson-{}", std::process::id()));
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = root.join(own.lines().find_map(|l| l.strip_prefix("0::/")).unwrap_or_default());
    let v2 = !root.join("memory").is_dir();
    if v2 && !geteuid().is_root() {
        // A v2 cgroup with processes cannot delegate controllers to its children: this process first moves to
        // a leaf.
        fs::create_dir(own.join("leaf")).ok()?;
        fs::write(own.join("leaf/cgroup.procs"), std::process::id().to_string()).ok()?;
        fs::write(own.join("cgroup.subtree_control"), "+memory").ok()?;
    }
    let parent = if !v2 {
        root.join("memory")
    } else if own.join("leaf").is_dir() {
        own
    } else {
        root.into()
    };
    fs::create_dir(parent.join(&name)).ok().map(|()| (parent.join(name), v2))
}
