//! Runs a command with a timeout and its output in files: a container that outlives `create` keeps pipes
//! open, so end of file on a pipe could not be waited for.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::carried::patience;

/// A command that has ended.
#[derive(Debug, Clone)]
pub struct Output {
    /// The command, for messages.
    pub command: String,
    /// Exit code; 128 + signal if it was killed.
    pub code: i32,
    /// Whether the harness killed it at the timeout.
    pub timed_out: bool,
    /// Its stdout (so far: a container that still runs may write more).
    pub stdout: String,
    /// Its stderr.
    pub stderr: String,
    /// Time from start to exit.
    pub took: Duration,
}

#[allow(dead_code)] // the methods serve every test file, present and future
impl Output {
    /// Asserts success.
    #[track_caller]
    pub fn ok(self) -> Self {
        self.exits(0)
    }

    /// Asserts this exit code and no timeout.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert!(!self.timed_out, "timed out after {:?}\n{self}", self.took);
        assert_eq!(self.code, code, "exit code\n{self}");
        self
    }

    /// Asserts that stderr contains `text` (runc's log escapes quotes).
    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        assert!(self.stderr.replace("\\\"", "\"").contains(text), "stderr does not contain {text:?}\n{self}");
        self
    }

    /// Asserts that stdout contains `text`.
    #[track_caller]
    pub fn prints(self, text: &str) -> Self {
        assert!(self.stdout.contains(text), "stdout does not contain {text:?}\n{self}");
        self
    }
}

impl std::fmt::Display for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "$ {}\nexit code {}, {:?}\n", self.command, self.code, self.took)?;
        write!(f, "--- stdout\n{}--- stderr\n{}", self.stdout, self.stderr)
    }
}

/// A command to run.
pub struct Call {
    command: Command,
    files: (PathBuf, PathBuf),
    input: Option<Vec<u8>>,
    limit: Duration,
}

#[allow(dead_code)]
impl Call {
    /// `command`, with stdout and stderr in `files`.
    pub fn new(mut command: Command, files: (PathBuf, PathBuf)) -> Self {
        let file = |path| File::options().create(true).truncate(true).write(true).open(path).expect("a file");
        command.stdin(Stdio::null()).stdout(file(&files.0)).stderr(file(&files.1));
        Call { command, files, input: None, limit: Duration::from_secs(20) }
    }

    /// Appends an argument.
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    /// Appends arguments.
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.command.args(args);
        self
    }

    /// Sets a variable of the runtime's environment.
    pub fn env(mut self, key: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(key, value);
        self
    }

    /// Feeds stdin, then closes it. The default is /dev/null.
    pub fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = Some(bytes.into());
        self
    }

    /// Sets the timeout after which the command is killed; the default is 20 s.
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Changes the command directly, for example descriptors or the working directory.
    pub fn with(mut self, change: impl FnOnce(&mut Command)) -> Self {
        change(&mut self.command);
        self
    }

    /// Runs the command and waits for its end.
    #[track_caller]
    pub fn output(self) -> Output {
        let limit = self.limit;
        self.spawn().wait_at_most(limit)
    }

    /// Starts it; stdin is a pipe that stays open until it is dropped.
    pub fn spawn_with_stdin(mut self) -> Running {
        self.input = None;
        self.command.stdin(Stdio::piped());
        self.spawn()
    }

    /// Starts it.
    #[track_caller]
    pub fn spawn(mut self) -> Running {
        if self.input.is_some() {
            self.command.stdin(Stdio::piped());
        }
        let text = format!("{:?}", self.command).replace('"', "");
        let start = Instant::now();
        let mut child = self.command.spawn().unwrap_or_else(|e| panic!("{text}: {e}"));
        let mut stdin = child.stdin.take();
        if let (Some(mut pipe), Some(bytes)) = (stdin.take_if(|_| self.input.is_some()), self.input) {
            std::thread::spawn(move || pipe.write_all(&bytes));
        }
        Running { child, text, files: self.files, start, stdin }
    }
}

/// A running command; killed on drop.
#[allow(dead_code)]
pub struct Running {
    child: Child,
    text: String,
    files: (PathBuf, PathBuf),
    start: Instant,
    /// The write end of its stdin, after [`Call::spawn_with_stdin`].
    pub stdin: Option<ChildStdin>,
}

#[allow(dead_code)]
impl Running {
    /// Its pid.
    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// Files with its stdout and stderr.
    pub fn files(&self) -> &(PathBuf, PathBuf) {
        &self.files
    }

    /// Sends a signal to it (only to its own pid).
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).expect("signal a child");
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("wait for a child").is_some()
    }

    /// Its stdout and stderr so far.
    pub fn so_far(&self) -> (String, String) {
        (read(&self.files.0), read(&self.files.1))
    }

    /// Waits at most 20 s.
    #[track_caller]
    pub fn wait(self) -> Output {
        self.wait_at_most(Duration::from_secs(20))
    }

    /// Waits; kills it at the timeout.
    #[track_caller]
    pub fn wait_at_most(mut self, limit: Duration) -> Output {
        let status = self.poll(limit);
        let timed_out = status.is_none();
        let status = status.unwrap_or_else(|| {
            self.child.kill().expect("kill a child");
            self.child.wait().expect("wait for a child")
        });
        let took = self.start.elapsed();
        let (stdout, stderr) = self.so_far();
        Output { command: self.text.clone(), code: code(status), timed_out, stdout, stderr, took }
    }

    fn poll(&mut self, limit: Duration) -> Option<ExitStatus> {
        let end = Instant::now() + patience(limit);
        let mut pause = Duration::from_micros(200);
        loop {
            if let Some(status) = self.child.try_wait().expect("wait for a child") {
                return Some(status);
            }
            if Instant::now() >= end {
                return None;
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(5));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|s| s.is_none()) {
            // The child is not reaped yet, so the pid is still its own.
            self.child.kill().unwrap_or_default();
            self.child.wait().map(drop).unwrap_or_default();
        }
    }
}

fn read(path: &PathBuf) -> String {
    std::fs::read(path).map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default()
}

fn code(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}
