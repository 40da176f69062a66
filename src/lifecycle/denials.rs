//! `run --explain-denials`: the paths and addresses that a program asked for and that the sandbox refuses, with the
//! flag that would allow each.
//!
//! The launcher reads the arguments of an observed call from the memory of the process that makes it, judges them by
//! the config, and lets the call go on: the kernel alone decides. A process that changes its arguments meanwhile
//! deceives only the explanation.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use libc::seccomp_notif;

use crate::config::Config;
use crate::launch::would::{Answer, Deed, Question, RefusalCause, View, WouldVerdict, judge};
use crate::seccomp::Reported;
use crate::seccomp::capable::needed;
use crate::seccomp::observed::{Observed, PathArgs, observed};
use crate::sys::{fs, seccomp};
use crate::tables::capabilities::CapSet;

/// Denials that are kept: the program chooses how many there are.
const MOST: usize = 256;
/// Lines that are printed.
const LINES: usize = 16;
/// The longest path (limits.h).
const PATH_MAX: usize = libc::PATH_MAX as usize;
/// Flags of open(2) that need write permission, or that make or empty a file.
const WRITES: i32 = libc::O_WRONLY | libc::O_RDWR | libc::O_CREAT | libc::O_TRUNC;

/// What was refused, each once, with the reason.
#[derive(Debug)]
pub struct Denials {
    config: Config,
    rootfs: PathBuf,
    seen: BTreeMap<String, String>,
    more: bool,
}

impl Denials {
    /// Judges by `config`, whose root file system is at `rootfs` on the host.
    pub fn new(config: &Config, rootfs: &Path) -> Self {
        Denials { config: config.clone(), rootfs: rootfs.into(), seen: BTreeMap::new(), more: false }
    }

    fn add(&mut self, what: String, why: String) {
        if self.seen.len() >= MOST && !self.seen.contains_key(&what) {
            self.more = true;
            return;
        }
        self.seen.entry(what).or_insert(why);
    }

    /// A system call that the profile refused.
    pub fn refused(&mut self, call: &Reported) {
        // libc calls clone instead: no program fails for it (clone(2)).
        if call.name == "clone3" {
            return;
        }
        let remedy = call.remedy(self.held());
        self.add(
            format!("system call {}", call.name),
            format!("refused with {:?}: {}{remedy}", call.errno, call.why),
        );
    }

    /// The capabilities that the container's processes can have.
    fn held(&self) -> CapSet {
        self.config.process.as_ref().map(|process| process.capabilities.bounding).unwrap_or_default()
    }

    /// System calls that `--seccomp-allow` lets through the filter, and that the kernel refuses all the same.
    pub fn powerless(&self) -> Vec<String> {
        let allowed = self.config.hardening.seccomp_allow.iter();
        let lacking = |call: &String| {
            let flags = needed(call)?.lacking(self.held())?;
            Some(format!("--seccomp-allow {call} has no effect without {flags}"))
        };
        allowed.filter_map(lacking).collect()
    }

    /// An observed call that waits on `listener`. The caller lets it go on afterwards.
    pub fn observe(&mut self, listener: RawFd, call: &seccomp_notif) {
        let Some(what) = observed(&call.data) else { return };
        let Some(process) = WaitingProcess::of(call) else { return };
        let questions = process.questions(what, &call.data.args);
        // Without this the memory could be that of another process, with the same pid.
        if !seccomp::waits(listener, call.id) {
            return;
        }
        for (question, by_open) in questions {
            let answer = judge(&View { config: &self.config, rootfs: &self.rootfs }, &question);
            if tells(&answer, by_open, || process.has(&question.object)) {
                self.add(question.to_string(), answer_text(&answer));
            }
        }
    }

    /// One line for each denial.
    pub fn lines(&self) -> Vec<String> {
        self.seen.iter().map(|(what, why)| format!("{what}: {why}")).collect()
    }

    /// The lines for a person, and how many are left out.
    pub fn first_lines(&self) -> (Vec<String>, usize) {
        let mut lines = self.lines();
        let more = lines.len().saturating_sub(LINES) + usize::from(self.more);
        lines.truncate(LINES);
        (lines, more)
    }
}

/// Whether an answer explains a failure. Programs look for many files that do not exist; the mode of a file decides
/// only who may open it; and the container may have made a file that the config does not show.
fn tells(answer: &Answer, by_open: bool, exists: impl Fn() -> bool) -> bool {
    answer.verdict == WouldVerdict::No
        && match answer.cause {
            RefusalCause::Sandbox => true,
            RefusalCause::Hidden => !exists(),
            RefusalCause::Mode => by_open,
            RefusalCause::Absence => false,
        }
}

fn answer_text(answer: &Answer) -> String {
    let remedy = answer.remedy.as_ref().map(|r| format!(" ({r})")).unwrap_or_default();
    format!("{}{remedy}", answer.why)
}

/// The process that waits.
struct WaitingProcess {
    proc: PathBuf,
    memory: File,
}

impl WaitingProcess {
    /// `None`: its memory cannot be read, as after the execve(2) of a file that its user cannot read.
    fn of(call: &seccomp_notif) -> Option<Self> {
        let proc = PathBuf::from(format!("/proc/{}", call.pid));
        let memory = File::open(proc.join("mem")).ok()?;
        Some(WaitingProcess { proc, memory })
    }

