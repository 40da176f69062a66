//! Sandboxes for programs in Rust: a builder in the manner of [`std::process::Command`].
//!
//! A [`Sandbox`] is launched by the `safebox` program. So threads, signals and children of the program that uses this
//! library stay its own. What is asked for goes there in a sealed memfd(2), in the words of the command line: the same
//! table of options reads both, so the library and the command line cannot differ, and no other process sees it.
//!
//! ```
//! # fn main() -> safebox::error::Result<()> {
//! # let here = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("target");
//! # let built = ["x86_64-unknown-linux-gnu/debug", "debug", "release"].map(|dir| here.join(dir).join("safebox"));
//! # let Some(safebox) = built.into_iter().find(|path| path.exists()) else { return Ok(()) };
//! use std::time::Duration;
//!
//! use safebox::{Sandbox, Status};
//!
//! let mut sandbox = Sandbox::new("sh");
//! sandbox.args(["-c", "echo \"$WORD from $(id -u)\"; exit 3"]).env("WORD", "hello").timeout(Duration::from_secs(10));
//! # sandbox.launcher(safebox).current_dir("/usr");
//! # if !nix::unistd::geteuid().is_root() { return Ok(()) }
//! let output = sandbox.output()?;
//! assert_eq!(output.stdout, b"hello from 65532\n");
//! assert_eq!(output.exit.account.status, Status::Exited);
//! assert_eq!(output.exit.code(), 3);
//!
//! // What would be done, without doing it.
//! let plan = sandbox.plan()?;
//! assert!(plan.rows.iter().any(|row| row.action.to_string().contains("pivot_root")));
//! # Ok(())
//! # }
//! ```

pub mod child;
pub mod request;

use std::ffi::OsString;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::cgroup::Manager;
use crate::cli::{self, Verb};
use crate::error::{Error, Result};
use crate::launch::options::{OptionRow, Says, ValueShape, row, verbs};
use crate::launch::value::{Launch, RootSource};
use crate::plan::Plan;
use crate::plan::check::Checked;
use crate::policy::Policy;
use crate::sys::before_exec;
use crate::sys::signal::DEADLY;
pub use child::{Child, Exit, Output};

/// The descriptors of the launcher: what is asked for, and where the account goes.
const REQUEST: i32 = 3;
const RESULT: i32 = 4;

/// A sandbox that is yet to be launched.
pub struct Sandbox {
    launcher: PathBuf,
    state_root: Option<PathBuf>,
    cgroup_manager: Option<Manager>,
    policy_file: Option<PathBuf>,
    root: RootSource,
    name: Option<String>,
    options: Vec<(&'static OptionRow, String)>,
    args: Vec<OsString>,
    current_dir: Option<PathBuf>,
    stdio: [Option<Stdio>; 3],
    /// The first option that was wrong.
    wrong: Option<String>,
}

impl Sandbox {
    /// A sandbox for this program of the host, which is looked up inside.
    pub fn new(program: impl Into<OsString>) -> Self {
        Sandbox {
            launcher: "safebox".into(),
            state_root: None,
            cgroup_manager: None,
            policy_file: None,
            root: RootSource::Host,
            name: None,
            options: Vec::new(),
            args: vec![program.into()],
            current_dir: None,
            stdio: [None, None, None],
            wrong: None,
        }
    }

    /// A sandbox for the program that a bundle's config.json names.
    pub fn bundle(dir: impl Into<PathBuf>) -> Self {
        Sandbox { root: RootSource::Bundle(dir.into()), args: Vec::new(), ..Sandbox::new("") }
    }

    /// The `safebox` program [default: the one in `$PATH`].
    pub fn launcher(&mut self, path: impl Into<PathBuf>) -> &mut Self {
        self.launcher = path.into();
        self
    }

    /// Where the states of containers are kept [default: as the command line has it].
    pub fn state_root(&mut self, dir: impl Into<PathBuf>) -> &mut Self {
        self.state_root = Some(dir.into());
        self
    }

