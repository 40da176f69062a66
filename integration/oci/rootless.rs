//! Containers of an unprivileged user, and of root of a user namespace: launcher and OCI verbs, with one id
//! and with a range, with and without delegated cgroups.

mod agent;
mod attacks;
mod cgroups;
mod ids;
mod inside;

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::carried::copy_program;
use crate::harness::needs::{NOBODYS, subordinate};
use crate::harness::{Call, Need, Sandbox, bundle, case, poll};
pub use cgroups::{Delegation, own_systemd};

const ONE: &[Need] = &[Need::Root, Need::OrdinaryUserns];
const RANGE: &[Need] = &[Need::Root, Need::OrdinaryUserns, Need::Subordinate];
const DELEGATED: &[Need] = &[Need::Root, Need::OrdinaryUserns, Need::CgroupV2];
const MANAGED: &[Need] =
    &[Need::Root, Need::OrdinaryUserns, Need::Subordinate, Need::Systemd, Need::CgroupV2];

#[case(ONE)]
fn the_oci_verbs_work() {
    verbs(one());
}

#[case(RANGE)]
fn the_oci_verbs_work_with_a_range() {
    verbs(range());
}

#[case(ONE)]
fn run_is_restricted() {
    restricted(one(), false);
}

#[case(RANGE)]
fn run_is_restricted_with_a_range() {
    restricted(range(), true);
}

#[case(ONE)]
fn every_fault_leaves_nothing() {
    faults(one());
}

#[case(RANGE)]
fn every_fault_leaves_nothing_with_a_range() {
    faults(range());
}

/// An unprivileged user.
#[derive(Clone, Copy)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

pub fn one() -> User {
    User { uid: NOBODYS, gid: NOBODYS }
}

pub fn range() -> User {
    let (uid, gid) = subordinate().expect("a user with a range");
    User { uid, gid }
}

impl User {
    /// A bundle of this user, with the config of `safebox spec --rootless`.
    pub fn sandbox(self) -> Sandbox {
        let mut sb = Sandbox::new();
        let mut config = safebox::config::template::spec(Some((self.uid, self.gid)));
        bundle::set(&mut config, "/process/terminal", json!(false));
        for section in ["process", "root", "mounts", "linux", "hostname"] {
            sb.set(&format!("/{section}"), config[section].clone());
        }
        sb.set("/process/args", json!(["/bin/true"]));
        // A place where the user may execute it. While another test forks, a copy that is being written is
        // busy, so a hard link is better.
        let (binary, here) = (bundle::safebox(), sb.dir().join("safebox"));
        if std::fs::hard_link(&binary, &here).is_err() {
            copy_program(&binary, &here);
        }
        self.own(sb.dir());
        sb
    }

    /// Changes the owner of `path` and the files below it to the user; the runtime stays root's.
    pub fn own(self, path: &Path) {
        std::os::unix::fs::lchown(path, Some(self.uid), Some(self.gid)).expect("lchown");
        if path.is_dir() && !path.is_symlink() {
            for entry in std::fs::read_dir(path).expect("a directory").flatten() {
                if entry.file_name() != "safebox" {
                    self.own(&entry.path());
                }
            }
        }
    }

    /// The runtime as this user, without supplementary groups, below `wrapper`.
    pub fn under(self, sb: &Sandbox, wrapper: &[&str]) -> Call {
        self.program(sb, &sb.dir().join("safebox"), wrapper)
    }

    /// The same with another copy of the runtime.
    fn program(self, sb: &Sandbox, runtime: &Path, wrapper: &[&str]) -> Call {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let runtime = runtime.display().to_string();
        let words: Vec<&str> = wrapper.iter().copied().chain([runtime.as_str()]).collect();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).arg("--root").arg(sb.root()).uid(self.uid).gid(self.gid).current_dir("/");
        command
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("SAFEBOX_TEST", sb.id())
            .env("HOME", sb.dir());
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let file = |name| sb.dir().join(format!("{name}.user{n}"));
        Call::new(command, (file("stdout"), file("stderr")))
    }

    fn runtime(self, sb: &Sandbox) -> Call {
        self.under(sb, &[])
    }

    fn create(self, sb: &Sandbox) -> Call {
        self.runtime(sb).arg("create").arg("--bundle").arg(sb.bundle()).arg(sb.id())
    }

    fn verb(self, sb: &Sandbox, verb: &str) -> Call {
        self.runtime(sb).arg(verb).arg(sb.id())
    }

    /// `run` without limits: no cgroup is delegated to this user.
    fn run(self, sb: &Sandbox) -> Call {
        let call = self.runtime(sb).args(["--cgroup-manager", "disabled", "run", "--quiet", "--bundle"]);
        call.arg(sb.bundle()).arg(sb.id())
    }
}

