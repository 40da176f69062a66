//! The server name in a TLS ClientHello (RFC 8446, RFC 6066), however it is cut into records and segments.
//!
//! What is decided:
//!
//! | what the program sends | what happens |
//! | --- | --- |
//! | a ClientHello with the allowed name | it passes, in pieces or whole |
//! | no server name, or one that is no name | refused: which host answers is the server's choice then |
//! | an encrypted ClientHello, or its imitation (GREASE) | refused: the name inside cannot be seen, nor whether there is one |
//! | a second ClientHello after a HelloRetryRequest | checked as the first |
//! | anything else first | refused |

use super::verdict::Reason;

/// The largest ClientHello that is waited for, with its records' headers.
const LARGEST: usize = 32 << 10;
const CHANGE_CIPHER_SPEC: u8 = 20;
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SERVER_NAME: u16 = 0;
const ENCRYPTED_CLIENT_HELLO: u16 = 0xfe0d;

/// Why a stream is refused, and the name that was found in place of the right one.
pub type Refusal = (Reason, String);

/// Looks at what a program sends until the handshake goes on in secret.
#[derive(Debug)]
pub struct Tls {
    name: String,
    held: Vec<u8>,
    greeted: bool,
    open: bool,
}

impl Tls {
    /// Lets connections to this name pass.
    pub fn new(name: &str) -> Self {
        Tls { name: name.into(), held: Vec::new(), greeted: false, open: false }
    }

    /// Whether the server's name was seen.
    pub fn is_satisfied(&self) -> bool {
        self.greeted
    }

    /// Whether nothing more is looked at.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Takes what the program has sent; what may go on is appended to `out`.
    pub fn feed(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
        if self.open {
            out.extend_from_slice(data);
            return Ok(());
        }
        self.held.extend_from_slice(data);
        loop {
            match next(&self.held) {
                Next::Incomplete if self.held.len() > LARGEST => return Err((Reason::NotTls, String::new())),
                Next::Incomplete => return Ok(()),
                Next::Hello(len, hello) => {
                    self.check(hello)?;
                    self.greeted = true;
                    out.extend(self.held.drain(..len));
                }
                Next::ChangeCipherSpec(len) if self.greeted => out.extend(self.held.drain(..len)),
                Next::Other if self.greeted => {
                    self.open = true;
                    out.append(&mut self.held);
                    return Ok(());
                }
                Next::ChangeCipherSpec(_) | Next::Other => return Err((Reason::NotTls, String::new())),
            }
        }
    }

    fn check(&self, hello: Option<Hello>) -> Result<(), Refusal> {
        let hello = hello.ok_or((Reason::NotTls, String::new()))?;
        let name = hello.name.ok_or((Reason::NoServerName, String::new()))?;
        if !name.strip_suffix('.').unwrap_or(&name).eq_ignore_ascii_case(&self.name) {
            return Err((Reason::OtherServerName, name));
        }
        if hello.encrypted { Err((Reason::HiddenServerName, String::new())) } else { Ok(()) }
    }
}

/// What matters of a ClientHello.
struct Hello {
    name: Option<String>,
    encrypted: bool,
}

/// What a stream begins with, at the border of two records.
enum Next {
    Incomplete,
    /// Bytes of its records; `None` where it is malformed.
    Hello(usize, Option<Hello>),
    ChangeCipherSpec(usize),
    Other,
}

fn next(bytes: &[u8]) -> Next {
    let (mut message, mut at) = (Vec::new(), 0);
    loop {
        let Some(header) = bytes.get(at..at + 5) else { return Next::Incomplete };
        let len = usize::from(u16::from_be_bytes([header[3], header[4]]));
        let whole = bytes.get(at + 5..at + 5 + len);
        match header[0] {
            _ if header[1] != 3 || len == 0 || len > 1 << 14 => return Next::Other,
            CHANGE_CIPHER_SPEC if at == 0 => {
                return if whole.is_some() { Next::ChangeCipherSpec(5 + len) } else { Next::Incomplete };
            }
            HANDSHAKE => {}
            _ if at == 0 => return Next::Other,
            // A message is not cut by a record of another kind.
            _ => return Next::Hello(at, None),
        }
        // Another message than a ClientHello need not be waited for.
        match message.first().or(bytes.get(at + 5)) {
            None => return Next::Incomplete,
            Some(kind) if *kind != CLIENT_HELLO => return Next::Other,
            Some(_) => {}
        }
        let Some(record) = whole else { return Next::Incomplete };
        message.extend_from_slice(record);
        at += 5 + len;
        let Some(head) = message.get(..4) else { continue };
        let size = u32::from_be_bytes([0, head[1], head[2], head[3]]) as usize;
        if size > LARGEST {
            return Next::Hello(at, None);
        }
        match message.len().cmp(&(4 + size)) {
            std::cmp::Ordering::Less => {}
            std::cmp::Ordering::Equal => return Next::Hello(at, hello(&message[4..])),
            // A client has nothing more to say in the same flight.
            std::cmp::Ordering::Greater => return Next::Hello(at, None),
        }
    }
}

