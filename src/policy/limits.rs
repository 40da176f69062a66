//! Rules about memory, cpu and processes.

use super::{Facts, HardenResult};
use crate::config::{Config, ConfigError, Memory, Rlimit, defaults};
use crate::error::{Error, Result};

/// Microseconds of a scheduling period (the kernel's default).
const PERIOD: u64 = 100_000;

/// The buffers of TCP and UDP sockets have the memory limit, too: cgroup v1 does not count them otherwise, v2 counts
/// them in it. A limit of the config's own stays.
pub fn bound_sockets(memory: &mut Memory, facts: &Facts<'_>) {
    memory.sockets_as_limit = !facts.host.cgroups.is_v2() && memory.kernel_tcp.is_none();
}

/// A limit that a program can start with, and that this machine can reach.
pub fn check_memory(what: &str, bytes: i64, facts: &Facts<'_>) -> Result<()> {
    // Below this the kernel cannot even start a program (Docker refuses below 6 MiB for the same reason).
    const LEAST: i64 = 1 << 20;
    if bytes != -1 && bytes < LEAST {
        return Err(Error::msg(format!("{what}: must be at least 1 MiB, or -1 for no limit")));
    }
    if bytes > 0 && bytes as u64 > *facts.host.memory.get() {
        return Err(Error::msg(format!(
            "{what}: larger than this machine's memory ({} bytes), so it would limit nothing; use -1 for no limit",
            facts.host.memory.get()
        )));
    }
    Ok(())
}

/// Limits for what the config leaves open, and swap bounded with memory.
pub fn limits(config: &mut Config, facts: &Facts<'_>, out: &mut HardenResult) -> Result<()> {
    let overrides = facts.overrides;
    if overrides.no_cgroups {
        return Ok(());
    }
    let resources = &mut config.resources;
    match resources.memory.limit {
        Some(bytes) if bytes > 0 => {
            check_memory(&bytes.to_string(), bytes, facts).map_err(|e| {
                Error::Config(ConfigError::new("/linux/resources/memory/limit", e.to_string()))
            })?;
        }
        Some(_) => {}
        None => {
            let bytes = defaults::MEMORY.min(i64::try_from(*facts.host.memory.get()).unwrap_or(i64::MAX));
            resources.memory.limit = Some(bytes);
            out.note(format!("memory {} (--memory)", crate::tables::sizes::text(bytes)));
        }
    }
    bound_sockets(&mut resources.memory, facts);
    // Unbounded swap would turn the memory limit into a slow-down of the whole machine.
    if resources.memory.swap.is_none() {
        resources.memory.swap = resources.memory.limit;
    }
    if resources.cpu.quota.is_none() {
        let cpus = defaults::CPUS.min((*facts.host.cpus.get()).into());
        resources.cpu.quota = Some((cpus * PERIOD as f64) as i64);
        resources.cpu.period = Some(PERIOD);
        out.note(format!("{cpus} cpu (--cpus)"));
    }
    if resources.pids_limit.is_none() {
        resources.pids_limit = Some(defaults::PIDS);
        out.note(format!("{} processes (--pids-limit)", defaults::PIDS));
    }
    Ok(())
}

/// Bounds of what each process of a container takes of tables that the whole host shares, where the config has none.
pub fn rlimits(config: &mut Config, facts: &Facts<'_>, out: &mut HardenResult) -> Result<()> {
    let host = facts.host;
    let processes = config.resources.pids_limit.filter(|n| *n > 0).unwrap_or(defaults::PIDS) as u64;
    let files = (host.most_files.get() / 2 / processes).clamp(defaults::FILES.0, defaults::FILES.1);
    let Some(p) = config.process.as_mut() else { return Ok(()) };
    // Cores hold the process's memory. A handler that core_pattern pipes to gets them whatever the limit is, except
    // where it is 1 (core(5)); for a file 1 byte is as good as none.
    p.rlimits.retain(|r| r.resource != libc::RLIMIT_CORE || r.soft > 1);
    let defaults = [
        (libc::RLIMIT_CORE, 1, 1),
        (libc::RLIMIT_NOFILE, defaults::SOFT_FILES.min(files), files),
        (libc::RLIMIT_SIGPENDING, defaults::SIGNALS, defaults::SIGNALS),
        (libc::RLIMIT_MSGQUEUE, defaults::QUEUES, defaults::QUEUES),
    ];
    for (resource, soft, hard) in defaults {
        if p.rlimits.iter().all(|r| r.resource != resource) {
            // Only CAP_SYS_RESOURCE raises what the caller has.
            let has = host.limit(resource).hard;
            p.rlimits.push(Rlimit { resource, soft: soft.min(has), hard: hard.min(has) });
            if resource == libc::RLIMIT_NOFILE {
                out.note(format!("{} open files per process (process.rlimits)", hard.min(has)));
            }
        }
    }
    Ok(())
}