    /// Who makes the container's cgroups; with [`Manager::Disabled`] there is none, and nothing is limited [default: as
    /// the command line has it].
    pub fn cgroup_manager(&mut self, manager: Manager) -> &mut Self {
        self.cgroup_manager = Some(manager);
        self
    }

    /// The administrator's policy file [default: /etc/safebox/policy.toml, if it exists].
    pub fn policy_file(&mut self, path: impl Into<PathBuf>) -> &mut Self {
        self.policy_file = Some(path.into());
        self
    }

    /// A directory as root file system, in place of the host's programs.
    pub fn rootfs(&mut self, dir: impl Into<PathBuf>) -> &mut Self {
        self.root = RootSource::Directory(dir.into());
        self
    }

    /// The container's id [default: made up].
    pub fn name(&mut self, id: impl Into<String>) -> &mut Self {
        self.name = Some(id.into());
        self
    }

    /// One more argument.
    pub fn arg(&mut self, arg: impl Into<OsString>) -> &mut Self {
        self.args.push(arg.into());
        self
    }

    /// More arguments.
    pub fn args<S: Into<OsString>>(&mut self, args: impl IntoIterator<Item = S>) -> &mut Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// The launcher's working directory: the program sees it at its own path, read-only.
    pub fn current_dir(&mut self, dir: impl Into<PathBuf>) -> &mut Self {
        self.current_dir = Some(dir.into());
        self
    }

    /// Any option of `safebox run`, by its long name and as the command line writes its value; a flag has none, "". A
    /// value that the option does not take is an error of [`Self::spawn`] and [`Self::plan`].
    pub fn option(&mut self, long: &str, value: &str) -> &mut Self {
        let wrong = match row(long).filter(|row| row.verbs & verbs::RUN != 0) {
            None => Some(format!("safebox run has no option --{long}")),
            Some(_) if CALLERS.contains(&long) => Some(format!("--{long}: the library uses it itself")),
            Some(row) => {
                let result = row.say(&mut Launch::default(), value);
                self.options.push((row, value.into()));
                result.err().map(|why| format!("--{long} {value:?}: {why}"))
            }
        };
        self.wrong = self.wrong.take().or(wrong);
        self
    }

    /// A variable of the program's environment.
    pub fn env(&mut self, name: &str, value: &str) -> &mut Self {
        self.option("env", &format!("{name}={value}"))
    }

    /// Shows a path of the host at its own place, read-only.
    pub fn read(&mut self, path: impl AsRef<Path>) -> &mut Self {
        self.path("ro", path.as_ref())
    }

    /// Shows a path of the host at its own place; what is written there belongs to its owner.
    pub fn write(&mut self, path: impl AsRef<Path>) -> &mut Self {
        self.path("rw", path.as_ref())
    }

    /// Covers a path inside a shown one.
    pub fn hide(&mut self, path: impl AsRef<Path>) -> &mut Self {
        self.path("hide", path.as_ref())
    }

    fn path(&mut self, long: &str, path: &Path) -> &mut Self {
        match path.to_str() {
            Some(text) => self.option(long, text),
            None => {
                let wrong = format!("--{long} {}: the path is not valid UTF-8", path.display());
                self.wrong.get_or_insert(wrong);
                self
            }
        }
    }

    /// Shows a directory of the host writable, as a copy: `safebox diff`, `apply` and `discard` act on it by name.
    pub fn overlay(&mut self, path: impl AsRef<Path>) -> &mut Self {
        self.path("overlay", path.as_ref())
    }

    /// The program's user, `UID[:GID]` or `NAME[:GROUP]`.
    pub fn user(&mut self, user: &str) -> &mut Self {
        self.option("user", user)
    }

    /// The program's working directory inside.
    pub fn workdir(&mut self, dir: &str) -> &mut Self {
        self.option("workdir", dir)
    }

