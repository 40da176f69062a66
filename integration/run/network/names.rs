//! Names: which are reached, which are not, and who is asked.

use super::world::World;
use super::{USER, WORLD};
use crate::harness::{Call, Output, case};
use crate::oci::rootless::one;

#[case(WORLD)]
fn allowed_names_are_reached_and_nothing_else() {
    reached(&World::new(), World::run)
}

#[case(USER)]
fn an_ordinary_user_reaches_allowed_names() {
    reached(&World::of(one()), |world| world.run_as(one()));
}

/// `curl` without a proxy and with the test's authority, of one URL after the other; what it prints, and its code.
pub fn curl(urls: &[&str]) -> String {
    let one = |url: &&str| format!("curl -sS -m 8 --noproxy '*' --cacert authority.pem {url}; echo \"= $?\"");
    urls.iter().map(one).collect::<Vec<_>>().join("; ")
}

pub fn sh(call: Call, script: &str) -> Output {
    call.args(["--", "sh", "-c", script]).output()
}

fn reached(world: &World, run: impl Fn(&World) -> Call) {
    let allow = ["--allow-net", "a.test", "--allow-net", "a.test:80", "--allow-net", "b.test:8080"];
    let urls = [
        "https://a.test/x",
        "http://a.test/y",
        "http://b.test:8080/z",
        "https://evil.test/",
        "http://b.test/",
        "http://203.0.113.2/",
    ];
    let started = std::time::Instant::now();
    let out = sh(run(world).args(allow), &curl(&urls)).ok();
    let expect = "203.0.113.2:443 a.test /x\n= 0\n203.0.113.2:80 a.test /y\n= 0\n203.0.113.3:8080 b.test:8080 /z\n= 0\n= 6\n= 56\n= 56\n";
    // The reset may come before the connect has returned, or after it.
    assert_eq!(out.stdout.replace("= 7\n", "= 56\n"), expect, "{out}");
    assert!(started.elapsed().as_secs() < 8, "nothing hangs: {:?}", started.elapsed());
    out.says("weaker: network: the program may connect to a.test:443, a.test:80, b.test:8080")
        .says("network: refused the name evil.test: no rule allows it (--allow-net evil.test)")
        .says("network: refused b.test:80: no rule allows this port (--allow-net b.test:80)");
    // A refused name never leaves the namespace.
    let questions = world.questions();
    assert!(questions.iter().any(|q| q.starts_with("a.test 1 ")), "{questions:?}");
    assert!(!questions.iter().any(|q| q.contains("evil")), "{questions:?}");
    // Without a rule there is lo, and no resolver.
    let out = sh(run(world), "ls /sys/class/net; getent hosts a.test || echo none").ok();
    assert_eq!(out.stdout, "lo\nnone\n", "{out}");
    world.leak_check();
}

#[case(WORLD)]
fn a_name_must_not_lead_to_closed_addresses() {
    let world = World::new();
    let names = ["meta", "private", "host", "loop", "mapped", "local6", "badalias"];
    let mut call = world.run();
    for name in names {
        call = call.args(["--allow-net", &format!("{name}.test:80")]);
    }
    let urls: Vec<_> = names.iter().map(|name| format!("http://{name}.test/")).collect();
    let urls: Vec<_> = urls.iter().map(String::as_str).collect();
    let out = sh(
        call.args(["--allow-net", "intern.test:80"]),
        &curl(&[&urls[..], &["http://intern.test/"]].concat()),
    )
    .ok();
    assert_eq!(out.stdout, "= 56\n".repeat(names.len() + 1), "{out}");
    for says in [
        "meta.test:80 leads to 169.254.169.254, a metadata address (--allow-net 169.254.169.254:80)",
        "private.test:80 leads to 10.9.9.9, a private address (--allow-net 10.9.9.9:80)",
        "host.test:80 leads to 203.0.113.1, an address of this host (--allow-net 203.0.113.1:80)",
        "loop.test:80 leads to 127.0.0.1, a loopback address",
        "mapped.test:80 leads to 10.9.9.9, a private address",
        "local6.test:80 leads to fd00:9::9, a unique local address",
        "badalias.test:80 leads to 10.9.9.9",
        "intern.test:80 leads to 10.9.9.9",
    ] {
        let out: &Output = &out;
        assert!(out.stderr.contains(says), "{says}\n{out}");
    }
    // A rule that names the address opens the port that it names, and no other.
    let call = world.run().args(["--allow-net", "private.test:80", "--allow-net", "10.9.9.9:8080"]);
    let out = sh(call, &curl(&["http://private.test/", "http://10.9.9.9:8080/"])).ok();
    assert_eq!(out.stdout, "= 56\n10.9.9.9:8080 10.9.9.9:8080 /\n= 0\n", "{out}");
    // One good address among bad ones is dialled; a rule that names the address opens it, by name and by number.
    let call = world.run().args([
        "--allow-net",
        "mixed.test:80",
        "--allow-net",
        "private.test:80",
        "--allow-net",
        "10.9.9.9:80",
    ]);
    let out = sh(
        call,
        &curl(&["http://mixed.test/", "http://private.test/", "http://10.9.9.9/", "http://10.9.9.9:8080/"]),
    )
    .ok();
    assert!(out.stdout.contains("private.test /\n= 0\n10.9.9.9:80 10.9.9.9 /\n= 0\n= 7\n"), "{out}");
    assert!(out.stdout.contains("mixed.test /\n= 0\n"), "{out}");
    world.leak_check();
}

