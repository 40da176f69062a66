//! pasta(1): the container's network is the host's, by way of a tap device and without a right of the caller's.

use std::io::{Read, Seek};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::perform::{Call, Cx, Done, at};
use crate::sys::{Errno, fs, process, rlimit};

/// How long it may take to have the network ready: as root with another user than the container's maker it hangs.
const DEADLINE: Duration = Duration::from_secs(10);

/// How long it may take to end.
const END: i32 = 2000;

/// Starts pasta for the container's process. It writes its number to `file`, goes to the background once the network is
/// there, and is the launcher's to end.
pub(super) fn start(cx: &mut Cx, program: &Path, runas: Option<u32>, in_userns: bool, file: &Path) -> Done {
    let output = at(cx, Call::Pasta, crate::sys::memfd::memory_file(c"pasta"))?;
    let errors = at(cx, Call::Dup, fs::dup_above(output.as_raw_fd(), 3))?;
    let mut command = Command::new(program);
    command.args([
        "--config-net",
        "--quiet",
        "--no-map-gw",
        "-t",
        "none",
        "-u",
        "none",
        "-T",
        "none",
        "-U",
        "none",
    ]);
    if let Some(id) = runas {
        command.args(["--runas", &id.to_string()]);
    }
    // By descriptors: to look them up by the process's number takes a right over it that pasta gives up first.
    let net = namespace(cx, "net")?;
    let user = if in_userns { Some(namespace(cx, "user")?) } else { None };
    command.arg("--netns").arg(format!("/proc/self/fd/{}", net.as_raw_fd()));
    match &user {
        Some(user) => command.arg("--userns").arg(format!("/proc/self/fd/{}", user.as_raw_fd())),
        None => command.arg("--netns-only"),
    };
    command.arg("--pid").arg(file).env_clear();
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(fs::own(errors));
    rlimit::give_back(&mut command);
    crate::sys::before_exec::clean_before_exec(&mut command);
    let mut child = at(cx, Call::Pasta, command.spawn().map_err(crate::sys::errno))?;
    let end = Instant::now() + DEADLINE;
    loop {
        match at(cx, Call::Pasta, child.try_wait().map_err(crate::sys::errno))? {
            Some(status) if status.success() => return Ok(()),
            Some(_) => {
                let (mut file, mut text) = (std::fs::File::from(output), String::new());
                let read = file.rewind().and_then(|()| file.read_to_string(&mut text));
                // What it says of the system's log is no reason.
                let mut lines = text.lines().rev().filter(|l| !l.contains("syslog"));
                let line = lines.next().unwrap_or("it ended with an error").to_string();
                cx.detail = read.ok().map(|_| crate::error::escaped_line(&line));
                return Err(Errno::ECANCELED);
            }
            None if Instant::now() < end => process::sleep_micros(2000),
            None => {
                // It is this process's child, and was not waited for.
                child.kill().and_then(|()| child.wait()).map(drop).unwrap_or_default();
                return Err(Errno::ETIMEDOUT);
            }
        }
    }
}

/// A namespace of the container's process, as a descriptor that pasta inherits.
fn namespace(cx: &mut Cx, name: &str) -> Result<OwnedFd, Errno> {
    // Digits and a static name hold no NUL.
    let path = std::ffi::CString::new(format!("/proc/{}/ns/{name}", cx.pid)).unwrap_or_default();
    let fd = at(cx, Call::Open, fs::openat(libc::AT_FDCWD, &path, libc::O_RDONLY, 0)).map(fs::own)?;
    at(cx, Call::Dup, fs::inheritable(fd.as_raw_fd()))?;
    Ok(fd)
}

/// Ends the pasta that has written its number to `file`.
pub(super) fn end(file: &Path) {
    let pid = std::fs::read_to_string(file).ok().and_then(|text| text.trim().parse::<i32>().ok());
    let Some(pid) = pid.filter(|pid| *pid > 1) else { return };
    let Ok(pidfd) = process::pidfd_open(pid) else { return };
    let pidfd = fs::own(pidfd);
    // The number may be another process's by now: this process was given the file.
    let cmdline = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let name = file.as_os_str().as_encoded_bytes();
    if !cmdline.split(|b| *b == 0).any(|word| word == name) {
        return;
    }
    process::pidfd_kill(pidfd.as_raw_fd(), libc::SIGKILL).unwrap_or_default();
    process::wait_for_exit(pidfd.as_raw_fd(), END);
    // Where this process is its subreaper.
    process::wait(pid, libc::WNOHANG).map(drop).unwrap_or_default();
}
