//! What a program can do to the launcher that watches it: files in its way, layers that no tool of the host would make,
//! output without a reader.

use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;

use super::{picture, project, run_in};
use crate::harness::{Call, Need, Output, Sandbox, case, poll};

const ROOT: &[Need] = &[Need::Root, Need::Userns, Need::Idmap, Need::Python];

fn verb(sb: &Sandbox, words: &[&str]) -> Output {
    sb.runtime().args(words).output()
}

fn script(call: Call, options: &[&str], script: &str) -> Output {
    call.arg("-q").args(options).args(["--", "sh", "-c", script]).output()
}

/// Removes what the programs of [`the_account_follows_no_symlink_of_the_program`] make.
fn clear(dir: &Path) {
    for made in ["out", "moved"].map(|name| dir.join(name)) {
        match made.is_symlink() {
            true => std::fs::remove_file(made).expect("rm"),
            false if made.exists() => std::fs::remove_dir_all(made).expect("rm"),
            false => {}
        }
    }
}

/// `--result` in a directory that the program may write to.
#[case(ROOT)]
fn the_account_follows_no_symlink_of_the_program() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    let victim = sb.dir().join("victim");
    std::fs::create_dir(&victim).expect("mkdir");
    nix::unistd::mkfifo(&victim.join("fifo"), nix::sys::stat::Mode::S_IRWXU).expect("mkfifo");
    std::fs::write(victim.join("precious"), "precious").expect("write");
    let before = picture(&victim);
    let to = victim.display();
    for (text, found) in [
        (format!("mv out moved && ln -s {to} out"), "moved/result"),
        (format!("ln -s {to}/fifo out/result"), "out/result"),
        (format!("ln -s {to}/precious out/result"), "out/result"),
        ("mkfifo out/result".to_string(), "out/result"),
    ] {
        std::fs::create_dir(dir.join("out")).expect("mkdir");
        let out = script(run_in(&sb, &dir), &["--rw", ".", "--result", "out/result"], &text).ok();
        assert!(out.took < crate::harness::carried::slowed(Duration::from_secs(4)), "{text}: {out}");
        let account = std::fs::read(dir.join(found)).expect("the account");
        let account: Value = serde_json::from_slice(&account).expect("JSON");
        assert_eq!(account["status"], "exited", "{text}");
        assert_eq!(picture(&victim), before, "{text}");
        clear(&dir);
    }
    // The pid is written while the program runs.
    for _ in 0..crate::harness::rounds(10) {
        std::fs::create_dir(dir.join("out")).expect("mkdir");
        let text = format!("mv out moved && ln -s {to} out");
        script(run_in(&sb, &dir), &["--rw", ".", "--pid-file", "out/pid"], &text);
        assert_eq!(picture(&victim), before);
        clear(&dir);
    }
    // A FIFO of the caller's is written to; without a reader that is an error, and no wait for ever.
    nix::unistd::mkfifo(&dir.join("fifo"), nix::sys::stat::Mode::S_IRWXU).expect("mkfifo");
    let reader =
        Command::new("timeout").args(["30", "cat"]).arg(dir.join("fifo")).stdout(Stdio::piped()).spawn();
    script(run_in(&sb, &dir), &["--result", "fifo"], "exit 3").exits(3);
    let read = reader.and_then(std::process::Child::wait_with_output).expect("cat").stdout;
    assert!(String::from_utf8_lossy(&read).contains("\"exitCode\":3"), "{read:?}");
    script(run_in(&sb, &dir), &["--result", "fifo"], "true").exits(125).says("--result");
    sb.leak_check();
}

/// `--log` in a directory that the program may write to.
#[case(ROOT)]
fn the_log_follows_no_symlink_of_the_program() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    let target = sb.dir().join("target");
    std::fs::write(&target, "").expect("write");
    for text in [
        format!("rm log; ln -s {} log; sleep 60", target.display()),
        "rm log; mkfifo log; sleep 60".to_string(),
    ] {
        let at = dir.clone();
        let call = sb.runtime().args(["--log", "log", "run", "--name", sb.id()]).with(move |c| {
            c.current_dir(at);
        });
        script(call, &["--rw", ".", "--timeout", "500ms"], &text).exits(124).says("stopped after");
        assert_eq!(std::fs::read_to_string(&target).expect("the target"), "");
        std::fs::remove_file(dir.join("log")).expect("rm");
    }
    sb.leak_check();
}

