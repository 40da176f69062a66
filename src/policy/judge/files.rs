//! Mounts, the rootfs and the paths of /proc and /sys.

use std::path::{Path, PathBuf};

use super::super::mounts::wanted;
use super::super::posture::{Aspect, MountView, Posture};
use super::super::{NONROOT, posture::NamespaceView};
use super::{
    Evidence, Judged, Verdict, about, evidence, has_own_users, known, not_applicable, unless, verdict,
};
use crate::config::defaults::{MASKED, READONLY, STANDARD};
use crate::tables::host_paths::{ENGINE_SOCKETS, Exposes, HOST_PATHS};
use crate::tables::namespaces::NsKind;

/// What runc covers in the config that it writes; the rest of [`MASKED`] is about side channels.
const LEAST_MASKED: [&str; 8] = [
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
];

fn lacking(have: &[PathBuf], want: &[&str]) -> Vec<String> {
    let covered = |path: &str| have.iter().any(|h| Path::new(path).starts_with(h));
    want.iter().filter(|path| !covered(path)).map(|path| (*path).to_string()).collect()
}

pub(in super::super) fn masks(p: &Posture) -> Judged {
    let masked = lacking(known(&p.masked)?, &LEAST_MASKED);
    let written = lacking(known(&p.readonly)?, &READONLY);
    let mut found = Vec::new();
    if !masked.is_empty() {
        found.push(evidence(p.at(Aspect::Masked), format!("not covered: {}", masked.join(", "))));
    }
    if !written.is_empty() {
        found.push(evidence(p.at(Aspect::Readonly), format!("not read-only: {}", written.join(", "))));
    }
    Ok(verdict(found))
}

pub(in super::super) fn side_channels(p: &Posture) -> Judged {
    let open = lacking(known(&p.masked)?, &MASKED);
    let open: Vec<_> = open.into_iter().filter(|path| !LEAST_MASKED.contains(&path.as_str())).collect();
    Ok(unless(open.is_empty(), p.at(Aspect::Masked), format!("not covered: {}", open.join(", "))))
}

pub(in super::super) fn standard_mounts(p: &Posture) -> Judged {
    let mut found = Vec::new();
    for row in STANDARD.iter().filter(|row| ["/proc", "/dev", "/sys"].contains(&row.destination)) {
        if p.mount_at(Path::new(row.destination))?.is_none() {
            found.push(evidence(
                p.at(Aspect::Mounts),
                format!("no {} of its own at {}", row.fs_type, row.destination),
            ));
        }
    }
    Ok(verdict(found))
}

/// Names of device nodes that every container has.
const NODES: [&str; 9] = ["null", "zero", "full", "random", "urandom", "tty", "console", "ptmx", "stderr"];

/// Mounts that the runtime makes for reasons of its own: nodes, and what covers paths.
fn is_runtime_s(mount: &MountView) -> bool {
    let at = &mount.destination;
    let below = |top: &str| at.starts_with(top) && at != Path::new(top);
    let node = at.parent() == Some(Path::new("/dev"))
        && at.file_name().and_then(|name| name.to_str()).is_some_and(|name| NODES.contains(&name));
    let cgroup = mount.fs_type.as_deref().is_some_and(|fs| fs.starts_with("cgroup"));
    node || (below("/proc") || below("/sys")) && !cgroup
}

/// The words of the attributes that are missing.
fn words(attrs: u64) -> String {
    let words = [
        (libc::MOUNT_ATTR_RDONLY, "ro"),
        (libc::MOUNT_ATTR_NOSUID, "nosuid"),
        (libc::MOUNT_ATTR_NODEV, "nodev"),
        (libc::MOUNT_ATTR_NOEXEC, "noexec"),
    ];
    words.iter().filter(|(bit, _)| attrs & bit != 0).map(|(_, word)| *word).collect::<Vec<_>>().join(", ")
}

