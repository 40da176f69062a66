//! `--overlay`, `diff`, `apply` and `discard`: a directory that is writable, and stays as it is.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::{picture, project, run_in};
use crate::harness::{Call, Need, Sandbox, case};
use crate::oci::rootless::one;

const ROOT: &[Need] = &[Need::Root, Need::Userns, Need::Idmap];
const TMPFS: &[Need] = &[Need::Root, Need::Userns, Need::Idmap, Need::IdmapTmpfs];
const USER: &[Need] = &[Need::Root, Need::OrdinaryUserns];

fn store(sb: &Sandbox) -> PathBuf {
    sb.root().join("@layers")
}

fn verb(sb: &Sandbox, words: &[&str]) -> Call {
    sb.runtime().args(words)
}

#[case(ROOT)]
fn an_overlay_leaves_the_host_s_tree() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    let before = picture(&dir);
    let script = "echo changed >file && rm sub/secret && mkdir new && echo x >new/x && cat file && ls sub";
    let out = run_in(&sb, &dir).args(["-q", "--overlay", ".", "--", "sh", "-c", script]).output().ok();
    assert_eq!(out.stdout, "changed\n");
    assert_eq!(picture(&dir), before, "the host's tree has changed");
    verb(&sb, &["list", "--layers"]).output().ok().prints(sb.id());
    verb(&sb, &["discard", sb.id()]).output().ok();
    assert_eq!(picture(&dir), before);
    assert!(!store(&sb).join(sb.id()).exists());
    verb(&sb, &["diff", sb.id()]).output().exits(1).says("no layers");
    // A run that writes nothing leaves nothing.
    run_in(&sb, &dir).args(["-q", "--overlay", ".", "--", "cat", "file"]).output().ok();
    assert!(!store(&sb).join(sb.id()).exists());
    sb.leak_check();
}

/// Without --name the run itself says which id the changes have.
#[case(ROOT)]
fn the_id_of_the_changes_is_printed() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    let run = |script: &str| {
        let at = dir.clone();
        let call = sb.runtime().args(["run", "--overlay", ".", "--", "sh", "-c", script]);
        call.with(move |c| {
            c.current_dir(at);
        })
        .output()
        .ok()
    };
    let out = run("echo changed >file");
    let last = out.stderr.lines().last().unwrap_or_default().to_string();
    let id =
        last.split_once("safebox diff ").and_then(|(_, rest)| rest.split(',').next()).unwrap_or_default();
    assert!(!id.is_empty(), "{out}");
    verb(&sb, &["diff", id]).output().ok().prints("project/file");
    verb(&sb, &["discard", id]).output().ok();
    let out = run("cat file");
    assert!(!out.stderr.contains("safebox diff"), "nothing is kept: {out}");
    sb.leak_check();
}

#[case(ROOT)]
fn changes_are_listed_and_applied() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    let script = "echo changed >file; rm -r sub; mkdir -p .git/hooks; echo x >.git/hooks/post-merge; \
                  chmod +x .git/hooks/post-merge; ln -s /etc/passwd out; chmod 600 file";
    run_in(&sb, &dir).args(["-q", "--overlay", ".", "--", "sh", "-c", script]).output().ok();
    let out = verb(&sb, &["diff", sb.id()]).output().ok();
    let path = dir.display();
    for line in [
        format!("M 0600         8 {path}/file"),
        format!("D 0755         0 {path}/sub/"),
        format!("A 0755         2 {path}/.git/hooks/post-merge  [a hook of git]"),
        format!("{path}/out  [a symlink that leads out of the directory]"),
    ] {
        assert!(out.stdout.contains(&line), "{line}: {out}");
    }
    let hooks = dir.join(".git").display().to_string();
    verb(&sb, &["apply", sb.id(), &hooks]).output().ok().says("1 path written");
    assert!(dir.join(".git/hooks/post-merge").is_file() && dir.join("sub").is_dir());
    verb(&sb, &["apply", sb.id()]).output().ok();
    assert!(!dir.join("sub").exists());
    assert_eq!(std::fs::read_to_string(dir.join("file")).expect("the file"), "changed\n");
    let owner = std::os::unix::fs::MetadataExt::uid(&dir.join("file").metadata().expect("the file"));
    assert_eq!(owner, 0, "the file belongs to the directory's owner");
    assert!(!store(&sb).join(sb.id()).exists());
    assert!(!picture(&dir).contains(".safebox-"), "temporary files are left: {}", picture(&dir));
}

