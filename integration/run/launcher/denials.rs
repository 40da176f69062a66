//! `--explain-denials` and `explain --would`: what the sandbox refuses, and the flag that allows it.

use std::process::Command;

use super::{project, run_in};
use crate::harness::{Need, Sandbox, case};

const ROOT: &[Need] = &[Need::Root, Need::Userns, Need::Idmap, Need::Python];

#[case(ROOT)]
fn denials_name_the_path_and_the_flag() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    let script = "echo x >file; mkdir /usr/new; cat /root/.profile; unshare --net true; exit 7";
    let out = run_in(&sb, &dir).args(["-q", "--explain-denials", "--", "sh", "-c", script]).output().exits(7);
    let path = dir.display();
    out.says(&format!("denied: write:{path}/file: the mount at {path} is read-only (--rw {path})"))
        .says("denied: write:/usr/new: the mount at /usr is read-only")
        .says("denied: system call unshare: refused with EPERM");
    let sb = Sandbox::new();
    let script = "import socket\nsocket.create_connection(('192.0.2.1', 80))";
    let call = run_in(&sb, &dir).args(["-q", "--explain-denials", "--", "python3", "-c", script]);
    call.output().exits(1).says("denied: connect:192.0.2.1:80").says("--allow host-net");
    sb.leak_check();
}

/// What names the name server of the host's resolv.conf would be a rule that allows nothing.
#[case(ROOT)]
fn a_name_server_is_no_rule() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    let script =
        "import socket\nsocket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(('192.0.2.53', 53))";
    let call = run_in(&sb, &dir).args(["-q", "--explain-denials", "--", "python3", "-c", script]);
    let out =
        call.output().exits(1).says("denied: connect:192.0.2.53:53").says("--allow-net NAME for each name");
    assert!(!out.stderr.contains("--allow-net 192"), "{out}");
    sb.leak_check();
}

/// The filter is not all that refuses mount(2).
#[case(ROOT)]
fn a_capability_that_is_needed_as_well_is_named() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    let script =
        "import ctypes\nexit(0 if ctypes.CDLL(None).mount(b'x', b'/tmp', b'tmpfs', 0, None) == 0 else 4)";
    let run = |options: &[&str]| {
        let call = run_in(&sb, &dir).args(["-q", "--explain-denials"]).args(options);
        call.args(["--", "python3", "-c", script]).output()
    };
    run(&[]).exits(4).says("denied: system call mount").says("(--cap-add SYS_ADMIN: the kernel requires");
    let out = run(&["--seccomp-allow", "mount"]).exits(4);
    assert!(!out.stderr.contains("nothing that was observed"), "{out}");
    out.says("denied: --seccomp-allow mount has no effect without --cap-add SYS_ADMIN");
    run(&["--cap-add", "SYS_ADMIN"]).ok();
    sb.leak_check();
}

/// Only a failure is explained: programs try many things that they can do without.
#[case(ROOT)]
fn a_run_that_succeeds_explains_nothing() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    let call = run_in(&sb, &dir).args(["-q", "--explain-denials", "--", "sh", "-c", "echo x >file; exit 0"]);
    let out = call.output().ok();
    assert!(!out.stderr.contains("denied"), "{out}");
}

#[case(ROOT)]
fn the_mode_of_a_file_is_not_the_sandbox() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    std::fs::write(dir.join("closed"), "x").expect("write");
    let closed = |mode| {
        std::fs::set_permissions(dir.join("closed"), std::os::unix::fs::PermissionsExt::from_mode(mode))
    };
    closed(0o000).expect("chmod");
    let call = run_in(&sb, &dir).args(["-q", "--explain-denials", "--", "cat", "closed"]);
    call.output().exits(1).says("closed: not the sandbox: the file has mode 0000");
    let call =
        run_in(&sb, &dir).args(["-q", "--explain-denials", "--", "sh", "-c", "echo >/nowhere/x; exit 1"]);
    let out = call.output().exits(1);
    out.says("denied: write:/nowhere/x: /nowhere/x is not shown writable");
}

/// A filter that refuses an observed call still does: an errno takes precedence over a report.
#[case(ROOT)]
fn the_kernel_judges_observed_calls() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    let script = "cp /usr/bin/true own && chmod 4755 own; stat -c %a own; exit 1";
    let call = run_in(&sb, &dir).args(["-q", "--explain-denials", "--rw", ".", "--", "sh", "-c", script]);
    let out = call.output().exits(1);
    assert!(!out.stdout.contains("4755"), "{out}");
    let profile = dir.join("profile.json");
    let rule = r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":38}]}"#;
    std::fs::write(&profile, rule).expect("write");
    let sb = Sandbox::new();
    let option = format!("seccomp={}", profile.display());
    let call = run_in(&sb, &dir).args(["-q", "--explain-denials", "--security-opt", &option]);
    let out = call.args(["--", "mkdir", "/tmp/new"]).output().exits(1);
    out.says("Function not implemented");
}

