//! A D-Bus connection for one conversation with systemd: no thread, no event loop, no library.
//!
//! The runtime must be single-threaded when it clones, and needs three calls and one signal. So this
//! speaks the protocol itself (D-Bus specification, "Message Protocol"): connect, authenticate by
//! the socket's credentials, send a call, read until its answer is there.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::path::Path;
use std::time::Duration;

use super::value::{BusReader, BusValue, Writer};
use crate::sys::{Errno, process};

/// What an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Larger messages than this are not what systemd sends.
const MAX_MESSAGE: usize = 16 << 20;

/// systemd's name on the bus.
const SYSTEMD: &str = "org.freedesktop.systemd1";
const OBJECT: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";

/// Why a conversation failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BusFailure {
    /// The nearest error number.
    pub errno: Errno,
    /// D-Bus's name of the error; empty where it is not D-Bus's.
    pub name: String,
    /// In words.
    pub text: String,
}

impl BusFailure {
    /// A failure in words.
    pub fn new(errno: Errno, text: impl Into<String>) -> Self {
        BusFailure { errno, name: String::new(), text: text.into() }
    }

    fn io(what: &str, e: &std::io::Error) -> Self {
        let errno = match e.kind() {
            std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut => Errno::ETIMEDOUT,
            std::io::ErrorKind::UnexpectedEof => Errno::ECONNRESET,
            _ => e.raw_os_error().map_or(Errno::EIO, Errno::from_raw),
        };
        BusFailure::new(errno, format!("{what}: {}", crate::tables::errno::text(errno as i32)))
    }

    fn protocol() -> Self {
        BusFailure::new(Errno::EPROTO, "systemd's answer is not D-Bus")
    }

    /// Whether the line was cut before the answer came, so that the call may or may not have been handled. systemd closes
    /// all connections when it is reloaded (systemctl(1), daemon-reload); a bus then says that it is gone.
    pub fn is_cut(&self) -> bool {
        const GONE: [&str; 4] = ["NoReply", "Disconnected", "NameHasNoOwner", "ServiceUnknown"];
        const CUT: [Errno; 3] = [Errno::ECONNRESET, Errno::EPIPE, Errno::ECONNREFUSED];
        match self.name.as_str() {
            "" => CUT.contains(&self.errno),
            _ => GONE.iter().any(|name| self.is(name)),
        }
    }

    /// Whether this is the D-Bus error whose name ends in `name`.
    pub fn is(&self, name: &str) -> bool {
        self.name.strip_suffix(name).is_some_and(|head| head.ends_with('.'))
    }
}

impl std::fmt::Display for BusFailure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

/// A conversation; where the line is cut, it is begun again. So `what` may have been heard already when it is asked.
/// Two seconds of this are more than a reload takes, in which the socket is not there; a connection that is closed for another
/// reason is an error.
pub fn talk<T>(
    address: &str,
    mut what: impl FnMut(&mut Bus) -> Result<T, BusFailure>,
) -> Result<T, BusFailure> {
    let mut cuts = 0;
    loop {
        match Bus::open(address).and_then(|mut bus| what(&mut bus)) {
            Err(e) if e.is_cut() && cuts < 100 => {
                cuts += 1;
                process::sleep_micros(20_000);
            }
            other => return other,
        }
    }
}

/// What is read of a message.
#[derive(Debug, Default)]
struct BusMessage {
    kind: u8,
    reply_to: u32,
    member: String,
    error: String,
    body: Vec<BusValue>,
}

/// A connection to systemd.
#[derive(Debug)]
pub struct Bus {
    stream: UnixStream,
    serial: u32,
    /// What came with the end of the handshake.
    early: VecDeque<u8>,
    /// `JobRemoved` signals that came before they were asked for: (job, result).
    jobs: Vec<(String, String)>,
}

