//! Options about memory, cpu and processes.

use super::super::value::Launch;
use super::heading::LIMITS;
use super::verbs::CONFIG;
use super::words::{parse_size, whole};
use super::{OptionRow, Says};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::policy::{Change, Facts, check_memory};
use crate::tables::sizes;

/// Microseconds of a scheduling period (the kernel's default).
const PERIOD: u64 = 100_000;
/// The kernel's smallest quota, in microseconds.
const MIN_QUOTA: f64 = 1000.0;

/// The rows.
pub(super) const ROWS: &[OptionRow] = &[
    OptionRow::new(
        "memory",
        LIMITS,
        CONFIG,
        Says::One("SIZE", |l, v| {
            let _: () = l.limits.memory = Some(parse_size(v)?);
            Ok(())
        }),
        "Memory with swap, e.g. 64m or 1g; -1 for no limit [default: the config's, else 512m]",
    )
    .short('m')
    .hyphen()
    .effect(memory)
    .values(&["64m", "-1", "1.5g"], &["", "1x", "-5", "x"]),
    OptionRow::new(
        "memory-swap",
        LIMITS,
        CONFIG,
        Says::One("SIZE", |l, v| {
            let _: () = l.limits.memory_swap = Some(parse_size(v)?);
            Ok(())
        }),
        "Memory and swap together; -1 for no limit [default: as --memory, so no swap]",
    )
    .hyphen()
    .values(&["128m", "-1"], &["", "1x"]),
    OptionRow::new(
        "memory-reservation",
        LIMITS,
        CONFIG,
        Says::One("SIZE", |l, v| {
            let _: () = l.limits.memory_reservation = Some(parse_size(v)?);
            Ok(())
        }),
        "Memory below which the kernel reclaims elsewhere first",
    )
    .values(&["32m"], &["", "1x"]),
    OptionRow::new(
        "memory-swappiness",
        LIMITS,
        CONFIG,
        Says::One("N", |l, v| {
            let _: () = l.limits.memory_swappiness = Some(whole(v, 0..=100)?);
            Ok(())
        }),
        "How readily memory goes to swap, 0 to 100 (cgroup v1)",
    )
    .values(&["0", "60"], &["", "101", "-1"]),
    OptionRow::new(
        "cpus",
        LIMITS,
        CONFIG,
        Says::One("N", |l, v| {
            let cpus = v.parse::<f64>().ok().filter(|n| n.is_finite() && *n >= 0.0);
            l.limits.cpus = Some(cpus.ok_or("a number of cpus such as 0.5 or 2 is needed, 0 for no limit")?);
            Ok(())
        }),
        "Cpus, e.g. 0.5; 0 for no limit [default: the config's, else 1]",
    )
    .hyphen()
    .effect(cpu)
    .values(&["0.5", "0"], &["", "-1", "x", "inf", "NaN"]),
    OptionRow::new(
        "cpu-shares",
        LIMITS,
        CONFIG,
        Says::One("N", |l, v| {
            let _: () = l.limits.cpu_shares = Some(whole(v, 2..=262_144)?);
            Ok(())
        }),
        "Relative share of cpu time, 2 to 262144",
    )
    .short('c')
    .values(&["512"], &["", "1", "x", "262145"]),
    OptionRow::new(
        "cpu-quota",
        LIMITS,
        CONFIG,
        Says::One("MICROSECONDS", |l, v| {
            let _: () = l.limits.cpu_quota = Some(whole(v, -1..=i64::MAX)?);
            Ok(())
        }),
        "Microseconds of cpu time in a period; -1 for no limit",
    )
    .hyphen()
    .values(&["50000", "-1"], &["", "-2", "x"]),
    OptionRow::new(
        "cpu-period",
        LIMITS,
        CONFIG,
        Says::One("MICROSECONDS", |l, v| {
            let _: () = l.limits.cpu_period = Some(whole(v, 1000..=1_000_000)?);
            Ok(())
        }),
        "Microseconds that a period of cpu time lasts, 1000 to 1000000",
    )
    .values(&["100000"], &["", "10", "x"]),
    OptionRow::new(
        "cpuset-cpus",
        LIMITS,
        CONFIG,
        Says::One("LIST", |l, v| {
            let _: () = l.limits.cpuset_cpus = Some(cpu_list(v)?);
            Ok(())
        }),
        "Cpus that may be used, e.g. 0-1,3",
    )
    .values(&["0"], &["", "x", "1-"]),
    OptionRow::new(
        "cpuset-mems",
        LIMITS,
        CONFIG,
        Says::One("LIST", |l, v| {
            let _: () = l.limits.cpuset_mems = Some(cpu_list(v)?);
            Ok(())
        }),
        "Memory nodes that may be used",
    )
    .values(&["0"], &["", "x"]),
    OptionRow::new(
        "blkio-weight",
        LIMITS,
        CONFIG,
        Says::One("N", |l, v| {
            let _: () = l.limits.blkio_weight = Some(whole(v, 10..=1000)?);
            Ok(())
        }),
        "Relative weight of block devices, 10 to 1000",
    )
    .effect(block_io)
    .values(&["500"], &["", "9", "x"]),
    OptionRow::new(
        "pids-limit",
        LIMITS,
        CONFIG,
        Says::One("N", |l, v| {
            let pids: i64 = whole(v, -1..=i64::from(i32::MAX))?;
            if pids == 0 {
                return Err("must be at least 1, or -1 for no limit".into());
            }
            l.limits.pids = Some(pids);
            Ok(())
        }),
        "Processes and threads; -1 for no limit [default: the config's, else 256]",
    )
    .more("Where the config has no rlimits of its own, `restricted` bounds each process: 1024 open files (hard: half of \
           fs.file-max divided by this number, 256 to 65536), 4096 queued signals, 819200 bytes of message queues, no \
           cores; and the container: 64 terminals, 128 inotify instances")
    .hyphen()
    .effect(pids)
    .values(&["64", "-1"], &["", "0", "-2", "x"]),
];

