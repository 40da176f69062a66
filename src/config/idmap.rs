//! Id mappings of user namespaces.

use crate::config::{Config, IdMap};
use crate::error::Result;
use crate::tables::namespaces::NsKind;

/// Number of ids that a container gets: the range that files of every distribution fit in.
pub const RANGE: u32 = 65536;

/// The ids that systemd reserves for containers ("container UIDs", UIDS-GIDS): the first, and the last plus
/// one.
const SPARE: (u32, u32) = (524_288, 1_879_048_192);

/// Source of a container's host ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdSource {
    /// A range that /etc/subuid and /etc/subgid assign to the caller.
    Subordinate,
    /// A range that is not assigned to any user on this machine.
    Spare,
    /// Ids of the caller's own user namespace.
    Inner,
    /// Only the caller's own id.
    Own,
}

/// Whether the maps have one id of the host, and that is `id`: the maps that an unprivileged user may write without
/// newuidmap(1).
pub fn is_only(maps: &[IdMap], id: u32) -> bool {
    matches!(maps, [IdMap { host, size: 1, .. }] if *host == id)
}

/// The range for container `id`: one of the caller's subordinate ranges, else a spare one. The search for a
/// spare one starts at a hash of the id. `take` tries to take a range. `None` if none is free.
pub fn choose(
    id: &str,
    subordinate: Option<(u32, u32)>,
    taken: &[(u32, u32)],
    mut take: impl FnMut(u32) -> Result<bool>,
) -> Result<Option<(IdMap, IdSource)>> {
    let (first, count) = subordinate.unwrap_or_default();
    let own = (0..count / RANGE).map(|i| (first + i * RANGE, IdSource::Subordinate));
    let blocks = (SPARE.1 - SPARE.0) / RANGE;
    let start = hash(id) % blocks;
    let spare = (0..blocks).map(|i| SPARE.0 + (start + i) % blocks * RANGE);
    let spare = spare.filter(|first| free(*first, taken)).map(|first| (first, IdSource::Spare));
    for (host, source) in own.chain(spare) {
        if take(host)? {
            return Ok(Some((IdMap { container: 0, host, size: RANGE }, source)));
        }
    }
    Ok(None)
}

/// The longest run of consecutive ids in the caller's user namespace, without its id 0.
pub fn inner(own: &[IdMap]) -> Option<IdMap> {
    let mut maps: Vec<_> = own.to_vec();
    maps.sort_by_key(|m| m.container);
    let mut best: (u32, u32) = (0, 0);
    let mut run: (u32, u32) = (1, 0);
    for m in maps {
        let end = m.container.saturating_add(m.size);
        let first = m.container.max(1);
        if first > run.0.saturating_add(run.1) {
            run = (first, 0);
        }
        run.1 = end.saturating_sub(run.0);
        if run.1 > best.1 {
            best = run;
        }
    }
    (best.1 > 0).then(|| IdMap { container: 0, host: best.0, size: best.1.min(RANGE) })
}

fn free(first: u32, taken: &[(u32, u32)]) -> bool {
    let end = first + RANGE;
    taken.iter().all(|(t, n)| end <= *t || t.saturating_add(*n) <= first)
}

/// FNV-1a hash: spreads ids over blocks. It is not a security boundary.
fn hash(id: &str) -> u32 {
    id.bytes().fold(0x811c_9dc5, |h, b| (h ^ u32::from(b)).wrapping_mul(0x0100_0193))
}

/// Ranges of ids: (first, count).
pub type IdRange = (u32, u32);

/// The caller's subordinate range (the same in both files) and all ranges that the files assign to any user.
pub fn read_subordinate(euid: u32) -> (Option<IdRange>, Vec<IdRange>) {
    let read = |path| crate::sys::read::text(path).unwrap_or_default();
    let id = euid.to_string();
    let passwd = read("/etc/passwd");
    let name = user_name(&passwd, &id);
    let owners: Vec<&str> = match euid {
        0 => vec!["safebox", "root", "0"],
        _ => name.iter().map(String::as_str).chain([id.as_str()]).collect(),
    };
    let (own, mut taken) = subordinate_of(&read("/etc/subuid"), &read("/etc/subgid"), &owners);
    taken.extend(users(&passwd).chain(users(&read("/etc/group"))));
    (own, taken)
}

