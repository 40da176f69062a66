//! The properties of a container's scope: limits once more in systemd's words, so that systemd writes the
//! same values when it writes a unit's files again (`systemctl daemon-reload`), and the config's own.

use std::collections::BTreeMap;

use super::value::{self, BusValue};
use crate::cgroup::limits;
use crate::config::cpulist;
use crate::config::{ConfigError, DeviceRule, Resources};
use crate::tables::limits::{LIMITS, Limit, LimitRow, UNIFIED, of_file, row};

/// Name and value.
pub type Property = (String, BusValue);

/// Annotations that set properties: `org.systemd.property.NAME`, the value in GVariant's text format.
const ANNOTATION: &str = "org.systemd.property.";

fn property(name: &str, value: BusValue) -> Property {
    (name.into(), value)
}

/// What every scope has, as runc sets it.
pub fn base(id: &str, slice: &str, v2: bool) -> Vec<Property> {
    let on = |name| property(name, BusValue::Bool(true));
    vec![
        property("Description", BusValue::Text(format!("safebox container {id}"))),
        property("Slice", BusValue::Text(slice.into())),
        on("Delegate"),
        // Without it, a controller would come into the cgroup when the first limit does, and count from there.
        on("MemoryAccounting"),
        on("CPUAccounting"),
        on(if v2 { "IOAccounting" } else { "BlockIOAccounting" }),
        on("TasksAccounting"),
        property("DefaultDependencies", BusValue::Bool(false)),
    ]
}

/// What an annotation must not set, for it may come with an image: which processes and slice the scope has (`PIDs`
/// takes any process of the host into it, where `delete` kills it). `Device*` and `Delegate*` neither.
const OWN: [&str; 3] = ["PIDs", "PIDFDs", "Slice"];

/// The properties that annotations ask for.
pub fn of_annotations(annotations: &BTreeMap<String, String>) -> Result<Vec<Property>, ConfigError> {
    let mut out = Vec::new();
    for (key, text) in annotations {
        let Some(name) = key.strip_prefix(ANNOTATION) else { continue };
        let bad = |why: String| ConfigError::new(format!("/annotations/{key}"), why);
        if name.len() < 3 || !name.bytes().all(|b| b.is_ascii_alphabetic()) {
            return Err(bad(format!("{name:?} is not the name of a systemd property")));
        }
        if OWN.contains(&name) || name.starts_with("Device") || name.starts_with("Delegate") {
            return Err(bad(format!("{name} is not an annotation's to say: it decides whose the scope is")));
        }
        if text.contains('\0') {
            return Err(bad("contains a NUL byte; D-Bus takes none".into()));
        }
        let value = value::parse(text).map_err(|e| bad(format!("{text:?} is not a GVariant: {e}")))?;
        // Documented with seconds, but on D-Bus it is microseconds.
        let seconds = name.strip_suffix("Sec").filter(|n| n.ends_with(|c: char| c.is_ascii_lowercase()));
        out.push(match seconds {
            Some(name) => {
                let micros = value.seconds_as_micros();
                let micros = micros.ok_or_else(|| bad(format!("{text:?} is not a number of seconds")))?;
                (format!("{name}USec"), micros)
            }
            None => (name.into(), value),
        });
    }
    Ok(out)
}

/// -1 is no limit.
fn limit(n: i64) -> BusValue {
    BusValue::U64(u64::try_from(n).unwrap_or(u64::MAX))
}

/// The limits. `devices`: as well; an ordinary user's systemd cannot restrict them.
pub fn of_resources(resources: &Resources, v2: bool, devices: bool) -> Result<Vec<Property>, ConfigError> {
    let mut out = Vec::new();
    for limit in LIMITS {
        if let (Some(name), Some(value)) = (limit.property(v2), value_of(limit, resources, v2)?) {
            out.push(property(name, value));
        }
    }
    // An idle cgroup has no weight beside that.
    let idle = resources.unified.iter().any(|(file, value)| file == "cpu.idle" && value.trim() == "1");
    for (file, value) in resources.unified.iter().filter(|(file, _)| !idle || file != "cpu.weight") {
        unified(file, value.trim(), &mut out)?;
    }
    if devices {
        out.extend(of_devices(&super::super::devices::rules(resources)));
    }
    Ok(out)
}

