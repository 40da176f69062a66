//! Changing the limits of a container that is there: `safebox update`.
//!
//! Some limits depend on each other (quota and period, memory and swap), so what is asked for is laid
//! over what the container has, and what the kernel refuses because of another value is written after that.

use std::path::{Path, PathBuf};

use super::v2;
use crate::cgroup::v1;
use crate::config::{Cpu, Memory, Resources};
use crate::error::{Error, Result};
use crate::sys::Errno;
use crate::tables::limits::{Limit, of_file};

/// `change` on top of `old`: what it does not name stays.
pub fn merge(old: &Resources, change: Resources) -> Resources {
    let (old_cpu, old_memory) = (old.cpu.clone(), old.memory.clone());
    let unified = unified(&old.unified, &change);
    let Resources { devices: _, memory, cpu, pids_limit, block_io, hugepages, network, rdma, .. } = change;
    // No limit of memory with a limit of memory and swap is none the kernel takes, as runc knows.
    let no_limit = memory.limit == Some(-1) && memory.swap.is_none();
    // systemd has one number for both: shares end the idling, in words of their own it goes on.
    let idle = if cpu.shares.is_some() { None } else { old_cpu.idle };
    Resources {
        // runc leaves the devices alone too: plugins may have added to them.
        devices: old.devices.clone(),
        no_tun: old.no_tun,
        memory: Memory {
            limit: memory.limit.or(old_memory.limit),
            reservation: memory.reservation.or(old_memory.reservation),
            swap: if no_limit { Some(-1) } else { memory.swap.or(old_memory.swap) },
            swappiness: memory.swappiness.or(old_memory.swappiness),
            disable_oom_killer: memory.disable_oom_killer || old_memory.disable_oom_killer,
            kernel_tcp: memory.kernel_tcp.or(old_memory.kernel_tcp),
            sockets_as_limit: memory.sockets_as_limit || old_memory.sockets_as_limit,
            check_before_update: memory.check_before_update || old_memory.check_before_update,
        },
        cpu: Cpu {
            shares: cpu.shares.or(old_cpu.shares),
            quota: cpu.quota.or(old_cpu.quota),
            period: cpu.period.or(old_cpu.period),
            burst: cpu.burst.or(old_cpu.burst),
            idle: cpu.idle.or(idle),
            realtime_runtime: cpu.realtime_runtime.or(old_cpu.realtime_runtime),
            realtime_period: cpu.realtime_period.or(old_cpu.realtime_period),
            cpus: cpu.cpus.or(old_cpu.cpus),
            mems: cpu.mems.or(old_cpu.mems),
        },
        pids_limit: pids_limit.or(old.pids_limit),
        block_io: block_io.or_else(|| old.block_io.clone()),
        hugepages: if hugepages.is_empty() { old.hugepages.clone() } else { hugepages },
        network: network.or_else(|| old.network.clone()),
        rdma: if rdma.is_empty() { old.rdma.clone() } else { rdma },
        unified,
    }
}

/// The files of `old` that `change` does not write, by whatever name, and its own.
fn unified(old: &[(String, String)], change: &Resources) -> Vec<(String, String)> {
    let written = v2::files(change);
    let kept = old.iter().filter(|(file, _)| !written.contains(file));
    kept.chain(&change.unified).cloned().collect()
}

/// What is written for `change`: itself, and the other half of every pair that it names one of.
pub fn effective(change: &Resources, merged: &Resources) -> Resources {
    let mut what = change.clone();
    // The devices stay as they are: see `merge`.
    what.devices = Vec::new();
    if what.cpu.quota.is_some() || what.cpu.period.is_some() {
        (what.cpu.quota, what.cpu.period) = (merged.cpu.quota, merged.cpu.period);
    }
    if what.memory.limit.is_some() || what.memory.swap.is_some() {
        (what.memory.limit, what.memory.swap) = (merged.memory.limit, merged.memory.swap);
        what.memory.sockets_as_limit = merged.memory.sockets_as_limit;
    }
    // While the cgroup was idle, it had lost its shares.
    if what.cpu.idle == Some(0) {
        what.cpu.shares = merged.cpu.shares;
    }
    what
}

/// A container's cgroups as the state has them: (controllers, path).
type Cgroups = [(Vec<String>, PathBuf)];

