//! Device nodes: a process that watches an inode of the host (inotify(7)) learns who uses it, and a node in
//! an image gives access to a driver.

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};

use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use serde_json::json;

use crate::harness::{Need, Sandbox, case};

const ROOT: &[Need] = &[Need::Root];
const USERNS: &[Need] = &[Need::Root, Need::Userns];

#[case(ROOT)]
fn nodes_are_not_the_host_s() {
    own_nodes(|sb| sb);
}

#[case(USERNS)]
fn nodes_in_a_user_namespace_are_not_the_host_s() {
    own_nodes(mapped);
}

#[case(USERNS)]
fn nodes_without_a_mount_at_dev_are_not_the_host_s() {
    own_nodes(|sb| {
        mapped(sb).patch("/mounts", json!([{ "destination": "/proc", "type": "proc", "source": "proc" }]))
    })
}

#[case(ROOT)]
fn nodes_that_may_not_be_made_are_not_the_host_s() {
    own_nodes(denied);
}

/// The default devices, one of the config's, and a masked file.
const LOOK: &str = "stat -L -c '%n %d %t:%T' /dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty /dev/own/null /etc/secret;
    echo x > /dev/null && test $(head -c 3 /dev/zero | wc -c) = 3 && cat /etc/secret && echo works";

fn looking() -> Sandbox {
    let sb = Sandbox::new();
    std::fs::write(sb.rootfs().join("etc/secret"), super::SECRET).expect("a file");
    for dir in [sb.dir().to_path_buf(), sb.bundle(), sb.rootfs()] {
        std::fs::set_permissions(dir, PermissionsExt::from_mode(0o755)).expect("chmod");
    }
    sb.sh(LOOK)
        .patch("/root/readonly", json!(false))
        .patch("/linux/maskedPaths", json!(["/etc/secret"]))
        .patch("/linux/devices", json!([{ "path": "/dev/own/null", "type": "c", "major": 1, "minor": 3 }]))
}

fn mapped(sb: Sandbox) -> Sandbox {
    let map = json!([{ "containerID": 0, "hostID": 100_000, "size": 65536 }]);
    for name in ["", "dev", "etc", "proc", "sys"] {
        chown(sb.rootfs().join(name), Some(100_000), Some(100_000)).expect("chown");
    }
    sb.patch("/linux/namespaces/-", json!({ "type": "user" }))
        .patch("/linux/uidMappings", map.clone())
        .patch("/linux/gidMappings", map)
}

/// Device rules that deny creating /dev/null.
fn denied(sb: Sandbox) -> Sandbox {
    let rules = json!([
        { "allow": true, "access": "rwm" },
        { "allow": false, "type": "c", "major": 1, "minor": 3, "access": "m" },
    ]);
    sb.patch("/linux/resources", json!({ "devices": rules }))
}

/// Asserts that no node seen by the container is the host's.
#[track_caller]
fn are_own(out: &crate::harness::Output) {
    assert!(out.stdout.ends_with("works\n"), "{out}");
    let seen: BTreeMap<&str, (u64, &str)> = out
        .stdout
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ');
            Some((words.next()?, (words.next()?.parse().ok()?, words.next()?)))
        })
        .collect();
    assert_eq!(seen.len(), 8, "{out}");
    for (name, (file_system, device)) in &seen {
        let of_host = std::fs::metadata("/dev/null").expect("/dev/null").dev();
        assert_ne!(*file_system, of_host, "{name} is the host's\n{out}");
        assert!(*name != "/etc/secret" || *device == "1:3", "{out}");
    }
}

fn own_nodes(change: fn(Sandbox) -> Sandbox) {
    let sb = change(looking());
    are_own(&sb.run_oci().output().ok());
    // Temporary mounts of the runtime are gone.
    let sb = sb.sh("cat /proc/self/mountinfo");
    let out = sb.run_oci().output().ok();
    let roots: Vec<_> = out.stdout.lines().filter(|l| l.split(' ').nth(4) == Some("/")).collect();
    assert_eq!(roots.len(), 1, "{out}");
}

#[case(USERNS)]
fn nodes_of_a_hardened_container_are_not_the_host_s() {
    let sb = looking();
    are_own(&sb.run().args(["--allow", "devices"]).output().ok());
}

/// Two guards: the device cgroup, and here, without it, the mount option.
#[case(USERNS)]
fn nodes_of_the_image_do_not_open() {
    let sb = Sandbox::new();
    let node = |name: &str| {
        let mode = Mode::from_bits_truncate(0o666);
        mknod(&sb.rootfs().join(name), SFlag::S_IFCHR, mode, makedev(1, 5)).expect("mknod");
        std::fs::set_permissions(sb.rootfs().join(name), PermissionsExt::from_mode(0o666)).expect("chmod");
    };
    node("zero");
    let sb = sb.sh("head -c 1 /zero; cat /proc/self/mountinfo");
    for args in [&[] as &[&str], &["--allow", "host-user"], &["--allow", "devices"]] {
        let call = sb.runtime().args(["--cgroup-manager", "disabled", "run", "--quiet"]).args(args);
        let out = call.arg("--bundle").arg(sb.bundle()).arg(sb.id()).output();
        out.clone().says("/zero: Permission denied");
        let root = out.stdout.lines().find(|l| l.split(' ').nth(4) == Some("/")).expect("a root").to_string();
        assert!(root.contains("nosuid,nodev"), "{root}");
    }
    // Unhardened: the image's node, with the flags of its file system.
    let flags = nix::sys::statvfs::statvfs(sb.dir()).expect("statvfs").flags();
    if flags.contains(nix::sys::statvfs::FsFlags::ST_NODEV) {
        return;
    }
    let out = sb.run_oci().output();
    assert!(!out.stdout.lines().any(|l| l.split(' ').nth(4) == Some("/") && l.contains("nodev")), "{out}");
}

#[case(USERNS)]
fn masks_hide_the_heat_events_of_each_cpu() {
    let sb = Sandbox::new();
    let explained = sb.runtime().arg("explain").arg(sb.bundle()).output().ok();
    let possible = std::fs::read_to_string("/sys/devices/system/cpu/possible").expect("cpus");
    let last: u32 = possible.trim().rsplit(['-', ',']).next().and_then(|n| n.parse().ok()).expect("a number");
    for cpu in 0..=last {
        let path = format!("sys/devices/system/cpu/cpu{cpu}/thermal_throttle)");
        assert!(explained.stdout.contains(&path), "{path}\n{explained}");
    }
    let written = sb.runtime().args(["explain", "--policy", "privileged"]).arg(sb.bundle()).output().ok();
    assert!(!written.stdout.contains("thermal_throttle"), "{written}");
}

#[case(ROOT)]
fn masks_of_one_path_are_one() {
    let sb = looking()
        .patch("/linux/maskedPaths", json!(["/etc/secret", "/home", "/etc/secret", "/home", "/home"]));
    let out = sb.sh("cat /proc/self/mountinfo").run_oci().output().ok();
    for place in ["/etc/secret", "/home"] {
        let covers = out.stdout.lines().filter(|l| l.split(' ').nth(4) == Some(place)).count();
        assert_eq!(covers, 1, "{place}\n{out}");
    }
}