/// The value of systemd's property for one limit, if `resources` has it.
fn value_of(of: &LimitRow, resources: &Resources, v2: bool) -> Result<Option<BusValue>, ConfigError> {
    let (memory, cpu) = (&resources.memory, &resources.cpu);
    let is_idle = cpu.idle == Some(1) && v2;
    let mask = |list: &Option<String>| {
        let bad = || ConfigError::new(of.pointer, "not a list of numbers");
        list.as_ref().map(|list| bits(list).ok_or_else(bad)).transpose()
    };
    Ok(match of.limit {
        Limit::Memory => memory.limit.map(limit),
        Limit::Swap => limits::swap(memory).map(limit),
        Limit::Reservation => memory.reservation.map(limit),
        Limit::Shares if is_idle => None,
        Limit::Shares => {
            let shares = cpu.shares.filter(|s| *s != 0);
            shares.map(|shares| BusValue::U64(if v2 { limits::weight(shares) } else { shares }))
        }
        Limit::Idle if is_idle => Some(IDLE),
        // u64::MAX resets CPUWeight to its default, which also clears idle.
        Limit::Idle => {
            (cpu.idle == Some(0) && cpu.shares.is_none_or(|s| s == 0)).then_some(BusValue::U64(u64::MAX))
        }
        Limit::Period => cpu.period.map(BusValue::U64),
        Limit::Quota => per_second(cpu.quota, cpu.period),
        // 0 is no number of tasks to systemd. The container's own process is one: 1 allows no further, too.
        Limit::Pids => resources.pids_limit.map(|n| limit(if n == 0 { 1 } else { n })),
        Limit::BlockWeight => {
            let weight = resources.block_io.as_ref().and_then(|io| io.weight()).filter(|w| *w != 0);
            weight.map(|w| BusValue::U64(if v2 { limits::io_weight(w) } else { w.into() }))
        }
        Limit::Cpus => mask(&cpu.cpus)?,
        Limit::Mems => mask(&cpu.mems)?,
        // systemd has no property for these, or `unified` alone has them.
        Limit::SocketMemory
        | Limit::Swappiness
        | Limit::NoOomKiller
        | Limit::Burst
        | Limit::RealtimePeriod
        | Limit::RealtimeRuntime
        | Limit::HugeReservations
        | Limit::HugePages
        | Limit::NetClass
        | Limit::NetPriorities
        | Limit::Rdma
        | Limit::BlockWeightDevice
        | Limit::ReadBps
        | Limit::WriteBps
        | Limit::ReadIops
        | Limit::WriteIops
        | Limit::MemoryMin
        | Limit::MemoryHigh
        | Limit::OomGroup => None,
    })
}

/// `cpu.idle` in systemd's words.
const IDLE: BusValue = BusValue::U64(0);

/// Whether a property makes the scope idle.
pub fn is_idle((name, value): &Property) -> bool {
    Some(name.as_str()) == row(Limit::Idle).property(true) && *value == IDLE
}

/// systemd counts in whole percents of a cpu: the quota is rounded up, so that its own writes do not take
/// away what the config gives; the exact one is written to the file.
fn per_second(quota: Option<i64>, period: Option<u64>) -> Option<BusValue> {
    const PERCENT: u64 = 10_000;
    if quota.is_none() && period.is_none() {
        return None;
    }
    let micros = match quota.and_then(|q| u64::try_from(q).ok()).filter(|q| *q != 0) {
        Some(quota) => {
            let micros = quota.saturating_mul(1_000_000) / period.filter(|p| *p != 0).unwrap_or(100_000);
            micros.div_ceil(PERCENT) * PERCENT
        }
        None => u64::MAX,
    };
    Some(BusValue::U64(micros))
}

/// `0-1,4` as a bit mask, lowest byte first.
fn bits(list: &str) -> Option<BusValue> {
    let mask = cpulist::bytes(cpulist::numbers(list)?);
    Some(BusValue::Array("y".into(), mask.into_iter().map(BusValue::Byte).collect()))
}

/// A file of `unified`, where systemd has a property for it; the file itself is written in any case.
fn unified(file: &str, value: &str, out: &mut Vec<Property>) -> Result<(), ConfigError> {
    let bad =
        || ConfigError::new(format!("{UNIFIED}/{file}"), format!("{value:?} is not a value of this file"));
    let Some(known) = of_file(file).filter(|limit| limit.v2 == Ok(file)) else { return Ok(()) };
    let Some(name) = known.property(true) else { return Ok(()) };
    let of = match known.limit {
        // One file, two properties.
        Limit::Period | Limit::Quota => {
            let mut words = value.split_whitespace();
            let first = words.next().ok_or_else(bad)?;
            let max = if first == "max" { -1 } else { first.parse().map_err(|_| bad())? };
            let period: Option<u64> = words.next().map(str::parse).transpose().map_err(|_| bad())?;
            let pairs =
                [(Limit::Period, period.map(BusValue::U64)), (Limit::Quota, per_second(Some(max), period))];
            for (limit, value) in pairs {
                let name = row(limit).property(true).unwrap_or_default();
                out.extend(value.map(|value| property(name, value)));
            }
            return Ok(());
        }
        Limit::Cpus | Limit::Mems => bits(value).ok_or_else(bad)?,
        Limit::Idle if value == "1" => IDLE,
        Limit::Idle => return Ok(()),
        Limit::OomGroup => BusValue::Text(if value == "1" { "kill" } else { "continue" }.into()),
        _ if value == "max" => BusValue::U64(u64::MAX),
        _ => BusValue::U64(value.parse().map_err(|_| bad())?),
    };
    out.push(property(name, of));
    Ok(())
}

