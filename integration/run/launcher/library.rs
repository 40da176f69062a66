//! The library's `Sandbox`, from a process with many threads; and the judge that is made of it.

use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use safebox::lifecycle::account::Status;

use super::project;
use crate::harness::carried::{lesson, patience, slow, slowed};
use crate::harness::{Need, Sandbox, bundle, case};
use crate::oci::rootless::one;

const ROOT: &[Need] = &[Need::Root, Need::Userns, Need::Idmap];

/// A sandbox for a shell script, with the launcher and the state root of the test.
fn sandbox(sb: &Sandbox, script: &str) -> safebox::Sandbox {
    let mut sandbox = safebox::Sandbox::new("sh");
    sandbox.args(["-c", script]).launcher(bundle::safebox()).state_root(sb.root()).current_dir(project(sb));
    sandbox
}

/// Each thread with another signal mask, and children of its own that nobody may wait for in its place.
#[case(ROOT)]
fn the_library_launches_from_many_threads() {
    let sb = Sandbox::new();
    std::thread::scope(|scope| {
        for n in 0..6 {
            let sb = &sb;
            scope.spawn(move || {
                let mut mask = nix::sys::signal::SigSet::empty();
                mask.add(nix::sys::signal::Signal::SIGCHLD);
                mask.add(nix::sys::signal::Signal::SIGTERM);
                mask.thread_block().expect("a mask");
                let mut own = Command::new("sleep").arg("0.2").spawn().expect("a child");
                let mut sandbox = sandbox(sb, "cat file; echo $N; grep ^SigBlk /proc/self/status; exit $N");
                let output = sandbox
                    .name(sb.other_id(&n.to_string()))
                    .env("N", &n.to_string())
                    .output()
                    .expect("output");
                let expect = format!("project\n{n}\nSigBlk:\t0000000000000000\n");
                assert_eq!(String::from_utf8_lossy(&output.stdout), expect, "{output:?}");
                assert_eq!((output.exit.code(), output.exit.account.status), (n, Status::Exited));
                assert_eq!(output.exit.account.stdout_bytes, Some(expect.len() as u64));
                assert_eq!(output.stderr, b"", "stderr is the program's alone");
                assert!(own.wait().expect("its own child").success());
            });
        }
    });
    sb.leak_check();
}

#[case(ROOT)]
fn the_library_talks_signals_and_kills() {
    let sb = Sandbox::new();
    let mut child = sandbox(&sb, "read x; echo got $x; read y; echo end >&2")
        .name(sb.id())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("spawn");
    assert_eq!(child.id(), sb.id());
    child.stdin.as_mut().expect("stdin").write_all(b"word\n").expect("write");
    let mut line = [0; 9];
    child.stdout.as_mut().expect("stdout").read_exact(&mut line).expect("read");
    assert_eq!(&line, b"got word\n");
    assert_eq!(child.try_wait().expect("try_wait"), None);
    let exit = child.wait().expect("wait");
    assert!(exit.success(), "{exit:?}");
    let started = |script: &str| {
        let mut child = sandbox(&sb, script).name(sb.id()).stdout(Stdio::piped()).spawn().expect("spawn");
        child.stdout.as_mut().expect("stdout").read_exact(&mut [0; 3]).expect("up");
        child
    };
    let mut child = started("trap 'exit 6' TERM; echo up; sleep 60 & wait");
    child.signal(libc::SIGTERM).expect("signal");
    assert_eq!(child.wait().expect("wait").code(), 6);
    let mut child = started("trap '' TERM; echo up; sleep 61 & sleep 62");
    child.kill().expect("kill");
    let exit = child.wait().expect("wait");
    assert_eq!((exit.account.status, exit.account.signal), (Status::Signaled, Some(9)), "{exit:?}");
    child.kill().expect("it is gone already");
    // The descriptor tells of the end.
    let child = sandbox(&sb, "exit 0").name(sb.id()).spawn().expect("spawn");
    let mut polls = [nix::poll::PollFd::new(child.pidfd(), nix::poll::PollFlags::POLLIN)];
    assert_eq!(nix::poll::poll(&mut polls, 20_000_u16), Ok(1));
    let mut child = child;
    assert!(child.wait().expect("wait").success());
    // Before there is a program.
    let mut child = sandbox(&sb, "sleep 63").name(sb.id()).spawn().expect("spawn");
    child.kill().expect("kill");
    let exit = child.wait().expect("wait");
    assert!(matches!(exit.account.status, Status::NotStarted | Status::Signaled), "{exit:?}");
    let mut missing = safebox::Sandbox::new("/nowhere");
    missing.launcher(bundle::safebox()).state_root(sb.root()).name(sb.id()).current_dir("/usr");
    let exit = missing.status().expect("an account");
    assert_eq!((exit.code(), exit.account.status), (127, Status::NotStarted));
    assert!(exit.account.error.is_some_and(|e| e.contains("no such file")));
    let mut nothing = safebox::Sandbox::new("true");
    assert!(
        nothing
            .launcher("/nowhere/safebox")
            .spawn()
            .is_err_and(|e| e.to_string().contains("/nowhere/safebox"))
    );
    sb.leak_check();
}

