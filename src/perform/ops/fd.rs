//! What the rows about descriptors do.

use crate::perform::ops::mount::move_tree;
use crate::perform::{Call, Cx, Done, at};
use crate::plan::Slot;
use crate::plan::ops::{FdOp, StdioPipe};
use crate::sys::mount::AT_EMPTY_PATH;
use crate::sys::{Errno, fs, io, mount, process, socket, tty};

/// `DEVPTS_SUPER_MAGIC` of linux/magic.h.
const DEVPTS_MAGIC: i64 = 0x1cd1;

/// Performs one row about descriptors.
pub(super) fn apply(op: &FdOp, cx: &mut Cx) -> Done {
    match op {
        FdOp::StdioPipe { pipe, owner } => stdio_pipe(pipe, *owner, cx),
        FdOp::StdioNull { own: true, to } => crate::perform::nodes::null(cx, to),
        FdOp::StdioNull { to, .. } => {
            let fd = at(cx, Call::Open, fs::openat(libc::AT_FDCWD, c"/dev/null", libc::O_RDWR, 0))?;
            cx.set(to, fd);
            Ok(())
        }
        FdOp::GiveStdio { uid } => give_stdio(*uid, cx),
        FdOp::PlaceStdio { ends } => {
            ends.iter().try_for_each(|(to, from)| at(cx, Call::Dup, fs::dup2(cx.fd(from), (*to).into())))
        }
        FdOp::OpenDevpts { to } => {
            let flags = libc::O_PATH | libc::O_DIRECTORY;
            let fd = at(cx, Call::NotDevpts, fs::openat(libc::AT_FDCWD, c"/dev/pts", flags, 0))?;
            cx.set(to, fd);
            Ok(())
        }
        FdOp::TakeTty { slave, fds } => {
            let fd = cx.fd(slave);
            at(cx, Call::Ioctl, tty::set_controlling(fd))?;
            fds.iter().try_for_each(|to| at(cx, Call::Dup, fs::dup2(fd, (*to).into())))
        }
        FdOp::CloseFds { keep, needed } => close_fds(cx, *keep, needed),
        FdOp::PassFds { fds } => pass_fds(cx, fds),
        FdOp::OwnStdio { uid, files } => own_stdio(*uid, *files, cx),
        FdOp::Pty { .. } => pty(op, cx),
        FdOp::SendPty { master, socket: to } => {
            at(cx, Call::Sendmsg, socket::send_pty(cx.fd(to), cx.fd(master)))
        }
        FdOp::ConsoleMount { slave, target } => {
            let flags = mount::OPEN_TREE_CLONE | mount::OPEN_TREE_CLOEXEC | AT_EMPTY_PATH;
            let tree = at(cx, Call::OpenTree, mount::open_tree(cx.fd(slave), c"", flags))?;
            move_tree(cx, tree, &[], target)
        }
    }
}

