//! A rootfs full of symlinks: every path that the runtime reads or writes inside leads to the host.

use std::os::unix::fs::{PermissionsExt, symlink};

use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use serde_json::json;

use super::{SECRET, Sentinel, both, no_secret};
use crate::harness::{Need, Output, Sandbox, case};

#[case(Root)]
fn proc_and_sys_that_are_links_are_refused() {
    for name in ["proc", "sys"] {
        for to in ["below", "."] {
            let sb = Sandbox::new().sh("cat /proc/secret /sys/secret /secret");
            let host = Sentinel::new();
            host.link(&sb, name, to);
            for out in both(&sb) {
                no_secret(&out);
                assert_eq!(out.code, 125, "must be refused\n{out}");
                assert!(out.stderr.contains("symbolic link"), "names the cause\n{out}");
            }
            // A symlink to a directory inside is refused too, because the content of procfs is trusted later.
            std::fs::remove_file(sb.rootfs().join(name)).expect("remove");
            symlink("tmp", sb.rootfs().join(name)).expect("a link");
            for out in both(&sb) {
                assert!(out.code == 125 && out.stderr.contains("symbolic link"), "{out}");
            }
        }
    }
}

/// CVE-2025-31133: the runtime masks files with a bind mount of /dev/null, and the attacker controls /dev.
#[case(Root)]
fn a_mask_is_never_what_dev_null_was_replaced_with() {
    for kind in ["link", "file"] {
        let sb = Sandbox::new().sh("cat /proc/version; stat -c '%F %t:%T' /proc/version; cat /dev/null");
        let host = Sentinel::new();
        let dev = sb.dir().join("dev");
        std::fs::create_dir(&dev).expect("a directory");
        match kind {
            "link" => symlink(host.dir.join("null"), dev.join("null")).expect("a link"),
            _ => std::fs::write(dev.join("null"), "decoy").expect("a file"),
        }
        let mut sb = sb.patch("/linux/maskedPaths", json!(["/proc/version"]));
        let mounts = json!([
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "bind", "source": dev, "options": ["bind", "rw"]},
        ]);
        sb.set("/mounts", mounts);
        for out in both(&sb) {
            no_secret(&out);
            assert!(!out.stdout.contains("Linux version"), "not masked\n{out}");
            let masked = out.stdout.contains("character special file 1:3");
            assert!(masked || out.code == 125, "masked by the null device, or refused\n{out}");
            assert!(!out.stdout.starts_with("decoy"), "the mask is the attacker's file\n{out}");
        }
        host.unchanged();
    }
}

/// The runtime's own /dev/null is not a null device, for example in a container with a hostile /dev. The
/// container's devices and masks must not come from there.
#[case(Root)]
fn a_mask_is_never_what_the_host_s_dev_null_became() {
    let sb = Sandbox::new()
        .sh("echo started; head -c 64 /proc/version /dev/zero")
        .patch("/linux/maskedPaths", json!(["/proc/version"]));
    let decoy = sb.dir().join("decoy");
    std::fs::write(&decoy, SECRET).expect("a file");
    let zero = sb.dir().join("zero");
    mknod(&zero, SFlag::S_IFCHR, Mode::from_bits_truncate(0o666), makedev(1, 5)).expect("mknod");
    let block = sb.dir().join("block");
    mknod(&block, SFlag::S_IFBLK, Mode::from_bits_truncate(0o666), makedev(1, 3)).expect("mknod");
    let dev = sb.dir().join("dev");
    std::fs::create_dir(&dev).expect("a directory");
    let mut bound = Sandbox::new().sh("echo started; head -c 64 /proc/version");
    bound.set("/linux/maskedPaths", json!(["/proc/version"]));
    let mounts = json!([
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/dev", "type": "bind", "source": dev, "options": ["bind", "rw"]},
    ]);
    bound.set("/mounts", mounts);
    let script = "mount --bind \"$0\" \"$1\" && shift && exec \"$@\"";
    for null in [&decoy, &zero, &block] {
        let wrap = ["unshare", "-m", "sh", "-c", script, null.to_str().expect("UTF-8"), "/dev/null"];
        for (sb, policy) in [(&sb, "privileged"), (&sb, "restricted"), (&bound, "privileged")] {
            let call = sb.under(&wrap).args(["run", "--quiet", "--policy", policy, "--bundle"]);
            let out = call.arg(sb.bundle()).arg(sb.id()).output();
            no_secret(&out);
            let out = out.ok();
            assert!(out.stdout.starts_with("started\n") && !out.stdout.contains("Linux"), "{policy}\n{out}");
        }
    }
    let wrap = ["unshare", "-m", "sh", "-c", script, decoy.to_str().expect("UTF-8"), "/dev/zero"];
    let call = sb.under(&wrap).args(["run", "--quiet", "--bundle"]);
    let out = call.arg(sb.bundle()).arg(sb.id()).output().ok();
    no_secret(&out);
    assert!(out.stdout.ends_with(&"\0".repeat(64)), "{out}");
}

