//! System call filters: from a profile to the BPF program for seccomp(2).
//!
//! There are two sources. The [built-in profile](builtin) is a table of groups, each with a reason. A
//! config's profile (`profile`) is translated with runc's semantics. Both become rules for
//! libseccomp (`library`), with a [prologue](bpf) in front for what the library cannot express. Compiling
//! takes milliseconds, so the result is cached (`cache`) between starts.
//!
//! This module does not load filters: Init loads them, in one of the last rows of the plan.

pub mod bpf;
pub mod builtin;
mod cache;
pub mod capable;
mod guards;
mod library;
mod listener;
mod numbers;
pub mod observed;
mod profile;
mod refusals;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

use libc::sock_filter;
use libseccomp::ScmpAction;

use crate::config::{ConfigError, LinuxSeccomp};
use crate::sys::seccomp as sys;
use crate::tables::capabilities::CapSet;
use bpf::{BpfCheck, BpfVerdict, Section};
pub use builtin::{ArgumentRule, Cap, Group, SyscallAction};
pub use guards::guard_profile;
use library::Library;
pub use listener::{Listener, lets, may_be_passed};
pub use profile::unknown_names;
pub use refusals::{Reported, reported};

/// The name of a system call of this architecture; `None`: no table has the number.
pub fn call_name(number: u32) -> Option<String> {
    numbers::name(number, numbers::native())
}

/// `SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV` (Linux 5.19), which libc does not define yet.
pub const WAIT_KILLABLE_RECV: u32 = 1 << 5;

/// A compiled filter: the array of `struct sock_filter` for seccomp(2).
#[derive(Debug, Clone)]
pub struct Filter {
    /// The program; the kernel's checker accepts it.
    pub instructions: Vec<sock_filter>,
    /// `SECCOMP_FILTER_FLAG_*`; contains `NEW_LISTENER` if and only if `listener` is set.
    pub flags: u32,
    /// Receiver of the listener's descriptor, if an action is `SCMP_ACT_NOTIFY`.
    pub listener: Option<Listener>,
}

/// The source of a filter.
#[derive(Debug, Clone)]
pub enum FilterSource {
    /// The built-in profile.
    BuiltIn {
        /// The bounding set: some groups are allowed only with a capability.
        caps: CapSet,
        /// System calls that are allowed regardless of the table (`--seccomp-allow`).
        allow: Vec<String>,
    },
    /// The config's profile.
    Profile(Arc<LinuxSeccomp>),
}

/// Compiles `mode`, without side effects. Errors point into the config: a system call that no architecture
/// has, an errno for an action without one, a program of more than 4096 instructions.
pub fn compile(mode: &FilterSource) -> Result<Filter, ConfigError> {
    match mode {
        FilterSource::BuiltIn { caps, allow } => compile_builtin(*caps, allow)
            .map_err(|m| ConfigError::new("", format!("built-in seccomp profile: {m}"))),
        FilterSource::Profile(profile) => profile::compile(profile),
    }
}

/// The errno with which a filter refuses this native system call for all arguments; `None` if it does not
/// refuse it with an errno.
pub fn refuses(filter: &[sock_filter], call: i64) -> Option<i32> {
    let arch = library::audit_arch(numbers::native())?;
    let answer = bpf::run(filter, arch, u32::try_from(call).ok()?, [0; 6])?;
    let data = answer & libc::SECCOMP_RET_DATA;
    (answer & libc::SECCOMP_RET_ACTION_FULL == libc::SECCOMP_RET_ERRNO).then_some(data as i32)
}

/// [`compile`] with a cache in `cache_dir`.
///
/// The cache only affects speed: a missing, damaged or foreign file, or one that another user can write, is
/// compiled again and replaced. Without a usable directory the cache is skipped.
pub fn compile_cached(mode: &FilterSource, cache_dir: &Path) -> Result<Filter, ConfigError> {
    cache::compile_cached(mode, cache_dir)
}

/// The groups of the built-in profile, for `explain` and the documentation.
pub fn builtin_profile() -> &'static [Group] {
    builtin::GROUPS
}

fn compile_builtin(caps: CapSet, allow: &[String]) -> Result<Filter, String> {
    let asked = |name: &str| allow.iter().any(|a| a == name);
    let granted = |cap: Option<Cap>| cap.is_some_and(|c| caps.has(c.bit));
    let native = numbers::native();
    let audit_arch = library::audit_arch(native).ok_or("unknown architecture")?;
    let mut section = Section { audit_arch, ..Section::default() };
    let default = ScmpAction::Errno(libc::ENOSYS);
    let mut library = Library::new(default)?;
    // 64-bit programs never make x32 or 32-bit calls. A process that makes one probes for a way around the
    // filter; it is killed, so it cannot try again.
    library.bad_arch(ScmpAction::KillProcess)?;
    for group in builtin::GROUPS {
        let action = if granted(group.caps) { SyscallAction::Allow } else { group.action };
        // libseccomp refuses a rule whose action is the default action.
        let ruled = |name: &&&str| !asked(name) && scmp(action) != default;
        for name in group.syscalls.iter().filter(ruled) {
            if let Some(nr) = numbers::number(name, native) {
                library.rule(scmp(action), nr as i32, &[])?;
            }
        }
        let open = |r: &&ArgumentRule| (r.caps.is_none() || granted(r.caps)) && !asked(r.syscall);
        for rule in group.rules.iter().filter(open) {
            let Some(nr) = numbers::number(rule.syscall, native) else { continue };
            let verdict = BpfVerdict::Return(profile::ret(scmp(rule.action)));
            let check = BpfCheck { when: rule.when.to_vec(), verdict };
            match section.checks.iter_mut().find(|(n, _)| *n == nr) {
                Some((_, list)) => list.push(check),
                None => section.checks.push((nr, vec![check])),
            }
        }
    }
    for name in allow {
        let nr = numbers::number(name, native).ok_or_else(|| format!("unknown system call {name}"))?;
        library.rule(ScmpAction::Allow, nr as i32, &[])?;
    }
    let mut instructions = bpf::prologue(&[section])?;
    instructions.extend(library.export()?);
    bpf::check(&instructions)?;
    Ok(Filter { instructions, flags: 0, listener: None })
}

