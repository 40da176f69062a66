//! The environment of a restored container: hooks, namespaces, mounts, privileges.

use super::*;
use crate::harness::case;
use nix::sys::signal::Signal;

#[case(super::OCI)]
fn hooks_run_once_the_namespaces_exist() {
    let log = tempfile::NamedTempFile::new().expect("a file");
    let hook = |name: &str| {
        let script = format!(
            "read -r s; echo {name} $(readlink /proc/$(echo \"$s\" | sed 's/.*\"pid\":\\([0-9]*\\).*/\\1/')/ns/net) >>{}",
            log.path().display()
        );
        json!([{ "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"] }])
    };
    let mut sb = counting();
    drop(started(&sb, Stdio::null()));
    poll("numbers", Duration::from_secs(10), || count(&sb) > 2);
    checkpoint(&sb, &[]).ok();
    for name in ["prestart", "createRuntime", "createContainer", "startContainer", "poststop"] {
        sb.set(&format!("/hooks/{name}"), hook(name));
    }
    let _out = piped(&sb, &restore_args(&sb, &[]), Stdio::null());
    let net = std::fs::read_link(format!("/proc/{}/ns/net", sb.pid())).expect("a namespace");
    let said = std::fs::read_to_string(log.path()).expect("the log");
    let expected = format!("prestart {0}\ncreateRuntime {0}\n", net.display());
    assert_eq!(said, expected, "in the container's namespaces, and only those");
    sb.delete().ok();
    let said = std::fs::read_to_string(log.path()).expect("the log");
    assert!(said.trim_end().lines().last().is_some_and(|l| l.starts_with("poststop")), "{said}");
    // A failing hook ends the restore.
    sb.set("/hooks", json!({ "prestart": [{ "path": "/bin/false" }] }));
    call(&sb, &[]).args(restore_args(&sb, &[])).output().exits(1);
    gone(&sb);
}

#[case(super::OCI)]
fn a_network_namespace_that_was_joined_is_joined_again() {
    let holder = Command::new("unshare").args(["--net", "sleep", "1000"]).spawn();
    let mut holder = holder.expect("unshare");
    let ns = format!("/proc/{}/ns/net", holder.id());
    let inode = || std::fs::metadata(&ns).map(|m| m.ino()).unwrap_or(0);
    let own = std::fs::metadata("/proc/self/ns/net").expect("a namespace").ino();
    poll("a network namespace", Duration::from_secs(5), || inode() != own);
    let mut sb = counting();
    let namespaces = sb.config()["linux"]["namespaces"].as_array().cloned().unwrap_or_default();
    let namespaces: Vec<_> = namespaces
        .into_iter()
        .map(|n| if n["type"] == "network" { json!({ "type": "network", "path": ns }) } else { n })
        .collect();
    sb.set("/linux/namespaces", namespaces.into());
    drop(started(&sb, Stdio::null()));
    poll("numbers", Duration::from_secs(10), || count(&sb) > 2);
    checkpoint(&sb, &[]).ok();
    let _out = piped(&sb, &restore_args(&sb, &[]), Stdio::null());
    goes_on(&sb, count(&sb));
    let now = std::fs::metadata(format!("/proc/{}/ns/net", sb.pid())).expect("a namespace").ino();
    let expected = inode();
    sb.delete().ok();
    holder.kill().expect("kill a child");
    holder.wait().expect("wait for a child");
    assert_eq!(now, expected);
}

#[case(super::OWN)]
fn loopback_is_up_and_sysctls_are_set() {
    let sb =
        counting().patch("/linux/sysctl", json!({ "net.ipv4.ip_forward": "1", "kernel.msgmax": "4242" }));
    drop(started(&sb, Stdio::null()));
    poll("numbers", Duration::from_secs(10), || count(&sb) > 2);
    checkpoint(&sb, &[]).ok();
    let _out = piped(&sb, &restore_args(&sb, &[]), Stdio::null());
    sb.exec(["cat", "/proc/sys/net/ipv4/ip_forward", "/proc/sys/kernel/msgmax"]).ok().prints("1\n4242\n");
    sb.exec(["ip", "addr", "show", "dev", "lo"]).ok().prints("127.0.0.1/8").prints("UP");
    sb.delete().ok();
}

