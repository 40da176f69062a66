//! What the rows about new processes do: the child of a clone goes on in its own loop and never returns here.

use crate::perform::baton::{Baton, With};
use crate::perform::files::close_lock;
use crate::perform::owner::{as_user, back};
use crate::perform::{Call, Cx, Done};
use crate::plan::ops::CloneOp;
use crate::plan::{Actor, Plan};
use crate::sys::{Errno, argv, fs, process, socket, trap};

/// Performs row `row`, which makes a process.
pub(super) fn apply(op: &CloneOp, plan: &Plan, row: usize, cx: &mut Cx) -> Done {
    match op {
        CloneOp::Init { namespaces, cgroup, owner } => {
            let cgroup = cgroup.as_ref().map(|slot| cx.fd(slot));
            let clone3 = || process::clone3(*namespaces, cgroup, false);
            init(plan, row, cx, (cgroup, *owner), clone3)
        }
        CloneOp::Plain { namespaces } => {
            init(plan, row, cx, (None, None), || process::clone(*namespaces, false))
        }
        CloneOp::Sibling { namespaces, owner, plain } => {
            let clone = || match plain {
                true => process::clone(*namespaces, true),
                false => process::clone3(*namespaces, None, true),
            };
            sibling(plan, row, cx, *owner, clone)
        }
    }
}

/// The runtime's clone of its own child: Init, or a Joiner.
fn init(
    plan: &Plan,
    row: usize,
    cx: &mut Cx,
    (cgroup, owner): (Option<i32>, Option<u32>),
    clone: impl FnOnce() -> Result<process::Cloned, Errno>,
) -> Done {
    cx.ended.clear();
    cx.call = Call::Threads;
    // A second thread could hold a lock that the child would wait for forever.
    let status = crate::sys::read::status()?;
    if status.threads != 1 {
        return Err(Errno::EBUSY);
    }
    cx.ignored = status.ignored;
    // Init must not have them.
    cx.kept = [None, None];
    cx.call = Call::Socketpair;
    let (ours, theirs) = socket::seqpacket_pair()?;
    let me = as_user(cx, owner)?;
    cx.call = Call::Clone;
    let cloned = clone();
    if cloned.is_err() {
        back(cx, me)?;
        cx.call = Call::Clone;
    }
    match cloned? {
        process::Cloned::Child => {
            trap::arm();
            argv::forget();
            fs::close(ours);
            close_lock(plan, cx);
            // A directory of the host: Init, which a shared pid namespace shows, must not have it.
            if let Some(fd) = cgroup {
                fs::close(fd);
            }
            cx.baton = theirs;
            let next = plan.rows[row + 1..].iter().map(|s| s.actor).find(|a| *a != Actor::Runtime);
            cx.me = next.unwrap_or(Actor::Init);
            (cx.child)(plan, cx)
        }
        process::Cloned::Parent { pid, pidfd } => {
            fs::close(theirs);
            (cx.pid, cx.pidfd, cx.baton) = (pid, pidfd, ours);
            back(cx, me)
        }
    }
}

/// The Joiner's clone: the sibling waits for the baton, the Joiner reports its pid and is done.
fn sibling(
    plan: &Plan,
    row: usize,
    cx: &mut Cx,
    owner: Option<u32>,
    clone: impl FnOnce() -> Result<process::Cloned, Errno>,
) -> Done {
    // The Joiner's work is done, so it need not become root again.
    as_user(cx, owner)?;
    cx.call = Call::Clone;
    match clone()? {
        process::Cloned::Child => {
            cx.me = Actor::Init;
            cx.pid = 0;
            (cx.child)(plan, cx)
        }
        process::Cloned::Parent { pid, .. } => {
            let reported = Baton::turn_with(row + 1, With::Child(pid)).send(cx.baton);
            process::exit_now(i32::from(reported.is_err()))
        }
    }
}
