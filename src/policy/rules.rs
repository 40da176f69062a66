//! What the rules about namespaces, users, privileges, devices and the rootfs change.

use super::{ALLOW, Facts, HardenResult, NONROOT, Policy};
use crate::config::idmap;
use crate::config::{Capabilities, Config, Namespace, Process, SeccompGuard, Terminal, defaults};
use crate::error::{Error, Result};
use crate::tables::capabilities::CapSet;
use crate::tables::namespaces::{NAMESPACES, NsKind};

/// The capabilities that Docker gives by default, and `baseline` does not go beyond.
pub(super) const DEFAULT_CAPS: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];

/// Numbers of capabilities(7).
const CAP_SETUID: u32 = 7;
const CAP_SETPCAP: u32 = 8;
const CAP_SETFCAP: u8 = 31;
const CAP_SYS_PTRACE: u32 = 19;

fn process(config: &mut Config) -> Result<&mut Process> {
    config.process.as_mut().ok_or_else(|| {
        Error::Config(crate::config::ConfigError::new("/process", "required to start a container"))
    })
}

/// Missing namespaces are added; those of the host or of another container are replaced by new ones.
pub(super) fn namespaces(config: &mut Config, facts: &Facts<'_>, out: &mut HardenResult) -> Result<()> {
    for row in NAMESPACES.iter().filter(|r| !matches!(r.kind, NsKind::Time | NsKind::User)) {
        let name = if row.kind == NsKind::Net { "net" } else { row.proc };
        let allow = format!("host-{name}");
        if facts.overrides.allows(&allow) {
            share(config, row, out);
            continue;
        }
        // There is no flag for the mount namespace: a container always has its own.
        let flag = if ALLOW.iter().any(|(known, _)| *known == allow) {
            format!(" (--allow {allow})")
        } else {
            String::new()
        };
        match config.namespaces.iter_mut().find(|n| n.kind == row.kind) {
            None => {
                config.namespaces.push(Namespace { kind: row.kind, path: None });
                out.note(format!("new {} namespace instead of the host's{flag}", row.oci));
            }
            Some(n) => {
                if let Some(path) = n.path.take() {
                    out.note(format!("new {} namespace instead of {}{flag}", row.oci, path.display()));
                }
            }
        }
    }
    Ok(())
}

/// `--allow host-NAME`: the namespace whose path the config gives, else the host's.
fn share(config: &mut Config, row: &crate::tables::namespaces::NamespaceRow, out: &mut HardenResult) {
    let at = config.namespaces.iter().position(|n| n.kind == row.kind);
    match at.map(|at| (at, config.namespaces[at].path.clone())) {
        Some((_, Some(path))) => {
            out.weaker(format!("joins the {} namespace {}, as asked", row.oci, path.display()));
        }
        Some((at, None)) => {
            config.namespaces.remove(at);
            out.weaker(format!("the host's {} namespace, as asked, instead of a new one", row.oci));
        }
        None => out.weaker(format!("the host's {} namespace, as asked", row.oci)),
    }
    if row.kind == NsKind::Uts && config.namespace(NsKind::Uts).is_none() {
        let names = [config.hostname.take(), config.domainname.take()];
        for name in names.into_iter().flatten() {
            out.note(format!("the name {name} of the config is left out: it would be the host's"));
        }
    }
}

/// A user namespace over ids that own nothing on the host.
pub(super) fn user_namespace(config: &mut Config, facts: &Facts<'_>, out: &mut HardenResult) -> Result<()> {
    if facts.overrides.allows("host-user") && facts.host.rootless.is_none() {
        if config.namespace(NsKind::User).is_some() {
            config.namespaces.retain(|n| n.kind != NsKind::User);
            (config.uid_maps, config.gid_maps) = (Vec::new(), Vec::new());
            out.weaker("no user namespace, as asked, instead of the config's: ids inside are the host's");
        } else {
            out.weaker("no user namespace, as asked: ids inside are the host's");
        }
        return Ok(());
    }
    own_ids(config, facts, out)?;
    config.hardening.userns_owner = owner(config, facts.host);
    // These count in the container's user namespace and in all above it. The first is what keeps nested user namespaces
    // away whatever the filter allows: for exec, too, and for good, since it takes CAP_SYS_RESOURCE to change it.
    for (key, most) in defaults::USER_SYSCTL.into_iter().filter(|_| !config.hardening.shared_proc) {
        // A config may ask for less.
        let less = |(k, v): &(String, String)| k == key && v.trim().parse::<u64>().is_ok_and(|v| v <= most);
        if !config.sysctl.iter().any(less) {
            config.sysctl.retain(|(k, _)| k != key);
            config.sysctl.push((key.to_string(), most.to_string()));
        }
    }
    Ok(())
}

