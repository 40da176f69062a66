//! Symlinks that another container creates in a shared volume, in every path that the runtime looks up
//! inside; and symlinks of other users in the path of a bind mount's source.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{Racer, Sentinel, no_secret};
use crate::harness::{Output, Sandbox, case, rounds};

/// The user that writes to the volume.
const NEIGHBOUR: u32 = 41_003;

fn bind(to: &str, source: impl AsRef<Path>) -> Value {
    json!({"destination": to, "type": "bind", "source": source.as_ref(), "options": ["rbind"]})
}

fn tmpfs(to: &str, options: &[&str]) -> Value {
    json!({"destination": to, "type": "tmpfs", "source": "tmpfs", "options": options})
}

/// A volume at /vol, in which `t` is a symlink to `to`, and a directory tree with a marker to mount there.
fn volume(to: &str) -> (Sandbox, PathBuf) {
    let sb = Sandbox::new().sh("echo it ran");
    let (vol, inner) = (sb.dir().join("vol"), sb.dir().join("inner"));
    std::fs::create_dir_all(vol.join("real/below")).expect("a directory");
    // The container's root creates missing directories; it is not root of the host.
    for dir in [&vol, &vol.join("real")] {
        std::fs::set_permissions(dir, PermissionsExt::from_mode(0o777)).expect("chmod");
    }
    std::fs::create_dir_all(&inner).expect("a directory");
    std::fs::write(inner.join("marker"), "marker\n").expect("a file");
    symlink(to, vol.join("t")).expect("a link");
    for dir in ["etc/here", "opt"] {
        std::fs::create_dir_all(sb.rootfs().join(dir)).expect("a directory");
    }
    let sb = sb.patch("/root/readonly", json!(false)).patch("/mounts/-", bind("/vol", &vol));
    (sb, inner)
}

/// Asserts that no program ran and that the message names the symlink.
#[track_caller]
fn refused(out: &Output, link: &str) {
    assert!(out.code != 0 && !out.stdout.contains("it ran"), "{out}");
    assert!(out.stderr.contains(&format!("{link:?} is a symlink in a volume")), "names {link}\n{out}");
}

#[track_caller]
fn refused_by_both(sb: &Sandbox, link: &str) {
    for out in [sb.run().output(), sb.run_oci().output(), sb.create()] {
        refused(&out, link);
        sb.delete();
    }
    assert!(!sb.rootfs().join("etc/new").exists(), "made where the symlink leads");
    sb.leak_check();
}

#[case(Root)]
fn no_symlink_of_a_volume_leads_a_mount_out_of_it() {
    let kinds: [fn(&str, &Path) -> Value; 4] = [
        |at, inner| bind(at, inner),
        |at, _| tmpfs(at, &["mode=755"]),
        |at, _| tmpfs(at, &[]),
        |at, _| tmpfs(at, &["tmpcopyup"]),
    ];
    let places = ["/etc/here", "../etc/here", "via", "/etc/new", "..", "/"];
    for (i, to) in places.into_iter().enumerate() {
        for (at, mount) in [("/vol/t", kinds[i % 4]), ("/vol/t/x/y", kinds[(i + 1) % 4])] {
            let (sb, inner) = volume(to);
            symlink("../etc/here", sb.dir().join("vol/via")).expect("a link");
            refused_by_both(&sb.patch("/mounts/-", mount(at, &inner)), "/vol/t");
        }
    }
}

/// The working directory, devices, masks, read-only paths, remounts.
#[case(Root)]
fn no_symlink_of_a_volume_leads_another_place_out_of_it() {
    let device = |path: &str| json!([{"path": path, "type": "c", "major": 1, "minor": 3}]);
    for to in ["../etc/here", "/etc/new"] {
        for (pointer, value, link) in [
            ("/process/cwd", json!("/vol/t"), "/vol/t"),
            ("/process/cwd", json!("/vol/t/deep/er"), "/vol/t"),
            ("/linux/devices", device("/vol/t/null"), "/vol/t"),
            ("/linux/maskedPaths", json!(["/vol/t"]), "/vol/t"),
            ("/linux/readonlyPaths", json!(["/vol/t/x"]), "/vol/t"),
            ("/hooks", json!({"startContainer": [{"path": "/vol/t/hook"}]}), "/vol/t"),
            ("/mounts/-", json!({"destination": "/vol/t", "options": ["bind", "remount", "ro"]}), "/vol/t"),
        ] {
            let (sb, _) = volume(to);
            let sb = sb.patch(pointer, value);
            // A hardened run ignores the config's devices.
            if pointer == "/linux/devices" {
                refused(&sb.run_oci().output(), link)
            } else if pointer == "/hooks" {
                // `create` does not reach this row.
                refused(&sb.run_oci().output(), link);
                refused(&sb.run().output(), link);
            } else {
                refused_by_both(&sb, link)
            }
        }
    }
}

