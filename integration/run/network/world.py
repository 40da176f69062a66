"""The outside of a test: resolvers, web servers with TLS of the test's own authority, and servers that must stay unreachable.

usage: world.py DIR   (in a network namespace that has the addresses below; DIR/cert.pem and DIR/key.pem)
Prints "ready"; writes each question that a resolver gets to DIR/questions.
"""
import os, socket, ssl, struct, sys, threading, http.server

DIR = sys.argv[1]
NET = "203.0.113."
# name -> (ttl, IPv4, IPv6); a list of lists answers in turn
ZONE = {
    "a.test": (60, [NET + "2"], []), "b.test": (60, [NET + "3"], []), "evil.test": (60, [NET + "3"], []),
    "sub.wild.test": (60, [NET + "2"], []), "wild.test": (60, [NET + "2"], []),
    "meta.test": (60, ["169.254.169.254"], []), "private.test": (60, ["10.9.9.9"], []),
    "host.test": (60, [NET + "1"], []), "loop.test": (60, ["127.0.0.1"], []),
    "mapped.test": (60, [], ["::ffff:10.9.9.9"]), "local6.test": (60, [], ["fd00:9::9"]),
    "mixed.test": (60, ["10.9.9.9", NET + "2"], []), "six.test": (60, [], ["2001:db8:113::2"]),
    "dead.test": (60, [NET + "77", NET + "2"], []), "gone.test": (60, [NET + "77"], []),
    "xn--bcher-kva.test": (60, [NET + "2"], []), "deep.a.b.wild.test": (60, [NET + "2"], []),
    "six.wild.test": (60, [], ["2001:db8:113::2"]), "shop": (60, [NET + "2"], []),
    "huge.test": (60, [NET + "2"] * 2500, []), "last.test": (60, [NET + "2"], []),
    "big.test": (60, [NET + "2"], []), "short.test": (1, [NET + "2"], []),
}
ALIAS = {"alias.test": "a.test", "badalias.test": "private.test", "circle.test": "circle2.test", "circle2.test": "circle.test"}
# Chains of so many aliases.
for length in (3, 12, 16, 17):
    chain = ["chain%d.test" % length] + ["%d-of-%d.test" % (i, length) for i in range(1, length)] + ["last.test"]
    ALIAS.update(zip(chain, chain[1:]))
turn = {"rebind.test": 0}
lock = threading.Lock()


def address(ip):
    return socket.inet_pton(socket.AF_INET6 if ":" in ip else socket.AF_INET, ip)


def wire(name):
    return b"".join(bytes([len(l)]) + l.encode() for l in name.split(".")) + b"\0"


def answer(p, tcp):
    o, labels = 12, []
    while p[o]:
        labels.append(p[o + 1:o + 1 + p[o]].decode()); o += p[o] + 1
    name, kind, question = ".".join(labels), struct.unpack(">H", p[o + 1:o + 3])[0], p[12:o + 5]
    with lock, open(DIR + "/questions", "a") as f:
        f.write("%s %d %s\n" % (name, kind, "tcp" if tcp else "udp"))
    records, real = [], name
    while real in ALIAS and len(records) < 20:
        to = ALIAS[real]
        records.append(wire(real) + b"\0\5\0\1\0\0\0\x1e" + struct.pack(">H", len(wire(to))) + wire(to))
        real = to
    if real == "rebind.test":
        with lock:
            turn[real] += 1
            entry = (0, [NET + "2"] if turn[real] == 1 else ["169.254.169.254"], [])
    else:
        entry = (60, [], []) if real in ALIAS else ZONE.get(real)
    if entry is None:
        soa = wire("test") + b"\0\6\0\1\0\0\0\x3c\0\x16" + b"\0\0" + struct.pack(">5I", 1, 2, 3, 4, 60)
        return p[:2] + b"\x81\x83\0\1\0\0\0\1\0\0" + question + soa
    if real in ("big.test", "huge.test") and not tcp:
        return p[:2] + b"\x83\x80\0\1\0\0\0\0\0\0" + question
    ttl, v4, v6 = entry
    for ip in v4 if kind == 1 else v6 if kind == 28 else []:
        a = address(ip)
        records.append(wire(real) + struct.pack(">HHIH", kind, 1, ttl, len(a)) + a)
    return p[:2] + b"\x81\x80\0\1" + struct.pack(">H", len(records)) + b"\0\0\0\0" + question + b"".join(records)


