//! Parser of `linux.resources`: limits within the ranges that the kernel accepts.
//!
//! The number 0 means "not set" where 0 is not a valid limit (memory, cpu shares, quota, period), as for
//! runc: Docker sends zeros for everything that an update leaves unchanged.

use oci_spec::runtime::{LinuxBlockIo, LinuxNetwork};

use super::at::At;
use super::lists::{cpu_list, some_text};
use super::raw::{Map, RawCpu, RawDeviceRule, RawHugepage, RawMemory, RawPids, RawRdma, RawResources};
use super::{ConfigError, Cpu, DeviceRule, Memory, Resources};

/// Parses `linux.resources`.
pub(super) fn resources(raw: RawResources, at: &At) -> Result<Resources, ConfigError> {
    Ok(Resources {
        devices: device_rules(raw.devices, &at.key("devices"))?,
        no_tun: false,
        memory: memory(&raw.memory.unwrap_or_default(), &at.key("memory"))?,
        cpu: cpu(raw.cpu.unwrap_or_default(), &at.key("cpu"))?,
        pids_limit: pids(raw.pids.unwrap_or_default(), &at.key("pids"))?,
        block_io: block_io(raw.block_io, &at.key("blockIO"))?,
        hugepages: hugepages(raw.hugepage_limits, &at.key("hugepageLimits"))?,
        network: network(raw.network),
        rdma: rdma(raw.rdma, &at.key("rdma"))?,
        unified: unified(raw.unified, &at.key("unified"))?,
    })
}

/// Parses `devices`, in order.
fn device_rules(raw: Option<Vec<RawDeviceRule>>, at: &At) -> Result<Vec<DeviceRule>, ConfigError> {
    let raw = raw.unwrap_or_default();
    raw.iter().enumerate().filter_map(|(i, rule)| device_rule(rule, &at.index(i)).transpose()).collect()
}

/// Parses one rule. `None` if it grants no kind of access. A rule without a type applies to all devices.
fn device_rule(raw: &RawDeviceRule, at: &At) -> Result<Option<DeviceRule>, ConfigError> {
    let kind = match raw.r#type.as_deref().unwrap_or_default() {
        "" | "a" => 'a',
        "b" => 'b',
        "c" => 'c',
        other => return Err(at.key("type").error(format!("invalid device type {other:?}; use a, b or c"))),
    };
    let major = device_number(raw.major, MAX_MAJOR, &at.key("major"))?;
    let minor = device_number(raw.minor, MAX_MINOR, &at.key("minor"))?;
    if kind == 'a' && (major.is_some() || minor.is_some()) {
        return Err(at
            .key("type")
            .error("type a applies to all devices; a rule with numbers needs type b or c"));
    }
    let access = raw.access.as_deref().unwrap_or_default();
    if access.is_empty() {
        return Err(at.key("access").error("device access is empty; use one or more of r, w and m"));
    }
    // runc ignores other letters, so configs with them exist. For runc a rule of type a covers every access,
    // whatever `access` is; a partial rule would leave earlier rules in force.
    let has = |letter| kind == 'a' || access.contains(letter);
    let (read, write, mknod) = (has('r'), has('w'), has('m'));
    let rule = DeviceRule { allow: raw.allow.unwrap_or(false), kind, major, minor, read, write, mknod };
    Ok(Some(rule).filter(|_| read || write || mknod))
}

/// Largest major number: 12 bits, `MINORBITS` in `linux/kdev_t.h`.
pub(super) const MAX_MAJOR: u32 = 0xfff;
/// Largest minor number: 20 bits.
pub(super) const MAX_MINOR: u32 = 0xf_ffff;

/// Parses a device number; `None` and -1 mean any.
fn device_number(raw: Option<i64>, max: u32, at: &At) -> Result<Option<u32>, ConfigError> {
    match raw {
        None | Some(-1) => Ok(None),
        Some(n) => match u32::try_from(n) {
            Ok(n) if n <= max => Ok(Some(n)),
            _ => Err(at
                .error(format!("device number {n} is outside 0 to {max}; -1 or a missing number means any"))),
        },
    }
}

