//! `mounts`: every kind of option has the effect of config.md, seen in the container's mountinfo and files.

mod idmap;

use std::os::unix::fs::{PermissionsExt, chown, symlink};

use serde_json::{Value, json};

use crate::harness::{self, Need, Output, Sandbox, case};
use idmap::maps;

const OCI: &[Need] = &[Need::Root, Need::Oci];
/// Options that runc 1.1 does not know.
const OWN: &[Need] = &[Need::Root];

/// The mount options and super options of `place` in the mountinfo that the container printed.
#[track_caller]
fn options<'a>(out: &'a Output, place: &str) -> (&'a str, &'a str) {
    let line = out.stdout.lines().rfind(|l| l.split(' ').nth(4) == Some(place));
    let line = line.unwrap_or_else(|| panic!("no mount at {place}\n{out}"));
    let mount = line.split(' ').nth(5).expect("options");
    (mount, line.rsplit(' ').next().expect("super options"))
}

const MOUNTINFO: &str = "cat /proc/self/mountinfo";

fn tmpfs(place: &str, options: &[&str]) -> Value {
    json!({ "destination": place, "type": "tmpfs", "source": "tmpfs", "options": options })
}

fn bind(sb: &Sandbox, source: &str, place: &str, options: &[&str]) -> Value {
    json!({ "destination": place, "type": "bind", "source": sb.dir().join(source), "options": options })
}

#[case(OCI)]
fn mounts_attributes_of_a_tmpfs() {
    let cases: &[(&[&str], &[&str])] = &[
        (&["ro"], &["ro"]),
        (&["nosuid", "nodev", "noexec"], &["rw", "nosuid", "nodev", "noexec"]),
        (&["ro", "rw", "nosuid", "suid"], &["rw"]),
        (&["noatime"], &["noatime"]),
        (&["nodiratime"], &["nodiratime"]),
        (&["relatime"], &["relatime"]),
        (&["defaults"], &["rw", "relatime"]),
    ];
    for (i, (given, shown)) in cases.iter().enumerate() {
        if harness::bundle::is_foreign() && given == &["defaults"] {
            // runc 1.1 passes it to the file system.
            continue;
        }
        let place = format!("/tmp/m{i}");
        let sb = Sandbox::new()
            .sh(MOUNTINFO)
            .patch("/root/readonly", json!(false))
            .patch("/mounts/-", tmpfs(&place, given));
        let out = sb.run_oci().output().ok();
        let words: Vec<_> = options(&out, &place).0.split(',').collect();
        assert!(shown.iter().all(|w| words.contains(w)), "{given:?}: {words:?}");
        assert_eq!(words.contains(&"nosuid"), shown.contains(&"nosuid"), "{given:?}: {words:?}");
    }
}

#[case(OCI)]
fn mounts_of_files_and_relative_paths() {
    let sb = Sandbox::new();
    std::fs::write(sb.dir().join("a-file"), "content of a file").expect("a file");
    std::fs::create_dir(sb.bundle().join("data")).expect("a directory");
    std::fs::write(sb.bundle().join("data/x"), "content of data").expect("a file");
    let mount = bind(&sb, "a-file", "/etc/new/file", &["bind", "ro"]);
    let relative = json!({ "destination": "rel/dir", "source": "data", "options": ["rbind"] });
    let sb = sb
        .sh("cat /etc/new/file /rel/dir/x; echo x > /etc/new/file")
        .patch("/root/readonly", json!(false))
        .patch("/mounts/-", mount)
        .patch("/mounts/-", relative);
    let out = sb.run_oci().output();
    out.clone().prints("content of a filecontent of data").says("Read-only file system");
    assert_eq!(out.code, 1, "{out}");
}

/// A directory on the host with a mount below it, in the test thread's mount namespace.
fn tree(sb: &Sandbox) {
    for dir in ["tree", "tree/below"] {
        std::fs::create_dir(sb.dir().join(dir)).expect("a directory");
    }
}