/// The device list. systemd only knows what is allowed, and our own filter is in force as well, so what it
/// cannot say (an exception from an allowed cgroup) is left to that.
fn of_devices(rules: &[DeviceRule]) -> Vec<Property> {
    const ALL: &str = "rwm";
    let mut everything = false;
    let mut list: Vec<(String, String)> = Vec::new();
    for rule in rules {
        let access = |on: bool, c: char| if on { String::from(c) } else { String::new() };
        let access = access(rule.read, 'r') + &access(rule.write, 'w') + &access(rule.mknod, 'm');
        match (rule.kind, rule.allow) {
            ('a', allow) if access == ALL => {
                everything = allow;
                list.clear();
            }
            ('a', true) => list.extend(["char-*", "block-*"].map(|d| (d.to_string(), access.clone()))),
            (_, true) if !everything => list.extend(node(rule).map(|n| (n, access))),
            (_, false) if access == ALL => {
                let gone = node(rule);
                list.retain(|(n, _)| Some(n) != gone.as_ref());
            }
            _ => {}
        }
    }
    let pair = |(node, access): (String, String)| {
        BusValue::Struct(vec![BusValue::Text(node), BusValue::Text(access)])
    };
    let array = |items: Vec<BusValue>| BusValue::Array("(ss)".into(), items);
    let policy = if everything { "auto" } else { "strict" };
    let mut out = vec![
        property("DevicePolicy", BusValue::Text(policy.into())),
        // An empty list clears earlier entries.
        property("DeviceAllow", array(Vec::new())),
    ];
    if !everything {
        out.push(property("DeviceAllow", array(list.into_iter().map(pair).collect())));
    }
    out
}

/// A device as systemd names it: a node by number, a driver by its name in /proc/devices, or all.
fn node(rule: &DeviceRule) -> Option<String> {
    let kind = if rule.kind == 'b' { "block" } else { "char" };
    match (rule.major, rule.minor) {
        (Some(major), Some(minor)) => Some(format!("/dev/{kind}/{major}:{minor}")),
        (Some(major), None) => driver(kind, major).map(|name| format!("{kind}-{name}")),
        (None, None) => Some(format!("{kind}-*")),
        (None, Some(_)) => None,
    }
}

