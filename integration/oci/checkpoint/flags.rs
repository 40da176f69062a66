//! Options passed to criu: each has its effect, and without it the dump is refused or the container
//! unchanged.

use crate::harness::case;
use std::net::TcpListener;
use std::process::Child;

use super::*;

/// A port without a listener.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
    listener.local_addr().expect("an address").port()
}

/// Whether a port of this machine has a listener.
fn listens(port: u16) -> bool {
    let table = std::fs::read_to_string("/proc/net/tcp").expect("/proc/net/tcp");
    let suffix = format!(":{port:04X}");
    table
        .lines()
        .filter_map(|l| {
            let mut fields = l.split_whitespace().skip(1);
            Some((fields.next()?, fields.nth(1)?))
        })
        .any(|(local, state)| local.ends_with(&suffix) && state == "0A")
}

/// A server of criu; killed on drop if it still runs.
struct Server(Child);

impl Server {
    fn start(args: &[&str], dir: &std::path::Path, port: u16) -> Self {
        let mut command = Command::new("criu");
        command.args(args).args(["--address", "127.0.0.1", "--port", &port.to_string(), "-D"]).arg(dir);
        let command = command.env("PATH", path()).stdout(Stdio::null()).stderr(Stdio::null());
        Server(command.spawn().expect("criu"))
    }

    #[track_caller]
    fn ends(mut self) {
        poll("the end of a server", Duration::from_secs(20), || {
            self.0.try_wait().expect("wait").is_some_and(|status| {
                assert!(status.success(), "{status}");
                true
            })
        });
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Normally it has already ended.
        self.0.kill().unwrap_or_default();
        self.0.wait().map(drop).unwrap_or_default();
    }
}

/// Files of `dir` whose names start with `start`.
fn files(dir: &std::path::Path, start: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).expect("a directory").flatten().map(|e| e.path());
    entries.filter(|p| p.file_name().is_some_and(|n| n.to_string_lossy().starts_with(start))).collect()
}

fn counts() -> Sandbox {
    let sb = counting();
    drop(started(&sb, Stdio::null()));
    poll("numbers", Duration::from_secs(10), || count(&sb) > 2);
    sb
}

fn restored(sb: &Sandbox, flags: &[&str]) -> PipeReader {
    piped(sb, &restore_args(sb, flags), Stdio::null())
}

/// Memory is sent to a page server; everything else is in the images.
#[case(super::OCI)]
fn a_page_server_gets_the_memory() {
    let sb = counts();
    let (there, port) = (sb.dir().join("there"), free_port());
    std::fs::create_dir(&there).expect("mkdir");
    let server = Server::start(&["page-server"], &there, port);
    poll("a page server", Duration::from_secs(10), || listens(port));
    checkpoint(&sb, &["--page-server", &format!("127.0.0.1:{port}")]).ok();
    server.ends();
    assert_eq!(files(&images(&sb), "pages-"), Vec::<PathBuf>::new());
    for file in files(&there, "page") {
        std::fs::rename(&file, images(&sb).join(file.file_name().expect("a name"))).expect("rename");
    }
    let _out = restored(&sb, &[]);
    goes_on(&sb, count(&sb));
    sb.delete().ok();
}

/// Memory stays with criu until it is requested.
///
/// The test stops before the end: criu 4.2 fails to send the pages (page-pipe.c, splice: bad file
/// descriptor), for runc too.
#[case(super::OWN)]
fn lazy_pages_stay_until_they_are_asked_for() {
    let sb = counts();
    let (port, status) = (free_port(), sb.dir().join("status"));
    let shell = format!("exec \"$@\" 3>{}", status.display());
    let dump = sb
        .under(&["sh", "-c", &shell, "sh"])
        .env("PATH", path())
        .args([
            "checkpoint",
            "--lazy-pages",
            "--page-server",
            &format!("127.0.0.1:{port}"),
            "--status-fd",
            "3",
        ])
        .arg("--image-path")
        .arg(images(&sb))
        .arg(sb.id())
        .spawn();
    poll("the word of --status-fd", Duration::from_secs(20), || {
        std::fs::read(&status).is_ok_and(|said| said == [0])
    });
    assert!(listens(port));
    assert_eq!(sb.status(), "running", "the memory is in its processes");
    drop(std::net::TcpStream::connect(("127.0.0.1", port)).expect("criu"));
    dump.wait().ok();
    gone(&sb);
    let flags = ["--lazy-pages", "--work-path", &images(&sb).display().to_string()];
    let out = call(&sb, &[]).args(restore_args(&sb, &flags)).output().exits(1);
    out.says("lazy-pages.socket");
    gone(&sb);
}

