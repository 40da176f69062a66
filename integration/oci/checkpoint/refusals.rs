//! Dumps and restores that are refused or fail: the reason is reported, and there are no leftovers.

use super::*;
use crate::harness::case;

#[case(super::OWN)]
fn a_hardened_run_is_refused() {
    let sb = Sandbox::new().sh("echo up; sleep 1000");
    let running = sb.run_until(sb.run(), "up");
    // Not every file system can be idmapped; without idmap a hardened run is dumped as any other container.
    let mounts = std::fs::read_to_string(format!("/proc/{}/mountinfo", sb.pid())).expect("mountinfo");
    if mounts.contains("idmapped") {
        checkpoint(&sb, &[]).exits(1).says("it has an idmapped mount");
        assert_eq!(sb.status(), "running");
    }
    sb.kill("KILL").ok();
    running.wait().exits(137);
}

#[case(super::WORDS)]
fn what_is_not_running_is_refused() {
    let sb = Sandbox::new().sh("exit 0");
    checkpoint(&sb, &[]).exits(1).says("container does not exist");
    sb.create().ok();
    checkpoint(&sb, &[]).exits(1).says("ontainer cannot be checkpointed in created state");
    sb.verb("start").ok();
    sb.wait_for_status("stopped");
    checkpoint(&sb, &[]).exits(1).says("ontainer cannot be checkpointed in stopped state");
    sb.verb("delete").ok();
}

/// Options that are always wrong, with their messages.
const MISTAKES: &[(&[&str], &str)] = &[
    (&["--page-server", "nonsense"], "Use --page-server ADDRESS:PORT to specify page server"),
    (&["--page-server", "127.0.0.1:x"], "Invalid port number"),
    (&["--manage-cgroups-mode", "firm"], "Invalid manage"),
    (&["--empty-ns", "uts"], "namespace \"uts\" is not supported"),
    (&["--parent-path", "/absolute"], "--parent-path"),
];

#[case(super::OCI)]
fn bad_flags_change_nothing() {
    let sb = counting();
    let _out = started(&sb, Stdio::null());
    let file = sb.dir().join("file");
    std::fs::write(&file, "").expect("write");
    let table: &[(&[&str], &str)] =
        &[(&["--parent-path", "missing"], "--parent-path"), (&["--parent-path", "../file"], "--parent-path")];
    for (flags, says) in table.iter().chain(MISTAKES) {
        checkpoint(&sb, flags).exits(1).says(says);
    }
    assert_eq!(sb.status(), "running");
    let number = count(&sb);
    goes_on(&sb, number);
    // The id is taken.
    checkpoint(&sb, &["--leave-running"]).ok();
    call(&sb, &[])
        .args(restore_args(&sb, &[]))
        .output()
        .exits(1)
        .says("container with given ID already exists");
    sb.delete().ok();
}

#[case(super::OCI)]
fn restore_without_images_leaves_nothing() {
    let sb = counting();
    call(&sb, &[]).args(restore_args(&sb, &[])).output().exits(1).says("no such file or directory");
    std::fs::create_dir_all(images(&sb)).expect("mkdir");
    call(&sb, &[])
        .args(restore_args(&sb, &[]))
        .output()
        .exits(1)
        .says("descriptors.json: no such file or directory");
    let missing = sb.dir().join("missing").display().to_string();
    let call = call(&sb, &["restore", "--image-path"]).arg(images(&sb)).args(["--bundle", &missing, sb.id()]);
    call.output().exits(1).says("no such file or directory");
    sb.leak_check();
}

