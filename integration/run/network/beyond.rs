//! The outside of a test for machines without tools: a resolver and web servers, in a thread that has entered the network
//! namespace beyond.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Names and their addresses.
const ZONE: [(&str, [u8; 4]); 3] =
    [("a.test", [203, 0, 113, 2]), ("b.test", [203, 0, 113, 3]), ("meta.test", [169, 254, 169, 254])];

/// Where web servers listen.
const WEB: [&str; 4] = ["203.0.113.2:80", "203.0.113.2:8080", "203.0.113.3:80", "169.254.169.254:80"];

/// The servers.
pub struct Beyond {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Beyond {
    /// Serves in the network namespace with this name.
    pub fn serve(namespace: &str) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let (path, ends) = (format!("/run/netns/{namespace}"), over.clone());
        let (ready, is_ready) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let file = std::fs::File::open(path).expect("the namespace");
            nix::sched::setns(file, nix::sched::CloneFlags::CLONE_NEWNET).expect("setns");
            let resolver = UdpSocket::bind("203.0.113.2:53").expect("bind");
            let web = WEB.map(|address| TcpListener::bind(address).expect("bind"));
            resolver.set_nonblocking(true).expect("fcntl");
            web.iter().for_each(|socket| socket.set_nonblocking(true).expect("fcntl"));
            ready.send(()).expect("a test that waits");
            while !ends.load(Ordering::Relaxed) {
                let mut question = [0; 512];
                while let Ok((n, from)) = resolver.recv_from(&mut question) {
                    resolver.send_to(&answer(&question[..n]), from).expect("sendto");
                }
                for socket in &web {
                    while let Ok((client, _)) = socket.accept() {
                        talk(client);
                    }
                }
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        is_ready.recv().expect("the servers");
        Beyond { over, thread: Some(thread) }
    }

    /// Ends them, and with them the namespace.
    pub fn end(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        self.thread.take().map(JoinHandle::join).transpose().map(drop).unwrap_or_default();
    }
}

/// The answer to a question for addresses (RFC 1035, section 4).
fn answer(question: &[u8]) -> Vec<u8> {
    let (mut at, mut labels) = (12, Vec::new());
    while question[at] != 0 {
        let end = at + 1 + usize::from(question[at]);
        labels.push(String::from_utf8_lossy(&question[at + 1..end]).to_lowercase());
        at = end;
    }
    let (name, kind) = (labels.join("."), question[at + 2]);
    let found = ZONE.iter().find(|(known, _)| *known == name);
    let address = found.filter(|_| kind == 1).map(|(_, address)| address);
    let code = if found.is_some() { 0x80 } else { 0x83 };
    let mut message = question[..2].to_vec();
    message.extend([0x81, code, 0, 1, 0, u8::from(address.is_some()), 0, 0, 0, 0]);
    message.extend(&question[12..at + 5]);
    if let Some(address) = address {
        message.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        message.extend(address);
    }
    message
}

/// Answers one HTTP request with the address, its host and its path.
fn talk(mut client: TcpStream) {
    client.set_nonblocking(false).expect("fcntl");
    client.set_read_timeout(Some(Duration::from_secs(5))).expect("setsockopt");
    let (mut request, mut block) = (Vec::new(), [0; 1024]);
    while !request.ends_with(b"\r\n\r\n") {
        match client.read(&mut block) {
            Ok(n) if n > 0 => request.extend(&block[..n]),
            _ => return,
        }
    }
    let text = String::from_utf8_lossy(&request).into_owned();
    let path = text.split(' ').nth(1).unwrap_or_default();
    let host = text.lines().find_map(|line| line.strip_prefix("Host: ")).unwrap_or_default();
    let body = format!("{} {host} {path}\n", client.local_addr().expect("getsockname"));
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    // The client may be gone.
    client.write_all((head + &body).as_bytes()).unwrap_or_default();
}