def resolver(ip):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind((ip, 53))
    while True:
        p, a = s.recvfrom(4096)
        s.sendto(answer(p, False), a)


def stream_resolver(ip):
    s = listen(ip, 53)
    while True:
        c, _ = s.accept()
        n = struct.unpack(">H", c.recv(2))[0]
        r = answer(c.recv(n), True)
        c.sendall(struct.pack(">H", len(r)) + r); c.close()


def failing(ip):
    """A resolver that fails for every name."""
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind((ip, 53))
    while True:
        p, a = s.recvfrom(4096)
        s.sendto(p[:2] + b"\x81\x82" + p[4:], a)


def listen(ip, port):
    s = socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind((ip, port)); s.listen(4096)
    return s


class Web(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path.startswith("/files/"):
            self.path = self.path[len("/files"):]
            return super().do_GET()
        body = ("%s:%d %s %s\n" % (self.server.server_address[0], self.server.server_address[1],
                                   self.headers.get("Host"), self.path)).encode()
        self.send_response(200); self.send_header("Content-Length", str(len(body))); self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        left, n = int(self.headers.get("Content-Length", 0)), 0
        while left:
            got = self.rfile.read(min(left, 1 << 20))
            if not got: return
            left -= len(got); n += len(got)
        body = b"%d\n" % n
        self.send_response(200); self.send_header("Content-Length", str(len(body))); self.end_headers()
        self.wfile.write(body)

    def translate_path(self, path):
        return DIR + "/files" + path.split("?")[0]

    def log_message(self, *a):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads, request_queue_size = True, 512

    def __init__(self, ip, port, tls=None):
        self.address_family = socket.AF_INET6 if ":" in ip else socket.AF_INET
        super().__init__((ip, port), Web)
        self.tls = tls

    def finish_request(self, request, client):
        if self.tls:
            request = self.tls.wrap_socket(request, server_side=True)
        super().finish_request(request, client)

    def handle_error(self, request, client):
        pass


def plain(ip, port, serve):
    s = listen(ip, port)
    while True:
        c, _ = s.accept()
        threading.Thread(target=serve, args=(c,), daemon=True).start()


def count(c):
    """Reads to the end, then says how much it was."""
    n = 0
    while True:
        d = c.recv(1 << 16)
        if not d: break
        n += len(d)
    c.sendall(b"%d" % n); c.close()


def reset(c):
    c.recv(1)
    c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)); c.close()


def banner(c):
    c.sendall(b"hello first\n"); c.recv(1); c.close()


def hold(c):
    c.recv(1)


def silent(c):
    """Neither says anything nor ends."""
    threading.Event().wait()


def echo(c):
    while True:
        d = c.recv(1 << 16)
        if not d: return c.close()
        c.sendall(d)


def source(c):
    """As many MiB as it is asked for."""
    n = int(c.recv(10)); block = b"x" * (1 << 20)
    for _ in range(n): c.sendall(block)
    c.close()


threading.excepthook = lambda args: None


def start(f, *args):
    threading.Thread(target=f, args=args, daemon=True).start()


os.makedirs(DIR + "/files", exist_ok=True)
open(DIR + "/questions", "w").close()
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(DIR + "/cert.pem", DIR + "/key.pem")
start(resolver, NET + "2"); start(stream_resolver, NET + "2"); start(failing, NET + "3")
for ip in (NET + "2", NET + "3", "169.254.169.254", "10.9.9.9", "2001:db8:113::2", "fd00:9::9"):
    start(Server(ip, 80).serve_forever); start(Server(ip, 8080).serve_forever)
    start(Server(ip, 443, context).serve_forever); start(Server(ip, 8443, context).serve_forever)
for port, serve in ((7000, count), (7001, reset), (7002, banner), (7003, hold), (7004, source), (7005, echo), (7006, silent)):
    start(plain, NET + "2", port, serve)
    start(plain, "10.9.9.9", port, serve)
print("ready", flush=True)
threading.Event().wait()
