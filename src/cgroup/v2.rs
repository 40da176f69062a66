//! cgroup v2: one tree, one group per container, the child born inside it.

use std::path::Path;

use super::{Group, Layout, Request, below, missing_parents, unavailable};
use crate::config::{ConfigError, Cpu, Memory, Resources};
use crate::error::{Error, Result};

/// The container's group. A path of the config is taken from the root of the tree when it is
/// absolute; a relative one, and the default name, lies beside the caller's own group,
/// since a group with processes cannot hand controllers to children (cgroups(7), "no internal processes").
pub fn layout(mount: &Path, own: &str, controllers: &[String], request: Request<'_>) -> Result<Layout> {
    let default = request.default_name();
    let wanted = request.path.filter(|p| !p.is_empty()).unwrap_or(&default);
    let path = if wanted.starts_with('/') {
        below(mount, wanted)
    } else {
        let beside = Path::new(own).parent().map_or_else(|| "/".into(), |p| p.to_string_lossy().into_owned());
        below(mount, &beside).join(wanted)
    };
    let writes = writes(request.resources, controllers)?;
    let needed = needed(controllers);
    Ok(Layout {
        groups: vec![Group {
            controllers: Vec::new(),
            enable: enable(mount, &path, &needed),
            missing: missing_parents(mount, &path),
            exists: path.exists(),
            path,
            writes,
            v2: true,
        }],
        ..Layout::default()
    })
}

/// The controllers that every container gets, as runc gives them: usage is counted even without a limit.
fn needed(available: &[String]) -> Vec<String> {
    ALL.iter().filter(|c| available.iter().any(|a| a == *c)).map(|c| (*c).to_string()).collect()
}

/// The subtree_control writes that are still needed. The parent is read first: if it hands down
/// everything, so do all above it.
pub(super) fn enable(mount: &Path, path: &Path, needed: &[String]) -> Vec<(std::path::PathBuf, String)> {
    let mut writes = Vec::new();
    for ancestor in path.ancestors().skip(1).take_while(|p| p.starts_with(mount)) {
        let file = ancestor.join("cgroup.subtree_control");
        let have = crate::sys::read::value(&file).unwrap_or_default();
        let lacking: Vec<_> = needed
            .iter()
            .filter(|c| have.split_whitespace().all(|h| h != *c))
            .map(|c| format!("+{c}"))
            .collect();
        if lacking.is_empty() {
            break;
        }
        writes.push((file, lacking.join(" ")));
    }
    writes.reverse();
    writes
}

/// Every controller that a limit can need.
const ALL: [&str; 8] = ["cpu", "cpuset", "io", "memory", "pids", "hugetlb", "rdma", "misc"];

/// The first limit that is asked for, as a JSON pointer. Device rules are none: they are also kept by the
/// user namespace.
pub fn first_limit(resources: &Resources) -> Option<&'static str> {
    if resources.network.is_some() {
        return Some("/linux/resources/network");
    }
    let all = ALL.map(String::from);
    // A file of `unified` whose controller nobody knows is a limit as well.
    writes(resources, &all).map_or(Some("/linux/resources/unified"), |writes| {
        writes.iter().find(|(_, value)| !value.starts_with("max")).map(|(file, _)| pointer_of(file))
    })
}

/// The files and values for `resources`, in the order in which they must be written.
pub fn writes(resources: &Resources, controllers: &[String]) -> Result<Vec<(String, String)>> {
    v1_only(resources)?;
    let mut out = Vec::new();
    memory(&resources.memory, &mut out);
    cpu(&resources.cpu, &mut out);
    if let Some(limit) = resources.pids_limit {
        out.push(("pids.max".into(), tasks(limit)));
    }
    for (size, limit) in &resources.hugepages {
        // Reservations first: what was reserved in time is never refused at a page fault (config-linux.md).
        out.push((format!("hugetlb.{size}.rsvd.max"), max_or(*limit)));
        out.push((format!("hugetlb.{size}.max"), max_or(*limit)));
    }
    for (device, handles, objects) in &resources.rdma {
        let part = |name, v: &Option<u32>| v.map(|v| format!(" {name}={v}")).unwrap_or_default();
        let value = format!("{device}{}{}", part("hca_handle", handles), part("hca_object", objects));
        out.push(("rdma.max".into(), value));
    }
    super::ops::block_io_v2(resources, &mut out);
    // The kernel takes one line a write: io.max of several devices comes as several.
    let lines = |(file, value): &(String, String)| {
        let line = |line: &str| (file.clone(), line.to_string());
        value.trim_end_matches('\n').split('\n').map(line).collect::<Vec<_>>()
    };
    out.extend(resources.unified.iter().flat_map(lines));
    for (file, _) in &out {
        let controller = file.split('.').next().unwrap_or_default();
        if !matches!(controller, "cgroup") && !controllers.iter().any(|c| c == controller) {
            let bound = format!("cgroup v2 has {} at {}", controllers.join(" "), super::MOUNT_POINT);
            return Err(unavailable(pointer_of(file), controller, &bound));
        }
    }
    Ok(out)
}

