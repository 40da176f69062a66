//! Rules about mounts and paths.

use std::path::{Path, PathBuf};

use super::{Facts, HardenResult, Policy};
use crate::config::defaults::{MASKED, MountRow, OF_NAMESPACES, PTYS, READONLY, SCRATCH, STANDARD, TMPFS};
use crate::config::mount_options::parse_options;
use crate::config::{Config, CopyUp, Mount};
use crate::error::Result;
use crate::tables::namespaces::NsKind;

/// A row of the table as a mount of the config, in a container with this memory limit.
pub fn row_mount(row: &MountRow, memory: Option<i64>) -> Mount {
    let mut m = Mount {
        destination: row.destination.into(),
        fs_type: Some(row.fs_type.into()),
        source: Some(row.source.into()),
        ..Mount::default()
    };
    let options: Vec<String> = row.options.iter().map(|o| (*o).to_string()).collect();
    parse_options(&options, &mut m);
    if m.copy_up != CopyUp::No {
        m.copy_up = CopyUp::Possible;
    }
    m.data.extend(row.size.bytes(memory).map(|bytes| ("size".into(), Some(size_text(bytes)))));
    m
}

/// Bytes as a mount option and a notice have them: `64m`, or in KiB where that is no whole number.
pub(super) fn size_text(bytes: i64) -> String {
    if bytes % (1 << 20) == 0 { format!("{}m", bytes >> 20) } else { format!("{}k", bytes >> 10) }
}

/// A mount in the words of a notice: `/tmp (tmpfs 64m, noexec)`.
pub(super) fn describe(m: &Mount) -> String {
    let fs = m.fs_type.as_deref().unwrap_or("bind");
    let size = m.data.iter().rev().find(|(k, _)| k == "size").and_then(|(_, v)| v.as_deref());
    let mut words = vec![size.map_or_else(|| fs.to_string(), |size| format!("{fs} {size}"))];
    let attrs = m.attr_set | m.rec_attr_set;
    words.extend(ATTRS.iter().filter(|(bit, _)| attrs & bit != 0).map(|(_, name)| (*name).to_string()));
    if m.copy_up == CopyUp::Possible {
        words.push("with the image's files".into());
    }
    format!("{} ({})", m.destination.display(), words.join(", "))
}

/// Attributes that notices name.
const ATTRS: [(u64, &str); 4] = [
    (libc::MOUNT_ATTR_RDONLY, "ro"),
    (libc::MOUNT_ATTR_NOSUID, "nosuid"),
    (libc::MOUNT_ATTR_NODEV, "nodev"),
    (libc::MOUNT_ATTR_NOEXEC, "noexec"),
];

/// The private file systems of a container, and bounded places to write.
pub fn standard_mounts(config: &mut Config, facts: &Facts<'_>, out: &mut HardenResult) -> Result<()> {
    let has = |config: &Config, path: &str| config.mounts.iter().any(|m| m.destination == Path::new(path));
    let memory = config.resources.memory.limit.filter(|_| !facts.overrides.no_cgroups);
    // What this machine's daemons keep in /run is not an image's.
    let of_this_machine = config.root.path.components().eq([std::path::Component::RootDir]);
    let mut added = Vec::new();
    for (i, row) in STANDARD.iter().enumerate() {
        if !has(config, row.destination) {
            let m = row_mount(row, memory);
            added.push((row.destination, describe(&m)));
            add_mount(&mut config.mounts, m, i);
        }
    }
    if !facts.overrides.allows("write-rootfs") {
        for row in &SCRATCH {
            if !has(config, row.destination) {
                let mut m = row_mount(row, memory);
                if of_this_machine {
                    m.copy_up = CopyUp::No;
                }
                added.push((row.destination, describe(&m)));
                add_mount(&mut config.mounts, m, usize::MAX);
            }
        }
    }
    mounts_of_the_host(config, facts, out);
    added.retain(|(place, _)| has(config, place));
    if !added.is_empty() {
        out.note(format!("added {}", added.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join(", ")));
    }
    Ok(())
}