/// Runs `run` in a shell that has a tmpfs at `tree/below`, in a new mount namespace.
fn run_with_tree(sb: &Sandbox, prepare: &str) -> Output {
    let below = sb.dir().join("tree/below");
    let script = format!("mount -t tmpfs tmpfs {} && {prepare} && exec \"$@\"", below.display());
    let call = sb.under(&["unshare", "--mount", "--propagation", "private", "sh", "-c", &script, "sh"]);
    let call = call.arg("run").arg("--bundle").arg(sb.bundle());
    let call =
        if harness::bundle::is_foreign() { call } else { call.args(["--quiet", "--policy", "privileged"]) };
    call.arg(sb.id()).output()
}

#[case(OWN)]
fn mounts_recursive_attributes_reach_what_is_below() {
    for (option, shown) in [
        ("rro", "ro"),
        ("rnosuid", "nosuid"),
        ("rnodev", "nodev"),
        ("rnoexec", "noexec"),
        ("rnoatime", "noatime"),
        ("rnosymfollow", "nosymfollow"),
    ] {
        let sb = Sandbox::new();
        tree(&sb);
        let mount = bind(&sb, "tree", "/mnt/tree", &["rbind", option]);
        let sb = sb.sh(MOUNTINFO).patch("/root/readonly", json!(false)).patch("/mounts/-", mount);
        let out = run_with_tree(&sb, "true").ok();
        for place in ["/mnt/tree", "/mnt/tree/below"] {
            let words: Vec<_> = options(&out, place).0.split(',').collect();
            assert!(words.contains(&shown), "{option} at {place}: {words:?}");
        }
    }
    // And the reverse.
    let sb = Sandbox::new();
    tree(&sb);
    let mount = bind(&sb, "tree", "/mnt/tree", &["rbind", "rrw", "rexec"]);
    let sb = sb.sh(MOUNTINFO).patch("/root/readonly", json!(false)).patch("/mounts/-", mount);
    let out =
        run_with_tree(&sb, &format!("mount -o remount,ro,noexec {}", sb.dir().join("tree/below").display()))
            .ok();
    let words: Vec<_> = options(&out, "/mnt/tree/below").0.split(',').collect();
    assert!(words.contains(&"rw") && !words.contains(&"noexec"), "{words:?}");
}

#[case(OCI)]
fn mounts_plain_attributes_do_not() {
    let sb = Sandbox::new();
    tree(&sb);
    let mount = bind(&sb, "tree", "/mnt/tree", &["rbind", "ro"]);
    let sb = sb.sh(MOUNTINFO).patch("/root/readonly", json!(false)).patch("/mounts/-", mount);
    let out = run_with_tree(&sb, "true").ok();
    assert!(options(&out, "/mnt/tree").0.starts_with("ro"), "{out}");
    assert!(options(&out, "/mnt/tree/below").0.starts_with("rw"), "{out}");
    // Without the mounts below.
    let sb = Sandbox::new();
    tree(&sb);
    let mount = bind(&sb, "tree", "/mnt/tree", &["bind"]);
    let sb = sb.sh(MOUNTINFO).patch("/root/readonly", json!(false)).patch("/mounts/-", mount);
    let out = run_with_tree(&sb, "true").ok();
    assert!(!out.stdout.contains("/mnt/tree/below"), "{out}");
}

#[case(OCI)]
fn mounts_propagation_of_each() {
    for (option, shown, not) in [
        ("shared", "shared:", "master:"),
        ("rshared", "shared:", "master:"),
        ("private", "", "shared:"),
        ("rprivate", "", "shared:"),
        ("unbindable", "unbindable", "shared:"),
    ] {
        let sb = Sandbox::new().sh(MOUNTINFO).patch("/root/readonly", json!(false));
        let out = sb.patch("/mounts/-", tmpfs("/tmp/m", &[option])).run_oci().output().ok();
        let line = out.stdout.lines().rfind(|l| l.contains(" /tmp/m ")).expect("the mount");
        assert!(line.contains(shown) && !line.contains(not), "{option}: {line}");
    }
}

