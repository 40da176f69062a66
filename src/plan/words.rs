//! Words that the rows' texts share.

use std::ffi::{CStr, CString};
use std::fmt::{self, Display};

use super::place::{SetAttr, Target};
use super::slot::Slot;
use crate::sys::cstr::show;
use crate::sys::mount::MountAttr;
use crate::tables::mount_options::describe_attrs;
use crate::tables::namespaces::NAMESPACES;

/// Names of namespace flags, joined by `|`.
pub fn flags(bits: u64) -> String {
    let names: Vec<_> = NAMESPACES.iter().filter(|r| bits & r.flag != 0).map(|r| r.flag_name).collect();
    if names.is_empty() { "0".into() } else { names.join("|") }
}

/// Names of mount(2) propagation flags, joined by `|`.
pub(super) fn propagation(bits: u64) -> String {
    let table = [
        (libc::MS_SHARED, "MS_SHARED"),
        (libc::MS_SLAVE, "MS_SLAVE"),
        (libc::MS_PRIVATE, "MS_PRIVATE"),
        (libc::MS_UNBINDABLE, "MS_UNBINDABLE"),
        (libc::MS_REC, "MS_REC"),
    ];
    table.iter().filter(|(b, _)| bits & b != 0).map(|(_, n)| *n).collect::<Vec<_>>().join("|")
}

/// A value as it is written to a file, without its newline and shortened.
pub(super) fn value(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim_end();
    if text.len() > 72 {
        format!("{:?}...", text.chars().take(69).collect::<String>())
    } else {
        format!("{text:?}")
    }
}

pub(super) fn print_data(f: &mut fmt::Formatter<'_>, data: &[(CString, Option<CString>)]) -> fmt::Result {
    data.iter().try_for_each(|(k, v)| match v {
        Some(v) => write!(f, "fsconfig({}={}) ", show(k), show(v)),
        None => write!(f, "fsconfig({}) ", show(k)),
    })
}

impl Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.root, show(&self.path))
    }
}

impl Display for SetAttr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let MountAttr { attr_set, attr_clr, propagation: p, .. } = self.attr;
        let mut parts = Vec::new();
        if attr_set != 0 {
            parts.push(format!("set={}", describe_attrs(attr_set)));
        }
        if attr_clr != 0 {
            parts.push(format!("clear={}", describe_attrs(attr_clr)));
        }
        if p != 0 {
            parts.push(format!("propagation={}", propagation(p)));
        }
        let recursive = if self.recursive { "AT_RECURSIVE, " } else { "" };
        write!(f, "mount_setattr({recursive}{})", parts.join(", "))
    }
}

pub(super) fn set_attrs(changes: &[SetAttr]) -> String {
    changes.iter().map(|c| format!("{c} ")).collect()
}

pub(super) fn prlimit(
    f: &mut std::fmt::Formatter<'_>,
    of: &str,
    resource: u32,
    soft: u64,
    hard: u64,
) -> std::fmt::Result {
    let limit = |v: u64| if v == libc::RLIM_INFINITY { "unlimited".to_string() } else { v.to_string() };
    let name = crate::tables::rlimits::by_number(resource).map_or("RLIMIT_?", |r| r.name);
    write!(f, "prlimit({of}, {name}, {{soft={}, hard={}}})", limit(soft), limit(hard))
}

/// The user that makes a user namespace, if it is not the caller.
pub(super) fn as_user(owner: Option<u32>) -> String {
    owner.map(|uid| format!("setresuid(-1, {uid}, -1) ")).unwrap_or_default()
}

/// The place of a target in a row's name.
pub(super) fn place(target: &Target) -> Option<String> {
    Some(target.inside())
}

/// A path below the container's root, or its /dev, in a row's name.
pub(super) fn below(root: &Slot, path: &CStr) -> Option<String> {
    let dev = if &*root.name == "dev" { "/dev/" } else { "/" };
    Some(format!("{dev}{}", show(path)))
}

/// A path that is resolved below the container's root, or its /dev, after what stands before it in the config.
pub(super) fn resolved(root: &Slot, path: &CStr) -> (&'static str, String) {
    (if &*root.name == "dev" { "/dev/" } else { "/" }, path.to_string_lossy().into_owned())
}

/// The name of a file.
pub(super) fn last(path: &CStr) -> String {
    show(path).rsplit('/').next().unwrap_or_default().to_string()
}

/// A slot in a row's name.
pub(super) fn slot_name(slot: &Slot) -> String {
    slot.name.replace(' ', "-")
}

/// `memlock` for RLIMIT_MEMLOCK.
pub(super) fn rlimit_name(resource: u32) -> String {
    crate::tables::rlimits::by_number(resource)
        .map_or_else(|| resource.to_string(), |r| r.name.trim_start_matches("RLIMIT_").to_lowercase())
}

/// `allow:c1:3` for "c 1:3 rwm" in devices.allow.
pub(super) fn device(file: &str, value: &[u8]) -> String {
    let text = String::from_utf8_lossy(value);
    let device: String = text.split_whitespace().take(2).collect();
    format!("{}:{device}", file.trim_start_matches("devices."))
}

/// The device behind the numbers of a rule in devices.allow or devices.deny.
pub(super) fn device_of_rule(file: &str, value: &[u8]) -> Option<&'static str> {
    if file != "devices.allow" && file != "devices.deny" {
        return None;
    }
    // Kind and numbers; the rights come after them.
    let text = std::str::from_utf8(value).ok()?.trim_end();
    let device = text.rsplit_once(' ').map_or(text, |(device, _)| device);
    DEVICES.iter().find(|(numbers, _)| *numbers == device).map(|(_, meaning)| *meaning)
}

/// Devices by kind and number (admin-guide/devices.txt of the kernel).
const DEVICES: &[(&str, &str)] = &[
    ("a", "every device"),
    ("a *:*", "every device"),
    ("c *:*", "every character device"),
    ("b *:*", "every block device"),
    ("c 1:3", "/dev/null"),
    ("c 1:5", "/dev/zero"),
    ("c 1:7", "/dev/full"),
    ("c 1:8", "/dev/random"),
    ("c 1:9", "/dev/urandom"),
    ("c 5:0", "/dev/tty"),
    ("c 5:1", "/dev/console"),
    ("c 5:2", "/dev/ptmx"),
    ("c 136:*", "/dev/pts/*"),
    ("c 10:200", "/dev/net/tun"),
    ("c 10:229", "/dev/fuse"),
    ("c 10:232", "/dev/kvm"),
];

/// A set of small numbers, as `{0,1,7}`.
pub(super) struct Bits<'a>(pub &'a [u64]);

impl Display for Bits<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set = (0..self.0.len() * 64).filter(|n| self.0[n / 64] & (1 << (n % 64)) != 0);
        let list: Vec<_> = set.map(|n| n.to_string()).collect();
        write!(f, "{{{}}}", list.join(","))
    }
}
