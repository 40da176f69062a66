//! Compiles a config's `linux.seccomp` (config-linux.md "Seccomp"), with runc's semantics where the
//! specification leaves room.
//!
//! The prologue, not libseccomp, decides these cases:
//! - rules for system calls that the installed libseccomp does not know (see [`super::numbers`]);
//! - `ENOSYS` for system calls newer than the newest one in the profile. The author of a profile could not
//!   decide about system calls that did not exist. With the profile's `EPERM` libc would take a new system call
//!   as forbidden instead of missing, and fail. runc does the same ("-ENOSYS stub").
//!
//! libseccomp decides everything else.

use libc::sock_filter;
use libseccomp::{ScmpAction, ScmpArch};
use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction as Act, LinuxSeccompArg, LinuxSeccompFilterFlag as Flag,
    LinuxSeccompOperator, LinuxSyscall,
};

use super::bpf::{self, BpfCheck, BpfVerdict, CompareOp, Cond, Newest, Section};
use super::library::{self, Library};
use super::numbers::{self, Meaning};
use super::{Filter, Listener};
use crate::config::ConfigError;

/// The largest errno that libseccomp accepts, one below the kernel's `MAX_ERRNO`; the kernel silently caps
/// larger ones.
const MAX_ERRNO: u32 = 4094;

const ROOT: &str = "/linux/seccomp";

/// Compiles `profile`.
pub fn compile(profile: &LinuxSeccomp) -> Result<Filter, ConfigError> {
    let default =
        action(profile.default_action(), profile.default_errno_ret(), &format!("{ROOT}/defaultErrnoRet"))?;
    let listener = listener(profile)?;
    let flags = flags(profile, listener.is_some())?;
    let archs = archs(profile)?;
    let internal = |message: String| ConfigError::new(ROOT, message);

    let mut library = Library::new(default).map_err(internal)?;
    for (arch, pointer) in &archs {
        library.arch(*arch).map_err(|m| ConfigError::new(pointer, m))?;
    }
    let archs: Vec<ScmpArch> = archs.into_iter().map(|(arch, _)| arch).collect();
    let mut newer = Vec::new();
    for (i, entry) in profile.syscalls().iter().flatten().enumerate() {
        add_entry(&mut library, &mut newer, entry, default, &archs, &format!("{ROOT}/syscalls/{i}"))?;
    }

    let stub = wants_stub(profile, default);
    let sections = sections(profile, &archs, &newer, stub);
    let mut instructions: Vec<sock_filter> = bpf::prologue(&sections).map_err(internal)?;
    instructions.extend(library.export().map_err(internal)?);
    bpf::check(&instructions).map_err(internal)?;
    Ok(Filter { instructions, flags, listener })
}

/// Names of system calls that no architecture has, according to both tables. As in runc, their rules are
/// dropped if the filter does not allow more without them.
pub fn unknown_names(profile: &LinuxSeccomp) -> Vec<&str> {
    let names = profile.syscalls().iter().flatten().flat_map(|s| s.names());
    names.map(String::as_str).filter(|name| is_unknown(name)).collect()
}

/// One rule for a system call that only the table of this crate knows.
struct Newer {
    arch: ScmpArch,
    nr: u32,
    check: BpfCheck,
}

/// The profile's architectures besides the native one, which is always included; each with its pointer.
fn archs(profile: &LinuxSeccomp) -> Result<Vec<(ScmpArch, String)>, ConfigError> {
    let mut list = vec![(numbers::native(), format!("{ROOT}/architectures"))];
    for (i, arch) in profile.architectures().iter().flatten().enumerate() {
        let pointer = format!("{ROOT}/architectures/{i}");
        if *arch == Arch::ScmpArchNative {
            continue;
        }
        let arch = by_token(*arch as u32)
            .ok_or_else(|| ConfigError::new(&pointer, format!("unknown architecture {arch:?}")))?;
        if !list.iter().any(|(a, _)| *a == arch) {
            list.push((arch, pointer));
        }
    }
    Ok(list)
}