pub(in super::super) fn mount_options(p: &Posture) -> Judged {
    let mut found = Vec::new();
    for mount in known(&p.mounts)?.iter().filter(|m| !p.is_process() || !is_runtime_s(m)) {
        let want = wanted(mount.fs_type.as_deref(), mount.bind, &mount.destination, mount.waived);
        // Of a process it cannot be seen that a config allowed programs in a tmpfs.
        let want = if p.is_process() { want & !libc::MOUNT_ATTR_NOEXEC } else { want };
        let missing = want & !mount.attrs;
        if missing != 0 {
            found.push(evidence(
                mount.at.clone(),
                format!("{}: not {}", mount.destination.display(), words(missing)),
            ));
        }
        if !mount.bounded && !mount.has(libc::MOUNT_ATTR_RDONLY) {
            found.push(evidence(
                mount.at.clone(),
                format!("{}: a tmpfs without a size", mount.destination.display()),
            ));
        }
    }
    Ok(verdict(found))
}

/// Two guards each; one of both is enough to pass.
pub(in super::super) fn rootfs_options(p: &Posture) -> Judged {
    let root = known(&p.root)?;
    let mut found: Vec<Evidence> = Vec::new();
    if !root.nosuid && !*known(&p.no_new_privileges)? {
        found.push(evidence(p.at(Aspect::Root), "setuid programs of the image work"));
    }
    if !root.nodev && known(&p.device_rules)?.iter().any(|rule| rule.all) {
        found.push(evidence(p.at(Aspect::Root), "device nodes of the image can be opened"));
    }
    Ok(verdict(found))
}

pub(in super::super) fn readonly_rootfs(p: &Posture) -> Judged {
    Ok(unless(known(&p.root)?.readonly, p.at(Aspect::Root), "/ can be written"))
}

pub(in super::super) fn home(p: &Posture) -> Judged {
    let user = known(&p.user)?;
    if !p.picked_user || user.uid != NONROOT {
        return not_applicable("no user was chosen in the place of root");
    }
    let Some(home) = known(&p.environment)?.iter().rev().find_map(|e| e.strip_prefix("HOME=")) else {
        return not_applicable("no HOME is set");
    };
    let over = p.mount_over(Path::new(home))?;
    let readonly = over.map_or(known(&p.root)?.readonly, |m| m.has(libc::MOUNT_ATTR_RDONLY));
    Ok(unless(!readonly, p.at(Aspect::Environment), format!("HOME={home} cannot be written")))
}

pub(in super::super) fn volumes(p: &Posture) -> Judged {
    let mounts = known(&p.mounts)?;
    let mut volumes =
        mounts.iter().filter(|m| m.volume.is_some() && !m.has(libc::MOUNT_ATTR_RDONLY)).peekable();
    if volumes.peek().is_none() {
        return not_applicable("no option asks for a volume that can be written");
    }
    let unmapped: Vec<_> = volumes.filter(|m| m.volume == Some(false)).collect();
    match unmapped.first() {
        None => Ok(Verdict::Pass),
        Some(m) => Err(format!("who owns {} is known when the container starts", m.destination.display())),
    }
}

/// A path without `.`, `..` and the old name of /run. Symlinks were followed before where a machine is at hand.
fn plain(path: &Path) -> PathBuf {
    let mut out = PathBuf::from("/");
    for part in path.components() {
        match part {
            std::path::Component::Normal(name) => out.push(name),
            std::path::Component::ParentDir => {
                out.pop();
            }
            _ => {}
        }
    }
    out.strip_prefix("/var/run").map(|rest| Path::new("/run").join(rest)).unwrap_or(out)
}

/// Why a bind mount is not harmless.
fn sensitive_bind(p: &Posture, mount: &MountView, source: &Path) -> Option<&'static str> {
    let readonly = mount.has(libc::MOUNT_ATTR_RDONLY);
    let kernel = ["/proc", "/sys", "/dev"].iter().any(|top| source.starts_with(top));
    // The runtime's own: what covers paths, nodes, the host's /sys and /dev/mqueue for a namespace that is the host's.
    let own = p.is_process() && is_runtime_s(mount) && kernel && (readonly || source.starts_with("/dev"));
    let device = source.starts_with("/dev") && source != Path::new("/dev");
    if own || device || source.starts_with("/sys") && mount.destination == source && readonly {
        return None;
    }
    sensitive(p, readonly, source)
}

