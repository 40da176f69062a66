//! Missing mount targets in the rootfs: who creates them, their owner, and the visible result.

use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown};
use std::path::Path;

use serde_json::{Value, json};

use crate::harness::{self, Need, Output, Sandbox, case};

const USERNS: &[Need] = &[Need::Root, Need::Userns, Need::Oci];
// runc 1.1 fails, and does not join user namespaces in these ways.
const OWN: &[Need] = &[Need::Root, Need::Userns];

#[case(Root, Oci)]
fn targets_without_a_user_namespace() {
    covered(None);
}

#[case(USERNS)]
fn targets_in_a_map_that_has_the_overflow_id() {
    covered(Some(65536));
}

#[case(USERNS)]
fn targets_in_a_map_that_has_not() {
    covered(Some(1000));
}

/// First host id of the container.
const FIRST: u32 = 100_000;

const LOOK: &str =
    "stat -c '%n %a %u:%g' /q /a /a/b /a/b/c /etc/x /up /old; mkdir /a/new /q/new; cat /proc/self/mountinfo";

/// runc's output of [`LOOK`].
const SHOWN: &str =
    "/q 1777 0:0\n/a 755 0:0\n/a/b 755 0:0\n/a/b/c 700 0:0\n/etc/x 755 0:0\n/up 1777 0:0\n/old 750 0:0\n";

fn tmpfs(place: &str, options: &[&str]) -> Value {
    json!({ "destination": place, "type": "tmpfs", "source": "tmpfs", "options": options })
}

/// A bundle with missing targets, and with an existing one: /old.
fn sandbox() -> Sandbox {
    let sb = Sandbox::new();
    std::fs::create_dir(sb.rootfs().join("old")).expect("mkdir");
    std::fs::set_permissions(sb.rootfs().join("old"), PermissionsExt::from_mode(0o750)).expect("chmod");
    std::fs::write(sb.dir().join("file"), "x").expect("a file");
    let file = json!({ "destination": "/etc/x/f", "source": sb.dir().join("file"), "options": ["bind"] });
    let mut sb = sb.sh(LOOK).patch("/root/readonly", json!(false)).without("/linux/resources");
    for mount in [tmpfs("/q", &[]), tmpfs("/a/b/c", &["mode=700"]), file] {
        sb = sb.patch("/mounts/-", mount);
    }
    sb.patch("/mounts/-", tmpfs("/up", &["tmpcopyup"])).patch("/mounts/-", tmpfs("/old", &[]))
}

fn in_userns(sb: Sandbox, size: u32) -> Sandbox {
    let map = json!([{ "containerID": 0, "hostID": FIRST, "size": size }]);
    // Ids such as devpts' gid=5 are mapped in both.
    sb.patch("/linux/namespaces/-", json!({ "type": "user" }))
        .patch("/linux/uidMappings", map.clone())
        .patch("/linux/gidMappings", map)
}

/// Allows the container's root to enter the directories above the rootfs.
fn open_up(sb: &Sandbox) {
    for dir in [sb.dir().to_path_buf(), sb.bundle(), sb.rootfs()] {
        std::fs::set_permissions(dir, PermissionsExt::from_mode(0o755)).expect("chmod");
    }
}

fn give(path: &Path, id: u32) {
    lchown(path, Some(id), Some(id)).expect("chown");
    if path.is_dir() && !path.is_symlink() {
        for entry in std::fs::read_dir(path).expect("a directory") {
            give(&entry.expect("an entry").path(), id);
        }
    }
}

/// Owners of the targets on disk.
#[track_caller]
fn made_by(sb: &Sandbox, id: u32) {
    for name in ["q", "a", "a/b", "a/b/c", "etc/x", "etc/x/f", "up"] {
        let meta = std::fs::metadata(sb.rootfs().join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!((meta.uid(), meta.gid(), meta.mode() & 0o7777), (id, id, 0o755), "{name}");
    }
}

#[track_caller]
fn looks_right(out: &Output) {
    assert!(out.stdout.starts_with(SHOWN), "{out}");
    let line = |place: &str| {
        let found = out.stdout.lines().find(|l| l.split(' ').nth(4) == Some(place));
        found.unwrap_or_else(|| panic!("no mount at {place}\n{out}")).to_string()
    };
    assert!(!line("/q").contains("mode="), "{out}");
    // runc 1.1 changes the mode later.
    if !harness::bundle::is_foreign() {
        assert!(line("/old").contains("mode=750"), "{out}");
    }
}

fn covered(size: Option<u32>) {
    let mut sb = sandbox();
    let owner = size.map_or(0, |_| FIRST);
    open_up(&sb);
    give(&sb.rootfs(), owner);
    if let Some(size) = size {
        sb = in_userns(sb, size);
    }
    let out = sb.run_oci().output().ok();
    looks_right(&out);
    made_by(&sb, owner);
    let new = std::fs::metadata(sb.rootfs().join("a/new")).expect("what the program made");
    assert_eq!(new.uid(), owner);
}

/// The container's root may not write the rootfs, so the runtime creates them; the visible result is the
/// same.
#[case(OWN)]
fn targets_below_an_owner_who_is_not_mapped() {
    for size in [65536, 1000] {
        let sb = in_userns(sandbox(), size);
        open_up(&sb);
        let out = sb.run_oci().output();
        out.clone().says("can't create directory '/a/new': Permission denied");
        let seen: Vec<_> = out.stdout.lines().filter(|l| !l.contains(" 65534:65534")).collect();
        let want: Vec<_> = SHOWN
            .lines()
            .filter(|l| !matches!(*l, "/a 755 0:0" | "/a/b 755 0:0" | "/etc/x 755 0:0"))
            .collect();
        assert_eq!(seen[..want.len()], want, "{out}");
        made_by(&sb, 0);
    }
}

#[case(OWN)]
fn targets_in_a_joined_user_namespace() {
    for repeated in [false, true] {
        let pause = in_userns(Sandbox::new().sh("exec sleep 1000"), 65536);
        open_up(&pause);
        give(&pause.rootfs(), FIRST);
        pause.create().ok();
        pause.verb("start").ok();
        let sb = sandbox();
        open_up(&sb);
        give(&sb.rootfs(), FIRST);
        let sb = if repeated {
            in_userns(sb, 65536)
        } else {
            sb.patch("/linux/namespaces/-", json!({ "type": "user" }))
        };
        let at = sb.config()["linux"]["namespaces"].as_array().map_or(0, Vec::len) - 1;
        let path = format!("/proc/{}/ns/user", pause.pid());
        let sb = sb.patch(&format!("/linux/namespaces/{at}/path"), json!(path));
        looks_right(&sb.run_oci().output().ok());
        made_by(&sb, FIRST);
        pause.delete().ok();
    }
}

#[case(Root, Userns, Idmap)]
fn targets_in_an_idmapped_rootfs() {
    let sb = sandbox();
    // A rootfs that every user of the host can reach does not become writable.
    let closed = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    std::fs::set_permissions(sb.bundle(), closed).expect("chmod");
    let out = sb.run().args(["--allow", "root", "--allow", "write-rootfs"]).output().ok();
    assert!(out.stdout.starts_with(SHOWN), "{out}");
    // On disk the rootfs's owner owns them.
    made_by(&sb, 0);
}
