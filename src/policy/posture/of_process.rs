//! The posture that a running process has, read from outside.

use std::collections::BTreeMap;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::host_paths::{host_path, is_shared};
use super::process_files::Files;
use super::{
    Aspect, DeviceView, Known, MachineFacts, MountView, NamespaceView, Origin, Peer, Place, Posture,
    RootView, SeccompView, TerminalView, UserView, process_limits,
};
use crate::config::defaults::{MASKED, READONLY};
use crate::config::{Capabilities, IdMap, idmap};
use crate::error::Result;
use crate::host::mountinfo::{MountInfo, entries};
use crate::tables::capabilities::CapSet;
use crate::tables::namespaces::{NAMESPACES, NsKind};

/// The id that stands for every id without a mapping (user_namespaces(7)).
const OVERFLOW: u32 = 65534;

type StatusFields = Known<BTreeMap<String, (String, Place)>>;

impl Posture {
    /// What the process `pid` has. `paths` are looked at beside the default ones: whether they are covered or read-only.
    pub fn of_process(pid: i32, machine: MachineFacts, paths: &[PathBuf]) -> Result<Self> {
        let files = Files::open(pid)?;
        let status = files.status();
        let (uid_maps, gid_maps) = (maps(&files, "uid_map"), maps(&files, "gid_map"));
        let all = files.bytes("mountinfo").map(|text| entries(&text));
        let host = host_mounts();
        let pts = all.as_ref().ok().and_then(|all| devpts(all));
        let namespaces = namespaces(&files);
        let kind =
            |kind| namespaces.iter().find(|(k, _)| *k == kind).map(|(_, ns): &(_, Known<NamespaceView>)| ns);
        let own_pids = kind(NsKind::Pid) == Some(&Ok(NamespaceView::Own));
        let mut posture = Posture {
            origin: Origin::Process(pid),
            user: user(&status, &uid_maps, &gid_maps),
            capabilities: capabilities(&status),
            no_new_privileges: field(&status, "NoNewPrivs").map(|v| v == "1"),
            seccomp: seccomp(&status),
            lsm: label(&files, machine),
            uid_maps: uid_maps.clone(),
            gid_maps,
            root: root(&all),
            root_path: Err("the root file system of a process has no one path".into()),
            mounts: all.as_ref().map_err(Clone::clone).map(|all| mounts(&files, all, &host)),
            masked: covered(&files, &all, &MASKED, paths, false),
            readonly: covered(&files, &all, &READONLY, paths, true),
            memory: Ok(None),
            cpus: Ok(None),
            cpu_weight: Ok(false),
            pids: Ok(None),
            rlimits: process_limits::rlimits(&files),
            devices: devices(&files),
            device_rules: Ok(Vec::new()),
            sysctl: Err("the kernel parameters of another process's namespaces cannot be read".into()),
            environment: strings(&files, "environ"),
            args: strings(&files, "cmdline"),
            oom_score_adj: files.text("oom_score_adj").map(|text| text.trim().parse().ok()),
            own_cgroup: Ok(true),
            landlock: Err("the kernel does not show the Landlock domain of another process".into()),
            terminal: terminal(&files, pts.as_deref()),
            peers: if own_pids {
                peers(&files, &uid_maps)
            } else {
                Err("its process ids are the host's".into())
            },
            ports: Err(
                "an engine's proxies and the host's packet filter lead ports in, and are not read".into()
            ),
            rootfs: Err("the root file system of a bundle is looked at, not that of a process".into()),
            picked_user: false,
            bare: false,
            machine,
            places: places(&files, &status, &all),
            namespaces,
        };
        process_limits::fill(&mut posture, &files);
        // A process that ended meanwhile has no posture.
        files.text("status").map_err(crate::error::Error::msg)?;
        Ok(posture)
    }
}

