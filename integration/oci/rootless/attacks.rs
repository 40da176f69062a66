//! Attacks on an unprivileged user's runtime: its program, and its state root.

use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::json;

use super::{ONE, User, one};
use crate::harness::bundle::safebox;
use crate::harness::carried::copy_program;
use crate::harness::{Need, Sandbox, case, poll, rounds};
use crate::security::attacks::{build_probe, hash_tree};

const PROBE: &[Need] = &[Need::Root, Need::OrdinaryUserns, Need::Probe];

/// CVE-2019-5736 when the runtime is a file of the caller: a program that root of the container, which is the
/// caller, may open for writing.
#[case(PROBE)]
fn the_runtime_s_binary_cannot_be_overwritten() {
    let user = one();
    let mut sb = user.sandbox().args(["/bin/probe", "spy", "300"]).patch("/root/readonly", json!(false));
    for set in ["bounding", "effective", "permitted"] {
        sb.set(&format!("/process/capabilities/{set}"), json!(["CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE"]));
    }
    build_probe(&sb);
    // The user's own program, in place of the symlink to root's.
    let runtime = sb.dir().join("safebox");
    std::fs::remove_file(&runtime).expect("remove the link");
    std::fs::create_dir(&runtime).expect("a directory");
    let runtime = runtime.join("safebox");
    copy_program(&safebox(), &runtime);
    for path in [&sb.bundle(), &runtime] {
        user.own(path);
    }
    std::os::unix::fs::chown(&runtime, Some(user.uid), Some(user.gid)).expect("chown");
    let before = hash_tree(&runtime);
    let call = |args: &[&str]| user.program(&sb, &runtime, &[]).args(args);
    let bundle = sb.bundle().display().to_string();
    let create = call(&["create", "--bundle", &bundle, sb.id()]).spawn();
    let seen = create.files().0.clone();
    create.wait().ok();
    call(&["start", sb.id()]).output().ok();
    let seen = || std::fs::read_to_string(&seen).unwrap_or_default();
    poll("the spy spies", Duration::from_secs(10), || seen().contains("spying"));
    // A shell that is a symlink to the runtime that executes it.
    symlink("/proc/self/exe", sb.rootfs().join("bin/shell")).expect("a link");
    for i in 0..rounds(20).max(2) {
        let shell = if i % 2 == 0 { "/bin/true" } else { "/bin/shell" };
        call(&["exec", sb.id(), shell]).output();
    }
    std::fs::write(sb.rootfs().join("tmp/stop"), "").expect("a file");
    poll("the spy to end", Duration::from_secs(20), || seen().contains("done"));
    assert_eq!(hash_tree(&runtime), before, "the binary was changed");
    let seen = seen();
    assert!(!seen.contains("wrote"), "the spy wrote to the running program");
    assert!(seen.contains("again "), "the spy never met the runtime");
    call(&["delete", "--force", sb.id()]).output().ok();
    sb.leak_check();
}

/// A user that no system and no other test uses: the directory in /tmp is named after it.
fn nobody() -> User {
    let id = 600_000 + std::process::id();
    User { uid: id, gid: id }
}

/// Removed on drop, whatever type of file it is.
struct Place(PathBuf);

