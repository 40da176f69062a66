//! The unit that `install --systemd-unit` prints, and the lines of the README with systemd-run.

use std::process::Command;
use std::time::Duration;

use super::{BOOTED, file, property, systemctl};
use crate::harness::{Sandbox, case, poll};

/// A unit in /run, removed on drop.
struct Unit(String);

impl Unit {
    fn install(sb: &Sandbox) -> Self {
        let unit = Unit(format!("safebox-{}.service", sb.id()));
        let text = sb.runtime().args(["install", "--systemd-unit", sb.id()]).output().ok().stdout;
        std::fs::write(format!("/run/systemd/system/{}", unit.0), text).expect("the unit");
        systemctl(&["daemon-reload"]);
        unit
    }

    fn is(&self, name: &str) -> String {
        property(&self.0, name)
    }
}

impl Drop for Unit {
    fn drop(&mut self) {
        systemctl(&["stop", &self.0]);
        std::fs::remove_file(format!("/run/systemd/system/{}", self.0)).unwrap_or_default();
        systemctl(&["daemon-reload"]);
        systemctl(&["reset-failed", &self.0]);
    }
}

#[case(BOOTED)]
fn an_installed_unit_runs_and_is_restarted() {
    let sb = Sandbox::new();
    let dir = sb.dir().join("project");
    std::fs::create_dir(&dir).expect("mkdir");
    let script = "echo word $WORD; test -e end && exit 0; trap 'exit 0' TERM; while test ! -e fail; do sleep 0.1; done; exit 3";
    let call = sb.runtime().args(["run", "-q", "-d", "--name", sb.id(), "-e", "WORD=a $b 100%", "-m", "64m"]);
    let at = dir.clone();
    call.args(["--", "sh", "-c", script])
        .with(move |c| {
            c.current_dir(at);
        })
        .output()
        .ok();
    let unit = Unit::install(&sb);
    sb.runtime().args(["rm", "--force", sb.id()]).output().ok();
    let started = Command::new("systemctl").args(["start", &unit.0]).output().expect("systemctl");
    assert!(started.status.success(), "{started:?}");
    // systemctl returns when the container is ready.
    assert_eq!((sb.status().as_str(), unit.is("ActiveState").as_str()), ("running", "active"));
    if let Some(memory) = file(sb.pid(), "memory.max") {
        assert_eq!(memory, (64 << 20).to_string());
    }
    std::fs::write(dir.join("fail"), "").expect("write");
    let restarts = || unit.is("NRestarts").parse().unwrap_or(0);
    poll("restarts", Duration::from_secs(20), || restarts() > 1);
    std::fs::remove_file(dir.join("fail")).expect("remove");
    // A stop is no failure: the program has ended by itself, as it was asked.
    poll("it runs", Duration::from_secs(20), || unit.is("ActiveState") == "active");
    systemctl(&["stop", &unit.0]);
    assert_eq!((unit.is("ActiveState").as_str(), unit.is("Result").as_str()), ("inactive", "success"));
    // Nor is a success.
    let so_far: u32 = restarts();
    std::fs::write(dir.join("end"), "").expect("write");
    systemctl(&["start", &unit.0]);
    poll("its end", Duration::from_secs(20), || unit.is("ActiveState") == "inactive");
    assert!(restarts() <= so_far && unit.is("Result") == "success", "{}", unit.is("NRestarts"));
    let log = Command::new("journalctl").args(["--sync"]).status();
    assert!(log.is_ok_and(|s| s.success()), "journalctl --sync");
    let log = Command::new("journalctl").args(["-o", "cat", "-u", &unit.0]).output().expect("journalctl");
    let log = String::from_utf8_lossy(&log.stdout).into_owned();
    assert!(log.lines().any(|l| l == "word a $b 100%"), "{log}");
    drop(unit);
    sb.leak_check();
}
