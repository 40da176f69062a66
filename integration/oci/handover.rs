//! Objects passed between caller and container: descriptors, a pidfd, readiness for systemd.

use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::Path;
use std::time::Duration;

use crate::harness::{Call, Need, Sandbox, case, poll};
use crate::oci::limits::file;

const OCI: &[Need] = &[Need::Root, Need::Oci];
const OWN: &[Need] = &[Need::Root];

/// The runtime with descriptors opened by a shell: `redirect` in sh syntax.
fn with_fds(sb: &Sandbox, setup: &str, redirect: &str) -> Call {
    let script = format!("{setup} exec \"$0\" \"$@\" {redirect}");
    sb.under(&["sh", "-c", &script])
}

fn run(sb: &Sandbox, call: Call, args: &[&str]) -> Call {
    let call = call.arg("run").args(args).arg("--bundle").arg(sb.bundle());
    if crate::harness::bundle::is_foreign() { call } else { call.args(["--policy", "privileged", "--quiet"]) }
        .arg(sb.id())
}

fn word(sb: &Sandbox, name: &str) -> String {
    let path = sb.dir().join(name);
    std::fs::write(&path, format!("from {name}\n")).expect("write");
    path.display().to_string()
}

#[case(OCI)]
fn preserved_descriptors_arrive() {
    let sb = Sandbox::new().sh("cat <&3; cat <&4; ls /proc/self/fd");
    let (three, four) = (word(&sb, "three"), word(&sb, "four"));
    let call = with_fds(&sb, "", &format!("3<{three} 4<{four} 5<{four}"));
    let out = run(&sb, call, &["--preserve-fds", "2"]).output().ok();
    out.prints("from three\nfrom four\n0\n1\n2\n3\n4\n5\n");
}

/// A number that the caller left closed is closed for the program too; runc passes its own files under it.
// runc 1.1 passes one of its own descriptors instead.
#[case(OWN)]
fn a_closed_number_is_closed_inside() {
    let script = "cat <&3; for n in 4 5 6; do test -e /proc/self/fd/$n || echo $n closed; done";
    let expect = "from three\n4 closed\n5 closed\n6 closed\n";
    let sb = Sandbox::new().sh(script);
    let three = word(&sb, "three");
    let fds = format!("3<{three} 4<&- 5<&- 6<&-");
    for policy in ["privileged", "restricted"] {
        let call =
            with_fds(&sb, "", &fds).args(["run", "--policy", policy, "--quiet", "--preserve-fds", "4"]);
        call.arg("--bundle").arg(sb.bundle()).arg(sb.id()).output().ok().prints(expect);
    }
    sb.leak_check();
    let sb = sb.args(["/bin/sleep", "1000"]);
    sb.create().ok();
    sb.verb("start").ok();
    let call = with_fds(&sb, "", &fds);
    let out = call.args(["exec", "--preserve-fds", "4", sb.id(), "sh", "-c", script]).output();
    out.ok().prints(expect);
    // A number above the descriptor limit.
    let call = with_fds(&sb, "ulimit -n 64;", &fds);
    let out = call.args(["exec", "--preserve-fds", "62", sb.id(), "true"]).output();
    out.exits(255).says("preserved-fd 61 (of 62)").says("please check that it is present");
    // A missing descriptor of sd_listen_fds(3) is an error.
    let call = with_fds(&sb, "export LISTEN_FDS=2 LISTEN_PID=$$;", &fds);
    let out = call.args(["run", "--bundle"]).arg(sb.bundle()).arg("never").output();
    out.exits(125).says("LISTEN_FDS=2: descriptor 4 is not open");
    sb.delete().ok();
}

