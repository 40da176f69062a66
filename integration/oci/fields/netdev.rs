//! `linux.netDevices`: devices of the host are moved in with names and addresses, and moved back if the
//! launch fails.

use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::harness::needs::device_kind;
use crate::harness::{Need, Sandbox, case};

/// runc knows this field since 1.4.
const OWN: &[Need] = &[Need::Root, Need::NetDevice];

/// A virtual device of the host; removed on drop from any namespace.
pub struct Device {
    /// Its name on the host.
    pub name: String,
}

impl Device {
    /// A device with these addresses, down.
    pub fn new(sb: &Sandbox, addresses: &[&str]) -> Self {
        // The token is too long for a device name; its end differs between tests.
        let token: String = sb.id().chars().rev().take(9).collect();
        let device = Device { name: format!("sb{token}") };
        assert!(ip(&["link", "add", &device.name, "mtu", "1400", "type", kind()]).is_some());
        for address in addresses {
            assert!(ip(&["addr", "add", address, "dev", &device.name]).is_some(), "{address}");
        }
        device
    }

    fn exists(&self) -> bool {
        Path::new("/sys/class/net").join(&self.name).exists()
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        ip(&["link", "del", &self.name]);
    }
}

fn kind() -> &'static str {
    device_kind().expect("a kind of device")
}

/// The output of `ip`; `None` if it fails.
fn ip(args: &[&str]) -> Option<String> {
    let out = Command::new("ip").args(args).output().expect("ip");
    out.status.success().then(|| String::from_utf8_lossy(&out.stdout).into_owned())
}

#[case(OWN)]
fn netdev_moves_in_with_its_addresses_and_up() {
    let sb = Sandbox::new();
    let device = Device::new(&sb, &["10.98.7.1/24", "fd00:98::7/64"]);
    let sb = sb
        .sh(&format!("ip addr show dev {}", device.name))
        .patch("/linux/netDevices", json!({ &device.name: {} }));
    let out = sb.run_oci().output().ok();
    out.prints("inet 10.98.7.1/24").prints("inet6 fd00:98::7/64").prints("mtu 1400").prints(",UP");
    assert!(!device.exists(), "a virtual device ends with its namespace");
    sb.leak_check();
}

#[case(OWN)]
fn netdev_is_renamed() {
    let sb = Sandbox::new();
    let (a, b) = (
        Device::new(&sb, &["10.98.8.1/32"]),
        Device { name: format!("b{}", sb.id().chars().rev().take(9).collect::<String>()) },
    );
    assert!(ip(&["link", "add", &b.name, "type", kind()]).is_some());
    assert!(ip(&["link", "set", &b.name, "up"]).is_some());
    let devices = json!({ &a.name: { "name": "eth0" }, &b.name: { "name": "eth1" } });
    let sb = sb.args(["/bin/ip", "addr"]).patch("/linux/netDevices", devices);
    let out = sb.run_oci().output().ok().prints("eth0: <").prints("inet 10.98.8.1/32").prints("eth1: <");
    assert!(!out.stdout.contains(&a.name), "{out}");
}

/// The kernel assigns the first free number, and the addresses get labels with the name.
#[case(OWN)]
fn netdev_is_numbered_where_the_name_asks_for_it() {
    let sb = Sandbox::new();
    let (a, b) = (
        Device::new(&sb, &[]),
        Device { name: format!("b{}", sb.id().chars().rev().take(9).collect::<String>()) },
    );
    assert!(ip(&["link", "add", &b.name, "type", kind()]).is_some());
    for (address, label) in [("10.98.11.1/24", format!("{}:1", a.name)), ("10.98.12.1/24", a.name.clone())] {
        assert!(ip(&["addr", "add", address, "dev", &a.name, "label", &label]).is_some(), "{label}");
    }
    let devices = json!({ &a.name: { "name": "net%d" }, &b.name: { "name": "net%d" } });
    let sb = sb.args(["/bin/ip", "addr"]).patch("/linux/netDevices", devices);
    let out = sb.run_oci().output().ok().prints("net0: <").prints("net1: <");
    // In the order of the names on the host.
    let name = if a.name < b.name { "net0" } else { "net1" };
    out.prints(&format!("10.98.11.1/24 scope global {name}:1\n"))
        .prints(&format!("10.98.12.1/24 scope global {name}\n"));
    for bad in ["%d%d", "%s", "a%", "fifteen-and-%d-m"] {
        let sb = Sandbox::new().patch("/linux/netDevices", json!({ "sbznosuchdev": { "name": bad } }));
        sb.create().exits(1).says("not an interface name");
    }
}

#[case(OWN)]
fn netdev_goes_to_a_joined_namespace_and_stays() {
    let sb = Sandbox::new();
    let device = Device::new(&sb, &["10.98.9.1/24"]);
    let name = format!("sb{}", sb.id());
    assert!(ip(&["netns", "add", &name]).is_some());
    let sb = sb
        .args(["/bin/ip", "addr", "show", "dev", "in0"])
        .patch("/linux/namespaces/1", json!({ "type": "network", "path": format!("/run/netns/{name}") }))
        .patch("/linux/netDevices", json!({ &device.name: { "name": "in0" } }));
    let out = sb.run_oci().output();
    let stays = ip(&["-n", &name, "addr", "show", "dev", "in0"]);
    assert!(ip(&["netns", "del", &name]).is_some());
    out.ok().prints("inet 10.98.9.1/24");
    assert!(stays.is_some_and(|s| s.contains("10.98.9.1/24")), "the namespace is not the runtime's");
}

#[case(OWN)]
fn netdev_comes_back_when_the_launch_fails() {
    let sb = Sandbox::new();
    let device = Device::new(&sb, &["10.98.10.1/24", "fd00:98::a/64"]);
    assert!(ip(&["link", "set", &device.name, "up"]).is_some());
    let up = || ip(&["addr", "show", "dev", &device.name]).expect("the device is here");
    let sb = sb
        .patch("/process/args", json!(["/no/such/program"]))
        .patch("/linux/netDevices", json!({ &device.name: { "name": "eth0" } }));
    sb.create().exits(1).says("no such file or directory");
    let now = up();
    for text in ["10.98.10.1/24", "fd00:98::a/64", ",UP", "mtu 1400"] {
        assert!(now.contains(text), "{text} in {now}");
    }
    sb.leak_check();
    // The second of two fails: the first is moved back too.
    let sb = sb.patch("/linux/netDevices", json!({ &device.name: { "name": "eth0" }, "sbznosuchdev": {} }));
    sb.create().exits(1).says("/linux/netDevices/sbznosuchdev");
    assert!(up().contains("10.98.10.1/24"));
}

#[case(OWN)]
fn netdev_errors_have_pointers() {
    let sb = Sandbox::new();
    let device = Device::new(&sb, &[]);
    let cases = [
        (json!({ "sbznosuchdev": {} }), "/linux/netDevices/sbznosuchdev", "no network device of this name"),
        (json!({ &device.name: { "name": "lo" } }), "/linux/netDevices/sb", "inside already"),
        (json!({ "lo": { "name": "eth0" } }), "/linux/netDevices/lo", "cannot be moved"),
        (json!({ &device.name: { "name": "a/b" } }), "/linux/netDevices/sb", "not an interface name"),
        (
            json!({ &device.name: { "name": "a-name-too-long-x" } }),
            "/linux/netDevices/sb",
            "not an interface",
        ),
    ];
    for (devices, pointer, text) in cases {
        let sb = Sandbox::new().patch("/linux/netDevices", devices);
        sb.create().exits(1).says(pointer).says(text);
        assert!(device.exists());
    }
}