#[case(Root)]
fn no_symlink_of_a_volume_leads_exec_out_of_it() {
    let (sb, _) = volume("/etc/here");
    let sb = sb.args(["/bin/sleep", "1000"]);
    sb.create().ok();
    sb.verb("start").ok();
    let exec = |cwd: &str| {
        sb.runtime().args(["exec", "--cwd", cwd]).arg(sb.id()).args(["/bin/sh", "-c", "pwd"]).output()
    };
    for (cwd, link) in [("/vol/t", "/vol/t"), ("/vol/real/../t/.", "/vol/real/../t")] {
        let out = exec(cwd);
        refused(&out, link);
    }
    exec("/vol/real").ok().prints("/vol/real\n");
    sb.delete().ok();
}

#[case(Root)]
fn a_symlink_that_stays_in_its_volume_is_followed() {
    for to in ["real", "./real/../real", "../vol/real", "/vol/real", "again"] {
        let (sb, inner) = volume(to);
        symlink("real", sb.dir().join("vol/again")).expect("a link");
        let mut sb =
            sb.patch("/mounts/-", bind("/vol/t/below", &inner)).sh("cat /vol/real/below/marker; pwd");
        sb.set("/process/cwd", json!("/vol/t"));
        for out in [sb.run().output(), sb.run_oci().output()] {
            out.ok().prints("marker\n/vol/real\n");
        }
    }
}

/// The image controls the rootfs, and its symlinks apply only inside the container.
#[case(Root)]
fn a_symlink_of_the_rootfs_is_followed_into_a_volume() {
    let (sb, inner) = volume("/etc/here");
    symlink("/vol/real", sb.rootfs().join("opt/link")).expect("a link");
    let sb = sb.patch("/mounts/-", bind("/opt/link/below", &inner)).sh("cat /vol/real/below/marker");
    for out in [sb.run().output(), sb.run_oci().output()] {
        out.ok().prints("marker\n");
    }
    // From there on the path is in the volume.
    let (sb, inner) = volume("/etc/here");
    symlink("/vol", sb.rootfs().join("opt/link")).expect("a link");
    refused_by_both(&sb.patch("/mounts/-", bind("/opt/link/t/x", &inner)), "/opt/link/t");
}

#[case(Root)]
fn a_symlink_in_a_volume_is_refused_however_it_is_swapped() {
    let (sb, inner) = volume("/etc/here");
    let vol = sb.dir().join("vol");
    let sb = sb
        .patch("/mounts/-", bind("/vol/real/below", &inner))
        .patch("/mounts/-", tmpfs("/vol/real/new/er", &[]));
    let mut sb = sb.sh("find /etc -name marker; grep -c ' /etc/here' /proc/self/mountinfo; true");
    sb.set("/process/cwd", json!("/vol/real/work"));
    let here = sb.rootfs().join("etc/here");
    let racer = Racer::new(vol.join("real"), vol.join("t"));
    let mut ran = 0;
    for i in 0..rounds(100) {
        let _held = racer.for_start(i);
        // Where the symlink leads a mount can land on what is there, or need something made first.
        std::fs::remove_dir_all(&here).expect("remove");
        std::fs::create_dir(&here).expect("a directory");
        for name in ["below", "new/er", "work"].iter().filter(|_| i % 4 < 2) {
            std::fs::create_dir_all(here.join(name)).expect("a directory");
        }
        let before = super::hash_tree(&here);
        let out = if i % 2 == 0 { sb.run().output() } else { sb.run_oci().output() };
        assert!(!out.stdout.contains("marker"), "a mount landed outside of its volume\n{out}");
        assert!(out.code != 0 || out.stdout.trim() == "0", "{out}");
        ran += usize::from(out.code == 0);
        assert!(super::hash_tree(&here) == before, "something was made outside of the volume\n{out}");
    }
    drop(racer);
    assert!(ran > 0, "no start had anything to race with");
}

