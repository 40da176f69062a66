//! Attacks on the runtime itself: its binary, state, ids and hooks.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use serde_json::json;

use super::{Sentinel, build_probe, hash_tree, no_secret};
use crate::harness::bundle::safebox;
use crate::harness::carried::copy_program;
use crate::harness::{Sandbox, case, poll, rounds};

/// An expendable copy of the runtime, and the command words that run it.
pub fn copy(sb: &Sandbox) -> (PathBuf, [String; 4]) {
    let copy = sb.dir().join("runtime");
    std::fs::create_dir(&copy).expect("a directory");
    let copy = copy.join("safebox");
    copy_program(&safebox(), &copy);
    let words = ["sh", "-c", "shift; exec \"$0\" \"$@\"", copy.to_str().expect("UTF-8")].map(String::from);
    (copy, words)
}

/// CVE-2019-5736, with the capability that gives a container ptrace access to an exec of its own uid.
#[case(Root, Probe)]
fn the_runtime_s_binary_cannot_be_overwritten() {
    let mut sb = Sandbox::new().args(["/bin/probe", "spy", "300"]).patch("/root/readonly", json!(false));
    for set in ["bounding", "effective", "permitted"] {
        sb.set(&format!("/process/capabilities/{set}"), json!(["CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE"]));
    }
    build_probe(&sb);
    let (copy, words) = copy(&sb);
    let before = hash_tree(copy.parent().expect("a parent"));
    let create = sb.under(&words).args(["create", "--bundle"]).arg(sb.bundle()).arg(sb.id()).output().ok();
    drop(create);
    sb.verb("start").ok();
    // A shell that is a symlink to the runtime that executes it.
    symlink("/proc/self/exe", sb.rootfs().join("bin/shell")).expect("a link");
    for i in 0..rounds(40).max(2) {
        let shell = if i % 2 == 0 { "/bin/true" } else { "/bin/shell" };
        sb.under(&words).args(["exec", sb.id(), shell]).output();
        // Reading the whole file takes longer than an exec; the spy must not time out meanwhile.
        if i % 10 == 9 {
            assert_eq!(hash_tree(copy.parent().expect("a parent")), before, "the binary was changed");
        }
    }
    std::fs::write(sb.rootfs().join("tmp/stop"), "").expect("a file");
    let seen = || std::fs::read_to_string(sb.dir().join("stdout.0")).unwrap_or_default();
    poll("the spy to end", std::time::Duration::from_secs(20), || seen().contains("done"));
    let seen = seen();
    assert!(!seen.contains("wrote"), "{seen}");
    let readonly = seen.contains(&format!("again {}", nix::libc::EROFS));
    assert!(readonly, "the spy never met the runtime, or it is not on a read-only mount:\n{seen}");
    let dirs: Vec<_> = seen
        .lines()
        // The runtime, executed as a program inside, reads its own maps at start: a file of the container's
        // procfs.
        .filter(|l| l.starts_with("fd ") && l.contains("-> /") && !l.contains("-> /proc/"))
        .filter(|l| !l.ends_with("/dev/null"))
        .collect();
    assert!(dirs.is_empty(), "a joining process holds files of the host: {dirs:?}");
    // Sockets cannot be opened through /proc; a pidfd of the host's pid namespace must not be there either.
    let others: Vec<_> = seen.lines().filter(|l| l.starts_with("fd ") && l.contains("anon_inode:")).collect();
    assert!(others.is_empty(), "a joining process holds what it does not need: {others:?}");
    sb.delete().ok();
}

/// A read-only mount may become writable after the container has a descriptor of the file.
#[case(Root, Strace)]
fn a_binary_on_a_read_only_mount_is_sealed_too() {
    let sb = Sandbox::new();
    let (copy, _) = copy(&sb);
    let dir = copy.parent().expect("a parent").display().to_string();
    let trace = sb.dir().join("trace");
    let script = format!(
        "mount --bind {dir} {dir} && mount -o remount,bind,ro {dir} && shift && \
         exec strace -o {} -e trace=execveat,prctl {dir}/safebox \"$@\"",
        trace.display()
    );
    let words = ["unshare", "--mount", "sh", "-c", &script, "sh"];
    let call = sb.under(&words).args(["run", "--quiet", "--policy", "privileged", "--bundle"]);
    call.arg(sb.bundle()).arg(sb.id()).output().ok();
    let calls = std::fs::read_to_string(&trace).expect("the trace");
    // In both cases the runtime continues from the mount that it has created.
    let exchanged = |l: &&str| l.contains("prctl(PR_SET_MM, ") && l.ends_with("= 0");
    let sealed = calls.lines().filter(exchanged).count() + calls.matches("execveat(").count();
    assert_eq!(sealed, 1, "{calls}");
}