    /// A name that the program may connect to: `NAME[:PORT]`.
    pub fn allow_net(&mut self, name: &str) -> &mut Self {
        self.option("allow-net", name)
    }

    /// A port of the program that is reached from outside: `[IP:]HOSTPORT:PORT`.
    pub fn publish(&mut self, ports: &str) -> &mut Self {
        self.option("publish", ports)
    }

    /// A file in /run/secrets that only the program can read: `id=NAME[,src=FILE|env=VAR]...`.
    pub fn secret(&mut self, secret: &str) -> &mut Self {
        self.option("secret", secret)
    }

    /// A mount as `--mount` writes it: `type=bind,src=SRC,dst=DST[,rw]` or `type=tmpfs,dst=DST`.
    pub fn mount(&mut self, mount: &str) -> &mut Self {
        self.option("mount", mount)
    }

    /// Bytes of memory.
    pub fn memory(&mut self, bytes: u64) -> &mut Self {
        self.option("memory", &bytes.to_string())
    }

    /// Cpus, whole or not.
    pub fn cpus(&mut self, cpus: f64) -> &mut Self {
        self.option("cpus", &cpus.to_string())
    }

    /// Processes and threads; an init is one of them.
    pub fn pids_limit(&mut self, most: u64) -> &mut Self {
        self.option("pids-limit", &most.to_string())
    }

    /// The program is stopped after this time.
    pub fn timeout(&mut self, time: Duration) -> &mut Self {
        self.option("timeout", &format!("{}ns", time.as_nanos()))
    }

    /// The container is killed once its processes have used this cpu time.
    pub fn cpu_time(&mut self, time: Duration) -> &mut Self {
        self.option("cpu-time", &format!("{}ns", time.as_nanos()))
    }

    /// At most this much of stdout, and as much of stderr, comes through.
    pub fn output_limit(&mut self, bytes: u64) -> &mut Self {
        self.option("output-limit", &bytes.to_string())
    }

    /// How the config is hardened.
    pub fn policy(&mut self, policy: Policy) -> &mut Self {
        self.option("policy", &policy.to_string())
    }

    /// The program's stdin.
    pub fn stdin(&mut self, stdio: impl Into<Stdio>) -> &mut Self {
        self.stdio[0] = Some(stdio.into());
        self
    }

    /// The program's stdout.
    pub fn stdout(&mut self, stdio: impl Into<Stdio>) -> &mut Self {
        self.stdio[1] = Some(stdio.into());
        self
    }

    /// The program's stderr. The launcher writes nothing to it but what is wrong with the options.
    pub fn stderr(&mut self, stdio: impl Into<Stdio>) -> &mut Self {
        self.stdio[2] = Some(stdio.into());
        self
    }

    /// What would be done. Nothing is changed.
    pub fn plan(&self) -> Result<Checked<Plan>> {
        let words = self.words("explain", verbs::EXPLAIN, &[])?;
        let cli = cli::parse(&words)
            .map_err(|e| Error::msg(cli::usage(&e, Some("explain"), &words, false).text))?;
        match &cli.verb {
            Verb::Explain(args) => crate::commands::plan_of(&cli.global, args),
            _ => Err(Error::msg("the request is no `explain`")),
        }
    }

    /// Launches it. stdin, stdout and stderr are this process's by default.
    pub fn spawn(&mut self) -> Result<Child> {
        self.spawn_with([Stdio::inherit, Stdio::inherit, Stdio::inherit])
    }

    /// Launches it, reads its output and waits for its end. stdin is empty by default.
    pub fn output(&mut self) -> Result<Output> {
        self.spawn_with([Stdio::null, Stdio::piped, Stdio::piped])?.wait_with_output()
    }

    /// Launches it and waits for its end.
    pub fn status(&mut self) -> Result<Exit> {
        self.spawn()?.wait()
    }

