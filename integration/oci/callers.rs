//! Callers with odd dispositions and limits.

use std::process::Command;

use serde_json::json;

use crate::harness::{Sandbox, case};

/// The kernel reaps the children of a process that ignores SIGCHLD, before their ends are seen.
#[case(Root)]
fn one_that_ignores_the_ends_of_its_children() {
    let ignore = ["env", "--ignore-signal=CHLD"];
    let sb = Sandbox::new().sh("grep SigIgn /proc/self/status; exit 3");
    for policy in ["restricted", "privileged"] {
        let run = sb.under(&ignore).args(["run", "--policy", policy, "--bundle"]).arg(sb.bundle());
        let out = run.arg(sb.id()).output().exits(3);
        let ignored =
            out.stdout.trim().rsplit('\t').next().and_then(|bits| u64::from_str_radix(bits, 16).ok());
        assert_eq!(ignored.map(|bits| bits & 1 << (libc::SIGCHLD - 1)), Some(0), "{out}");
        sb.leak_check();
    }
    // Hooks are children, too.
    let hook = json!([{ "path": "/bin/sh", "args": ["sh", "-c", "exit 0"] }]);
    let sb = sb.patch("/hooks/createRuntime", hook.clone()).patch("/hooks/poststop", hook);
    sb.under(&ignore).args(["create", "--bundle"]).arg(sb.bundle()).arg(sb.id()).output().ok();
    sb.under(&ignore).args(["start", sb.id()]).output().ok();
    sb.wait_for_status("stopped");
    sb.under(&ignore).args(["delete", sb.id()]).output().ok();
    sb.leak_check();
}

/// runc's stacks are on its heap: callers with a small limit are used to that, and the container inherits it.
#[case(Root)]
fn one_with_a_small_stack_is_served() {
    let small = ["sh", "-c", "ulimit -s 64; exec \"$@\"", "sh"];
    let sb = Sandbox::new().sh("ulimit -s");
    for policy in ["restricted", "privileged"] {
        let run = sb.under(&small).args(["run", "--policy", policy, "--bundle"]).arg(sb.bundle());
        assert_eq!(run.arg(sb.id()).output().ok().stdout, "64\n");
    }
    sb.under(&small).args(["create", "--bundle"]).arg(sb.bundle()).arg(sb.id()).output().ok();
    sb.under(&small).arg("list").output().ok().prints(sb.id());
    sb.under(&small).args(["delete", "--force", sb.id()]).output().ok();
    sb.leak_check();
}

#[case(Root)]
fn files_without_an_end_are_refused() {
    let sb = Sandbox::new().args(["sleep", "60"]);
    let run = sb.runtime().args(["run", "--security-opt", "seccomp=/dev/zero", "--bundle"]);
    run.arg(sb.bundle()).arg(sb.id()).output().exits(125).says("larger than 16 MiB");
    sb.create().ok();
    sb.verb("start").ok();
    let update = sb.runtime().args(["update", "--resources", "/dev/zero", sb.id()]);
    update.output().exits(1).says("larger than 16 MiB");
    let exec = sb.runtime().args(["exec", "--process", "/dev/zero", sb.id()]);
    exec.output().exits(255).says("larger than 16 MiB");
    sb.runtime().args(["delete", "--force", sb.id()]).output().ok();
    sb.leak_check();
}

/// Numbers of processes would be those of others: limits and id maps would be written for them.
#[case(Root)]
fn the_procfs_of_another_pid_namespace_is_refused() {
    let sb = Sandbox::new().args(["true"]);
    for policy in ["restricted", "privileged"] {
        let run = sb.under(&["unshare", "--pid", "--fork"]).args(["run", "--policy", policy, "--bundle"]);
        run.arg(sb.bundle()).arg(sb.id()).output().exits(125).says("/proc belongs to another pid namespace");
        sb.leak_check();
    }
    sb.create().ok();
    // A verb from there would take the container for a stopped one.
    let delete = sb.under(&["unshare", "--pid", "--fork"]).args(["delete", sb.id()]);
    delete.output().exits(1).says("/proc belongs to another pid namespace");
    assert_eq!(sb.status(), "created");
    let run = sb.under(&["unshare", "--pid", "--fork", "--mount-proc"]).args(["run", "--bundle"]);
    run.arg(sb.bundle()).arg(sb.other_id("own")).output().ok();
    sb.delete();
    sb.leak_check();
}

#[case(Root)]
fn a_small_disk_and_odd_names_are_told() {
    use std::os::unix::ffi::OsStrExt;
    let sb = Sandbox::new().args(["true"]);
    let (long, odd) = ("i".repeat(255), std::ffi::OsStr::from_bytes(b"b\xff"));
    let run = |bundle: &std::path::Path, id: &str| {
        sb.runtime().args(["run", "--bundle"]).arg(bundle).arg(id).output()
    };
    run(&sb.bundle(), &long).exits(125).says("a shorter id");
    std::fs::rename(sb.bundle(), sb.dir().join(odd)).expect("rename");
    run(&sb.dir().join(odd), sb.id()).exits(125).says("state.json has text only");
    std::fs::rename(sb.dir().join(odd), sb.bundle()).expect("rename");
    sb.leak_check();
    // A write that stops in the middle of a file.
    std::fs::create_dir_all(sb.root()).expect("a directory");
    let mount = |args: &[&str]| {
        assert!(Command::new(args[0]).args(&args[1..]).arg(sb.root()).status().expect("mount").success());
    };
    mount(&["mount", "-t", "tmpfs", "-o", "size=8k,mode=700", "tmpfs"]);
    let out = run(&sb.bundle(), sb.id());
    mount(&["umount"]);
    out.exits(125).says("no space left on device");
    sb.leak_check();
}