/// The name leads to a good address when the program asks, and to the metadata server when the helper dials.
#[case(WORLD)]
fn an_answer_that_changes_is_checked_again() {
    let world = World::new();
    let out = sh(world.run().args(["--allow-net", "rebind.test:80"]), &curl(&["http://rebind.test/"])).ok();
    assert_eq!(out.stdout, "= 56\n", "{out}");
    out.says("rebind.test:80 leads to 169.254.169.254, a metadata address");
    let asked = world.questions().iter().filter(|q| q.starts_with("rebind.test 1 ")).count();
    assert!(asked >= 2, "TTL 0 is not kept: {:?}", world.questions());
    world.leak_check();
}

/// "slow": the C library has asked a second time, after 5 seconds.
const LOOK: &str = r#"
import socket, sys, time
def look(name, family):
    start = time.time()
    try:
        found = sorted({a[4][0] for a in socket.getaddrinfo(name, 80, family, socket.SOCK_STREAM)})
        what = "found" if all(a.startswith("198.18.") or a.startswith("fd5a:") for a in found) else repr(found)
    except socket.gaierror as e:
        what = {socket.EAI_NONAME: "no name", socket.EAI_AGAIN: "again", socket.EAI_NODATA: "no data"}.get(e.errno, str(e))
    print(name, "6" if family == socket.AF_INET6 else "4", what if time.time() - start < 4.5 else "slow")
for name in sys.argv[1:]:
    for family in (socket.AF_INET, socket.AF_INET6):
        look(name, family)
"#;

#[case(WORLD)]
fn names_are_looked_up_as_the_host_does() {
    let world = World::new();
    let names = ["a.test", "six.test", "alias.test", "big.test", "hosts.test", "missing.test", "evil.test"];
    let call = || {
        let allow = names
            .iter()
            .filter(|n| **n != "evil.test")
            .flat_map(|n| ["--allow-net".to_string(), format!("{n}:80")]);
        world.run().args(allow)
    };
    let look = || call().args(["--", "python3", "-c", LOOK]).args(names).output().ok();
    let expect = "a.test 4 found\na.test 6 no data\nsix.test 4 no data\nsix.test 6 found\nalias.test 4 found\nalias.test 6 no data\n\
                  big.test 4 found\nbig.test 6 no data\nhosts.test 4 found\nhosts.test 6 no data\nmissing.test 4 no name\n\
                  missing.test 6 no name\nevil.test 4 again\nevil.test 6 again\n";
    let read = |out: &Output| out.stdout.replace("no data", "no name");
    let out = look();
    assert_eq!(read(&out), expect.replace("no data", "no name"), "{out}");
    // A large answer came over TCP, and the hosts file was asked before any server.
    let questions = world.questions();
    assert!(questions.contains(&"big.test 1 tcp".to_string()), "{questions:?}");
    assert!(!questions.iter().any(|q| q.starts_with("hosts.test")), "{questions:?}");
    // A server that fails, and one that is not there, come before one that knows.
    std::fs::write(
        world.dir().join("resolv.conf"),
        "nameserver 203.0.113.3\nnameserver 203.0.113.1\nnameserver 203.0.113.2\noptions timeout:1\n",
    )
    .expect("write");
    let out = sh(call(), &curl(&["http://a.test/", "http://six.test/", "http://hosts.test/"])).ok();
    assert_eq!(out.stdout.matches("= 0").count(), 3, "{out}");
    // A dead address is passed over, and where no other is left the program sees a reset.
    let call = world.run().args([
        "--allow-net",
        "dead.test:80",
        "--allow-net",
        "gone.test:80",
        "--allow-net",
        "short.test:80",
    ]);
    let out = sh(call, &curl(&["http://dead.test/", "http://short.test/"])).ok();
    assert_eq!(out.stdout.matches("= 0").count(), 2, "{out}");
    world.leak_check();
}

