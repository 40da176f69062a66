//! Words that the rows' texts share.

use std::ffi::CString;
use std::fmt::{self, Display};

use super::action::{SetAttr, Target};
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

/// Who makes a user namespace, where that is not the caller.
pub(super) fn as_user(owner: Option<u32>) -> String {
    owner.map(|uid| format!("setresuid(-1, {uid}, -1) ")).unwrap_or_default()
}
