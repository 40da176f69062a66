//! Two network namespaces: the host's, as the launcher sees it, and one with everything that lies beyond.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::beyond::Beyond;
use crate::harness::{Call, Sandbox, bundle, poll};
use crate::oci::rootless::User;

const SCRIPT: &str = include_str!("world.py");

/// What answers beyond.
enum Servers {
    /// All that the tests need.
    Python(Child),
    /// A resolver and web servers of this process.
    Thread(Beyond),
}

/// A sandbox whose launcher lives in a network of its own.
pub struct World {
    pub sb: Sandbox,
    /// What the servers read and write: not the sandbox's, since they outlive a run.
    dir: tempfile::TempDir,
    host: String,
    beyond: String,
    server: Servers,
    /// Where programs are run, which the program sees.
    pub project: PathBuf,
}

fn ip(args: &str) {
    let out = Command::new("ip").args(args.split(' ')).output().expect("ip");
    assert!(out.status.success(), "ip {args}: {out:?}");
}

/// Two network namespaces with a pair of devices between them.
fn namespaces(host: &str, beyond: &str) {
    ip(&format!("netns add {host}"));
    ip(&format!("netns add {beyond}"));
    ip(&format!("link add h0 netns {host} type veth peer name b0 netns {beyond}"));
    for (namespace, device) in [(host, "h0"), (beyond, "b0")] {
        ip(&format!("-n {namespace} link set lo up"));
        ip(&format!("-n {namespace} link set {device} up"));
    }
    ip(&format!("-n {host} addr add 203.0.113.1/24 dev h0"));
    ip(&format!("-n {host} addr add 2001:db8:113::1/64 dev h0 nodad"));
    for address in ["203.0.113.2/24", "203.0.113.3/24", "169.254.169.254/32", "10.9.9.9/32"] {
        ip(&format!("-n {beyond} addr add {address} dev b0"));
    }
    for address in ["2001:db8:113::2/64", "fd00:9::9/64"] {
        ip(&format!("-n {beyond} addr add {address} dev b0 nodad"));
    }
    ip(&format!("-n {host} route add default via 203.0.113.2"));
    for route in ["169.254.169.254 dev h0", "10.9.9.9 dev h0"] {
        ip(&format!("-n {host} route add {route}"));
    }
    ip(&format!("-n {host} -6 route add fd00:9::/64 dev h0"));
}

impl World {
    /// Of root.
    pub fn new() -> Self {
        Self::around(Sandbox::new(), Self::python)
    }

    /// Of an ordinary user.
    pub fn of(user: User) -> Self {
        Self::around(user.sandbox(), Self::python)
    }

    /// With servers of this process, for machines without python3, openssl and curl.
    pub fn small(sb: Sandbox) -> Self {
        Self::around(sb, |_, beyond| Servers::Thread(Beyond::serve(beyond)))
    }

