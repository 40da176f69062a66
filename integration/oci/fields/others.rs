//! Devices, hooks, annotations, and limits that this host cannot apply.

mod hooks;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::{Value, json};

use crate::harness::{Need, Sandbox, case};

const OCI: &[Need] = &[Need::Root, Need::Oci];
const OWN: &[Need] = &[Need::Root];

/// Go's decoder matches keys in any case, so such keys must not be lost.
#[case(OCI)]
fn keys_are_read_in_any_case() {
    let sb = Sandbox::new()
        .sh("grep NoNewPrivs /proc/self/status; touch /tmp/x || echo read-only")
        .patch("/root", json!({ "path": "rootfs", "readOnly": true }))
        .patch("/process/noNewPrivileges", json!(false))
        .patch("/process/NoNewPrivileges", json!(true))
        .patch("/process/NONEWPRIVILEGES", json!(null))
        .patch("/linux/resources/PIDS", json!({ "Limit": 77 }));
    sb.run_oci().output().ok().prints("NoNewPrivs:\t1\n").prints("read-only\n");
    let sb = sb.sh("exec sleep 1000");
    sb.create().ok();
    assert_eq!(crate::oci::limits::limit(sb.pid(), "pids.max", ("pids", "pids.max")), "77");
    // The same for update's JSON; text after it is ignored.
    let odd = r#"{"PIDS":{"LIMIT":78}} and more"#;
    sb.runtime().args(["update", "--resources", "-"]).arg(sb.id()).input(odd).output().ok();
    assert_eq!(crate::oci::limits::limit(sb.pid(), "pids.max", ("pids", "pids.max")), "78");
    sb.delete().ok();
}

/// Also: unknown access letters and an empty network object are ignored, as by runc.
#[case(Root, Oci)]
fn limits_of_devices_may_be_all_but_one() {
    let resources = json!({
        "devices": [
            { "allow": true, "access": "rwm" },
            { "allow": false, "type": "c", "major": 1, "minor": 11, "access": "rwmx" },
            { "allow": false, "type": "c", "major": 1, "minor": 3, "access": "x" },
        ],
        "network": {},
    });
    let out = Sandbox::new()
        .sh("head -c1 /dev/kmsg 2>&1; cat /dev/null && head -c0 /dev/loop-control && echo others")
        .patch("/linux/resources", resources)
        .patch(
            "/linux/devices",
            json!([
                { "path": "/dev/kmsg", "type": "c", "major": 1, "minor": 11 },
                { "path": "/dev/loop-control", "type": "c", "major": 10, "minor": 237 },
            ]),
        )
        .run_oci()
        .output();
    assert!(out.stdout.contains("Operation not permitted") && out.stdout.ends_with("others\n"), "{out}");
}

// runc 1.1 cannot open a /dev/null listed in the config.
#[case(OWN)]
fn devices_have_their_mode_and_owner() {
    let sb = Sandbox::new()
        .sh("stat -c '%n %F %a %u:%g %t:%T' /dev/zero2 /dev/sub/full /opt/null /dev/a-pipe /dev/null")
        .patch("/root/readonly", json!(false))
        .patch("/linux/devices", json!([
            { "path": "/dev/zero2", "type": "c", "major": 1, "minor": 5, "fileMode": 0o640, "uid": 3, "gid": 4 },
            { "path": "/dev/sub/full", "type": "u", "major": 1, "minor": 7 },
            { "path": "/opt/null", "type": "c", "major": 1, "minor": 3, "fileMode": 0o20666 },
            { "path": "/dev/a-pipe", "type": "p", "fileMode": 0o600 },
            { "path": "/dev/null", "type": "c", "major": 1, "minor": 3, "fileMode": 0o622, "uid": 0, "gid": 9 },
        ]));
    let out = sb.run_oci().output().ok();
    out.clone()
        .prints("/dev/zero2 character special file 640 3:4 1:5\n")
        .prints("/opt/null character special file 666 0:0 1:3\n")
        .prints("/dev/a-pipe fifo 600 0:0 0:0\n")
        .prints("/dev/null character special file 622 0:9 1:3\n");
    assert!(out.stdout.contains("/dev/sub/full character special file 666 0:0 1:7\n"), "{out}");
}