#[case(OCI)]
fn socket_activation_comes_first() {
    let sb = Sandbox::new().sh("echo $LISTEN_FDS $LISTEN_PID; cat <&3; cat <&4");
    let (three, four) = (word(&sb, "three"), word(&sb, "four"));
    let call = with_fds(&sb, "export LISTEN_FDS=1 LISTEN_PID=$$;", &format!("3<{three} 4<{four}"));
    run(&sb, call, &["--preserve-fds", "1"]).output().ok().prints("1 1\nfrom three\nfrom four\n");
}

#[case(OCI)]
fn activation_of_another_process_is_not_ours() {
    let sb = Sandbox::new().sh("echo [$LISTEN_FDS]; ls /proc/self/fd");
    let three = word(&sb, "three");
    let call = with_fds(&sb, "export LISTEN_FDS=1 LISTEN_PID=1;", &format!("3<{three}"));
    // ls itself has the directory open as 3.
    run(&sb, call, &[]).output().ok().prints("[]\n0\n1\n2\n3\n");
}

/// The pid of a pidfd, from the kernel.
fn pid_of(fd: &OwnedFd) -> i32 {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd())).expect("fdinfo");
    let pid = info.lines().find_map(|l| l.strip_prefix("Pid:")?.trim().parse().ok());
    pid.unwrap_or_else(|| panic!("not a pidfd: {info}"))
}

/// Accepts one connection and receives one descriptor and a few bytes from it.
fn take(listener: &UnixListener) -> OwnedFd {
    let (mut stream, _) = listener.accept().expect("a connection");
    let fd = safebox::sys::socket::recv_fd(stream.as_raw_fd()).expect("a descriptor");
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).expect("the end of the connection");
    assert!(rest.is_empty(), "one message, then the end: {rest:?}");
    safebox::sys::fs::own(fd)
}

/// A directory for the test's sockets: in the sandbox they would count as leftovers.
fn room() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

fn listener(room: &tempfile::TempDir, name: &str) -> (UnixListener, String) {
    let path = room.path().join(name);
    (UnixListener::bind(&path).expect("bind"), path.display().to_string())
}

#[case(OWN)]
fn pidfd_of_create_run_and_exec() {
    let room = room();
    let sb = Sandbox::new().sh("exec sleep 1000");
    let (one, path) = listener(&room, "create.sock");
    sb.runtime()
        .args(["create", "--pidfd-socket", &path, "--bundle"])
        .arg(sb.bundle())
        .arg(sb.id())
        .output()
        .ok();
    let fd = take(&one);
    assert_eq!(pid_of(&fd), sb.pid());
    sb.verb("start").ok();
    let (two, path) = listener(&room, "exec.sock");
    let run = sb.runtime().args(["exec", "--pidfd-socket", &path, sb.id(), "sleep", "1000"]).spawn();
    let fd = take(&two);
    assert!(pid_of(&fd) > 0 && pid_of(&fd) != sb.pid());
    safebox::sys::process::pidfd_kill(fd.as_raw_fd(), 9).expect("kill through the pidfd");
    run.wait().exits(137);
    sb.delete().ok();
    let sb = Sandbox::new().sh("exec sleep 1000");
    let (three, path) = listener(&room, "run.sock");
    let call = sb.run().args(["--pidfd-socket", &path]);
    let running = call.spawn();
    let fd = take(&three);
    poll("running", Duration::from_secs(10), || sb.verb("state").code == 0 && sb.status() == "running");
    assert_eq!(pid_of(&fd), sb.pid());
    safebox::sys::process::pidfd_kill(fd.as_raw_fd(), 9).expect("kill through the pidfd");
    running.wait().exits(137);
    sb.runtime()
        .args(["run", "--pidfd-socket", "/nonexistent/s", "--bundle"])
        .arg(sb.bundle())
        .arg(sb.id())
        .output()
        .exits(125)
        .says("--pidfd-socket /nonexistent/s");
}

