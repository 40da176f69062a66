//! A program that died of SIGSYS: which system call its seccomp profile kills it for, from the kernel's log.
//!
//! The kernel logs each kill as an audit record of type 1326 (AUDIT_SECCOMP, linux/audit.h). Only root may read the log
//! (/dev/kmsg, kernel.dmesg_restrict), and on a machine with auditd(8) the record goes there instead.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;

use crate::config::Config;
use crate::config::idmap;
use crate::seccomp;
use crate::sys::process::{self, ProcessExit};

/// The longest record that /dev/kmsg returns (CONSOLE_EXT_LOG_MAX of the kernel).
const RECORD: usize = 8192;
/// Records that are read at most: the log has a fixed size.
const RECORDS: usize = 65536;

/// The exit code of a shell whose program died of SIGSYS.
const BY_SHELL: i32 = 128 + libc::SIGSYS;

/// Microseconds of one clock tick of proc(5).
const TICK: u64 = 10_000;
/// The log's clock and that of proc(5) may differ by this many microseconds.
const SLACK: u64 = 1_000_000;

/// What to print about the end of a program, if SIGSYS was its cause.
pub fn explain(config: &Config, pid: i32, exit: ProcessExit) -> Option<String> {
    if exit.code() != BY_SHELL {
        return None;
    }
    let started = process::start_time(process::pid()).unwrap_or(0);
    let since = (started * TICK).saturating_sub(SLACK);
    let found = kernel_log().and_then(|log| {
        let mut records = log.iter().rev().filter_map(|line| Killed::parse(line)).filter(|k| k.time >= since);
        records.find(|k| k.pid == pid || is_of(config, k.uid))
    });
    match found {
        Some(killed) => Some(format!(
            "the seccomp profile killed {}: it does not allow the system call {} (--security-opt seccomp=FILE loads another profile)",
            killed.program, killed.call
        )),
        None if exit == ProcessExit::Signal(libc::SIGSYS) => Some(
            "the seccomp profile killed the program (SIGSYS): the kernel's log names the system call (dmesg | grep type=1326, as root)".into(),
        ),
        // A program may end with this code on its own.
        None => None,
    }
}

/// Whether a host id is one of the container's own range.
fn is_of(config: &Config, uid: u32) -> bool {
    !idmap::is_whole(&config.uid_maps) && idmap::has(&config.uid_maps, uid)
}

/// One record of a kill.
#[derive(Debug, PartialEq, Eq)]
struct Killed {
    /// Microseconds since the machine was booted.
    time: u64,
    uid: u32,
    pid: i32,
    program: String,
    call: String,
}

impl Killed {
    /// `PRIORITY,NUMBER,MICROSECONDS,FLAGS;audit: type=1326 audit(...): ... uid=U ... pid=P comm="X" ... syscall=N ...`
    fn parse(line: &str) -> Option<Self> {
        let (head, text) = line.split_once(';')?;
        if !text.contains("type=1326 ") {
            return None;
        }
        let field = |name: &str| {
            let mut words = text.split_whitespace();
            words.find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
        };
        let number: u32 = field("syscall")?.parse().ok()?;
        // The name is one of this architecture alone.
        let native = field("compat")? == "0";
        let name = native.then(|| seccomp::call_name(number)).flatten();
        Some(Killed {
            time: head.split(',').nth(2)?.parse().ok()?,
            uid: field("uid")?.parse().ok()?,
            pid: field("pid")?.parse().ok()?,
            program: field("comm")?.trim_matches('"').to_string(),
            call: name.unwrap_or_else(|| format!("number {number}")),
        })
    }
}

/// The records of the kernel's log; `None` for a caller that may not read it.
fn kernel_log() -> Option<Vec<String>> {
    let mut log = File::options().read(true).custom_flags(libc::O_NONBLOCK).open("/dev/kmsg").ok()?;
    let mut records = Vec::new();
    let mut buf = vec![0; RECORD];
    for _ in 0..RECORDS {
        match log.read(&mut buf) {
            Ok(n) if n > 0 => records.push(String::from_utf8_lossy(&buf[..n]).into_owned()),
            // A record was overwritten meanwhile: the next read goes on behind it.
            Err(e) if e.raw_os_error() == Some(libc::EPIPE) || e.kind() == ErrorKind::Interrupted => {}
            _ => break,
        }
    }
    Some(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_kills_are_read() {
        let line = "5,812,1859191228,-;audit: type=1326 audit(1796026913.846:4): auid=4294967295 uid=186908668 gid=186908668 ses=4294967295 pid=19853 comm=\"mkdir\" exe=\"/usr/bin/mkdir\" sig=31 arch=c000003e syscall=9999 compat=0 ip=0x7fc44175ef37 code=0x80000000\n";
        let killed = Killed::parse(line).expect("a record");
        assert_eq!((killed.time, killed.uid, killed.pid), (1_859_191_228, 186_908_668, 19853));
        assert_eq!((killed.program.as_str(), killed.call.as_str()), ("mkdir", "number 9999"));
        assert_eq!(Killed::parse("6,1,2,-;audit: type=1400 pid=1"), None);
        assert_eq!(Killed::parse("no record"), None);
    }
}