/// A cursor over fields of TLS.
struct TlsCursor<'a>(&'a [u8]);

impl<'a> TlsCursor<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(head)
    }

    fn byte(&mut self) -> Option<usize> {
        self.take(1).map(|b| b[0].into())
    }

    fn half(&mut self) -> Option<u16> {
        self.take(2).map(|b| u16::from_be_bytes([b[0], b[1]]))
    }
}

/// `None` for a ClientHello that is malformed, or says one thing twice.
fn hello(body: &[u8]) -> Option<Hello> {
    let mut fields = TlsCursor(body);
    fields.take(2 + 32)?;
    let session = fields.byte()?;
    fields.take(session)?;
    let ciphers = fields.half()?;
    fields.take(ciphers.into())?;
    let compressions = fields.byte()?;
    fields.take(compressions)?;
    let mut hello = Hello { name: None, encrypted: false };
    if fields.0.is_empty() {
        return Some(hello);
    }
    let size = fields.half()?;
    let mut extensions = TlsCursor(fields.take(size.into())?);
    let mut seen = Vec::new();
    while !extensions.0.is_empty() {
        let (kind, size) = (extensions.half()?, extensions.half()?);
        let data = extensions.take(size.into())?;
        if seen.contains(&kind) {
            return None;
        }
        seen.push(kind);
        match kind {
            SERVER_NAME => hello.name = Some(server_name(data)?),
            ENCRYPTED_CLIENT_HELLO => hello.encrypted = true,
            _ => {}
        }
    }
    fields.0.is_empty().then_some(hello)
}

