//! Parses JSON into a [`Config`]: first the shape, then the meaning of each section, then the checks across
//! sections.

use std::collections::BTreeMap;

use super::at::At;
use super::lists::{absolutes, id_maps, some_text};
use super::raw::{Map, RawProcess, RawSeccomp, RawSpec};
use super::{Config, ConfigError, Process, Resources};
use super::{checks, hooks, json, linux, mounts, numa, process, resources, sysctl};
use crate::tables::namespaces::NsKind;

/// Parses a `config.json`.
pub fn from_slice(json: &[u8]) -> Result<Config, ConfigError> {
    let raw: RawSpec = json::read(json)?;
    platform(&raw)?;
    let root = At::ROOT;
    let linux = raw.linux.unwrap_or_default();
    let at = root.key("linux");
    let mut config = Config {
        oci_version: version(raw.oci_version, &root.key("ociVersion"))?,
        root: mounts::root(raw.root, &root.key("root"))?,
        mounts: mounts::mounts(raw.mounts, &root.key("mounts"))?,
        process: raw.process.map(|p| process::process(p, &root.key("process"))).transpose()?,
        hostname: name(raw.hostname, &root.key("hostname"))?,
        domainname: name(raw.domainname, &root.key("domainname"))?,
        hooks: hooks::hooks(raw.hooks, &root.key("hooks"))?,
        annotations: annotations(raw.annotations, &root.key("annotations"))?,
        namespaces: linux::namespaces(linux.namespaces, &at.key("namespaces"))?,
        uid_maps: id_maps(linux.uid_mappings, &at.key("uidMappings"))?,
        gid_maps: id_maps(linux.gid_mappings, &at.key("gidMappings"))?,
        time_offsets: linux::time_offsets(linux.time_offsets, &at.key("timeOffsets"))?,
        devices: linux::devices(linux.devices, &at.key("devices"))?,
        net_devices: linux::net_devices(linux.net_devices, &at.key("netDevices"))?,
        cgroups_path: linux::cgroups_path(linux.cgroups_path, &at.key("cgroupsPath"))?,
        resources: resources::resources(linux.resources.unwrap_or_default(), &at.key("resources"))?,
        files: Vec::new(),
        network: crate::config::network::Network::default(),
        secrets: Vec::new(),
        links: Vec::new(),
        hardening: super::Hardening::default(),
        sysctl: sysctl::entries(linux.sysctl, &at.key("sysctl"))?,
        seccomp: linux::seccomp(linux.seccomp, &at.key("seccomp"))?,
        rootfs_propagation: linux::propagation(linux.rootfs_propagation, &at.key("rootfsPropagation"))?,
        masked_paths: absolutes(linux.masked_paths, &at.key("maskedPaths"))?,
        readonly_paths: absolutes(linux.readonly_paths, &at.key("readonlyPaths"))?,
        mount_label: some_text(linux.mount_label),
        personality: linux::personality(linux.personality, &at.key("personality"))?,
        memory_policy: numa::memory_policy(linux.memory_policy, &at.key("memoryPolicy"))?,
        intel_rdt: numa::intel_rdt(linux.intel_rdt, &at.key("intelRdt"))?,
    };
    if config.namespace(NsKind::User).is_none() {
        // As in runc and crun: without a user namespace the mappings have no effect and are ignored.
        config.uid_maps.clear();
        config.gid_maps.clear();
    }
    Ok(config)
}

/// Checks across sections. Called after options and policy have changed the config, for example added a
/// namespace.
pub fn check(config: &Config) -> Result<(), ConfigError> {
    checks::CHECKS.iter().try_for_each(|check| check(config))
}

/// Parses a `process` object (`exec --process`) for a container with the process `container`; pointers are
/// relative to that object. Missing security properties are those of the container, as with runc:
/// capabilities, no_new_privs, labels, limits and the like.
pub fn process_from_slice(json: &[u8], container: &Process) -> Result<Process, ConfigError> {
    let raw: RawProcess = json::read(json)?;
    let (no_capabilities, no_privileges) = (raw.capabilities.is_none(), raw.no_new_privileges.is_none());
    let mut process = process::process(raw, &At::ROOT)?;
    if no_capabilities {
        process.capabilities = container.capabilities;
    }
    if no_privileges {
        process.no_new_privileges = container.no_new_privileges;
    }
    if process.rlimits.is_empty() {
        process.rlimits = container.rlimits.clone();
    }
    let of = container.clone();
    process.apparmor_profile = process.apparmor_profile.or(of.apparmor_profile);
    process.selinux_label = process.selinux_label.or(of.selinux_label);
    process.oom_score_adj = process.oom_score_adj.or(of.oom_score_adj);
    process.scheduler = process.scheduler.or(of.scheduler);
    process.io_priority = process.io_priority.or(of.io_priority);
    process.user.umask = process.user.umask.or(of.user.umask);
    let own = &mut process.exec_cpu_affinity;
    if own.0.is_empty() && own.1.is_empty() {
        *own = of.exec_cpu_affinity;
    }
    Ok(process)
}