#[case(Root)]
fn a_container_that_executes_the_runtime_gains_nothing() {
    for how in ["args", "script", "link"] {
        let sb = Sandbox::new();
        let (copy, words) = copy(&sb);
        let before = hash_tree(copy.parent().expect("a parent"));
        let script = sb.rootfs().join("bin/script");
        std::fs::write(&script, "#!/proc/self/exe\n").expect("a file");
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).expect("chmod");
        symlink("/proc/self/exe", sb.rootfs().join("bin/link")).expect("a link");
        let program = match how {
            "args" => "/proc/self/exe",
            "script" => "/bin/script",
            _ => "/bin/link",
        };
        let sb = sb.args([program]);
        for policy in ["restricted", "privileged"] {
            let call = sb.under(&words).args(["run", "--quiet", "--policy", policy, "--bundle"]);
            let out = call.arg(sb.bundle()).arg(sb.id()).output();
            assert!(!out.timed_out, "{out}");
            assert_eq!(hash_tree(copy.parent().expect("a parent")), before, "the binary was changed\n{out}");
        }
    }
}

/// The second create or run must fail without leftovers, and must not undo the first.
#[case(Root)]
fn an_id_in_use_is_refused_and_its_container_lives_on() {
    let sb = Sandbox::new().args(["/bin/sleep", "1000"]);
    sb.create().ok();
    let pid = sb.pid();
    for _ in 0..2 {
        assert_ne!(sb.create().code, 0);
        assert_eq!(sb.run().output().code, 125);
        assert_eq!(sb.run_oci().args(["--detach"]).output().code, 125);
        assert_eq!((sb.status(), sb.pid()), ("created".to_string(), pid));
    }
    sb.verb("start").ok();
    assert_eq!(sb.run_oci().output().code, 125);
    assert_eq!((sb.status(), sb.pid()), ("running".to_string(), pid));
    assert!(sb.exec(["/bin/true"]).ok().stdout.is_empty());
    sb.delete().ok();
}

/// A second container with the first one's cgroup path.
#[case(Root)]
fn a_cgroup_in_use_is_refused_and_its_processes_live_on() {
    let first = Sandbox::new().args(["/bin/sleep", "1000"]);
    let group = format!("/{}", first.other_id("group"));
    let first = first.patch("/linux/cgroupsPath", json!(group));
    first.create().ok();
    first.verb("start").ok();
    let second = Sandbox::new().args(["/bin/true"]).patch("/linux/cgroupsPath", json!(group));
    for _ in 0..2 {
        let outs = [second.create(), second.run().output(), second.run_oci().output()];
        for out in outs {
            assert!(out.code == 1 || out.code == 125, "must be refused\n{out}");
        }
        assert_eq!(first.status(), "running", "the first container was killed");
    }
    first.exec(["/bin/true"]).ok();
    second.leak_check();
    first.delete().ok();
}

/// A runtime dies after it has recorded its undos and before it has created the cgroups. By the time of the
/// cleanup another container uses their path.
#[case(Root)]
fn a_cgroup_that_was_only_announced_is_not_undone() {
    let sb = Sandbox::new().args(["/bin/sleep", "1000"]);
    let group = format!("/{}", sb.other_id("group"));
    let sb = sb.patch("/linux/cgroupsPath", json!(group));
    let dead = sb.other_id("dead");
    let out =
        sb.runtime().args(["explain", "--json", "--policy", "privileged"]).arg(sb.bundle()).output().ok();
    let plan: serde_json::Value = serde_json::from_str(&out.stdout).expect("JSON");
    let steps = plan["steps"].as_array().expect("steps");
    let is_group = |s: &serde_json::Value| s["undo"].as_str().is_some_and(|u| u.contains("rmdir it"));
    let first = steps.iter().position(is_group).expect("a row that makes a cgroup");
    let held = sb
        .runtime()
        .args(["run", "--quiet", "--policy", "privileged", "--until", &first.to_string(), "--bundle"])
        .arg(sb.bundle())
        .arg(&dead)
        .spawn_with_stdin();
    poll("the row", std::time::Duration::from_secs(10), || held.so_far().1.contains("press Enter"));
    held.signal(nix::sys::signal::Signal::SIGKILL);
    held.wait().exits(137);
    sb.create().ok();
    sb.verb("start").ok();
    for args in [&["kill", "--all", &dead, "KILL"][..], &["delete", "--force", &dead]] {
        sb.runtime().args(args.iter().copied()).output();
        assert_eq!(sb.status(), "running", "{args:?} reached another container");
    }
    sb.exec(["/bin/true"]).ok();
    assert!(!sb.root().join(&dead).exists(), "the dead one was removed");
    sb.delete().ok();
    sb.leak_check();
}

