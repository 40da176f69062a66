//! The posture that a config asks for.

use std::collections::BTreeMap;
use std::path::Path;

use oci_spec::runtime::LinuxSeccompAction;

use super::{
    Aspect, DeviceView, MachineFacts, MountView, NamespaceView, OpenDevice, Origin, Place, Posture, RootView,
    SeccompView, TerminalView, UserView,
};
use crate::cgroup::devices::DEFAULT_RULES;
use crate::config::{Config, DeviceRule, LinuxSeccomp, Mount, Process, Resources, Terminal};
use crate::tables::namespaces::{NAMESPACES, NsKind};

/// config.json's pointers of the parts that have one place.
const POINTERS: [(Aspect, &str); 23] = [
    (Aspect::User, "/process/user"),
    (Aspect::Capabilities, "/process/capabilities"),
    (Aspect::NoNewPrivileges, "/process/noNewPrivileges"),
    (Aspect::Seccomp, "/linux/seccomp"),
    (Aspect::Lsm, "/process/apparmorProfile"),
    (Aspect::Namespaces, "/linux/namespaces"),
    (Aspect::IdMaps, "/linux/uidMappings"),
    (Aspect::Root, "/root/readonly"),
    (Aspect::Mounts, "/mounts"),
    (Aspect::Masked, "/linux/maskedPaths"),
    (Aspect::Readonly, "/linux/readonlyPaths"),
    (Aspect::Memory, "/linux/resources/memory/limit"),
    (Aspect::Cpu, "/linux/resources/cpu/quota"),
    (Aspect::Pids, "/linux/resources/pids/limit"),
    (Aspect::Rlimits, "/process/rlimits"),
    (Aspect::Devices, "/linux/devices"),
    (Aspect::DeviceRules, "/linux/resources/devices"),
    (Aspect::Sysctl, "/linux/sysctl"),
    (Aspect::Environment, "/process/env"),
    (Aspect::Args, "/process/args"),
    (Aspect::Cgroup, "/linux/cgroupsPath"),
    (Aspect::OomScore, "/process/oomScoreAdj"),
    (Aspect::Terminal, "/process/terminal"),
];

impl Posture {
    /// What `config` asks for on this machine. Nothing is looked up.
    pub fn of_config(config: &Config, machine: MachineFacts) -> Self {
        let process = config.process.as_ref();
        let of = |what: &str| format!("the config has no process, and so no {what}");
        let hardening = &config.hardening;
        let resources = &config.resources;
        Posture {
            origin: if hardening.hardened { Origin::Hardened } else { Origin::Written },
            user: process.map(user).ok_or_else(|| of("user")),
            capabilities: process.map(|p| p.capabilities).ok_or_else(|| of("capabilities")),
            no_new_privileges: process.map(|p| p.no_new_privileges).ok_or_else(|| of("no_new_privs")),
            seccomp: Ok(seccomp(config)),
            lsm: process.map(label).ok_or_else(|| of("label")),
            namespaces: namespaces(config),
            uid_maps: Ok(config.uid_maps.clone()),
            gid_maps: Ok(config.gid_maps.clone()),
            root: Ok(root(config)),
            root_path: Err("the bundle was not looked at".into()),
            mounts: Ok(mounts(config)),
            masked: Ok(config.masked_paths.clone()),
            readonly: Ok(config.readonly_paths.clone()),
            memory: Ok(bytes(resources.memory.limit)),
            cpus: Ok(cpus(resources)),
            cpu_weight: Ok(resources.cpu.shares.is_some()),
            pids: Ok(bytes(resources.pids_limit)),
            rlimits: process.map(|p| p.rlimits.clone()).ok_or_else(|| of("limits")),
            devices: Ok(devices(config)),
            device_rules: Ok(device_rules(&resources.devices)),
            sysctl: Ok(config.sysctl.clone()),
            environment: process.map(|p| p.env.clone()).ok_or_else(|| of("environment")),
            args: process.map(|p| p.args.clone()).ok_or_else(|| of("program")),
            oom_score_adj: Ok(process.and_then(|p| p.oom_score_adj)),
            own_cgroup: Ok(config.cgroups_path.as_deref() != Some("/")),
            landlock: Ok(hardening.landlock),
            terminal: terminal(config),
            peers: Err("other processes are seen on running containers".into()),
            ports: super::ports::of_config(config),
            rootfs: Err("the root file system was not looked at".into()),
            picked_user: config.files.iter().any(|f| f.path == Path::new("/etc/passwd")),
            bare: hardening.bare,
            machine,
            places: places(config),
        }
    }