#[case(WORLD)]
fn names_below_one() {
    let world = World::new();
    let urls = ["https://sub.wild.test/", "https://wild.test/", "https://sub.wild.test:8443/"];
    let result = world.dir().join("result");
    let call = world.run().args(["--allow-net", "*.wild.test", "--result", &result.to_string_lossy()]);
    let out = sh(call, &curl(&urls)).ok();
    assert_eq!(out.stdout, "203.0.113.2:443 sub.wild.test /\n= 0\n= 6\n= 7\n", "{out}");
    out.says("refused the name wild.test: no rule allows it");
    let account: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&result).expect("the account")).expect("JSON");
    let denial = account["denials"][0].as_str().unwrap_or_default();
    assert_eq!(
        denial, "network: refused the name wild.test: no rule allows it (--allow-net wild.test)",
        "{account}"
    );
    world.leak_check();
}

#[case(WORLD)]
fn a_policy_file_allows_names() {
    let world = World::new();
    let file = world.dir().join("policy.toml");
    let text = "mode = \"off\"\n[network]\nallow-net = [\"a.test:80\"]\nadd-host = [\"mine.test:203.0.113.3\"]\ndns = [\"203.0.113.2\"]\n";
    std::fs::write(&file, text).expect("write");
    let run = |more: &[&str], urls: &[&str]| {
        let call = world.runtime().arg("--policy-file").arg(&file);
        sh(call.args(["run", "-q", "--name", world.sb.id()]).args(more), &curl(urls))
    };
    let out = run(&[], &["http://a.test/", "http://mine.test/"]).ok();
    assert_eq!(out.stdout, "203.0.113.2:80 a.test /\n= 0\n= 6\n", "{out}");
    out.says(&format!("of these the policy file {} allows a.test:80", file.display()));
    let out = run(&["--allow-net", "mine.test:80"], &["http://a.test/", "http://mine.test/"]).ok();
    assert_eq!(out.stdout, "203.0.113.2:80 a.test /\n= 0\n203.0.113.3:80 mine.test /\n= 0\n", "{out}");
    // A network that is asked for is the whole of it.
    assert_eq!(run(&["--network", "none"], &["http://a.test/"]).ok().stdout, "= 6\n");
    let explain =
        world.runtime().arg("--policy-file").arg(&file).args(["explain", "--", "true"]).output().ok();
    assert!(explain.stdout.contains("allows a.test:80"), "{explain}");
    // Configs of engines are theirs.
    let sb = crate::harness::Sandbox::new();
    let created = sb.runtime().arg("--policy-file").arg(&file).args(["create", "--bundle"]);
    created.arg(sb.bundle()).arg(sb.id()).output().ok();
    sb.delete().ok();
    std::fs::write(&file, text.replace("a.test:80", "*")).expect("write");
    run(&[], &[]).exits(125).says("policy.toml:3: allow-net \"*\": * alone is every host");
    world.leak_check();
}

