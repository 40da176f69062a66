//! Read-only mounts: they become read-only last, after the config's objects on them were created. Also other
//! effects of a bind mount's options under the OCI verbs.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::{Need, Sandbox, case};

const OCI: &[Need] = &[Need::Root, Need::Oci];

fn tmpfs(to: &str, options: &[&str]) -> Value {
    json!({"destination": to, "type": "tmpfs", "source": "tmpfs", "options": options})
}

const PROBE: &str = "touch /t/x 2>/dev/null && echo writable || echo closed";

/// A mount at /t, with objects of the config on it.
fn with(mounts: &[Value], pointer: &str, value: &Value) -> Sandbox {
    let mut sb = Sandbox::new().sh(PROBE).patch("/root/readonly", json!(false));
    for mount in mounts {
        sb.set("/mounts/-", mount.clone());
    }
    sb.set(pointer, value.clone());
    sb
}

fn things() -> [(&'static str, Value); 3] {
    let device = json!([{"path": "/t/null", "type": "c", "major": 1, "minor": 3}]);
    [("/mounts/-", tmpfs("/t/sub", &[])), ("/linux/devices", device), ("/process/cwd", json!("/t/work"))]
}

#[case(OCI)]
fn a_read_only_tmpfs_takes_what_the_config_puts_on_it() {
    for options in [&["ro"][..], &["ro", "mode=755"], &["mode=1777", "ro", "size=1m"]] {
        for (pointer, value) in things() {
            with(&[tmpfs("/t", options)], pointer, &value).run_oci().output().ok().prints("closed\n");
        }
    }
}

// runc 1.1 makes a mount with other options than `ro` read-only at once.
#[case(Root)]
fn every_read_only_tmpfs_takes_what_the_config_puts_on_it() {
    for (pointer, value) in things() {
        for kind in ["rro", "copied", "remount"] {
            let mounts = match kind {
                "rro" => vec![tmpfs("/t", &["rro"])],
                "copied" => vec![tmpfs("/t", &["tmpcopyup", "ro"])],
                _ => {
                    vec![tmpfs("/t", &[]), json!({"destination": "/t", "options": ["remount", "bind", "ro"]})]
                }
            };
            let sb = with(&mounts, pointer, &value);
            for out in [sb.run().output(), sb.run_oci().output()] {
                out.ok().prints("closed\n");
            }
        }
    }
}

/// Objects of the config on a read-only bind mount are not created in its source, which is the host's.
#[case(Root)]
fn a_read_only_bind_mount_s_source_stays_as_it_is() {
    for (pointer, value) in things() {
        for options in [&["bind", "ro"][..], &["rbind", "rro"], &["rbind"]] {
            let source = tempfile::tempdir().expect("a directory");
            std::fs::set_permissions(source.path(), PermissionsExt::from_mode(0o777)).expect("chmod");
            let mut mounts = vec![
                json!({"destination": "/t", "type": "bind", "source": source.path(), "options": options}),
            ];
            if options == ["rbind"] {
                mounts.push(json!({"destination": "/t", "options": ["remount", "bind", "ro"]}));
            }
            let sb = with(&mounts, pointer, &value);
            for out in [sb.run().output(), sb.run_oci().output()] {
                let made = std::fs::read_dir(source.path()).expect("the source").count();
                assert_eq!(made, 0, "{options:?} {pointer}\n{out}");
            }
        }
    }
}

#[case(Root)]
fn what_lies_below_a_read_only_mount_keeps_its_own_flags() {
    let script = format!("{PROBE}; touch /t/sub/x && echo below it is not");
    for options in [&["ro"][..], &["rro"]] {
        let sb = with(&[tmpfs("/t", options)], "/mounts/-", &tmpfs("/t/sub", &[])).sh(&script);
        for out in [sb.run_oci().output(), sb.run().arg("--allow=root").output()] {
            out.ok().prints("closed\nbelow it is not\n");
        }
    }
}

#[case(Root)]
fn a_later_remount_wins_over_read_only() {
    let again = json!({"destination": "/t", "options": ["remount", "bind", "rw"]});
    with(&[tmpfs("/t", &["ro"])], "/mounts/-", &again).run_oci().output().ok().prints("writable\n");
}

/// As with runc, which resolves sources when it mounts.
#[case(OCI)]
fn a_source_below_the_rootfs_shows_the_mounts_before_it() {
    let mut sb = Sandbox::new().sh("echo here > /a/file; cat /b/file");
    for dir in ["a", "b"] {
        std::fs::create_dir_all(sb.rootfs().join(dir)).expect("a directory");
    }
    std::fs::write(sb.rootfs().join("a/file"), "the rootfs's\n").expect("a file");
    let source = sb.rootfs().join("a");
    sb.set("/mounts/-", tmpfs("/a", &[]));
    sb.set("/mounts/-", json!({"destination": "/b", "type": "bind", "source": source, "options": ["rbind"]}));
    sb.run_oci().output().ok().prints("here\n");
}

/// A tmpfs of the host with these flags, unmounted on drop.
struct Flagged(tempfile::TempDir);

impl Flagged {
    fn new(flags: &str) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let mount = |args: &[&str]| {
            let status = Command::new("mount").args(args).arg(dir.path()).status().expect("mount");
            assert!(status.success(), "mount {args:?}");
        };
        mount(&["-t", "tmpfs", "-o", flags, "tmpfs"]);
        Flagged(dir)
    }

    fn flags(&self, options: &[&str], oci: bool) -> String {
        let mount = json!({"destination": "/t", "type": "bind", "source": self.0.path(), "options": options});
        let sb = Sandbox::new().sh("grep ' /t ' /proc/self/mountinfo").patch("/mounts/-", mount);
        let out = if oci { sb.run_oci().output() } else { sb.run().output() }.ok();
        out.stdout.split(' ').nth(5).expect("flags").to_string()
    }
}

