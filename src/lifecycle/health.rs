//! Health checks: a command runs in the container at intervals, and its exit codes make a state, as docker has it.
//!
//! | state | becomes |
//! | --- | --- |
//! | starting | healthy after a success; unhealthy after `retries` failures in a row, without those of the start period |
//! | healthy | unhealthy after `retries` failures in a row |
//! | unhealthy | healthy after a success |

use std::io::Read;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::launch::value::HealthOptions;
use crate::lifecycle::sidecar::Sidecar;
use crate::state::files::HEALTH;
use crate::sys::before_exec::clean_before_exec;
use crate::sys::io::Interest;
use crate::sys::process::ProcessExit;
use crate::sys::replace::{ReplaceMode, replace_path};
use crate::sys::tty;

/// Results that are kept, and bytes of output of each; as docker.
const KEPT: usize = 5;
const OUTPUT: usize = 4096;
/// Time between SIGTERM and SIGKILL of a check.
const GRACE: Duration = Duration::from_secs(2);

/// The states.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthStatus {
    /// No check has succeeded yet, and not enough have failed.
    #[default]
    Starting,
    /// The last check succeeded, or not enough have failed since one did.
    Healthy,
    /// Enough checks in a row have failed.
    Unhealthy,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Probe {
    /// When it began.
    pub start: String,
    /// When it ended.
    pub end: String,
    /// Its exit code; -1 where it took too long.
    pub exit_code: i32,
    /// What it printed, the beginning.
    pub output: String,
}

/// What is known of a container's health.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Health {
    /// The state.
    pub status: HealthStatus,
    /// Failures in a row.
    pub failing_streak: u32,
    /// The last checks, the newest last.
    pub log: Vec<Probe>,
}

impl Health {
    /// Takes one result; `starting`: within the start period.
    fn take(&mut self, probe: Probe, retries: u32, starting: bool) {
        if probe.exit_code == 0 {
            (self.status, self.failing_streak) = (HealthStatus::Healthy, 0);
        } else if !(self.status == HealthStatus::Starting && starting) {
            self.failing_streak = self.failing_streak.saturating_add(1);
            if self.failing_streak >= retries {
                self.status = HealthStatus::Unhealthy;
            }
        }
        self.log.push(probe);
        let over = self.log.len().saturating_sub(KEPT);
        self.log.drain(..over);
    }

    /// What a container's directory holds.
    pub fn read(dir: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(dir.join(HEALTH)).ok()?).ok()
    }

    /// Replaces it; of a container that is being removed nothing is kept.
    fn write(&self, dir: &Path) {
        let temp = dir.join(format!("{HEALTH}.tmp"));
        // A text of numbers and texts.
        let text = serde_json::to_vec(self).unwrap_or_default();
        let kind = ReplaceMode { mode: 0o666, sync: false };
        replace_path(&temp, &dir.join(HEALTH), &text, kind).unwrap_or_default();
    }
}

/// A check that runs.
struct RunningCheck {
    pid: i32,
    start: String,
    output: Vec<u8>,
    pipe: Option<ChildStdout>,
    /// When it is killed.
    end: Instant,
}

/// Runs the checks of a container.
pub struct Checks {
    options: HealthOptions,
    /// The container's directory.
    dir: PathBuf,
    began: Instant,
    health: Health,
    running: Option<RunningCheck>,
    next: Instant,
    over: bool,
}

impl Checks {
    /// From now on, for the container whose directory is `dir`.
    pub fn new(options: HealthOptions, dir: &Path) -> Self {
        let now = Instant::now();
        let mut checks = Checks {
            options,
            dir: dir.into(),
            began: now,
            health: Health::default(),
            running: None,
            next: now,
            over: false,
        };
        checks.next = now + checks.interval();
        checks.health.write(dir);
        checks
    }

    fn is_starting(&self) -> bool {
        self.health.status == HealthStatus::Starting && self.began.elapsed() < self.options.start_period
    }

    fn interval(&self) -> Duration {
        if self.is_starting() { self.options.start_interval } else { self.options.interval }
    }

    /// `safebox exec` with a deadline: this process does not enter the container.
    fn begin(&mut self) {
        let id = self.dir.file_name().unwrap_or_default();
        let timeout = format!("{}ns", self.options.timeout.as_nanos());
        let mut command = Command::new("/proc/self/exe");
        command.arg("--root").arg(self.dir.parent().unwrap_or(Path::new("/")));
        command.args(["exec", "--timeout", &timeout]).arg(id).args(["/bin/sh", "-c", &self.options.command]);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        clean_before_exec(&mut command);
        let start = crate::time::now();
        let (output, end) = (Vec::new(), Instant::now() + self.options.timeout + GRACE);
        match spawn(&mut command) {
            Ok((pid, pipe)) => {
                self.running = Some(RunningCheck { pid, start, output, pipe: Some(pipe), end })
            }
            Err(e) => {
                let output = format!("the check cannot be run: {e}");
                self.finish(Probe { end: crate::time::now(), start, exit_code: 126, output });
            }
        }
    }