    /// The same container with another process in it.
    pub fn with_process(&self, process: &Process) -> Self {
        Posture {
            user: Ok(user(process)),
            capabilities: Ok(process.capabilities),
            no_new_privileges: Ok(process.no_new_privileges),
            lsm: Ok(label(process)),
            ..self.clone()
        }
    }

    /// The same container with other limits.
    pub fn with_resources(&self, resources: &Resources) -> Self {
        Posture {
            memory: Ok(bytes(resources.memory.limit)),
            cpus: Ok(cpus(resources)),
            cpu_weight: Ok(resources.cpu.shares.is_some()),
            pids: Ok(bytes(resources.pids_limit)),
            ..self.clone()
        }
    }
}

/// A limit; `None`: unlimited.
fn bytes(limit: Option<i64>) -> Option<u64> {
    limit.and_then(|n| u64::try_from(n).ok())
}

fn places(config: &Config) -> BTreeMap<Aspect, Place> {
    let mut places: BTreeMap<_, _> =
        POINTERS.iter().map(|(aspect, pointer)| (*aspect, Place::Pointer((*pointer).into()))).collect();
    if config.process.as_ref().is_some_and(|p| p.selinux_label.is_some()) {
        places.insert(Aspect::Lsm, Place::Pointer("/process/selinuxLabel".into()));
    }
    places
}

fn user(process: &Process) -> UserView {
    let mut groups = process.user.additional_gids.clone();
    groups.sort_unstable();
    groups.dedup();
    UserView { uid: process.user.uid, gid: process.user.gid, groups }
}

/// A profile whose only answer is "allowed" is no filter.
fn filters(profile: &LinuxSeccomp) -> bool {
    let passes = |action| matches!(action, LinuxSeccompAction::ScmpActAllow | LinuxSeccompAction::ScmpActLog);
    !passes(profile.default_action())
        || profile.syscalls().iter().flatten().any(|rule| !passes(rule.action()))
}

fn seccomp(config: &Config) -> SeccompView {
    let written = config.seccomp.as_ref().is_some_and(filters);
    let hardening = &config.hardening;
    let count = usize::from(written) + usize::from(hardening.builtin_seccomp) + hardening.guards.len();
    // The guards stand beside the built-in profile; alone they are not what the rule asks for.
    if written || hardening.builtin_seccomp {
        SeccompView::Filters(u32::try_from(count).unwrap_or(u32::MAX))
    } else {
        SeccompView::Off
    }
}

fn label(process: &Process) -> Option<String> {
    let some = |label: &Option<String>| label.clone().filter(|l| !l.is_empty() && l != "unconfined");
    some(&process.selinux_label).or_else(|| some(&process.apparmor_profile))
}

fn namespaces(config: &Config) -> Vec<(NsKind, super::Known<NamespaceView>)> {
    let rows = NAMESPACES.iter().filter(|row| row.kind != NsKind::Time);
    rows.map(|row| {
        let ns = match config.namespace(row.kind) {
            None => NamespaceView::Host,
            Some(ns) => ns.path.clone().map_or(NamespaceView::Own, NamespaceView::Joined),
        };
        (row.kind, Ok(ns))
    })
    .collect()
}

fn root(config: &Config) -> RootView {
    let attrs = config.hardening.root_attrs;
    RootView {
        readonly: config.root.readonly,
        nosuid: attrs & libc::MOUNT_ATTR_NOSUID != 0,
        nodev: attrs & libc::MOUNT_ATTR_NODEV != 0,
    }
}

