//! Inputs that are rare and legal, or that cannot work and are refused: names, answers, options, peers.

use std::time::Duration;

use super::WORLD;
use super::names::{curl, sh};
use super::world::World;
use crate::harness::{case, poll, slowed};

/// A program that uses sockets.
fn python(world: &World, allow: &[&str], script: &str) -> crate::harness::Output {
    let call = allow.iter().fold(world.run(), |call, rule| call.args(["--allow-net", rule]));
    call.args(["--", "python3", "-c", script]).output()
}

#[case(WORLD)]
fn long_chains_of_aliases_and_large_answers_are_followed() {
    let world = World::new();
    let names = ["chain3", "chain12", "chain16", "huge", "chain17", "circle"];
    let call =
        names.iter().fold(world.run(), |call, name| call.args(["--allow-net", &format!("{name}.test:80")]));
    let urls: Vec<_> = names.iter().map(|name| format!("http://{name}.test/")).collect();
    let out = sh(call, &curl(&urls.iter().map(String::as_str).collect::<Vec<_>>())).ok();
    let good: String = names[..4].iter().map(|name| format!("203.0.113.2:80 {name}.test /\n= 0\n")).collect();
    assert_eq!(out.stdout, format!("{good}= 6\n= 6\n"), "a longer chain and a circle are errors\n{out}");
    world.leak_check();
}

#[case(WORLD)]
fn names_may_be_written_in_every_way() {
    let world = World::new();
    let allow = ["A.TEST.:80", "xn--bcher-kva.test", "*.Wild.Test:8443", "*.wild.test:80", "shop:80"];
    let call = allow.iter().fold(world.run(), |call, rule| call.args(["--allow-net", rule]));
    let urls = [
        "http://a.test./",
        "http://A.tEsT/",
        "https://xn--bcher-kva.test/",
        "http://shop/",
        "https://deep.a.b.wild.test:8443/",
        "http://six.wild.test/",
        "http://wild.test/",
        "https://sub.wild.test/",
    ];
    let out = sh(call, &curl(&urls)).ok();
    let expect = "203.0.113.2:80 a.test. /\n= 0\n203.0.113.2:80 A.tEsT /\n= 0\n203.0.113.2:443 xn--bcher-kva.test /\n= 0\n\
                  203.0.113.2:80 shop /\n= 0\n203.0.113.2:8443 deep.a.b.wild.test:8443 /\n= 0\n\
                  2001:db8:113::2:80 six.wild.test /\n= 0\n= 6\n= 56\n";
    // The reset may come before the connect has returned, or after it; of TLS it is an error of the connection, too.
    let plain = out.stdout.replace("= 35\n", "= 56\n").replace("= 7\n", "= 56\n");
    assert_eq!(plain, expect, "{out}");
    world.leak_check();
}

#[case(WORLD)]
fn what_can_never_work_is_refused_with_the_remedy() {
    let world = World::new();
    for (options, says) in [
        (&["--allow-net", "b\u{fc}cher.test"] as &[&str], "begin with xn--"),
        (&["--allow-net", "localhost:8080"], "127.0.0.1:8080 is the loopback address of this host"),
        (&["--allow-net", "255.255.255.255:80"], "the address of one host is needed"),
        (&["--add-host", "localhost:203.0.113.2"], "is the container itself"),
        (&["--allow-net", "a.test", "--dns", "0.0.0.0"], "the address of one host is needed"),
        (&["--allow-net", "a.test", "--dns", "224.0.0.251"], "the address of one host is needed"),
        (&["--allow-net", "a.test", "--dns", "fe80::1"], "a link-local address"),
        (
            &["--allow-net", "a.test:80", "-p", "18080:80"],
            "--publish 127.0.0.1:18080:80 with --allow-net a.test:80: port 80 inside is the helper's",
        ),
    ] {
        sh(world.run().args(options), "true").exits(125).says(says);
        world.leak_check();
    }
    // Another port inside is the program's.
    sh(world.run().args(["--allow-net", "a.test:80", "-p", "18080:8000"]), "true").ok();
    // No rule is proposed that would be refused.
    let allow =
        ["--allow-net", "nought.test:80", "--allow-net", "a.test", "--add-host", "nought.test:0.0.0.0"];
    let out = sh(world.run().args(allow), &curl(&["http://nought.test/", "http://a.test:853/"])).ok();
    out.says("nought.test:80 leads to 0.0.0.0, an address of this network\n")
        .says("(--allow-net a.test:853)");
    world.leak_check();
}

