//! Which field of the config asked for a row, so that the report of a failure can point at it.

use super::action::Action;

impl Action {
    /// RFC 6901 pointer of the field behind this row, where one field stands behind it.
    pub fn pointer(&self) -> Option<String> {
        use Action as A;
        Some(match self {
            A::NetDevice { outside, .. } => format!("/linux/netDevices/{outside}"),
            A::MemoryPolicy(_) => "/linux/memoryPolicy".into(),
            A::Affinity { .. } => "/process/execCPUAffinity".into(),
            A::Sysctl { .. } => "/linux/sysctl".into(),
            A::TimeOffsets { .. } => "/linux/timeOffsets".into(),
            A::SetHostname { .. } => "/hostname".into(),
            A::SetDomainname { .. } => "/domainname".into(),
            A::Scheduler(_) => "/process/scheduler".into(),
            A::IoPriority { .. } => "/process/ioPriority".into(),
            A::OomScoreAdj { .. } => "/process/oomScoreAdj".into(),
            A::Prlimit { .. } => "/process/rlimits".into(),
            A::Personality { .. } => "/linux/personality".into(),
            A::SendListener { .. } => "/linux/seccomp/listenerPath".into(),
            _ => return None,
        })
    }
}