/// Adds a mount at `wish` if it can be there: it must not hide what the config mounts below it, nor be hidden by a
/// mount above it. The config's own order stays, since a later mount of the config may mean to hide an earlier one.
pub fn add_mount(mounts: &mut Vec<Mount>, mount: Mount, wish: usize) {
    let (len, place) = (mounts.len(), &mount.destination);
    let above = mounts.iter().rposition(|m| place.starts_with(&m.destination)).map_or(0, |at| at + 1);
    let below = |m: &Mount| m.destination.starts_with(place) && m.destination != *place;
    let at = wish.min(mounts.iter().position(below).unwrap_or(len)).max(above);
    mounts.insert(at, mount);
}

/// Where a namespace is the host's, a user namespace can only be shown the host's own mount.
fn mounts_of_the_host(config: &mut Config, facts: &Facts<'_>, out: &mut HardenResult) {
    if !config.is_new(NsKind::User) {
        return;
    }
    for (fs_type, kind, place, options) in OF_NAMESPACES {
        // A procfs or mqueue of the host would show another namespace than one that is joined.
        let shared = kind == NsKind::Pid && config.hardening.shared_proc;
        if !shared && (config.is_new(kind) || kind != NsKind::Net && config.namespace(kind).is_some()) {
            continue;
        }
        let is_it = |m: &Mount| m.fs_type.as_deref() == Some(fs_type);
        if kind == NsKind::Ipc && config.mounts.iter().any(is_it) && !facts.host.mqueue() {
            config.mounts.retain(|m| !is_it(m));
            out.note(format!("no message queues at {place}: the host has none mounted there"));
        }
        for m in config.mounts.iter_mut().filter(|m| is_it(m)) {
            *m = of_the_host(m, place, options);
            if shared {
                out.note("the /proc of this machine: its process numbers are not those of the program's pid namespace");
            } else if kind != NsKind::Net {
                out.note(format!("the host's {place}: the {} namespace is the host's", kind.row().oci));
            }
        }
    }
}

/// The attributes that a mount must have. `waived` are those whose opposite the config asks for.
pub(super) fn wanted(fs_type: Option<&str>, bind: bool, destination: &Path, waived: u64) -> u64 {
    let suid_dev = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;
    let scratch = SCRATCH.iter().any(|row| destination == Path::new(row.destination));
    match fs_type.unwrap_or_default() {
        _ if bind => suid_dev,
        "cgroup" | "cgroup2" | "sysfs" => suid_dev | libc::MOUNT_ATTR_NOEXEC | libc::MOUNT_ATTR_RDONLY,
        "tmpfs" if scratch && waived & libc::MOUNT_ATTR_NOEXEC == 0 => suid_dev | libc::MOUNT_ATTR_NOEXEC,
        "proc" | "mqueue" => suid_dev | libc::MOUNT_ATTR_NOEXEC,
        // Device nodes live in /dev and its terminals; everything else of it is kept.
        "devpts" => libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NOEXEC,
        "tmpfs" if destination == Path::new("/dev") => libc::MOUNT_ATTR_NOSUID,
        _ => suid_dev,
    }
}

/// The host's mount at `place`, where `m` would be.
pub(super) fn of_the_host(m: &Mount, place: &str, options: &[&str]) -> Mount {
    let mut bind =
        Mount { destination: m.destination.clone(), source: Some(place.into()), ..Mount::default() };
    let options: Vec<String> = options.iter().map(|o| (*o).to_string()).collect();
    parse_options(&options, &mut bind);
    bind
}