fn places(files: &Files, status: &StatusFields, all: &Known<Vec<MountInfo>>) -> BTreeMap<Aspect, Place> {
    let lines = [
        (Aspect::User, "Uid"),
        (Aspect::Capabilities, "CapBnd"),
        (Aspect::NoNewPrivileges, "NoNewPrivs"),
        (Aspect::Seccomp, "Seccomp"),
    ];
    let others = [
        (Aspect::Lsm, "attr/current"),
        (Aspect::Namespaces, "ns"),
        (Aspect::IdMaps, "uid_map"),
        (Aspect::Root, "mountinfo"),
        (Aspect::Mounts, "mountinfo"),
        (Aspect::Masked, "mountinfo"),
        (Aspect::Readonly, "mountinfo"),
        (Aspect::Rlimits, "limits"),
        (Aspect::Devices, "root/dev"),
        (Aspect::Environment, "environ"),
        (Aspect::Args, "cmdline"),
        (Aspect::OomScore, "oom_score_adj"),
        (Aspect::Terminal, "fd"),
    ];
    let mut places: BTreeMap<_, _> =
        others.iter().map(|(aspect, file)| (*aspect, Place::File(files.shown(file)))).collect();
    for (aspect, name) in lines {
        if let Some((_, place)) = status.as_ref().ok().and_then(|s| s.get(name)) {
            places.insert(aspect, place.clone());
        }
    }
    if let Some(entry) = all.as_ref().ok().and_then(|all| root_entry(all)) {
        places.insert(Aspect::Root, Place::Line(files.shown("mountinfo"), entry.line));
    }
    places
}

fn field<'a>(status: &'a StatusFields, name: &str) -> Known<&'a str> {
    let status = status.as_ref().map_err(Clone::clone)?;
    status.get(name).map(|(value, _)| value.as_str()).ok_or_else(|| format!("this kernel shows no {name}"))
}

fn maps(files: &Files, file: &str) -> Known<Vec<IdMap>> {
    files.text(file).map(|text| idmap::parse_map(&text))
}

/// The id inside: /proc shows ids as the reader's user namespace has them.
fn inside(maps: &[IdMap], host: u32) -> u32 {
    idmap::to_container(maps, host).unwrap_or(OVERFLOW)
}

fn user(status: &StatusFields, uids: &Known<Vec<IdMap>>, gids: &Known<Vec<IdMap>>) -> Known<UserView> {
    let (uids, gids) = (uids.as_ref().map_err(Clone::clone)?, gids.as_ref().map_err(Clone::clone)?);
    let ids = |name: &str| -> Known<Vec<u32>> {
        Ok(field(status, name)?.split_whitespace().filter_map(|n| n.parse().ok()).collect())
    };
    let effective = |ids: Vec<u32>| ids.get(1).copied().ok_or_else(|| "no ids in status".to_string());
    let mut groups: Vec<u32> = ids("Groups")?.iter().map(|gid| inside(gids, *gid)).collect();
    groups.sort_unstable();
    groups.dedup();
    Ok(UserView {
        uid: inside(uids, effective(ids("Uid")?)?),
        gid: inside(gids, effective(ids("Gid")?)?),
        groups,
    })
}

fn capabilities(status: &StatusFields) -> Known<Capabilities> {
    let set = |name: &str| {
        let text = field(status, name)?;
        u64::from_str_radix(text, 16).map(CapSet).map_err(|e| format!("{name} {text:?}: {e}"))
    };
    Ok(Capabilities {
        bounding: set("CapBnd")?,
        effective: set("CapEff")?,
        inheritable: set("CapInh")?,
        permitted: set("CapPrm")?,
        ambient: set("CapAmb")?,
    })
}

fn seccomp(status: &StatusFields) -> Known<SeccompView> {
    if field(status, "Seccomp")? != "2" {
        return Ok(SeccompView::Off);
    }
    // Linux 5.9 counts them.
    Ok(SeccompView::Filters(field(status, "Seccomp_filters").ok().and_then(|n| n.parse().ok()).unwrap_or(0)))
}

fn label(files: &Files, machine: MachineFacts) -> Known<Option<String>> {
    if !machine.apparmor && !machine.selinux {
        return Ok(None);
    }
    let text = files.text("attr/current")?;
    let label = text.trim_end_matches(['\0', '\n']);
    let label = label.split(" (").next().unwrap_or(label);
    Ok(Some(label)
        .filter(|l| !l.is_empty() && *l != "unconfined" && !l.contains(":unconfined_t"))
        .map(String::from))
}

