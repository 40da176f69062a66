//! Hooks: their environment, what ends them, and that they cannot block the runtime.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::harness::bundle::hook;
use crate::harness::{Need, Sandbox, case, poll};

const OWN: &[Need] = &[Need::Root];
const OCI: &[Need] = &[Need::Root, Need::Oci];

/// A hook that writes a mark and then never ends.
fn endless(mark: &Path) -> Value {
    hook(&format!("echo $$ > {}; exec sleep 1000", mark.display()))
}

fn open(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("chmod");
}

/// A directory that hooks of every kind can write to, mounted at `/shared` inside.
fn shared(sb: Sandbox) -> (Sandbox, PathBuf) {
    let dir = sb.dir().join("shared");
    open(sb.dir(), 0o711);
    std::fs::create_dir(&dir).expect("a directory");
    open(&dir, 0o777);
    let bind = json!({ "destination": "/shared", "type": "bind", "source": dir, "options": ["bind", "rw"] });
    (sb.patch("/mounts/-", bind), dir)
}

fn pid_in(mark: &Path) -> Option<i32> {
    std::fs::read_to_string(mark).ok()?.trim().parse().ok()
}

#[track_caller]
fn wait_for(mark: &Path) -> i32 {
    poll("the hook runs", Duration::from_secs(10), || pid_in(mark).is_some());
    pid_in(mark).unwrap_or_default()
}

#[case(OWN)]
fn a_signal_ends_a_run_whose_hook_does_not_end() {
    for kind in ["prestart", "createRuntime", "createContainer"] {
        for (signal, code) in [(Signal::SIGTERM, 143), (Signal::SIGINT, 130)] {
            let sb = Sandbox::new().sh("echo RAN");
            let mark = sb.dir().join("mark");
            // A hook of the container is root of its user namespace only.
            open(sb.dir(), 0o711);
            std::fs::write(&mark, "").expect("a file");
            open(&mark, 0o666);
            let sb = sb.patch(&format!("/hooks/{kind}"), endless(&mark));
            let run = sb.run().spawn();
            let pid = wait_for(&mark);
            run.signal(signal);
            let out = run.wait_at_most(Duration::from_secs(10)).exits(code);
            assert!(!out.stdout.contains("RAN"), "{kind}\n{out}");
            assert!(!Path::new(&format!("/proc/{pid}")).exists(), "{kind}: the hook lives on");
            sb.leak_check();
        }
    }
    // A program of the container, executed in the container.
    let (sb, shared) = shared(Sandbox::new().sh("echo RAN"));
    let script = "echo $$ > /shared/mark; exec sleep 1000";
    let start = json!([{ "path": "/bin/sh", "args": ["sh", "-c", script] }]);
    let sb = sb.patch("/hooks/startContainer", start);
    let run = sb.run().spawn();
    wait_for(&shared.join("mark"));
    run.signal(Signal::SIGTERM);
    let out = run.wait_at_most(Duration::from_secs(10)).exits(143);
    assert!(!out.stdout.contains("RAN"), "{out}");
    sb.leak_check_within(Duration::from_secs(2));
}

#[case(OWN)]
fn a_signal_during_a_poststart_hook_reaches_the_program() {
    let sb = Sandbox::new().sh("trap 'echo got; exit 5' TERM; while :; do sleep 0.05; done");
    let mark = sb.dir().join("mark");
    let sb = sb.patch("/hooks/poststart", endless(&mark));
    let run = sb.run().spawn();
    wait_for(&mark);
    // The program has started; it sets its trap a moment later.
    std::thread::sleep(Duration::from_millis(300));
    run.signal(Signal::SIGTERM);
    run.wait_at_most(Duration::from_secs(10)).exits(5).prints("got");
    sb.leak_check();
}