/// A container that notifies readiness as a program with sd_notify(3) does: one datagram with lines.
fn service(then: &str) -> Sandbox {
    Sandbox::new()
        .sh(&format!(
            "echo $NOTIFY_SOCKET; ln -s /run/notify/notify.sock /dev/log; \
         /bin/busybox logger \"$(printf 'x\\nREADY=1\\nSTATUS=up')\"; {then}"
        ))
        // logger's own text comes before the first line end.
        .patch("/mounts/-", serde_json::json!({ "destination": "/run", "type": "tmpfs", "source": "tmpfs" }))
}

fn host_socket(path: &Path) -> UnixDatagram {
    let socket = UnixDatagram::bind(path).expect("bind");
    socket.set_read_timeout(Some(Duration::from_secs(10))).expect("timeout");
    socket
}

/// READY, MAINPID and the barrier, in this order; the barrier's descriptor is closed because it is not
/// received.
fn assert_told(socket: &UnixDatagram, pid: i32) {
    let next = || {
        let mut buf = [0u8; 4096];
        let n = socket.recv(&mut buf).expect("a message of the container's runtime");
        String::from_utf8_lossy(&buf[..n]).into_owned()
    };
    assert_eq!(next(), "READY=1\n");
    assert_eq!(next(), format!("MAINPID={pid}\n"));
    assert_eq!(next(), "BARRIER=1");
}

// busybox can put READY=1 only in the second line of a datagram, where runc does not look.
#[case(OWN)]
fn readiness_of_run_reaches_systemd() {
    let sb = service("exec sleep 1000");
    let room = room();
    let path = room.path().join("host.sock");
    let socket = host_socket(&path);
    let running = sb.run_oci().env("NOTIFY_SOCKET", &path).spawn();
    poll("running", Duration::from_secs(10), || sb.verb("state").code == 0 && sb.status() == "running");
    assert_told(&socket, sb.pid());
    sb.kill("KILL").ok();
    running.wait().exits(137).prints("/run/notify/notify.sock");
    sb.leak_check();
}

#[case(OWN)]
fn readiness_of_a_created_container_too() {
    let sb = service("exec sleep 1000");
    let room = room();
    let path = room.path().join("host.sock");
    let socket = host_socket(&path);
    sb.create_call().env("NOTIFY_SOCKET", &path).output().ok();
    let start = sb.runtime().args(["start", sb.id()]).env("NOTIFY_SOCKET", &path).spawn();
    assert_told(&socket, sb.pid());
    drop(socket);
    start.wait().ok();
    assert_eq!(sb.status(), "running");
    sb.delete().ok();
    sb.leak_check();
}

#[case(OWN)]
fn readiness_by_an_abstract_name() {
    use std::os::linux::net::SocketAddrExt;
    let sb = service("exec sleep 1000");
    let name = format!("{}-notify", sb.id());
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).expect("a name");
    let socket = UnixDatagram::bind_addr(&address).expect("bind");
    socket.set_read_timeout(Some(Duration::from_secs(10))).expect("timeout");
    let detached =
        sb.run().arg("--detach").env("NOTIFY_SOCKET", format!("@{name}")).args(["--policy", "privileged"]);
    let running = detached.spawn();
    let mut buf = [0u8; 64];
    let n = socket.recv(&mut buf).expect("a message");
    assert_eq!(&buf[..n], b"READY=1\n");
    drop(socket);
    running.wait().ok();
    assert_eq!(sb.status(), "running");
    sb.delete().ok();
}

/// `start` waits for readiness, but at most until the container's end.
#[case(OCI)]
fn a_container_that_never_is_ready_ends() {
    let sb = Sandbox::new().sh("sleep 0.2; exit 3");
    let room = room();
    let path = room.path().join("host.sock");
    let _socket = host_socket(&path);
    sb.create_call().env("NOTIFY_SOCKET", &path).output().ok();
    sb.runtime().args(["start", sb.id()]).env("NOTIFY_SOCKET", &path).output().ok();
    sb.wait_for_status("stopped");
    sb.delete().ok();
    sb.leak_check();
}

