//! Parser of `linux`: namespaces, devices, clocks and others. `resources`, `sysctl` and id mappings have
//! their own files.

use std::path::{Component, Path};

use oci_spec::runtime::LinuxSeccomp;

use super::at::At;
use super::lists::{absolute, some_text};
use super::raw::{Map, RawDevice, RawNamespace, RawNetDevice, RawPersonality, RawSeccomp, RawTimeOffset};
use super::resources::{MAX_MAJOR, MAX_MINOR};
use super::{ConfigError, Device, Namespace};
use crate::tables::{mount_options, namespaces::NsKind};

/// Parses `seccomp`. Without a default action and without rules there is no filter, as in runc.
pub(super) fn seccomp(raw: Option<RawSeccomp>, at: &At) -> Result<Option<LinuxSeccomp>, ConfigError> {
    let Some(raw) = raw else { return Ok(None) };
    let Some(action) = raw.default_action else {
        return match raw.syscalls.is_none_or(|calls| calls.is_empty()) {
            true => Ok(None),
            false => {
                Err(at.key("defaultAction").error("a default action is required, for example SCMP_ACT_ERRNO"))
            }
        };
    };
    let mut seccomp = LinuxSeccomp::default();
    seccomp.set_default_action(action).set_default_errno_ret(raw.default_errno_ret);
    seccomp.set_architectures(raw.architectures).set_flags(raw.flags).set_syscalls(raw.syscalls);
    let path = raw.listener_path.filter(|path| !path.as_os_str().is_empty());
    seccomp.set_listener_path(path).set_listener_metadata(some_text(raw.listener_metadata));
    Ok(Some(seccomp))
}

/// Parses `namespaces`: each kind at most once; an empty path means a new namespace.
pub(super) fn namespaces(raw: Option<Vec<RawNamespace>>, at: &At) -> Result<Vec<Namespace>, ConfigError> {
    let mut list: Vec<Namespace> = Vec::new();
    for (i, ns) in raw.unwrap_or_default().into_iter().enumerate() {
        let (at, name) = (at.index(i), ns.r#type.unwrap_or_default());
        let Some(kind) = NsKind::from_oci(&name) else {
            let message = format!(
                "unknown namespace {name:?}; use user, mount, pid, network, ipc, uts, cgroup or time"
            );
            return Err(at.key("type").error(message));
        };
        if list.iter().any(|n| n.kind == kind) {
            return Err(at.key("type").error(format!("namespace {name:?} is listed twice")));
        }
        let path = some_text(ns.path).map(|path| absolute(path, &at.key("path"))).transpose()?;
        list.push(Namespace { kind, path });
    }
    Ok(list)
}

/// Parses `devices`.
pub(super) fn devices(raw: Option<Vec<RawDevice>>, at: &At) -> Result<Vec<Device>, ConfigError> {
    raw.unwrap_or_default().into_iter().enumerate().map(|(i, d)| device(d, &at.index(i))).collect()
}

/// Parses one device node.
fn device(raw: RawDevice, at: &At) -> Result<Device, ConfigError> {
    let kind = match raw.r#type.as_deref().unwrap_or_default() {
        "c" | "u" => 'c',
        "b" => 'b',
        "p" => 'p',
        other => {
            return Err(at.key("type").error(format!("invalid device type {other:?}; use c, b, u or p")));
        }
    };
    let path = absolute(raw.path.unwrap_or_default(), &at.key("path"))?;
    if path.components().any(|c| c == Component::ParentDir) {
        return Err(at.key("path").error("the path of a device cannot contain \"..\""));
    }
    let number = |value: Option<i64>, name, max| match u32::try_from(value.unwrap_or(0)) {
        Ok(n) if n <= max => Ok(n),
        _ => Err(at.key(name).error(format!("device number {} is outside 0 to {max}", value.unwrap_or(0)))),
    };
    // Callers pass the whole st_mode; its file type bits repeat `type`.
    let mode = raw.file_mode.map_or(0o666, |m| m & !libc::S_IFMT);
    if mode > 0o7777 {
        return Err(at.key("fileMode").error("file mode has bits above 4095 (octal 07777)"));
    }
    Ok(Device {
        path,
        kind,
        major: number(raw.major, "major", MAX_MAJOR)?,
        minor: number(raw.minor, "minor", MAX_MINOR)?,
        mode,
        uid: raw.uid.unwrap_or(0),
        gid: raw.gid.unwrap_or(0),
    })
}

