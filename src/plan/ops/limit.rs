//! Rows of limits and scheduling of a process.

use std::fmt;

use super::{OnHost, Op, RowLabel};
use crate::plan::call::Call;
use crate::plan::layer::Layer;
use crate::plan::words::{Bits, prlimit, rlimit_name};
use crate::sys::Errno;
use crate::sys::rlimit::RlimitPair;
use crate::sys::sched::SchedAttr;

/// What rows do about limits of processes.
#[derive(Debug, Clone)]
#[allow(missing_docs)] // each variant's `why` documents it, and users see that
pub enum LimitOp {
    OomScoreAdj {
        value: i32,
    },
    /// A hard limit of the child's that only the host's right raises.
    Raise {
        resource: u32,
        limit: RlimitPair,
    },
    /// The runtime's own limit on descriptors becomes its hard one.
    MoreFiles {
        limit: RlimitPair,
    },
    /// A limit of the program's, set by Init itself.
    Set {
        resource: u32,
        limit: RlimitPair,
    },
    Scheduler(SchedAttr),
    IoPriority {
        value: i32,
    },
    AllCpus,
    Affinity {
        cpus: Vec<u64>,
    },
    MemoryPolicy(crate::config::MemoryPolicy),
}

impl Op for LimitOp {
    fn label(&self) -> RowLabel {
        match self {
            Self::OomScoreAdj { .. } => (Layer::Limits, "oom-score", None),
            Self::Raise { resource, .. } => (Layer::Limits, "raise-limit", Some(rlimit_name(*resource))),
            Self::MoreFiles { .. } => (Layer::Limits, "more-files", None),
            Self::Set { resource, .. } => (Layer::Limits, "limit", Some(rlimit_name(*resource))),
            Self::Scheduler(_) => (Layer::Limits, "scheduler", None),
            Self::IoPriority { .. } => (Layer::Limits, "io-priority", None),
            Self::AllCpus => (Layer::Limits, "all-cpus", None),
            Self::Affinity { .. } => (Layer::Limits, "affinity", None),
            Self::MemoryPolicy(_) => (Layer::Limits, "memory-policy", None),
        }
    }

    fn print(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OomScoreAdj { value } => write!(f, "write(/proc/PID/oom_score_adj, \"{value}\")"),
            Self::Raise { resource, limit } => prlimit(f, "PID", *resource, limit.soft, limit.hard),
            Self::MoreFiles { limit } => prlimit(f, "0", libc::RLIMIT_NOFILE, limit.hard, limit.hard),
            Self::Set { resource, limit } => prlimit(f, "0", *resource, limit.soft, limit.hard),
            Self::Scheduler(a) => {
                write!(f, "sched_setattr(policy={}, priority={}, nice={})", a.policy, a.priority, a.nice)
            }
            Self::IoPriority { value } => write!(f, "ioprio_set(IOPRIO_WHO_PROCESS, 0, {value:#x})"),
            Self::AllCpus => f.write_str("sched_setaffinity(0, all)"),
            Self::Affinity { cpus } => write!(f, "sched_setaffinity(0, {})", Bits(cpus)),
            Self::MemoryPolicy(policy) => {
                write!(f, "set_mempolicy({:#x}, {})", policy.mode, Bits(&policy.nodes))
            }
        }
    }

    fn why(&self) -> &'static str {
        match self {
            Self::OomScoreAdj { .. } => "which process the kernel kills first when memory runs out (proc(5))",
            Self::Raise { .. } => {
                "a hard limit above the one that safebox has: only CAP_SYS_RESOURCE on the host raises it (getrlimit(2))"
            }
            Self::MoreFiles { .. } => {
                "each bind mount's source holds a descriptor until it is mounted; the program gets the old limit back (getrlimit(2), RLIMIT_NOFILE)"
            }
            Self::Set { .. } => {
                "a limit per process (getrlimit(2)): the program's, so it takes effect when init's own work is done"
            }
            Self::Scheduler(_) => "cpu scheduling policy of the process (sched_setattr(2))",
            Self::IoPriority { .. } => "disk scheduling priority of the process (ioprio_set(2))",
            Self::AllCpus => {
                "the cpus of its cgroup, not those that the caller is bound to; where this is not allowed, it stays as it is (sched_setaffinity(2))"
            }
            Self::Affinity { .. } => {
                "cpus of a process that joins, before and after it is in the cgroup (config.md, execCPUAffinity; sched_setaffinity(2))"
            }
            Self::MemoryPolicy(_) => {
                "memory nodes that the program and its children take pages from (config-linux.md, Memory policy; set_mempolicy(2))"
            }
        }
    }

    fn pointer(&self) -> Option<String> {
        match self {
            Self::MemoryPolicy(_) => Some("/linux/memoryPolicy".into()),
            Self::Affinity { .. } => Some("/process/execCPUAffinity".into()),
            Self::Scheduler(_) => Some("/process/scheduler".into()),
            Self::IoPriority { .. } => Some("/process/ioPriority".into()),
            Self::OomScoreAdj { .. } => Some("/process/oomScoreAdj".into()),
            Self::Raise { .. } | Self::Set { .. } => Some("/process/rlimits".into()),
            Self::MoreFiles { .. } | Self::AllCpus => None,
        }
    }

    fn remedy(&self, errno: Errno, _call: Call) -> Option<&'static str> {
        match (self, errno) {
            (Self::Scheduler(_), Errno::EPERM) => Some(
                "process scheduler can't be used together with AllowedCPUs (SCHED_DEADLINE needs all of them), and real-time policies need CAP_SYS_NICE on the host (sched_setattr(2))",
            ),
            (Self::MemoryPolicy(_), Errno::EINVAL) => Some(
                "the machine has no such memory node, or its kernel no such mode: see /sys/devices/system/node/online",
            ),
            (Self::Affinity { .. }, Errno::EINVAL) => Some("none of these cpus may be used here"),
            (Self::Raise { .. }, Errno::EPERM) => {
                Some("raising a hard limit needs CAP_SYS_RESOURCE, which safebox does not have here")
            }
            (Self::OomScoreAdj { .. }, Errno::EACCES) => {
                Some("lowering the score needs CAP_SYS_RESOURCE, which safebox does not have here")
            }
            (
                Self::OomScoreAdj { .. }
                | Self::Raise { .. }
                | Self::MoreFiles { .. }
                | Self::Set { .. }
                | Self::Scheduler(_)
                | Self::IoPriority { .. }
                | Self::AllCpus
                | Self::Affinity { .. }
                | Self::MemoryPolicy(_),
                _,
            ) => None,
        }
    }

    fn on_host(&self) -> &'static [OnHost] {
        match self {
            Self::OomScoreAdj { .. }
            | Self::Raise { .. }
            | Self::MoreFiles { .. }
            | Self::Set { .. }
            | Self::Scheduler(..)
            | Self::IoPriority { .. }
            | Self::AllCpus
            | Self::Affinity { .. }
            | Self::MemoryPolicy(..) => &[],
        }
    }

    fn calls(&self) -> Vec<&'static str> {
        match self {
            Self::OomScoreAdj { .. } => vec!["openat", "write", "close"],
            Self::Raise { .. } | Self::MoreFiles { .. } | Self::Set { .. } => vec!["prlimit64"],
            Self::Scheduler(_) => vec!["sched_setattr"],
            Self::IoPriority { .. } => vec!["ioprio_set"],
            Self::AllCpus | Self::Affinity { .. } => vec!["sched_setaffinity"],
            Self::MemoryPolicy(_) => vec!["set_mempolicy"],
        }
    }
}
