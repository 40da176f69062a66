//! Descriptors of the host: leaked ones, and those of a process that joins a container.

use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::time::Duration;

use serde_json::json;

use super::{Sentinel, build_probe, no_secret};
use crate::harness::{Output, Sandbox, case, poll, rounds};

/// Sockets that lead to more than one peer: with such a descriptor a container is in the host's network.
fn network_sockets() -> Vec<(&'static str, OwnedFd)> {
    use nix::sys::socket::{AddressFamily as A, SockFlag, SockType as T, socket};
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let connected = TcpStream::connect(listener.local_addr().expect("an address")).expect("a connection");
    let made = |family, kind| socket(family, kind, SockFlag::empty(), None).expect("a socket");
    let mut all = vec![
        ("netlink", made(A::Netlink, T::Raw)),
        ("UDP", made(A::Inet, T::Datagram)),
        ("a Unix datagram", made(A::Unix, T::Datagram)),
        ("a Unix stream without a peer", made(A::Unix, T::Stream)),
        ("TCP that listens", listener.into()),
        ("TCP", connected.into()),
    ];
    // The machine may refuse it.
    all.extend(socket(A::Packet, T::Raw, SockFlag::empty(), None).map(|fd| ("a packet socket", fd)));
    all
}

#[case(Root)]
fn a_socket_of_the_host_s_network_does_not_go_in() {
    let sb = Sandbox::new().sh("readlink /proc/$$/fd/0");
    let running = Sandbox::new().args(["/bin/sleep", "1000"]);
    running.run().arg("--detach").output().ok();
    for (name, socket) in network_sockets() {
        let copy = || Stdio::from(socket.try_clone().expect("dup"));
        let out = sb
            .run()
            .arg("--detach")
            .with(|c| {
                c.stdin(copy());
            })
            .output();
        assert_eq!(out.code, 125, "{name}: {out}");
        out.says("stdin is a socket");
        let exec = || running.runtime().args(["exec", "--detach", running.id(), "true"]);
        exec()
            .with(|c| {
                c.stdin(copy());
            })
            .output()
            .exits(255)
            .says("stdin is a socket");
        exec()
            .with(|c| {
                c.stdout(copy());
            })
            .output()
            .exits(255)
            .says("stdout is a socket");
        // In the foreground its bytes are copied.
        if name == "TCP" {
            sb.run()
                .with(|c| {
                    c.stdin(copy());
                })
                .output()
                .ok()
                .prints("pipe:");
        }
    }
    let (one, _other) = UnixStream::pair().expect("a pair");
    sb.run()
        .arg("--detach")
        .with(|c| {
            c.stdin(Stdio::from(OwnedFd::from(one)));
        })
        .output()
        .ok();
    sb.delete().ok();
    running.delete().ok();
}

/// mq_overview(7): a regular file to fstat(2).
#[case(Root)]
fn a_message_queue_of_the_host_does_not_go_in() {
    let sb = Sandbox::new().sh("true");
    let dir = tempfile::tempdir().expect("a directory");
    let place = dir.path().display();
    let queue = format!("{place}/{}", sb.id());
    let script = format!(
        "mount -t mqueue none {place} && : >{queue} && exec 3<{queue} && rm {queue} && exec \"$0\" \"$@\" <&3 3<&-"
    );
    let call = sb.under(&["unshare", "-m", "sh", "-c", &script]).args(["run", "--detach", "--bundle"]);
    let out = call.arg(sb.bundle()).arg(sb.id()).output().exits(125);
    out.says("stdin is a device or a kernel object");
}