/// Who makes the user namespace: what a container takes of the kernel's tables is counted for the maker, too
/// (user_namespaces(7), namespaces(7)), and root of the machine needs its own share. `None`: the caller.
fn owner(config: &Config, host: &crate::host::Host) -> Option<u32> {
    // The runtime has to look into a process that is no longer its own user's.
    let needed = [CAP_SETUID, CAP_SYS_PTRACE].iter().all(|cap| host.caps & 1 << cap != 0);
    let first = || idmap::to_host(&config.uid_maps, 0).or_else(|| config.uid_maps.first().map(|m| m.host));
    if host.rootless.is_none() && needed { first() } else { None }
}

/// Ids that own nothing on the host.
fn own_ids(config: &mut Config, facts: &Facts<'_>, out: &mut HardenResult) -> Result<()> {
    let maps_root = idmap::maps_host_root(&config.uid_maps) || idmap::maps_host_root(&config.gid_maps);
    if let Some(rootless) = &facts.host.rootless {
        return super::rootless::user_namespace(config, facts, rootless, out);
    }
    if config.is_new(NsKind::User) && !maps_root {
        return Ok(());
    }
    let host = facts.host;
    let subordinate = host.subordinate.get();
    let chosen = idmap::choose(facts.id, subordinate.own, &subordinate.taken, |first| facts.ids.take(first))?;
    let Some((map, source)) = chosen else {
        return Err(Error::msg(
            "no range of 65536 ids is free for the container: /etc/subuid, /etc/subgid and containers have all of them; \
             give one to the user safebox there, or accept the host's ids with --allow host-user",
        ));
    };
    let had = config.namespace(NsKind::User).is_some();
    config.namespaces.retain(|n| n.kind != NsKind::User);
    config.namespaces.insert(0, Namespace { kind: NsKind::User, path: None });
    (config.uid_maps, config.gid_maps) = (vec![map], vec![map]);
    let from = match source {
        idmap::IdSource::Subordinate => "subordinate range of /etc/subuid",
        _ => "spare range",
    };
    let why = if had { " (the config maps host root)" } else { "" };
    let hardening = &mut config.hardening;
    hardening.idmap_root = !config.root.empty && facts.host.can_idmap(facts.bundle.rootfs_magic);
    // Its procfs, sysfs and cgroups cannot be idmapped, and a container has its own.
    hardening.root_alone =
        hardening.idmap_root && config.root.path.components().eq([std::path::Component::RootDir]);
    let rootfs = if config.root.empty {
        ""
    } else if hardening.idmap_root {
        "; the rootfs is idmapped"
    } else {
        "; its file system cannot be idmapped, so files of host users belong to 65534 inside"
    };
    let last = map.host + (map.size - 1);
    out.note(format!("ids 0-{} are {}-{last} outside: {from}{why}{rootfs}", map.size - 1, map.host));
    if config.hardening.root_alone {
        out.note("/ is the host's root file system without what is mounted in it: bind what is needed");
    }
    Ok(())
}

pub(super) fn non_root(config: &mut Config, facts: &Facts<'_>, out: &mut HardenResult) -> Result<()> {
    let (uids, gids) = (config.uid_maps.clone(), config.gid_maps.clone());
    let p = process(config)?;
    if p.user.uid == 0 && !facts.overrides.allows("root") && !facts.overrides.user {
        out.picked = Some(NONROOT);
        p.user.uid = NONROOT;
        p.user.gid = NONROOT;
        p.user.additional_gids.clear();
        out.note(format!("runs as {NONROOT}:{NONROOT} instead of root (--user UID:GID or --allow root)"));
    } else if p.user.uid != 0 && facts.overrides.allows("root") {
        out.no_effect("root", &format!("the process runs as {} (--user 0 for root)", p.user.uid));
    }
    let groups = p.user.additional_gids.iter().chain([&p.user.gid]).map(|id| (id, &gids));
    for (id, maps) in groups.chain([(&p.user.uid, &uids)]) {
        if !maps.is_empty() && idmap::to_host(maps, *id).is_none() {
            let has: Vec<_> = maps
                .iter()
                .map(|m| format!("{} to {}", m.container, m.container.saturating_add(m.size - 1)))
                .collect();
            return Err(Error::Config(crate::config::ConfigError::new(
                "/process/user",
                format!(
                    "id {id} is not mapped: the container has ids {} (--allow host-user for the host's)",
                    has.join(", ")
                ),
            )));
        }
    }
    Ok(())
}