/// A pipe that is full, and its reader.
fn full_pipe() -> (OwnedFd, OwnedFd) {
    let (reader, writer) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).expect("a pipe");
    let flags = |flags| nix::fcntl::fcntl(&writer, nix::fcntl::FcntlArg::F_SETFL(flags)).expect("fcntl");
    flags(nix::fcntl::OFlag::O_NONBLOCK);
    while nix::unistd::write(&writer, &[b'x'; 4096]).is_ok() {}
    flags(nix::fcntl::OFlag::empty());
    (reader, writer)
}

/// What the launcher itself says does not wait for a reader either.
#[case(ROOT)]
fn a_stderr_without_a_reader_ends_in_time() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    for (options, text, code) in [
        (&["-q", "--timeout", "500ms"][..], "sleep 60", 124),
        (&[], "exit 3", 3),
        (&["-q", "--memory", "32m"], "exec 2>/dev/null; python3 -c 'bytearray(200 << 20)'; exit 4", 4),
    ] {
        let (reader, writer) = full_pipe();
        let call = run_in(&sb, &dir).args(options).args(["--", "sh", "-c", text]).with(move |c| {
            c.stderr(writer);
        });
        call.limit(Duration::from_secs(30)).output().exits(code);
        drop(reader);
        sb.leak_check();
    }
    // One signal is enough, whatever waits for a reader.
    let (reader, writer) = full_pipe();
    let call = run_in(&sb, &dir).args(["-q", "--", "sh", "-c", "exec yes"]).with(move |c| {
        c.stdout(writer.try_clone().expect("dup")).stderr(writer);
    });
    let mut run = call.spawn();
    std::thread::sleep(Duration::from_secs(1));
    assert!(!run.has_ended());
    run.signal(Signal::SIGTERM);
    poll("the launcher has ended", Duration::from_secs(15), || run.has_ended());
    drop((reader, run.wait()));
    sb.leak_check();
}

/// The output is copied while the first process waits for `READY=1`.
#[case(ROOT)]
fn a_detached_program_may_print_before_it_is_ready() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    let path = sb.dir().join("notify");
    let host = UnixDatagram::bind(&path).expect("a socket");
    let reader = std::thread::spawn(move || {
        let mut all = String::new();
        let mut buf = [0; 256];
        host.set_read_timeout(Some(Duration::from_secs(20))).expect("a limit");
        while let Ok(n) = host.recv(&mut buf) {
            all.push_str(&String::from_utf8_lossy(&buf[..n]));
            if all.contains("BARRIER") {
                break;
            }
        }
        all
    });
    let text = "import os, socket, time\nos.write(1, b'x' * 300000 + b'\\n')\n\
                s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\n\
                s.connect(os.environ['NOTIFY_SOCKET'])\ns.send(b'READY=1')\ntime.sleep(60)";
    let call = run_in(&sb, &dir).args(["-q", "--detach", "--", "python3", "-c", text]);
    let (out, err) = (std::io::pipe().expect("a pipe"), std::io::pipe().expect("a pipe"));
    let call = call.env("NOTIFY_SOCKET", &path).limit(Duration::from_secs(30)).with(|c| {
        c.stdout(out.1).stderr(err.1);
    });
    call.output().ok();
    assert!(reader.join().expect("the reader").contains("READY=1"));
    assert!(verb(&sb, &["logs", sb.id()]).ok().stdout.len() > 300_000);
    verb(&sb, &["delete", "--force", sb.id()]).ok();
    std::fs::remove_file(&path).expect("rm");
    sb.leak_check();
}

