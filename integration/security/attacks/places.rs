//! Mount points at which a mount would have no effect, or at which the runtime would trust it.

use std::os::unix::fs::symlink;

use serde_json::{Value, json};

use crate::harness::{Need, Output, Sandbox, case};

const OCI: &[Need] = &[Need::Root, Need::Oci];

fn tmpfs(place: &str) -> Value {
    json!({ "destination": place, "type": "tmpfs", "source": "tmpfs" })
}

/// Asserts that no program ran and that there are no leftovers.
#[track_caller]
fn refused(sb: &Sandbox, words: &str) {
    let out = sb.run_oci().output();
    assert!(out.code == 125 && out.stdout.is_empty(), "{out}");
    out.says(words);
    sb.leak_check();
}

/// The process stays below the mount at its root: the mask hides nothing.
#[case(Root)]
fn nothing_is_mounted_on_the_root() {
    let bind =
        |sb: &Sandbox, place: &str| json!({ "destination": place, "source": sb.dir(), "options": ["bind"] });
    for place in ["/", "/opt/..", "/link", "/link/.."] {
        for kind in ["tmpfs", "bind", "cgroup", "mask"] {
            let sb = Sandbox::new().sh("echo it ran");
            symlink("/", sb.rootfs().join("link")).expect("a link");
            std::fs::create_dir(sb.rootfs().join("opt")).expect("a directory");
            let sb = match kind {
                "tmpfs" => sb.patch("/mounts/-", tmpfs(place)),
                "bind" => {
                    let mount = bind(&sb, place);
                    sb.patch("/mounts/-", mount)
                }
                "cgroup" => sb.patch("/mounts/-", json!({ "destination": place, "type": "cgroup" })),
                _ => sb.patch("/linux/maskedPaths", json!([place])),
            };
            refused(&sb, "on the rootfs itself");
        }
    }
}

// runc 1.1 covers the root, which has no effect on a process whose root it is.
#[case(Root)]
fn a_root_that_is_a_readonly_path_is_readonly() {
    for path in ["/", "/opt/.."] {
        let sb = Sandbox::new().sh("touch /file; touch /tmp/file && echo below it is not; touch /opt/file");
        std::fs::create_dir(sb.rootfs().join("opt")).expect("a directory");
        let sb = sb
            .patch("/root/readonly", json!(false))
            .patch("/mounts/-", tmpfs("/tmp"))
            .patch("/linux/readonlyPaths", json!([path]));
        let out = sb.run_oci().output();
        out.clone().prints("below it is not\n").says("/file: Read-only").says("/opt/file: Read-only");
        assert_ne!(out.code, 0, "{out}");
        assert!(!sb.rootfs().join("file").exists(), "{out}");
    }
}

/// CVE-2019-16884: labels and settings would be written to a decoy, and programs would read false values.
#[case(Root)]
fn procfs_is_not_covered() {
    for place in ["/proc/self/attr", "/proc/sys", "/proc/net", "/proc/scsi/x", "/x/../proc/sys"] {
        let sb = Sandbox::new().sh("echo it ran").patch("/mounts/-", tmpfs(place));
        refused(&sb, "is inside /proc");
    }
    // A symlink of the rootfs leads there.
    for (to, source) in [("/proc/sys", "tmpfs"), ("/proc", "tmpfs"), ("/proc/self/attr", "bind")] {
        let sb = Sandbox::new().sh("echo it ran");
        symlink(to, sb.rootfs().join("link")).expect("a link");
        let mount = match source {
            "tmpfs" => tmpfs("/link"),
            _ => json!({ "destination": "/link", "source": sb.dir(), "options": ["bind"] }),
        };
        refused(&sb.patch("/mounts/-", mount), "is inside /proc");
    }
    // /proc itself is a procfs.
    let only = |mount: Value| Sandbox::new().sh("echo it ran").patch("/mounts", json!([mount]));
    refused(&only(tmpfs("/proc")), "not of type proc");
    refused(&only(tmpfs("/x/../proc")), "not of type proc");
    let dir = tempfile::tempdir().expect("a directory");
    let bind = json!({ "destination": "/proc", "source": dir.path(), "options": ["bind"] });
    refused(&only(bind), "not of type proc");
}

fn without_dev(sb: &Sandbox) -> Vec<Value> {
    let mounts = sb.config()["mounts"].as_array().expect("mounts").clone();
    mounts.into_iter().filter(|m| !m["destination"].as_str().expect("text").starts_with("/dev")).collect()
}