/// The ids of users or groups within the spare ranges: the third field of passwd(5) and group(5).
fn users(text: &str) -> impl Iterator<Item = IdRange> {
    let ids = text.lines().filter_map(|line| line.split(':').nth(2)?.parse().ok());
    ids.filter(|id| *id >= SPARE.0).map(|id: u32| (id, 1))
}

/// The name of the user with the id `id`.
fn user_name(passwd: &str, id: &str) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == id).then(|| name.to_string())
    })
}

fn subordinate_of(subuid: &str, subgid: &str, owners: &[&str]) -> (Option<IdRange>, Vec<IdRange>) {
    let (uids, gids) = (entries(subuid), entries(subgid));
    let taken = uids.iter().chain(&gids).map(|(_, range)| *range).collect();
    let own = uids
        .iter()
        .filter(|(name, (_, count))| owners.contains(name) && *count >= RANGE)
        .find(|entry| gids.contains(entry))
        .map(|(_, range)| *range);
    (own, taken)
}

fn entries(text: &str) -> Vec<(&str, (u32, u32))> {
    text.lines()
        .filter_map(|line| {
            let mut fields = line.trim().split(':');
            let name = fields.next()?;
            Some((name, (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?)))
        })
        .collect()
}

/// Formats the content of `/proc/PID/uid_map` or `gid_map`.
pub fn map_text(maps: &[IdMap]) -> String {
    maps.iter().map(|m| format!("{} {} {}\n", m.container, m.host, m.size)).collect()
}

/// Parses the content of `/proc/PID/uid_map` or `gid_map`.
pub fn parse_map(text: &str) -> Vec<IdMap> {
    text.lines()
        .filter_map(|line| {
            let mut numbers = line.split_whitespace().map(|n| n.parse().ok());
            Some(IdMap { container: numbers.next()??, host: numbers.next()??, size: numbers.next()?? })
        })
        .collect()
}

/// Whether this is the map of the initial user namespace: every id maps to itself. An empty map, as of an
/// unreadable file without procfs, counts as that.
pub fn is_whole(map: &[IdMap]) -> bool {
    matches!(map, [] | [IdMap { container: 0, host: 0, size: u32::MAX }])
}

/// Whether the host's uid 0 is mapped.
pub fn maps_host_root(maps: &[IdMap]) -> bool {
    maps.iter().any(|m| m.host == 0 && m.size > 0)
}

/// The id mappings of a user namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserMaps {
    /// User ids.
    pub uids: Vec<IdMap>,
    /// Group ids.
    pub gids: Vec<IdMap>,
}

/// The mappings of the container's user namespace: the config's, which callers repeat for a joined namespace,
/// else those read from /proc of the process in the namespace's path. `None` without a user namespace, or if
/// unknown.
pub fn of_user_namespace(config: &Config) -> Option<UserMaps> {
    let ns = config.namespace(NsKind::User)?;
    if !config.uid_maps.is_empty() && !config.gid_maps.is_empty() {
        return Some(UserMaps { uids: config.uid_maps.clone(), gids: config.gid_maps.clone() });
    }
    let process = ns.path.as_deref().filter(|path| path.ends_with("ns/user"))?.parent()?.parent()?;
    let read = |file| std::fs::read_to_string(process.join(file)).ok().map(|text| parse_map(&text));
    let maps = UserMaps { uids: read("uid_map")?, gids: read("gid_map")? };
    (!maps.uids.is_empty() && !maps.gids.is_empty()).then_some(maps)
}

/// Whether a host id is mapped in the container.
pub fn has(maps: &[IdMap], host: u32) -> bool {
    maps.iter().any(|map| holds(map, host))
}

/// Whether a host id is in a range.
pub fn holds(map: &IdMap, host: u32) -> bool {
    host.checked_sub(map.host).is_some_and(|offset| offset < map.size)
}