/// mount(2), which runc calls, takes all file system options in one text.
#[case(OCI)]
fn mounts_options_with_commas_are_several() {
    let mount = tmpfs("/tmp/m", &["nodev", "size=64k,mode=710", "", "nr_inodes=50,"]);
    let sb =
        Sandbox::new().sh(&format!("{MOUNTINFO}; stat -c %a /tmp/m")).patch("/root/readonly", json!(false));
    let out = sb.patch("/mounts/-", mount).run_oci().output().ok().prints("710\n");
    let line = out.stdout.lines().rfind(|l| l.contains(" /tmp/m ")).expect("the mount");
    assert!(line.contains("nodev") && line.contains("size=64k") && line.contains("nr_inodes=50"), "{line}");
}

#[case(OWN)]
fn mounts_nosymfollow() {
    let sb = Sandbox::new();
    std::fs::create_dir(sb.dir().join("links")).expect("a directory");
    symlink("/etc/passwd", sb.dir().join("links/passwd")).expect("a link");
    let mount = bind(&sb, "links", "/mnt", &["bind", "nosymfollow"]);
    let sb =
        sb.sh("cat /mnt/passwd; ls -l /mnt").patch("/root/readonly", json!(false)).patch("/mounts/-", mount);
    sb.run_oci().output().ok().says("symbolic links").prints("-> /etc/passwd");
}

#[case(OWN)]
fn mounts_remount_changes_what_is_there() {
    let again = |options: &[&str]| json!({ "destination": "/tmp/m", "type": "tmpfs", "source": "tmpfs", "options": options });
    let sb = Sandbox::new()
        .sh("cat /proc/self/mountinfo; df -k /tmp/m")
        .patch("/root/readonly", json!(false))
        .patch("/mounts/-", tmpfs("/tmp/m", &["size=1m"]))
        .patch("/mounts/-", again(&["remount", "size=2m", "noexec"]));
    let out = sb.run_oci().output().ok();
    let (mount, fs) = options(&out, "/tmp/m");
    assert!(mount.contains("noexec") && fs.contains("size=2048k"), "{mount} {fs}");
    // Changes only the mount, not the file system.
    let sb = Sandbox::new()
        .sh(MOUNTINFO)
        .patch("/root/readonly", json!(false))
        .patch("/mounts/-", tmpfs("/tmp/m", &["nosuid"]))
        .patch("/mounts/-", json!({ "destination": "/tmp/m", "options": ["bind", "remount", "ro"] }));
    let out = sb.run_oci().output().ok();
    let (mount, fs) = options(&out, "/tmp/m");
    assert!(mount.starts_with("ro,nosuid") && fs.starts_with("rw"), "{mount} {fs}");
}

#[case(OCI)]
fn mounts_unknown_options_are_the_file_system_s() {
    let sb = Sandbox::new().sh(MOUNTINFO).patch("/root/readonly", json!(false));
    let sb = sb.patch("/mounts/-", tmpfs("/tmp/m", &["size=3m", "nr_inodes=77", "mode=0711", "uid=5"]));
    let out = sb.run_oci().output().ok();
    let fs = options(&out, "/tmp/m").1;
    for word in ["size=3072k", "nr_inodes=77", "mode=711", "uid=5"] {
        assert!(fs.split(',').any(|w| w == word), "{fs}");
    }
    let sb = Sandbox::new().patch("/mounts/-", tmpfs("/tmp/m", &["no_such_option"]));
    let out = sb.create();
    assert_ne!(out.code, 0, "{out}");
    sb.leak_check();
}