/// System calls of the groups `tracing` and `tracing-others`, which `--allow ptrace` allows.
pub fn tracing() -> impl Iterator<Item = &'static str> {
    let groups = builtin::GROUPS.iter().filter(|g| matches!(g.name, "tracing" | "tracing-others"));
    groups.flat_map(|g| g.syscalls.iter().copied())
}

/// The reason why the table refuses `name`, which the caller wants to allow for all arguments. `None` if the
/// table allows it anyway; an error if this machine has no such system call.
pub fn weakens(name: &str) -> Result<Option<&'static str>, String> {
    if numbers::number(name, numbers::native()).is_none() {
        return Err("unknown system call (names are those of `man 2 syscalls`)".into());
    }
    let rules = |g: &&Group| g.rules.iter().any(|r| r.syscall == name);
    let group = builtin::GROUPS.iter().find(|g| g.syscalls.contains(&name) || rules(g));
    Ok(match group {
        None => Some("the profile does not know it"),
        Some(g) if g.action == SyscallAction::Allow && !rules(&g) => None,
        Some(g) => Some(g.doc),
    })
}

fn scmp(action: SyscallAction) -> ScmpAction {
    match action {
        SyscallAction::Allow => ScmpAction::Allow,
        SyscallAction::Errno(errno) => ScmpAction::Errno(errno),
    }
}

/// The part of `features` about seccomp (runtime-spec, features-linux.md "Seccomp").
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct Features {
    pub actions: Vec<&'static str>,
    pub operators: Vec<&'static str>,
    pub archs: Vec<&'static str>,
    pub known_flags: Vec<&'static str>,
    /// The flags of `known_flags` that this kernel supports.
    pub supported_flags: Vec<&'static str>,
}

/// `(OCI name, SECCOMP_RET_*)`; `None`: supported by every kernel with seccomp filters.
const ACTIONS: &[(&str, Option<u32>)] = &[
    ("SCMP_ACT_ALLOW", None),
    ("SCMP_ACT_ERRNO", None),
    ("SCMP_ACT_KILL", None),
    ("SCMP_ACT_KILL_PROCESS", Some(libc::SECCOMP_RET_KILL_PROCESS)),
    ("SCMP_ACT_KILL_THREAD", None),
    ("SCMP_ACT_LOG", Some(libc::SECCOMP_RET_LOG)),
    ("SCMP_ACT_NOTIFY", Some(libc::SECCOMP_RET_USER_NOTIF)),
    ("SCMP_ACT_TRACE", None),
    ("SCMP_ACT_TRAP", None),
];

const OPERATORS: &[&str] = &[
    "SCMP_CMP_EQ",
    "SCMP_CMP_GE",
    "SCMP_CMP_GT",
    "SCMP_CMP_LE",
    "SCMP_CMP_LT",
    "SCMP_CMP_MASKED_EQ",
    "SCMP_CMP_NE",
];

/// `(OCI name, flag, flag that must be set with it in a test)`.
const FLAGS: &[(&str, u32, u32)] = &[
    ("SECCOMP_FILTER_FLAG_LOG", libc::SECCOMP_FILTER_FLAG_LOG as u32, 0),
    ("SECCOMP_FILTER_FLAG_SPEC_ALLOW", libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW as u32, 0),
    ("SECCOMP_FILTER_FLAG_TSYNC", libc::SECCOMP_FILTER_FLAG_TSYNC as u32, 0),
    (
        "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
        WAIT_KILLABLE_RECV,
        libc::SECCOMP_FILTER_FLAG_NEW_LISTENER as u32,
    ),
];

/// Names of `SECCOMP_FILTER_FLAG_*`, joined by `|`; empty if there are none.
pub fn flag_names(flags: u32) -> String {
    let listener = ("SECCOMP_FILTER_FLAG_NEW_LISTENER", libc::SECCOMP_FILTER_FLAG_NEW_LISTENER as u32);
    let known = FLAGS.iter().map(|(name, flag, _)| (*name, *flag)).chain([listener]);
    known.filter(|(_, flag)| flags & flag != 0).map(|(name, _)| name).collect::<Vec<_>>().join("|")
}

/// The features that this build knows and this kernel supports; seven system calls without side effects.
pub fn features() -> Features {
    let available = |(_, ret): &&(&str, Option<u32>)| ret.is_none_or(sys::action_available);
    let supported = |(_, flag, with): &&(&str, u32, u32)| sys::flag_supported(flag | with);
    let mut archs: Vec<&str> = library::ARCHS.iter().map(|(name, ..)| *name).collect();
    archs.sort_unstable();
    Features {
        actions: ACTIONS.iter().filter(available).map(|(name, _)| *name).collect(),
        operators: OPERATORS.to_vec(),
        archs,
        known_flags: FLAGS.iter().map(|(name, ..)| *name).collect(),
        supported_flags: FLAGS.iter().filter(supported).map(|(name, ..)| *name).collect(),
    }
}
