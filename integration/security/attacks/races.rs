//! A second container changes a shared directory between two system calls of the runtime.

use std::os::unix::fs::symlink;

use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use serde_json::json;

use super::{Racer, Sentinel, no_secret};
use crate::harness::{Sandbox, case, poll, rounds};

/// Number of starts per race.
fn all() -> usize {
    rounds(100)
}

/// Every second start is hardened, the others are not.
fn starts(sb: &Sandbox, racer: &Racer, mut check: impl FnMut(&crate::harness::Output)) -> usize {
    let mut started = 0;
    for i in 0..all() {
        let _held = racer.for_start(i);
        let out = if i % 2 == 0 { sb.run().output() } else { sb.run_oci().output() };
        no_secret(&out);
        started += usize::from(out.code == 0);
        check(&out);
    }
    started
}

/// A volume shared with the attacker: a directory `t` and a symlink to the host's tree.
fn volume(sb: &Sandbox, host: &Sentinel) -> std::path::PathBuf {
    let vol = sb.dir().join("vol");
    std::fs::create_dir_all(vol.join("t/below")).expect("directories");
    symlink(&host.dir, vol.join("link")).expect("a link");
    std::fs::create_dir_all(sb.dir().join("inner")).expect("a directory");
    std::fs::write(sb.dir().join("inner/marker"), "marker").expect("a file");
    vol
}

/// CVE-2021-30465.
#[case(Root)]
fn a_mount_lands_inside_however_its_target_is_swapped() {
    let sb = Sandbox::new()
        .sh("cat /vol/t/secret /vol/link/secret /vol/t/below/* /vol/link/below/* 2>/dev/null; \
         grep -c ' /inner ' /proc/self/mountinfo; cat /proc/self/mountinfo");
    let host = Sentinel::new();
    let vol = volume(&sb, &host);
    // The path of the symlink also exists inside, as a possible mount point.
    let inside = sb.rootfs().join(host.dir.strip_prefix("/").expect("absolute")).join("below");
    std::fs::create_dir_all(inside).expect("directories");
    let inner = sb.dir().join("inner");
    let mut sb = sb.patch(
        "/mounts/-",
        json!({"destination": "/vol", "type": "bind", "source": vol, "options": ["rbind"]}),
    );
    sb.set(
        "/mounts/-",
        json!({"destination": "/vol/t", "type": "bind", "source": inner, "options": ["rbind"]}),
    );
    sb.set(
        "/mounts/-",
        json!({"destination": "/vol/t/below", "type": "bind", "source": inner, "options": ["rbind"]}),
    );
    std::fs::create_dir_all(inner.join("below")).expect("a directory");
    let racer = Racer::new(vol.join("t"), vol.join("link"));
    let started = starts(&sb, &racer, |out| {
        let here = out.stdout.lines().filter(|l| l.contains("/inner ")).count();
        assert!(out.code != 0 || here >= 2, "a mount landed outside the container\n{out}");
    });
    assert!(started > 0, "no start had anything to race with");
    host.unchanged();
}

/// CVE-2024-45310.
#[case(Root)]
fn a_missing_target_is_made_inside_however_links_are_swapped() {
    let sb = Sandbox::new().sh("cat /vol/t/secret /vol/link/secret 2>/dev/null; true");
    let host = Sentinel::new();
    let vol = volume(&sb, &host);
    let payload = sb.dir().join("inner/marker");
    let mut sb = sb.patch(
        "/mounts/-",
        json!({"destination": "/vol", "type": "bind", "source": vol, "options": ["rbind"]}),
    );
    // The start fails if it sees the symlink, so few starts are needed.
    sb.set("/mounts/-", json!({"destination": "/vol/t/new/dir", "type": "tmpfs", "source": "tmpfs"}));
    sb.set(
        "/mounts/-",
        json!({"destination": "/vol/t/file", "type": "bind", "source": payload, "options": ["bind"]}),
    );
    let racer = Racer::new(vol.join("t"), vol.join("link"));
    let started = starts(&sb, &racer, |_| host.unchanged());
    assert!(started > 0, "no start had anything to race with");
}