#[case(OCI)]
fn mounts_tmpfs_looks_like_what_it_covers() {
    let sb = Sandbox::new();
    let dir = sb.rootfs().join("home");
    std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o2751)).expect("chmod");
    let ro = sb.rootfs().join("opt/ro");
    std::fs::create_dir_all(&ro).expect("a directory");
    std::fs::set_permissions(&ro, std::fs::Permissions::from_mode(0o711)).expect("chmod");
    let sb = sb
        .sh("stat -c %a /home /var /newly/made /opt/ro; touch /opt/ro/x 2>&1")
        .patch("/root/readonly", json!(false))
        .patch("/mounts/-", tmpfs("/home", &[]))
        .patch("/mounts/-", tmpfs("/var", &["mode=0700"]))
        .patch("/mounts/-", tmpfs("/newly/made", &[]))
        .patch("/mounts/-", tmpfs("/opt/ro", &["ro"]));
    let out = sb.run_oci().output();
    let modes: Vec<_> = out.stdout.split_whitespace().collect();
    assert_eq!((modes[0], modes[2], modes[3]), ("2751", "1777", "711"), "{out}");
    out.clone().prints("Read-only file system");
    // In runc 1.1 the directory's mode overrides the option.
    assert!(modes[1] == "700" || (harness::bundle::is_foreign() && modes[1] == "755"), "{out}");
}

/// The directory to copy, at `/var/data` of the rootfs.
fn data(sb: &Sandbox) {
    let dir = sb.rootfs().join("var/data");
    std::fs::create_dir_all(dir.join("sub/deeper")).expect("directories");
    std::fs::write(dir.join("file"), "x".repeat(100_000)).expect("a file");
    std::fs::write(dir.join("sub/deeper/deep"), "deep content").expect("a file");
    std::fs::set_permissions(dir.join("file"), std::fs::Permissions::from_mode(0o4711)).expect("chmod");
    std::fs::set_permissions(dir.join("sub"), std::fs::Permissions::from_mode(0o1755)).expect("chmod");
    chown(dir.join("sub"), Some(7), Some(8)).expect("chown");
    symlink("/etc/passwd", dir.join("link")).expect("a link");
}

#[case(OCI)]
fn mounts_tmpcopyup_copies() {
    let sb = Sandbox::new();
    data(&sb);
    for i in 0..300 {
        std::fs::write(sb.rootfs().join(format!("var/data/many-files-with-a-long-name-{i}")), "m")
            .expect("a file");
    }
    let sb = sb
        .sh("cd /var/data && stat -c '%n %a %u:%g %s' file sub && cat sub/deeper/deep && ls -l link && ls | wc -l && echo new > new && echo more >> sub/deeper/deep")
        .patch("/root/readonly", json!(true))
        .patch("/mounts/-", tmpfs("/var/data", &["tmpcopyup"]));
    let out = sb.run_oci().output().ok();
    out.clone()
        .prints("file 4711 0:0 100000\nsub 1755 7:8 ")
        .prints("deep content")
        .prints("link -> /etc/passwd")
        .prints("303");
    // The rootfs is unchanged.
    assert!(!sb.rootfs().join("var/data/new").exists());
    assert_eq!(
        std::fs::read_to_string(sb.rootfs().join("var/data/sub/deeper/deep")).expect("a file"),
        "deep content"
    );
    // A missing source needs no copy, and the copy can be read-only.
    let sb = Sandbox::new();
    data(&sb);
    let sb = sb
        .sh("ls /not/there | wc -l; cat /var/data/sub/deeper/deep; touch /var/data/x || echo refused")
        .patch("/root/readonly", json!(false))
        .patch("/mounts/-", tmpfs("/var/data", &["tmpcopyup", "ro"]))
        .patch("/mounts/-", tmpfs("/not/there", &["tmpcopyup"]));
    let out = sb.run_oci().output();
    if !harness::bundle::is_foreign() {
        // runc 1.1 fails, because it copies after it has made the mount read-only.
        out.ok().prints("0\n").prints("deep content").prints("refused");
    }
}

#[case(OCI)]
fn mounts_tmpcopyup_follows_no_link() {
    // A symlink to a directory of the host, which would be copied if symlinks were followed.
    let sb = Sandbox::new();
    let secret = sb.dir().join("secret");
    std::fs::create_dir(&secret).expect("a directory");
    std::fs::write(secret.join("key"), "of the host").expect("a file");
    std::fs::create_dir(sb.rootfs().join("var/data")).expect("a directory");
    symlink(&secret, sb.rootfs().join("var/data/dir")).expect("a link");
    symlink(secret.join("key"), sb.rootfs().join("var/data/key")).expect("a link");
    symlink(&secret, sb.rootfs().join("var/other")).expect("a link");
    let sb = sb
        .sh("ls -lR /var/data /var/other/ ; cat /var/data/key /var/data/dir/key /var/other/key; true")
        .patch("/root/readonly", json!(false))
        .patch("/mounts/-", tmpfs("/var/data", &["tmpcopyup"]))
        .patch("/mounts/-", tmpfs("/var/other", &["tmpcopyup"]));
    let out = sb.run_oci().output();
    assert!(!out.stdout.contains("of the host"), "{out}");
    assert_eq!(std::fs::read_dir(&secret).expect("the directory").count(), 1);
}

