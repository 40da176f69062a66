//! What the rows about network devices do.

use crate::perform::{Call, Cx, Done, at, cni};
use crate::plan::ops::NetOp;
use crate::sys::{Errno, route, socket};

/// Performs one row about network devices.
pub(super) fn apply(op: &NetOp, cx: &mut Cx) -> Done {
    match op {
        NetOp::MoveDevice { namespace, outside, inside } => {
            crate::perform::netdev::move_in(cx, cx.fd(namespace), outside, inside)
        }
        NetOp::Pasta { program, runas, in_userns, file } => {
            crate::perform::pasta::start(cx, program, *runas, *in_userns, file)
        }
        NetOp::KeepNamespace { file } => cni::keep(cx, file),
        NetOp::Resolv { content, to } => cni::resolv(cx, content, to),
        NetOp::Cni { attachment, record, resolv } => cni::add(cx, attachment, record, resolv.as_ref()),
        NetOp::CniCheck { record, .. } => cni::check(cx, record),
        NetOp::Isolate { record, .. } => cni::isolate(cx, record),
        NetOp::Unreachable { add, ask, .. } => {
            at(cx, Call::Netlink, route::perform(add))?;
            // A route of another table may come first, or the address be the namespace's own.
            match at(cx, Call::Netlink, route::route_kind(ask)) {
                Err(Errno::EHOSTUNREACH) | Ok(libc::RTN_UNREACHABLE) => Ok(()),
                Ok(_) => at(cx, Call::Reached, Err(Errno::EEXIST)),
                Err(e) => Err(e),
            }
        }
        NetOp::LoopbackUp => at(cx, Call::Loopback, socket::loopback_up()),
    }
}
