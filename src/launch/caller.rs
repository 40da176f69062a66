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

/// The receiver of a terminal's master end: the socket on which Init sends it, and this process's end of the socket if
/// the launcher receives it itself.
pub fn console(socket: Option<&Path>, terminal: bool) -> Result<(Option<i32>, Option<i32>), Error> {
    match (socket, terminal) {
        (Some(path), _) => Ok((Some(connect("--console-socket", path)?), None)),
        (None, true) => {
            let pair = crate::sys::socket::seqpacket_pair().map_err(|e| Error::os("socketpair", "", e))?;
            Ok((Some(pair.1), Some(pair.0)))
        }
        (None, false) => Ok((None, None)),
    }
}
