//! What the rows about limits of processes do.

use crate::perform::files::write_child;
use crate::perform::{Call, Cx, Done, at};
use crate::plan::ops::LimitOp;
use crate::sys::{Errno, rlimit, sched};

/// Performs one row about limits of processes.
pub(super) fn apply(op: &LimitOp, cx: &mut Cx) -> Done {
    match op {
        LimitOp::OomScoreAdj { value } => write_child(cx, "oom_score_adj", value.to_string().as_bytes()),
        LimitOp::Raise { resource, limit } => at(cx, Call::Prlimit, rlimit::set(cx.pid, *resource, *limit)),
        LimitOp::MoreFiles { limit } => at(cx, Call::Prlimit, rlimit::raise_files(*limit)),
        LimitOp::Scheduler(attr) => at(cx, Call::Sched, sched::sched_setattr(attr)),
        LimitOp::IoPriority { value } => at(cx, Call::Ioprio, sched::ioprio_set(*value)),
        LimitOp::AllCpus => match at(cx, Call::Affinity, sched::sched_setaffinity(&[u64::MAX; 16])) {
            // A sandbox around this one may forbid it; no limit hangs on it.
            Err(Errno::EPERM | Errno::ENOSYS) => Ok(()),
            done => done,
        },
        LimitOp::Affinity { cpus } => at(cx, Call::Affinity, sched::sched_setaffinity(cpus)),
        LimitOp::MemoryPolicy(policy) => {
            at(cx, Call::Mempolicy, sched::set_mempolicy(policy.mode, &policy.nodes))
        }
        LimitOp::Set { resource, limit } => at(cx, Call::Prlimit, rlimit::set(0, *resource, *limit)),
    }
}
