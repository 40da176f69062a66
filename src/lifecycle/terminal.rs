//! The container's terminal.

use crate::error::Error;
use crate::perform::Cx;
use crate::plan::Plan;
use crate::plan::ops::FdOp;
use crate::sys::{fs, socket};

/// The master end of the pty that Init made.
pub fn receive_pty(socket_fd: i32, plan: &Plan, cx: &Cx) -> Result<i32, Error> {
    // This process's copy of Init's end would keep the socket open.
    if let Some(slot) = plan.rows.iter().find_map(|s| match &s.action {
        crate::plan::Action::Fd(FdOp::SendPty { socket, .. }) => Some(socket),
        _ => None,
    }) {
        fs::close(cx.fd(slot));
    }
    let master = socket::recv_fd(socket_fd).map_err(|e| Error::os("receive the terminal", "", e))?;
    fs::close(socket_fd);
    Ok(master)
}