/// As the kernel writes lists: `0-2,5`.
fn cpu_list(text: &str) -> std::result::Result<String, String> {
    let number = |n: &str| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit());
    let range =
        |part: &str| part.split_once('-').map_or_else(|| number(part), |(a, b)| number(a) && number(b));
    if text.split(',').all(range) { Ok(text.into()) } else { Err("a list such as 0-1,3 is needed".into()) }
}

/// Without a cgroup nothing is limited: an option that asks for it is refused.
fn limited(launch: &Launch, facts: &Facts<'_>) -> Result<()> {
    let l = &launch.limits;
    let given = [
        ("--memory", l.memory.is_some()),
        ("--memory-swap", l.memory_swap.is_some()),
        ("--memory-reservation", l.memory_reservation.is_some()),
        ("--memory-swappiness", l.memory_swappiness.is_some()),
        ("--cpus", l.cpus.is_some()),
        ("--cpu-shares", l.cpu_shares.is_some()),
        ("--cpu-quota", l.cpu_quota.is_some()),
        ("--cpuset-cpus", l.cpuset_cpus.is_some()),
        ("--cpuset-mems", l.cpuset_mems.is_some()),
        ("--blkio-weight", l.blkio_weight.is_some()),
        ("--pids-limit", l.pids.is_some()),
    ];
    match given.iter().find(|(_, given)| *given && facts.overrides.no_cgroups) {
        Some((flag, _)) => Err(Error::msg(format!(
            "{flag}: with --cgroup-manager disabled, or without cgroups (safebox doctor), nothing is limited"
        ))),
        None => Ok(()),
    }
}

/// A size as the caller wrote it; that of a file has its own words.
fn typed(launch: &Launch, long: &str, bytes: i64) -> String {
    let written = launch.words.iter().rev().find(|(option, _)| *option == long);
    written.map_or_else(|| sizes::text(bytes), |(_, text)| text.clone())
}

