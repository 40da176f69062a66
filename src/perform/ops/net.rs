//! What the rows about network devices do.

use crate::perform::{Call, Cx, Done, at};
use crate::plan::ops::NetOp;
use crate::sys::socket;

/// Performs one row about network devices.
pub(super) fn apply(op: &NetOp, cx: &mut Cx) -> Done {
    match op {
        NetOp::MoveDevice { namespace, outside, inside } => {
            crate::perform::netdev::move_in(cx, cx.fd(namespace), outside, inside)
        }
        NetOp::Pasta { program, runas, in_userns, file } => {
            crate::perform::pasta::start(cx, program, *runas, *in_userns, file)
        }
        NetOp::LoopbackUp => at(cx, Call::Loopback, socket::loopback_up()),
    }
}