/// The container must not be able to change the mode and owner of a mask.
#[case(Root)]
fn a_mask_cannot_change_the_host_s_null() {
    let sb = Sandbox::new()
        .sh("chmod 000 /proc/version; chown 1000 /proc/version; touch -d 1980-01-01 /proc/version; \
             echo x > /proc/version && echo written && cat /proc/version")
        .patch("/linux/maskedPaths", json!(["/proc/version"]))
        .patch("/process/capabilities", json!({}));
    let mut sb = sb;
    for set in ["bounding", "effective", "permitted"] {
        sb.set(
            &format!("/process/capabilities/{set}"),
            json!(["CAP_FOWNER", "CAP_CHOWN", "CAP_DAC_OVERRIDE"]),
        );
    }
    // Replaces the host's null device by one that only this test uses.
    let dir = sb.dir().join("host-dev");
    std::fs::create_dir(&dir).expect("a directory");
    let null = dir.join("null");
    mknod(&null, SFlag::S_IFCHR, Mode::from_bits_truncate(0o666), makedev(1, 3)).expect("mknod");
    std::fs::set_permissions(&null, std::fs::Permissions::from_mode(0o666)).expect("chmod");
    let before = super::hash_tree(&dir);
    // Temporary files may be on a nodev mount, where the device could not be written.
    let script = "mount --bind \"$0\" /dev/null && mount -o remount,bind,dev /dev/null && exec \"$@\"";
    let wrap = ["unshare", "-m", "sh", "-c", script, null.to_str().expect("UTF-8")];
    let out = sb
        .under(&wrap)
        .args(["run", "--quiet", "--policy", "privileged", "--bundle"])
        .arg(sb.bundle())
        .arg(sb.id())
        .output();
    assert!(out.stdout.contains("written"), "the mask takes writes as /dev/null does\n{out}");
    assert_eq!(super::hash_tree(&dir), before, "the host's null device was changed\n{out}");
}

/// CVE-2025-52881, CVE-2019-16884: the attacker's tmpfs or bind mount covers the files that the runtime
/// writes.
#[case(Root)]
fn a_sysctl_is_not_written_to_a_decoy() {
    let key = "net/ipv4/ip_forward";
    let sb = Sandbox::new()
        .sh("cat /decoy/ipv4/ip_forward")
        .patch("/linux/sysctl", json!({"net.ipv4.ip_forward": "1"}));
    let decoy = sb.rootfs().join("decoy");
    std::fs::create_dir_all(decoy.join("ipv4")).expect("directories");
    std::fs::write(decoy.join("ipv4/ip_forward"), "untouched").expect("a file");
    let over = json!({"destination": "/proc/sys/net", "type": "bind", "source": decoy, "options": ["bind"]});
    let sb = sb.patch("/mounts/-", over);
    let host = std::fs::read(std::path::Path::new("/proc/sys").join(key)).expect("read");
    for out in both(&sb) {
        assert_eq!(out.code, 125, "must be refused\n{out}");
    }
    assert_eq!(std::fs::read(decoy.join("ipv4/ip_forward")).expect("read"), b"untouched");
    // A complete fake procfs: the config binds the attacker's directory at /proc.
    let sb = sb.patch(
        "/mounts",
        json!([
            {"destination": "/proc", "type": "bind", "source": decoy, "options": ["bind"]},
        ]),
    );
    std::fs::create_dir_all(decoy.join("sys/net/ipv4")).expect("directories");
    std::fs::write(decoy.join("sys/net/ipv4/ip_forward"), "untouched").expect("a file");
    let out = sb.run_oci().output();
    let text = std::fs::read(decoy.join("sys/net/ipv4/ip_forward")).expect("read");
    assert_eq!(text, b"untouched", "{out}");
    assert_eq!(std::fs::read(std::path::Path::new("/proc/sys").join(key)).expect("read"), host, "the host's");
}