/// SIGXFSZ would end the launcher without cleanup.
#[case(ROOT)]
fn the_caller_s_limit_on_files_does_not_end_the_launcher() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    let limited = |words: &str| {
        let text = format!("ulimit -f 64; exec \"$@\" {words}");
        let at = dir.clone();
        sb.under(&["bash", "-c", &text, "bash"]).args(["run", "-q", "--name", sb.id()]).with(move |c| {
            c.current_dir(at);
        })
    };
    let out = limited(">big")
        .args(["--", "sh", "-c", "yes | head -c 300000; echo $? >&2; exit 5"])
        .output()
        .exits(5);
    assert!(!out.stderr.contains("cannot"), "{out}");
    sb.leak_check();
    let call = limited("").args(["--detach", "--log-driver", "json-file"]);
    call.args(["--", "sh", "-c", "yes | head -c 300000; exit 6"]).output().ok();
    verb(&sb, &["wait", sb.id()]).ok().prints("6");
    verb(&sb, &["delete", sb.id()]).ok();
    sb.leak_check();
}

/// Init, which stays as the program's parent, may fork it whatever limit the program has.
#[case(ROOT)]
fn the_limit_on_processes_is_the_program_s() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    for limit in ["0", "1"] {
        let ulimit = format!("nproc={limit}");
        let run = |text: &str| script(run_in(&sb, &dir), &["--init", "--ulimit", &ulimit], text);
        run("exec grep processes /proc/self/limits").ok().prints(&format!(" {limit} "));
        assert_ne!(run("/bin/true; echo forked").stdout, "forked\n", "the limit holds");
    }
    sb.leak_check();
}

fn layers(sb: &Sandbox) -> PathBuf {
    sb.root().join("@layers").join(sb.id())
}

/// Deeper than a path can be long: `diff` says so, and neither hides other layers nor keeps `discard` from its work.
#[case(ROOT)]
fn a_layer_of_any_depth_is_discarded() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    let text = "import os\nfor i in range(3000):\n    os.mkdir('dd')\n    os.chdir('dd')";
    run_in(&sb, &dir).args(["-q", "--overlay", ".", "--", "python3", "-c", text]).output().ok();
    let other = sb.other_id("other");
    let at = dir.clone();
    let call =
        sb.runtime().args(["run", "-q", "--name", &other, "--overlay", ".", "--", "sh", "-c", "echo x >x"]);
    call.with(move |c| {
        c.current_dir(at);
    })
    .output()
    .ok();
    verb(&sb, &["diff", sb.id()]).exits(1).says("a path of more than 4095 bytes");
    verb(&sb, &["apply", sb.id()]).exits(1);
    verb(&sb, &["list", "--layers"]).ok().prints(&other).prints(sb.id());
    let few = sb.under(&["bash", "-c", "ulimit -n 64; exec \"$@\"", "bash"]);
    few.args(["discard", sb.id()]).output().ok();
    assert!(!layers(&sb).exists());
    verb(&sb, &["discard", &other]).ok();
    sb.leak_check();
}

#[case(ROOT)]
fn a_layer_has_names_of_any_bytes() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    let text =
        r#"touch "$(printf 'a\377b')" "$(printf 'c\033[31m\nA 0644 forged')" "$(printf '\302\2332J')""#;
    script(run_in(&sb, &dir), &["--overlay", "."], text).ok();
    for format in ["table", "json"] {
        let out = verb(&sb, &["diff", "--format", format, sb.id()]).ok();
        assert!(!out.stdout.contains(['\u{1b}', '\u{9b}']), "{out}");
        assert!(!out.stdout.contains("\nA 0644 forged"), "{out}");
        if format == "json" {
            let rows: Value = serde_json::from_str(&out.stdout).expect("JSON");
            assert!(rows.to_string().contains("\u{9b}2J"), "the value is the same: {rows}");
        }
    }
    verb(&sb, &["apply", sb.id()]).ok();
    assert!(dir.join(std::ffi::OsStr::from_bytes(b"a\xffb")).is_file());
    assert!(!layers(&sb).exists());
}