    fn around(sb: Sandbox, serve: impl FnOnce(&Path, &str) -> Servers) -> Self {
        use std::os::unix::fs::PermissionsExt;
        let project = sb.dir().join("project");
        std::fs::create_dir_all(&project).expect("mkdir");
        for dir in [sb.dir(), &project] {
            std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o755)).expect("chmod");
        }
        let dir = tempfile::Builder::new().prefix("safebox-world-").tempdir().expect("a temporary directory");
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).expect("chmod");
        // A name without the token of the sandbox, which looks for what a run leaves.
        let token: String = sb.id().chars().rev().collect();
        let (host, beyond) = (format!("h{token}"), format!("b{token}"));
        namespaces(&host, &beyond);
        std::fs::write(dir.path().join("resolv.conf"), "nameserver 203.0.113.2\noptions timeout:1\n")
            .expect("write");
        std::fs::write(
            dir.path().join("hosts"),
            "127.0.0.1 localhost\n203.0.113.3 hosts.test\n10.9.9.9 intern.test\n",
        )
        .expect("write");
        let server = serve(dir.path(), &beyond);
        if matches!(server, Servers::Python(_)) {
            std::fs::copy(dir.path().join("authority.pem"), project.join("authority.pem")).expect("copy");
        }
        World { sb, dir, host, beyond, server, project }
    }

    /// Starts world.py.
    fn python(dir: &Path, beyond: &str) -> Servers {
        authority(dir);
        std::fs::write(dir.join("world.py"), SCRIPT).expect("write");
        let log = std::fs::File::create_new(dir.join("world.log")).expect("create");
        let server = Command::new("nsenter")
            .args([&format!("--net=/run/netns/{beyond}"), "/usr/bin/python3"])
            .arg(dir.join("world.py"))
            .arg(dir)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(Stdio::inherit())
            .spawn()
            .expect("nsenter");
        poll("the servers", Duration::from_secs(20), || {
            std::fs::read_to_string(dir.join("world.log")).is_ok_and(|log| log.contains("ready"))
        });
        Servers::Python(server)
    }

    /// What the servers read and write; /files below it is on the web.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// `safebox` in the network namespace of the host, with its resolv.conf and hosts, and what comes before it.
    fn client(&self, name: &str, (first, before): (&str, &str), program: &Path) -> Call {
        use std::os::unix::fs::PermissionsExt;
        let dir = self.dir().display();
        // A small machine may have no resolv.conf, and a file system of temporary files that cannot be idmapped.
        let (mounts, project) = match self.server {
            Servers::Thread(_) => (String::new(), Path::new("/usr")),
            Servers::Python(_) => {
                let bind = |name| format!("mount --bind {dir}/{name} /etc/{name} && ");
                (bind("resolv.conf") + &bind("hosts"), self.project.as_path())
            }
        };
        let script = format!(
            "#!/bin/sh\nexec unshare -m sh -c 'mount --make-rprivate / && {mounts}cd {} && {first} \
             nsenter --net=/run/netns/{} {before} {} \"$@\"' sh \"$@\"\n",
            project.display(),
            self.host,
            program.display(),
        );
        let path = self.dir().join(name);
        if !path.exists() {
            std::fs::write(&path, script).expect("write");
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("chmod");
        }
        self.sb.runtime_as(&path)
    }

    /// `safebox --root ROOT` of root in the network namespace of the host, and in the machine's mount namespace.
    pub fn plain(&self) -> Call {
        self.sb.under(&["nsenter", &format!("--net=/run/netns/{}", self.host)])
    }

    /// What a command prints in a network namespace, whatever its end.
    fn prints(namespace: &str, command: &str) -> String {
        let out = Command::new("ip")
            .args(["netns", "exec", namespace, "sh", "-c", command])
            .output()
            .expect("ip netns exec");
        String::from_utf8_lossy(&out.stdout).into_owned()
    }

    /// What a command prints on the host.
    pub fn on_host(&self, command: &str) -> String {
        Self::prints(&self.host, command)
    }

    /// A server on the loopback of the host that answers `host` to each connection, until it is dropped.
    pub fn serve_on_loopback(&self, port: u16) -> Server {
        let script = format!(
            "import socket\ns = socket.create_server(('127.0.0.1', {port})); print('up', flush=True)\nwhile True:\n  c, a = s.accept(); c.sendall(b'host'); c.close()"
        );
        let mut server = Command::new("nsenter");
        server.arg(format!("--net=/run/netns/{}", self.host)).args(["/usr/bin/python3", "-c", &script]);
        let mut child = server.env_clear().stdout(Stdio::piped()).spawn().expect("nsenter");
        let mut up = [0; 3];
        std::io::Read::read_exact(child.stdout.as_mut().expect("stdout"), &mut up).expect("up");
        Server(child)
    }

    /// What a command prints beyond.
    pub fn runs_beyond(&self, command: &str) -> String {
        Self::prints(&self.beyond, command)
    }

    /// The name of the network namespace of the host.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The name of the network namespace with the servers.
    pub fn beyond(&self) -> &str {
        &self.beyond
    }

    /// `safebox --root ROOT` of root; a verb is added.
    pub fn runtime(&self) -> Call {
        self.client("client", ("exec", ""), &bundle::runtime())
    }

    /// `safebox run --name ID` in the project's directory; options and `-- PROGRAM` are added.
    pub fn run(&self) -> Call {
        self.runtime().args(["run", "-q", "--name", self.sb.id()])
    }

    /// The same as an ordinary user.
    pub fn run_as(&self, user: User) -> Call {
        // As udev leaves it, and some machines do not: every user may open it.
        let tun = "mount -t tmpfs -o mode=755 tmpfs /dev/net; mknod -m 666 /dev/net/tun c 10 200; exec";
        let before = format!(
            "setpriv --reuid {} --regid {} --clear-groups env HOME={}",
            user.uid,
            user.gid,
            self.sb.dir().display()
        );
        self.client("client-of-user", (tun, &before), &self.sb.dir().join("safebox")).args([
            "run",
            "-q",
            "--name",
            self.sb.id(),
        ])
    }

    /// The questions that a resolver beyond has got: `NAME TYPE udp|tcp`.
    pub fn questions(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.dir().join("questions")).unwrap_or_default();
        text.lines().map(str::to_string).collect()
    }

    /// The network helper of this test's launcher.
    pub fn helper(&self) -> Option<i32> {
        let name = |pid: &i32| {
            std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|c| c == "safebox-net\n")
        };
        let entries = std::fs::read_dir("/proc").expect("/proc").flatten();
        let pids = entries.filter_map(|e| e.file_name().to_str()?.parse::<i32>().ok()).filter(name);
        let host = std::fs::metadata(format!("/run/netns/{}", self.host)).expect("the namespace");
        let inode = |m: std::fs::Metadata| std::os::unix::fs::MetadataExt::ino(&m);
        let host = inode(host);
        pids.into_iter()
            .find(|pid| std::fs::metadata(format!("/proc/{pid}/ns/net")).is_ok_and(|m| inode(m) == host))
    }

    /// Nothing is left, the helper included.
    #[track_caller]
    pub fn leak_check(&self) {
        self.sb.leak_check();
        assert_eq!(self.helper(), None, "a helper is left");
    }
}