/// A hardened run refuses it; runc and the OCI verbs follow what the kernel follows.
#[case(Root)]
fn a_source_is_no_symlink_of_another_user() {
    let host = Sentinel::new();
    let run = |source: &Path| {
        let sb = Sandbox::new().sh("cat /data/* 2>/dev/null; echo it ran");
        sb.patch("/mounts/-", bind("/data", source)).run().output()
    };
    let of = |path: &Path, uid: u32| lchown(path, Some(uid), Some(uid)).expect("chown");
    let place = tempfile::tempdir().expect("a directory");
    let vol = place.path().join("vol");
    std::fs::create_dir_all(vol.join("theirs")).expect("a directory");
    std::fs::write(vol.join("theirs/file"), "theirs\n").expect("a file");
    symlink(&host.dir, vol.join("last")).expect("a link");
    symlink(host.dir.parent().expect("a parent"), vol.join("middle")).expect("a link");
    symlink("last", vol.join("chain")).expect("a link");
    symlink("theirs", vol.join("own")).expect("a link");
    for name in ["", "theirs", "theirs/file", "last", "middle", "chain", "own"] {
        of(&vol.join(name), NEIGHBOUR);
    }
    let name = host.dir.file_name().expect("a name");
    for source in [vol.join("last"), vol.join("middle").join(name), vol.join("chain")] {
        let out = run(&source);
        no_secret(&out);
        assert!(out.code == 125 && out.stderr.contains("is a symlink of another user"), "{out}");
    }
    let link = vol.join("last").display().to_string();
    let volume = format!("{link}:/data");
    let mount = format!("type=bind,source={link},target=/data");
    for flags in [["--volume", &volume], ["--mount", &mount]] {
        let sb = Sandbox::new().sh("cat /data/*");
        let out = sb.run().args(flags).output();
        no_secret(&out);
        assert!(out.code == 125 && out.stderr.contains("is a symlink of another user"), "{out}");
    }
    let sb = Sandbox::new();
    for flags in [["--ro", &link], ["--rootfs", &link]] {
        let out = sb.runtime().arg("run").args(flags).args(["--", "/bin/ls", &link]).output();
        no_secret(&out);
        assert!(out.code == 125 && out.stderr.contains("is a symlink of another user"), "{out}");
    }
    files_of_the_launcher(&host, &vol);
    // Files of that user are no gain: the user could have copied them there.
    run(&vol.join("own")).ok().prints("theirs\nit ran\n");
    // In a sticky directory such as /tmp it is refused all the same: as with fs.protected_symlinks.
    let shared = place.path().join("shared");
    std::fs::create_dir(&shared).expect("a directory");
    std::fs::set_permissions(&shared, PermissionsExt::from_mode(0o1777)).expect("chmod");
    symlink(vol.join("theirs"), shared.join("link")).expect("a link");
    of(&shared.join("link"), NEIGHBOUR);
    assert_eq!(run(&shared.join("link")).code, 125);
    // The caller's own symlink is followed anywhere.
    chown(&vol, Some(0), Some(0)).expect("chown");
    symlink("theirs", vol.join("mine")).expect("a link");
    assert_eq!(vol.join("mine").symlink_metadata().expect("stat").uid(), 0);
    run(&vol.join("mine")).ok().prints("theirs\nit ran\n");
}

/// Files that the launcher itself reads.
fn files_of_the_launcher(host: &Sentinel, vol: &Path) {
    let sb = Sandbox::new();
    let file = vol.join("file");
    symlink(host.dir.join("secret"), &file).expect("a link");
    lchown(&file, Some(NEIGHBOUR), Some(NEIGHBOUR)).expect("chown");
    let file = file.display();
    for flags in [
        ["--secret", &format!("id=S,src={file}")],
        ["--env-file", &file.to_string()],
        ["--security-opt", &format!("seccomp={file}")],
    ] {
        let out = sb.runtime().arg("run").args(flags).args(["--", "/bin/true"]).output();
        assert!(out.code == 125 && out.stderr.contains("is a symlink of another user"), "{out}");
    }
}

/// An idmapped mount makes capabilities(7) that the container's root gives to a file those of the host.
#[case(Root, Userns, Idmap)]
fn no_file_capability_is_left_in_a_volume() {
    let sb = Sandbox::new().sh("true");
    let volume = sb.dir().join("vol");
    std::fs::create_dir(&volume).expect("a directory");
    let run = |mode: &str| {
        let volume = format!("{}:/vol:{mode}", volume.display());
        let call = sb.runtime().args(["run", "--allow", "root", "--cap-add", "SETFCAP", "--volume", &volume]);
        call.arg("--bundle").arg(sb.bundle()).arg(sb.id()).output()
    };
    run("rw").exits(125).says("--cap-add CAP_SETFCAP").says("file capabilities");
    run("ro").ok();
}