/// Parses a `resources` object (`update --resources`); pointers are relative to that object.
///
/// Docker sends zeros for unchanged values; they become `None`; see [`Resources`].
pub fn resources_from_slice(json: &[u8]) -> Result<Resources, ConfigError> {
    resources::resources(json::read(json)?, &At::ROOT)
}

/// Parses a seccomp profile with the format of `linux.seccomp` (`--security-opt seccomp=FILE`); pointers are
/// relative to it.
pub fn seccomp_from_slice(json: &[u8]) -> Result<oci_spec::runtime::LinuxSeccomp, ConfigError> {
    let raw: RawSeccomp = json::read(json)?;
    linux::seccomp(Some(raw), &At::ROOT)?.ok_or_else(|| {
        At::ROOT.key("defaultAction").error("a default action is required, for example SCMP_ACT_ERRNO")
    })
}

/// A config without a `linux` section for another platform is an error. Sections of other platforms are
/// ignored.
fn platform(raw: &RawSpec) -> Result<(), ConfigError> {
    if raw.linux.is_some() {
        return Ok(());
    }
    let others = [
        ("solaris", &raw.solaris),
        ("windows", &raw.windows),
        ("vm", &raw.vm),
        ("zos", &raw.zos),
        ("freebsd", &raw.freebsd),
    ];
    match others.iter().find(|(_, section)| section.is_some()) {
        Some((name, _)) => {
            Err(At::ROOT.key(name).error("this config is for another platform; a linux section is needed"))
        }
        None => Ok(()),
    }
}

/// Parses `ociVersion`: any 1.x is accepted, because minor versions only add (config.md "Specification
/// version").
fn version(raw: Option<String>, at: &At) -> Result<String, ConfigError> {
    let Some(version) = some_text(raw) else {
        return Err(at.error("ociVersion must be specified, for example 1.3.0"));
    };
    match major(&version) {
        None => {
            Err(at.error(format!("{version:?} is not a version of the form MAJOR.MINOR.PATCH (semver.org)")))
        }
        Some(1) => Ok(version),
        Some(_) => Err(at.error(format!("version {version:?} is not supported; use 1.0.0 or a later 1.x"))),
    }
}

/// The major number of a semantic version.
fn major(version: &str) -> Option<u64> {
    let words = |text: &str| {
        text.split('.').all(|w| !w.is_empty() && w.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'))
    };
    let (rest, build) = version.split_once('+').map_or((version, None), |(r, b)| (r, Some(b)));
    let (core, pre) = rest.split_once('-').map_or((rest, None), |(c, p)| (c, Some(p)));
    let number = |text: &str| match text.bytes().all(|b| b.is_ascii_digit())
        && (text == "0" || !text.starts_with('0'))
    {
        true => text.parse::<u64>().ok(),
        false => None,
    };
    let mut numbers = core.split('.').map(number);
    let (major, minor, patch) = (numbers.next()??, numbers.next()?, numbers.next()?);
    let good = minor.is_some() && patch.is_some() && numbers.next().is_none();
    (good && build.is_none_or(words) && pre.is_none_or(words)).then_some(major)
}

/// Parses `hostname` or `domainname`: sethostname(2) accepts 64 bytes.
fn name(raw: Option<String>, at: &At) -> Result<Option<String>, ConfigError> {
    match some_text(raw) {
        Some(name) if name.len() > 64 => {
            Err(at.error(format!("{} bytes; the kernel takes at most 64", name.len())))
        }
        name => Ok(name),
    }
}

/// Parses `annotations`: names must not be empty; values are any text.
fn annotations(raw: Option<Map<Option<String>>>, at: &At) -> Result<BTreeMap<String, String>, ConfigError> {
    let raw = raw.unwrap_or_default();
    if raw.contains_key("") {
        return Err(at.key("").error("the name of an annotation must not be empty"));
    }
    Ok(raw.into_iter().map(|(name, value)| (name, value.unwrap_or_default())).collect())
}