/// `--preserve-fds` and LISTEN_FDS hand over what the caller has open, but for these.
#[case(Root)]
fn no_terminal_or_directory_goes_in_beside_stdio() {
    let sb = Sandbox::new().sh("true");
    let running = Sandbox::new().args(["/bin/sleep", "1000"]);
    running.run().arg("--detach").output().ok();
    let pty = nix::pty::openpty(None, None).expect("openpty");
    let name = nix::unistd::ttyname(&pty.slave).expect("a name");
    for (path, word) in [(name.as_path(), "is a terminal"), ("/etc".as_ref(), "is a directory")] {
        let script = format!("exec \"$0\" \"$@\" 3<{} </dev/null", path.display());
        let script = |set: &str| format!("{set}{script}");
        let run = |set: &str, flags: &[&str]| {
            let call = sb.under(&["sh", "-c", &script(set)]).arg("run").args(flags).arg("--bundle");
            call.arg(sb.bundle()).arg(sb.id()).output()
        };
        run("", &["--preserve-fds", "1"]).exits(125).says("descriptor 3").says(word);
        run("export LISTEN_FDS=1 LISTEN_PID=$$; ", &[]).exits(125).says("descriptor 3").says(word);
        run("", &["--preserve-fds", "1", "--policy", "privileged"]).ok();
        let exec = running.under(&["sh", "-c", &script("")]).args(["exec", "--preserve-fds", "1"]);
        exec.args([running.id(), "true"]).output().exits(255).says("descriptor 3").says(word);
    }
    running.delete().ok();
}

/// A launcher that waits for poll(2) to call these writable waits for ever.
#[case(Root)]
fn an_output_that_poll_never_calls_writable_ends() {
    let sb = Sandbox::new().sh("echo '<7>safebox test'; exit 3");
    let listener = OwnedFd::from(TcpListener::bind("127.0.0.1:0").expect("a listener"));
    let mut outputs = vec![listener];
    let log = std::fs::OpenOptions::new().write(true).open("/dev/kmsg");
    outputs.extend(log.map(OwnedFd::from));
    for output in outputs {
        let call = sb
            .run()
            .with(|c| {
                c.stdout(Stdio::from(output));
            })
            .limit(Duration::from_secs(20));
        let out = call.output();
        assert!(!out.timed_out && out.code != 0, "{out}");
    }
}

/// The runtime with the host's root directory open as descriptor 7.
const WITH_ROOT: [&str; 3] = ["sh", "-c", "exec \"$0\" \"$@\" 7</"];

/// Runs in both ways with descriptor 7 open on `/`.
fn leaky(sb: &Sandbox) -> [Output; 2] {
    ["restricted", "privileged"].map(|policy| {
        sb.under(&WITH_ROOT)
            .args(["run", "--quiet", "--policy", policy, "--bundle"])
            .arg(sb.bundle())
            .arg(sb.id())
            .output()
    })
}

/// CVE-2024-21626: the descriptor as working directory, from the config and through a symlink of the rootfs.
#[case(Root)]
fn a_working_directory_of_the_host_is_refused() {
    for n in 3..=20 {
        let sb = Sandbox::new().sh("pwd; cat etc/hostname ../../../../etc/hostname; ls -d sentinel");
        let host = Sentinel::new();
        let mut sb = sb.patch("/process/cwd", json!(format!("/proc/self/fd/{n}")));
        for out in leaky(&sb) {
            no_secret(&out);
            assert!(out.code >= 125 && out.stdout.is_empty(), "fd {n} must be refused\n{out}");
        }
        sb.set("/process/cwd", json!("/cwd"));
        symlink(format!("/proc/self/fd/{n}"), sb.rootfs().join("cwd")).expect("a link");
        for out in leaky(&sb) {
            no_secret(&out);
            assert!(out.code >= 125 && out.stdout.is_empty(), "fd {n} through a link must be refused\n{out}");
        }
        host.unchanged();
    }
}