/// A process that ends with its test.
pub struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        self.0.kill().and_then(|()| self.0.wait()).map(drop).unwrap_or_default();
    }
}

impl Drop for World {
    fn drop(&mut self) {
        match &mut self.server {
            Servers::Python(server) => {
                server.kill().unwrap_or_default();
                server.wait().map(drop).unwrap_or_default();
            }
            Servers::Thread(beyond) => beyond.end(),
        }
        for namespace in [&self.host, &self.beyond] {
            Command::new("ip").args(["netns", "delete", namespace]).status().map(drop).unwrap_or_default();
        }
    }
}

/// The test's own certificate authority, and a certificate for its names.
fn authority(dir: &Path) {
    let openssl = |args: &[&str]| {
        let out = Command::new("openssl").args(args).current_dir(dir).output().expect("openssl");
        assert!(out.status.success(), "openssl {args:?}: {out:?}");
    };
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    let root = [
        "req",
        "-x509",
        "-days",
        "2",
        "-subj",
        "/CN=test authority",
        "-keyout",
        "authority.key",
        "-out",
        "authority.pem",
    ];
    openssl(&[&root[..1], &key, &root[1..]].concat());
    let names = "subjectAltName=DNS:a.test,DNS:b.test,DNS:xn--bcher-kva.test,DNS:deep.a.b.wild.test,DNS:evil.test,DNS:wild.test,DNS:sub.wild.test,DNS:mixed.test";
    let request =
        ["req", "-subj", "/CN=servers", "-addext", names, "-keyout", "key.pem", "-out", "request.pem"];
    openssl(&[&request[..1], &key, &request[1..]].concat());
    openssl(&[
        "x509",
        "-req",
        "-in",
        "request.pem",
        "-CA",
        "authority.pem",
        "-CAkey",
        "authority.key",
        "-CAcreateserial",
        "-copy_extensions",
        "copy",
        "-days",
        "2",
        "-out",
        "cert.pem",
    ]);
}
