//! One run of a plugin: its environment, its time, and what it may print.

use std::ffi::OsString;
use std::io::{Seek, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::error::escaped_line;
use crate::sys::signal::DEADLY;
use crate::sys::{before_exec, fs, io, memfd, process, rlimit, signal};

/// How long a plugin may take.
pub(super) const LONGEST: Duration = Duration::from_secs(30);

/// How much a plugin may print.
const MOST: usize = 1 << 20;

/// How much of its stderr is kept.
const MOST_SAID: usize = 4096;

/// Programs that plugins start: iptables, ip.
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// Why a plugin has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CniFailure {
    /// It failed, in words.
    Message(String),
    /// The launcher got this signal; the plugin was killed.
    Interrupted(i32),
}

impl From<String> for CniFailure {
    fn from(text: String) -> Self {
        CniFailure::Message(text)
    }
}

/// What is run.
pub(super) struct PluginCall<'a> {
    /// The operation.
    pub command: &'static str,
    /// The program.
    pub program: &'a Path,
    /// The operation's parameters; no other variable but `PATH` is passed.
    pub variables: Vec<(&'static str, OsString)>,
    /// What it reads.
    pub input: String,
}

/// A child that does not outlive its run.
struct PluginChild(Child);

impl Drop for PluginChild {
    fn drop(&mut self) {
        // Both fail where it has ended and was waited for.
        self.0.kill().and_then(|()| self.0.wait()).map(drop).unwrap_or_default();
    }
}

/// Runs a plugin, and returns what it printed. A deadly signal in the signalfd(2) `signals` (-1: none) ends it.
pub(super) fn run(call: &PluginCall<'_>, longest: Duration, signals: RawFd) -> Result<Vec<u8>, CniFailure> {
    let name = call.program.file_name().unwrap_or_default().to_string_lossy();
    let failed = |text: &str| CniFailure::Message(format!("plugin {name} ({}): {text}", call.command));
    let os = |e: std::io::Error| failed(&e.to_string());
    // In memory: a plugin that does not read is in its rights.
    let input = memfd::memory_file(c"cni").map_err(|e| failed(&e.to_string()))?;
    let mut input = std::fs::File::from(input);
    input.write_all(call.input.as_bytes()).and_then(|()| input.rewind()).map_err(os)?;
    let ((out, theirs), (err, their_err)) = (std::io::pipe().map_err(os)?, std::io::pipe().map_err(os)?);
    let mut command = Command::new(call.program);
    command.env_clear().env("PATH", PATH).envs(call.variables.iter().cloned()).current_dir("/");
    command.stdin(input).stdout(theirs).stderr(their_err);
    rlimit::give_back(&mut command);
    before_exec::clean_before_exec(&mut command);
    before_exec::die_with_parent(&mut command);
    let mut child = PluginChild(command.spawn().map_err(os)?);
    // The command holds the other ends of the pipes.
    drop(command);
    let pidfd = process::pidfd_open(child.0.id() as i32).map(fs::own).map_err(|e| failed(&e.to_string()))?;
    let mut streams = [(out.as_raw_fd(), Vec::new()), (err.as_raw_fd(), Vec::new())];
    let end = Instant::now() + longest;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(failed(&format!("it did not end within {} s, and was killed", longest.as_secs())));
        }
        let [(out, _), (err, _)] = &streams;
        let list = [*out, *err, pidfd.as_raw_fd(), signals].map(|fd| (fd, libc::POLLIN));
        let millis = i32::try_from(left.as_millis()).unwrap_or(i32::MAX).saturating_add(1);
        let ready = io::poll(&list, millis).map_err(|e| failed(&e.to_string()))?;
        let has = |i: usize| ready.get(i).is_some_and(|events| *events != 0);
        let ended = has(2);
        for (i, stream) in streams.iter_mut().enumerate() {
            if has(i) {
                read(stream, if i == 0 { MOST } else { MOST_SAID });
            }
        }
        if streams[0].1.len() > MOST {
            return Err(failed("it printed more than 1 MiB, and was killed"));
        }
        if has(3)
            && let Some(signal) =
                std::iter::from_fn(|| signal::next_signal(signals)).find(|s| DEADLY.contains(s))
        {
            return Err(CniFailure::Interrupted(signal));
        }
        if ended && !has(0) && !has(1) {
            break;
        }
    }
    let status = child.0.wait().map_err(os)?;
    let [(_, out), (_, err)] = streams;
    if status.success() { Ok(out) } else { Err(failed(&reason(&out, &err, status))) }
}