/// The same path, but another directory: it belongs to its creator.
#[case(Root)]
fn a_cgroup_that_was_made_anew_is_another_s() {
    let sb = Sandbox::new().args(["/bin/sleep", "1000"]);
    let group = format!("/{}", sb.other_id("group"));
    let sb = sb.patch("/linux/cgroupsPath", json!(group));
    let old = sb.other_id("old");
    sb.runtime().args(["create", "--bundle"]).arg(sb.bundle()).arg(&old).output().ok();
    sb.runtime().args(["kill", &old, "KILL"]).output().ok();
    let groups = || sb.trace().cgroups();
    poll("another process removes its cgroups", std::time::Duration::from_secs(5), || {
        for group in groups().iter().rev() {
            std::fs::remove_dir(group).unwrap_or_default();
        }
        groups().is_empty()
    });
    sb.create().ok();
    sb.verb("start").ok();
    for args in [&["kill", "--all", &old, "KILL"][..], &["delete", "--force", &old]] {
        sb.runtime().args(args.iter().copied()).output().ok();
        assert_eq!(sb.status(), "running", "{args:?} reached another container");
    }
    sb.delete().ok();
    sb.leak_check();
}

/// Without a pid namespace only the cgroup identifies all processes; a process that forks all the time evades
/// a runtime that lists and then signals.
#[case(Root, Probe)]
fn kill_all_reaches_what_has_just_forked() {
    let sb = Sandbox::new().args(["/bin/probe", "hop"]);
    build_probe(&sb);
    let namespaces = json!([{"type": "mount"}, {"type": "ipc"}, {"type": "uts"}, {"type": "network"}]);
    let sb = sb.patch("/linux/namespaces", namespaces);
    for _ in 0..5 {
        let run = sb.run_until(sb.run_oci(), "up");
        let pids = || -> Vec<i32> {
            let out = sb.runtime().args(["ps", "--format", "json", sb.id()]).output().ok();
            serde_json::from_str(&out.stdout).expect("pids")
        };
        // The first process ignores it.
        sb.runtime().args(["kill", "--all", sb.id(), "TERM"]).output().ok();
        std::thread::sleep(std::time::Duration::from_millis(50));
        let left: Vec<_> = (0..5).flat_map(|_| pids()).filter(|p| *p != sb.pid()).collect();
        assert!(left.is_empty(), "still forking: {left:?}");
        sb.runtime().args(["kill", "--all", sb.id(), "KILL"]).output().ok();
        run.wait().exits(137);
        sb.leak_check();
    }
}

#[case(Root)]
fn ids_and_cgroup_paths_cannot_leave_their_place() {
    let sb = Sandbox::new();
    let host = Sentinel::new();
    let long = "x".repeat(1025);
    for id in ["..", ".", "", "a/b", "../bundle", "a\nb", "a b", "é", &long] {
        for verb in ["create", "run"] {
            let out = sb.runtime().arg(verb).arg("--bundle").arg(sb.bundle()).arg("--").arg(id).output();
            assert!(out.code != 0 && out.stdout.is_empty(), "{verb} {id:?}\n{out}");
        }
        for verb in ["state", "start", "delete", "kill"] {
            let out = sb.runtime().arg(verb).arg("--").arg(id).output();
            assert_ne!(out.code, 0, "{verb} {id:?}\n{out}");
        }
    }
    let out = sb.runtime().args(["delete", "--force", "../bundle"]).output();
    assert_ne!(out.code, 0, "{out}");
    host.unchanged();
    let mut sb = sb;
    // Never an existing name: even a failing test must not touch another process's cgroup.
    let name = sb.other_id("up");
    for path in
        [format!("/../{name}"), format!("../../{name}"), format!("a/../../{name}"), format!("/{name}/..")]
    {
        sb.set("/linux/cgroupsPath", json!(path));
        for out in super::both(&sb) {
            assert!(out.code == 125 && out.stderr.contains("cgroupsPath"), "{path}\n{out}");
        }
    }
    sb.leak_check();
}