fn mounts(config: &Config) -> Vec<MountView> {
    let view = |(i, m): (usize, &Mount)| {
        let tmpfs = m.fs_type.as_deref() == Some("tmpfs");
        MountView {
            destination: m.destination.clone(),
            fs_type: m.fs_type.clone(),
            source: m.source.clone().filter(|_| m.bind.is_some()).map(Into::into),
            parts: parts(m),
            bind: m.bind.is_some(),
            // A recursive bind brings mounts along: only what holds for them, too, is a guard.
            attrs: if m.bind == Some(true) { m.rec_attr_set } else { m.attr_set | m.rec_attr_set },
            top_readonly: (m.attr_set | m.rec_attr_set) & libc::MOUNT_ATTR_RDONLY != 0,
            waived: m.attr_clr | m.rec_attr_clr,
            bounded: !tmpfs || m.data.iter().any(|(key, _)| key == "size" || key == "nr_blocks"),
            volume: m.volume.as_ref().map(|_| m.idmap.is_some()),
            shared: m.propagation.iter().any(|flags| flags & libc::MS_SHARED != 0),
            at: Place::Pointer(format!("/mounts/{i}")),
        }
    };
    config.mounts.iter().enumerate().filter(|(_, m)| !m.remount).map(view).collect()
}

/// The host paths that a mount which is no bind mount is made of.
fn parts(mount: &Mount) -> Vec<std::path::PathBuf> {
    if mount.bind.is_some() {
        return Vec::new();
    }
    const LAYERS: [&str; 3] = ["lowerdir", "upperdir", "datadir"];
    let layers = mount.data.iter().filter(|(key, _)| LAYERS.contains(&key.trim_end_matches('+')));
    let layers = layers.filter_map(|(_, value)| value.as_deref()).flat_map(|value| value.split(':'));
    let device = mount.source.as_deref().filter(|source| source.starts_with("/dev/"));
    layers.chain(device).filter(|path| path.starts_with('/')).map(Into::into).collect()
}

fn cpus(resources: &Resources) -> Option<f64> {
    let cpu = &resources.cpu;
    let quota = cpu.quota.filter(|quota| *quota > 0)?;
    Some(quota as f64 / cpu.period.unwrap_or(100_000) as f64)
}

fn devices(config: &Config) -> Vec<DeviceView> {
    let devices = config.devices.iter().enumerate().filter(|(_, d)| d.kind != 'p');
    devices
        .map(|(i, d)| DeviceView {
            path: d.path.clone(),
            kind: d.kind,
            major: d.major,
            minor: d.minor,
            at: Place::Pointer(format!("/linux/devices/{i}")),
        })
        .filter(|d| !is_default(d.kind, Some(d.major), Some(d.minor)))
        .collect()
}

/// Whether every container has these devices.
pub(super) fn is_default(kind: char, major: Option<u32>, minor: Option<u32>) -> bool {
    DEFAULT_RULES.iter().any(|rule| {
        rule.read && rule.kind == kind && rule.major == major && rule.minor.is_none_or(|n| Some(n) == minor)
    })
}

/// The rules that allow to read or write more than the default devices. A later rule that denies everything takes
/// all of them back.
fn device_rules(rules: &[DeviceRule]) -> Vec<OpenDevice> {
    let last_denial = rules.iter().rposition(|r| !r.allow && r.kind == 'a').map_or(0, |at| at + 1);
    let rules = rules.iter().enumerate().skip(last_denial);
    let open = rules.filter(|(_, r)| r.allow && (r.read || r.write) && !is_default(r.kind, r.major, r.minor));
    open.map(|(i, r)| {
        let number = |n: Option<u32>| n.map_or_else(|| "*".into(), |n| n.to_string());
        let access: String = [(r.read, 'r'), (r.write, 'w'), (r.mknod, 'm')]
            .iter()
            .filter(|(on, _)| *on)
            .map(|(_, c)| c)
            .collect();
        OpenDevice {
            rule: format!("{} {}:{} {access}", r.kind, number(r.major), number(r.minor)),
            all: r.major.is_none() && r.minor.is_none(),
            at: Place::Pointer(format!("/linux/resources/devices/{i}")),
        }
    })
    .collect()
}

fn terminal(config: &Config) -> super::Known<TerminalView> {
    let own = config.process.as_ref().is_some_and(|p| p.terminal);
    match (config.hardening.hardened, config.hardening.terminal) {
        (_, Terminal::All | Terminal::Terminals) => Ok(TerminalView::Own),
        // The launcher puts pipes between a terminal of the caller and the program.
        (true, Terminal::None) => Ok(TerminalView::Own),
        (false, Terminal::None) if own => Ok(TerminalView::Own),
        (false, Terminal::None) => Err("the descriptors 0 to 2 are the caller's".into()),
    }
}