#[case(WORLD)]
fn the_audit_file_has_every_connection() {
    let world = World::new();
    let file = world.sb.dir().join("audit.jsonl");
    let path = file.to_string_lossy().into_owned();
    let call = world.run().args([
        "--audit-log",
        &path,
        "--allow-net",
        "a.test:80",
        "--allow-net",
        "private.test:80",
    ]);
    let script = format!(
        "{}; cat {path} 2>&1; curl -s -m 5 http://a.test:81/",
        curl(&["http://a.test/", "http://private.test/", "http://evil.test/"])
    );
    let out = sh(call, &script);
    assert!(out.stdout.contains("No such file"), "it is out of the program's reach\n{out}");
    let text = std::fs::read_to_string(&file).expect("the audit file");
    let lines: Vec<serde_json::Value> =
        text.lines().map(|l| serde_json::from_str(l).expect("JSON")).collect();
    let find =
        |name: &str| lines.iter().find(|l| l["name"] == name).unwrap_or_else(|| panic!("{name}\n{text}"));
    let a = find("a.test");
    assert_eq!(
        (&a["verdict"], &a["address"], &a["port"]),
        (&"allowed".into(), &"203.0.113.2".into(), &80.into())
    );
    assert_eq!(a["rule"], "a.test:80");
    assert!(a["sent"].as_u64() > Some(50) && a["received"].as_u64() > Some(50), "{a}");
    assert!(a["time"].as_str().is_some_and(|t| t.ends_with('Z')), "{a}");
    let p = find("private.test");
    assert_eq!(
        (&p["verdict"], &p["reason"], &p["address"]),
        (&"refused".into(), &"closed-address".into(), &"10.9.9.9".into())
    );
    assert_eq!(find("evil.test")["wouldAllow"], "--allow-net evil.test");
    use std::os::unix::fs::MetadataExt;
    assert_eq!(std::fs::metadata(&file).expect("stat").mode() & 0o777, 0o600);
    // Appended to, and never through a symlink or to a device.
    let before = text.lines().count();
    sh(world.run().args(["--audit-log", &path, "--allow-net", "a.test:80"]), &curl(&["http://a.test/"])).ok();
    assert_eq!(std::fs::read_to_string(&file).expect("read").lines().count(), before + 1);
    let link = world.sb.dir().join("link");
    std::os::unix::fs::symlink(&file, &link).expect("symlink");
    for bad in [link.to_string_lossy().as_ref(), "/dev/null", "/nowhere/x"] {
        sh(world.run().args(["--audit-log", bad, "--allow-net", "a.test"]), "true")
            .exits(125)
            .says("--audit-log");
    }
    sh(world.run().args(["--audit-log", &path]), "true").exits(125).says("without --allow-net");
    world.leak_check();
}

#[case(WORLD)]
fn what_cannot_be_is_refused() {
    let world = World::new();
    for (args, says) in [
        (&["--allow-net", "a.test", "--network", "host"] as &[&str], "--network host"),
        (&["--allow-net", "*"], "--network host"),
        (&["--allow-net", "a.test:53"], "the resolver inside"),
    ] {
        sh(world.run().args(args), "true").exits(125).says(says);
    }
    // A config without a network namespace is the host's.
    let sb = crate::harness::Sandbox::new()
        .patch("/linux/namespaces", serde_json::json!([{ "type": "mount" }, { "type": "pid" }]));
    let call = sb.run_oci().args(["--allow-net", "a.test"]);
    call.output().exits(125).says("no network namespace of its own");
    sb.leak_check();
    world.leak_check();
}

#[case(WORLD)]
fn every_fault_leaves_nothing() {
    let world = World::new();
    let call = || world.run().args(["--allow-net", "a.test", "--allow-net", "10.9.9.9:80"]);
    for row in [
        "network-helper",
        "local-route:0.0.0.0/0",
        "local-route:::/0",
        "strays:ipv4",
        "strays:ipv6",
        "socket:udp:53",
        "socket:tcp:53",
        "socket:tcp:443",
        "hand-over",
        "pivot",
        "exec",
    ] {
        sh(call().args(["--fail", &format!("{row}:EIO")]), "true").exits(125).says("(EIO)");
        world.leak_check();
    }
    sh(call().args(["--until", "hand-over"]), "true").exits(0);
    world.leak_check();
    let out = world.runtime().args(["explain", "--why", "--allow-net", "a.test", "--", "true"]).output().ok();
    for text in [
        "safebox-net: setresuid(65531)",
        "local 0.0.0.0/0 dev lo",
        "bind(127.0.0.1:53)",
        "no packet leaves",
        "close its line",
    ] {
        assert!(out.stdout.contains(text), "{text}\n{out}");
    }
    assert_eq!(world.helper(), None, "explain starts none");
}

#[case(WORLD)]
fn a_detached_container_keeps_its_network() {
    let world = World::new();
    let script = "i=0; while [ $i -lt 40 ]; do curl -sS -m 3 http://a.test/ > /tmp/out 2>&1 && break; i=$((i+1)); done; sleep 30";
    let id = world.sb.id().to_string();
    sh(world.run().args(["-d", "--allow-net", "a.test:80"]), script).ok();
    crate::harness::poll("the answer", std::time::Duration::from_secs(20), || {
        world.sb.exec(["cat", "/tmp/out"]).stdout.contains("a.test /")
    });
    assert!(world.helper().is_some());
    world.sb.runtime().args(["delete", "--force", &id]).output().ok();
    crate::harness::poll("the helper's end", std::time::Duration::from_secs(5), || world.helper().is_none());
    world.leak_check();
}