impl Drop for Flagged {
    fn drop(&mut self) {
        let done = Command::new("umount").arg("-l").arg(self.0.path()).status();
        assert!(done.is_ok_and(|s| s.success()), "umount");
    }
}

#[case(OCI)]
fn flags_that_a_bind_mount_does_not_name_are_cleared() {
    let host = Flagged::new("nosuid,nodev,noexec");
    for (options, want) in [
        (&["rbind"][..], "rw,nosuid,nodev,noexec,relatime"),
        (&["rbind", "ro"], "ro,relatime"),
        (&["bind", "nosuid"], "rw,nosuid,relatime"),
    ] {
        assert_eq!(host.flags(options, true), want, "{options:?}");
    }
}

// runc since 1.2, not 1.1.
#[case(Root)]
fn flags_are_cleared_where_options_only_clear() {
    let host = Flagged::new("nosuid,nodev,noexec");
    for options in [["rbind", "rw"], ["bind", "dev"], ["rbind", "atime"]] {
        assert_eq!(host.flags(&options, true), "rw,relatime", "{options:?}");
    }
    // For the tree and for the mount: neither takes the other back.
    assert_eq!(host.flags(&["rbind", "rro", "nosuid"], true), "ro,nosuid,relatime");
}

#[case(Root)]
fn access_times_of_a_bind_mount_are_those_named() {
    for (source, options, want) in [
        ("noatime", &["bind"] as &[&str], "rw,noatime"),
        ("noatime", &["bind", "atime"], "rw,noatime"),
        ("noatime", &["bind", "ro"], "ro,noatime"),
        ("noatime", &["bind", "relatime"], "rw,relatime"),
        ("noatime", &["bind", "nodiratime"], "rw,nodiratime,relatime"),
        ("nodiratime", &["bind", "nosuid"], "rw,nosuid,nodiratime,relatime"),
        ("nodiratime", &["bind", "strictatime"], "rw"),
        ("noatime", &["bind", "nodiratime", "strictatime"], "rw,nodiratime"),
    ] {
        assert_eq!(Flagged::new(source).flags(options, true), want, "{source}: {options:?}");
    }
}

/// A later mount hides what an earlier one put below it.
fn hiding() -> Sandbox {
    let sb = Sandbox::new().sh("ls /t /t/below 2>/dev/null; true");
    for (dir, file) in [("one", "hidden"), ("two", "seen")] {
        std::fs::create_dir_all(sb.dir().join(dir).join("below")).expect("a directory");
        std::fs::write(sb.dir().join(dir).join(file), "").expect("a file");
    }
    std::fs::create_dir_all(sb.rootfs().join("t/below")).expect("a directory");
    let bind = |from: &str, to: &str| json!({"destination": to, "type": "bind", "source": sb.dir().join(from), "options": ["bind"]});
    let mounts = [bind("one", "/t/below"), bind("two", "/t")];
    mounts.into_iter().fold(sb, |sb, mount| sb.patch("/mounts/-", mount))
}

const ORDERED: &str = "/t:\nbelow\nseen\n\n/t/below:\n";

#[case(OCI)]
fn mounts_stay_in_the_order_of_the_config() {
    assert_eq!(hiding().run_oci().output().ok().stdout, ORDERED);
}

#[case(Root)]
fn mounts_stay_in_the_order_of_the_config_hardened() {
    let sb = hiding();
    assert_eq!(sb.run().output().ok().stdout, ORDERED);
    std::fs::write(sb.dir().join("one/other"), "").expect("a file");
    // What an option adds comes where it can be seen, and hides nothing.
    let volume = format!("{}:/t/below:ro", sb.dir().join("one").display());
    let out = sb.run().args(["--volume", &volume]).output().ok();
    assert_eq!(out.stdout, "/t:\nbelow\nseen\n\n/t/below:\nbelow\nhidden\nother\n");
}

#[case(Root)]
fn a_hardened_bind_mount_keeps_the_flags_of_its_source() {
    let host = Flagged::new("nosuid,nodev,noexec");
    assert_eq!(host.flags(&["rbind", "ro"], false), "ro,nosuid,nodev,noexec,relatime");
}