/// crun CVE-2025-24965: every path that the runtime creates already exists as a symlink to the host.
#[case(Root)]
fn files_made_inside_do_not_follow_links_out() {
    let sb = Sandbox::new()
        .sh("cat /tmp/secret /run/secret /work/secret /m/secret /f /deep/a/secret; ls -d /m/made");
    let host = Sentinel::new();
    std::fs::write(sb.dir().join("payload"), "payload").expect("a file");
    let payload = sb.dir().join("payload");
    let mut sb = sb.patch("/process/cwd", json!("/work/made/by/runtime"));
    sb.set("/mounts/-", json!({"destination": "/m/made", "type": "tmpfs", "source": "tmpfs"}));
    sb.set("/mounts/-", json!({"destination": "/deep/a/b", "type": "tmpfs", "source": "tmpfs"}));
    sb.set("/mounts/-", json!({"destination": "/f", "type": "bind", "source": payload, "options": ["bind"]}));
    sb.set(
        "/mounts/-",
        json!({"destination": "/g/new", "type": "bind", "source": payload, "options": ["bind"]}),
    );
    for name in ["tmp", "run", "var", "m", "work", "deep", "g", "etc"] {
        host.link(&sb, name, "");
    }
    host.link(&sb, "f", "new-file");
    for out in both(&sb) {
        no_secret(&out);
        host.unchanged();
    }
}

/// CVE-2019-18837: without a /dev mount the nodes are created in the rootfs's /dev, which is a symlink.
#[case(Root)]
fn dev_that_is_a_link_stays_inside() {
    let sb = Sandbox::new().sh("ls -ld /dev/zero; cat /dev/secret");
    let host = Sentinel::new();
    host.link(&sb, "dev", "below");
    let mut sb = sb;
    sb.set("/mounts", json!([{"destination": "/proc", "type": "proc", "source": "proc"}]));
    for out in both(&sb) {
        no_secret(&out);
        host.unchanged();
    }
    // A relative symlink upwards does not escape either.
    std::fs::remove_file(sb.rootfs().join("dev")).expect("remove");
    symlink(format!("../../../{}/sentinel", host.name()), sb.rootfs().join("dev")).expect("a link");
    for out in both(&sb) {
        no_secret(&out);
        host.unchanged();
    }
}

#[case(Root)]
fn device_nodes_that_are_links_are_refused() {
    for node in ["null", "zero"] {
        let sb = Sandbox::new().sh("cat /dev/null; echo overwritten > /dev/null");
        let host = Sentinel::new();
        host.link(&sb, &format!("dev/{node}"), "null");
        let mut sb = sb;
        sb.set("/mounts", json!([{"destination": "/proc", "type": "proc", "source": "proc"}]));
        for out in both(&sb) {
            no_secret(&out);
            host.unchanged();
        }
        assert_eq!(sb.run_oci().output().code, 125, "not that device: refused");
    }
}