/// criu restores the second of two mounts of one source without its attributes.
#[case(super::OWN)]
fn binds_and_masks_stay_read_only() {
    let sb = Sandbox::new();
    let shared = sb.dir().join("shared");
    std::fs::create_dir(&shared).expect("mkdir");
    std::fs::write(shared.join("f"), "x").expect("write");
    let bind = |to: &str| json!({ "destination": to, "type": "bind", "source": shared.display().to_string(), "options": ["bind", "ro", "nosuid"] });
    let sb = sb
        .sh("sleep 1000")
        .patch("/mounts/-", bind("/a"))
        .patch("/mounts/-", bind("/b"))
        .patch("/mounts/-", bind("/c"))
        .patch(
            "/linux/maskedPaths",
            json!(["/proc/keys", "/proc/timer_list", "/proc/kcore", "/proc/acpi", "/proc/missing"]),
        );
    drop(started(&sb, Stdio::null()));
    let shows = |sb: &Sandbox| {
        let text = std::fs::read_to_string(format!("/proc/{}/mountinfo", sb.pid())).expect("mountinfo");
        let mut all: Vec<_> = text
            .lines()
            .filter_map(|l| {
                let mut fields = l.split(' ').skip(3);
                let (root, at, options) = (fields.next()?, fields.next()?, fields.next()?);
                // The root mount is compared only by itself; its source has another name while criu runs.
                // criu restores the second mount of one source with relatime, which restricts nothing.
                Some((at.to_string(), root.to_string(), options.replace(",relatime", "")))
            })
            .collect();
        all.sort();
        all
    };
    let before = shows(&sb);
    checkpoint(&sb, &[]).ok();
    let _out = piped(&sb, &restore_args(&sb, &[]), Stdio::null());
    // criu may add restrictions of the file system to a mount, but never remove any.
    let (after, places) = (shows(&sb), |all: &[(String, String, String)]| {
        all.iter().map(|(at, root, _)| (at.clone(), root.clone())).collect::<Vec<_>>()
    });
    assert_eq!(places(&after), places(&before));
    for ((at, _, was), (_, _, is)) in before.iter().zip(&after) {
        let lost: Vec<_> = was.split(',').filter(|o| !is.split(',').any(|has| has == *o)).collect();
        assert!(lost.is_empty(), "{at}: {lost:?} is not restored ({is})");
    }
    for dir in ["a", "b", "c"] {
        sb.exec(["touch", &format!("/{dir}/new")]).exits(1).says("Read-only file system");
    }
    sb.exec(["sh", "-c", "chmod 600 /proc/timer_list"]).exits(1).says("Read-only file system");
    sb.exec(["sh", "-c", "cat /proc/keys /proc/timer_list | wc -c; ls /proc/acpi | wc -l"])
        .ok()
        .prints("0\n0\n");
    sb.exec(["sh", "-c", "echo 1 >/proc/sys/kernel/domainname"]).exits(1).says("Read-only file system");
    sb.delete().ok();
}

/// Podman restores on another machine: the rootfs is unpacked from the image again, without mount points.
#[case(super::OCI)]
fn mount_points_are_made_in_a_fresh_rootfs() {
    let sb = counting();
    let (dir, file) = (sb.dir().join("data"), sb.dir().join("resolv.conf"));
    std::fs::create_dir(&dir).expect("mkdir");
    std::fs::write(&file, "nameserver 192.0.2.1\n").expect("write");
    let bind = |from: &PathBuf, to: &str| json!({ "destination": to, "type": "bind", "source": from.display().to_string(), "options": ["rbind", "ro"] });
    let mut sb =
        sb.patch("/mounts/-", bind(&dir, "/data/deep")).patch("/mounts/-", bind(&file, "/etc/resolv.conf"));
    drop(started(&sb, Stdio::null()));
    poll("numbers", Duration::from_secs(10), || count(&sb) > 2);
    checkpoint(&sb, &[]).ok();
    let fresh = sb.bundle().join("fresh");
    bundle::make_rootfs(&fresh);
    for file in ["count", "new"] {
        // The loop's files, which may be open.
        std::fs::copy(sb.rootfs().join("tmp").join(file), fresh.join("tmp").join(file))
            .map(drop)
            .unwrap_or_default();
    }
    sb.set("/root/path", json!("fresh"));
    let _out = piped(&sb, &restore_args(&sb, &[]), Stdio::null());
    sb.exec(["cat", "/etc/resolv.conf"]).ok().prints("192.0.2.1");
    sb.exec(["ls", "/data/deep"]).ok();
    sb.delete().ok();
}

#[case(super::USERNS)]
fn a_user_namespace_comes_back() {
    let mut sb = Sandbox::new().sh(COUNT);
    let maps = json!([{ "containerID": 0, "hostID": 100_000, "size": 65536 }]);
    sb.set("/linux/namespaces/-", json!({ "type": "user" }));
    sb.set("/linux/uidMappings", maps.clone());
    sb.set("/linux/gidMappings", maps);
    let before = started(&sb, Stdio::null());
    line(&before);
    checkpoint(&sb, &[]).ok();
    let stopped_at = last(before);
    let after = piped(&sb, &restore_args(&sb, &[]), Stdio::null());
    assert_eq!(line(&after).parse(), Ok(stopped_at + 1));
    let map = std::fs::read_to_string(format!("/proc/{}/uid_map", sb.pid())).expect("uid_map");
    assert_eq!(map.split_whitespace().collect::<Vec<_>>(), ["0", "100000", "65536"]);
    sb.exec(["id", "-u"]).ok().prints("0");
    sb.exec(["sh", "-c", "chmod 600 /dev/zero"]).exits(1).says("Read-only file system");
    sb.delete().ok();
}

