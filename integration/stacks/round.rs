//! One stack with one runtime: its daemon, its steps, and what they leave behind.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::leftovers::{Scene, kill_descendants, remove_cgroups};
use crate::script::{Script, Step};
use crate::table::Verdict;

/// A step that takes longer has failed.
const LIMIT: &str = "240";

/// One stack with one runtime.
pub struct Round<'a> {
    script: &'a Script,
    name: &'a str,
    runtime: PathBuf,
    work: &'a Path,
    base: &'a Path,
}

/// Makes the image and the rootfs that all rounds use.
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

impl<'a> Round<'a> {
    /// Stacks name the runtime by its base name, so it gets one: `runc` or `safebox`.
    pub fn new(script: &'a Script, name: &'a str, runtime: &Path, work: &'a Path, base: &'a Path) -> Self {
        let at = |dir: &str| Path::new(dir).join(runtime);
        let found = ["/usr/sbin", "/usr/bin", "/sbin"].map(at).into_iter().find(|p| p.is_file());
        Round { script, name, runtime: found.unwrap_or_else(|| runtime.to_path_buf()), work, base }
    }

    /// All steps; `report` gets each verdict.
    pub fn perform(&self, filter: Option<&str>, mut report: impl FnMut(&str, Verdict)) -> Result<(), String> {
        std::fs::create_dir_all(self.work).map_err(|e| format!("{}: {e}", self.work.display()))?;
        let setup = self.bash("setup", &self.script.setup);
        for (number, step) in self.script.steps.iter().enumerate() {
            if filter.is_some_and(|f| !step.name.contains(f)) {
                continue;
            }
            let verdict = match &setup {
                Verdict::Ok => self.step(number, step),
                Verdict::Skipped(why) => Verdict::Skipped(why.clone()),
                Verdict::Failed(why) => Verdict::Failed(format!("the stack does not start: {why}")),
            };
            match &verdict {
                Verdict::Ok => eprintln!("  ok      {}", step.name),
                Verdict::Skipped(why) => eprintln!("  skipped {}: {}", step.name, why.trim()),
                Verdict::Failed(why) => eprintln!("  FAILED  {}: {}", step.name, why.trim()),
            }
            report(&step.name, verdict);
        }
        kill_descendants();
        remove_cgroups();
        Ok(())
    }

    fn step(&self, number: usize, step: &Step) -> Verdict {
        let before = Scene::look(&self.states());
        let verdict = self.bash(&format!("s{number}"), &step.body);
        let cleaned = self.bash(&format!("s{number}-finally"), &self.script.finally);
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

    /// Daemons tidy up after they have answered: what is gone within a while was not left.
    fn left_after(&self, before: &Scene) -> Vec<String> {
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            let left = Scene::look(&self.states()).beyond(before);
            if left.is_empty() || Instant::now() > deadline {
                return left;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Where the runtime keeps its states.
    fn states(&self) -> Vec<PathBuf> {
        let own = |dir: &str| self.work.join(dir);
        vec![
            own("states/stacks"),
            own("states/k8s.io"),
            "/run/runc".into(),
            "/run/safebox".into(),
            "/run/containerd/runc/k8s.io".into(),
        ]
    }

    /// Runs a section. Its output goes to a file: what a daemon holds open must not keep this waiting.
    fn bash(&self, id: &str, body: &str) -> Verdict {
        let out = self.work.join("output");
        let run = || {
            let file = File::create(&out)?;
            Command::new("timeout")
                .args([LIMIT, "bash", "-c", &format!("{}\n{body}", self.script.prelude)])
                .env_clear()
                .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
                .env("HOME", self.work)
                .env("LANG", "C.UTF-8")
                .env("RUNTIME", &self.runtime)
                .env("NAME", self.name)
                .env("WORK", self.work)
                .env("BASE", self.base)
                .env("ID", format!("{}-{id}", self.name))
                .stdin(Stdio::null())
                .stdout(file.try_clone()?)
                .stderr(file)
                .current_dir(self.work)
                .status()
        };
        let status: std::io::Result<std::process::ExitStatus> = run();
        let text = std::fs::read_to_string(&out).unwrap_or_default();
        let tail =
            text.lines().rev().take(12).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("\n");
        match status.map(|s| s.code()) {
            Ok(Some(0)) => Verdict::Ok,
            Ok(Some(77)) => Verdict::Skipped(tail),
            Ok(Some(124)) => Verdict::Failed(format!("no end after {LIMIT} s\n{tail}")),
            Ok(code) => Verdict::Failed(format!("{tail}\n(exit status {code:?})")),
            Err(e) => Verdict::Failed(format!("bash: {e}")),
        }
    }
}
