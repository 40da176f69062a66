//! `linux.rootfsPropagation`: the propagation of the root, and which mount events are received and sent.

use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::harness::{self, Need, Sandbox, case};

const OCI: &[Need] = &[Need::Root, Need::Oci];

#[case(OCI)]
fn rootfs_propagation_is_as_asked() {
    for (asked, shown, not) in [
        ("private", "", "shared:"),
        ("rprivate", "", "shared:"),
        ("slave", "", "shared:"),
        ("rslave", "", "shared:"),
        ("shared", "shared:", "unbindable"),
        ("unbindable", "unbindable", "shared:"),
    ] {
        if harness::bundle::is_foreign() && (asked == "shared" || asked == "unbindable") {
            // runc 1.1 leaves the root private, and after making it unbindable cannot bind a rootfs on the
            // mount of / (as in the VM).
            continue;
        }
        let sb =
            Sandbox::new().sh("cat /proc/self/mountinfo").patch("/linux/rootfsPropagation", json!(asked));
        let out = sb.run_oci().output().ok();
        let line = out.stdout.lines().find(|l| l.split(' ').nth(4) == Some("/")).expect("the root");
        assert!(line.contains(shown) && !line.contains(not), "{asked}: {line}");
    }
    let sb = Sandbox::new().patch("/linux/rootfsPropagation", json!("sideways"));
    assert_ne!(sb.create().code, 0);
}

/// Later mounts of the host below the rootfs appear inside; mounts made inside do not appear outside.
#[case(OCI)]
fn rootfs_propagation_of_a_slave() {
    for (asked, comes) in [("rslave", true), ("rprivate", false)] {
        let mut sb =
            Sandbox::new().args(["/bin/sleep", "1000"]).patch("/linux/rootfsPropagation", json!(asked));
        sb.set("/root/readonly", json!(false));
        for set in ["bounding", "effective", "permitted"] {
            sb.set(&format!("/process/capabilities/{set}"), json!(["CAP_SYS_ADMIN"]));
        }
        let (rootfs, below) = (sb.rootfs(), sb.rootfs().join("mnt"));
        std::fs::create_dir_all(&below).expect("a directory");
        let shared = Shared::new(&rootfs);
        let sb = sb.started();
        host_mount(&["-t", "tmpfs", "tmpfs", &below.display().to_string()]);
        std::fs::write(below.join("file"), "").expect("a file");
        let seen = sb.exec(["ls", "/mnt"]).ok().stdout.contains("file");
        assert_eq!(seen, comes, "{asked}");
        sb.exec(["mount", "-t", "tmpfs", "tmpfs", "/var"]).ok();
        sb.exec(["touch", "/var/inside"]).ok();
        assert!(!rootfs.join("var/inside").exists(), "{asked}");
        sb.delete().ok();
        drop(shared);
    }
}

/// A directory that is a shared mount, which its copies receive events from.
struct Shared<'a>(&'a Path);

impl<'a> Shared<'a> {
    fn new(dir: &'a Path) -> Self {
        let path = dir.display().to_string();
        host_mount(&["--bind", &path, &path]);
        let shared = Shared(dir);
        // Its parent may be shared as well: this mount must not propagate there.
        host_mount(&["--make-private", &path]);
        host_mount(&["--make-shared", &path]);
        shared
    }
}

impl Drop for Shared<'_> {
    fn drop(&mut self) {
        let status = Command::new("umount").args(["--recursive", "--lazy"]).arg(self.0).status();
        assert!(status.is_ok_and(|s| s.success()), "umount {}", self.0.display());
    }
}

fn host_mount(args: &[&str]) {
    let status = Command::new("mount").args(args).status();
    assert!(status.is_ok_and(|s| s.success()), "mount {args:?}");
}