/// libseccomp's architecture for an OCI one. Its token is the kernel's number, except for x32.
fn by_token(token: u32) -> Option<ScmpArch> {
    if token == Arch::ScmpArchX32 as u32 {
        return Some(ScmpArch::X32);
    }
    let known = library::ARCHS.iter().find(|(_, a, audit)| *audit == token && *a != ScmpArch::X32);
    known.map(|(_, arch, _)| *arch)
}

/// Adds one entry of `syscalls` to the library, or to `newer` if the library does not know it.
fn add_entry(
    library: &mut Library,
    newer: &mut Vec<Newer>,
    entry: &LinuxSyscall,
    default: ScmpAction,
    archs: &[ScmpArch],
    pointer: &str,
) -> Result<(), ConfigError> {
    let act = action(entry.action(), entry.errno_ret(), &format!("{pointer}/errnoRet"))?;
    let alternatives = alternatives(entry, pointer)?;
    if entry.names().is_empty() {
        return Err(ConfigError::new(format!("{pointer}/names"), "at least one system call must be named"));
    }
    for (j, name) in entry.names().iter().enumerate() {
        let here = format!("{pointer}/names/{j}");
        if act == ScmpAction::Notify && name == "write" {
            let why = "SCMP_ACT_NOTIFY cannot be used for the write syscall, which passes the listener";
            return Err(ConfigError::new(here, why));
        }
        let native = numbers::meaning(name, numbers::native());
        match native {
            // The name is newer than both tables, or a typing error. As in runc, the rule is dropped, but
            // only if that does not allow a call that the profile refuses.
            Meaning::Unknown if matches!(act, ScmpAction::Allow | ScmpAction::Log) || !allows(default) => {}
            Meaning::Unknown => {
                return Err(ConfigError::new(
                    here,
                    format!("unknown system call {name:?}: without this rule it would be allowed"),
                ));
            }
            // libseccomp refuses a rule whose action is the default action.
            _ if act == default => {}
            // Also rules without effect and pseudo numbers of other architectures: libseccomp handles those.
            Meaning::Library(nr) => {
                for when in &alternatives {
                    library.rule(act, nr, when).map_err(|m| ConfigError::new(&here, m))?;
                }
            }
            Meaning::Newer(_) | Meaning::Elsewhere => {
                newer.extend(archs.iter().flat_map(|arch| newer_rules(name, *arch, act, &alternatives)));
            }
        }
    }
    Ok(())
}

/// The rules of one newer system call on one architecture.
fn newer_rules(name: &str, arch: ScmpArch, act: ScmpAction, alternatives: &[Vec<Cond>]) -> Vec<Newer> {
    let Some(nr) = numbers::number(name, arch) else { return Vec::new() };
    let verdict = BpfVerdict::Return(ret(act));
    alternatives
        .iter()
        .map(|when| Newer { arch, nr, check: BpfCheck { when: when.clone(), verdict } })
        .collect()
}

/// The alternative sets of conditions of an entry; the entry applies if one of them holds.
///
/// Conditions on different arguments are combined with AND. If one argument is named twice, libseccomp cannot
/// combine them, and runc makes each condition a separate rule; profiles rely on that.
fn alternatives(entry: &LinuxSyscall, pointer: &str) -> Result<Vec<Vec<Cond>>, ConfigError> {
    let mut conditions = Vec::new();
    let mut seen = [0u8; 6];
    for (i, arg) in entry.args().iter().flatten().enumerate() {
        let Some(count) = seen.get_mut(arg.index()) else {
            let at = format!("{pointer}/args/{i}/index");
            return Err(ConfigError::new(at, format!("{} is not an argument index, 0 to 5", arg.index())));
        };
        *count = count.saturating_add(1);
        conditions.push(condition(arg));
    }
    if seen.iter().any(|n| *n > 1) {
        return Ok(conditions.into_iter().map(|c| vec![c]).collect());
    }
    Ok(vec![conditions])
}

