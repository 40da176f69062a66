//! Networks of CNI with Debian's plugins: what a container reaches, what reaches it, and what does not.

use std::path::PathBuf;
use std::time::Duration;

use super::names::{curl, sh};
use super::world::World;
use crate::harness::{Call, Need, case, poll};
use crate::oci::rootless::one;

pub const CNI: &[Need] = &[Need::Root, Need::Userns, Need::Idmap, Need::World, Need::Cni];
const USER: &[Need] = &[Need::Root, Need::OrdinaryUserns, Need::World];

/// A world whose host has networks.
pub struct Networks {
    pub world: World,
    dir: tempfile::TempDir,
}

/// A list of a bridge with addresses of 10.77.0.0/24, with more keys of the bridge's.
fn bridge(more: &str, ipam: &str, next: &str, data: &str) -> String {
    format!(
        r#"[{{"type":"bridge","bridge":"cni0",{more}"ipam":{{"type":"host-local","ranges":[[{{"subnet":"10.77.0.0/24"}}]],{ipam}"dataDir":"{data}"}}}}{next}]"#
    )
}

impl Networks {
    pub fn new() -> Self {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::Builder::new().prefix("safebox-cni-").tempdir().expect("a temporary directory");
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).expect("chmod");
        let networks = Networks { world: World::new(), dir };
        let data = networks.data().display().to_string();
        let gateway = r#""isGateway":true,"ipMasq":true,"hairpinMode":true,"#;
        let out = r#""routes":[{"dst":"0.0.0.0/0"}],"#;
        let next = r#",{"type":"portmap","capabilities":{"portMappings":true}},{"type":"firewall","backend":"iptables"}"#;
        let dns = r#""dns":{"nameservers":["203.0.113.2"],"search":["test"]},"#;
        networks.list("out", &bridge(&format!("{gateway}{dns}"), out, next, &data));
        networks.list("apart", &bridge(&format!("{gateway}\"portIsolation\":true,"), out, "", &data));
        networks.list("internal", &bridge("", "", "", &data));
        networks
    }

    /// Writes a list.
    pub fn list(&self, name: &str, plugins: &str) -> PathBuf {
        let path = self.dir.path().join(format!("{name}.conflist"));
        let text = format!(r#"{{"cniVersion":"1.0.0","name":"{name}","plugins":{plugins}}}"#);
        std::fs::write(&path, text).expect("write");
        path
    }

    /// The directory of configurations.
    pub fn dir(&self) -> String {
        self.dir.path().display().to_string()
    }

    /// The directory of leases.
    fn data(&self) -> PathBuf {
        self.dir.path().join("leases")
    }

    /// `safebox run` on a network.
    pub fn run(&self, id: &str, network: &str) -> Call {
        self.world.plain().args([
            "run",
            "-q",
            "--name",
            id,
            "--cni-netconfpath",
            &self.dir(),
            "--network",
            &format!("cni:{network}"),
        ])
    }

    /// The first container.
    pub fn first(&self, network: &str) -> Call {
        self.run(self.world.sb.id(), network)
    }

    /// What plugins have left: leases, devices, rules of iptables, one line each.
    pub fn left(&self) -> Vec<String> {
        let leases = std::fs::read_dir(self.data()).into_iter().flatten().flatten();
        let files = leases.flat_map(|d| std::fs::read_dir(d.path()).into_iter().flatten().flatten());
        let names = files.map(|f| f.file_name().to_string_lossy().into_owned());
        let mut left: Vec<String> =
            names.filter(|n| n.starts_with("10.")).map(|n| format!("lease {n}")).collect();
        let devices = self.world.on_host("ip -o link");
        left.extend(devices.lines().filter(|l| l.contains("veth")).map(str::to_string));
        let rules = self.world.on_host("iptables-save");
        left.extend(
            rules.lines().filter(|l| l.contains("10.77.") || l.contains("safebox-")).map(str::to_string),
        );
        left
    }

    /// Nothing is left of any container.
    #[track_caller]
    pub fn leak_check(&self) {
        self.world.leak_check();
        let left = self.left();
        assert!(left.is_empty(), "left behind:\n  {}", left.join("\n  "));
    }
}