#[case(super::OCI)]
fn privileges_stay_dropped() {
    // criu reads the limits of another user's processes with CAP_SYS_RESOURCE, which not every root has.
    let status = std::fs::read_to_string("/proc/self/status").expect("status");
    let caps = status.lines().find_map(|l| u64::from_str_radix(l.strip_prefix("CapEff:")?.trim(), 16).ok());
    let id = if caps.unwrap_or(0) >> 24 & 1 == 1 { 1000 } else { 0 };
    let sb = counting().patch("/process/user", json!({ "uid": id, "gid": id })).patch(
        "/linux/seccomp",
        json!({ "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
            "syscalls": [{ "names": ["unshare"], "action": "SCMP_ACT_ERRNO" }] }),
    );
    std::os::unix::fs::chown(sb.rootfs().join("tmp"), Some(id), Some(id)).expect("chown");
    drop(started(&sb, Stdio::null()));
    let shows = |sb: &Sandbox| {
        let text = std::fs::read_to_string(format!("/proc/{}/status", sb.pid())).expect("status");
        let keys = [
            "Uid:",
            "Gid:",
            "Groups:",
            "CapInh:",
            "CapPrm:",
            "CapEff:",
            "CapBnd:",
            "CapAmb:",
            "NoNewPrivs:",
            "Seccomp",
        ];
        text.lines().filter(|l| keys.iter().any(|k| l.starts_with(k))).collect::<Vec<_>>().join("\n")
    };
    poll("numbers", Duration::from_secs(10), || count(&sb) > 2);
    let before = shows(&sb);
    checkpoint(&sb, &[]).ok();
    let _out = piped(&sb, &restore_args(&sb, &[]), Stdio::null());
    goes_on(&sb, count(&sb));
    assert_eq!(shows(&sb), before);
    sb.delete().ok();
}

/// systemd creates the scope again, around criu, and the restored processes are in it.
#[case(super::BOOTED)]
fn restored_below_systemd() {
    let sb = counting();
    let bundle = sb.bundle();
    let create = [
        "--systemd-cgroup".as_ref(),
        "create".as_ref(),
        "--bundle".as_ref(),
        bundle.as_os_str(),
        sb.id().as_ref(),
    ];
    drop(piped(&sb, &create, Stdio::null()));
    sb.verb("start").ok();
    poll("numbers", Duration::from_secs(10), || count(&sb) > 2);
    let group = |sb: &Sandbox| {
        let text = std::fs::read_to_string(format!("/proc/{}/cgroup", sb.pid())).expect("its groups");
        text.lines().last().map(str::to_string).expect("a group")
    };
    let before = group(&sb);
    assert!(before.ends_with(&format!("/system.slice/safebox-{}.scope", sb.id())), "{before}");
    checkpoint(&sb, &[]).ok();
    gone(&sb);
    let mut args = restore_args(&sb, &[]);
    args.insert(0, "--systemd-cgroup".into());
    let _out = piped(&sb, &args, Stdio::null());
    goes_on(&sb, count(&sb));
    assert_eq!(group(&sb), before);
    sb.exec(["true"]).ok();
    sb.verb("pause").ok();
    sb.verb("resume").ok();
    sb.delete().ok();
    gone(&sb);
}

/// A signal to a restore in the foreground is the container's, also one that comes while criu works; nothing is left.
#[case(super::OWN)]
fn signals_to_a_restore_are_the_container_s() {
    for (signal, code) in [(Signal::SIGTERM, 7), (Signal::SIGINT, 8), (Signal::SIGHUP, 9)] {
        let traps = "trap 'exit 7' TERM; trap 'exit 8' INT; trap 'exit 9' HUP; ";
        let sb = counting_every(traps, "0.05");
        drop(started(&sb, Stdio::null()));
        poll("numbers", Duration::from_secs(10), || count(&sb) > 2);
        checkpoint(&sb, &[]).ok();
        for early in [true, false] {
            let restore = call(&sb, &["restore", "--image-path"]).arg(images(&sb)).arg("--bundle");
            let restoring = restore.arg(sb.bundle()).arg(sb.id()).spawn();
            poll("the restore", Duration::from_secs(20), || match early {
                true => sb.root().join(sb.id()).exists(),
                false => sb.verb("state").stdout.contains("running"),
            });
            restoring.signal(signal);
            restoring.wait().exits(code);
            gone(&sb);
        }
    }
}