#[case(OWN)]
fn a_signal_ends_a_poststop_hook_and_nothing_is_left() {
    let sb = Sandbox::new().sh("exit 3");
    let (first, second) = (sb.dir().join("first"), sb.dir().join("second"));
    let mut hooks = endless(&first);
    let last = hook(&format!("echo 1 > {}", second.display()));
    hooks.as_array_mut().expect("an array").extend(last.as_array().expect("an array").clone());
    let sb = sb.patch("/hooks/poststop", hooks);
    let run = sb.run().spawn();
    wait_for(&first);
    run.signal(Signal::SIGTERM);
    run.wait_at_most(Duration::from_secs(10)).exits(3);
    assert_eq!(pid_in(&second), Some(1), "the hook after it ran");
    sb.leak_check();
}

/// More than a pipe holds.
#[case(OWN)]
fn one_that_does_not_read_a_large_state_is_no_obstacle() {
    let sb = Sandbox::new()
        .sh("echo RAN")
        .patch("/annotations", json!({ "large": "x".repeat(300_000) }))
        .patch("/hooks/createRuntime", hook("exit 0"))
        .patch("/hooks/startContainer", json!([{ "path": "/bin/true", "args": ["true"] }]));
    sb.run().output().ok().prints("RAN");
    // A hook that reads receives all of it.
    let seen = sb.dir().join("seen");
    let sb = sb.patch("/hooks/createRuntime", hook(&format!("cat > {}", seen.display())));
    sb.run().output().ok().prints("RAN");
    let state: Value = serde_json::from_slice(&std::fs::read(&seen).expect("the state")).expect("JSON");
    assert_eq!(state["annotations"]["large"].as_str().map(str::len), Some(300_000));
    // A hook that neither reads nor ends is ended by its timeout.
    let mut endless = hook("exec sleep 1000");
    endless[0]["timeout"] = json!(1);
    let sb = sb.patch("/hooks/createRuntime", endless);
    sb.run().output().exits(125).says("timeout of 1 s");
}

#[case(OWN)]
fn a_timeout_kills_one_that_does_not_end() {
    for kind in ["createRuntime", "createContainer", "startContainer"] {
        let mut hooks = json!([{ "path": "/bin/sleep", "args": ["sleep", "1000"], "timeout": 1 }]);
        if kind != "startContainer" {
            hooks[0]["path"] = json!(crate::harness::needs::find("sleep").expect("sleep"));
        }
        let sb = Sandbox::new().sh("echo RAN").patch(&format!("/hooks/{kind}"), hooks);
        let out = sb.run().output().exits(125).says("timeout of 1 s");
        assert!(!out.stdout.contains("RAN"), "{kind}\n{out}");
        sb.leak_check_within(Duration::from_secs(2));
    }
}

/// config.md: in the container namespace, before the root is changed; runc shows the mounts at the rootfs's
/// path.
#[case(OWN)]
fn create_container_sees_the_mounts_at_the_bundle_s_rootfs() {
    let (sb, shared) = shared(Sandbox::new().sh("echo RAN"));
    let data = sb.dir().join("data");
    std::fs::create_dir(&data).expect("a directory");
    std::fs::write(data.join("file"), "from-the-bind\n").expect("a file");
    let rootfs = sb.rootfs();
    let script = format!(
        "exec >{1}/seen; cat {0}/data/file; test -e {0}/proc/1/status && echo proc-is-there; ls {0}/dev/pts/ptmx; \
         grep -c ' {0}/tmp ' /proc/self/mountinfo",
        rootfs.display(),
        shared.display()
    );
    let bind = json!({ "destination": "/data", "type": "bind", "source": data, "options": ["bind"] });
    let sb = sb
        .patch("/mounts/-", bind)
        .patch("/mounts/-", json!({ "destination": "/tmp", "type": "tmpfs", "source": "tmpfs" }))
        .patch("/process/args", json!(["/bin/ls", "/"]))
        .patch("/hooks/createContainer", hook(&script));
    for call in [sb.run(), sb.run_oci()] {
        let out = call.output().ok();
        let seen = std::fs::read_to_string(shared.join("seen")).expect("what the hook saw");
        for text in ["from-the-bind\n", "proc-is-there\n", "dev/pts/ptmx\n"] {
            assert!(seen.contains(text), "{seen}\n{out}");
        }
        std::fs::remove_file(shared.join("seen")).expect("remove");
        // After pivot_root the host's root is unmounted all the same.
        assert!(!out.stdout.lines().any(|l| l == "boot"), "{out}");
    }
    sb.leak_check();
}