/// Parses `memory`.
fn memory(raw: &RawMemory, at: &At) -> Result<Memory, ConfigError> {
    let memory = Memory {
        limit: bytes(raw.limit, &at.key("limit"))?,
        reservation: bytes(raw.reservation, &at.key("reservation"))?,
        swap: bytes(raw.swap, &at.key("swap"))?,
        swappiness: raw.swappiness,
        disable_oom_killer: raw.disable_oom_killer.unwrap_or(false),
        check_before_update: raw.check_before_update.unwrap_or(false),
        kernel_tcp: bytes(raw.kernel_tcp, &at.key("kernelTCP"))?,
        sockets_as_limit: false,
    };
    if let (Some(limit), Some(swap)) = (memory.limit, memory.swap)
        && (swap > 0 && swap < limit)
    {
        return Err(at.key("swap").error(format!(
            "swap is the limit of memory plus swap: {swap} must not be below the memory limit {limit}"
        )));
    }
    if memory.swappiness.is_some_and(|s| s > 100) {
        return Err(at.key("swappiness").error("swappiness is outside 0 to 100"));
    }
    if raw.kernel.is_some_and(|v| v > 0) {
        // Since Linux 5.16 the kernel accepts a value in the file and ignores it.
        return Err(at
            .key("kernel")
            .error("the kernel no longer has a separate limit for kernel memory; use limit"));
    }
    // `useHierarchy` is ignored: cgroup v2 is always hierarchical, v1 since Linux 5.11.
    Ok(memory)
}

/// Parses a limit in bytes: -1 for no limit, 0 for "not set".
fn bytes(raw: Option<i64>, at: &At) -> Result<Option<i64>, ConfigError> {
    match raw {
        Some(n) if n < -1 => Err(at.error(format!("{n} is neither a number of bytes nor -1 for no limit"))),
        raw => Ok(raw.filter(|n| *n != 0)),
    }
}

/// Parses `cpu`.
fn cpu(raw: RawCpu, at: &At) -> Result<Cpu, ConfigError> {
    let within = |value: Option<u64>, name, min, max| match value.filter(|v| *v != 0) {
        Some(v) if v < min || v > max => Err(at.key(name).error(format!("{v} is outside {min} to {max}"))),
        value => Ok(value),
    };
    let cpu = Cpu {
        shares: within(raw.shares, "shares", 2, 262_144)?,
        quota: quota(raw.quota, &at.key("quota"))?,
        period: within(raw.period, "period", 1_000, 1_000_000)?,
        burst: raw.burst,
        idle: raw.idle,
        realtime_runtime: raw.realtime_runtime.filter(|n| *n != 0),
        realtime_period: raw.realtime_period.filter(|n| *n != 0),
        cpus: cpu_list(raw.cpus, &at.key("cpus"))?,
        mems: cpu_list(raw.mems, &at.key("mems"))?,
    };
    if let (Some(burst), Some(quota)) = (cpu.burst, cpu.quota)
        && u64::try_from(quota).is_ok_and(|quota| burst > quota)
    {
        return Err(at.key("burst").error(format!("burst {burst} is above the quota {quota}")));
    }
    if cpu.idle.is_some_and(|i| !(0..=1).contains(&i)) {
        return Err(at.key("idle").error("idle is 1 for SCHED_IDLE, or 0"));
    }
    if cpu.realtime_runtime.is_some_and(|n| n < -1) {
        return Err(at
            .key("realtimeRuntime")
            .error("realtime runtime is a number of microseconds, or -1 for no limit"));
    }
    Ok(cpu)
}

/// Parses `quota`: the kernel's minimum is one millisecond (`min_cfs_quota_period`).
fn quota(raw: Option<i64>, at: &At) -> Result<Option<i64>, ConfigError> {
    match raw {
        Some(n) if n < -1 || (1..1_000).contains(&n) => {
            Err(at.error(format!("quota {n} is below 1000 microseconds; -1 is no limit")))
        }
        raw => Ok(raw.filter(|n| *n != 0)),
    }
}

/// Parses `pids.limit`: -1 is no limit, and 0 allows no further task, as in the specification since 1.3
/// (runtime-spec pull 1279) and in runc since 1.4. Before that, runtimes disagreed about 0.
fn pids(raw: RawPids, at: &At) -> Result<Option<i64>, ConfigError> {
    match raw.limit {
        Some(n) if n < -1 => {
            Err(at.key("limit").error(format!("{n} is neither a number of tasks nor -1 for no limit")))
        }
        limit => Ok(limit),
    }
}