#[case(WORLD)]
fn several_servers_are_asked_in_turn_and_a_name_may_have_several_addresses() {
    let world = World::new();
    let servers = ["203.0.113.3", "203.0.113.77", "203.0.113.78", "::ffff:203.0.113.2"];
    let call = servers.iter().fold(world.run(), |call, server| call.args(["--dns", server]));
    let call = call.args(["--allow-net", "a.test:80", "--allow-net", "mine.test:80"]);
    let hosts = ["mine.test:203.0.113.77", "Mine.Test.=203.0.113.3", "mine.test:10.9.9.9"];
    let call = hosts.iter().fold(call, |call, host| call.args(["--add-host", host]));
    let out = sh(call, &curl(&["http://a.test/", "http://mine.test/"])).ok();
    assert_eq!(out.stdout, "203.0.113.2:80 a.test /\n= 0\n203.0.113.3:80 mine.test /\n= 0\n", "{out}");
    // The same of the policy file: an address that leads nowhere, then one that does.
    let file = world.dir().join("policy.toml");
    let text = "mode = \"off\"\n[network]\nallow-net = [\"mine.test:80\"]\nadd-host = [\"mine.test:203.0.113.77\", \"mine.test:203.0.113.3\"]\n";
    std::fs::write(&file, text).expect("write");
    let call = world.runtime().arg("--policy-file").arg(&file).args(["run", "-q", "--name", world.sb.id()]);
    let out = sh(call, &curl(&["http://mine.test/"])).ok();
    assert_eq!(out.stdout, "203.0.113.3:80 mine.test /\n= 0\n", "{out}");
    for (old, new, says) in [
        ("mine.test:80", "localhost", "policy.toml:3: allow-net \"localhost\""),
        ("mine.test:203.0.113.3", "localhost:10.0.0.1", "policy.toml:4: add-host \"localhost:10.0.0.1\""),
    ] {
        std::fs::write(&file, text.replace(old, new)).expect("write");
        let call =
            world.runtime().arg("--policy-file").arg(&file).args(["run", "-q", "--name", world.sb.id()]);
        sh(call, "true").exits(125).says(says);
    }
    world.leak_check();
}

/// A peer that is gone without a word, or one that keeps its half open for ever, is noticed: each of the helper's sockets
/// has a keepalive timer (proc_net_tcp: 02), inside and outside, and of published ports.
#[case(WORLD)]
fn dead_peers_are_looked_for_on_every_side() {
    let world = World::new();
    let script = r#"
import socket, time
served = socket.create_server(("127.0.0.1", 8000))
print("up", flush=True)
s = socket.create_connection((socket.gethostbyname("a.test"), 7006), 20); s.send(b"x")
c, _ = served.accept(); c.recv(1)
def timers():
    # (local port, remote port) -> timer, of established connections
    lines = [l.split() for f in ("tcp", "tcp6") for l in open("/proc/net/" + f).read().splitlines()[1:]]
    return {(int(l[1][-4:], 16), int(l[2][-4:], 16)): l[5][:2] for l in lines if l[3] == "01"}
for _ in range(100):
    found = timers(); mine = found.get((7006, s.getsockname()[1]))
    if mine == "02": break
    time.sleep(0.1)
print("inside", mine, "own", found.get((s.getsockname()[1], 7006)), flush=True)
time.sleep(60)
"#;
    let call =
        world.run().args(["--allow-net", "a.test:7006", "-p", "18095:8000", "--", "python3", "-c", script]);
    let running = world.sb.run_until(call, "up");
    let client = "exec 3<>/dev/tcp/127.0.0.1/18095; echo x >&3; sleep 60";
    let netns = format!("--net=/run/netns/{}", world.host());
    let mut client =
        std::process::Command::new("nsenter").args([&netns, "bash", "-c", client]).spawn().expect("nsenter");
    poll("the program's side", slowed(Duration::from_secs(60)), || running.so_far().0.contains("inside"));
    let text = running.so_far().0;
    assert!(text.ends_with("inside 02 own 00\n"), "{text}");
    // The helper's side of the published port, and that of the server beyond (7006 is 1B5E, 18095 is 46AF).
    poll("keepalive timers", slowed(Duration::from_secs(60)), || {
        let table = world.on_host("cat /proc/net/tcp");
        let timer = |address: usize, port: &str| {
            let columns = |line: &str| line.split_whitespace().map(str::to_string).collect::<Vec<_>>();
            let found = table
                .lines()
                .map(columns)
                .find(|c| c.get(address).is_some_and(|a| a.ends_with(port)) && c[3] == "01");
            found.is_some_and(|c| c[5].starts_with("02"))
        };
        timer(1, ":46AF") && timer(2, ":1B5E")
    });
    client.kill().and_then(|()| client.wait()).expect("the client's end");
    world.sb.kill("KILL");
    running.wait();
    world.leak_check();
}