impl Bus {
    /// Connects to `address`: `unix:path=...` or `unix:abstract=...`, several separated by `;`, or a
    /// path, which is systemd's own socket without a bus in between.
    pub fn open(address: &str) -> Result<Self, BusFailure> {
        if address.starts_with('/') {
            return Self::connect(address, &socket_at(Path::new(address))?);
        }
        let mut last =
            BusFailure::new(Errno::EINVAL, format!("{address:?} is not a D-Bus address with a unix socket"));
        for one in address.split(';').filter_map(unix_address) {
            match one.and_then(|socket| Self::connect(address, &socket)) {
                Ok(mut bus) => {
                    bus.introduce()?;
                    return Ok(bus);
                }
                Err(failure) => last = failure,
            }
        }
        Err(last)
    }

    fn connect(address: &str, socket: &SocketAddr) -> Result<Self, BusFailure> {
        let failed = |e: std::io::Error| BusFailure::io(address, &e);
        let stream = UnixStream::connect_addr(socket).map_err(failed)?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
        stream.set_write_timeout(Some(PATIENCE)).map_err(failed)?;
        let mut bus = Bus { stream, serial: 0, early: VecDeque::new(), jobs: Vec::new() };
        bus.authenticate().map_err(|e| BusFailure::io(address, &e))?;
        Ok(bus)
    }

    /// `EXTERNAL` without a name: the other side takes the uid from the socket, which is right in a user
    /// namespace too, where this process does not know its uid outside.
    fn authenticate(&mut self) -> std::io::Result<()> {
        // BEGIN goes along: systemd's side would read the first call together with a late one, and wait for
        // more before it looks at it.
        self.stream.write_all(b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n")?;
        let (mut answer, mut part) = (Vec::new(), [0u8; 256]);
        loop {
            let n = self.stream.read(&mut part)?;
            answer.extend_from_slice(&part[..n]);
            if n == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            if let Some(end) = end_of_ok(&answer) {
                // Signals come at any time, and while it is reloaded there are many.
                self.early = answer.split_off(end).into();
                return Ok(());
            }
            if answer.len() > 4096 || answer.starts_with(b"REJECTED") || answer.starts_with(b"ERROR") {
                return Err(std::io::ErrorKind::PermissionDenied.into());
            }
        }
    }

    /// On a bus, systemd is one of many: one says hello, and asks for its signals.
    fn introduce(&mut self) -> Result<(), BusFailure> {
        const BUS: &str = "org.freedesktop.DBus";
        let rule = format!("type='signal',sender='{SYSTEMD}',interface='{MANAGER}',member='JobRemoved'");
        self.call(BUS, "/org/freedesktop/DBus", BUS, "Hello", &[])?;
        self.call(BUS, "/org/freedesktop/DBus", BUS, "AddMatch", &[BusValue::Text(rule)]).map(drop)
    }

    /// A call of systemd's manager; the answer's values.
    pub fn manager(&mut self, member: &str, args: &[BusValue]) -> Result<Vec<BusValue>, BusFailure> {
        self.call(SYSTEMD, OBJECT, MANAGER, member, args)
    }

    /// A property of systemd's manager, as text.
    pub fn property(&mut self, name: &str) -> Result<String, BusFailure> {
        let args = [BusValue::Text(MANAGER.into()), BusValue::Text(name.into())];
        let answer = self.call(SYSTEMD, OBJECT, "org.freedesktop.DBus.Properties", "Get", &args)?;
        answer.first().and_then(BusValue::text).map(str::to_string).ok_or_else(BusFailure::protocol)
    }

    /// Waits for the end of a job that [`Bus::manager`] returned; its result, `done` if all is well.
    pub fn wait_for_job(&mut self, job: &str) -> Result<String, BusFailure> {
        loop {
            if let Some(i) = self.jobs.iter().position(|(path, _)| path == job) {
                return Ok(self.jobs.swap_remove(i).1);
            }
            self.read()?;
        }
    }

    fn call(
        &mut self,
        to: &str,
        object: &str,
        interface: &str,
        member: &str,
        args: &[BusValue],
    ) -> Result<Vec<BusValue>, BusFailure> {
        self.serial += 1;
        let serial = self.serial;
        let bytes = encode(serial, [to, object, interface, member], args);
        self.stream.write_all(&bytes).map_err(|e| BusFailure::io(member, &e))?;
        loop {
            let message = self.read()?;
            match message.kind {
                2 if message.reply_to == serial => return Ok(message.body),
                3 if message.reply_to == serial => {
                    let text = message.body.first().and_then(BusValue::text).unwrap_or(&message.error);
                    let errno = errno_of(&message.error);
                    return Err(BusFailure { errno, text: text.to_string(), name: message.error.clone() });
                }
                _ => {}
            }
        }
    }

    /// Reads as much as `bytes` takes.
    fn fill(&mut self, bytes: &mut [u8]) -> std::io::Result<()> {
        (&mut self.early).chain(&mut self.stream).read_exact(bytes)
    }

    /// Reads one message; the end of a job is kept.
    fn read(&mut self) -> Result<BusMessage, BusFailure> {
        let failed = |e: std::io::Error| BusFailure::io("systemd", &e);
        let mut head = [0u8; 16];
        self.fill(&mut head).map_err(failed)?;
        let word = |i: usize| u32::from_le_bytes([head[i], head[i + 1], head[i + 2], head[i + 3]]) as usize;
        let (body, fields) = (word(4), word(12));
        if head[0] != b'l' || body.max(fields) > MAX_MESSAGE {
            return Err(BusFailure::protocol());
        }
        let start = (16 + fields).next_multiple_of(8);
        let mut bytes = vec![0; start + body];
        bytes[..16].copy_from_slice(&head);
        self.fill(&mut bytes[16..]).map_err(failed)?;
        let message = decode(&bytes, start).map_err(|_| BusFailure::protocol())?;
        // JobRemoved(u id, o job, s unit, s result).
        if message.kind == 4
            && message.member == "JobRemoved"
            && let [_, job, _, result] = message.body.as_slice()
            && let (Some(job), Some(result)) = (job.text(), result.text())
        {
            self.jobs.push((job.into(), result.into()));
        }
        Ok(message)
    }
}

/// Where the line with `OK` ends in the answer.
fn end_of_ok(answer: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let end = at + answer.get(at..)?.windows(2).position(|w| w == b"\r\n")? + 2;
        if answer[at..end].starts_with(b"OK ") {
            return Some(end);
        }
        at = end;
    }
}