    fn spawn_with(&mut self, defaults: [fn() -> Stdio; 3]) -> Result<Child> {
        let id = self.name.clone().unwrap_or_else(made_up_id);
        let to = format!("fd:{RESULT}");
        let own = ["--quiet", "--name", id.as_str(), "--result", to.as_str()];
        let words = self.words("run", verbs::RUN, &own)?;
        let failed = |what: &'static str| move |e| Error::os(what, "", e);
        let request = request::seal(&words).map_err(failed("memfd_create"))?;
        let result = crate::sys::memfd::memory_file(c"safebox account").map_err(failed("memfd_create"))?;
        let mut command = Command::new(&self.launcher);
        command.args(request::arguments(REQUEST));
        if let Some(dir) = &self.current_dir {
            command.current_dir(dir);
        }
        let [stdin, stdout, stderr] = &mut self.stdio;
        command.stdin(stdin.take().unwrap_or_else(defaults[0]));
        command.stdout(stdout.take().unwrap_or_else(defaults[1]));
        command.stderr(stderr.take().unwrap_or_else(defaults[2]));
        // What the calling thread blocks or ignores is not the launcher's.
        before_exec::clean_before_exec(&mut command);
        // A signal that comes early waits until the launcher can act on it.
        before_exec::block_before_exec(&mut command, &DEADLY);
        let passed = vec![(request.as_raw_fd(), REQUEST), (result.as_raw_fd(), RESULT)];
        before_exec::pass_before_exec(&mut command, passed);
        let spawned = command.spawn().map_err(|e| Error::msg(format!("{}: {e}", self.launcher.display())))?;
        let state_root = self.state_root.clone().unwrap_or_else(crate::host::state_root::default_state_root);
        Child::new(id, state_root, spawned, result)
    }

    /// The command line of a verb.
    fn words(&self, verb: &str, bit: u8, own: &[&str]) -> Result<Vec<OsString>> {
        if let Some(wrong) = &self.wrong {
            return Err(Error::msg(wrong.clone()));
        }
        let mut words: Vec<OsString> = vec!["safebox".into()];
        if let Some(dir) = &self.state_root {
            words.extend(["--root".into(), dir.into()]);
        }
        if let Some(file) = &self.policy_file {
            words.extend(["--policy-file".into(), file.into()]);
        }
        if let Some(manager) = self.cgroup_manager {
            words.extend(["--cgroup-manager".into(), manager.name().into()]);
        }
        words.push(verb.into());
        words.extend(own.iter().map(OsString::from));
        match &self.root {
            RootSource::Host => {}
            RootSource::Directory(dir) => words.extend(["--rootfs".into(), dir.into()]),
            // With a slash it is a bundle, whatever its name.
            RootSource::Bundle(dir) => {
                words.push(std::path::absolute(dir).unwrap_or_else(|_| dir.clone()).into())
            }
        }
        for (row, value) in self.options.iter().filter(|(row, _)| row.verbs & bit != 0) {
            let flag = matches!(row.says, Says::Flag(_) | Says::Refused(ValueShape::Flag, _));
            // In one word: a value may begin with a dash.
            let value = if flag { String::new() } else { format!("={value}") };
            words.push(format!("--{}{value}", row.long).into());
        }
        if !self.args.is_empty() {
            words.push("--".into());
            words.extend(self.args.iter().cloned());
        }
        Ok(words)
    }
}

/// Options that [`Sandbox`] says itself, or that would take the program away from its [`Child`].
const CALLERS: &[&str] =
    &["name", "rootfs", "bundle", "result", "result-format", "detach", "preserve-fds", "quiet"];

fn made_up_id() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let time = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let (pid, nanos) = (std::process::id(), time.as_nanos() & 0xffff_ffff_ffff);
    format!("box-{pid:x}-{nanos:x}-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

#[cfg(test)]
mod tests;