/// A new terminal of the container's devpts.
fn pty(op: &FdOp, cx: &mut Cx) -> Done {
    let FdOp::Pty { devpts, master, slave, size, owner, lf } = op else { return Err(Errno::ENOSYS) };

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
        at(cx, Call::Ioctl, tty::set_size(m, tty::WindowSize { rows: *rows, cols: *cols }))?;
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

/// Makes descriptor N the Nth of `fds`. First all move out of the way, the baton's socket too: a number that
/// is to be taken may be one that is still needed.
fn pass_fds(cx: &mut Cx, fds: &[Slot]) -> Done {
    const ABOVE: i32 = 64;
    for slot in fds {
        let fd = at(cx, Call::Dup, fs::dup_above(cx.fd(slot), ABOVE))?;
        cx.set(slot, fd);
    }
    if cx.baton < ABOVE {
        cx.baton = at(cx, Call::Dup, fs::dup_above(cx.baton, ABOVE))?;
    }
    for (number, slot) in (0..).zip(fds) {
        at(cx, Call::Dup, fs::dup2(cx.fd(slot), number))?;
    }
    // What else had these numbers is closed now.
    for fd in cx.fds.iter_mut().filter(|fd| **fd < ABOVE && (0..).zip(fds).any(|(n, _)| n == **fd)) {
        *fd = -1;
    }
    Ok(())
}

/// Closes every descriptor from `keep` up but the baton and those in `needed`, which execve(2) closes. The
/// rest must be gone before that: execve still resolves `/proc/self/fd/N` of descriptors it is about to close.
fn close_fds(cx: &mut Cx, keep: u32, needed: &[Slot]) -> Done {
    cx.call = Call::CloseRange;
    for i in 0..cx.fds.len() {
        let fd = cx.fds[i];
        // A slot whose descriptor was closed long ago may hold the number of one that is needed.
        if fd > 2 && fd != cx.baton && needed.iter().all(|slot| cx.fd(slot) != fd) {
            // A descriptor of the runtime's own may have a number that the caller meant to preserve.
            if u32::try_from(fd).is_ok_and(|fd| fd < keep) {
                fs::close(fd);
            }
            cx.fds[i] = -1;
        }
    }
    let mut first = keep;
    while let Some(next) = std::iter::once(cx.baton)
        .chain(needed.iter().map(|slot| cx.fd(slot)))
        .filter_map(|fd| u32::try_from(fd).ok())
        .filter(|fd| *fd >= first)
        .min()
    {
        if next > first {
            process::close_range(first, next - 1)?;
        }
        first = next + 1;
    }
    process::close_range(first, u32::MAX)?;
    process::cloexec_from(keep)
}

/// A pipe of which the program's end belongs to the program's user: the runtime's copy of either end is its own.
fn stdio_pipe(pipe: &StdioPipe, owner: Option<u32>, cx: &mut Cx) -> Done {
    let (read, write) = at(cx, Call::Pipe, io::pipe())?;
    let (ours, theirs) = if pipe.number == 0 { (write, read) } else { (read, write) };
    cx.set(&pipe.ours, ours);
    cx.set(&pipe.theirs, theirs);
    owner.map_or(Ok(()), |uid| at(cx, Call::Chown, fs::fchownat(theirs, c"", uid, u32::MAX)))
}

/// From outside, where the owner is seen: a caller's pipe, or file for output. An input file is only read, and a
/// terminal is its user's.
fn give_stdio(uid: u32, cx: &mut Cx) -> Done {
    for fd in 0..3 {
        let st = at(cx, Call::Stat, fs::fstatat(fd, c""))?;
        let given = match st.st_mode & libc::S_IFMT {
            libc::S_IFIFO => true,
            libc::S_IFREG => fd != 0,
            _ => false,
        };
        if !given || st.st_uid == uid {
            continue;
        }
        if let Err(e) = at(cx, Call::Chown, fs::fchownat(fd, c"", uid, u32::MAX)) {
            // A file system that is read-only, or another machine's.
            crate::log::say(&format!(
                "warning: descriptor {fd} cannot be given to uid {uid}, so the program cannot open it again (/dev/stdout): {}",
                crate::tables::errno::text(e as i32)
            ));
        }
    }
    Ok(())
}

/// Gives descriptors 0 to 2 to the container's user, but the null device, which all processes share, and regular files
/// only with `files`.
fn own_stdio(uid: u32, files: bool, cx: &mut Cx) -> Done {
    for fd in 0..3 {
        let st = at(cx, Call::Stat, fs::fstatat(fd, c""))?;
        let null = st.st_mode & libc::S_IFMT == libc::S_IFCHR && st.st_rdev == libc::makedev(1, 3);
        let file = st.st_mode & libc::S_IFMT == libc::S_IFREG;
        if null || st.st_uid == uid || (file && !files) {
            continue;
        }
        match at(cx, Call::Chown, fs::fchownat(fd, c"", uid, u32::MAX)) {
            // Not this user namespace's to give, or on a file system that is read-only.
            Ok(()) | Err(Errno::EPERM | Errno::EINVAL | Errno::EROFS) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}
