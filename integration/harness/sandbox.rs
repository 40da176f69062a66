//! The environment of a test: a bundle, a state root and an id, with a check for leftovers.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::bundle;
use super::carried::patience;
use super::leaks::Trace;
use super::process::{Call, Output, Running};

/// A temporary bundle and the containers made from it. Dropping it asserts that there are no leftovers.
pub struct Sandbox {
    /// Removed last, after the check for leftovers.
    _dir: tempfile::TempDir,
    config: Value,
    trace: Trace,
    outputs: AtomicU32,
}

/// Minimum timeout of [`poll`]: on a loaded machine a process may wait seconds for the cpu.
const LEAST: Duration = Duration::from_secs(60);

/// Calls `done` until it returns true; panics with `what` at the timeout.
#[track_caller]
pub fn poll(what: &str, limit: Duration, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + patience(limit).max(LEAST);
    while !done() {
        assert!(Instant::now() < end, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[allow(dead_code)] // the methods serve every test file, present and future
impl Sandbox {
    /// A bundle that runs `true`, without a terminal.
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let dir = tempfile::Builder::new().prefix("safebox-test-").tempdir().expect("a temporary directory");
        // The trailing letter prevents one token from being a prefix of another.
        let token = format!("t{:x}x{}z", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = dir.path().canonicalize().expect("a real path");
        let trace = Trace { token, root: path.join("state"), dir: path };
        bundle::make_rootfs(&trace.dir.join("bundle/rootfs"));
        let sandbox = Sandbox { _dir: dir, config: bundle::spec(), trace, outputs: AtomicU32::new(0) };
        sandbox.write();
        sandbox
    }

    /// A bundle whose program sleeps.
    pub fn sleeper() -> Self {
        Sandbox::new().args(["/bin/sleep", "1000"])
    }

    /// A bundle whose program prints `up`, for [`Self::run_until`], and sleeps.
    pub fn up() -> Self {
        Sandbox::new().sh("echo up; exec sleep 1000")
    }

    /// Creates and starts the container.
    #[track_caller]
    pub fn started(self) -> Self {
        self.create().ok();
        self.verb("start").ok();
        self
    }

    /// Sets `process.args`.
    pub fn args<S: AsRef<str>>(self, args: impl IntoIterator<Item = S>) -> Self {
        let args: Vec<_> = args.into_iter().map(|a| Value::from(a.as_ref())).collect();
        self.patch("/process/args", args.into())
    }

    /// Sets `process.args` to `/bin/sh -c SCRIPT`.
    pub fn sh(self, script: &str) -> Self {
        self.args(["/bin/sh", "-c", script])
    }

    /// Sets the value at a JSON pointer; `-` appends to an array.
    pub fn patch(mut self, pointer: &str, value: Value) -> Self {
        self.set(pointer, value);
        self
    }

    /// Removes the value at a JSON pointer.
    pub fn without(mut self, pointer: &str) -> Self {
        bundle::remove(&mut self.config, pointer);
        self.write();
        self
    }

    /// [`Self::patch`] on a sandbox in use.
    pub fn set(&mut self, pointer: &str, value: Value) {
        bundle::set(&mut self.config, pointer, value);
        self.write();
    }

    /// The current config.
    pub fn config(&self) -> &Value {
        &self.config
    }

    fn write(&self) {
        let text = serde_json::to_vec_pretty(&self.config).expect("JSON");
        std::fs::write(self.bundle().join("config.json"), text).expect("write config.json");
    }

    /// The container's id, unique on this machine.
    pub fn id(&self) -> &str {
        &self.trace.token
    }

    /// Another id of this test, which the check for leftovers covers too.
    pub fn other_id(&self, name: &str) -> String {
        format!("{}-{name}", self.trace.token)
    }

    /// The test's directory: `bundle`, `state`, and further files of the test.
    pub fn dir(&self) -> &Path {
        &self.trace.dir
    }

    /// The bundle.
    pub fn bundle(&self) -> PathBuf {
        self.dir().join("bundle")
    }

    /// The rootfs.
    pub fn rootfs(&self) -> PathBuf {
        self.dir().join("bundle/rootfs")
    }

    /// The directory passed as `--root`.
    pub fn root(&self) -> &Path {
        &self.trace.root
    }

    /// The runtime with `--root`; the test adds a verb and its arguments.
    pub fn runtime(&self) -> Call {
        self.under(&[] as &[&str])
    }

    /// As [`Self::runtime`], executed by another program: `sb.under(&["strace", "-f", "-o", path])`.
    pub fn under<S: AsRef<std::ffi::OsStr>>(&self, wrapper: &[S]) -> Call {
        self.rooted(match wrapper.split_first() {
            None => Command::new(bundle::runtime()),
            Some((program, args)) => {
                let mut command = Command::new(program);
                command.args(args).arg(bundle::runtime());
                command
            }
        })
    }

    /// The runtime under another program name.
    pub fn runtime_as(&self, program: &Path) -> Call {
        self.rooted(Command::new(program))
    }

    fn rooted(&self, mut command: Command) -> Call {
        command.arg("--root").arg(self.root()).env("SAFEBOX_TEST", &self.trace.token);
        let n = self.outputs.fetch_add(1, Ordering::Relaxed);
        let file = |name| self.dir().join(format!("{name}.{n}"));
        Call::new(command, (file("stdout"), file("stderr")))
    }

    /// `RUNTIME run` of the bundle in the foreground, hardened with the default policy, and quiet.
    pub fn run(&self) -> Call {
        let call = self.runtime().arg("run").arg("--bundle").arg(self.bundle());
        if bundle::is_foreign() { call.arg(self.id()) } else { call.arg("--quiet").arg(self.id()) }
    }

    /// `RUNTIME run` with the unhardened config, as OCI runtimes run it.
    pub fn run_oci(&self) -> Call {
        let call = self.run();
        if bundle::is_foreign() { call } else { call.args(["--policy", "privileged"]) }
    }

    /// `RUNTIME create` of the bundle.
    pub fn create(&self) -> Output {
        self.create_call().output()
    }

    /// `RUNTIME create` of the bundle, as a call that the test can change.
    pub fn create_call(&self) -> Call {
        self.runtime().arg("create").arg("--bundle").arg(self.bundle()).arg(self.id())
    }

    /// `RUNTIME VERB ID`.
    pub fn verb(&self, verb: &str) -> Output {
        self.runtime().arg(verb).arg(self.id()).output()
    }

    /// `RUNTIME kill ID SIGNAL`.
    pub fn kill(&self, signal: &str) -> Output {
        self.runtime().arg("kill").arg(self.id()).arg(signal).output()
    }

    /// `RUNTIME exec ID ARGS`.
    pub fn exec<S: AsRef<str>>(&self, args: impl IntoIterator<Item = S>) -> Output {
        let args: Vec<_> = args.into_iter().map(|a| a.as_ref().to_string()).collect();
        self.runtime().arg("exec").arg(self.id()).args(args).output()
    }

    /// `RUNTIME delete --force ID`.
    pub fn delete(&self) -> Output {
        self.runtime().args(["delete", "--force"]).arg(self.id()).output()
    }

    /// The output of `state`.
    #[track_caller]
    pub fn state(&self) -> Value {
        let out = self.verb("state").ok();
        serde_json::from_str(&out.stdout).unwrap_or_else(|e| panic!("state: {e}\n{out}"))
    }

    /// The status in the output of `state`.
    #[track_caller]
    pub fn status(&self) -> String {
        self.state()["status"].as_str().unwrap_or_default().to_string()
    }

    /// The pid of the container's init on the host.
    #[track_caller]
    pub fn pid(&self) -> i32 {
        self.state()["pid"].as_i64().and_then(|p| i32::try_from(p).ok()).expect("a pid")
    }

    /// Waits until `state` prints this status.
    #[track_caller]
    pub fn wait_for_status(&self, status: &str) {
        poll(&format!("status {status}"), Duration::from_secs(10), || self.status() == status);
    }

    /// Runs the container in the foreground, in the background of the test, and waits until it has printed
    /// `word`.
    #[track_caller]
    pub fn run_until(&self, call: Call, word: &str) -> Running {
        let running = call.spawn();
        poll(&format!("{word:?} on stdout\n{:?}", running.so_far()), Duration::from_secs(10), || {
            running.so_far().0.contains(word)
        });
        running
    }

    /// The identification of this test's leftovers.
    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    /// Asserts that there are no leftovers now: a command must have removed everything when it returns.
    #[track_caller]
    pub fn leak_check(&self) {
        let found = self.trace.find();
        assert!(found.is_empty(), "left behind:\n  {}", found.join("\n  "));
    }

    /// Asserts that there are no leftovers after at most `limit`, for processes that end by themselves.
    #[track_caller]
    pub fn leak_check_within(&self, limit: Duration) {
        let found = self.left_after(limit);
        assert!(found.is_empty(), "left behind:\n  {}", found.join("\n  "));
    }

    /// The leftovers, as soon as there are none or when `limit` is over.
    pub fn left_after(&self, limit: Duration) -> Vec<String> {
        let end = Instant::now() + patience(limit).max(LEAST);
        loop {
            let found = self.trace.find();
            if found.is_empty() || Instant::now() > end {
                return found;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let found = self.trace.find();
        if !found.is_empty() {
            self.trace.clean_up();
        }
        // A failed test has already reported its reason; a second panic would abort the whole run.
        if !std::thread::panicking() {
            assert!(found.is_empty(), "left behind at the end:\n  {}", found.join("\n  "));
        }
    }
}
