//! A sandbox that runs, and its end.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::{ChildStderr, ChildStdin, ChildStdout};

use crate::error::{Error, Result};
use crate::lifecycle::account::{Account, Status};
use crate::lifecycle::container::Container;
use crate::lifecycle::processes;
use crate::sys::{fs, process};

/// A sandbox that was launched. As with [`std::process::Child`], one that is dropped goes on.
#[derive(Debug)]
pub struct Child {
    /// The program's stdin, where it was piped.
    pub stdin: Option<ChildStdin>,
    /// The program's stdout, where it was piped.
    pub stdout: Option<ChildStdout>,
    /// The program's stderr, where it was piped.
    pub stderr: Option<ChildStderr>,
    id: String,
    state_root: PathBuf,
    launcher: std::process::Child,
    pidfd: OwnedFd,
    account: File,
}

/// How a sandbox ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Exit {
    /// How it ended, and what it used.
    pub account: Account,
}

/// What a sandbox printed, and how it ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    /// How it ended.
    pub exit: Exit,
    /// What the program wrote to stdout.
    pub stdout: Vec<u8>,
    /// What it wrote to stderr.
    pub stderr: Vec<u8>,
}

impl Exit {
    /// The exit code of `safebox run`: the program's, 128 and the signal's number where one killed it, 124 at a deadline.
    pub fn code(&self) -> i32 {
        self.account.exit_code.unwrap_or(255)
    }

    /// The program ended by itself, with exit code 0.
    pub fn success(&self) -> bool {
        self.account.status == Status::Exited && self.code() == 0
    }
}

impl Child {
    pub(super) fn new(
        id: String,
        state_root: PathBuf,
        mut launcher: std::process::Child,
        account: OwnedFd,
    ) -> Result<Self> {
        let pid = i32::try_from(launcher.id()).unwrap_or(0);
        // A child that was not waited for keeps its number.
        let pidfd = process::pidfd_open(pid).map(fs::own).map_err(|e| Error::os("pidfd_open", pid, e))?;
        let (stdin, stdout, stderr) = (launcher.stdin.take(), launcher.stdout.take(), launcher.stderr.take());
        Ok(Child { stdin, stdout, stderr, id, state_root, launcher, pidfd, account: account.into() })
    }

    /// The container's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// A descriptor of the launcher that becomes readable when the sandbox has ended (pidfd_open(2)).
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Sends the program a signal.
    pub fn signal(&self, signal: i32) -> Result<()> {
        // The launcher passes it on; before there is a program it gives up.
        process::pidfd_kill(self.pidfd.as_raw_fd(), signal)
            .map_err(|e| Error::os("signal", format!("{signal} to container {}", self.id), e))
    }

    /// Kills all processes of the sandbox; [`Self::wait`] has its account.
    pub fn kill(&mut self) -> Result<()> {
        if self.launcher.try_wait().map_err(|e| Error::msg(format!("wait: {e}")))?.is_some() {
            return Ok(());
        }
        let found = Container::load(&self.state_root, &self.id).ok();
        match found.as_ref().and_then(processes::open) {
            Some((_, pidfd)) => match process::pidfd_kill(pidfd.as_raw_fd(), libc::SIGKILL) {
                Ok(()) | Err(crate::sys::Errno::ESRCH) => Ok(()),
                Err(e) => Err(Error::os("kill container", &self.id, e)),
            },
            None => self.signal(libc::SIGTERM),
        }
    }

    /// Waits for the end. stdin is closed before.
    pub fn wait(&mut self) -> Result<Exit> {
        drop(self.stdin.take());
        let status = self.launcher.wait().map_err(|e| Error::msg(format!("wait: {e}")))?;
        self.exit(status)
    }

    /// How it ended; `None` while it runs.
    pub fn try_wait(&mut self) -> Result<Option<Exit>> {
        let status = self.launcher.try_wait().map_err(|e| Error::msg(format!("wait: {e}")))?;
        status.map(|status| self.exit(status)).transpose()
    }

    /// Reads stdout and stderr to their ends, and waits.
    pub fn wait_with_output(mut self) -> Result<Output> {
        drop(self.stdin.take());
        (self.launcher.stdout, self.launcher.stderr) = (self.stdout.take(), self.stderr.take());
        let failed = |e| Error::msg(format!("read the output of container {}: {e}", self.id));
        // The launcher's own handle is consumed; the account stays.
        let output = self.launcher.wait_with_output().map_err(failed)?;
        let exit = read(&self.account, &self.id, output.status)?;
        Ok(Output { exit, stdout: output.stdout, stderr: output.stderr })
    }

    fn exit(&self, status: std::process::ExitStatus) -> Result<Exit> {
        read(&self.account, &self.id, status)
    }
}

/// What the launcher has written.
fn read(account: &File, id: &str, status: std::process::ExitStatus) -> Result<Exit> {
    let size = account.metadata().map_err(|e| Error::msg(format!("the account of {id}: {e}")))?.len();
    let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
    account.read_exact_at(&mut bytes, 0).map_err(|e| Error::msg(format!("the account of {id}: {e}")))?;
    let account = serde_json::from_slice(&bytes);
    let account =
        account.map_err(|_| Error::msg(format!("the launcher of {id} left no account: {status}")))?;
    Ok(Exit { account })
}
