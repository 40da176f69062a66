//! Kernel parameters as a process's namespaces have them. /proc/sys shows those of its reader, so a child of this
//! program joins the namespaces, reads, and ends.

use std::io::Read;
use std::os::fd::AsRawFd;

use super::Known;
use crate::sys::{Errno, fs, process, read};
use crate::tables::namespaces::NsKind;

/// Ends a value, and stands alone for one that cannot be read.
const END: u8 = 0;
const NONE: u8 = 1;

/// The values of these parameters.
pub fn of(pid: i32, keys: &[String]) -> Known<Vec<(String, String)>> {
    let failed = |what: &str, e: Errno| format!("{what}: {}", crate::tables::errno::text(e as i32));
    let pidfd = process::pidfd_open(pid).map(fs::own).map_err(|e| failed("pidfd_open", e))?;
    let (out, into) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).map_err(|e| failed("pipe2", e))?;
    let child = process::fork_run(|| match join(pidfd.as_raw_fd()) {
        Err(e) => e as i32,
        Ok(()) => i32::from(keys.iter().try_for_each(|key| write_value(into.as_raw_fd(), key)).is_err()),
    });
    let child = child.map_err(|e| failed("fork", e))?;
    drop(into);
    let mut bytes = Vec::new();
    let all = std::fs::File::from(out).read_to_end(&mut bytes);
    let exit = process::wait(child, 0).map_err(|e| failed("wait4", e))?;
    all.map_err(|e| e.to_string())?;
    match exit.map(|(_, exit)| exit.code()) {
        Some(0) => {}
        Some(code) => return Err(failed("join the namespaces of the process", Errno::from_raw(code))),
        None => return Err("the child that reads them is gone".into()),
    }
    let values = bytes.split(|b| *b == END);
    let known = keys.iter().zip(values).filter(|(_, value)| *value != [NONE]);
    Ok(known.map(|(key, value)| (key.clone(), String::from_utf8_lossy(value).trim().to_string())).collect())
}

fn join(pidfd: i32) -> crate::sys::SysResult<()> {
    let flags = |kinds: &[NsKind]| kinds.iter().fold(0, |bits, kind| bits | kind.row().flag);
    let plain = flags(&[NsKind::Net, NsKind::Ipc, NsKind::Uts]);
    // EINVAL: it is in this process's own user namespace, which cannot be joined again.
    match process::setns(pidfd, plain | NsKind::User.row().flag) {
        Err(Errno::EINVAL) => process::setns(pidfd, plain),
        other => other,
    }
}

fn write_value(fd: i32, key: &str) -> crate::sys::SysResult<()> {
    let path = format!("/proc/sys/{}", key.replace('.', "/"));
    let mut bytes = read::value(path).map_or_else(|_| vec![NONE], String::into_bytes);
    bytes.push(END);
    fs::write_all(fd, &bytes)
}
