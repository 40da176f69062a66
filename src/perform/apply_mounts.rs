//! What the mount rows do: everything by descriptor, everything below the container's root.

use std::ffi::CStr;
use std::os::fd::RawFd;

use crate::perform::at;
use crate::perform::new_mount::{new_fs, set_attrs};
use crate::perform::target::{make_for, open_existing, open_or_make};
use crate::perform::{Call, Cx, Done, places};
use crate::plan::action::{Action, DeviceNode, SetAttr, Target, TargetKind};
use crate::sys::mount::{self, AT_EMPTY_PATH, AT_RECURSIVE, MountAttr};
use crate::sys::{Errno, fs, process, socket, tty};

/// Performs one row about mounts and files of the container.
pub fn apply(action: &Action, cx: &mut Cx) -> Done {
    use Action as A;
    match action {
        A::Propagation { flags } => {
            let attr = MountAttr { propagation: flags & !libc::MS_REC, ..MountAttr::default() };
            at(cx, Call::MountSetattr, mount::mount_setattr(libc::AT_FDCWD, c"/", AT_RECURSIVE, &attr))
        }
        A::OpenPlace { path, rootfs, to } => {
            let flags = libc::O_PATH | libc::O_DIRECTORY;
            let fd = at(cx, Call::Open, fs::openat(libc::AT_FDCWD, path, flags, 0))?;
            cx.set(to, fd);
            let place = at(cx, Call::Stat, fs::fstatat(fd, c""))?;
            let rootfs = at(cx, Call::Stat, fs::fstatat(cx.fd(rootfs), c""))?;
            let same = (place.st_dev, place.st_ino) == (rootfs.st_dev, rootfs.st_ino);
            if same { Ok(()) } else { at(cx, Call::SameDirectory, Err(Errno::ESTALE)) }
        }
        A::AttachRoot { root, at: None } => {
            at(cx, Call::MoveMount, mount::move_mount(cx.fd(root), libc::AT_FDCWD, c"/"))
        }
        A::AttachRoot { root, at: Some(place) } => {
            at(cx, Call::MoveMount, mount::move_mount(cx.fd(root), cx.fd(place), c""))
        }
        A::AttachAt { tree, path } => {
            let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_NOFOLLOW;
            let place = at(cx, Call::Open, fs::openat(libc::AT_FDCWD, path, flags, 0))?;
            at(cx, Call::MoveMount, mount::move_mount(cx.fd(tree), place, c""))?;
            fs::close(place);
            fs::close(cx.fd(tree));
            cx.set(tree, -1);
            Ok(())
        }
        A::OpenDir { root, path, to } => {
            let fd = open_or_make(cx, cx.fd(root), path, TargetKind::Dir, false)?;
            cx.set(to, fd);
            places::expect_own(cx, cx.fd(root), path, fd)
        }
        A::MakeTarget { target } => {
            let there = open_existing(cx, cx.fd(&target.root), &target.path);
            match there {
                Err(Errno::ENOENT) => {
                    cx.made.push(target.path.clone());
                    open_target(cx, target, target.kind, false).map(fs::close)
                }
                found => found.map(fs::close),
            }
        }
        A::MountFs { .. } => mount_fs(action, cx),
        A::MoveTree { tree, before, target } => move_tree(cx, cx.fd(tree), before, target),
        A::FileMount { .. } => file_mount(action, cx),
        A::CopyUp { root, path, tree, mode, strict } => {
            let (root, tree) = (cx.fd(root), cx.fd(tree));
            crate::perform::copy_up::copy_up(cx, root, path, tree, (*mode, *strict))
        }
        A::Secret { .. } => crate::perform::secrets::write(action, cx),
        A::OpenInside { root, path, recursive, to } => {
            let found = open_existing(cx, cx.fd(root), path)?;
            copy_of(cx, found, Some(*recursive), to)
        }
        A::Hold { tree, to } => {
            let fd = at(cx, Call::Dup, fs::dup_above(cx.fd(tree), 3))?;
            cx.set(to, fd);
            Ok(())
        }
        A::Remount { target, data, changes, keep } => {
            let fd = open_existing(cx, cx.fd(&target.root), &target.path)?;
            if !data.is_empty() {
                let context = at(cx, Call::Fspick, mount::fspick(fd))?;
                for (key, value) in data {
                    at(cx, Call::Fsconfig, mount::fsconfig_set(context, key, value.as_deref()))?;
                }
                at(cx, Call::FsconfigReconfigure, mount::fsconfig_reconfigure(context))?;
                fs::close(context);
            }
            set_attrs(cx, fd, changes)?;
            match keep {
                Some(slot) => cx.set(slot, fd),
                None => fs::close(fd),
            }
            Ok(())
        }
        A::Symlink { root, path, to } => {
            match at(cx, Call::Symlink, fs::symlinkat(to, cx.fd(root), path)) {
                // A rootfs may bring its own; /dev is the container's to arrange.
                Err(Errno::EEXIST) => Ok(()),
                other => other,
            }
        }
        A::DeviceNode { .. } => device_node(action, cx),
        A::NodeTrees { nodes, root, trees } => crate::perform::nodes::open(cx, nodes, root, trees),
        A::OpenNull { dev, to } => {
            let flags = libc::O_PATH | libc::O_NOFOLLOW;
            let fd = at(cx, Call::Open, fs::openat(cx.fd(dev), c"null", flags, 0))?;
            expect_device(cx, fd, DeviceNode { block: false, major: 1, minor: 3 })?;
            cx.set(to, fd);
            cx.null_used = true;
            Ok(())
        }
        A::EmptyDir { to } => {
            let fd = new_fs(
                cx,
                c"tmpfs",
                [(c"size", Some(c"4k")), (c"mode", Some(c"0555"))].into_iter(),
                libc::MOUNT_ATTR_RDONLY
                    | libc::MOUNT_ATTR_NOSUID
                    | libc::MOUNT_ATTR_NODEV
                    | libc::MOUNT_ATTR_NOEXEC,
            )?;
            cx.set(to, fd);
            Ok(())
        }
        A::Mask { root, path, null, empty } => places::mask(cx, cx.fd(root), path, cx.fd(null), cx.fd(empty)),
        A::ReadonlyPath { root, path } => places::readonly_path(cx, cx.fd(root), path),
        A::RootAttr { root, change } => set_attrs(cx, cx.fd(root), std::slice::from_ref(change)),
        A::Pivot { root } => {
            at(cx, Call::Fchdir, fs::fchdir(cx.fd(root)))?;
            at(cx, Call::Pivot, mount::pivot_root_here())?;
            at(cx, Call::Umount, mount::umount_here())
        }
        A::HideMount { path } => places::hide(cx, path),
        A::Chroot { root } => {
            at(cx, Call::Fchdir, fs::fchdir(cx.fd(root)))?;
            at(cx, Call::Chroot, process::chroot_here())
        }
        _ => apply_files(action, cx),
    }
}