/// Another process replaces the directory at the rootfs's path after it was opened.
#[case(OWN)]
fn the_place_of_the_rootfs_is_the_directory_that_was_opened() {
    let sb = Sandbox::new().sh("echo RAN").patch("/hooks/createContainer", hook("true"));
    let out = sb.runtime().args(["explain", "--json"]).arg(sb.bundle()).output().ok();
    let plan: Value = serde_json::from_str(&out.stdout).expect("JSON");
    let rows = plan["steps"].as_array().expect("steps");
    let row = rows.iter().position(|s| s["action"].as_str().is_some_and(|a| a.contains("as Init sees it")));
    let row = row.expect("a row that opens the place");
    // Single-steps to that row, then swaps, then performs the rest.
    let mut held = sb.run().arg("--step").spawn_with_stdin();
    let mut stdin = held.stdin.take().expect("a pipe");
    use std::io::Write;
    stdin.write_all(&vec![b'\n'; row]).expect("write");
    let at = format!("{:3}  init", row + 1);
    poll("the row", Duration::from_secs(10), || held.so_far().1.contains(&at));
    let other = sb.bundle().join("other");
    std::fs::rename(sb.rootfs(), &other).expect("rename");
    std::fs::create_dir(sb.rootfs()).expect("a directory");
    stdin.write_all(b"c\n").expect("write");
    drop(stdin);
    let out = held.wait().exits(125).says("another directory");
    assert!(!out.stdout.contains("RAN"), "{out}");
    std::fs::remove_dir(sb.rootfs()).expect("rmdir");
    std::fs::rename(&other, sb.rootfs()).expect("rename");
    sb.leak_check();
}

/// As with runc, a hook of the container is root of its user namespace, with the privileges of root only
/// there.
#[case(Root, Oci, Userns)]
fn create_container_is_root_of_the_user_namespace() {
    let maps = json!([{ "containerID": 0, "hostID": 300_000, "size": 65_536 }]);
    let sb = Sandbox::new();
    let (seen, secret) = (sb.dir().join("open"), sb.dir().join("secret"));
    std::fs::create_dir(&seen).expect("a directory");
    std::fs::write(&secret, "as it was").expect("a file");
    for (path, mode) in [(sb.dir(), 0o711), (&seen, 0o777), (&secret, 0o600)] {
        open(path, mode);
    }
    let script = format!(
        "cd {0}; id -u >seen; id -g >>seen; id -G >>seen; mount -t tmpfs none /mnt && echo mounted >>seen; \
         echo changed >{1} || echo refused >>seen; exit 0",
        seen.display(),
        secret.display()
    );
    let sb = sb
        .patch("/linux/namespaces/-", json!({ "type": "user" }))
        .patch("/linux/uidMappings", maps.clone())
        .patch("/linux/gidMappings", maps)
        .patch("/hooks/createContainer", hook(&script));
    std::os::unix::fs::chown(sb.rootfs(), Some(300_000), Some(300_000)).expect("chown");
    for dir in ["dev", "proc", "sys"] {
        std::os::unix::fs::chown(sb.rootfs().join(dir), Some(300_000), Some(300_000)).expect("chown");
    }
    sb.run_oci().output().ok();
    let seen = std::fs::read_to_string(seen.join("seen")).expect("what the hook saw");
    assert_eq!(seen, "0\n0\n0\nmounted\nrefused\n");
    assert_eq!(std::fs::read_to_string(&secret).expect("the file"), "as it was");
}