/// The files that `resources` are written to.
pub(super) fn files(resources: &Resources) -> Vec<String> {
    let all = ALL.map(String::from);
    writes(resources, &all).unwrap_or_default().into_iter().map(|(file, _)| file).collect()
}

/// Refuses what cgroup v2 has no file for: a limit that was asked for would be missing without a word.
fn v1_only(resources: &Resources) -> Result<()> {
    let (memory, cpu) = (&resources.memory, &resources.cpu);
    let asked = [
        ("memory/swappiness", memory.swappiness.is_some(), "use memory.swap.max in unified"),
        ("memory/kernelTCP", memory.kernel_tcp.is_some_and(|n| n > 0), "TCP's buffers are counted in limit"),
        ("memory/disableOOMKiller", memory.disable_oom_killer, "use memory.high in unified"),
        ("cpu/realtimeRuntime", cpu.realtime_runtime.is_some(), "give the container no CAP_SYS_NICE"),
        ("cpu/realtimePeriod", cpu.realtime_period.is_some(), "give the container no CAP_SYS_NICE"),
        ("network", resources.network.is_some(), "use eBPF or nftables (meta cgroup)"),
    ];
    match asked.iter().find(|(_, asked, _)| *asked) {
        Some((key, _, remedy)) => Err(Error::Config(ConfigError::new(
            format!("/linux/resources/{key}"),
            format!("cgroup v2 does not have this; {remedy}"),
        ))),
        None => Ok(()),
    }
}

/// The config's field behind a v2 file.
pub(super) fn pointer_of(file: &str) -> &'static str {
    match file.split('.').next().unwrap_or_default() {
        "memory" => "/linux/resources/memory",
        "cpu" | "cpuset" => "/linux/resources/cpu",
        "pids" => "/linux/resources/pids/limit",
        "hugetlb" => "/linux/resources/hugepageLimits",
        "rdma" => "/linux/resources/rdma",
        "io" => "/linux/resources/blockIO",
        _ => "/linux/resources/unified",
    }
}

fn max_or(limit: i64) -> String {
    if limit < 0 { "max".into() } else { limit.to_string() }
}

/// A limit of tasks, as runc writes it since 1.4: 0 is 1. The container's own process is one, so that nothing more can be
/// started either way; but with 0 it could not be itself, and systemd knows no 0.
pub(super) fn tasks(limit: i64) -> String {
    max_or(if limit == 0 { 1 } else { limit })
}

fn memory(memory: &Memory, out: &mut Vec<(String, String)>) {
    if let Some(limit) = memory.limit {
        out.push(("memory.max".into(), max_or(limit)));
    }
    if let Some(swap) = swap(memory) {
        out.push(("memory.swap.max".into(), max_or(swap)));
    }
    if let Some(low) = memory.reservation {
        out.push(("memory.low".into(), max_or(low)));
    }
}

/// The limit of swap alone, -1 for none: the config counts memory and swap together, v2 counts swap.
pub(super) fn swap(memory: &Memory) -> Option<i64> {
    match (memory.swap, memory.limit) {
        (Some(-1), _) => Some(-1),
        (Some(swap), Some(limit)) if limit >= 0 => Some((swap - limit).max(0)),
        _ => None,
    }
}