#[case(OCI)]
fn devices_that_are_promised_are_there() {
    let sb = Sandbox::new()
        .sh("stat -c '%n %a %t:%T' /dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty; \
         for l in fd stdin stdout stderr ptmx core; do ls -l /dev/$l; done");
    let out = sb.run_oci().output();
    let kcore = Path::new("/proc/kcore").exists();
    assert_eq!(out.stdout.contains("/dev/core -> /proc/kcore\n"), kcore, "{out}");
    for (name, numbers) in [
        ("null", "1:3"),
        ("zero", "1:5"),
        ("full", "1:7"),
        ("random", "1:8"),
        ("urandom", "1:9"),
        ("tty", "5:0"),
    ] {
        assert!(out.stdout.contains(&format!("/dev/{name} 666 {numbers}\n")), "{name}\n{out}");
    }
    for (name, to) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("ptmx", "pts/ptmx"),
    ] {
        assert!(out.stdout.contains(&format!("/dev/{name} -> {to}\n")), "{name}\n{out}");
    }
}

/// A rootfs without a mount at /dev, as in an image: its ptmx is replaced, its other files stay.
#[case(OCI)]
fn devices_and_a_ptmx_of_the_rootfs_s() {
    let own = Sandbox::new();
    let elsewhere = own.dir().join("elsewhere");
    std::fs::write(&elsewhere, "as it was").expect("a file");
    let put = |dev: &Path, what: &str| match what {
        "file" => std::fs::write(dev.join("ptmx"), "a file").expect("a file"),
        "directory" => std::fs::create_dir(dev.join("ptmx")).expect("a directory"),
        "other link" => std::os::unix::fs::symlink(&elsewhere, dev.join("ptmx")).expect("a link"),
        _ => std::os::unix::fs::symlink("pts/ptmx", dev.join("ptmx")).expect("a link"),
    };
    for what in ["file", "directory", "other link", "link"] {
        let mut sb =
            Sandbox::new().sh("readlink /dev/ptmx; cat /dev/stdin").patch("/root/readonly", json!(false));
        let mounts = sb.config()["mounts"].as_array().expect("mounts").clone();
        let kept = |m: &Value| !m["destination"].as_str().is_some_and(|d| d.starts_with("/dev"));
        sb.set("/mounts", mounts.into_iter().filter(kept).collect());
        let device = json!({ "path": "/dev/ptmx", "type": "c", "major": 5, "minor": 2, "fileMode": 438 });
        sb.set("/linux/devices", json!([device]));
        let dev = sb.rootfs().join("dev");
        std::fs::create_dir_all(&dev).expect("a directory");
        put(&dev, what);
        std::fs::write(dev.join("stdin"), "the rootfs's own").expect("a file");
        sb.run_oci().output().ok().prints("pts/ptmx\nthe rootfs's own");
    }
    assert_eq!(std::fs::read_to_string(&elsewhere).expect("the file"), "as it was");
    // An object that cannot be replaced is reported.
    let mut sb = Sandbox::new().sh("true");
    sb.set("/mounts", json!([]));
    std::fs::create_dir_all(sb.rootfs().join("dev/ptmx/full")).expect("a directory");
    assert_ne!(sb.create().code, 0);
}

#[case(Root, Userns)]
fn devices_in_a_user_namespace() {
    let map = json!([{ "containerID": 0, "hostID": 100_000, "size": 65536 }]);
    let sb = Sandbox::new();
    for dir in [sb.dir().to_path_buf(), sb.bundle(), sb.rootfs()] {
        std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o755)).expect("chmod");
    }
    // The host may lack this node.
    let (path, major, minor) = ("/dev/net/tun", 10, 200);
    let script = format!(
        "stat -c '%n %F' /dev/null /dev/a-pipe {path} && echo x > /dev/null && head -c 3 /dev/zero | wc -c"
    );
    let sb = sb
        .sh(&script)
        .patch("/linux/namespaces/-", json!({ "type": "user" }))
        .patch("/linux/uidMappings", map.clone())
        .patch("/linux/gidMappings", map)
        .patch(
            "/linux/devices",
            json!([
                { "path": "/dev/a-pipe", "type": "p" },
                { "path": path, "type": "c", "major": major, "minor": minor },
            ]),
        )
        .without("/linux/resources");
    let out = sb.run_oci().output().ok();
    out.prints(&format!(
        "/dev/null character special file\n/dev/a-pipe fifo\n{path} character special file\n3\n"
    ));
}

