//! Rules about mounts and paths.

use std::path::{Path, PathBuf};

use super::rules::paths;
use super::{Facts, Outcome, Policy};
use crate::config::{Config, Mount};
use crate::error::Result;
use crate::tables::mount_options::parse_options;
use crate::tables::namespaces::NsKind;

/// What runc and Docker mask (moby's default list), plus what later advisories added.
const MASKED: [&str; 13] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/sys/fs/selinux",
];

/// What runc and Docker make read-only.
const READONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Mounts that every container gets where the config has none there: (destination, type, source, options).
const STANDARD: [(&str, &str, &str, &[&str]); 6] = [
    ("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
    ("/dev", "tmpfs", "tmpfs", &["nosuid", "noexec", "mode=755", "size=64k"]),
    (
        "/dev/pts",
        "devpts",
        "devpts",
        &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
    ),
    ("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=16m"]),
    ("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
    ("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
];

/// Where a read-only container may write: (destination, options).
const SCRATCH: [(&str, &[&str]); 3] = [
    ("/tmp", &["nosuid", "noexec", "nodev", "mode=1777", "size=64m"]),
    ("/run", &["nosuid", "noexec", "nodev", "mode=1777", "size=16m"]),
    ("/var/tmp", &["nosuid", "noexec", "nodev", "mode=1777", "size=64m"]),
];

/// A mount from words.
fn mount(destination: &str, fs_type: &str, source: &str, options: &[&str]) -> Mount {
    let mut m = Mount {
        destination: destination.into(),
        fs_type: Some(fs_type.into()),
        source: Some(source.into()),
        ..Mount::default()
    };
    let options: Vec<String> = options.iter().map(|o| (*o).to_string()).collect();
    parse_options(&options, &mut m);
    m
}

/// The private file systems of a container, and bounded places to write.
pub fn standard_mounts(config: &mut Config, facts: &Facts<'_>, out: &mut Outcome) -> Result<()> {
    let has = |config: &Config, path: &str| config.mounts.iter().any(|m| m.destination == Path::new(path));
    let mut added = Vec::new();
    for (i, (destination, fs_type, source, options)) in STANDARD.iter().enumerate() {
        if !has(config, destination) {
            let at = i.min(config.mounts.len());
            config.mounts.insert(at, mount(destination, fs_type, source, options));
            added.push(*destination);
        }
    }
    if config.root.readonly || !facts.asked.allows("write-rootfs") {
        for (destination, options) in SCRATCH {
            if !has(config, destination) {
                config.mounts.push(mount(destination, "tmpfs", "tmpfs", options));
                added.push(destination);
            }
        }
    }
    sort_parents_first(&mut config.mounts);
    mounts_of_the_host(config, facts, out);
    added.retain(|place| has(config, place));
    if !added.is_empty() {
        out.note(format!("added {}", added.join(" ")));
    }
    Ok(())
}

/// An added parent must not hide what the config mounts below it; otherwise the config's order stays.
fn sort_parents_first(mounts: &mut Vec<Mount>) {
    let mut sorted: Vec<Mount> = Vec::with_capacity(mounts.len());
    for m in mounts.drain(..) {
        let below = sorted
            .iter()
            .position(|s| s.destination.starts_with(&m.destination) && s.destination != m.destination);
        match below {
            Some(at) => sorted.insert(at, m),
            None => sorted.push(m),
        }
    }
    *mounts = sorted;
}

/// File systems that only the user namespace which owns a namespace may mount: (type, namespace, place, options).
const OF_NAMESPACES: [(&str, NsKind, &str, &[&str]); 3] = [
    ("sysfs", NsKind::Net, "/sys", &["rbind", "rro", "rnosuid", "rnodev", "rnoexec"]),
    ("proc", NsKind::Pid, "/proc", &["rbind", "rnosuid", "rnodev", "rnoexec"]),
    ("mqueue", NsKind::Ipc, "/dev/mqueue", &["bind", "nosuid", "nodev", "noexec"]),
];

/// Where such a namespace is the host's, a user namespace can only be shown the host's own mount.
fn mounts_of_the_host(config: &mut Config, facts: &Facts<'_>, out: &mut Outcome) {
    if !config.is_new(NsKind::User) {
        return;
    }
    for (fs_type, kind, place, options) in OF_NAMESPACES {
        // A procfs or mqueue of the host would show another namespace than one that is joined.
        if config.is_new(kind) || (kind != NsKind::Net && config.namespace(kind).is_some()) {
            continue;
        }
        let is_it = |m: &Mount| m.fs_type.as_deref() == Some(fs_type);
        if kind == NsKind::Ipc && config.mounts.iter().any(is_it) && !facts.host.mqueue() {
            config.mounts.retain(|m| !is_it(m));
            out.note(format!("no message queues at {place}: the host has none mounted there"));
        }
        for m in config.mounts.iter_mut().filter(|m| is_it(m)) {
            let destination = m.destination.clone();
            *m = mount(&destination.to_string_lossy(), "bind", place, options);
            m.fs_type = None;
            if kind != NsKind::Net {
                out.note(format!("the host's {place}: the {} namespace is the host's", kind.row().oci));
            }
        }
    }
}

/// Options that no mount of a restricted container lacks.
pub fn mount_options(config: &mut Config, facts: &Facts<'_>, out: &mut Outcome) -> Result<()> {
    let suid_dev = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;
    let mut changed = Vec::new();
    if facts.asked.allows("suid-mounts") && config.mounts.iter().all(|m| m.bind.is_none()) {
        out.no_effect("suid-mounts", "the config has no bind mount");
    }
    for m in &mut config.mounts {
        let scratch = SCRATCH.iter().any(|(d, _)| m.destination == Path::new(d));
        let fs = m.fs_type.as_deref().unwrap_or_default();
        let want = match fs {
            _ if m.bind.is_some() && facts.asked.allows("suid-mounts") => 0,
            _ if m.bind.is_some() => suid_dev,
            "cgroup" | "cgroup2" | "sysfs" => suid_dev | libc::MOUNT_ATTR_NOEXEC | libc::MOUNT_ATTR_RDONLY,
            "tmpfs" if scratch => suid_dev | libc::MOUNT_ATTR_NOEXEC,
            "proc" | "mqueue" => suid_dev | libc::MOUNT_ATTR_NOEXEC,
            // Device nodes live in /dev and its terminals; everything else of it is kept.
            "devpts" => libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NOEXEC,
            "tmpfs" if m.destination == Path::new("/dev") => libc::MOUNT_ATTR_NOSUID,
            _ => suid_dev,
        };
        // A recursive bind brings mounts of its own along: the options must hold for them too.
        let (have, slot) = if m.bind == Some(true) {
            (m.rec_attr_set, &mut m.rec_attr_set)
        } else {
            (m.attr_set, &mut m.attr_set)
        };
        if want & !have != 0 {
            changed.push(m.destination.display().to_string());
            *slot |= want;
        }
        m.attr_clr &= !want;
        m.rec_attr_clr &= !want;
        if fs == "tmpfs" && !m.data.iter().any(|(k, _)| k == "size") {
            m.data.push(("size".into(), Some("64m".into())));
            changed.push(format!("{} (size=64m)", m.destination.display()));
        }
    }
    if !changed.is_empty() {
        out.note(format!("nosuid, nodev (and noexec, ro where it is due) on {}", changed.join(" ")));
    }
    Ok(())
}

/// What counts the heat events of a cpu: a side channel as /proc/interrupts is (moby, containers/common).
fn throttle_of(cpu: u32) -> String {
    format!("/sys/devices/system/cpu/cpu{cpu}/thermal_throttle")
}

/// Masked and read-only paths: the config's and the default ones.
pub fn masks(config: &mut Config, facts: &Facts<'_>, out: &mut Outcome) -> Result<()> {
    if facts.asked.allows("proc") {
        let all = |list: &[PathBuf], want: &[&str]| paths(want).iter().all(|path| list.contains(path));
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
        for path in paths(want) {
            if !list.contains(&path) {
                list.push(path);
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