/// A directory of the host with a file `ptmx` in it, bind mounted at `place`.
fn volume(sb: &Sandbox, place: &str) -> Value {
    let dir = sb.dir().join("volume");
    std::fs::create_dir(&dir).expect("a directory");
    std::fs::write(dir.join("ptmx"), "the host's").expect("a file");
    json!({ "destination": place, "type": "bind", "source": dir, "options": ["bind"] })
}

#[track_caller]
fn untouched(sb: &Sandbox) {
    let dir = sb.dir().join("volume");
    let names: Vec<_> = std::fs::read_dir(&dir).expect("it").flatten().map(|e| e.file_name()).collect();
    assert_eq!(names, ["ptmx"]);
    assert_eq!(std::fs::read_to_string(dir.join("ptmx")).expect("a file"), "the host's");
}

/// Devices would be created in it as root, and its ptmx would be removed.
#[case(Root)]
fn a_dev_that_leads_to_a_volume_is_refused() {
    let sb = Sandbox::new().sh("echo it ran");
    let mount = volume(&sb, "/vol");
    let mounts = without_dev(&sb).into_iter().chain([mount]).collect();
    std::fs::remove_dir(sb.rootfs().join("dev")).expect("remove");
    symlink("/vol", sb.rootfs().join("dev")).expect("a link");
    let sb = sb.patch("/mounts", mounts).patch("/root/readonly", json!(false));
    refused(&sb, "leads to another mount");
    untouched(&sb);
}

/// The caller fills the host's /dev, under any path where it is bound.
// runc needs a null device in it.
#[case(Root)]
fn a_dev_of_the_host_is_left_alone() {
    for place in ["/dev", "/x/../dev", "/dev/../dev/."] {
        let sb = Sandbox::new().sh("exit 0");
        let mount = volume(&sb, place);
        let mounts = without_dev(&sb).into_iter().chain([mount]).collect();
        let sb = sb.patch("/mounts", mounts).patch("/root/readonly", json!(false));
        sb.run_oci().output().ok();
        untouched(&sb);
    }
}

#[case(OCI)]
fn procfs_has_emulated_files_and_may_be_a_bind_mount() {
    let sb = Sandbox::new().sh("cat /proc/uptime; cat /proc/self/comm");
    let file = sb.dir().join("uptime");
    std::fs::write(&file, "emulated\n").expect("a file");
    let mount = json!({ "destination": "/proc/uptime", "type": "bind", "source": file, "options": ["bind"] });
    sb.patch("/mounts/-", mount).run_oci().output().ok().prints("emulated\ncat\n");
    let bound = json!([{ "destination": "/proc", "type": "bind", "source": "/proc", "options": ["rbind"] }]);
    let sb = Sandbox::new().sh("cat /proc/version").patch("/mounts", bound);
    sb.without("/linux/maskedPaths").without("/linux/readonlyPaths").run_oci().output().ok().prints("Linux");
}

/// The host's procfs is below the chroot. If it is fully visible, a new procfs may be mounted, without the
/// container's masks (mount_too_revealing in fs/namespace.c).
#[case(Root)]
fn without_pivot_no_bare_procfs_can_be_mounted() {
    const MOUNT: &str = "mkdir -p /tmp/p; unshare -Urmpfn sh -c 'mount -t proc proc /tmp/p && echo bare; \
        mount -t sysfs sysfs /tmp/p && echo bare'; echo tried";
    let caps = json!(["CAP_SETFCAP", "CAP_SETUID", "CAP_SETGID", "CAP_SYS_CHROOT"]);
    let run = |args: &[&str]| -> Output {
        let sb = Sandbox::new()
            .sh(MOUNT)
            .patch("/mounts/-", tmpfs("/tmp"))
            .patch("/linux/maskedPaths", json!(["/proc/version", "/sys/firmware"]));
        let sets = ["bounding", "effective", "permitted"];
        let sb =
            sets.iter().fold(sb, |sb, set| sb.patch(&format!("/process/capabilities/{set}"), caps.clone()));
        sb.run_oci().args(args).output().ok()
    };
    for args in [&[][..], &["--no-pivot"]] {
        let out = run(args);
        assert_eq!(out.stdout, "tried\n", "{args:?}\n{out}");
        assert!(out.stderr.contains("ermission denied") || out.stderr.contains("not permitted"), "{out}");
    }
}
