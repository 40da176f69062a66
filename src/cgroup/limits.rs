//! The values of limits: what `linux.resources` asks for, as the files of cgroup v1 and v2 take it.

use crate::config::{Cpu, Memory, Resources};
use crate::tables::limits::{BFQ_WEIGHT, LIMITS, Limit, LimitRow};

/// One write: the limit's row, the file and the value.
pub struct LimitWrite {
    /// Which limit.
    pub row: &'static LimitRow,
    /// The file's name in the cgroup.
    pub file: String,
    /// What is written.
    pub value: String,
}

/// What the fields of `resources` write, in the order in which it must be written; `unified` comes after it.
pub fn writes(resources: &Resources, v2: bool) -> Vec<LimitWrite> {
    let of = |row: &'static LimitRow| {
        let file = row.file(v2);
        let values = if file.is_some() { values(row.limit, resources, v2) } else { Vec::new() };
        values.into_iter().map(move |(size, value)| {
            let file = file.unwrap_or_default().replace("{}", &size);
            LimitWrite { row, file, value }
        })
    };
    LIMITS.iter().flat_map(of).collect()
}

/// The first limit that `resources` names and cgroup v2 lacks, with what to use instead.
pub fn v1_only(resources: &Resources) -> Option<(&'static LimitRow, &'static str)> {
    LIMITS.iter().find_map(|row| {
        let asked = match row.limit {
            // On v2 the policy's choice is in the limit of memory already, and no limit needs no file.
            Limit::SocketMemory => resources.memory.kernel_tcp.is_some_and(|n| n > 0),
            limit => row.v2.is_err() && !values(limit, resources, false).is_empty(),
        };
        row.v2.err().filter(|_| asked).map(|instead| (row, instead))
    })
}

/// A size of pages, or nothing, and a value.
type SizedValue = (String, String);

fn one(value: Option<impl ToString>) -> Vec<SizedValue> {
    value.map(|value| (String::new(), value.to_string())).into_iter().collect()
}

/// The values of one limit; none where `resources` does not name it.
fn values(limit: Limit, resources: &Resources, v2: bool) -> Vec<SizedValue> {
    let (memory, cpu) = (&resources.memory, &resources.cpu);
    let bytes = |n: i64| if v2 { max_or(n) } else { n.to_string() };
    match limit {
        Limit::Memory => one(memory.limit.map(bytes)),
        Limit::Swap => one(if v2 { swap(memory) } else { memory.swap }.map(bytes)),
        Limit::Reservation => one(memory.reservation.map(bytes)),
        // Written before there is a process: buffers of sockets that are made earlier are not counted.
        Limit::SocketMemory => one(memory.kernel_tcp.or(memory.limit.filter(|_| memory.sockets_as_limit))),
        Limit::Swappiness => one(memory.swappiness),
        Limit::NoOomKiller => one(memory.disable_oom_killer.then_some(1)),
        Limit::Shares => {
            one(cpu.shares.filter(|s| *s != 0).map(|shares| if v2 { weight(shares) } else { shares }))
        }
        // v2 has one file for period and quota.
        Limit::Period => one(cpu.period.filter(|p| *p != 0 && !v2)),
        Limit::Quota if v2 => one(bandwidth(cpu)),
        Limit::Quota => one(cpu.quota.filter(|q| *q != 0)),
        Limit::Burst => one(cpu.burst),
        Limit::RealtimePeriod => one(cpu.realtime_period),
        Limit::RealtimeRuntime => one(cpu.realtime_runtime),
        Limit::Idle => one(cpu.idle),
        Limit::Cpus => one(cpu.cpus.as_ref()),
        Limit::Mems => one(cpu.mems.as_ref()),
        Limit::Pids => one(resources.pids_limit.map(tasks)),
        Limit::HugeReservations | Limit::HugePages => {
            resources.hugepages.iter().map(|(size, limit)| (size.clone(), bytes(*limit))).collect()
        }
        Limit::NetClass | Limit::NetPriorities => network(limit, resources),
        Limit::Rdma => resources.rdma.iter().flat_map(|device| one(Some(rdma(device)))).collect(),
        Limit::BlockWeight
        | Limit::BlockWeightDevice
        | Limit::ReadBps
        | Limit::WriteBps
        | Limit::ReadIops
        | Limit::WriteIops => block_io(limit, resources, v2),
        // `unified` alone has these.
        Limit::MemoryMin | Limit::MemoryHigh | Limit::OomGroup => Vec::new(),
    }
}

