//! Finds leftovers of a container by a token that the names of no other container contain.
//!
//! Namespaces need no separate check: the kernel keeps one only for a process, an open descriptor or a mount,
//! and those are checked.

use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::carried::slowed;

/// The token to search for, and the directories to search.
#[derive(Debug, Clone)]
pub struct Trace {
    /// Part of every container id, and of the runtime's environment.
    pub token: String,
    /// The test's directory.
    pub dir: PathBuf,
    /// The state root.
    pub root: PathBuf,
}

impl Trace {
    /// All leftovers, one line each.
    pub fn find(&self) -> Vec<String> {
        let mut found = Vec::new();
        for (pid, how) in self.processes() {
            found.push(format!("process {pid} ({how}): {}", describe(pid)));
        }
        found.extend(self.cgroups().iter().map(|p| format!("cgroup {}", p.display())));
        found.extend(self.states().iter().map(|p| format!("state {}", p.display())));
        found.extend(self.mounts().iter().map(|m| format!("mount {m}")));
        found.extend(self.fifos().iter().map(|p| format!("fifo or socket {}", p.display())));
        found
    }

    /// Processes of the container and of the runtime, found by cgroup, environment, or an open file in the
    /// test's directory. Before its exec, Init is a copy of the runtime and has its environment.
    pub fn processes(&self) -> Vec<(i32, &'static str)> {
        let me = std::process::id() as i32;
        let exe = |pid: i32| std::fs::read_link(format!("/proc/{pid}/exe")).ok();
        let my_exe = exe(me);
        let pids = entries(Path::new("/proc"))
            .into_iter()
            .filter_map(|p| p.file_name()?.to_str()?.parse::<i32>().ok())
            // Skip this process's children between fork and exec: they have the same open files.
            .filter(|pid| *pid != me && exe(*pid) != my_exe);
        pids.filter_map(|pid| self.belongs(pid).map(|how| (pid, how))).collect()
    }

    fn belongs(&self, pid: i32) -> Option<&'static str> {
        let proc = PathBuf::from(format!("/proc/{pid}"));
        // A zombie of `create` is reaped by the caller's subreaper; it holds no resource except its pid.
        let status = std::fs::read_to_string(proc.join("status")).unwrap_or_default();
        if status.contains("State:\tZ") {
            return None;
        }
        let has =
            |file: &str| std::fs::read(proc.join(file)).is_ok_and(|b| contains(&b, self.token.as_bytes()));
        if has("cgroup") {
            return Some("in its cgroup");
        }
        if has("environ") {
            return Some("started by the test");
        }
        // Checked after `environ`, which the kernel shows only after a complete execve(2): during one, a
        // command of another test still has the files that this process had open at the fork.
        let inside = |link: PathBuf| std::fs::read_link(link).is_ok_and(|to| to.starts_with(&self.dir));
        (entries(&proc.join("fd")).into_iter().any(inside) || inside(proc.join("cwd")))
            .then_some("holds a file of the test's directory")
    }

    /// cgroups whose name contains the token, in every hierarchy.
    pub fn cgroups(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut todo = vec![PathBuf::from(safebox::cgroup::MOUNT_POINT)];
        while let Some(dir) = todo.pop() {
            for entry in entries(&dir).into_iter().filter(|p| p.is_dir() && !p.is_symlink()) {
                if entry.to_string_lossy().contains(&self.token) {
                    found.push(entry.clone());
                }
                todo.push(entry);
            }
        }
        found
    }

    /// What is below the state root. The directory of all layers stays, as the state root does.
    fn states(&self) -> Vec<PathBuf> {
        let mut found = entries(&self.root);
        let layers = self.root.join("@layers");
        found.retain(|path| *path != layers);
        found.extend(entries(&layers));
        found
    }

    fn mounts(&self) -> Vec<String> {
        let dir = self.dir.to_string_lossy().into_owned();
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        mounts.lines().filter(|l| l.contains(&dir) || l.contains(&self.token)).map(str::to_string).collect()
    }

    /// FIFOs, sockets and devices at the top of the test's directory and in the bundle.
    fn fifos(&self) -> Vec<PathBuf> {
        let unusual = |p: &PathBuf| {
            p.symlink_metadata().is_ok_and(|m| m.file_type().is_fifo() || m.file_type().is_socket())
        };
        let mut found = entries(&self.dir);
        found.extend(entries(&self.dir.join("bundle")));
        found.retain(unusual);
        found
    }

    /// Removes the leftovers of a failed test, so that they do not affect other tests.
    pub fn clean_up(&self) {
        for (pid, _) in self.processes() {
            // The token identifies processes of this test only; a process may have ended meanwhile.
            nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL)
                .unwrap_or_default();
        }
        let end = Instant::now() + slowed(Duration::from_secs(2));
        loop {
            // In the list, children follow their parents.
            for group in self.cgroups().iter().rev() {
                std::fs::remove_dir(group).unwrap_or_default();
            }
            if self.cgroups().is_empty() || Instant::now() > end {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(dir).map(|d| d.flatten().map(|e| e.path()).collect()).unwrap_or_default()
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|w| w == needle)
}

fn describe(pid: i32) -> String {
    let read = |file: &str| std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let text = |b: Vec<u8>| String::from_utf8_lossy(&b).replace('\0', " ");
    let status = text(read("status"));
    let state = status.lines().find(|l| l.starts_with("State:")).unwrap_or_default().to_string();
    format!("{} {state}", text(read("cmdline")))
}