/// With the host's pid namespace, procfs inside leads to the host's root. The working directory is entered
/// before the privileges that this needs are dropped.
#[case(Root)]
fn a_working_directory_of_another_root_is_refused() {
    let sb = Sandbox::new().sh("ls; cat etc/hostname");
    // A process of the host without more capabilities than the test: ptrace access to any other is denied.
    let none = std::process::Stdio::null;
    let mut host =
        std::process::Command::new("sleep").arg("100").stdout(none()).stderr(none()).spawn().expect("sleep");
    symlink(format!("/proc/{}/root", host.id()), sb.rootfs().join("cwd")).expect("a link");
    let namespaces: Vec<_> =
        ["mount", "ipc", "uts", "network"].iter().map(|k| json!({ "type": k })).collect();
    let mut sb = sb.patch("/linux/namespaces", json!(namespaces)).patch("/process/cwd", json!("/cwd"));
    let out = sb.run_oci().output();
    assert!(out.code >= 125 && out.stdout.is_empty(), "must be refused\n{out}");
    sb.set("/process/cwd", json!("/"));
    sb.set("/process/args", json!(["/bin/sleep", "1000"]));
    sb.create().ok();
    sb.verb("start").ok();
    let exec = sb.runtime().args(["exec", "--cwd", "/cwd", sb.id(), "ls"]).output();
    assert!(exec.code == 255 && exec.stdout.is_empty(), "must be refused\n{exec}");
    assert!(
        exec.stderr.contains("too many levels of symbolic links"),
        "a magic link is not followed\n{exec}"
    );
    host.kill().and_then(|()| host.wait()).expect("kill");
    sb.delete().ok();
}

/// The path from a descriptor up to a static program of the host.
fn way_up(n: i32, program: &str) -> String {
    format!("/proc/self/fd/{n}{}{program}", "/..".repeat(12))
}

/// execve(2) closes descriptors only after it has resolved the path.
#[case(Root)]
fn a_program_of_the_host_is_not_executed() {
    let sb = Sandbox::new().args(["/opt/busybox", "sh", "-c", "echo ran"]);
    // A static program that exists only outside, in a directory that every user may enter.
    let program = host_program();
    for n in 3..=20 {
        // busybox dispatches on the name by which it was called.
        let app = sb.rootfs().join("opt/busybox");
        std::fs::create_dir_all(sb.rootfs().join("opt")).expect("a directory");
        symlink(way_up(n, program.1.to_str().expect("UTF-8")), &app).expect("a link");
        for out in leaky(&sb) {
            assert!(out.code >= 125 && !out.stdout.contains("ran"), "fd {n}: the host's program ran\n{out}");
        }
        std::fs::remove_file(&app).expect("remove");
        // As the interpreter of a script.
        std::fs::write(&app, format!("#!{}\n", way_up(n, program.1.to_str().expect("UTF-8"))))
            .expect("a file");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&app, mode).expect("chmod");
        for out in leaky(&sb) {
            assert!(
                out.code != 0 && !out.stdout.contains("ran"),
                "fd {n}: the host's interpreter ran\n{out}"
            );
        }
        std::fs::remove_file(&app).expect("remove");
    }
}

/// busybox as `sh`, in a directory of the host that is not mounted in the container.
fn host_program() -> (tempfile::TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().expect("a directory");
    let mode = || std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(dir.path(), mode()).expect("chmod");
    let program = dir.path().join("busybox");
    let busybox = crate::harness::needs::find("busybox").expect("busybox");
    std::fs::copy(busybox, &program).expect("copy");
    std::fs::set_permissions(&program, mode()).expect("chmod");
    (dir, program)
}

#[case(Root)]
fn exec_takes_no_directory_or_program_of_the_host() {
    let sb = Sandbox::new().args(["/bin/sleep", "1000"]);
    let host = Sentinel::new();
    let program = host_program();
    sb.create().ok();
    sb.verb("start").ok();
    for n in 3..=20 {
        let cwd = sb.rootfs().join(format!("cwd{n}"));
        symlink(format!("/proc/self/fd/{n}"), cwd).expect("a link");
        let opt = sb.rootfs().join(format!("opt{n}"));
        std::fs::create_dir(&opt).expect("a directory");
        let app = opt.join("busybox");
        symlink(way_up(n, program.1.to_str().expect("UTF-8")), app).expect("a link");
        let exec = |args: &[&str]| sb.under(&WITH_ROOT).arg("exec").args(args.iter().copied()).output();
        for dir in [format!("/cwd{n}"), format!("/proc/self/fd/{n}")] {
            let out = exec(&["--cwd", &dir, sb.id(), "/bin/sh", "-c", "pwd; ls"]);
            no_secret(&out);
            assert!(out.code == 255 && out.stdout.is_empty(), "{dir} must be refused\n{out}");
        }
        let out = exec(&[sb.id(), &format!("/opt{n}/busybox"), "sh", "-c", "echo ran"]);
        assert!(out.code == 255 && !out.stdout.contains("ran"), "fd {n}: the host's program ran\n{out}");
    }
    host.unchanged();
    sb.delete().ok();
}