/// Refuses what cannot be written: a controller in which the container has no cgroup, and under `checkBeforeUpdate` less memory than
/// is in use (v2 would kill processes to get below the new limit, v1 refuses by itself).
pub fn check(cgroups: &Cgroups, on_v2: bool, what: &Resources, merged: &Resources) -> Result<()> {
    let first = cgroups.first().filter(|_| on_v2 && merged.memory.check_before_update);
    first.map_or(Ok(()), |(_, cgroup)| check_usage(cgroup, &what.memory))?;
    by_cgroup(cgroups, on_v2, what).map(drop)
}

/// Writes what [`effective`] says into the container's cgroups.
pub fn apply(cgroups: &Cgroups, on_v2: bool, what: &Resources) -> Result<()> {
    for (cgroup, writes) in by_cgroup(cgroups, on_v2, what)? {
        let instead = |file: &str, value: &str| super::limits::instead(file, value).filter(|_| on_v2);
        write_all(cgroup, writes, |file, value| {
            match (instead(file, value), try_write(cgroup, file, value)) {
                (Some((file, value)), Err(Errno::ENOENT)) => try_write(cgroup, file, &value),
                (_, written) => written,
            }
        })?;
    }
    Ok(())
}

/// A cgroup, and (file, value) in order.
type CgroupWrites<'a> = (&'a Path, Vec<(String, String)>);

/// What is to be written into each cgroup.
fn by_cgroup<'a>(cgroups: &'a Cgroups, on_v2: bool, what: &Resources) -> Result<Vec<CgroupWrites<'a>>> {
    if on_v2 {
        let Some((_, cgroup)) = cgroups.first() else {
            return Err(Error::msg("the container has no cgroup"));
        };
        let controllers = std::fs::read_to_string(cgroup.join("cgroup.controllers")).unwrap_or_default();
        let controllers: Vec<_> = controllers.split_whitespace().map(str::to_string).collect();
        return Ok(vec![(cgroup.as_path(), v2::writes(what, &controllers)?)]);
    }
    let found = |(controller, writes)| match super::of_controller(cgroups, false, controller) {
        Some(cgroup) => Ok((cgroup, writes)),
        None => Err(Error::msg(format!(
            "the container is not in a cgroup of the {controller} controller, so its limits cannot be changed"
        ))),
    };
    v1::by_controller(what)?.into_iter().map(found).collect()
}

/// Writes all. What the kernel takes for wrong may be so for another value that is yet to be written: a period
/// below the quota, a burst above it, shares of a cgroup that is idle, memory above memory and swap. It is tried once more, at the end.
fn write_all(
    cgroup: &Path,
    writes: Vec<(String, String)>,
    mut write: impl FnMut(&str, &str) -> std::result::Result<(), Errno>,
) -> Result<()> {
    let mut again = Vec::new();
    for (file, value) in writes {
        match write(&file, &value) {
            Ok(()) => {}
            Err(Errno::EINVAL) => again.push((file, value)),
            Err(e) => return Err(failed(cgroup, &file, &value, e)),
        }
    }
    again.iter().try_for_each(|(file, value)| write(file, value).map_err(|e| failed(cgroup, file, value, e)))
}

fn check_usage(cgroup: &Path, memory: &Memory) -> Result<()> {
    let read = |file: &str| {
        std::fs::read_to_string(cgroup.join(file)).ok().and_then(|t| t.trim_end().parse::<i64>().ok())
    };
    let Some(usage) = read("memory.current") else { return Ok(()) };
    if let Some(limit) = memory.limit.filter(|l| *l > 0 && *l < usage) {
        return Err(Error::msg(format!("rejecting memory limit {limit} < usage {usage}")));
    }
    let both = usage + read("memory.swap.current").unwrap_or(0);
    match memory.swap.filter(|s| *s > 0 && *s < both) {
        Some(swap) => Err(Error::msg(format!("rejecting memory+swap limit {swap} < usage {both}"))),
        None => Ok(()),
    }
}

