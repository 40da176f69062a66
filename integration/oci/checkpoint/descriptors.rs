//! The caller's descriptors 0 to 2 at `restore`: criu puts them in place of the pipes that the container had.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::process::Stdio;
use std::time::Duration;

use serde_json::json;

use super::{call, checkpoint, gone, path, restore_args, started};
use crate::harness::{Call, Sandbox, case, poll};

/// Restores with `stdin` and `stdout` where they are given.
fn restored(sb: &Sandbox, stdin: Option<File>, stdout: Option<File>) -> Call {
    call(sb, &[]).args(restore_args(sb, &[])).with(|c| {
        if let Some(file) = stdin {
            c.stdin(Stdio::from(file));
        }
        if let Some(file) = stdout {
            c.stdout(Stdio::from(file));
        }
    })
}

fn link(sb: &Sandbox, fd: u32) -> String {
    let link = std::fs::read_link(format!("/proc/{}/fd/{fd}", sb.pid())).expect("a descriptor");
    link.to_string_lossy().into_owned()
}

/// What was tried with runc 1.3.6 and criu 4.2: 33 kinds and numbers, each with the same result.
#[case(super::OCI)]
fn odd_descriptors_at_restore_act_as_with_runc() {
    let script = "while :; do read word && echo $word >/tmp/got; sleep 0.1; done";
    let sb = Sandbox::new().sh(script).patch("/root/readonly", json!(false));
    let (stdin, typed) = std::io::pipe().expect("a pipe");
    let out = started(&sb, stdin.into());
    checkpoint(&sb, &[]).ok();
    drop((out, typed));
    // Closed: the runtime opens /dev/null in its place.
    for (redirect, fd) in [("<&-", 0), (">&-", 1)] {
        let script = format!("exec \"$0\" \"$@\" {redirect}");
        let closed = sb.under(&["/bin/sh", "-c", &script]).env("PATH", path());
        closed.args(restore_args(&sb, &[])).limit(Duration::from_secs(60)).output().ok();
        assert_eq!(link(&sb, fd), "/dev/null", "{redirect}");
        sb.delete().ok();
    }
    let fifo = sb.dir().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::from_bits_truncate(0o600)).expect("a FIFO");
    let open = || OpenOptions::new().read(true).write(true).open(&fifo).expect("the FIFO");
    restored(&sb, Some(open()), None).output().ok();
    open().write_all(b"by the FIFO\n").expect("write");
    let got = || std::fs::read_to_string(sb.rootfs().join("tmp/got")).unwrap_or_default();
    poll("the word", Duration::from_secs(10), || got() == "by the FIFO\n");
    sb.delete().ok();
    // What cannot be read is the program's to find out.
    let pidfd = || {
        let fd = safebox::sys::process::pidfd_open(safebox::sys::process::pid()).expect("a pidfd");
        File::from(safebox::sys::fs::own(fd))
    };
    let directory = || File::open("/etc").expect("/etc");
    for (file, name) in [(pidfd(), "pidfd"), (directory(), "/etc")] {
        // criu opens it anew, and a pidfd can be opened since Linux 6.9.
        let opens = File::open(format!("/proc/self/fd/{}", file.as_raw_fd())).is_ok();
        let out = restored(&sb, Some(file), None).output();
        if !opens {
            out.exits(1);
            sb.verb("state").exits(1).says("container does not exist");
            continue;
        }
        out.ok();
        assert!(link(&sb, 0).contains(name), "{}", link(&sb, 0));
        assert_eq!(sb.status(), "running");
        sb.delete().ok();
    }
    // What cannot be written is an error, and nothing stays.
    let out = restored(&sb, None, Some(directory())).output();
    assert_eq!(out.code, 1, "{out}");
    if !crate::harness::bundle::is_foreign() {
        out.says("/proc/self/fd/1: Is a directory");
    }
    std::fs::remove_file(&fifo).expect("remove");
    gone(&sb);
}