/// `DEVPTS_SUPER_MAGIC` of linux/magic.h.
const DEVPTS_MAGIC: i64 = 0x1cd1;

/// Terminals, kernel settings, the working directory.
fn apply_files(action: &Action, cx: &mut Cx) -> Done {
    use Action as A;
    match action {
        A::Pty { devpts, master, slave, size, owner, lf } => {
            // A container that runs may have put a file system of its own there, which answers as it likes: the
            // number of any descriptor of this process would be taken for the terminal's, and given away.
            let magic = at(cx, Call::NotDevpts, fs::fs_magic(cx.fd(devpts)))?;
            if magic != DEVPTS_MAGIC {
                return Err(Errno::ENOTTY);
            }
            let resolve = fs::RESOLVE_NO_SYMLINKS | fs::RESOLVE_BENEATH | fs::RESOLVE_NO_XDEV;
            let flags = libc::O_RDWR | libc::O_NOCTTY;
            let m = at(cx, Call::OpenIn, fs::openat2(cx.fd(devpts), c"ptmx", flags, 0, resolve))?;
            let s = at(cx, Call::Ioctl, tty::open_peer(m))?;
            if let Some((rows, cols)) = size {
                at(cx, Call::Ioctl, tty::set_size(m, tty::Size { rows: *rows, cols: *cols }))?;
            }
            if *lf {
                at(cx, Call::Ioctl, tty::clear_onlcr(m))?;
            }
            // The program may open its terminal again by name; the group stays devpts' (tty).
            at(cx, Call::Chown, fs::fchownat(s, c"", *owner, u32::MAX))?;
            cx.set(master, m);
            cx.set(slave, s);
            Ok(())
        }
        A::SendPty { master, socket: to } => {
            // runc sends the pty's name along; any byte will do, none would be dropped by the kernel.
            at(cx, Call::Sendmsg, socket::send_fd(cx.fd(to), b"/dev/ptmx", cx.fd(master)))?;
            fs::close(cx.fd(master));
            fs::close(cx.fd(to));
            Ok(())
        }
        A::ConsoleMount { slave, target } => {
            let flags = mount::OPEN_TREE_CLONE | mount::OPEN_TREE_CLOEXEC | AT_EMPTY_PATH;
            let tree = at(cx, Call::OpenTree, mount::open_tree(cx.fd(slave), c"", flags))?;
            move_tree(cx, tree, &[], target)
        }
        A::Sysctl { proc, path, value } | A::ExecLabel { proc, file: path, value } => {
            write_proc(cx, cx.fd(proc), path, value)
        }
        A::MakeCwd { root, path, uid, gid } => {
            let fd = cx.fd(root);
            make_for(cx, fd, path, (*uid, *gid)).map(fs::close)
        }
        // `Spawn` and `SpawnSibling` are the executor's own; a row that nobody knows must not pass silently.
        _ => Err(Errno::ENOSYS),
    }
}

