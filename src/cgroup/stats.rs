//! What a container uses, in the shape of runc's `events` (runc's `types/events.go`): containerd's and
//! others' Go types decode it.
//!
//! Fields that runc leaves out when they are zero are left out; times are nanoseconds, sizes bytes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

/// The statistics of a container whose cgroups are (controllers, path), as the state has them.
pub fn stats(cgroups: &[(Vec<String>, PathBuf)], on_v2: bool) -> Value {
    let of = |controller: &str| {
        super::of_controller(cgroups, on_v2, controller).map(|path| Directory(path.to_path_buf()))
    };
    // What no cgroup counts is absent: a 0 would be a figure that was not measured. Go's types take both.
    let part = |controller: &str, v2: fn(&Directory) -> Value, v1: fn(&Directory) -> Value| {
        of(controller).map_or_else(|| json!({}), |g| if on_v2 { v2(&g) } else { v1(&g) })
    };
    let mut cpu = part("cpuacct", cpu_v2, cpuacct_v1);
    if let Some(cgroup) = of("cpu").filter(|_| !on_v2) {
        cpu["throttling"] = cgroup.throttling("throttled_time", 1);
    }
    json!({
        "cpu": cpu,
        // v2 has no such counters.
        "cpuset": part("cpuset", |_| json!({}), cpuset_v1),
        "memory": part("memory", memory_v2, memory_v1),
        "pids": part("pids", pids, pids),
        "blkio": part("blkio", io_v2, blkio_v1),
        "hugetlb": part("hugetlb", hugetlb_v2, hugetlb_v1),
        "intel_rdt": {},
        // runc looks at interfaces that it made itself, and makes none.
        "network_interfaces": null,
    })
}

/// One directory of a cgroup tree.
struct Directory(PathBuf);

impl Directory {
    fn text(&self, file: &str) -> Option<String> {
        std::fs::read_to_string(self.0.join(file)).ok()
    }

    /// A file with one number; `max` is the largest.
    fn number(&self, file: &str) -> Option<u64> {
        let text = self.text(file)?;
        if text.trim_end() == "max" { Some(u64::MAX) } else { text.trim_end().parse().ok() }
    }

    /// Lines of `key number`.
    fn table(&self, file: &str) -> BTreeMap<String, u64> {
        let text = self.text(file).unwrap_or_default();
        let row = |line: &str| {
            let (key, value) = line.split_once(' ')?;
            Some((key.to_string(), value.trim().parse().ok()?))
        };
        text.lines().filter_map(row).collect()
    }

    /// `cpu.stat`'s throttling; `unit` nanoseconds for each unit of `time`.
    fn throttling(&self, time: &str, unit: u64) -> Value {
        let table = self.table("cpu.stat");
        let get = |key: &str| table.get(key).copied().unwrap_or(0);
        object([
            ("periods", get("nr_periods")),
            ("throttledPeriods", get("nr_throttled")),
            ("throttledTime", get(time) * unit),
        ])
    }

    /// Pressure stall information; `None` where the kernel has none.
    fn pressure(&self, file: &str) -> Option<Value> {
        let mut value = json!({ "some": no_pressure(), "full": no_pressure() });
        for line in self.text(file)?.lines() {
            let mut words = line.split_whitespace();
            let kind = words.next()?.to_string();
            for (key, number) in words.filter_map(|w| w.split_once('=')) {
                value[&kind][key] = match key {
                    "total" => json!(number.parse::<u64>().ok()?),
                    _ => json!(number.parse::<f64>().ok()?),
                };
            }
        }
        Some(value)
    }
}

fn no_pressure() -> Value {
    json!({ "avg10": 0.0, "avg60": 0.0, "avg300": 0.0, "total": 0 })
}

/// An object without the fields that are zero (Go's `omitempty`).
fn object<const N: usize>(fields: [(&str, u64); N]) -> Value {
    fields
        .into_iter()
        .filter(|(_, v)| *v != 0)
        .map(|(k, v)| (k.to_string(), json!(v)))
        .collect::<Map<_, _>>()
        .into()
}

fn cpu_v2(cgroup: &Directory) -> Value {
    let table = cgroup.table("cpu.stat");
    let get = |key: &str| table.get(key).map(|usec| usec * 1000);
    let usage =
        known([("total", get("usage_usec")), ("kernel", get("system_usec")), ("user", get("user_usec"))]);
    let mut cpu = json!({ "usage": usage, "throttling": cgroup.throttling("throttled_usec", 1000) });
    if let Some(psi) = cgroup.pressure("cpu.pressure") {
        cpu["psi"] = psi;
    }
    cpu
}