/// Ports below 1024 are for root of a network namespace; a program that is never root needs them too.
pub(super) fn ports(config: &mut Config, _: &Facts<'_>, out: &mut HardenResult) -> Result<()> {
    let (key, value) = defaults::SYSCTL;
    let writable = !config.hardening.shared_proc;
    if writable && config.is_new(NsKind::Net) && config.sysctl.iter().all(|(k, _)| k != key) {
        config.sysctl.push((key.into(), value.into()));
        config.sysctl.sort();
        out.note(format!("{key}={value}: the program may listen on ports below 1024 of its own network"));
    }
    Ok(())
}

pub(super) fn capabilities(config: &mut Config, facts: &Facts<'_>, out: &mut HardenResult) -> Result<()> {
    let p = process(config)?;
    let before = p.capabilities;
    let add = facts.overrides.cap_add;
    if !add.is_empty() {
        out.weaker(format!("{add} kept, as asked (--cap-add)"));
    }
    // File capabilities that are set through an idmapped mount are those of the host.
    let on_the_host =
        facts.host.rootless.is_none() && config.hardening.guards.contains(&SeccompGuard::NoSetuidFiles);
    if on_the_host && add.has(CAP_SETFCAP) {
        return Err(Error::msg(
            "--cap-add CAP_SETFCAP with a writable volume: file capabilities that the program leaves there would work on \
             the host: leave the capability out, or mount the volume read-only (--volume SOURCE:DESTINATION:ro)",
        ));
    }
    let p = process(config)?;
    if facts.policy == Policy::Restricted {
        // A non-root process keeps a capability through exec only if it is ambient, which needs inheritable.
        let through_exec = if p.user.uid == 0 { CapSet::EMPTY } else { add };
        p.capabilities = Capabilities {
            bounding: add,
            effective: add,
            permitted: add,
            inheritable: through_exec,
            ambient: through_exec,
        };
    } else {
        let default = DEFAULT_CAPS.iter().filter_map(|c| crate::tables::capabilities::parse(c));
        let keep = default.filter(|c| !(on_the_host && *c == CAP_SETFCAP)).fold(add, CapSet::with).0;
        let c = &mut p.capabilities;
        for set in [&mut c.bounding, &mut c.effective, &mut c.permitted] {
            set.0 = set.0 & keep | add.0;
        }
        (c.inheritable, c.ambient) = (CapSet::EMPTY, CapSet::EMPTY);
    }
    let now = p.capabilities.bounding.0;
    if config.hardening.bare {
        // Only CAP_SETPCAP takes something out of this set; with no_new_privs it gives nothing.
        let kept = crate::sys::cred::bounding();
        process(config)?.capabilities.bounding.0 |=
            if facts.host.caps & 1 << CAP_SETPCAP == 0 { kept } else { 0 };
        return Ok(());
    }
    let dropped = CapSet(before.bounding.0 & !now);
    if !dropped.is_empty() {
        out.note(format!("dropped {dropped} (--cap-add NAME)"));
    }
    Ok(())
}

pub(super) fn no_new_privileges(
    config: &mut Config,
    facts: &Facts<'_>,
    out: &mut HardenResult,
) -> Result<()> {
    let p = process(config)?;
    let allowed = facts.overrides.allows("new-privileges");
    match (p.no_new_privileges, allowed) {
        (false, false) => {
            out.note("setuid programs and file capabilities have no effect (--allow new-privileges)");
        }
        (true, true) => {
            out.weaker(
                "setuid programs and file capabilities have an effect, as asked, unlike in the config",
            );
        }
        (false, true) => out.weaker("setuid programs and file capabilities have an effect, as asked"),
        (true, false) => {}
    }
    p.no_new_privileges = !allowed;
    Ok(())
}

pub(super) fn devices(config: &mut Config, facts: &Facts<'_>, out: &mut HardenResult) -> Result<()> {
    // An ordinary user can make no node of their own: a process that watches the host's tty sees each key that is read there.
    config.hardening.no_tty = facts.host.rootless.is_some() && !terminal_is_due(config, facts);
    if facts.overrides.allows("devices") {
        if config.devices.is_empty() && !config.resources.devices.iter().any(|r| r.allow) {
            out.no_effect("devices", "the config lists no device (/linux/devices, /linux/resources/devices)");
        }
        return Ok(());
    }
    config.resources.no_tun = true;
    let kept = |path: &std::path::Path| facts.overrides.devices.iter().any(|(kept, _)| kept == path);
    let (kept, removed): (Vec<_>, Vec<_>) = config.devices.drain(..).partition(|d| kept(&d.path));
    config.devices = kept;
    let names: Vec<_> = removed.iter().map(|d| d.path.display().to_string()).collect();
    if !names.is_empty() {
        out.note(format!("removed {} (--allow devices)", names.join(", ")));
    }
    let before = config.resources.devices.len();
    config.resources.devices.retain(|r| !r.allow);
    if config.resources.devices.len() != before {
        out.note("device rules of the config removed: the default devices only (--allow devices)");
    }
    for (path, access) in &facts.overrides.devices {
        let Some(device) = config.devices.iter().find(|d| d.path == *path) else { continue };
        config.resources.devices.push(device.rule(access));
        out.weaker(format!("{} ({access}), as asked (--device)", path.display()));
    }
    Ok(())
}