#[case(USER)]
fn an_ordinary_user_s_overlay() {
    let user = one();
    let sb = user.sandbox();
    let dir = project(&sb);
    user.own(&dir);
    let before = picture(&dir);
    let at = dir.clone();
    let script = "echo new >file; mkdir made; mkdir closed; chmod 0 closed; rm sub/secret";
    let run = user.under(&sb, &[]).args([
        "run",
        "-q",
        "--name",
        sb.id(),
        "--overlay",
        ".",
        "--",
        "sh",
        "-c",
        script,
    ]);
    run.with(move |c| {
        c.current_dir(&at);
    })
    .output()
    .ok();
    assert_eq!(picture(&dir), before);
    let verb = |verb: &str| user.under(&sb, &[]).args([verb, sb.id()]).output();
    verb("diff").exits(1).says("closed").says("ermission denied");
    nix::sys::stat::fchmodat(
        nix::fcntl::AT_FDCWD,
        &store(&sb).join(sb.id()).join("0/upper/closed"),
        nix::sys::stat::Mode::S_IRWXU,
        nix::sys::stat::FchmodatFlags::FollowSymlink,
    )
    .expect("chmod");
    verb("diff").ok().prints("made/");
    verb("apply").ok();
    assert_eq!(std::fs::read_to_string(dir.join("file")).expect("the file"), "new\n");
    assert!(!dir.join("sub/secret").exists() && dir.join("made").is_dir());
    assert!(!store(&sb).join(sb.id()).exists());
    let run = user.under(&sb, &[]).args(["run", "-q", "--name", sb.id(), "--overlay"]).arg(&dir);
    run.args(["--", "sh", "-c", &format!("mkdir -p {0}/d/e; chmod 0 {0}/d/e {0}/d", dir.display())])
        .output()
        .ok();
    verb("discard").ok();
    assert!(!store(&sb).join(sb.id()).exists());
}

#[case(ROOT)]
fn apply_refuses_what_changed_meanwhile() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    run_in(&sb, &dir)
        .args(["-q", "--overlay", ".", "--", "sh", "-c", "echo mine >file; echo n >new"])
        .output()
        .ok();
    std::fs::write(dir.join("file"), "theirs\n").expect("write");
    let before = picture(&dir);
    let out = verb(&sb, &["apply", sb.id()]).output().exits(1);
    out.says("nothing is written: changed on the host since the run began").says("/file");
    assert_eq!(picture(&dir), before);
    verb(&sb, &["discard", sb.id()]).output().ok();
}

/// Every file is the old or the new one at every moment, and a second apply finishes.
#[case(ROOT)]
fn apply_is_atomic_when_it_is_killed() {
    let files = 30;
    for round in 0..crate::harness::rounds(12) {
        let sb = Sandbox::new();
        let dir = project(&sb);
        for i in 0..files {
            std::fs::write(dir.join(format!("f{i}")), "old".repeat(5000)).expect("write");
        }
        let script = format!(
            "i=0; while [ $i -lt {files} ]; do yes new | head -c 15000 >f$i; i=$((i+1)); done; rm sub/secret; mkdir d; echo x >d/x"
        );
        run_in(&sb, &dir).args(["-q", "--overlay", ".", "--", "sh", "-c", &script]).output().ok();
        let apply = verb(&sb, &["apply", sb.id()]).spawn_with_stdin();
        std::thread::sleep(Duration::from_micros(1000 * round as u64));
        apply.signal(Signal::SIGKILL);
        apply.wait();
        for i in 0..files {
            let text = std::fs::read_to_string(dir.join(format!("f{i}"))).expect("a file");
            assert!(
                text == "old".repeat(5000) || text.len() == 15000 && text.starts_with("new\nnew"),
                "f{i} is torn"
            );
        }
        if store(&sb).join(sb.id()).exists() {
            verb(&sb, &["apply", sb.id()]).output().ok();
        }
        for i in 0..files {
            let text = std::fs::read_to_string(dir.join(format!("f{i}"))).expect("a file");
            assert!(text.starts_with("new"), "round {round}: f{i} is old");
        }
        assert!(!dir.join("sub/secret").exists() && dir.join("d/x").is_file());
        assert!(!picture(&dir).contains(".safebox-"), "{}", picture(&dir));
        assert!(!store(&sb).join(sb.id()).exists());
    }
}

