//! Descriptors 0, 1 and 2: the container's access to the caller's, and copying that never blocks.

mod opens;

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::process::Stdio;
use std::time::Duration;

use nix::pty::openpty;
use nix::sys::signal::Signal;
use serde_json::json;

use crate::harness::{Call, Need, Output, Sandbox, case, poll};
use opens::{mapped, opened};

const OCI: &[Need] = &[Need::Root, Need::Oci];
const OWN: &[Need] = &[Need::Root, Need::Userns];
const USERNS: &[Need] = &[Need::Root, Need::Userns, Need::Oci];

#[case(OWN)]
fn a_signal_ends_a_launcher_whose_output_is_not_read() {
    unread(Signal::SIGTERM);
}

#[case(OWN)]
fn dev_stdout_can_be_opened_hardened() {
    opened(true, 0);
}

#[case(OCI)]
fn dev_stdout_can_be_opened_by_a_user() {
    opened(false, 1000);
}

#[case(USERNS)]
fn dev_stdout_can_be_opened_in_a_user_namespace() {
    mapped(0);
}

#[case(USERNS)]
fn dev_stdout_can_be_opened_by_a_mapped_user() {
    mapped(1000);
}

/// More input than a terminal buffers, for a program that answers.
#[case(OWN)]
fn a_relay_waits_for_neither_side() {
    const COUNT: usize = 200_000;
    let sb = Sandbox::sleeper().started();
    let script = format!("stty raw -echo; echo READY; exec head -c {COUNT}");
    let call = sb.runtime().args(["exec", "--tty", sb.id(), "sh", "-c", &script]);
    let mut run = call.limit(Duration::from_secs(60)).spawn_with_stdin();
    poll("the program is ready", Duration::from_secs(10), || run.so_far().0.contains("READY"));
    let mut stdin = run.stdin.take().expect("stdin");
    let writer = std::thread::spawn(move || stdin.write_all(&vec![b'a'; COUNT]));
    poll("all came back", Duration::from_secs(30), || {
        run.so_far().0.bytes().filter(|b| *b == b'a').count() >= COUNT
    });
    writer.join().expect("the writer").expect("all is written");
    run.wait().ok();
    sb.delete().ok();
}

/// Writes without end.
const YES: &str =
    "while :; do echo yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy || exit 3; done";

/// A pipe without a reader.
fn unread_pipe() -> (OwnedFd, OwnedFd) {
    nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).expect("a pipe")
}

fn unread(signal: Signal) {
    for verb in ["run", "exec", "exec -t"] {
        let sb = if verb == "run" { Sandbox::new().sh(YES) } else { Sandbox::sleeper().started() };
        let (reader, writer) = unread_pipe();
        let call = match verb {
            "run" => sb.run(),
            "exec" => sb.runtime().args(["exec", sb.id(), "sh", "-c", YES]),
            _ => sb.runtime().args(["exec", "-t", sb.id(), "sh", "-c", YES]),
        };
        let mut run = call
            .with(|c| {
                c.stdout(Stdio::from(writer));
            })
            .spawn();
        std::thread::sleep(Duration::from_secs(1));
        assert!(!run.has_ended(), "{verb}: {:?}", run.so_far());
        run.signal(signal);
        // One is enough.
        poll(&format!("{verb} has ended"), Duration::from_secs(15), || run.has_ended());
        drop(reader);
        if verb != "run" {
            sb.delete().ok();
        }
        sb.leak_check_within(Duration::from_secs(2));
    }
}

#[case(OCI)]
fn the_end_ends_a_launcher_with_an_endless_input() {
    let sb = Sandbox::new().sh("exit 7");
    let zero = File::open("/dev/zero").expect("/dev/zero");
    let call = sb.run_oci().with(|c| {
        c.stdin(Stdio::from(zero));
    });
    call.output().exits(7);
    let sb = Sandbox::new().sh("exec head -c 3");
    let run = sb.run_oci().spawn_with_stdin();
    let mut stdin = run.stdin.as_ref().expect("stdin");
    stdin.write_all(b"abcdef").expect("write");
    run.wait().ok().prints("abc");
}

#[case(OCI)]
fn a_slow_reader_gets_all_of_it() {
    let sb = Sandbox::new().sh("head -c 150000 /dev/zero; echo end");
    let (reader, writer) = unread_pipe();
    let call = sb.run_oci().with(|c| {
        c.stdout(Stdio::from(writer));
    });
    let run = call.spawn();
    let mut text = Vec::new();
    let mut reader = File::from(reader);
    let mut some = [0; 20_000];
    loop {
        std::thread::sleep(Duration::from_millis(150));
        match reader.read(&mut some).expect("read") {
            0 => break,
            n => text.extend_from_slice(&some[..n]),
        }
    }
    run.wait().ok();
    assert_eq!(text.len(), 150_004);
    assert!(text.ends_with(b"end\n"));
}