/// A method call as bytes.
fn encode(serial: u32, [to, object, interface, member]: [&str; 4], args: &[BusValue]) -> Vec<u8> {
    let mut body = Writer::default();
    args.iter().for_each(|v| body.put(v));
    let field = |code: u8, value: BusValue| {
        BusValue::Struct(vec![BusValue::Byte(code), BusValue::Variant(Box::new(value))])
    };
    let mut fields = vec![
        field(1, BusValue::ObjectPath(object.into())),
        field(2, BusValue::Text(interface.into())),
        field(3, BusValue::Text(member.into())),
        field(6, BusValue::Text(to.into())),
    ];
    if !args.is_empty() {
        fields.push(field(8, BusValue::Signature(args.iter().map(BusValue::signature).collect())));
    }
    // Little-endian, a method call, no flags, protocol version 1.
    let mut message = Writer(vec![b'l', 1, 0, 1]);
    message.put(&BusValue::U32(body.0.len() as u32));
    message.put(&BusValue::U32(serial));
    message.put(&BusValue::Array("(yv)".into(), fields));
    message.align(8);
    message.0.extend_from_slice(&body.0);
    message.0
}

/// A message whose body begins at `start`.
fn decode(bytes: &[u8], start: usize) -> Result<BusMessage, Errno> {
    let mut message = BusMessage { kind: bytes[1], ..BusMessage::default() };
    let mut reader = BusReader::new(&bytes[..start]);
    reader.get("(yyyyuu)", 0)?;
    let mut signature = String::new();
    let (fields, _) = reader.get("a(yv)", 0)?;
    let BusValue::Array(_, fields) = fields else { return Err(Errno::EPROTO) };
    for field in fields {
        let BusValue::Struct(parts) = field else { continue };
        let [BusValue::Byte(code), BusValue::Variant(value)] = parts.as_slice() else { continue };
        match (code, value.as_ref()) {
            (3, BusValue::Text(s)) => message.member.clone_from(s),
            (4, BusValue::Text(s)) => message.error.clone_from(s),
            (5, BusValue::U32(n)) => message.reply_to = *n,
            (8, BusValue::Signature(s)) => signature.clone_from(s),
            _ => {}
        }
    }
    let mut body = BusReader::new(&bytes[start..]);
    let mut rest = signature.as_str();
    while !rest.is_empty() {
        let (value, after) = body.get(rest, 0)?;
        message.body.push(value);
        rest = after;
    }
    Ok(message)
}