/// Whether the process of a container is alive, checked by pid.
fn alive(pid: i64) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

fn state(user: User, sb: &Sandbox) -> Value {
    let out = user.verb(sb, "state").output().ok();
    serde_json::from_str(&out.stdout).unwrap_or_else(|e| panic!("state: {e}\n{out}"))
}

fn verbs(user: User) {
    let sb = user.sandbox().args(["/bin/sleep", "1000"]);
    user.create(&sb).output().ok();
    assert_eq!(state(user, &sb)["status"], "created");
    user.verb(&sb, "start").output().ok();
    assert_eq!(state(user, &sb)["status"], "running");
    let pid = state(user, &sb)["pid"].as_i64().expect("a pid");
    user.verb(&sb, "exec")
        .args(["/bin/sh", "-c", "id -u; id -g; echo $HOME"])
        .output()
        .ok()
        .prints("0\n0\n/root\n");
    let ps = user.runtime(&sb).args(["ps", "--format", "json"]).arg(sb.id()).output().ok();
    assert_eq!(ps.stdout.trim(), format!("[{pid}]"));
    user.verb(&sb, "delete").output().exits(1).says("that is not stopped: running");
    user.runtime(&sb).args(["kill", "--all"]).arg(sb.id()).arg("KILL").output().ok();
    poll("the container has ended", Duration::from_secs(10), || state(user, &sb)["status"] == "stopped");
    user.verb(&sb, "delete").output().ok();
    sb.leak_check();
    assert!(!alive(pid) || state_of(pid) == 'Z');
    // --force removes a running container.
    user.create(&sb).output().ok();
    user.runtime(&sb).args(["delete", "--force"]).arg(sb.id()).output().ok();
    sb.leak_check();
}

fn state_of(pid: i64) -> char {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().and_then(|s| s.chars().next()).unwrap_or('Z')
}

fn restricted(user: User, has_range: bool) {
    let sb = user.sandbox().sh(
        "id -u; id -g; id -G; cat /proc/self/uid_map; grep -E 'CapEff|CapBnd|NoNewPrivs|Seccomp:' /proc/self/status; \
         touch /file || echo read-only; touch /tmp/file && echo scratch; ls /sys/class/net; cat /etc/passwd >/dev/null && echo readable",
    );
    let out = user.run(&sb).output().ok();
    for text in [
        "65532\n65532\n65532\n",
        "CapBnd:\t0000000000000000",
        "CapEff:\t0000000000000000",
        "NoNewPrivs:\t1",
        "Seccomp:\t2",
        "read-only\n",
        "scratch\nlo\nreadable\n",
    ] {
        assert!(out.stdout.contains(text), "{text:?} is not in\n{out}");
    }
    let mapped = if has_range { "65536" } else { "1\n" };
    assert!(
        out.stdout.lines().any(|l| format!("{}\n", l.trim()).ends_with(&format!(" {}\n", mapped.trim()))),
        "{out}"
    );
    sb.leak_check();
    // Exit codes and the absence of a terminal are as for root.
    let sb = user.sandbox().sh("exit 7");
    user.run(&sb).output().exits(7);
    let sb = user.sandbox().args(["/bin/no-such-program"]);
    user.run(&sb).output().exits(127);
    sb.leak_check();
    // The host's network namespace, and so the host's /sys.
    let sb = user.sandbox().sh("ls /sys/class/net >/dev/null && echo seen; touch /sys/x || echo kept");
    user.run(&sb).args(["--allow", "host-net"]).output().ok().prints("seen\nkept\n");
    sb.leak_check();
}

#[case(ONE)]
fn limits_that_cannot_be_applied_are_refused() {
    let user = one();
    let sb = user.sandbox().patch("/linux/resources/pids", json!({ "limit": 7 }));
    user.create(&sb).output().exits(1).says("/linux/resources/pids/limit").says("--cgroup-manager disabled");
    sb.leak_check();
    let sb = user.sandbox();
    let run = user.runtime(&sb).args(["run", "--quiet", "--bundle"]).arg(sb.bundle()).arg(sb.id());
    run.output().exits(125).says("/linux/resources/").says("--cgroup-manager disabled");
    user.run(&sb)
        .args(["--memory", "64m"])
        .output()
        .exits(125)
        .says("--memory: with --cgroup-manager disabled");
    sb.leak_check();
    // With cgroups disabled the limit is reported as ignored, without an error.
    let sb = user.sandbox().patch("/linux/resources/pids", json!({ "limit": 7 }));
    let run =
        user.runtime(&sb).args(["--cgroup-manager=disabled", "run", "--policy", "privileged", "--bundle"]);
    run.arg(sb.bundle()).arg(sb.id()).output().ok().says("nothing is limited");
    sb.leak_check();
    let sb = user.sandbox().patch("/linux/cgroupsPath", json!("/a/group"));
    user.create(&sb).output().exits(1).says("/linux/cgroupsPath");
    sb.leak_check();
}