/// Parses `network`. An object without content, as Go writes it, is ignored. Class 0 means no class.
fn network(raw: Option<LinuxNetwork>) -> Option<LinuxNetwork> {
    let says = |n: &LinuxNetwork| {
        n.class_id().is_some_and(|class| class != 0) || n.priorities().iter().flatten().next().is_some()
    };
    raw.filter(says)
}

/// Parses `blockIO`: weights in the range of the io and blkio controllers.
fn block_io(raw: Option<LinuxBlockIo>, at: &At) -> Result<Option<LinuxBlockIo>, ConfigError> {
    let Some(io) = raw else { return Ok(None) };
    let weight = |weight: Option<u16>, at: At| match weight {
        Some(w) if w != 0 && !(10..=1000).contains(&w) => {
            Err(at.error(format!("weight {w} is outside 10 to 1000")))
        }
        _ => Ok(()),
    };
    let no_leaf = |weight: Option<u16>, at: At| match weight {
        Some(w) if w != 0 => Err(at.error("the kernel has no leaf weights since Linux 5.0; use weight")),
        _ => Ok(()),
    };
    weight(io.weight(), at.key("weight"))?;
    no_leaf(io.leaf_weight(), at.key("leafWeight"))?;
    let devices = at.key("weightDevice");
    for (i, device) in io.weight_device().iter().flatten().enumerate() {
        let here = devices.index(i);
        weight(device.weight(), here.key("weight"))?;
        no_leaf(device.leaf_weight(), here.key("leafWeight"))?;
    }
    Ok(Some(io))
}

/// Parses `hugepageLimits`: each page size at most once. The kernel counts pages in a `long`, so a limit
/// above i64 is no limit.
fn hugepages(raw: Option<Vec<RawHugepage>>, at: &At) -> Result<Vec<(String, i64)>, ConfigError> {
    let mut limits: Vec<(String, i64)> = Vec::new();
    for (i, page) in raw.unwrap_or_default().into_iter().enumerate() {
        let (at, size) = (at.index(i), page.page_size.unwrap_or_default());
        if !is_page_size(&size) {
            let message =
                format!("invalid page size {size:?}; write a number and a unit, such as 64KB, 2MB or 1GB");
            return Err(at.key("pageSize").error(message));
        }
        if limits.iter().any(|l| l.0 == size) {
            return Err(at.key("pageSize").error(format!("page size {size} is listed twice")));
        }
        limits.push((size, i64::try_from(page.limit.unwrap_or(0)).unwrap_or(i64::MAX)));
    }
    Ok(limits)
}

/// Whether `size` is like `2MB`, as in the file name `hugetlb.2MB.max`.
fn is_page_size(size: &str) -> bool {
    let digits = ["KB", "MB", "GB", "TB", "PB", "EB"].iter().find_map(|unit| size.strip_suffix(unit));
    digits.is_some_and(|d| !d.is_empty() && !d.starts_with('0') && d.bytes().all(|b| b.is_ascii_digit()))
}

/// Type of [`Resources::rdma`].
type Rdma = Vec<(String, Option<u32>, Option<u32>)>;

/// Parses `rdma`: a device's name and at least one limit.
fn rdma(raw: Option<Map<Option<RawRdma>>>, at: &At) -> Result<Rdma, ConfigError> {
    let mut limits = Rdma::new();
    for (device, limit) in raw.unwrap_or_default() {
        let here = at.key(&device);
        let limit = limit.unwrap_or_default();
        if device.is_empty() || device.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(here.error("the name of an rdma device is one word"));
        }
        if limit.hca_handles.is_none() && limit.hca_objects.is_none() {
            return Err(here.error("give hcaHandles, hcaObjects or both"));
        }
        limits.push((device, limit.hca_handles, limit.hca_objects));
    }
    Ok(limits)
}

/// Parses `unified`: names of files in the container's own cgroup, so paths are not allowed.
fn unified(raw: Option<Map<Option<String>>>, at: &At) -> Result<Vec<(String, String)>, ConfigError> {
    let raw = raw.unwrap_or_default();
    for key in raw.keys() {
        let plain = some_text(Some(key.clone())).is_some_and(|k| {
            k != "." && k != ".." && !k.contains(|c: char| c == '/' || c.is_whitespace() || c.is_control())
        });
        if !plain {
            let message = format!("{key:?} is not the name of a cgroup file, such as memory.high");
            return Err(at.key(key).error(message));
        }
    }
    Ok(raw.into_iter().map(|(key, value)| (key, value.unwrap_or_default())).collect())
}
