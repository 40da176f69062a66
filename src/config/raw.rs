//! The raw shape of `config.json`: fields and types only.
//!
//! Every field is an `Option`: most callers are written in Go, which treats `null`, a missing key and the
//! zero value alike. Required fields are checked where the value is interpreted. Numeric types are as wide as
//! the range of the field, so `-1` for a `uint32` is a type error with a pointer. Unknown keys are ignored,
//! as config.md "Extensibility" requires.

use std::collections::BTreeMap;

use std::path::PathBuf;

use oci_spec::runtime::{
    Arch, LinuxBlockIo, LinuxNetwork, LinuxSchedulerPolicy, LinuxSeccompAction, LinuxSeccompFilterFlag,
    LinuxSyscall,
};
use serde::de::{IgnoredAny, IntoDeserializer};
use serde::{Deserialize, Deserializer};

pub(super) type Map<T> = BTreeMap<String, T>;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RawSpec {
    pub oci_version: Option<String>,
    pub process: Option<RawProcess>,
    pub root: Option<RawRoot>,
    pub hostname: Option<String>,
    pub domainname: Option<String>,
    pub mounts: Option<Vec<RawMount>>,
    pub hooks: Option<RawHooks>,
    pub annotations: Option<Map<Option<String>>>,
    pub linux: Option<RawLinux>,
    pub solaris: Option<IgnoredAny>,
    pub windows: Option<IgnoredAny>,
    pub vm: Option<IgnoredAny>,
    pub zos: Option<IgnoredAny>,
    pub freebsd: Option<IgnoredAny>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct RawRoot {
    pub path: Option<String>,
    pub readonly: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RawMount {
    pub destination: Option<String>,
    pub r#type: Option<String>,
    pub source: Option<String>,
    pub options: Option<Vec<String>>,
    pub uid_mappings: Option<Vec<RawIdMap>>,
    pub gid_mappings: Option<Vec<RawIdMap>>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct RawIdMap {
    #[serde(rename = "containerID")]
    pub container_id: Option<u32>,
    #[serde(rename = "hostID")]
    pub host_id: Option<u32>,
    pub size: Option<u32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RawProcess {
    pub terminal: Option<bool>,
    pub console_size: Option<RawConsoleSize>,
    pub user: Option<RawUser>,
    pub args: Option<Vec<String>>,
    pub env: Option<Vec<String>>,
    pub cwd: Option<String>,
    pub capabilities: Option<RawCapabilities>,
    pub rlimits: Option<Vec<RawRlimit>>,
    pub no_new_privileges: Option<bool>,
    pub apparmor_profile: Option<String>,
    pub selinux_label: Option<String>,
    pub oom_score_adj: Option<i64>,
    pub scheduler: Option<RawScheduler>,
    pub io_priority: Option<RawIoPriority>,
    #[serde(rename = "execCPUAffinity")]
    pub exec_cpu_affinity: Option<RawCpuAffinity>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct RawConsoleSize {
    pub height: Option<u64>,
    pub width: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RawUser {
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub umask: Option<u32>,
    pub additional_gids: Option<Vec<u32>>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct RawCapabilities {
    pub bounding: Option<Vec<String>>,
    pub effective: Option<Vec<String>>,
    pub inheritable: Option<Vec<String>>,
    pub permitted: Option<Vec<String>>,
    pub ambient: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct RawRlimit {
    pub r#type: Option<String>,
    pub soft: Option<u64>,
    pub hard: Option<u64>,
}

/// Own type, because oci-spec's `Scheduler` cannot parse the flags by their names in the specification.
#[derive(Debug, Default, Deserialize)]
pub(super) struct RawScheduler {
    pub policy: Option<LinuxSchedulerPolicy>,
    pub nice: Option<i32>,
    pub priority: Option<i32>,
    pub flags: Option<Vec<String>>,
    pub runtime: Option<u64>,
    pub deadline: Option<u64>,
    pub period: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct RawIoPriority {
    pub class: Option<String>,
    pub priority: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct RawCpuAffinity {
    pub initial: Option<String>,
    pub r#final: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RawHooks {
    pub prestart: Option<Vec<RawHook>>,
    pub create_runtime: Option<Vec<RawHook>>,
    pub create_container: Option<Vec<RawHook>>,
    pub start_container: Option<Vec<RawHook>>,
    pub poststart: Option<Vec<RawHook>>,
    pub poststop: Option<Vec<RawHook>>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct RawHook {
    pub path: Option<String>,
    pub args: Option<Vec<String>>,
    pub env: Option<Vec<String>>,
    pub timeout: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RawLinux {
    pub uid_mappings: Option<Vec<RawIdMap>>,
    pub gid_mappings: Option<Vec<RawIdMap>>,
    pub sysctl: Option<Map<Option<String>>>,
    pub resources: Option<RawResources>,
    pub cgroups_path: Option<String>,
    pub namespaces: Option<Vec<RawNamespace>>,
    pub devices: Option<Vec<RawDevice>>,
    pub net_devices: Option<Map<Option<RawNetDevice>>>,
    pub seccomp: Option<RawSeccomp>,
    pub rootfs_propagation: Option<String>,
    pub masked_paths: Option<Vec<String>>,
    pub readonly_paths: Option<Vec<String>>,
    pub mount_label: Option<String>,
    pub intel_rdt: Option<RawIntelRdt>,
    pub memory_policy: Option<RawMemoryPolicy>,
    pub personality: Option<RawPersonality>,
    pub time_offsets: Option<Map<Option<RawTimeOffset>>>,
}

/// Own type, because oci-spec's `LinuxSeccomp` requires a default action.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RawSeccomp {
    #[serde(default, deserialize_with = "action")]
    pub default_action: Option<LinuxSeccompAction>,
    pub default_errno_ret: Option<u32>,
    pub architectures: Option<Vec<Arch>>,
    pub flags: Option<Vec<LinuxSeccompFilterFlag>>,
    pub listener_path: Option<PathBuf>,
    pub listener_metadata: Option<String>,
    pub syscalls: Option<Vec<LinuxSyscall>>,
}

/// Parses an action; `None` for an empty text.
fn action<'de, D: Deserializer<'de>>(value: D) -> Result<Option<LinuxSeccompAction>, D::Error> {
    let name = Option::<String>::deserialize(value)?.filter(|name| !name.is_empty());
    name.map(|name| LinuxSeccompAction::deserialize(name.into_deserializer())).transpose()
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct RawNamespace {
    pub r#type: Option<String>,
    pub path: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RawDevice {
    pub path: Option<String>,
    pub r#type: Option<String>,
    pub major: Option<i64>,
    pub minor: Option<i64>,
    pub file_mode: Option<u32>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct RawNetDevice {
    pub name: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RawIntelRdt {
    #[serde(rename = "closID")]
    pub clos_id: Option<String>,
    pub schemata: Option<Vec<String>>,
    pub l3_cache_schema: Option<String>,
    pub mem_bw_schema: Option<String>,
    pub enable_monitoring: Option<bool>,
    /// From versions before 1.3, with the same meaning.
    pub enable_cmt: Option<bool>,
    /// From versions before 1.3, with the same meaning.
    pub enable_mbm: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct RawMemoryPolicy {
    pub mode: Option<String>,
    pub nodes: Option<String>,
    pub flags: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct RawPersonality {
    pub domain: Option<String>,
    pub flags: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct RawTimeOffset {
    pub secs: Option<i64>,
    pub nanosecs: Option<u32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RawResources {
    pub devices: Option<Vec<RawDeviceRule>>,
    pub memory: Option<RawMemory>,
    pub cpu: Option<RawCpu>,
    pub pids: Option<RawPids>,
    #[serde(rename = "blockIO")]
    pub block_io: Option<LinuxBlockIo>,
    pub hugepage_limits: Option<Vec<RawHugepage>>,
    pub network: Option<LinuxNetwork>,
    pub rdma: Option<Map<Option<RawRdma>>>,
    pub unified: Option<Map<Option<String>>>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct RawDeviceRule {
    pub allow: Option<bool>,
    pub r#type: Option<String>,
    pub major: Option<i64>,
    pub minor: Option<i64>,
    pub access: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RawMemory {
    pub limit: Option<i64>,
    pub reservation: Option<i64>,
    pub swap: Option<i64>,
    pub kernel: Option<i64>,
    #[serde(rename = "kernelTCP")]
    pub kernel_tcp: Option<i64>,
    pub swappiness: Option<u64>,
    #[serde(rename = "disableOOMKiller")]
    pub disable_oom_killer: Option<bool>,
    pub check_before_update: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RawCpu {
    pub shares: Option<u64>,
    pub quota: Option<i64>,
    pub burst: Option<u64>,
    pub period: Option<u64>,
    pub realtime_runtime: Option<i64>,
    pub realtime_period: Option<u64>,
    pub cpus: Option<String>,
    pub mems: Option<String>,
    pub idle: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct RawPids {
    pub limit: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RawHugepage {
    pub page_size: Option<String>,
    pub limit: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RawRdma {
    pub hca_handles: Option<u32>,
    pub hca_objects: Option<u32>,
}