/// What goes through pipes, in bursts and pauses, with readers that lag: every byte in its place, and as many in the audit.
#[case(WORLD)]
fn streams_in_bursts_arrive_whole_both_ways() {
    let world = World::new();
    let audit = world.dir().join("audit.jsonl");
    let script = r#"
import hashlib, os, socket, threading, time
s = socket.create_connection((socket.gethostbyname("a.test"), 7005), 60); s.settimeout(60)
MIB = 1 << 20
blocks = [os.urandom(MIB) for _ in range(4)]
there, back, total = hashlib.sha256(), hashlib.sha256(), 96 * MIB
def send():
    for i in range(96):
        there.update(blocks[i % 4]); s.sendall(blocks[i % 4])
        if i % 32 == 31: time.sleep(0.4)
    s.shutdown(socket.SHUT_WR)
sender = threading.Thread(target=send); sender.start()
n = 0; buffer = bytearray(MIB)
while True:
    got = s.recv_into(buffer)
    if not got: break
    back.update(memoryview(buffer)[:got]); n += got
    if n % (7 * MIB) < 3000: time.sleep(0.2)
sender.join(); print(n == total, there.digest() == back.digest())
"#;
    let call = world.run().args(["--audit-log", &audit.display().to_string(), "--allow-net", "a.test:7005"]);
    let out =
        call.args(["--", "python3", "-c", script]).limit(slowed(Duration::from_secs(180))).output().ok();
    assert_eq!(out.stdout, "True True\n", "{out}");
    let audit = std::fs::read_to_string(audit).expect("the audit file");
    let line: serde_json::Value =
        serde_json::from_str(audit.lines().last().unwrap_or_default()).expect("JSON");
    assert_eq!(
        (line["sent"].as_u64(), line["received"].as_u64()),
        (Some(96 << 20), Some(96 << 20)),
        "{audit}"
    );
    world.leak_check();
}

/// The helper holds 2,048 connections, and servers that never end keep theirs. A reset by the program ends them.
#[case(WORLD)]
fn a_reset_by_the_program_frees_its_place() {
    let world = World::new();
    let script = r#"
import socket, struct, time
a = socket.gethostbyname("a.test")
for i in range(11):
    # Half closed first, which the helper has passed on when the reset comes.
    held = [socket.create_connection((a, 7006), 60) for _ in range(200)]
    for s in held: s.shutdown(socket.SHUT_WR)
    time.sleep(0.3)
    for s in held:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)); s.close()
s = socket.create_connection((a, 7005), 60); s.settimeout(60); s.send(b"x"); print(s.recv(1))
"#;
    let out = python(&world, &["a.test:7005", "a.test:7006"], script).ok();
    assert_eq!(out.stdout, "b'x'\n", "{out}");
    world.leak_check();
}

/// A stream that goes on has a large pipe, and loses it in a pause: pages of pipes are charged to the user.
#[case(WORLD)]
fn a_stream_that_pauses_gives_its_large_pipe_back() {
    let world = World::new();
    let script = r#"
import os, socket, threading, time
s = socket.create_connection((socket.gethostbyname("a.test"), 7005), 60); s.settimeout(60)
block = b"x" * (1 << 20); sent = 0
def receive():
    n = 0; buffer = bytearray(1 << 20)
    while not os.path.exists("/tmp/stop") or n < sent: n += s.recv_into(buffer)
reader = threading.Thread(target=receive); reader.start(); print("up", flush=True)
while not os.path.exists("/tmp/stop"):
    sent += len(block); s.sendall(block)
reader.join(); print("paused", flush=True); time.sleep(600)
"#;
    let call = world.run().args(["--allow-net", "a.test:7005", "--", "python3", "-c", script]);
    let running = world.sb.run_until(call, "up");
    let helper = world.helper().expect("a helper");
    let large = || {
        let files = std::fs::read_dir(format!("/proc/{helper}/fd")).expect("descriptors").flatten();
        let pipes = files.filter(|f| {
            std::fs::read_link(f.path()).is_ok_and(|to| to.to_string_lossy().starts_with("pipe:"))
        });
        // Opened for writing a pipe is never waited for, since it has a reader.
        let open = |f: std::fs::DirEntry| std::fs::OpenOptions::new().write(true).open(f.path()).ok();
        let size = |f: std::fs::File| nix::fcntl::fcntl(&f, nix::fcntl::FcntlArg::F_GETPIPE_SZ).unwrap_or(0);
        pipes.filter_map(open).map(size).filter(|size| *size > 64 << 10).count()
    };
    poll("a large pipe", slowed(Duration::from_secs(60)), || large() > 0);
    world.sb.exec(["touch", "/tmp/stop"]).ok();
    poll("the pause", slowed(Duration::from_secs(60)), || running.so_far().0.contains("paused"));
    poll("small pipes", slowed(Duration::from_secs(10)), || large() == 0);
    world.sb.kill("KILL");
    running.wait();
    world.leak_check();
}