fn errno_of(name: &str) -> Errno {
    match name.rsplit('.').next().unwrap_or_default() {
        "UnitExists" => Errno::EEXIST,
        "NoSuchUnit" => Errno::ENOENT,
        "AccessDenied" | "InteractiveAuthorizationRequired" => Errno::EACCES,
        "InvalidArgs" | "PropertyReadOnly" | "UnknownProperty" => Errno::EINVAL,
        "NoReply" | "Timeout" => Errno::ETIMEDOUT,
        _ => Errno::EPROTO,
    }
}

fn socket_at(path: &Path) -> Result<SocketAddr, BusFailure> {
    SocketAddr::from_pathname(path).map_err(|e| BusFailure::io(&path.display().to_string(), &e))
}

/// The socket of one D-Bus address; `None` for other transports.
fn unix_address(address: &str) -> Option<Result<SocketAddr, BusFailure>> {
    let parts = address.strip_prefix("unix:")?;
    parts.split(',').find_map(|part| {
        let (key, value) = part.split_once('=')?;
        let value = unescape(value);
        match key {
            "path" => Some(socket_at(Path::new(&value))),
            "abstract" => {
                Some(SocketAddr::from_abstract_name(value).map_err(|e| BusFailure::io(address, &e)))
            }
            _ => None,
        }
    })
}

/// `%41` is `A`.
fn unescape(text: &str) -> String {
    let mut parts = text.split('%');
    let mut out = parts.next().unwrap_or_default().to_string();
    for part in parts {
        match part.split_at_checked(2).and_then(|(hex, rest)| Some((u8::from_str_radix(hex, 16).ok()?, rest)))
        {
            Some((byte, rest)) => {
                out.push(byte.into());
                out.push_str(rest);
            }
            None => {
                out.push('%');
                out.push_str(part);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_what_the_specification_says() {
        let bytes = encode(7, ["a.b", "/o", "i.f", "M"], &[BusValue::Text("x".into())]);
        assert_eq!(&bytes[..4], b"l\x01\x00\x01");
        let fields = u32::from_le_bytes(bytes[12..16].try_into().unwrap()) as usize;
        let start = (16 + fields).next_multiple_of(8);
        assert_eq!(bytes.len(), start + 6, "a length, a letter and a NUL");
        let message = decode(&bytes, start).unwrap();
        assert_eq!((message.member.as_str(), message.body), ("M", vec![BusValue::Text("x".into())]));
    }

    #[test]
    fn addresses_are_unix_sockets() {
        let path = |a: &str| unix_address(a).map(|s| s.unwrap().as_pathname().map(Path::to_path_buf));
        assert_eq!(path("unix:path=/run/user/1000/bus,guid=0"), Some(Some("/run/user/1000/bus".into())));
        assert_eq!(path("unix:guid=0,path=/a%20b"), Some(Some("/a b".into())));
        assert_eq!(path("unix:abstract=/tmp/x"), Some(None));
        assert!(unix_address("tcp:host=x").is_none());
        assert!(Bus::open("tcp:host=x").is_err());
        assert!(Bus::open("/nonexistent/socket").unwrap_err().text.starts_with("/nonexistent/socket: "));
    }

    #[test]
    fn errors_are_known_by_the_end_of_their_name() {
        let failure =
            BusFailure { name: "org.freedesktop.systemd1.UnitExists".into(), ..BusFailure::protocol() };
        assert!(failure.is("UnitExists") && !failure.is("Exists"));
        assert_eq!(errno_of(&failure.name), Errno::EEXIST);
    }
}
