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
            A::CgroupWrite { path, .. } | A::CgroupWriteEither { path, .. } => limit(path)?.into(),
            A::CgroupDir { .. } | A::CgroupJoinable { .. } => "/linux/cgroupsPath".into(),
            A::DeviceFilter { .. } => "/linux/resources/devices".into(),
            A::DeviceNode { .. } | A::DeviceNodes { .. } | A::OpenTree { device: Some(_), .. } => {
                "/linux/devices".into()
            }
            A::Sysctl { .. } => "/linux/sysctl".into(),
            A::TimeOffsets { .. } => "/linux/timeOffsets".into(),
            A::SetHostname { .. } => "/hostname".into(),
            A::SetDomainname { .. } => "/domainname".into(),
            A::Scheduler(_) => "/process/scheduler".into(),
            A::IoPriority { .. } => "/process/ioPriority".into(),
            A::OomScoreAdj { .. } => "/process/oomScoreAdj".into(),
            A::RaiseLimit { .. } | A::SetLimit { .. } => "/process/rlimits".into(),
            A::Personality { .. } => "/linux/personality".into(),
            A::SendListener { agent: Some(_), .. } => "/linux/seccomp/listenerPath".into(),
            _ => return None,
        })
    }
}

/// The part of `resources` behind a file of a cgroup, by the controller in its name.
fn limit(file: &std::ffi::CStr) -> Option<&'static str> {
    let name = file.to_bytes().rsplit(|b| *b == b'/').next()?;
    Some(match name.split(|b| *b == b'.').next()? {
        b"memory" => "/linux/resources/memory",
        b"cpu" | b"cpuset" => "/linux/resources/cpu",
        b"pids" => "/linux/resources/pids",
        b"hugetlb" => "/linux/resources/hugepageLimits",
        b"io" | b"blkio" => "/linux/resources/blockIO",
        b"rdma" => "/linux/resources/rdma",
        b"net_cls" | b"net_prio" => "/linux/resources/network",
        b"devices" => "/linux/resources/devices",
        b"schemata" => "/linux/intelRdt",
        _ => return None,
    })
}
