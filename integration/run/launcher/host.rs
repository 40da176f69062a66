//! `safebox run -- PROGRAM`: this machine's programs, and no other files of it.

use super::{picture, project, run_in};
use crate::harness::{Need, Sandbox, case};
use crate::oci::rootless::one;

const ROOT: &[Need] = &[Need::Root, Need::Userns, Need::Idmap];
const USER: &[Need] = &[Need::Root, Need::OrdinaryUserns];

/// The container's user, and the hidden parts of the host.
#[case(ROOT)]
fn the_host_s_programs_run_confined() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    let script = "id -u; pwd; cat file; for d in /home /srv /mnt /media /var/lib /var/run /root/.ssh /run/docker.sock \
                  /boot; do test ! -e $d || echo $d is there; done; touch here 2>/dev/null && echo written; \
                  ls -A /tmp /run; ls /sys/class/net; touch /tmp/x && echo scratch";
    let out = run_in(&sb, &dir).args(["--", "sh", "-c", script]).output().ok();
    // The tmpfs on /tmp has the project's parent directories, if it is there.
    let below = dir.strip_prefix("/tmp").ok().and_then(|below| below.components().next());
    let top = below.map(|name| format!("{}\n", name.as_os_str().to_string_lossy())).unwrap_or_default();
    let expect = format!("65532\n{}\nproject\n/run:\n\n/tmp:\n{top}lo\nscratch\n", dir.display());
    assert_eq!(out.stdout, expect, "{out}");
    assert_eq!(out.stderr.lines().count(), 1, "one notice\n{out}");
    out.says("restricted: no network, / read-only, user 65532:65532");
    sb.leak_check();
}

/// Creates neither mount points nor other files: before, during and after the run.
#[case(ROOT)]
fn nothing_is_created_on_the_host() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    std::fs::create_dir(dir.join("out")).expect("mkdir");
    let before = picture(&dir);
    let args =
        ["--rw", "out", "--ro", "sub", "--hide", "sub/secret", "--tmpfs", "/scratch", "--", "sh", "-c"];
    let call = run_in(&sb, &dir).args(args).arg("echo up; cat file sub/secret; sleep 0.3");
    let running = sb.run_until(call, "up");
    assert_eq!(picture(&dir), before, "while it runs");
    let out = running.wait().ok();
    assert_eq!(out.stdout, "up\nproject\n", "the file is covered\n{out}");
    assert_eq!(picture(&dir), before, "after it");
    sb.leak_check();
}

#[case(ROOT)]
fn the_host_s_programs_run_under_every_policy() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    for (policy, user) in [("restricted", "65532"), ("baseline", "0"), ("privileged", "0")] {
        let out =
            run_in(&sb, &dir).args(["--policy", policy, "--", "sh", "-c", "id -u; cat file"]).output().ok();
        assert_eq!(out.stdout, format!("{user}\nproject\n"), "{policy}: {out}");
    }
    sb.leak_check();
}

#[case(ROOT)]
fn the_environment_is_a_list() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    std::fs::write(dir.join("env"), "# comment\nA=1\n\nPASSED\n").expect("write");
    let call = run_in(&sb, &dir).env("SECRET", "s").env("PASSED", "p").env("ALSO", "q").env("TZ", "UTC");
    let call =
        call.args(["-q", "--env-file", "env", "-e", "ALSO", "-e", "A=2", "-e", "NOT_THERE", "--", "env"]);
    let out = call.output().ok();
    let has = |line: &str| out.stdout.lines().any(|l| l == line);
    for line in ["SAFEBOX=1", "PASSED=p", "ALSO=q", "A=2", "TZ=UTC"] {
        assert!(has(line), "{line}\n{out}");
    }
    assert!(!out.stdout.contains("SECRET") && !out.stdout.contains("NOT_THERE"), "{out}");
    sb.leak_check();
}

#[case(ROOT)]
fn a_home_directory_is_no_project() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    let run =
        |args: &[&str]| run_in(&sb, &dir).env("HOME", &dir).args(args).args(["--", "cat", "file"]).output();
    run(&[]).exits(125).says("change into a project directory");
    // An explicit path is a remedy, and so is another directory.
    let file = dir.join("file").to_string_lossy().into_owned();
    run(&["--ro", &file]).ok().prints("project");
    run(&["-w", "/"]).exits(1).says("file");
    run_in(&sb, std::path::Path::new("/tmp"))
        .args(["--", "true"])
        .output()
        .exits(125)
        .says("/tmp is not mounted");
    sb.leak_check();
}

/// An unprivileged user keeps its ids, and can write only where --rw is given.
#[case(USER)]
fn a_user_keeps_id_and_home() {
    let user = one();
    let sb = user.sandbox();
    let dir = project(&sb);
    for path in [&dir, &dir.join("sub")] {
        std::os::unix::fs::chown(path, Some(user.uid), Some(user.gid)).expect("chown");
    }
    let run = |args: &[&str], script: &str| {
        let dir = dir.clone();
        let call = user.under(&sb, &[]).args(["run", "--name", sb.id()]);
        call.args(args)
            .args(["--", "sh", "-c", script])
            .with(move |c| {
                c.current_dir(dir);
            })
            .output()
    };
    let script =
        "id -u; id -g; touch sub/x 2>/dev/null && echo written; cat file; test -e /home && echo home";
    let out = run(&[], script);
    assert_eq!(out.stdout, format!("{}\n{}\nproject\n", user.uid, user.gid), "{out}");
    run(&["--rw", "sub"], "echo mine > sub/x; id -u").ok().says("a breakout would be the caller");
    let made = std::fs::metadata(dir.join("sub/x")).expect("what was written");
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&made), user.uid);
    run(&["--rw", "sub"], "chmod 4755 sub/x").exits(1).says("not permitted");
    sb.leak_check();
}

#[case(ROOT)]
fn what_is_weaker_is_always_printed() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    for (args, says) in [
        (&["--network", "host"] as &[&str], "weaker: namespaces: the host's network namespace, as asked"),
        (&["--cap-add", "NET_ADMIN"], "weaker: capabilities: CAP_NET_ADMIN kept"),
        (&["--seccomp", "unconfined"], "weaker: seccomp: off, as asked"),
        (&["--memory", "-1"], "weaker: limits: memory is not limited"),
        (&["--rw", "sub"], "weaker: files: "),
        (&["--user", "0"], "weaker: process: runs as root"),
    ] {
        let out = run_in(&sb, &dir).arg("-q").args(args).args(["--", "true"]).output().ok();
        out.says(says);
    }
    let out = run_in(&sb, &dir).args(["-q", "--", "true"]).output().ok();
    assert_eq!(out.stderr, "", "nothing is weaker");
    run_in(&sb, &dir).args(["--verbose", "--", "true"]).output().ok().says("limits: 1 cpu (--cpus)");
    sb.leak_check();
}

#[case(ROOT)]
fn the_plan_of_a_program_is_explained() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    let explain = sb.runtime().args(["explain", "--why", "--rw", "sub", "--", "true"]).with(move |c| {
        c.current_dir(dir);
    });
    let out = explain.output().ok();
    for row in ["fsopen(\"tmpfs\"", "/usr", "pivot_root", "symlinkat"] {
        assert!(out.stdout.contains(row), "{row}\n{out}");
    }
    sb.leak_check();
}
