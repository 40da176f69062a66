//! Lesson 10: a new network namespace is empty; a veth pair is a virtual cable into it; a bind mount gives it
//! a name (network_namespaces(7), veth(4)).
//!
//! `cd examples && cargo run -q --bin 10_network` (any user; needs ip(8))

use std::net::{TcpListener, TcpStream};
use std::{error::Error, fs, time::Duration};

use lessons::{said, sh};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};

fn main() -> Result<(), Box<dyn Error>> {
    let net = CloneFlags::CLONE_NEWNET;
    lessons::become_root(net)?;
    println!("a new namespace: devices {}, connect to 127.0.0.1: {}", devices()?, connect("127.0.0.1:7")?);

    // A process or a mount keeps a namespace alive. The mount is its name, as made by `ip netns add`.
    lessons::tmpfs("/tmp")?;
    for name in ["/tmp/red", "/tmp/blue"] {
        fs::write(name, "")?;
        unshare(net)?;
        mount(Some("/proc/self/ns/net"), name, Some(""), MsFlags::MS_BIND, Some(""))?;
    }
    setns(fs::File::open("/tmp/red")?, net)?;
    if sh("ip link add eth0 type veth peer name eth1 netns /tmp/blue")? {
        sh("ip addr add 10.9.8.1/24 dev eth0; ip link set eth0 up")?;
        let listener = TcpListener::bind("10.9.8.1:7000")?; // it stays in red, wherever this process goes
        setns(fs::File::open("/tmp/blue")?, net)?;
        println!("in blue, before eth1 has an address: {}", connect("10.9.8.1:7000")?);
        sh("ip addr add 10.9.8.2/24 dev eth1; ip link set eth1 up")?;
        println!("in blue, devices {}: {}", devices()?, connect("10.9.8.1:7000")?);
        println!("in red, the listener was reached from {}", listener.accept()?.1.ip());
    } else {
        println!("ip(8) is missing, or this kernel has no veth: two namespaces, and no cable");
    }
    println!(
        "
you saw:  A new network namespace has one device, lo, which is down: no host, no metadata address, no other
          container. What is reachable is what somebody puts a cable to. A socket stays in the namespace it was
          made in, whatever namespace its process enters later.
try next: sudo ip netns add blue, then \"path\": \"/run/netns/blue\" in config.json; then lesson 11_overlay"
    );
    Ok(())
}

fn devices() -> std::io::Result<String> {
    let table = fs::read_to_string("/proc/thread-self/net/dev")?;
    Ok(table
        .lines()
        .filter_map(|l| l.split_once(':'))
        .map(|(name, _)| name.trim())
        .collect::<Vec<_>>()
        .join(" "))
}

fn connect(to: &str) -> Result<String, Box<dyn Error>> {
    Ok(said(TcpStream::connect_timeout(&to.parse()?, Duration::from_secs(3))).replace("done", "connected"))
}