#[case(ROOT)]
fn what_the_container_makes_itself_is_no_denial() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    let script = "echo x >/tmp/passwd && cat /tmp/passwd && mkdir /tmp/d && mv /tmp/passwd /tmp/d/ && exit 9";
    let call = run_in(&sb, &dir).args(["-q", "--explain-denials", "--", "sh", "-c", script]);
    let out = call.output().exits(9);
    assert!(!out.stderr.contains("/tmp/"), "{out}");
    out.says("denied: nothing that was observed");
}

#[case(ROOT)]
fn a_launcher_must_stay_to_explain() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    // With a policy that hardens, a monitor stays, and the account has what it saw.
    let rootfs = sb.rootfs().to_string_lossy().into_owned();
    let words = ["-d", "--policy", "privileged", "--explain-denials", "--rootfs", &rootfs, "--", "/bin/true"];
    run_in(&sb, &dir).args(words).output().exits(125).says("--explain-denials with --detach");
    sb.leak_check();
}

#[case(ROOT)]
fn a_filter_that_kills_is_named() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    let profile = dir.join("profile.json");
    let rule = r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_KILL_PROCESS"}]}"#;
    std::fs::write(&profile, rule).expect("write");
    let option = format!("seccomp={}", profile.display());
    for script in ["exec mkdir /tmp/new", "mkdir /tmp/new"] {
        let named = || {
            let sb = Sandbox::new();
            let call = run_in(&sb, &dir).args(["-q", "--security-opt", &option, "--", "sh", "-c", script]);
            call.output().exits(159)
        };
        let mut out = named();
        // The kernel drops such lines of its log where there are more than ten in five seconds.
        for _ in 0..3 {
            if !out.stderr.contains("dmesg") {
                break;
            }
            std::thread::sleep(std::time::Duration::from_secs(6));
            out = named();
        }
        out.says("the seccomp profile killed mkdir: it does not allow the system call mkdir");
    }
    let sb = Sandbox::new();
    let out = run_in(&sb, &dir).args(["-q", "--", "sh", "-c", "exit 159"]).output().exits(159);
    assert!(!out.stderr.contains("seccomp"), "{out}");
}

/// The answers of `explain --would` against what the program sees.
#[case(ROOT)]
fn would_answers_as_the_run_does() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    let file = dir.join("file").display().to_string();
    for (question, script, works) in [
        (format!("read:{file}"), format!("cat {file}"), true),
        (format!("write:{file}"), format!("echo x >>{file}"), false),
        ("read:/etc/passwd".into(), "cat /etc/passwd".into(), true),
        ("read:/etc/shadow".into(), "cat /etc/shadow".into(), false),
        ("write:/etc/new".into(), "touch /etc/new".into(), false),
        ("write:/tmp/new".into(), "touch /tmp/new".into(), true),
        ("read:/root/.profile".into(), "cat /root/.profile".into(), false),
        ("exec:/usr/bin/env".into(), "/usr/bin/env true".into(), true),
        ("exec:/etc/passwd".into(), "/etc/passwd".into(), false),
        ("read:/proc/kcore".into(), "head -c 1 /proc/kcore | grep -q .".into(), false),
        ("write:/proc/sys/kernel/panic".into(), "echo 1 >/proc/sys/kernel/panic".into(), false),
        ("write:/dev/null".into(), "echo >/dev/null".into(), true),
        (
            "connect:192.0.2.1:80".into(),
            "python3 -c 'import socket; socket.create_connection((\"192.0.2.1\", 80))'".into(),
            false,
        ),
    ] {
        let sb = Sandbox::new();
        let out = run_in(&sb, &dir).args(["-q", "--", "sh", "-c", &script]).output();
        assert_eq!(out.code == 0, works, "{question}: {out}");
        let mut explain = Command::new(crate::harness::carried::safebox());
        let said =
            explain.current_dir(&dir).args(["explain", "--would", &question]).output().expect("explain");
        assert_eq!(said.status.success(), works, "{question}: {said:?}");
        let text = String::from_utf8_lossy(&said.stdout).into_owned();
        assert!(text.starts_with(&format!("{question}: {}: ", if works { "yes" } else { "no" })), "{text}");
    }
}

/// 1 is an answer; what is no question is 125, as a wrong option of `run`.
#[case(ROOT)]
fn a_wrong_question_is_no_answer() {
    let sb = Sandbox::new();
    for (args, code) in [
        (&["--would", "read:/etc/passwd"] as &[&str], 0),
        (&["--would", "write:/etc/passwd"], 1),
        (&["--would", "write"], 125),
        (&["--would", "connect:host"], 125),
        (&["--nosuch"], 125),
        (&["--memory", "1k", "--would", "read:/etc/passwd"], 125),
        (&["--row", "nosuch"], 125),
    ] {
        let dir = project(&sb);
        let call = sb.runtime().arg("explain").args(args).args(["--", "true"]);
        call.with(|c| {
            c.current_dir(&dir);
        })
        .output()
        .exits(code);
    }
}
