//! Parser of `linux.memoryPolicy` (NUMA) and `linux.intelRdt` (cache and memory bandwidth).

use super::at::At;
use super::lists::{bits, some_text};
use super::raw::{RawIntelRdt, RawMemoryPolicy};
use super::{ConfigError, IntelRdt, MemoryPolicy};
use crate::tables::memory_policy::{FLAGS, MODES};

/// Parses `memoryPolicy`; an empty object means none.
pub(super) fn memory_policy(
    raw: Option<RawMemoryPolicy>,
    at: &At,
) -> Result<Option<MemoryPolicy>, ConfigError> {
    let Some(raw) = raw else { return Ok(None) };
    let flags = raw.flags.unwrap_or_default();
    let nodes = bits(raw.nodes.clone(), &at.key("nodes"))
        .map_err(|e| ConfigError { message: format!("invalid memory policy node: {}", e.message), ..e })?;
    let Some(name) = some_text(raw.mode) else {
        let says_something = !nodes.is_empty() || !flags.is_empty();
        return match says_something {
            true => Err(at.key("mode").error("invalid memory policy mode: mode is required")),
            false => Ok(None),
        };
    };
    let Some((_, mode, takes)) = MODES.iter().find(|m| m.0 == name) else {
        let names: Vec<_> = MODES.iter().map(|m| m.0).collect();
        return Err(at
            .key("mode")
            .error(format!("invalid memory policy mode {name:?}; use {}", names.join(", "))));
    };
    match takes {
        Some(true) if nodes.is_empty() => {
            return Err(at.key("nodes").error(format!("invalid memory policy node: {name} needs nodes")));
        }
        Some(false) if !nodes.is_empty() => {
            return Err(at
                .key("nodes")
                .error(format!("set_mempolicy: invalid argument: {name} takes no nodes")));
        }
        _ => {}
    }
    let mut all = *mode;
    for (i, flag) in flags.iter().enumerate() {
        let Some((_, bit)) = FLAGS.iter().find(|f| f.0 == flag) else {
            let names: Vec<_> = FLAGS.iter().map(|f| f.0).collect();
            let message = format!("invalid memory policy flag {flag:?}; use {}", names.join(", "));
            return Err(at.key("flags").index(i).error(message));
        };
        all |= bit;
    }
    Ok(Some(MemoryPolicy { mode: all, nodes }))
}

/// Parses `intelRdt`.
pub(super) fn intel_rdt(raw: Option<RawIntelRdt>, at: &At) -> Result<Option<IntelRdt>, ConfigError> {
    let Some(raw) = raw else { return Ok(None) };
    let clos_id = some_text(raw.clos_id);
    // "/" is the root class; any other name is a single directory.
    if let Some(name) = clos_id.as_deref().filter(|n| *n != "/")
        && (name.contains(['/', '\n']) || matches!(name, "." | ".." | "info" | "mon_data" | "mon_groups"))
    {
        return Err(at.key("closID").error(format!("{name:?} is not the name of a class of service")));
    }
    let check = |line: &String, at: At| match line.contains(':') && !line.contains('\n') {
        true => Ok(()),
        false => Err(at.error(format!("{line:?} is not a line of schemata, such as L3:0=ff"))),
    };
    let bandwidth = some_text(raw.mem_bw_schema);
    if let Some(line) = bandwidth.as_ref().filter(|line| !line.starts_with("MB:") || line.contains('\n')) {
        let message = format!("{line:?} is not one line that begins with MB:, such as MB:0=50");
        return Err(at.key("memBwSchema").error(message));
    }
    let cache = some_text(raw.l3_cache_schema).unwrap_or_default();
    // The MB lines of l3CacheSchema lose against memBwSchema.
    let mut older: Vec<_> = cache.lines().map(str::to_string).collect();
    older.retain(|line| bandwidth.is_none() || !line.starts_with("MB:"));
    older.iter().try_for_each(|line| check(line, at.key("l3CacheSchema")))?;
    older.extend(bandwidth);
    let schemata = raw.schemata.unwrap_or_default();
    let at = at.key("schemata");
    schemata.iter().enumerate().try_for_each(|(i, line)| check(line, at.index(i)))?;
    let monitoring = [raw.enable_monitoring, raw.enable_cmt, raw.enable_mbm].contains(&Some(true));
    Ok(Some(IntelRdt { clos_id, older, schemata, monitoring }))
}
