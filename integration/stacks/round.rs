//! One stack with one runtime: its daemon, its steps, and their leftovers.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::isolate::{self, User};
use crate::leftovers::{Scene, kill_descendants, remove_cgroups};
use crate::script::{Script, Step};
use crate::table::Verdict;

/// Time limit of a step in seconds; multiplied on an emulated machine.
const LIMIT: u64 = 240;

/// One stack with one runtime.
pub struct Round<'a> {
    /// The script.
    pub script: &'a Script,
    /// Filter of the steps.
    pub wanted: &'a dyn Fn(&Step) -> bool,
    /// The cgroup driver: systemd or cgroupfs.
    pub driver: &'a str,
    /// Whether the steps run as an unprivileged user.
    pub ordinary: bool,
    /// The runtime's name in the stacks.
    pub name: &'a str,
    /// Its path.
    pub runtime: PathBuf,
    /// A private directory.
    pub work: PathBuf,
    /// Files that all rounds share.
    pub base: &'a Path,
}

/// The factor by which this machine is slower than usual.
pub fn slow() -> u64 {
    std::env::var("SAFEBOX_SLOW").ok().and_then(|v| v.parse().ok()).unwrap_or(1).max(1)
}

/// An empty file for a section's output. The directory may belong to an unprivileged user.
fn create(path: &Path) -> std::io::Result<File> {
    let flags = nix::fcntl::OFlag::O_NOFOLLOW.bits();
    File::options().write(true).create(true).truncate(true).custom_flags(flags).open(path)
}

/// The program of that name, at the path where stacks look for it.
pub fn found(runtime: &Path) -> PathBuf {
    let at = |dir: &str| Path::new(dir).join(runtime);
    let found = ["/usr/sbin", "/usr/bin", "/sbin"].map(at).into_iter().find(|p| p.is_file());
    found.unwrap_or_else(|| runtime.to_path_buf())
}

/// Creates the image and the rootfs that all rounds use.
pub fn make_base(base: &Path) -> Result<(), String> {
    std::fs::create_dir_all(base).map_err(|e| format!("{}: {e}", base.display()))?;
    std::fs::write(base.join("cri.py"), include_str!("cri.py")).map_err(|e| format!("cri.py: {e}"))?;
    let mut bash = Command::new("bash");
    let out = bash
        .args(["-c", include_str!("base.sh")])
        .env("BASE", base)
        .output()
        .map_err(|e| format!("bash: {e}"))?;
    if out.status.success() {
        Ok(())
    } else {
        Err(format!("the image: {}", String::from_utf8_lossy(&out.stderr)))
    }
}