/// Takes a detached copy of a host path, and checks that a device is the device it should be.
pub fn open_tree(action: &Action, cx: &mut Cx) -> Done {
    let Action::OpenTree { source, at: from, recursive, device, to } = action else {
        return Err(Errno::ENOSYS);
    };
    let mut flags = mount::OPEN_TREE_CLONE | mount::OPEN_TREE_CLOEXEC;
    if *recursive {
        flags |= AT_RECURSIVE;
    }
    let dir = match from {
        Some(slot) => {
            flags |= AT_EMPTY_PATH;
            cx.fd(slot)
        }
        None => libc::AT_FDCWD,
    };
    let tree = at(cx, Call::OpenTree, mount::open_tree(dir, source, flags))?;
    if let Some(device) = device {
        expect_device(cx, tree, *device)?;
    }
    cx.set(to, tree);
    Ok(())
}

/// Fills `to` with a detached copy of the tree at `found`, or with `found` itself where none is to be made.
pub fn copy_of(cx: &mut Cx, found: RawFd, recursive: Option<bool>, to: &crate::plan::Slot) -> Done {
    let Some(recursive) = recursive else {
        cx.set(to, found);
        return Ok(());
    };
    let flags = mount::OPEN_TREE_CLONE | mount::OPEN_TREE_CLOEXEC | AT_EMPTY_PATH;
    let flags = flags | if recursive { AT_RECURSIVE } else { 0 };
    let tree = at(cx, Call::OpenTree, mount::open_tree(found, c"", flags))?;
    fs::close(found);
    cx.set(to, tree);
    Ok(())
}

/// A copy of the tree at `path`, which must be what is behind `rootfs`.
pub fn open_root(action: &Action, cx: &mut Cx) -> Done {
    let Action::OpenRoot { path, rootfs, recursive, to } = action else { return Err(Errno::ENOSYS) };
    let flags = mount::OPEN_TREE_CLONE | mount::OPEN_TREE_CLOEXEC | if *recursive { AT_RECURSIVE } else { 0 };
    let tree = at(cx, Call::OpenTree, mount::open_tree(libc::AT_FDCWD, path, flags))?;
    let found = at(cx, Call::Stat, fs::fstatat(tree, c""))?;
    let opened = at(cx, Call::Stat, fs::fstatat(cx.fd(rootfs), c""))?;
    if (found.st_dev, found.st_ino) != (opened.st_dev, opened.st_ino) {
        cx.call = Call::SameDirectory;
        return Err(Errno::ESTALE);
    }
    cx.set(to, tree);
    Ok(())
}