#[case(OWN)]
fn mounts_tmpcopyup_that_does_not_fit() {
    let sb = Sandbox::new();
    data(&sb);
    let sb = sb.patch("/mounts/-", tmpfs("/var/data", &["tmpcopyup", "size=16k"]));
    sb.create().exits(1).says("ENOSPC").says("larger size=");
    sb.leak_check();
}

#[case(OCI)]
fn mounts_of_the_kernel_s_file_systems() {
    let sb = Sandbox::new()
        .sh("cat /proc/self/mountinfo; ls /dev/mqueue /dev/pts /sys/class/net; stat -c %a /dev/pts/ptmx")
        .patch("/root/readonly", json!(false));
    let out = sb.run_oci().output().ok();
    for (place, kind) in [
        ("/proc", "proc"),
        ("/sys", "sysfs"),
        ("/dev/mqueue", "mqueue"),
        ("/dev/pts", "devpts"),
        ("/dev/shm", "tmpfs"),
    ] {
        let line = out.stdout.lines().find(|l| l.split(' ').nth(4) == Some(place)).unwrap_or_default();
        assert!(line.contains(&format!(" - {kind} ")), "{place}: {line}");
    }
    out.clone().prints("lo\n");
    assert!(!out.stdout.contains("eth0\n"), "sysfs is that of the network namespace\n{out}");
    // sysfs with the host's network namespace: the same options, but the host's sysfs.
    let rest: Vec<_> = sb.config()["linux"]["namespaces"]
        .as_array()
        .expect("namespaces")
        .iter()
        .filter(|n| n["type"] != "network")
        .cloned()
        .collect();
    let sb = Sandbox::new().sh("ls /sys/class/net").patch("/linux/namespaces", json!(rest));
    let out = sb.run_oci().output().ok();
    let host: Vec<_> = std::fs::read_dir("/sys/class/net").expect("devices").flatten().collect();
    assert!(host.iter().all(|d| out.stdout.contains(&*d.file_name().to_string_lossy())), "{out}");
}

#[case(OWN)]
fn mounts_refusals_have_pointers() {
    let map = maps(0, 1);
    let cases = [
        (
            json!({ "destination": "/tmp/m", "type": "tmpfs", "uidMappings": map, "gidMappings": map }),
            "uidMappings",
        ),
        (
            json!({ "destination": "/tmp/m", "source": "/etc", "options": ["bind"], "uidMappings": map }),
            "gidMappings",
        ),
        (json!({ "destination": "/tmp/m", "type": "tmpfs", "options": ["idmap"] }), "options"),
        (json!({ "destination": "/tmp/m", "source": "/etc", "options": ["bind", "idmap"] }), "options"),
        (json!({ "destination": "/tmp/m", "source": "/etc", "options": ["bind", "tmpcopyup"] }), "options"),
        (json!({ "destination": "/tmp/m", "type": "mqueue", "options": ["tmpcopyup"] }), "options"),
        (json!({ "destination": "/tmp/m", "source": "/etc", "options": ["bind", "size=5"] }), "options"),
        (json!({ "destination": "", "type": "tmpfs" }), "destination"),
        (json!({ "destination": "/tmp/m" }), "type"),
        (json!({ "destination": "/tmp/m", "options": ["bind"] }), "source"),
    ];
    for (mount, key) in cases {
        let sb = Sandbox::new().patch("/mounts", json!([mount.clone()]));
        sb.create().exits(1).says(&format!("/mounts/0/{key}: "));
    }
}
