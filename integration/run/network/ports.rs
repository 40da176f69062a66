//! Published ports, networks that were made before, hosts and servers of the caller's choice.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use libtest_mimic::Completion;

use super::names::{curl, sh};
use super::world::World;
use super::{USER, WORLD};
use crate::harness::{Call, Need, Output, Sandbox, case};
use crate::oci::rootless::one;

const ROOT: &[Need] = &[Need::Root, Need::Userns, Need::Idmap];

#[case(ROOT)]
fn a_published_port_is_reached() {
    published(&Sandbox::new(), |sb| sb.runtime());
}

#[case(USER)]
fn an_ordinary_user_publishes_a_port() {
    published(&one().sandbox(), |sb| one().under(sb, &[]));
}

#[case(PASTA)]
fn pasta_connects_with_the_host_s_network() {
    pasta(&World::new(), World::run);
}

#[case(USER_PASTA)]
fn pasta_connects_an_ordinary_user() {
    pasta(&World::of(one()), |world| world.run_as(one()));
}

pub const PASTA: &[Need] = &[Need::Root, Need::Userns, Need::Idmap, Need::World, Need::Pasta];
const USER_PASTA: &[Need] =
    &[Need::Root, Need::OrdinaryUserns, Need::World, Need::Pasta, Need::File("/dev/net/tun")];

const SERVER: &str = r#"
import socket, threading
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind(("127.0.0.1", 80)); s.listen(512)
def serve(c):
    while True:
        d = c.recv(65536)
        if not d: break
        c.sendall(d)
    c.sendall(b" end"); c.close()
print("up", flush=True)
while True:
    c, a = s.accept()
    threading.Thread(target=serve, args=(c,), daemon=True).start()
"#;

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    listener.local_addr().expect("an address").port()
}

fn published(sb: &Sandbox, runtime: impl Fn(&Sandbox) -> Call) {
    let (port, shut) = (free_port(), free_port());
    let run = |more: &[&str]| {
        let call = runtime(sb).args(["run", "-q", "--name", sb.id(), "-w", "/tmp"]).args(more);
        call.args([
            "-p",
            &format!("{port}:80"),
            "-p",
            &format!("127.0.0.1:{shut}:81"),
            "--",
            "python3",
            "-c",
            SERVER,
        ])
    };
    let running = sb.run_until(run(&[]), "up");
    let connect = |port: u16| {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("connect");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("timeout");
        stream
    };
    // More at once than there are sockets inside, and more than that one after the other.
    for round in 0..3 {
        let mut streams: Vec<_> = (0..200).map(|_| connect(port)).collect();
        for (i, stream) in streams.iter_mut().enumerate() {
            stream.write_all(format!("{round} {i}").as_bytes()).expect("write");
            stream.shutdown(std::net::Shutdown::Write).expect("shutdown");
        }
        for (i, stream) in streams.iter_mut().enumerate() {
            let mut text = String::new();
            stream.read_to_string(&mut text).expect("read");
            assert_eq!(text, format!("{round} {i} end"));
        }
    }
    // 8 MiB there and back, and a reset in between.
    let mut stream = connect(port);
    drop(connect(port));
    let mut back = stream.try_clone().expect("clone");
    let reader = std::thread::spawn(move || {
        let mut all = Vec::new();
        back.read_to_end(&mut all).expect("read");
        all.len()
    });
    stream.write_all(&vec![7; 8 << 20]).expect("write");
    stream.shutdown(std::net::Shutdown::Write).expect("shutdown");
    assert_eq!(reader.join().expect("join"), (8 << 20) + 4);
    // Nothing listens inside: a reset, at once.
    let mut text = [0; 1];
    let read = connect(shut).read(&mut text);
    assert!(read.is_err() || matches!(read, Ok(0)), "{read:?}");
    running.signal(nix::sys::signal::Signal::SIGTERM);
    let out = running.wait();
    out.says("the program's ports are reached from outside: 127.0.0.1:");
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "the port is free again");
    sb.leak_check();
}

#[case(ROOT)]
fn a_port_that_cannot_be_published_stops_the_launch() {
    let sb = Sandbox::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    let port = taken.local_addr().expect("an address").port();
    let run = |port: &str| sb.run().args(["-p", port]).output();
    run(&format!("{port}:80")).exits(125).says("publish another");
    run(&format!("203.0.113.99:{port}:80")).exits(125).says("no such address");
    sb.run()
        .args(["-p", "8080:80", "--network", "host"])
        .output()
        .exits(125)
        .says("--publish with --network host");
    for row in ["publish:127.0.0.1:18080", "network-helper", "diallers", "hand-over"] {
        sb.run().args(["-p", "18080:80", "--fail", &format!("{row}:EIO")]).output().exits(125).says("(EIO)");
        sb.leak_check();
    }
}

#[case(WORLD)]
fn a_network_that_was_made_before_is_joined() {
    let world = World::new();
    let net = format!("netns:/run/netns/{}", world.beyond());
    let out =
        sh(world.run().args(["--network", &net]), &curl(&["http://203.0.113.2/", "http://10.9.9.9/"])).ok();
    assert_eq!(out.stdout, "203.0.113.2:80 203.0.113.2 /\n= 0\n10.9.9.9:80 10.9.9.9 /\n= 0\n", "{out}");
    out.says("joins the network namespace /run/netns/");
    for (value, says) in
        [("netns:/run/netns/nowhere", "ip netns add"), ("netns:/etc/hostname", "no namespace is there")]
    {
        sh(world.run().args(["--network", value]), "true").exits(125).says(says);
    }
    sh(world.run().args(["--network", &net, "--allow-net", "a.test"]), "true").exits(125).says("--allow-net");
    world.leak_check();
}