/// Refuses what is not the device with these numbers (CVE-2025-31133).
fn expect_device(cx: &mut Cx, fd: RawFd, want: DeviceNode) -> Done {
    let st = at(cx, Call::Stat, fs::fstatat(fd, c""))?;
    let format = if want.block { libc::S_IFBLK } else { libc::S_IFCHR };
    if st.st_mode & libc::S_IFMT == format && st.st_rdev == libc::makedev(want.major, want.minor) {
        return Ok(());
    }
    cx.call = Call::NotThatDevice;
    Err(Errno::ENODEV)
}

fn open_target(cx: &mut Cx, target: &Target, kind: TargetKind, strict: bool) -> Result<RawFd, Errno> {
    open_or_make(cx, cx.fd(&target.root), &target.path, kind, strict)
}

/// A file on a tmpfs of its own, bound over a file below the root. Only a mount that is attached can be copied
/// (before Linux 6.15): for that long the tmpfs covers the file's directory, which only Init sees.
fn file_mount(action: &Action, cx: &mut Cx) -> Done {
    let Action::FileMount { root, path, dir, name, data, content } = action else {
        return Err(Errno::ENOSYS);
    };
    let shown = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC;
    let options = data.iter().map(|(key, value)| (key.as_c_str(), value.as_deref()));
    let tmpfs = new_fs(cx, c"tmpfs", options, shown)?;
    let place = open_existing(cx, cx.fd(root), dir)?;
    at(cx, Call::MoveMount, mount::move_mount(tmpfs, place, c""))?;
    let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW;
    let file = at(cx, Call::Open, fs::openat(tmpfs, name, flags, 0o444))?;
    at(cx, Call::Write, fs::write_all(file, content))?;
    at(cx, Call::Chmod, fs::fchmod(file, 0o444))?;
    fs::close(file);
    let clone = mount::OPEN_TREE_CLONE | mount::OPEN_TREE_CLOEXEC;
    let tree = at(cx, Call::OpenTree, mount::open_tree(tmpfs, name, clone))?;
    at(cx, Call::Fchdir, fs::fchdir(tmpfs))?;
    at(cx, Call::Umount, mount::umount_here())?;
    fs::close(tmpfs);
    set_attrs(cx, tree, &[SetAttr::READONLY])?;
    let target = open_existing(cx, cx.fd(root), path)?;
    at(cx, Call::MoveMount, mount::move_mount(tree, target, c""))?;
    fs::close(target);
    fs::close(tree);
    fs::close(place);
    Ok(())
}

fn mount_fs(action: &Action, cx: &mut Cx) -> Done {
    let Action::MountFs { fs: fs_type, data, attrs, after, target, keep } = action else {
        return Err(Errno::ENOSYS);
    };
    let mut octal = *b"0000\0";
    let mode = match target.as_ref().filter(|_| action.inherits_mode()) {
        Some(target) => inherited_mode(cx, target, &mut octal)?,
        None => None,
    };
    let options = data.iter().map(|(key, value)| (key.as_c_str(), value.as_deref()));
    let fd = new_fs(cx, fs_type, options.chain(mode.map(|mode| (c"mode", Some(mode)))), *attrs)?;
    set_attrs(cx, fd, after)?;
    if let Some(target) = target {
        // What procfs and sysfs say is believed later on, so no link may redirect them.
        let strict = matches!(fs_type.to_bytes(), b"proc" | b"sysfs");
        let place = open_target(cx, target, TargetKind::Dir, strict)?;
        places::expect_free(cx, place, target, fd)?;
        at(cx, Call::MoveMount, mount::move_mount(fd, place, c""))?;
        fs::close(place);
    }
    match keep {
        Some(slot) => cx.set(slot, fd),
        None => fs::close(fd),
    }
    Ok(())
}

/// A tmpfs looks like the directory it covers, if there is one: its mode, as an option in octal.
fn inherited_mode<'a>(
    cx: &mut Cx,
    target: &Target,
    octal: &'a mut [u8; 5],
) -> Result<Option<&'a CStr>, Errno> {
    if cx.made.contains(&target.path) {
        return Ok(None);
    }
    let there = match open_existing(cx, cx.fd(&target.root), &target.path) {
        Err(Errno::ENOENT) => return Ok(None),
        other => other?,
    };
    let st = at(cx, Call::Stat, fs::fstatat(there, c""))?;
    fs::close(there);
    for (i, digit) in octal.iter_mut().take(4).enumerate() {
        *digit = b'0' + ((st.st_mode >> (9 - 3 * i)) & 7) as u8;
    }
    Ok(CStr::from_bytes_with_nul(octal).ok())
}