fn memory(launch: &Launch, facts: &Facts<'_>, config: &mut Config, changes: &mut Vec<Change>) -> Result<()> {
    limited(launch, facts)?;
    let (asked, memory) = (&launch.limits, &mut config.resources.memory);
    if let Some(bytes) = asked.memory {
        check_memory(&format!("--memory {}", typed(launch, "memory", bytes)), bytes, facts)?;
        memory.limit = Some(bytes);
        memory.swap = Some(bytes);
        if bytes == -1 {
            changes.push(Change::weaker("limits", "memory is not limited, as asked (--memory -1)"));
        }
    }
    if let Some(swap) = asked.memory_swap {
        match memory.limit {
            None | Some(-1) => {
                return Err(Error::msg(format!(
                    "--memory-swap {}: needs --memory, of which it is a part",
                    typed(launch, "memory-swap", swap)
                )));
            }
            Some(limit) if swap != -1 && swap < limit => {
                return Err(Error::msg(format!(
                    "--memory-swap {}: smaller than the memory limit ({}): it counts memory and swap together",
                    typed(launch, "memory-swap", swap),
                    sizes::text(limit)
                )));
            }
            Some(_) => memory.swap = Some(swap),
        }
    }
    memory.reservation = asked.memory_reservation.or(memory.reservation);
    memory.swappiness = asked.memory_swappiness.or(memory.swappiness);
    if asked.memory.is_some() {
        crate::policy::bound_sockets(memory, facts);
    }
    Ok(())
}

fn cpu(launch: &Launch, facts: &Facts<'_>, config: &mut Config, changes: &mut Vec<Change>) -> Result<()> {
    let (asked, cpu) = (&launch.limits, &mut config.resources.cpu);
    if asked.cpus.is_some() && (asked.cpu_quota.is_some() || asked.cpu_period.is_some()) {
        return Err(Error::msg("--cpus and --cpu-quota or --cpu-period say the same thing: use one of them"));
    }
    if let Some(cpus) = asked.cpus {
        let max = *facts.host.cpus.get();
        if cpus > f64::from(max) || (cpus > 0.0 && cpus * (PERIOD as f64) < MIN_QUOTA) {
            return Err(Error::msg(format!(
                "--cpus {cpus}: must be from 0.01 to {max} (the cpus of this machine), or 0 for no limit"
            )));
        }
        cpu.period = Some(PERIOD);
        cpu.quota = Some(if cpus == 0.0 { -1 } else { (cpus * PERIOD as f64) as i64 });
    }
    cpu.quota = asked.cpu_quota.or(cpu.quota);
    cpu.period = asked.cpu_period.or(cpu.period);
    cpu.shares = asked.cpu_shares.or(cpu.shares);
    cpu.cpus = asked.cpuset_cpus.clone().or(cpu.cpus.take());
    cpu.mems = asked.cpuset_mems.clone().or(cpu.mems.take());
    if asked.cpus == Some(0.0) || asked.cpu_quota == Some(-1) {
        changes.push(Change::weaker("limits", "cpu time is not limited, as asked (--cpus 0)"));
    }
    Ok(())
}

fn block_io(launch: &Launch, _: &Facts<'_>, config: &mut Config, _: &mut Vec<Change>) -> Result<()> {
    if let Some(weight) = launch.limits.blkio_weight {
        config.resources.block_io.get_or_insert_default().set_weight(Some(weight));
    }
    Ok(())
}

fn pids(launch: &Launch, _: &Facts<'_>, config: &mut Config, changes: &mut Vec<Change>) -> Result<()> {
    if let Some(pids) = launch.limits.pids {
        config.resources.pids_limit = Some(pids);
        if pids == -1 {
            changes.push(Change::weaker("limits", "processes are not limited, as asked (--pids-limit -1)"));
        }
    }
    Ok(())
}