#[case(ROOT)]
fn one_base_has_many_overlays() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    let ids: Vec<_> = (0..8).map(|i| sb.other_id(&format!("o{i}"))).collect();
    let running: Vec<_> = ids
        .iter()
        .map(|id| {
            let at = dir.clone();
            let script = format!("echo {id} >file; sleep 0.2; cat file");
            let call =
                sb.runtime().args(["run", "-q", "--name", id, "--overlay", ".", "--", "sh", "-c", &script]);
            call.with(move |c| {
                c.current_dir(&at);
            })
            .spawn()
        })
        .collect();
    for (id, running) in ids.iter().zip(running) {
        assert_eq!(running.wait().ok().stdout.trim(), id);
    }
    for id in &ids {
        verb(&sb, &["discard", id]).output().ok();
    }
    assert_eq!(std::fs::read_to_string(dir.join("file")).expect("the file"), "project\n");
}

/// On a machine whose mounts are shared, as with systemd, no mount of a container appears elsewhere, not for a moment.
#[case(ROOT)]
fn mounts_of_an_overlay_are_not_seen_outside() {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::os::fd::AsFd;
    let sb = Sandbox::new();
    let dir = project(&sb);
    let watcher = std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            // This thread's mounts alone are shared; what it starts has them as well.
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).expect("unshare");
            let flags = nix::mount::MsFlags::MS_REC | nix::mount::MsFlags::MS_SHARED;
            nix::mount::mount(None::<&str>, "/", None::<&str>, flags, None::<&str>).expect("mount");
            let table = std::fs::File::open("/proc/thread-self/mountinfo").expect("open");
            let changed = || {
                let mut fds = [PollFd::new(table.as_fd(), PollFlags::POLLPRI)];
                poll(&mut fds, PollTimeout::ZERO).expect("poll");
                fds[0].revents().is_some_and(|events| events.contains(PollFlags::POLLPRI))
            };
            changed();
            let options = ["-q", "--overlay", ".", "--tmpfs", "/scratch", "--hide", "sub/secret"];
            let script = "echo x >file; cat file; test ! -s sub/secret && echo hidden";
            let out = run_in(&sb, &dir).args(options).args(["--", "sh", "-c", script]).output().ok();
            assert_eq!(out.stdout, "x\nhidden\n", "{out}");
            changed()
        });
        watch.join().expect("the thread")
    });
    assert!(!watcher, "a mount of the container was seen outside");
    verb(&sb, &["discard", sb.id()]).output().ok();
    sb.leak_check();
}

#[case(ROOT)]
fn a_failed_launch_leaves_no_layer() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    let path = dir.display().to_string();
    for row in ["layers", "pivot", &format!("overlay:{path}"), "seccomp"] {
        let fail = format!("{row}:EIO");
        let out = run_in(&sb, &dir).args(["-q", "--fail", &fail, "--overlay", ".", "--", "true"]).output();
        out.exits(125).says("made to fail");
        assert!(!store(&sb).join(sb.id()).exists(), "{row}");
        sb.leak_check();
    }
}

#[case(ROOT)]
fn overlays_that_cannot_be_are_refused() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    let run = |args: &[&str]| {
        run_in(&sb, &dir).args(["-q"]).args(args).args(["--", "sh", "-c", "echo x >file"]).output()
    };
    run(&["--overlay", "file"]).exits(125).says("a directory is needed");
    run(&["--overlay", "/etc"]).exits(125).says("/etc");
    run(&["--overlay", "none"]).exits(125).says("none");
    run(&["--overlay", "."]).ok();
    run(&["--overlay", "."]).exits(125).says("safebox diff");
    verb(&sb, &["discard", sb.id()]).output().ok();
    for id in ["../x", ""] {
        verb(&sb, &["discard", id]).output().exits(1);
    }
    let inside: &Path = sb.root();
    let said = format!("{}", inside.display());
    run(&["--overlay", &said]).exits(125);
    sb.leak_check();
}