#[case(CNI)]
fn cni_a_bridge_leads_out_and_not_to_metadata() {
    let networks = Networks::new();
    let urls = ["http://203.0.113.2/", "http://169.254.169.254/"];
    let metadata =
        networks.world.on_host(&curl(&["http://169.254.169.254/"]).replace("--cacert authority.pem", ""));
    assert!(metadata.contains("= 0"), "the host reaches the metadata server: {metadata}");
    let script = format!("ls /sys/class/net; grep . /etc/resolv.conf; {}", curl(&urls));
    let out = sh(networks.first("out"), &script).ok();
    let expect = "eth0\nlo\nnameserver 203.0.113.2\nsearch test\n203.0.113.2:80 203.0.113.2 /\n= 0\n= 7\n";
    assert_eq!(out.stdout, expect, "{out}");
    out.says(
        "weaker: network: the program reaches what network out reaches (plugins bridge, portmap, firewall)",
    );
    networks.leak_check();
    // The network's servers are asked; the caller's come before them.
    let out = sh(networks.first("out"), &curl(&["http://a.test/"])).ok();
    assert_eq!(out.stdout, "203.0.113.2:80 a.test /\n= 0\n", "{out}");
    let out = sh(networks.first("out").args(["--dns", "203.0.113.3"]), "cat /etc/resolv.conf").ok();
    assert_eq!(out.stdout, "nameserver 203.0.113.3\n", "{out}");
    // A network without servers: the host's, but those of its loopback.
    let out = sh(networks.first("apart"), "cat /etc/resolv.conf").ok();
    let host = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    assert!(out.stdout.lines().all(|l| host.contains(l) && !l.contains("nameserver 127.")), "{out}");
    networks.leak_check();
}

/// Answers every connection with its own words.
const SERVER: &str = "import socket; s = socket.create_server(('0.0.0.0', 8000)); print('up', flush=True)\nwhile True:\n  c, a = s.accept(); c.sendall(b'hello\\n'); c.close()";

/// Reads what a server says, or why it does not.
fn read(host: &str, port: u16) -> String {
    format!(
        "python3 -c \"import socket\ntry: print(socket.create_connection(('{host}', {port}), 3).recv(9).decode().strip())\nexcept OSError as e: print(type(e).__name__)\""
    )
}

#[case(CNI)]
fn cni_ports_are_published_by_portmap() {
    let networks = Networks::new();
    let call = networks.first("out").args(["-p", "8080:8000", "-p", "0.0.0.0:8081:8000", "-w", "/tmp"]);
    let running = networks.world.sb.run_until(call.args(["--", "python3", "-c", SERVER]), "up");
    assert_eq!(networks.world.on_host(&read("127.0.0.1", 8080)), "hello\n");
    assert_eq!(networks.world.runs_beyond(&read("203.0.113.1", 8081)), "hello\n");
    assert_eq!(networks.world.runs_beyond(&read("203.0.113.1", 8080)), "ConnectionRefusedError\n");
    // Another container's port, and one whose kind of address the network does not give.
    let other = networks.world.sb.other_id("two");
    let taken = networks.run(&other, "out").args(["-p", "8080:1"]);
    sh(taken, "true").exits(125).says("publish another (--publish)");
    sh(networks.run(&other, "out").args(["-p", "[::1]:8082:1"]), "true")
        .exits(125)
        .says("no IPv6 address for the port");
    let id = networks.world.sb.id().to_string();
    let inspect = networks.world.plain().args(["inspect", &id]).output().ok();
    let value: serde_json::Value = serde_json::from_str(&inspect.stdout).expect("JSON");
    assert_eq!(value["network"]["name"], "out");
    assert_eq!(value["network"]["addresses"][0], "10.77.0.2/24");
    running.signal(nix::sys::signal::Signal::SIGTERM);
    running.wait();
    assert_eq!(networks.world.on_host(&read("127.0.0.1", 8080)), "ConnectionRefusedError\n");
    networks.leak_check();
}