fn driver(kind: &str, major: u32) -> Option<String> {
    let text = std::fs::read_to_string("/proc/devices").ok()?;
    let title = if kind == "block" { "Block devices:" } else { "Character devices:" };
    text.lines().skip_while(|l| *l != title).skip(1).take_while(|l| !l.is_empty()).find_map(|line| {
        let (number, name) = line.trim().split_once(' ')?;
        (number.parse() == Ok(major)).then(|| name.to_string())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Cpu, Memory};

    fn shown(properties: &[Property]) -> Vec<String> {
        properties.iter().map(|(n, v)| format!("{n}={v}")).collect()
    }

    #[test]
    fn limits_become_properties() {
        let resources = Resources {
            memory: Memory { limit: Some(100), swap: Some(150), reservation: Some(10), ..Memory::default() },
            cpu: Cpu {
                shares: Some(1024),
                quota: Some(50_500),
                period: Some(100_000),
                cpus: Some("0-1,9".into()),
                ..Cpu::default()
            },
            pids_limit: Some(-1),
            unified: vec![("memory.high".into(), "max".into()), ("cpu.max".into(), "max 50000".into())],
            ..Resources::default()
        };
        let v2 = of_resources(&resources, true, false).unwrap();
        assert_eq!(
            shown(&v2),
            [
                "MemoryMax=100",
                "MemoryLow=10",
                "MemorySwapMax=50",
                "CPUWeight=100",
                "TasksMax=infinity",
                "CPUQuotaPeriodUSec=100000",
                "CPUQuotaPerSecUSec=510000",
                "AllowedCPUs=3 2",
                "CPUQuotaPeriodUSec=50000",
                "CPUQuotaPerSecUSec=infinity",
                "MemoryHigh=infinity",
            ]
            .map(String::from)
            .into_iter()
            .collect::<Vec<_>>()
            .tap_sorted(&shown(&v2))
        );
        let v1 = of_resources(&Resources { unified: Vec::new(), ..resources }, false, false).unwrap();
        assert!(
            shown(&v1).contains(&"MemoryLimit=100".into()) && shown(&v1).contains(&"CPUShares=1024".into())
        );
    }

    #[test]
    fn idle_is_a_weight_of_systemd_s() {
        let weight = |shares, idle| {
            let resources = Resources { cpu: Cpu { shares, idle, ..Cpu::default() }, ..Resources::default() };
            shown(&of_resources(&resources, true, false).unwrap()).join(" ")
        };
        assert_eq!(weight(Some(512), Some(1)), "CPUWeight=0");
        assert_eq!(weight(Some(512), Some(0)), "CPUWeight=59");
        assert_eq!(weight(None, Some(0)), "CPUWeight=infinity");
        assert_eq!(weight(None, None), "");
        let file = |name: &str, value: &str| (name.to_string(), value.to_string());
        let unified = vec![file("cpu.idle", "1"), file("cpu.weight", "8")];
        let resources = Resources { unified, ..Resources::default() };
        assert_eq!(shown(&of_resources(&resources, true, false).unwrap()), ["CPUWeight=0"]);
    }

    trait TapSorted {
        fn tap_sorted(self, like: &[String]) -> Vec<String>;
    }

    impl TapSorted for Vec<String> {
        /// The order of properties means nothing but for those of one name, which keep theirs.
        fn tap_sorted(self, like: &[String]) -> Vec<String> {
            let mut out = self;
            out.sort_by_key(|p| like.iter().position(|l| l == p));
            out
        }
    }

    #[test]
    fn annotations_become_properties_and_bad_ones_are_named() {
        let of = |key: &str, value: &str| {
            of_annotations(&BTreeMap::from([(key.to_string(), value.to_string())]))
                .map(|p| shown(&p))
                .map_err(|e| e.to_string())
        };
        assert_eq!(
            of("org.systemd.property.TimeoutStopUSec", "uint64 10000000").unwrap(),
            ["TimeoutStopUSec=10000000"]
        );
        assert_eq!(of("org.systemd.property.TimeoutStopSec", "10").unwrap(), ["TimeoutStopUSec=10000000"]);
        assert_eq!(
            of("org.systemd.property.After", "['a.service', 'b.service']").unwrap(),
            ["After=a.service b.service"]
        );
        assert_eq!(
            of("org.systemd.property.DefaultDependencies", "true").unwrap(),
            ["DefaultDependencies=yes"]
        );
        assert!(of("io.container.manager", "libpod").unwrap().is_empty());
        for (key, value) in
            [("After", "[1,"), ("TimeoutStopSec", "'soon'"), ("a1b", "1"), ("ab", "1"), ("After", "'\0'")]
        {
            let key = format!("{ANNOTATION}{key}");
            let text = of(&key, value).unwrap_err();
            assert!(text.starts_with(&format!("config.json: /annotations/{key}: ")), "{text}");
        }
        for name in ["PIDs", "PIDFDs", "Slice", "DevicePolicy", "DeviceAllow", "Delegate", "DelegateSubgroup"]
        {
            let text = of(&format!("{ANNOTATION}{name}"), "[uint32 1]").unwrap_err();
            assert!(text.contains("not an annotation's to say"), "{text}");
        }
    }

    #[test]
    fn devices_are_a_list_of_what_is_allowed() {
        let rule = |allow, kind, major, minor| DeviceRule {
            allow,
            kind,
            major,
            minor,
            read: true,
            write: true,
            mknod: true,
        };
        let deny_all = rule(false, 'a', None, None);
        let list = of_devices(&[
            deny_all,
            rule(true, 'c', Some(1), Some(3)),
            rule(true, 'b', Some(8), Some(0)),
            rule(false, 'b', Some(8), Some(0)),
        ]);
        assert_eq!(shown(&list), ["DevicePolicy=strict", "DeviceAllow=", "DeviceAllow=/dev/char/1:3 rwm"]);
        let list = of_devices(&[deny_all, rule(true, 'a', None, None)]);
        assert_eq!(shown(&list), ["DevicePolicy=auto", "DeviceAllow="]);
    }
}