#[case(Root)]
fn only_stdio_is_open_inside() {
    // The shell's own: the directory that it lists is 3.
    let script = "cd /proc/self/fd; for f in *; do [ $f -le 2 ] || readlink $f; done; true";
    let sb = Sandbox::new().sh(script);
    for out in leaky(&sb) {
        let out = out.ok();
        assert_eq!(out.stdout, "", "descriptors beyond stdio\n{out}");
    }
    let sb = Sandbox::new().args(["/bin/sleep", "1000"]);
    sb.create().ok();
    sb.verb("start").ok();
    let out = sb.under(&WITH_ROOT).args(["exec", sb.id(), "/bin/sh", "-c", script]).output().ok();
    assert_eq!(out.stdout, "", "descriptors beyond stdio\n{out}");
    sb.delete().ok();
    // With a larger count than the caller's descriptors: the numbers in between must not be the runtime's own
    // files.
    let sb = Sandbox::new()
        .sh("ls -l /proc/self/fd; ls -d /proc/self/fd/*/rootfs /proc/self/fd/*/../rootfs; true");
    let out = sb.run_oci().args(["--preserve-fds", "12"]).output();
    no_secret(&out);
    assert!(!out.stdout.contains("rootfs"), "{out}");
}

/// `exec` may enter a container that waits for `start`, while Init is still an image of the runtime.
#[case(Root)]
fn a_created_container_shows_nothing_of_the_host() {
    let sb = Sandbox::new().args(["/bin/sleep", "1000"]);
    let host = Sentinel::new();
    sb.create().ok();
    let here = sb.dir().display().to_string();
    let up = "/..".repeat(16);
    let script = format!(
        "cat /proc/1/environ; for f in /proc/1/fd/* /proc/1/cwd /proc/1/root; do \
         readlink $f; ls $f{up}/tmp; cat $f{up}{}/secret; done; true",
        host.dir.display()
    );
    let out = sb.exec(["/bin/sh", "-c", &script]);
    no_secret(&out);
    assert!(!out.stdout.contains(&here), "names a place of the host\n{out}");
    assert!(!out.stdout.contains("SAFEBOX_TEST"), "shows the runtime's environment\n{out}");
    assert!(!out.stdout.contains(&host.name()), "leads to the host's tree\n{out}");
    host.unchanged();
    // Not only by mode: Init's remaining descriptors give no access, and it does not contain the runtime's
    // arguments.
    let (said, knew) = ["cmdline", "environ"].map(|file| proc_text(sb.pid(), file)).into();
    assert_eq!((said.trim_end_matches('\0'), knew.trim_end_matches('\0')), ("safebox init", ""));
    let fds = std::path::PathBuf::from(format!("/proc/{}/fd", sb.pid()));
    for fd in std::fs::read_dir(fds).expect("its descriptors").flatten() {
        let kind = std::fs::metadata(fd.path()).map(|m| m.is_dir()).unwrap_or(false);
        assert!(!kind, "{:?} is a directory of the host", std::fs::read_link(fd.path()));
    }
    sb.delete().ok();
}

fn proc_text(pid: i32, file: &str) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/{file}")).expect("a file of /proc")
}