fn cpu(cpu: &Cpu, out: &mut Vec<(String, String)>) {
    if let Some(shares) = cpu.shares.filter(|s| *s != 0) {
        out.push(("cpu.weight".into(), weight(shares).to_string()));
    }
    if cpu.quota.is_some() || cpu.period.is_some() {
        let quota = cpu.quota.filter(|q| *q > 0).map_or_else(|| "max".to_string(), |q| q.to_string());
        let period = cpu.period.filter(|p| *p != 0).map(|p| format!(" {p}")).unwrap_or_default();
        out.push(("cpu.max".into(), format!("{quota}{period}")));
    }
    if let Some(burst) = cpu.burst {
        out.push(("cpu.max.burst".into(), burst.to_string()));
    }
    if let Some(idle) = cpu.idle {
        out.push(("cpu.idle".into(), idle.to_string()));
    }
    if let Some(cpus) = &cpu.cpus {
        out.push(("cpuset.cpus".into(), cpus.clone()));
    }
    if let Some(mems) = &cpu.mems {
        out.push(("cpuset.mems".into(), mems.clone()));
    }
}

/// v1 shares (2..=262144) as a v2 weight (1..=10000), as runc does since 1.3.2: on a logarithmic scale, a
/// quadratic curve through the ends and the defaults, so that 1024 shares are the kernel's own weight of 100. On a
/// straight line they were 39, less than a process of the host has.
pub fn weight(shares: u64) -> u64 {
    if shares >= 262_144 {
        return 10_000;
    }
    let log = (shares.max(2) as f64).log2();
    let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
    (10f64.powf(exponent).ceil() as u64).clamp(1, 10_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<String> {
        ["cpu", "cpuset", "io", "memory", "pids"].map(String::from).to_vec()
    }

    #[test]
    fn limits_become_v2_files() {
        let resources = Resources {
            memory: Memory { limit: Some(100), swap: Some(150), reservation: Some(10), ..Memory::default() },
            cpu: Cpu { shares: Some(1024), quota: Some(50_000), period: Some(100_000), ..Cpu::default() },
            pids_limit: Some(7),
            unified: vec![("io.max".into(), "7:0 riops=3\n7:1 riops=5\n".into())],
            ..Resources::default()
        };
        let expect = [
            ("memory.max", "100"),
            ("memory.swap.max", "50"),
            ("memory.low", "10"),
            ("cpu.weight", "100"),
            ("cpu.max", "50000 100000"),
            ("pids.max", "7"),
            ("io.max", "7:0 riops=3"),
            ("io.max", "7:1 riops=5"),
        ];
        assert_eq!(writes(&resources, &all()).unwrap(), expect.map(|(f, v)| (f.to_string(), v.to_string())));
    }

    #[test]
    fn a_limit_without_its_controller_is_an_error_that_names_it() {
        let resources = Resources { pids_limit: Some(7), ..Resources::default() };
        let err = writes(&resources, &["memory".to_string()]).unwrap_err().to_string();
        assert!(err.contains("/linux/resources/pids/limit") && err.contains("pids controller"), "{err}");
    }

    #[test]
    fn what_only_v1_has_is_refused_by_name() {
        let refused = |change: fn(&mut Resources)| {
            let mut resources = Resources::default();
            change(&mut resources);
            writes(&resources, &all()).unwrap_err().to_string()
        };
        assert!(refused(|r| r.memory.swappiness = Some(10)).contains("/linux/resources/memory/swappiness: "));
        assert!(refused(|r| r.memory.disable_oom_killer = true).contains("/memory/disableOOMKiller: "));
        assert!(refused(|r| r.cpu.realtime_runtime = Some(10)).contains("/cpu/realtimeRuntime: "));
        assert!(refused(|r| r.network = Some(Default::default())).contains("/linux/resources/network: "));
    }

    #[test]
    fn weight_goes_through_the_ends_and_the_defaults() {
        // What runc 1.3.2 and later write.
        let table = [
            (1, 1),
            (2, 1),
            (100, 17),
            (256, 35),
            (300, 39),
            (512, 59),
            (1024, 100),
            (262_144, 10_000),
            (u64::MAX, 10_000),
        ];
        assert_eq!(table.map(|(shares, _)| (shares, weight(shares))), table);
    }
}