fn move_tree(cx: &mut Cx, tree: RawFd, before: &[SetAttr], target: &Target) -> Done {
    let mut kind = target.kind;
    if matches!(kind, TargetKind::AsSource | TargetKind::Proc) {
        let st = at(cx, Call::Stat, fs::fstatat(tree, c""))?;
        kind = if st.st_mode & libc::S_IFMT == libc::S_IFDIR { TargetKind::Dir } else { TargetKind::File };
    }
    set_attrs(cx, tree, before)?;
    let place = open_target(cx, target, kind, false)?;
    places::expect_free(cx, place, target, tree)?;
    let moved = mount::move_mount(tree, place, c"").map_err(|e| unlike(e, kind, place));
    at(cx, Call::MoveMount, moved)?;
    fs::close(place);
    fs::close(tree);
    Ok(())
}

/// A file goes on a file and a directory on a directory: mount(2) says ENOTDIR where that is not so, and its
/// words are what Docker looks for, but move_mount(2) says EINVAL for many things.
fn unlike(e: Errno, source: TargetKind, place: RawFd) -> Errno {
    let is_dir = fs::fstatat(place, c"").map(|st| st.st_mode & libc::S_IFMT == libc::S_IFDIR);
    match is_dir {
        Ok(dir) if e == Errno::EINVAL && dir != (source == TargetKind::Dir) => Errno::ENOTDIR,
        _ => e,
    }
}

fn device_node(action: &Action, cx: &mut Cx) -> Done {
    let Action::DeviceNode { root, path, parent, mode, dev, uid, gid } = action else {
        return Err(Errno::ENOSYS);
    };
    let (mut dir, mut name) = (cx.fd(root), path.as_c_str());
    if let Some(parent) = parent {
        dir = open_or_make(cx, dir, parent, TargetKind::Dir, false)?;
        let slash = path.to_bytes().iter().rposition(|b| *b == b'/').map_or(0, |i| i + 1);
        name = CStr::from_bytes_with_nul(&path.to_bytes_with_nul()[slash..]).map_err(|_| Errno::EINVAL)?;
    }
    // The mode is given once and for all: a chmod(2) by name could hit a link that was put there meanwhile.
    let umask = fs::umask(0);
    let made = at(cx, Call::Mknod, fs::mknodat(dir, name, *mode, *dev));
    fs::umask(umask);
    let made = match made {
        Err(Errno::EEXIST) => false,
        other => other.map(|()| true)?,
    };
    let flags = libc::O_PATH | libc::O_NOFOLLOW;
    let node = at(cx, Call::Open, fs::openat(dir, name, flags, 0))?;
    let st = at(cx, Call::Stat, fs::fstatat(node, c""))?;
    // A node that the rootfs brings is fine, as it is, if it is that device.
    if st.st_mode & libc::S_IFMT != mode & libc::S_IFMT || st.st_rdev != *dev {
        cx.call = Call::NotThatDevice;
        return Err(Errno::EEXIST);
    }
    if made && (*uid, *gid) != (0, 0) {
        at(cx, Call::Chown, fs::fchownat(node, c"", *uid, *gid))?;
    }
    fs::close(node);
    if parent.is_some() {
        fs::close(dir);
    }
    Ok(())
}

/// Writes below the verified procfs: no link is followed and no other mount is entered.
fn write_proc(cx: &mut Cx, proc: RawFd, path: &CStr, value: &[u8]) -> Done {
    let resolve = fs::RESOLVE_BENEATH | fs::RESOLVE_NO_XDEV | fs::RESOLVE_NO_MAGICLINKS;
    let fd = at(cx, Call::OpenIn, fs::openat2(proc, path, libc::O_WRONLY, 0, resolve))?;
    let written = at(cx, Call::Write, fs::write_all(fd, value));
    fs::close(fd);
    written
}