    fn finish(&mut self, probe: Probe) {
        let starting = self.is_starting();
        self.health.take(probe, self.options.retries, starting);
        self.health.write(&self.dir);
        self.next = Instant::now() + self.interval();
    }
}

/// Starts it, with stderr in the same pipe. It is reaped with all other children of this process.
fn spawn(command: &mut Command) -> std::io::Result<(i32, ChildStdout)> {
    let (reader, writer) = std::io::pipe()?;
    command.stderr(writer.try_clone()?).stdout(writer);
    let child = command.spawn()?;
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let reader = std::os::fd::OwnedFd::from(reader);
    tty::set_nonblocking(reader.as_raw_fd())?;
    Ok((i32::try_from(child.id()).unwrap_or(0), ChildStdout::from(reader)))
}

impl RunningCheck {
    /// Reads once; what exceeds the bound is dropped.
    fn read(&mut self) {
        let mut buffer = [0; OUTPUT];
        let Some(pipe) = &mut self.pipe else { return };
        match pipe.read(&mut buffer) {
            Ok(n) if n > 0 => {
                let room = OUTPUT.saturating_sub(self.output.len()).min(n);
                self.output.extend_from_slice(&buffer[..room]);
            }
            Err(e)
                if matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::Interrupted) => {}
            _ => self.pipe = None,
        }
    }

    fn kill(&self) {
        // A child that was not reaped keeps its number.
        let pid = nix::unistd::Pid::from_raw(self.pid);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap_or_default();
    }
}

impl Sidecar for Checks {
    fn descriptors(&self) -> Vec<Interest> {
        let pipe = self.running.as_ref().and_then(|running| running.pipe.as_ref());
        vec![(pipe.map_or(-1, AsRawFd::as_raw_fd), libc::POLLIN)]
    }

    fn due(&self) -> Option<Instant> {
        (!self.over).then(|| self.running.as_ref().map_or(self.next, |running| running.end))
    }

    fn ready(&mut self, events: &[i16]) {
        let now = Instant::now();
        match &mut self.running {
            Some(running) => {
                if events.iter().any(|e| *e != 0) {
                    running.read();
                }
                if now >= running.end {
                    running.kill();
                    running.end = now + GRACE;
                }
            }
            None if now >= self.next && !self.over => self.begin(),
            None => {}
        }
    }

    fn reaped(&mut self, pid: i32, exit: ProcessExit) {
        let Some(mut running) = self.running.take_if(|running| running.pid == pid) else { return };
        running.read();
        let late = exit == ProcessExit::Code(crate::lifecycle::deadline::TIMED_OUT)
            || exit == ProcessExit::Signal(libc::SIGKILL);
        let exit_code = if late { -1 } else { exit.code() };
        let mut output = String::from_utf8_lossy(&running.output).into_owned();
        if late {
            output = format!("Health check exceeded timeout ({:?}): {output}", self.options.timeout);
        }
        self.finish(Probe { start: running.start, end: crate::time::now(), exit_code, output });
    }

    fn end(&mut self) {
        self.over = true;
        self.running.iter().for_each(RunningCheck::kill);
        self.running = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(exit_code: i32) -> Probe {
        Probe { start: String::new(), end: String::new(), exit_code, output: String::new() }
    }

    /// docker's daemon/health.go, handleProbeResult.
    #[test]
    fn states_follow_docker_s() {
        let mut health = Health::default();
        let mut take = |exit_code, starting| {
            health.take(probe(exit_code), 3, starting);
            (health.status, health.failing_streak, health.log.len())
        };
        assert_eq!(take(1, true), (HealthStatus::Starting, 0, 1));
        assert_eq!(take(1, true), (HealthStatus::Starting, 0, 2));
        assert_eq!(take(1, false), (HealthStatus::Starting, 1, 3));
        assert_eq!(take(0, true), (HealthStatus::Healthy, 0, 4));
        // Once healthy, the start period is over.
        assert_eq!(take(2, true), (HealthStatus::Healthy, 1, 5));
        assert_eq!(take(-1, true), (HealthStatus::Healthy, 2, 5));
        assert_eq!(take(1, true), (HealthStatus::Unhealthy, 3, 5));
        assert_eq!(take(1, false), (HealthStatus::Unhealthy, 4, 5));
        assert_eq!(take(0, false), (HealthStatus::Healthy, 0, 5));
    }
}
