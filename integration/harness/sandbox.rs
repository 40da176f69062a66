//! One test's own world: a bundle, a state root, an id, and the promise that nothing of it is left.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::bundle;
use super::carried::patience;
use super::leaks::Trace;
use super::process::{Call, Output, Running};

/// A temporary bundle and what is run from it. Dropping it asserts that nothing is left behind.
pub struct Sandbox {
    /// Removed last, after the look at what is left.
    _dir: tempfile::TempDir,
    config: Value,
    trace: Trace,
    outputs: AtomicU32,
}

/// The least time that [`poll`] waits: on a loaded machine a process may wait seconds for its turn.
const LEAST: Duration = Duration::from_secs(60);

/// Calls `done` until it is true; panics with `what` when the time is over.
#[track_caller]
pub fn poll(what: &str, limit: Duration, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + patience(limit).max(LEAST);
    while !done() {
        assert!(Instant::now() < end, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[allow(dead_code)] // the words are for every test file, present and future
impl Sandbox {
    /// A bundle that runs `true`, without a terminal.
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let dir = tempfile::Builder::new().prefix("safebox-test-").tempdir().expect("a temporary directory");
        // The letter at the end keeps one token from being the beginning of another.
        let token = format!("t{:x}x{}z", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = dir.path().canonicalize().expect("a real path");
        let trace = Trace { token, root: path.join("state"), dir: path };
        bundle::make_rootfs(&trace.dir.join("bundle/rootfs"));
        let sandbox = Sandbox { _dir: dir, config: bundle::spec(), trace, outputs: AtomicU32::new(0) };
        sandbox.write();
        sandbox
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

    /// Sets what is at a JSON pointer; `-` appends to an array.
    pub fn patch(mut self, pointer: &str, value: Value) -> Self {
        self.set(pointer, value);
        self
    }

    /// Removes what is at a JSON pointer.
    pub fn without(mut self, pointer: &str) -> Self {
        bundle::remove(&mut self.config, pointer);
        self.write();
        self
    }

    /// [`Self::patch`] on a sandbox that is in use.
    pub fn set(&mut self, pointer: &str, value: Value) {
        bundle::set(&mut self.config, pointer, value);
        self.write();
    }

    /// The config as it is written.
    pub fn config(&self) -> &Value {
        &self.config
    }

    fn write(&self) {
        let text = serde_json::to_vec_pretty(&self.config).expect("JSON");
        std::fs::write(self.bundle().join("config.json"), text).expect("write config.json");
    }

    /// The container's id; unique on this machine.
    pub fn id(&self) -> &str {
        &self.trace.token
    }

    /// Another id of this test's, which the leak check looks for too.
    pub fn other_id(&self, name: &str) -> String {
        format!("{}-{name}", self.trace.token)
    }

    /// The test's directory: `bundle`, `state`, and room for what the test needs.
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

    /// The directory given as `--root`.
    pub fn root(&self) -> &Path {
        &self.trace.root
    }

    /// The runtime with `--root`, to which a verb and its arguments are added.
    pub fn runtime(&self) -> Call {
        self.under(&[] as &[&str])
    }

    /// The same below another program: `sb.under(&["strace", "-f", "-o", path])`.
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

    /// The runtime under another name.
    pub fn runtime_as(&self, program: &Path) -> Call {
        self.rooted(Command::new(program))
    }

    fn rooted(&self, mut command: Command) -> Call {
        command.arg("--root").arg(self.root()).env("SAFEBOX_TEST", &self.trace.token);
        let n = self.outputs.fetch_add(1, Ordering::Relaxed);
        let file = |name| self.dir().join(format!("{name}.{n}"));
        Call::new(command, (file("stdout"), file("stderr")))
    }

    /// `RUNTIME run` of the bundle in the foreground, hardened as safebox does by default, without its remarks.
    pub fn run(&self) -> Call {
        let call = self.runtime().arg("run").arg("--bundle").arg(self.bundle());
        if bundle::is_foreign() { call.arg(self.id()) } else { call.arg("--quiet").arg(self.id()) }
    }

    /// `RUNTIME run` of the config as written: what OCI runtimes do.
    pub fn run_oci(&self) -> Call {
        let call = self.run();
        if bundle::is_foreign() { call } else { call.args(["--policy", "privileged"]) }
    }

    /// `RUNTIME create` of the bundle.
    pub fn create(&self) -> Output {
        self.create_call().output()
    }

    /// `RUNTIME create` of the bundle, to be completed.
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

    /// What `state` prints.
    #[track_caller]
    pub fn state(&self) -> Value {
        let out = self.verb("state").ok();
        serde_json::from_str(&out.stdout).unwrap_or_else(|e| panic!("state: {e}\n{out}"))
    }

    /// The status that `state` prints.
    #[track_caller]
    pub fn status(&self) -> String {
        self.state()["status"].as_str().unwrap_or_default().to_string()
    }

    /// The container process, as the host sees it.
    #[track_caller]
    pub fn pid(&self) -> i32 {
        self.state()["pid"].as_i64().and_then(|p| i32::try_from(p).ok()).expect("a pid")
    }

    /// Waits until `state` prints this status.
    #[track_caller]
    pub fn wait_for_status(&self, status: &str) {
        poll(&format!("status {status}"), Duration::from_secs(10), || self.status() == status);
    }

    /// Runs the container in the foreground, in the background of the test, until it has printed `word`.
    #[track_caller]
    pub fn run_until(&self, call: Call, word: &str) -> Running {
        let running = call.spawn();
        poll(&format!("{word:?} on stdout\n{:?}", running.so_far()), Duration::from_secs(10), || {
            running.so_far().0.contains(word)
        });
        running
    }

    /// How to find what this test leaves.
    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    /// Asserts that nothing is left right now: what is removed must be gone when the command returns.
    #[track_caller]
    pub fn leak_check(&self) {
        let found = self.trace.find();
        assert!(found.is_empty(), "left behind:\n  {}", found.join("\n  "));
    }

    /// Asserts that nothing is left after at most `limit`, for what dies on its own.
    #[track_caller]
    pub fn leak_check_within(&self, limit: Duration) {
        let found = self.left_after(limit);
        assert!(found.is_empty(), "left behind:\n  {}", found.join("\n  "));
    }

    /// What is left when nothing is, or when `limit` is over.
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
        // A test that has failed already says why; a second panic would abort the whole run.
        if !std::thread::panicking() {
            assert!(found.is_empty(), "left behind at the end:\n  {}", found.join("\n  "));
        }
    }
}