/// Process 1 has the host's namespaces; where its links cannot be read, the reader's own stand for them.
fn namespaces(files: &Files) -> Vec<(NsKind, Known<NamespaceView>)> {
    let host = |name: &str| {
        std::fs::read_link(format!("/proc/1/ns/{name}"))
            .or_else(|_| std::fs::read_link(format!("/proc/self/ns/{name}")))
            .map_err(|e| format!("/proc/self/ns/{name}: {e}"))
    };
    let rows = NAMESPACES.iter().filter(|row| row.kind != NsKind::Time);
    rows.map(|row| {
        let same = files.link(&format!("ns/{}", row.proc)).and_then(|own| Ok(own == host(row.proc)?));
        (row.kind, same.map(|same| if same { NamespaceView::Host } else { NamespaceView::Own }))
    })
    .collect()
}

fn host_mounts() -> Vec<MountInfo> {
    let read = |pid: &str| std::fs::read(format!("/proc/{pid}/mountinfo"));
    read("1").or_else(|_| read("self")).map(|text| entries(&text)).unwrap_or_default()
}

/// The last mount at `/` is the one that is seen.
fn root_entry(all: &[MountInfo]) -> Option<&MountInfo> {
    all.iter().rev().find(|e| e.at == Path::new("/"))
}

fn attrs(entry: &MountInfo) -> u64 {
    let words = [
        ("ro", libc::MOUNT_ATTR_RDONLY),
        ("nosuid", libc::MOUNT_ATTR_NOSUID),
        ("nodev", libc::MOUNT_ATTR_NODEV),
        ("noexec", libc::MOUNT_ATTR_NOEXEC),
    ];
    let has = |word: &str| entry.options.iter().any(|o| o == word);
    let set = words.iter().filter(|(word, _)| has(word)).fold(0, |bits, (_, bit)| bits | bit);
    if entry.fs_options.iter().any(|o| o == "ro") { set | libc::MOUNT_ATTR_RDONLY } else { set }
}

fn root(all: &Known<Vec<MountInfo>>) -> Known<RootView> {
    let all = all.as_ref().map_err(Clone::clone)?;
    let attrs = root_entry(all).map(attrs).ok_or_else(|| "mountinfo names no mount at /".to_string())?;
    let has = |bit| attrs & bit != 0;
    Ok(RootView {
        readonly: has(libc::MOUNT_ATTR_RDONLY),
        nosuid: has(libc::MOUNT_ATTR_NOSUID),
        nodev: has(libc::MOUNT_ATTR_NODEV),
    })
}

fn mounts(files: &Files, all: &[MountInfo], host: &[MountInfo]) -> Vec<MountView> {
    let mut views: Vec<MountView> = Vec::new();
    for entry in all.iter().filter(|e| e.at != Path::new("/")) {
        let source = host_path(entry, host);
        let view = MountView {
            destination: entry.at.clone(),
            fs_type: Some(entry.fs_type.clone()),
            parts: Vec::new(),
            bind: source.is_some(),
            source,
            attrs: attrs(entry),
            top_readonly: false,
            waived: 0,
            bounded: entry.fs_type != "tmpfs" || entry.fs_options.iter().any(|o| o.starts_with("size=")),
            volume: None,
            shared: is_shared(entry, host),
            at: Place::Line(files.shown("mountinfo"), entry.line),
        };
        // What is mounted over is not seen.
        views.retain(|v| v.destination != view.destination);
        views.push(view);
    }
    views
}

/// Which of the paths are covered by a mount of their own (or read-only), or are not there at all.
fn covered(
    files: &Files,
    all: &Known<Vec<MountInfo>>,
    usual: &[&str],
    more: &[PathBuf],
    readonly: bool,
) -> Known<Vec<PathBuf>> {
    let all = all.as_ref().map_err(Clone::clone)?;
    let paths = usual.iter().map(PathBuf::from).chain(more.iter().cloned());
    let mut found: Vec<PathBuf> = Vec::new();
    for path in paths {
        let over = all.iter().rev().filter(|e| path.starts_with(&e.at));
        let closest = over.max_by_key(|e| e.at.components().count());
        let guard = closest.is_some_and(|e| {
            // A whole procfs or sysfs is what is to be covered.
            let own =
                e.at.components().count() > 2 || !path.starts_with("/proc") && !path.starts_with("/sys");
            if readonly { attrs(e) & libc::MOUNT_ATTR_RDONLY != 0 } else { own && e.at != Path::new("/") }
        });
        if (guard || files.inside(&path)?.is_none()) && !found.contains(&path) {
            found.push(path);
        }
    }
    Ok(found)
}