/// The mounts below the base are not in the overlay, and what came to the host meanwhile is not either.
#[case(ROOT)]
fn apply_removes_nothing_that_the_program_did_not_see() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    let mounted = dir.join("m/sub");
    std::fs::create_dir_all(&mounted).expect("mkdir");
    let mount = |args: &[&str]| {
        let status = Command::new(args[0]).args(&args[1..]).arg(&mounted).status().expect("mount");
        assert!(status.success(), "{args:?}");
    };
    mount(&["mount", "-t", "tmpfs", "none"]);
    std::fs::write(mounted.join("precious"), "precious").expect("write");
    let run = |text: &str| script(run_in(&sb, &dir), &["--overlay", "."], text);
    run("rm -r m").ok();
    let refused = verb(&sb, &["apply", sb.id()]);
    let kept = mounted.join("precious").is_file();
    mount(&["umount"]);
    refused.exits(1).says("nothing is written").says("m/sub is below it");
    assert!(kept);
    verb(&sb, &["discard", sb.id()]).ok();
    // An old file in a directory that was moved to the base.
    let other = sb.dir().join("other");
    std::fs::create_dir(&other).expect("mkdir");
    std::fs::write(other.join("old"), "old").expect("write");
    std::thread::sleep(Duration::from_millis(1100));
    run("echo new >x").ok();
    std::fs::rename(&other, dir.join("x")).expect("mv");
    verb(&sb, &["apply", sb.id()]).exits(1).says("changed on the host");
    assert!(dir.join("x/old").is_file());
    verb(&sb, &["discard", sb.id()]).ok();
}

/// A record that another user has made would have root write to any directory.
#[case(ROOT)]
fn layers_of_others_are_not_believed() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    script(run_in(&sb, &dir), &["--overlay", "."], "echo x >planted").ok();
    let record = layers(&sb).join("layers.json");
    let change = |path: &Path, uid: u32, mode: u32| {
        std::os::unix::fs::chown(path, Some(uid), Some(uid)).expect("chown");
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).expect("chmod");
    };
    for (path, uid, mode) in [(&layers(&sb), 41003, 0o700), (&record, 41003, 0o600), (&record, 0, 0o666)] {
        change(path, uid, mode);
        for name in ["diff", "apply", "discard"] {
            verb(&sb, &[name, sb.id()]).exits(1).says("is not yours alone");
        }
        verb(&sb, &["list", "--layers"]).ok().says("is not yours alone");
        change(&layers(&sb), 0, 0o700);
        change(&record, 0, 0o600);
    }
    let text = std::fs::read_to_string(&record).expect("the record");
    std::fs::write(&record, text.replace(sb.id(), "../other")).expect("write");
    verb(&sb, &["apply", sb.id()]).exits(1).says("it is not the record of");
    std::fs::write(&record, text).expect("write");
    assert!(!dir.join("planted").exists());
    verb(&sb, &["discard", sb.id()]).ok();
}

#[case(ROOT)]
fn a_symlink_of_the_base_is_not_followed() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    let outside = sb.dir().join("outside");
    std::fs::create_dir_all(outside.join("inner")).expect("mkdir");
    std::fs::write(outside.join("inner/host"), "host").expect("write");
    std::os::unix::fs::symlink(&outside, dir.join("link")).expect("symlink");
    let before = picture(&outside);
    std::thread::sleep(Duration::from_millis(1100));
    // The directory that is moved is opaque.
    let text = "rm link; mkdir link; rm -r sub; mkdir sub; echo x >sub/f; mv sub link/inner";
    script(run_in(&sb, &dir), &["--overlay", "."], text).ok();
    let out = verb(&sb, &["diff", sb.id()]).ok();
    assert!(!out.stdout.contains("host") && out.stdout.contains("link/inner/f"), "{out}");
    verb(&sb, &["apply", sb.id()]).ok();
    assert!(dir.join("link/inner/f").is_file() && !dir.join("link").is_symlink());
    assert_eq!(picture(&outside), before);
}

