//! A filter that reports what it refuses, for `--debug`.
//!
//! The kernel's own log of refusals (`SECCOMP_FILTER_FLAG_LOG`) needs an audit subsystem and privileges to
//! read. Here each return of an errno becomes a return of `USER_NOTIF`: the call waits, the launcher receives
//! a notification and answers with the errno that the *unchanged* filter returns for it. So the filter still
//! decides: only calls that it refuses are reported, the answer is always an errno, and without a launcher
//! the kernel itself answers `ENOSYS`.

use libc::{seccomp_data, sock_filter};

use super::bpf::{self, RET};
use super::numbers::{name, native};
use super::weakens;
use crate::seccomp::capable::remedy;
use crate::sys::Errno;
use crate::tables::capabilities::CapSet;

/// Returns the filter `program` with every refusal reported to a listener.
pub fn reported(program: &[sock_filter]) -> Vec<sock_filter> {
    let refuses = |i: &sock_filter| i.code == RET && action(i.k) == libc::SECCOMP_RET_ERRNO;
    let report = |i: &sock_filter| sock_filter { k: libc::SECCOMP_RET_USER_NOTIF, ..*i };
    program.iter().map(|i| if refuses(i) { report(i) } else { *i }).collect()
}

fn action(answer: u32) -> u32 {
    answer & libc::SECCOMP_RET_ACTION_FULL
}

/// A reported call: its errno, and the facts to report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reported {
    /// The errno of `program`; `EPERM` if its verdict is not an errno.
    pub errno: Errno,
    /// The call's name, or its number if no table contains it.
    pub name: String,
    /// Whether the call has a name, which `--seccomp-allow` accepts.
    pub named: bool,
    /// Why the built-in profile refuses it.
    pub why: &'static str,
}

impl Reported {
    /// ` (--seccomp-allow NAME)`, with the capability that a container with `held` lacks; empty for a call without a name.
    pub fn remedy(&self, held: CapSet) -> String {
        if self.named { format!(" ({})", remedy(&self.name, held)) } else { String::new() }
    }

    /// Evaluates the call `data` with the unchanged filter `program`.
    pub fn by(program: &[sock_filter], data: &seccomp_data) -> Self {
        let answer = u32::try_from(data.nr).ok().and_then(|nr| bpf::run(program, data.arch, nr, data.args));
        let errno = answer.filter(|a| action(*a) == libc::SECCOMP_RET_ERRNO);
        let errno = errno.map_or(libc::EPERM, |a| (a & libc::SECCOMP_RET_DATA) as i32);
        // errno 0, or an invalid one, would mean success.
        let errno = match Errno::from_raw(errno) {
            Errno::UnknownErrno => Errno::EPERM,
            errno => errno,
        };
        let name = u32::try_from(data.nr).ok().and_then(|nr| name(nr, native()));
        let why = name.as_deref().and_then(|name| weakens(name).ok().flatten());
        let why = why.unwrap_or("the profile does not know it");
        Reported {
            errno,
            named: name.is_some(),
            name: name.unwrap_or_else(|| format!("number {}", data.nr)),
            why,
        }
    }
}