/// The one name of a list of server names.
fn server_name(data: &[u8]) -> Option<String> {
    let mut fields = TlsCursor(data);
    let mut list = TlsCursor(fields.half().and_then(|n| fields.take(n.into()))?);
    let kind = list.byte()?;
    let name = list.half().and_then(|n| list.take(n.into()))?;
    let text = std::str::from_utf8(name).ok().filter(|t| t.is_ascii() && !t.is_empty())?;
    (kind == 0 && list.0.is_empty() && fields.0.is_empty()).then(|| text.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ClientHello with these extensions.
    fn message(extensions: &[(u16, Vec<u8>)]) -> Vec<u8> {
        let mut body = vec![3, 3];
        body.extend([7; 32]);
        body.extend([0, 0, 2, 0x13, 1, 1, 0]);
        let mut all = Vec::new();
        for (kind, data) in extensions {
            all.extend(kind.to_be_bytes());
            all.extend((data.len() as u16).to_be_bytes());
            all.extend(data);
        }
        body.extend((all.len() as u16).to_be_bytes());
        body.extend(all);
        let mut message = vec![1];
        message.extend(&(body.len() as u32).to_be_bytes()[1..]);
        message.extend(body);
        message
    }

    fn records(message: &[u8], size: usize) -> Vec<u8> {
        let record = |part: &[u8]| [&[22, 3, 1][..], &(part.len() as u16).to_be_bytes(), part].concat();
        message.chunks(size).flat_map(record).collect()
    }

    fn sni(name: &str) -> (u16, Vec<u8>) {
        let n = name.len() as u16;
        let data = [&(n + 3).to_be_bytes()[..], &[0], &n.to_be_bytes(), name.as_bytes()].concat();
        (0, data)
    }

    /// Fed in segments of this size.
    fn fed(stream: &[u8], segment: usize) -> Result<(Vec<u8>, bool), Refusal> {
        let (mut tls, mut out) = (Tls::new("a.test"), Vec::new());
        for part in stream.chunks(segment) {
            tls.feed(part, &mut out)?;
        }
        Ok((out, tls.is_satisfied()))
    }

    #[test]
    fn the_right_name_passes_in_pieces_and_whole() {
        for name in ["a.test", "A.Test", "a.test."] {
            let message = message(&[(43, vec![2, 3, 4]), sni(name)]);
            for record in [1, 2, 5, 40, 10_000] {
                let stream = records(&message, record);
                for segment in [1, 3, 1000] {
                    assert_eq!(
                        fed(&stream, segment),
                        Ok((stream.clone(), true)),
                        "{name} {record} {segment}"
                    );
                }
            }
        }
    }

    #[test]
    fn what_follows_passes_and_a_second_hello_is_checked() {
        let first = records(&message(&[sni("a.test")]), 1000);
        let data = [20, 3, 3, 0, 1, 1, 23, 3, 3, 0, 2, 9, 9];
        let stream = [first.clone(), data.to_vec(), b"anything".to_vec()].concat();
        for segment in [1, 7, 1000] {
            assert_eq!(fed(&stream, segment), Ok((stream.clone(), true)), "{segment}");
        }
        let second = records(&message(&[sni("b.test")]), 1000);
        let stream = [first, vec![20, 3, 3, 0, 1, 1], second].concat();
        assert_eq!(fed(&stream, 1000), Err((Reason::OtherServerName, "b.test".into())));
    }

    #[test]
    fn what_servers_may_read_in_another_way_is_refused() {
        let refused = |stream: &[u8]| fed(stream, 1000).map_err(|(reason, _)| reason);
        let whole = message(&[sni("a.test")]);
        let good = records(&whole, 1000);
        let before = |bytes: &[u8]| refused(&[bytes, &good].concat());
        assert_eq!(before(&[20, 3, 3, 0, 1, 1]), Err(Reason::NotTls), "what comes after a hello");
        assert_eq!(before(&[22, 3, 1, 0, 0]), Err(Reason::NotTls), "an empty record");
        assert_eq!(refused(&[&[22, 9], &good[2..]].concat()), Err(Reason::NotTls), "another version");
        assert_eq!(refused(&records(&[&whole[..], &[0; 17_000]].concat(), 17_000)), Err(Reason::NotTls));
        // A second hello with a record of another kind in it.
        let cut = [&good[..], &records(&whole[..9], 9), &[23, 3, 3, 0, 1, 0], &records(&whole[9..], 1000)];
        assert_eq!(refused(&cut.concat()), Err(Reason::NotTls));
        // Bytes after the extensions, other kinds of names, more than one, and bytes after the list.
        let mut longer = [&whole[..], &[0; 3]].concat();
        longer[3] += 3;
        assert_eq!(refused(&records(&longer, 1000)), Err(Reason::NotTls));
        let name = |data: &[u8]| refused(&records(&message(&[(0, data.to_vec())]), 1000));
        let entry = [0, 0, 6, b'a', b'.', b't', b'e', b's', b't'];
        let list = |entries: &[u8]| [&(entries.len() as u16).to_be_bytes()[..], entries].concat();
        assert_eq!(name(&list(&entry)), Ok((records(&message(&[sni("a.test")]), 1000), true)));
        assert_eq!(name(&list(&[&[1], &entry[1..]].concat())), Err(Reason::NotTls));
        assert_eq!(name(&list(&[entry, entry].concat())), Err(Reason::NotTls));
        assert_eq!(name(&[&list(&entry)[..], &[0]].concat()), Err(Reason::NotTls));
    }

    #[test]
    fn everything_else_is_refused() {
        let refused = |message: &[u8]| fed(&records(message, 1000), 1000).map_err(|(reason, _)| reason);
        assert_eq!(refused(&message(&[])), Err(Reason::NoServerName));
        assert_eq!(refused(&message(&[sni("b.test")])), Err(Reason::OtherServerName));
        assert_eq!(refused(&message(&[sni("xa.test")])), Err(Reason::OtherServerName));
        let encrypted = (ENCRYPTED_CLIENT_HELLO, vec![0; 40]);
        assert_eq!(refused(&message(&[sni("a.test"), encrypted])), Err(Reason::HiddenServerName));
        assert_eq!(refused(&message(&[sni("a.test"), sni("b.test")])), Err(Reason::NotTls));
        assert_eq!(refused(&message(&[sni("")])), Err(Reason::NotTls));
        let two = [message(&[sni("a.test")]), message(&[sni("b.test")])].concat();
        assert_eq!(refused(&two), Err(Reason::NotTls), "two in one record");
        for stream in [
            &b"GET / HTTP/1.1\r\n\r\n"[..],
            b"SSH-2.0-x\r\n",
            &[22, 3, 1, 0, 4, 2, 0, 0, 0],
            &[0x80, 0x2e, 1, 0, 2],
        ] {
            assert_eq!(fed(stream, 1).map_err(|(r, _)| r), Err(Reason::NotTls), "{stream:?}");
        }
        // A hello that never ends.
        let endless = records(&[&[1, 0, 0x7f, 0xff][..], &vec![0; 60_000]].concat(), 1000);
        assert_eq!(fed(&endless, 1000).map_err(|(r, _)| r), Err(Reason::NotTls));
        // One that says how long it is going to be is not waited for, nor one in countless records.
        assert_eq!(
            fed(&records(&[1, 0, 0xff, 0xff, 3, 3], 6), 1000).map_err(|(r, _)| r),
            Err(Reason::NotTls)
        );
        let countless = records(&[&[1, 0, 0x40, 0][..], &vec![0; 8000]].concat(), 1);
        assert_eq!(fed(&countless, 1000).map_err(|(r, _)| r), Err(Reason::NotTls));
        // Every prefix of a hello waits, and holds no more than was sent.
        let stream = records(&message(&[sni("a.test")]), 1000);
        for n in 0..stream.len() {
            assert_eq!(fed(&stream[..n], 1000), Ok((Vec::new(), false)));
        }
    }
}