fn cpuacct_v1(cgroup: &Directory) -> Value {
    // USER_HZ is 100 on every architecture that safebox knows.
    const TICK: u64 = 10_000_000;
    let ticks = cgroup.table("cpuacct.stat");
    let ticks = |key: &str| ticks.get(key).map(|ticks| ticks * TICK);
    let mut usage = known([
        ("total", cgroup.number("cpuacct.usage")),
        ("kernel", ticks("system")),
        ("user", ticks("user")),
    ]);
    let numbers =
        |text: &str| text.split_whitespace().filter_map(|n| n.parse::<u64>().ok()).collect::<Vec<_>>();
    let each = numbers(&cgroup.text("cpuacct.usage_percpu").unwrap_or_default());
    // "cpu user system", after a title.
    let modes = cgroup.text("cpuacct.usage_all").unwrap_or_default();
    let rows: Vec<_> = modes.lines().skip(1).map(numbers).filter(|row| row.len() == 3).collect();
    let column = |at: usize| rows.iter().map(|row| row[at]).collect::<Vec<_>>();
    for (key, list) in [("percpu", each), ("percpu_kernel", column(2)), ("percpu_user", column(1))] {
        if !list.is_empty() {
            usage[key] = json!(list);
        }
    }
    json!({ "usage": usage, "throttling": {} })
}

/// runc's keys of the cpuset part and the v1 files behind them.
const CPUSET: [(&str, &str); 8] = [
    ("cpu_exclusive", "cpuset.cpu_exclusive"),
    ("mem_hardwall", "cpuset.mem_hardwall"),
    ("mem_exclusive", "cpuset.mem_exclusive"),
    ("memory_migrate", "cpuset.memory_migrate"),
    ("memory_spread_page", "cpuset.memory_spread_page"),
    ("memory_spread_slab", "cpuset.memory_spread_slab"),
    ("memory_pressure", "cpuset.memory_pressure"),
    ("sched_load_balance", "cpuset.sched_load_balance"),
];

fn cpuset_v1(cgroup: &Directory) -> Value {
    let mut value = known(CPUSET.map(|(key, file)| (key, cgroup.number(file))));
    let level = cgroup.text("cpuset.sched_relax_domain_level").and_then(|t| t.trim_end().parse::<i64>().ok());
    if let Some(level) = level {
        value["sched_relax_domain_level"] = json!(level);
    }
    for (key, file) in [("cpus", "cpuset.cpus"), ("mems", "cpuset.mems")] {
        // An empty file is an empty list, which runc leaves out.
        if let Some(list) = cgroup.text(file).and_then(|text| crate::config::cpulist::numbers(&text)) {
            value[key] = json!(list);
        }
    }
    value
}

/// An object of the figures that there are.
fn known<const N: usize>(fields: [(&str, Option<u64>); N]) -> Value {
    fields.into_iter().filter_map(|(key, v)| Some((key.to_string(), json!(v?)))).collect::<Map<_, _>>().into()
}

/// One of runc's memory entries.
fn entry(limit: u64, usage: u64, max: u64, failcnt: u64) -> Value {
    let mut value = object([("usage", usage), ("max", max)]);
    value["limit"] = json!(limit);
    value["failcnt"] = json!(failcnt);
    value
}

fn memory_v2(cgroup: &Directory) -> Value {
    let raw = cgroup.table("memory.stat");
    let mut value = json!({});
    // Without the controller the cgroup has no such files.
    let (Some(usage), Some(limit)) = (cgroup.number("memory.current"), cgroup.number("memory.max")) else {
        return value;
    };
    value["usage"] = entry(limit, usage, cgroup.number("memory.peak").unwrap_or(0), 0);
    // As on v1, swap is memory and swap together.
    if let (Some(swap), Some(max)) = (cgroup.number("memory.swap.current"), cgroup.number("memory.swap.max"))
    {
        let max = if max == u64::MAX { max } else { max.saturating_add(limit) };
        value["swap"] = entry(max, swap + usage, 0, 0);
    }
    if let Some(cache) = raw.get("file").filter(|c| **c != 0) {
        value["cache"] = json!(cache);
    }
    value["raw"] = json!(raw);
    if let Some(psi) = cgroup.pressure("memory.pressure") {
        value["psi"] = psi;
    }
    value
}

