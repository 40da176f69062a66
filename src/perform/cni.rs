//! What the rows about a network of CNI do.

use std::fs::File;
use std::os::fd::{AsRawFd, IntoRawFd};
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::network::cni::{Attachment, CniFailure, dns, result};
use crate::perform::{Call, Cx, Done, at};
use crate::plan::Slot;
use crate::sys::cstr::cpath;
use crate::sys::netlink::Netlink;
use crate::sys::{Errno, fs, memfd, mount};

/// Mounts the network namespace of the container's process on a new file.
pub(super) fn keep(cx: &mut Cx, file: &Path) -> Done {
    // Digits hold no NUL.
    let path = std::ffi::CString::new(format!("/proc/{}/ns/net", cx.pid)).unwrap_or_default();
    let file = cpath(file).map_err(|_| Errno::EINVAL)?;
    let namespace = at(cx, Call::Open, fs::openat(libc::AT_FDCWD, &path, libc::O_RDONLY, 0)).map(fs::own)?;
    let flags = libc::O_RDONLY | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW;
    fs::close(at(cx, Call::Open, fs::openat(libc::AT_FDCWD, &file, flags, 0o600))?);
    let clone = mount::OPEN_TREE_CLONE | mount::OPEN_TREE_CLOEXEC | mount::AT_EMPTY_PATH;
    let tree = at(cx, Call::OpenTree, mount::open_tree(namespace.as_raw_fd(), c"", clone)).map(fs::own)?;
    drop(namespace);
    at(cx, Call::MoveMount, mount::move_mount(tree.as_raw_fd(), libc::AT_FDCWD, &file))
}

/// Lets go of the namespace that is mounted on this file, and removes the file.
pub(super) fn let_go(file: &Path) -> Done {
    let file = cpath(file).map_err(|_| Errno::EINVAL)?;
    match mount::umount(&file) {
        // In another mount namespace there is no mount on it, and it may be gone.
        Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => {}
        Err(e) => return Err(e),
    }
    match fs::unlinkat(libc::AT_FDCWD, &file, 0) {
        Ok(()) | Err(Errno::ENOENT) => Ok(()),
        Err(e) => Err(e),
    }
}

/// Makes the file in memory that Init copies over /etc/resolv.conf.
pub(super) fn resolv(cx: &mut Cx, content: &[u8], to: &Slot) -> Done {
    let file = File::from(at(cx, Call::Memfd, memfd::memory_file(c"resolv.conf"))?);
    at(cx, Call::Write, file.write_all_at(content, 0).map_err(crate::sys::errno))?;
    cx.set(to, file.into_raw_fd());
    Ok(())
}

/// Runs ADD of the plugins.
pub(super) fn add(cx: &mut Cx, attachment: &Attachment, record: &Path, to: Option<&Slot>) -> Done {
    let mut attachment = attachment.clone();
    let added = attachment.add(record, cx.signals);
    outcome(cx, added)?;
    let parts = attachment.result.as_ref().map(result::parts).transpose().map_err(|_| Errno::EBADMSG)?;
    let parts = parts.unwrap_or_default();
    if let Some(text) = attachment.unmapped(&parts) {
        cx.detail = Some(text);
        return at(cx, Call::Cni, Err(Errno::EADDRNOTAVAIL));
    }
    let text = dns::of_result(&parts.dns);
    if let (Some(to), Some(text)) = (to, text) {
        // Its position is shared with Init, which reads from the start: writes have places of their own.
        let fd = at(cx, Call::Dup, fs::dup_above(cx.fd(to), 3))?;
        let file = File::from(fs::own(fd));
        let written = file.set_len(0).and_then(|()| file.write_all_at(text.as_bytes(), 0));
        at(cx, Call::Write, written.map_err(crate::sys::errno))?;
    }
    Ok(())
}

/// Runs CHECK of the plugins.
pub(super) fn check(cx: &mut Cx, record: &Path) -> Done {
    let attachment = recorded(cx, record)?;
    let checked = attachment.check(cx.signals);
    outcome(cx, checked)
}

/// Isolates the host's ports that the plugins have made.
pub(super) fn isolate(cx: &mut Cx, record: &Path) -> Done {
    let attachment = recorded(cx, record)?;
    let parts = attachment.result.as_ref().map(result::parts).transpose().map_err(|_| Errno::EBADMSG)?;
    let mut netlink = at(cx, Call::Netlink, Netlink::open())?;
    let mut ports = 0;
    for interface in parts.unwrap_or_default().interfaces.iter().filter(|i| i.sandbox.is_empty()) {
        ports += usize::from(at(cx, Call::Netlink, netlink.isolated(&interface.name))?);
    }
    // Where no port is known none is isolated.
    if ports == 0 { at(cx, Call::Netlink, Err(Errno::ENODEV)) } else { Ok(()) }
}

fn recorded(cx: &mut Cx, record: &Path) -> Result<Attachment, Errno> {
    match Attachment::read(record) {
        Ok(Some(attachment)) => Ok(attachment),
        Ok(None) => at(cx, Call::Cni, Err(Errno::ENOENT)),
        Err(text) => {
            cx.detail = Some(text);
            at(cx, Call::Cni, Err(Errno::EBADMSG))
        }
    }
}

/// The plugins' message is the detail of the failure.
fn outcome(cx: &mut Cx, result: Result<(), CniFailure>) -> Done {
    let errno = match result {
        Ok(()) => return Ok(()),
        Err(CniFailure::Message(text)) => {
            cx.detail = Some(text);
            Errno::ECANCELED
        }
        Err(CniFailure::Interrupted(signal)) => {
            cx.interrupted = Some(signal);
            Errno::EINTR
        }
    };
    at(cx, Call::Cni, Err(errno))
}
