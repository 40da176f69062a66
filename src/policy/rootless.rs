//! The user namespace of a caller who is not root of the machine.

use std::path::Path;

use super::mounts::{of_the_host, row_mount};
use super::{Facts, HardenResult, NONROOT};
use crate::config::defaults::{OF_NAMESPACES, STANDARD};
use crate::config::idmap::{self, IdSource, RANGE};
use crate::config::{Config, IdMap, Mount, Namespace};
use crate::error::Result;
use crate::host::Rootless;
use crate::tables::namespaces::NsKind;

/// The numbers of `CAP_SETGID` and `CAP_SETUID` (capabilities(7)).
const MAPS: [u32; 2] = [6, 7];

/// The best ids that the caller can have: a range that owns nothing, else their own id under another number.
pub fn user_namespace(
    config: &mut Config,
    facts: &Facts<'_>,
    rootless: &Rootless,
    out: &mut HardenResult,
) -> Result<()> {
    let euid = facts.host.euid;
    // A config for an ordinary user maps that user alone; any other map was chosen on purpose.
    let chosen = !idmap::is_only(&config.uid_maps, euid) || !idmap::is_only(&config.gid_maps, rootless.egid);
    let mine = wants_own(config, facts);
    let range = if !mine && config.is_new(NsKind::User) && chosen && euid != 0 {
        config.uid_maps.iter().all(|m| !idmap::holds(m, euid))
    } else {
        let (uids, gids, source) = choose(config, facts, rootless);
        config.namespaces.retain(|n| n.kind != NsKind::User);
        config.namespaces.insert(0, Namespace { kind: NsKind::User, path: None });
        (config.uid_maps, config.gid_maps) = (vec![uids], vec![gids]);
        let last = uids.host.saturating_add(uids.size - 1);
        let own = format!("id {} is {} outside, the caller", uids.container, uids.host);
        match (source, &config.hardening.caller_ids) {
            (IdSource::Own, Some(option)) => {
                out.weaker(format!("{own}, for {option}: a breakout would be the caller"))
            }
            (IdSource::Own, None) if mine => out.weaker(format!("{own}, as asked")),
            (IdSource::Own, None) => out.weaker(format!(
                "{own}: a breakout would be the caller; newuidmap and a range in /etc/subuid give other ids"
            )),
            (IdSource::Inner, _) => {
                out.note(format!("ids 0-{} are {}-{last} of this user namespace", uids.size - 1, uids.host));
            }
            _ => out.note(format!(
                "ids 0-{} are {}-{last} outside: subordinate range of /etc/subuid",
                uids.size - 1,
                uids.host
            )),
        }
        matches!(source, IdSource::Subordinate)
    };
    if range {
        writable_binds(config, euid, out);
    }
    fit_mounts(config, out);
    Ok(())
}

/// With ids of a range, bind mounts of the caller's own files cannot be written, and what is written where others may is
/// not the caller's.
fn writable_binds(config: &Config, euid: u32, out: &mut HardenResult) {
    let read_only = |m: &Mount| (m.attr_set | m.rec_attr_set) & libc::MOUNT_ATTR_RDONLY != 0;
    let host_tree = |m: &Mount| ["/sys", "/dev", "/proc"].iter().any(|d| m.destination.starts_with(d));
    let binds = config.mounts.iter().filter(|m| m.bind.is_some() && !read_only(m) && !host_tree(m));
    let places: Vec<_> = binds.map(|m| m.destination.display().to_string()).collect();
    if !places.is_empty() {
        out.warnings.push(format!(
            "the program cannot write your files at {}: its ids are a subordinate range, and what it writes there belongs to an id of that range, which you ({euid}) cannot remove. To give it your own id: --allow host-user",
            places.join(", ")
        ));
    }
}

/// Whether the container's user is to be the caller outside.
fn wants_own(config: &Config, facts: &Facts<'_>) -> bool {
    facts.overrides.allows("host-user") || config.hardening.caller_ids.is_some()
}

fn choose(config: &Config, facts: &Facts<'_>, rootless: &Rootless) -> (IdMap, IdMap, IdSource) {
    let own = facts.host.subordinate.get().own;
    let range = own.filter(|(_, count)| *count >= RANGE && rootless.id_tools.is_some());
    let mine = wants_own(config, facts);
    let fits = |user: (u32, u32)| user.0 < RANGE && user.1 < RANGE;
    let user = config.process.as_ref().map(|p| (p.user.uid, p.user.gid)).unwrap_or_default();
    let user = if user.0 == 0 && !facts.overrides.user && !facts.overrides.allows("root") {
        (NONROOT, NONROOT)
    } else {
        user
    };
    if let Some((host, _)) = range.filter(|_| fits(user)).filter(|_| facts.host.euid != 0 && !mine) {
        let map = IdMap { container: 0, host, size: RANGE };
        return (map, map, IdSource::Subordinate);
    }
    let inner = (idmap::inner(&rootless.ids.0), idmap::inner(&rootless.ids.1));
    // A map of more than one id needs both capabilities in the namespace above (user_namespaces(7)).
    if facts.host.euid == 0
        && MAPS.iter().all(|bit| facts.host.caps & 1 << bit != 0)
        && !mine
        && let (Some(uids), Some(gids)) = inner
        && uids.size > user.0
        && gids.size > user.1
    {
        return (uids, gids, IdSource::Inner);
    }
    let one = |container, host| IdMap { container, host, size: 1 };
    (one(user.0, facts.host.euid), one(user.1, rootless.egid), IdSource::Own)
}

/// Mounts that the new user namespace allows: ids that it has, and the host's /sys where the network is the host's.
fn fit_mounts(config: &mut Config, out: &mut HardenResult) {
    let own_net = config.is_new(NsKind::Net);
    let (sysfs, _, place, options) = OF_NAMESPACES[0];
    let own = STANDARD.iter().find(|row| row.fs_type == sysfs);
    let (uids, gids) = (config.uid_maps.clone(), config.gid_maps.clone());
    for mount in &mut config.mounts {
        let unmapped = |(key, value): &(String, Option<String>)| {
            let maps = match key.as_str() {
                "uid" => &uids,
                "gid" => &gids,
                _ => return false,
            };
            value.as_deref().and_then(|v| v.parse().ok()).is_some_and(|id| idmap::to_host(maps, id).is_none())
        };
        if let Some(at) = mount.data.iter().position(unmapped) {
            let (key, value) = mount.data.remove(at);
            let id = value.unwrap_or_default();
            out.note(format!("{key}={id} left out at {}: it is not mapped", mount.destination.display()));
        }
        let host_sys = mount.bind.is_some() && mount.source.as_deref() == Some(place);
        if let Some(own) =
            own.filter(|row| host_sys && own_net && mount.destination == Path::new(row.destination))
        {
            *mount = row_mount(own, None);
            out.note("a sysfs of its own at /sys instead of the host's: the network is its own");
        } else if mount.fs_type.as_deref() == Some(sysfs) && !own_net {
            *mount = of_the_host(mount, place, options);
            out.note("the host's /sys, read-only: the network is the host's");
        }
    }
}
