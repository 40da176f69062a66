//! An agent that answers system calls which a filter leaves to it.

use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::harness;
use libseccomp::{ScmpNotifReq, ScmpNotifResp, ScmpNotifRespFlags};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use serde_json::Value;

/// A seccomp agent: it receives listeners from runtimes and answers their notifications.
pub struct Agent {
    path: PathBuf,
    /// The states received with the listeners.
    told: Arc<Mutex<Vec<Value>>>,
    /// The system calls it was asked about.
    pub(super) asked: Arc<Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Agent {
    /// Answers `mkdir` with ENOMEDIUM, and lets all other calls continue.
    pub(super) fn new(path: PathBuf) -> Self {
        let listener = UnixListener::bind(&path).expect("the agent's socket");
        listener.set_nonblocking(true).expect("a socket that does not wait");
        let mut agent =
            Agent { path, told: Arc::default(), asked: Arc::default(), stop: Arc::default(), thread: None };
        let (told, asked, stop) = (agent.told.clone(), agent.asked.clone(), agent.stop.clone());
        let thread = std::thread::spawn(move || {
            let mut answering = Vec::new();
            while !stop.load(Ordering::SeqCst) {
                let Ok((stream, _)) = listener.accept() else {
                    std::thread::sleep(Duration::from_millis(2));
                    continue;
                };
                let (value, fd) = receive(&stream);
                told.lock().expect("a lock").push(value);
                let (asked, stop) = (asked.clone(), stop.clone());
                answering.push(std::thread::spawn(move || answer(&fd, &asked, &stop)));
            }
            for thread in answering {
                thread.join().expect("an answering thread");
            }
        });
        agent.thread = Some(thread);
        agent
    }

    /// The states received with the listeners.
    pub fn told(&self) -> Vec<Value> {
        self.told.lock().expect("a lock").clone()
    }

    pub(super) fn asked(&self, name: &str) -> usize {
        self.asked.lock().expect("a lock").iter().filter(|n| *n == name).count()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let ended = self.thread.take().is_some_and(|t| t.join().is_ok());
        std::fs::remove_file(&self.path).unwrap_or_default();
        if !std::thread::panicking() {
            assert!(ended, "the agent panicked");
        }
    }
}

/// Receives the state and the descriptor of a connection, which the runtime then closes.
fn receive(stream: &UnixStream) -> (Value, OwnedFd) {
    let (mut bytes, mut fd) = (Vec::new(), None);
    loop {
        let mut part = vec![0; 65536];
        let mut space = nix::cmsg_space!([RawFd; 4]);
        let mut io = [IoSliceMut::new(&mut part)];
        let got = recvmsg::<()>(stream.as_raw_fd(), &mut io, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC)
            .expect("a message");
        for message in got.cmsgs().expect("control messages") {
            let ControlMessageOwned::ScmRights(fds) = message else { continue };
            assert!(
                bytes.is_empty() && fd.is_none() && fds.len() == 1,
                "one descriptor, in the first message"
            );
            fd = Some(safebox::sys::fs::own(fds[0]));
        }
        let n = got.bytes;
        bytes.extend_from_slice(&part[..n]);
        // runc 1.1 leaves the connection open.
        let whole = harness::bundle::is_foreign() && serde_json::from_slice::<Value>(&bytes).is_ok();
        if n == 0 || whole {
            break;
        }
    }
    let text = String::from_utf8_lossy(&bytes);
    let value = serde_json::from_slice(&bytes).unwrap_or_else(|e| panic!("{e}: {text}"));
    (value, fd.expect("a listener"))
}

fn answer(listener: &OwnedFd, asked: &Mutex<Vec<String>>, stop: &AtomicBool) {
    let fd = listener.as_raw_fd();
    while !stop.load(Ordering::SeqCst) {
        let mut polls = [PollFd::new(std::os::fd::AsFd::as_fd(listener), PollFlags::POLLIN)];
        if poll(&mut polls, PollTimeout::from(50u16)).expect("poll") == 0 {
            continue;
        }
        let events = polls[0].revents().unwrap_or(PollFlags::empty());
        if !events.contains(PollFlags::POLLIN) {
            return;
        }
        // The process may have died meanwhile.
        let Ok(request) = ScmpNotifReq::receive(fd) else { continue };
        let name = request.data.syscall.get_name().unwrap_or_default();
        let reply = match name.as_str() {
            "mkdir" | "mkdirat" => {
                ScmpNotifResp::new_error(request.id, -libc::ENOMEDIUM, ScmpNotifRespFlags::empty())
            }
            _ => ScmpNotifResp::new_continue(request.id, ScmpNotifRespFlags::empty()),
        };
        asked.lock().expect("a lock").push(name);
        reply.respond(fd).unwrap_or_default();
    }
}