fn network(limit: Limit, resources: &Resources) -> Vec<SizedValue> {
    let Some(network) = &resources.network else { return Vec::new() };
    if limit == Limit::NetClass {
        return one(network.class_id());
    }
    let line = |p: &oci_spec::runtime::LinuxInterfacePriority| format!("{} {}", p.name(), p.priority());
    network.priorities().iter().flatten().flat_map(|p| one(Some(line(p)))).collect()
}

fn rdma((device, handles, objects): &(String, Option<u32>, Option<u32>)) -> String {
    let part = |name, v: &Option<u32>| v.map(|v| format!(" {name}={v}")).unwrap_or_default();
    format!("{device}{}{}", part("hca_handle", handles), part("hca_object", objects))
}

fn block_io(limit: Limit, resources: &Resources, v2: bool) -> Vec<SizedValue> {
    let Some(io) = &resources.block_io else { return Vec::new() };
    let (key, devices) = match limit {
        Limit::ReadBps => ("rbps", io.throttle_read_bps_device()),
        Limit::WriteBps => ("wbps", io.throttle_write_bps_device()),
        Limit::ReadIops => ("riops", io.throttle_read_iops_device()),
        Limit::WriteIops => ("wiops", io.throttle_write_iops_device()),
        Limit::BlockWeight => return one(io.weight().filter(|w| *w != 0)),
        _ => {
            let weights = io.weight_device().iter().flatten().filter_map(|d| {
                let weight = d.weight().filter(|w| *w != 0 || v2)?;
                Some(format!("{}:{} {weight}", d.major(), d.minor()))
            });
            return weights.flat_map(|line| one(Some(line))).collect();
        }
    };
    let key = if v2 { format!("{key}=") } else { String::new() };
    let line =
        |d: &oci_spec::runtime::LinuxThrottleDevice| format!("{}:{} {key}{}", d.major(), d.minor(), d.rate());
    devices.iter().flatten().flat_map(|d| one(Some(line(d)))).collect()
}

fn max_or(limit: i64) -> String {
    if limit < 0 { "max".into() } else { limit.to_string() }
}

/// A limit of tasks, as runc writes it since 1.4: 0 is 1. The container's own process is one, so that nothing more can be
/// started either way; but with 0 it could not be itself, and systemd knows no 0.
pub(super) fn tasks(limit: i64) -> String {
    max_or(if limit == 0 { 1 } else { limit })
}

/// The limit of swap alone, -1 for none: the config counts memory and swap together, v2 counts swap.
pub(super) fn swap(memory: &Memory) -> Option<i64> {
    match (memory.swap, memory.limit) {
        (Some(-1), _) => Some(-1),
        (Some(swap), Some(limit)) if limit >= 0 => Some((swap - limit).max(0)),
        _ => None,
    }
}

/// `cpu.max`: quota and period.
fn bandwidth(cpu: &Cpu) -> Option<String> {
    if cpu.quota.is_none() && cpu.period.is_none() {
        return None;
    }
    let quota = cpu.quota.filter(|q| *q > 0).map_or_else(|| "max".to_string(), |q| q.to_string());
    let period = cpu.period.filter(|p| *p != 0).map(|p| format!(" {p}")).unwrap_or_default();
    Some(format!("{quota}{period}"))
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

/// A block weight (10..=1000) as a v2 weight (1..=10000), as runc converts.
pub(super) fn io_weight(weight: u16) -> u64 {
    1 + (u64::from(weight).clamp(10, 1000) - 10) * 9999 / 990
}

/// What is written where `file` is missing: without BFQ the weight is io.cost's, whose numbers are others.
pub fn instead(file: &str, value: &str) -> Option<(&'static str, String)> {
    let weight = value.parse().ok().filter(|_| file == BFQ_WEIGHT)?;
    Some(("io.weight", io_weight(weight).to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

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