fn memory_v1(cgroup: &Directory) -> Value {
    let raw = cgroup.table("memory.stat");
    let mut value = json!({});
    let names = [
        ("usage", "memory"),
        ("swap", "memory.memsw"),
        ("kernel", "memory.kmem"),
        ("kernelTCP", "memory.kmem.tcp"),
    ];
    for (key, name) in names {
        let get = |file: &str| cgroup.number(&format!("{name}.{file}"));
        // A kernel that does not count swap, or its own memory, has no such files.
        if let (Some(limit), Some(usage)) = (get("limit_in_bytes"), get("usage_in_bytes")) {
            let rest = |file| get(file).unwrap_or(0);
            value[key] = entry(limit, usage, rest("max_usage_in_bytes"), rest("failcnt"));
        }
    }
    if let Some(cache) = raw.get("cache").filter(|c| **c != 0) {
        value["cache"] = json!(cache);
    }
    value["raw"] = json!(raw);
    value
}

fn pids(cgroup: &Directory) -> Value {
    // runc prints no limit as none.
    let limit = cgroup.number("pids.max").filter(|l| *l != u64::MAX).unwrap_or(0);
    object([("current", cgroup.number("pids.current").unwrap_or(0)), ("limit", limit)])
}

/// One row of a block device statistic.
fn io_entry(device: &str, op: &str, value: u64) -> Option<Value> {
    let (major, minor) = device.split_once(':')?;
    let mut entry = object([("major", major.parse().ok()?), ("minor", minor.parse().ok()?)]);
    if !op.is_empty() {
        entry["op"] = json!(op);
    }
    if value != 0 {
        entry["value"] = json!(value);
    }
    Some(entry)
}

fn io_v2(cgroup: &Directory) -> Value {
    let (mut bytes, mut count) = (Vec::new(), Vec::new());
    for line in cgroup.text("io.stat").unwrap_or_default().lines() {
        let mut words = line.split_whitespace();
        let device = words.next().unwrap_or_default();
        for (key, number) in words.filter_map(|w| w.split_once('=')) {
            let (list, op) = match key {
                "rbytes" => (&mut bytes, "Read"),
                "wbytes" => (&mut bytes, "Write"),
                "rios" => (&mut count, "Read"),
                "wios" => (&mut count, "Write"),
                _ => continue,
            };
            list.extend(number.parse().ok().and_then(|n| io_entry(device, op, n)));
        }
    }
    let mut value = json!({});
    for (key, list) in [("ioServiceBytesRecursive", bytes), ("ioServicedRecursive", count)] {
        if !list.is_empty() {
            value[key] = list.into();
        }
    }
    if let Some(psi) = cgroup.pressure("io.pressure") {
        value["psi"] = psi;
    }
    value
}

fn blkio_v1(cgroup: &Directory) -> Value {
    // The first family of files that says anything: the scheduler's own, else the throttling layer's.
    let families = ["blkio.bfq", "blkio", "blkio.throttle"];
    let keys = [
        ("ioServicedRecursive", "io_serviced_recursive"),
        ("ioServiceBytesRecursive", "io_service_bytes_recursive"),
        ("ioQueueRecursive", "io_queued_recursive"),
        ("ioServiceTimeRecursive", "io_service_time_recursive"),
        ("ioWaitTimeRecursive", "io_wait_time_recursive"),
        ("ioMergedRecursive", "io_merged_recursive"),
        ("ioTimeRecursive", "time_recursive"),
        ("sectorsRecursive", "sectors_recursive"),
    ];
    for family in families {
        let mut value = Map::new();
        for (key, file) in keys {
            let rows = blkio_rows(&cgroup.text(&format!("{family}.{file}")).unwrap_or_default());
            if !rows.is_empty() {
                value.insert(key.to_string(), rows.into());
            }
        }
        if !value.is_empty() {
            return value.into();
        }
    }
    json!({})
}

/// `8:0 Read 4096` or `8:0 6792`; the line of totals is left out.
fn blkio_rows(text: &str) -> Vec<Value> {
    let row = |line: &str| {
        let words: Vec<_> = line.split_whitespace().collect();
        match words[..] {
            [device, op, number] => io_entry(device, op, number.parse().ok()?),
            [device, number] => io_entry(device, "", number.parse().ok()?),
            _ => None,
        }
    };
    text.lines().filter_map(row).collect()
}