/// Device nodes in /dev and its directories that are not default ones.
fn devices(files: &Files) -> Known<Vec<DeviceView>> {
    let mut found = Vec::new();
    for dir in ["/dev", "/dev/net", "/dev/mapper", "/dev/dri", "/dev/snd"] {
        let Some(fd) = files.inside(Path::new(dir))? else { continue };
        let real = format!("/proc/self/fd/{}", fd.as_raw_fd());
        let Ok(entries) = std::fs::read_dir(&real) else { continue };
        for entry in entries.flatten() {
            let Ok(meta) = entry.path().symlink_metadata() else { continue };
            let file_type = meta.file_type();
            if !file_type.is_char_device() && !file_type.is_block_device() {
                continue;
            }
            let kind = if file_type.is_block_device() { 'b' } else { 'c' };
            let (major, minor) = (nix::sys::stat::major(meta.rdev()), nix::sys::stat::minor(meta.rdev()));
            let (major, minor) = (u32::try_from(major).unwrap_or(0), u32::try_from(minor).unwrap_or(0));
            let path = Path::new(dir).join(entry.file_name());
            let pty = (136..=143).contains(&major);
            if !pty && !super::of_config::is_default(kind, Some(major), Some(minor)) {
                let at = Place::File(files.shown(&format!("root{}", path.display())));
                found.push(DeviceView { path, kind, major, minor, at });
            }
        }
    }
    Ok(found)
}

fn strings(files: &Files, file: &str) -> Known<Vec<String>> {
    let text = files.text(file)?;
    Ok(text.split('\0').filter(|s| !s.is_empty()).map(String::from).collect())
}

/// The device of the container's own devpts.
fn devpts(all: &[MountInfo]) -> Option<String> {
    all.iter().rev().find(|e| e.fs_type == "devpts" && e.at.starts_with("/dev")).map(|e| e.device.clone())
}

fn terminal(files: &Files, pts: Option<&str>) -> Known<TerminalView> {
    for fd in 0..3 {
        let Ok(meta) = files.stat(&format!("fd/{fd}")) else {
            // Without ptrace access the answer is unknown. A closed descriptor is no terminal.
            files.link("fd/0").or_else(|_| files.link("cwd"))?;
            continue;
        };
        let major = nix::sys::stat::major(meta.rdev());
        let tty = meta.file_type().is_char_device() && ((136..=143).contains(&major) || major == 4);
        let device = format!("{}:{}", nix::sys::stat::major(meta.dev()), nix::sys::stat::minor(meta.dev()));
        if tty && pts != Some(device.as_str()) {
            return Ok(TerminalView::Host);
        }
    }
    Ok(TerminalView::Own)
}

/// The other processes of the container's pid namespace.
fn peers(files: &Files, uids: &Known<Vec<IdMap>>) -> Known<Vec<Peer>> {
    let own = files.link("ns/pid")?;
    let uids = uids.as_ref().map_err(Clone::clone)?;
    let mut peers = Vec::new();
    for entry in std::fs::read_dir("/proc").map_err(|e| format!("/proc: {e}"))?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        if pid == files.pid || std::fs::read_link(entry.path().join("ns/pid")).ok() != Some(own.clone()) {
            continue;
        }
        let Ok(other) = Files::open(pid) else { continue };
        let status = other.status();
        let (Ok(caps), Ok(uid)) = (capabilities(&status), field(&status, "Uid")) else { continue };
        let uid = uid.split_whitespace().nth(1).and_then(|n| n.parse().ok()).unwrap_or(0);
        let name = field(&status, "Name").unwrap_or_default().to_string();
        let capabilities = caps.effective.0 | caps.permitted.0;
        peers.push(Peer { pid, uid: inside(uids, uid), capabilities, name });
    }
    Ok(peers)
}