fn condition(arg: &LinuxSeccompArg) -> Cond {
    // The index is in 0..=5, checked above.
    let index = arg.index() as u8;
    let plain = |op| Cond { arg: index, op, mask: u64::MAX, value: arg.value() };
    match arg.op() {
        LinuxSeccompOperator::ScmpCmpNe => plain(CompareOp::Ne),
        LinuxSeccompOperator::ScmpCmpLt => plain(CompareOp::Lt),
        LinuxSeccompOperator::ScmpCmpLe => plain(CompareOp::Le),
        LinuxSeccompOperator::ScmpCmpEq => plain(CompareOp::Eq),
        LinuxSeccompOperator::ScmpCmpGe => plain(CompareOp::Ge),
        LinuxSeccompOperator::ScmpCmpGt => plain(CompareOp::Gt),
        LinuxSeccompOperator::ScmpCmpMaskedEq => Cond {
            arg: index,
            op: CompareOp::MaskedEq,
            mask: arg.value(),
            value: arg.value_two().unwrap_or(0) & arg.value(),
        },
    }
}

/// An action with its errno. An errno for an action without one is an error (config-linux.md).
fn action(act: Act, errno: Option<u32>, pointer: &str) -> Result<ScmpAction, ConfigError> {
    let takes_errno = matches!(act, Act::ScmpActErrno | Act::ScmpActTrace);
    let most = if act == Act::ScmpActErrno { MAX_ERRNO } else { u32::from(u16::MAX) };
    match errno {
        Some(_) if !takes_errno => {
            return Err(ConfigError::new(pointer, format!("{act} does not return an errno")));
        }
        Some(e) if e > most => {
            return Err(ConfigError::new(pointer, format!("{e} is above {most}")));
        }
        _ => {}
    }
    let errno = errno.unwrap_or(libc::EPERM as u32) as u16;
    Ok(match act {
        Act::ScmpActKill | Act::ScmpActKillThread => ScmpAction::KillThread,
        Act::ScmpActKillProcess => ScmpAction::KillProcess,
        Act::ScmpActTrap => ScmpAction::Trap,
        Act::ScmpActErrno => ScmpAction::Errno(i32::from(errno)),
        Act::ScmpActTrace => ScmpAction::Trace(errno),
        Act::ScmpActLog => ScmpAction::Log,
        Act::ScmpActAllow => ScmpAction::Allow,
        Act::ScmpActNotify => ScmpAction::Notify,
    })
}

/// The `SECCOMP_RET_*` value of an action.
pub fn ret(act: ScmpAction) -> u32 {
    match act {
        ScmpAction::KillProcess => libc::SECCOMP_RET_KILL_PROCESS,
        ScmpAction::KillThread => libc::SECCOMP_RET_KILL_THREAD,
        ScmpAction::Trap => libc::SECCOMP_RET_TRAP,
        ScmpAction::Errno(e) => libc::SECCOMP_RET_ERRNO | (e as u32 & 0xffff),
        ScmpAction::Trace(v) => libc::SECCOMP_RET_TRACE | u32::from(v),
        ScmpAction::Log => libc::SECCOMP_RET_LOG,
        ScmpAction::Allow => libc::SECCOMP_RET_ALLOW,
        ScmpAction::Notify => libc::SECCOMP_RET_USER_NOTIF,
        // The enum is non-exhaustive. Later actions are not produced here, and kill is the fail-closed
        // choice.
        _ => libc::SECCOMP_RET_KILL_PROCESS,
    }
}

/// The receiver of notifications; an error if an action needs one and the profile names none.
pub(super) fn listener(profile: &LinuxSeccomp) -> Result<Option<Listener>, ConfigError> {
    if profile.default_action() == Act::ScmpActNotify {
        let why = "SCMP_ACT_NOTIFY cannot be the default, it would block the passing of its own listener";
        return Err(ConfigError::new(format!("{ROOT}/defaultAction"), why));
    }
    let metadata = profile.listener_metadata().clone();
    let Some(path) = profile.listener_path().clone() else {
        if metadata.is_some() {
            return Err(ConfigError::new(format!("{ROOT}/listenerMetadata"), "needs a listenerPath"));
        }
        let notifies = profile.syscalls().iter().flatten().any(|s| s.action() == Act::ScmpActNotify);
        return match notifies {
            true => {
                Err(ConfigError::new(format!("{ROOT}/listenerPath"), "SCMP_ACT_NOTIFY needs a listenerPath"))
            }
            false => Ok(None),
        };
    };
    let notifies = profile.syscalls().iter().flatten().any(|s| s.action() == Act::ScmpActNotify);
    Ok(notifies.then(|| Listener { path, metadata: metadata.unwrap_or_default() }))
}

