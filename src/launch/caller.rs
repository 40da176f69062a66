//! Sockets of the caller that receive a descriptor.

use std::os::fd::IntoRawFd;
use std::path::Path;

use crate::error::Error;

/// Connects to the socket named by an option, which receives a descriptor: a terminal's master end, a pidfd.
pub fn connect(flag: &str, path: &Path) -> Result<i32, Error> {
    std::os::unix::net::UnixStream::connect(path)
        .map(IntoRawFd::into_raw_fd)
        .map_err(|e| Error::msg(format!("{flag} {}: {e}", path.display())))
}