/// stdout and stderr of hooks in `create` are the container's, in `start` and `delete` those of the caller.
#[case(OCI)]
fn their_output_is_reported_only_if_they_fail() {
    let script = "echo to-stdout; echo to-stderr >&2";
    for kind in ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"] {
        let sb = Sandbox::new().sh("true").patch(&format!("/hooks/{kind}"), hook(script));
        let out = sb.run_oci().output().ok();
        assert!(!format!("{}{}", out.stdout, out.stderr).contains("to-std"), "{kind}\n{out}");
    }
    for kind in ["prestart", "createRuntime", "createContainer"] {
        let fails = hook(&format!("{script}; exit 3"));
        let sb = Sandbox::new().sh("true").patch(&format!("/hooks/{kind}"), fails);
        let out = sb.create().exits(1);
        for text in ["hook #0: ", "exit status 3, stdout: to-stdout", "stderr: to-stderr"] {
            assert!(out.stderr.replace("\\n", "\n").contains(text), "{kind}: {text:?}\n{out}");
        }
        sb.leak_check();
    }
}

/// Without `env` a hook inside inherits the program's environment; an empty `env` is empty.
#[case(OCI)]
fn start_container_inherits_the_program_s_environment() {
    let script = "test \"$ONE\" = two && test -n \"$HOME\"";
    let run = |env: Option<Value>, script: &str| {
        let mut hook = json!({ "path": "/bin/sh", "args": ["sh", "-c", script] });
        if let Some(env) = env {
            hook["env"] = env;
        }
        let sb = Sandbox::new().sh("true").patch("/process/env", json!(["ONE=two", "PATH=/bin"]));
        sb.patch("/hooks/startContainer", json!([hook])).run_oci().output()
    };
    run(None, script).ok();
    run(Some(json!(["OTHER=1"])), "test -z \"$ONE\" && test \"$OTHER\" = 1").ok();
    run(Some(json!([])), "test -z \"$ONE\"").ok();
    // Hooks of the host have no other variables.
    let host = json!([{ "path": "/bin/sh", "args": ["sh", "-c", "test -z \"$ONE\" && test -z \"$HOME\""] }]);
    let sb = Sandbox::new().sh("true").patch("/process/env", json!(["ONE=two", "PATH=/bin"]));
    sb.patch("/hooks/poststart", host).run_oci().output().ok();
}

/// A hook inside is a child of a process of the runtime, which must not turn a signal into an exit code.
#[case(OWN)]
fn one_that_a_signal_kills_is_reported_as_killed() {
    for signal in ["KILL", "TERM", "SYS"] {
        for kind in ["startContainer", "createRuntime"] {
            let sb = Sandbox::new().sh("true");
            let sb = sb.patch(&format!("/hooks/{kind}"), hook(&format!("kill -{signal} $$")));
            let out = sb.run_oci().output();
            assert!(out.stderr.contains(&format!("killed by SIG{signal}")), "{kind} {signal}\n{out}");
            assert!(!out.stderr.contains("exit status"), "{kind} {signal}\n{out}");
        }
    }
}

/// Hooks of the runtime receive the host pid, those of the container the container's pid, and poststop hooks
/// none.
#[case(OCI)]
fn each_gets_the_pid_of_its_own_namespace() {
    let kinds = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];
    let told = |own_pids: bool| {
        let (mut sb, shared) = shared(Sandbox::new().args(["/bin/sleep", "1000"]));
        for kind in kinds {
            let dir = if kind == "startContainer" { Path::new("/shared") } else { &shared };
            sb.set(&format!("/hooks/{kind}"), hook(&format!("exec cat >{}/{kind}", dir.display())));
        }
        if !own_pids {
            let all = ["ipc", "uts", "mount", "network"];
            sb.set("/linux/namespaces", all.map(|kind| json!({ "type": kind })).as_slice().into());
        }
        sb.create().ok();
        sb.verb("start").ok();
        let pid = json!(sb.pid());
        sb.runtime().args(["delete", "--force"]).arg(sb.id()).output().ok();
        let pids = kinds.map(|kind| {
            let text = std::fs::read(shared.join(kind)).unwrap_or_else(|e| panic!("{kind}: {e}"));
            let told: Value = serde_json::from_slice(&text).expect("JSON");
            assert_eq!(told.get("annotations"), None, "{kind}");
            told.get("pid").cloned()
        });
        (pid, pids)
    };
    let (pid, pids) = told(true);
    let (outside, inside) = (Some(pid), Some(json!(1)));
    assert_eq!(pids, [&outside, &outside, &inside, &inside, &outside, &None].map(Clone::clone));
    let (pid, pids) = told(false);
    assert_eq!(pids[..5], vec![Some(pid); 5]);
}

