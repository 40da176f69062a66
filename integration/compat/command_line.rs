//! The command line as runc's callers write it, and the errors that they read.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use serde_json::{Value, json};

use crate::harness::{Need, Sandbox, bundle, case};

const OCI: &[Need] = &[Need::Root, Need::Oci];
const OURS: &[Need] = &[Need::Root];

/// The messages of a log in JSON, each with its level.
fn entries(log: &Path) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let entry = |line: &str| {
        let value: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        let text = |key: &str| value[key].as_str().unwrap_or_default().to_string();
        (text("level"), text("msg"))
    };
    text.lines().map(entry).collect()
}

/// containerd shows the log's messages; Podman and CRI-O show stderr.
#[case(OCI)]
fn what_is_wrong_is_in_the_log() {
    let sb = Sandbox::new();
    let log = sb.dir().join("log");
    for (words, code, says) in [
        (&["state"] as &[&str], 1, "\"state\" requires exactly 1 argument(s)"),
        (&["state", "a", "b"], 1, "\"state\" requires exactly 1 argument(s)"),
        (&["kill", "a", "b", "c"], 1, "\"kill\" requires a maximum of 2 argument(s)"),
        (&["exec"], 1, "\"exec\" requires a minimum of 1 argument(s)"),
        // runc quotes an option with one dash, safebox as it was typed.
        (&["state", "--nope", "a"], 1, "flag provided but not defined: -"),
        (&["create", "--pid-file"], 1, "flag needs an argument: -"),
        (&["exec", "--preserve-fds", "x", "a", "b"], 1, "invalid value \"x\" for flag -"),
        (&["nosuch"], 3, "No help topic for 'nosuch'"),
    ] {
        let call = sb.runtime().args(["--log-format=json", "--log"]).arg(&log).args(words);
        let out = call.output().exits(code).says(says);
        let said = entries(&log);
        assert_eq!(said.len(), 1, "{words:?}: {said:?}");
        assert!(said[0].0 == "error" && said[0].1.contains(says), "{words:?}: {said:?}");
        assert!(bundle::is_foreign() || out.stdout.is_empty(), "{words:?}: {out}");
        std::fs::remove_file(&log).expect("remove the log");
    }
}

/// A reader would take an empty log for success.
#[case(OCI)]
fn a_log_that_cannot_be_written_stops_all() {
    let sb = Sandbox::new();
    let call = sb.runtime().args(["--log", "/nonexistent/log", "create", "--bundle"]).arg(sb.bundle());
    call.arg(sb.id()).output().exits(1).says("/nonexistent/log");
    sb.verb("state").exits(1).says("container does not exist");
    sb.leak_check();
}

/// Callers in Go pass the zero value of an unset text.
#[case(OCI)]
fn an_empty_text_is_none() {
    let sb = Sandbox::new().args(["/bin/sleep", "1000"]);
    let create = sb.runtime().args(["--log", "", "create", "--pid-file", "", "--console-socket="]);
    create.arg("--bundle").arg(sb.bundle()).arg(sb.id()).output().ok();
    sb.verb("start").ok();
    let exec = sb.runtime().args(["exec", "--cwd", "", "--apparmor=", "--process", "", sb.id(), "echo", ""]);
    assert_eq!(exec.output().ok().stdout, "\n");
    sb.runtime().args(["update", "--memory", "", "--cpuset-cpus=", sb.id()]).output().ok();
    sb.delete().ok();
}

#[case(OCI)]
fn go_s_flag_syntax_is_understood() {
    let sb = Sandbox::new().args(["/bin/sleep", "1000"]);
    let file = sb.dir().join("pid");
    let create = sb.runtime().args(["create", "-no-pivot=false", "-pid-file"]).arg(&file).arg("-bundle");
    create.arg(sb.bundle()).arg(sb.id()).output().ok();
    assert_eq!(std::fs::read_to_string(&file).expect("the pid file"), sb.pid().to_string());
    sb.verb("start").ok();
    let exec = sb.runtime().args(["exec", "-user=7:8", "-t=false", sb.id(), "sh", "-c", "id -u; id -g"]);
    assert_eq!(exec.output().ok().stdout, "7\n8\n");
    sb.runtime().args(["kill", "-all=true", sb.id(), "KILL"]).output().ok();
    sb.runtime().args(["delete", "-f=true", sb.id()]).output().ok();
}

