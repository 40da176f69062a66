//! A systemd that is reloaded while it is asked: it hangs up, and goes on with what it has heard.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use super::value::{BusValue, Writer};
use super::*;

const PID: i32 = 4711;

/// What becomes of one connection.
#[derive(Clone, Copy)]
enum Then {
    /// No process is there yet.
    HangUpAtOnce,
    /// The call is heard, and forgotten.
    HangUp,
    /// The call is heard, and done behind the caller's back.
    HangUpAndDo,
    /// The unit is there; after the answer the process is in it.
    Exists,
    /// The unit is there, with another process in it.
    Taken,
    /// As every day.
    Do,
}

fn message(kind: u8, fields: Vec<(u8, BusValue)>, body: &[BusValue]) -> Vec<u8> {
    let mut bytes = Writer::default();
    body.iter().for_each(|v| bytes.put(v));
    let field =
        |(code, value)| BusValue::Struct(vec![BusValue::Byte(code), BusValue::Variant(Box::new(value))]);
    let signature = (8, BusValue::Signature(body.iter().map(BusValue::signature).collect()));
    let fields = fields.into_iter().chain([signature]).map(field).collect();
    let mut message = Writer(vec![b'l', kind, 0, 1]);
    message.put(&BusValue::U32(bytes.0.len() as u32));
    message.put(&BusValue::U32(1));
    message.put(&BusValue::Array("(yv)".into(), fields));
    message.align(8);
    message.0.extend_from_slice(&bytes.0);
    message.0
}

fn signal(name: &str, body: &[BusValue]) -> Vec<u8> {
    message(4, vec![(3, BusValue::Text(name.into()))], body)
}

/// Reads one call; its serial number, `None` when the caller has gone.
fn call(stream: &mut UnixStream) -> Option<u32> {
    let mut head = [0u8; 16];
    stream.read_exact(&mut head).ok()?;
    let word = |i: usize| u32::from_le_bytes(head[i..i + 4].try_into().unwrap());
    let rest = (16 + word(12) as usize).next_multiple_of(8) + word(4) as usize - 16;
    stream.read_exact(&mut vec![0; rest]).unwrap();
    Some(word(8))
}

fn serve(listener: &UnixListener, cgroup: &Path, then: Then) {
    let (mut stream, _) = listener.accept().unwrap();
    let mut hello = [0u8; b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n".len()];
    if matches!(then, Then::HangUpAtOnce) {
        return;
    }
    stream.read_exact(&mut hello).unwrap();
    // A signal comes in one piece with it.
    let mut hello = b"DATA\r\nOK 1\r\n".to_vec();
    hello.extend(signal("UnitRemoved", &[BusValue::Text("OK \r\n".into())]));
    stream.write_all(&hello).unwrap();
    let member = |pid: i32| std::fs::write(cgroup.join("cgroup.procs"), format!("{pid}\n")).unwrap();
    while let Some(serial) = call(&mut stream) {
        let to = (5, BusValue::U32(serial));
        match then {
            Then::HangUpAtOnce | Then::HangUp => return,
            Then::HangUpAndDo => return member(PID),
            Then::Exists | Then::Taken => {
                let name = BusValue::Text("org.freedesktop.systemd1.UnitExists".into());
                stream.write_all(&message(3, vec![to, (4, name)], &[])).unwrap();
                member(if matches!(then, Then::Exists) { PID } else { 1 });
            }
            Then::Do => {
                member(PID);
                let job = BusValue::ObjectPath("/job/1".into());
                stream.write_all(&message(2, vec![to], std::slice::from_ref(&job))).unwrap();
                let body = [BusValue::U32(1), job, BusValue::Text("u".into()), BusValue::Text("done".into())];
                stream.write_all(&signal("JobRemoved", &body)).unwrap();
            }
        }
    }
}

/// A start with a systemd whose connections are these.
fn started(script: &'static [Then]) -> std::result::Result<(), String> {
    let dir = tempfile::tempdir().unwrap();
    let (socket, cgroup) = (dir.path().join("private"), dir.path().join("group"));
    std::fs::create_dir(&cgroup).unwrap();
    let listener = UnixListener::bind(&socket).unwrap();
    let scope = SystemdScope {
        unit: "u".into(),
        address: socket.display().to_string(),
        cgroup: cgroup.clone(),
        user: false,
    };
    let systemd = std::thread::spawn(move || script.iter().for_each(|then| serve(&listener, &cgroup, *then)));
    let done = start(&Start { scope, properties: Vec::new() }, PID).map_err(|e| e.text);
    systemd.join().unwrap();
    done
}

#[test]
fn a_line_that_is_cut_is_no_failure() {
    assert_eq!(started(&[Then::Do]), Ok(()));
    assert_eq!(started(&[Then::HangUpAtOnce, Then::HangUp, Then::Do]), Ok(()));
}

#[test]
fn what_was_heard_before_the_cut_is_found() {
    // It is in the scope when the line is there again: nothing more is asked, so the connection ends unused.
    assert_eq!(started(&[Then::HangUpAndDo, Then::Do]), Ok(()));
    assert_eq!(started(&[Then::HangUp, Then::Exists]), Ok(()));
}

#[test]
fn a_foreign_unit_is_not_taken_for_ours() {
    let text = started(&[Then::HangUp, Then::Taken]).unwrap_err();
    assert!(text.contains("UnitExists"), "{text}");
}
