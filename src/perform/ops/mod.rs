//! What each row does: the system calls behind the operations of the plan, one file for each group of `plan::ops`.
//!
//! Rows of Init run after clone: they make system calls and nothing else.

mod cgroup;
mod clone;
mod confine;
mod cred;
mod device;
mod exec;
mod fd;
mod file;
mod limit;
mod mask;
mod mount;
mod net;
mod ns;
mod overlay;
pub mod relay;
mod root;
mod source;
mod state;
mod user;

use crate::perform::{Call, Cx, Done};
use crate::plan::{Action, Plan};

/// Performs row `row`; on an error `cx.call` names the system call.
pub(super) fn apply(plan: &Plan, row: usize, cx: &mut Cx) -> Done {
    cx.call = Call::None;
    match &plan.rows[row].action {
        Action::State(op) => state::apply(op, cx),
        Action::Cgroup(op) => cgroup::apply(op, cx),
        Action::Clone(op) => clone::apply(op, plan, row, cx),
        Action::Ns(op) => ns::apply(op, cx),
        Action::Net(op) => net::apply(op, cx),
        Action::Relay(op) => relay::apply(op, cx),
        Action::User(op) => user::apply(op, cx),
        Action::Limit(op) => limit::apply(op, cx),
        Action::Root(op) => root::apply(op, cx),
        Action::Source(op) => source::apply(op, cx),
        Action::Overlay(op) => overlay::apply(op, cx),
        Action::File(op) => file::apply(op, cx),
        Action::Mount(op) => mount::apply(op, cx),
        Action::Device(op) => device::apply(op, cx),
        Action::Mask(op) => mask::apply(op, cx),
        Action::Fd(op) => fd::apply(op, cx),
        Action::Cred(op) => cred::apply(op, cx),
        Action::Confine(op) => confine::apply(op, cx),
        Action::Exec(op) => exec::apply(op, cx),
    }
}
