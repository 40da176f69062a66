//! Limits and usage as an independent reader of cgroups finds them: the crate cgroups-rs, on v1 and on v2.

use std::path::PathBuf;

use cgroups_rs::MaxValue;
use cgroups_rs::cpu::CpuController;
use cgroups_rs::cpuacct::CpuAcctController;
use cgroups_rs::memory::MemController;
use cgroups_rs::pid::PidController;
use serde_json::{Value, json};

use super::limits::file;
use crate::harness::{Need, Sandbox, case};

const OCI: &[Need] = &[Need::Root, Need::Oci];

const MIB: i64 = 1 << 20;

/// The directory of the process's cgroup that has this file, and whether it is of cgroup v2.
fn cgroup(pid: i32, v2: &str, v1: (&str, &str)) -> (PathBuf, bool) {
    let path = file(pid, v2, v1).unwrap_or_else(|| panic!("process {pid} has no {v2} or {}", v1.1));
    let is_v2 = path.with_file_name("cgroup.controllers").exists();
    (path.parent().expect("a directory").into(), is_v2)
}

/// The reader's controllers of one process.
struct Reader {
    memory: MemController,
    cpu: CpuController,
    pids: PidController,
    /// cgroup v1 counts cpu time in a controller of its own.
    cpuacct: Option<CpuAcctController>,
    v2: bool,
}

impl Reader {
    fn of(pid: i32) -> Self {
        let (memory, v2) = cgroup(pid, "memory.max", ("memory", "memory.limit_in_bytes"));
        let (cpu, cpu_v2) = cgroup(pid, "cpu.max", ("cpu", "cpu.cfs_quota_us"));
        let (pids, pids_v2) = cgroup(pid, "pids.max", ("pids", "pids.max"));
        let cpuacct = file(pid, "", ("cpuacct", "cpuacct.usage")).filter(|_| !cpu_v2);
        Reader {
            memory: MemController::new(memory, v2),
            cpu: CpuController::new(cpu, cpu_v2),
            pids: PidController::new(pids, pids_v2),
            cpuacct: cpuacct.map(|path| CpuAcctController::new(path.parent().expect("a directory").into())),
            v2,
        }
    }

    /// Nanoseconds of cpu time.
    fn cpu_time(&self) -> u64 {
        if let Some(cpuacct) = &self.cpuacct {
            return cpuacct.cpuacct().usage;
        }
        let stat = self.cpu.cpu().stat;
        let usage = stat.lines().find_map(|l| l.strip_prefix("usage_usec ")).map(str::to_string);
        usage.and_then(|n| n.parse::<u64>().ok()).unwrap_or_else(|| panic!("no usage_usec in {stat}")) * 1000
    }

    /// Memory, memory plus swap, reservation, quota, period, processes.
    fn limits(&self) -> (i64, i64, i64, i64, u64, MaxValue) {
        let (memory, swap) = (self.memory.memory_stat(), self.memory.memswap());
        // v2 limits swap alone.
        let both = swap.limit_in_bytes + if self.v2 { memory.limit_in_bytes } else { 0 };
        (
            memory.limit_in_bytes,
            both,
            memory.soft_limit_in_bytes,
            self.cpu.cfs_quota().expect("a quota"),
            self.cpu.cfs_period().expect("a period"),
            self.pids.get_pid_max().expect("a limit"),
        )
    }
}

/// A started container with limits of memory, cpu and processes.
fn limited(script: &str) -> Sandbox {
    let sb = Sandbox::new()
        .sh(script)
        .patch(
            "/linux/resources/memory",
            json!({ "limit": 64 * MIB, "swap": 96 * MIB, "reservation": 48 * MIB }),
        )
        .patch("/linux/resources/cpu", json!({ "quota": 50_000, "period": 100_000, "shares": 512 }))
        .patch("/linux/resources/pids", json!({ "limit": 50 }));
    sb.started()
}

#[case(OCI)]
fn finds_the_limits_of_the_config() {
    let sb = limited("exec sleep 1000");
    let reader = Reader::of(sb.pid());
    assert_eq!(
        reader.limits(),
        (64 * MIB, 96 * MIB, 48 * MIB, 50_000, 100_000, MaxValue::Value(50)),
        "v2: {}",
        reader.v2
    );
    // v2 has weights: less than the default of 100, as 512 is less than 1024.
    let shares = reader.cpu.shares().expect("shares");
    assert!(if reader.v2 { (2..100).contains(&shares) } else { shares == 512 }, "{shares}");
    sb.delete().ok();
}

#[case(OCI)]
fn finds_the_limits_of_an_update() {
    let sb = limited("exec sleep 1000");
    let args = ["--memory", "80m", "--memory-swap", "80m", "--memory-reservation", "40m"];
    let cpu = ["--cpu-quota", "25000", "--cpu-period", "50000", "--pids-limit", "-1"];
    sb.runtime().arg("update").args(args).args(cpu).arg(sb.id()).output().ok();
    let reader = Reader::of(sb.pid());
    assert_eq!(
        reader.limits(),
        (80 * MIB, 80 * MIB, 40 * MIB, 25_000, 50_000, MaxValue::Max),
        "v2: {}",
        reader.v2
    );
    sb.delete().ok();
}

#[case(OCI)]
fn counts_the_usage_that_events_reports() {
    let sb = limited(
        "dd if=/dev/zero of=/dev/shm/file bs=1M count=8 2>/dev/null; i=0; \
         while [ $i -lt 20000 ]; do i=$((i+1)); done; sleep 1000 & touch /dev/shm/up; exec sleep 1000",
    );
    let reader = Reader::of(sb.pid());
    let up = format!("/proc/{}/root/dev/shm/up", sb.pid());
    crate::harness::poll("its work", std::time::Duration::from_secs(20), || {
        std::path::Path::new(&up).exists() && reader.pids.get_pid_current().is_ok_and(|n| n == 2)
    });
    // Between two readings, since a reading takes time, too.
    let before = (reader.cpu_time(), reader.memory.memory_stat().usage_in_bytes);
    let out = sb.runtime().args(["events", "--stats", sb.id()]).output().ok();
    let after = (reader.cpu_time(), reader.memory.memory_stat().usage_in_bytes);
    let event: Value = serde_json::from_str(&out.stdout).unwrap_or_else(|e| panic!("{e}: {out}"));
    let number = |pointer: &str| {
        event.pointer(pointer).and_then(Value::as_u64).unwrap_or_else(|| panic!("no {pointer} in {event}"))
    };
    let cpu = number("/data/cpu/usage/total");
    assert!((before.0..=after.0).contains(&cpu), "cpu: {cpu}, read: {before:?} and {after:?}");
    assert!(cpu > 1_000_000, "{cpu}");
    // The kernel gives back what it has charged in advance, in batches of 64 pages a cpu.
    let slack = 1 << 20;
    let (least, most) = (before.1.min(after.1).saturating_sub(slack), before.1.max(after.1) + slack);
    let memory = number("/data/memory/usage/usage");
    assert!((least..=most).contains(&memory), "memory: {memory}, read: {before:?} and {after:?}");
    assert!(memory >= 8 * MIB as u64, "{memory}");
    assert_eq!(number("/data/memory/usage/limit"), reader.memory.memory_stat().limit_in_bytes as u64);
    assert_eq!(number("/data/pids/current"), reader.pids.get_pid_current().expect("a number"));
    assert_eq!(number("/data/pids/limit"), 50);
    sb.delete().ok();
}
