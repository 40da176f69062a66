//! The client of the namespace-fd server of a container that waits for `start`: see [`crate::perform::namespace_fds`].

use std::os::fd::{AsRawFd, RawFd};

use crate::error::{Error, Result};
use crate::lifecycle::container::Container;
use crate::perform::namespace_fds::{NamespaceFds, REQUEST};
use crate::state::files;
use crate::sys::cstr::cpath;
use crate::sys::socket::{self, MOST_FDS};
use crate::sys::{Errno, fs};
use crate::tables::namespaces::NAMESPACES;

/// The root and namespaces of a container that waits for `start`, from its namespace-fd server. `None` without a server:
/// then the process's pidfd serves.
pub fn request(container: &Container) -> Result<Option<NamespaceFds>> {
    let there = |name| container.dir.join(name).exists();
    if !there(files::START) || !there(files::NAMESPACE_SERVER) {
        return Ok(None);
    }
    let wanted = container.state()?.namespaces;
    let kinds = || NAMESPACES.iter().filter(|row| wanted & row.flag != 0).map(|row| row.kind);
    let failed = |e| Error::os("enter", container.dir.join(files::NAMESPACE_SERVER).display(), e);
    let fds = ask(container, 1 + kinds().count()).map_err(failed)?;
    let (root, namespaces) = fds.split_first().ok_or_else(|| failed(Errno::EPROTO))?;
    Ok(Some(NamespaceFds { root: *root, namespaces: kinds().zip(namespaces.iter().copied()).collect() }))
}

fn ask(container: &Container, want: usize) -> std::result::Result<Vec<RawFd>, Errno> {
    let path = |name| cpath(&container.dir.join(name)).map_err(|_| Errno::EINVAL);
    let dir = path("")?;
    let server = fs::own(socket::connect_in(&dir, files::NAMESPACE_SERVER)?);
    let flags = libc::O_WRONLY | libc::O_NONBLOCK;
    let start = fs::own(fs::openat(libc::AT_FDCWD, &path(files::START)?, flags, 0)?);
    fs::write_all(start.as_raw_fd(), &[REQUEST])?;
    drop(start);
    let (mut byte, mut fds) = ([0; 1], [-1; MOST_FDS]);
    match socket::recv_with_fds(server.as_raw_fd(), &mut byte, &mut fds)? {
        (1, n) if n == want => Ok(fds[..n].to_vec()),
        // It has ended, or was started, before it answered.
        (0, _) => Err(Errno::ESRCH),
        _ => Err(Errno::EPROTO),
    }
}