/// The device is that of the config, regardless of the host's file at that path.
#[case(Root, Userns)]
fn devices_of_the_host_are_those_meant() {
    let map = json!([{ "containerID": 0, "hostID": 100_000, "size": 65536 }]);
    let sb = Sandbox::new()
        .patch("/linux/namespaces/-", json!({ "type": "user" }))
        .patch("/linux/uidMappings", map.clone())
        .patch("/linux/gidMappings", map)
        .without("/linux/resources");
    for dir in [sb.dir().to_path_buf(), sb.bundle(), sb.rootfs()] {
        std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o755)).expect("chmod");
    }
    let mut sb = sb.sh("stat -c '%F %t:%T %a %u:%g' /dev/kmsg");
    for (kind, major, minor, shown) in [
        ("c", 1, 5, "character special file 1:5"),
        ("u", 1, 5, "character special file 1:5"),
        ("b", 7, 0, "block special file 7:0"),
    ] {
        let device = json!([{ "path": "/dev/kmsg", "type": kind, "major": major, "minor": minor,
            "fileMode": 0o640, "uid": 7, "gid": 8 }]);
        sb.set("/linux/devices", device);
        sb.run_oci().output().ok().prints(&format!("{shown} 640 7:8\n"));
    }
}

#[case(OWN)]
fn devices_refusals_have_pointers() {
    for (device, key) in [
        (json!({ "path": "/dev/x", "type": "z", "major": 1, "minor": 3 }), "type"),
        (json!({ "path": "dev/x", "type": "c", "major": 1, "minor": 3 }), "path"),
        (json!({ "path": "/dev/../x", "type": "c", "major": 1, "minor": 3 }), "path"),
        (json!({ "path": "/dev/x", "type": "c", "major": -5, "minor": 3 }), "major"),
        (json!({ "path": "/dev/x", "type": "c", "major": 1, "minor": 1_048_576 }), "minor"),
    ] {
        let sb = Sandbox::new().patch("/linux/devices", json!([device]));
        sb.create().exits(1).says(&format!("/linux/devices/0/{key}: "));
    }
    // Another object already exists there.
    let sb = Sandbox::new();
    std::fs::write(sb.rootfs().join("etc/dev"), "").expect("a file");
    let device = json!([{ "path": "/etc/dev", "type": "c", "major": 1, "minor": 3 }]);
    let sb = sb.patch("/linux/devices", device);
    sb.create().exits(1).says("/linux/devices");
    sb.leak_check();
}

#[case(OCI)]
fn annotations_round_trip() {
    let all = json!({ "org.example.a": "1", "run.oci.x": "", "with \"quotes\"": "ä\n2" });
    let sb = Sandbox::new().args(["/bin/sleep", "1000"]).patch("/annotations", all.clone());
    sb.create().ok();
    let state = sb.state();
    for (key, value) in all.as_object().expect("an object") {
        assert_eq!(&state["annotations"][key], value, "{state:#}");
    }
    sb.delete().ok();
}

#[case(OWN)]
fn hugepage_limits_count_reservations_too() {
    let sizes: Vec<String> = std::fs::read_dir("/sys/kernel/mm/hugepages")
        .map(|d| d.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect())
        .unwrap_or_default();
    let limits = json!([{ "pageSize": "2MB", "limit": 4_194_304 }]);
    let sb = Sandbox::new().args(["/bin/sleep", "1000"]).patch("/linux/resources/hugepageLimits", limits);
    let out = sb.create();
    if out.code != 0 {
        // The page size or the hugetlb controller is missing: an error, not ignored.
        out.says("/linux/resources/hugepageLimits");
        sb.leak_check();
        return;
    }
    assert!(sizes.iter().any(|s| s == "hugepages-2048kB"), "{sizes:?}");
    let groups = sb.trace().cgroups();
    for file in [
        ["hugetlb.2MB.max", "hugetlb.2MB.limit_in_bytes"],
        ["hugetlb.2MB.rsvd.max", "hugetlb.2MB.rsvd.limit_in_bytes"],
    ] {
        let values: Vec<_> =
            groups.iter().flat_map(|g| file.map(|f| std::fs::read_to_string(g.join(f)))).flatten().collect();
        assert_eq!(values, ["4194304\n"], "{file:?}");
    }
    sb.delete().ok();
}