#[case(ROOT)]
fn no_setuid_file_is_in_a_layer() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    let script = "cp /usr/bin/true own; chmod 4755 own; chmod 2755 own; exit 0";
    run_in(&sb, &dir).args(["-q", "--overlay", ".", "--", "sh", "-c", script]).output().ok();
    let out = verb(&sb, &["diff", sb.id()]).output().ok();
    assert!(
        out.stdout.contains("own  [executable]")
            && !out.stdout.contains(" 4755")
            && !out.stdout.contains(" 2755"),
        "{out}"
    );
    verb(&sb, &["discard", sb.id()]).output().ok();
}

/// The program writes for ever, under whatever names; what it closes to the launcher counts as too much.
#[case(ROOT)]
fn an_overlay_is_bounded() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    let run = |script: &str| {
        let call =
            run_in(&sb, &dir).args(["-q", "--overlay", ".", "--overlay-size", "2m", "--timeout", "60s"]);
        call.args(["--", "sh", "-c", script]).output()
    };
    run("i=0; while :; do i=$((i+1)); mkdir d$i; head -c 100000 /dev/zero >d$i/f; sleep 0.02; done")
        .exits(137)
        .says("its layers take more than 2 MiB on the disk")
        .says("--overlay-size");
    verb(&sb, &["discard", sb.id()]).output().ok();
    run("head -c 1000000 /dev/zero >a; ln a b; ln a c; truncate -s 1t sparse; sleep 1.5; exit 3").exits(3);
    verb(&sb, &["discard", sb.id()]).output().ok();
    run_in(&sb, &dir)
        .args(["--overlay-size", "2m", "--", "true"])
        .output()
        .exits(125)
        .says("there is no --overlay");
    sb.leak_check();
}

/// The launcher of an unprivileged user cannot read a directory that the program has closed.
#[case(USER)]
fn layers_that_cannot_be_counted_end_the_run() {
    let user = one();
    let sb = user.sandbox();
    let dir = project(&sb);
    user.own(&dir);
    let run = user.under(&sb, &[]).args([
        "run",
        "-q",
        "--name",
        sb.id(),
        "--overlay-size",
        "2m",
        "--timeout",
        "60s",
    ]);
    let script = format!("cd {} && mkdir closed && chmod 0 closed && sleep 60", dir.display());
    let out = run.arg("--overlay").arg(&dir).args(["--", "sh", "-c", &script]).output();
    out.exits(137).says("cannot be counted");
    user.under(&sb, &[]).args(["discard", sb.id()]).output().ok();
}

/// A file system of its own, which goes with the test.
struct Small(PathBuf);

impl Small {
    fn mount(&self, options: &str) {
        let out = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(&self.0).status();
        assert!(out.expect("mount").success());
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        Command::new("umount").arg(&self.0).status().map(drop).unwrap_or_default();
    }
}

/// What was copied before the disk was full is removed at once, and the changes are still there.
#[case(TMPFS)]
fn apply_to_a_full_disk_leaves_nothing() {
    let sb = Sandbox::new();
    let small = Small(sb.dir().join("small"));
    std::fs::create_dir(&small.0).expect("a directory");
    small.mount("size=1m,mode=755");
    std::fs::write(small.0.join("file"), "old\n").expect("a file");
    let shown = || -> Vec<_> {
        let all = std::fs::read_dir(&small.0).expect("the directory").flatten();
        all.map(|e| (e.file_name(), std::fs::read(e.path()).expect("a file"))).collect()
    };
    let before = shown();
    let script = "echo new >file; head -c 400000 /dev/zero >b; head -c 3000000 /dev/zero >c; ln b d";
    run_in(&sb, &small.0).args(["-q", "--overlay", ".", "--", "sh", "-c", script]).output().ok();
    verb(&sb, &["apply", sb.id()]).output().exits(1).says("no space left");
    assert_eq!(shown(), before);
    small.mount("remount,size=16m");
    verb(&sb, &["apply", sb.id()]).output().ok();
    assert_eq!(small.0.join("c").metadata().expect("the file").len(), 3_000_000);
    let links = std::os::unix::fs::MetadataExt::nlink(&small.0.join("d").metadata().expect("the file"));
    assert_eq!(links, 2, "b and d are one file");
    drop(small);
    sb.leak_check();
}
