//! The helper: what it has given up, how it ends, and how much it can carry.

use std::time::Duration;

use nix::sys::signal::Signal;

use super::names::sh;
use super::world::World;
use super::{USER, WORLD};
use crate::harness::{Call, Need, case, poll};
use crate::oci::rootless::one;

const ALONE: &[Need] = &[Need::Root, Need::Userns, Need::Idmap, Need::World, Need::Quick, Need::Alone];

#[case(WORLD)]
fn the_helper_has_given_everything_up() {
    given_up(&World::new(), World::run, Some(65_531))
}

#[case(USER)]
fn the_helper_of_an_ordinary_user_has_given_everything_up() {
    given_up(&World::of(one()), |world| world.run_as(one()), None);
}

fn field(pid: i32, name: &str) -> String {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("status");
    let line = status.lines().find(|l| l.starts_with(name)).unwrap_or_else(|| panic!("{name}\n{status}"));
    line.split_once(':').expect("a colon").1.trim().to_string()
}

fn given_up(world: &World, run: impl Fn(&World) -> Call, user: Option<u32>) {
    let call = run(world).env("SECRET_OF_CALLER", "hunter2").args([
        "--allow-net",
        "a.test:80",
        "--",
        "sh",
        "-c",
        "echo up; sleep 20",
    ]);
    let running = world.sb.run_until(call, "up");
    let helper = world.helper().expect("a helper");
    let uid = user.unwrap_or(one().uid);
    assert_eq!(field(helper, "Uid:").split_whitespace().collect::<Vec<_>>(), [uid.to_string().as_str(); 4]);
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
        assert_eq!(field(helper, set), "0000000000000000", "{set}");
    }
    assert_eq!(
        (field(helper, "NoNewPrivs:"), field(helper, "Seccomp:"), field(helper, "Threads:")),
        ("1".into(), "2".into(), "1".into())
    );
    let ns = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/user")).expect("a namespace");
    assert_eq!(
        ns(&helper.to_string()) == ns("self"),
        user.is_some(),
        "root has its own user, others a namespace"
    );
    let limits = std::fs::read_to_string(format!("/proc/{helper}/limits")).expect("limits");
    assert!(limits.lines().any(|l| l.starts_with("Max core file size        0 ")), "{limits}");
    // Sockets, epoll, pipes of /dev/null: no file, no directory.
    for fd in std::fs::read_dir(format!("/proc/{helper}/fd")).expect("fd").flatten() {
        let to = std::fs::read_link(fd.path()).unwrap_or_default().to_string_lossy().into_owned();
        assert!(to.starts_with("socket:") || to.starts_with("anon_inode:") || to == "/dev/null", "{to}");
    }
    // The caller's arguments and environment are not in it.
    for file in ["environ", "cmdline"] {
        let text = std::fs::read(format!("/proc/{helper}/{file}")).expect("readable by root");
        let text = String::from_utf8_lossy(&text);
        assert!(!text.contains("hunter2") && !text.contains("a.test"), "{file}: {text}");
    }
    world.sb.kill("KILL");
    running.wait();
    poll("the helper's end", Duration::from_secs(5), || world.helper().is_none());
}

/// However the launcher ends.
#[case(WORLD)]
fn the_helper_ends_with_its_launcher() {
    let world = World::new();
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        let call = world.run().args(["--allow-net", "a.test:80", "--", "sh", "-c", "echo up; sleep 20"]);
        let running = world.sb.run_until(call, "up");
        assert!(world.helper().is_some());
        running.signal(signal);
        running.wait();
        world.sb.leak_check_within(Duration::from_secs(5));
        poll("the helper's end", Duration::from_secs(5), || world.helper().is_none());
    }
}

#[case(WORLD)]
fn without_its_helper_a_program_is_refused() {
    let world = World::new();
    let script = "curl -sS -m 5 http://a.test/; echo up; while test -e /proc/self && ! test -e /tmp/go; do sleep 0.1; done; \
                  curl -sS -m 5 http://a.test/; echo $?; curl -sS -m 5 http://198.18.0.1/; echo $?";
    let call = world.run().args(["--allow-net", "a.test:80", "--", "sh", "-c", script]);
    let running = world.sb.run_until(call, "up");
    let helper = world.helper().expect("a helper");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(helper), Signal::SIGKILL).expect("kill");
    poll("its end", Duration::from_secs(5), || world.helper().is_none());
    world.sb.exec(["touch", "/tmp/go"]).ok();
    let out = running.wait().ok();
    // Its names are gone, and a connection is refused at once.
    assert!(out.stdout.ends_with("up\n6\n7\n"), "{out}");
    out.says("network: the helper ended before the program");
    world.leak_check();
}

/// As many connections as are promised, and what each takes of the helper's memory.
#[case(ALONE)]
fn two_thousand_connections_at_once() {
    let world = World::new();
    let script = r#"
import socket, sys, time, threading
a = socket.gethostbyname("a.test")
held = []
for i in range(2000):
    s = socket.create_connection((a, 7005), 60); s.settimeout(60); held.append(s)
for i, s in enumerate(held): s.send(b"%d" % i)
good = sum(s.recv(10) == b"%d" % i for i, s in enumerate(held))
print("good", good, flush=True)
time.sleep(1.5)
# Readers that do not read: 64 KiB of each are kept, and no more.
stuck = held[:200]
for s in stuck:
    s.settimeout(0.05)
    try:
        for i in range(200): s.send(b"x" * 65536)
    except (TimeoutError, socket.timeout): pass
print("stuck", flush=True); time.sleep(1.5)
"#;
    let call = world.run().args([
        "--ulimit",
        "nofile=4096",
        "-m",
        "1g",
        "--allow-net",
        "a.test:7005",
        "--",
        "python3",
        "-c",
        script,
    ]);
    let mut running = call.limit(Duration::from_secs(120)).spawn();
    poll("2000 connections", Duration::from_secs(60), || {
        assert!(!running.has_ended(), "{:?}", running.so_far());
        running.so_far().0.contains("good 2000")
    });
    let helper = world.helper().expect("a helper");
    let memory =
        || field(helper, "VmRSS:").split(' ').next().and_then(|n| n.parse::<u64>().ok()).expect("kB");
    let open = memory();
    assert!(open < 40_000, "{open} kB with 2000 connections");
    poll("200 stuck connections", Duration::from_secs(30), || running.so_far().0.contains("stuck"));
    let stuck = memory();
    assert!(stuck < open + 200 * 2 * 80, "{stuck} kB, {open} before");
    println!("helper: {open} kB with 2000 connections, {stuck} kB with 200 of them stuck");
    running.wait().ok();
    // 1 GiB through it.
    let script = "python3 -c \"import socket; s=socket.create_connection((socket.gethostbyname('a.test'),7000)); b=b'x'*(1<<20); [s.sendall(b) for i in range(1024)]; s.shutdown(1); print(s.recv(99))\"";
    let out = sh(world.run().args(["--allow-net", "a.test:7000"]), script).ok();
    assert_eq!(out.stdout, "b'1073741824'\n", "{out}");
    world.leak_check();
}
