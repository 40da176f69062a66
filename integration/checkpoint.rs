//! `checkpoint` and `restore`: a container goes on where it stopped, or says why it cannot.
//!
//! Where a control is possible the container's stdout is a pipe: runc cannot dump one that writes to a file.

use std::io::{PipeReader, PipeWriter, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use libtest_mimic::Trial;
use serde_json::json;

use crate::harness::{Call, Need, Output, Sandbox, bundle, needs, poll, test};
use crate::terminal::{Socket, read_until};

const OCI: &[Need] = &[Need::Root, Need::Criu, Need::Oci];
const OWN: &[Need] = &[Need::Root, Need::Criu];
const USERNS: &[Need] = &[Need::Root, Need::Criu, Need::Userns];
const MEM_TRACK: &[Need] = &[Need::Root, Need::Criu, Need::CriuMemTrack, Need::Oci];
const NO_MEM_TRACK: &[Need] = &[Need::Root, Need::Criu, Need::CriuNoMemTrack, Need::Oci];
const NO_CRIU: &[Need] = &[Need::Root];
const WORDS: &[Need] = &[Need::Root, Need::Oci];

pub fn tests() -> Vec<Trial> {
    vec![
        test("checkpoint::a_counter_goes_on_where_it_stopped", OCI, counter_goes_on),
        test("checkpoint::leave_running_leaves_it_running", OCI, leave_running),
        test("checkpoint::pipes_are_given_anew", OCI, pipes),
        test("checkpoint::files_are_given_anew", OWN, files),
        test("checkpoint::a_terminal_is_given_anew", OCI, terminal),
        test("checkpoint::other_verbs_work_on_a_restored_container", OCI, other_verbs),
        test("checkpoint::restore_in_the_foreground_returns_the_exit_code", OCI, foreground),
        test("checkpoint::limits_are_there_and_groups_may_be_others", OCI, limits),
        test("checkpoint::a_paused_container_stays_paused", OCI, paused),
        test("checkpoint::hooks_run_once_the_namespaces_exist", OCI, hooks),
        test("checkpoint::a_network_namespace_that_was_joined_is_joined_again", OCI, joined_network),
        test("checkpoint::loopback_is_up_and_sysctls_are_set", OWN, network),
        test("checkpoint::binds_and_masks_stay_read_only", OWN, read_only),
        test("checkpoint::mount_points_are_made_in_a_fresh_rootfs", OCI, fresh_rootfs),
        test("checkpoint::a_user_namespace_comes_back", USERNS, user_namespace),
        test("checkpoint::privileges_stay_dropped", OCI, privileges),
        test("checkpoint::pre_dump_and_its_child", MEM_TRACK, pre_dump),
        test("checkpoint::pre_dump_needs_memory_tracking", NO_MEM_TRACK, no_pre_dump),
        test("checkpoint::a_hardened_run_is_refused", OWN, hardened),
        test("checkpoint::what_is_not_running_is_refused", WORDS, wrong_states),
        test("checkpoint::bad_flags_change_nothing", OCI, bad_flags),
        test("checkpoint::restore_without_images_leaves_nothing", OCI, no_images),
        test("checkpoint::a_failed_restore_says_what_criu_said_and_leaves_nothing", OWN, broken_images),
        test("checkpoint::a_failed_dump_says_what_criu_said_and_the_container_goes_on", OWN, failed_dump),
        test("checkpoint::without_criu_it_says_so", NO_CRIU, no_criu),
        test("checkpoint::probes_of_podman_and_cri_o", NO_CRIU, probes),
    ]
}

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

/// Where a test's images are.
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

/// Runs the runtime with pipes: the container gets their ends.
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
        // Whoever else holds the pipe is no more than a failed runtime's.
        (&reader).read_to_string(&mut said).expect("read");
        panic!("{status}: {said}");
    }
    reader
}

/// A container that was created with pipes and started.
fn started(sb: &Sandbox, stdin: Stdio) -> PipeReader {
    let bundle = sb.bundle();
    let reader =
        piped(sb, &["create".as_ref(), "--bundle".as_ref(), bundle.as_os_str(), sb.id().as_ref()], stdin);
    sb.verb("start").ok();
    reader
}

/// The next line of a pipe, without what a reader would take ahead.
#[track_caller]
fn line(mut pipe: &PipeReader) -> String {
    let (mut line, mut byte) = (Vec::new(), [0u8]);
    while pipe.read(&mut byte).expect("read") == 1 && byte[0] != b'\n' {
        line.push(byte[0]);
    }
    String::from_utf8(line).expect("text")
}