impl Round<'_> {
    /// Performs all steps; `report` receives each verdict.
    pub fn perform(&self, mut report: impl FnMut(&str, Verdict)) -> Result<(), String> {
        self.place().map_err(|e| format!("{}: {e}", self.work.display()))?;
        let steps: Vec<&Step> = self.script.steps.iter().filter(|s| (self.wanted)(s)).collect();
        if steps.is_empty() {
            return Ok(());
        }
        let setup = self.bash("setup", &self.script.setup);
        for (number, step) in steps.into_iter().enumerate() {
            let started = Instant::now();
            let verdict = match &setup {
                Verdict::Ok => self.step(number, step),
                Verdict::Skipped(why) => Verdict::Skipped(why.clone()),
                Verdict::Failed(why) => Verdict::Failed(format!("the stack does not start: {why}")),
            };
            let took = started.elapsed().as_secs_f32();
            match &verdict {
                Verdict::Ok => eprintln!("  ok      {} ({took:.1} s)", step.name),
                Verdict::Skipped(why) => eprintln!("  skipped {}: {}", step.name, why.trim()),
                Verdict::Failed(why) => eprintln!("  FAILED  {} ({took:.1} s): {}", step.name, why.trim()),
            }
            report(&step.name, verdict);
        }
        self.end();
        Ok(())
    }

    /// Creates its directory, owned by the unprivileged user if needed.
    fn place(&self) -> std::io::Result<()> {
        std::fs::create_dir_all(&self.work)?;
        match self.user() {
            Some(user) => std::os::unix::fs::chown(&self.work, Some(user.uid), Some(user.gid)),
            None => Ok(()),
        }
    }

    /// Ends the stack's daemon.
    pub fn end(&self) {
        kill_descendants();
        remove_cgroups();
    }

    fn user(&self) -> Option<User> {
        isolate::user().filter(|_| self.ordinary)
    }

    fn step(&self, number: usize, step: &Step) -> Verdict {
        let before = Scene::look(&self.states());
        let verdict = self.bash(&format!("s{number}"), &step.body);
        let cleaned = self.bash(&format!("s{number}"), &self.script.finally);
        let left = self.left_after(&before);
        match (verdict, cleaned) {
            (Verdict::Ok, Verdict::Failed(text)) => Verdict::Failed(format!("removing it: {text}")),
            (Verdict::Ok, _) if !left.is_empty() => {
                Verdict::Failed(format!("left behind: {}", left.join("; ")))
            }
            (Verdict::Failed(text), _) if !left.is_empty() => {
                Verdict::Failed(format!("{}\nleft behind: {}", text.trim(), left.join("; ")))
            }
            (verdict, _) => verdict,
        }
    }

    /// Daemons clean up after they have answered: objects that disappear within a while are no leftovers.
    fn left_after(&self, before: &Scene) -> Vec<String> {
        let deadline = Instant::now() + Duration::from_secs(5 * slow());
        loop {
            let left = Scene::look(&self.states()).beyond(before);
            if left.is_empty() || Instant::now() > deadline {
                return left;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The runtime's state roots.
    fn states(&self) -> Vec<PathBuf> {
        let own = |dir: &str| self.work.join(dir);
        let mut states = vec![
            own("states/stacks"),
            own("states/k8s.io"),
            "/run/runc".into(),
            "/run/safebox".into(),
            "/run/containerd/runc/k8s.io".into(),
        ];
        if let Some(user) = self.user() {
            states.extend(["runc", "safebox"].map(|name| user.runtime_dir.join(name)));
        }
        states
    }

    /// Runs a section. Its output goes to a file, because a daemon may keep a pipe open.
    pub fn bash(&self, id: &str, body: &str) -> Verdict {
        let out = self.work.join("output");
        let limit = (LIMIT * slow()).to_string();
        let status = create(&out).and_then(|file| {
            let mut command = self.command(&limit, body);
            command.env("ID", format!("{}-{id}", self.name));
            command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).status()
        });
        let text = std::fs::read_to_string(&out).unwrap_or_default();
        let tail =
            text.lines().rev().take(12).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("\n");
        match status.map(|s| s.code()) {
            Ok(Some(0)) => Verdict::Ok,
            Ok(Some(77)) => Verdict::Skipped(tail),
            Ok(Some(124)) => Verdict::Failed(format!("no end after {limit} s\n{tail}")),
            Ok(code) => Verdict::Failed(format!("{tail}\n(exit status {code:?})")),
            Err(e) => Verdict::Failed(format!("bash: {e}")),
        }
    }

    /// The section as a command with the environment that steps use (`common.sh`).
    pub fn command(&self, limit: &str, body: &str) -> Command {
        // A criu that works on this kernel, for runc and safebox.
        let criu = std::env::var("SAFEBOX_CRIU").unwrap_or_default();
        let criu = Path::new(&criu).parent().map(|d| format!("{}:", d.display()));
        let mut command = Command::new("timeout");
        command.arg(limit);
        if self.ordinary {
            let id = isolate::ORDINARY;
            command.args(["setpriv", "--reuid", id, "--regid", id, "--init-groups", "--"]);
        }
        command
            .args(["bash", "-c", &format!("{}\n{body}", self.script.prelude)])
            .env_clear()
            .env("PATH", format!("{}/usr/sbin:/usr/bin:/sbin:/bin", criu.unwrap_or_default()))
            .env("HOME", &self.work)
            .env("LANG", "C.UTF-8")
            .env("RUNTIME", &self.runtime)
            .env("NAME", self.name)
            .env("WORK", &self.work)
            .env("BASE", self.base)
            .env("DRIVER", self.driver)
            .env("SLOW", slow().to_string())
            .current_dir(&self.work);
        if let Some(user) = self.user() {
            let (name, dir) = (isolate::ORDINARY, &user.runtime_dir);
            command.env("USER", name).env("LOGNAME", name).env("XDG_RUNTIME_DIR", dir);
            if dir.join("bus").exists() {
                let bus = format!("unix:path={}", dir.join("bus").display());
                command.env("DBUS_SESSION_BUS_ADDRESS", bus);
            }
        }
        command
    }
}