/// Its working directory contains the container's mounts: runc's users mount by relative paths there.
#[case(OCI)]
fn create_container_starts_in_the_rootfs() {
    let sb = Sandbox::new().sh("cat /tmp/mounted");
    let source = sb.dir().join("source");
    std::fs::write(&source, "by a hook\n").expect("write");
    let script = format!("echo >tmp/mounted && mount --bind {} ./tmp/mounted", source.display());
    let sb = sb.patch("/hooks/createContainer", hook(&script)).patch("/root/readonly", json!(false));
    sb.run_oci().output().ok().prints("by a hook");
}

/// Effects of earlier hooks are undone, even if the bundle's directory is gone.
#[case(Root, Oci)]
fn poststop_runs_when_the_bundle_has_been_removed() {
    for forced in [false, true] {
        let sb = Sandbox::new().args(["/bin/sleep", "1000"]);
        let mark = sb.dir().join("ran");
        let sb = sb.patch("/hooks/poststop", hook(&format!("cat >{}", mark.display())));
        sb.create().ok();
        if !forced {
            sb.kill("KILL").ok();
            sb.wait_for_status("stopped");
        }
        // A file in place of the directory is no working directory either.
        std::fs::rename(sb.bundle(), sb.dir().join("moved")).expect("move the bundle away");
        std::fs::write(sb.bundle(), "").expect("write");
        let flags: &[&str] = if forced { &["delete", "--force"] } else { &["delete"] };
        sb.runtime().args(flags).arg(sb.id()).output().ok();
        assert!(mark.exists(), "forced: {forced}");
        std::fs::remove_file(sb.bundle()).expect("the test's own file");
        std::fs::rename(sb.dir().join("moved"), sb.bundle()).expect("move the bundle back");
        sb.leak_check();
    }
}

#[case(OWN)]
fn poststop_runs_without_the_bundle_after_the_launcher_was_killed() {
    let sb = Sandbox::new().sh("echo READY; exec sleep 1000");
    let mark = sb.dir().join("ran");
    let sb = sb.patch("/hooks/poststop", hook(&format!("echo $$ >{}", mark.display())));
    let run = sb.run_until(sb.run(), "READY");
    std::fs::rename(sb.bundle(), sb.dir().join("moved")).expect("move the bundle away");
    run.signal(Signal::SIGKILL);
    wait_for(&mark);
    std::fs::rename(sb.dir().join("moved"), sb.bundle()).expect("move the bundle back");
    drop(run);
    // The guardian ends after its last hook.
    poll("the guardian's end", Duration::from_secs(5), || sb.trace().find().is_empty());
    sb.leak_check();
}

/// As CDI and nvidia need: the root, a read-only mount, masks and read-only paths are restricted after the
/// hooks.
#[case(OCI)]
fn create_container_writes_below_a_read_only_root() {
    let sb = Sandbox::new().sh("cat /etc/added /t/added /shut/added /cover/added; touch /etc/x /t/x /shut/x");
    let sb = sb
        .patch("/root/readonly", json!(true))
        .patch(
            "/mounts/-",
            json!({"destination": "/t", "type": "tmpfs", "source": "tmpfs", "options": ["ro"]}),
        )
        .patch("/linux/readonlyPaths", json!(["/shut"]))
        .patch("/linux/maskedPaths", json!(["/cover"]));
    for dir in ["etc", "t", "shut", "cover"] {
        std::fs::create_dir_all(sb.rootfs().join(dir)).expect("a directory");
    }
    let script = format!(
        "for d in etc t shut cover; do echo $d > {0}/$d/added || exit 1; done",
        sb.rootfs().display()
    );
    let sb = sb.patch("/hooks/createContainer", hook(&script));
    let out = sb.run_oci().output();
    out.clone().prints("etc\nt\nshut\n");
    for path in ["/etc/x", "/t/x", "/shut/x"] {
        out.clone().says(&format!("{path}: Read-only"));
    }
    out.says("'/cover/added': No such file");
}