/// Computes the flags for seccomp(2).
fn flags(profile: &LinuxSeccomp, notifies: bool) -> Result<u32, ConfigError> {
    let mut bits = if notifies { libc::SECCOMP_FILTER_FLAG_NEW_LISTENER as u32 } else { 0 };
    for (i, flag) in profile.flags().iter().flatten().enumerate() {
        bits |= match flag {
            Flag::SeccompFilterFlagLog => libc::SECCOMP_FILTER_FLAG_LOG as u32,
            Flag::SeccompFilterFlagSpecAllow => libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW as u32,
            // A single-threaded process loads the filter just before exec, so there is nothing to
            // synchronise. With a listener the kernel would refuse the flag.
            Flag::SeccompFilterFlagTsync => 0,
            Flag::SeccompFilterFlagWaitKillableRecv if !notifies => {
                let why = "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV needs an SCMP_ACT_NOTIFY rule";
                return Err(ConfigError::new(format!("{ROOT}/flags/{i}"), why));
            }
            Flag::SeccompFilterFlagWaitKillableRecv => super::WAIT_KILLABLE_RECV,
        };
    }
    Ok(bits)
}

fn is_unknown(name: &str) -> bool {
    matches!(numbers::meaning(name, numbers::native()), Meaning::Unknown)
}

/// Whether this action lets the system call run.
fn allows(action: ScmpAction) -> bool {
    matches!(action, ScmpAction::Allow | ScmpAction::Log | ScmpAction::Trace(_))
}

/// Whether unknown system calls get `ENOSYS`. Not if the default action allows them or passes them to a
/// tracer that may emulate them, and not if the default is `ENOSYS` already. Same as runc's patchbpf.
fn wants_stub(profile: &LinuxSeccomp, default: ScmpAction) -> bool {
    !allows(default) && default != ScmpAction::Errno(libc::ENOSYS) && profile.syscalls().is_some()
}

/// One section per kernel architecture; x32 shares that of x86_64.
fn sections(profile: &LinuxSeccomp, archs: &[ScmpArch], newer: &[Newer], stub: bool) -> Vec<Section> {
    let mut list: Vec<Section> = Vec::new();
    for arch in archs {
        let Some(audit_arch) = library::audit_arch(*arch) else { continue };
        let section = match list.iter_mut().position(|s| s.audit_arch == audit_arch) {
            Some(at) => &mut list[at],
            None => {
                list.push(Section { audit_arch, ..Section::default() });
                let last = list.len() - 1;
                &mut list[last]
            }
        };
        for rule in newer.iter().filter(|r| r.arch == *arch) {
            add_check(&mut section.checks, rule.nr, rule.check.clone());
        }
        let names = profile.syscalls().iter().flatten().flat_map(|s| s.names());
        let Some(newest) = names.filter_map(|n| numbers::number(n, *arch)).max().filter(|_| stub) else {
            continue;
        };
        match (arch, &mut section.newest) {
            (ScmpArch::X32, Some(n)) => n.x32 = Some(newest),
            (_, slot) => *slot = Some(Newest { native: newest, x32: None }),
        }
    }
    list
}

/// Unconditional checks come first, as in libseccomp, where an unconditional rule overrides the others.
fn add_check(checks: &mut Vec<(u32, Vec<BpfCheck>)>, nr: u32, check: BpfCheck) {
    match checks.iter_mut().find(|(n, _)| *n == nr) {
        Some((_, list)) if check.when.is_empty() => list.insert(0, check),
        Some((_, list)) => list.push(check),
        None => checks.push((nr, vec![check])),
    }
}