/// `--no-new-privs` and `--no-new-privs=false` both override the container's setting.
#[case(OCI)]
fn exec_can_give_new_privileges_back() {
    let sb = Sandbox::new().args(["/bin/sleep", "1000"]).patch("/process/noNewPrivileges", json!(true));
    sb.create().ok();
    sb.verb("start").ok();
    for (flag, value) in [("--no-new-privs=false", 0), ("--no-new-privs", 1), ("--env=A=b", 1)] {
        let call = sb.runtime().args(["exec", flag, sb.id(), "grep", "^NoNewPrivs", "/proc/self/status"]);
        call.output().ok().prints(&format!("NoNewPrivs:\t{value}\n"));
    }
    sb.delete().ok();
}

#[case(OCI)]
fn nothing_to_list_or_show() {
    let sb = Sandbox::new().args(["/bin/true"]);
    sb.create().ok();
    sb.verb("start").ok();
    sb.wait_for_status("stopped");
    let out = sb.runtime().args(["ps", "--format", "json", sb.id()]).output().ok();
    assert_eq!(out.stdout, "null\n");
    sb.delete().ok();
    let file = sb.dir().join("file");
    std::fs::write(&file, "").expect("a file");
    let list = |root: &Path| sb.runtime().arg("--root").arg(root).arg("list").output();
    list(&file).exits(1).says("file: not a directory");
    for verb in [&["state"][..], &["delete", "--force"], &["kill"], &["ps"]] {
        sb.runtime().arg("--root").arg(&file).args(verb).arg("x").output().exits(1).says("not a directory");
    }
    if !bundle::is_foreign() {
        // runc 1.1 creates the directory instead.
        list(&sb.dir().join("missing")).exits(1).says("missing: no such file or directory");
    }
}

#[case(OCI)]
fn an_empty_signal_is_sigterm() {
    let sb = Sandbox::new().sh("trap 'exit 7' TERM; echo up; while :; do sleep 0.1; done");
    let running = sb.run_until(sb.run_oci(), "up");
    sb.kill("").ok();
    running.wait().exits(7);
}