/// Two containers of a pod share a pid namespace: the first can see the second's Init from its creation.
#[case(Root, Probe)]
fn a_pod_s_other_container_cannot_look_into_init() {
    let sb = Sandbox::new().args(["/bin/probe", "spy", "300"]).patch("/root/readonly", json!(false));
    build_probe(&sb);
    sb.create().ok();
    sb.verb("start").ok();
    let second = Sandbox::new().args(["/bin/true"]);
    let path = format!("/proc/{}/ns/pid", sb.pid());
    let namespaces = json!([
        {"type": "pid", "path": path}, {"type": "mount"}, {"type": "ipc"}, {"type": "uts"}, {"type": "cgroup"},
        {"type": "network"},
    ]);
    let second = second.patch("/linux/namespaces", namespaces);
    let (_, words) = super::runtime::copy(&second);
    for _ in 0..rounds(15) {
        second.under(&words).args(["create", "--bundle"]).arg(second.bundle()).arg(second.id()).output().ok();
        std::thread::sleep(Duration::from_millis(20));
        second.verb("start").ok();
        second.wait_for_status("stopped");
        second.delete().ok();
    }
    judge(&sb);
}

/// The first sees processes of the host and has CAP_SYS_PTRACE in its user namespace; the second joins that
/// user namespace, with its own pid namespace. While it joins, it is root with the host's root file system.
#[case(Root, Userns, Probe)]
fn who_shares_a_user_namespace_cannot_attach_to_who_joins_it() {
    let sb = Sandbox::new().args(["/bin/probe", "seize", "300"]).patch("/root/readonly", json!(false));
    build_probe(&sb);
    let others = ["mount", "ipc", "uts", "network", "user"].map(|kind| json!({ "type": kind }));
    let map = json!([{ "containerID": 0, "hostID": 100_000, "size": 65536 }]);
    let mut sb = sb
        .patch("/linux/namespaces", json!(others))
        .patch("/linux/uidMappings", map.clone())
        .patch("/linux/gidMappings", map);
    for set in ["bounding", "effective", "permitted"] {
        sb.set(&format!("/process/capabilities/{set}"), json!(["CAP_SYS_PTRACE"]));
    }
    // A new procfs would show the host's pid namespace, over which the container has no privileges.
    let proc = json!({ "destination": "/proc", "type": "bind", "source": "/proc", "options": ["rbind"] });
    let kept = sb.config()["mounts"].as_array().expect("mounts").clone();
    let kept = kept.into_iter().filter(|m| m["destination"] != "/proc" && m["type"] != "cgroup");
    sb.set("/mounts", std::iter::once(proc).chain(kept).collect());
    sb.create().ok();
    sb.verb("start").ok();
    let path = format!("/proc/{}/ns/user", sb.pid());
    let joins = ["pid", "mount", "ipc", "uts", "network"].map(|kind| json!({ "type": kind }));
    let joins = joins.into_iter().chain([json!({ "type": "user", "path": path })]);
    let second = Sandbox::new().args(["/bin/true"]).patch("/linux/namespaces", joins.collect());
    for _ in 0..rounds(40) {
        second.run_oci().output().ok();
    }
    judge(&sb);
}

/// CVE-2016-9962.
#[case(Root, Probe)]
fn a_joining_process_shows_no_descriptor() {
    let sb = Sandbox::new().args(["/bin/probe", "spy", "300"]).patch("/root/readonly", json!(false));
    build_probe(&sb);
    sb.create().ok();
    sb.verb("start").ok();
    // A copy of the runtime: when this test fails, the copy is overwritten.
    let (_, words) = super::runtime::copy(&sb);
    for _ in 0..rounds(40) {
        sb.under(&words).args(["exec", sb.id(), "/bin/true"]).output().ok();
    }
    judge(&sb);
}

/// Ends the spy and checks its output, in the stdout of `create`, the first file of the sandbox.
fn judge(sb: &Sandbox) {
    std::fs::create_dir_all(sb.rootfs().join("tmp")).expect("a directory");
    std::fs::write(sb.rootfs().join("tmp/stop"), "").expect("a file");
    let seen = || std::fs::read_to_string(sb.dir().join("stdout.0")).unwrap_or_default();
    poll("the spy to end", Duration::from_secs(20), || seen().contains("done"));
    let seen = seen();
    assert!(!seen.contains("saw 0\n"), "the spy saw no process at all:\n{seen}");
    let caught: Vec<_> =
        seen.lines().filter(|l| l.starts_with("fd ") || *l == "wrote" || *l == "again 0").collect();
    assert!(caught.is_empty(), "seen from inside: {caught:?}");
    sb.delete().ok();
}