/// Options that no mount of a restricted container lacks.
pub fn mount_options(config: &mut Config, facts: &Facts<'_>, out: &mut HardenResult) -> Result<()> {
    let memory = config.resources.memory.limit.filter(|_| !facts.overrides.no_cgroups);
    let (mut changed, mut kept) = (Vec::new(), Vec::new());
    if facts.overrides.allows("suid-mounts") && config.mounts.iter().all(|m| m.bind.is_none()) {
        out.no_effect("suid-mounts", "the config has no bind mount");
    }
    for m in &mut config.mounts {
        let scratch = SCRATCH.iter().find(|row| m.destination == Path::new(row.destination));
        // The word `exec` of the config leaves this bit; saying nothing does not.
        let exec = (m.attr_clr | m.rec_attr_clr) & libc::MOUNT_ATTR_NOEXEC != 0;
        let bind = m.bind.is_some();
        let want = if bind && facts.overrides.allows("suid-mounts") {
            0
        } else {
            wanted(m.fs_type.as_deref(), bind, &m.destination, m.attr_clr | m.rec_attr_clr)
        };
        // A recursive bind brings mounts of its own along: the options must hold for them too.
        let (have, slot) = if m.bind == Some(true) {
            (m.rec_attr_set, &mut m.rec_attr_set)
        } else {
            (m.attr_set, &mut m.attr_set)
        };
        let mut change = want & !have != 0;
        *slot |= want;
        m.attr_clr &= !want;
        m.rec_attr_clr &= !want;
        if m.fs_type.as_deref() == Some("devpts") && !m.data.iter().any(|(k, _)| k == "max") {
            m.data.push(("max".into(), Some(PTYS.to_string())));
        }
        if m.fs_type.as_deref() == Some("tmpfs") && !m.data.iter().any(|(k, _)| k == "size") {
            let bytes = scratch.and_then(|row| row.size.bytes(memory)).unwrap_or(TMPFS);
            m.data.push(("size".into(), Some(size_text(bytes))));
            change = true;
        }
        if change {
            changed.push(describe(m));
        }
        if scratch.is_some() && exec && m.fs_type.as_deref() == Some("tmpfs") {
            kept.push(m.destination.display().to_string());
        }
    }
    if !changed.is_empty() {
        out.note(changed.join(", "));
    }
    if !kept.is_empty() {
        out.note(format!("programs can be executed from {}: the config's option exec", kept.join(", ")));
    }
    Ok(())
}

/// What counts the heat events of a cpu: a side channel as /proc/interrupts is (moby, containers/common).
fn throttle_of(cpu: u32) -> String {
    format!("/sys/devices/system/cpu/cpu{cpu}/thermal_throttle")
}

/// Masked and read-only paths: the config's and the default ones.
pub fn masks(config: &mut Config, facts: &Facts<'_>, out: &mut HardenResult) -> Result<()> {
    if facts.overrides.allows("proc") {
        let all = |list: &[PathBuf], want: &[&str]| want.iter().all(|path| has(list, path));
        if all(&config.masked_paths, &MASKED) && all(&config.readonly_paths, &READONLY) {
            out.no_effect(
                "proc",
                "the config itself masks these paths (/linux/maskedPaths, /linux/readonlyPaths)",
            );
        }
        return Ok(());
    }
    let mut added = 0;
    let mut add = |list: &mut Vec<PathBuf>, want: &[&str]| {
        for path in want {
            if !has(list, path) {
                list.push(path.into());
                added += 1;
            }
        }
    };
    let throttle: Vec<String> = facts.host.possible_cpus().map(throttle_of).collect();
    let throttle: Vec<&str> = throttle.iter().map(String::as_str).collect();
    add(&mut config.masked_paths, &MASKED);
    add(&mut config.masked_paths, &throttle);
    add(&mut config.readonly_paths, &READONLY);
    if added > 0 && facts.policy >= Policy::Baseline {
        out.note(format!("{added} more paths of /proc and /sys are covered or read-only (--allow proc)"));
    }
    Ok(())
}

/// Whether the list has the path, letter by letter: to compare components costs more than a mask does.
fn has(list: &[PathBuf], path: &str) -> bool {
    list.iter().any(|other| other.as_os_str() == path)
}