#[case(OWN)]
fn a_reader_that_goes_ends_the_program() {
    let sb = Sandbox::new().sh(YES);
    let (reader, writer) = unread_pipe();
    let run = sb
        .run()
        .with(|c| {
            c.stdout(Stdio::from(writer));
        })
        .spawn();
    let mut first = [0; 2];
    let mut reader = File::from(reader);
    reader.read_exact(&mut first).expect("a line");
    drop(reader);
    let out = run.wait();
    assert!(!out.timed_out && out.code != 0, "{out}");
}

#[case(OWN)]
fn the_order_of_two_outputs_is_kept() {
    let script = "i=0; while [ $i -lt 200 ]; do echo out $i; echo err $i >&2; i=$((i+1)); done";
    let sb = Sandbox::new().sh(script);
    let path = sb.dir().join("both");
    let file = OpenOptions::new().write(true).create_new(true).open(&path).expect("a file");
    let both = file.try_clone().expect("dup");
    let call = sb.run().with(|c| {
        c.stdout(Stdio::from(file)).stderr(Stdio::from(both));
    });
    call.output();
    let want: String = (0..200).map(|i| format!("out {i}\nerr {i}\n")).collect();
    assert_eq!(std::fs::read_to_string(path).expect("the file"), want);
}

#[case(OCI)]
fn lines_that_go_to_a_file_end_in_lf() {
    const LINES: [&str; 3] = ["sh", "-c", "echo one; echo two"];
    let sb = Sandbox::sleeper().started();
    // runc requires that one of the three is a terminal.
    let pty = openpty(None, None).expect("openpty");
    let exec = || sb.runtime().args(["exec", "-t", sb.id()]).args(LINES);
    for which in [[true, false, false], [false, false, true]] {
        assert_eq!(with_terminals(exec(), &pty.slave, which).output().ok().stdout, "one\ntwo\n", "{which:?}");
    }
    sb.delete().ok();
    let mut sb = Sandbox::new().args(LINES).patch("/process/terminal", json!(true));
    sb.set("/process/consoleSize", json!({ "height": 20, "width": 80 }));
    let out = with_terminals(sb.run_oci(), &pty.slave, [true, false, false]).output().ok();
    assert_eq!(out.stdout, "one\ntwo\n");
}

/// `readlink` of 0 to 2, written to a file that is none of them.
const LINKS: &str = "for i in 0 1 2; do readlink /proc/self/fd/$i >>/tmp/links; done; cat /tmp/links";

fn with_terminals(call: Call, slave: &OwnedFd, which: [bool; 3]) -> Call {
    let end = || Stdio::from(slave.try_clone().expect("dup"));
    call.with(|c| {
        if which[0] {
            c.stdin(end());
        }
        if which[1] {
            c.stdout(end());
        }
        if which[2] {
            c.stderr(end());
        }
    })
}

/// Checks that the descriptors inside are no terminals; the exit code tells which is one.
const NO_TERMINAL: &str = "for i in 0 1 2; do case $(readlink /proc/$$/fd/$i) in /dev/pts/0|pipe:*|/dev/null) ;; \
    *) exit 9;; esac; done; [ ! -t 0 ] || [ \"$(stty size)\" = '7 77' ] || exit 8; echo said; echo said >&2";