/// The host id of a container id.
pub fn to_host(maps: &[IdMap], id: u32) -> Option<u32> {
    maps.iter().find_map(|m| {
        let offset = id.checked_sub(m.container)?;
        (offset < m.size).then(|| m.host.checked_add(offset))?
    })
}

/// The container id of a host id.
pub fn to_container(maps: &[IdMap], host: u32) -> Option<u32> {
    let map = maps.iter().find(|map| holds(map, host))?;
    map.container.checked_add(host - map.host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_never_overlaps_an_assigned_one() {
        let taken = [(524_288, 65536 * 20_000), (100_000, 65536)];
        let choose = |subordinate, taken: &[_]| choose("x", subordinate, taken, |_| Ok(true)).unwrap();
        let (map, source) = choose(None, &taken).unwrap();
        assert_eq!(source, IdSource::Spare);
        assert!(map.host >= 524_288 + 65536 * 20_000, "{map:?}");
        assert_eq!(choose(None, &[(0, u32::MAX)]), None);
        let (map, source) = choose(Some((100_000, 65536)), &taken).unwrap();
        assert_eq!((map.host, source), (100_000, IdSource::Subordinate));
    }

    #[test]
    fn a_range_that_cannot_be_had_is_another_container_s() {
        let own = Some((100_000, 2 * RANGE));
        let choose = |not: &[u32]| choose("x", own, &[], |first| Ok(!not.contains(&first))).unwrap().unwrap();
        assert_eq!(choose(&[]).0.host, 100_000);
        assert_eq!(choose(&[100_000]).0.host, 165_536);
        let (spare, source) = choose(&[100_000, 165_536]);
        assert_eq!(source, IdSource::Spare);
        assert_eq!(choose(&[100_000, 165_536, spare.host]).0.host, spare.host + RANGE);
    }

    #[test]
    fn users_and_groups_have_their_ids() {
        let passwd = "root:x:0:0::/:/bin/sh\nann:x:600000:100::/:/bin/sh\nbad\n";
        assert_eq!(users(passwd).collect::<Vec<_>>(), [(600_000, 1)]);
    }

    #[test]
    fn only_a_range_that_both_files_name_is_used() {
        let (own, taken) =
            subordinate_of("root:100000:65536\nalice:165536:65536\n", "root:100000:65536\nbad\n", &["root"]);
        assert_eq!(own, Some((100_000, 65536)));
        assert_eq!(taken.len(), 3);
        assert_eq!(subordinate_of("root:100000:65536\n", "root:200000:65536\n", &["root"]).0, None);
    }

    #[test]
    fn a_user_namespace_gives_its_longest_run_without_root() {
        let map = |container, host, size| IdMap { container, host, size };
        assert_eq!(inner(&[map(0, 1000, 1), map(1, 100_000, 65536)]), Some(map(0, 1, 65536)));
        assert_eq!(inner(&[map(0, 0, 10), map(10, 50, 5), map(100, 7, 3)]), Some(map(0, 1, 14)));
        assert_eq!(inner(&[map(0, 1000, 1)]), None);
        assert_eq!(parse_map("         0       1000          1\n"), [map(0, 1000, 1)]);
        assert!(is_whole(&parse_map("         0          0 4294967295\n")) && !is_whole(&[map(0, 1, 2)]));
    }

    #[test]
    fn names_of_users_are_looked_up_by_number() {
        let passwd = "root:x:0:0::/:/bin/sh\n1000:x:7:7::/:/bin/sh\nann:x:1000:1000::/:/bin/sh\n";
        assert_eq!(user_name(passwd, "1000").as_deref(), Some("ann"));
        assert_eq!(user_name(passwd, "8"), None);
    }

    #[test]
    fn ids_translate_within_their_range_only() {
        let maps = [IdMap { container: 0, host: 1000, size: 10 }];
        assert_eq!((to_host(&maps, 9), to_host(&maps, 10)), (Some(1009), None));
    }
}