#[case(super::OWN)]
fn a_failed_restore_says_what_criu_said_and_leaves_nothing() {
    // Slowly: it is restored twice, and a file that was open at the dump must exist each time.
    let sb = counting_every("", "0.3");
    drop(started(&sb, Stdio::null()));
    poll("numbers", Duration::from_secs(10), || count(&sb) > 2);
    checkpoint(&sb, &[]).ok();
    let log = images(&sb).join("restore.log").display().to_string();
    let failed = || {
        let out = call(&sb, &[])
            .args(restore_args(&sb, &["--pid-file", &sb.dir().join("pid").display().to_string()]));
        let out = out.output().exits(1);
        gone(&sb);
        assert!(!sb.dir().join("pid").exists(), "a pid file of nothing");
        out
    };
    // Failures at the very beginning, and after processes exist.
    for image in ["inventory.img", "core-1.img", "mountpoints-13.img"] {
        let path = images(&sb).join(image);
        let Ok(whole) = std::fs::read(&path) else { continue };
        std::fs::write(&path, &whole[..whole.len() / 2]).expect("write");
        failed().says("criu failed: type").says("Error (criu/").says(&format!("(log file: {log})"));
        std::fs::write(&path, whole).expect("write");
    }
    let _out = piped(&sb, &restore_args(&sb, &[]), Stdio::null());
    goes_on(&sb, count(&sb));
    sb.delete().ok();
    // A pid file that cannot be written, which is detected last.
    let bad = sb.dir().join("missing/pid").display().to_string();
    call(&sb, &[]).args(restore_args(&sb, &["--pid-file", &bad])).output().exits(1).says("missing/");
    gone(&sb);
}

/// A unix socket with a peer outside cannot be dumped without --ext-unix-sk.
#[case(super::OWN)]
fn a_failed_dump_says_what_criu_said_and_the_container_goes_on() {
    let sb = Sandbox::new().sh(COUNT);
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().expect("a socket pair");
    let out = started(&sb, std::os::fd::OwnedFd::from(theirs).into());
    line(&out);
    let log = images(&sb).join("dump.log").display().to_string();
    checkpoint(&sb, &[])
        .exits(1)
        .says("criu failed: type")
        .says("Error (criu/")
        .says(&format!("(log file: {log})"));
    assert_eq!(sb.status(), "running");
    let number: u32 = line(&out).parse().expect("a number");
    assert_eq!(line(&out).parse(), Ok(number + 1));
    drop(ours);
    sb.delete().ok();
}

#[case(super::NO_CRIU)]
fn without_criu_it_says_so() {
    let sb = counting();
    let _out = started(&sb, Stdio::null());
    let call = sb.runtime().args(["--criu", "no-such-criu", "checkpoint", "--image-path"]).arg(images(&sb));
    call.arg(sb.id()).output().exits(1).says("exec: \"no-such-criu\": executable file not found in $PATH");
    assert!(!images(&sb).exists(), "nothing is made before criu is found");
    // Wrong options are reported even without criu.
    for (flags, says) in MISTAKES {
        let call = sb.runtime().args(["--criu", "no-such-criu", "checkpoint"]).args(*flags);
        call.arg("--image-path").arg(images(&sb)).arg(sb.id()).output().exits(1).says(says);
    }
    let restore = sb.runtime().args(["--criu", "no-such-criu", "restore", "--empty-ns", "uts", "other"]);
    restore.output().exits(1).says("namespace \"uts\" is not supported");
    assert_eq!(sb.status(), "running");
    sb.delete().ok();
}

#[case(super::NO_CRIU)]
fn probes_of_podman_and_cri_o() {
    let sb = Sandbox::new();
    sb.runtime().args(["checkpoint", "--help"]).output().ok().prints("--image-path");
    sb.runtime().args(["restore", "--lsm-mount-context"]).output().exits(1).says("flag needs an argument");
}

/// Other users may have write access to the images directory.
#[case(super::OWN)]
fn a_link_among_the_images_is_not_written_through() {
    let sb = Sandbox::new().args(["/bin/sleep", "1000"]);
    sb.create().ok();
    sb.verb("start").ok();
    let victim = sb.dir().join("victim");
    std::fs::write(&victim, "the host's").expect("a file");
    std::fs::create_dir(images(&sb)).expect("a directory");
    std::os::unix::fs::symlink(&victim, images(&sb).join("descriptors.json")).expect("a link");
    checkpoint(&sb, &["--leave-running"]).ok();
    assert_eq!(std::fs::read_to_string(&victim).expect("the victim"), "the host's");
    assert!(!images(&sb).join("descriptors.json").is_symlink());
    sb.delete().ok();
}