/// Callers' profiles name system calls of newer kernels. There is no warning about them, whether the filter
/// is compiled or loaded from the cache.
#[case(OCI)]
fn an_unknown_system_call_leaves_no_log() {
    let sb = Sandbox::new().patch(
        "/linux/seccomp",
        json!({ "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{ "names": ["no_such_call"], "action": "SCMP_ACT_LOG" }] }),
    );
    let log = sb.dir().join("log");
    let run = |flags: &[&str]| {
        let call = sb.runtime().args(["--log-format", "json", "--log"]).arg(&log).args(flags);
        let policy: &[&str] = if bundle::is_foreign() { &[] } else { &["--quiet", "--policy=privileged"] };
        call.arg("run").args(policy).arg("--bundle").arg(sb.bundle()).arg(sb.id()).output().ok();
        entries(&log)
    };
    for _ in 0..2 {
        assert_eq!(run(&[]), []);
    }
    let said = run(&["--debug"]);
    assert!(said.iter().all(|(level, _)| level == "debug"), "{said:?}");
    let named = |(_, text): &(String, String)| text.contains("no_such_call");
    assert!(said.iter().any(named), "{said:?}");
}

/// In the file of --log, else on stderr; a launch and an exec log their rows.
#[case(OCI)]
fn debug_logs_what_is_done() {
    let sb = Sandbox::new().args(["/bin/sleep", "1000"]);
    let log = sb.dir().join("log");
    let call = sb.runtime().args(["--debug", "--log-format", "json", "--log"]).arg(&log);
    let out = call.args(["create", "--bundle"]).arg(sb.bundle()).arg(sb.id()).output().ok();
    assert_eq!(out.stderr, "");
    let said = entries(&log);
    assert!(said.len() > 20 && said.iter().all(|(level, _)| level == "debug"), "{said:?}");
    sb.verb("start").ok();
    let out = sb.runtime().args(["--debug", "exec", sb.id(), "true"]).output().ok();
    assert!(out.stderr.lines().filter(|l| l.contains("level=debug")).count() > 10, "{out}");
    sb.delete().ok();
}

/// The runtime ignores the caller's environment, in any encoding.
#[case(OCI)]
fn an_environment_of_any_bytes_is_passed_over() {
    let sb = Sandbox::new();
    let latin = std::ffi::OsStr::from_bytes(b"caf\xe9");
    sb.run_oci().env("LANG_OF_CALLER", latin).output().ok();
}

/// Under the name runc, `run` uses the config unhardened (BuildKit); `safebox run` hardens it.
#[case(OURS)]
fn run_is_runc_s_under_runc_s_name() {
    let sb = Sandbox::new().args(["/bin/id", "-u"]);
    let links = ["runc", "buildkit-runc"].map(|name| sb.dir().join(name));
    let run = |program: &Path, flags: &[&str]| {
        let call = sb.runtime_as(program).args(["run", "--bundle"]).arg(sb.bundle()).args(flags);
        call.output()
    };
    for link in &links {
        symlink(bundle::safebox(), link).expect("symlink");
        let out = run(link, &[sb.id()]).ok();
        assert_eq!((out.stdout.as_str(), out.stderr.as_str()), ("0\n", ""));
        assert_eq!(run(link, &["--policy", "restricted", "--quiet", sb.id()]).ok().stdout, "65532\n");
        run(link, &["--nope"]).exits(1).says("level=error msg=\"flag provided but not defined");
        run(link, &["/", "x"]).exits(1);
    }
    assert_eq!(run(&bundle::safebox(), &["--quiet", sb.id()]).ok().stdout, "65532\n");
    run(&bundle::safebox(), &["--nope"]).exits(125);
}

#[case(OCI)]
fn the_bundle_s_path_has_no_links() {
    let sb = Sandbox::new().args(["/bin/sleep", "1000"]);
    let link = sb.dir().join("link");
    symlink(sb.bundle(), &link).expect("symlink");
    sb.runtime().arg("create").arg("--bundle").arg(&link).arg(sb.id()).output().ok();
    let state = sb.state();
    assert_eq!(state["bundle"].as_str(), sb.bundle().to_str());
    assert_eq!(state["rootfs"].as_str(), sb.rootfs().to_str());
    sb.delete().ok();
}

/// A foreign directory is neither listed nor removed: `--root` may be a mistake.
#[case(OURS)]
fn what_is_no_container_is_left_alone() {
    let sb = Sandbox::new();
    let kept = sb.root().join("data/kept");
    std::fs::create_dir_all(&kept).expect("mkdir");
    std::fs::write(kept.join("file"), "x").expect("write");
    let list = |format: &[&str]| sb.runtime().arg("list").args(format).output().ok().stdout;
    assert_eq!((list(&["-q"]).as_str(), list(&["--format", "json"]).as_str()), ("", "null\n"));
    sb.runtime().args(["state", "data"]).output().exits(1).says("container does not exist");
    sb.runtime().args(["delete", "--force", "data"]).output().ok();
    sb.runtime().args(["delete", "data"]).output().exits(1).says("container does not exist");
    assert!(kept.join("file").exists(), "a directory that is no container's was removed");
    // An empty directory, the leftover of a create that died in its first rows, is removed.
    std::fs::create_dir(sb.root().join("half-made")).expect("mkdir");
    assert_eq!(list(&["-q"]), "half-made\n");
    sb.runtime().args(["delete", "--force", "half-made"]).output().ok();
    assert!(!sb.root().join("half-made").exists());
    std::fs::remove_dir_all(sb.root().join("data")).expect("remove");
}

/// The next `run` garbage-collects the container of a dead launcher and runs its poststop hooks, but not if
/// another user can have created it.
#[case(OURS)]
fn a_state_that_others_could_write_is_not_believed() {
    let sb = Sandbox::new().args(["/bin/sleep", "1000"]);
    let mark = sb.dir().join("mark");
    let hook = json!([{ "path": "/bin/touch", "args": ["touch", mark] }]);
    let sb = sb.patch("/hooks/poststop", hook);
    sb.create().ok();
    let own = sb.root().join(sb.id());
    let text = std::fs::read_to_string(own.join("state.json")).expect("a state");
    sb.delete().ok();
    std::fs::remove_file(&mark).expect("the hook has run");
    let mut state: Value = serde_json::from_str(&text).expect("JSON");
    (state["launcher"], state["undo"], state["cgroups"]) = (json!([999_999_999, 1]), json!([]), json!([]));
    let other = sb.root().join("other");
    for (owner, mode) in [(4242, 0o700), (0, 0o777)] {
        std::fs::create_dir(&other).expect("mkdir");
        std::fs::write(other.join("state.json"), state.to_string()).expect("write");
        std::os::unix::fs::chown(&other, Some(owner), Some(owner)).expect("chown");
        std::fs::set_permissions(&other, std::fs::Permissions::from_mode(mode)).expect("chmod");
        let next = Sandbox::new();
        let run = next
            .runtime_as(&bundle::safebox())
            .arg("--root")
            .arg(sb.root())
            .args(["run", "--quiet", "--bundle"]);
        run.arg(next.bundle()).arg(next.id()).output().ok();
        assert!(!mark.exists(), "a hook of user {owner}'s, mode {mode:o}, was run");
        std::fs::remove_dir_all(&other).expect("remove");
    }
}

/// Every verb has a man page and a completion.
#[case]
fn completions_and_man_pages_know_every_verb() {
    let safebox = |args: &[&str]| {
        let out = std::process::Command::new(bundle::safebox()).args(args).output().expect("safebox");
        assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8_lossy(&out.stdout).into_owned()
    };
    let dir = tempfile::tempdir().expect("a directory");
    safebox(&["manual", &dir.path().display().to_string()]);
    let shells: Vec<_> = ["bash", "zsh", "fish"].map(|shell| safebox(&["completion", shell])).into();
    for verb in ["run", "create", "exec", "explain", "checkpoint", "install"] {
        let page = dir.path().join(format!("safebox-{verb}.1"));
        let text = std::fs::read_to_string(&page).unwrap_or_else(|e| panic!("{}: {e}", page.display()));
        assert!(text.contains(".SH") && text.contains(verb), "{text}");
        assert!(shells.iter().all(|text| text.contains(verb)), "{verb}");
        assert!(safebox(&["help", verb]).contains("Usage: safebox"), "{verb}");
    }
    assert!(dir.path().join("safebox.1").exists());
}

/// As docker run prints the id; callers of runc chose the id themselves and pass the output on.
#[case(OURS)]
fn run_detached_prints_an_id_that_was_made_up() {
    let sb = Sandbox::new().args(["/bin/sleep", "1000"]);
    let bundle = format!("{}/", sb.bundle().display());
    let out = sb.runtime().args(["run", "-q", "-d", &bundle]).output().ok();
    let id = out.stdout.trim_end();
    assert!(id.starts_with("bundle-") && !id.contains('\n'), "{out}");
    sb.runtime().args(["delete", "--force", id]).output().ok();
    for (policy, printed) in [("restricted", format!("{}\n", sb.id())), ("privileged", String::new())] {
        let words = ["run", "-q", "-d", "--policy", policy, "--bundle", &bundle, sb.id()];
        assert_eq!(sb.runtime().args(words).output().ok().stdout, printed, "{policy}");
        sb.runtime().args(["delete", "--force", sb.id()]).output().ok();
    }
    sb.leak_check();
}

#[case(OURS)]
fn an_allow_that_changes_nothing_says_so() {
    let own = |kind: &str| std::fs::read_link(format!("/proc/self/ns/{kind}")).expect("a link");
    // Without --quiet, because the report of each change is checked.
    let run = |sb: &Sandbox| sb.runtime().arg("run").arg("--bundle").arg(sb.bundle()).arg(sb.id());
    for (name, kind, word) in [
        ("host-net", "net", "network"),
        ("host-uts", "uts", "uts"),
        ("host-ipc", "ipc", "ipc"),
        ("host-cgroup", "cgroup", "cgroup"),
        ("host-pid", "pid", "pid"),
    ] {
        // The config has a new namespace of each kind, and the namespace of the host by its path, which stays
        // the host's.
        let sb = Sandbox::new().sh(&format!("readlink /proc/self/ns/{kind}"));
        let out = run(&sb).args(["--allow", name]).output().ok();
        assert_eq!(out.stdout.trim_end(), own(kind).display().to_string(), "{name}\n{out}");
        out.says(&format!("the host's {word} namespace, as asked"));
        sb.leak_check();
    }
    for (args, says) in [
        (&["--allow", "devices"] as &[&str], "--allow devices has no effect: the config lists no device"),
        (&["--allow", "root", "--user", "7"], "--allow root has no effect: the process runs as 7"),
        (&["--allow", "host-net", "--policy", "privileged"], "--allow host-net has no effect: "),
        (&["--allow", "root", "--policy", "baseline"], "--allow root has no effect: "),
    ] {
        let sb = Sandbox::new().sh("true").patch("/linux/resources/devices", json!([]));
        sb.run().args(args).output().ok().says(says);
    }
    // The message names the option that keeps it.
    let sb = Sandbox::new().sh("true");
    let spaces = sb.config()["linux"]["namespaces"].as_array().expect("a list").clone();
    let at = spaces.iter().position(|n| n["type"] == "network").expect("a network namespace");
    let sb = sb.patch(&format!("/linux/namespaces/{at}/path"), json!("/proc/self/ns/net"));
    run(&sb)
        .arg("--verbose")
        .output()
        .ok()
        .says("new network namespace instead of /proc/self/ns/net (--allow host-net)");
}

#[case(OURS)]
fn policies_can_be_compared() {
    let sb = Sandbox::new().sh("true");
    let bundle = format!("{}/", sb.bundle().display());
    let explain = |args: &[&str]| sb.runtime().arg("explain").args(args).arg(&bundle).output();
    let out = explain(&["--diff-policy", "baseline", "restricted"]).ok();
    assert!(
        out.stdout.contains("\n+ init    prctl(PR_SET_NO_NEW_PRIVS") || out.stdout.contains("\n+ "),
        "{out}"
    );
    assert!(!out.stdout.contains("state.json"), "its size is no difference\n{out}");
    explain(&["--diff-policy", "restricted", "restricted"]).ok().prints("the plans are the same");
    explain(&["--policy", "privileged", "--diff", &bundle]).ok().prints("--diff-policy");
}

/// `safebox run ... 2>&1 | head`: the container runs, and the exit codes do not depend on the reader.
#[case(OURS)]
fn a_stderr_without_a_reader_stops_nothing() {
    for (program, args, code) in [
        ("echo ran; exit 3", &[] as &[&str], 3),
        ("tail /dev/zero", &["--memory", "16m"], 137),
        ("true", &["--allow", "everything"], 125),
    ] {
        let sb = Sandbox::new().sh(program);
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut command = std::process::Command::new(bundle::safebox());
        command.arg("--root").arg(sb.dir().join("state")).arg("run").args(args);
        command
            .arg("--bundle")
            .arg(sb.bundle())
            .arg(sb.id())
            .stderr(writer)
            .stdin(std::process::Stdio::null());
        let out = command.output().expect("safebox");
        assert_eq!(out.status.code(), Some(code), "{program}: {out:?}");
        assert!(code != 3 || out.stdout == b"ran\n", "{out:?}");
        sb.leak_check();
    }
}