    /// Whether the process finds something at this path of its root directory.
    fn has(&self, path: &str) -> bool {
        let path = path.trim_start_matches("unix:");
        let Ok(root) = OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(self.proc.join("root"))
        else {
            return false;
        };
        let Ok(path) = CString::new(path) else { return false };
        let resolve = fs::RESOLVE_IN_ROOT | fs::RESOLVE_NO_MAGICLINKS;
        fs::openat2(root.as_raw_fd(), &path, libc::O_PATH, 0, resolve).map(fs::own).is_ok()
    }

    /// The bytes at `address`, at most `len`, up to the end of what is mapped.
    fn bytes(&self, address: u64, len: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; len];
        let n = self.memory.read_at(&mut bytes, address).ok()?;
        bytes.truncate(n);
        Some(bytes)
    }

    /// The string at `address`.
    fn text(&self, address: u64) -> Option<String> {
        let bytes = self.bytes(address, PATH_MAX)?;
        let end = bytes.iter().position(|b| *b == 0)?;
        String::from_utf8(bytes[..end].to_vec()).ok().filter(|text| !text.is_empty())
    }

    /// The absolute path, as the process names it.
    fn path(&self, args: PathArgs, values: &[u64; 6]) -> Option<String> {
        let path = self.text(values[args.path])?;
        if path.starts_with('/') {
            return Some(path);
        }
        let dir = match args.dir.map(|dir| values[dir] as i32) {
            None | Some(libc::AT_FDCWD) => self.proc.join("cwd"),
            Some(fd) => self.proc.join("fd").join(fd.to_string()),
        };
        let dir = std::fs::read_link(dir).ok().filter(|dir| dir.is_absolute())?;
        Some(dir.join(path).to_str()?.to_string())
    }

    fn question(&self, deed: Deed, args: PathArgs, values: &[u64; 6]) -> Option<Question> {
        self.path(args, values).map(|object| Question { deed, object })
    }

    /// What the call asks for; with whether it opens the file.
    fn questions(&self, what: Observed, values: &[u64; 6]) -> Vec<(Question, bool)> {
        let opened = |args, flags: i32| {
            let deed = if flags & WRITES != 0 { Deed::Write } else { Deed::Read };
            let asked = (flags & libc::O_PATH == 0).then(|| self.question(deed, args, values)).flatten();
            asked.map(|q| (q, true)).into_iter().collect()
        };
        match what {
            Observed::Open(args, flags) => opened(args, values[flags] as i32),
            Observed::OpenHow(args, how) => {
                let flags = self.bytes(values[how], 8).and_then(|b| b.first_chunk::<8>().copied());
                flags.map_or_else(Vec::new, |b| opened(args, u64::from_ne_bytes(b) as i32))
            }
            Observed::Create(args) => {
                self.question(Deed::Write, args, values).map(|q| (q, true)).into_iter().collect()
            }
            Observed::Change(paths) => {
                let asked = paths.iter().filter_map(|args| self.question(Deed::Write, *args, values));
                asked.map(|q| (q, false)).collect()
            }
            Observed::Connect(address) => {
                let len = usize::try_from(values[address + 1]).unwrap_or(0).min(128);
                let object = self.bytes(values[address], len).and_then(|bytes| peer(&bytes));
                object.map(|object| (Question { deed: Deed::Connect, object }, true)).into_iter().collect()
            }
        }
    }
}

/// `HOST:PORT` or `unix:PATH` of a `struct sockaddr`; `None` for other families and for abstract sockets.
fn peer(address: &[u8]) -> Option<String> {
    let family = i32::from(u16::from_ne_bytes(*address.first_chunk()?));
    let port = || Some(u16::from_be_bytes(*address.get(2..)?.first_chunk()?));
    match family {
        libc::AF_UNIX => {
            let path = address.get(2..)?;
            let end = path.iter().position(|b| *b == 0).unwrap_or(path.len());
            let path = std::str::from_utf8(&path[..end]).ok().filter(|path| path.starts_with('/'))?;
            Some(format!("unix:{path}"))
        }
        libc::AF_INET => {
            let host = std::net::Ipv4Addr::from(*address.get(4..)?.first_chunk::<4>()?);
            Some(format!("{host}:{}", port()?))
        }
        libc::AF_INET6 => {
            let host = std::net::Ipv6Addr::from(*address.get(8..)?.first_chunk::<16>()?);
            Some(format!("[{host}]:{}", port()?))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_named() {
        let mut v4 = Vec::from((libc::AF_INET as u16).to_ne_bytes());
        v4.extend([1, 187, 93, 184, 216, 34]);
        assert_eq!(peer(&v4).as_deref(), Some("93.184.216.34:443"));
        let mut v6 = Vec::from((libc::AF_INET6 as u16).to_ne_bytes());
        v6.extend([0, 80, 0, 0, 0, 0]);
        v6.extend([0; 15]);
        v6.push(1);
        assert_eq!(peer(&v6).as_deref(), Some("[::1]:80"));
        let mut unix = Vec::from((libc::AF_UNIX as u16).to_ne_bytes());
        unix.extend(b"/run/x\0rest");
        assert_eq!(peer(&unix).as_deref(), Some("unix:/run/x"));
        for bad in [&v4[..5], &v6[..10], &[1, 0, 0, b'a'], &[]] {
            assert_eq!(peer(bad), None, "{bad:?}");
        }
    }
}