/// The same options through both: the plan and what the program sees.
#[case(ROOT)]
fn the_library_and_the_command_line_do_not_differ() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    let script = "id -u; pwd; echo $A; ulimit -n; touch sub/x; ls /tmp/scratch; cat /proc/self/oom_score_adj; hostname";
    let mut of_library = sandbox(&sb, script);
    of_library
        .name(sb.id())
        .env("A", "b c")
        .write("sub")
        .option("ulimit", "nofile=77")
        .option("oom-score-adj", "300");
    of_library.mount("type=tmpfs,dst=/tmp/scratch").option("hostname", "box").memory(64 << 20).cpus(0.5);
    let output = of_library.output().expect("output");
    let args = [
        "--env=A=b c",
        "--rw=sub",
        "--ulimit=nofile=77",
        "--oom-score-adj=300",
        "--mount=type=tmpfs,dst=/tmp/scratch",
    ];
    let more = ["--hostname=box", "--memory=64m", "--cpus=0.5", "--", "sh", "-c", script];
    let out = super::run_in(&sb, &dir).arg("-q").args(args).args(more).output().ok();
    assert_eq!(String::from_utf8_lossy(&output.stdout), out.stdout, "{out}");
    sb.leak_check();
}

/// An unprivileged user without cgroups of their own: what the error advises, the library can ask for, too.
#[case(Root, OrdinaryUserns)]
fn the_library_can_do_without_cgroups() {
    let user = one();
    let sb = user.sandbox();
    // The launcher, as this user; `exec` keeps its descriptors.
    let launcher = sb.dir().join("launcher");
    let text = format!(
        "#!/bin/sh\nexec setpriv --reuid {0} --regid {0} --clear-groups {1} \"$@\"\n",
        user.uid,
        sb.dir().join("safebox").display()
    );
    std::fs::write(&launcher, text).expect("write");
    std::fs::set_permissions(&launcher, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("chmod");
    let run = |change: &dyn Fn(&mut safebox::Sandbox)| {
        let mut sandbox = safebox::Sandbox::new("/bin/sh");
        sandbox.args(["-c", "id -u; exit 5"]).launcher(&launcher).state_root(sb.root()).rootfs(sb.rootfs());
        sandbox.name(sb.id()).current_dir("/").stderr(Stdio::null());
        change(&mut sandbox);
        sandbox.output().expect("output")
    };
    let output = run(&|sandbox| {
        sandbox.memory(64 << 20);
    });
    if let Some(error) = &output.exit.account.error {
        assert!(error.contains("--cgroup-manager disabled"), "{error}");
    }
    let output = run(&|sandbox| {
        sandbox.cgroup_manager(safebox::Manager::Disabled);
    });
    assert_eq!((output.exit.code(), output.exit.account.status), (5, Status::Exited), "{output:?}");
    // The administrator's requirements count for the library's launches.
    let policy = sb.dir().join("policy.toml");
    std::fs::write(&policy, "mode = \"nonsense\"\n").expect("write");
    let output = run(&|sandbox| {
        sandbox.cgroup_manager(safebox::Manager::Disabled).policy_file(&policy);
    });
    assert_eq!(output.exit.account.status, Status::NotStarted, "{output:?}");
    assert!(output.exit.account.error.is_some_and(|e| e.contains("policy.toml")));
    sb.leak_check();
}

/// Neither arguments nor variables are seen in the launcher's or its init's /proc.
#[case(ROOT)]
fn the_library_s_words_are_no_other_process_s() {
    let sb = Sandbox::new();
    let mut sandbox = sandbox(&sb, "echo up; sleep 5");
    let mut child =
        sandbox.name(sb.id()).env("PASSWORD", "s3cr3t").stdout(Stdio::piped()).spawn().expect("spawn");
    child.stdout.as_mut().expect("stdout").read_exact(&mut [0; 3]).expect("up");
    let launcher = std::fs::read_dir("/proc").expect("/proc").flatten().filter(|e| {
        std::fs::read(e.path().join("cmdline")).is_ok_and(|c| c.windows(9).any(|w| w == b"--request"))
            && std::fs::read(e.path().join("environ")).is_ok_and(|e| e.windows(6).all(|w| w != b"s3cr3t"))
    });
    assert!(launcher.count() >= 1);
    for entry in std::fs::read_dir("/proc").expect("/proc").flatten() {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        assert!(!line.windows(6).any(|w| w == b"s3cr3t"), "{:?}", entry.path());
    }
    child.kill().expect("kill");
    child.wait().expect("wait");
    sb.leak_check();
}

#[case(Root, Userns, Idmap, Lessons)]
fn a_judge_judges_right() {
    let start = Instant::now();
    // On an emulated machine even the start of Python takes much more cpu time than other programs do.
    let (count, slower) = if slow() == 1 { (24, 1) } else { (12, slow() * 2) };
    let out = Command::new(lesson("judge"))
        .args([count.to_string(), slower.to_string()])
        .env("SAFEBOX_BIN", bundle::safebox())
        .output()
        .expect("the judge");
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success(), "{text}{}", String::from_utf8_lossy(&out.stderr));
    assert!(text.contains(&format!("{count} submissions in ")) && text.contains(", 0 wrong"), "{text}");
    assert!(start.elapsed() < slowed(patience(Duration::from_secs(60))), "{:?}", start.elapsed());
}
