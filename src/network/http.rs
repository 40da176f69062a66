//! The host of every HTTP/1 request on a connection (RFC 9112), not only of the first: a server behind the allowed name may
//! answer for other names, too.
//!
//! What is decided:
//!
//! | what the program sends | what happens |
//! | --- | --- |
//! | requests to the allowed host, one after the other or pipelined | they pass |
//! | a request to another host, wherever on the connection | refused there, what came before it has passed |
//! | one empty line before a request | it passes |
//! | two of them | refused |
//! | no Host, two of them, or a target with another host | refused |
//! | Content-Length and Transfer-Encoding together, a line without CR, anything that servers read in two ways | refused |
//! | CONNECT | refused: what follows cannot be read (through TLS it is the allowed server's own matter) |
//! | HTTP/2 without TLS, WebSocket frames after an Upgrade | refused: `,any-sni` lets them pass |

use super::tls::Refusal;
use super::verdict::Reason;

/// The largest head of a request.
const LARGEST: usize = 32 << 10;
/// The longest line of a chunk's size, and the longest trailer.
const LONGEST_LINE: usize = 4096;

#[derive(Debug, PartialEq, Eq)]
enum HttpState {
    Head,
    /// Bytes that are left of a body or of a chunk with its CRLF.
    Body(u64),
    ChunkSize,
    ChunkData(u64),
    Trailer,
}

/// Looks at every request that a program sends.
#[derive(Debug)]
pub struct Http {
    name: String,
    port: u16,
    held: Vec<u8>,
    state: HttpState,
    greeted: bool,
    /// The last thing that has passed is an empty line before a request.
    blank: bool,
}

fn refuse<T>(reason: Reason) -> Result<T, Refusal> {
    Err((reason, String::new()))
}

impl Http {
    /// Lets requests to this name and port pass.
    pub fn new(name: &str, port: u16) -> Self {
        Http {
            name: name.into(),
            port,
            held: Vec::new(),
            state: HttpState::Head,
            greeted: false,
            blank: false,
        }
    }

    /// Whether a request to the right host was seen.
    pub fn is_satisfied(&self) -> bool {
        self.greeted
    }

    /// Takes what the program has sent; what may go on is appended to `out`.
    pub fn feed(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
        self.held.extend_from_slice(data);
        while !self.held.is_empty() {
            let taken = match self.state {
                HttpState::Head => self.head()?,
                HttpState::Body(left) => self.body(left, HttpState::Head),
                HttpState::ChunkData(left) => self.body(left, HttpState::ChunkSize),
                HttpState::ChunkSize => self.chunk()?,
                HttpState::Trailer => self.trailer()?,
            };
            match taken {
                0 => break,
                n => out.extend(self.held.drain(..n)),
            }
        }
        Ok(())
    }

    fn body(&mut self, left: u64, then: HttpState) -> usize {
        let n = self.held.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let left = left - n as u64;
        self.state = match (left, &self.state) {
            (0, _) => then,
            (left, HttpState::Body(_)) => HttpState::Body(left),
            (left, _) => HttpState::ChunkData(left),
        };
        n
    }

    /// A whole head, or 0 bytes where more is needed.
    fn head(&mut self) -> Result<usize, Refusal> {
        // One empty line before a request is passed on (RFC 9112, 2.2). A program that sends nothing else would fill the
        // helper's memory, and no deadline would end it.
        if self.held.starts_with(b"\r\n") {
            return if std::mem::replace(&mut self.blank, true) { refuse(Reason::NotHttp) } else { Ok(2) };
        }
        if self.held == b"\r" {
            return Ok(0);
        }
        let end = self.held.windows(4).position(|w| w == b"\r\n\r\n").map(|at| at + 4);
        let head = &self.held[..end.unwrap_or(self.held.len())];
        let bare = |w: &[u8]| w[1] == b'\n' && w[0] != b'\r' || w[0] == b'\r' && w[1] != b'\n';
        if head.windows(2).any(bare) || head.first() == Some(&b'\n') || head.contains(&0) {
            return refuse(Reason::NotHttp);
        }
        let Some(end) = end else {
            let looks = head.iter().take_while(|b| **b != b' ').all(u8::is_ascii_uppercase);
            let fits = head.len() <= LARGEST && looks;
            return if fits { Ok(0) } else { refuse(Reason::NotHttp) };
        };
        let mut headers = [httparse::EMPTY_HEADER; 100];
        let mut request = httparse::Request::new(&mut headers);
        match request.parse(head) {
            Ok(httparse::Status::Complete(n)) if n == end => {}
            _ => return refuse(Reason::NotHttp),
        }
        let body = self.request(&request)?;
        self.state = body;
        (self.greeted, self.blank) = (true, false);
        Ok(end)
    }