/// `--network none` and `--network host`, whatever the config has and whatever the policy.
#[case(ROOT)]
fn none_and_host_hold_on_every_config() -> Completion {
    let namespace = "netns:/proc/self/ns/net";
    for own in [true, false] {
        let mut sb = Sandbox::new().args(["/bin/sh", "-c", "grep -c : /proc/net/dev"]);
        if !own {
            let kept = sb.config()["linux"]["namespaces"].as_array().expect("namespaces").clone();
            let kept: Vec<_> = kept.into_iter().filter(|n| n["type"] != "network").collect();
            sb.set("/linux/namespaces", kept.into());
        }
        let devices = std::fs::read_to_string("/proc/net/dev").expect("devices").matches(':').count();
        if devices < 2 {
            return Completion::ignored_with("this machine has no network device but lo");
        }
        let run = |options: &[&str]| sb.run().args(options).output().ok();
        // Other tests add devices and remove them.
        let many = |out: &Output| out.stdout.trim().parse::<usize>().is_ok_and(|devices| devices > 1);
        for policy in ["restricted", "baseline", "privileged"] {
            let with = |network: &str| run(&["--policy", policy, "--network", network]);
            assert_eq!(with("none").stdout.trim(), "1", "{policy} {own}");
            let host = with("host");
            assert!(many(&host), "{policy} {own}: {host}");
            assert!(!host.stderr.contains("has no effect"), "{host}");
            let joined = with(namespace);
            assert!(many(&joined), "{policy} {own}: {joined}");
        }
        // Of the config's own word a policy that hardens nothing says that it stands.
        let out = run(&["--policy", "privileged", "--allow", "host-net"]);
        out.says("--allow host-net has no effect").says("--network host");
        sb.run().args(["--network", "none", "--allow", "host-net"]).output().exits(125).says("leave one out");
        sb.leak_check();
    }
    Completion::Completed
}

#[case(WORLD)]
fn hosts_and_servers_of_the_caller_s_choice() {
    let world = World::new();
    let allow =
        ["--allow-net", "a.test:80", "--allow-net", "mine.test:80", "--add-host", "mine.test:203.0.113.3"];
    let out = sh(world.run().args(allow), &curl(&["http://mine.test/", "http://a.test/"])).ok();
    assert_eq!(out.stdout.matches("= 0").count(), 2, "{out}");
    assert!(out.stdout.contains("203.0.113.3:80 mine.test"), "{out}");
    assert!(!world.questions().iter().any(|q| q.contains("mine")), "{:?}", world.questions());
    // Another server, which fails for every name.
    let out = sh(
        world.run().args(["--allow-net", "b.test:80", "--dns", "203.0.113.3"]),
        &curl(&["http://b.test/"]),
    )
    .ok();
    assert_eq!(out.stdout, "= 6\n", "{out}");
    // Without names: lines of files.
    let net = format!("netns:/run/netns/{}", world.beyond());
    let call = world.run().args(["--network", &net, "--dns", "203.0.113.2", "--add-host", "db:203.0.113.3"]);
    let out = sh(call, &format!("cat /etc/resolv.conf; {}", curl(&["http://db/", "http://a.test/"]))).ok();
    assert!(out.stdout.starts_with("nameserver 203.0.113.2\n203.0.113.3:80 db /\n= 0\n"), "{out}");
    assert!(out.stdout.ends_with("a.test /\n= 0\n"), "{out}");
    sh(world.run().args(["--dns", "9.9.9.9"]), "true").exits(125).says("without a network");
    world.leak_check();
}

fn pasta(world: &World, run: impl Fn(&World) -> Call) {
    let call = || run(world).args(["--network", "pasta", "--dns", "203.0.113.2"]);
    let out = sh(call(), &curl(&["http://a.test/", "http://203.0.113.1:1/"])).ok();
    assert_eq!(out.stdout, "203.0.113.2:80 a.test /\n= 0\n= 7\n", "{out}");
    out.says("by way of pasta(1), but its loopback and metadata addresses");
    world.leak_check();
    // The host has a route to it.
    let metadata = curl(&["http://169.254.169.254/"]);
    let on_host = world.on_host(&metadata.replace("--cacert authority.pem", ""));
    assert!(on_host.contains("= 0"), "the host reaches the metadata server: {on_host}");
    let out = sh(call(), &metadata).ok();
    assert_eq!(out.stdout, "= 7\n", "{out}");
    sh(call().args(["--cap-add", "NET_RAW"]), "true")
        .ok()
        .says("with CAP_NET_RAW the program reaches metadata");
    sh(call().args(["--fail", "pivot:EIO"]), "true").exits(125).says("(EIO)");
    world.leak_check();
    let running = world.sb.run_until(call().args(["--", "sh", "-c", "echo up; sleep 20"]), "up");
    running.signal(nix::sys::signal::Signal::SIGKILL);
    running.wait();
    world.sb.leak_check_within(Duration::from_secs(5));
    sh(call().args(["--allow-net", "a.test"]), "true").exits(125).says("--network pasta");
}