/// The pid file's directory may be writable by other users.
#[case(Root)]
fn a_pid_file_follows_no_link() {
    let sb = Sandbox::new().args(["/bin/sleep", "1000"]);
    let host = Sentinel::new();
    let dir = sb.dir().join("shared");
    std::fs::create_dir(&dir).expect("a directory");
    for name in ["pid", ".pid.tmp"] {
        symlink(host.dir.join("secret"), dir.join(name)).expect("a link");
    }
    let file = dir.join("pid");
    sb.create_call().arg("--pid-file").arg(&file).output();
    host.unchanged();
    sb.delete().ok();
    std::fs::remove_file(dir.join(".pid.tmp")).unwrap_or_default();
    sb.create_call().arg("--pid-file").arg(&file).output().ok();
    host.unchanged();
    sb.verb("start").ok();
    for (name, to) in [("pid2", "secret"), (".pid2.tmp", "null")] {
        symlink(host.dir.join(to), dir.join(name)).expect("a link");
    }
    let call = sb.runtime().args(["exec", "--pid-file"]).arg(dir.join("pid2"));
    call.arg(sb.id()).arg("/bin/true").output();
    host.unchanged();
    sb.delete().ok();
}

/// CVE-2025-23266.
#[case(Root)]
fn hooks_of_the_host_get_no_environment_of_the_container() {
    let mut sb = Sandbox::new().sh("echo $LD_PRELOAD");
    let script = "env > \"$0\"; cat >> \"$0\"";
    let log = |sb: &Sandbox, name: &str| sb.dir().join(format!("hook-{name}")).display().to_string();
    sb.set("/process/env/-", json!("LD_PRELOAD=/evil.so"));
    sb.set("/process/env/-", json!("NVIDIA_VISIBLE_DEVICES=all"));
    sb.set("/annotations", json!({"evil": "LD_PRELOAD=/evil.so", "run.oci.hooks.stdout": "/evil"}));
    let names = ["prestart", "createRuntime", "poststart", "poststop"];
    for name in names {
        let hook = json!([{"path": "/bin/sh", "args": ["sh", "-c", script, log(&sb, name)], "env": ["PATH=/bin:/usr/bin"]}]);
        sb.set(&format!("/hooks/{name}"), hook);
    }
    for call in [sb.run(), sb.run_oci()] {
        let out = call.with(|c| _ = c.env("LD_LIBRARY_PATH", "/evil")).output().ok();
        for name in names {
            let text =
                std::fs::read_to_string(log(&sb, name)).unwrap_or_else(|e| panic!("{name}: {e}\n{out}"));
            let variables: Vec<_> = text.lines().take_while(|l| !l.starts_with('{')).collect();
            let evil =
                |l: &&&str| l.starts_with("LD_") || l.starts_with("NVIDIA") || l.starts_with("SAFEBOX");
            assert_eq!(variables.iter().filter(evil).count(), 0, "{name}: {variables:?}");
            assert!(variables.contains(&"PATH=/bin:/usr/bin"), "{name}: {variables:?}");
            std::fs::remove_file(log(&sb, name)).expect("remove");
        }
    }
}

/// config.md: the path of a createContainer hook resolves in the runtime namespace. The rootfs has the same
/// path.
#[case(Root)]
fn a_create_container_hook_is_never_the_rootfs_s_program() {
    let sb = Sandbox::new();
    let (hook, seen) = (sb.dir().join("hook"), sb.dir().join("seen"));
    for (path, mode) in [(sb.dir(), 0o711), (seen.as_path(), 0o666)] {
        if path == seen {
            std::fs::write(path, "").expect("a file");
        }
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("chmod");
    }
    let write = |path: &Path, word: &str| {
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
        std::fs::write(path, format!("#!/bin/sh\necho {word} >>{}\n", seen.display())).expect("a file");
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("chmod");
    };
    write(&hook, "the-host-s-hook");
    write(&sb.rootfs().join(hook.strip_prefix("/").expect("absolute")), "the-rootfs-s-hook");
    let sb = sb.patch("/hooks", json!({"createContainer": [{"path": hook}]}));
    for out in super::both(&sb) {
        out.ok();
    }
    assert_eq!(std::fs::read_to_string(&seen).expect("seen"), "the-host-s-hook\n".repeat(2));
}

/// Two processes create and delete the same id: in any order nothing remains and no error is wrong.
#[case(Root)]
fn create_and_delete_race_without_a_trace() {
    let sb = Sandbox::new().args(["/bin/sleep", "1000"]);
    std::thread::scope(|threads| {
        for _ in 0..2 {
            threads.spawn(|| {
                for _ in 0..rounds(25) {
                    no_secret(&sb.create());
                    no_secret(&sb.delete());
                }
            });
        }
    });
    sb.delete().ok();
    sb.leak_check();
}