fn too_low(cgroup: &Path, limit: &str) -> Error {
    let read =
        |file: &str| std::fs::read_to_string(cgroup.join(file)).unwrap_or_default().trim_end().to_string();
    let (usage, peak) = (read("memory.usage_in_bytes"), read("memory.max_usage_in_bytes"));
    Error::msg(format!("unable to set memory limit to {limit} (current usage: {usage}, peak usage: {peak})"))
}

fn try_write(cgroup: &Path, file: &str, value: &str) -> std::result::Result<(), Errno> {
    std::fs::write(cgroup.join(file), value).map_err(crate::sys::errno)
}

fn failed(cgroup: &Path, file: &str, value: &str, errno: Errno) -> Error {
    if errno == Errno::EBUSY && of_file(file).is_some_and(|row| row.limit == Limit::Memory) {
        return too_low(cgroup, value);
    }
    let text = crate::tables::errno::text(errno as i32);
    Error::msg(format!("failed to write {value:?} to {}: {text}", cgroup.join(file).display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A limit that cannot be written leaves those before it as they were.
    #[test]
    fn a_controller_without_a_cgroup_is_found_before_the_first_write() {
        let dir = tempfile::tempdir().unwrap();
        let limit = dir.path().join("memory.limit_in_bytes");
        std::fs::write(&limit, "1").unwrap();
        let cgroups = [(vec!["memory".to_string()], dir.path().to_path_buf())];
        let mut what = Resources::default();
        what.memory.limit = Some(4096);
        apply(&cgroups, false, &what).unwrap();
        assert_eq!(std::fs::read_to_string(&limit).unwrap(), "4096");
        what.memory.limit = Some(8192);
        what.pids_limit = Some(9);
        for refused in [check(&cgroups, false, &what, &what), apply(&cgroups, false, &what)] {
            assert!(refused.unwrap_err().to_string().contains("the pids controller"));
        }
        assert_eq!(std::fs::read_to_string(&limit).unwrap(), "4096");
    }

    #[test]
    fn one_half_of_a_pair_brings_the_other() {
        let mut old = Resources::default();
        (old.cpu.quota, old.cpu.period) = (Some(50_000), Some(100_000));
        (old.memory.limit, old.memory.swap) = (Some(100), Some(200));
        let mut change = Resources::default();
        change.cpu.period = Some(20_000);
        change.memory.limit = Some(150);
        let merged = merge(&old, change.clone());
        let what = effective(&change, &merged);
        assert_eq!((what.cpu.quota, what.cpu.period), (Some(50_000), Some(20_000)));
        assert_eq!((what.memory.limit, what.memory.swap), (Some(150), Some(200)));
        assert_eq!(what.cpu.shares, None, "what was not named is not written");
    }

    #[test]
    fn no_memory_limit_means_no_swap_limit_either() {
        let mut change = Resources::default();
        change.memory.limit = Some(-1);
        let mut old = Resources::default();
        (old.memory.limit, old.memory.swap) = (Some(100), Some(200));
        let merged = merge(&old, change.clone());
        // systemd gets the value as well, and the next update knows of it.
        assert_eq!((merged.memory.swap, effective(&change, &merged).memory.swap), (Some(-1), Some(-1)));
    }

    #[test]
    fn an_update_wins_over_the_config_s_files() {
        let file = |name: &str, value: &str| (name.to_string(), value.to_string());
        let old = Resources {
            unified: vec![file("memory.max", "100"), file("memory.high", "90"), file("pids.max", "5")],
            ..Resources::default()
        };
        let mut change = Resources { pids_limit: Some(7), ..Resources::default() };
        change.unified = vec![file("memory.high", "80")];
        let merged = merge(&old, change.clone());
        assert_eq!(merged.unified, [file("memory.max", "100"), file("memory.high", "80")]);
        assert_eq!(effective(&change, &merged).unified, [file("memory.high", "80")]);
    }

    #[test]
    fn shares_end_the_idling_and_come_back_after_it() {
        let mut old = Resources::default();
        (old.cpu.shares, old.cpu.idle) = (Some(512), Some(1));
        let mut change = Resources::default();
        change.cpu.shares = Some(1024);
        assert_eq!(merge(&old, change).cpu.idle, None);
        let mut change = Resources::default();
        change.cpu.idle = Some(0);
        let merged = merge(&old, change.clone());
        assert_eq!(effective(&change, &merged).cpu.shares, Some(512));
    }
}
