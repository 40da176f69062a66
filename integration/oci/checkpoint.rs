//! `checkpoint` and `restore`: a container continues from its saved state, or the refusal names the reason.
//!
//! In tests that also run against runc the container's stdout is a pipe: runc cannot dump one that writes to
//! a file.

mod pre_dump;

use std::io::{PipeReader, PipeWriter, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::json;

use crate::harness::{Call, Need, Output, Sandbox, bundle, case, needs, poll};
use crate::oci::terminal::{Socket, read_until};

mod descriptors;
mod flags;
mod refusals;
mod world;

const OCI: &[Need] = &[Need::Root, Need::Criu, Need::Oci];
const OWN: &[Need] = &[Need::Root, Need::Criu];
const USERNS: &[Need] = &[Need::Root, Need::Criu, Need::Userns];
const MEM_TRACK: &[Need] = &[Need::Root, Need::Criu, Need::CriuMemTrack, Need::Oci];
const NO_MEM_TRACK: &[Need] = &[Need::Root, Need::Criu, Need::CriuNoMemTrack, Need::Oci];
const PROBE: &[Need] = &[Need::Root, Need::Criu, Need::Probe, Need::Oci];
const BOOTED: &[Need] = &[Need::Root, Need::Criu, Need::Systemd];
const OWN_PROBE: &[Need] = &[Need::Root, Need::Criu, Need::Probe];
const NO_CRIU: &[Need] = &[Need::Root];
const WORDS: &[Need] = &[Need::Root, Need::Oci];

const COUNT: &str = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.02; done";

/// `$PATH` with the criu of the tests first.
fn path() -> std::ffi::OsString {
    let rest = std::env::var_os("PATH").unwrap_or_default();
    let dirs = needs::criu().map(PathBuf::from).into_iter().chain(std::env::split_paths(&rest));
    std::env::join_paths(dirs).expect("a PATH")
}

fn call(sb: &Sandbox, args: &[&str]) -> Call {
    sb.runtime().args(args).env("PATH", path()).limit(Duration::from_secs(60))
}

/// Directory of a test's images.
fn images(sb: &Sandbox) -> PathBuf {
    sb.dir().join("images")
}

fn checkpoint(sb: &Sandbox, flags: &[&str]) -> Output {
    call(sb, &["checkpoint", "--image-path"]).arg(images(sb)).args(flags).arg(sb.id()).output()
}

/// The arguments of a detached restore.
fn restore_args(sb: &Sandbox, flags: &[&str]) -> Vec<std::ffi::OsString> {
    let mut args: Vec<std::ffi::OsString> = vec!["restore".into(), "--detach".into(), "--image-path".into()];
    args.extend([images(sb).into(), "--bundle".into(), sb.bundle().into()]);
    args.extend(flags.iter().map(Into::into));
    args.push(sb.id().into());
    args
}

/// Runs the runtime with pipes, whose ends the container inherits.
#[track_caller]
fn piped<S: AsRef<std::ffi::OsStr>>(sb: &Sandbox, args: &[S], stdin: Stdio) -> PipeReader {
    let (reader, writer): (PipeReader, PipeWriter) = std::io::pipe().expect("a pipe");
    let status = Command::new(bundle::runtime())
        .arg("--root")
        .arg(sb.root())
        .args(args)
        .env("PATH", path())
        .env("SAFEBOX_TEST", sb.id())
        .stdin(stdin)
        .stdout(writer.try_clone().expect("dup"))
        .stderr(writer)
        .status()
        .expect("the runtime");
    if !status.success() {
        let mut said = String::new();
        // Another process that still holds the pipe belongs to a failed runtime.
        (&reader).read_to_string(&mut said).expect("read");
        panic!("{status}: {said}");
    }
    reader
}

/// Creates a container with pipes and starts it.
fn started(sb: &Sandbox, stdin: Stdio) -> PipeReader {
    let bundle = sb.bundle();
    let reader =
        piped(sb, &["create".as_ref(), "--bundle".as_ref(), bundle.as_os_str(), sb.id().as_ref()], stdin);
    sb.verb("start").ok();
    reader
}

/// Reads the next line of a pipe without buffering further data.
#[track_caller]
fn line(mut pipe: &PipeReader) -> String {
    let (mut line, mut byte) = (Vec::new(), [0u8]);
    while pipe.read(&mut byte).expect("read") == 1 && byte[0] != b'\n' {
        line.push(byte[0]);
    }
    String::from_utf8(line).expect("text")
}

/// The last number in a pipe whose writers have ended.
#[track_caller]
fn last(mut pipe: PipeReader) -> u32 {
    let mut rest = String::new();
    pipe.read_to_string(&mut rest).expect("read");
    rest.lines().last().and_then(|l| l.parse().ok()).unwrap_or_else(|| panic!("no number in {rest:?}"))
}

/// A container that counts in the name of a file, which it never opens again: a file that is open at the dump must exist
/// at every restore.
fn counting() -> Sandbox {
    counting_every("", "0.02")
}

fn counting_every(first: &str, seconds: &str) -> Sandbox {
    let count = "i=0; : >/tmp/n0; while :; do i=$((i+1)); mv /tmp/n* /tmp/n$i 2>/dev/null; sleep";
    Sandbox::new().sh(&format!("{first}{count} {seconds}; done")).patch("/root/readonly", json!(false))
}

/// The current number; 0 before the first.
fn count(sb: &Sandbox) -> u32 {
    let number = || {
        let names = std::fs::read_dir(sb.rootfs().join("tmp")).expect("the container's /tmp").flatten();
        names.filter_map(|e| e.file_name().to_str()?.strip_prefix('n')?.parse().ok()).max()
    };
    // A directory that is read during a rename may show neither name.
    (0..5).find_map(|_| number()).unwrap_or(0)
}

#[track_caller]
fn goes_on(sb: &Sandbox, from: u32) {
    poll(&format!("more than {from}"), Duration::from_secs(10), || count(sb) > from + 2);
}

#[track_caller]
fn gone(sb: &Sandbox) {
    sb.verb("state").exits(1).says("container does not exist");
    sb.leak_check();
}

#[case(OCI)]
fn a_counter_goes_on_where_it_stopped() {
    let sb = Sandbox::new().sh(COUNT);
    let before = started(&sb, Stdio::null());
    assert_eq!([line(&before), line(&before), line(&before)], ["1", "2", "3"]);
    checkpoint(&sb, &[]).ok();
    let stopped_at = last(before);
    gone(&sb);
    let pid_file = sb.dir().join("pid");
    for _ in 0..2 {
        // The images are complete: several containers can be restored from them in turn.
        let after =
            piped(&sb, &restore_args(&sb, &["--pid-file", &pid_file.display().to_string()]), Stdio::null());
        assert_eq!(line(&after).parse(), Ok(stopped_at + 1));
        assert_eq!(sb.status(), "running");
        assert_eq!(std::fs::read_to_string(&pid_file).expect("a pid file"), sb.pid().to_string());
        sb.exec(["echo", "hello"]).ok().prints("hello");
        sb.delete().ok();
        gone(&sb);
    }
}

#[case(OCI)]
fn leave_running_leaves_it_running() {
    let sb = counting_every("", "0.3");
    let _out = started(&sb, Stdio::null());
    poll("numbers", Duration::from_secs(10), || count(&sb) > 2);
    let pid = sb.pid();
    checkpoint(&sb, &["--leave-running"]).ok();
    assert_eq!((sb.status().as_str(), sb.pid()), ("running", pid));
    goes_on(&sb, count(&sb));
    sb.delete().ok();
    let _out = piped(&sb, &restore_args(&sb, &[]), Stdio::null());
    goes_on(&sb, count(&sb));
    sb.delete().ok();
}

#[case(OCI)]
fn pipes_are_given_anew() {
    let sb = Sandbox::new().sh("n=0; while read word; do n=$((n+1)); echo $n $word; done; exit 3");
    let (stdin, mut typed) = std::io::pipe().expect("a pipe");
    let out = started(&sb, stdin.into());
    typed.write_all(b"one\n").expect("write");
    assert_eq!(line(&out), "1 one");
    checkpoint(&sb, &["--work-path", &sb.dir().join("work").display().to_string()]).ok();
    assert!(sb.dir().join("work/dump.log").exists(), "the log goes to --work-path");
    assert!(!images(&sb).join("dump.log").exists());
    drop((typed, out));
    let (stdin, mut typed) = std::io::pipe().expect("a pipe");
    let out = piped(&sb, &restore_args(&sb, &[]), stdin.into());
    typed.write_all(b"two\n").expect("write");
    assert_eq!(line(&out), "2 two");
    drop(typed);
    sb.wait_for_status("stopped");
    sb.verb("delete").ok();
}

/// Descriptors that are files of the host, as in the tests' harness. criu requires an unchanged length, so
/// the same file is continued.
#[case(OWN)]
fn files_are_given_anew() {
    let sb = Sandbox::new().sh(COUNT);
    let path = sb.dir().join("log");
    let log = || std::fs::File::options().append(true).create(true).open(&path).expect("a file");
    let run = |args: &[std::ffi::OsString]| {
        let command = Command::new(bundle::runtime())
            .arg("--root")
            .arg(sb.root())
            .args(args)
            .env("PATH", self::path())
            .stdin(Stdio::null())
            .stdout(log())
            .stderr(log())
            .status();
        assert!(
            command.expect("the runtime").success(),
            "{}",
            std::fs::read_to_string(&path).expect("the log")
        );
    };
    let lines = || -> Vec<u32> {
        std::fs::read_to_string(&path)
            .expect("the log")
            .lines()
            .map(|l| l.parse().expect("a number"))
            .collect()
    };
    run(&["create".into(), "--bundle".into(), sb.bundle().into(), sb.id().into()]);
    sb.verb("start").ok();
    poll("numbers", Duration::from_secs(10), || lines().len() > 3);
    checkpoint(&sb, &[]).ok();
    let stopped_at = lines().len();
    run(&restore_args(&sb, &[]));
    poll("more numbers", Duration::from_secs(10), || lines().len() > stopped_at + 3);
    sb.delete().ok();
    let numbers = lines();
    assert!(numbers.iter().zip(1..).all(|(n, expected)| *n == expected), "{numbers:?}");
}

#[case(OCI)]
fn a_terminal_is_given_anew() {
    let sockets = tempfile::tempdir().expect("a temporary directory");
    let sb = Sandbox::new()
        .sh("n=0; while read word; do n=$((n+1)); echo got $n $word; done")
        .patch("/process/terminal", json!(true));
    let socket = Socket::new(sockets.path());
    call(&sb, &["create", "--console-socket"])
        .arg(&socket.path)
        .arg("--bundle")
        .arg(sb.bundle())
        .arg(sb.id())
        .output()
        .ok();
    let master = socket.terminal();
    sb.verb("start").ok();
    (&master).write_all(b"a\n").expect("write");
    read_until(&master, "got 1 a");
    checkpoint(&sb, &[]).ok();
    drop((master, socket));
    std::fs::remove_file(sockets.path().join("s")).expect("remove");
    // Without a receiver for the terminal nothing is restored.
    call(&sb, &[]).args(restore_args(&sb, &[])).output().exits(1).says("cannot allocate tty if");
    let socket = Socket::new(sockets.path());
    let path = socket.path.display().to_string();
    call(&sb, &[]).args(restore_args(&sb, &["--console-socket", &path])).output().ok();
    let master = socket.terminal();
    (&master).write_all(b"b\n").expect("write");
    read_until(&master, "got 2 b");
    sb.delete().ok();
}

#[case(OCI)]
fn other_verbs_work_on_a_restored_container() {
    let sb = counting();
    drop(started(&sb, Stdio::null()));
    poll("numbers", Duration::from_secs(10), || count(&sb) > 2);
    checkpoint(&sb, &[]).ok();
    let _out = piped(&sb, &restore_args(&sb, &[]), Stdio::null());
    goes_on(&sb, count(&sb));
    sb.verb("pause").ok();
    assert_eq!(sb.status(), "paused");
    sb.verb("resume").ok();
    goes_on(&sb, count(&sb));
    call(&sb, &["update", "--pids-limit", "33", sb.id()]).output().ok();
    assert_eq!(crate::oci::limits::limit(sb.pid(), "pids.max", ("pids", "pids.max")), "33");
    sb.runtime().args(["ps", "--format", "json", sb.id()]).output().ok().prints(&sb.pid().to_string());
    // A process of `exec` joins the container's namespaces, including the time namespace.
    let inside = sb
        .exec(["sh", "-c", "for n in pid net ipc uts mnt time; do stat -Lc %i /proc/self/ns/$n; done"])
        .ok();
    let own: Vec<String> = ["pid", "net", "ipc", "uts", "mnt", "time"]
        .iter()
        .map(|n| {
            std::fs::metadata(format!("/proc/{}/ns/{n}", sb.pid())).expect("a namespace").ino().to_string()
        })
        .collect();
    if !bundle::is_foreign() {
        assert_eq!(inside.stdout.lines().collect::<Vec<_>>(), own);
    }
    // It can be dumped again, which fails with the images of another container.
    checkpoint(&sb, &["--file-locks", "--manage-cgroups-mode", "soft"]).ok();
    let _out = piped(&sb, &restore_args(&sb, &["--file-locks"]), Stdio::null());
    goes_on(&sb, count(&sb));
    sb.kill("KILL").ok();
    sb.wait_for_status("stopped");
    sb.verb("delete").ok();
    gone(&sb);
}

#[case(OCI)]
fn restore_in_the_foreground_returns_the_exit_code() {
    let sb = Sandbox::new().sh("echo up; read word; exit 7");
    let (stdin, typed) = std::io::pipe().expect("a pipe");
    let out = started(&sb, stdin.into());
    assert_eq!(line(&out), "up");
    checkpoint(&sb, &[]).ok();
    drop((typed, out));
    let mut restore = Command::new(bundle::runtime())
        .arg("--root")
        .arg(sb.root())
        .args(["restore", "--image-path"])
        .arg(images(&sb))
        .arg("--bundle")
        .arg(sb.bundle())
        .arg(sb.id())
        .env("PATH", path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the runtime");
    poll("running", Duration::from_secs(10), || {
        let state = sb.verb("state");
        state.code == 0 && state.stdout.contains("\"running\"")
    });
    restore.stdin.take().expect("stdin").write_all(b"go\n").expect("write");
    let done = restore.wait_with_output().expect("wait");
    assert_eq!(done.status.code(), Some(7), "{}", String::from_utf8_lossy(&done.stderr));
    gone(&sb);
}

#[case(OCI)]
fn limits_are_there_and_groups_may_be_others() {
    let other = |sb: &Sandbox| format!("/{}-b", sb.id());
    let mut sb = counting().patch("/linux/resources/memory", json!({ "limit": 256 << 20 }));
    let path = format!("/{}-a", sb.id());
    sb.set("/linux/cgroupsPath", json!(path));
    drop(started(&sb, Stdio::null()));
    poll("numbers", Duration::from_secs(10), || count(&sb) > 2);
    checkpoint(&sb, &[]).ok();
    // As Podman does: another id and another cgroup.
    sb.set("/linux/cgroupsPath", json!(other(&sb)));
    sb.set("/linux/resources/memory", json!({ "limit": 128 << 20 }));
    let _out = piped(&sb, &restore_args(&sb, &[]), Stdio::null());
    goes_on(&sb, count(&sb));
    let pid = sb.pid();
    assert_eq!(
        crate::oci::limits::limit(pid, "memory.max", ("memory", "memory.limit_in_bytes")),
        (128 << 20).to_string()
    );
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("groups");
    assert!(groups.lines().all(|l| l.ends_with(&other(&sb))), "{groups}");
    sb.delete().ok();
    gone(&sb);
}

/// containerd pauses a container before it dumps it, and resumes it afterwards.
#[case(OCI)]
fn a_paused_container_stays_paused() {
    let sb = counting();
    let _out = started(&sb, Stdio::null());
    poll("numbers", Duration::from_secs(10), || count(&sb) > 2);
    sb.verb("pause").ok();
    checkpoint(&sb, &["--leave-running"]).ok();
    assert_eq!(sb.status(), "paused");
    sb.verb("resume").ok();
    goes_on(&sb, count(&sb));
    sb.verb("pause").ok();
    let stopped_at = count(&sb);
    checkpoint(&sb, &[]).ok();
    gone(&sb);
    let _out = piped(&sb, &restore_args(&sb, &[]), Stdio::null());
    goes_on(&sb, stopped_at);
    sb.delete().ok();
}