/// Parses `netDevices`: (host name, container name). The default container name is the host name.
pub(super) fn net_devices(
    raw: Option<Map<Option<RawNetDevice>>>,
    at: &At,
) -> Result<Vec<(String, String)>, ConfigError> {
    let mut list: Vec<(String, String)> = Vec::new();
    for (host, device) in raw.unwrap_or_default() {
        let here = at.key(&host);
        let inside = device.and_then(|d| some_text(d.name)).unwrap_or_else(|| host.clone());
        for (name, may_be_numbered) in [(&host, false), (&inside, true)] {
            if !(is_interface_name(name) || may_be_numbered && is_numbered(name)) {
                return Err(here.error(format!(
                    "{name:?} is not an interface name: 1 to 15 bytes without / : % or blanks"
                )));
            }
        }
        if !is_numbered(&inside) && list.iter().any(|(_, other)| *other == inside) {
            return Err(here.key("name").error(format!("two devices would be named {inside:?}")));
        }
        list.push((host, inside));
    }
    Ok(list)
}

/// Whether `name` is a template: it has one `%d`, which the kernel replaces with the first free number.
fn is_numbered(name: &str) -> bool {
    name.len() <= 15 && name.split_once("%d").is_some_and(|(a, b)| is_interface_name(&format!("{a}0{b}")))
}

/// The kernel's `dev_valid_name`, and no `%`, which would make it a template.
fn is_interface_name(name: &str) -> bool {
    (1..=15).contains(&name.len())
        && !matches!(name, "." | "..")
        && !name.contains(|c: char| matches!(c, '/' | ':' | '%') || c.is_whitespace() || c.is_control())
}

/// Parses `timeOffsets` of time_namespaces(7): (clock, seconds, nanoseconds).
pub(super) fn time_offsets(
    raw: Option<Map<Option<RawTimeOffset>>>,
    at: &At,
) -> Result<Vec<(String, i64, u32)>, ConfigError> {
    let mut list = Vec::new();
    for (clock, offset) in raw.unwrap_or_default() {
        let here = at.key(&clock);
        if !matches!(clock.as_str(), "monotonic" | "boottime") {
            return Err(here.error(format!("unknown clock {clock:?}; use monotonic or boottime")));
        }
        let offset = offset.unwrap_or_default();
        let nanosecs = offset.nanosecs.unwrap_or(0);
        if nanosecs > 999_999_999 {
            return Err(here.key("nanosecs").error("nanoseconds are outside 0 to 999999999"));
        }
        list.push((clock, offset.secs.unwrap_or(0), nanosecs));
    }
    Ok(list)
}

/// Parses `rootfsPropagation` into mount(2) flags.
pub(super) fn propagation(raw: Option<String>, at: &At) -> Result<Option<u64>, ConfigError> {
    let Some(name) = some_text(raw) else { return Ok(None) };
    match mount_options::propagation(&name) {
        Some(flags) => Ok(Some(flags)),
        None => Err(at.error(format!(
            "rootfsPropagation={name} is not supported; use private, slave, shared or unbindable, or these with a leading r"
        ))),
    }
}

/// Execution domains of personality(2), `linux/personality.h`.
const DOMAINS: [(&str, u64); 2] = [("LINUX", 0x0), ("LINUX32", 0x8)];

/// Parses `personality` into the argument of personality(2).
pub(super) fn personality(raw: Option<RawPersonality>, at: &At) -> Result<Option<u64>, ConfigError> {
    let Some(raw) = raw else { return Ok(None) };
    if raw.flags.is_some_and(|f| !f.is_empty()) {
        return Err(at.key("flags").error("no personality flag is supported; leave flags empty"));
    }
    let name = raw.domain.unwrap_or_default();
    match DOMAINS.iter().find(|d| d.0 == name) {
        Some((_, domain)) => Ok(Some(*domain)),
        None => {
            Err(at.key("domain").error(format!("invalid personality domain {name:?}; use LINUX or LINUX32")))
        }
    }
}

/// Validates `cgroupsPath`: it must not leave the cgroup tree.
pub(super) fn cgroups_path(raw: Option<String>, at: &At) -> Result<Option<String>, ConfigError> {
    let path = some_text(raw);
    match &path {
        Some(p) if Path::new(p).components().any(|c| c == Component::ParentDir) => {
            Err(at.error(format!("cgroups path {p:?} cannot contain \"..\"")))
        }
        _ => Ok(path),
    }
}
