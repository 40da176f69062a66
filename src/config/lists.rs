//! Parsers that several sections share: texts, paths, cpu lists, id mappings.

use std::path::PathBuf;

use super::at::At;
use super::raw::RawIdMap;
use super::{ConfigError, IdMap};
use crate::config::cpulist::{self, Part};

/// `None` for a missing or an empty text: Go does not distinguish them.
pub(super) fn some_text(text: Option<String>) -> Option<String> {
    text.filter(|t| !t.is_empty())
}

/// Parses an absolute path.
pub(super) fn absolute(path: String, at: &At) -> Result<PathBuf, ConfigError> {
    if path.starts_with('/') {
        Ok(PathBuf::from(path))
    } else {
        Err(at.error(format!("{path:?} is not an absolute path")))
    }
}

/// Parses a list of absolute paths.
pub(super) fn absolutes(paths: Option<Vec<String>>, at: &At) -> Result<Vec<PathBuf>, ConfigError> {
    paths.unwrap_or_default().into_iter().enumerate().map(|(i, path)| absolute(path, &at.index(i))).collect()
}

/// Validates a cpu or node list in the format of cpuset(7): `0-3,7`, also with a stride (`0-15:2/4`).
pub(super) fn cpu_list(list: Option<String>, at: &At) -> Result<Option<String>, ConfigError> {
    let Some(list) = some_text(list) else { return Ok(None) };
    match list.split(',').map(str::trim).find(|part| Part::parse(part).is_none()) {
        Some(part) => {
            Err(at
                .error(format!("{part:?} in the list {list:?} is neither a number nor a range such as 0-3")))
        }
        None => Ok(Some(list)),
    }
}

/// Parses the same list into a bit mask, lowest bits first; empty without a list.
pub(super) fn bits(list: Option<String>, at: &At) -> Result<Vec<u64>, ConfigError> {
    let Some(list) = cpu_list(list, at)? else { return Ok(Vec::new()) };
    let parts: Vec<_> = list.split(',').filter_map(Part::parse).collect();
    if let Some(part) = parts.iter().find(|part| part.last > cpulist::MAX) {
        return Err(at.error(format!("{} in the list {list:?} is above {}", part.last, cpulist::MAX)));
    }
    let bytes = cpulist::bytes(parts.into_iter().flat_map(Part::numbers));
    let word = |some: &[u8]| some.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
    Ok(bytes.chunks(8).map(word).collect())
}

/// Maximum number of lines in a uid_map: user_namespaces(7).
const MAX_ID_MAPS: usize = 340;

/// A uid_map is written in one write(2) of less than a page (user_namespaces(7)).
const PAGE: usize = 4096;

/// Parses id ranges: not empty, within 32 bits, and not overlapping inside or outside.
pub(super) fn id_maps(raw: Option<Vec<RawIdMap>>, at: &At) -> Result<Vec<IdMap>, ConfigError> {
    let raw = raw.unwrap_or_default();
    if raw.len() > MAX_ID_MAPS {
        return Err(at.error(format!("{} mappings; the kernel takes at most {MAX_ID_MAPS}", raw.len())));
    }
    let mut maps: Vec<IdMap> = Vec::with_capacity(raw.len());
    for (i, r) in raw.iter().enumerate() {
        let map = id_map(r, &at.index(i))?;
        if maps.iter().any(|m| overlap((m.container, m.size), (map.container, map.size))) {
            return Err(at
                .index(i)
                .key("containerID")
                .error("overlaps the ids inside of an earlier mapping"));
        }
        if maps.iter().any(|m| overlap((m.host, m.size), (map.host, map.size))) {
            return Err(at.index(i).key("hostID").error("overlaps the ids outside of an earlier mapping"));
        }
        maps.push(map);
    }
    let bytes = crate::config::idmap::map_text(&maps).len();
    if bytes >= PAGE {
        return Err(at.error(format!(
            "{} mappings take {bytes} bytes in uid_map; the kernel accepts fewer than {PAGE} (user_namespaces(7))",
            maps.len()
        )));
    }
    Ok(maps)
}

/// Parses one range.
fn id_map(raw: &RawIdMap, at: &At) -> Result<IdMap, ConfigError> {
    let (container, host) = (raw.container_id.unwrap_or(0), raw.host_id.unwrap_or(0));
    let size = raw.size.unwrap_or(0);
    if size == 0 {
        return Err(at.key("size").error("size is 0; a mapping has at least one id"));
    }
    for (first, name) in [(container, "containerID"), (host, "hostID")] {
        if first.checked_add(size).is_none() {
            return Err(at.key(name).error(format!("{size} ids from {first} on go beyond 4294967294")));
        }
    }
    Ok(IdMap { container, host, size })
}

/// Whether two (first, size) ranges share an id. Neither range wraps.
fn overlap(a: (u32, u32), b: (u32, u32)) -> bool {
    a.0 < b.0.saturating_add(b.1) && b.0 < a.0.saturating_add(a.1)
}