#[case(Root)]
fn the_home_lookup_reads_only_a_regular_file_inside() {
    // The OCI verbs fall back to /; a hardened run has its own home.
    let home = |out: &Output| out.stdout == "home=/\n" || out.stdout == "home=/run/home\n";
    let sb = Sandbox::new().sh("echo home=$HOME");
    let host = Sentinel::new();
    let passwd = sb.rootfs().join("etc/passwd");
    host.link(&sb, "etc/passwd", "below/passwd");
    for out in both(&sb) {
        no_secret(&out);
        assert!(out.stdout.contains("home=/"), "{out}");
    }
    std::fs::remove_file(&passwd).expect("remove");
    mknod(&passwd, SFlag::S_IFIFO, Mode::from_bits_truncate(0o644), 0).expect("mkfifo");
    for out in both(&sb) {
        assert!(!out.timed_out && home(&out), "a FIFO does not block the launch\n{out}");
    }
    std::fs::remove_file(&passwd).expect("remove");
    std::fs::create_dir(&passwd).expect("a directory");
    for out in both(&sb) {
        assert!(home(&out), "a directory is not a passwd file\n{out}");
    }
    std::fs::remove_dir(&passwd).expect("remove");
    // Larger than memory: only the first MiB is read.
    let mut large = std::fs::OpenOptions::new().write(true).create_new(true).open(&passwd).expect("a file");
    std::io::Seek::seek(&mut large, std::io::SeekFrom::Start(1 << 30)).expect("seek");
    std::io::Write::write_all(&mut large, b"\nroot:x:0:0::/late:/bin/sh\n").expect("write");
    drop(large);
    for out in both(&sb) {
        assert!(!out.timed_out && home(&out), "a large file is not read whole\n{out}");
    }
    std::fs::remove_file(&passwd).expect("remove");
    // A line whose name looks like a number, and one with a HOME that is no path.
    let text = format!("0:x:4:4::/{SECRET}:/x\n+0:x:+0:0::rel/{SECRET}:/x\nroot:x:0:0::/mine:/bin/sh\n");
    std::fs::write(&passwd, text).expect("a file");
    sb.run_oci().output().ok().prints("home=/mine\n");
    // Opening a device can have side effects: a watchdog would reboot the host.
    std::fs::remove_file(&passwd).expect("remove");
    mknod(&passwd, SFlag::S_IFCHR, Mode::from_bits_truncate(0o644), makedev(1, 3)).expect("mknod");
    if Need::Strace.missing().is_none() {
        let log = sb.dir().join("strace.log");
        let log_text = log.to_str().expect("UTF-8");
        let call = sb.under(&["strace", "-f", "-y", "-e", "trace=openat,openat2,open", "-o", log_text]);
        let out = call.args(["explain", "--policy", "privileged"]).arg(sb.bundle()).output().ok();
        let text = std::fs::read_to_string(&log).expect("the log");
        let opens: Vec<_> = text.lines().filter(|l| l.contains("\"etc/passwd\"")).collect();
        assert!(!opens.is_empty() && opens.iter().all(|l| l.contains("O_PATH")), "{opens:?}\n{out}");
    }
}

/// The container is running by now and can change its rootfs at any moment.
#[case(Root)]
fn the_home_lookup_of_exec_stays_inside_too() {
    let mut sb = Sandbox::new()
        .sh("printf r:x:0:0::/p: >/proc/$$/comm; while :; do sleep 1; done")
        .patch("/root/readonly", json!(false));
    sb.set("/process/env", json!(["PATH=/bin"]));
    let host = Sentinel::new();
    sb.create().ok();
    sb.verb("start").ok();
    let home = |inside: &str| {
        sb.exec(["sh", "-c", &format!("rm -f /etc/passwd; {inside}")]).ok();
        let out = sb.exec(["sh", "-c", "echo home=$HOME"]).ok();
        no_secret(&out);
        assert!(!out.timed_out, "{inside}\n{out}");
        out.stdout
    };
    let file = host.dir.join("below/passwd").display().to_string();
    let up = "../".repeat(20);
    assert_eq!(home(&format!("ln -s {file} /etc/passwd")), "home=/\n");
    assert_eq!(home(&format!("ln -s {up}{file} /etc/passwd")), "home=/\n");
    assert_eq!(home(&format!("ln -s /proc/1/root/{file} /etc/passwd")), "home=/\n");
    assert_eq!(home("mknod /etc/passwd p"), "home=/\n");
    // Regular files for stat(2): the name of init, and the host's log, which reading consumes.
    assert_eq!(home("ln -s /proc/1/comm /etc/passwd"), "home=/\n");
    assert_eq!(home("ln -s /proc/kmsg /etc/passwd"), "home=/\n");
    assert_eq!(home("echo root:x:0:0::/mine:/bin/sh > /etc/passwd"), "home=/mine\n");
    sb.delete().ok();
}
