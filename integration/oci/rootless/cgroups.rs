//! Cgroups of an ordinary user: delegated ones, and those that the own systemd makes.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::{User, one, range, state};
use crate::harness::{Call, Sandbox, bundle, case, poll};
use serde_json::json;

/// A cgroup delegated to the user, with a child cgroup for the caller; removed on drop. It is below a cgroup
/// of root that delegates only these controllers.
pub struct Delegation(std::path::PathBuf);

impl Delegation {
    pub fn new(user: User, sb: &Sandbox, controllers: &str) -> Self {
        let outer = Path::new("/sys/fs/cgroup").join(format!("{}-outer", sb.id()));
        let given = Delegation(outer.join("given"));
        let enable =
            |dir: &Path| std::fs::write(dir.join("cgroup.subtree_control"), controllers).expect("enable");
        enable(outer.parent().expect("the root"));
        std::fs::create_dir(&outer).expect("a cgroup");
        enable(&outer);
        for group in [given.0.clone(), given.0.join("caller")] {
            std::fs::create_dir(&group).expect("a cgroup");
            for file in ["", "cgroup.procs", "cgroup.threads", "cgroup.subtree_control"] {
                std::os::unix::fs::chown(group.join(file), Some(user.uid), Some(user.gid)).expect("chown");
            }
        }
        given
    }

    /// The runtime as this user, in the caller's cgroup. Only root may move a process into the delegated
    /// cgroup: the wrapper starts as root.
    pub fn call(&self, user: User, sb: &Sandbox) -> Call {
        let enter = format!("echo 0 >{}/caller/cgroup.procs && exec \"$@\"", self.0.display());
        let (uid, gid) = (format!("--reuid={}", user.uid), format!("--regid={}", user.gid));
        let wrapper = ["/bin/sh", "-c", &enter, "sh", "setpriv", &uid, &gid, "--clear-groups", "--"];
        User { uid: 0, gid: 0 }.under(sb, &wrapper)
    }
}

impl Drop for Delegation {
    fn drop(&mut self) {
        let outer = self.0.parent().unwrap_or(&self.0).to_path_buf();
        for group in [self.0.join("caller"), self.0.clone(), outer] {
            std::fs::remove_dir(group).unwrap_or_default();
        }
    }
}

#[case(super::DELEGATED)]
fn delegated_cgroups_limit() {
    let user = one();
    let sb =
        user.sandbox().args(["/bin/sleep", "1000"]).patch("/linux/resources/pids", json!({ "limit": 7 }));
    let delegation = Delegation::new(user, &sb, "+memory +pids");
    let as_user = |args: &[&str]| delegation.call(user, &sb).args(args);
    let bundle = sb.bundle().display().to_string();
    as_user(&["create", "--bundle", &bundle, sb.id()]).output().ok();
    let group = delegation.0.join(format!("safebox-{}", sb.id()));
    assert_eq!(std::fs::read_to_string(group.join("pids.max")).expect("pids.max").trim(), "7");
    as_user(&["start", sb.id()]).output().ok();
    as_user(&["exec", sb.id(), "/bin/cat", "/proc/self/cgroup"]).output().ok().prints("0::/\n");
    as_user(&["pause", sb.id()]).output().ok();
    assert_eq!(state(user, &sb)["status"], "paused");
    as_user(&["delete", "--force", sb.id()]).output().ok();
    assert!(!group.exists());
    // A controller that is not delegated is an error that names it.
    sb_with_cpu(&sb, &as_user);
    drop(delegation);
    sb.leak_check();
}

pub(super) fn sb_with_cpu(sb: &Sandbox, as_user: &dyn Fn(&[&str]) -> Call) {
    let path = sb.bundle().join("config.json");
    let mut config = sb.config().clone();
    bundle::set(&mut config, "/linux/resources/cpu", json!({ "quota": 50_000, "period": 100_000 }));
    std::fs::write(&path, config.to_string()).expect("config.json");
    let bundle = sb.bundle().display().to_string();
    let out = as_user(&["create", "--bundle", &bundle, sb.id()]).output().exits(1);
    out.says("/linux/resources/cpu").says("the cpu controller is not delegated");
}

/// Starts a user's systemd; returns its `$XDG_RUNTIME_DIR`.
pub fn own_systemd(user: User) -> String {
    let unit = format!("user@{}.service", user.uid);
    let started = Command::new("systemctl").args(["start", &unit]).status().expect("systemctl");
    assert!(started.success(), "{unit} does not start");
    let runtime = format!("/run/user/{}", user.uid);
    poll("the user's systemd listens", Duration::from_secs(20), || {
        Path::new(&runtime).join("systemd/private").exists()
    });
    runtime
}

#[case(super::MANAGED)]
fn a_user_s_systemd_limits() {
    let user = range();
    let runtime = own_systemd(user);
    // The caller's own id, which it may map itself, and a range, which newuidmap maps.
    let (first, count) = safebox::config::idmap::read_subordinate(user.uid).0.expect("a range");
    let own = |id| json!({ "containerID": 0, "hostID": id, "size": 1 });
    let more = json!({ "containerID": 1, "hostID": first, "size": count });
    for others in [vec![], vec![more]] {
        let maps = |id| json!([vec![own(id)], others.clone()].concat());
        let sb = user
            .sandbox()
            .args(["/bin/sleep", "1000"])
            .patch("/linux/resources/pids", json!({ "limit": 9 }))
            .patch("/linux/uidMappings", maps(user.uid))
            .patch("/linux/gidMappings", maps(user.gid));
        managed_verbs(user, &sb, &runtime);
    }
    // The launcher finds it by itself, because limits are required.
    let sb = user.sandbox().sh("cat /sys/fs/cgroup/pids.max");
    let run = user.runtime(&sb).env("XDG_RUNTIME_DIR", &runtime).args(["run", "--quiet", "--bundle"]);
    let run = run.arg(sb.bundle()).arg(sb.id()).limit(Duration::from_secs(60)).output();
    // The cpu controller is often not delegated to users.
    if run.code == 0 {
        run.prints("256\n");
    } else {
        run.exits(125).says("/linux/resources/cpu");
    }
    sb.leak_check();
}

pub(super) fn managed_verbs(user: User, sb: &Sandbox, runtime: &str) {
    let unit = format!("user@{}.service", user.uid);
    let call = |args: &[&str]| {
        user.runtime(sb).env("XDG_RUNTIME_DIR", runtime).args(args).limit(Duration::from_secs(60))
    };
    let bundle = sb.bundle().display().to_string();
    call(&["--systemd-cgroup", "create", "--bundle", &bundle, sb.id()]).output().ok();
    let pid = state(user, sb)["pid"].as_i64().expect("a pid");
    let group = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("cgroup");
    let path = group.trim().strip_prefix("0::/").expect("a v2 path");
    assert!(
        path.contains(&unit) && path.ends_with(&format!("user.slice/safebox-{}.scope", sb.id())),
        "{path}"
    );
    let max = std::fs::read_to_string(format!("/sys/fs/cgroup/{path}/pids.max")).expect("pids.max");
    assert_eq!(max.trim(), "9");
    // Later verbs run without the variable.
    user.verb(sb, "start").output().ok();
    user.verb(sb, "exec").args(["/bin/cat", "/proc/self/cgroup"]).output().ok().prints("0::/\n");
    user.runtime(sb).args(["delete", "--force"]).arg(sb.id()).output().ok();
    sb.leak_check();
}