    /// What follows a head that may pass.
    fn request(&self, request: &httparse::Request<'_, '_>) -> Result<HttpState, Refusal> {
        let all = |name: &str| -> Vec<&[u8]> {
            request.headers.iter().filter(|h| h.name.eq_ignore_ascii_case(name)).map(|h| h.value).collect()
        };
        if request.method == Some("CONNECT") {
            return refuse(Reason::Connect);
        }
        let host = match all("host")[..] {
            [host] => String::from_utf8_lossy(host).into_owned(),
            [] => return refuse(Reason::NoHost),
            _ => return refuse(Reason::NotHttp),
        };
        let target = request.path.unwrap_or_default();
        let from_target = match target.split_once("://") {
            Some((_, rest)) if !target.starts_with('/') => rest.split(['/', '?', '#']).next(),
            _ if target.starts_with('/') || target == "*" => None,
            _ => return refuse(Reason::NotHttp),
        };
        for host in [Some(host.as_str()), from_target].into_iter().flatten() {
            if !self.is_host(host) {
                return Err((Reason::OtherHost, host.chars().take(200).collect()));
            }
        }
        match (&all("content-length")[..], &all("transfer-encoding")[..]) {
            ([], []) => Ok(HttpState::Head),
            ([length], []) => {
                let digits =
                    !length.is_empty() && length.len() <= 18 && length.iter().all(u8::is_ascii_digit);
                let length = std::str::from_utf8(length).ok().filter(|_| digits).and_then(|l| l.parse().ok());
                match length {
                    Some(0) => Ok(HttpState::Head),
                    Some(length) => Ok(HttpState::Body(length)),
                    None => refuse(Reason::NotHttp),
                }
            }
            ([], [coding]) if coding.eq_ignore_ascii_case(b"chunked") && request.version == Some(1) => {
                Ok(HttpState::ChunkSize)
            }
            _ => refuse(Reason::NotHttp),
        }
    }

    /// Whether `host` or `host:port` is the one that was allowed.
    fn is_host(&self, host: &str) -> bool {
        let (name, port) = host.rsplit_once(':').unwrap_or((host, ""));
        let name = name.strip_suffix('.').unwrap_or(name);
        name.eq_ignore_ascii_case(&self.name) && (port.is_empty() || port == self.port.to_string())
    }

    fn chunk(&mut self) -> Result<usize, Refusal> {
        let Some(end) = line(&self.held)? else { return Ok(0) };
        let digits = self.held[..end - 2].split(|b| *b == b';').next().unwrap_or_default();
        let hex = (1..=15).contains(&digits.len()) && digits.iter().all(u8::is_ascii_hexdigit);
        let size =
            std::str::from_utf8(digits).ok().filter(|_| hex).and_then(|d| u64::from_str_radix(d, 16).ok());
        self.state = match size {
            None => return refuse(Reason::NotHttp),
            Some(0) => HttpState::Trailer,
            Some(size) => HttpState::ChunkData(size + 2),
        };
        Ok(end)
    }

    fn trailer(&mut self) -> Result<usize, Refusal> {
        let Some(end) = line(&self.held)? else { return Ok(0) };
        if end == 2 {
            self.state = HttpState::Head;
        }
        Ok(end)
    }
}