#[case(ONE)]
fn mistakes_are_named() {
    let user = one();
    let spoilt = |pointer: &str, value: Value, says: &str| {
        let sb = user.sandbox().patch(pointer, value);
        user.create(&sb).output().exits(1).says(says);
        sb.leak_check();
    };
    spoilt("/process/user/additionalGids", json!([10]), "/process/user/additionalGids");
    let pts = json!({ "destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["newinstance", "gid=5"] });
    spoilt("/mounts/2", pts, "/mounts/2/options: gid=5 is not mapped");
    let more = json!([{ "containerID": 0, "hostID": NOBODYS, "size": 1 }, { "containerID": 1, "hostID": 100_000, "size": 10 }]);
    let sb = user.sandbox().patch("/linux/uidMappings", more);
    let out = user.create(&sb).output().exits(1);
    assert!(out.stderr.contains("newuidmap"), "{out}");
    sb.leak_check();
    // A config without a user namespace.
    let sb = user
        .sandbox()
        .without("/linux/uidMappings")
        .without("/linux/gidMappings")
        .patch("/linux/namespaces", json!([{ "type": "mount" }]));
    let sb = sb.without("/hostname");
    user.create(&sb).output().exits(1).says("/linux/namespaces");
    sb.leak_check();
    let run =
        user.runtime(&sb).args(["--cgroup-manager", "disabled", "run", "--allow", "host-user", "--bundle"]);
    // It gets one all the same, in which it keeps its own id.
    run.arg(sb.bundle()).arg(sb.id()).output().ok().says(" outside, the caller, as asked");
    sb.leak_check();
}

fn faults(user: User) {
    let sb = user.sandbox();
    let explain =
        user.runtime(&sb).args(["--cgroup-manager", "disabled", "explain", "--json"]).arg(sb.bundle());
    let plan: Value = serde_json::from_str(&explain.output().ok().stdout).expect("JSON");
    let rows = plan["steps"].as_array().expect("steps").len();
    assert!(rows > 50, "{rows} rows");
    for row in 1..=rows {
        let out = user.run(&sb).args(["--fail", &format!("{row}:EIO")]).output().exits(125);
        assert!(out.stderr.contains(&format!("row {row} (")), "{out}");
        let left = sb.trace().find();
        assert!(left.is_empty(), "left behind by row {row}:\n  {}\n{out}", left.join("\n  "));
    }
    user.run(&sb).output().ok();
}

/// Podman calls the runtime as root of the user's namespace, usually without `$USER`; under runc's rule only
/// `$USER` = root has its states in /run.
#[case(ONE)]
fn where_a_user_s_root_keeps_states() {
    let user = one();
    let sb = user.sandbox();
    for (variables, root) in [
        (&["XDG_RUNTIME_DIR=/tmp/own"][..], "/tmp/own/safebox/"),
        (&["XDG_RUNTIME_DIR=/tmp/own", "USER="][..], "/tmp/own/safebox/"),
        (&["XDG_RUNTIME_DIR=/tmp/own", "USER=tester"][..], "/tmp/own/safebox/"),
        (&["XDG_RUNTIME_DIR=/tmp/own", "USER=root"][..], "/run/safebox/"),
        (&["XDG_RUNTIME_DIR="][..], "/run/safebox/"),
    ] {
        let mut explain = Command::new("unshare");
        explain.args(["--user", "--map-root-user", "env", "--ignore-environment"]).args(variables);
        let given = ["--cgroup-manager", "disabled", "explain"];
        explain.arg(sb.dir().join("safebox")).args(given).arg(sb.bundle());
        let out = explain.uid(user.uid).gid(user.gid).output().expect("unshare");
        let text = String::from_utf8_lossy(&out.stdout);
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(text.contains(&format!("\"{root}")), "{variables:?}: {text}{said}");
    }
}

/// Root of a user namespace with one mapped id: a container in a container.
#[case(ONE)]
fn the_host_s_cgroups_cannot_be_written() {
    let user = one();
    let sb = user
        .sandbox()
        .sh("touch /sys/fs/cgroup/x; mkdir /sys/fs/cgroup/y; find /sys/fs/cgroup -name x -o -name y");
    let run = user
        .runtime(&sb)
        .args(["run", "--quiet", "--policy", "privileged", "--bundle"])
        .arg(sb.bundle())
        .arg(sb.id());
    let out = run.output();
    assert!(out.stdout.is_empty() && out.stderr.contains("Read-only file system"), "{out}");
    sb.leak_check();
}