/// The page sizes of a hugetlb cgroup, from the names of its files.
fn page_sizes(cgroup: &Path, ending: &str) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(cgroup) else { return Vec::new() };
    let size = |name: &str| {
        name.strip_prefix("hugetlb.")?.strip_suffix(ending).filter(|s| !s.contains('.')).map(str::to_string)
    };
    let mut sizes: Vec<_> = entries.flatten().filter_map(|e| size(e.file_name().to_str()?)).collect();
    sizes.sort();
    sizes
}

fn hugetlb_v2(cgroup: &Directory) -> Value {
    let mut value = json!({});
    for size in page_sizes(&cgroup.0, ".current") {
        let mut entry = object([("usage", cgroup.number(&format!("hugetlb.{size}.current")).unwrap_or(0))]);
        let events = cgroup.table(&format!("hugetlb.{size}.events"));
        entry["failcnt"] = json!(events.get("max").copied().unwrap_or(0));
        value[&size] = entry;
    }
    value
}

fn hugetlb_v1(cgroup: &Directory) -> Value {
    let mut value = json!({});
    for size in page_sizes(&cgroup.0, ".usage_in_bytes") {
        let get = |file: &str| cgroup.number(&format!("hugetlb.{size}.{file}")).unwrap_or(0);
        let mut entry = object([("usage", get("usage_in_bytes")), ("max", get("max_usage_in_bytes"))]);
        entry["failcnt"] = json!(get("failcnt"));
        value[&size] = entry;
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn block_devices_are_read() {
        let rows = blkio_rows("8:0 Read 4096\n8:0 Write 0\nTotal 4096\n");
        assert_eq!(rows, [json!({"major":8,"op":"Read","value":4096}), json!({"major":8,"op":"Write"})]);
    }

    /// Without the controller's files, or without a cgroup of its own, there is no figure, not a 0.
    #[test]
    fn what_is_not_measured_is_absent() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("cpu.stat"), "nr_periods 4\n").unwrap();
        let cpu = vec!["cpu".to_string()];
        let s = stats(&[(cpu, dir.path().to_path_buf())], false);
        assert_eq!(s["cpu"], json!({"throttling":{"periods":4}}));
        for part in ["cpuset", "memory", "pids", "blkio", "hugetlb"] {
            assert_eq!(s[part], json!({}), "{part}");
        }
        let s = stats(&[(Vec::new(), dir.path().to_path_buf())], true);
        assert_eq!((&s["cpu"]["usage"], &s["memory"]), (&json!({}), &json!({})));
    }

    #[test]
    fn v2_files_become_runc_s_shape() {
        let dir = tempfile::tempdir().unwrap();
        let put = |file: &str, text: &str| std::fs::write(dir.path().join(file), text).unwrap();
        put(
            "cpu.stat",
            "usage_usec 5\nuser_usec 3\nsystem_usec 2\nnr_periods 4\nnr_throttled 1\nthrottled_usec 7\n",
        );
        put("memory.current", "100\n");
        put("memory.max", "max\n");
        put("memory.swap.current", "10\n");
        put("memory.swap.max", "50\n");
        put("memory.stat", "anon 60\nfile 40\n");
        put("pids.current", "2\n");
        put("pids.max", "max\n");
        put("cpu.pressure", "some avg10=1.50 avg60=0.00 avg300=0.00 total=9\n");
        let s = stats(&[(Vec::new(), dir.path().to_path_buf())], true);
        assert_eq!(s["cpu"]["usage"], json!({"total":5000,"kernel":2000,"user":3000}));
        assert_eq!(s["cpu"]["throttling"], json!({"periods":4,"throttledPeriods":1,"throttledTime":7000}));
        assert_eq!(s["cpu"]["psi"]["some"]["avg10"], json!(1.5));
        assert_eq!(s["memory"]["usage"], json!({"limit":u64::MAX,"usage":100,"failcnt":0}));
        assert_eq!(s["memory"]["swap"]["usage"], json!(110));
        assert_eq!((&s["memory"]["cache"], &s["memory"]["raw"]["anon"]), (&json!(40), &json!(60)));
        assert_eq!(s["pids"], json!({"current":2}));
    }
}
