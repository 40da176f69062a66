//! Joining an unprivileged user's container whose init does not allow ptrace access: hooks of the container
//! namespace, and `exec` before `start`.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use super::{ONE, RANGE, User, one, range, state};
use crate::harness::{Sandbox, bundle, case, poll};

#[case(ONE)]
fn hooks_of_the_container_run_in_it() {
    hooks(one());
}

#[case(RANGE)]
fn hooks_of_the_container_run_in_it_with_a_range() {
    hooks(range());
}

#[case(ONE)]
fn time_offsets() {
    time(one());
}

#[case(RANGE)]
fn time_offsets_with_a_range() {
    time(range());
}

#[case(ONE)]
fn a_pod_of_a_user() {
    pod(one());
}

#[case(ONE)]
fn exec_into_a_created_container() {
    created(one());
}

#[case(RANGE)]
fn exec_into_a_created_container_with_a_range() {
    created(range());
}

/// The second joins the first's user and pid namespaces. Writes to its files in /proc happen before it is
/// hidden from the first, and are passed on.
fn pod(user: User) {
    let first = user.sandbox().args(["/bin/sleep", "1000"]);
    user.own(first.dir());
    user.create(&first).output().ok();
    user.verb(&first, "start").output().ok();
    let pid = state(user, &first)["pid"].as_i64().expect("a pid");
    let script = "cat /proc/self/oom_score_adj; ls -d /proc/[0-9]* | wc -l; id -u";
    let mut second = user.sandbox().sh(script).patch("/process/oomScoreAdj", json!(321));
    let kinds: Vec<Value> = second.config()["linux"]["namespaces"].as_array().expect("namespaces").clone();
    let joined = |mut ns: Value| {
        let kind = ns["type"].as_str().expect("a type").to_string();
        if matches!(kind.as_str(), "user" | "pid") {
            ns["path"] = json!(format!("/proc/{pid}/ns/{kind}"));
        }
        ns
    };
    second.set("/linux/namespaces", kinds.into_iter().map(joined).collect());
    let second = second.without("/linux/uidMappings").without("/linux/gidMappings");
    user.own(second.dir());
    let run = user.runtime(&second).args(["run", "--policy", "privileged", "--bundle"]);
    let out = run.arg(second.bundle()).arg(second.id()).output().ok();
    let said: Vec<_> = out.stdout.lines().collect();
    assert_eq!((said[0], said[2]), ("321", "0"), "{out}");
    assert!(said[1].parse::<u32>().is_ok_and(|n| n >= 3), "sees the first\n{out}");
    user.runtime(&first).args(["delete", "--force"]).arg(first.id()).output().ok();
    first.leak_check();
}

#[case(ONE)]
fn all_processes_are_listed() {
    listed(one());
}

#[case(RANGE)]
fn all_processes_are_listed_with_a_range() {
    listed(range());
}

/// Without a cgroup the pid namespace tells: its init is undumpable, and what `exec` started is no child of it.
fn listed(user: User) {
    let sb = user.sandbox().sh("sleep 701 & sleep 702 & echo up; wait");
    let running = sb.run_until(user.run(&sb).arg("--init"), "up");
    let exec = user.runtime(&sb).args(["exec", "--detach"]).arg(sb.id()).args(["/bin/sleep", "703"]);
    exec.output().ok();
    let names = || {
        let ps = user.runtime(&sb).args(["ps", "--format", "json"]).arg(sb.id()).output().ok();
        let pids: Vec<i32> = serde_json::from_str(&ps.stdout).unwrap_or_else(|e| panic!("{e}: {ps}"));
        let name = |pid: &i32| std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        let mut names: Vec<_> = pids.iter().map(|pid| name(pid).trim().to_string()).collect();
        names.sort();
        names.join(" ")
    };
    let expect = "safebox sh sleep sleep sleep";
    poll(&format!("{expect:?} in {:?}", names()), Duration::from_secs(10), || names() == expect);
    user.runtime(&sb).args(["kill", "--all"]).arg(sb.id()).arg("KILL").output().ok();
    running.wait().exits(137);
    sb.leak_check();
}

/// A hook that writes its input and its working directory to a file.
fn hook(file: &Path) -> Value {
    let script = format!(
        "{{ cat; echo; for i in {LINKS}; do readlink $i; done; id -u; test -e tmp/mark && echo mark; }} >{}",
        file.display()
    );
    bundle::hook(&script)
}

const LINKS: &str =
    "/proc/self/ns/user /proc/self/ns/mnt /proc/self/ns/net /proc/self/ns/ipc /proc/self/ns/uts";