#[case(OWN)]
fn exec_in_a_group_below() {
    let sb = Sandbox::new().sh("exec sleep 1000");
    sb.create().ok();
    sb.verb("start").ok();
    let v2 = Need::CgroupV2.missing().is_none();
    let procs = file(sb.pid(), "cgroup.procs", ("pids", "cgroup.procs")).expect("the container's group");
    std::fs::create_dir(procs.with_file_name("below")).expect("mkdir");
    let asked = if v2 { "below" } else { "pids:below" };
    let exec = |cgroup: &str, args: &[&str]| {
        sb.runtime().args(["exec", "--cgroup", cgroup, sb.id()]).args(args).output()
    };
    let out = exec(asked, &["cat", "/proc/self/cgroup"]).ok();
    let line = if v2 { "0::" } else { ":pids:" };
    let mine = out.stdout.lines().find(|l| l.contains(line)).unwrap_or_default();
    assert!(mine.ends_with("/below"), "{out}");
    exec("../other", &["true"]).exits(255).says("bad sub cgroup path");
    exec("missing", &["true"]).exits(255).says("error adding pid to ").says("no such file or directory");
    let unknown = exec("nothing:below", &["true"]).exits(255).says("--cgroup nothing:below");
    if !v2 {
        unknown.says("unknown controller nothing");
    }
    sb.delete().ok();
}

/// A v2 group that hands controllers down can have no processes; one more process goes to init's, unless asked.
#[case(Root, CgroupV2)]
fn exec_in_a_group_that_hands_down_controllers() {
    let sb = Sandbox::new().sh("exec sleep 1000");
    sb.create().ok();
    sb.verb("start").ok();
    let procs = file(sb.pid(), "cgroup.procs", ("pids", "cgroup.procs")).expect("the container's group");
    let below = procs.with_file_name("below");
    std::fs::create_dir(&below).expect("mkdir");
    std::fs::write(below.join("cgroup.procs"), sb.pid().to_string()).expect("move init");
    std::fs::write(procs.with_file_name("cgroup.subtree_control"), "+pids").expect("a controller");
    let exec = |asked: &[&str]| {
        sb.runtime().arg("exec").args(asked).args([sb.id(), "cat", "/proc/self/cgroup"]).output()
    };
    exec(&[]).ok().prints("/below\n");
    exec(&["--cgroup", "below"]).ok().prints("/below\n");
    let out = exec(&["--cgroup", "/"]);
    assert_ne!(out.code, 0, "{out}");
    // In runc's words, which its suite looks for.
    let words = out.stderr.split(" adding pid ").nth(1).unwrap_or_else(|| panic!("{out}"));
    let (pid, rest) = words.split_once(" to cgroups").unwrap_or_else(|| panic!("{out}"));
    assert!(pid.parse::<u32>().is_ok() && rest.contains("device or resource busy"), "{out}");
    sb.delete().ok();
}

/// What can be tried on v1: a group that cannot take processes is one of a cpuset without cpus.
#[case(Root, CgroupV1)]
fn exec_in_a_group_that_takes_no_process() {
    let sb = Sandbox::new().sh("exec sleep 1000");
    sb.create().ok();
    sb.verb("start").ok();
    let path = format!("/proc/{}/cgroup", sb.pid());
    let text = std::fs::read_to_string(&path).expect("groups");
    let Some(group) = text.lines().find_map(|l| l.split_once(":cpuset:")).map(|(_, path)| path) else {
        sb.delete().ok();
        return;
    };
    let below = Path::new("/sys/fs/cgroup/cpuset").join(group.trim_start_matches('/')).join("below");
    std::fs::create_dir(&below).expect("mkdir");
    let out = sb.runtime().args(["exec", "--cgroup", "cpuset:below", sb.id(), "true"]).output().exits(255);
    out.says(" adding pid ").says(" to cgroups: ").says("no space left on device");
    sb.delete().ok();
}
