//! A day of an unprivileged user: a writable copy, an account, a deadline, a container in the background, and limits,
//! with one id and with a range, without cgroups, with delegated ones, and below the user's systemd.

use serde_json::Value;

use std::time::Duration;

use super::detached::piped;
use super::{picture, project};
use crate::harness::{Call, Need, Sandbox, case, poll};
use crate::oci::rootless::{Delegation, User, one, own_systemd, range};

const ONE: &[Need] = &[Need::Root, Need::OrdinaryUserns];
const RANGE: &[Need] = &[Need::Root, Need::OrdinaryUserns, Need::Subordinate];
const DELEGATED: &[Need] = &[Need::Root, Need::OrdinaryUserns, Need::CgroupV2];
const DELEGATED_RANGE: &[Need] = &[Need::Root, Need::OrdinaryUserns, Need::Subordinate, Need::CgroupV2];
const MANAGED: &[Need] =
    &[Need::Root, Need::OrdinaryUserns, Need::Subordinate, Need::Systemd, Need::CgroupV2];

/// The launcher, started by a user in one way.
struct Day<'a> {
    sb: &'a Sandbox,
    dir: std::path::PathBuf,
    call: &'a dyn Fn() -> Call,
}

impl<'a> Day<'a> {
    fn new(user: User, sb: &'a Sandbox, call: &'a dyn Fn() -> Call) -> Self {
        let dir = project(sb);
        user.own(&dir);
        Day { sb, dir, call }
    }

    fn run(&self, options: &[&str], script: &str) -> Call {
        let (dir, words) = (self.dir.clone(), ["run", "-q", "--name", self.sb.id()]);
        let call = (self.call)().args(words).args(options).args(["--", "sh", "-c", script]);
        call.limit(Duration::from_secs(60)).with(move |c| {
            c.current_dir(dir);
        })
    }

    fn verb(&self, words: &[&str]) -> Call {
        (self.call)().args(words).arg(self.sb.id()).limit(Duration::from_secs(60))
    }

    /// A run's account beside its exit code.
    fn account(&self, options: &[&str], script: &str, code: i32) -> Value {
        let path = self.sb.dir().join("result");
        let file = path.display().to_string();
        let options = [&["--result", file.as_str()], options].concat();
        let out = self.run(&options, script).output().exits(code);
        let text = std::fs::read_to_string(&path).expect("the account");
        std::fs::remove_file(&path).expect("remove");
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}\n{out}"))
    }

    fn copies_and_ends(&self) {
        let before = picture(&self.dir);
        let account = self.account(&["--overlay", "."], "echo new >file; rm sub/secret; cat file; exit 3", 3);
        assert_eq!((&account["status"], &account["stdoutBytes"]), (&"exited".into(), &4.into()), "{account}");
        assert_eq!(picture(&self.dir), before);
        self.verb(&["diff"]).output().ok().prints("sub/secret");
        self.verb(&["apply"]).output().ok();
        assert_eq!(std::fs::read_to_string(self.dir.join("file")).expect("the file"), "new\n");
        let hold = "trap '' TERM; (trap '' TERM; setsid sleep 61) & while :; do sleep 1; done";
        let account = self.account(&["--timeout", "500ms", "--stop-timeout", "200ms"], hold, 124);
        assert_eq!(account["status"], "timeout", "{account}");
    }

    fn background(&self) {
        let script = "trap 'echo asked; exit 5' TERM; echo up; while :; do sleep 0.1; done";
        let (code, out, err) = piped(self.run(&["-d"], script));
        assert_eq!((code, out), (0, format!("{}\n", self.sb.id())), "{err}");
        let logs = || self.verb(&["logs"]).output().ok().stdout;
        poll("the log", Duration::from_secs(20), || logs().contains("up"));
        self.verb(&["exec"]).args(["--", "sh", "-c", "exit 9"]).output().exits(9);
        self.verb(&["stop", "-t", "20"]).output().ok();
        self.verb(&["wait"]).output().ok().prints("5\n");
        assert_eq!(logs(), "up\nasked\n");
        self.verb(&["rm"]).output().ok();
    }

    fn unlimited(&self) {
        self.run(&["-m", "64m"], "true").output().exits(125).says("--memory");
        let account = self.account(&[], "true", 0);
        assert!(account["changes"].to_string().contains("no cgroup"), "{account}");
    }

    fn limited(&self) {
        let options = ["-m", "64m", "--pids-limit", "20"];
        let forks = "n=0; while [ $n -lt 30 ]; do sleep 60 & n=$((n + 1)); done 2>/dev/null; exit 0";
        let account = self.account(&options, forks, 2);
        assert!(account["pidsRefused"].as_u64().is_some_and(|n| n > 0), "{account}");
        assert!(account["memoryPeakBytes"].as_u64().is_some_and(|n| n > 0 && n <= 64 << 20), "{account}");
        let account = self.account(&["-m", "24m"], "exec tail -n 1 /dev/zero", 137);
        assert_eq!(account["status"], "oom", "{account}");
    }
}

fn without_cgroups(user: User) {
    let sb = user.sandbox();
    let call = || user.under(&sb, &[]);
    let day = Day::new(user, &sb, &call);
    day.copies_and_ends();
    day.background();
    day.unlimited();
    sb.leak_check();
}

#[case(ONE)]
fn a_user_s_day() {
    without_cgroups(one());
}

#[case(RANGE)]
fn a_user_s_day_with_a_range() {
    without_cgroups(range());
}

fn with_cgroups(user: User) {
    let sb = user.sandbox();
    let delegation = Delegation::new(user, &sb, "+memory +pids +cpu");
    let call = || delegation.call(user, &sb);
    let day = Day::new(user, &sb, &call);
    day.copies_and_ends();
    day.background();
    day.limited();
    drop(delegation);
    sb.leak_check();
}

#[case(DELEGATED)]
fn a_user_s_day_with_delegated_cgroups() {
    with_cgroups(one());
}

#[case(DELEGATED_RANGE)]
fn a_user_s_day_with_a_range_and_delegated_cgroups() {
    with_cgroups(range());
}

/// The README's line. Without subordinate ids: /etc/subuid and /etc/subgid are empty for the caller.
#[case(MANAGED)]
fn a_user_s_day_in_a_scope_of_systemd_run() {
    let user = range();
    let runtime = own_systemd(user);
    let (uid, gid) = (format!("--reuid={}", user.uid), format!("--regid={}", user.gid));
    let empty = "mount --bind /dev/null /etc/subuid && mount --bind /dev/null /etc/subgid && exec \"$@\"";
    for hidden in [false, true] {
        let sb = user.sandbox();
        let call = || {
            let mut wrapper = vec!["setpriv", &uid, &gid, "--clear-groups", "--"];
            wrapper.extend(["systemd-run", "--quiet", "--user", "--scope", "-p", "Delegate=yes", "--"]);
            if hidden {
                wrapper.splice(0..0, ["unshare", "--mount", "sh", "-c", empty, "sh"]);
            }
            User { uid: 0, gid: 0 }.under(&sb, &wrapper).env("XDG_RUNTIME_DIR", &runtime)
        };
        let day = Day::new(user, &sb, &call);
        day.copies_and_ends();
        day.background();
        day.limited();
        sb.leak_check();
    }
}