fn hooks(user: User) {
    let mut sb = user.sandbox().args(["/bin/sleep", "1000"]);
    std::fs::write(sb.rootfs().join("tmp/mark"), "").expect("a file");
    let shared = sb.dir().join("shared");
    std::fs::create_dir(&shared).expect("a directory");
    user.own(sb.dir());
    let bind =
        json!({ "destination": "/shared", "type": "bind", "source": shared, "options": ["bind", "rw"] });
    sb.set("/mounts/-", bind);
    // The container's root sees the rootfs at its host path, and the container at /.
    sb.set("/hooks/createContainer", hook(&shared.join("create")));
    sb.set("/hooks/startContainer", hook(Path::new("/shared/start")));
    let running = |launched: &dyn Fn()| {
        launched();
        let pid = state(user, &sb)["pid"].as_i64().expect("a pid");
        let links = LINKS.split(' ').map(|link| {
            let link = link.replace("self", &pid.to_string());
            std::fs::read_link(link).expect("a link").display().to_string()
        });
        let links = links.collect::<Vec<_>>().join("\n");
        for kind in ["create", "start"] {
            let seen = std::fs::read_to_string(shared.join(kind)).expect("what the hook saw");
            let (told, rest) = seen.split_once('\n').expect("lines");
            let told: Value = serde_json::from_str(told).expect("JSON");
            assert_eq!(told["pid"], 1, "{kind}");
            assert_eq!(rest, format!("{links}\n0\nmark\n"), "{kind}");
            std::fs::remove_file(shared.join(kind)).expect("remove");
        }
        user.runtime(&sb).args(["delete", "--force"]).arg(sb.id()).output().ok();
        sb.leak_check();
    };
    running(&|| {
        user.create(&sb).output().ok();
        user.verb(&sb, "start").output().ok();
    });
    running(&|| {
        let run = user.runtime(&sb).args(["run", "--detach", "--policy", "privileged", "--bundle"]);
        run.arg(sb.bundle()).arg(sb.id()).output().ok();
    });
    // A failing hook is reported, and there are no leftovers.
    for kind in ["createContainer", "startContainer"] {
        let fails = json!([{ "path": "/bin/sh", "args": ["sh", "-c", "echo why; exit 3"] }]);
        let sb = user.sandbox().patch(&format!("/hooks/{kind}"), fails);
        let run = user.runtime(&sb).args(["run", "--policy", "privileged", "--bundle"]);
        run.arg(sb.bundle()).arg(sb.id()).output().exits(125).says("exit status 3, stdout: why");
        sb.leak_check();
    }
}

/// A time namespace needs a user namespace.
fn time(user: User) {
    let sb = user
        .sandbox()
        .sh("cat /proc/self/timens_offsets")
        .patch("/linux/namespaces/-", json!({ "type": "time" }))
        .patch("/linux/timeOffsets", json!({ "monotonic": { "secs": 77, "nanosecs": 5 } }));
    let run = user.runtime(&sb).args(["run", "--quiet", "--policy", "privileged", "--bundle"]);
    let out = run.arg(sb.bundle()).arg(sb.id()).output().ok();
    let words: Vec<_> = out.stdout.split_whitespace().collect();
    assert!(words.windows(3).any(|w| w == ["monotonic", "77", "5"]), "{out}");
    sb.leak_check();
}

fn created(user: User) {
    let sb = user.sandbox().args(["/bin/sleep", "1000"]);
    user.create(&sb).output().ok();
    let pid = state(user, &sb)["pid"].as_i64().expect("a pid");
    let inside = |i: usize| {
        let script = format!("id -u; hostname; echo $HOME; kill -0 1 && echo {i}");
        user.verb(&sb, "exec").args(["/bin/sh", "-c", &script])
    };
    let said = |i: usize| format!("0\n{}\n/root\n{i}\n", sb.config()["hostname"].as_str().expect("a name"));
    inside(0).output().ok().prints(&said(0));
    // Several at once, and some that disconnect before they are served.
    let all: Vec<_> = (1..9).map(|i| inside(i).spawn()).collect();
    for (i, running) in (1..9).zip(all) {
        running.wait().ok().prints(&said(i));
    }
    gone(&sb);
    inside(9).output().ok().prints(&said(9));
    // ptrace access is still denied, also to its owner.
    assert_eq!(state(user, &sb)["status"], "created");
    assert!(!readable(user, &format!("/proc/{pid}/fd/0")), "the container's process can be looked into");
    user.verb(&sb, "start").output().ok();
    poll("the program runs", Duration::from_secs(10), || readable(user, &format!("/proc/{pid}/fd/0")));
    inside(10).output().ok().prints(&said(10));
    user.runtime(&sb).args(["delete", "--force"]).arg(sb.id()).output().ok();
    sb.leak_check();
}

/// A client that connects and disconnects before it is served.
fn gone(sb: &Sandbox) {
    let dir = std::ffi::CString::new(sb.root().join(sb.id()).display().to_string()).expect("a path");
    let socket =
        safebox::sys::socket::connect_in(&dir, safebox::state::files::NAMESPACE_SERVER).expect("connect");
    safebox::sys::fs::close(socket);
}

fn readable(user: User, path: &str) -> bool {
    let status =
        Command::new("readlink").arg(path).uid(user.uid).gid(user.gid).output().expect("readlink").status;
    status.success()
}
