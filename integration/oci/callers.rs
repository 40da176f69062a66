//! Callers with odd dispositions and limits.

use libtest_mimic::Trial;
use serde_json::json;

use crate::harness::{Need, Sandbox, test};

pub fn tests() -> Vec<Trial> {
    vec![
        test("callers::one_that_ignores_the_ends_of_its_children", &[Need::Root], children),
        test("callers::one_with_a_small_stack_is_told", &[Need::Root], stack),
        test("callers::files_without_an_end_are_refused", &[Need::Root], endless),
    ]
}

/// The kernel reaps the children of a process that ignores SIGCHLD, before their ends are seen.
fn children() {
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

fn stack() {
    let small = ["sh", "-c", "ulimit -s 64; exec \"$@\"", "sh"];
    let sb = Sandbox::new().args(["true"]);
    let run = sb.under(&small).args(["run", "--bundle"]).arg(sb.bundle()).arg(sb.id());
    run.output().exits(125).says("`ulimit -s`) is 64 KiB");
    sb.leak_check();
}

fn endless() {
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