impl Place {
    fn clear(&self) {
        if self.0.is_symlink() || self.0.is_file() {
            std::fs::remove_file(&self.0).expect("remove");
        } else if self.0.exists() {
            std::fs::remove_dir_all(&self.0).expect("remove");
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.clear();
    }
}

/// The sandbox's safebox, as this user and with an empty environment.
fn as_user(user: &User, sb: &Sandbox) -> Command {
    let mut command = Command::new(sb.dir().join("safebox"));
    command.uid(user.uid).gid(user.gid).current_dir("/").env_clear();
    command
}

/// Without $XDG_RUNTIME_DIR the state root is below /tmp, where other users may have created the directory
/// first.
#[case(ONE)]
fn a_state_directory_that_others_made_is_refused() {
    let user = nobody();
    let sb = user.sandbox();
    let place = Place(format!("/tmp/safebox-{}", user.uid).into());
    let bundle = sb.bundle().display().to_string();
    let call = |args: &[&str]| -> Output {
        let mut command = as_user(&user, &sb);
        command.args(args).env("PATH", "/usr/bin:/bin").env("SAFEBOX_TEST", sb.id());
        command.output().expect("safebox")
    };
    let run = ["--cgroup-manager", "disabled", "run", "--quiet", "--bundle", &bundle, "x"];
    let verbs: [&[&str]; 9] = [
        &["list"],
        &["state", "x"],
        &["start", "x"],
        &["kill", "x", "KILL"],
        &["delete", "--force", "x"],
        &["exec", "x", "/bin/true"],
        &["ps", "x"],
        &["create", "--bundle", &bundle, "x"],
        &run,
    ];
    let make = |mode: u32| std::fs::DirBuilder::new().mode(mode).create(&place.0).expect("a directory");
    let own = |path: &Path| std::os::unix::fs::lchown(path, Some(user.uid), Some(user.gid)).expect("chown");
    let elsewhere = sb.dir().join("elsewhere");
    std::fs::DirBuilder::new().mode(0o700).create(&elsewhere).expect("a directory");
    own(&elsewhere);
    let cases: [(&str, &dyn Fn()); 5] = [
        ("belongs to user 0", &|| make(0o700)),
        ("belongs to user 54321", &|| {
            make(0o777);
            std::fs::set_permissions(&place.0, std::fs::Permissions::from_mode(0o777)).expect("chmod");
            std::os::unix::fs::chown(&place.0, Some(54_321), None).expect("chown");
        }),
        ("other users may enter it", &|| {
            make(0o755);
            own(&place.0);
        }),
        ("not a directory", &|| {
            symlink(&elsewhere, &place.0).expect("a link");
            own(&place.0);
        }),
        ("not a directory", &|| {
            std::fs::write(&place.0, "").expect("a file");
            own(&place.0);
        }),
    ];
    for (says, prepare) in cases {
        prepare();
        for args in verbs {
            let out = call(args);
            let text = String::from_utf8_lossy(&out.stderr);
            let refused = text.contains("state directory /tmp/safebox-") && text.contains(says);
            assert!(!out.status.success() && refused, "{args:?} with a place that {says}:\n{text}");
        }
        place.clear();
    }
    private_and_used_again(&place, || call(&run));
}

/// The user's own directory is created, private, and used again.
fn private_and_used_again(place: &Place, run: impl Fn() -> Output) {
    for _ in 0..2 {
        let out = run();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    }
    let mode = place.0.metadata().expect("the place").permissions().mode() & 0o777;
    assert_eq!(mode, 0o700);
}

/// $XDG_RUNTIME_DIR is writable by other users: a directory that they created first is not trusted.
#[case(ONE)]
fn a_runtime_directory_that_others_write_is_refused() {
    let user = nobody();
    let sb = user.sandbox();
    let place = Place(format!("/tmp/safebox-xdg-{}", user.uid).into());
    std::fs::DirBuilder::new().mode(0o700).create(&place.0).expect("a directory");
    let root = place.0.join("safebox");
    let mode = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("chmod");
    };
    let own = |path: &Path, uid| std::os::unix::fs::lchown(path, Some(uid), Some(uid)).expect("chown");
    let refused = |says: &str| {
        for verb in [&["list"][..], &["delete", "--force", "x"], &["state", "x"]] {
            let mut command = as_user(&user, &sb);
            let out = command.args(verb).env("XDG_RUNTIME_DIR", &place.0).output().expect("safebox");
            let text = String::from_utf8_lossy(&out.stderr);
            assert!(!out.status.success() && text.contains(says), "{verb:?} {says}:\n{text}");
        }
    };
    std::fs::create_dir(&root).expect("a directory");
    mode(&place.0, 0o1777);
    own(&root, 54_321);
    refused("belongs to user 54321");
    own(&root, user.uid);
    mode(&root, 0o777);
    refused("other users may write it");
    mode(&root, 0o700);
    mode(&place.0, 0o777);
    refused("can replace it");
    mode(&place.0, 0o755);
    own(&place.0, 54_321);
    refused("can replace it");
}
