//! The network by name on machines that have nothing but a shell: no python3, no curl, no openssl, no idmapped tmpfs.

use std::io::{Read, Write};
use std::time::Duration;

use super::names::sh;
use super::world::World;
use crate::harness::{Call, Need, Output, Sandbox, case, poll};
use crate::oci::rootless::one;

const ROOT: &[Need] = &[Need::Root, Need::Userns, Need::Pair];
const USER: &[Need] = &[Need::Root, Need::OrdinaryUserns, Need::Pair];

#[case(ROOT)]
fn small_names_are_reached_and_all_else_is_reported() {
    reaches(&World::small(Sandbox::new()), World::run);
}

#[case(USER)]
fn small_an_ordinary_user_reaches_names() {
    reaches(&World::small(one().sandbox()), |world| world.run_as(one()));
}

#[case(ROOT)]
fn small_a_port_is_published() {
    publishes(&World::small(Sandbox::new()), World::run);
}

#[case(USER)]
fn small_an_ordinary_user_publishes_a_port() {
    publishes(&World::small(one().sandbox()), |world| world.run_as(one()));
}

/// `get NAME PORT PATH` prints the last line of the answer, or `refused`.
const GET: &str = r#"get() { { printf 'GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n' "$3" "$1" >&3; tail -n 1 <&3 | grep .; } 3<>"/dev/tcp/$1/$2" || echo refused; }"#;

fn bash(call: Call, script: &str) -> Output {
    call.args(["--", "bash", "-c", &format!("{GET}; trap '' PIPE; exec 2>/dev/null; {script}")]).output()
}

fn reaches(world: &World, run: impl Fn(&World) -> Call) {
    let audit = world.dir().join("audit");
    std::fs::create_dir(&audit).expect("mkdir");
    nix::unistd::chown(&audit, Some(one().uid.into()), Some(one().gid.into())).expect("chown");
    let audit = audit.join("log");
    let call = || {
        run(world).args(["--dns", "203.0.113.2", "--allow-net", "a.test:80", "--allow-net", "meta.test:80"])
    };
    let script = "get a.test 80 /one; get a.test 8080 /; get b.test 80 /; get meta.test 80 /; get 203.0.113.2 80 /; \
                  get 169.254.169.254 80 /; get 203.0.113.2 8080 /; echo x >/dev/udp/203.0.113.2/53; get a.test 80 /two; exit 3";
    let out = bash(call().args(["--audit-log", &audit.display().to_string()]), script).exits(3);
    let refused = "refused\n".repeat(6);
    let answer = |path| format!("203.0.113.2:80 a.test /{path}\n");
    assert_eq!(out.stdout, format!("{}{refused}{}", answer("one"), answer("two")), "{out}");
    for refusal in [
        "a.test:8080: no rule allows this port (--allow-net a.test:8080)",
        "the name b.test: no rule allows it (--allow-net b.test)",
        "meta.test:80 leads to 169.254.169.254, a metadata address (--allow-net 169.254.169.254:80)",
        "203.0.113.2:80: no rule allows this address (--allow-net 203.0.113.2:80)",
        "169.254.169.254:80: no rule allows this address (--allow-net 169.254.169.254:80)",
        "203.0.113.2:8080: no rule allows this address (--allow-net 203.0.113.2:8080)",
        "203.0.113.2:53/udp: only TCP is carried",
    ] {
        assert!(out.stderr.contains(&format!("network: refused {refusal}")), "{refusal}\n{out}");
    }
    let audit = std::fs::read_to_string(audit).expect("the audit file");
    assert_eq!(audit.matches("\"allowed\"").count(), 4, "verdict and reason of two connections\n{audit}");
    world.leak_check();
}

fn publishes(world: &World, run: impl Fn(&World) -> Call) {
    // The program is a server that answers once.
    let server = "busybox nc -l -p 8000 -e echo served";
    let call =
        run(world).args(["-p", "127.0.0.1:18080:8000", "--", "sh", "-c", &format!("echo up; {server}")]);
    let running = world.sb.run_until(call, "up");
    poll("the server", Duration::from_secs(20), || {
        world.on_host("busybox nc -w 5 127.0.0.1 18080 </dev/null") == "served\n"
    });
    running.wait().ok();
    world.leak_check();
}

/// SIGKILL of the helper, then of the launcher.
#[case(ROOT)]
fn small_the_ends_of_helper_and_launcher_leave_nothing() {
    let world = World::small(Sandbox::new());
    let call = || world.run().args(["--dns", "203.0.113.2", "--allow-net", "a.test:80"]);
    let (mut gate, end) = std::os::unix::net::UnixStream::pair().expect("socketpair");
    let script = format!(
        "{GET}; trap '' PIPE; exec 2>/dev/null; get a.test 80 /; read -r go; get a.test 80 /; get 203.0.113.2 80 /"
    );
    let waits = call().arg("-i").with(move |c| {
        c.stdin(std::os::fd::OwnedFd::from(end.try_clone().expect("dup")));
    });
    let running = world.sb.run_until(waits.args(["--", "bash", "-c", &script]), "a.test /");
    let helper = world.helper().expect("the helper");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(helper), nix::sys::signal::Signal::SIGKILL)
        .expect("kill");
    poll("the helper's end", Duration::from_secs(10), || world.helper().is_none());
    gate.write_all(b"go\n").expect("write");
    gate.shutdown(std::net::Shutdown::Write).expect("shutdown");
    let out = running.wait();
    assert!(out.stdout.ends_with("refused\nrefused\n"), "{out}");
    out.says("the helper ended before the program");
    gate.set_nonblocking(true).expect("fcntl");
    assert!(gate.read(&mut [0; 1]).map_or(true, |n| n == 0), "nothing was written there");
    world.leak_check();
    let running = world.sb.run_until(call().args(["--", "sh", "-c", "echo up; sleep 100"]), "up");
    running.signal(nix::sys::signal::Signal::SIGKILL);
    running.wait();
    poll("the helper's end", Duration::from_secs(10), || world.helper().is_none());
    world.sb.leak_check_within(Duration::from_secs(10));
    sh(call().args(["--fail", "strays:ipv4:EIO"]), "true").exits(125).says("(EIO)");
    world.leak_check();
}
