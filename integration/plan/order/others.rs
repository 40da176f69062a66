//! The order of other launches: with systemd, of an unprivileged user, from criu's images; and of rare rows.

use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use safebox::cgroup::Manager;
use safebox::launch::prepare::prepare;
use safebox::launch::value::{Launch, RootSource};
use safebox::plan::recipe::restore;
use safebox::policy::Policy;

use super::grammar::{
    Row, child_words, compare, explained, follow, init_of, rows, runtime_words, window, words,
};
use super::{HERE, run, traced_create, waiting};
use crate::harness::strace::Trace;
use crate::harness::{Call, Need, Sandbox, case, needs, poll};
use crate::oci::rootless::{self, User};

const BOOTED: &[Need] = &[Need::Root, Need::Strace, Need::Systemd];
const USER: &[Need] = &[Need::Root, Need::Strace, Need::OrdinaryUserns];
const RANGE: &[Need] = &[Need::Root, Need::Strace, Need::OrdinaryUserns, Need::Subordinate];
const MANAGED: &[Need] =
    &[Need::Root, Need::Strace, Need::OrdinaryUserns, Need::Subordinate, Need::Systemd, Need::CgroupV2];

#[case(USER)]
fn run_by_an_ordinary_user() {
    ordinary(rootless::one());
}

#[case(USER)]
fn run_by_an_ordinary_user_with_a_seccomp_agent() {
    with_an_agent(rootless::one());
}

#[case(RANGE)]
fn run_by_an_ordinary_user_with_a_range() {
    ordinary(rootless::range());
}

#[case(HERE)]
fn run_with_a_copied_up_tmpfs_and_a_remount() {
    let tmpfs = |options: &[&str]| {
        let mut options: Vec<_> = options.to_vec();
        options.push("nosuid");
        json!({ "destination": "/var/data", "type": "tmpfs", "source": "tmpfs", "options": options })
    };
    let sb = Sandbox::new();
    std::fs::create_dir_all(sb.rootfs().join("var/data/sub")).expect("a directory");
    std::fs::write(sb.rootfs().join("var/data/sub/file"), "x").expect("a file");
    std::os::unix::fs::symlink("file", sb.rootfs().join("var/data/sub/link")).expect("a link");
    let sb = sb
        .patch("/mounts/-", tmpfs(&["tmpcopyup", "size=1m"]))
        .patch("/mounts/-", tmpfs(&["remount", "size=2m", "nr_inodes=100"]));
    run(&sb, Policy::Privileged);
}

#[case(Root, Strace, Userns, Idmap)]
fn run_with_a_bind_of_its_own_mapping() {
    let map = json!([{ "containerID": 0, "hostID": 5000, "size": 1000 }]);
    let sb = Sandbox::new();
    let data = sb.dir().join("data");
    std::fs::create_dir(&data).expect("a directory");
    let bind = json!({
        "destination": "/mnt", "source": data, "options": ["bind", "idmap"],
        "uidMappings": map, "gidMappings": map,
    });
    run(&sb.patch("/mounts/-", bind), Policy::Privileged);
}

/// The output of `explain` with these words before it and the bundle after it.
fn explain(call: Call, words: &[&str], bundle: &Path) -> Vec<Row> {
    let out =
        call.args(words).args(["explain", "--json", "--policy", "privileged"]).arg(bundle).output().ok();
    let printed: Value = serde_json::from_str(&out.stdout).expect("JSON");
    explained(&printed)
}

fn limited(sb: Sandbox) -> Sandbox {
    sb.patch("/linux/resources/pids", json!({ "limit": 50 }))
        .patch("/linux/resources/memory", json!({ "limit": 268_435_456 }))
}

/// In a separate slice: in a shared one, another test's container could add or remove v1 cgroups between
/// `explain` and the run.
fn scoped() -> Sandbox {
    let sb = limited(Sandbox::new());
    let path = format!("{0}.slice:safebox:{0}", sb.id());
    sb.patch("/linux/cgroupsPath", json!(path))
}

/// A slice stays, as with runc. When it is stopped, systemd removes its own cgroups; those in hierarchies
/// that systemd does not manage are empty.
fn remove_slice(sb: &Sandbox) {
    let stopped = Command::new("systemctl").args(["stop", &format!("{}.slice", sb.id())]).status();
    assert!(stopped.is_ok_and(|status| status.success()), "systemctl stop");
    for group in sb.trace().cgroups() {
        assert!(group.ends_with(format!("{}.slice", sb.id())), "{group:?} is left");
        std::fs::remove_dir(&group).ok();
    }
}

#[case(BOOTED)]
fn run_below_systemd() {
    let sb = scoped();
    let bundle = sb.bundle();
    let rows = explain(sb.runtime(), &["--systemd-cgroup"], &bundle);
    let file = sb.dir().join("trace");
    let call = sb.under(&["strace", "-f", "-o", &file.to_string_lossy()]).arg("--systemd-cgroup");
    let call = call.args(["run", "--quiet", "--policy", "privileged", "--bundle"]);
    call.arg(&bundle).arg(sb.id()).limit(Duration::from_secs(60)).output().ok();
    compare(&Trace::read(&file), &rows, sb.id(), true);
    remove_slice(&sb);
}

#[case(BOOTED)]
fn create_below_systemd() {
    let sb = scoped();
    let plan = super::plan_by(&sb, Policy::Privileged, waiting(), Some(Manager::Systemd));
    traced_create(&sb, &["--systemd-cgroup"], &plan, |call| call);
    remove_slice(&sb);
}

