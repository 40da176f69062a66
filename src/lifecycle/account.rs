//! The account of a run: how it ended and what it used. A figure that cannot be had is absent, never 0.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// The program ended by itself.
    Exited,
    /// A signal killed it.
    Signaled,
    /// `--timeout` ended it.
    Timeout,
    /// `--cpu-time` ended it.
    CpuTime,
    /// The kernel killed it at the memory limit.
    Oom,
    /// It ended, and wrote more than `--output-limit`.
    OutputLimit,
    /// `--overlay-size` ended it.
    OverlaySize,
    /// It never ran.
    #[default]
    NotStarted,
}

/// Cpu time in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CpuSeconds {
    /// In user mode.
    pub user: f64,
    /// In the kernel.
    pub system: f64,
}

/// How a run ended, what it used, and what was different from what was asked for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Account {
    /// The container's id.
    pub id: String,
    /// How it ended.
    pub status: Status,
    /// The exit code of `safebox run`: 128 and the signal's number where one killed the program, 124 at a deadline.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// The number of the signal that killed the program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// Why it did not start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// From the program's start to its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wall_seconds: Option<f64>,
    /// Of all processes: the cgroup's count; without one, of the program and the processes that were waited for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_seconds: Option<CpuSeconds>,
    /// The cgroup's peak, with the kernel's memory and the page cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_peak_bytes: Option<u64>,
    /// Resident memory of the largest process at its peak (getrusage(2)).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_rss_bytes: Option<u64>,
    /// Processes and threads at the peak, init among them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pids_peak: Option<u64>,
    /// Processes that the kernel killed at the memory limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oom_kills: Option<u64>,
    /// Forks that the limit of processes refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pids_refused: Option<u64>,
    /// How long processes waited at the cpu limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub throttled_seconds: Option<f64>,
    /// Bytes that the program wrote to stdout.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stdout_bytes: Option<u64>,
    /// Bytes that it wrote to stderr; those are stdout's where both lead to one file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stderr_bytes: Option<u64>,
    /// Some of the output did not reach the reader.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub truncated: Option<bool>,
    /// The policy in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// What options and policy changed.
    pub changes: Vec<String>,
    /// Layers of the confinement that this machine does not have.
    pub missing: Vec<String>,
    /// What the program was refused, as far as that was observed.
    pub denials: Vec<String>,
}

impl Account {
    /// Of a run that came to nothing.
    pub fn not_started(id: &str, exit_code: i32, error: &str) -> Self {
        let error = Some(crate::error::escaped(error));
        Account { id: id.into(), exit_code: Some(exit_code), error, ..Account::default() }
    }

    /// As JSON in one line.
    pub fn json(&self) -> String {
        // Numbers, texts and lists: nothing of it can fail.
        serde_json::to_string(self).unwrap_or_default() + "\n"
    }

    /// As isolate(1) writes its meta file: lines of `key:value`, times in seconds, memory in KiB.
    pub fn meta(&self) -> String {
        let mut out = String::new();
        let mut line = |key: &str, value: Option<String>| {
            if let Some(value) = value {
                // Writing to a text cannot fail.
                writeln!(out, "{key}:{}", value.replace('\n', " ")).unwrap_or_default();
            }
        };
        let seconds = |time: f64| format!("{time:.3}");
        line("time", self.cpu_seconds.map(|cpu| seconds(cpu.user + cpu.system)));
        line("time-wall", self.wall_seconds.map(seconds));
        line("max-rss", self.max_rss_bytes.map(|n| (n / 1024).to_string()));
        line("cg-mem", self.memory_peak_bytes.map(|n| (n / 1024).to_string()));
        line("cg-oom-killed", self.oom_kills.filter(|n| *n > 0).map(|_| "1".into()));
        let ended = matches!(self.status, Status::Exited | Status::OutputLimit) && self.signal.is_none();
        line("exitcode", self.exit_code.filter(|_| ended).map(|n| n.to_string()));
        line("exitsig", self.signal.map(|n| n.to_string()));
        let killed = matches!(self.status, Status::Timeout | Status::CpuTime | Status::OverlaySize);
        line("killed", killed.then(|| "1".into()));
        let (status, message) = self.isolate();
        line("status", status.map(str::to_string));
        line("message", message);
        out
    }

    /// isolate's status and message.
    fn isolate(&self) -> (Option<&'static str>, Option<String>) {
        let signal = self.signal.unwrap_or_default();
        match self.status {
            Status::Exited if self.exit_code == Some(0) => (None, None),
            Status::Exited => {
                (Some("RE"), Some(format!("Exited with error status {}", self.exit_code.unwrap_or_default())))
            }
            Status::Signaled => (Some("SG"), Some(format!("Caught fatal signal {signal}"))),
            Status::Oom => (Some("SG"), Some("Memory limit exceeded".into())),
            Status::Timeout => (Some("TO"), Some("Time limit exceeded (wall clock)".into())),
            Status::CpuTime => (Some("TO"), Some("Time limit exceeded".into())),
            Status::OutputLimit => (Some("RE"), Some("Output limit exceeded".into())),
            Status::OverlaySize => (Some("SG"), Some("Disk limit exceeded".into())),
            Status::NotStarted => (Some("XX"), self.error.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_absent() {
        let account = Account::not_started("x", 125, "no\u{1b}[0m");
        assert_eq!(
            account.json(),
            "{\"id\":\"x\",\"status\":\"not-started\",\"exitCode\":125,\"error\":\"no\\\\u{1b}[0m\",\"changes\":[],\"missing\":[],\"denials\":[]}\n"
        );
        assert_eq!(account.meta(), "status:XX\nmessage:no\\u{1b}[0m\n");
        let read: Account = serde_json::from_str(&account.json()).unwrap();
        assert_eq!(read, account);
    }

    #[test]
    fn meta_is_isolate_s() {
        let mut account = Account {
            status: Status::Signaled,
            exit_code: Some(139),
            signal: Some(11),
            wall_seconds: Some(1.5),
            cpu_seconds: Some(CpuSeconds { user: 0.25, system: 0.5 }),
            memory_peak_bytes: Some(8192),
            oom_kills: Some(0),
            ..Account::default()
        };
        let meta =
            "time:0.750\ntime-wall:1.500\ncg-mem:8\nexitsig:11\nstatus:SG\nmessage:Caught fatal signal 11\n";
        assert_eq!(account.meta(), meta);
        (account.status, account.signal, account.exit_code) = (Status::Timeout, None, Some(124));
        assert!(
            account
                .meta()
                .ends_with("cg-mem:8\nkilled:1\nstatus:TO\nmessage:Time limit exceeded (wall clock)\n")
        );
        (account.status, account.exit_code) = (Status::Exited, Some(0));
        assert!(account.meta().ends_with("cg-mem:8\nexitcode:0\n"));
    }
}