#[case(OWN)]
fn no_terminal_of_the_caller_goes_in() {
    for bits in 0..8 {
        let which = [bits & 1 != 0, bits & 2 != 0, bits & 4 != 0];
        let size = nix::pty::Winsize { ws_row: 7, ws_col: 77, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(Some(&size), None).expect("openpty");
        let sb = Sandbox::new().sh(NO_TERMINAL);
        let out = with_terminals(sb.run(), &pty.slave, which).output();
        assert_eq!(out.code, 0, "{which:?}: {out}");
        drop(pty.slave);
        let mut said = Vec::new();
        let mut master = File::from(pty.master);
        // EIO at the end.
        master.read_to_end(&mut said).unwrap_or_default();
        let said = String::from_utf8_lossy(&said).matches("said").count();
        assert_eq!(said, which[1..].iter().filter(|tty| **tty).count(), "{which:?}: {out}");
        sb.leak_check();
    }
}

#[case(OWN)]
fn a_detached_container_keeps_no_terminal() {
    let pty = openpty(None, None).expect("openpty");
    let sb = Sandbox::new().sh(&format!("{LINKS} >/dev/null; sleep 1000"));
    let out = with_terminals(sb.run().arg("--detach"), &pty.slave, [true; 3]).output().ok();
    drop(out);
    let links = || sb.exec(["cat", "/tmp/links"]).stdout;
    poll("three links", Duration::from_secs(10), || links().lines().count() == 3);
    // The second is the file that `readlink` writes to.
    assert!(!links().contains("/dev/pts/"), "{}", links());
    let pid = sb.pid();
    for (fd, kind) in [(0, "/dev/null"), (1, "pipe:"), (2, "pipe:")] {
        let link = std::fs::read_link(format!("/proc/{pid}/fd/{fd}")).expect("a link");
        assert!(link.to_string_lossy().starts_with(kind), "{fd}: {}", link.display());
    }
    let script = "for i in 0 1 2; do readlink /proc/$$/fd/$i; done >/tmp/exec; sleep 1000";
    let call = sb.runtime().args(["exec", "--detach", sb.id(), "sh", "-c", script]);
    with_terminals(call, &pty.slave, [true; 3]).output().ok();
    poll("exec", Duration::from_secs(10), || {
        sb.exec(["cat", "/tmp/exec"]).stdout == "/dev/null\n/tmp/exec\n/dev/null\n"
    });
    sb.delete().ok();
}

/// `id=$(safebox run --detach ...)` gets the id and does not wait for the container's end.
#[case(OWN)]
fn a_detached_container_does_not_hold_its_caller_s_pipe() {
    let sb = Sandbox::new().sh("echo from inside; echo error >&2; sleep 1000");
    let shell = ["/bin/sh", "-c", "id=$(\"$0\" \"$@\" 2>&1) && echo \"[$id]\""];
    let run =
        sb.under(&shell).args(["run", "--verbose", "--detach", "--bundle"]).arg(sb.bundle()).arg(sb.id());
    let out = run.limit(Duration::from_secs(20)).output().ok();
    assert!(!out.timed_out && out.stdout.contains(&format!("{}]", sb.id())), "{out}");
    assert!(!out.stdout.contains("from inside"), "{out}");
    poll("the log", Duration::from_secs(10), || sb.verb("logs").stdout.contains("from inside"));
    sb.delete().ok();
}

/// inotify on the host's /dev/null reports when programs of the host use it.
#[case(OWN)]
fn the_null_device_is_the_container_s_own() {
    let host = std::fs::metadata("/dev/null").expect("/dev/null").dev();
    let sb = Sandbox::new().sh("test $(stat -L -c %t:%T /proc/self/fd/0) = 1:3 && echo > /dev/stdin && stat -L -c '<%d>' /proc/self/fd/0; sleep 0.2");
    let differs = |out: Output| {
        let dev = out.stdout.split(['<', '>']).nth(1).and_then(|n| n.parse::<u64>().ok());
        assert!(dev.is_some_and(|dev| dev != host), "{host}: {out}");
    };
    differs(sb.run().output().ok());
    let running = Sandbox::sleeper();
    running.run().arg("--detach").output().ok();
    let dev = |fd| std::fs::metadata(format!("/proc/{}/fd/{fd}", running.pid())).expect("a descriptor");
    assert!(dev(0).dev() != host && dev(0).rdev() == libc::makedev(1, 3), "{:?}", dev(0));
    differs(running.exec(["stat", "-L", "-c", "<%d>", "/proc/self/fd/0"]));
    running.delete().ok();
}

#[case(OWN)]
fn exec_gives_a_hardened_container_no_terminal() {
    let sb = Sandbox::sleeper();
    sb.run().arg("--detach").output().ok();
    for bits in 0..8 {
        let which = [bits & 1 != 0, bits & 2 != 0, bits & 4 != 0];
        let size = nix::pty::Winsize { ws_row: 7, ws_col: 77, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(Some(&size), None).expect("openpty");
        let call = sb.runtime().args(["exec", sb.id(), "sh", "-c", NO_TERMINAL]);
        let out = with_terminals(call, &pty.slave, which).output();
        assert_eq!(out.code, 0, "{which:?}: {out}");
    }
    sb.delete().ok();
}

#[case(OWN)]
fn what_leads_to_more_than_its_bytes_is_refused() {
    let sb = Sandbox::new();
    let running = Sandbox::sleeper();
    running.run().arg("--detach").output().ok();
    let directory = || File::open("/").expect("/");
    let path = || {
        let open = OpenOptions::new().read(true).custom_flags(libc::O_PATH).open("/etc/passwd");
        open.expect("an O_PATH descriptor")
    };
    let pidfd = || {
        let fd = safebox::sys::process::pidfd_open(safebox::sys::process::pid()).expect("a pidfd");
        File::from(safebox::sys::fs::own(fd))
    };
    for (file, word) in [(directory(), "a directory"), (path(), "O_PATH"), (pidfd(), "a pidfd")] {
        for flags in [&[] as &[&str], &["--detach"]] {
            let input = Stdio::from(file.try_clone().expect("dup"));
            let call = sb.run().args(flags).with(|c| {
                c.stdin(input);
            });
            call.output().exits(125).says("stdin is").says(word);
            let input = Stdio::from(file.try_clone().expect("dup"));
            let call = running.runtime().arg("exec").args(flags).args([running.id(), "true"]).with(|c| {
                c.stdin(input);
            });
            call.output().exits(255).says("stdin is").says(word);
        }
        let output = Stdio::from(file);
        let call = sb.run().with(|c| {
            c.stdout(output);
        });
        call.output().exits(125).says("stdout is").says(word);
    }
    running.delete().ok();
    sb.leak_check();
}

#[case(OWN)]
fn a_disk_or_device_is_only_read() {
    let sb = Sandbox::new().sh("readlink /proc/$$/fd/0; exec head -c 5 | wc -c");
    let zero = OpenOptions::new().read(true).write(true).open("/dev/zero").expect("/dev/zero");
    let call = sb.run().with(|c| {
        c.stdin(Stdio::from(zero));
    });
    call.output().ok().prints("pipe:").prints("5");
    let full = OpenOptions::new().read(true).write(true).open("/dev/full").expect("/dev/full");
    let call = sb.run().arg("--detach").with(|c| {
        c.stdin(Stdio::from(full));
    });
    call.output().exits(125).says("stdin is a device");
    // A namespace file and a process's memory are regular files for fstat(2).
    for path in ["/proc/self/ns/mnt", "/proc/self/mem"] {
        let file = File::open(path).expect(path);
        let call = sb.run().arg("--detach").with(|c| {
            c.stdin(Stdio::from(file));
        });
        call.output().exits(125).says("stdin is a device");
    }
}

#[case(OWN)]
fn an_input_file_cannot_be_opened_for_writing() {
    let sb = Sandbox::new().sh("cat; echo injected 1<>/proc/self/fd/0; echo injected >/dev/stdin; true");
    for mode in [0o600, 0o666] {
        let path = sb.dir().join("in");
        std::fs::write(&path, "original\n").expect("a file");
        let mut change = std::fs::metadata(&path).expect("metadata").permissions();
        std::os::unix::fs::PermissionsExt::set_mode(&mut change, mode);
        std::fs::set_permissions(&path, change).expect("chmod");
        let file = File::open(&path).expect("open");
        let call = sb.run().with(|c| {
            c.stdin(Stdio::from(file));
        });
        call.output().ok().prints("original");
        assert_eq!(std::fs::read_to_string(&path).expect("the file"), "original\n");
        assert_eq!(std::fs::metadata(&path).expect("metadata").uid(), 0);
    }
}

#[case(OWN)]
fn an_output_file_cannot_be_read_or_truncated() {
    // $$: a program that the shell redirects has another file there.
    let script = "timeout 1 head -n 1 /proc/$$/fd/1 >/tmp/x; truncate -s 0 /proc/$$/fd/1; \
        grep -q secret /tmp/x && echo read it; echo done";
    let sb = Sandbox::new().sh(script);
    let path = sb.dir().join("log");
    for mode in [0o600, 0o644, 0o666] {
        std::fs::write(&path, "secret\n").expect("a file");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
        std::fs::set_permissions(&path, mode).expect("chmod");
        let file = OpenOptions::new().append(true).open(&path).expect("open");
        let call = sb.run().with(|c| {
            c.stdout(Stdio::from(file));
        });
        call.output().ok();
        assert_eq!(std::fs::read_to_string(&path).expect("the file"), "secret\ndone\n");
    }
}

#[case(Root)]
fn a_fifo_at_dev_pts_does_not_hold_exec() {
    let mut sb = Sandbox::sleeper();
    let mounts: Vec<_> = sb.config()["mounts"].as_array().expect("mounts").clone();
    let kept = mounts.into_iter().filter(|m| m["destination"] == "/proc");
    sb.set("/mounts", kept.collect());
    let at = sb.rootfs().join("dev/pts");
    std::fs::create_dir_all(sb.rootfs().join("dev")).expect("dev");
    std::fs::remove_dir(&at).unwrap_or_default();
    nix::unistd::mkfifo(&at, nix::sys::stat::Mode::from_bits_truncate(0o666)).expect("a FIFO");
    sb.create().ok();
    sb.verb("start").ok();
    let call = sb.runtime().args(["exec", "-t", sb.id(), "true"]).limit(Duration::from_secs(5));
    let out = call.output().exits(255).says("devpts");
    assert!(!out.timed_out);
    sb.delete().ok();
}