/// CVE-2024-1753, CVE-2024-23651: the opened source is the mounted one, with the requested options.
#[case(Root)]
fn a_bind_source_is_resolved_once() {
    let sb = Sandbox::new().sh("cat /data/name /data; echo x > /data/new && echo writable; true");
    let host = Sentinel::new();
    let vol = sb.dir().join("vol");
    std::fs::create_dir_all(vol.join("a")).expect("a directory");
    std::fs::write(vol.join("a/name"), "directory a\n").expect("a file");
    std::fs::write(vol.join("b"), "file b\n").expect("a file");
    let mount =
        json!({"destination": "/data", "type": "bind", "source": vol.join("a"), "options": ["rbind", "rro"]});
    let sb = sb.patch("/mounts/-", mount);
    std::fs::create_dir_all(sb.rootfs().join("data")).expect("a directory");
    let before = super::hash_tree(&vol);
    let racer = Racer::new(vol.join("a"), vol.join("b"));
    let started = starts(&sb, &racer, |out| {
        assert!(!out.stdout.contains("writable"), "the mount's options were lost\n{out}");
        let (a, b) = (out.stdout.contains("directory a"), out.stdout.contains("file b"));
        assert!(out.code != 0 || (a ^ b), "one of the two trees, whole\n{out}");
    });
    assert!(started > 0, "no start had anything to race with");
    drop(racer);
    if vol.join("b").is_dir() {
        renamed(&vol);
    }
    assert_eq!(super::hash_tree(&vol), before, "the source was written");
    host.unchanged();
}

fn renamed(vol: &std::path::Path) {
    let flags = nix::fcntl::RenameFlags::RENAME_EXCHANGE;
    let at = nix::fcntl::AT_FDCWD;
    nix::fcntl::renameat2(at, &vol.join("a"), at, &vol.join("b"), flags).expect("exchange");
}

/// Two containers share a rootfs: a device node is replaced by a symlink between mknod and chmod.
#[case(Root)]
fn a_node_swapped_for_a_link_leaves_the_host_s_modes() {
    let sb = Sandbox::new().args(["/bin/true"]);
    let host = Sentinel::new();
    let dev = sb.rootfs().join("dev");
    let full = dev.join("full");
    mknod(&full, SFlag::S_IFCHR, Mode::from_bits_truncate(0o600), makedev(1, 7)).expect("mknod");
    symlink(host.dir.join("null"), dev.join("swap")).expect("a link");
    let mut sb = sb;
    sb.set("/mounts", json!([{"destination": "/proc", "type": "proc", "source": "proc"}]));
    let racer = Racer::new(full, dev.join("swap"));
    let mut started = 0;
    for i in 0..all() {
        let _held = racer.for_start(i);
        let out = sb.run_oci().output();
        no_secret(&out);
        host.unchanged();
        started += usize::from(out.code == 0);
    }
    assert!(started > 0, "no start had anything to race with");
}

/// The runtime creates the working directory and changes its owner; neither may affect the host's
/// directories.
#[case(Root)]
fn a_working_directory_is_made_inside_however_links_are_swapped() {
    let sb = Sandbox::new().sh("cat secret ../secret 2>/dev/null; true");
    let host = Sentinel::new();
    let vol = volume(&sb, &host);
    let mut sb = sb.patch(
        "/mounts/-",
        json!({"destination": "/vol", "type": "bind", "source": vol, "options": ["rbind"]}),
    );
    sb.set("/process/cwd", json!("/vol/t/work/deep"));
    sb.set("/process/user", json!({"uid": 1000, "gid": 1000}));
    let racer = Racer::new(vol.join("t"), vol.join("link"));
    starts(&sb, &racer, |_| {
        host.unchanged();
        // So that it must be created again.
        for parent in ["t", "link"] {
            let work = vol.join(parent).join("work");
            if !vol.join(parent).is_symlink() {
                std::fs::remove_dir_all(work).unwrap_or_default();
            }
        }
    });
}

/// Another container of the volume creates the working directory just before the runtime does: its owner must
/// not change.
#[case(Root)]
fn a_directory_that_another_makes_keeps_its_owner() {
    use std::os::unix::fs::MetadataExt;
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
    let sb = Sandbox::new().args(["/bin/true"]);
    let vol = sb.dir().join("vol");
    std::fs::create_dir_all(&vol).expect("a directory");
    let mut sb = sb.patch(
        "/mounts/-",
        json!({"destination": "/vol", "type": "bind", "source": vol, "options": ["rbind"]}),
    );
    sb.set("/process/cwd", json!("/vol/work"));
    sb.set("/process/user", json!({"uid": 1000, "gid": 1000}));
    let work = vol.join("work");
    let (stop, lost, made) = (AtomicBool::new(false), AtomicU32::new(0), AtomicU32::new(0));
    std::thread::scope(|threads| {
        threads.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                if std::fs::create_dir(&work).is_ok() {
                    made.fetch_add(1, Ordering::Relaxed);
                    std::thread::sleep(std::time::Duration::from_micros(30));
                    let owner = work.symlink_metadata().map_or(0, |m| m.uid());
                    lost.fetch_add(u32::from(owner != 0), Ordering::Relaxed);
                }
                std::fs::remove_dir(&work).unwrap_or_default();
            }
        });
        for _ in 0..2 * all() {
            no_secret(&sb.run_oci().output());
        }
        stop.store(true, Ordering::Relaxed);
    });
    // Without the attacker the runtime creates the directory for the user.
    sb.run_oci().output().ok();
    assert_eq!(work.symlink_metadata().expect("stat").uid(), 1000);
    assert!(made.load(Ordering::Relaxed) > 100, "the other one never ran");
    assert_eq!(lost.load(Ordering::Relaxed), 0, "directories of another were given to the container's user");
}

