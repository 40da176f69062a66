//! Terminals: the container's own, with the caller's size and input, and the caller's terminal, which is
//! restored.

use std::fs::File;
use std::io::{IoSliceMut, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::pty::{Winsize, openpty};
use nix::sys::signal::Signal;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use safebox::sys::tty;
use serde_json::json;

use crate::harness::bundle::is_foreign;
use crate::harness::process::{Call, Running};
use crate::harness::{Need, Sandbox, case, poll};

const OCI: &[Need] = &[Need::Root, Need::Oci];
const OWN: &[Need] = &[Need::Root];

/// The caller's terminal.
pub struct Seat {
    master: File,
    slave: OwnedFd,
}

impl Seat {
    /// A terminal of this size.
    pub fn new(rows: u16, cols: u16) -> Self {
        let size = Winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(Some(&size), None).expect("openpty");
        Seat { master: pty.master.into(), slave: pty.slave }
    }

    /// `call` with this terminal as stdin; its stdout is a file.
    pub fn call(&self, call: Call) -> Call {
        let stdin = self.slave.try_clone().expect("dup");
        call.with(|c| {
            c.stdin(stdin);
        })
    }

    /// Its modes.
    pub fn mode(&self) -> Termios {
        tcgetattr(self.slave.as_fd()).expect("tcgetattr")
    }

    fn is_raw(&self) -> bool {
        !self.mode().local_flags.intersects(LocalFlags::ICANON | LocalFlags::ECHO | LocalFlags::ISIG)
    }

    /// Changes its size: the kernel sends SIGWINCH to its foreground process group.
    pub fn resize(&self, rows: u16, cols: u16) {
        tty::set_size(self.slave.as_raw_fd(), tty::WindowSize { rows, cols }).expect("resize");
    }

    /// Types these bytes.
    pub fn types(&self, bytes: &[u8]) {
        (&self.master).write_all(bytes).expect("write to the terminal");
    }
}

fn shell(script: &str) -> Sandbox {
    Sandbox::new().sh(script).patch("/process/terminal", json!(true))
}

#[track_caller]
fn wait_for(run: &Running, word: &str) {
    poll(&format!("{word:?} in {:?}", run.so_far()), Duration::from_secs(10), || {
        run.so_far().0.contains(word)
    });
}

#[case(OWN)]
fn run_gives_a_pty_of_its_own() {
    let seat = Seat::new(24, 80);
    let sb = shell("tty; [ -t 0 ] && [ -t 1 ] && [ -t 2 ] && echo all; echo err >&2; ls -l /dev/console");
    let out = seat.call(sb.run()).output().ok().prints("/dev/pts/0").prints("all").prints("err");
    let ours = std::fs::read_link(format!("/proc/self/fd/{}", seat.slave.as_raw_fd())).expect("a link");
    assert!(
        !out.stdout.contains(&format!("{}\r", ours.display())) || ours == Path::new("/dev/pts/0"),
        "{out}"
    );
    sb.leak_check();
}

#[case(OWN)]
fn size_is_passed_and_follows() {
    let seat = Seat::new(33, 111);
    let sb = shell("stty size; trap 'stty size; exit' WINCH; echo up; while :; do sleep 0.05; done");
    let run = seat.call(sb.run()).spawn();
    wait_for(&run, "33 111");
    wait_for(&run, "up");
    tty::set_size(seat.slave.as_raw_fd(), tty::WindowSize { rows: 44, cols: 99 }).expect("resize");
    run.signal(Signal::SIGWINCH);
    wait_for(&run, "44 99");
    run.wait().ok();
    sb.leak_check();
}

#[case(OWN)]
fn raw_while_it_runs_and_restored_after() {
    let seat = Seat::new(24, 80);
    let before = seat.mode();
    let sb = shell("echo up; read line; echo got $line");
    let run = seat.call(sb.run()).spawn();
    wait_for(&run, "up");
    poll("raw mode", Duration::from_secs(5), || seat.is_raw());
    seat.types(b"words\r");
    run.wait().ok().prints("got words");
    assert_eq!(seat.mode(), before, "the caller's terminal is not as it was");
    sb.leak_check();
}

#[case(OWN)]
fn raw_mode_is_restored_after_a_kill() {
    let seat = Seat::new(24, 80);
    let before = seat.mode();
    let sb = shell("echo up; sleep 1000");
    let run = seat.call(sb.run()).spawn();
    wait_for(&run, "up");
    poll("raw mode", Duration::from_secs(5), || seat.is_raw());
    run.signal(Signal::SIGTERM);
    run.wait().exits(143);
    assert_eq!(seat.mode(), before, "the caller's terminal is not as it was");
    sb.leak_check();
}

/// The guardian restores it, unless another program has changed the modes meanwhile.
#[case(OWN)]
fn raw_mode_is_restored_after_the_launcher_was_killed() {
    for others in [false, true] {
        let seat = Seat::new(24, 80);
        let mut expected = seat.mode();
        let sb = shell("echo up; sleep 1000");
        let run = seat.call(sb.run()).spawn();
        wait_for(&run, "up");
        poll("raw mode", Duration::from_secs(5), || seat.is_raw());
        if others {
            expected = seat.mode();
            expected.local_flags.insert(LocalFlags::ECHO);
            tcsetattr(seat.slave.as_fd(), SetArg::TCSANOW, &expected).expect("tcsetattr");
        }
        run.signal(Signal::SIGKILL);
        run.wait();
        if !others {
            poll("the modes before", Duration::from_secs(5), || seat.mode() == expected);
        }
        sb.leak_check_within(Duration::from_secs(5));
        assert_eq!(seat.mode(), expected);
    }
}

/// `exec` and `run --keep` have no guardian: the container outlives them.
#[case(OWN)]
fn raw_mode_is_restored_after_exec_was_killed() {
    let sb = Sandbox::new().sh("sleep 1000");
    sb.run_oci().arg("--detach").output().ok();
    let seat = Seat::new(24, 80);
    let expected = seat.mode();
    let exec = sb.runtime().args(["exec", "-t", sb.id(), "sh", "-c", "echo up; sleep 1000"]);
    let kept = shell("echo up; sleep 1000");
    for call in [exec, kept.run().arg("--keep")] {
        let run = seat.call(call).spawn();
        wait_for(&run, "up");
        poll("raw mode", Duration::from_secs(5), || seat.is_raw());
        run.signal(Signal::SIGKILL);
        run.wait();
        poll("the modes before", Duration::from_secs(5), || seat.mode() == expected);
    }
    kept.delete().ok();
    sb.delete().ok();
}

#[case(OWN)]
fn ctrl_c_reaches_the_program() {
    let seat = Seat::new(24, 80);
    let sb = shell("trap 'echo interrupted; exit 9' INT; echo up; while :; do sleep 0.05; done");
    let run = seat.call(sb.run()).spawn();
    wait_for(&run, "up");
    poll("raw mode", Duration::from_secs(5), || seat.is_raw());
    seat.types(b"\x03");
    run.wait().exits(9).prints("interrupted");
    sb.leak_check();
}

#[case(OWN)]
fn without_a_terminal_there_is_none() {
    let sb = shell("tty; echo $?");
    sb.run().output().ok().prints("not a tty");
}

/// A console socket, like that of conmon and containerd's shim.
pub struct Socket {
    listener: UnixListener,
    pub path: PathBuf,
}

impl Socket {
    /// In a separate directory: a test's directory must not contain sockets at the end.
    pub fn new(dir: &Path) -> Self {
        let path = dir.join("s");
        let listener = UnixListener::bind(&path).expect("bind");
        listener.set_nonblocking(true).expect("nonblocking");
        Socket { listener, path }
    }

    /// The terminal sent by the runtime: one descriptor with 1 to 4095 bytes, then end of file.
    pub fn terminal(&self) -> File {
        let end = Instant::now() + Duration::from_secs(10);
        let (mut stream, _) = loop {
            match self.listener.accept() {
                Ok(found) => break found,
                Err(e) => assert!(Instant::now() < end, "no connection: {e}"),
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        stream.set_nonblocking(false).expect("blocking");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
        let (count, fds) = receive(stream.as_raw_fd());
        assert!((1..4096).contains(&count) && fds.len() == 1, "{count} bytes, {} descriptors", fds.len());
        assert_eq!(stream.read(&mut [0; 16]).expect("the end"), 0, "more than one message");
        File::from(safebox::sys::fs::own(fds[0]))
    }
}

fn receive(socket: RawFd) -> (usize, Vec<RawFd>) {
    let mut bytes = [0; 4096];
    let mut data = [IoSliceMut::new(&mut bytes)];
    let mut space = nix::cmsg_space!([RawFd; 4]);
    let message =
        recvmsg::<()>(socket, &mut data, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC).expect("recvmsg");
    let fds = message
        .cmsgs()
        .expect("control messages")
        .filter_map(|m| if let ControlMessageOwned::ScmRights(fds) = m { Some(fds) } else { None })
        .flatten()
        .collect();
    (message.bytes, fds)
}

/// Reads from a terminal until `word` arrives.
#[track_caller]
pub fn read_until(mut terminal: &File, word: &str) -> String {
    tty::set_nonblocking(terminal.as_raw_fd()).expect("nonblocking");
    let (mut text, mut buf) = (String::new(), [0; 4096]);
    let end = Instant::now() + Duration::from_secs(10);
    while !text.contains(word) {
        assert!(Instant::now() < end, "no {word:?} in {text:?}");
        match terminal.read(&mut buf) {
            Ok(n) if n > 0 => text.push_str(&String::from_utf8_lossy(&buf[..n])),
            _ => std::thread::sleep(Duration::from_millis(2)),
        }
    }
    text
}

#[case(OCI)]
fn create_sends_the_master() {
    let sockets = tempfile::tempdir().expect("a temporary directory");
    let socket = Socket::new(sockets.path());
    let sb = shell("echo up; read line; echo got $line; sleep 1000");
    let call =
        sb.runtime().args(["create", "--console-socket"]).arg(&socket.path).arg("--bundle").arg(sb.bundle());
    call.arg(sb.id()).output().ok();
    let terminal = socket.terminal();
    sb.verb("start").ok();
    read_until(&terminal, "up");
    (&terminal).write_all(b"words\n").expect("write");
    read_until(&terminal, "got words");
    sb.delete().ok();
    sb.leak_check_within(Duration::from_secs(2));
}

#[case(OCI)]
fn run_detached_sends_the_master() {
    let sockets = tempfile::tempdir().expect("a temporary directory");
    let socket = Socket::new(sockets.path());
    let sb = shell("tty; sleep 1000");
    let call = sb.runtime().args(["run", "--detach", "--console-socket"]).arg(&socket.path).arg("--bundle");
    call.arg(sb.bundle()).arg(sb.id()).output().ok();
    read_until(&socket.terminal(), "/dev/pts/0");
    sb.delete().ok();
    sb.leak_check_within(Duration::from_secs(2));
}

/// /dev becomes read-only after the console is mounted in it.
#[case(OCI)]
fn a_read_only_dev_has_its_console() {
    let options: &[&str] = if is_foreign() { &["ro"] } else { &["ro", "rro"] };
    options.iter().for_each(|option| readonly_dev_by(option));
}

fn readonly_dev_by(option: &str) {
    let sockets = tempfile::tempdir().expect("a temporary directory");
    let socket = Socket::new(sockets.path());
    let mut sb = shell("touch /dev/x || echo read-only, has a console >/dev/console; sleep 1000");
    let mounts = sb.config()["mounts"].as_array().expect("mounts").clone();
    let readonly = mounts.into_iter().map(|mut m| {
        if m["destination"] == "/dev" {
            m["options"].as_array_mut().expect("options").push(json!(option));
        }
        m
    });
    sb.set("/mounts", readonly.collect());
    let call = sb.runtime().args(["run", "--detach", "--console-socket"]).arg(&socket.path).arg("--bundle");
    call.arg(sb.bundle()).arg(sb.id()).output().ok();
    read_until(&socket.terminal(), "read-only, has a console");
    sb.delete().ok();
}

/// A container with CAP_SYS_ADMIN can mount FUSE there, which can answer with any pty number: for example the
/// number of a descriptor of the runtime, which would then be given to the user.
#[case(Root)]
fn exec_takes_no_other_file_system_for_devpts() {
    let sockets = tempfile::tempdir().expect("a temporary directory");
    let socket = Socket::new(sockets.path());
    let sb = Sandbox::new().args(["/bin/sleep", "1000"]);
    sb.create().ok();
    sb.verb("start").ok();
    let pid = sb.pid().to_string();
    let mount = "mount -t tmpfs tmpfs /dev/pts && mknod /dev/pts/ptmx c 5 2";
    let mounted =
        std::process::Command::new("nsenter").args(["-t", &pid, "-m", "-r", "sh", "-c", mount]).status();
    assert!(mounted.expect("nsenter").success());
    let call = sb.runtime().args(["exec", "--tty", "--detach", "--console-socket"]).arg(&socket.path);
    call.args([sb.id(), "true"]).output().exits(255).says("no devpts");
    sb.delete().ok();
}

#[case(OCI)]
fn exec_detached_sends_the_master() {
    let sockets = tempfile::tempdir().expect("a temporary directory");
    let socket = Socket::new(sockets.path());
    let sb = Sandbox::new().args(["/bin/sleep", "1000"]);
    sb.create().ok();
    sb.verb("start").ok();
    let call = sb.runtime().args(["exec", "--tty", "--detach", "--console-socket"]).arg(&socket.path);
    call.args([sb.id(), "sh", "-c", "tty; sleep 1000"]).output().ok();
    read_until(&socket.terminal(), "/dev/pts/0");
    let call = sb.runtime().args(["exec", "--tty", "--detach", sb.id(), "true"]);
    call.output().exits(255).says("cannot allocate tty if");
    // A launcher that waits for the program uses its terminal.
    for flags in [&["--tty"] as &[&str], &["--detach"], &[]] {
        let call = sb.runtime().arg("exec").args(flags).arg("--console-socket").arg(&socket.path);
        call.args([sb.id(), "true"]).output().exits(255).says("cannot use console socket if");
    }
    sb.delete().ok();
    sb.leak_check_within(Duration::from_secs(2));
}

#[case(OWN)]
fn exec_tty_relays() {
    let seat = Seat::new(31, 77);
    let before = seat.mode();
    let sb = Sandbox::new().args(["/bin/sleep", "1000"]);
    sb.create().ok();
    sb.verb("start").ok();
    let script = "tty; stty size; echo up; read l; echo got $l; exit 6";
    let run = seat.call(sb.runtime().args(["exec", "--tty", sb.id(), "sh", "-c", script])).spawn();
    wait_for(&run, "up");
    poll("raw mode", Duration::from_secs(5), || seat.is_raw());
    seat.types(b"words\r");
    run.wait().exits(6).prints("/dev/pts/0").prints("31 77").prints("got words");
    assert_eq!(seat.mode(), before, "the caller's terminal is not as it was");
    sb.delete().ok();
    sb.leak_check_within(Duration::from_secs(2));
}

#[case(OCI)]
fn create_needs_a_socket_for_a_terminal() {
    let sb = shell("true");
    sb.create().exits(1).says("cannot allocate tty if");
    // In the foreground the caller's own terminal is used.
    let run = sb.run_oci().args(["--console-socket", "/nowhere"]).output();
    assert!(run.code == 125 || is_foreign(), "{run}");
    if !is_foreign() {
        run.says("cannot use console socket if");
    }
    sb.leak_check();
}

/// From an interactive terminal: a container without a terminal is detached, one with a terminal has no
/// receiver for it.
#[case(OWN)]
fn run_detached_from_a_terminal_works_without_one() {
    let seat = Seat::new(24, 80);
    for policy in ["restricted", "privileged"] {
        let sb = Sandbox::new().args(["/bin/sleep", "1000"]);
        seat.call(sb.run().args(["--detach", "--policy", policy])).output().ok();
        assert_eq!(sb.status(), "running");
        sb.delete().ok();
        let sb = sb.patch("/process/terminal", json!(true));
        let out = seat.call(sb.run().args(["--detach", "--policy", policy])).output();
        out.exits(125).says("will detach without setting console socket");
        sb.leak_check_within(Duration::from_secs(2));
    }
}