/// What the second container of a network gets from the server in the first, and what from outside.
fn second(networks: &Networks, network: &str) -> String {
    let call = networks.first(network).args(["-w", "/tmp", "--", "python3", "-c", SERVER]);
    let running = networks.world.sb.run_until(call, "up");
    let script = format!("{}; {}", read("10.77.0.2", 8000), read("203.0.113.2", 7002));
    let other = networks.world.sb.other_id("two");
    let out = sh(networks.run(&other, network).args(["-w", "/tmp"]), &script).ok();
    networks.world.sb.kill("KILL");
    running.wait();
    networks.leak_check();
    out.stdout.replace("ConnectionRefusedError", "OSError").replace("TimeoutError", "OSError")
}

#[case(CNI)]
fn cni_containers_of_a_bridge_reach_each_other() {
    assert_eq!(second(&Networks::new(), "out"), "hello\nhello fir\n");
}

#[case(CNI)]
fn cni_isolated_containers_do_not() {
    assert_eq!(second(&Networks::new(), "apart"), "OSError\nhello fir\n");
}

#[case(CNI)]
fn cni_an_internal_network_has_no_way_out() {
    let networks = Networks::new();
    assert_eq!(second(&networks, "internal"), "hello\nOSError\n");
    let out = sh(networks.first("internal"), "ip route; ls /sys/class/net").ok();
    assert_eq!(
        out.stdout.replace(" \n", "\n"),
        "10.77.0.0/24 dev eth0 proto kernel scope link src 10.77.0.4\neth0\nlo\n",
        "{out}"
    );
    networks.leak_check();
}

#[case(CNI)]
fn cni_what_cannot_be_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let networks = Networks::new();
    networks.list("lost", r#"[{"type":"nowhere"}]"#);
    let open = networks.list("open", r#"[{"type":"loopback"}]"#);
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o666)).expect("chmod");
    let says = |network: &str, more: &[&str], says: &str| {
        sh(networks.first(network).args(more), "true").exits(125).says(says);
    };
    says("none", &[], "has no network of this name (there are apart, internal, lost, out)");
    says("open", &[], "chmod go-w");
    says("lost", &[], "no plugin nowhere in /usr/lib/cni, /opt/cni/bin");
    says("out", &["--allow-net", "a.test"], "--network cni:out: with --allow-net");
    says("internal", &["-p", "8080:80"], "none of its plugins maps ports");
    says("out", &["--cap-add", "NET_ADMIN", "--user", "0"], "with CAP_NET_ADMIN the program could reach");
    says("out", &["--cap-add", "NET_RAW", "--user", "0"], "with CAP_NET_RAW the program could reach");
    let call =
        networks.world.plain().args(["run", "-q", "--name", networks.world.sb.id(), "--cni-path", "/x"]);
    sh(call, "true").exits(125).says("they are for --network cni:NAME");
    says("out", &["--cni-path", "/nowhere"], "--cni-path /nowhere: no such directory");
    says("out", &["-d", "--policy", "privileged", "-p", "8080:80"], "no process stays with");
    // A config that has the host's network, or joins another.
    let sb = crate::harness::Sandbox::new()
        .patch("/linux/namespaces", serde_json::json!([{ "type": "mount" }, { "type": "pid" }]));
    let call = sb.run_oci().args(["--network", "cni:internal", "--cni-netconfpath", &networks.dir()]);
    call.output().exits(125).says("no network namespace of its own");
    networks.leak_check();
}

#[case(USER)]
fn cni_is_refused_to_an_ordinary_user() {
    let world = World::of(one());
    sh(world.run_as(one()).args(["--network", "cni:x"]), "true").exits(125).says("which root alone may");
    world.leak_check();
}

/// Waits until nothing is left.
pub fn wait_for_nothing(networks: &Networks) {
    poll("nothing is left", Duration::from_secs(20), || {
        networks.left().is_empty() && networks.world.sb.trace().find().is_empty()
    });
}