/// The last number in what is left of a pipe whose writers are gone.
#[track_caller]
fn last(mut pipe: PipeReader) -> u32 {
    let mut rest = String::new();
    pipe.read_to_string(&mut rest).expect("read");
    rest.lines().last().and_then(|l| l.parse().ok()).unwrap_or_else(|| panic!("no number in {rest:?}"))
}

/// A container that writes its numbers to /tmp/count, and that number.
fn counting() -> Sandbox {
    Sandbox::new()
        .sh("i=0; while :; do i=$((i+1)); echo $i >/tmp/new; mv /tmp/new /tmp/count; sleep 0.02; done")
        .patch("/root/readonly", json!(false))
}

fn count(sb: &Sandbox) -> u32 {
    std::fs::read_to_string(sb.rootfs().join("tmp/count"))
        .ok()
        .and_then(|t| t.trim().parse().ok())
        .unwrap_or(0)
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

fn counter_goes_on() {
    let sb = Sandbox::new().sh(COUNT);
    let before = started(&sb, Stdio::null());
    assert_eq!([line(&before), line(&before), line(&before)], ["1", "2", "3"]);
    checkpoint(&sb, &[]).ok();
    let stopped_at = last(before);
    gone(&sb);
    let pid_file = sb.dir().join("pid");
    for _ in 0..2 {
        // The images are whole: more than one container can come from them, one after the other.
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

fn leave_running() {
    let sb = counting();
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

fn pipes() {
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

/// Descriptors that are files of the host's, as under the tests' own harness. criu wants a file to be as
/// long as it was: the same one, to be continued.
fn files() {
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

fn terminal() {
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
    // Without a place for it nothing is restored.
    call(&sb, &[]).args(restore_args(&sb, &[])).output().exits(1).says("cannot allocate tty if");
    let socket = Socket::new(sockets.path());
    let path = socket.path.display().to_string();
    call(&sb, &[]).args(restore_args(&sb, &["--console-socket", &path])).output().ok();
    let master = socket.terminal();
    (&master).write_all(b"b\n").expect("write");
    read_until(&master, "got 2 b");
    sb.delete().ok();
}

fn other_verbs() {
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
    assert_eq!(crate::limits::limit(sb.pid(), "pids.max", ("pids", "pids.max")), "33");
    sb.runtime().args(["ps", "--format", "json", sb.id()]).output().ok().prints(&sb.pid().to_string());
    // A process of `exec` is where the container is, its clocks included.
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
    // It can be dumped a second time, which no other container's images would allow.
    checkpoint(&sb, &["--file-locks", "--manage-cgroups-mode", "soft"]).ok();
    let _out = piped(&sb, &restore_args(&sb, &["--file-locks"]), Stdio::null());
    goes_on(&sb, count(&sb));
    sb.kill("KILL").ok();
    sb.wait_for_status("stopped");
    sb.verb("delete").ok();
    gone(&sb);
}

fn foreground() {
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

fn limits() {
    let other = |sb: &Sandbox| format!("/{}-b", sb.id());
    let mut sb = counting().patch("/linux/resources/memory", json!({ "limit": 256 << 20 }));
    let path = format!("/{}-a", sb.id());
    sb.set("/linux/cgroupsPath", json!(path));
    drop(started(&sb, Stdio::null()));
    poll("numbers", Duration::from_secs(10), || count(&sb) > 2);
    checkpoint(&sb, &[]).ok();
    // As Podman does: another id means another group.
    sb.set("/linux/cgroupsPath", json!(other(&sb)));
    sb.set("/linux/resources/memory", json!({ "limit": 128 << 20 }));
    let _out = piped(&sb, &restore_args(&sb, &[]), Stdio::null());
    goes_on(&sb, count(&sb));
    let pid = sb.pid();
    assert_eq!(
        crate::limits::limit(pid, "memory.max", ("memory", "memory.limit_in_bytes")),
        (128 << 20).to_string()
    );
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("groups");
    assert!(groups.lines().all(|l| l.ends_with(&other(&sb))), "{groups}");
    sb.delete().ok();
    gone(&sb);
}

/// containerd pauses a container before it dumps it, and resumes it afterwards.
fn paused() {
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

fn hooks() {
    let log = tempfile::NamedTempFile::new().expect("a file");
    let hook = |name: &str| {
        let script = format!(
            "read -r s; echo {name} $(readlink /proc/$(echo \"$s\" | sed 's/.*\"pid\":\\([0-9]*\\).*/\\1/')/ns/net) >>{}",
            log.path().display()
        );
        json!([{ "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"] }])
    };
    let mut sb = counting();
    drop(started(&sb, Stdio::null()));
    poll("numbers", Duration::from_secs(10), || count(&sb) > 2);
    checkpoint(&sb, &[]).ok();
    for name in ["prestart", "createRuntime", "createContainer", "startContainer", "poststop"] {
        sb.set(&format!("/hooks/{name}"), hook(name));
    }
    let _out = piped(&sb, &restore_args(&sb, &[]), Stdio::null());
    let net = std::fs::read_link(format!("/proc/{}/ns/net", sb.pid())).expect("a namespace");
    let said = std::fs::read_to_string(log.path()).expect("the log");
    let expected = format!("prestart {0}\ncreateRuntime {0}\n", net.display());
    assert_eq!(said, expected, "in the container's namespaces, and only those");
    sb.delete().ok();
    let said = std::fs::read_to_string(log.path()).expect("the log");
    assert!(said.trim_end().lines().last().is_some_and(|l| l.starts_with("poststop")), "{said}");
    // A hook that fails ends the restore.
    sb.set("/hooks", json!({ "prestart": [{ "path": "/bin/false" }] }));
    call(&sb, &[]).args(restore_args(&sb, &[])).output().exits(1);
    gone(&sb);
}

fn joined_network() {
    let holder = Command::new("unshare").args(["--net", "sleep", "1000"]).spawn();
    let mut holder = holder.expect("unshare");
    let ns = format!("/proc/{}/ns/net", holder.id());
    let inode = || std::fs::metadata(&ns).map(|m| m.ino()).unwrap_or(0);
    let own = std::fs::metadata("/proc/self/ns/net").expect("a namespace").ino();
    poll("a network namespace", Duration::from_secs(5), || inode() != own);
    let mut sb = counting();
    let namespaces = sb.config()["linux"]["namespaces"].as_array().cloned().unwrap_or_default();
    let namespaces: Vec<_> = namespaces
        .into_iter()
        .map(|n| if n["type"] == "network" { json!({ "type": "network", "path": ns }) } else { n })
        .collect();
    sb.set("/linux/namespaces", namespaces.into());
    drop(started(&sb, Stdio::null()));
    poll("numbers", Duration::from_secs(10), || count(&sb) > 2);
    checkpoint(&sb, &[]).ok();
    let _out = piped(&sb, &restore_args(&sb, &[]), Stdio::null());
    goes_on(&sb, count(&sb));
    let now = std::fs::metadata(format!("/proc/{}/ns/net", sb.pid())).expect("a namespace").ino();
    let expected = inode();
    sb.delete().ok();
    holder.kill().expect("kill a child");
    holder.wait().expect("wait for a child");
    assert_eq!(now, expected);
}

fn network() {
    let sb =
        counting().patch("/linux/sysctl", json!({ "net.ipv4.ip_forward": "1", "kernel.msgmax": "4242" }));
    drop(started(&sb, Stdio::null()));
    poll("numbers", Duration::from_secs(10), || count(&sb) > 2);
    checkpoint(&sb, &[]).ok();
    let _out = piped(&sb, &restore_args(&sb, &[]), Stdio::null());
    sb.exec(["cat", "/proc/sys/net/ipv4/ip_forward", "/proc/sys/kernel/msgmax"]).ok().prints("1\n4242\n");
    sb.exec(["ip", "addr", "show", "dev", "lo"]).ok().prints("127.0.0.1/8").prints("UP");
    sb.delete().ok();
}

/// criu makes the second of two mounts of one source without its attributes.
fn read_only() {
    let sb = Sandbox::new();
    let shared = sb.dir().join("shared");
    std::fs::create_dir(&shared).expect("mkdir");
    std::fs::write(shared.join("f"), "x").expect("write");
    let bind = |to: &str| json!({ "destination": to, "type": "bind", "source": shared.display().to_string(), "options": ["bind", "ro", "nosuid"] });
    let sb = sb
        .sh("sleep 1000")
        .patch("/mounts/-", bind("/a"))
        .patch("/mounts/-", bind("/b"))
        .patch("/mounts/-", bind("/c"))
        .patch(
            "/linux/maskedPaths",
            json!(["/proc/keys", "/proc/timer_list", "/proc/kcore", "/proc/acpi", "/proc/missing"]),
        );
    drop(started(&sb, Stdio::null()));
    let shows = |sb: &Sandbox| {
        let text = std::fs::read_to_string(format!("/proc/{}/mountinfo", sb.pid())).expect("mountinfo");
        let mut all: Vec<_> = text
            .lines()
            .filter_map(|l| {
                let mut fields = l.split(' ').skip(3);
                let (root, at, options) = (fields.next()?, fields.next()?, fields.next()?);
                // The root mount is read-only or not in itself; where it lies has another name while criu looks.
                Some((at.to_string(), root.to_string(), options.to_string()))
            })
            .collect();
        all.sort();
        all
    };
    let before = shows(&sb);
    checkpoint(&sb, &[]).ok();
    let _out = piped(&sb, &restore_args(&sb, &[]), Stdio::null());
    assert_eq!(shows(&sb), before);
    for dir in ["a", "b", "c"] {
        sb.exec(["touch", &format!("/{dir}/new")]).exits(1).says("Read-only file system");
    }
    sb.exec(["sh", "-c", "chmod 600 /proc/timer_list"]).exits(1).says("Read-only file system");
    sb.exec(["sh", "-c", "cat /proc/keys /proc/timer_list | wc -c; ls /proc/acpi | wc -l"])
        .ok()
        .prints("0\n0\n");
    sb.exec(["sh", "-c", "echo 1 >/proc/sys/kernel/domainname"]).exits(1).says("Read-only file system");
    sb.delete().ok();
}

/// Podman restores on another machine: the rootfs comes from the image again, without the mount points.
fn fresh_rootfs() {
    let sb = counting();
    let (dir, file) = (sb.dir().join("data"), sb.dir().join("resolv.conf"));
    std::fs::create_dir(&dir).expect("mkdir");
    std::fs::write(&file, "nameserver 192.0.2.1\n").expect("write");
    let bind = |from: &PathBuf, to: &str| json!({ "destination": to, "type": "bind", "source": from.display().to_string(), "options": ["rbind", "ro"] });
    let mut sb =
        sb.patch("/mounts/-", bind(&dir, "/data/deep")).patch("/mounts/-", bind(&file, "/etc/resolv.conf"));
    drop(started(&sb, Stdio::null()));
    poll("numbers", Duration::from_secs(10), || count(&sb) > 2);
    checkpoint(&sb, &[]).ok();
    let fresh = sb.bundle().join("fresh");
    bundle::make_rootfs(&fresh);
    for file in ["count", "new"] {
        // The loop's files, which may be open.
        std::fs::copy(sb.rootfs().join("tmp").join(file), fresh.join("tmp").join(file))
            .map(drop)
            .unwrap_or_default();
    }
    sb.set("/root/path", json!("fresh"));
    let _out = piped(&sb, &restore_args(&sb, &[]), Stdio::null());
    sb.exec(["cat", "/etc/resolv.conf"]).ok().prints("192.0.2.1");
    sb.exec(["ls", "/data/deep"]).ok();
    sb.delete().ok();
}

fn user_namespace() {
    let mut sb = Sandbox::new().sh(COUNT);
    let maps = json!([{ "containerID": 0, "hostID": 100_000, "size": 65536 }]);
    sb.set("/linux/namespaces/-", json!({ "type": "user" }));
    sb.set("/linux/uidMappings", maps.clone());
    sb.set("/linux/gidMappings", maps);
    let before = started(&sb, Stdio::null());
    line(&before);
    checkpoint(&sb, &[]).ok();
    let stopped_at = last(before);
    let after = piped(&sb, &restore_args(&sb, &[]), Stdio::null());
    assert_eq!(line(&after).parse(), Ok(stopped_at + 1));
    let map = std::fs::read_to_string(format!("/proc/{}/uid_map", sb.pid())).expect("uid_map");
    assert_eq!(map.split_whitespace().collect::<Vec<_>>(), ["0", "100000", "65536"]);
    sb.exec(["id", "-u"]).ok().prints("0");
    sb.exec(["sh", "-c", "chmod 600 /dev/zero"]).exits(1).says("Read-only file system");
    sb.delete().ok();
}

fn privileges() {
    // criu reads the limits of another user's processes with CAP_SYS_RESOURCE, which not every root has.
    let status = std::fs::read_to_string("/proc/self/status").expect("status");
    let caps = status.lines().find_map(|l| u64::from_str_radix(l.strip_prefix("CapEff:")?.trim(), 16).ok());
    let id = if caps.unwrap_or(0) >> 24 & 1 == 1 { 1000 } else { 0 };
    let sb = counting().patch("/process/user", json!({ "uid": id, "gid": id })).patch(
        "/linux/seccomp",
        json!({ "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
            "syscalls": [{ "names": ["unshare"], "action": "SCMP_ACT_ERRNO" }] }),
    );
    std::os::unix::fs::chown(sb.rootfs().join("tmp"), Some(id), Some(id)).expect("chown");
    drop(started(&sb, Stdio::null()));
    let shows = |sb: &Sandbox| {
        let text = std::fs::read_to_string(format!("/proc/{}/status", sb.pid())).expect("status");
        let keys = [
            "Uid:",
            "Gid:",
            "Groups:",
            "CapInh:",
            "CapPrm:",
            "CapEff:",
            "CapBnd:",
            "CapAmb:",
            "NoNewPrivs:",
            "Seccomp",
        ];
        text.lines().filter(|l| keys.iter().any(|k| l.starts_with(k))).collect::<Vec<_>>().join("\n")
    };
    poll("numbers", Duration::from_secs(10), || count(&sb) > 2);
    let before = shows(&sb);
    checkpoint(&sb, &[]).ok();
    let _out = piped(&sb, &restore_args(&sb, &[]), Stdio::null());
    goes_on(&sb, count(&sb));
    assert_eq!(shows(&sb), before);
    sb.delete().ok();
}

fn pre_dump() {
    let sb = Sandbox::new().sh(COUNT);
    let out = started(&sb, Stdio::null());
    let dir = sb.dir().to_path_buf();
    call(&sb, &["checkpoint", "--pre-dump", "--image-path"])
        .arg(dir.join("first"))
        .arg(sb.id())
        .output()
        .ok();
    assert_eq!(sb.status(), "running");
    assert!(!dir.join("first/descriptors.json").exists(), "memory only");
    checkpoint(&sb, &["--parent-path", "../first"]).ok();
    let stopped_at = last(out);
    assert_eq!(std::fs::read_link(images(&sb).join("parent")).expect("a link"), PathBuf::from("../first"));
    let after = piped(&sb, &restore_args(&sb, &[]), Stdio::null());
    assert_eq!(line(&after).parse(), Ok(stopped_at + 1));
    sb.delete().ok();
}

fn no_pre_dump() {
    let sb = counting();
    let _out = started(&sb, Stdio::null());
    checkpoint(&sb, &["--pre-dump"]).exits(1).says("is missing features");
    assert_eq!(sb.status(), "running");
    sb.delete().ok();
}

fn hardened() {
    let sb = Sandbox::new().sh("echo up; sleep 1000");
    let running = sb.run_until(sb.run(), "up");
    // Not every file system can be mapped; without it the hardened run is a container as any other.
    let mounts = std::fs::read_to_string(format!("/proc/{}/mountinfo", sb.pid())).expect("mountinfo");
    if mounts.contains("idmapped") {
        checkpoint(&sb, &[]).exits(1).says("it has an idmapped mount");
        assert_eq!(sb.status(), "running");
    }
    sb.kill("KILL").ok();
    running.wait().exits(137);
}

fn wrong_states() {
    let sb = Sandbox::new().sh("exit 0");
    checkpoint(&sb, &[]).exits(1).says("container does not exist");
    sb.create().ok();
    checkpoint(&sb, &[]).exits(1).says("ontainer cannot be checkpointed in created state");
    sb.verb("start").ok();
    sb.wait_for_status("stopped");
    checkpoint(&sb, &[]).exits(1).says("ontainer cannot be checkpointed in stopped state");
    sb.verb("delete").ok();
}

fn bad_flags() {
    let sb = counting();
    let _out = started(&sb, Stdio::null());
    let file = sb.dir().join("file");
    std::fs::write(&file, "").expect("write");
    let table: &[(&[&str], &str)] = &[
        (&["--page-server", "nonsense"], "Use --page-server ADDRESS:PORT to specify page server"),
        (&["--page-server", "127.0.0.1:x"], "Invalid port number"),
        (&["--manage-cgroups-mode", "firm"], "Invalid manage"),
        (&["--empty-ns", "uts"], "namespace \"uts\" is not supported"),
        (&["--parent-path", "/absolute"], "--parent-path"),
        (&["--parent-path", "missing"], "--parent-path"),
        (&["--parent-path", "../file"], "--parent-path"),
    ];
    for (flags, says) in table {
        checkpoint(&sb, flags).exits(1).says(says);
    }
    assert_eq!(sb.status(), "running");
    let number = count(&sb);
    goes_on(&sb, number);
    // The id is taken.
    checkpoint(&sb, &["--leave-running"]).ok();
    call(&sb, &[])
        .args(restore_args(&sb, &[]))
        .output()
        .exits(1)
        .says("container with given ID already exists");
    sb.delete().ok();
}

fn no_images() {
    let sb = counting();
    call(&sb, &[]).args(restore_args(&sb, &[])).output().exits(1).says("no such file or directory");
    std::fs::create_dir_all(images(&sb)).expect("mkdir");
    call(&sb, &[])
        .args(restore_args(&sb, &[]))
        .output()
        .exits(1)
        .says("descriptors.json: no such file or directory");
    let missing = sb.dir().join("missing").display().to_string();
    let call = call(&sb, &["restore", "--image-path"]).arg(images(&sb)).args(["--bundle", &missing, sb.id()]);
    call.output().exits(1).says("no such file or directory");
    sb.leak_check();
}

fn broken_images() {
    let sb = counting();
    drop(started(&sb, Stdio::null()));
    poll("numbers", Duration::from_secs(10), || count(&sb) > 2);
    checkpoint(&sb, &[]).ok();
    let log = images(&sb).join("restore.log").display().to_string();
    let failed = || {
        let out = call(&sb, &[])
            .args(restore_args(&sb, &["--pid-file", &sb.dir().join("pid").display().to_string()]));
        let out = out.output().exits(1);
        gone(&sb);
        assert!(!sb.dir().join("pid").exists(), "a pid file of nothing");
        out
    };
    // At the very beginning, and with processes already there.
    for image in ["inventory.img", "core-1.img", "mountpoints-13.img"] {
        let path = images(&sb).join(image);
        let Ok(whole) = std::fs::read(&path) else { continue };
        std::fs::write(&path, &whole[..whole.len() / 2]).expect("write");
        failed().says("criu failed: type").says("Error (criu/").says(&format!("(log file: {log})"));
        std::fs::write(&path, whole).expect("write");
    }
    let _out = piped(&sb, &restore_args(&sb, &[]), Stdio::null());
    goes_on(&sb, count(&sb));
    sb.delete().ok();
    // A pid file that cannot be written: found when all is done but this.
    let bad = sb.dir().join("missing/pid").display().to_string();
    call(&sb, &[]).args(restore_args(&sb, &["--pid-file", &bad])).output().exits(1).says("missing/");
    gone(&sb);
}

/// A unix socket whose other end is outside cannot be dumped without --ext-unix-sk.
fn failed_dump() {
    let sb = Sandbox::new().sh(COUNT);
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().expect("a socket pair");
    let out = started(&sb, std::os::fd::OwnedFd::from(theirs).into());
    line(&out);
    let log = images(&sb).join("dump.log").display().to_string();
    checkpoint(&sb, &[])
        .exits(1)
        .says("criu failed: type")
        .says("Error (criu/")
        .says(&format!("(log file: {log})"));
    assert_eq!(sb.status(), "running");
    let number: u32 = line(&out).parse().expect("a number");
    assert_eq!(line(&out).parse(), Ok(number + 1));
    drop(ours);
    sb.delete().ok();
}

fn no_criu() {
    let sb = counting();
    let _out = started(&sb, Stdio::null());
    let call = sb.runtime().args(["--criu", "no-such-criu", "checkpoint", "--image-path"]).arg(images(&sb));
    call.arg(sb.id()).output().exits(1).says("exec: \"no-such-criu\": executable file not found in $PATH");
    assert!(!images(&sb).exists(), "nothing is made before criu is found");
    assert_eq!(sb.status(), "running");
    sb.delete().ok();
}

fn probes() {
    let sb = Sandbox::new();
    sb.runtime().args(["checkpoint", "--help"]).output().ok().prints("--image-path");
    sb.runtime().args(["restore", "--lsm-mount-context"]).output().exits(1).says("flag needs an argument");
}