/// A TCP connection with both ends in the container.
#[case(super::OWN_PROBE)]
fn tcp_connections_are_kept_or_closed() {
    let sb = Sandbox::new().args(["/bin/probe", "talk", "/tmp/got"]).patch("/root/readonly", json!(false));
    crate::security::attacks::build_probe(&sb);
    let _out = started(&sb, Stdio::null());
    let got = || -> i64 {
        let text = std::fs::read_to_string(sb.rootfs().join("tmp/got")).unwrap_or_default();
        text.trim().parse().unwrap_or(0)
    };
    poll("a connection", Duration::from_secs(10), || got() > 2);
    checkpoint(&sb, &[]).exits(1).says("established");
    assert_eq!(sb.status(), "running");
    checkpoint(&sb, &["--tcp-established"]).ok();
    let before = got();
    call(&sb, &[]).args(restore_args(&sb, &[])).output().exits(1);
    gone(&sb);
    let _out = restored(&sb, &["--tcp-established"]);
    poll("more bytes", Duration::from_secs(10), || got() > before + 2);
    sb.delete().ok();
    let _out = restored(&sb, &["--tcp-close"]);
    poll("a closed connection", Duration::from_secs(10), || got() == -1);
    sb.delete().ok();
}

/// runc prints only the path of criu's log.
fn in_criu_s_words(out: crate::harness::Output, words: &str) {
    if !bundle::is_foreign() {
        out.says(words);
    }
}

#[case(super::PROBE)]
fn file_locks_are_kept() {
    let sb = Sandbox::new().args(["/bin/probe", "lock", "/tmp/lock"]).patch("/root/readonly", json!(false));
    crate::security::attacks::build_probe(&sb);
    let held = || {
        let file = std::fs::File::open(sb.rootfs().join("tmp/lock"));
        file.is_ok_and(|f| f.try_lock().is_err())
    };
    let _out = started(&sb, Stdio::null());
    poll("the lock", Duration::from_secs(10), held);
    in_criu_s_words(checkpoint(&sb, &[]).exits(1), "file locks");
    checkpoint(&sb, &["--file-locks"]).ok();
    assert!(!held());
    let _out = restored(&sb, &["--file-locks"]);
    assert!(held());
    sb.delete().ok();
}

/// An open file whose name was removed, with another hard link.
#[case(super::OWN)]
fn link_remap_keeps_a_removed_name() {
    let sb = counting_every("echo >/tmp/a; ln /tmp/a /tmp/b; exec 5</tmp/a; rm /tmp/a; ", "0.02");
    let _out = started(&sb, Stdio::null());
    poll("numbers", Duration::from_secs(10), || count(&sb) > 2);
    checkpoint(&sb, &[]).exits(1).says("Use link-remap option");
    checkpoint(&sb, &["--link-remap"]).ok();
    let _out = restored(&sb, &[]);
    goes_on(&sb, count(&sb));
    sb.delete().ok();
}

/// A socket connected by path to one outside, for example that of a log.
#[case(super::OCI)]
fn ext_unix_sk_allows_a_socket_to_the_outside() {
    // criu finds the sockets of the container's own network namespace.
    let namespaces = json!([{"type": "mount"}, {"type": "pid"}, {"type": "ipc"}, {"type": "uts"}]);
    let sb = Sandbox::new().sh(COUNT).patch("/linux/namespaces", namespaces);
    let name = sb.dir().join("log");
    let _log = std::os::unix::net::UnixDatagram::bind(&name).expect("a socket");
    let client = std::os::unix::net::UnixDatagram::unbound().expect("a socket");
    client.connect(&name).expect("the log");
    let out = started(&sb, std::os::fd::OwnedFd::from(client).into());
    line(&out);
    in_criu_s_words(checkpoint(&sb, &["--leave-running"]).exits(1), "ext-unix-sk");
    checkpoint(&sb, &["--leave-running", "--ext-unix-sk"]).ok();
    std::fs::remove_file(name).expect("remove the log");
    sb.delete().ok();
}
