//! On which line of a JSON document the value lies that an RFC 6901 pointer names.

/// A document whose lines are asked for.
pub struct Lines<'a> {
    text: &'a [u8],
}

impl<'a> Lines<'a> {
    /// For this text, which a parser has read already.
    pub fn new(text: &'a [u8]) -> Self {
        Lines { text }
    }

    /// The line (from 1) of the value at `pointer`; of a value that is not there, that of the closest one around it.
    pub fn of(&self, pointer: &str) -> u32 {
        let mut scan = Scan { text: self.text, at: 0 };
        scan.blank();
        let mut best = scan.at;
        for token in pointer.split('/').skip(1) {
            let token = token.replace("~1", "/").replace("~0", "~");
            match scan.enter(&token) {
                Some(at) => best = at,
                None => break,
            }
        }
        let line = self.text[..best.min(self.text.len())].iter().filter(|b| **b == b'\n').count() + 1;
        u32::try_from(line).unwrap_or(u32::MAX)
    }
}

struct Scan<'a> {
    text: &'a [u8],
    at: usize,
}

impl Scan<'_> {
    fn peek(&self) -> u8 {
        self.text.get(self.at).copied().unwrap_or(0)
    }

    fn blank(&mut self) {
        while matches!(self.peek(), b' ' | b'\t' | b'\r' | b'\n' | b',' | b':') {
            self.at += 1;
        }
    }

    /// Moves to the member or element `token` of the value here. Of keys that differ in case the last counts, as for
    /// the parser of configs.
    fn enter(&mut self, token: &str) -> Option<usize> {
        let open = self.peek();
        let close = match open {
            b'{' => b'}',
            b'[' => b']',
            _ => return None,
        };
        self.at += 1;
        let (mut found, mut index) = (None, 0usize);
        loop {
            self.blank();
            if self.peek() == close || self.peek() == 0 {
                break;
            }
            let matches = if open == b'{' {
                let start = self.at;
                self.skip();
                let key = self.text.get(start + 1..self.at.saturating_sub(1)).unwrap_or_default();
                self.blank();
                key.eq_ignore_ascii_case(token.as_bytes())
            } else {
                index += 1;
                token.parse() == Ok(index - 1)
            };
            if matches {
                found = Some(self.at);
            }
            self.skip();
        }
        self.at = found?;
        found
    }

    /// Moves behind the value here.
    fn skip(&mut self) {
        let mut depth = 0usize;
        loop {
            match self.peek() {
                0 => return,
                b'"' => self.string(),
                b'{' | b'[' => {
                    depth += 1;
                    self.at += 1;
                }
                b'}' | b']' => {
                    depth = depth.saturating_sub(1);
                    self.at += 1;
                }
                b' ' | b'\t' | b'\r' | b'\n' | b',' | b':' => self.at += 1,
                _ => {
                    while !matches!(self.peek(), 0 | b',' | b'}' | b']' | b' ' | b'\t' | b'\r' | b'\n') {
                        self.at += 1;
                    }
                }
            }
            if depth == 0 {
                return;
            }
        }
    }

    fn string(&mut self) {
        self.at += 1;
        while !matches!(self.peek(), 0 | b'"') {
            self.at += if self.peek() == b'\\' { 2 } else { 1 };
        }
        self.at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::Lines;

    #[test]
    fn values_are_found_by_their_pointers() {
        let text = b"{\n \"a\": [1,\n  {\"x/y\": \"q\\\"]}\",\n   \"b\": true}],\n \"Process\": {\n  \"user\": {}\n }\n}\n";
        let lines = Lines::new(text);
        for (pointer, line) in [
            ("", 1),
            ("/a", 2),
            ("/a/0", 2),
            ("/a/1", 3),
            ("/a/1/x~1y", 3),
            ("/a/1/b", 4),
            ("/process/user", 6),
            ("/process/user/uid", 6),
            ("/process/none", 5),
            ("/none/x", 1),
            ("/a/7", 2),
        ] {
            assert_eq!(lines.of(pointer), line, "{pointer}");
        }
        // Text that no parser would take ends the search, whatever it is.
        for broken in [&b"{\"a"[..], b"[", b"\"\\", b"", b"{\"a\":"] {
            assert_eq!(Lines::new(broken).of("/a/b"), 1);
        }
    }
}