/// Device nodes and setuid programs that an image brings: two guards each, with the device cgroup and no_new_privs.
pub(super) fn rootfs_options(config: &mut Config, facts: &Facts<'_>, _: &mut HardenResult) -> Result<()> {
    config.hardening.root_attrs |= libc::MOUNT_ATTR_NODEV;
    if !facts.overrides.allows("new-privileges") {
        config.hardening.root_attrs |= libc::MOUNT_ATTR_NOSUID;
    }
    Ok(())
}

pub(super) fn readonly_rootfs(config: &mut Config, facts: &Facts<'_>, out: &mut HardenResult) -> Result<()> {
    let allowed = facts.overrides.allows("write-rootfs");
    match (config.root.readonly, allowed) {
        (false, false) => out.note("/ is read-only; write to /tmp, /run or /var/tmp (--allow write-rootfs)"),
        (true, true) => out.weaker("/ can be written, as asked, unlike in the config"),
        (false, true) => out.weaker("/ can be written, as asked"),
        (true, false) => {}
    }
    config.root.readonly = !allowed;
    // Through an idmapped mount, or with the host's ids, files that the container makes belong to the host's users, root
    // among them; a setuid program among these works for every user who can reach it on the host, whatever the mounts inside say.
    let real_ids =
        config.hardening.idmap_root || facts.host.rootless.is_some() || !config.is_new(NsKind::User);
    if !config.root.readonly && !config.root.empty && real_ids && facts.bundle.reachable() {
        return Err(Error::msg(
            "--allow write-rootfs: every user of this machine can reach the rootfs, and could execute a setuid program \
             that the container leaves there: close a directory above it to others (chmod o-x BUNDLE)",
        ));
    }
    Ok(())
}

/// Whether the container gets a terminal.
fn terminal_is_due(config: &Config, facts: &Facts<'_>) -> bool {
    let asked = config.process.as_ref().is_some_and(|p| p.terminal);
    let as_written = facts.overrides.terminal_as_written || facts.policy < Policy::Restricted;
    if as_written { asked } else { facts.overrides.stdin_is_tty }
}

/// A pty of the container's own whenever there is a terminal to be had; none where there is not.
pub(super) fn terminal(config: &mut Config, facts: &Facts<'_>, out: &mut HardenResult) -> Result<()> {
    let p = process(config)?;
    if facts.overrides.terminal_as_written {
        config.hardening.terminal = if p.terminal { Terminal::All } else { Terminal::None };
        return Ok(());
    }
    if p.terminal && !facts.overrides.stdin_is_tty {
        out.note("no terminal: stdin is not one");
    }
    // Where only one of the two is a terminal, pipes keep it apart: `run bundle/ >file` writes what was written.
    let interactive = !p.terminal && facts.overrides.stdin_is_tty && facts.overrides.stdout_is_tty;
    if interactive {
        out.note("a terminal of its own instead of yours");
    }
    p.terminal = p.terminal && facts.overrides.stdin_is_tty || interactive;
    config.hardening.terminal = match (p.terminal, interactive) {
        (false, _) => Terminal::None,
        (true, false) => Terminal::All,
        (true, true) => Terminal::Terminals,
    };
    Ok(())
}

/// CAP_SYS_ADMIN of capabilities(7).
const CAP_SYS_ADMIN: u8 = 21;

/// landlock(7) beside the mounts, where the kernel has it. Never an error on an older one.
pub(super) fn landlock(config: &mut Config, facts: &Facts<'_>, out: &mut HardenResult) -> Result<()> {
    let abi = *facts.host.landlock.get();
    let least = if config.hardening.bare { 1 } else { 2 };
    let why = if abi == 0 {
        Some("this kernel has none (CONFIG_SECURITY_LANDLOCK, lsm=landlock)".to_string())
    } else if abi < least {
        Some(format!("ABI {abi} would refuse to move files between directories"))
    } else if facts.overrides.allows("new-privileges") {
        Some("it needs no_new_privs (--allow new-privileges)".into())
    } else if facts.overrides.cap_add.has(CAP_SYS_ADMIN) {
        Some("it would refuse to mount (--cap-add SYS_ADMIN)".into())
    } else {
        None
    };
    config.hardening.landlock = why.is_none();
    out.note(match why {
        None => format!("ABI {abi}: what is not shown cannot be opened, what is read-only not written"),
        Some(why) => format!("no second guard of files: {why}"),
    });
    Ok(())
}