/// What a container has printed, on the terminal of a reader of its log; a pipe gets it as it was.
#[case(ROOT)]
fn logs_sends_no_escapes_to_a_terminal() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    let text = r"printf '\033]0;owned\007\302\2332J\r' ; printf '\342\200\256\033[2J\n' >&2";
    let call = run_in(&sb, &dir).args(["-q", "--detach", "--log-driver", "json-file"]);
    call.args(["--", "sh", "-c", text]).output().ok();
    verb(&sb, &["wait", sb.id()]).ok();
    for options in [&[][..], &["--timestamps"], &["--tail", "5"], &["--follow"]] {
        let pty = nix::pty::openpty(None, None).expect("a pty");
        let slave = || pty.slave.try_clone().expect("dup");
        let (out, err) = (slave(), slave());
        let call = sb.runtime().arg("logs").args(options).arg(sb.id()).with(move |c| {
            c.stdout(out).stderr(err);
        });
        call.output().ok();
        let mut shown = vec![0; 4096];
        let n = nix::unistd::read(&pty.master, &mut shown).expect("read");
        let shown = String::from_utf8_lossy(&shown[..n]).into_owned();
        assert!(
            shown.contains("owned") && !shown.contains(['\u{1b}', '\u{7}', '\u{9b}', '\u{202e}']),
            "{shown:?}"
        );
    }
    assert!(verb(&sb, &["logs", sb.id()]).ok().stdout.contains("\u{1b}]0;owned"));
    verb(&sb, &["delete", sb.id()]).ok();
    sb.leak_check();
}

/// In all forms: an option, a compose file, a manifest; and `subPath` shows no more than it names.
#[case(ROOT)]
fn a_read_only_tmpfs_is_read_only() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    let write = |name: &str, text: &str| std::fs::write(dir.join(name), text).expect("write");
    let check = "touch /mnt/x /srv/x 2>/dev/null || echo closed; ls /opt";
    let mount = ["--mount", "type=tmpfs,target=/mnt,readonly", "--mount", "type=tmpfs,target=/srv,ro"];
    let rootfs = |options: &[&str]| {
        run_in(&sb, &dir).args(["-q", "--rootfs", "/"]).args(options).limit(Duration::from_secs(30))
    };
    let one = |out: Output| assert!(out.stdout.contains("closed"), "{out}");
    one(rootfs(&mount).args(["--", "sh", "-c", check]).output().ok());
    let command = format!("command: [sh, -c, {check:?}]");
    write(
        "c.yaml",
        &format!(
            "services:\n  a:\n    image: x\n    {command}\n    volumes:\n\
             \x20     - {{type: tmpfs, target: /mnt, read_only: true}}\n      - named:/srv:ro\n"
        ),
    );
    one(rootfs(&["--compose", "c.yaml", "a"]).output().ok());
    let shown = dir.join("shown");
    for tenant in ["mine", "theirs"] {
        std::fs::create_dir_all(shown.join(tenant)).expect("mkdir");
        std::fs::write(shown.join(tenant).join(tenant), "x").expect("write");
    }
    let pod = |sub: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: p}}\nspec:\n  containers:\n  - name: a\n    image: x\n    {command}\n\
             \x20   volumeMounts:\n    - {{name: e, mountPath: /mnt, readOnly: true}}\n    - {{name: e, mountPath: /srv, readOnly: true}}\n\
             \x20   - {{name: h, mountPath: /opt, readOnly: true, {sub}}}\n  volumes:\n  - {{name: e, emptyDir: {{}}}}\n\
             \x20 - {{name: h, hostPath: {{path: {}}}}}\n",
            shown.display()
        )
    };
    write("p.yaml", &pod("subPath: mine"));
    let out = rootfs(&["--pod", "p.yaml"]).output().ok();
    assert_eq!(out.stdout, "closed\nmine\n", "{out}");
    for sub in ["subPath: ../shown", "subPath: /", "subPathExpr: $(X)"] {
        write("p.yaml", &pod(sub));
        rootfs(&["--pod", "p.yaml"]).output().exits(125).says("p.yaml:12").says("subPath");
    }
    assert!(Path::new(&dir).is_dir());
}