/// Traces `run` of an unprivileged user. strace runs as root, because setuid programs would not gain
/// privileges under a user's strace.
fn traced(user: User, sb: &Sandbox, environment: &[(&str, &str)], global: &[&str]) {
    let as_user = |call: Call| environment.iter().fold(call, |call, (key, value)| call.env(key, value));
    let rows = explain(as_user(user.under(sb, &[])), global, &sb.bundle());
    let file = sb.dir().join("trace").display().to_string();
    let (uid, gid) = (format!("--reuid={}", user.uid), format!("--regid={}", user.gid));
    let wrapper = ["strace", "-f", "-o", &file, "setpriv", &uid, &gid, "--clear-groups", "--"];
    let call = as_user(User { uid: 0, gid: 0 }.under(sb, &wrapper)).args(global);
    let call = call.args(["run", "--quiet", "--policy", "privileged", "--bundle"]);
    call.arg(sb.bundle()).arg(sb.id()).limit(Duration::from_secs(60)).output().ok();
    compare(&Trace::read(Path::new(&file)), &rows, sb.id(), true);
}

fn ordinary(user: User) {
    let sb = user.sandbox();
    traced(user, &sb, &[], &["--cgroup-manager", "disabled"]);
    // A bundle with a bind mount, which Init performs here.
    let data = sb.dir().join("data");
    std::fs::create_dir(&data).expect("a directory");
    user.own(&data);
    let bind = json!({ "destination": "/mnt", "type": "bind", "source": data, "options": ["rbind", "ro"] });
    let sb = sb.patch("/mounts/-", bind);
    traced(user, &sb, &[], &["--cgroup-manager", "disabled"]);
    // A bundle with hooks that join through Init.
    let sb = sb.patch("/hooks/createContainer", json!([{ "path": "/bin/true" }]));
    traced(user, &sb, &[], &["--cgroup-manager", "disabled"]);
}

fn with_an_agent(user: User) {
    let sb = user.sandbox();
    let socket = sb.dir().join("agent");
    // It receives the listener and is never asked.
    let listener = UnixListener::bind(&socket).expect("a socket");
    user.own(&socket);
    let rules = json!([{ "names": ["kexec_load"], "action": "SCMP_ACT_NOTIFY" }]);
    let profile = json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules, "listenerPath": socket });
    let mut sb = sb.patch("/linux/seccomp", profile);
    for nnp in [true, false] {
        sb.set("/process/noNewPrivileges", json!(nnp));
        traced(user, &sb, &[], &["--cgroup-manager", "disabled"]);
    }
    drop(listener);
    std::fs::remove_file(socket).expect("remove the socket");
}

#[case(MANAGED)]
fn run_below_a_user_s_systemd() {
    let user = rootless::range();
    let runtime = rootless::own_systemd(user);
    let sb = user.sandbox().patch("/linux/resources/pids", json!({ "limit": 50 }));
    traced(user, &sb, &[("XDG_RUNTIME_DIR", &runtime)], &["--systemd-cgroup"]);
}

/// criu creates the container. The plan covers the rows before it, criu's own process up to its execve(2),
/// and the rows after the container exists. In between the runtime exchanges messages with criu
/// (criu/mod.rs), which are not rows.
#[case(Root, Strace, Criu)]
fn restore() {
    let sb = Sandbox::new().args(["/bin/sleep", "1000"]);
    sb.create().ok();
    sb.verb("start").ok();
    let path = std::env::var("PATH").unwrap_or_default();
    let criu = needs::criu().expect("criu");
    let path = format!("{}:{path}", criu.display());
    let images = sb.dir().join("images");
    let dump = sb.runtime().args(["checkpoint", "--image-path"]).arg(&images).arg(sb.id());
    dump.env("PATH", &path).limit(Duration::from_secs(60)).output().ok();
    let bundle = sb.bundle();
    let prepared = prepare(&Launch {
        root: RootSource::Bundle(bundle.clone()),
        id: sb.id().into(),
        state_root: sb.root().into(),
        policy: Some(Policy::Privileged),
        pure: true,
        ..Launch::default()
    })
    .expect("a bundle");
    let (plan, ..) = prepared.restore_plan(&criu.join("criu")).expect("a plan");
    let after = restore::after(&prepared.state_dir, &prepared.state, None).expect("a plan");
    let file = sb.dir().join("trace");
    // criu itself uses ptrace, so strace detaches when it is executed.
    let call = sb.under(&["strace", "-f", "-b", "execve", "-o", &file.to_string_lossy()]);
    let call = call.args(["restore", "--detach", "--image-path"]).arg(&images).arg("--bundle").arg(&bundle);
    call.arg(sb.id()).env("PATH", &path).limit(Duration::from_secs(60)).output().ok();
    let trace = Trace::read(&file);
    let (before, after) = (rows(&plan), rows(&after));
    let talk = words(&["*"], "the conversation with criu");
    let all = [runtime_words(&before, false), talk, runtime_words(&after, false)];
    follow(
        "runtime",
        &window(trace.of(trace.first), sb.id()),
        &all.into_iter().flatten().collect::<Vec<_>>(),
    );
    follow("criu", trace.of(init_of(&trace)), &child_words(&before, "init", true));
    poll("it runs again", Duration::from_secs(10), || sb.status() == "running");
    sb.delete().ok();
}