/// Why a path of the host is not harmless inside.
fn sensitive(p: &Posture, readonly: bool, source: &Path) -> Option<&'static str> {
    const SYSTEM: &str = "a directory of the system";
    const TRUSTED: &str = "where the host executes or believes what is written";
    // With ids of its own the container reads in /etc only what every user may read.
    let etc = source == Path::new("/etc") && has_own_users(p);
    let mut found = HOST_PATHS.iter().filter_map(|row| {
        let (below, whole) = (source.starts_with(row.path), source == Path::new(row.path));
        match row.exposes {
            Exposes::Below if below => Some(SYSTEM),
            Exposes::BelowWritable if below && !readonly => Some(TRUSTED),
            Exposes::Whole if whole && !(readonly && etc) => Some(SYSTEM),
            Exposes::WholeWritable if whole && !readonly => Some(SYSTEM),
            _ => None,
        }
    });
    found.next()
}

/// The root and the file systems that are no bind mounts show directories of the host, too.
fn other_sources(p: &Posture) -> Result<Vec<Evidence>, String> {
    let mut found = Vec::new();
    if let (Ok(path), Ok(root)) = (&p.root_path, &p.root)
        && let Some(what) = sensitive(p, root.readonly, &plain(path))
    {
        let text = format!("{} of the host, {what}, is the root", path.display());
        found.push(evidence(p.at(Aspect::Root), text));
    }
    for mount in known(&p.mounts)? {
        for part in &mount.parts {
            let at = mount.destination.display();
            if part.starts_with("/dev") {
                let text = format!("a file system of the host's device {} is at {at}", part.display());
                found.push(evidence(mount.at.clone(), text));
            } else if let Some(what) = sensitive(p, mount.has(libc::MOUNT_ATTR_RDONLY), &plain(part)) {
                let text = format!("{} of the host, {what}, is a layer of {at}", part.display());
                found.push(evidence(mount.at.clone(), text));
            }
        }
    }
    Ok(found)
}

pub(in super::super) fn host_directories(p: &Posture) -> Judged {
    let mut found = other_sources(p)?;
    for mount in known(&p.mounts)?.iter().filter(|m| m.bind) {
        let Some(source) = &mount.source else { continue };
        if let Some(what) = sensitive_bind(p, mount, &plain(source)) {
            let how = if mount.has(libc::MOUNT_ATTR_RDONLY) {
                "read-only"
            } else if mount.top_readonly {
                "read-only, but not what is mounted below it"
            } else {
                "and can be written"
            };
            let text = format!(
                "{} of the host, {what}, is at {} {how}",
                source.display(),
                mount.destination.display()
            );
            found.push(evidence(mount.at.clone(), text));
        }
    }
    Ok(verdict(found))
}

pub(in super::super) fn sockets(p: &Posture) -> Judged {
    let is_socket = |path: &Path| {
        path.file_name().and_then(|name| name.to_str()).is_some_and(|name| ENGINE_SOCKETS.contains(&name))
    };
    let mounts = known(&p.mounts)?.iter().filter(|m| m.bind);
    let found = mounts.filter(|m| is_socket(&m.destination) || m.source.as_deref().is_some_and(is_socket));
    let found = found.map(|m| {
        evidence(m.at.clone(), format!("{} is the socket of a container engine", m.destination.display()))
    });
    Ok(verdict(found.collect()))
}

pub(in super::super) fn propagation(p: &Posture) -> Judged {
    if !matches!(p.namespace(NsKind::Mount), Ok(NamespaceView::Own)) {
        return not_applicable("the mount namespace is not its own");
    }
    let shared = known(&p.mounts)?.iter().filter(|m| m.shared);
    let found = shared.map(|m| {
        about(
            "CIS Docker 5.20",
            m.at.clone(),
            format!("mounts below {} are made on the host, too", m.destination.display()),
        )
    });
    Ok(verdict(found.collect()))
}