/// Reads what has arrived. Of stdout one byte more than allowed is kept, which shows that there is more.
fn read((fd, kept): &mut (RawFd, Vec<u8>), most: usize) {
    let mut buf = vec![0; 1 << 16];
    match fs::read(*fd, &mut buf) {
        Ok(n) if n > 0 => {
            let room = (most + 1).saturating_sub(kept.len()).min(n);
            kept.extend_from_slice(&buf[..room]);
        }
        // Its end, or an error: it is not looked at again.
        _ => *fd = -1,
    }
}

/// Why a plugin failed: the error that it printed (section 5, Error), else its last words.
fn reason(out: &[u8], err: &[u8], status: std::process::ExitStatus) -> String {
    #[derive(Deserialize)]
    struct Printed {
        code: i64,
        msg: String,
        #[serde(default)]
        details: String,
    }
    if let Ok(Printed { code, msg, details }) = serde_json::from_slice(out) {
        let details =
            if details.is_empty() { String::new() } else { format!("; {}", escaped_line(&details)) };
        return format!("{}{details} (code {code})", escaped_line(&msg));
    }
    let err = String::from_utf8_lossy(err);
    match err.lines().rev().find(|line| !line.trim().is_empty()) {
        Some(line) => format!("{} ({status})", escaped_line(line.trim())),
        None => status.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plugin(script: &str, longest: u64) -> Result<String, CniFailure> {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("plugin");
        std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let call = PluginCall {
            command: "ADD",
            program: &program,
            variables: vec![("CNI_COMMAND", "ADD".into())],
            input: "{\"a\":1}".into(),
        };
        // Another test's fork may hold the script open for writing for a moment (ETXTBSY).
        for _ in 0..100 {
            match run(&call, Duration::from_millis(longest), -1) {
                Err(CniFailure::Message(text)) if text.contains("Text file busy") => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                other => return other.map(|out| String::from_utf8_lossy(&out).into_owned()),
            }
        }
        panic!("busy");
    }

    #[test]
    fn a_plugin_reads_and_prints() {
        assert_eq!(plugin("cat; echo $CNI_COMMAND; env | wc -l", 9000), Ok("{\"a\":1}ADD\n3\n".into()));
        // One that does not read, and a child of it that holds its streams open.
        let started = Instant::now();
        assert_eq!(plugin("echo x; sleep 3 &", 9000), Ok("x\n".into()));
        assert!(started.elapsed() < Duration::from_secs(2));
    }

    #[test]
    fn failures_have_a_reason() {
        let message = |script: &str, longest| match plugin(script, longest) {
            Err(CniFailure::Message(text)) => text,
            other => panic!("{other:?}"),
        };
        let text = message(r#"echo '{"code":7,"msg":"no\u001bfoo","details":"bar"}'; exit 1"#, 9000);
        assert_eq!(text, "plugin plugin (ADD): no\\u{1b}foo; bar (code 7)");
        assert_eq!(
            message("echo one >&2; echo two >&2; exit 3", 9000),
            "plugin plugin (ADD): two (exit status: 3)"
        );
        assert_eq!(message("exit 3", 9000), "plugin plugin (ADD): exit status: 3");
        assert!(message("sleep 9", 100).contains("did not end within 0 s, and was killed"));
        assert!(message("head -c 3000000 /dev/zero; sleep 9", 9000).contains("more than 1 MiB"));
        assert!(
            message("head -c 3000000 /dev/zero >&2; echo end >&2; exit 1", 9000).contains("exit status: 1")
        );
    }
}