/// A verb reads the state and waits for the lock; meanwhile another process writes a new state.
#[case(Root)]
fn who_waited_for_the_lock_acts_on_what_is_there_then() {
    for verb in ["start", "update", "delete"] {
        let sb = Sandbox::new().args(["/bin/sleep", "1000"]);
        sb.create().ok();
        let dir = sb.root().join(sb.id());
        let file = dir.join("state.json");
        let held = std::fs::File::open(&dir).expect("the state directory");
        let held = nix::fcntl::Flock::lock(held, nix::fcntl::FlockArg::LockExclusive).expect("the lock");
        let call = sb.runtime().arg(verb);
        let call = if verb == "update" { call.args(["--pids-limit", "50"]) } else { call };
        let running = call.arg(sb.id()).spawn();
        let waits = format!("{} ", running.pid());
        poll("it waits for the lock", std::time::Duration::from_secs(10), || {
            let locks = std::fs::read_to_string("/proc/locks").expect("the locks");
            locks.lines().any(|l| l.contains("-> FLOCK") && l.contains(&waits))
        });
        let mut state: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&file).expect("the state")).expect("JSON");
        let said = sb.dir().join("said");
        let args = json!(["sh", "-c", "echo said > \"$0\"", said]);
        for hook in ["poststart", "poststop"] {
            let hooks = json!([{"path": "/bin/sh", "args": args, "env": [], "timeout": null}]);
            assert!(state["hooks"][hook].is_array(), "{state}");
            state["hooks"][hook] = hooks;
        }
        let new = dir.join(".state.new");
        std::fs::write(&new, serde_json::to_vec(&state).expect("JSON")).expect("the state");
        std::fs::rename(&new, &file).expect("rename");
        drop(held);
        let out = running.wait().ok();
        if verb == "update" {
            // The verb writes the state again, which must contain the other process's change.
            let text = std::fs::read_to_string(&file).expect("the state");
            assert!(text.contains("echo said"), "{verb}: the other's change is lost\n{out}");
        } else {
            assert!(said.exists(), "{verb}: acted on the older state\n{out}");
        }
        sb.delete().ok();
    }
}

/// A program that still runs changes its layer while `diff` reads it: nothing but the layer is read.
#[case(Root, Userns, Idmap)]
fn a_diff_stays_in_its_layer_however_directories_are_swapped() {
    let sb = Sandbox::new();
    let host = Sentinel::new();
    let dir = sb.dir().join("project");
    std::fs::create_dir(&dir).expect("a directory");
    for open in [sb.dir(), dir.as_path()] {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(open, mode).expect("chmod");
    }
    let (at, to) = (dir.display(), host.dir.display());
    let script = format!("cd {at} && mkdir -p t/below && echo x >t/own && ln -s {to} link");
    let run = sb.runtime().args(["run", "-q", "--name", sb.id(), "--overlay"]).arg(&dir);
    run.args(["--", "sh", "-c", &script]).output().ok();
    let upper = sb.root().join("@layers").join(sb.id()).join("0/upper");
    let racer = Racer::new(upper.join("t"), upper.join("link"));
    let mut whole = 0;
    for i in 0..all() {
        let _held = racer.for_start(i);
        let out = sb.runtime().args(["diff", sb.id()]).output().ok();
        no_secret(&out);
        let astray = ["/secret", "/null", "/passwd"].iter().any(|name| out.stdout.contains(name));
        assert!(!astray, "diff has read a directory of the host\n{out}");
        whole += usize::from(out.stdout.contains("/t/own"));
    }
    assert!(whole > 0, "no diff saw the directory");
    drop(racer);
    host.unchanged();
    sb.runtime().args(["discard", sb.id()]).output().ok();
}