/// Where the first line ends, behind its CRLF.
fn line(bytes: &[u8]) -> Result<Option<usize>, Refusal> {
    match bytes.iter().position(|b| *b == b'\n') {
        Some(at) if at > 0 && bytes[at - 1] == b'\r' && !bytes[..at - 1].contains(&b'\r') => Ok(Some(at + 1)),
        None if bytes.len() <= LONGEST_LINE => Ok(None),
        _ => refuse(Reason::NotHttp),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fed in segments of this size: what has passed, and how it ended.
    fn fed(stream: &str, segment: usize) -> (String, Result<(), Reason>) {
        let (mut http, mut out) = (Http::new("a.test", 80), Vec::new());
        let mut end = Ok(());
        for part in stream.as_bytes().chunks(segment) {
            end = http.feed(part, &mut out).map_err(|(reason, _)| reason);
            if end.is_err() {
                break;
            }
        }
        (String::from_utf8(out).unwrap(), end)
    }

    const GET: &str = "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";

    #[test]
    fn requests_to_the_host_pass() {
        let chunks = "POST /x HTTP/1.1\r\nHost: A.test:80\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n10\r\n0123456789abcdef\r\n0\r\nT: 1\r\n\r\n";
        let body =
            "POST /x HTTP/1.1\r\nhost: a.test.\r\nContent-Length: 25\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n";
        let absolute = "GET http://a.test/x HTTP/1.1\r\nHost: a.test\r\n\r\n";
        for stream in [
            GET.to_string(),
            [GET, GET, chunks, body, absolute, GET].concat(),
            [body, chunks].concat(),
            format!("\r\n{GET}\r\n{GET}"),
        ] {
            // The last one's body is not whole: the part that has arrived passes.
            for segment in [1, 2, 7, 10_000] {
                assert_eq!(fed(&stream, segment), (stream.clone(), Ok(())), "{segment}");
            }
        }
    }

    #[test]
    fn another_host_ends_the_connection_where_it_is() {
        let other = "GET / HTTP/1.1\r\nHost: b.test\r\n\r\n";
        let post = "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\n\r\nab";
        for segment in [1, 9, 10_000] {
            for before in ["".to_string(), GET.into(), [GET, post].concat()] {
                let (passed, end) = fed(&[&before, other].concat(), segment);
                assert_eq!((passed, end), (before, Err(Reason::OtherHost)), "{segment}");
            }
        }
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        for (stream, reason) in [
            ("GET / HTTP/1.1\r\n\r\n", Reason::NoHost),
            ("GET / HTTP/1.0\r\n\r\n", Reason::NoHost),
            ("GET / HTTP/1.1\r\nHost: a.test\r\nHost: b.test\r\n\r\n", Reason::NotHttp),
            ("GET / HTTP/1.1\r\nHost: a.test:81\r\n\r\n", Reason::OtherHost),
            ("GET / HTTP/1.1\r\nHost: xa.test\r\n\r\n", Reason::OtherHost),
            ("GET / HTTP/1.1\r\nHost: a.test.b.test\r\n\r\n", Reason::OtherHost),
            ("\nGET / HTTP/1.1\r\nHost: a.test\r\n\r\n", Reason::NotHttp),
            ("GET / HTTP/1.1\r\nHost: a.test\r\nX: a\0b\r\n\r\n", Reason::NotHttp),
            ("GET / HTTP/1.1\r\nHost: a.test\r\nX: a\rb\r\n\r\n", Reason::NotHttp),
            (
                "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1000000000000000000\r\n\r\n",
                Reason::NotHttp,
            ),
            ("GET http://b.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n", Reason::OtherHost),
            ("GET http://a.test@b.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n", Reason::OtherHost),
            ("GET b.test HTTP/1.1\r\nHost: a.test\r\n\r\n", Reason::NotHttp),
            ("CONNECT b.test:443 HTTP/1.1\r\nHost: a.test\r\n\r\n", Reason::Connect),
            (
                "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
                Reason::NotHttp,
            ),
            ("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: +1\r\n\r\n", Reason::NotHttp),
            (
                "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
                Reason::NotHttp,
            ),
            ("POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", Reason::NotHttp),
            ("POST / HTTP/1.0\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n", Reason::NotHttp),
            ("POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding : chunked\r\n\r\n", Reason::NotHttp),
            ("GET / HTTP/1.1\nHost: a.test\n\n", Reason::NotHttp),
            ("GET / HTTP/1.1\r\nX: y\nHost: a.test\r\n\r\n", Reason::NotHttp),
            ("GET / HTTP/1.1\r\nHost: b.test\r\n folded: a.test\r\n\r\n", Reason::NotHttp),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Reason::NotHttp),
            ("\u{16}\u{3}\u{1}", Reason::NotHttp),
            ("SSH-2.0-x\r\n", Reason::NotHttp),
        ] {
            let (passed, end) = fed(stream, 10_000);
            assert_eq!((passed.as_str(), end), ("", Err(reason)), "{stream:?}");
        }
    }

    #[test]
    fn blank_lines_long_lines_and_bad_chunks_are_refused() {
        for blanks in ["\r\n\r\n".to_string(), "\r\n".repeat(10_000), format!("{GET}\r\n\r\n{GET}")] {
            for segment in [1, 10_000] {
                let (passed, end) = fed(&blanks, segment);
                assert!(passed.len() <= GET.len() + 2 && end == Err(Reason::NotHttp), "{passed:?}");
            }
        }
        let endless = format!("GET /{} HTTP/1.1", "x".repeat(LARGEST));
        assert_eq!(fed(&endless, 1000).1, Err(Reason::NotHttp));
        let comment = format!("1;{}", "x".repeat(LONGEST_LINE));
        for chunk in [
            &comment,
            "0\r\nT: 1\n\r\n",
            "0\r\nT: \r1\r\n\r\n",
            "x\r\n",
            "-1\r\n",
            "1\n",
            "\r\n",
            "ffffffffffffffff\r\n",
        ] {
            let head = "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n";
            assert_eq!(fed(&[head, chunk].concat(), 10_000).1, Err(Reason::NotHttp), "{chunk:?}");
        }
    }
}