#[case(Root, CgroupV2)]
fn limits_of_v1_alone_are_refused_on_v2() {
    for (key, value) in [
        ("memory/swappiness", json!(10)),
        ("memory/disableOOMKiller", json!(true)),
        ("memory/kernelTCP", json!(1 << 20)),
        ("cpu/realtimeRuntime", json!(1000)),
        ("cpu/realtimePeriod", json!(10_000)),
        ("network", json!({ "classID": 5 })),
    ] {
        let sb = Sandbox::new().patch(&format!("/linux/resources/{key}"), value);
        let field = if key == "network" { "network/classID" } else { key };
        sb.create().exits(1).says(&format!("/linux/resources/{field}: "));
        sb.leak_check();
    }
}

#[case(Root, CgroupV1)]
fn limits_of_kernel_memory() {
    let tcp = ("memory", "memory.kmem.tcp.limit_in_bytes");
    let sb = Sandbox::new().args(["/bin/sleep", "1000"]);
    let sb = sb.patch("/linux/resources/memory", json!({ "kernelTCP": 1 << 20 }));
    sb.create().ok();
    assert_eq!(crate::oci::limits::limit(sb.pid(), "none", tcp), (1 << 20).to_string());
    sb.runtime()
        .args(["update", "-r", "-", sb.id()])
        .input(r#"{"memory":{"kernelTCP":2097152}}"#)
        .output()
        .ok();
    assert_eq!(crate::oci::limits::limit(sb.pid(), "none", tcp), (2 << 20).to_string());
    sb.delete().ok();
    let sb = Sandbox::new().patch("/linux/resources/memory", json!({ "kernel": 1 << 20 }));
    sb.create().exits(1).says("/linux/resources/memory/kernel: ");
    sb.leak_check();
}

#[case(Root, CgroupV1)]
fn limits_without_a_controller_are_refused_on_v1() {
    for (key, value) in [
        ("unified", json!({ "memory.high": "10000000" })),
        ("rdma", json!({ "mlx": { "hcaHandles": 3 } })),
        ("network", json!({ "classID": 5, "priorities": [{ "name": "lo", "priority": 3 }] })),
    ] {
        let sb = Sandbox::new().patch(&format!("/linux/resources/{key}"), value);
        let out = sb.create();
        if out.code == 0 {
            // This host has the controller.
            sb.delete().ok();
            continue;
        }
        let out = out.says(&format!("/linux/resources/{key}"));
        if key == "unified" {
            out.says("invalid configuration: cannot use unified on cgroup v1");
        }
        sb.leak_check();
    }
}

#[case(OWN)]
fn limits_of_block_devices_are_written_or_refused() {
    let sb = Sandbox::new().patch("/linux/resources/blockIO", json!({ "leafWeight": 100 }));
    sb.create().exits(1).says("/linux/resources/blockIO/leafWeight: ");
    let sb = Sandbox::new().patch("/linux/resources/blockIO", json!({ "weight": 5 }));
    sb.create().exits(1).says("/linux/resources/blockIO/weight: ");
    // A weight needs an I/O scheduler with weights; a missing one is reported.
    let sb = Sandbox::new().args(["/bin/sleep", "1000"]);
    let sb = sb.patch("/linux/resources/blockIO", json!({ "weight": 300 }));
    let out = sb.create();
    if out.code == 0 {
        let read = |g: &std::path::PathBuf, f: &str| std::fs::read_to_string(g.join(f)).ok();
        let files = ["blkio.bfq.weight", "io.weight", "io.bfq.weight"];
        let values: Vec<_> = sb
            .trace()
            .cgroups()
            .iter()
            .flat_map(|g| files.iter().filter_map(|f| read(g, f)).collect::<Vec<_>>())
            .collect();
        assert!(
            values.iter().any(|v| v.trim() == "300" || v.trim() == "default 300" || v.contains("2930")),
            "{values:?}"
        );
        sb.delete().ok();
    } else {
        out.says("/linux/resources/blockIO");
        sb.leak_check();
    }
}
